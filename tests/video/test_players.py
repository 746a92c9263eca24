"""The frames that a player shows, at their times: FFmpeg's own programs are the reference.

Where they are not installed, the numbers that they gave are.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from glimpses import video

has_ffmpeg = shutil.which("ffprobe") is not None and shutil.which("ffmpeg") is not None
FRAME = Fraction(1, 30)
# A rate that no frame of 30 fps falls on, so that rounding does not matter.
RATE = 9


def grey(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    return np.full((size[1], size[0], 3), 8 * (number % 30), np.uint8)


def numbers(path: Path, fps: video.FrameRate = "native") -> list[int]:
    """Return the numbers of the sampled frames, from their grey levels."""
    return [round(float(frame.mean()) / 8) for frame in video.read(path, fps=fps).frames]


def encode(
    path: Path,
    stamps: Sequence[int],
    *,
    codec: str = "libx264",
    unit: Fraction = FRAME,
    format: str | None = None,
    sound: int = 0,
    **options: str,
) -> Path:
    """Write frames that appear at the stamps, and a number of seconds of sound."""
    muxing = {"live": "1"} if options.pop("live", "") else {}
    with av.open(str(path), "w", format=format, container_options=muxing) as out:
        stream = out.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = unit
        noise = out.add_stream("aac", rate=8000) if sound else None
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(grey(number), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = stamp, unit
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if noise is not None:
            silence = np.zeros((1, 8000 * sound), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, 0
            out.mux(noise.encode(samples))
            out.mux(noise.encode(None))
    return path


def cut(source: Path, path: Path, start: Fraction) -> Path:
    """Copy the packets from the key frame before `start` on; an edit list hides what is before."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as out:
        stream = whole.streams.video[0]
        copy = out.add_stream_from_template(stream)
        assert stream.time_base is not None
        offset = int(start / stream.time_base)
        whole.seek(offset, stream=stream)
        for packet in whole.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
                packet.stream = copy
                out.mux(packet)
    return path


def probed(path: Path) -> list[float]:
    """Return ffprobe's best-effort times from the first frame on; each missing one follows."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json"]
    entries = ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
    frames = json.loads(subprocess.check_output([*command, *entries]))["frames"]
    times: list[float] = []
    for frame in frames:
        stamp = frame.get("best_effort_timestamp_time")
        times.append(times[-1] + float(FRAME) if stamp is None else float(stamp))
    return [time - times[0] for time in times]


def shown(path: Path) -> list[int]:
    """Return the numbers of the frames that ffmpeg shows at RATE."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", f"fps={RATE}:round=up,scale=1:1"]
    output = subprocess.check_output([*command, "-f", "rawvideo", "-pix_fmt", "gray", "-"])
    # A grey level of 0 is 16 in video.
    return [round(level / 8) for level in output]


def edit_list(folder: Path) -> Path:
    whole = encode(folder / "whole.mp4", range(90), qp="0", bf="2", g="30")
    return cut(whole, folder / "cut.mp4", 40 * FRAME)


def b_frames_in_avi(folder: Path) -> Path:
    return encode(folder / "b.avi", range(30), qp="0", bf="3")


def dropped_in_avi(folder: Path) -> Path:
    return encode(folder / "drop.avi", [*range(10), *range(20, 30)], codec="mpeg4", bf="2")


def wait_in_webm(folder: Path) -> Path:
    stamps = [*(33 * k for k in range(10)), *(25000 + 33 * k for k in range(5))]
    unit = Fraction(1, 1000)
    return encode(folder / "wait.webm", stamps, codec="libvpx", unit=unit, live="1")


def late_start(folder: Path) -> Path:
    whole = encode(
        folder / "whole.ts", range(60), format="mpegts", bf="2", g="30", qp="0"
    ).read_bytes()
    # The first packets of a transport stream are tables, which recordings repeat.
    path = folder / "late.ts"
    path.write_bytes(whole[len(whole) // 188 // 5 * 188 :])
    return path


@pytest.mark.parametrize(
    ("make", "seconds", "times"),
    [
        (edit_list, 50 / 30, np.arange(50) / 30),
        (b_frames_in_avi, 1.0, np.arange(30) / 30),
        (dropped_in_avi, 1.0, np.array([*range(10), *range(20, 30)]) / 30),
        (wait_in_webm, 0.0, np.array([*range(10), *(k + 25000 / 33 for k in range(5))]) * 0.033),
        (late_start, None, np.arange(30) / 30),
    ],
)
def test_frames_have_the_times_of_ffprobe(
    tmp_path: Path, make: Callable[[Path], Path], seconds: float | None, times: np.ndarray
) -> None:
    path = make(tmp_path)
    found = video.examine(path)
    assert found.problem is None
    assert seconds is None or found.info.seconds == pytest.approx(seconds, abs=0.01)
    assert video.frame_edges(path)[:-1] == pytest.approx(times, abs=1.1e-3)
    if has_ffmpeg:
        assert probed(path) == pytest.approx(times, abs=1.1e-3)


def test_edit_list_hides_frames(tmp_path: Path) -> None:
    assert numbers(edit_list(tmp_path)) == [k % 30 for k in range(40, 90)]


def test_wait_shows_the_last_frame(tmp_path: Path) -> None:
    samples = numbers(wait_in_webm(tmp_path), fps=10)
    assert samples[:4] == [0, 3, 6, 9]
    assert set(samples[4:250]) == {9}
    assert samples[250:] == [10, 13]


@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [
        ("j.mpg", "mpeg1video", "mpeg"),
        ("j.vob", "mpeg2video", "vob"),
        ("j.ts", "libx264", "mpegts"),
    ],
)
def test_joined_recordings_are_read_to_the_end(
    tmp_path: Path, name: str, codec: str, format: str
) -> None:
    quality = {"qp": "0"} if codec == "libx264" else {"qmin": "1", "qmax": "1"}
    part = encode(tmp_path / name, range(30), codec=codec, format=format, bf="2", **quality)
    part.write_bytes(part.read_bytes() * 2)
    assert video.examine(part).problem is None
    assert len(numbers(part)) == 60
    expected = [int(k * 30 / RATE) % 30 for k in range(2 * RATE)]
    assert numbers(part, fps=RATE) == pytest.approx(expected, abs=1)
    if has_ffmpeg:
        assert len(shown(part)) == pytest.approx(2 * RATE, abs=1)


def test_later_recording_follows_without_the_pause(tmp_path: Path) -> None:
    part = encode(tmp_path / "j.ts", range(30), format="mpegts", qp="0")
    later = encode(tmp_path / "k.ts", range(9000, 9030), format="mpegts", qp="0")
    part.write_bytes(part.read_bytes() + later.read_bytes())
    assert video.examine(part).problem is None
    assert len(numbers(part, fps=RATE)) == 2 * RATE
    if has_ffmpeg:
        assert len(shown(part)) == pytest.approx(2 * RATE, abs=1)


def test_picture_may_end_before_the_sound(tmp_path: Path) -> None:
    path = encode(tmp_path / "c.mkv", range(30), sound=20)
    found = video.examine(path)
    assert (found.frames, found.problem) == (30, None)
    assert found.info.seconds == pytest.approx(1.0, abs=0.02)
    # Without the tag that declares the duration of the picture, as browsers write it.
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"DISTANCE"))
    assert video.examine(path).problem is None


