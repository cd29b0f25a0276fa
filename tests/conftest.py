"""What all tests share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Many tests collect garbage, some of them several times: what is there already needs no look."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
