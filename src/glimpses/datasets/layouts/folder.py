"""Layout with one folder of clips for each action."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import GROUPS, read_groups
from glimpses.datasets.layouts.list_files import read_lines, warn_unknown
from glimpses.datasets.layouts.subset_names import SUBSETS, named_subset
from glimpses.datasets.layouts.video_files import (
    ANNOTATION_SUFFIXES,
    SIDE_FOLDERS,
    is_clip,
    is_hidden,
    tell_left_out,
    walk,
    warn_unreadable,
)
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_LISTS = "splits"


def matches(_root: Path) -> bool:
    """Return True: `load` reports what is missing in a folder."""
    return True


def load(root: Path) -> ActionDataset:
    """Read a folder with one folder of clips for each action.

    Clips may be in subfolders of their class folder. Groups come from `groups.csv` (columns
    `clip,label,group`, `clip` relative to `root`) beside the class folders, otherwise from file
    names that follow the pattern of UCF, HMDB or Kinetics; otherwise every clip is a group of its
    own. A label such as `kiss|hug` gives a clip several actions, among them that of its folder,
    and makes the data set multi-label. The files `splits/train.txt`, `splits/validation.txt` (or
    `val.txt`) and `splits/test.txt`, with one clip id per line, define the split `listed`. Files
    in `annotations/` may annotate where the action is; see docs/data.md. Classes and clips are in
    alphabetical order.

    Raises:
        GlimpsesError: there is no class folder with a clip in it, or a list contradicts the
            folders.
    """
    files = clip_files(root)
    tell_left_out(root, walk(root), dict.fromkeys(files))
    path_of = {file.relative_to(root).as_posix(): file for file in files}
    class_of = {id: id.split("/")[0] for id in path_of}
    for child in class_folders(root):
        if child.name not in class_of.values():
            log.warning("%s: no video in this folder; it does not count as a class", child)
    groups, listed = read_groups(root, class_of)
    labels = {id: listed.get(id, (name,)) for id, name in class_of.items()}
    splits = read_splits(root, frozenset(path_of))
    return labelled(root, path_of, labels, groups, splits, layout="folder")


def labelled(
    root: Path,
    path_of: Mapping[str, Path],
    labels: Mapping[str, tuple[str, ...]],
    groups: Mapping[str, str],
    splits: Mapping[str, Mapping[str, frozenset[str]]],
    *,
    layout: str,
    classes: tuple[str, ...] | None = None,
    lists: tuple[Path, ...] = (),
) -> ActionDataset:
    """Return the data set of clips whose labels and groups are known by id."""
    classes = classes or tuple(sorted({name for names in labels.values() for name in names}))
    index = {name: number for number, name in enumerate(classes)}
    clips = tuple(
        Clip(
            id=id,
            path=path_of[id],
            labels=tuple(index[name] for name in labels[id]),
            group=groups.get(id, id),
            annotation=annotation_file(id, root),
        )
        for id in sorted(path_of)
    )
    multi_label = any(len(clip.labels) > 1 for clip in clips)
    return ActionDataset(
        root, classes, clips, multi_label, splits, grouped=bool(groups), lists=lists, layout=layout
    )


def clip_files(root: Path) -> list[Path]:
    """Return every video file in the class folders of `root`, sorted, judged by suffix alone.

    A folder without any is refused.
    """
    if not root.is_dir():
        raise GlimpsesError(f"{root}: no such folder; give the folder with the class folders")
    files = sorted(file for folder in class_folders(root) for file in clips_in(folder))
    if not files:
        loose = any(is_clip(file) for file in root.iterdir())
        problem = "has clips but no class folders" if loose else "has no class folder with a video"
        raise GlimpsesError(
            f"{root}: {problem}; put the clips of each action into a folder named after it, "
            f"as in {root.resolve().name}/<action>/<clip>.mp4, or write a labels.csv with the "
            "columns path,label beside them"
        )
    return files


def class_folders(root: Path) -> list[Path]:
    """Return the folders of `root` that are named after an action, sorted.

    A folder called `annotations` or `splits` counts if videos are directly in it.
    """
    return sorted(path for path in root.iterdir() if path.is_dir() and _is_class(path))


def clips_in(folder: Path) -> Iterator[Path]:
    """Yield every video file below a folder, except in annotation and hidden folders."""
    for file in walk(folder, warn_unreadable):
        folders = file.relative_to(folder).parts[:-1]
        if (
            is_clip(file)
            and not is_hidden(file, folder)
            and not any(name.lower() in SIDE_FOLDERS for name in folders)
        ):
            yield file


def annotation_file(id: str, root: Path) -> Path | None:
    """Return the annotation file of a clip, if there is one.

    It is `annotations/<clip>.npz` or `.xgtf` or, as in UCF-11, `<class>/Annotation/<name>.xgtf`.
    """
    separate = root / "annotations" / id
    ucf11 = root / id.split("/")[0] / "Annotation" / id.split("/")[-1]
    candidates = [*map(separate.with_suffix, ANNOTATION_SUFFIXES), ucf11.with_suffix(".xgtf")]
    return next((file for file in candidates if file.is_file()), None)


def has_user_lists(root: Path) -> bool:
    """Return whether a folder has groups or splits that its user defined."""
    return (root / GROUPS).is_file() or bool(_split_files(root))


def _is_class(folder: Path) -> bool:
    if folder.name.startswith("."):
        return False
    return folder.name.lower() not in SIDE_FOLDERS or any(map(is_clip, folder.iterdir()))


def _split_files(root: Path) -> dict[str, Path]:
    """Return the list of each subset in `splits/`."""
    files: dict[str, Path] = {}
    for file in sorted((root / _LISTS).glob("*.txt")):
        subset = named_subset(file.stem)
        if subset is None or not file.is_file():
            continue
        if subset in files:
            raise GlimpsesError(
                f"{file}: {files[subset].name} lists the {subset} clips, too; remove one of them"
            )
        files[subset] = file
    return files


def read_splits(root: Path, ids: frozenset[str]) -> dict[str, dict[str, frozenset[str]]]:
    """Return the split that the lists in `splits/` define; none without them."""
    files = _split_files(root)
    subsets: dict[str, frozenset[str]] = {}
    for name in SUBSETS:
        if name in files:
            listed = frozenset(read_lines(files[name])) - {""}
            warn_unknown(files[name], listed - ids, ids)
            subsets[name] = listed & ids
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = subsets.get(first, frozenset()) & subsets.get(second, frozenset())
        if shared:
            raise GlimpsesError(
                f"{root / _LISTS}: {min(shared)} is listed in both {files[first].name} and "
                f"{files[second].name}"
            )
    return {"listed": subsets} if subsets else {}
