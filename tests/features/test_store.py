"""Tests of the feature store: whole or absent after kills, power cuts and flipped bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xxhash
from safetensors.numpy import load_file

from glimpses import features
from glimpses.features import BatchLoader, Blocks, CubeStore
from glimpses.features.part import DamagedFeaturesError
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone
from tests.features import killed_extraction
from tests.features.test_extraction import extract, greys, make_clips
from tests.power_cut import PowerCut

CUBES = np.random.default_rng(0).normal(size=(7, 4, 3)).astype(np.float16)
TIMES = [frame / 10 for frame in range(7)]


def small_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> CubeStore:
    """Return a store with one clip of 7 frames in parts of 3, 3 and 1."""
    monkeypatch.setattr(features.store, "FRAMES_PER_PART", 3)
    store = CubeStore(folder)
    for index, start in enumerate(range(0, 7, 3)):
        store.write_part("clip", index, CUBES[start : start + 3])
    store.finish("clip", TIMES, "breaks off")
    return store


def read(store: CubeStore) -> tuple[Any, ...] | None:
    """Return all of the clip, or None if it is not stored."""
    features.store._verified_offset.cache_clear()
    clip = store.find("clip")
    if clip is None:
        return None
    cubes = np.empty((len(clip), *clip.shape), np.float16)
    clip.read_into(0, cubes)
    return clip.times.tolist(), clip.problem, clip.shape, cubes.tobytes()


STORED = (TIMES, "breaks off", (4, 3), CUBES.tobytes())


def test_a_part_is_a_safetensors_file_with_the_checksum_of_its_cubes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_store(tmp_path, monkeypatch)
    assert read(store) == STORED
    index = json.loads((tmp_path / "cl" / "clip.json").read_text())
    for number, start in enumerate(range(0, 7, 3)):
        cubes = load_file(tmp_path / "cl" / f"clip-{number:05}.safetensors")["cubes"]
        np.testing.assert_array_equal(cubes, CUBES[start : start + 3])
        assert index["parts"][number] == xxhash.xxh3_128(cubes.tobytes()).hexdigest()


def test_every_flipped_bit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small_store(tmp_path, monkeypatch)
    for file in sorted((tmp_path / "cl").iterdir()):
        content = file.read_bytes()
        for position in range(len(content)):
            damaged = bytearray(content)
            damaged[position] ^= 1 << position % 8
            file.write_bytes(damaged)
            with pytest.raises(DamagedFeaturesError) as raised:
                read(store)
            assert raised.value.path == file
        file.write_bytes(content)
    assert read(store) == STORED


@pytest.mark.parametrize(
    "change",
    [
        {"times": []}, {"times": [0.0] * 3}, {"times": [0.1, 0.0, *TIMES[2:]]},
        {"times": [*TIMES[:6], float("nan")]}, {"times": [*TIMES[:6], float("inf")]},
        {"shape": [3, 4]}, {"shape": [4]}, {"shape": None}, {"parts": ["a"] * 3}, {"parts": []},
        {"sizes": [1, 2, 3]}, {"sizes": {}}, {"times": "abcdefg"},
    ],
)  # fmt: skip
def test_index_and_parts_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    store = small_store(tmp_path, monkeypatch)
    file = tmp_path / "cl" / "clip.json"
    index = {**json.loads(file.read_text()), **change}
    del index["checksum"]
    index["checksum"] = xxhash.xxh3_128_hexdigest(json.dumps(index).encode())
    file.write_text(json.dumps(index))
    with pytest.raises(DamagedFeaturesError, match=r"is damaged \(.*\); run glimpses check"):
        read(store)
    assert not store.is_intact("clip")


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 10**5, "null", '{"times": [0.0]}', "\0"])
def test_a_broken_index_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    store = small_store(tmp_path, monkeypatch)
    (tmp_path / "cl" / "clip.json").write_text(content)
    with pytest.raises(DamagedFeaturesError, match=r"clip\.json: is damaged \("):
        store.find("clip")


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, b"\x09" + bytes(7) + b'{"a": [1}', b"\x02" + bytes(7) + b"[]"]
)
def test_a_broken_part_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    store = small_store(tmp_path, monkeypatch)
    clip = store.find("clip")
    assert clip is not None
    part = tmp_path / "cl" / "clip-00001.safetensors"
    part.write_bytes(content)
    assert [error.path for error in clip.damage()] == [part]
    # Extraction begins with this part again.
    assert store.frames_done("clip") == 3
    assert not part.exists()


def test_parts_of_two_extractions_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_store(tmp_path, monkeypatch)
    store.write_part("clip", 1, CUBES[3:6] + 1)
    with pytest.raises(DamagedFeaturesError, match="another file than its index describes"):
        read(store)


def test_a_clip_is_whole_or_absent_after_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PowerCut(tmp_path) as cut:
        small_store(tmp_path / "new" / "store", monkeypatch)
        cut.report("clip")
        # Computed again, as after damage.
        small_store(tmp_path / "new" / "store", monkeypatch)
        cut.report("again")
    outcomes = set()
    for number, disk in enumerate(cut.disks()):
        store = CubeStore(disk.write(tmp_path / f"disk{number}") / "new" / "store")
        content = read(store)
        assert content == STORED or (content is None and not disk.reported), disk.cut
        outcomes.add(content is None)
        # Extraction continues behind complete parts only.
        done = store.frames_done("clip")
        assert done in {0, 3, 6}
        for index in range(done // 3):
            part = store._part_path("clip", index)
            np.testing.assert_array_equal(
                load_file(part)["cubes"], CUBES[3 * index : 3 * index + 3]
            )
    assert outcomes == {True, False}


def damage_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def damage_flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 16
    file.write_bytes(content)


def damage_garbage(file: Path) -> None:
    file.write_bytes(b"no tensors")


DAMAGES = [Path.unlink, damage_truncate, damage_flip, damage_garbage]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_damaged_features_are_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], suffix: str
) -> None:
    clips = make_clips(tmp_path, [20, 12])
    result = extract(clips, GreyBackbone(), tmp_path / "store")
    expected = {id: greys(clip) for id, clip in result.clips.items()}
    file = next(result.folder.glob(f"??/{result.clips['0.mp4'].digest}*{suffix}"))
    features.store._verified_offset.cache_clear()
    damage(file)
    backbone = GreyBackbone()
    again = extract(clips, backbone, tmp_path / "store")
    assert {id: greys(clip) for id, clip in again.clips.items()} == expected
    assert backbone.frames == 20
    # Without its index, a clip is not damaged but incomplete.
    warned = not (damage is Path.unlink and suffix == ".json")
    assert sum("is damaged" in message for message in caplog.messages) == warned
    assert all(str(file) in message for message in caplog.messages if "is damaged" in message)
    assert CubeStore(result.folder).is_intact(result.clips["0.mp4"].digest)


def test_stores_without_checksums_are_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = make_clips(tmp_path, [20, 12, 5])
    result = extract(clips, GreyBackbone(), tmp_path / "store")
    for file in result.folder.glob("??/*.json"):
        index = json.loads(file.read_text())
        file.write_text(json.dumps({key: index[key] for key in ("times", "problem", "sizes")}))
    extract(clips, GreyBackbone(), tmp_path / "store")
    expected = "no checksum, as files of earlier versions"
    (message,) = [message for message in caplog.messages if expected in message]
    assert message.endswith("as are the features of 2 more; computing again")


@pytest.mark.parametrize("damage", DAMAGES)
def test_features_damaged_while_in_use_are_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(features.store, "FRAMES_PER_PART", 16)
    monkeypatch.setattr(features.fill, "FRAMES_PER_PART", 16)
    clips = make_clips(tmp_path, [40])
    backbone = GreyBackbone()
    result = extract(clips, backbone, tmp_path / "store")
    expected = extract(clips, GreyBackbone(), tmp_path / "other").clips["0.mp4"]
    part = sorted(result.folder.rglob("*.safetensors"))[1]
    damage(part)
    clip = result.clips["0.mp4"]
    for _ in range(2):
        assert greys(clip) == greys(expected)
    # The first part was whole.
    assert backbone.frames == 40 + 24
    (message,) = [message for message in caplog.messages if "is damaged" in message]
    assert message.startswith(f"{part}: is damaged (")
    assert message.endswith(f"); computing the features of {clips[0].path} again")


def test_a_training_goes_on_over_damaged_features(tmp_path: Path) -> None:
    """Two epochs of batches, read by a thread, equal those of an intact store."""
    clips = make_clips(tmp_path, [20, 30, 40])
    epochs = []
    for name in ("intact", "damaged"):
        result = extract(clips, GreyBackbone(), tmp_path / name)
        if name == "damaged":
            for file in result.folder.rglob("*.safetensors"):
                damage_flip(file)
        starts = [[0, 8, 16]] * 3
        blocks = Blocks([result.clips[clip.id] for clip in clips], starts, 8)
        epochs.append([batch for _ in range(2) for batch in BatchLoader(blocks, 2)])
    for intact, recovered in zip(*epochs, strict=True):
        assert all(map(torch.equal, intact, recovered))


@pytest.mark.parametrize("now", ["gone", "changed", "broken"])
def test_damage_without_the_clip_is_one_line(tmp_path: Path, now: str) -> None:
    clips = make_clips(tmp_path, [20, 30])
    result = extract(clips, GreyBackbone(), tmp_path / "store")
    path = clips[0].path
    if now == "gone":
        path.unlink()
    else:
        path.write_bytes(clips[1].path.read_bytes() if now == "changed" else b"")
    damage_flip(next(result.folder.glob(f"??/{result.clips['0.mp4'].digest}-*")))
    expected = rf"^{path}: (cannot be read \(No such file or directory\)|has changed), and its sto"
    with pytest.raises(GlimpsesError, match=expected):
        greys(result.clips["0.mp4"])


@pytest.mark.parametrize(("call", "number"), [("replace", 3), ("replace", 6), ("fsync", 6)])
def test_an_extraction_that_was_killed_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    monkeypatch.setattr(features.store, "FRAMES_PER_PART", 16)
    monkeypatch.setattr(features.fill, "FRAMES_PER_PART", 16)
    make_clips(tmp_path, [40, 10])
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, "-m", "tests.features.killed_extraction", tmp_path, call, str(number)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root / "src")}, check=False,
        capture_output=True,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert list((tmp_path / "store").rglob(".part-*"))
    resumed = killed_extraction.extract(tmp_path, tmp_path / "store")
    whole = killed_extraction.extract(tmp_path, tmp_path / "whole")
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (whole.folder, resumed.folder)
    ]
    assert len(files[0]) == 7
    assert files[0] == files[1]
