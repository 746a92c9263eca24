"""Step probabilities of long videos, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float16, Float64
from torch import Tensor

from glimpses import video
from glimpses.features import FRAMES_PER_PART, FrameEncoder, causal_stride
from glimpses.inference.aggregate import BlockResult
from glimpses.inference.blockwise import BlockRunner, StepMean
from glimpses.inference.step_store import STEPS_PER_PART, Ending, Steps, StepStore
from glimpses.utils.errors import GlimpsesError

if TYPE_CHECKING:
    from glimpses.inference.recogniser import Recogniser

# Frames in a forward pass of the CNN; divides `FRAMES_PER_PART`.
_BATCH = 16


class StepReader:
    """Single-pass reader of a video's step probabilities.

    A step's probabilities are the mean over the blocks that contain it, or those of `Stream`.

    Args:
        recogniser: the model.
        frames: the sampled frames.
        stride: frames between the starts of blocks, 1 to T; T / 2 by default.
        causal: use no later frames, as `Stream` does.
        store: keeps the steps; those that it has are not computed again.
        on_progress: called after each batch of frames with the time of the last one in seconds.

    Attributes:
        ending: after the iteration, the end of the video.

    Raises:
        GlimpsesError: `stride` is out of range, or the model cannot stream.
    """

    def __init__(
        self, recogniser: Recogniser, frames: video.FrameSource, *, stride: int | None = None,
        causal: bool = False, store: StepStore | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        self._recogniser, self._frames, self._store = recogniser, frames, store
        self._on_progress = on_progress
        self._stride = require_steps(recogniser, stride, causal=causal)
        self._causal = causal
        self.ending: Ending | None = None

    def __iter__(self) -> Iterator[Steps]:
        """Yield the steps in order, some at a time.

        Raises:
            GlimpsesError: the video cannot be read, or the store cannot be written.
        """
        done = 0
        if self._store is not None:
            for part in self._store.read():
                done += len(part.times)
                yield part
            ending = self._store.ending()
            if ending is not None and ending.steps == done:
                self.ending = ending
                return
        yield from self._stored(self._computed(done), done // STEPS_PER_PART)

    def _stored(self, chunks: Iterator[Steps], index: int) -> Iterator[Steps]:
        """Pass the steps on, and store them."""
        if self._store is None:
            yield from chunks
            return
        waiting: list[Steps] = []
        for chunk in chunks:
            yield chunk
            waiting.append(chunk)
            if sum(len(steps.times) for steps in waiting) >= STEPS_PER_PART:
                joined = _join(waiting)
                self._store.write(index, joined.rows(0, STEPS_PER_PART))
                index, waiting = index + 1, [joined.rows(STEPS_PER_PART)]
        if waiting and len((joined := _join(waiting)).times):
            self._store.write(index, joined)
        assert self.ending is not None
        self._store.finish(self.ending)

    def _computed(self, done: int) -> Iterator[Steps]:
        """Yield the steps from number `done` on."""
        config = self._recogniser.config
        length, stride = config.data.block_length, self._stride
        # All blocks with a step to come must be run again, and a stream needs the frames before
        # them, too. Static frames are recognised from the start of a part on.
        margin = done - 2 * length - stride
        encoded_from = max(margin, 0) // FRAMES_PER_PART * FRAMES_PER_PART
        first = -(-encoded_from // stride) * stride
        runner: _Runner = (
            _CausalRunner(self._recogniser, stride)
            if self._causal
            else _MeanRunner(self._recogniser, stride, first)
        )
        encode = FrameEncoder(self._recogniser.backbone, config.data.skip_static)
        times: list[float] = []
        numbers: list[int] = []
        # Number of the next frame, and of the next step that the runner returns.
        count, settled = 0, first

        def chunk(output: _Output) -> Steps:
            nonlocal settled, times, numbers
            rows = len(output[0])
            skipped = min(max(done - settled, 0), rows)
            probabilities, attention = (
                None if values is None else values[skipped:] for values in output
            )
            assert probabilities is not None
            settled += rows
            fresh = rows - skipped
            steps = Steps(
                np.array(times[:fresh]), np.array(numbers[:fresh], np.int64), probabilities,
                None if attention is None else attention.astype(np.float16),
            )  # fmt: skip
            times, numbers = times[fresh:], numbers[fresh:]
            return steps

        for batch in batches(self._frames, _BATCH):
            start, count = count, count + len(batch)
            if start >= done:
                times += [frame.time for frame in batch]
                numbers += [frame.number for frame in batch]
            if count == encoded_from:
                encode.resume_after(batch[-1].pixels)
            if start >= encoded_from:
                cubes = torch.from_numpy(encode([frame.pixels for frame in batch]))
                steps = chunk(runner.add(cubes[max(first - start, 0) :]))
                if len(steps.times):
                    yield steps
            if self._on_progress is not None:
                self._on_progress(batch[-1].time)
        steps = chunk(runner.finish())
        self.ending = Ending(
            count, self._frames.seconds, self._frames.frame_count, self._frames.problem
        )
        if len(steps.times):
            yield steps


#: Probabilities and attention of consecutive steps.
_Output = tuple[Float64[np.ndarray, "N C"], Float64[np.ndarray, "N P"] | None]


class _Runner(Protocol):
    """Model that returns the steps whose output later frames do not change."""

    def add(self, cubes: Float16[Tensor, "N P D"]) -> _Output:
        """Return the steps that are settled with the next frames."""

    def finish(self) -> _Output:
        """Return the remaining steps."""


class _MeanRunner:
    """Runner of overlapping blocks, whose mean is the output of a step."""

    def __init__(self, recogniser: Recogniser, stride: int, first: int) -> None:
        config = recogniser.config
        self._classes = len(config.classes)
        self._has_attention = recogniser.model.has_attention
        self._blocks = BlockRunner(
            recogniser.model, block_length=config.data.block_length, stride=stride,
            multi_label=config.multi_label, first=first,
        )  # fmt: skip
        self._mean = StepMean(first)

    def add(self, cubes: Float16[Tensor, "N P D"]) -> _Output:
        return self._output(self._blocks.add(cubes), self._blocks.settled)

    def finish(self) -> _Output:
        return self._output(self._blocks.finish(), None)

    def _output(self, results: list[BlockResult], end: int | None) -> _Output:
        for block in results:
            parts = (block.probabilities, block.attention)
            joined = [values for values in parts if values is not None]
            self._mean.add(block.start, np.concatenate(joined, axis=1))
        rows = self._mean.take(end)
        attention = rows[:, self._classes :] if self._has_attention else None
        return rows[:, : self._classes], attention


class _CausalRunner:
    """Runner of a stream."""

    def __init__(self, recogniser: Recogniser, stride: int) -> None:
        self._classes = len(recogniser.classes)
        self._stream = recogniser.stream(stride=stride)

    def add(self, cubes: Float16[Tensor, "N P D"]) -> _Output:
        steps = [self._stream.step(cube[None]) for cube in cubes]
        attention = [step.attention.ravel() for step in steps if step.attention is not None]
        if not steps:
            return self.finish()
        return np.stack([step.probabilities for step in steps]), (
            np.stack(attention) if attention else None
        )

    def finish(self) -> _Output:
        return np.zeros((0, self._classes)), None


def require_steps(recogniser: Recogniser, stride: int | None, *, causal: bool) -> int:
    """Return the stride of blocks after checking that the model can process them.

    Raises:
        GlimpsesError: `stride` is out of range, or the model cannot stream.
    """
    try:
        stride = causal_stride(recogniser.config.data.block_length, stride)
    except ValueError as error:
        raise GlimpsesError(str(error)) from error
    if causal:
        recogniser.stream(stride=stride)
    return stride


def _join(chunks: list[Steps]) -> Steps:
    times, frames, probabilities, attention = zip(*chunks, strict=True)
    return Steps(
        np.concatenate(times), np.concatenate(frames), np.concatenate(probabilities),
        None if attention[0] is None else np.concatenate(attention),
    )  # fmt: skip


def batches(frames: video.FrameSource, size: int) -> Iterator[list[video.Frame]]:
    """Yield the frames in batches; the last one may be smaller."""
    batch: list[video.Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
