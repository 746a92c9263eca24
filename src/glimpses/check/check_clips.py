"""Check of every clip of a data set, and of everything that training would refuse."""

from __future__ import annotations

import csv
import os
import queue
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from glimpses import datasets, video
from glimpses.check.label_issues import LabelIssue, find_label_issues
from glimpses.check.near_duplicates import Fingerprint, find_near_duplicates
from glimpses.check.report import CheckReport, ClipCheck, SimilarClips, class_sizes
from glimpses.check.segment_issues import find_segment_issues
from glimpses.check.stored_features import FeatureCheck, check_features
from glimpses.datasets import ActionDataset, Clip
from glimpses.datasets.copies import join_copies, join_groups
from glimpses.datasets.groups import warn_ungrouped
from glimpses.datasets.layouts import segments, table
from glimpses.datasets.layouts.video_files import is_clip, is_hidden, walk
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, sha256


def check(
    data: str | Path | None = None,
    /,
    *,
    labels: bool = False,
    suggest_groups: str | Path | None = None,
    features: bool = False,
    repair: bool = False,
    feature_dir: str | Path | None = None,
) -> CheckReport | FeatureCheck:
    """Decode every clip of a data set, and report what is wrong with the files and the data set.

    The result has everything that `train` would refuse, the number of clips and recordings of each
    class, and the clips that show the same pictures.

    Args:
        data: a data set, a folder of clips, or one video file.
        labels: also look for wrong labels: predict every clip from those of other recordings, and
            list those that look like another class. Extracts the features that are missing.
        suggest_groups: write a `groups.csv` that has clips with the same pictures in one group.
        features: instead of clips, check the stored features against their checksums. This needs
            no data set.
        repair: with `features`, compute damaged ones again if their clip is in the data set, and
            remove the others, so that the next command computes them.
        feature_dir: folder of the stored features; by default in the user's cache folder.

    Raises:
        GlimpsesError: there is nothing to check, or the suggestion cannot be written.
    """
    if features:
        if labels or suggest_groups is not None:
            raise GlimpsesError("--features: checks no clips; leave out --labels, --suggest-groups")
        return check_features(None if data is None else Path(data), feature_dir, repair=repair)
    if repair:
        raise GlimpsesError("--repair: works with --features only; leave it out")
    if data is None:
        raise GlimpsesError("no data set given; use glimpses check DATA, or --features")
    data = Path(data)
    target = None if suggest_groups is None else Path(suggest_groups)
    if target is not None and target.exists():
        raise GlimpsesError(f"{target}: exists; give --suggest-groups a new file, and compare")
    dataset, refusal = _load(data)
    to_check = _to_check(data, dataset)
    checks, fingerprints = _check_files(to_check)
    refusals = [refusal] if refusal else _refusals(dataset, checks) if dataset else []
    similar = _similar(checks, fingerprints)
    segment_issues = None
    if dataset and dataset.untrimmed:
        segment_issues = find_segment_issues(data, dataset, checks)
    issues: tuple[LabelIssue, ...] | None = None
    if labels and dataset and not refusals:
        readable = [clip for clip in dataset.clips if clip.recording not in _broken(checks)]
        issues = tuple(find_label_issues(dataset, readable, feature_dir))
    if target is not None and dataset:
        _write_groups(target, dataset, similar)
    return CheckReport(
        data=data, clips=tuple(checks), refusals=tuple(refusals),
        classes=class_sizes(dataset) if dataset else (),
        grouped=dataset is not None and dataset.grouped, similar=similar,
        recordings=_recordings(dataset, similar) if dataset else None,
        label_issues=issues, segment_issues=segment_issues,
    )  # fmt: skip


def _load(data: Path) -> tuple[ActionDataset | None, str | None]:
    """Return the data set, or why it cannot be used; neither for a single file."""
    if not data.exists():
        raise GlimpsesError(f"{data}: no such file or folder; check its name")
    if data.is_file() and not (table.matches(data) or segments.matches(data)):
        return None, None
    try:
        dataset = datasets.load(data)
    except GlimpsesError as error:
        # Without any video, there is nothing to decode either.
        if not _videos(data):
            raise
        return None, str(error)
    if not dataset.has_videos:
        raise GlimpsesError(f"{data}: has imported features and no videos to check")
    warn_ungrouped(dataset)
    return dataset, None


def _videos(data: Path) -> list[Path]:
    if not data.is_dir():
        return [] if table.matches(data) or segments.matches(data) else [data]
    return sorted(file for file in walk(data) if is_clip(file) and not is_hidden(file, data))


def _to_check(data: Path, dataset: ActionDataset | None) -> list[tuple[Path, ClipCheck]]:
    """Return every file with the name, the labels and the group of its clip."""
    if dataset is None:
        root = data if data.is_dir() else data.parent
        return [(file, ClipCheck(file.relative_to(root).as_posix())) for file in _videos(data)]
    clips_of: dict[str, list[Clip]] = defaultdict(list)
    for clip in dataset.clips:
        clips_of[clip.recording].append(clip)
    return [
        (clips[0].path, ClipCheck(file, _label_names(dataset, clips), clips[0].group))
        for file, clips in sorted(clips_of.items())
    ]


