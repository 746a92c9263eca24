"""Runs of a model over clips, block by block, with original or modified input and attention."""

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

#: Map of every step, (T, P), of every block of every clip; places in row-major order.
Maps = Sequence[Sequence[Float[np.ndarray, "T P"]]]

# Blocks per batch: small, because the cubes of a batch are modified dozens of times.
_BATCH = 8


class BlockRunner:
    """Runner of a model over its clips in blocks of its own length T, spaced T apart.

    The run's own stride may be shorter, so clip predictions may differ slightly from those of
    `glimpses evaluate`. Every frame is covered either way, and the paper's stride of 1 would cost
    thirty times as much.

    Args:
        opened: the run and its clips.

    Attributes:
        opened: the run and its clips.
        starts: first frame of every block of each clip.
        steps: block length T.
    """

    def __init__(self, opened: OpenedRun) -> None:
        self.opened = opened
        self.steps = opened.config.data.block_length
        self.starts = [grid_starts(len(clip), self.steps, self.steps) for clip in opened.cubes]
        self._device = next(opened.model.parameters()).device

    def batches(self, text: str, starts: Sequence[Sequence[int]] | None = None) -> Iterator[Block]:
        """Yield the blocks in order, in batches, as float32 on the device of the model.

        Args:
            text: label of the progress bar.
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
        """Return the class probabilities of every step; see `ActionModel.forward`."""
        return self.to_probabilities(self.opened.model(cubes, mask, softmax).logits)

    def to_probabilities(self, logits: Float[Tensor, "B T C"]) -> Float64[Tensor, "B T C"]:
        """Convert logits to probabilities; see `ActionModel.to_probabilities`."""
        return self.opened.model.to_probabilities(
            logits.double(), multi_label=self.opened.config.multi_label
        )

    def block_means(
        self, probabilities: Float64[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
    ) -> Float64[Tensor, "B C"]:
        """Return the mean over the real steps of each block, or over its last steps if so set."""
        remaining = mask.flip(1).cumsum(1).flip(1)
        last = self.opened.config.data.last_steps or self.steps
        weights = (mask & (remaining <= last)).double().unsqueeze(-1)
        return (probabilities * weights).sum(1) / weights.sum(1)

    def split_blocks(self, frames: Sequence[Float[np.ndarray, "N P"]]) -> Maps:
        """Split the maps of all frames of each clip into blocks."""
        return [
            [clip_maps[start : start + self.steps] for start in starts]
            for clip_maps, starts in zip(frames, self.starts, strict=True)
        ]

    def merge_blocks(self, maps: Maps) -> list[Float64[np.ndarray, "N P"]]:
        """Merge the maps of blocks into one map per frame; average where blocks overlap."""
        merged = []
        for clip, blocks, starts in zip(self.opened.cubes, maps, self.starts, strict=True):
            total, count = np.zeros((len(clip), blocks[0].shape[1])), np.zeros((len(clip), 1))
            for start, block in zip(starts, blocks, strict=True):
                total[start : start + len(block)] += block
                count[start : start + len(block)] += 1
            merged.append(total / count)
        return merged


class BlockCollector:
    """Collector that aggregates the blocks of each clip as they arrive, in order.

    Args:
        runner: runner of the clips.
    """

    def __init__(self, runner: BlockRunner) -> None:
        config = runner.opened.config
        self._last_steps, self._vote = config.data.last_steps, config.data.aggregate
        self._multi_label = config.multi_label
        self._results: list[ClipResult] = []
        self._average: ClipAggregator | None = None

    def add(self, batch: Block, probabilities: Float64[Tensor, "B T C"]) -> None:
        """Add the step probabilities of a batch of blocks."""
        rows = probabilities.cpu().numpy()
        for row, length in enumerate(batch.mask.sum(1).tolist()):
            clip, start = int(batch.clip[row]), int(batch.start[row])
            if self._average is None or clip != len(self._results):
                self._finish_clip()
                self._average = ClipAggregator(
                    self._last_steps, self._vote, multi_label=self._multi_label
                )
            self._average.add(BlockResult(clip, start, rows[row, :length], None))

    def results(self) -> tuple[ClipResult, ...]:
        """Return the result of each clip, aggregated as the run does; without attention."""
        self._finish_clip()
        self._average = None
        return tuple(self._results)

    def _finish_clip(self) -> None:
        if self._average is not None:
            self._results.append(self._average.result())


@dataclass(frozen=True)
class ClipOutputs:
    """Outputs of the unmodified model for all clips.

    Attributes:
        results: result of each clip, without attention.
        attention: attention over the places of the model's grid; None for a model without.
        softmax: attention over slices (`ModelOutput.slice_attention`); None for a model without.
    """

    results: Sequence[ClipResult]
    attention: Maps | None
    softmax: Maps | None

    @property
    def predicted(self) -> Int[np.ndarray, " N"]:
        """Index of the predicted class of each clip."""
        return np.array([result.probabilities.argmax() for result in self.results])


@torch.inference_mode()
def run_clips(runner: BlockRunner) -> ClipOutputs:
    """Run the unmodified model over all clips."""
    collector = BlockCollector(runner)
    attention: list[list[np.ndarray]] = [[] for _ in runner.starts]
    softmax: list[list[np.ndarray]] = [[] for _ in runner.starts]
    for batch in runner.batches("running the model"):
        output = runner.opened.model(batch.cubes, batch.mask)
        collector.add(batch, runner.to_probabilities(output.logits))
        for collected, maps in ((attention, output.attention), (softmax, output.slice_attention)):
            if maps is not None:
                append_block_maps(collected, batch, maps)
    has_maps = bool(attention and attention[0])
    return ClipOutputs(
        collector.results(), attention if has_maps else None, softmax if has_maps else None
    )


def append_block_maps(
    maps: list[list[np.ndarray]], batch: Block, new: Float[Tensor, "B T P"]
) -> None:
    """Append the maps of a batch of blocks, without padding, to those of their clips."""
    lengths = batch.mask.sum(1).tolist()
    for clip, row, length in zip(batch.clip.tolist(), new.cpu().numpy(), lengths, strict=True):
        maps[clip].append(row[:length].copy())


def batch_maps(maps: Maps, starts: Sequence[Sequence[int]], batch: Block) -> Float[Tensor, "B T P"]:
    """Return the maps of a batch of blocks; uniform at padded steps.

    Args:
        maps: maps of all clips.
        starts: first frames of their blocks.
        batch: the blocks.
    """
    places = maps[0][0].shape[1]
    padded = torch.full((*batch.mask.shape, places), 1 / places)
    for row, (clip, start) in enumerate(
        zip(batch.clip.tolist(), batch.start.tolist(), strict=True)
    ):
        block = maps[clip][starts[clip].index(start)]
        padded[row, : len(block)] = torch.from_numpy(np.asarray(block, np.float32))
    return padded.to(batch.cubes.device)
