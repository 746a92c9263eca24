"""Files from public servers: resumed where they broke off, refused if they are something else."""

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

# How long a server may be silent, in seconds, before the connection counts as lost.
_TIMEOUT = 30.0

# How often a connection may break in a row without a byte more than there was before.
_TRIES = 5

_CHUNK = 1 << 18

# Some servers turn away whoever does not say who they are.
_HEADERS = {"User-Agent": "glimpses"}


class DownloadError(GlimpsesError):
    """A file cannot be had from its address. Says which and why; the remedy is the caller's."""


def fetch(
    address: str, part: Path, *, tag: Path | None = None, begins: Sequence[bytes] = ()
) -> None:
    """Bring what `part` still lacks of the file at an address.

    A broken connection is made again and goes on at the byte where it broke, as long as the file
    on the server is the same (by its ETag, its date, or at least its size); else, or where the
    server cannot do that, the file starts anew.

    Args:
        address: `http://`, `https://` or `ftp://` (as anonymous).
        part: where the bytes are put; they may be of an earlier, interrupted call.
        tag: a file that remembers what the bytes in `part` are of, so that a later call can go on
            from them. Without it the first bytes of this call are the file's first.
        begins: how such a file may begin, any of them; empty if that is not known.

    Raises:
        DownloadError: there is no such file, the connection broke again and again, or another file
            came. Only bytes of the right file stay in `part`.
        OSError: `part` cannot be written.
    """
    known = _recall(tag)
    begun = False
    failures = 0
    reached = at_first = _size(part)
    while True:
        try:
            return _go_on(address, part, known, tag, begins)
        except _BrokenError as error:
            # Whoever cannot be reached at all will not be reached in a second either.
            begun = begun or _size(part) != at_first
            if not (begun or error.passing):
                raise DownloadError(f"{address}: cannot be fetched ({error})") from error
            known = error.known or known
            failures = 0 if _size(part) > reached else failures + 1
            reached = max(reached, _size(part))
            if failures == _TRIES:
                raise DownloadError(f"{address}: {_progress(part, known)} ({error})") from error
            pause(failures)


