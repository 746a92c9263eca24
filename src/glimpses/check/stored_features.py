"""Verification and repair of feature stores, `glimpses check --features`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Group
from rich.table import Table

from glimpses import backbones, datasets
from glimpses.datasets import Clip
from glimpses.datasets.layouts import feature_set
from glimpses.features import CubeStore, FeatureStore, clip_digests
from glimpses.features.fill import fill
from glimpses.features.part import DamagedFeaturesError
from glimpses.features.store import SETTINGS
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import cache_dir, read_json

log = logging.getLogger(__name__)

# Threads that read; more do not read faster from one disk.
_READERS = 4

Repair = Literal["recomputed", "removed"]


@dataclass(frozen=True)
class DamagedClip:
    """Clip with damaged features in one store.

    Attributes:
        store: folder of the store.
        digest: SHA-256 of the clip's video.
        files: damaged files, each with the reason.
        repair: what was done; None if nothing was asked for.
    """

    store: Path
    digest: str
    files: tuple[str, ...]
    repair: Repair | None = None


@dataclass(frozen=True)
class FeatureCheck:
    """Result of `glimpses check --features`.

    Attributes:
        folder: the folder of all stores, or of the imported features.
        clips: number of stored clips by folder of their store.
        damaged: clips with damaged files.
    """

    folder: Path
    clips: Mapping[Path, int]
    damaged: tuple[DamagedClip, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is damaged, or all of it was repaired."""
        return all(clip.repair for clip in self.damaged)

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if features are damaged and were not repaired."""
        if self.ok:
            return ()
        counts = f"{len(self.damaged)} of {pluralise(sum(self.clips.values()), 'clip')}"
        return (
            f"{self.folder}: the features of {counts} are damaged; run the same command with "
            "--repair",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result in JSON's types."""
        return {
            "folder": str(self.folder),
            "ok": self.ok,
            "clips": {str(store): count for store, count in self.clips.items()},
            "damaged": [
                {**vars(clip), "store": str(clip.store), "files": list(clip.files)}
                for clip in self.damaged
            ],
        }

    def __rich__(self) -> Group:
        table = Table("store")
        for name in ("clips", "damaged", "recomputed", "removed"):
            table.add_column(name, justify="right")
        for store, count in self.clips.items():
            repairs = [clip.repair for clip in self.damaged if clip.store == store]
            numbers = (len(repairs), repairs.count("recomputed"), repairs.count("removed"))
            table.add_row(store.name, str(count), *(str(number or "") for number in numbers))
        lines = [line for clip in self.damaged for line in clip.files]
        if any(clip.repair == "removed" for clip in self.damaged):
            lines.append(
                "removed features are computed when a command needs them; imported ones must be "
                "imported again"
            )
        return Group(table, *lines)


def check_features(
    data: Path | None, feature_dir: str | Path | None, *, repair: bool
) -> FeatureCheck:
    """Read all stored features, compare them with their checksums, and repair damaged ones.

    Args:
        data: data set whose clips are used to compute damaged features again. Of imported
            features, these are checked.
        feature_dir: folder of all stores; by default in the user's cache folder.
        repair: compute damaged features again where the clip is in `data`, and remove the others.

    Raises:
        GlimpsesError: there are no stored features, or they cannot be written.
    """
    imported = data is not None and feature_set.matches(data)
    root = data if data and imported else Path(feature_dir or cache_dir() / "features")
    stores = [
        store
        for folder in (sorted(root.iterdir()) if root.is_dir() else ())
        if (store := CubeStore(folder)).digests()
    ]
    if not stores:
        raise GlimpsesError(f"{root}: has no stored features; give --feature-dir their folder")
    damaged = _verify(stores)
    if repair and damaged:
        clips: dict[str, Clip] = {}
        if data is not None and not imported:
            dataset = datasets.load(data)
            digests = clip_digests(dataset, dataset.clips)
            clips = {digests[clip.id]: clip for clip in dataset.clips}
        damaged = [
            repaired
            for store in stores
            for repaired in _repair(
                store, [clip for clip in damaged if clip.store == store.folder], clips
            )
        ]
    counts = {store.folder: len(store.digests()) for store in stores}
    counts = {folder: count + _removed(damaged, folder) for folder, count in counts.items()}
    return FeatureCheck(root, counts, tuple(damaged))


def _removed(damaged: Sequence[DamagedClip], folder: Path) -> int:
    return sum(clip.store == folder and clip.repair == "removed" for clip in damaged)


def _verify(stores: Sequence[CubeStore]) -> list[DamagedClip]:
    """Read every part of every clip."""

    def verify(item: tuple[CubeStore, str]) -> DamagedClip | None:
        store, digest = item
        try:
            clip = store.find(digest)
            problems = [error.problem for error in clip.damage()] if clip else []
        except DamagedFeaturesError as error:
            problems = [error.problem]
        return DamagedClip(store.folder, digest, tuple(problems)) if problems else None

    items = [(store, digest) for store in stores for digest in store.digests()]
    damaged = []
    with (
        progress.bar("verifying features", len(items), transient=True) as bar,
        ThreadPoolExecutor(_READERS) as pool,
    ):
        for result in pool.map(verify, items):
            if result is not None:
                damaged.append(result)
            bar.advance()
    return damaged


def _repair(
    store: CubeStore, damaged: Sequence[DamagedClip], clips: Mapping[str, Clip]
) -> list[DamagedClip]:
    """Compute the damaged clips of a store that are available, and remove the others."""
    available = {clip.digest: clips[clip.digest] for clip in damaged if clip.digest in clips}
    recomputed = _compute(store, available) if available else set()
    repaired = []
    for clip in damaged:
        how: Repair = "recomputed" if clip.digest in recomputed else "removed"
        if how == "removed":
            store.remove(clip.digest)
        repaired.append(DamagedClip(clip.store, clip.digest, clip.files, how))
    return repaired


def _compute(store: CubeStore, clips: Mapping[str, Clip]) -> set[str]:
    """Compute clips again with the settings of a store; return the digests that succeeded."""
    try:
        settings = read_json(store.folder / SETTINGS)
        backbone = backbones.load(settings["backbone"], weights=settings["weights"])
        target = FeatureStore(
            store.folder.parent, backbone, settings["fps"], settings["skip_static"]
        )
    except (OSError, ValueError, KeyError, TypeError, GlimpsesError) as error:
        log.warning("%s: cannot be computed again (%s)", store.folder, error)
        return set()
    if target.folder != store.folder:
        log.warning("%s: cannot be computed again (other settings)", store.folder)
        return set()
    with progress.bar(f"extracting {backbone.name}", len(clips)) as bar:
        failures = fill(target, clips, backbone, bar.advance)
    for failure in failures.values():
        log.warning("%s", failure)
    return {digest for digest in clips if store.is_intact(digest)}
