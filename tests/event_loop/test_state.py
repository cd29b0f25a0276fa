"""A loop's dictionary stays empty: see python/ferrio/_state.py."""

import asyncio
import signal
import sys

import ferrio


def test_the_dictionary_of_a_loop_stays_empty() -> None:
    async def use() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.remove_signal_handler(signal.SIGUSR1)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        await process.wait()
        await loop.run_in_executor(None, int)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()

    loop = ferrio.new_event_loop()
    loop.set_debug(True)
    loop.run_until_complete(use())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert vars(loop) == {}


def test_a_loop_takes_attributes_all_the_same() -> None:
    loop = ferrio.new_event_loop()
    loop.mine = 1  # type: ignore[attr-defined]
    assert vars(loop) == {"mine": 1}
    loop.close()
