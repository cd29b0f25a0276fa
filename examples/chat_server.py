"""A chat server: every line goes to all who are connected; whoever is too slow is dropped.

    python examples/chat_server.py
    nc 127.0.0.1 8008        # in two terminals

A protocol instead of streams: nobody waits for anybody, so no task is needed.
Ctrl-C stops it.
"""

import argparse
import asyncio
import signal
from typing import ClassVar, cast

LONGEST_LINE = 4096


class Member(asyncio.Protocol):
    """One connection; `members` are all of them."""

    members: ClassVar[set["Member"]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the member join."""
        self.transport = cast(asyncio.Transport, transport)
        self.rest = b""
        self.members.add(self)
        self.tell_all(b"* %d here\n" % len(self.members))

    def data_received(self, data: bytes) -> None:
        """Pass on the lines that are complete."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.tell_all(line + b"\n")
        if len(self.rest) > LONGEST_LINE:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Drop this member: what it does not read would pile up here."""
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Let the member leave."""
        self.members.discard(self)
        self.tell_all(b"* %d here\n" % len(self.members))

    def tell_all(self, message: bytes) -> None:
        """Write to every member that stays."""
        for member in self.members:
            if not member.transport.is_closing():
                member.transport.write(message)


async def main(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM, then say goodbye."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stopping.set)
    server = await loop.create_server(Member, host, port)
    address, bound_port = server.sockets[0].getsockname()[:2]
    print(f"listening on {address}:{bound_port}", flush=True)
    await stopping.wait()
    server.close()
    for member in Member.members:
        member.transport.write(b"* bye\n")
        member.transport.close()
    print("stopped", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8008, help="0: any free (default: %(default)s)")
    args = parser.parse_args()
    asyncio.run(main(args.host, args.port))
