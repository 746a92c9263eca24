"""A model that reads a stream: one frame in, what it says of it out, however long it goes on.

It is the same model, with the same numbers to rounding; but a stream has no end, and nothing of it
is known before it comes. So, other than in testing (`prediction.predict_clips`):

- A block of T frames begins every `stride` frames, half a block if not said otherwise.
- The start of a block (Eq. 6) is computed from the mean feature slice of the last T frames that
  have come when it begins, its own first one included. In testing it is the mean of the block's
  own frames, which here are still to come. The first block starts from its first frame alone.
- What is said of a frame is what the oldest block says that holds it, for that one has read most.
  In testing it is the mean over all blocks that hold it.

`prediction.predict_causally` computes the same of stored features, block by block;
`glimpses evaluate --causal` scores it, and docs/live.md tells what it is worth.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from glimpses.backbones import Backbone
from glimpses.features import FrameEncoder, causal_stride
from glimpses.models import ActionModel, State
from glimpses.runs import RunConfig
from glimpses.utils.errors import GlimpsesError
from glimpses.video import ArrayResizer


@dataclass(frozen=True)
class StreamStep:
    """What a model says of one frame of a stream, and where it looked.

    Attributes:
        number: of the frame, from 0.
        classes: names of the actions, (C,).
        probabilities: of the actions, (C,).
        attention: location softmax, row-major from the top left, (K, K); for hard attention 1 at
            the place it chose. None for a model without attention.
        read: how many frames the block that says so has read, this one included; 1 to T.
    """

    number: int
    classes: tuple[str, ...]
    probabilities: Float64[np.ndarray, " C"]
    attention: Float64[np.ndarray, "K K"] | None
    read: int

    @property
    def label(self) -> str:
        """The most probable action."""
        return self.classes[int(self.probabilities.argmax())]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs; numbers rounded to six places."""
        return {
            "number": self.number,
            "label": self.label,
            "probabilities": dict(
                zip(self.classes, self.probabilities.round(6).tolist(), strict=True)
            ),
            "attention": None if self.attention is None else self.attention.round(6).tolist(),
            "read": self.read,
        }


@dataclass
class _Block:
    """A block that is being read: the state after `read` frames."""

    state: State
    read: int = 0


class Stream:
    """Reads frames as they come. What it holds does not grow: T mean slices, two or so states.

    It knows no clock. A model expects as many frames a second as it was trained with, `fps`;
    whoever feeds it takes care of that.

    ```python
    stream = Recogniser.load("runs/mine").stream()
    for frame in camera:  # RGB, uint8 (H, W, 3), stream.fps of them a second
        step = stream(frame)
        print(step.label, step.probabilities, step.attention)
    ```

    Args:
        config: how frames become cubes and blocks, and what the classes are.
        model: the decoder; is put into evaluation mode.
        backbone: the CNN.
        stride: distance of two blocks in frames, 1 to T; half a block if not given. At every frame
            T / stride blocks are read, a step of the decoder each.

    Attributes:
        fps: frames a second that the model was trained with; or "native", whatever the source has.

    Raises:
        GlimpsesError: `stride` is out of range, or the model follows motion.
    """

    def __init__(
        self,
        config: RunConfig,
        model: ActionModel,
        backbone: Backbone,
        *,
        stride: int | None = None,
    ) -> None:
        if config.model.follow_motion:
            raise GlimpsesError(
                "a model trained with --follow-motion looks by the change of a whole block, which "
                "a stream has not shown yet; train one without"
            )
        try:
            self._stride = causal_stride(config.steps, stride)
        except ValueError as error:
            raise GlimpsesError(str(error)) from error
        self.fps = config.fps
        self._config = config
        self._model = model.eval()
        self._backbone = backbone
        self._device = next(model.parameters()).device
        self._resize = ArrayResizer(config.size)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is a first one."""
        self._number = 0
        self._blocks: deque[_Block] = deque()
        self._means: deque[Float[Tensor, " D"]] = deque(maxlen=self._config.steps)
        self._cubes = FrameEncoder(self._backbone, self._config.reuse)

    def __call__(self, frame: UInt8[np.ndarray, "H W 3"]) -> StreamStep:
        """Read one more frame.

        Args:
            frame: RGB, of any size. Unless it has the model's size, it is squeezed into that square
                by the resampling that files are read with. A file's frames are resampled before
                they become RGB, which makes a difference of a few grey levels (docs/live.md); to
                have none, give frames that `video.FrameReader` made of the model's size.

        Raises:
            GlimpsesError: it is no such array.
        """
        return self.read(torch.from_numpy(self._cubes([self._fitting(frame)])))

    @torch.inference_mode()
    def read(self, cube: Float[Tensor, "1 P D"]) -> StreamStep:
        """Read one more frame of which the backbone has made its feature cube, X_t."""
        # Rounded as in the feature store, whose features the model was trained on.
        cube = cube.to(self._device).half().float()
        self._means.append(cube[0].mean(0))
        if self._number % self._stride == 0:
            mean = torch.stack(tuple(self._means)).mean(0, keepdim=True)
            self._blocks.append(_Block(self._model.start(mean)))
        said = []
        for block in self._blocks:
            logits, attention, block.state = self._model.step(cube, block.state)
            block.read += 1
            said.append((logits, attention))
        (logits, attention), read = said[0], self._blocks[0].read
        if read == self._config.steps:
            self._blocks.popleft()
        self._number += 1
        logits = logits[0].double()
        chances = logits.sigmoid() if self._config.multi_label else logits.softmax(-1)
        return StreamStep(
            number=self._number - 1,
            classes=self._config.classes,
            probabilities=chances.cpu().numpy(),
            attention=None if attention is None else _square(attention[0]),
            read=read,
        )

    def _fitting(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "S S 3"]:
        shape: tuple[int, ...] = getattr(frame, "shape", ())
        if getattr(frame, "dtype", None) != np.uint8 or len(shape) != 3 or shape[2] != 3:
            kind = f"{getattr(frame, 'dtype', type(frame).__name__)} {shape}"
            raise GlimpsesError(f"a frame must be an RGB array, uint8 (H, W, 3), not {kind}")
        if not frame.size:
            raise GlimpsesError(f"a frame must have at least one pixel, not {shape}")
        return self._resize(frame)


def _square(attention: Float[Tensor, " L"]) -> Float64[np.ndarray, "K K"]:
    side = math.isqrt(len(attention))
    return np.asarray(attention.double().cpu().numpy().reshape(side, side))
