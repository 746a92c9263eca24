"""Opening a file that calls itself a video, and saying in one line what else it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64

from glimpses.utils.errors import GlimpsesError
from glimpses.video.convert import display_size
from glimpses.video.decode import Decoder, declared_seconds

#: Suffixes by which a file counts as a clip, in lower case.
SUFFIXES = frozenset({".avi", ".mpg", ".mpeg", ".mp4", ".m4v", ".webm", ".mkv", ".mov", ".gif"})

# What FFmpeg may take a file for. Left out are formats that name further files or addresses
# (playlists), and those that make a picture of any text. The sound formats are here so that a
# sound file is called one.
_FORMATS = (
    "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,mpeg,mpegvideo,mpegts,m4v,h264,hevc,asf,flv,"
    "nut,ogg,mp3,wav,flac,aac,aiff"
)


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header and first frame say.

    Attributes:
        path: the file.
        container: FFmpeg's name of the container, as in "avi".
        codec: FFmpeg's name of the codec, as in "h264".
        width: in pixels as displayed: upright, and with square pixels.
        height: see `width`.
        fps: average frames per second; 0 where it is not known.
        seconds: duration; 0 where it is not known.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    fps: float
    seconds: float


@dataclass(frozen=True)
class VideoCheck:
    """What a video holds, every frame of it decoded.

    Attributes:
        info: of its header and first frame.
        frames: that can be decoded.
        problem: what is wrong with it, as in `FrameReader.problem`; None if nothing.
    """

    info: VideoInfo
    frames: int
    problem: str | None


def probe(path: Path) -> VideoInfo:
    """Read a video's header and first frame.

    Raises:
        GlimpsesError: there is no video to be read in the file.
    """
    with opened(path) as (container, stream):
        first = next(Decoder(container, stream).frames(), None)
        if first is None:
            raise no_picture(path)
        return _info(path, container, stream, first[1])


def declared_length(path: Path) -> tuple[float, float]:
    """What a video's header says of its seconds and its frames per second; 0 for what it does not.

    Nothing is decoded, so it takes a fraction of the time of `probe`.

    Raises:
        GlimpsesError: there is no video in the file.
    """
    with opened(path) as (container, stream):
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        return declared_seconds(container, stream) or 0.0, fps


def examine(path: Path) -> VideoCheck:
    """Decode a video from end to end.

    Raises:
        GlimpsesError: there is no video to be read in the file.
    """
    with opened(path) as (container, stream):
        decoder = Decoder(container, stream)
        info, count = None, 0
        for _, frame in decoder.frames():
            info = info or _info(path, container, stream, frame)
            count += 1
        if info is None:
            raise no_picture(path)
        return VideoCheck(info, count, decoder.problem())


def frame_times(path: Path) -> Float64[np.ndarray, " F+1"]:
    """When each frame appears and, last, when the last one disappears, in seconds after the first.

    Every frame is decoded for it: headers and packets also count frames that give no picture.

    Raises:
        GlimpsesError: there is no video to be read in the file.
    """
    with opened(path) as (container, stream):
        decoder = Decoder(container, stream)
        times = [time for time, _ in decoder.frames()]
        if not times:
            raise no_picture(path)
        return np.array([*times, decoder.end])


def _info(
    path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame
) -> VideoInfo:
    width, height = display_size(first, stream.sample_aspect_ratio)
    return VideoInfo(
        path=path,
        container=container.format.name.split(",")[0],
        codec=stream.codec_context.name,
        width=width,
        height=height,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        seconds=declared_seconds(container, stream) or 0.0,
    )


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file as a container, and the stream in it that is its video.

    Raises:
        GlimpsesError: there is none, or none that can be decoded.
    """
    _require_file(path)
    try:
        # WrittenReport as an address, so that a colon in a name is not taken for a protocol's.
        container = av.open(
            f"file:{path.absolute()}",
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            metadata_errors="ignore",
        )
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from error
    with container:
        # A sound file's cover is a video stream too.
        streams = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not streams and container.streams.audio:
            raise GlimpsesError(f"{path}: holds sound but no picture; give a video")
        if not streams:
            raise no_picture(path)
        if streams[0].codec_context is None:
            raise GlimpsesError(f"{path}: its codec is not known; convert it to H.264 in MP4")
        yield container, streams[0]


def no_picture(path: Path) -> GlimpsesError:
    """The error for a file that opens as a video and has no frame that can be decoded."""
    return GlimpsesError(f"{path}: gives no picture; replace the file or remove it")


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise GlimpsesError(f"{path}: is a folder; give a video file")
    if not path.exists():
        raise GlimpsesError(f"{path}: no such file; check its name")
    # Opening a pipe or a device could wait forever.
    if not path.is_file():
        raise GlimpsesError(f"{path}: is no regular file; give a video file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GlimpsesError(f"{path}: cannot be read ({reason}); check its permissions") from error
    if empty:
        raise GlimpsesError(f"{path}: is empty; copy or download it again")


def _unreadable(path: Path, error: av.FFmpegError | ValueError) -> GlimpsesError:
    # A format that is not in the list is an invalid argument.
    if not isinstance(error, av.InvalidDataError | av.ArgumentError | ValueError):
        return GlimpsesError(f"{path}: cannot be read ({error.strerror}); check the file")
    with path.open("rb") as file:
        head = file.read(8)
    # MP4 writers put the index last unless told otherwise; without it nothing can be decoded.
    if head[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return GlimpsesError(f"{path}: is cut off and lacks its index; copy or download it again")
    return GlimpsesError(
        f"{path}: is no video, whatever its name says; replace the file or remove it"
    )
