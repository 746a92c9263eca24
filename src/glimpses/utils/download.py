"""Resumable downloads over HTTP and FTP."""

from __future__ import annotations

import ftplib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write
from glimpses.utils.progress import bar

# Seconds without data after which a connection counts as lost.
_TIMEOUT = 30.0

# Consecutive failures without a new byte before giving up.
_MAX_FAILURES = 5

_CHUNK_SIZE = 1 << 18

# Some servers reject requests without a user agent.
_HEADERS = {"User-Agent": "glimpses"}


class DownloadError(GlimpsesError):
    """Failed download. The message names the URL and the reason; the caller adds the remedy."""


def fetch(
    url: str, path: Path, *, version_file: Path | None = None, signatures: Sequence[bytes] = ()
) -> None:
    """Download a file, or the rest of it if `path` already holds its beginning.

    After a lost connection the download resumes at the byte where it stopped, if the file on the
    server is still the same (by its ETag, its date, or at least its size). Otherwise, or if the
    server does not support ranges, it starts from the beginning.

    Args:
        url: `http://`, `https://` or `ftp://` (anonymous).
        path: the file to write; it may hold bytes of an earlier, interrupted call.
        version_file: a file that records which version of the remote file `path` holds, so that a
            later call can resume. Without it every call starts from the beginning.
        signatures: accepted first bytes of the file; empty to accept any.

    Raises:
        DownloadError: the file does not exist, the connection was lost repeatedly, or the content
            has none of the signatures. `path` then holds only bytes of the right file.
        OSError: `path` cannot be written.
    """
    version = _read_version(version_file)
    started = False
    failures = 0
    most_bytes = initial_bytes = _size(path)
    while True:
        try:
            return _transfer(url, path, version, version_file, signatures)
        except _ConnectionLostError as error:
            # A server that cannot be reached at all will not be reachable a second later.
            started = started or _size(path) != initial_bytes
            if not (started or error.temporary):
                raise DownloadError(f"{url}: cannot be fetched ({error})") from error
            version = error.version or version
            failures = 0 if _size(path) > most_bytes else failures + 1
            most_bytes = max(most_bytes, _size(path))
            if failures == _MAX_FAILURES:
                problem = "cannot be fetched"
                if version and version.total:
                    sizes = f"{_size(path) / 1e6:.1f} of {version.total / 1e6:.1f} MB"
                    problem = f"the download stopped at {sizes}"
                raise DownloadError(f"{url}: {problem} ({error})") from error
            pause(failures)


