"""Tests of batch loading: content and order, bounded read-ahead, threads that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from glimpses.features import BatchLoader, Block, Blocks, collate
from glimpses.utils.errors import GlimpsesError
from tests.features.test_blocks import store_clip


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.fixture
def blocks(tmp_path: Path) -> Blocks:
    """Return 25 blocks of 4 frames; block n starts at frame n."""
    return Blocks([store_clip(tmp_path, 28)], [range(25)], 4)


class CountedBlocks(Blocks):
    """Blocks that count how many of them were read."""

    def __init__(self, folder: Path) -> None:
        super().__init__([store_clip(folder, 103)], [range(100)], 4)
        self.read = 0

    def batch(self, indices: Sequence[int]) -> Block:
        self.read += len(indices)
        return super().batch(indices)


def test_batches_are_their_blocks_in_the_order_given(blocks: Blocks) -> None:
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0)).tolist()
    loader = BatchLoader(blocks, 4, order=order)
    assert len(loader) == 7
    for _ in range(2):
        batches = list(loader)
        assert [len(batch.clip) for batch in batches] == [4, 4, 4, 4, 4, 4, 1]
        assert [start for batch in batches for start in batch.start.tolist()] == order
        for first, batch in zip(range(0, 25, 4), batches, strict=True):
            expected = collate([blocks[index] for index in order[first : first + 4]])
            assert all(map(torch.equal, batch, expected))
            assert batch.cubes.dtype == torch.float16


def test_without_an_order_blocks_keep_theirs(blocks: Blocks) -> None:
    starts = [start for batch in BatchLoader(blocks, 10) for start in batch.start.tolist()]
    assert starts == list(range(25))


def test_read_ahead_is_bounded(tmp_path: Path) -> None:
    blocks = CountedBlocks(tmp_path)
    batches = iter(BatchLoader(blocks, 5))
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.2)
        # The reader has had time to fill its read-ahead of two batches.
        assert 5 * taken < blocks.read <= 5 * (taken + 2)
    batches.close()


def test_a_damaged_file_raises_at_its_batch(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    clips = [store_clip(tmp_path / "whole", 28), store_clip(tmp_path / "broken", 28)]
    part = next((tmp_path / "broken").rglob("*.safetensors"))
    part.write_bytes(b"no such thing")
    batches = iter(BatchLoader(Blocks(clips, [range(4), [0]], 4), 2))
    assert [next(batches).start.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(GlimpsesError, match=f"{part}: is damaged"):
        next(batches)
    assert not reader_threads()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_threads_end_with_the_loop(blocks: Blocks, stop: type[BaseException]) -> None:
    def train() -> None:
        for number, _ in enumerate(BatchLoader(blocks, 2)):
            assert reader_threads()
            if number == 3:
                raise stop

    with pytest.raises(stop):
        train()
    assert not reader_threads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_arrive_on_the_gpu(blocks: Blocks) -> None:
    uploaded = list(BatchLoader(blocks, 4, device="cuda"))
    for batch, expected in zip(uploaded, BatchLoader(blocks, 4), strict=True):
        assert {tensor.device.type for tensor in batch} == {"cuda"}
        assert all(torch.equal(a.cpu(), b) for a, b in zip(batch, expected, strict=True))
