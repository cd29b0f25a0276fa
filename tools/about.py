"""Print which ferrio runs on which interpreter: the line above every test run.

python tools/about.py [NOTE...]
"""

import importlib.metadata
import os
import platform
import ssl
import sys

import ferrio._ferrio

print(
    f"==> ferrio {importlib.metadata.version('ferrio')}",
    f"on CPython {platform.python_version()}{sys.abiflags} ({sys.base_prefix}),",
    f"{platform.platform()}, {ssl.OPENSSL_VERSION}, {os.cpu_count()} cores",
    *(f"[{note}]" for note in sys.argv[1:]),
)
print(f"    {ferrio._ferrio.__file__}", flush=True)
