"""Recipes: options that were given come first."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import msgspec
import pytest

from glimpses.models import AuthorsOptions, ModelOptions
from glimpses.reproduce.presets import load_preset
from glimpses.runs import DataOptions, OptimOptions, read_config
from glimpses.training import CANDIDATES, RECIPES, TrainOptions
from glimpses.training.recipes import override
from glimpses.utils.options import InvalidOptionError
from tests.configs import train
from tests.training import planted


def given(
    data: DataOptions | None = None,
    model: ModelOptions | None = None,
    optim: OptimOptions | None = None,
) -> TrainOptions:
    return TrainOptions(data or DataOptions(), model or ModelOptions(), optim or OptimOptions())


def test_options_know_which_were_given() -> None:
    options = ModelOptions(hidden_size=128)
    assert options.given_names == {"hidden_size"}
    # Equality, the stored form and the text do not depend on it.
    assert options == ModelOptions()
    assert hash(options) == hash(ModelOptions())
    assert "given" not in repr(options)
    assert dataclasses.asdict(options) == dataclasses.asdict(ModelOptions())
    assert ModelOptions("max").given_names == {"model"}
    for other in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert (other, other.given_names) == (options, options.given_names)
    names = {field.name for field in dataclasses.fields(ModelOptions)}
    decoded = msgspec.convert(dataclasses.asdict(options), ModelOptions)
    assert decoded.given_names == dataclasses.replace(options, dropout=0.1).given_names == names


def test_given_options_override_a_recipe_even_with_the_default_value() -> None:
    small = RECIPES["small"].options
    default = ModelOptions().num_layers
    assert small.model.num_layers != default
    merged = override(
        small, given(model=ModelOptions(num_layers=default), optim=OptimOptions(epochs=3))
    )
    assert merged.model == dataclasses.replace(small.model, num_layers=default)
    assert merged.optim == dataclasses.replace(small.optim, epochs=3)
    assert merged.data == small.data


@pytest.mark.parametrize(
    ("recipe", "backbone", "expected"),
    [
        ("small", "googlenet_bvlc", "googlenet_bvlc:32+16:7@flow"),
        ("small", "efficientnet_lite0", "efficientnet_lite0:32+16:7@flow"),
        ("small", "googlenet_bvlc:32", "googlenet_bvlc:32"),
        ("small", "timm:resnet18", "timm:resnet18"),
        ("standard", "googlenet_bvlc", "googlenet_bvlc"),
        ("paper", "googlenet", "googlenet"),
    ],
)
def test_a_network_alone_takes_the_stages_of_the_recipe(
    recipe: str, backbone: str, expected: str
) -> None:
    options = given(data=DataOptions(backbone=backbone))
    assert override(RECIPES[recipe].options, options).data.backbone == expected


def test_another_model_keeps_what_it_supports_of_a_recipe() -> None:
    small = RECIPES["small"].options
    merged = override(small, given(model=ModelOptions(model="max"))).model
    assert merged.model == "max"
    assert merged.hidden_size == small.model.hidden_size
    assert not merged.motion_bias
    with pytest.raises(InvalidOptionError, match="--num-layers 2 is not supported"):
        override(RECIPES["authors-code"].options, given(model=ModelOptions(num_layers=2)))


def test_options_of_the_authors_model_go_with_their_recipe() -> None:
    options = given(model=ModelOptions(authors=AuthorsOptions(selector=True)))
    merged = override(RECIPES["authors-code"].options, options).model
    assert merged.model == "authors"
    assert merged.authors == AuthorsOptions(selector=True)
    with pytest.raises(InvalidOptionError, match="not supported by --model attention"):
        override(RECIPES["standard"].options, options)


def test_limits_are_those_of_the_recipe() -> None:
    stride = given(data=DataOptions(stride=15))
    assert override(RECIPES["small"].options, stride).data.stride == 15
    with pytest.raises(
        InvalidOptionError, match="--stride 15: must be a whole number from 1 to 10"
    ):
        override(RECIPES["standard"].options, stride)


def test_every_recipe_is_documented_and_every_candidate_differs() -> None:
    for recipe in RECIPES.values():
        assert recipe.description
        page, _, _ = recipe.evidence.partition("#")
        assert (Path(__file__).parents[2] / page).is_file()
    assert len(set(CANDIDATES.values())) == len(CANDIDATES)
    assert RECIPES["standard"].options == given()


@pytest.mark.parametrize("name", ["paper", "authors-code"])
def test_recipes_and_presets_are_one(name: str) -> None:
    preset, recipe = load_preset("ucf11", name), RECIPES[name].options
    assert (preset.data, preset.model, preset.optim) == recipe


def test_a_run_records_its_recipe(tmp_path: Path) -> None:
    data = planted.make_set(tmp_path / "data", planted.everywhere, groups=4, clips=1)
    train(data, out=tmp_path / "run", recipe="small", hidden_size=8, epochs=1, batch_size=4)
    config = read_config(tmp_path / "run")
    assert config.recipe == "small"
    assert config.model.options.hidden_size == 8
    assert config.model.options.motion_bias
    with pytest.raises(InvalidOptionError, match="--recipe smal: unknown name; did you mean small"):
        train(data, out=tmp_path / "run", recipe="smal")
