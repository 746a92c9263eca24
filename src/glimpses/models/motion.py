"""Motion: the change of features since the previous frame, read by the model or drawing attention.

The paper has neither. What little is learned from few clips does not find the one place that
matters; that something moves there is known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models.attention import AttentionWrapper, SpatialAggregator
from glimpses.models.base import State, mean_slice
from glimpses.models.config import CubeShape, ModelConfig
from glimpses.models.multiscale import SliceLayout
from glimpses.models.normalization import ChannelNorm
from glimpses.models.recurrent import RecurrentAttentionModel

# Score of one standard deviation of change before training: the places that change most then get
# most of the attention, and still share it.
_INITIAL_GAIN = 3.0
# In standard deviations of a feature: a smaller change is noise, and draws no attention.
_NOISE = 1e-3


def feature_changes(frames: Sequence[Float[Tensor, "B P D"]]) -> list[Float[Tensor, "B P D"]]:
    """Return |X_t - X_(t-1)|; zeros at the first step, which has no frame before it."""
    first, changes = torch.zeros_like(frames[0]), [(b - a).abs() for a, b in pairwise(frames)]
    return [first, *changes]


def slice_motion(
    changes: Sequence[Float[Tensor, "B P D"]], mask: Bool[Tensor, "B T"] | None, layout: SliceLayout
) -> Float[Tensor, "B Q"]:
    """Return the change of each slice over a block, in standard deviations.

    The change of a slice is the mean of |X_t - X_(t-1)| over its channels and over all real steps
    but the first. The mean over the slices of its stage is subtracted, which removes camera motion
    and changes of light: they affect all places alike.

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
    means = [[stage.mean(-1) for stage in layout.split(change)] for change in changes]
    stages = []
    for stage in zip(*means, strict=True):
        change = torch.einsum("btq,bt->bq", torch.stack(stage, dim=1), counts)
        change = change - change.mean(1, keepdim=True)
        stages.append(change / (change.std(1, keepdim=True, unbiased=False) + _NOISE))
    return torch.cat(stages, dim=1)


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


class MotionFeatures(AttentionWrapper):
    """Attention whose glimpse holds the change of the features, beside them or alone.

    It reads cubes whose places have the features and then their change, 2 D channels in all. The
    wrapped attention, whose slices are those of `layout`, scores the features.
    """

    def __init__(
        self, attention: SpatialAggregator, layout: SliceLayout, *, motion_only: bool
    ) -> None:
        super().__init__(attention)
        self.layout, self.motion_only = layout, motion_only

    def scores(
        self, cube: Float[Tensor, "B P 2*D"], hidden: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B Q"]:
        """Return the scores of the features."""
        return self.attention.scores(cube.chunk(2, dim=-1)[0], hidden)

    def weighted_sum(
        self, cube: Float[Tensor, "B P 2*D"], weights: Float[Tensor, "B Q"]
    ) -> Float[Tensor, "B X"]:
        """Return the features and their change, weighted and summed (Eq. 2), stage by stage."""
        features, change = cube.chunk(2, dim=-1)
        change = self.attention.weighted_sum(change, weights)
        if self.motion_only:
            return change
        features = self.attention.weighted_sum(features, weights)
        widths = [self.layout.coarse_channels, self.layout.fine_channels]
        stages = zip(torch.split(features, widths, 1), torch.split(change, widths, 1), strict=True)
        return torch.cat([part for stage in stages for part in stage], dim=1)


class MotionAttentionModel(RecurrentAttentionModel):
    """Recurrent attention model that reads motion, or whose attention is drawn to it, or both.

    Glimpses of motion are standardized once more before they are read, because change varies by a
    few tenths around a mean as large, which depends on where the model looks.

    With a motion bias, `motion_gain` times the change of each slice over the block (`slice_motion`)
    is added to its score. The gain is learned like any other weight, and may become 0.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options, self.layout = config.options, SliceLayout.of(config.cube)
        if options.motion:
            only = options.motion_only
            self.attention = MotionFeatures(self.attention, self.layout, motion_only=only)
            self.glimpse_norm = ChannelNorm(self.glimpse_width)
        gain = nn.Parameter(torch.tensor(_INITIAL_GAIN)) if options.motion_bias else None
        self.motion_gain = gain

    @property
    def glimpse_width(self) -> int:
        """Width of a glimpse, X."""
        options = self.config.options
        return super().glimpse_width * (2 if options.motion and not options.motion_only else 1)

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

    def fit_normalization(
        self, frames: Iterable[Float[Tensor, "P D"]], blocks: Iterable[Float[Tensor, "T P D"]]
    ) -> None:
        """Fit the normalization of features, then of glimpses; see `ActionModel`.

        Glimpses are those of the untrained model, which looks everywhere or where motion draws it.
        """
        super().fit_normalization(frames, blocks)
        if self.config.options.channel_norm and isinstance(self.glimpse_norm, ChannelNorm):
            self.glimpse_norm.fit(self._glimpses(block) for block in blocks)

    @torch.inference_mode()
    def _glimpses(self, block: Float[Tensor, "T P D"]) -> Float[Tensor, "T X"]:
        """Return the glimpses of a block, not normalized."""
        training = self.training
        frames = [self.eval().channel_norm(cube.unsqueeze(0)) for cube in block]
        _, glimpses = self._unroll(frames, mean_slice(frames))
        self.train(training)
        return torch.cat([glimpse.features for glimpse in glimpses])

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
