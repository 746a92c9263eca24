"""Options of a training from a recipe and the options that the user gave."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from rich.console import Console

from glimpses import runs
from glimpses.datasets import ActionDataset, Split
from glimpses.models import ModelOptions
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training.options import TrainOptions
from glimpses.training.recipes import RECIPES, RecipeName, override
from glimpses.training.selection import Selection, select
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, read_json

log = logging.getLogger(__name__)

#: File of a run that `--recipe auto` has chosen: what was asked for, compared and chosen.
TUNING = "tune.json"

T = TypeVar("T")


class Resolved(NamedTuple):
    """Options of a training, and the name of the recipe that they come from."""

    options: TrainOptions
    recipe: str


def resolve(
    recipe: RecipeName,
    dataset: ActionDataset,
    split: Split,
    user_options: TrainOptions,
    *,
    out: Path,
    seed: int,
    overwrite: bool,
    selector: Callable[..., Selection] = select,
    **how: Any,
) -> Resolved:
    """Return the options of a recipe, or of the one that `auto` chooses, with the given ones.

    What `auto` chooses is stored in `out` before the training begins, so that a training that was
    killed continues without another comparison.

    Args:
        recipe: name of the recipe.
        dataset: the data set.
        split: its split.
        user_options: options that the user gave.
        out: folder of the run.
        seed: seed of the comparison.
        overwrite: replace a run with other options in `out`.
        selector: `selection.select`, or what stands for it.
        how: further arguments of `selection.select`.

    Raises:
        GlimpsesError: the options do not go together, or `out` holds a run that was trained
            otherwise.
    """
    if recipe != "auto":
        if overwrite:
            (out / TUNING).unlink(missing_ok=True)
        return Resolved(override(RECIPES[recipe].options, user_options), recipe)
    request = _request(user_options, seed)
    stored = _read(out)
    if stored is not None and stored["request"] == request:
        options = _options(out, stored["options"])
        # The features may have moved since.
        data = options.data.overridden_by(user_options.data)
        return Resolved(options._replace(data=data), f"auto: {stored['recipe']}")
    if (out / runs.CONFIG).exists() and not overwrite:
        made = "other options" if stored is None else "other options or another --seed"
        raise GlimpsesError(
            f"{out}: is a run with {made}; give another --out, the --recipe and the options that "
            "it was trained with, or (glimpses train) --overwrite to replace it"
        )
    selection = selector(dataset, split, user_options, seed=seed, **how)
    show(selection)
    _write(out, request, selection)
    return Resolved(selection.options, f"auto: {selection.recipe}")


def show(selection: Selection) -> None:
    """Print the comparison on standard error, and log the choice."""
    if selection.candidates:
        Console(stderr=True, markup=False, highlight=False, emoji=False).print(selection.table())
    log.info("recipe %s: %s", selection.recipe, selection.reason)


def _request(user_options: TrainOptions, seed: int) -> dict[str, Any]:
    """Return what the choice depends on, besides the clips, in JSON's types."""
    values: dict[str, Any] = {}
    for group in user_options:
        values |= group.given_values()
    # Where features are does not matter.
    values.pop("feature_dir", None)
    request: dict[str, Any] = json.loads(json.dumps({**values, "seed": seed}, default=_plain))
    return request


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)


def _write(out: Path, request: dict[str, Any], selection: Selection) -> None:
    values = asdict(selection)
    names = ("data", "model", "optim")
    values["options"] = {
        name: asdict(group) for name, group in zip(names, selection.options, strict=True)
    }
    with atomic_write(out / TUNING) as file:
        file.write_text(json.dumps({"request": request, **values}, indent=1, default=str) + "\n")


def _read(out: Path) -> dict[str, Any] | None:
    """Return the stored choice; None if there is none that can be read."""
    try:
        values: dict[str, Any] = read_json(out / TUNING)
    except (OSError, ValueError):
        return None
    return (
        values
        if isinstance(values, dict) and {"request", "options", "recipe"} <= values.keys()
        else None
    )


def _options(out: Path, values: dict[str, Any]) -> TrainOptions:
    """Return stored options.

    Raises:
        GlimpsesError: they are damaged.
    """

    def convert(name: str, kind: type[T]) -> T:
        return msgspec.convert(values[name], kind, dec_hook=lambda _, text: Path(text))

    try:
        return TrainOptions(
            convert("data", DataOptions),
            convert("model", ModelOptions),
            convert("optim", OptimOptions),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise GlimpsesError(
            f"{out / TUNING}: is damaged ({error}); delete it and run the same command again"
        ) from error
