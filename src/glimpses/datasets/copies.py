"""Identical files in a data set: refused where they mislead, kept in one group elsewhere."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.splits import FOLDS, has_official_splits
from glimpses.utils.errors import GlimpsesError, pluralise

log = logging.getLogger(__name__)


def join_copies(
    dataset: ActionDataset, digests: Mapping[str, str], split: str | None = None
) -> ActionDataset:
    """Return the data set with identical files in one group, so that folds keep them together.

    Official sets are used unchanged, because published scores use them; their copies are logged.

    Args:
        dataset: the clips.
        digests: digest of each file by clip id; clips without one count as different.
        split: name of the split that will be used; by default the first one.

    Raises:
        GlimpsesError: identical files have different labels, or a user's lists put them into two
            subsets.
    """
    by_digest: dict[str, list[Clip]] = defaultdict(list)
    for clip in dataset.clips:
        if clip.id in digests:
            by_digest[digests[clip.id]].append(clip)
    # Segments of one file do not count as copies.
    copies = [clips for clips in by_digest.values() if len({clip.path for clip in clips}) > 1]
    if not copies:
        return dataset
    problems = [*_contradictions(dataset, copies), *_divided(dataset, copies, split)]
    if has_official_splits(dataset):
        for problem in problems:
            log.warning("%s: %s", dataset.root, problem)
        return dataset
    if problems:
        more = f" ({pluralise(len(problems) - 1, 'more case')})" if len(problems) > 1 else ""
        raise GlimpsesError(f"{dataset.root}: {problems[0]}{more}")
    log.info(
        "%s: %s identical to others; copies stay in one subset", dataset.root,
        _count(sum(map(len, copies)) - len(copies)),
    )  # fmt: skip
    return replace(dataset, clips=join_groups(dataset.clips, copies))


def join_groups(clips: Sequence[Clip], sets: Iterable[Sequence[Clip]]) -> tuple[Clip, ...]:
    """Return the clips with the groups of each set of clips united under one of their names."""
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while group in parent:
            group = parent[group]
        return group

    for together in sets:
        first, *others = sorted({root(clip.group) for clip in together})
        parent |= dict.fromkeys(others, first)
    return tuple(replace(clip, group=root(clip.group)) for clip in clips)


def _count(clips: int) -> str:
    return f"{pluralise(clips, 'clip')} {'is' if clips == 1 else 'are'}"


def _contradictions(dataset: ActionDataset, copies: Iterable[Sequence[Clip]]) -> list[str]:
    def describe(clip: Clip) -> str:
        return f"{clip.id} ('{'|'.join(dataset.classes[label] for label in clip.labels)}')"

    return [
        f"{describe(first)} and {describe(clip)} are the same file with different labels; remove "
        "the wrong one"
        for first, *others in copies
        for clip in others
        if set(clip.labels) != set(first.labels)
        and (clip.start, clip.end) == (first.start, first.end)
    ]


def _divided(
    dataset: ActionDataset, copies: Iterable[Sequence[Clip]], split: str | None
) -> list[str]:
    name = split or next(iter(dataset.splits), FOLDS)
    subset_of = {id: subset for subset, ids in dataset.splits.get(name, {}).items() for id in ids}
    problems = []
    for clips in copies:
        first, *others = [clip for clip in clips if clip.id in subset_of] or clips
        for clip in others:
            if subset_of.get(clip.id) != subset_of.get(first.id):
                problems.append(
                    f"split '{name}' has the same file in {subset_of[first.id]} ({first.id}) and "
                    f"in {subset_of[clip.id]} ({clip.id}), so its score would be too high; remove "
                    "one of them"
                )
    return problems
