"""The recurrent decoder: glimpses in, class scores out, and the next place to look (Fig. 1b)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models import sequence
from glimpses.models.base import ActionModel, Choice, ModelConfig, ModelOutput, Standardise, State
from glimpses.models.dropout import Dropout
from glimpses.models.graphs import Graphs
from glimpses.models.looking import Glimpse, Looking


class RecurrentModel(ActionModel):
    """LSTM layers that read one vector per step, and say the class at every step.

    At each step the cube becomes one vector: its expectation under the location softmax (Eq. 1
    and 2), one of its slices with hard attention, or its pooling in the baselines of Table 1. The
    stacked LSTM (Eq. 3 to 5) reads it; a hidden layer with tanh and a linear one turn the top
    hidden state into logits. Dropout is on all non-recurrent connections (Zaremba et al., 2014).

    Args:
        config: the shape.
        looking: attention, or the pooling that takes its place.
    """

    def __init__(self, config: ModelConfig, looking: Looking) -> None:
        super().__init__(config)
        size, slices = config.hidden, looking.slices
        self.looking = looking
        # Change varies by a few tenths around a mean as large, which depends on where one looks.
        self.standard_glimpse = Standardise(slices.width) if config.motion else nn.Identity()
        self.start_hidden = _Start(slices.mean_width, config)  # f_init,h
        self.start_cell = _Start(slices.mean_width, config)  # f_init,c
        widths = [slices.width] + [size] * (config.layers - 1)
        self.cells = nn.ModuleList(nn.LSTMCell(width, size) for width in widths)  # M
        self.dropout = Dropout(config.dropout)
        self.head = nn.Sequential(
            Dropout(config.dropout),
            nn.Linear(size, size),
            nn.Tanh(),
            Dropout(config.dropout),
            nn.Linear(size, config.classes),
        )
        self.graphs = Graphs()

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        softmax: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        if mask is None:
            mask = torch.ones(cubes.shape[:2], dtype=torch.bool, device=cubes.device)
        slow = sequence.obstacle(self.config, self.looking, self.cells, cubes, mask, softmax)
        if slow is None:
            return self._forward_at_once(cubes, mask, mean)
        if self.config.kind == "attention":
            sequence.say(slow)
        cubes = self.standard(cubes)
        change = None
        if self.config.follow_motion:
            if mean is not None:
                raise ValueError("a model that follows motion needs its blocks whole")
            change = self.looking.slices.change(cubes, mask)
        first = mean_slice(cubes, mask) if mean is None else self.standard(mean)
        state = self._start(first, change)
        keys = self.looking.keys(cubes)
        tops, glimpses = [], []
        steps = mask.shape[1]
        before = None
        for cube, key, given, real in zip(
            cubes.unbind(1), unbound(keys, steps), unbound(softmax, steps), mask.unbind(1),
            strict=True,
        ):  # fmt: skip
            glimpse, new = self._advance(self._read(cube, before), key, state, given)
            before = cube
            state = keep(state, new, real.unsqueeze(1))
            tops.append(new.hidden[-1])
            glimpses.append(glimpse)
        logits = self.head(torch.stack(tops, dim=1))
        choices = [glimpse.choice for glimpse in glimpses if glimpse.choice is not None]
        return ModelOutput(
            logits,
            _stacked([glimpse.attention for glimpse in glimpses]),
            Choice(*(torch.stack(each, dim=1) for each in zip(*choices, strict=True)))
            if choices
            else None,
            _stacked([glimpse.softmax for glimpse in glimpses]),
        )

    def _forward_at_once(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"],
        mean: Float[Tensor, "B D"] | None,
    ) -> ModelOutput:
        """The same as `forward`'s loop, faster."""
        if mean is None:
            mean = sequence.mean_slice(cubes, mask, self.standard.scale.dtype)
        state = self.start(mean)
        tops, attention = sequence.read(
            self.looking, self.cells, self.standard, cubes, state.hidden, state.cell,
            self.config.dropout if self.training else 0.0, self.graphs,
        )  # fmt: skip
        softmax = attention if self.config.kind == "attention" else None
        return ModelOutput(self.head(tops), softmax, None, softmax)

    def start(
        self, mean: Float[Tensor, "B D"], change: Float[Tensor, "B Q"] | None = None
    ) -> State:
        """The state before the first step: Eq. 6; see `ActionModel.start`.

        Args:
            mean: feature slice averaged over places and over the block's real frames.
            change: what `Slices.change` gave for the block, for attention that follows motion.

        Raises:
            ValueError: the model follows motion, and there is no `change`.
        """
        if self.config.follow_motion and change is None:
            raise ValueError("this model follows motion: give it the block's change")
        return self._start(self.standard(mean), change)

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"] | None, State]:
        """Read one frame; see `ActionModel.step`."""
        cube = self.standard(cube)
        read = self._read(cube, state.cube)
        glimpse, state = self._advance(read, self.looking.keys(cube), state)
        logits: Tensor = self.head(state.hidden[-1])
        return logits, glimpse.attention, state._replace(cube=cube if self.config.motion else None)

    def _start(
        self, mean: Float[Tensor, "B D"], change: Float[Tensor, "B Q"] | None = None
    ) -> State:
        mean = self.looking.slices.mean(mean)
        return State(self.start_hidden(mean), self.start_cell(mean), change=change)

    def _read(
        self, cube: Float[Tensor, "B P D"], before: Float[Tensor, "B P D"] | None
    ) -> Float[Tensor, "B P X"]:
        """What glimpses are of: features, their change since the frame before, or both.

        At the first frame of a block, which has none before it, nothing has changed.
        """
        if not self.config.motion:
            return cube
        change = (cube - (cube if before is None else before)).abs()
        return change if self.config.motion_alone else torch.cat((cube, change), dim=-1)

    def _advance(
        self,
        cube: Float[Tensor, "B P D"],
        key: Float[Tensor, "B Q A"] | None,
        state: State,
        softmax: Float[Tensor, "B Q"] | None = None,
    ) -> tuple[Glimpse, State]:
        glimpse: Glimpse = self.looking(cube, key, state.hidden[-1], softmax, state.change)
        vector = self.standard_glimpse(glimpse.vector)
        hidden, cell = [], []
        for lstm, h, c in zip(self.cells, state.hidden, state.cell, strict=True):
            vector = self.dropout(vector)
            vector, new_cell = lstm(vector, (h, c))
            hidden.append(vector)
            cell.append(new_cell)
        return glimpse, State(tuple(hidden), tuple(cell), change=state.change)


