"""What all tests share."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest

from tests.interpreter import DEBUG_BUILD

# The collector of a debug build looks into every new object, and the C multidict, which aiohttp uses, shows it one
# before its fields are set. Processes that tests start have this too.
if DEBUG_BUILD:
    os.environ["MULTIDICT_NO_EXTENSIONS"] = "1"

# What a shell runs in the background ignores SIGINT, and hands that on to the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Many tests collect garbage, some of them several times: what is there already needs no look."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
