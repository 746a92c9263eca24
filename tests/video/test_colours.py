"""Colours and orientation of frames, from the formulas of the standards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.video.reformatter import ColorPrimaries, ColorTrc

from glimpses import video

COLOURS = np.array(
    [(200, 40, 40), (40, 180, 40), (40, 60, 200), (220, 200, 40), (128, 128, 128), (16, 16, 16),
     (240, 240, 240), (210, 160, 130)], np.float64,
)  # fmt: skip


def write_yuv(
    path: Path,
    picture: np.ndarray,
    *,
    bits: int = 8,
    codec: str = "ffv1",
    matrix: tuple[float, float] = (0.2126, 0.0722),
    **tags: int,
) -> Path:
    """Write signals from 0 to 1, (H, W, 3), twice, in the YCbCr of these weights of R and B."""
    red, blue = matrix
    luma = picture @ (red, 1 - red - blue, blue)
    scale = 1 << (bits - 8)
    chroma = [
        (128 + 224 * (picture[..., index] - luma) / 2 / (1 - weight)) * scale
        for index, weight in ((2, blue), (0, red))
    ]
    planes = [(16 + 219 * luma) * scale, *chroma]
    format = "yuv444p" if bits == 8 else "yuv444p10le"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.height, stream.width, _ = picture.shape
        stream.pix_fmt = format
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for _ in range(2):
            frame = av.VideoFrame(stream.width, stream.height, format)
            for plane, values in zip(frame.planes, planes, strict=True):
                content = values.round().astype(np.uint8 if bits == 8 else np.uint16)
                lines = np.zeros((plane.height, plane.line_size // content.itemsize), content.dtype)
                lines[:, : plane.width] = content
                plane.update(lines.tobytes())
            for name, value in tags.items():
                setattr(frame, name, value)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def stripes(colours: np.ndarray, height: int = 64, width: int = 20) -> np.ndarray:
    return np.broadcast_to(colours.repeat(width, 0), (height, width * len(colours), 3))


def seen(path: Path) -> np.ndarray:
    """Return the colours in the middle of the stripes."""
    frame = video.read(path, size=None).frames[1]
    width = frame.shape[1] // len(COLOURS)
    return frame[frame.shape[0] // 2, width // 2 :: width].astype(np.float64)


def linear(colours: np.ndarray) -> np.ndarray:
    """Return light by sRGB, with the primaries of BT.2020."""
    signal = colours / 255
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    rows = [(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)]
    return light @ np.array(rows).T


def hlg(light: np.ndarray) -> np.ndarray:
    """Return the signal by the OETF of HLG, with diffuse white at 75 %."""
    light = 0.265 * light
    log = np.log(np.maximum(12 * light - 0.28466892, 1e-9))
    return np.where(light <= 1 / 12, np.sqrt(3 * light), 0.17883277 * log + 0.55991073)


def pq(light: np.ndarray) -> np.ndarray:
    """Return the signal by the inverse EOTF of PQ, with diffuse white at 203 cd/m2."""
    power = (light * 203 / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


@pytest.mark.parametrize(
    ("transfer", "encode"), [(ColorTrc.ARIB_STD_B67, hlg), (ColorTrc.SMPTE2084, pq)]
)
@pytest.mark.parametrize("colorspace", [9, 2])
def test_high_dynamic_range_is_mapped(
    tmp_path: Path, transfer: ColorTrc, encode: type[np.ndarray], colorspace: int
) -> None:
    tags = {"color_trc": transfer, "color_primaries": ColorPrimaries.BT2020}
    path = write_yuv(
        tmp_path / "c.mkv", stripes(encode(linear(COLOURS))), bits=10, matrix=(0.2627, 0.0593),
        colorspace=colorspace, **tags,
    )  # fmt: skip
    assert seen(path) == pytest.approx(COLOURS, abs=4)
    # Highlights are compressed, not cut off.
    bright = np.geomspace(0.4, 2.0, len(COLOURS))[:, None].repeat(3, 1)
    path = write_yuv(
        tmp_path / "d.mkv", stripes(encode(bright)), bits=10, matrix=(0.2627, 0.0593),
        colorspace=colorspace, **tags,
    )  # fmt: skip
    levels = seen(path)[:, 0]
    assert (np.diff(levels) > 0).all()
    assert levels[-1] < 255


@pytest.mark.parametrize(
    ("height", "declared", "matrix"),
    [
        (576, 2, (0.299, 0.114)),
        (578, 2, (0.2126, 0.0722)),
        (578, 6, (0.299, 0.114)),
        (576, 1, (0.2126, 0.0722)),
    ],
)
def test_large_pictures_are_bt709(
    tmp_path: Path, height: int, declared: int, matrix: tuple[float, float]
) -> None:
    picture = stripes(COLOURS / 255, height)
    path = write_yuv(tmp_path / "c.mkv", picture, matrix=matrix, colorspace=declared)
    assert seen(path) == pytest.approx(COLOURS, abs=2)


def write_quarters(path: Path, size: tuple[int, int], levels: Sequence[int]) -> Path:
    """Write three frames, bright in their upper left quarter."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"qp": "0", "bf": "0"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        for level in levels:
            pixels = np.zeros((size[1], size[0], 3), np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = level
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_orientation_of_the_first_frame_holds(tmp_path: Path) -> None:
    plain = write_quarters(tmp_path / "plain.mp4", (96, 64), (250, 240, 230, 220, 210, 200))
    turned = tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        turn = BitStreamFilterContext("h264_metadata=display_orientation=insert:rotate=90", stream)
        for packet in source.demux(stream):
            for filtered in turn.filter(packet if packet.size else None):
                filtered.stream = copy
                out.mux(filtered)
    clip = video.read(turned, fps="native", size=None)
    assert clip.frames.shape == (6, 96, 64, 3)
    # Turned by 90 degrees against the clock, as the bitstream filter defines it.
    assert (clip.frames[:, 72, 16].min(-1) > 190).all()
    assert (clip.frames[:, 24, 16].max(-1) < 30).all()
    # Also where the first frame is not converted.
    frames = [frame for _, frame in video.FrameReader(turned, fps="native").decoded_frames()]
    assert frames[-1].size == (64, 96)
    assert video.RGBConverter(None)(frames[-1]).shape == (96, 64, 3)


def test_change_of_size_keeps_the_first(tmp_path: Path) -> None:
    path = write_quarters(tmp_path / "a.ts", (96, 64), (250, 250))
    other = write_quarters(tmp_path / "b.ts", (192, 160), (200, 200))
    path.write_bytes(path.read_bytes() + other.read_bytes())
    clip = video.read(path, fps="native", size=None)
    assert clip.frames.shape == (4, 64, 96, 3)
    assert clip.frames[:, 10, 10, 0].tolist() == pytest.approx([250, 250, 200, 200], abs=2)
