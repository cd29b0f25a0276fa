"""Operations of subprocesses."""

import shutil
from asyncio import AbstractEventLoop
from subprocess import PIPE

from benches.loops import Names


async def collect(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """A program that does nothing is started with a pipe for its output, and collected."""
    create_subprocess_exec = names.create_subprocess_exec
    program = shutil.which("true")
    for _ in range(rounds):
        process = await create_subprocess_exec(program, stdout=PIPE)
        await process.communicate()
