"""What every model takes and gives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

# Far more than anybody needs; a config from anywhere may ask for any number.
_MOST_LAYERS = 100


class Choice(NamedTuple):
    """What training needs to know of a place that hard attention chose, or of many.

    Attributes:
        log_probability: log of the location softmax l_t at that place.
        entropy: of the location softmax, in nats.
        value: reward that was to be expected per real step from here on, judged before the choice;
            see `loss.choice_loss`.
    """

    log_probability: Float[Tensor, "*B"]
    entropy: Float[Tensor, "*B"]
    value: Float[Tensor, "*B"]


class ModelOutput(NamedTuple):
    """What a model says at every step of a block.

    Attributes:
        logits: of the classes; their softmax is y_t of Eq. 7.
        attention: how much of the glimpse is from each place of the picture's grid, rows sum to 1:
            the location softmax l_t, or for hard attention 1 at the place it chose. Of two joined
            stages the grid is the finer one's, and what falls on a place of the coarser is spread
            evenly over what it covers. None for a model without attention.
        choices: of hard attention; None without.
        softmax: the same attention over the slices that the model takes from (`looking.Slices`),
            as `ActionModel.forward` takes it back; None without attention.
    """

    logits: Float[Tensor, "B T C"]
    attention: Float[Tensor, "B T P"] | None
    choices: Choice | None = None
    softmax: Float[Tensor, "B T Q"] | None = None


@dataclass(frozen=True)
class AuthorsOptions:
    """What may vary in the model of the authors' released code, with their defaults.

    Attributes:
        attention_layers: layers from a place's features to what is compared with the state
            (`n_layers_att`; 3 for HMDB-51).
        start_layers: layers from the block's mean feature to the first state (`n_layers_init`).
        output_layers: layers from the hidden layer to the logits (`n_layers_out`).
        output_size: width of the hidden layer before the logits (`dim_out`); `hidden` if not given.
        glimpse_to_output: whether that layer sees the glimpse beside the state (`ctx2out`).
        selector: whether the state scales each glimpse by a number from 0 to 1.
        inverse_temperature: factor inside the location softmax (`temperature_inverse`).
    """

    attention_layers: int = 1
    start_layers: int = 1
    output_layers: int = 1
    output_size: int | None = None
    glimpse_to_output: bool = False
    selector: bool = False
    inverse_temperature: float = 1.0

    def counts(self) -> dict[str, int]:
        """What must be whole numbers from 1, by name."""
        names = ("attention_layers", "start_layers", "output_layers", "output_size")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a model.

    Attributes:
        classes: number of actions, C.
        places: of the feature cube, K*K.
        channels: of the feature cube, D. Of two joined stages (`backbones.trunk.Joined`) it is
            D1 + r*r*D2.
        kind: the paper's soft attention, one of its three baselines (Table 1), or the model of the
            authors' released code.
        form: what the location softmax is computed from: the hidden state alone (`location`,
            Eq. 1) or each place's features as well (`content`, the authors' code).
        hidden: size of hidden state, cell state and the layer before the logits, d.
        attention_size: width of the layer in which `content` compares places with the state.
        layers: LSTM layers.
        dropout: share of the non-recurrent connections that is dropped in training.
        glimpse: what attention takes from the location softmax: the expected feature slice
            (`soft`, Eq. 2), or the slice of one place (`hard`; Xu et al., 2015, section 4.1),
            drawn from it in training and the most probable one in evaluation.
        motion: whether a slice has beside its place's features how much each has changed since the
            frame before, its distance from then; the paper's have not. Such glimpses are
            standardised once more before they are read. For attention and pooling.
        motion_alone: with `motion`, whether a slice has that change alone. Keys and the first
            state are of the features nonetheless.
        follow_motion: whether attention is drawn to where the block changes most
            (`looking.Attention`); the paper's is not.
        fine_channels: of the earlier of two joined stages, D2; 0 for a single stage.
        fine_ratio: places of the earlier stage along a side of one place of the later, r.
        authors: of the authors' model; None for its defaults, and for the other kinds.

    Raises:
        ValueError: a number is out of range or a name unknown.
    """

    classes: int
    places: int
    channels: int
    kind: Literal["attention", "average", "max", "softmax", "authors"] = "attention"
    form: Literal["location", "content"] = "content"
    hidden: int = 512
    attention_size: int = 128
    layers: int = 3
    dropout: float = 0.5
    glimpse: Literal["soft", "hard"] = "soft"
    motion: bool = False
    motion_alone: bool = False
    follow_motion: bool = False
    fine_channels: int = 0
    fine_ratio: int = 1
    authors: AuthorsOptions | None = None

    def __post_init__(self) -> None:
        names = (
            "classes", "places", "channels", "hidden", "attention_size", "layers", "fine_ratio",
        )  # fmt: skip
        counts = {name: getattr(self, name) for name in names}
        if self.authors is not None:
            counts |= self.authors.counts()
            if not 0 < self.authors.inverse_temperature < math.inf:
                raise ValueError("inverse_temperature must be above 0 and finite")
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")
        for name, value in counts.items():
            if name.endswith("layers") and value > _MOST_LAYERS:
                raise ValueError(f"{name} is {value}, must be at most {_MOST_LAYERS}")
        if not 0 <= self.fine_ratio**2 * self.fine_channels < self.channels:
            raise ValueError(f"fine_channels is {self.fine_channels}, of {self.channels} in all")
        if self.fine_channels and math.isqrt(self.places) ** 2 != self.places:
            raise ValueError(f"places is {self.places}, must be a square for two stages")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, must be from 0 to below 1")
        if self.kind not in ("attention", "average", "max", "softmax", "authors"):
            raise ValueError(f"there is no model called {self.kind}")
        if self.motion and self.kind not in ("attention", "average", "max"):
            raise ValueError(f"model {self.kind} reads no motion")
        if self.motion_alone and not self.motion:
            raise ValueError("motion alone is to be read by a model that reads none")
        if self.follow_motion and self.kind != "attention":
            raise ValueError(f"model {self.kind} follows no motion")
        if self.form not in ("location", "content"):
            raise ValueError(f"there is no attention of form {self.form}")
        if self.glimpse not in ("soft", "hard"):
            raise ValueError(f"there is no glimpse called {self.glimpse}")

    def in_words(self) -> str:
        """What kind of model it is, and how large."""
        if self.kind == "softmax":
            return "softmax regression"
        if self.kind == "authors":
            return f"the authors' model, 1 layer of {self.hidden}"
        hard = "hard " if self.glimpse == "hard" else ""
        attends = f"{hard}attention, {self.form}"
        kind = attends if self.kind == "attention" else f"{self.kind} pooling"
        motion = ", with motion" if self.motion else ""
        motion += " alone" if self.motion_alone else ""
        motion += ", following motion" if self.follow_motion else ""
        return f"{kind}{motion}, {self.layers} layers of {self.hidden}"


