"""Opening of video files, their header, and one-line errors for files that are not videos."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import Float64

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.limits import check_picture_size
from glimpses.utils.worker import WaitCallback
from glimpses.video.convert import DecodedFrame, RGBConverter
from glimpses.video.decode import Decoder, declared_seconds
from glimpses.video.isolation import Frame, drain, isolated, isolated_frames

#: Lower-case suffixes of the files that count as clips.
SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv",
    ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})  # fmt: skip

# Formats that FFmpeg may try. Excluded are formats that name further files or addresses
# (playlists), and those that turn any text into a picture. Sound formats are included so that the
# error for a sound file is specific.
_FORMATS = (
    "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,mpeg,mpegvideo,mpegts,m4v,h264,hevc,asf,flv,"
    "nut,ogg,mp3,wav,flac,aac,aiff"
)


_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails

#: Pictures that `examine` shows: how many a second at most, and their side in pixels.
THUMBNAIL_RATE, THUMBNAIL_SIZE = 10.0, 32

# First frame of a folder of numbered pictures, the pattern of all frames, and their rate, which is
# that of J-HMDB.
_FIRST_PICTURE, _PICTURES, _PICTURES_PER_SECOND = "00001.png", "%05d.png", 30


class VideoHeader(NamedTuple):
    """Duration in seconds and frame rate as a video's header declares them; 0 if unknown."""

    seconds: float
    fps: float


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video by its header and first frame.

    Attributes:
        path: the file.
        container: FFmpeg's name of the container, such as "avi".
        codec: FFmpeg's name of the codec, such as "h264".
        width: in pixels as displayed: upright, and with square pixels.
        height: see `width`.
        fps: average frames per second; 0 if unknown.
        seconds: declared duration; 0 if unknown.
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
    """Result of decoding every frame of a video.

    Attributes:
        info: properties by its header and first frame.
        frames: number of frames that can be decoded.
        problem: damage found, as in `FrameReader.problem`; None for an intact file.
    """

    info: VideoInfo
    frames: int
    problem: str | None


def is_video(path: Path) -> bool:
    """Return whether a path may be read as a video: a file, or a folder of numbered pictures."""
    return path.is_file() or is_picture_folder(path)


def is_picture_folder(path: Path) -> bool:
    """Return whether a folder has the frames of a video, `00001.png` and so on, at 30 fps."""
    return (path / _FIRST_PICTURE).is_file()


@isolated
def probe(path: str | Path) -> VideoInfo:
    """Read a video's header and first frame.

    Raises:
        GlimpsesError: the file contains no readable video.
    """
    with open_video(path) as (container, stream):
        first = next(Decoder(container, stream).frames(), None)
        if first is None:
            raise no_frames(path)
        return _info(path, container, stream, first[1])


@isolated
def read_header(path: str | Path) -> VideoHeader:
    """Read the declared duration and frame rate without decoding; much faster than `probe`.

    Raises:
        GlimpsesError: the file contains no video.
    """
    with open_video(path) as (container, stream):
        return _header(container, stream)


def examine(
    path: str | Path,
    visit: Callable[[float, np.ndarray], None] | None = None,
    *,
    while_waiting: WaitCallback | None = None,
) -> VideoCheck:
    """Decode a video from end to end.

    Args:
        path: the file.
        visit: called for `THUMBNAIL_RATE` frames a second with their time and a picture, RGB of
            `THUMBNAIL_SIZE` pixels squared.
        while_waiting: see `FrameReader`.

    Raises:
        GlimpsesError: the file contains no readable video.
    """
    thumbnails = _examined_frames(path, visit is not None, while_waiting=while_waiting)

    def show(frame: Frame) -> None:
        if visit is not None:
            visit(frame.time, frame.pixels)

    result: VideoCheck = drain(thumbnails, show)
    return result


@isolated_frames
def _examined_frames(path: str | Path, with_pictures: bool) -> Generator[Frame, None, VideoCheck]:
    """Decode a video from end to end; yield thumbnails on request."""
    to_thumbnail, due = RGBConverter((THUMBNAIL_SIZE, THUMBNAIL_SIZE)), 0.0
    with open_video(path) as (container, stream):
        decoder = Decoder(container, stream)
        info = None
        for time, frame in decoder.frames():
            info = info or _info(path, container, stream, frame)
            if with_pictures and time >= due - 1e-3:
                due = max(due, time - 1 / THUMBNAIL_RATE) + 1 / THUMBNAIL_RATE
                yield Frame(time, to_thumbnail(frame), frame.number)
        if info is None:
            raise no_frames(path)
        return VideoCheck(info, decoder.count, decoder.problem())


