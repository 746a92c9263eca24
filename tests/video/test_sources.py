"""Tests of cameras and network streams: frames, time stamps and one-line errors."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from glimpses.utils.errors import GlimpsesError
from glimpses.video import LiveSource, RGBConverter, camera, sources, stream_at
from tests.live.scenes import transport_stream
from tests.local_servers import Site, serving


@pytest.fixture(scope="module")
def sent() -> bytes:
    return transport_stream()


@pytest.fixture
def site(sent: bytes) -> Iterator[str]:
    with Site({"/live": sent}).over_http() as address:
        yield address


def greys(source: LiveSource, *, count: int | None = None) -> list[int]:
    """Return the numbers of the received frames, from their grey levels."""
    to_rgb = RGBConverter((8, 8))
    return [round(to_rgb(picture).mean() / 10) for _, picture in source.decoded_frames()][:count]


def test_yields_every_frame_with_its_time(site: str) -> None:
    source = stream_at(f"{site}/live")
    stamps = [stamp for stamp, _ in source.decoded_frames()]
    assert greys(source) == list(range(20))
    begin = stamps[0]
    assert begin is not None
    assert [round(10 * (stamp or 0) - 10 * begin) for stamp in stamps] == list(range(20))
    assert source.rate == 10


def test_keyframes_only_skips_other_frames_without_delay(site: str) -> None:
    source = stream_at(f"{site}/live")
    source.keyframes_only = True
    assert greys(source) == [0, 5, 10, 15]
    # Switched off, it waits for the next key frame: the others need frames that were skipped.
    seen = []
    to_rgb = RGBConverter((8, 8))
    for _, picture in source.decoded_frames():
        seen.append(round(to_rgb(picture).mean() / 10))
        source.keyframes_only = seen[-1] < 5
    assert seen == [0, 5, *range(10, 20)]


def test_times_out_on_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        # The one clock here that cannot be replaced is FFmpeg's own.
        with pytest.raises(GlimpsesError, match=r"sent nothing for .* check the address"):
            next(stream_at(address, timeout=0.05).decoded_frames())


def test_times_out_on_a_stream_that_stops(sent: bytes) -> None:
    done = threading.Event()

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(sent)
            self.wfile.flush()
            done.wait()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Silent) as address:
        came: list[int] = []
        with pytest.raises(GlimpsesError, match="sent nothing for"):
            came.extend(
                number
                for number, _ in enumerate(stream_at(f"{address}/x", timeout=0.3).decoded_frames())
            )
        done.set()
    assert len(came) > 15


@pytest.mark.parametrize(
    ("path", "message"),
    [("/none", "404"), ("/text", "has no video that can be decoded"), ("/list", "has no video")],
)
def test_addresses_without_a_video_give_one_line_errors(path: str, message: str) -> None:
    # A playlist could name any file of this computer.
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n"
    with (
        Site({"/text": b"hello " * 1000, "/list": playlist}).over_http() as address,
        pytest.raises(GlimpsesError, match=message) as caught,
    ):
        list(stream_at(address + path).decoded_frames())
    assert str(caught.value).startswith(f"{address}{path}: ")
    assert "\n" not in str(caught.value)


def test_redirection_cannot_lead_to_a_file(sent: bytes, tmp_path: Path) -> None:
    film = tmp_path / "film.ts"
    film.write_bytes(sent)

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"file://{film}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Elsewhere) as address, pytest.raises(GlimpsesError):
        list(stream_at(f"{address}/x").decoded_frames())


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "/etc/passwd", "clip.mp4", "concat:a|b", "rtsp:host", "rtsp://", "",
     "subfile,,start,0,end,9,,:http://h/x", "http://[::1", "ftp://host/x", "http://h:99999/"],
)  # fmt: skip
def test_refuses_malformed_addresses(address: str) -> None:
    with pytest.raises(GlimpsesError, match="--url: "):
        stream_at(address)


def test_error_of_a_refusing_server_hides_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    source = stream_at(f"rtsp://user:secret@127.0.0.1:{port}/door?token=hidden")
    with pytest.raises(GlimpsesError, match=r"cannot be opened \(Connection refused\)") as caught:
        next(source.decoded_frames())
    assert str(caught.value).startswith(f"rtsp://127.0.0.1:{port}/door: ")
    for hidden in ("secret", "hidden", "user"):
        assert hidden not in f"{caught.value} {source}"


def test_missing_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_locations", lambda _: {0: "/dev/video0", 2: "/dev/video2"})
    with pytest.raises(GlimpsesError, match="camera 1: no such camera; available: 0, 2"):
        camera(1)
    monkeypatch.setattr(sources, "_locations", lambda _: {})
    with pytest.raises(GlimpsesError, match="camera 0: no such camera; none is available"):
        camera(0)


@pytest.mark.parametrize(
    ("platform", "place", "kind"),
    [("linux", "/dev/video1", "v4l2"), ("darwin", "1", "avfoundation"),
     ("win32", "video=Second", "dshow")],
)  # fmt: skip
def test_opens_a_camera_on_each_platform(
    platform: str, place: str, kind: str, sent: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    film, opened = tmp_path / "film.ts", []
    film.write_bytes(sent)

    class Device:
        def __init__(self, name: str) -> None:
            self.name, self.media_types = name, ["video"]

    class Library:
        """PyAV with other hardware."""

        def __getattr__(self, name: str) -> Any:
            return getattr(av, name)

        def enumerate_input_devices(self, _: str) -> list[Device]:
            return [Device("First"), Device("Second")]

        def open(self, place: str, format: str | None = None, **_: Any) -> Any:
            opened.append((place, format))
            return av.open(str(film))

    monkeypatch.setattr(sources.sys, "platform", platform)
    monkeypatch.setattr(sources, "av", Library())
    dev = [Path("/dev/video0"), Path("/dev/video1")]
    monkeypatch.setattr(sources.Path, "glob", lambda *_: dev)
    assert greys(camera(1)) == list(range(20))
    assert opened == [(place, kind)]
