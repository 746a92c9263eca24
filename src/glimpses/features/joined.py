"""Features of a single stage out of stored cubes of two joined stages.

A cube of two stages on one grid, as of `efficientnet_lite0:head+16:7@flow`, holds the channels of
the later stage, then those of the earlier one, then the flow. Once it is stored, neither stage
needs the CNN again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from glimpses.backbones import Backbone, flow
from glimpses.features.store import ClipFeatures, CubeStore, FeatureStore

_JOINED = re.compile(r"(?P<late>[^+_@]+)\+(?P<early>[^+_@]+)_(?P<grid>\d+)(?P<flow>@flow)?")
# Name of the last stage in a spec of two stages; alone, it needs no name.
_LAST = "head"


@dataclass(frozen=True)
class StageFeatures(ClipFeatures):
    """Some of the channels of stored cubes.

    Attributes:
        joined: features with all channels.
        first: first of the channels, counted from the end if it is negative.
    """

    joined: ClipFeatures
    first: int

    def read_into(self, start: int, out: Float16[np.ndarray, "T P D"]) -> None:
        """Fill `out` with consecutive cubes; see `ClipFeatures.read_into`."""
        cubes = np.empty((len(out), *self.joined.shape), np.float16)
        self.joined.read_into(start, cubes)
        first = self.first % cubes.shape[2]
        out[...] = cubes[:, :, first : first + self.shape[1]]


@dataclass(frozen=True)
class StageStore:
    """Store of two joined stages, one of which is asked for."""

    store: CubeStore
    first: int
    channels: int

    def find(self, digest: str) -> ClipFeatures | None:
        """Return the features of a clip; see `CubeStore.find`."""
        joined = self.store.find(digest)
        if joined is None:
            return None
        shape = joined.shape[0], self.channels
        return StageFeatures(
            digest, joined.times, joined.problem, shape, joined.remedy, (), joined, self.first
        )


def joined_stores(store: FeatureStore, root: Path, backbone: Backbone) -> Iterator[StageStore]:
    """Yield the stores with two joined stages of which the backbone computes one.

    Args:
        store: store of the backbone.
        root: folder of all stores.
        backbone: the network that computes one stage.
    """
    network, _, stage = backbone.name.partition(":")
    name = re.sub(r"[^\w.,@+-]+", "_", backbone.name)
    rest = store.folder.name.removeprefix(name)
    for folder in sorted(root.glob(f"{network}_*+*{rest}")):
        match = _JOINED.fullmatch(folder.name[len(network) + 1 : -len(rest)])
        if match is None:
            continue
        if stage == match["late"] or (not stage and match["late"] == _LAST):
            yield StageStore(CubeStore(folder), 0, backbone.channels)
        elif stage == f"{match['early']}:{match['grid']}":
            last = flow.CHANNELS if match["flow"] else 0
            yield StageStore(CubeStore(folder), -backbone.channels - last, backbone.channels)
