"""Uploads: request bodies to files, within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from fastapi import Request
from starlette.requests import ClientDisconnect

# Longest pause, in seconds, between two chunks of an upload.
_IDLE_TIMEOUT = 15
# Lowest average rate, in bytes per second, after that time: a slow upload occupies a slot.
_MIN_RATE = 10_000
_MAX_NAME_LENGTH = 120


class UploadTooLargeError(Exception):
    """An upload exceeds the size limit."""


async def receive(request: Request, file: Path, max_bytes: int) -> None:
    """Write a request body to a file, chunk by chunk.

    Raises:
        UploadTooLargeError: the body is larger than `max_bytes`.
        TimeoutError: the upload is too slow.
        ClientDisconnect: the client closed the connection.
        OSError: the file cannot be written.
    """
    if int(request.headers.get("content-length", "0")) > max_bytes:
        await discard(request, max_bytes)
        raise UploadTooLargeError
    with file.open("wb") as out:
        async for chunk in _chunks(request, max_bytes):
            await asyncio.to_thread(out.write, chunk)


async def discard(request: Request, max_bytes: int) -> None:
    """Read and drop a request body, within the same limits.

    Browsers do not read a response before they have sent the whole request.
    """
    with suppress(UploadTooLargeError, TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_IDLE_TIMEOUT):
            async for _ in _chunks(request, max_bytes):
                pass


async def _chunks(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    stream, received = aiter(request.stream()), 0
    clock = asyncio.get_running_loop().time
    start = clock()
    while True:
        try:
            async with asyncio.timeout(_IDLE_TIMEOUT):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        received += len(chunk)
        if received > max_bytes:
            raise UploadTooLargeError
        if (elapsed := clock() - start) > _IDLE_TIMEOUT and received < _MIN_RATE * elapsed:
            raise TimeoutError
        yield chunk


def clean_name(name: str) -> str:
    """Return the base name of an uploaded file: printable, on one line, of limited length."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(letter for letter in last if letter.isprintable()).strip()
    return printable[:_MAX_NAME_LENGTH] or "clip"
