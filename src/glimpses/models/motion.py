"""Motion: the change of features since the previous frame, read by the model or drawing attention.

The paper has neither. What little is learned from few clips does not find the one place that
matters; that something moves there is known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models.base import State
from glimpses.models.config import CubeShape, ModelConfig
from glimpses.models.multiscale import SliceLayout
from glimpses.models.recurrent import RecurrentAttentionModel

# Score of one standard deviation of change before training: the places that change most then get
# most of the attention, and still share it.
_INITIAL_GAIN = 3.0
# In standard deviations of a feature: a smaller change is noise, and draws no attention.
_NOISE = 1e-3
# Binomial filter whose standard deviation is one place.
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def feature_changes(frames: Sequence[Float[Tensor, "B P D"]]) -> list[Float[Tensor, "B P D"]]:
    """Return |X_t - X_(t-1)|; zeros at the first step, which has no frame before it."""
    first, changes = torch.zeros_like(frames[0]), [(b - a).abs() for a, b in pairwise(frames)]
    return [first, *changes]


def slice_motion(
    changes: Sequence[Float[Tensor, "B P D"]], mask: Bool[Tensor, "B T"] | None, layout: SliceLayout
) -> Float[Tensor, "B Q"]:
    """Return the change of each slice over a block, in standard deviations.

    The change of a slice is the mean of |X_t - X_(t-1)| over its channels and over all real steps
    but the first. Of a single stage it is smoothed over neighbouring places, since a body covers
    several; places at the border have fewer of them. The mean over the slices of its stage is
    subtracted, which removes camera motion and changes of light: they affect all places alike.

    Args:
        changes: output of `feature_changes` for standardized X.
        mask: True where a step is a real frame; None if all are.
        layout: slices of the cubes.
    """
    batch, steps = len(changes[0]), len(changes)
    counts = torch.ones(batch, steps) if mask is None else mask
    counts = torch.cat((torch.zeros_like(counts[:, :1]), counts[:, 1:]), dim=1).to(changes[0])
    counts = counts / counts.sum(1, keepdim=True).clamp(min=1)
    # By step and stage, the mean over channels.
    means = [[stage.mean(-1) for stage in layout.moving(change)] for change in changes]
    stages = []
    for stage in zip(*means, strict=True):
        change = torch.einsum("btq,bt->bq", torch.stack(stage, dim=1), counts)
        change = _smooth(change) if len(means[0]) == 1 else change
        change = change - change.mean(1, keepdim=True)
        stages.append(change / (change.std(1, keepdim=True, unbiased=False) + _NOISE))
    return torch.cat(stages, dim=1)


def _smooth(values: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
    """Return the values of places, smoothed by a binomial filter with zeros around the grid."""
    side = math.isqrt(values.shape[1])
    if side**2 != values.shape[1]:
        return values
    kernel = torch.outer(_BINOMIAL, _BINOMIAL)[None, None].to(values)
    grid = values.reshape(-1, 1, side, side)
    return F.conv2d(grid, kernel, padding=len(_BINOMIAL) // 2).flatten(1)


def previous_spec(cube: CubeShape) -> dict[str, tuple[int, ...]]:
    """Return the part of `state_spec` that is the previous frame.

    A block's first frame has no frame before it, and nothing has changed there: `has_previous` is
    0 then, and `previous` holds zeros.
    """
    return {"previous": (cube.places, cube.channels), "has_previous": (1,)}


def no_previous(mean: Float[Tensor, "B D"], places: int) -> State:
    """Return the previous frame before the first step; `mean` has the dtype of the model."""
    previous = torch.zeros_like(mean.unsqueeze(1).expand(-1, places, -1))
    return {"previous": previous, "has_previous": torch.zeros_like(mean[:, :1])}


def change_since(
    cube: Float[Tensor, "B P D"], state: State
) -> tuple[Float[Tensor, "B P D"], State]:
    """Return the change of a frame since the previous one, and the frame as the previous one."""
    has_previous = state["has_previous"]
    change = (cube - state["previous"]).abs() * has_previous.unsqueeze(1)
    return change, {"previous": cube, "has_previous": torch.ones_like(has_previous)}


class MotionAttentionModel(RecurrentAttentionModel):
    """Recurrent attention model that reads motion, or whose attention is drawn to it, or both.

    With a motion bias, `motion_gain` times the change of each slice over the block (`slice_motion`)
    is added to its score. The gain is learned like any other weight, and may become 0.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options, self.layout = config.options, SliceLayout.of(config)
        gain = nn.Parameter(torch.tensor(_INITIAL_GAIN)) if options.motion_bias else None
        self.motion_gain = gain

    @property
    def streaming_problem(self) -> str | None:
        """Reason why the model cannot read frames one by one; None if it can."""
        if not self.config.options.motion_bias:
            return None
        return (
            "a model with --motion-bias looks by the motion of a whole block, which is not known "
            "at its first frame; train one without --motion-bias"
        )

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """State of the LSTM, and the previous frame; see `previous_spec`."""
        return {**super().state_spec, **previous_spec(self.config.cube)}

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step; see `ActionModel.initial_state`."""
        self._require_streaming()
        state = super().initial_state(mean)
        return state | no_previous(mean.to(state["hidden"].dtype), self.config.cube.places)

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"] | None, State]:
        """Read one frame; see `ActionModel.step`."""
        self._require_streaming()
        cube = self.channel_norm(cube)
        change, previous = change_since(cube, state)
        logits, attention, new_state = self._step_normalized(torch.cat((cube, change), -1), state)
        return logits, attention, {**new_state, **previous}

    def _prepare(
        self, frames: Sequence[Float[Tensor, "B P D"]], mask: Bool[Tensor, "B T"] | None
    ) -> tuple[Sequence[Float[Tensor, "B P X"]], Float[Tensor, "B Q"] | None]:
        """Return the cubes with their change, and the bias that motion gives to the scores."""
        changes, bias = feature_changes(frames), None
        if self.motion_gain is not None:
            bias = self.motion_gain * slice_motion(changes, mask, self.layout)
        if self.config.options.motion:
            frames = [torch.cat(both, dim=-1) for both in zip(frames, changes, strict=True)]
        return frames, bias

    def _require_streaming(self) -> None:
        if self.streaming_problem is not None:
            raise ValueError(self.streaming_problem)
