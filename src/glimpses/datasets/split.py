"""Train, validation and test that share no source video."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence

from sklearn.model_selection import StratifiedGroupKFold

from glimpses.datasets.base import ActionDataset, Clip, Split
from glimpses.errors import GlimpsesError

# Of what remains after the test fold, one part in this many chooses the model.
_VALIDATION_FOLDS = 6


def split(dataset: ActionDataset, *, folds: int = 5, fold: int = 0, seed: int = 0) -> Split:
    """Divide a data set so that no group is on two sides and every class is on all three.

    A data set's own train and test lists are used as they are; only validation clips, where they
    are not listed, are then drawn from the groups in training.

    Args:
        dataset: the clips.
        folds: into how many parts the groups are dealt; one of them is the test set.
        fold: which of them, from 0.
        seed: of the deal.

    Returns:
        The three sides, each sorted by clip id.

    Raises:
        GlimpsesError: a class has too few sources to be on three sides.
    """
    if not 0 <= fold < folds or folds < 2:
        raise GlimpsesError(f"fold {fold} of {folds}: folds are at least 2 and numbered from 0")
    if len(dataset.classes) < 2:
        raise GlimpsesError(
            f"{dataset.root}: holds one class only, {dataset.classes[0]}; "
            "add a folder with clips of something else"
        )
    listed = dataset.splits
    if listed and not (listed.get("train") and listed.get("test")):
        raise GlimpsesError(
            f"{dataset.root / 'splits'}: needs both train.txt and test.txt with clips in them; "
            "complete them or remove the folder"
        )
    if listed:
        if fold:
            raise GlimpsesError(
                f"{dataset.root / 'splits'}: says which clips test, so there is no fold {fold}; "
                "leave --fold out or remove the folder"
            )
        _require_apart(dataset)
        test = _listed(dataset, "test")
        if listed.get("validation"):
            return Split(_listed(dataset, "train"), _listed(dataset, "validation"), test)
        rest = _listed(dataset, "train")
    else:
        _require_sources(dataset)
        rest, test = _deal(dataset, dataset.clips, folds, fold, seed)
    train, validation = _deal(dataset, rest, _VALIDATION_FOLDS, 0, seed)
    return Split(train, validation, test)


def _require_apart(dataset: ActionDataset) -> None:
    """Refuse lists that put clips of one recording on two sides."""
    side_of: dict[str, str] = {}
    for clip in dataset.clips:
        for side, ids in dataset.splits.items():
            if clip.id in ids and dataset.grouped and side_of.setdefault(clip.group, side) != side:
                raise GlimpsesError(
                    f"{dataset.root / 'splits'}: clips of group {clip.group} are in both "
                    f"{side_of[clip.group]}.txt and {side}.txt; a recording must be on one side"
                )


def _listed(dataset: ActionDataset, name: str) -> tuple[Clip, ...]:
    return tuple(clip for clip in dataset.clips if clip.id in dataset.splits[name])


def _require_sources(dataset: ActionDataset) -> None:
    sources: dict[int, set[str]] = defaultdict(set)
    for clip in dataset.clips:
        for label in clip.labels:
            sources[label].add(clip.group)
    for label, name in enumerate(dataset.classes):
        if len(sources[label]) < 3:
            raise GlimpsesError(
                f"{dataset.root}: the clips of class '{name}' come from {len(sources[label])} "
                "source(s), but training, validation and test need one each; add clips of it from "
                "other recordings"
            )


def _deal(
    dataset: ActionDataset, clips: Sequence[Clip], folds: int, fold: int, seed: int
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split `clips` into (kept, dealt), stratified by class, whole groups only."""
    labels = [clip.labels[0] for clip in clips]
    groups = [clip.group for clip in clips]
    fewest = min(
        len({g for g, label in zip(groups, labels, strict=True) if label == one})
        for one in set(labels)
    )
    if len(set(groups)) < 2 or fewest < 2:
        raise GlimpsesError(
            f"{dataset.root}: the clips of a class come from one source only, so that none is left "
            "to choose the model by; add clips from other recordings"
        )
    # With fewer sources than folds a class would be missing from some folds.
    folds = max(2, min(folds, fewest))
    if fold >= folds:
        raise GlimpsesError(
            f"{dataset.root}: a class has {fewest} sources only, so there is no fold {fold}; "
            f"folds go from 0 to {folds - 1}"
        )
    everything = set(labels)

    def complete(part: tuple[Sequence[int], Sequence[int]]) -> bool:
        return all({labels[index] for index in side} == everything for side in part)

    # The greedy dealer can leave a class out of a fold by bad luck; the next seed usually doesn't.
    # A deal in which every fold is complete comes first: folds of one deal share no test clip.
    deals = []
    for attempt in range(20):
        deals.append(_folds(labels, groups, folds, seed + 1000 * attempt))
        if all(map(complete, deals[-1])):
            deals = deals[-1:]
            break
    for deal in deals:
        if complete(deal[fold]):
            kept, dealt = deal[fold]
            return tuple(clips[i] for i in kept), tuple(clips[i] for i in dealt)
    raise GlimpsesError(
        f"{dataset.root}: the sources cannot be divided so that every class is in training, "
        "validation and test; try fewer --folds, or add clips from other recordings of the rarer "
        "classes"
    )


def _folds(
    labels: Sequence[int], groups: Sequence[str], folds: int, seed: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [
            (kept.tolist(), dealt.tolist()) for kept, dealt in dealer.split(labels, labels, groups)
        ]
