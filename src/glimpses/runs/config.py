"""Config of a run, `config.json`: everything that its weights do not say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from glimpses.models import ModelConfig
from glimpses.runs.calibration import Calibration
from glimpses.runs.options import DataOptions, OptimOptions
from glimpses.segments import DecodeOptions
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, read_json
from glimpses.utils.options import require_int

CONFIG = "config.json"
_FORMAT = 2
# Digests and ids of 500,000 clips fit.
_MAX_BYTES = 128_000_000
# Larger than the input of any backbone.
_MAX_FRAME_SIZE = 2048


@dataclass(frozen=True)
class RunConfig:
    """Config of a run.

    Attributes:
        classes: names of the actions, in the order of the logits.
        multi_label: whether a clip may show several actions.
        data_dir: folder of the data set that the run was trained on.
        data: options of the data, with what "auto" and defaults stood for.
        model: options and shape of the model.
        optim: options of the optimisation; None for a model that was imported.
        seed: seed of the split, the weights, the order of blocks and dropout.
        backbone_weights: short digest of the backbone's weights.
        frame_size: height and width of the frames that the backbone reads, in pixels.
        clips: ids of the clips in each subset: train, validation and test.
        seen: SHA-256 of the videos in train and validation.
        calibration: temperature and threshold; None until they are fitted after training.
        segment_decoding: options of segments that were learned on held-out recordings; None for
            the defaults.
        recipe: name of the recipe that the options come from; for information.
        versions: versions of Glimpses and PyTorch.
    """

    classes: tuple[str, ...]
    multi_label: bool
    data_dir: str
    data: DataOptions
    model: ModelConfig
    optim: OptimOptions | None
    seed: int
    backbone_weights: str
    frame_size: int
    clips: Mapping[str, tuple[str, ...]]
    seen: tuple[str, ...] = field(repr=False)
    calibration: Calibration | None = None
    segment_decoding: DecodeOptions | None = None
    recipe: str = "standard"
    versions: Mapping[str, str] = field(
        default_factory=lambda: {name: version(name) for name in ("glimpses", "torch")}
    )

    def __post_init__(self) -> None:
        if len(set(self.classes)) != self.model.num_classes or "" in self.classes:
            raise ValueError(f"classes are not the {self.model.num_classes} names of its model")
        thresholds = self.segment_decoding and self.segment_decoding.threshold
        if isinstance(thresholds, tuple) and len(thresholds) != len(self.classes):
            raise ValueError("segment_decoding has a threshold for another number of classes")
        require_int("frame_size", self.frame_size, 1, _MAX_FRAME_SIZE)

    @property
    def temperature(self) -> float:
        """The number that logits are divided by; 1 before calibration."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @property
    def threshold(self) -> float | None:
        """The probability below which a prediction is unsure; None for no threshold."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def checkpoint(self) -> Literal["best", "last"] | int:
        """Weights that were kept: of the `best` or the `last` epoch, or of an epoch's number."""
        return "best" if self.optim is None else self.optim.checkpoint

    def training_settings(self) -> dict[str, Any]:
        """Return the options of the training by name; empty for a model that was imported."""
        if self.optim is None:
            return {}
        data = {name: getattr(self.data, name) for name in ("split", "folds", "fold")}
        options = {"train_stride": self.data.train_stride, **asdict(self.optim)}
        return {
            "channel_norm": self.model.options.channel_norm,
            **options,
            **data,
            "seed": self.seed,
        }

    def differences(self, other: RunConfig) -> list[str]:
        """Return the differences from another config, each as `name (this, not that)`.

        The feature store, calibration, segment decoding and versions do not count.
        """
        mine, others = _flat(self), _flat(other)
        return [
            f"{name} ({mine.get(name)}, not {others.get(name)})"
            if len(f"{mine.get(name)}{others.get(name)}") < 80
            else name
            for name in {**mine, **others}
            if mine.get(name) != others.get(name)
        ]


def write_config(run: Path, config: RunConfig) -> None:
    """Write `config.json` into a run's folder."""
    values = {"format": _FORMAT, **asdict(config)}
    with atomic_write(run / CONFIG) as file:
        file.write_text(json.dumps(values, indent=1, default=str) + "\n")


def read_config(run: Path) -> RunConfig:
    """Read `config.json` of a run.

    Raises:
        GlimpsesError: the folder is not a run, or the file is damaged or of another format.
    """
    try:
        values = read_json(run / CONFIG, _MAX_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise GlimpsesError(
            f"{run}: is not a run, it has no readable {CONFIG} ({reason}); give the folder that "
            "`glimpses train DATA --out RUN` has written"
        ) from error
    except ValueError as error:
        raise _damaged(run, error) from error
    try:
        if (written := values.pop("format")) != _FORMAT:
            raise GlimpsesError(
                f"{run / CONFIG}: has format {written}, this version of Glimpses reads {_FORMAT}; "
                "train the run again or use the version that wrote it"
            )
        config = msgspec.convert(values, RunConfig, dec_hook=_decode)
        _require_known(values, asdict(config))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(run, error) from error
    return config


def _damaged(run: Path, error: Exception) -> GlimpsesError:
    reason = " ".join(str(error).split())[:300]
    return GlimpsesError(
        f"{run / CONFIG}: is damaged ({reason}); restore it or train the run again"
    )


def _require_known(
    values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> None:
    """Refuse options that this version does not know; msgspec ignores them."""
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f"unknown option {prefix}{name}")
        if isinstance(value, dict):
            _require_known(value, defaults[name] or {}, f"{prefix}{name}.")


def _decode(kind: type, value: Any) -> Any:
    """Decode a type that JSON does not have."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind} in {CONFIG}")


def _flat(config: RunConfig) -> dict[str, Any]:
    values = json.loads(json.dumps(asdict(config), default=str))
    for name in ("versions", "recipe", "calibration", "segment_decoding"):
        del values[name]
    del values["data"]["feature_dir"]
    model = values.pop("model")
    return {
        **model.pop("options"),
        **model.pop("cube"),
        **model,
        **(values.pop("optim") or {}),
        **values.pop("data"),
        **values,
    }
