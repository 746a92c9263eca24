"""Tests of blocks: they cover a clip, start as in the paper, and pad short clips."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from glimpses.features import (
    FRAMES_PER_PART,
    Blocks,
    ClipFeatures,
    CubeStore,
    collate,
    grid_starts,
    random_starts,
    read_block,
)


def store_clip(folder: Path, frames: int) -> ClipFeatures:
    """Return a clip whose cube at frame n is n in every place."""
    cubes = np.broadcast_to(np.arange(frames, dtype=np.float16)[:, None, None], (frames, 4, 3))
    store = CubeStore(folder)
    for index, start in enumerate(range(0, frames, FRAMES_PER_PART)):
        store.write_part("digest", index, cubes[start : start + FRAMES_PER_PART])
    store.finish("digest", [frame / 10 for frame in range(frames)], None)
    clip = store.find("digest")
    assert clip is not None
    return clip


@pytest.mark.parametrize("frames", [1, 7, 29, 30, 31, 59, 60, 61, 200])
@pytest.mark.parametrize("stride", [1, 7, 30, 45])
def test_blocks_on_a_grid_cover_the_clip(frames: int, stride: int) -> None:
    starts = grid_starts(frames, 30, stride)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert starts[-1] == max(frames - 30, 0)
    assert all(0 < b - a <= stride for a, b in pairwise(starts))


def test_stride_one_is_the_protocol_of_the_paper() -> None:
    """Every frame from which a whole block fits starts one."""
    assert grid_starts(40, 30, 1) == list(range(11))


def test_random_blocks_fit_and_reach_everywhere() -> None:
    drawn = [random_starts(100, 30, np.random.default_rng(seed)) for seed in range(400)]
    assert all(len(starts) == 4 for starts in drawn)
    assert {start for starts in drawn for start in starts} == set(range(71))
    assert random_starts(12, 30, np.random.default_rng(0)) == [0]


def test_a_block_holds_its_frames(tmp_path: Path) -> None:
    block = read_block(store_clip(tmp_path, 40), 5, 8, 30)
    assert block.cubes[:, 0, 0].tolist() == list(range(8, 38))
    assert block.mask.all()
    assert (int(block.clip), int(block.start)) == (5, 8)


def test_a_short_clip_is_padded_and_masked(tmp_path: Path) -> None:
    block = read_block(store_clip(tmp_path, 4), 0, 0, 6)
    assert block.cubes.shape == (6, 4, 3)
    assert block.mask.tolist() == [True] * 4 + [False] * 2
    assert not block.cubes[4:].any()


@pytest.mark.parametrize(
    "start",
    [
        0,
        FRAMES_PER_PART - 30,
        FRAMES_PER_PART - 1,
        FRAMES_PER_PART,
        FRAMES_PER_PART + 5,
        2 * FRAMES_PER_PART - 10,
    ],
)
def test_a_block_may_cross_parts_of_the_store(tmp_path: Path, start: int) -> None:
    block = read_block(store_clip(tmp_path, 2 * FRAMES_PER_PART + 20), 0, start, 30)
    # float16 represents integers up to 2048 exactly.
    assert block.cubes[:, 1, 2].tolist() == list(range(start, start + 30))


def test_batches_keep_blocks_and_clips_together(tmp_path: Path) -> None:
    clips = []
    for name, frames in (("a", 10), ("b", 25)):
        (tmp_path / name).mkdir()
        clips.append(store_clip(tmp_path / name, frames))
    blocks = Blocks(clips, [[0], [0, 5]], 20)
    batch = collate([blocks[index] for index in range(len(blocks))])
    assert all(map(torch.equal, batch, blocks.batch(range(len(blocks)))))
    assert batch.clip.tolist() == [0, 1, 1]
    assert batch.start.tolist() == [0, 0, 5]
    assert batch.mask.sum(1).tolist() == [10, 20, 20]
    assert batch.cubes[:, 0, 0, 0].tolist() == [0, 0, 5]


def test_a_batch_is_no_longer_than_its_longest_block(tmp_path: Path) -> None:
    clips = []
    for name, frames in (("a", 4), ("b", 7)):
        (tmp_path / name).mkdir()
        clips.append(store_clip(tmp_path / name, frames))
    blocks = Blocks(clips, [[0], [0]], 30)
    batch = collate([blocks[0], blocks[1]])
    assert all(map(torch.equal, batch, blocks.batch([0, 1])))
    assert batch.cubes.shape[:2] == batch.mask.shape == (2, 7)
    assert batch.mask.sum(1).tolist() == [4, 7]
