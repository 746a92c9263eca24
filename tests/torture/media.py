"""Good clips and small videos of many containers, made by PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from glimpses import video


class _Format(NamedTuple):
    """Container with a codec; `muxer` is PyAV's name for it where the suffix is ambiguous."""

    name: str
    codec: str
    muxer: str | None = None
    options: dict[str, str] = {}  # noqa: RUF012
    pixels: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    rate: int = 12


_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
_FORMATS = (
    _Format("h264.mp4", "libx264"),
    _Format("fast.mp4", "libx264", options={"movflags": "faststart"}),
    _Format("fragmented.mp4", "libx264", options=_FRAGMENTED),
    _Format("mpeg4.mp4", "mpeg4"),
    _Format("mjpeg.mov", "mjpeg", pixels="yuvj420p"),
    _Format("h264.mov", "libx264"),
    _Format("h264.mkv", "libx264"),
    _Format("vp8.webm", "libvpx"),
    _Format("vp9.webm", "libvpx-vp9"),
    _Format("mpeg4.avi", "mpeg4"),
    _Format("mjpeg.avi", "mjpeg", pixels="yuvj420p"),
    _Format("raw.avi", "rawvideo", size=(16, 16)),
    _Format("mpeg1.mpg", "mpeg1video", rate=25),
    _Format("mpeg2.mpg", "mpeg2video"),
    _Format("h264.ts", "libx264"),
    _Format("mpeg2.ts", "mpeg2video"),
    _Format("colours.gif", "gif", pixels="rgb8"),
    _Format("h263.3gp", "h263", size=(128, 96)),
    _Format("sorenson.flv", "flv1"),
    _Format("h264.flv", "libx264"),
    _Format("vp8.ogv", "libvpx", muxer="ogg"),
    _Format("wmv2.wmv", "wmv2", muxer="asf"),
    _Format("av1.mkv", "libsvtav1"),
    _Format("hevc.mp4", "libx265"),
)


def make_seeds(folder: Path) -> list[Path]:
    """Write a video of a second or two in every format that this PyAV can encode."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index, kind in enumerate(_FORMATS):
        path = folder / kind.name
        try:
            _encode(path, kind, seconds=1.0 + index % 2)
        except (av.error.FFmpegError, ValueError):
            path.unlink(missing_ok=True)
            continue
        if path.suffix in video.SUFFIXES:
            files.append(path)
    return files


def make_clips(folder: Path, count: int) -> list[Path]:
    """Write `count` clips of each of two actions: a light that moves right or left."""
    files = []
    for action in ("back", "forth"):
        for index in range(count):
            path = folder / action / f"good-{index}.mp4"
            video.write(path, _moving_light(12, (64, 48), 9 * index, action == "back"), fps=10)
            files.append(path)
    return files


def _encode(path: Path, kind: _Format, seconds: float) -> None:
    container = av.open(str(path), "w", format=kind.muxer, options=kind.options)
    with container:
        stream = container.add_stream(kind.codec, rate=kind.rate)
        stream.width, stream.height = kind.size
        stream.pix_fmt = kind.pixels
        stream.time_base = Fraction(1, kind.rate)
        stream.codec_context.thread_count = 1
        for pixels in _moving_light(round(kind.rate * seconds), kind.size, 40, False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _moving_light(
    length: int, size: tuple[int, int], level: int, is_reversed: bool
) -> list[np.ndarray]:
    width, height = size
    frames = [np.full((height, width, 3), 10 + level, np.uint8) for _ in range(length)]
    for step, frame in enumerate(frames):
        column = (length - 1 - step if is_reversed else step) * (width - 8) // length
        frame[:, column : column + 8] = (250, 200, level)
    return frames
