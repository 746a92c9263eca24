"""Prediction on streams: one frame in, one result out, without an end.

The model and its numbers are the same as for files, up to rounding. But a stream has no end, and
its later frames are unknown. Three rules differ from those of `predict_clips`:

- A block of T frames starts every `stride` frames, T / 2 by default.
- The initial state of a block (Eq. 6) comes from the mean feature slice of the last T frames up to
  and including the block's first one. For files it comes from the mean of the block's own frames,
  which a stream has not shown yet. The first block starts from its first frame alone.
- The result for a frame is that of the oldest block that contains it, since that block has seen
  the most frames. For files it is the mean over all blocks that contain it.

`predict_causally` computes the same from stored features, block by block; `glimpses evaluate
--causal` scores it, and docs/live.md gives the cost in accuracy.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from glimpses.backbones import Backbone
from glimpses.features import FrameEncoder, causal_stride
from glimpses.inference.decision import decide
from glimpses.inference.find_segments import segment_decoder
from glimpses.models import ActionModel, State
from glimpses.runs import RunConfig
from glimpses.segments import Decoder, Segment, SegmentOptions
from glimpses.utils.errors import GlimpsesError
from glimpses.video import ArrayResizer


@dataclass(frozen=True)
class StreamStep:
    """Prediction for one frame of a stream.

    Attributes:
        index: number of the frame, from 0.
        classes: names of the classes, (C,).
        probabilities: class probabilities, (C,).
        attention: location softmax, row-major from the top left, (K, K); one-hot for hard
            attention. None for a model without attention.
        context: number of frames, this one included, of the block behind the prediction; 1 to T.
        threshold: probability below which the prediction is unsure; None for no threshold.
        segments: segments that have ended for certain, if the stream finds segments.
    """

    index: int
    classes: tuple[str, ...]
    probabilities: Float64[np.ndarray, " C"]
    attention: Float64[np.ndarray, "K K"] | None
    context: int
    threshold: float | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def label(self) -> str:
        """The most probable class, sure or not."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def decision(self) -> str:
        """The label; "no action" if it is a background class, "unsure" below the threshold."""
        return decide(self.classes, self.probabilities, self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types, numbers rounded to six decimals."""
        return {
            "index": self.index,
            "label": self.label,
            "decision": self.decision,
            "probabilities": dict(
                zip(self.classes, self.probabilities.round(6).tolist(), strict=True)
            ),
            "attention": None if self.attention is None else self.attention.round(6).tolist(),
            "context": self.context,
            "segments": [segment.to_json() for segment in self.segments],
        }


@dataclass
class _OpenBlock:
    """A block in progress: the model's state after `steps` frames."""

    state: State
    steps: int = 0


class Stream:
    """Predictor for frames as they arrive, in constant memory.

    It has no clock. The model expects `fps` frames per second; the caller must provide them.

    ```python
    stream = Recogniser.load("runs/mine").stream()
    for frame in camera:  # RGB, uint8 (H, W, 3), stream.fps of them a second
        step = stream(frame)
        print(step.label, step.probabilities, step.attention)
    ```

    Args:
        config: the settings of the run.
        model: the decoder; set to evaluation mode.
        backbone: the CNN.
        stride: distance between the starts of blocks in frames, 1 to T; T / 2 by default. Each
            frame costs T / stride steps of the decoder.
        segments: options of the segments to find; None for none. The segments are those of
            `Recogniser.segments` with `causal`.

    Attributes:
        fps: frame rate the model was trained with, or "native" for that of the source.

    Raises:
        GlimpsesError: `stride` is out of range, or the model's attention follows motion.
    """

    def __init__(
        self,
        config: RunConfig,
        model: ActionModel,
        backbone: Backbone,
        *,
        stride: int | None = None,
        segments: SegmentOptions | None = None,
    ) -> None:
        if model.streaming_problem is not None:
            raise GlimpsesError(model.streaming_problem)
        try:
            self._stride = causal_stride(config.data.block_length, stride)
        except ValueError as error:
            raise GlimpsesError(str(error)) from error
        self.fps = config.data.fps
        self._segments = segments
        self._config = config
        self._model = model.eval()
        self._backbone = backbone
        self._device = next(model.parameters()).device
        self._resize = ArrayResizer(config.frame_size)
        self.reset()

    def reset(self) -> None:
        """Start over: the next frame is treated as the first one."""
        self._index = 0
        self._blocks: deque[_OpenBlock] = deque()
        self._means: deque[Float[Tensor, " D"]] = deque(maxlen=self._config.data.block_length)
        self._encode = FrameEncoder(self._backbone, self._config.data.skip_static)
        self._decoder: Decoder | None = None
        if self._segments is not None:
            self._decoder = segment_decoder(self._config, self._segments, causal=True)

    def __call__(
        self, frame: UInt8[np.ndarray, "H W 3"], *, time: float | None = None
    ) -> StreamStep:
        """Return the prediction for the next frame.

        Args:
            frame: RGB, of any size; resized to the model's input. Files are resized before they
                become RGB, so their frames at full size may differ by a few grey levels
                (docs/live.md). To avoid this, pass frames of a `video.FrameReader` of the model's
                size.
            time: seconds since the first frame, for segments; by default, frames come at `fps`, or
                25 a second if that is "native".

        Raises:
            GlimpsesError: the frame has another type or shape.
        """
        shape: tuple[int, ...] = getattr(frame, "shape", ())
        if getattr(frame, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3:
            kind = f"{getattr(frame, 'dtype', type(frame).__name__)} {shape}"
            raise GlimpsesError(f"a frame must be an RGB array, uint8 (H, W, 3), not {kind}")
        if not frame.size:
            raise GlimpsesError(f"a frame must have at least one pixel, not {shape}")
        return self.step(torch.from_numpy(self._encode([self._resize(frame)])), time=time)

    @torch.inference_mode()
    def step(self, cube: Float[Tensor, "1 P D"], *, time: float | None = None) -> StreamStep:
        """Return the prediction for the next frame, given its feature cube X_t."""
        # Rounded as in the feature store, whose features the model was trained on.
        cube = cube.to(self._device).half().float()
        self._means.append(cube[0].mean(0))
        if self._index % self._stride == 0:
            mean = torch.stack(tuple(self._means)).mean(0, keepdim=True)
            self._blocks.append(_OpenBlock(self._model.initial_state(mean)))
        outputs = []
        for block in self._blocks:
            logits, attention, block.state = self._model.step(cube, block.state)
            block.steps += 1
            outputs.append((logits, attention))
        (logits, attention), context = outputs[0], self._blocks[0].steps
        if context == self._config.data.block_length:
            self._blocks.popleft()
        self._index += 1
        probabilities = self._model.to_probabilities(
            logits[0].double(), multi_label=self._config.multi_label
        )
        step = StreamStep(
            index=self._index - 1,
            classes=self._config.classes,
            probabilities=probabilities.cpu().numpy(),
            attention=None if attention is None else _to_grid(attention[0]),
            context=context,
            threshold=self._config.threshold,
        )
        if self._decoder is None:
            return step
        return replace(step, segments=tuple(_decode(self._decoder, step, time)))

    def finish(self, *, time: float | None = None) -> list[Segment]:
        """Return the segments that last until the end of the stream.

        Args:
            time: its end, in seconds since the first frame; by default, the last frame lasts as
                long as the others.
        """
        if self._decoder is None:
            return []
        return self._decoder.finish(end=time, frames=self._index)


def _decode(decoder: Decoder, step: StreamStep, time: float | None) -> list[Segment]:
    attention = step.attention
    if attention is not None:
        # In the precision in which steps of files are stored.
        attention = attention.astype(np.float16).reshape(1, -1)
    return decoder.add(
        step.probabilities[None], times=None if time is None else np.array([time]),
        frames=np.array([step.index]), attention=attention,
    )  # fmt: skip


def _to_grid(attention: Float[Tensor, " P"]) -> Float64[np.ndarray, "K K"]:
    grid = math.isqrt(len(attention))
    return np.asarray(attention.double().cpu().numpy().reshape(grid, grid))
