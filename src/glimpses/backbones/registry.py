"""What may be asked for by name: a network's builder, and whose its weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    # Loads PyTorch, which takes longer than all else that a start needs.
    from glimpses.backbones.stages import StageModel


@dataclass(frozen=True)
class WeightsInfo:
    """Whose a network's weights are; for whoever passes on what is made with them.

    Attributes:
        network: its name in print.
        weights: where they come from and what they were trained on.
        licence: on which terms.
    """

    network: str
    weights: str
    licence: str


class BackboneEntry(NamedTuple):
    """A backbone: what builds it up to a stage (None for its last), and whose its weights are."""

    build: Callable[[str | None], StageModel]
    weights_info: WeightsInfo

    @classmethod
    def of(cls, module: str) -> BackboneEntry:
        """What a module offers as its `build` and its `WEIGHTS_INFO`."""
        loaded = import_module(module)
        return cls(loaded.build, loaded.WEIGHTS_INFO)
