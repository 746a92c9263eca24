"""Tests of video files: correct frames at correct times, upright, from damaged files, too."""

from __future__ import annotations

import gc
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from glimpses import video
from glimpses.utils.errors import GlimpsesError


def numbered(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """Return frames whose grey level is 8 times their number."""
    return [np.full((height, width, 3), 8 * k, np.uint8) for k in range(count)]


def numbers(frames: np.ndarray) -> list[int]:
    """Return the numbers of sampled frames, from their grey levels."""
    return [round(float(frame.mean()) / 8) for frame in frames]


def encode(
    path: Path,
    stamps: list[int],
    *,
    codec: str,
    time_base: Fraction = Fraction(1, 1000),
    audio: bool = False,
) -> Path:
    """Write a video with frame k shown from stamps[k] on, using PyAV only."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30, options={"qp": "0"} if codec == "libx264" else {})
        stream.width, stream.height = 96, 64
        stream.time_base = stream.codec_context.time_base = time_base
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if audio:
            sound = out.add_stream("aac", rate=8000)
        for stamp, pixels in zip(stamps, numbered(len(stamps)), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=stream.pix_fmt
            )
            frame.pts, frame.time_base = stamp, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if audio:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 0
            out.mux(sound.encode(silence))
            out.mux(sound.encode(None))
    return path


def test_frames_are_freed_at_once(tmp_path: Path) -> None:
    """They are large, and Python collects reference cycles only now and then."""
    video.write(tmp_path / "clip.mp4", numbered(30), fps=25)
    gc.disable()
    try:
        for _ in video.FrameReader(tmp_path / "clip.mp4", fps="native"):
            pass
        held = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert held < 5


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(30)])
def test_samples_are_the_frames_on_display(tmp_path: Path, rate: Fraction) -> None:
    video.write(tmp_path / "clip.mp4", numbered(25), fps=float(rate))
    clip = video.read(tmp_path / "clip.mp4", fps=10, size=None)
    seconds = 25 / rate
    # Containers round to milliseconds, so a frame that is due within one counts as on display.
    due = Fraction(1, 1000)
    expected = [int((Fraction(k, 10) + due) * rate) for k in range(100) if k / 10 < seconds - due]
    assert numbers(clip.frames) == expected
    assert clip.times == pytest.approx(np.arange(len(expected)) / 10)
    assert clip.problem is None


def test_varying_rate_keeps_its_speed(tmp_path: Path) -> None:
    # Ten frames in the first 0.4 s, then five, 0.3 s apart.
    stamps = [40 * k for k in range(10)] + [400 + 300 * k for k in range(5)]
    for name, codec in (("clip.mkv", "libx264"), ("clip.webm", "libvpx")):
        clip = video.read(encode(tmp_path / name, stamps, codec=codec), fps=10, size=None)
        shown = [sum(stamp <= 100 * k for stamp in stamps) - 1 for k in range(17)]
        assert numbers(clip.frames)[:17] == shown


def test_native_keeps_every_frame_and_its_time(tmp_path: Path) -> None:
    stamps = [0, 40, 70, 400, 410]
    clip = video.read(encode(tmp_path / "c.mkv", stamps, codec="libx264"), fps="native", size=None)
    assert numbers(clip.frames) == [0, 1, 2, 3, 4]
    assert clip.times * 1000 == pytest.approx(stamps)


@pytest.mark.parametrize("fps", [4.0, 10.0, 40.0, "native"])
def test_samples_have_the_number_of_their_frame(tmp_path: Path, fps: video.FrameRate) -> None:
    stamps = [3000 + stamp for stamp in (0, 40, 70, 400, 410, 900, 930, 960, 990)]
    path = encode(tmp_path / "c.mkv", stamps, codec="libx264")
    reader = video.FrameReader(path, fps=fps, size=None)
    frames = list(reader)
    assert [frame.number for frame in frames] == numbers([frame.pixels for frame in frames])
    assert reader.frame_count == 9
    assert reader.seconds == pytest.approx(0.99, abs=0.05)
    with video.Prefetcher([path], fps=fps, size=32) as prefetcher:
        ((_, source),) = [(index, source) for index, source in prefetcher if list(source)]
    assert (source.frame_count, source.seconds) == (9, reader.seconds)
    array = np.stack(numbered(9))
    steady = video.ArrayReader(array, 8.0, fps=fps, size=32)
    assert [frame.number for frame in steady] == numbers([frame.pixels for frame in steady])
    assert (steady.frame_count, steady.seconds) == (9, 9 / 8)


def test_rate_above_the_source_repeats_frames(tmp_path: Path) -> None:
    video.write(tmp_path / "clip.mp4", numbered(5), fps=5)
    clip = video.read(tmp_path / "clip.mp4", fps=10, size=None)
    assert numbers(clip.frames) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".avi", "mpeg4"),
        (".mpg", "mpeg2video"),
        (".mpeg", "mpeg1video"),
        (".mp4", "libx264"),
        (".mov", "libx264"),
        (".mkv", "libx264"),
        (".webm", "libvpx-vp9"),
        (".gif", "gif"),
    ],
)
def test_every_suffix_is_read(tmp_path: Path, suffix: str, codec: str) -> None:
    path = encode(
        tmp_path / f"clip{suffix}", list(range(20)), codec=codec, time_base=Fraction(1, 25)
    )
    clip = video.read(path, fps=5, size=None)
    # Coarse quantisers and GIF's 256 colours lose a grey level or so.
    assert numbers(clip.frames)[:4] == pytest.approx([0, 5, 10, 15], abs=1)
    assert clip.problem is None
    assert suffix in video.SUFFIXES


def test_first_frame_counts_as_zero(tmp_path: Path) -> None:
    path = encode(tmp_path / "c.mkv", [5000, 5100, 5200], codec="libx264")
    assert video.read(path, fps=10).times[0] == 0


def corners(frame: np.ndarray) -> str:
    """Return the colours of the four corners, row by row: k, r, g or b."""
    height, width, _ = frame.shape
    names = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            pixel = frame[y, x].astype(int)
            names.append("k" if pixel.max() < 80 else "rgb"[pixel.argmax()])
    return "".join(names)


def test_rotation_in_the_file_is_honoured(tmp_path: Path) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, 48:, 0] = picture[32:, :48, 1] = picture[32:, 48:, 2] = 255
    video.write(tmp_path / "clip.mp4", [picture] * 5, fps=10)
    content = (tmp_path / "clip.mp4").read_bytes()
    # QuickTime File Format, track header atom: the matrix a b u c d v x y w; by its definition
    # x' = a x + c y, y' = b x + d y. Unturned, the corners read "krgb".
    one, w = 0x00010000, 0x40000000
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, w)
    header = content.index(b"tkhd")
    at = content.index(identity, header)
    for matrix, expected, size in (
        ((one, 0, 0, 0, one, 0, 0, 0, w), "krgb", (96, 64)),
        ((0, one, 0, -one, 0, 0, 0, 0, w), "gkbr", (64, 96)),  # a phone held upright
        ((-one, 0, 0, 0, -one, 0, 0, 0, w), "bgrk", (96, 64)),
        ((0, -one, 0, one, 0, 0, 0, 0, w), "rbkg", (64, 96)),
        ((-one, 0, 0, 0, one, 0, 0, 0, w), "rkbg", (96, 64)),  # a mirrored front camera
    ):
        turned = tmp_path / "turned.mp4"
        turned.write_bytes(content[:at] + struct.pack(">9i", *matrix) + content[at + 36 :])
        clip = video.read(turned, size=None)
        assert corners(clip.frames[0]) == expected
        assert clip.frames.shape[1:] == (size[1], size[0], 3)
        info = video.probe(turned)
        assert (info.width, info.height) == size
        assert corners(video.read(turned, size=224).frames[0]) == expected


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "c.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for pixels in numbered(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    assert video.read(tmp_path / "c.mp4", size=None).frames.shape[1:] == (64, 128, 3)


def test_resizing_averages_what_falls_together(tmp_path: Path) -> None:
    # A fine checkerboard becomes even grey; picking single pixels would keep black and white.
    board = np.indices((448, 448)).sum(0) // 2 % 2 * 255
    video.write(tmp_path / "c.mp4", [np.repeat(board[..., None], 3, 2).astype(np.uint8)] * 2, fps=2)
    frame = video.read(tmp_path / "c.mp4", size=112).frames[0]
    assert frame.shape == (112, 112, 3)
    assert np.abs(frame.astype(int) - 127).max() < 25


def test_written_mp4_is_what_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.mp4"
    video.write(path, (np.full((61, 97, 3), (200, 30, 60), np.uint8) for _ in range(12)), fps=12.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.width, stream.codec_context.height) == (98, 62)
        assert stream.average_rate == Fraction(25, 2)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    frame = video.read(path, size=None).frames[6]
    assert np.abs(frame.reshape(-1, 3).astype(int).mean(0) - (200, 30, 60)).max() < 4


def test_avi_bytes_are_reproducible(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    for name in ("one.avi", "two.avi"):
        video.write(tmp_path / name, noise, fps=10)
    assert (tmp_path / "one.avi").read_bytes() == (tmp_path / "two.avi").read_bytes()
    assert len(video.read(tmp_path / "one.avi", fps=10).frames) == 9


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield from numbered(3)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        video.write(tmp_path / "a.mp4", broken(), fps=10)
    with pytest.raises(GlimpsesError, match=r"b\.mp4: there are no frames"):
        video.write(tmp_path / "b.mp4", [], fps=10)
    assert list(tmp_path.iterdir()) == []


def test_truncated_clip_yields_the_frames_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = tmp_path / "whole.avi"
    video.write(whole, np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8), fps=10)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    clip = video.read(cut, fps=10)
    assert 25 <= len(clip.frames) <= 31
    assert clip.problem is not None
    assert clip.problem.startswith("breaks off at ")
    assert clip.problem.endswith(" s of 6.00 s")
    assert caplog.messages == [f"{cut}: {clip.problem}; using the frames that can be read"]
    np.testing.assert_array_equal(clip.frames[:20], video.read(whole, fps=10).frames[:20])


def test_damage_in_the_middle_is_reported_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c.avi"
    video.write(path, np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8), fps=10)
    clean = video.read(path, fps="native", size=None)
    assert clean.problem is None
    # Overwriting whole frames leaves a stream that no decoder can read in that place.
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9000] = np.random.default_rng(1).bytes(9000)
    path.write_bytes(content)
    clip = video.read(path, fps="native", size=None)
    assert clip.problem is not None
    assert 5 < len(clip.frames) <= 30


def test_sound_longer_than_the_picture_is_no_damage(tmp_path: Path) -> None:
    path = encode(tmp_path / "c.mkv", [0, 100, 200], codec="libx264", audio=True)
    assert video.read(path).problem is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"This is not a video.\n" * 50, "is not a video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "is not a video"),
        ("picture.avi", b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a video"),
        ("noise.webm", np.random.default_rng(1).bytes(5000), "is not a video"),
        ("concat.mov", b"ffconcat version 1.0\nfile other.mp4\n", "is not a video"),
    ],
)
def test_files_that_are_not_videos(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for use in (video.probe, video.read):
        with pytest.raises(GlimpsesError) as raised:
            use(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)


def test_read_header(tmp_path: Path) -> None:
    grey = [np.full((32, 32, 3), 8 * n, np.uint8) for n in range(20)]
    for name in ("c.mp4", "c.avi"):
        video.write(tmp_path / name, grey, fps=8)
        assert video.read_header(tmp_path / name) == pytest.approx((2.5, 8), abs=0.01)


def test_cut_off_mp4_lacks_its_index(tmp_path: Path) -> None:
    path = encode(tmp_path / "c.mp4", [100 * k for k in range(9)], codec="libx264")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(GlimpsesError, match="is truncated"):
        video.read(path)


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.sample_rate, silence.pts = 8000, 0
        out.mux(stream.encode(silence))
        out.mux(stream.encode(None))
    with pytest.raises(GlimpsesError, match="contains sound but no video"):
        video.read(path)


def test_odd_paths(tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="is a folder"):
        video.probe(tmp_path)
    with pytest.raises(GlimpsesError, match="no such file"):
        video.probe(tmp_path / "absent.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(GlimpsesError, match="not a regular file"):
        video.probe(tmp_path / "pipe.mp4")
    odd = tmp_path / "http:50%d #?.mp4"
    video.write(odd, numbered(3), fps=10)
    assert len(video.read(odd).frames) == 3


def test_misnamed_video_is_read_for_what_it_is(tmp_path: Path) -> None:
    video.write(tmp_path / "c.mp4", numbered(5), fps=10)
    (tmp_path / "c.mp4").rename(tmp_path / "c.avi")
    assert video.probe(tmp_path / "c.avi").container == "mov"
    assert len(video.read(tmp_path / "c.avi").frames) == 5


@pytest.mark.parametrize("name", ["c.avi", "c.mp4", "c.mkv", "c.mpg", "c.gif"])
def test_damaged_bytes_never_crash_or_hang(tmp_path: Path, name: str) -> None:
    codec = {".avi": "mpeg4", ".mpg": "mpeg1video", ".gif": "gif"}.get(Path(name).suffix, "libx264")
    path = encode(tmp_path / name, list(range(20)), codec=codec, time_base=Fraction(1, 25))
    clean = path.read_bytes()
    random = np.random.default_rng(2)
    read = 0
    for _ in range(60):
        content = np.frombuffer(clean, np.uint8).copy()
        at = random.integers(0, len(content), 12)
        content[at] = random.integers(0, 256, 12)
        path.write_bytes(content[: random.integers(len(content) // 2, len(content) + 1)].tobytes())
        try:
            clip = video.read(path, fps=10, size=32)
        except GlimpsesError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            read += 1
            assert 0 < len(clip.frames) <= 10 * 3600
            assert np.all(np.diff(clip.times) > 0)
    assert read > 5 or name.endswith("mp4")


def test_wrong_rate_or_size() -> None:
    for fps in (0, -1, float("nan")):
        with pytest.raises(GlimpsesError, match="frame rate"):
            video.FrameReader(Path("c.mp4"), fps=fps)
    with pytest.raises(GlimpsesError, match="size"):
        video.FrameReader(Path("c.mp4"), size=0)


def test_real_clips(shared: Path) -> None:
    """Counts by OpenCV 4.10's own reader: frames of each file; none of them is damaged."""
    clips = {
        "ucf101-clips": 18,
        "hmdb51-clips": 4,
        "kinetics-misc": 4,
        "ucf11-clips": 3,
    }
    for folder, count in clips.items():
        files = [f for f in (shared / "data" / folder).rglob("*") if f.suffix in video.SUFFIXES]
        assert len(files) == count
        for file in files:
            info = video.probe(file)
            clip = video.read(file, fps=2, size=64)
            assert clip.problem is None
            assert abs(len(clip.frames) - 2 * info.seconds) <= 1.01