def remote_size(address: str) -> int | None:
    """How many bytes the file at an address has; None where the server does not tell."""
    try:
        if _is_ftp(address):
            with closing(_ftp(address)) as server:
                return server.size(_ftp_path(address))
        request = urllib.request.Request(address, headers=_HEADERS, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            if response.headers.get_content_type() == "text/html":
                return None
            return _number(response.headers.get("Content-Length"))
    except (OSError, EOFError, ftplib.Error, http.client.HTTPException, ValueError):
        return None


def pause(failures: int) -> None:
    """Wait before a connection is tried again, the longer the more often it failed."""
    time.sleep(min(2.0**failures, 60.0))


@dataclass(frozen=True)
class _Known:
    """What tells one version of a file from the next."""

    validator: str | None
    total: int | None


@dataclass(frozen=True)
class _Answer:
    """A server's answer: bytes of a file from `start` on."""

    stream: BinaryIO
    start: int
    known: _Known
    close: Callable[[], None]


class _BrokenError(Exception):
    """A connection that could not be made or did not last."""

    def __init__(self, why: object, known: _Known | None = None, *, passing: bool = False) -> None:
        super().__init__(str(why))
        self.known = known
        self.passing = passing


def _go_on(
    address: str, part: Path, known: _Known | None, tag: Path | None, begins: Sequence[bytes]
) -> None:
    """Make one connection and take what it gives."""
    have = _size(part) if known else 0
    if known and known.total and have == known.total:
        return
    ask = _ask_ftp if _is_ftp(address) else _ask_http
    with closing(ask(address, have, known)) as answer:
        chunks = _chunks(answer)
        first = next(chunks, b"")
        if answer.start == 0:
            _recognise(address, first, begins)
        _remember(tag, answer.known)
        total = answer.known.total or 0
        text = f"Fetching {address} ({total / 1e6:.1f} MB)"
        with part.open("ab" if answer.start else "wb") as file, bar(text, total / 1e6) as progress:
            progress.advance(answer.start / 1e6)
            while first:
                file.write(first)
                progress.advance(len(first) / 1e6)
                first = next(chunks, b"")
    if _size(part) < total:
        raise _BrokenError("the connection was closed", answer.known)


def _chunks(answer: _Answer) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.stream.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(error, answer.known) from error
        if not chunk:
            return
        yield chunk


def _ask_http(address: str, have: int, known: _Known | None) -> _Answer:
    headers = dict(_HEADERS)
    if have and known:
        headers["Range"] = f"bytes={have}-"
        if known.validator:
            headers["If-Range"] = known.validator
    try:
        request = urllib.request.Request(address, headers=headers)
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _ask_http(address, 0, None)
        if error.code in (401, 403):
            raise DownloadError(
                f"{address}: is refused ({error}), it may ask for registration"
            ) from error
        if error.code >= 500 or error.code in (408, 429):
            raise _BrokenError(error, passing=True) from error
        raise DownloadError(f"{address}: cannot be fetched ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(error) from error
    except ValueError as error:
        raise DownloadError(f"{address}: cannot be fetched ({error})") from error
    validator = response.headers.get("ETag")
    if validator is None or validator.startswith("W/"):
        validator = response.headers.get("Last-Modified")
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        total = _number(response.headers.get("Content-Length"))
        return _Answer(response, 0, _Known(validator, total), response.close)
    found = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    start, total = (int(found[1]), int(found[2])) if found else (0, 0)
    same = known and (start, total, validator or known.validator) == (
        have,
        known.total or total,
        known.validator or validator,
    )
    if not same:
        response.close()
        return _ask_http(address, 0, None)
    return _Answer(response, start, _Known(validator, total), response.close)


def _ask_ftp(address: str, have: int, known: _Known | None) -> _Answer:
    server: ftplib.FTP | None = None
    try:
        server = _ftp(address)
        path = _ftp_path(address)
        total = server.size(path)
        try:
            changed = server.sendcmd(f"MDTM {path}")
        except ftplib.error_perm:
            changed = None
        found = _Known(changed, total)
        start = have if known == found else 0
        stream = server.transfercmd(f"RETR {path}", rest=start or None).makefile("rb")
    except ftplib.all_errors as error:
        if server:
            server.close()
        if isinstance(error, ftplib.error_perm):
            raise DownloadError(f"{address}: cannot be fetched ({error})") from error
        raise _BrokenError(error) from error

    def close() -> None:
        stream.close()
        server.close()

    return _Answer(stream, start, found, close)


def _ftp(address: str) -> ftplib.FTP:
    """Log in to the server of an address."""
    parts = urlsplit(address)
    server = ftplib.FTP(timeout=_TIMEOUT)
    try:
        server.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
        server.login()
        server.voidcmd("TYPE I")
    except ftplib.all_errors:
        server.close()
        raise
    return server


def _is_ftp(address: str) -> bool:
    return urlsplit(address).scheme == "ftp"


def _ftp_path(address: str) -> str:
    return unquote(urlsplit(address).path)


def _recognise(address: str, first: bytes, begins: Sequence[bytes]) -> None:
    """Refuse what does not begin as it must, and say what it is."""
    if not begins or first.startswith(tuple(begins)):
        return
    if not first:
        raise DownloadError(f"{address}: gives an empty file")
    start = first[:4096].decode(errors="replace")
    if re.search(r"<html|<!doctype html", start, re.IGNORECASE):
        title = re.search(r"<title[^>]*>\s*(.*?)\s*</title>", start, re.IGNORECASE | re.DOTALL)
        named = f' ("{" ".join(title[1].split())}")' if title and title[1] else ""
        raise DownloadError(f"{address}: gives a web page{named} and not the file")
    raise DownloadError(f"{address}: gives something else than the file (it begins {start[:16]!r})")


def _recall(tag: Path | None) -> _Known | None:
    try:
        return _Known(**json.loads(tag.read_text(encoding="utf-8"))) if tag else None
    except (OSError, ValueError, TypeError):
        return None


def _remember(tag: Path | None, known: _Known) -> None:
    if tag and _recall(tag) != known:
        with atomic_write(tag) as file:
            file.write_text(json.dumps(asdict(known)), encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _progress(part: Path, known: _Known | None) -> str:
    if not (known and known.total):
        return "cannot be fetched"
    return f"the download broke off at {_size(part) / 1e6:.1f} of {known.total / 1e6:.1f} MB"
