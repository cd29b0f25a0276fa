"""What the tests of the combinators share."""

import gc
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_unraisable() -> Iterator[None]:
    """Fail on what a finalizer could not raise."""
    unraisable: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
        yield
        gc.collect()
    assert unraisable == []
