"""Layout of J-HMDB, as unpacked from its distributor's archives.

ReCompress_Videos/<class>/<clip>.avi         videos (JHMDB_video.zip)
Rename_Images/<class>/<clip>/00001.png       the same frames as pictures (Rename_Images.tar.gz)
puppet_mask/<class>/<clip>/puppet_mask.mat   masks of the actor (puppet_mask.zip)
splits/<class>_test_split<1|2|3>.txt         official lists (splits.zip)
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from glimpses.datasets.base import ActionDataset, Clip
from glimpses.datasets.groups import group_from_name
from glimpses.datasets.layouts.class_lists import lists_in, read_splits
from glimpses.datasets.layouts.folder import class_folders
from glimpses.datasets.layouts.video_files import is_clip
from glimpses.utils.errors import GlimpsesError
from glimpses.video import is_picture_folder

log = logging.getLogger(__name__)

VIDEOS, PICTURES, MASKS, LISTS = "ReCompress_Videos", "Rename_Images", "puppet_mask", "splits"
#: Name of a mask file, in a folder named after its clip.
MASK_FILE = "puppet_mask.mat"

_MARKS = {"1": "train", "2": "test"}
# Training and test clips of each split.
_SIZES = {"1": (660, 268), "2": (658, 270), "3": (663, 265)}


def matches(root: Path) -> bool:
    """Return whether a folder, or its only such folder, has clips and lists under these names."""
    base = _base(root)
    return base is not None and next(lists_in(base / LISTS, 0), None) is not None


def load(root: Path) -> ActionDataset:
    """Read J-HMDB: 928 clips of 21 classes, with masks of the actor and three official splits.

    If there are no videos, folders of numbered pictures are the clips, at 30 frames per second.
    The lists, with lines `name.avi 1` (1 trains, 2 tests), define the splits `1`, `2` and `3`.
    They are used unchanged, although clips of one film are in both subsets. A clip's group is the
    film in its name, without regard to case and punctuation.

    Only classes with a clip count, so a part of the set can be used. Listed clips that do not
    exist, and clips that no list names, give one warning each.

    Args:
        root: the folder with `ReCompress_Videos` or `Rename_Images`; or one of these two, or the
            folder above.

    Raises:
        GlimpsesError: there are no lists or no clips; a class with clips has no list in one of
            the splits; a line is malformed or contradicts another one.
    """
    base = _base(root)
    if base is None:
        raise GlimpsesError(
            f"{root}: does not have the layout of J-HMDB; it needs the folder {VIDEOS} or "
            f"{PICTURES} with clips, and {LISTS} with lists such as wave_test_split1.txt"
        )
    lists: dict[str, dict[str, Path]] = defaultdict(dict)
    for file, label, split in lists_in(base / LISTS, 0):
        lists[split][label] = file
    if not lists:
        raise GlimpsesError(
            f"{base / LISTS}: has no lists such as wave_test_split1.txt; unpack splits.zip"
        )
    folder, files_of = _clips(base)
    for label in files_of:
        for split, files in lists.items():
            if label not in files:
                raise GlimpsesError(
                    f"{base / LISTS / f'{label}_test_split{split}.txt'}: is missing, so the clips "
                    f"in {folder / label} have no subset; restore the list, or remove the folder"
                )
    ids = {file: f"{label}/{file.name}" for label, files in files_of.items() for file in files}
    splits, counts = read_splits(base / LISTS, lists, files_of, ids, _MARKS)
    sizes = {}
    for split, files in lists.items():
        total = sum((counts[file] for file in files.values()), Counter[str]())
        sizes[split] = total["train"], total["test"]
    if altered := [split for split in sizes if sizes[split] != _SIZES.get(split)]:
        log.warning(
            "%s: split %s has %d training and %d test clips%s; the lists are not the distributor's",
            base / LISTS, altered[0], *sizes[altered[0]],
            f" (and {len(altered) - 1} more like this)" if altered[1:] else "",
        )  # fmt: skip
    classes = tuple(sorted(files_of))
    clips = tuple(
        Clip(id, file, (classes.index(file.parent.name),), _group(id), _mask(base, file))
        for file, id in sorted(ids.items(), key=lambda entry: entry[1])
    )
    all_lists = tuple(sorted(file for files in lists.values() for file in files.values()))
    return ActionDataset(folder, classes, clips, splits=splits, lists=all_lists, layout="jhmdb")


def _base(root: Path) -> Path | None:
    """Return the folder of the distributor's folders: the root, or one above or inside it."""
    if not root.is_dir():
        return None
    inside = (VIDEOS, PICTURES)
    above = [root.resolve().parent] if root.resolve().name in inside else []
    for base in (root, *above, *class_folders(root)):
        if any((base / name).is_dir() for name in inside) and (base / LISTS).is_dir():
            return base
    return None


def _clips(base: Path) -> tuple[Path, dict[str, list[Path]]]:
    """Return the folder of the class folders, and the clips of each class."""
    for name, is_kind in ((VIDEOS, is_clip), (PICTURES, is_picture_folder)):
        folder = base / name
        files_of = {
            child.name: files
            for child in (class_folders(folder) if folder.is_dir() else ())
            if (files := sorted(file for file in _visible(child) if is_kind(file)))
        }
        if files_of:
            return folder, files_of
    raise GlimpsesError(
        f"{base}: has no clip such as {VIDEOS}/wave/<clip>.avi or {PICTURES}/wave/<clip>/00001.png"
        "; unpack JHMDB_video.zip or Rename_Images.tar.gz"
    )


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _group(id: str) -> str:
    """Return the film in a clip's name; the spelling varies between clips of one film."""
    film = group_from_name(id) or id
    return re.sub(r"[\W_]", "", film.casefold()) or film


def _mask(base: Path, file: Path) -> Path | None:
    name = file.name if is_picture_folder(file) else file.stem
    mask = base / MASKS / file.parent.name / name / MASK_FILE
    return mask if mask.is_file() else None
