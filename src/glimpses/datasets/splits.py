"""Train, validation and test that share no source video."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence

from glimpses.datasets.base import ActionDataset, Clip, Split
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Layouts whose splits are their distributors'.
_OFFICIAL = frozenset({"ucf11", "hmdb51", "hollywood2"})

# Indices of the clips that are kept, and of those that are dealt.
_Part = tuple[Sequence[int], Sequence[int]]

#: Name of the split that is dealt, for any data set.
FOLDS = "folds"

# Of what remains after the test fold, one part in this many chooses the model.
_VALIDATION_FOLDS = 6


def split(
    dataset: ActionDataset, name: str | None = None, *, folds: int = 5, fold: int = 0, seed: int = 0
) -> Split:
    """Divide a data set so that no group is on two sides and every class is on all three.

    A split of the data set's own is used as it is; only validation clips, where it lists none, are
    then drawn from the groups in training. There, and where clips may show several actions, a class
    with too few sources for every side is at least in training.

    Args:
        dataset: the clips.
        name: of one of the data set's own splits, or "folds" to deal anew; by default its first
            one, if it has any.
        folds: into how many parts the groups are dealt; one of them is the test set.
        fold: which of them, from 0.
        seed: of the deal.

    Returns:
        The three sides, each sorted by clip id.

    Raises:
        GlimpsesError: there is no such split; one of its sides is empty; an owner's lists put a
            group on two sides; or a class has too few sources to be on three sides.
    """
    if not 0 <= fold < folds or folds < 2:
        raise GlimpsesError(f"fold {fold} of {folds}: folds are at least 2 and numbered from 0")
    if len(dataset.classes) < 2:
        raise GlimpsesError(
            f"{dataset.root}: holds one class only, {dataset.classes[0]}; "
            "add a folder with clips of something else"
        )
    if name is None:
        name = next(iter(dataset.splits), FOLDS)
    if name == FOLDS:
        _require_sources(dataset)
        rest, test = _deal(dataset, dataset.clips, folds, fold, seed, lenient=dataset.multi_label)
        train, validation = _draw_validation(dataset, rest, seed, lenient=dataset.multi_label)
        return Split(train, validation, test, name)
    _require_named(dataset, name)
    if fold:
        raise GlimpsesError(
            f"{dataset.root}: split '{name}' says which clips test, so there is no fold {fold}; "
            f"leave --fold out, or deal anew with --split {FOLDS}"
        )
    _require_sides(dataset, name)
    _require_apart(dataset, name)
    train, test = _listed(dataset, name, "train"), _listed(dataset, name, "test")
    validation = _listed(dataset, name, "validation")
    if not validation:
        train, validation = _draw_validation(dataset, train, seed, lenient=True)
    return Split(train, validation, test, name)


def _require_named(dataset: ActionDataset, name: str) -> None:
    known = [*dataset.splits, FOLDS]
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise GlimpsesError(
            f"--split {name}: {dataset.root} has the splits {', '.join(known)}{hint}"
        )


def _require_sides(dataset: ActionDataset, name: str) -> None:
    for side in ("train", "test"):
        if dataset.splits[name].get(side):
            continue
        if dataset.layout == "folder":
            raise GlimpsesError(
                f"{dataset.root / 'splits'}: needs both train.txt and test.txt with clips in them; "
                f"complete them, or deal anew with --split {FOLDS}"
            )
        raise GlimpsesError(
            f"{dataset.root}: none of the {side} clips of split '{name}' is there; add them, or "
            f"choose another --split"
        )


def _require_apart(dataset: ActionDataset, name: str) -> None:
    """Refuse an owner's lists that put clips of one recording on two sides.

    Official lists are what everybody is scored by; what they share is only told.
    """
    sides_of: dict[str, set[str]] = defaultdict(set)
    for clip in dataset.clips:
        for side, ids in dataset.splits[name].items():
            if clip.id in ids:
                sides_of[clip.group].add(side)
    shared = [group for group, sides in sides_of.items() if len(sides) > 1]
    if not shared or not dataset.grouped:
        return
    if dataset.layout == "folder":
        # In the order in which they are read: train, validation, test.
        one, other = [side for side in dataset.splits[name] if side in sides_of[shared[0]]][:2]
        raise GlimpsesError(
            f"{dataset.root / 'splits'}: clips of group {shared[0]} are in both "
            f"{one}.txt and {other}.txt; a recording must be on one side"
        )
    log.info(
        "%s: %d of %d sources have clips on both sides of the official split %s, which is used as "
        "it is",
        dataset.root,
        len(shared),
        len(sides_of),
        name,
    )


def _listed(dataset: ActionDataset, name: str, side: str) -> tuple[Clip, ...]:
    ids = dataset.splits[name].get(side, frozenset())
    return tuple(clip for clip in dataset.clips if clip.id in ids)


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


def _draw_validation(
    dataset: ActionDataset, clips: Sequence[Clip], seed: int, *, lenient: bool
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split what does not test into (train, validation).

    Of an official split with one source a class, as miniatures have, training is also validation.
    """
    sources = {(label, clip.group) for clip in clips for label in clip.labels}
    if dataset.layout in _OFFICIAL and len(sources) == len({label for label, _ in sources}):
        log.warning(
            "%s: each class has one source in training only, so that the training clips themselves "
            "choose the epoch",
            dataset.root,
        )
        return tuple(clips), tuple(clips)
    return _deal(dataset, clips, _VALIDATION_FOLDS, 0, seed, lenient=lenient)


