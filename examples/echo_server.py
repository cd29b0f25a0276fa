"""An echo server: what a client sends comes back to it.

    python examples/echo_server.py
    nc 127.0.0.1 8007

Ctrl-C stops it, even while clients are connected.
"""

import argparse
import asyncio
import signal


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until its client has said everything."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()  # a client that does not read is not read from either
    except (ConnectionError, asyncio.CancelledError):
        pass  # the client left without a goodbye, or the server stops: either ends this task
    finally:
        writer.close()


async def main(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; `asyncio.run` then cancels what is still connected."""
    stopping = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    server = await asyncio.start_server(echo, host, port)
    address, bound_port = server.sockets[0].getsockname()[:2]
    print(f"listening on {address}:{bound_port}", flush=True)
    await stopping.wait()
    server.close()
    print("stopped", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8007, help="0: any free (default: %(default)s)")
    args = parser.parse_args()
    asyncio.run(main(args.host, args.port))
