"""Connections that only keep a place are closed; those that work are not."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from glimpses.serve import connections as connections_room
from glimpses.serve.connections import impatient

MOST, PATIENCE = 8, 0.3
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LARGE = bytes(200_000)
LONG = 100 * len(LARGE)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/` with something large, `/slow` after three times the patience, `/long` piecewise.

    The pieces are more than all the buffers on the way hold.
    """
    if scope["path"] == "/long":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(LONG // len(LARGE)):
            await send({"type": "http.response.body", "body": LARGE, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * PATIENCE)
    head = [(b"content-length", str(len(LARGE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": LARGE})


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[str, int]]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=impatient(MOST, PATIENCE), lifespan="off", log_level="warning")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join()


def connect(place: tuple[str, int]) -> socket.socket:
    return socket.create_connection(place, timeout=60)


def read_to_end(connection: socket.socket) -> int:
    """How many bytes come until the server closes; a client that waits in vain fails the test."""
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
    ids=["nothing", "half a line", "half a head", "half a body"],
)
def test_what_never_gets_whole_is_closed(place: tuple[str, int], sent: bytes) -> None:
    with connect(place) as connection:
        connection.sendall(sent)
        # The application here answers a body before it has come.
        assert (read_to_end(connection) > len(LARGE)) == sent.startswith(b"POST")


def test_a_second_request_that_never_gets_whole_is_closed(place: tuple[str, int]) -> None:
    with connect(place) as connection:
        connection.sendall(GET)
        count = 0
        while count < len(LARGE):
            count += len(connection.recv(1 << 16))
        connection.sendall(b"G")
        # At most the end of the first answer, whose head was counted as its content.
        assert read_to_end(connection) < len(LARGE)


def test_who_does_not_read_is_cut_off(place: tuple[str, int]) -> None:
    def ask_on(connection: socket.socket) -> None:
        while True:
            connection.sendall(200 * GET)

    # By then more is asked for than all the buffers on the way hold.
    with connect(place) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask_on(connection)


def test_who_reads_slowly_gets_it_all(place: tuple[str, int]) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.settimeout(60)
        connection.connect(place)
        connection.sendall(GET.replace(b"/ ", b"/long "))
        started, count = time.monotonic(), 0
        while count < LONG:
            content = connection.recv(1 << 16)
            assert content, f"cut off after {count} bytes"
            count += len(content)
            # Less than the server could send; more than its patience, all in all.
            time.sleep(len(content) / LONG * 8 * PATIENCE)
        assert time.monotonic() - started > 4 * PATIENCE


def test_who_waits_for_an_answer_gets_it(place: tuple[str, int]) -> None:
    with connect(place) as connection:
        connection.sendall(GET.replace(b"/ ", b"/slow "))
        assert read_to_end(connection) > len(LARGE)


def test_one_address_leaves_places_to_others(
    place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_room, "is_local_proxy", lambda _: False)
    connections = [connect(place) for _ in range(7)]
    try:
        # Three quarters of them; the seventh is closed although there is one place more.
        assert read_to_end(connections[-1]) == 0
        connections[0].sendall(GET)
        assert connections[0].recv(4) == b"HTTP"
    finally:
        for connection in connections:
            connection.close()