def _deal(
    dataset: ActionDataset,
    clips: Sequence[Clip],
    folds: int,
    fold: int,
    seed: int,
    *,
    lenient: bool = False,
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split `clips` into (kept, dealt), stratified by class, whole groups only.

    Every class is on both sides. If that cannot be and `lenient` is true, every class is kept, and
    as many as can be are dealt.
    """
    groups = [clip.group for clip in clips]
    sources: dict[int, set[str]] = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            sources[label].add(clip.group)
    everything = set(sources)
    divisible = {label for label in everything if len(sources[label]) > 1}
    if len(set(groups)) < 2 or not divisible or (divisible < everything and not lenient):
        raise GlimpsesError(
            f"{dataset.root}: the clips of a class come from one source only, so that none is left "
            "to choose the model by; add clips from other recordings"
        )
    # With fewer sources than folds a class would be missing from some folds.
    fewest = min(len(sources[label]) for label in divisible)
    folds = max(2, min(folds, fewest))
    if fold >= folds:
        raise GlimpsesError(
            f"{dataset.root}: a class has {fewest} sources only, so there is no fold {fold}; "
            f"folds go from 0 to {folds - 1}"
        )

    strata = _strata(clips)
    if max(Counter(strata).values()) < folds:
        # The dealer needs one stratum that goes round; so few clips are dealt as they come.
        strata = [0] * len(clips)

    def shown(side: Sequence[int]) -> set[int]:
        return {label for index in side for label in clips[index].labels}

    def complete(part: _Part) -> bool:
        return all(shown(side) == everything for side in part)

    # The greedy dealer can leave a class out of a fold by bad luck; the next seed usually doesn't.
    # A deal in which every fold is complete comes first: folds of one deal share no test clip.
    deals = []
    for attempt in range(20):
        deals.append(_folds(strata, groups, folds, seed + 1000 * attempt))
        if all(map(complete, deals[-1])):
            deals = deals[-1:]
            break
    chosen = next((deal[fold] for deal in deals if complete(deal[fold])), None)
    if chosen is None and lenient:
        whole = [deal[fold] for deal in deals if shown(deal[fold][0]) == everything]
        chosen = max(whole, key=lambda part: len(shown(part[1])), default=None)
        if chosen is not None and (lacking := everything - shown(chosen[1])):
            log.warning(
                "%s: validation or test is without clips of %s; too few sources show it",
                dataset.root,
                ", ".join(dataset.classes[label] for label in sorted(lacking)),
            )
    if chosen is None:
        raise GlimpsesError(
            f"{dataset.root}: the sources cannot be divided so that every class is in training, "
            "validation and test; try fewer --folds, or add clips from other recordings of the "
            "rarer classes"
        )
    kept, dealt = chosen
    return tuple(clips[i] for i in kept), tuple(clips[i] for i in dealt)


def _strata(clips: Sequence[Clip]) -> list[int]:
    """Class by which each clip is dealt: the rarest of its actions, or -1 if it has none."""
    count = Counter(label for clip in clips for label in clip.labels)
    return [min(clip.labels, key=lambda label: (count[label], label), default=-1) for clip in clips]


def _folds(labels: Sequence[int], groups: Sequence[str], folds: int, seed: int) -> list[_Part]:
    # Loading scikit-learn takes a second, which extraction and prediction need not spend.
    from sklearn.model_selection import StratifiedGroupKFold

    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [
            (kept.tolist(), dealt.tolist()) for kept, dealt in dealer.split(labels, labels, groups)
        ]
