"""`examples/web_service.py`: every endpoint, run as a script and by uvicorn's command."""

import hashlib
import http.client
import json
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import IO, Any

import pytest

from .programs import (
    EXAMPLES,
    PATIENCE,
    PYTHON,
    Program,
    Service,
    read_until,
    serve_script,
    serve_uvicorn,
)

Serve = Callable[[str], Service]

SERVE: dict[str, Serve] = {"script": serve_script, "uvicorn": serve_uvicorn}
LAMP = {"name": "lamp", "price": 19.5, "tags": ["light", "new"]}


@pytest.fixture(scope="module", params=SERVE)
def serve(request: pytest.FixtureRequest) -> Serve:
    """How the service is started, a function of the mode."""
    return SERVE[request.param]


@pytest.fixture(scope="module")
def service(serve: Serve, mode: str) -> Iterator[Service]:
    """One service for the tests that leave it as they found it; it must end well, too."""
    with serve(mode) as service:
        yield service
        service.send_signal(signal.SIGINT)
        service.finish()


def connect(service: Service) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(*service.address, timeout=PATIENCE))


def call(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    """Return the status and the JSON of the answer."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    return response.status, json.loads(content) if content else None


def send_get(sock: socket.socket, path: str) -> None:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())


def read_response(file: IO[bytes]) -> tuple[int, Any]:
    """Read one response that has a length: its status and its JSON."""
    status = int(file.readline().split()[1])
    headers = http.client.parse_headers(file)
    return status, json.loads(file.read(int(headers["Content-Length"])))


def test_the_loop_and_its_tasks_are_those_asked_for(service: Service, mode: str) -> None:
    with connect(service) as connection:
        status, about = call(connection, "GET", "/")
    assert status == 200
    packages = {kind: name.split(".")[0].lstrip("_") for kind, name in about.items()}
    assert packages == {"loop": mode, "task": mode}


def test_the_life_of_an_item(service: Service) -> None:
    with connect(service) as connection:
        status, lamp = call(connection, "POST", "/items", LAMP)
        item_path = f"/items/{lamp['id']}"
        assert status == 201
        assert lamp == LAMP | {"id": lamp["id"]}
        assert call(connection, "GET", item_path) == (200, lamp)

        dimmed = lamp | {"price": 9.0, "tags": ["sale"]}
        assert call(connection, "PUT", item_path, dimmed) == (200, dimmed)
        assert call(connection, "GET", item_path) == (200, dimmed)

        assert call(connection, "DELETE", item_path) == (204, None)
        missing = (404, {"detail": f"no item {lamp['id']}"})
        assert call(connection, "GET", item_path) == missing
        assert call(connection, "PUT", item_path, LAMP) == missing
        assert call(connection, "DELETE", item_path) == missing


def test_a_list_is_filtered_and_limited(service: Service) -> None:
    with connect(service) as connection:
        added = [
            call(connection, "POST", "/items", LAMP | {"tags": tags})[1]
            for tags in (["a"], ["b"], ["a", "b"])
        ]
        a, b, ab = added
        assert call(connection, "GET", "/items") == (200, added)
        assert call(connection, "GET", "/items?tag=a") == (200, [a, ab])
        assert call(connection, "GET", "/items?tag=b&limit=1") == (200, [b])
        for item in added:
            call(connection, "DELETE", f"/items/{item['id']}")
        assert call(connection, "GET", "/items") == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "body", "where", "kind"),
    [
        ("GET", "/items/seven", None, ["path", "item_id"], "int_parsing"),
        ("GET", "/items?limit=0", None, ["query", "limit"], "greater_than_equal"),
        ("GET", "/items?limit=1001", None, ["query", "limit"], "less_than_equal"),
        ("POST", "/items", None, ["body"], "missing"),
        ("POST", "/items", b"{", ["body", 1], "json_invalid"),
        ("POST", "/items", {"price": 1}, ["body", "name"], "missing"),
        ("POST", "/items", LAMP | {"name": ""}, ["body", "name"], "string_too_short"),
        ("POST", "/items", LAMP | {"name": "x" * 101}, ["body", "name"], "string_too_long"),
        ("POST", "/items", LAMP | {"price": 0}, ["body", "price"], "greater_than"),
        ("POST", "/items", LAMP | {"tags": [1]}, ["body", "tags", 0], "string_type"),
        ("GET", "/slow/1?seconds=61", None, ["query", "seconds"], "less_than_equal"),
        ("GET", "/digest/a?rounds=0", None, ["query", "rounds"], "greater_than_equal"),
        ("GET", "/countdown/-1", None, ["path", "start"], "greater_than_equal"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    service: Service, method: str, path: str, body: Any, where: list[str | int], kind: str
) -> None:
    with connect(service) as connection:
        status, answer = call(connection, method, path, body)
    assert status == 422
    assert [(error["loc"], error["type"]) for error in answer["detail"]] == [(where, kind)]


def test_unknown_paths_and_methods(service: Service) -> None:
    with connect(service) as connection:
        assert call(connection, "GET", "/nowhere")[0] == 404
        assert call(connection, "PATCH", "/items")[0] == 405


def test_a_large_body_comes_and_goes(service: Service) -> None:
    tags = [f"{n:08}" * 100 for n in range(2000)]
    with connect(service) as connection:
        status, item = call(connection, "POST", "/items", LAMP | {"tags": tags})
        assert (status, item["tags"]) == (201, tags)
        assert call(connection, "DELETE", f"/items/{item['id']}")[0] == 204


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    with service.connect() as sock, sock.makefile("rb") as file:
        requests = (f"GET /slow/{n}?seconds=0 HTTP/1.1\r\nHost: shop\r\n\r\n" for n in range(50))
        sock.sendall("".join(requests).encode())
        answers = [read_response(file) for _ in range(50)]
    assert [(status, answer["number"]) for status, answer in answers] == [
        (200, n) for n in range(50)
    ]


def test_a_slow_answer_takes_its_time(service: Service) -> None:
    with connect(service) as connection:
        status, answer = call(connection, "GET", "/slow/7?seconds=0.2")
    assert (status, answer["number"]) == (200, 7)
    assert answer["waited"] >= 0.199  # a timer may be early by the resolution of the clock


@pytest.mark.parametrize("path", ["/slow/1?seconds=3", "/digest/a?rounds=3000000"])
def test_others_are_served_while_one_request_takes_long(service: Service, path: str) -> None:
    with service.connect() as long, service.connect() as short, short.makefile("rb") as file:
        send_get(long, path)
        for n in range(3):
            send_get(short, f"/slow/{n}?seconds=0.01")
            assert read_response(file)[1]["number"] == n
        assert select.select([long], [], [], 0)[0] == []
        with long.makefile("rb") as long_file:
            assert read_response(long_file)[0] == 200


def test_a_sync_endpoint_runs_in_a_worker_thread(service: Service) -> None:
    with connect(service) as connection:
        status, answer = call(connection, "GET", "/digest/bread?rounds=1000")
    assert status == 200
    assert answer["digest"] == hashlib.pbkdf2_hmac("sha256", b"bread", b"ferrio", 1000).hex()
    assert answer["thread"] != "MainThread"


def test_a_stream_arrives_in_parts(service: Service) -> None:
    with service.connect() as sock, sock.makefile("rb") as file:
        send_get(sock, "/countdown/3?interval=0.01")
        assert file.readline() == b"HTTP/1.1 200 OK\r\n"
        headers = http.client.parse_headers(file)
        assert headers["Content-Type"] == "application/x-ndjson"
        assert headers["Transfer-Encoding"] == "chunked"
        chunks = []
        while size := int(file.readline(), 16):
            chunks.append(file.read(size))
            assert file.readline() == b"\r\n"
    assert chunks == [b'{"number": %d}\n' % n for n in (3, 2, 1, 0)]


def test_a_client_may_leave_in_the_middle_of_a_stream(service: Service) -> None:
    # The end of the `service` fixture would wait for a stream that went on.
    with service.connect() as sock, sock.makefile("rb") as file:
        send_get(sock, "/countdown/10000?interval=0.01")
        read_until(file, b'{"number": 9998}\n')
    with connect(service) as connection:
        assert call(connection, "GET", "/")[0] == 200


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -15)])
def test_a_signal_ends_the_service_after_the_last_answer(
    serve: Serve, mode: str, signum: signal.Signals, code: int
) -> None:
    with (
        serve(mode) as service,
        service.connect() as idle,
        service.connect() as busy,
        busy.makefile("rb") as file,
    ):
        send_get(idle, "/slow/1?seconds=0")
        with idle.makefile("rb") as idle_file:
            assert read_response(idle_file)[0] == 200
            send_get(busy, "/countdown/10?interval=0.02")
            read_until(file, b'{"number": 10}\n')
            service.send_signal(signum)
            numbers = [json.loads(line)["number"] for line in file if line.startswith(b"{")]
            assert numbers == list(range(9, -1, -1))
            assert idle_file.read() == b""
        service.finish(code)
        assert "Application shutdown complete" in service.err.text
        assert "Finished server process" in service.err.text
        with pytest.raises(ConnectionRefusedError):
            service.connect()


def test_a_port_in_use_is_an_error(mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Program(*PYTHON[mode], EXAMPLES / "web_service.py", "--port", port) as program:
            assert program.wait() == 3  # uvicorn's STARTUP_FAILURE
            assert "address already in use" in program.err.text
