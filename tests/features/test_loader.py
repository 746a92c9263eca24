"""BatchLoader are what their blocks are, in order; read ahead, but not far; their threads end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from glimpses.features.blocks import Block, Blocks, collate
from glimpses.features.loader import BatchLoader
from glimpses.utils.errors import GlimpsesError
from tests.features.test_blocks import stored


def readers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("reader")]


@pytest.fixture
def blocks(tmp_path: Path) -> Blocks:
    """25 blocks of 4 frames; each begins with its own number."""
    return Blocks([stored(tmp_path, 28)], [range(25)], 4)


class Counted(Blocks):
    """Blocks that count how many were read."""

    def __init__(self, folder: Path) -> None:
        super().__init__([stored(folder, 103)], [range(100)], 4)
        self.read = 0

    def batch(self, indices: Sequence[int]) -> Block:
        self.read += len(indices)
        return super().batch(indices)


def test_batches_are_their_blocks_in_the_order_given(blocks: Blocks) -> None:
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0)).tolist()
    batches = BatchLoader(blocks, 4, order=order)
    assert len(batches) == 7
    for _ in range(2):
        found = list(batches)
        assert [len(batch.clip) for batch in found] == [4, 4, 4, 4, 4, 4, 1]
        assert [start for batch in found for start in batch.start.tolist()] == order
        for first, batch in zip(range(0, 25, 4), found, strict=True):
            expected = collate([blocks[index] for index in order[first : first + 4]])
            assert all(map(torch.equal, batch, expected))
            # Never expanded.
            assert batch.cubes.dtype == torch.float16


def test_without_an_order_blocks_come_as_they_are(blocks: Blocks) -> None:
    starts = [start for batch in BatchLoader(blocks, 10) for start in batch.start.tolist()]
    assert starts == list(range(25))


def test_nothing_is_read_far_ahead(tmp_path: Path) -> None:
    blocks = Counted(tmp_path)
    batches = iter(BatchLoader(blocks, 5))
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.2)
        # Whoever waits long enough finds two batches ready, however slow the reader's start.
        assert 5 * taken < blocks.read <= 5 * (taken + 2)
    batches.close()


def test_a_damaged_store_is_one_line_when_its_turn_comes(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    clips = [stored(tmp_path / "whole", 28), stored(tmp_path / "broken", 28)]
    (tmp_path / "broken" / "0.safetensors").write_bytes(b"no such thing")
    batches = iter(BatchLoader(Blocks(clips, [range(4), [0]], 4), 2))
    assert [next(batches).start.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(GlimpsesError, match=r"broken/0\.safetensors: a damaged file"):
        next(batches)
    assert not readers()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_no_thread_outlives_its_reader(blocks: Blocks, stop: type[BaseException]) -> None:
    def train() -> None:
        for number, _ in enumerate(BatchLoader(blocks, 2)):
            assert readers()
            if number == 3:
                raise stop

    with pytest.raises(stop):
        train()
    assert not readers()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_come_on_the_gpu(blocks: Blocks) -> None:
    found = list(BatchLoader(blocks, 4, device="cuda"))
    for there, here in zip(found, BatchLoader(blocks, 4), strict=True):
        assert {each.device.type for each in there} == {"cuda"}
        assert all(torch.equal(one.cpu(), other) for one, other in zip(there, here, strict=True))
