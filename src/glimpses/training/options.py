"""All options of a training, from flat names as on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, NamedTuple

from cyclopts import Group, Parameter

from glimpses.models import ModelOptions, supported_options
from glimpses.runs import DataOptions, OptimOptions

#: Parameters of the commands that train; the command line flattens them.
DataGroup = Annotated[
    DataOptions | None, Parameter(name="*", group=Group("Data options", sort_key=2))
]
ModelGroup = Annotated[
    ModelOptions | None, Parameter(name="*", group=Group("Model options", sort_key=3))
]
OptimGroup = Annotated[
    OptimOptions | None, Parameter(name="*", group=Group("Optimisation options", sort_key=4))
]


class TrainOptions(NamedTuple):
    """Options of one training, named like the parameters of `train`."""

    data: DataOptions
    model: ModelOptions
    optim: OptimOptions

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> TrainOptions:
        """Return options by the names of their fields, without those that the model does not read.

        Raises:
            InvalidOptionError: an option is out of range.
            TypeError: there is no such option.
        """
        model = {"model": "attention", **values}
        groups = {
            kind: {field.name: values[field.name] for field in fields(kind) if field.name in values}
            for kind in (DataOptions, ModelOptions, OptimOptions)
        }
        if unknown := set(values).difference(*groups.values()):
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
        return cls(
            DataOptions(**groups[DataOptions]),
            ModelOptions(model=model["model"], **supported_options(model["model"], values)),
            OptimOptions(**groups[OptimOptions]),
        )