def unbound(sequence: Tensor | None, steps: int) -> Sequence[Tensor | None]:
    """What belongs to each step; in one go, for the gradient of one slice is as large as all."""
    return [None] * steps if sequence is None else sequence.unbind(1)


def _stacked(steps: Sequence[Tensor | None]) -> Tensor | None:
    """What there is at every step, in one; None where there is nothing."""
    there = [step for step in steps if step is not None]
    return torch.stack(there, dim=1) if there else None


class _Start(nn.Module):
    """A multilayer perceptron from the block's mean feature slice to one state per layer."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(width, config.hidden)
        self.outer = nn.Linear(config.hidden, config.layers * config.hidden)
        self.dropout = Dropout(config.dropout)
        self.layers = config.layers

    def forward(self, mean: Float[Tensor, "B X"]) -> tuple[Float[Tensor, "B H"], ...]:
        inner = torch.tanh(self.inner(self.dropout(mean)))
        return torch.tanh(self.outer(self.dropout(inner))).chunk(self.layers, dim=-1)


def mean_slice(cubes: Float[Tensor, "B T P D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Mean over places, then over real steps; over both at once it is many times slower."""
    weight = mask.to(cubes.dtype)
    total = torch.einsum("btd,bt->bd", cubes.mean(2), weight)
    return total / weight.sum(1, keepdim=True).clamp(min=1)


def keep(old: State, new: State, real: Bool[Tensor, "B 1"]) -> State:
    """The new state where the step was a real frame, the old one where it was padding."""
    return State(
        tuple(torch.where(real, n, o) for n, o in zip(new.hidden, old.hidden, strict=True)),
        tuple(torch.where(real, n, o) for n, o in zip(new.cell, old.cell, strict=True)),
        change=new.change,
    )
