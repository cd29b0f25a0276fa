"""`examples/echo_server.py` and `examples/chat_server.py` over real sockets."""

import contextlib
import random
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from .programs import EXAMPLES, PATIENCE, PYTHON, Program, read_until


class Server(Program):
    """A server, once it listens."""

    def __init__(self, mode: str, script: str) -> None:
        super().__init__(*PYTHON[mode], EXAMPLES / script, "--port", 0)
        try:
            host, port = self.out.wait_for(r"^listening on ([\d.]+):(\d+)$").groups()
        except AssertionError:
            self.__exit__(*sys.exc_info())
            raise
        self.address = host, int(port)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(self.address)
        return sock


@pytest.fixture
def echo(mode: str) -> Iterator[Server]:
    with Server(mode, "echo_server.py") as server:
        yield server


@pytest.fixture
def chat(mode: str) -> Iterator[Server]:
    with Server(mode, "chat_server.py") as server:
        yield server


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part, f"the connection ended after {len(data)} of {size} bytes"
        data += part
    return bytes(data)


def test_echo_keeps_connections_apart(echo: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(echo.connect()) for _ in range(50)]
        for round_ in range(3):
            for n, client in enumerate(clients):
                client.sendall(b"%d says %d\n" % (n, round_))
            for n, client in enumerate(clients):
                message = b"%d says %d\n" % (n, round_)
                assert receive_exactly(client, len(message)) == message


def test_echo_sends_all_of_it_before_it_ends(echo: Server) -> None:
    data = random.Random(1).randbytes(8_000_000)
    with echo.connect() as client:

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert receive_exactly(client, len(data)) == data
        assert client.recv(1) == b""
        sender.join()


def test_echo_does_not_read_from_a_client_that_does_not(echo: Server) -> None:
    with echo.connect() as client:
        client.setblocking(False)
        sent = 0
        # Far more than the buffers of two sockets hold: the server has to stop reading.
        with contextlib.suppress(BlockingIOError):
            while sent < 256_000_000 and select.select([], [client], [], 1)[1]:
                sent += client.send(bytes(1_000_000))
        assert sent < 256_000_000
        client.settimeout(PATIENCE)
        assert receive_exactly(client, sent) == bytes(sent)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_echo_stops_while_clients_are_connected(echo: Server, signum: signal.Signals) -> None:
    with echo.connect() as client, echo.connect() as rude:
        client.sendall(b"hello")
        assert receive_exactly(client, 5) == b"hello"
        # A reset is no reason to complain either.
        rude.sendall(b"hello")
        assert receive_exactly(rude, 5) == b"hello"
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        rude.close()
        echo.send_signal(signum)
        assert client.recv(1) == b""
        echo.finish(0)
        assert echo.out.lines[1:] == ["stopped"]
        with pytest.raises(ConnectionRefusedError):
            echo.connect()


def test_chat_tells_all(chat: Server) -> None:
    with chat.connect() as ann, ann.makefile("rb") as to_ann:
        assert to_ann.readline() == b"* 1 here\n"
        with chat.connect() as bob, bob.makefile("rb") as to_bob:
            assert to_ann.readline() == to_bob.readline() == b"* 2 here\n"
            ann.sendall(b"good morning\nhow a")
            assert to_ann.readline() == to_bob.readline() == b"good morning\n"
            bob.sendall(b"hello\n")
            assert to_ann.readline() == to_bob.readline() == b"hello\n"
            ann.sendall(b"re you\n")
            assert to_ann.readline() == to_bob.readline() == b"how are you\n"
        assert to_ann.readline() == b"* 1 here\n"


def test_chat_drops_who_never_ends_a_line(chat: Server) -> None:
    with chat.connect() as ann, ann.makefile("rb") as to_ann:
        assert to_ann.readline() == b"* 1 here\n"
        with chat.connect() as bob:
            assert to_ann.readline() == b"* 2 here\n"
            bob.sendall(bytes(5000))
            assert to_ann.readline() == b"* 1 here\n"


def test_chat_drops_who_does_not_read(chat: Server) -> None:
    line = b"x" * 4000 + b"\n"
    with chat.connect() as ann, ann.makefile("rb") as to_ann, chat.connect(4096):
        read_until(to_ann, b"* 2 here\n")
        # Far more than the buffers of a socket hold.
        for _ in range(20_000):
            ann.sendall(line)
            if (answer := to_ann.readline()) != line:
                break
        assert answer == b"* 1 here\n"
        assert to_ann.readline() == line


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_chat_says_goodbye(chat: Server, signum: signal.Signals) -> None:
    with chat.connect() as ann, ann.makefile("rb") as to_ann:
        assert to_ann.readline() == b"* 1 here\n"
        chat.send_signal(signum)
        assert to_ann.readline() == b"* bye\n"
        assert to_ann.read() == b""
        chat.finish(0)
        assert chat.out.lines[1:] == ["stopped"]
