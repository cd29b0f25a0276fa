"""Start `make run`, use the service that it prints the address of, and stop it with Ctrl-C.

python .ci/serve.py

Exits with 0 if the service answered from ferrio's loop and stopped cleanly.
"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")

# A shell starts its background jobs with SIGINT ignored; `make` must not inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
make = subprocess.Popen(
    ["make", "--no-print-directory", "run", "ARGS=--port 0"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
)
assert make.stdout is not None
said = []
try:
    for line in make.stdout:
        print(line, end="", flush=True)
        if address := ADDRESS.search(line):
            break
    else:
        sys.exit("it ended before it printed an address")

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(address[0], timeout=10) as response:
        about = json.load(response)
    print(f"it answers {about}")

    # What a terminal does: the signal goes to every process of the group.
    os.killpg(make.pid, signal.SIGINT)
    said = make.communicate(timeout=30)[0].splitlines()
    print(*said, sep="\n")
finally:
    if make.poll() is None:
        os.killpg(make.pid, signal.SIGKILL)

# make ends by the signal itself; what the service did is in its last words.
assert make.returncode in (0, -signal.SIGINT, 2), f"exit code {make.returncode}"
assert not any("Traceback" in line for line in said), "it did not stop cleanly"
assert any("Finished server process" in line for line in said), "it did not shut down"
for kind in ("loop", "task"):
    assert about[kind].startswith("ferrio."), f"the {kind} is {about[kind]}"
print("make run serves on ferrio and stops on Ctrl-C")
