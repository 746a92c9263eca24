"""Live sources: cameras, and streams at an address that the user gave.

`probe` opens files in a way that cannot lead from a file to another one or to the network. Here
the network is intended, but nothing that comes from it can lead to a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from glimpses.utils.errors import GlimpsesError
from glimpses.video.convert import DecodedFrame, FrameCounter
from glimpses.video.probe import best_stream

#: Supported schemes of addresses.
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "tcp", "udp", "rtp")

# Protocols that FFmpeg may use: the schemes and their carriers, but never a file.
_PROTOCOLS = ",".join((*SCHEMES, "tls", "httpproxy"))
# Formats that FFmpeg may try. Playlists are excluded: they name other addresses, and their
# segments last for seconds, which is not live.
_FORMATS = (
    "rtsp,rtp,sdp,mpegts,mpegtsraw,mpeg,mpegvideo,mpjpeg,mjpeg,flv,live_flv,h264,hevc,m4v,"
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,ogg,nut,avi"
)
# Do not hold frames back, and use TCP for RTSP, because UDP loses packets.
_OPTIONS = {"flags": "low_delay", "rtsp_transport": "tcp"}

# Seconds to wait for a connection, and then for each frame.
_TIMEOUT = 10.0

# FFmpeg's camera format by platform, with the options it needs.
_CAMERAS: dict[str, tuple[str, dict[str, str]]] = {
    "linux": ("v4l2", {}),
    "darwin": ("avfoundation", {"framerate": "30"}),
    "win32": ("dshow", {}),
}


@dataclass
class LiveSource:
    """Camera or network stream, opened when its frames are requested.

    Attributes:
        name: display name; for an address, without password and query.
        keyframes_only: decode only frames that depend on no other. The reader sets it when
            decoding cannot keep up.
        rate: frames per second, once open; None if unknown.
    """

    name: str
    location: str = field(repr=False)
    format: str | None
    options: Mapping[str, str]
    advice: str
    timeout: float = _TIMEOUT
    keyframes_only: bool = False
    rate: float | None = None

    def decoded_frames(self) -> Iterator[tuple[float | None, DecodedFrame]]:
        """Open the source and yield its frames as they arrive, until it ends.

        Yields:
            Seconds by the source's own clock, None if unknown, and the frame.

        Raises:
            GlimpsesError: the source cannot be reached, has no video, breaks off or stops sending.
        """
        with self._open() as container:
            stream = best_stream(container)
            if stream is None or stream.codec_context is None:
                raise GlimpsesError(f"{self.name}: has no video that can be decoded")
            wrap = FrameCounter(stream)
            rate = stream.average_rate or stream.guessed_rate
            self.rate = float(rate) if rate else None
            # Frame threads would hold frames back.
            stream.thread_type = "SLICE"
            skipping = False
            for packet in self._packets(container.demux(stream)):
                # Frames after a skipped one depend on it, up to the next key frame.
                skipping = self.keyframes_only or (skipping and not packet.is_keyframe)
                if skipping and not packet.is_keyframe:
                    continue
                try:
                    frames = packet.decode()
                    if skipping:
                        # Otherwise the decoder would hold the frame back until the next one.
                        frames += stream.codec_context.decode(None)
                        stream.codec_context.flush_buffers()
                except av.EOFError:
                    return
                # Later packets make up for those lost on the way.
                except av.FFmpegError:
                    continue
                for frame in frames:
                    # Flushed frames have no time base of their own.
                    unit, count = stream.time_base, frame.pts
                    stamp = None if count is None or not unit else float(count * unit)
                    yield stamp, wrap(frame)

    def _packets(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        while True:
            try:
                yield next(packets)
            except (StopIteration, av.EOFError):
                return
            except av.ExitError as error:
                raise self._timed_out() from error
            except av.FFmpegError as error:
                problem = f"broke off ({error.strerror})"
                raise GlimpsesError(f"{self.name}: {problem}; {self.advice}") from error

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        try:
            formats = {} if self.format else {"format_whitelist": _FORMATS}
            container = av.open(
                self.location, format=self.format, options=dict(self.options),
                container_options={"protocol_whitelist": _PROTOCOLS, **formats},
                metadata_errors="ignore", timeout=self.timeout,
            )  # fmt: skip
        except av.ExitError as error:
            raise self._timed_out() from error
        except (av.InvalidDataError, av.ArgumentError) as error:
            problem = "has no video that can be decoded"
            raise GlimpsesError(f"{self.name}: {problem}; {self.advice}") from error
        except (av.FFmpegError, ValueError) as error:
            problem = f"cannot be opened ({getattr(error, 'strerror', None) or 'invalid address'})"
            raise GlimpsesError(f"{self.name}: {problem}; {self.advice}") from error
        with container:
            yield container

    def _timed_out(self) -> GlimpsesError:
        return GlimpsesError(f"{self.name}: sent nothing for {self.timeout:.0f} s; {self.advice}")


def stream_at(address: str, *, timeout: float = _TIMEOUT) -> LiveSource:
    """Return the stream at an address, such as rtsp://host/path or http://host/video.

    Args:
        address: with one of the `SCHEMES`. It may contain a password, which is never shown.
        timeout: seconds to wait for a connection, and then for each frame.

    Raises:
        GlimpsesError: the address is malformed or its scheme not supported.
    """
    try:
        parts = urlsplit(address)
        host, scheme = parts.hostname or "", parts.scheme.lower()
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise GlimpsesError("--url: is not an address; use the form rtsp://host/path") from error
    if scheme not in SCHEMES or not parts.netloc:
        raise GlimpsesError(
            f"--url: must be an address that begins with {', '.join(SCHEMES)} and ://; to watch a "
            "file, name it without --url"
        )
    name = f"{scheme}://{host}{port}{parts.path}"
    advice = "check the address and that the source is sending"
    return LiveSource(name, address, None, _OPTIONS, advice, timeout)


def camera(number: int, *, timeout: float = _TIMEOUT) -> LiveSource:
    """Return a camera of this computer.

    Args:
        number: of the camera, from 0.
        timeout: seconds to wait for it, and then for each frame.

    Raises:
        GlimpsesError: there is no such camera, or the platform is not supported.
    """
    if sys.platform not in _CAMERAS:
        raise GlimpsesError(
            f"camera {number}: cameras are not supported on {sys.platform}; stream the camera and "
            "use --url"
        )
    kind, options = _CAMERAS[sys.platform]
    name = f"camera {number}"
    advice = "check that it is plugged in and that no other program uses it"
    locations = _locations(kind)
    if locations is not None and number not in locations:
        numbers = ", ".join(map(str, locations))
        available = f"available: {numbers}" if locations else "none is available"
        raise GlimpsesError(f"{name}: no such camera; {available}")
    location = str(number) if locations is None else locations[number]
    return LiveSource(name, location, kind, options, advice, timeout)


def _locations(kind: str) -> dict[int, str] | None:
    """Return FFmpeg's name of each camera; None if it identifies them by number."""
    if kind == "v4l2":
        files = sorted(Path("/dev").glob("video[0-9]*"))
        return {int(file.name.removeprefix("video")): str(file) for file in files}
    if kind == "dshow":
        devices = [one for one in av.enumerate_input_devices(kind) if "video" in one.media_types]
        return {number: f"video={device.name}" for number, device in enumerate(devices)}
    return None
