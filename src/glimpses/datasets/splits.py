"""Splits into train, validation and test that share no group."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence

from glimpses.datasets.base import ActionDataset, Clip, Split
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Layouts with splits by their distributors.
_OFFICIAL = frozenset({"ucf11", "hmdb51", "jhmdb", "hollywood2"})

# Indices of the clips outside and inside a fold.
_Fold = tuple[Sequence[int], Sequence[int]]

#: Name of the split into folds, which every data set has.
FOLDS = "folds"

# One of this many folds of the clips that are not tested validates.
_VALIDATION_FOLDS = 6


def split(
    dataset: ActionDataset, name: str | None = None, *, folds: int = 5, fold: int = 0,
    seed: int = 0, allow_shared_groups: bool = False,
) -> Split:  # fmt: skip
    """Split a data set so that subsets share no group and each subset has every class.

    Clips stay sorted by id. A split of the data set's own is used as it is. If it lists no
    validation clips, they are drawn from the groups in training. In that case, and for multi-label
    data sets, a class with too few groups for every subset is at least in training.

    Args:
        dataset: the clips.
        name: one of the data set's own splits, or "folds" to assign groups to folds at random. By
            default the data set's first split, or "folds" if it has none.
        folds: number of folds that the groups are assigned to; one of them is the test set.
        fold: index of the test fold, from 0.
        seed: of the assignment.
        allow_shared_groups: accept a user's lists that put clips of one class and group into two
            subsets.

    Raises:
        GlimpsesError: there is no such split; one of its subsets is empty; a user's lists put
            clips of one class and group into two subsets; or a class has too few groups for three
            subsets.
    """
    if not 0 <= fold < folds or folds < 2:
        raise GlimpsesError(f"fold {fold} of {folds}: use at least 2 folds, numbered from 0")
    require_divisible(dataset, name)
    if name is None:
        name = next(iter(dataset.splits), FOLDS)
    if name == FOLDS:
        lenient = dataset.multi_label
        rest, test = _assign_folds(dataset, dataset.clips, folds, fold, seed, lenient=lenient)
        train, validation = _draw_validation(dataset, rest, seed, lenient=lenient)
        return Split(train, validation, test, name)
    names = [*dataset.splits, FOLDS]
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise GlimpsesError(
            f"--split {name}: {dataset.root} has the splits {', '.join(names)}{hint}"
        )
    if fold:
        raise GlimpsesError(
            f"{dataset.root}: split '{name}' lists its test clips, so there is no fold {fold}; "
            f"omit --fold, or use --split {FOLDS}"
        )
    _require_subsets(dataset, name)
    _check_disjoint_groups(dataset, name, allow_shared=allow_shared_groups)
    train, validation, test = (
        tuple(clip for clip in dataset.clips if clip.id in dataset.splits[name].get(subset, ()))
        for subset in ("train", "validation", "test")
    )
    trained = {label for clip in train for label in clip.labels}
    for label, label_name in enumerate(dataset.classes):
        if label not in trained:
            raise GlimpsesError(
                f"{dataset.root}: class '{label_name}' has no training clips in split '{name}'; "
                f"add some, leave its other clips out, or use --split {FOLDS}"
            )
    if not validation:
        train, validation = _draw_validation(dataset, train, seed, lenient=True)
    return Split(train, validation, test, name)


def require_divisible(dataset: ActionDataset, name: str | None = None) -> None:
    """Refuse a data set that certainly has no split of this name.

    Raises:
        GlimpsesError: there is one class, or a class has too few groups for three subsets.
    """
    if len(dataset.classes) < 2:
        raise GlimpsesError(
            f"{dataset.root}: has only one class, {dataset.classes[0]}; "
            "add a folder with clips of another action"
        )
    if name == FOLDS or (name is None and not dataset.splits):
        _require_three_groups(dataset)


def has_official_splits(dataset: ActionDataset) -> bool:
    """Return whether splits come from a distributor, whose published scores depend on them."""
    return dataset.layout in _OFFICIAL or dataset.layout == "features"


def _require_subsets(dataset: ActionDataset, name: str) -> None:
    for subset in ("train", "test"):
        if dataset.splits[name].get(subset):
            continue
        if dataset.layout == "folder":
            raise GlimpsesError(
                f"{dataset.root / 'splits'}: needs both train.txt and test.txt with clips in them; "
                f"complete them, or use --split {FOLDS}"
            )
        raise GlimpsesError(
            f"{dataset.root}: has none of the {subset} clips of split '{name}'; add them, or "
            "choose another --split"
        )


def _check_disjoint_groups(dataset: ActionDataset, name: str, *, allow_shared: bool) -> None:
    """Refuse lists that put clips of one group and one class into two subsets.

    A group that is divided by class only, as some films are in the official lists of HMDB-51,
    gives a warning. Official lists are used unchanged, because published scores use them.
    """
    subsets_of: dict[tuple[str, int | None], list[str]] = defaultdict(list)
    for subset, ids in dataset.splits[name].items():
        for clip in dataset.clips:
            if clip.id in ids:
                for label in (None, *clip.labels):
                    subsets_of[clip.group, label].append(subset)
    shared = [key for key, subsets in subsets_of.items() if len(set(subsets)) > 1]
    groups = [group for group, label in shared if label is None]
    if not groups or not dataset.grouped:
        return
    count = (
        f"{len(groups)} of {len({group for group, _ in subsets_of})} groups have clips in several"
    )
    if has_official_splits(dataset):
        log.info(
            "%s: %s subsets of the official split %s, which is used unchanged",
            dataset.root, count, name,
        )  # fmt: skip
        return
    # Folders and tables of subsets are mostly those of a public set.
    allow_shared = allow_shared or dataset.layout in {"subsets", "table"}
    for group, label in shared:
        if label is not None and not allow_shared:
            first, second, *_ = dict.fromkeys(subsets_of[group, label])
            raise GlimpsesError(
                f"{dataset.root}: split '{name}' has clips of class '{dataset.classes[label]}' and "
                f"group {group} in both {first} and {second}, which makes the scores too high; "
                f"list each group in one subset only, use --split {FOLDS}, or pass "
                "--allow-shared-groups"
            )
    log.warning(
        "%s: %s subsets of split '%s', such as %s; the scores may be too high (--split %s keeps "
        "groups together)",
        dataset.root, count, name, groups[0], FOLDS,
    )  # fmt: skip


def _groups_of_labels(clips: Sequence[Clip]) -> defaultdict[int, set[str]]:
    groups: defaultdict[int, set[str]] = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            groups[label].add(clip.group)
    return groups


def _require_three_groups(dataset: ActionDataset) -> None:
    groups = _groups_of_labels(dataset.clips)
    for label, name in enumerate(dataset.classes):
        if (count := len(groups[label])) < 3:
            raise GlimpsesError(
                f"{dataset.root}: the clips of class '{name}' come from {count} "
                "group(s), but training, validation and test need one each; add clips from other "
                "recordings"
            )


def _draw_validation(
    dataset: ActionDataset, clips: Sequence[Clip], seed: int, *, lenient: bool
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split the clips that are not tested into (train, validation).

    Both are the same clips for an official split with one group per class, as miniatures have.
    """
    groups = {(label, clip.group) for clip in clips for label in clip.labels}
    if dataset.layout in _OFFICIAL and len(groups) == len({label for label, _ in groups}):
        log.warning(
            "%s: each class has only one group in training, so the training clips also serve for "
            "validation",
            dataset.root,
        )
        return tuple(clips), tuple(clips)
    return _assign_folds(dataset, clips, _VALIDATION_FOLDS, 0, seed, lenient=lenient)


