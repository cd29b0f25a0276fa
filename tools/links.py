"""Check that the relative links of the project's Markdown files lead to files of the project.

python tools/links.py

Prints each link that leads nowhere as FILE:LINE: TARGET, and exits with 1 if there is one.
"""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z]+:|#")

root = Path(__file__).parent.parent
listed = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=root,
    capture_output=True,
    text=True,
    check=True,
).stdout
pages = [root / name for name in listed.split("\0") if name]
links = [
    (page, number, target)
    for page in pages
    for number, line in enumerate(page.read_text().splitlines(), 1)
    for target in LINK.findall(line)
    if not ELSEWHERE.match(target)
]
broken = [
    (page, number, target)
    for page, number, target in links
    if not (page.parent / target.partition("#")[0]).exists()
]
for page, number, target in broken:
    print(f"{page.relative_to(root)}:{number}: {target} does not exist")
print(f"{len(links)} links in {len(pages)} pages, {len(broken)} broken")
sys.exit(1 if broken else 0)
