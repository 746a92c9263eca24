"""Segments of a clip as files, in the formats of `glimpses.segments`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from fastapi import HTTPException, Request
from pydantic import Field, TypeAdapter, ValidationError

from glimpses.segments import Segment, write_segments
from glimpses.serve.schemas import SegmentInfo
from glimpses.serve.uploads import UploadTooLargeError, receive
from glimpses.utils.errors import GlimpsesError

# Largest body with segments, in bytes, and largest number of them.
_MAX_BYTES, _MAX_SEGMENTS = 4_000_000, 20_000
_BODY = TypeAdapter(Annotated[list[SegmentInfo], Field(max_length=_MAX_SEGMENTS)])
# Ending and type of a file in each format.
_TYPES = {
    "csv": (".csv", "text/csv"), "via": (".csv", "text/csv"),
    "activitynet": (".json", "application/json"), "label-studio": (".json", "application/json"),
    "elan": (".eaf", "application/xml"), "vtt": (".vtt", "text/vtt"),
    "srt": (".srt", "application/x-subrip"), "audacity": (".txt", "text/plain"),
}  # fmt: skip


async def read_body(request: Request, name: str) -> list[SegmentInfo]:
    """Return the segments in the body of a request.

    Raises:
        HTTPException: the body is too large or no list of segments.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "body"
        try:
            await receive(request, file, _MAX_BYTES)
        except UploadTooLargeError as error:
            raise HTTPException(413, f"{name}: too many segments; send fewer") from error
        except TimeoutError as error:
            raise HTTPException(408, f"{name}: the segments took too long to arrive") from error
        body = file.read_bytes()
    try:
        return _BODY.validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise HTTPException(422, f"{name}: segments: {place}: {first['msg']}") from error


def to_file(
    segments: Iterable[SegmentInfo], *, video: str, format: str, fps: float
) -> tuple[str, str, bytes]:
    """Return the name, the type and the contents of a file with the segments of a video.

    Args:
        segments: of the video.
        video: name of the video.
        format: one of `glimpses.segments.FORMATS`.
        fps: frame rate of the video.

    Raises:
        HTTPException: a segment is impossible, or the format cannot hold it.
    """
    suffix, media_type = _TYPES[format]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"segments{suffix}"
        try:
            parts = [Segment(file=video, **one.model_dump()) for one in segments]
            write_segments(path, parts, format=format, fps=fps)
        except (ValueError, GlimpsesError) as error:
            detail = str(error).replace(f"{path}: ", "")
            raise HTTPException(422, f"{video}: segments: {detail}") from error
        return f"{Path(video).stem}-segments{suffix}", media_type, path.read_bytes()
