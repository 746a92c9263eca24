"""Tests of the masks of J-HMDB: SciPy's files, the right frames, and damaged files."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import scipy.io

from glimpses import datasets, video
from glimpses.datasets import Clip
from glimpses.datasets.annotations import annotation_for, annotations_for
from glimpses.datasets.annotations.puppet_mask import encode_part_mask, load_part_mask
from glimpses.datasets.layouts.jhmdb import MASK_FILE
from glimpses.utils.errors import GlimpsesError

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01"


def puppet(frames: int = 12, height: int = 24, width: int = 32) -> np.ndarray:
    """Masks (H, W, T) with the numbers of body parts."""
    random = np.random.default_rng(3)
    masks = random.integers(0, 11, (height, width, frames))
    return masks * (random.random(masks.shape) < 0.3)


def save(file: Path, masks: np.ndarray, *, compressed: bool = True, **others: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(file, {**others, "part_mask": masks}, do_compression=compressed)
    return file


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.float64, np.int32, np.bool_])
def test_reads_what_scipy_writes(tmp_path: Path, kind: type, compressed: bool) -> None:
    masks: np.ndarray = puppet().astype(kind)
    file = save(tmp_path / MASK_FILE, masks, compressed=compressed, category="wave")
    expected = (masks != 0).transpose(2, 0, 1)
    np.testing.assert_array_equal(load_part_mask(file), expected)


def test_scipy_reads_what_is_written(tmp_path: Path) -> None:
    masks = puppet(5, 7, 9).transpose(2, 0, 1) != 0
    (tmp_path / MASK_FILE).write_bytes(encode_part_mask(masks))
    read = scipy.io.loadmat(tmp_path / MASK_FILE)["part_mask"]
    np.testing.assert_array_equal(read, masks.transpose(1, 2, 0))
    np.testing.assert_array_equal(load_part_mask(tmp_path / MASK_FILE), masks)


def test_reads_a_single_frame_and_either_byte_order(tmp_path: Path) -> None:
    masks = puppet(frames=1)
    file = save(tmp_path / MASK_FILE, masks[..., 0])
    np.testing.assert_array_equal(load_part_mask(file), (masks != 0).transpose(2, 0, 1))
    big = element(6, struct.pack(">II", 9, 0), ">") + element(5, struct.pack(">iii", 2, 1, 2), ">")
    big += element(1, b"part_mask", ">") + struct.pack(">HH", 4, 2) + bytes([0, 3, 7, 0])
    file.write_bytes(HEADER + b"MI" + element(14, big, ">"))
    assert load_part_mask(file).tolist() == [[[False], [True]], [[True], [False]]]


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(
    shape: tuple[int, ...], values: bytes, kind: int = 9, name: bytes = b"part_mask"
) -> bytes:
    parts = element(6, struct.pack("<II", kind, 0))
    parts += element(5, struct.pack(f"<{len(shape)}i", *shape)) + element(1, name)
    return element(14, parts + element(2, values))


BOMB = zlib.compress(bytes(260 << 20), 1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a MATLAB file"),
        (b"RIFF" * 100, "not a MATLAB file"),
        (b"MATLAB 7.3 MAT-file" * 10, "save it with -v7"),
        (HEADER + b"IM", "no array part_mask"),
        (HEADER + b"IM" + matrix((2, 2, 2), bytes(8), name=b"other"), "no array part_mask"),
        (HEADER + b"IM" + matrix((2, 2, 2), bytes(7)), "7 of 8 values"),
        (HEADER + b"IM" + matrix((1 << 30, 1 << 30, 1 << 30), bytes(8)), "8 of"),
        (HEADER + b"IM" + matrix((-2, -2, 2), bytes(8)), "three dimensions"),
        (HEADER + b"IM" + matrix((2, 2, 2, 1), bytes(8)), "three dimensions"),
        (HEADER + b"IM" + matrix((2, 2, 2), bytes(8), kind=1), "array of numbers"),
        (HEADER + b"IM" + matrix((2, 2, 2), bytes(8))[:-8], "truncated"),
        (HEADER + b"IM" + struct.pack("<II", 14, 0xFFFFFFF0), "truncated"),
        (HEADER + b"IM" + struct.pack("<II", 15, len(BOMB)) + BOMB, "more than 256 MB"),
        (HEADER + b"IM" + struct.pack("<II", 15, 9) + b"not zlib!", "incorrect header"),
        (bytes(33 << 20), "larger than 32 MB"),
    ],
)  # fmt: skip
def test_unusable_file_is_a_one_line_error(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / MASK_FILE
    file.write_bytes(content)
    with pytest.raises(GlimpsesError, match=re.escape(problem)) as caught:
        load_part_mask(file)
    assert str(caught.value).startswith(f"{file}: cannot be read")
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for file, problem in ((tmp_path / MASK_FILE, "No such file"), (tmp_path, "regular file")):
        with pytest.raises(GlimpsesError, match=problem):
            load_part_mask(file)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    """Any single changed byte, and any shortened file, gives masks or a one-line error."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"part_mask": puppet(3, 6, 5)}, do_compression=False)
    whole, random = buffer.getvalue(), np.random.default_rng(0)
    file, read = tmp_path / MASK_FILE, 0
    for number in range(200):
        content = bytearray(whole)
        if number % 3:
            content[random.integers(len(content))] = random.integers(256)
        else:
            del content[random.integers(len(content)) :]
        file.write_bytes(content)
        try:
            read += load_part_mask(file).ndim == 3
        except GlimpsesError as error:
            assert "\n" not in str(error)
    assert 20 < read < 180


