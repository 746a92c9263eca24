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


def slice_changes(
    changes: Sequence[Float[Tensor, "B P D"]], layout: SliceLayout
) -> Float[Tensor, "B T Q"]:
    """Return the mean of |X_t - X_(t-1)| over the channels of each slice, at every step.

    Args:
        changes: output of `feature_changes` for standardized X.
        layout: slices of the cubes.
    """
    steps = [
        torch.cat([stage.mean(-1) for stage in layout.moving(change)], dim=1) for change in changes
    ]
    return torch.stack(steps, dim=1)


def slice_motion(
    changes: Float[Tensor, "B T Q"],
    mask: Bool[Tensor, "B T"] | None,
    layout: SliceLayout,
    *,
    past: bool = False,
) -> Float[Tensor, "B T Q"]:
    """Return the motion of each slice at every step: its mean change, in standard deviations.

    The mean is over all real steps of the block but the first. With `past` it is over the steps so
    far, and 0 at the first one.

    Args:
        changes: output of `slice_changes`.
        mask: True where a step is a real frame; None if all are.
        layout: slices of the cubes.
        past: use no later steps.
    """
    counts = torch.ones_like(changes[:, :, :1]) if mask is None else mask.unsqueeze(-1)
    counts = torch.cat((torch.zeros_like(counts[:, :1]), counts[:, 1:]), dim=1).to(changes)
    total, count = (changes * counts).cumsum(1), counts.cumsum(1)
    if not past:
        total, count = (last[:, -1:].expand_as(last) for last in (total, count))
    return standardize_motion(total / count.clamp(min=1), layout)


def standardize_motion(
    changes: Float[Tensor, "B T Q"], layout: SliceLayout
) -> Float[Tensor, "B T Q"]:
    """Return changes of slices in standard deviations from the mean over their stage.

    Changes of a single stage are smoothed over neighbouring places first, since a body covers
    several; places at the border have fewer of them. The mean that is subtracted removes camera
    motion and changes of light, which affect all places alike.
    """
    places = [layout.places, layout.num_slices - layout.places]
    stages = torch.split(changes, [size for size in places if size], dim=2)
    if len(stages) == 1:
        stages = (_smooth(changes),)
    centred = [stage - stage.mean(2, keepdim=True) for stage in stages]
    return torch.cat(
        [stage / (stage.std(2, keepdim=True, unbiased=False) + _NOISE) for stage in centred], dim=2
    )


def _smooth(values: Float[Tensor, "B T P"]) -> Float[Tensor, "B T P"]:
    """Return the values of places, smoothed by a binomial filter with zeros around the grid."""
    side = math.isqrt(values.shape[2])
    if side**2 != values.shape[2]:
        return values
    kernel = torch.outer(_BINOMIAL, _BINOMIAL)[None, None].to(values)
    grid = values.reshape(-1, 1, side, side)
    return F.conv2d(grid, kernel, padding=len(_BINOMIAL) // 2).reshape(values.shape)


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

    With a motion bias, `motion_gain` times the motion of each slice (`slice_motion`) is added to
    its score. The gain is learned like any other weight, and may become 0.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options, self.layout = config.options, SliceLayout.of(config)
        gain = nn.Parameter(torch.tensor(_INITIAL_GAIN)) if options.motion_bias else None
        self.motion_gain = gain

    @property
    def streaming_problem(self) -> str | None:
        """Reason why the model cannot read frames one by one; None if it can."""
        options = self.config.options
        if not options.motion_bias or options.motion_span == "past":
            return None
        return (
            "a model with --motion-bias attends by the motion of a whole block, which is not known "
            "at its first frame; train one with --motion-span past"
        )

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """State of the LSTM, the previous frame (`previous_spec`), and the motion so far."""
        spec = {**super().state_spec, **previous_spec(self.config.cube)}
        if self.motion_gain is not None:
            spec |= {"change": (self.layout.num_slices,), "num_changes": (1,)}
        return spec

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step; see `ActionModel.initial_state`."""
        self._require_streaming()
        state = super().initial_state(mean)
        state |= no_previous(mean.to(state["hidden"].dtype), self.config.cube.places)
        if self.motion_gain is not None:
            zero = torch.zeros_like(state["has_previous"])
            state |= {"change": zero.repeat(1, self.layout.num_slices), "num_changes": zero}
        return state

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"] | None, State]:
        """Read one frame; see `ActionModel.step`."""
        self._require_streaming()
        cube = self.channel_norm(cube)
        change, new_state = change_since(cube, state)
        bias = None
        if self.motion_gain is not None:
            total = state["change"] + slice_changes([change], self.layout).squeeze(1)
            count = state["num_changes"] + state["has_previous"]
            mean_change = (total / count.clamp(min=1)).unsqueeze(1)
            bias = self.motion_gain * standardize_motion(mean_change, self.layout).squeeze(1)
            new_state |= {"change": total, "num_changes": count}
        if self.config.options.motion:
            cube = torch.cat((cube, change), dim=-1)
        logits, attention, lstm_state = self._step_normalized(cube, state, bias)
        return logits, attention, {**lstm_state, **new_state}

    def _prepare(
        self, frames: Sequence[Float[Tensor, "B P D"]], mask: Bool[Tensor, "B T"] | None
    ) -> tuple[Sequence[Float[Tensor, "B P X"]], Sequence[Float[Tensor, "B Q"] | None]]:
        """Return the cubes with their change, and the bias that motion gives to the scores."""
        changes = feature_changes(frames)
        biases: Sequence[Tensor | None] = [None] * len(frames)
        if self.motion_gain is not None:
            past = self.config.options.motion_span == "past"
            motion = slice_motion(slice_changes(changes, self.layout), mask, self.layout, past=past)
            biases = (self.motion_gain * motion).unbind(1)
        if self.config.options.motion:
            frames = [torch.cat(both, dim=-1) for both in zip(frames, changes, strict=True)]
        return frames, biases

    def _require_streaming(self) -> None:
        if self.streaming_problem is not None:
            raise ValueError(self.streaming_problem)
