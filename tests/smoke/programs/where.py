"""What every program says of the asyncio that it runs on. It knows nothing of ferrio."""

import asyncio


def where() -> dict[str, str]:
    """Return where the loop, the task and what programs make most come from: `ferrio` or `asyncio`."""
    made = {
        "loop": asyncio.get_running_loop(),
        "task": asyncio.current_task(),
        "future": asyncio.get_running_loop().create_future(),
    }
    return {name: type(value).__module__.partition(".")[0] for name, value in made.items()}
