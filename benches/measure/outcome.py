"""What a measurement can come to."""

from collections.abc import Callable
from typing import Any

Sample = Callable[[], dict[str, Any]]
"""Measures once: the figures, and in "uses" where names of asyncio came from. Raises NotYet or Failed."""


class NotYet(Exception):
    """The loop says that it doesn't have what the row needs; the argument is what it said."""


class Failed(Exception):
    """The measurement went wrong; the argument says how."""