def remote_size(url: str) -> int | None:
    """Return the size of a remote file in bytes, or None if the server does not report it."""
    try:
        if _is_ftp(url):
            with closing(_connect_ftp(url)) as server:
                return server.size(unquote(urlsplit(url).path))
        request = urllib.request.Request(url, headers=_HEADERS, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            if response.headers.get_content_type() == "text/html":
                return None
            return _parse_int(response.headers.get("Content-Length"))
    except (OSError, EOFError, ftplib.Error, http.client.HTTPException, ValueError):
        return None


def pause(failures: int) -> None:
    """Wait before the next attempt, with exponential back-off up to one minute."""
    time.sleep(min(2.0**failures, 60.0))


@dataclass(frozen=True)
class _Version:
    """Identity of one version of a remote file: its ETag or date, and its size in bytes."""

    validator: str | None
    total: int | None


@dataclass(frozen=True)
class _Response:
    """Server response with the bytes of a file from `start` on."""

    stream: BinaryIO
    start: int
    version: _Version
    close: Callable[[], None]


class _ConnectionLostError(Exception):
    """Connection that could not be made or was lost."""

    def __init__(
        self, reason: object, version: _Version | None = None, *, temporary: bool = False
    ) -> None:
        super().__init__(str(reason))
        self.version = version
        self.temporary = temporary


def _transfer(
    url: str, path: Path, version: _Version | None, version_file: Path | None,
    signatures: Sequence[bytes],
) -> None:  # fmt: skip
    """Open one connection and append what it delivers."""
    offset = _size(path) if version else 0
    if version and version.total and offset == version.total:
        return
    request = _request_ftp if _is_ftp(url) else _request_http
    with closing(request(url, offset, version)) as response:
        chunks = _read_chunks(response)
        chunk = next(chunks, b"")
        if response.start == 0:
            _check_signature(url, chunk, signatures)
        _write_version(version_file, response.version)
        total, mode = response.version.total or 0, "ab" if response.start else "wb"
        text = f"Fetching {url} ({total / 1e6:.1f} MB)"
        start = response.start / 1e6
        with path.open(mode) as file, bar(text, total / 1e6, done=start) as progress:
            while chunk:
                file.write(chunk)
                progress.advance(len(chunk) / 1e6)
                chunk = next(chunks, b"")
    if _size(path) < total:
        raise _ConnectionLostError("the connection was closed", response.version)


def _read_chunks(response: _Response) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.stream.read(_CHUNK_SIZE)
        except (OSError, http.client.HTTPException) as error:
            raise _ConnectionLostError(error, response.version) from error
        if not chunk:
            return
        yield chunk


def _request_http(url: str, offset: int, version: _Version | None) -> _Response:
    headers = dict(_HEADERS)
    if offset and version:
        headers["Range"] = f"bytes={offset}-"
        if version.validator:
            headers["If-Range"] = version.validator
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _request_http(url, 0, None)
        if error.code in (401, 403):
            message = f"{url}: access is denied ({error}); it may require registration"
            raise DownloadError(message) from error
        if error.code >= 500 or error.code in (408, 429):
            raise _ConnectionLostError(error, temporary=True) from error
        raise DownloadError(f"{url}: cannot be fetched ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionLostError(error) from error
    except ValueError as error:
        raise DownloadError(f"{url}: cannot be fetched ({error})") from error
    validator = response.headers.get("ETag")
    if validator is None or validator.startswith("W/"):
        validator = response.headers.get("Last-Modified")
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        total = _parse_int(response.headers.get("Content-Length"))
        return _Response(response, 0, _Version(validator, total), response.close)
    match = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    start, total = (int(match[1]), int(match[2])) if match else (0, 0)
    if (
        not version
        or (start, version.total or total) != (offset, total)
        or (version.validator or validator) != (validator or version.validator)
    ):
        response.close()
        return _request_http(url, 0, None)
    return _Response(response, start, _Version(validator, total), response.close)


def _request_ftp(url: str, offset: int, version: _Version | None) -> _Response:
    server: ftplib.FTP | None = None
    try:
        server = _connect_ftp(url)
        path = unquote(urlsplit(url).path)
        total = server.size(path)
        try:
            date = server.sendcmd(f"MDTM {path}")
        except ftplib.error_perm:
            date = None
        current = _Version(date, total)
        start = offset if version == current else 0
        stream = server.transfercmd(f"RETR {path}", rest=start or None).makefile("rb")
    except ftplib.all_errors as error:
        if server:
            server.close()
        if isinstance(error, ftplib.error_perm):
            raise DownloadError(f"{url}: cannot be fetched ({error})") from error
        raise _ConnectionLostError(error) from error

    def close() -> None:
        stream.close()
        server.close()

    return _Response(stream, start, current, close)


def _connect_ftp(url: str) -> ftplib.FTP:
    """Log in to the server of a URL as anonymous."""
    parts = urlsplit(url)
    server = ftplib.FTP(timeout=_TIMEOUT)
    try:
        server.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
        server.login()
        server.voidcmd("TYPE I")
    except ftplib.all_errors:
        server.close()
        raise
    return server


def _is_ftp(url: str) -> bool:
    return urlsplit(url).scheme == "ftp"


def _check_signature(url: str, content: bytes, signatures: Sequence[bytes]) -> None:
    """Refuse content with none of the signatures, and describe it in the error."""
    if not signatures or content.startswith(tuple(signatures)):
        return
    if not content:
        raise DownloadError(f"{url}: the file is empty")
    text = content[:4096].decode(errors="replace")
    if re.search(r"<html|<!doctype html", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>\s*(.*?)\s*</title>", text, re.IGNORECASE | re.DOTALL)
        quoted = f' ("{" ".join(title[1].split())}")' if title and title[1] else ""
        raise DownloadError(f"{url}: returned a web page{quoted} instead of the file")
    raise DownloadError(f"{url}: returned another file (it begins with {text[:16]!r})")


def _read_version(path: Path | None) -> _Version | None:
    try:
        return _Version(**json.loads(path.read_text(encoding="utf-8"))) if path else None
    except (OSError, ValueError, TypeError):
        return None


def _write_version(path: Path | None, version: _Version) -> None:
    if path and _read_version(path) != version:
        with atomic_write(path) as file:
            file.write_text(json.dumps(asdict(version)), encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _parse_int(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
