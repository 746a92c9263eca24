"""A few clips of a data set in a folder of their own, for `--quick`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from glimpses.datasets import ActionDataset
from glimpses.datasets.layouts import hollywood2
from glimpses.datasets.layouts.list_files import clip_key
from glimpses.utils.files import atomic_write

# Classes, and clips of each (and of none of them) on either side of every split.
_CLASSES, _CLIPS = 4, {"train": 5, "test": 2}


def sample(dataset: ActionDataset, splits: Sequence[str], out: Path) -> Path:
    """Link a small part of a data set into a folder, with what its lists say of it.

    Args:
        dataset: the whole, laid out as one of the paper's data sets.
        splits: names of its splits that the part is to serve for.
        out: folder of samples.

    Returns:
        The sample's folder in there, named after what is in it; laid out as the data set.
    """
    ids = _choose(dataset, splits)
    digest = hashlib.sha256("\n".join([str(dataset.root.resolve()), *sorted(ids)]).encode())
    root = out / digest.hexdigest()[:12]
    for clip in dataset.clips:
        link = root / clip.path.relative_to(dataset.root)
        if clip.id in ids and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(clip.path.resolve())
    keys = {clip_key(Path(id).name) for id in ids}
    # A name with "splits" in it is found for HMDB-51; Hollywood2 wants its own.
    lists = root / (hollywood2.LISTS if dataset.layout == "hollywood2" else "splits")
    for file in dataset.lists:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        kept = [line for line in lines if _named(line) in keys]
        with atomic_write(lists / file.name) as part:
            part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return root


def _named(line: str) -> str:
    """The clip that a line of a list is about."""
    return clip_key(line.replace("\t", " ").strip().rpartition(" ")[0].strip())


def _choose(dataset: ActionDataset, splits: Sequence[str]) -> set[str]:
    """Ids of the clips to take."""
    labels = sorted({label for clip in dataset.clips for label in clip.labels})[:_CLASSES]
    chosen: set[str] = set()
    for name in splits:
        for side, most in _CLIPS.items():
            clips = [clip for clip in dataset.clips if clip.id in dataset.splits[name][side]]
            for label in (*labels, None):
                own = [clip for clip in clips if label in (clip.labels or (None,))]
                # One clip of each source, as far as there are enough sources.
                firsts = {clip.group: clip for clip in reversed(own)}
                spread = [*firsts.values(), *(c for c in own if c not in firsts.values())]
                chosen |= {clip.id for clip in spread[:most]}
    return chosen
