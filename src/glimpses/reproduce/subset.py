"""Small subset of a data set in a folder of its own, for `--quick`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from glimpses.datasets import ActionDataset
from glimpses.datasets.layouts import hollywood2
from glimpses.datasets.layouts.list_files import clip_key
from glimpses.utils.files import atomic_write

_NUM_CLASSES = 4
# Clips of each class, and clips without a class, that are taken from each part of every split.
_CLIPS_PER_CLASS = {"train": 5, "test": 2}


def make_subset(dataset: ActionDataset, splits: Sequence[str], out: Path) -> Path:
    """Link a few clips of a data set into a folder and copy the matching lines of its lists.

    Args:
        dataset: complete data set in one of the layouts of the paper's data sets.
        splits: names of the splits that the subset is used with.
        out: folder that holds subsets.

    Returns:
        The subset's folder inside `out`, named by a digest of its clips. It has the layout of the
        data set.
    """
    ids = _choose_clips(dataset, splits)
    digest = hashlib.sha256("\n".join([str(dataset.root.resolve()), *sorted(ids)]).encode())
    root = out / digest.hexdigest()[:12]
    for clip in dataset.clips:
        link = root / clip.path.relative_to(dataset.root)
        if clip.id in ids and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(clip.path.resolve())
    keys = {clip_key(Path(id).name) for id in ids}
    # The HMDB-51 layout accepts any folder with "splits" in its name; Hollywood2 needs its own.
    lists = root / (hollywood2.LISTS if dataset.layout == "hollywood2" else "splits")
    for file in dataset.lists:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        with atomic_write(lists / file.name) as part:
            part.write_text(
                "".join(f"{line}\n" for line in lines if _key_of_line(line) in keys),
                encoding="utf-8",
            )
    return root


def _key_of_line(line: str) -> str:
    """Return the key of the clip that a line of a list names."""
    return clip_key(line.replace("\t", " ").strip().rpartition(" ")[0].strip())


def _choose_clips(dataset: ActionDataset, splits: Sequence[str]) -> set[str]:
    """Return the ids of the clips to include."""
    labels = sorted({label for clip in dataset.clips for label in clip.labels})[:_NUM_CLASSES]
    chosen: set[str] = set()
    for name in splits:
        for part, limit in _CLIPS_PER_CLASS.items():
            clips = [clip for clip in dataset.clips if clip.id in dataset.splits[name][part]]
            for label in (*labels, None):
                candidates = [clip for clip in clips if label in (clip.labels or (None,))]
                # Prefer one clip of each group while there are enough groups.
                first_of_group = {clip.group: clip for clip in reversed(candidates)}
                ordered = list(first_of_group.values())
                ordered += [clip for clip in candidates if clip not in ordered]
                chosen |= {clip.id for clip in ordered[:limit]}
    return chosen
