"""Presets: complete sources, and options that `train` accepts."""

from __future__ import annotations

from dataclasses import fields
from typing import Literal, get_args

import pytest

from glimpses.models import MODELS
from glimpses.reproduce import PENALTIES, TABLE1, load_preset
from glimpses.reproduce.paper import SLOW, DatasetName
from glimpses.reproduce.presets import PresetName
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training import check_options

# Options that say which clips and files to use, or that the rows of the tables set.
_OF_THE_CALL = {
    "allow_shared_groups", "layout", "split", "folds", "fold", "feature_dir", "skip_static",
    "precision", "unlabelled",
}  # fmt: skip
_OF_THE_ROWS = {"attention_penalty"}
# Options of attention that the paper does not have.
_NOT_IN_PAPER = {"attention_mode", "attention_size", "motion_span"}


# The authors have no script for J-HMDB.
PRESETS = [
    (dataset, name)
    for dataset in get_args(DatasetName)
    for name in get_args(PresetName)
    if (dataset, name) != ("jhmdb", "authors-code")
]


@pytest.mark.parametrize(("dataset", "name"), PRESETS)
def test_every_option_has_a_source(dataset: DatasetName, name: PresetName) -> None:
    preset = load_preset(dataset, name)
    names = {field.name for options in (DataOptions, OptimOptions) for field in fields(options)}
    names |= MODELS[preset.baseline.model].options
    if name == "paper":
        names |= MODELS["attention"].options - _NOT_IN_PAPER
    else:
        names |= {"attention_layers"}
    assert set(preset.sources) == names - _OF_THE_CALL - _OF_THE_ROWS
    assert all(preset.sources.values())
    assert list(preset.options()) == list(preset.sources)


@pytest.mark.parametrize(("dataset", "name"), PRESETS)
def test_options_of_every_row_are_valid(dataset: DatasetName, name: PresetName) -> None:
    preset = load_preset(dataset, name)
    attention = "attention" if name == "paper" else "authors"
    for row in (*TABLE1, *PENALTIES, SLOW):
        options = preset.for_row(row)
        check_options(options.model, options.optim, seed=0, device="cpu")
        assert options.model.model == (row.baseline or attention)
        assert options.data.fps == (6 if row is SLOW else 30)


def test_lambda_of_the_authors_code_is_divided_by_the_batch_size() -> None:
    authors = load_preset("ucf11", "authors-code").for_row(PENALTIES[1])
    assert authors.optim.attention_penalty == pytest.approx(1 / 128)
    assert load_preset("ucf11").for_row(PENALTIES[1]).optim.attention_penalty == 1


@pytest.mark.parametrize("name", get_args(PresetName))
def test_the_backbone_is_that_of_the_authors(name: PresetName) -> None:
    assert load_preset("hmdb51", name).data.backbone == "googlenet_bvlc"


def test_replace_changes_every_model_and_the_source() -> None:
    preset = load_preset("hmdb51", "authors-code").replace("test", hidden_size=4, num_layers=2)
    assert (preset.model.hidden_size, preset.baseline.hidden_size) == (4, 4)
    assert preset.baseline.num_layers == 2
    assert preset.sources["hidden_size"] == preset.sources["num_layers"] == "test"
    preset = preset.replace("test", attention_layers=2)
    assert preset.model.authors is not None
    assert preset.model.authors.attention_layers == preset.options()["attention_layers"] == 2


_Expected = tuple[Literal["adam", "sgd"], float, int, int, str]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("ucf11", ("adam", 2e-4, 30, 1, "majority")),
        ("hmdb51", ("sgd", 1.28e-3, 16, 3, "majority")),
        ("hollywood2", ("sgd", 1.28e-2, 16, 1, "mean")),
    ],
)
def test_authors_scripts_differ_by_data_set(dataset: DatasetName, expected: _Expected) -> None:
    preset = load_preset(dataset, "authors-code")
    options = preset.options()
    names = ("optimizer", "learning_rate", "last_steps", "attention_layers", "aggregate")
    values = [options[name] for name in names]
    assert values == [expected[0], pytest.approx(expected[1]), *expected[2:]]
    assert options["hidden_size"] == (1024 if dataset == "hmdb51" else 512)
