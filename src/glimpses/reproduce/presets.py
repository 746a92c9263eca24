"""The settings of the paper and of its authors' code, each with the place it was found in.

Names are those of the fields of `DataOptions`, `ModelOptions` and `OptimOptions`, so that

    train(clips, out=run, **train_options(preset("ucf11"), TABLE1[3])._asdict())

trains the paper's model. Two names are not: `attention_layers`, of the authors' model, and
`penalty_unit`, the value of one unit of lambda in our loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from glimpses.models import AuthorsOptions
from glimpses.reproduce.paper import DatasetName, Row
from glimpses.training import TrainOptions

#: Whose settings: the paper's, or those of the code its authors released, where they differ.
PresetName = Literal["paper", "authors-code"]


@dataclass(frozen=True)
class Setting:
    """A value and where it is from."""

    value: Any
    source: str


_V3 = "later version of the paper (arXiv:1511.04119v3)"
_SCRIPTS = "authors' code, scripts/evaluate_*.py"
_CODE = "authors' code, src/actrec.py"
_OURS = "ours: the paper says nothing of it"


def preset(dataset: DatasetName, name: PresetName = "paper") -> dict[str, Setting]:
    """Settings for a data set, by the argument of `glimpses.train` they are for."""
    settings = dict(_PAPER)
    settings["hidden_size"] = Setting(1024 if dataset == "hmdb51" else 512, _V3)
    if name == "authors-code":
        settings |= {**_AUTHORS_CODE, **_AUTHORS_CODE_OF[dataset]}
        # Their model has one form of attention only.
        del settings["attention"]
    return settings


def train_options(settings: Mapping[str, Setting], row: Row, **changes: Any) -> TrainOptions:
    """Return the options for one model of the tables.

    Args:
        settings: a preset, perhaps changed.
        row: the model.
        changes: fields of `DataOptions` to set besides.
    """
    values = {key: setting.value for key, setting in settings.items()}
    values |= {**row.changes, **changes}
    values["attention_penalty"] *= values.pop("penalty_unit", 1)
    layers = values.pop("attention_layers", None)
    if layers is not None and values["model"] == "attention":
        values |= {"model": "authors", "authors": AuthorsOptions(attention_layers=layers)}
    return TrainOptions.from_flat(values)


_PAPER: Mapping[str, Setting] = {
    "backbone": Setting("googlenet", "section 2: last convolutional layer, 7x7x1024"),
    "fps": Setting(30.0, "Table 1: @ 30 fps"),
    "block_length": Setting(30, "section 3: 30 frames at a time"),
    "train_stride": Setting(1, f"{_V3}: blocks move by one frame"),
    "stride": Setting(1, f"{_V3}: blocks move by one frame"),
    "last_steps": Setting(None, "section 3: averaged over all 30 frames"),
    "aggregate": Setting("mean", "section 3: averaged over all blocks"),
    "attention": Setting("location", "Eq. 1"),
    "motion": Setting(False, "Eq. 2: the glimpse is of the features alone"),
    "motion_only": Setting(False, "Eq. 2: the glimpse is of the features"),
    "motion_bias": Setting(False, "Eq. 1: the hidden state alone"),
    "num_layers": Setting(3, "section 2 and Fig. 1b"),
    "dropout": Setting(0.5, f"{_V3}: on all non-recurrent connections"),
    "channel_norm": Setting(False, "section 2: features as the CNN gives them"),
    "attention_penalty": Setting(0.0, f"{_V3}: lambda = 0 was best on every data set"),
    "attention_target": Setting("one", "Eq. 7"),
    "weight_decay": Setting(1e-5, _V3),
    "optimizer": Setting("adam", _V3),
    "learning_rate": Setting(2e-4, f"{_CODE}: fixed inside Adam; the paper names none"),
    "schedule": Setting("constant", f"{_CODE}; the paper names none"),
    "batch_size": Setting(128, f"{_SCRIPTS}; the paper names none"),
    "epochs": Setting(15, _V3),
    "patience": Setting(15, f"{_OURS}; as many as there are epochs, so that it never stops early"),
    "checkpoint": Setting("best", f"{_OURS}; the epoch that did best on validation clips"),
}

# Their loss is a sum over the samples of a batch, to which the decay and the mean of the penalties
# over samples are added once; ours is a mean over samples. So a rate is multiplied by the batch's
# size, and what is added is divided by it.
_BATCH = 128

_AUTHORS_CODE: Mapping[str, Setting] = {
    "num_layers": Setting(1, f"{_CODE}: one LSTM layer"),
    "aggregate": Setting("majority", f"{_CODE}: the most frequent class of a clip's blocks"),
    "attention_layers": Setting(1, f"{_SCRIPTS}: n_layers_att"),
    "penalty_unit": Setting(1 / _BATCH, f"{_CODE}: lambda = 1 on the sum over a batch of 128"),
    "weight_decay": Setting(1e-5 / _BATCH, f"{_SCRIPTS}: 1e-5 on the sum over a batch of 128"),
    "attention_penalty": Setting(0.0, f"{_SCRIPTS}: alpha_c"),
    "epochs": Setting(15, f"{_SCRIPTS}: max_epochs"),
}

_AUTHORS_CODE_OF: Mapping[DatasetName, Mapping[str, Setting]] = {
    "ucf11": {
        "optimizer": Setting("adam", f"{_SCRIPTS}: optimizer"),
        "learning_rate": Setting(2e-4, f"{_CODE}: fixed inside Adam, whatever the script says"),
        "last_steps": Setting(30, f"{_SCRIPTS}: last_n"),
    },
    "hmdb51": {
        "attention_layers": Setting(3, f"{_SCRIPTS}: n_layers_att"),
        "optimizer": Setting(
            "sgd", f"{_SCRIPTS}: optimizer; they go on from an earlier model, which is not public"
        ),
        "learning_rate": Setting(_BATCH * 1e-5, f"{_SCRIPTS}: 1e-5 on the sum over a batch of 128"),
        "last_steps": Setting(16, f"{_SCRIPTS}: last_n"),
    },
    "hollywood2": {
        "aggregate": Setting("mean", "authors' code, src/actrec_mAP.py"),
        "optimizer": Setting("sgd", f"{_SCRIPTS}: optimizer"),
        "learning_rate": Setting(_BATCH * 1e-4, f"{_SCRIPTS}: 1e-4 on the sum over a batch of 128"),
        "last_steps": Setting(16, f"{_SCRIPTS}: last_n"),
    },
}