def _assign_folds(
    dataset: ActionDataset,
    clips: Sequence[Clip],
    folds: int,
    fold: int,
    seed: int,
    *,
    lenient: bool,
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split `clips` into those outside and inside a fold, stratified by class, in whole groups.

    Every class is in both parts. If that is impossible and `lenient` is true, every class is
    outside, and as many as possible inside.
    """
    groups = [clip.group for clip in clips]
    groups_of = _groups_of_labels(clips)
    labels = groups_of.keys()
    divisible = {label for label in labels if len(groups_of[label]) > 1}
    if len(set(groups)) < 2 or not divisible or (divisible < labels and not lenient):
        raise GlimpsesError(
            f"{dataset.root}: the clips of a class come from one group only, so none is left "
            "for validation; add clips from other recordings"
        )
    # With fewer groups than folds a class would be missing from some folds.
    fewest = min(len(groups_of[label]) for label in divisible)
    folds = max(2, min(folds, fewest))
    if fold >= folds:
        raise GlimpsesError(
            f"{dataset.root}: a class has only {fewest} groups, so there is no fold {fold}; "
            f"folds go from 0 to {folds - 1}"
        )

    def labels_in(indices: Sequence[int]) -> set[int]:
        return {label for index in indices for label in clips[index].labels}

    def is_complete(candidate: _Fold) -> bool:
        return all(labels_in(part) == labels for part in candidate)

    # The greedy assignment can leave a class out of a fold by chance; the next seed usually does
    # not. Prefer an assignment in which every fold is complete: its folds share no test clip.
    candidates = []
    for attempt in range(20):
        assignment = stratified_folds(clips, folds, seed + 1000 * attempt)
        if all(map(is_complete, assignment)):
            candidates = [assignment[fold]]
            break
        candidates.append(assignment[fold])
    chosen = next(filter(is_complete, candidates), None)
    if chosen is None and lenient:
        usable = [candidate for candidate in candidates if labels_in(candidate[0]) == labels]
        chosen = max(usable, key=lambda candidate: len(labels_in(candidate[1])), default=None)
        if chosen is not None and (missing := labels - labels_in(chosen[1])):
            log.warning(
                "%s: validation or test has no clips of %s; too few groups show it",
                dataset.root,
                ", ".join(dataset.classes[label] for label in sorted(missing)),
            )
    if chosen is None:
        raise GlimpsesError(
            f"{dataset.root}: the groups cannot be divided so that training, validation and test "
            "have every class; use fewer --folds, or add clips of the rarer classes from other "
            "recordings"
        )
    outside, inside = (tuple(clips[index] for index in part) for part in chosen)
    return outside, inside


def cross_validation(dataset: ActionDataset, folds: int = 5, seed: int = 0) -> list[Split]:
    """Assign all clips to folds by group; each fold is the test subset of one split.

    Every clip is tested once. There are fewer folds if a class has fewer groups. If every fold has
    every class, the splits are those of `split` with `folds` and `fold`; otherwise a fold may lack
    a class, but no training subset does.

    Args:
        dataset: the clips.
        folds: number of folds.
        seed: of the assignment.

    Raises:
        GlimpsesError: a class has too few groups, or there is only one class.
    """
    if folds < 2:
        raise GlimpsesError(f"--folds {folds}: use at least 2 folds")
    require_divisible(dataset, FOLDS)
    clips, groups_of = dataset.clips, _groups_of_labels(dataset.clips)
    folds = min(folds, *map(len, groups_of.values()))

    def has_all(indices: Sequence[int]) -> bool:
        return {label for i in indices for label in clips[i].labels} == groups_of.keys()

    chosen = None
    for attempt in range(20):
        assignment = stratified_folds(clips, folds, seed + 1000 * attempt)
        if not all(has_all(outside) for outside, _ in assignment):
            continue
        is_complete = all(has_all(inside) for _, inside in assignment)
        if is_complete or chosen is None:
            chosen = assignment
        if is_complete:
            break
    if chosen is None:
        raise GlimpsesError(
            f"{dataset.root}: the groups cannot be divided so that every fold can be trained on "
            "every class; use fewer --folds, or add clips of the rarer classes from other "
            "recordings"
        )
    splits = []
    for outside, inside in chosen:
        rest, test = (tuple(clips[index] for index in part) for part in (outside, inside))
        splits.append(Split(*_draw_validation(dataset, rest, seed, lenient=True), test, FOLDS))
    return splits


def _strata(clips: Sequence[Clip], folds: int) -> list[int]:
    """Return the rarest class of each clip; -1 if it has none."""
    count = Counter(label for clip in clips for label in clip.labels)
    strata = [
        min(clip.labels, key=lambda label: (count[label], label), default=-1) for clip in clips
    ]
    # scikit-learn needs one stratum with a clip for each fold; do not stratify so few clips.
    return strata if max(Counter(strata).values()) >= folds else [0] * len(clips)


def stratified_folds(clips: Sequence[Clip], folds: int, seed: int) -> list[_Fold]:
    """Return the indices outside and inside each fold, stratified by class, in whole groups."""
    # Importing scikit-learn takes a second, which extraction and prediction need not spend.
    from sklearn.model_selection import StratifiedGroupKFold

    strata, groups = _strata(clips, folds), [clip.group for clip in clips]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return [
            (outside.tolist(), inside.tolist())
            for outside, inside in splitter.split(strata, strata, groups)
        ]
