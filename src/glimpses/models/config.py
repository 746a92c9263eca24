"""Model options and shapes: values a user may choose, and values that follow from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self, get_args

from cyclopts import Parameter

from glimpses.utils.options import (
    COMMON,
    InvalidOptionError,
    OptionGroup,
    flag,
    require_choices,
    require_int,
    require_name,
    require_number,
)

# Far more than anybody needs. A config may come from a hostile file, and is refused before memory
# is allocated for it.
_MAX_WIDTH = 2**16
_MAX_LAYERS = 100
_MAX_SIZE = 2**24

#: Statistics of a clip; see `glimpses.models.LinearModel`.
Statistic = Literal["mean", "deviation", "change", "maximum"]

_FLAG = Parameter(negative="", show_default=False)


@dataclass(frozen=True)
class AuthorsOptions:
    """Options of the model in the authors' released code, with their defaults.

    Attributes:
        attention_layers: layers from a place's features to its key (`n_layers_att`; 3 for HMDB-51).
        start_layers: layers from the block's mean feature slice to the initial state
            (`n_layers_init`).
        output_layers: layers from the hidden layer to the logits (`n_layers_out`).
        output_size: width of the hidden layer before the logits (`dim_out`); default: hidden_size.
        glimpse_to_output: also feed the glimpse to that layer (`ctx2out`).
        selector: scale each glimpse by a number from 0 to 1, computed from the hidden state.
        inverse_temperature: factor inside the location softmax (`temperature_inverse`).
    """

    attention_layers: int = 1
    start_layers: int = 1
    output_layers: int = 1
    output_size: int | None = None
    glimpse_to_output: Annotated[bool, _FLAG] = False
    selector: Annotated[bool, _FLAG] = False
    inverse_temperature: float = 1.0

    def __post_init__(self) -> None:
        require_choices(self, prefix="authors.")
        for name in ("attention_layers", "start_layers", "output_layers"):
            require_int(f"authors.{name}", getattr(self, name), 1, _MAX_LAYERS)
        if self.output_size is not None:
            require_int("authors.output_size", self.output_size, 1, _MAX_WIDTH)
        require_number("authors.inverse_temperature", self.inverse_temperature, 1e-12, 1e12)


@dataclass(frozen=True)
class ModelOptions(OptionGroup):
    """Options of the model.

    Attributes:
        model: `attention` (the paper's), its baselines `average`, `max`, `softmax`, `linear`
            (logistic regression on a clip's statistics), or `authors` (their released code); see
            docs/how-it-works.md.
        attention: input of the location softmax: the hidden state (`location`, Eq. 1), or the
            features of every place too (`content`).
        attention_mode: expected feature slice (`soft`, Eq. 2), or a single place (`hard`).
        motion: read the absolute change of the features beside them (not in the paper).
        motion_only: with motion, read the change alone.
        motion_bias: draw attention to the places that change most (not in the paper).
        motion_span: frames whose change draws attention: those of the whole `block`, or the `past`
            ones, so that the model can process streams.
        score_stage: stages by which attention scores places: `all`, or the `early` one of two on
            one grid with the optical flow, while the glimpse holds every stage; `auto` is `early`
            where that is possible.
        scene: read the mean over all places beside the glimpse (not in the paper).
        glimpse_to_output: add a linear function of the glimpse to the logits (`ctx2out` of the
            authors' code).
        hidden_size: size of hidden and cell state, d (512 or 1024 in the paper).
        attention_size: width of the layer that compares places with the hidden state (`content`).
        num_layers: LSTM layers.
        dropout: dropout rate of the non-recurrent connections (0.5 in the paper).
        channel_norm: normalize feature channels over the training clips (not in the paper).
        statistics: statistics of a clip that `linear` reads; see docs/how-it-works.md.
        inverse_penalty: C of scikit-learn's LogisticRegression, for `linear`; default: chosen by
            cross-validation on the training clips.
        authors: options of the authors' model, `--authors.NAME`; see docs/authors.md.

    Raises:
        InvalidOptionError: an option is out of range, unknown, or not supported by the model.
    """

    model: Annotated[str, COMMON] = "attention"
    attention: Literal["location", "content"] = "content"
    attention_mode: Literal["soft", "hard"] = "soft"
    motion: Annotated[bool, _FLAG] = False
    motion_only: Annotated[bool, _FLAG] = False
    motion_bias: Annotated[bool, _FLAG] = False
    motion_span: Literal["block", "past"] = "block"
    score_stage: Literal["auto", "all", "early"] = "auto"
    scene: Annotated[bool, _FLAG] = False
    glimpse_to_output: Annotated[bool, _FLAG] = False
    hidden_size: Annotated[int, COMMON] = 128
    attention_size: int = 64
    num_layers: int = 3
    dropout: Annotated[float, COMMON] = 0.2
    channel_norm: bool = True
    statistics: tuple[Statistic, ...] = ("mean", "deviation", "change")
    inverse_penalty: float | None = None
    authors: Annotated[AuthorsOptions | None, Parameter(show=False)] = None

    def __post_init__(self) -> None:
        require_choices(self)
        for name in ("hidden_size", "attention_size"):
            require_int(name, getattr(self, name), 1, _MAX_WIDTH)
        require_int("num_layers", self.num_layers, 1, _MAX_LAYERS)
        require_number("dropout", self.dropout, 0, 0.99)
        object.__setattr__(self, "statistics", tuple(self.statistics))
        for name in self.statistics:
            require_name("statistics", name, get_args(Statistic))
        if not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise InvalidOptionError("--statistics: give each statistic once, and at least one")
        if self.inverse_penalty is not None:
            require_number("inverse_penalty", self.inverse_penalty, 1e-12)
        self._require_supported()
        if self.motion_only and not self.motion:
            raise InvalidOptionError(
                "--motion-only needs --motion, or the model would read nothing; add --motion"
            )

    def overridden_by(self, other: Self) -> Self:
        """Return these options with the given ones of another group in place of their own.

        Of a model with another name, only the options that the new one supports are kept.

        Raises:
            InvalidOptionError: they do not go together.
        """
        model = other.model if "model" in other.given_names else self.model
        values = supported_options(model, self.given_values()) | other.given_values()
        return type(self)(**{**values, "model": model})

    def _require_supported(self) -> None:
        # Imported here: the registry imports the models, which import this module.
        from glimpses.models.registry import MODELS

        require_name("model", self.model, MODELS)
        if "model" not in self.given_names:
            # A recipe may still choose another model.
            return
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in {"model", *MODELS[self.model].options} or value == field.default:
                continue
            option = flag(field.name, None if isinstance(value, bool) else value)
            problem = f"is not supported by --model {self.model}"
            raise InvalidOptionError(f"{option} {problem}; leave it out")


@dataclass(frozen=True)
class CubeShape:
    """Shape of the feature cubes that a model reads.

    Attributes:
        places: places of the grid, K*K.
        channels: channels of a place, D. Of a multi-scale cube it is D1 + r*r*D2: the features of
            a coarse place, then those of the r*r fine places that it covers; then the flow's.
        fine_channels: channels of the finer stage, D2; 0 for a single stage.
        fine_ratio: fine places along a side of one coarse place, r.
        flow_channels: channels of the optical flow, which come last; 0 without it.
    """

    places: int
    channels: int
    fine_channels: int = 0
    fine_ratio: int = 1
    flow_channels: int = 0

    def __post_init__(self) -> None:
        for name in ("places", "channels", "fine_ratio"):
            _require_size(name, getattr(self, name))
        for name in ("fine_channels", "flow_channels"):
            _require_size(name, getattr(self, name), least=0)
        if self.coarse_channels < 1:
            raise ValueError(
                f"fine_channels is {self.fine_channels} and flow_channels {self.flow_channels}, "
                f"of {self.channels} in all"
            )
        if self.fine_channels and math.isqrt(self.places) ** 2 != self.places:
            raise ValueError(f"places is {self.places}, must be a square for two stages")

    @property
    def coarse_channels(self) -> int:
        """Channels of the later stage, D1."""
        return self.channels - self.fine_ratio**2 * self.fine_channels - self.flow_channels


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the shape of a model.

    Attributes:
        options: options chosen by the user.
        num_classes: number of actions, C.
        cube: shape of the feature cubes.
    """

    options: ModelOptions
    num_classes: int
    cube: CubeShape

    def __post_init__(self) -> None:
        _require_size("num_classes", self.num_classes)
        if self.options.score_stage == "early" and not self._can_score_early:
            raise InvalidOptionError(
                "--score-stage early: needs two stages on one grid, or the optical flow; use "
                "--backbone efficientnet_lite0:head+16:7@flow"
            )

    @property
    def scores_early(self) -> bool:
        """True if attention scores places by the earlier stage and the optical flow alone."""
        return self.options.score_stage != "all" and self._can_score_early

    @property
    def _can_score_early(self) -> bool:
        return self.cube.fine_ratio == 1 and self.score_channels > 0

    @property
    def score_channels(self) -> int:
        """Channels of the earlier stage and the flow, which are the last ones of a place."""
        return self.cube.fine_channels + self.cube.flow_channels


def supported_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a model reads, out of those of several models."""
    from glimpses.models.registry import MODELS

    return {name: value for name, value in options.items() if name in MODELS[model].options}


def _require_size(name: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MAX_SIZE:
        raise ValueError(f"{name} is {value}, must be a whole number from {least} to {_MAX_SIZE}")
