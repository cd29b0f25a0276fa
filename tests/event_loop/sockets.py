"""Sockets for the tests of `sock_recv` and its like."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = [(), (socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)]
"""What `pair` may be told: nothing for TCP."""


@contextmanager
def pair(*kind: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected non-blocking sockets: of TCP, or a `socketpair` of another kind."""
    if kind:
        left, right = socket.socketpair(*kind)
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            left = socket.create_connection(listener.getsockname())
            right, _ = listener.accept()
        for end in (left, right):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@contextmanager
def udp() -> Iterator[socket.socket]:
    """A bound non-blocking socket for datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock
