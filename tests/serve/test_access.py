"""Tests of the access to the server, by raw requests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from glimpses.serve.access import AccessGuard
from glimpses.serve.server import _listen

TOKEN = "a-secret"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app, guard = FastAPI(), AccessGuard(["localhost", "127.0.0.1", "video.example"], TOKEN)

    @app.middleware("http")
    async def check(request: Request, call_next):  # type: ignore[no-untyped-def]
        return guard.refuse(request) or await call_next(request)

    @app.get("/{path:path}")
    def get(path: str) -> Response:
        return Response("inside")

    listener = _listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    listener.close()


def send(port: int, path: str, *headers: str) -> str:
    lines = [f"GET {path} HTTP/1.1", *headers, "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def status(answer: str) -> int:
    return int(answer.split()[1])


def test_other_hosts_and_origins_are_refused(port: int) -> None:
    key = f"Authorization: Bearer {TOKEN}"
    assert status(send(port, "/", f"Host: localhost:{port}", key)) == 200
    assert status(send(port, "/", "Host: VIDEO.example", key)) == 200
    assert status(send(port, "/", f"Host: evil.example:{port}", key)) == 400
    assert status(send(port, "/", "Host: [", key)) == 400
    own = f"Host: localhost:{port}"
    assert status(send(port, "/", own, key, f"Origin: http://localhost:{port}")) == 200
    for origin in ("http://evil.example", "null", "http://[", "http://localhost:1", ""):
        assert status(send(port, "/", own, key, f"Origin: {origin}")) == 403
    # After DNS rebinding, Host and Origin agree.
    rebound = ("Host: evil.example", "Origin: http://evil.example")
    assert status(send(port, "/", *rebound, key)) == 400


def test_token_is_taken_from_url_cookie_and_header(port: int) -> None:
    host = f"Host: localhost:{port}"
    assert status(send(port, "/", host)) == 401
    assert status(send(port, "/?token=wrong", host)) == 401
    assert status(send(port, "/", host, "Authorization: token wrong")) == 401
    assert status(send(port, "/", host, f"Authorization: token {TOKEN}")) == 200
    answer = send(port, f"/?a=1&token={TOKEN}", host)
    assert status(answer) == 303
    assert "location: /?a=1\r\n" in answer.lower()
    cookie = next(line for line in answer.splitlines() if line.lower().startswith("set-cookie"))
    assert "HttpOnly" in cookie
    pair = cookie.partition(":")[2].partition(";")[0].strip()
    assert status(send(port, "/", host, f"Cookie: {pair}")) == 200
    assert "location: /evil.example/" in send(port, f"//evil.example/?token={TOKEN}", host).lower()
