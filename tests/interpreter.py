"""What the tests must know of the interpreter that they run on."""

import sys

# A build with the interpreter's own assertions, which counts every reference.
DEBUG_BUILD = hasattr(sys, "gettotalrefcount")

# A release of 3.11 as old as Debian's 3.11.2, the one that has a debug build. Its standard library lacks some repairs,
# which 3.11.7 has: where it does, there is nothing to compare with.
BEFORE_REPAIRS = sys.version_info < (3, 11, 7)

# Where what takes longest is repeated as often as it is meant to be. Elsewhere less of it shows the same.
LONG_RUNS = sys.version_info[:2] == (3, 13) and not DEBUG_BUILD