def test_picture_that_breaks_off_with_its_sound_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.mkv"
    with av.open(str(path), "w") as out:
        stream, noise = out.add_stream("mjpeg", rate=30), out.add_stream("pcm_s16le", rate=8000)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for second in range(4):
            for number in range(30):
                frame = av.VideoFrame.from_ndarray(grey(number), format="rgb24")
                out.mux(stream.encode(frame.reformat(format="yuvj420p")))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
            samples.sample_rate, samples.pts = 8000, 8000 * second
            out.mux(noise.encode(samples))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    problem = video.examine(path).problem
    assert problem is not None
    assert problem.startswith("breaks off at 2.0")


def add_streams(path: Path, streams: Sequence[tuple[tuple[int, int], int, Disposition]]) -> Path:
    """Write streams of a size with a number of frames and marks."""
    with av.open(str(path), "w") as out:
        written = []
        for size, frames, marks in streams:
            stream = out.add_stream("mjpeg" if frames == 1 else "libx264", rate=30)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if frames == 1 else "yuv420p"
            stream.disposition = marks
            written.append((stream, size, frames))
        for stream, size, frames in written:
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(grey(number, size), format="rgb24")
                out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            out.mux(stream.encode(None))
    return path


DEFAULT, NONE = Disposition.default, Disposition(0)


@pytest.mark.parametrize(
    ("name", "streams", "shown"),
    [
        ("picture.mp4", [((160, 96), 1, DEFAULT), ((96, 64), 5, DEFAULT)], (96, 64)),
        ("default.mkv", [((160, 96), 5, NONE), ((96, 64), 5, DEFAULT)], (96, 64)),
        ("largest.mkv", [((96, 64), 5, NONE), ((160, 96), 5, NONE)], (160, 96)),
        ("largest.ts", [((96, 64), 5, NONE), ((160, 96), 5, NONE)], (160, 96)),
    ],
)
def test_stream_that_a_player_shows(
    tmp_path: Path,
    name: str,
    streams: Sequence[tuple[tuple[int, int], int, Disposition]],
    shown: tuple[int, int],
) -> None:
    path = add_streams(tmp_path / name, streams)
    info = video.probe(path)
    assert (info.width, info.height) == shown
    assert len(numbers(path)) == 5


def test_samples_are_bounded_by_decoded_frames(tmp_path: Path) -> None:
    # A frame every 20 s, or 200 samples.
    unit, stamps = Fraction(1, 1000), [20_000 * number for number in range(30)]
    slides = encode(tmp_path / "slides.mkv", stamps[:8], unit=unit, qp="0")
    assert numbers(slides, fps=10)[:1400] == [number for number in range(7) for _ in range(200)]
    assert video.read(slides, fps=10).problem is None
    lapse = encode(tmp_path / "lapse.mkv", stamps, unit=unit, qp="0")
    clip = video.read(lapse, fps=10)
    assert len(clip.frames) <= 1000 + 100 * 30
    assert (
        clip.problem == f"cut at {len(clip.frames) / 10:.1f} s, as it has too few frames for 10 fps"
    )
    assert numbers(lapse) == list(range(30))


def test_hours_between_frames_are_not_believed(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 10_000_000, 10_000_040]
    path = encode(tmp_path / "c.mkv", stamps, unit=Fraction(1, 1000), qp="0")
    assert video.frame_edges(path)[:-1] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=0.02)
    assert video.examine(path).problem == "1 part is damaged, the first at 0.11 s"


def test_a_single_short_frame_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    video.write(path, [np.zeros((32, 32, 3), np.uint8)], fps=1000)
    assert [frame.time for frame in video.FrameReader(path, fps=10)] == [0.0]
