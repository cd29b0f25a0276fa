"""Every example is tested on asyncio, which arbitrates, and on ferrio."""

import pytest

from .programs import PYTHON


@pytest.fixture(scope="module", params=PYTHON)
def mode(request: pytest.FixtureRequest) -> str:
    """What runs the example: "asyncio" or "ferrio"."""
    name: str = request.param
    return name