def frame_edges(path: str | Path) -> Float64[np.ndarray, " F+1"]:
    """Return when each frame appears and, last, when the last one ends, in seconds, ascending.

    Decodes every frame: headers and packets also count frames that cannot be decoded.

    Raises:
        GlimpsesError: the file contains no readable video.
    """
    return np.array(_frame_edges(path))


@isolated
def _frame_edges(path: str | Path) -> list[float]:
    with open_video(path) as (container, stream):
        decoder = Decoder(container, stream)
        times = [time for time, _ in decoder.frames()]
        if not times:
            raise no_frames(path)
        return [*times, decoder.end]


def _info(
    path: str | Path, container: InputContainer, stream: VideoStream, first: DecodedFrame
) -> VideoInfo:
    name, codec = container.format.name.split(",")[0], stream.codec_context.name
    seconds, fps = _header(container, stream)
    return VideoInfo(Path(path), name, codec, *first.size, fps, seconds)


def _header(container: InputContainer, stream: VideoStream) -> VideoHeader:
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    return VideoHeader(declared_seconds(container, stream) or 0.0, fps)


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file or a folder of numbered pictures; yield its container and first video stream.

    Raises:
        GlimpsesError: there is no video stream, or none that can be decoded.
    """
    path = Path(path)
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    # An explicit "file:", so that a colon in a name is not taken for a protocol.
    address, kind = f"file:{path.absolute()}", None
    if is_picture_folder(path):
        address, kind = f"{address.replace('%', '%%')}/{_PICTURES}", "image2"
        options |= {"format_whitelist": kind, "framerate": str(_PICTURES_PER_SECOND)}
        options |= {"start_number": "1", "start_number_range": "1"}
        _require_file(path / _FIRST_PICTURE)
    else:
        _require_file(path)
    try:
        container = av.open(
            address, format=kind, container_options=options, metadata_errors="ignore"
        )
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from error
    with container:
        stream = best_stream(container)
        if stream is None and container.streams.audio:
            raise GlimpsesError(f"{path}: contains sound but no video; give a video")
        if stream is None:
            raise no_frames(path)
        context = stream.codec_context
        if context is None:
            raise GlimpsesError(f"{path}: its codec is not supported; convert it to H.264 in MP4")
        check_picture_size(path, context.width, context.height)
        yield container, stream


def best_stream(container: InputContainer) -> VideoStream | None:
    """Return the video stream that a player shows; None if there is none.

    It is the default stream, or else the largest one. Covers, thumbnails and other single pictures
    count only where nothing else can be decoded.
    """
    # The cover of a sound file is a video stream, too.
    streams = [one for one in container.streams.video if not one.disposition & _COVERS]

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int]:
        context = stream.codec_context
        # There is none for an unknown codec.
        area = getattr(context, "width", 0) * getattr(context, "height", 0)
        is_default = bool(stream.disposition & Disposition.default)
        return context is not None, stream.frames != 1, is_default, area

    return max(streams, key=rank, default=None)


def no_frames(path: str | Path) -> GlimpsesError:
    """Return the error for a file that opens as a video but has no decodable frame."""
    return GlimpsesError(f"{path}: contains no decodable frame; replace the file or remove it")


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise GlimpsesError(f"{path}: is a folder; give a video file")
    if not path.exists():
        raise GlimpsesError(f"{path}: no such file; check its name")
    # Opening a pipe or a device could wait forever.
    if not path.is_file():
        raise GlimpsesError(f"{path}: is not a regular file; give a video file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GlimpsesError(f"{path}: cannot be read ({reason}); check its permissions") from error
    if empty:
        raise GlimpsesError(f"{path}: is empty; copy or download it again")


def _unreadable(path: Path, error: av.FFmpegError | ValueError) -> GlimpsesError:
    # FFmpeg reports a format outside the whitelist as an invalid argument.
    if not isinstance(error, av.InvalidDataError | av.ArgumentError | ValueError):
        return GlimpsesError(f"{path}: cannot be read ({error.strerror}); check the file")
    with path.open("rb") as file:
        head = file.read(8)
    # MP4 writers put the index last by default; without it nothing can be decoded.
    if head[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return GlimpsesError(f"{path}: is truncated and lacks its index; copy or download it again")
    return GlimpsesError(f"{path}: is not a video; replace the file or remove it")
