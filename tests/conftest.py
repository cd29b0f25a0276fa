"""What all tests share."""

import gc
import os
from collections.abc import Iterator

import pytest

from tests.interpreter import DEBUG_BUILD

# The collector of a debug build looks into every new object, and the C multidict, which aiohttp uses, shows it one
# before its fields are set. Processes that tests start have this too.
if DEBUG_BUILD:
    os.environ["MULTIDICT_NO_EXTENSIONS"] = "1"


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Many tests collect garbage, some of them several times: what is there already needs no look."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
