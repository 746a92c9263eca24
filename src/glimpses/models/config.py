"""Model options and shapes: values a user may choose, and values that follow from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from glimpses.utils.errors import GlimpsesError, unknown_name

# Far more than anybody needs. A config may come from a hostile file, and is refused before memory
# is taken for it.
_MAX_WIDTH = 2**16
_MAX_LAYERS = 100
_MAX_SIZE = 2**24


class InvalidOptionError(GlimpsesError, ValueError):
    """A model option that is out of range, unknown, or not supported by the chosen model."""


@dataclass(frozen=True)
class AuthorsOptions:
    """Options of the model in the authors' released code, with their defaults.

    Attributes:
        attention_layers: layers from a place's features to its key (`n_layers_att`; 3 for
            HMDB-51).
        start_layers: layers from the block's mean feature slice to the initial state
            (`n_layers_init`).
        output_layers: layers from the hidden layer to the logits (`n_layers_out`).
        output_size: width of the hidden layer before the logits (`dim_out`); `hidden_size` if not
            given.
        glimpse_to_output: whether that layer sees the glimpse beside the hidden state (`ctx2out`).
        selector: whether the hidden state scales each glimpse by a number from 0 to 1.
        inverse_temperature: factor inside the location softmax (`temperature_inverse`).
    """

    attention_layers: int = 1
    start_layers: int = 1
    output_layers: int = 1
    output_size: int | None = None
    glimpse_to_output: bool = False
    selector: bool = False
    inverse_temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("attention_layers", "start_layers", "output_layers"):
            _require_int(f"authors.{name}", getattr(self, name), _MAX_LAYERS)
        if self.output_size is not None:
            _require_int("authors.output_size", self.output_size, _MAX_WIDTH)
        for name in ("glimpse_to_output", "selector"):
            _require_bool(f"authors.{name}", getattr(self, name))
        _require_range("authors.inverse_temperature", self.inverse_temperature, 1e-12, 1e12)


@dataclass(frozen=True)
class ModelOptions:
    """Model options that a user may choose.

    Attributes:
        model: name of the model in `MODELS`: the paper's soft attention (`attention`), its
            baselines in Table 1 (`average`, `max`, `softmax`), or the model in the authors'
            released code (`authors`).
        attention: input of the location softmax: the hidden state alone (`location`, Eq. 1, as in
            the paper), or the features of every place as well (`content`, as in the authors' code).
        attention_mode: the glimpse is the expected feature slice under the location softmax
            (`soft`, Eq. 2, as in the paper), or the slice of a single place (`hard`; Xu et al.,
            2015, section 4.1), sampled in training and the most probable one in evaluation.
        motion: whether each place's features are read together with their absolute change since
            the previous frame (not in the paper).
        motion_only: with `motion`, whether that change is all that is read of a place. Attention
            keys and the initial state still come from the features.
        motion_bias: whether attention is drawn to the places that change most over a block (not in
            the paper).
        hidden_size: size of the hidden state, the cell state and the layer before the logits, d
            (512 or 1024 in the paper).
        attention_size: width of the layer in which `content` attention compares places with the
            hidden state.
        num_layers: LSTM layers (3 in the paper).
        dropout: dropout rate of the non-recurrent connections (0.5 in the paper).
        channel_norm: whether every feature channel is standardized to mean 0 and standard
            deviation 1 over the training clips (the paper reads features as they are).
        authors: options of the authors' model; None for its defaults.

    Raises:
        InvalidOptionError: an option is out of range, unknown, or not supported by the model.
    """

    model: str = "attention"
    attention: Literal["location", "content"] = "content"
    attention_mode: Literal["soft", "hard"] = "soft"
    motion: bool = False
    motion_only: bool = False
    motion_bias: bool = False
    hidden_size: int = 128
    attention_size: int = 64
    num_layers: int = 3
    dropout: float = 0.2
    channel_norm: bool = True
    authors: AuthorsOptions | None = None

    def __post_init__(self) -> None:
        self._require_values()
        self._require_supported()
        if self.motion_only and not self.motion:
            raise InvalidOptionError(
                "--motion-only needs --motion, or the model would read nothing; add --motion"
            )

    def _require_values(self) -> None:
        for name in ("attention", "attention_mode"):
            _require_choice(name, getattr(self, name), get_args(get_type_hints(type(self))[name]))
        for name in ("motion", "motion_only", "motion_bias", "channel_norm"):
            _require_bool(name, getattr(self, name))
        for name in ("hidden_size", "attention_size"):
            _require_int(name, getattr(self, name), _MAX_WIDTH)
        _require_int("num_layers", self.num_layers, _MAX_LAYERS)
        _require_range("dropout", self.dropout, 0, 0.99)
        if not isinstance(self.authors, AuthorsOptions | None):
            raise InvalidOptionError("--authors must be the options of the authors' model")

    def _require_supported(self) -> None:
        # Here, because the registry imports the models, which import this module.
        from glimpses.models.registry import MODELS

        if not isinstance(self.model, str) or self.model not in MODELS:
            subject = f"--model {self.model}: there is no such model"
            raise InvalidOptionError(str(unknown_name(subject, str(self.model), MODELS)))
        supported = MODELS[self.model].options
        for field in fields(self):
            is_default = getattr(self, field.name) == field.default
            if field.name != "model" and field.name not in supported and not is_default:
                value = getattr(self, field.name)
                flag = _flag(field.name) if isinstance(value, bool) else _flag(field.name, value)
                raise InvalidOptionError(
                    f"{flag} is not supported by --model {self.model}; leave it out"
                )


@dataclass(frozen=True)
class CubeShape:
    """Shape of the feature cubes that a model reads.

    Attributes:
        places: places of the grid, K*K.
        channels: channels of a place, D. Of a multi-scale cube it is D1 + r*r*D2: the features of
            a coarse place, then those of the r*r fine places that it covers.
        fine_channels: channels of the finer stage, D2; 0 for a single stage.
        fine_ratio: fine places along a side of one coarse place, r.
    """

    places: int
    channels: int
    fine_channels: int = 0
    fine_ratio: int = 1

    def __post_init__(self) -> None:
        for name in ("places", "channels", "fine_ratio"):
            _require_size(name, getattr(self, name))
        _require_size("fine_channels", self.fine_channels, least=0)
        if self.fine_ratio**2 * self.fine_channels >= self.channels:
            raise ValueError(f"fine_channels is {self.fine_channels}, of {self.channels} in all")
        if self.fine_channels and math.isqrt(self.places) ** 2 != self.places:
            raise ValueError(f"places is {self.places}, must be a square for two stages")


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Return the config that `dataclasses.asdict` turned into `values`.

        Raises:
            ValueError: a value is out of range, or there is no such model.
            TypeError: a value is missing or has the wrong type.
            KeyError: a part is missing.
        """
        values = dict(values)
        options = dict(values.pop("options"))
        authors = options.pop("authors", None)
        return cls(
            ModelOptions(**options, authors=None if authors is None else AuthorsOptions(**authors)),
            cube=CubeShape(**values.pop("cube")),
            **values,
        )


def supported_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a model reads, out of those of several models."""
    from glimpses.models.registry import MODELS

    return {name: value for name, value in options.items() if name in MODELS[model].options}


def _flag(name: str, value: object = MISSING) -> str:
    """Return an option as it is written on a command line."""
    flag = f"--{name.replace('_', '-')}"
    return flag if value is MISSING else f"{flag} {value}"


def _require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidOptionError(f"{_flag(name, value)}: must be one of {', '.join(choices)}")


def _require_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidOptionError(f"{_flag(name, value)}: must be true or false")


def _require_int(name: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InvalidOptionError(f"{_flag(name, value)}: must be a whole number from 1 to {most}")


def _require_range(name: str, value: object, least: float, most: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):  # type: ignore[operator]
        raise InvalidOptionError(f"{_flag(name, value)}: must be from {least} to {most}")


def _require_size(name: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MAX_SIZE:
        raise ValueError(f"{name} is {value}, must be a whole number from {least} to {_MAX_SIZE}")
