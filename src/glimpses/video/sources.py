"""Opening what goes on and on: a camera, or a stream at an address that the user gave.

Files are opened by `containers`, where nothing can lead from a file to another or to the network.
Here the network is what is asked for; but nothing that comes from it can lead to a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from glimpses.utils.errors import GlimpsesError
from glimpses.video.convert import DecodedFrame

#: How addresses may begin.
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "tcp", "udp", "rtp")

# What FFmpeg may use on the way: the schemes and what they are carried by; never a file.
_PROTOCOLS = ",".join((*SCHEMES, "tls", "httpproxy"))
# What it may take a stream for. Playlists are left out: they name other addresses, and what they
# list comes in pieces of seconds, which is not live.
_FORMATS = (
    "rtsp,rtp,sdp,mpegts,mpegtsraw,mpeg,mpegvideo,mpjpeg,mjpeg,flv,live_flv,h264,hevc,m4v,"
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,ogg,nut,avi"
)
# No picture is held back; and RTSP comes through one connection, for loose packets get lost.
_OPTIONS = {"flags": "low_delay", "rtsp_transport": "tcp"}

# Seconds to wait for an answer, and then for each picture.
_PATIENCE = 10.0

# FFmpeg's name for cameras by platform, with what it must be told to open one.
_CAMERAS: dict[str, tuple[str, dict[str, str]]] = {
    "linux": ("v4l2", {}),
    "darwin": ("avfoundation", {"framerate": "30"}),
    "win32": ("dshow", {}),
}


@dataclass
class LiveSource:
    """A camera or a stream. Nothing is opened before its pictures are asked for.

    Attributes:
        name: for people; an address without password and query.
        keyframes_only: whether to decode key frames only, which need no other frame. The reader
            sets it when frames arrive late because decoding does not keep up.
        rate: frames a second, once it is open; None where that is not known.
    """

    name: str
    place: str = field(repr=False)
    format: str | None
    options: Mapping[str, str]
    advice: str
    patience: float = _PATIENCE
    keyframes_only: bool = False
    rate: float | None = None

    def pictures(self) -> Iterator[tuple[float | None, DecodedFrame]]:
        """Open it and give its pictures as they come, until it ends.

        Yields:
            When each was taken in seconds by the source's own clock, None where that is not known;
            and the picture.

        Raises:
            GlimpsesError: it cannot be reached, holds no picture, breaks off or falls silent.
        """
        with self._opened() as container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise GlimpsesError(f"{self.name}: gives no picture that can be read")
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            self.rate = float(rate) if rate else None
            # Threads that take a frame each would hold frames back.
            stream.thread_type = "SLICE"
            skipping = False
            for packet in self._packets(container.demux(stream)):
                # What follows a picture that was skipped needs it, up to the next key frame.
                skipping = self.keyframes_only or (skipping and not packet.is_keyframe)
                if skipping and not packet.is_keyframe:
                    continue
                try:
                    frames = packet.decode()
                    if skipping:
                        # The decoder would hold it back until the next one.
                        frames += stream.codec_context.decode(None)
                        stream.codec_context.flush_buffers()
                except av.EOFError:
                    return
                # What got lost on the way is made up by what comes after.
                except av.FFmpegError:
                    continue
                for frame in frames:
                    # What is got out of the decoder at its end knows no unit of time.
                    unit, count = stream.time_base, frame.pts
                    stamp = None if count is None or not unit else float(count * unit)
                    yield stamp, DecodedFrame(frame, stream.sample_aspect_ratio)

    def _packets(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        while True:
            try:
                yield next(packets)
            except (StopIteration, av.EOFError):
                return
            except av.ExitError as error:
                raise self._silent() from error
            except av.FFmpegError as error:
                raise GlimpsesError(
                    f"{self.name}: broke off ({error.strerror}); {self.advice}"
                ) from error

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        try:
            container = av.open(
                self.place,
                format=self.format,
                options=dict(self.options),
                container_options={"protocol_whitelist": _PROTOCOLS}
                | ({} if self.format else {"format_whitelist": _FORMATS}),
                metadata_errors="ignore",
                timeout=self.patience,
            )
        except av.ExitError as error:
            raise self._silent() from error
        except (av.InvalidDataError, av.ArgumentError) as error:
            raise GlimpsesError(
                f"{self.name}: gives no video that can be read; {self.advice}"
            ) from error
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not understood"
            raise GlimpsesError(
                f"{self.name}: cannot be opened ({reason}); {self.advice}"
            ) from error
        with container:
            yield container

    def _silent(self) -> GlimpsesError:
        return GlimpsesError(f"{self.name}: sent nothing for {self.patience:.0f} s; {self.advice}")


def stream_at(address: str, *, patience: float = _PATIENCE) -> LiveSource:
    """A stream at an address, such as rtsp://host/path or http://host/video.

    Args:
        address: of one of the `SCHEMES`. A password may stand in it; it is never shown.
        patience: seconds to wait for an answer, and then for each picture.

    Raises:
        GlimpsesError: it is no such address.
    """
    try:
        parts = urlsplit(address)
        host, scheme = parts.hostname or "", parts.scheme.lower()
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise GlimpsesError("--url: is no address; give one like rtsp://host/path") from error
    if scheme not in SCHEMES or not parts.netloc:
        raise GlimpsesError(
            f"--url: takes an address that begins with {', '.join(SCHEMES)} and ://; a file is "
            "given without --url"
        )
    name = f"{scheme}://{host}{port}{parts.path}"
    advice = "check the address, and that it is sending"
    return LiveSource(name, address, None, _OPTIONS, advice, patience)


def camera(number: int, *, patience: float = _PATIENCE) -> LiveSource:
    """A camera of this computer.

    Args:
        number: of the camera, from 0.
        patience: seconds to wait for it, and then for each picture.

    Raises:
        GlimpsesError: there is no such camera, or no way to it on this platform.
    """
    if sys.platform not in _CAMERAS:
        raise GlimpsesError(
            f"camera {number}: cameras are not known on {sys.platform}; stream it and give --url"
        )
    kind, options = _CAMERAS[sys.platform]
    name = f"camera {number}"
    advice = "check that it is plugged in and that no other program uses it"
    places = _places(kind)
    if places is not None and number not in places:
        there = f"there are {', '.join(map(str, places))}" if places else "there is none here"
        raise GlimpsesError(f"{name}: no such camera; {there}")
    place = str(number) if places is None else places[number]
    return LiveSource(name, place, kind, options, advice, patience)


def _places(kind: str) -> dict[int, str] | None:
    """What FFmpeg knows each camera by; None where it knows them by number."""
    if kind == "v4l2":
        files = sorted(Path("/dev").glob("video[0-9]*"))
        return {int(file.name.removeprefix("video")): str(file) for file in files}
    if kind == "dshow":
        # PyAV has this from version 16 on.
        listed: Any = getattr(av, "enumerate_input_devices", None)
        if listed is None:
            raise GlimpsesError("cameras need a newer PyAV here; pip install --upgrade av")
        devices = [device for device in listed(kind) if "video" in device.media_types]
        return {place: f"video={device.name}" for place, device in enumerate(devices)}
    return None