def _label_names(dataset: ActionDataset, clips: Sequence[Clip]) -> tuple[str, ...]:
    labels = dict.fromkeys(label for clip in clips for label in clip.labels)
    return tuple(dataset.classes[label] for label in labels)


def _check_files(
    to_check: Sequence[tuple[Path, ClipCheck]],
) -> tuple[list[ClipCheck], list[np.ndarray]]:
    """Decode all files, some at a time; return their checks and pictures in order."""
    results: queue.Queue[tuple[int, tuple[ClipCheck, np.ndarray] | BaseException]] = queue.Queue()

    def work(item: tuple[int, tuple[Path, ClipCheck]], turn: video.Turn) -> None:
        index, (file, check) = item
        try:
            results.put((index, _check_file(file, check, turn)))
        except BaseException as error:
            results.put((index, error))

    items = video.suspects_last(enumerate(to_check), lambda item: item[1][0])
    checks = [check for _, check in to_check]
    pictures = [np.empty(0)] * len(to_check)
    with (
        progress.bar("checking", len(to_check), transient=True) as bar,
        video.in_turns(items, work, os.cpu_count() or 1),
    ):
        for _ in items:
            index, result = results.get()
            if isinstance(result, BaseException):
                raise result
            checks[index], pictures[index] = result
            bar.advance()
    return checks, pictures


def _check_file(file: Path, check: ClipCheck, turn: video.Turn) -> tuple[ClipCheck, np.ndarray]:
    pictures = Fingerprint()
    try:
        result, digest = video.examine(file, pictures.add, while_waiting=turn), sha256(file)
    except (GlimpsesError, OSError) as error:
        problem = str(error).removeprefix(f"{file}: ").partition(";")[0]
        return replace(check, problem=problem), pictures.frequencies()
    info = result.info
    checked = replace(
        check, frames=result.frames, seconds=round(info.seconds, 3), fps=round(info.fps, 3),
        width=info.width, height=info.height, codec=info.codec, problem=result.problem,
        digest=digest,
    )  # fmt: skip
    return checked, pictures.frequencies()


def _broken(checks: Sequence[ClipCheck]) -> set[str]:
    """Return the ids of clips that have no frame."""
    return {check.clip for check in checks if not check.frames}


def _refusals(dataset: ActionDataset, checks: Sequence[ClipCheck]) -> list[str]:
    """Return the messages with which training would end."""
    messages = []
    readable = tuple(clip for clip in dataset.clips if clip.recording not in _broken(checks))
    try:
        datasets.split(dataset)
    except GlimpsesError as error:
        messages.append(str(error))
    else:
        labels = {label for clip in readable for label in clip.labels}
        messages += [
            f"{dataset.root}: no clip of class '{name}' can be read; replace the broken clips"
            for label, name in enumerate(dataset.classes)
            if label not in labels
        ]
    try:
        digests = {check.clip: check.digest for check in checks if check.digest}
        join_copies(
            dataset,
            {
                clip.id: digests[clip.recording]
                for clip in dataset.clips
                if clip.recording in digests
            },
        )
    except GlimpsesError as error:
        messages.append(str(error))
    return messages


def _similar(
    checks: Sequence[ClipCheck], fingerprints: Sequence[np.ndarray]
) -> tuple[SimilarClips, ...]:
    return tuple(
        SimilarClips(
            checks[pair.first], checks[pair.second], round(pair.similarity, 3),
            round(pair.motion, 3),
            pair.mirrored,
        )
        for pair in find_near_duplicates(
            fingerprints, [check.group for check in checks]
        )
    )  # fmt: skip


def _joined(dataset: ActionDataset, similar: Sequence[SimilarClips]) -> tuple[Clip, ...]:
    clips = {clip.recording: clip for clip in dataset.clips}
    pairs = [(clips[pair.first.clip], clips[pair.second.clip]) for pair in similar]
    return join_groups(dataset.clips, pairs)


def _recordings(dataset: ActionDataset, similar: Sequence[SimilarClips]) -> int:
    """Return the number of recordings if clips with the same pictures are of one recording."""
    return len({clip.group for clip in _joined(dataset, similar)})


def _write_groups(file: Path, dataset: ActionDataset, similar: Sequence[SimilarClips]) -> None:
    """Write a list of groups in which clips with the same pictures are in one group."""
    numbers: dict[str, int] = {}
    with atomic_write(file) as part, part.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(("clip", "label", "group"))
        for clip in {clip.recording: clip for clip in _joined(dataset, similar)}.values():
            number = numbers.setdefault(clip.group, len(numbers) + 1)
            name = clip.group if dataset.grouped else f"recording-{number:04}"
            label = "" if dataset.untrimmed else "|".join(_label_names(dataset, [clip]))
            writer.writerow((clip.recording, label, name))
