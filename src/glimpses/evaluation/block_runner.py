"""A model's reading of clips, block by block: what it says, and where it looks meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from glimpses.evaluation.open_run import OpenedRun
from glimpses.features import BatchLoader, Block, Blocks, grid_starts
from glimpses.inference.aggregate import BlockResult, ClipAggregator, ClipResult
from glimpses.utils import progress

#: A map of every step, (T, P), of every block of every clip, rows of the grid one by one.
Maps = Sequence[Sequence[Float[np.ndarray, "T P"]]]

# Blocks in one pass of the model. Its cubes are changed dozens of times, so they should be few.
_BATCH = 8


class BlockRunner:
    """Reads the clips of a run in blocks of its own length T, which lie T apart.

    The run's own stride may be shorter; then what is said of a clip may differ a little from
    `glimpses evaluate`. Every frame is in a block anyway, and the paper's stride of 1 would cost
    thirty times as much.

    Args:
        opened: the run and its clips.

    Attributes:
        opened: as given.
        starts: first frames of the blocks of each clip.
        steps: T.
    """

    def __init__(self, opened: OpenedRun) -> None:
        self.opened = opened
        self.steps = opened.config.data.block_length
        self.starts = [grid_starts(len(clip), self.steps, self.steps) for clip in opened.cubes]
        self._device = next(opened.model.parameters()).device

    def batches(self, text: str, starts: Sequence[Sequence[int]] | None = None) -> Iterator[Block]:
        """The blocks in order, a few at a time, in single precision and where the model is.

        Args:
            text: what is being done, for the progress bar.
            starts: first frames of other blocks of the clips.
        """
        blocks = Blocks(self.opened.cubes, self.starts if starts is None else starts, self.steps)
        with progress.bar(text, len(blocks), transient=True) as bar:
            for batch in BatchLoader(blocks, _BATCH, device=self._device):
                yield batch._replace(
                    cubes=batch.cubes.to(self._device).float(), mask=batch.mask.to(self._device)
                )
                bar.advance(len(batch.clip))

    def probabilities(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"],
        softmax: Float[Tensor, "B T Q"] | None = None,
    ) -> Float64[Tensor, "B T C"]:
        """Of the classes at every step; see `ActionModel.forward`."""
        return self.squashed(self.opened.model(cubes, mask, softmax).logits)

    def squashed(self, logits: Float[Tensor, "B T C"]) -> Float64[Tensor, "B T C"]:
        """Logits as probabilities."""
        logits = logits.double()
        return logits.sigmoid() if self.opened.config.multi_label else logits.softmax(-1)

    def block_means(
        self, probabilities: Float64[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
    ) -> Float64[Tensor, "B C"]:
        """Mean over the real steps of a block, or over the last ones that speak for it."""
        left = mask.flip(1).cumsum(1).flip(1)
        last = self.opened.config.data.last_steps or self.steps
        counts = (mask & (left <= last)).double().unsqueeze(-1)
        return (probabilities * counts).sum(1) / counts.sum(1)

    def cut(self, frames: Sequence[Float[np.ndarray, "N P"]]) -> Maps:
        """Maps of all frames of each clip, by block."""
        return [
            [own[start : start + self.steps] for start in starts]
            for own, starts in zip(frames, self.starts, strict=True)
        ]

    def joined(self, maps: Maps) -> list[Float64[np.ndarray, "N P"]]:
        """Maps by block, of all frames of each clip; where blocks overlap, their mean."""
        found = []
        for clip, blocks, starts in zip(self.opened.cubes, maps, self.starts, strict=True):
            total, count = np.zeros((len(clip), blocks[0].shape[1])), np.zeros((len(clip), 1))
            for start, block in zip(starts, blocks, strict=True):
                total[start : start + len(block)] += block
                count[start : start + len(block)] += 1
            found.append(total / count)
        return found


class BlockCollector:
    """Brings the blocks of clips together as they come in, in order.

    Args:
        reader: of those clips.
    """

    def __init__(self, reader: BlockRunner) -> None:
        config = reader.opened.config
        self._last_steps, self._vote = config.data.last_steps, config.data.aggregate
        self._done: list[ClipResult] = []
        self._average: ClipAggregator | None = None

    def add(self, batch: Block, probabilities: Float64[Tensor, "B T C"]) -> None:
        """Take in what was said of some blocks."""
        rows = probabilities.cpu().numpy()
        for row, length in enumerate(batch.mask.sum(1).tolist()):
            clip, start = int(batch.clip[row]), int(batch.start[row])
            if self._average is None or clip != len(self._done):
                self._finish()
                self._average = ClipAggregator(self._last_steps, self._vote)
            self._average.add(BlockResult(clip, start, rows[row, :length], None))

    def results(self) -> tuple[ClipResult, ...]:
        """What the model made of each clip, by the rules of its run; without attention."""
        self._finish()
        self._average = None
        return tuple(self._done)

    def _finish(self) -> None:
        if self._average is not None:
            self._done.append(self._average.result())


@dataclass(frozen=True)
class ClipOutputs:
    """What a model made of all clips when nothing was changed.

    Attributes:
        results: of each clip, without attention.
        attention: on the places of its grid; None for a model without.
        softmax: the same over slices (`ModelOutput.slice_attention`); None for a model without.
    """

    results: Sequence[ClipResult]
    attention: Maps | None
    softmax: Maps | None

    @property
    def named(self) -> Int[np.ndarray, " N"]:
        """Index of the class that each clip was given."""
        return np.array([result.probabilities.argmax() for result in self.results])


@torch.inference_mode()
def look(reader: BlockRunner) -> ClipOutputs:
    """Read all clips once."""
    gathering = BlockCollector(reader)
    attention: list[list[np.ndarray]] = [[] for _ in reader.starts]
    softmax: list[list[np.ndarray]] = [[] for _ in reader.starts]
    for batch in reader.batches("looking"):
        output = reader.opened.model(batch.cubes, batch.mask)
        gathering.add(batch, reader.squashed(output.logits))
        for found, each in ((attention, output.attention), (softmax, output.slice_attention)):
            if each is not None:
                _keep(found, batch, each)
    there = bool(attention and attention[0])
    return ClipOutputs(
        gathering.results(), attention if there else None, softmax if there else None
    )


def _keep(found: list[list[np.ndarray]], batch: Block, maps: Float[Tensor, "B T P"]) -> None:
    """Put the maps of some blocks with those of their clips."""
    lengths = batch.mask.sum(1).tolist()
    for clip, row, length in zip(batch.clip.tolist(), maps.cpu().numpy(), lengths, strict=True):
        found[clip].append(row[:length].copy())


def gathered(maps: Maps, starts: Sequence[Sequence[int]], batch: Block) -> Float[Tensor, "B T P"]:
    """The maps of some blocks, uniform where a step is padding.

    Args:
        maps: of all clips.
        starts: first frames of their blocks.
        batch: the blocks.
    """
    places = maps[0][0].shape[1]
    found = torch.full((*batch.mask.shape, places), 1 / places)
    for row, (clip, start) in enumerate(
        zip(batch.clip.tolist(), batch.start.tolist(), strict=True)
    ):
        own = maps[clip][starts[clip].index(start)]
        found[row, : len(own)] = torch.from_numpy(np.asarray(own, np.float32))
    return found.to(batch.cubes.device)