@pytest.fixture
def gappy(tmp_path: Path) -> Path:
    """A clip of 12 frames over 20 slots of 1/30 s, as the containers of J-HMDB have."""
    path = tmp_path / "wave/film_wave_u_cm_np1_fr_goo_0.mkv"
    path.parent.mkdir()
    slots = [0, 2, 3, 5, 6, 8, 11, 12, 15, 16, 18, 19]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30, width=32, height=24)
        for number, slot in enumerate(slots):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 20 * number, np.uint8))
            frame.pts = slot
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_mask_t_belongs_to_the_decoded_frame_t(gappy: Path, tmp_path: Path) -> None:
    masks = np.zeros((24, 32, 12), np.uint8)
    for frame in range(12):
        masks[:, : 2 * frame + 2, frame] = 1
    file = save(tmp_path / "puppet_mask/wave" / gappy.stem / MASK_FILE, masks)
    clip = Clip(f"wave/{gappy.name}", gappy, (0,), "film", file)
    annotation = annotation_for(clip)
    assert annotation is not None
    # Frame 3 appears at slot 5 and stays until slot 6; frame 6 is on display from 11 to 12.
    times = np.array([0, 1, 2, 5, 5.9, 6, 10, 11, 19]) / 30
    columns = annotation.occupancy(times, 1)[:, 0, 0] * 32
    assert columns.tolist() == [2, 2, 4, 8, 8, 10, 12, 14, 24]
    assert annotation.annotated(times).all()
    # The same by the names of a folder that the user gives.
    separate = annotations_for([Clip(clip.id, gappy, (0,), "film")], tmp_path / "puppet_mask")
    np.testing.assert_array_equal(
        separate[clip.id].occupancy(times, 3), annotation.occupancy(times, 3)
    )


@pytest.mark.parametrize("count", [9, 15])
def test_other_numbers_of_masks_and_frames(gappy: Path, tmp_path: Path, count: int) -> None:
    file = save(tmp_path / MASK_FILE, np.ones((24, 32, count), np.uint8))
    annotation = annotation_for(Clip("wave/a.mkv", gappy, (0,), "film", file))
    assert annotation is not None
    slots = np.array([0, 15, 16, 19])
    assert annotation.annotated(slots / 30).tolist() == [True, True, count > 9, count > 9]
    missing = Clip("wave/b.mkv", tmp_path / "b.mkv", (0,), "film", file)
    with pytest.raises(GlimpsesError, match="no video to count frames in"):
        annotation_for(missing)


def test_masks_of_real_clips_belong_to_their_decoded_frames(shared: Path) -> None:
    """The set in class folders, whose containers have gaps, against frames counted here."""
    root = shared / "data/jhmdb"
    if not root.is_dir():
        pytest.skip("there is no part of J-HMDB")
    shifted = 0
    for clip in datasets.load(root).clips[::40]:
        with av.open(str(clip.path)) as container:
            stamps = np.array([float(frame.time) for frame in container.decode(video=0)])
        stamps -= stamps[0]
        assert clip.annotation is not None
        with np.load(clip.annotation) as arrays:
            masks = np.unpackbits(arrays["masks"], axis=-1, count=int(arrays["shape"][-1]))[0]
        annotation = annotation_for(clip)
        assert annotation is not None
        sampled = video.read(clip.path, fps=10, size=16)
        frames = (stamps[None] <= sampled.times[:, None] + 1e-3).sum(1) - 1
        height, width = masks.shape[1:]
        expected = masks.reshape(-1, 4, height // 4, 4, width // 4).mean((2, 4))[frames]
        np.testing.assert_allclose(annotation.occupancy(sampled.times, 4), expected, atol=1e-9)
        shifted += (frames != np.floor(sampled.times * 30 + 1e-3)).any()
    assert shifted > 5
