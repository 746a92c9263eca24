"""Tests of the connection limits: idle connections are closed, working ones are not."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from glimpses.serve import connections as connections_module
from glimpses.serve.connections import limited_protocol

MAX_CONNECTIONS, IDLE_TIMEOUT = 8, 0.3
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LARGE = bytes(200_000)
LONG = 100 * len(LARGE)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer `/` with a large body, `/slow` after three timeouts, `/long` in chunks.

    All chunks together exceed the buffers between server and client.
    """
    if scope["path"] == "/long":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(LONG // len(LARGE)):
            await send({"type": "http.response.body", "body": LARGE, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * IDLE_TIMEOUT)
    head = [(b"content-length", str(len(LARGE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": LARGE})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = limited_protocol(MAX_CONNECTIONS, IDLE_TIMEOUT)
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=60)


def read_to_end(connection: socket.socket) -> int:
    """Return the number of bytes before the server closes the connection; fail if it does not."""
    count = 0
    try:
        while content := connection.recv(1 << 16):
            count += len(content)
    except ConnectionResetError:
        pass
    return count


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", GET[:-2], b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 99\r\n\r\na"],
    ids=["nothing", "half a line", "half the headers", "half a body"],
)
def test_incomplete_requests_are_closed(address: tuple[str, int], sent: bytes) -> None:
    with connect(address) as connection:
        connection.sendall(sent)
        # This application responds before the body has arrived.
        assert (read_to_end(connection) > len(LARGE)) == sent.startswith(b"POST")


def test_incomplete_second_request_is_closed(address: tuple[str, int]) -> None:
    with connect(address) as connection:
        connection.sendall(GET)
        count = 0
        while count < len(LARGE):
            count += len(connection.recv(1 << 16))
        connection.sendall(b"G")
        # At most the end of the first response: its headers were counted above.
        assert read_to_end(connection) < len(LARGE)


def test_client_that_does_not_read_is_disconnected(address: tuple[str, int]) -> None:
    def send_requests(connection: socket.socket) -> None:
        while True:
            connection.sendall(200 * GET)

    # The responses exceed the buffers between server and client.
    with connect(address) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        send_requests(connection)


def test_slow_reader_gets_the_whole_response(address: tuple[str, int]) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.settimeout(60)
        connection.connect(address)
        connection.sendall(GET.replace(b"/ ", b"/long "))
        start, count = time.monotonic(), 0
        while count < LONG:
            content = connection.recv(1 << 16)
            assert content, f"cut off after {count} bytes"
            count += len(content)
            # Slower than the server can send; in total much longer than the timeout.
            time.sleep(len(content) / LONG * 8 * IDLE_TIMEOUT)
        assert time.monotonic() - start > 4 * IDLE_TIMEOUT


def test_waiting_for_a_slow_response_is_not_idle(address: tuple[str, int]) -> None:
    with connect(address) as connection:
        connection.sendall(GET.replace(b"/ ", b"/slow "))
        assert read_to_end(connection) > len(LARGE)


def test_one_address_cannot_occupy_all_connections(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "is_local_proxy", lambda _: False)
    connections = [connect(address) for _ in range(7)]
    try:
        # The limit is three quarters: the seventh is closed although one more would be possible.
        assert read_to_end(connections[-1]) == 0
        connections[0].sendall(GET)
        assert connections[0].recv(4) == b"HTTP"
    finally:
        for connection in connections:
            connection.close()
