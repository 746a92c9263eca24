"""Local HTTP and FTP servers that can simulate faults."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote


@contextmanager
def serving(handler: Callable[..., socketserver.BaseRequestHandler]) -> Iterator[str]:
    """Run an HTTP server; yield its URL."""
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        yield f"http://{address}"


@contextmanager
def running(server: socketserver.TCPServer) -> Iterator[str]:
    """Run a server; yield its host and port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.daemon = True
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Site:
    """Files of a server, its behaviour, and a log of its requests.

    Attributes:
        files: content of the files by path.
        status: HTTP status to send instead of a file, by path.
        version: ETag of all files in HTTP, their date in FTP; None to send neither.
        ranges: whether the server can resume in the middle of a file.
        breaks: number of responses to break off half-way.
        requests: method and path of each request.
        range_requests: Range and If-Range (in FTP: REST) of each request for a file.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    version: str | None = '"1"'
    ranges: bool = True
    breaks: int = 0
    requests: list[str] = field(default_factory=list)
    range_requests: list[tuple[str | None, str | None]] = field(default_factory=list)

    def cut(self, content: bytes) -> bytes:
        """Return the part of a response that is sent."""
        if not self.breaks:
            return content
        self.breaks -= 1
        return content[: len(content) // 2]

    @contextmanager
    def over_http(self) -> Iterator[str]:
        """Serve the files over HTTP; yield the URL."""
        with serving(lambda *args: _Http(self, *args)) as address:
            yield address

    @contextmanager
    def over_ftp(self) -> Iterator[str]:
        """Serve the files over FTP; yield the URL."""
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), lambda *args: _Ftp(self, *args))
        server.daemon_threads = True
        with running(server) as address:
            yield f"ftp://{address}"


class _Http(http.server.BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.site.range_requests.append((self.headers["Range"], self.headers["If-Range"]))
        # A client that recognises the wrong file closes the connection.
        with suppress(ConnectionError):
            self.wfile.write(self.site.cut(self._answer()))

    def _answer(self) -> bytes:
        """Send the headers of the response; return its body."""
        site, path = self.site, unquote(self.path)
        site.requests.append(f"{self.command} {path}")
        status = site.status.get(path, 200 if path in site.files else 404)
        if status != 200:
            self.send_error(status)
            return b""
        content, start = site.files[path], 0
        condition = self.headers["If-Range"]
        if site.ranges and self.headers["Range"] and condition in (None, site.version):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.version:
            self.send_header("ETag", site.version)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return content[start:]

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Ftp(socketserver.StreamRequestHandler):
    """Subset of FTP (RFC 959, 3659) for anonymous downloads."""

    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args)  # type: ignore[arg-type]

    def handle(self) -> None:
        site, start = self.site, 0
        self._reply("220 ready")
        for line in self.rfile:
            command, _, argument = line.decode().strip().partition(" ")
            content = site.files.get(argument)
            if command in ("USER", "PASS", "TYPE"):
                self._reply("230 fine")
            elif command == "PASV":
                data = socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)
                port = data.server_address[1]
                self._reply(f"227 (127,0,0,1,{port // 256},{port % 256})")
            elif command == "REST":
                start = int(argument)
                self._reply("350 fine")
            elif command in ("SIZE", "MDTM", "RETR") and content is None:
                self._reply("550 no such file")
            elif command == "SIZE":
                self._reply(f"213 {len(content or b'')}")
            elif command == "MDTM" and site.version:
                self._reply(f"213 {site.version}")
            elif command == "RETR":
                site.requests.append(f"RETR {argument}")
                site.range_requests.append((str(start), None))
                self._reply("150 here it comes")
                with data.socket.accept()[0] as connection:
                    connection.sendall(site.cut((content or b"")[start:]))
                data.server_close()
                self._reply("226 done")
            else:
                self._reply("502 unknown")

    def _reply(self, reply: str) -> None:
        self.wfile.write(f"{reply}\r\n".encode())
