"""The `tune` command: the comparison of `glimpses train --recipe auto`, without a run."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from glimpses import datasets
from glimpses.models import ModelOptions
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training.budget import parse_budget
from glimpses.training.options import DataGroup, ModelGroup, OptimGroup, TrainOptions
from glimpses.training.selection import Selection, select
from glimpses.training.train_run import load_for_training, selection_arguments
from glimpses.utils.files import quote_path
from glimpses.utils.options import COMMON, flag

if TYPE_CHECKING:
    from rich.console import Group as RichGroup


@dataclass(frozen=True)
class Tuning:
    """Result of a comparison.

    Attributes:
        clips: folder of the clips.
        selection: the comparison and the choice.
        seed: seed of the split.
    """

    clips: Path
    selection: Selection
    seed: int = 0

    @property
    def options(self) -> TrainOptions:
        """The chosen options; pass them on with `train(clips, out=..., **options._asdict())`."""
        return self.selection.options

    @property
    def command(self) -> str:
        """The command that trains with the chosen options."""
        words = ["--out", "RUN", "--recipe", "standard"]
        for group in self.options:
            for field in fields(group):
                value = getattr(group, field.name)
                if value == field.default or field.name == "authors":
                    continue
                if isinstance(value, bool):
                    words.append(flag(field.name if value else f"no-{field.name}"))
                    continue
                values = value if isinstance(value, tuple) else (value,)
                words += [word for one in values for word in (flag(field.name), str(one))]
        if self.seed:
            words += ["--seed", str(self.seed)]
        return f"glimpses train {quote_path(self.clips)} {shlex.join(words)}"

    def to_json(self) -> dict[str, Any]:
        """Return the comparison in JSON's types."""
        values = {
            name: value for name, value in asdict(self.selection).items() if name != "options"
        }
        return {**values, "command": self.command}

    def __rich__(self) -> RichGroup:
        from rich.console import Group as RichGroup

        selection = self.selection
        table = [selection.table()] if selection.candidates else []
        return RichGroup(
            *table, f"recipe {selection.recipe}: {selection.reason}", "next:", f"  {self.command}"
        )


def tune(
    clips: str | Path,
    /,
    *,
    budget: Annotated[str | None, COMMON] = None,
    data: DataGroup = None,
    model: ModelGroup = None,
    optim: OptimGroup = None,
    seed: Annotated[int, COMMON] = 0,
    device: Annotated[str, COMMON] = "cpu",
) -> Tuning:
    """Compare models on a folder of clips by cross-validation; print the command for the best.

    This is what `glimpses train` does first. The clips of the test subset are not used. Every
    option that you give holds for all models; models that contradict it are left out.

    Args:
        clips: folder of clips; see `glimpses train`.
        budget: time for the comparison: 90s, 2m, 1h or none; default: about the time that the
            extraction of features takes, at least a minute.
        data: options of clips, features and blocks.
        model: options of the model.
        optim: options of the optimisation.
        seed: seed of the split, the folds and the trainings.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: an option or the data cannot be used.
    """
    user_options = TrainOptions(
        data or DataOptions(), model or ModelOptions(), optim or OptimOptions()
    )
    seconds = parse_budget(budget)
    dataset = load_for_training(clips, None, user_options, seed, device)
    of_data = user_options.data
    split = datasets.split(
        dataset, of_data.split, folds=of_data.folds, fold=of_data.fold, seed=seed,
        allow_shared_groups=of_data.allow_shared_groups,
    )  # fmt: skip
    arguments = selection_arguments(dataset, clips, split, seed, device)
    selection = select(dataset, split, user_options, budget=seconds, seed=seed, **arguments)
    return Tuning(Path(clips), selection, seed)
