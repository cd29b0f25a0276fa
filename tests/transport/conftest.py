"""Fixtures for the tests of transports."""

import gc

import pytest


@pytest.fixture
def no_garbage_of_others() -> None:
    """What earlier tests left is collected before this one, and warns in theirs."""
    gc.collect()
