"""Small subset of a data set in a folder of its own, for `--quick`."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from glimpses import datasets
from glimpses.datasets import ActionDataset
from glimpses.datasets.groups import GROUPS
from glimpses.datasets.layouts import hollywood2
from glimpses.datasets.layouts.list_files import clip_key
from glimpses.utils.files import atomic_write, read_text

_NUM_CLASSES = 4
# Clips of each class, and clips without a class, that are taken from each part of every split.
_CLIPS_PER_CLASS = {"train": 5, "test": 2}


def make_subset(dataset: ActionDataset, splits: Sequence[str], out: Path) -> Path:
    """Link a few clips of a data set into a folder and copy the matching lines of its lists.

    Args:
        dataset: complete data set.
        splits: names of the splits that the subset is used with.
        out: folder that holds subsets.

    Returns:
        The subset's folder inside `out`, named by a digest of its clips. It has the layout of the
        data set.
    """
    ids = _choose_clips(dataset, splits)
    digest = hashlib.sha256("\n".join([str(dataset.root.resolve()), *sorted(ids)]).encode())
    root = out / digest.hexdigest()[:12]
    # J-HMDB has its masks beside the folder of the clips.
    base = dataset.root.parent if dataset.layout == "jhmdb" else dataset.root
    for clip in dataset.clips:
        for file in (clip.path, clip.annotation) if clip.id in ids else ():
            if file is None or (link := root / file.relative_to(base)).exists():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())
    if (dataset.root / GROUPS).is_file():
        _copy_groups(dataset.root / GROUPS, root / GROUPS, ids)
    keys = {clip_key(Path(id).name) for id in ids}
    # The HMDB-51 layout accepts any folder with "splits" in its name; Hollywood2 needs its own.
    lists = root / (hollywood2.LISTS if dataset.layout == "hollywood2" else "splits")
    for file in dataset.lists:
        lines = read_text(file).splitlines()
        with atomic_write(lists / file.name) as part:
            part.write_text(
                "".join(f"{line}\n" for line in lines if _key_of_line(line) in keys),
                encoding="utf-8",
            )
    return root


def _copy_groups(source: Path, to: Path, ids: AbstractSet[str]) -> None:
    """Copy the rows of some clips from `groups.csv`."""
    reader = csv.DictReader(io.StringIO(read_text(source), newline=""))
    rows = [row for row in reader if row["clip"] in ids]
    with atomic_write(to) as part, part.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(rows)


def _subsets(dataset: ActionDataset, name: str) -> Mapping[str, AbstractSet[str]]:
    if name in dataset.splits:
        return dataset.splits[name]
    split = datasets.split(dataset, name)
    train = {clip.id for clip in (*split.train, *split.validation)}
    return {"train": train, "test": {clip.id for clip in split.test}}


def _key_of_line(line: str) -> str:
    """Return the key of the clip that a line of a list names."""
    return clip_key(line.replace("\t", " ").strip().rpartition(" ")[0].strip())


def _choose_clips(dataset: ActionDataset, splits: Sequence[str]) -> set[str]:
    """Return the ids of the clips to include."""
    labels = sorted({label for clip in dataset.clips for label in clip.labels})[:_NUM_CLASSES]
    chosen: set[str] = set()
    for name in splits:
        subsets = _subsets(dataset, name)
        for part, limit in _CLIPS_PER_CLASS.items():
            clips = [clip for clip in dataset.clips if clip.id in subsets[part]]
            for label in (*labels, None):
                candidates = [clip for clip in clips if label in (clip.labels or (None,))]
                # Prefer one clip of each group while there are enough groups.
                first_of_group = {clip.group: clip for clip in reversed(candidates)}
                ordered = list(first_of_group.values())
                ordered += [clip for clip in candidates if clip not in ordered]
                chosen |= {clip.id for clip in ordered[:limit]}
    return chosen