class Standardise(nn.Module):
    """Brings every channel to mean 0 and deviation 1; the identity until `set` is called.

    The paper has no such layer: its features are all of one kind. CNNs differ in the size of
    theirs by an order of magnitude, and an LSTM's gates saturate on large ones.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def set(self, mean: Float[Tensor, " D"], deviation: Float[Tensor, " D"]) -> None:
        """Take a channel's mean and deviation over the training features as its standard."""
        self.mean.copy_(mean)
        # A channel that hardly ever speaks must not be made to shout.
        self.scale.copy_(1 / deviation.clamp(min=1e-2 * float(deviation.mean()) + 1e-12))

    def forward(self, features: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """Standardised features, in the type of the model's weights."""
        return (features.to(self.scale.dtype) - self.mean) * self.scale


class State(NamedTuple):
    """What a model takes from one step to the next.

    Attributes:
        hidden: h of each LSTM layer, bottom layer first; of none for a model without memory.
        cell: c of each.
        cube: the frame before, standardised, for a model that reads motion; None before the first
            frame, and for other models.
        change: of the block (`looking.Slices.change`), for attention that follows motion.
    """

    hidden: tuple[Float[Tensor, "B H"], ...]
    cell: tuple[Float[Tensor, "B H"], ...]
    cube: Float[Tensor, "B P D"] | None = None
    change: Float[Tensor, "B Q"] | None = None


class ActionModel(nn.Module, ABC):
    """Feature cubes of a block to logits and attention at every step.

    `forward` reads whole blocks; `start` and `step` read the same block frame by frame.

    Attributes:
        config: its shape.
        standard: what is done to features before all else.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.standard = Standardise(config.channels)

    @abstractmethod
    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        softmax: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes.

        Args:
            cubes: X, in any floating type.
            mask: True where a step is a real frame; None if all are. What a model says at other
                steps means nothing, and does not change what it says at real ones.
            softmax: where to look at every step, in place of the location softmax l_t, in the
                form of `ModelOutput.softmax`; None to let the model choose.
            mean: the feature slice that `start` is to be given, for whoever may not know the whole
                block when it begins; None for the block's own.

        Raises:
            ValueError: `softmax` is given to a model that has no attention.
        """

    @abstractmethod
    def start(self, mean: Float[Tensor, "B D"]) -> State:
        """The state before the first step: Eq. 6.

        Args:
            mean: feature slice averaged over places and over the block's real frames.
        """

    @abstractmethod
    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B L"] | None, State]:
        """Read one frame. `forward` is this, from `start` on, step by step.

        Returns:
            Logits, where on the picture's grid the frame was looked at (`ModelOutput.attention`;
            None without attention), and the new state.
        """
