"""Search for the tables of a data set, for the names of its classes and for the clips of rows."""

from __future__ import annotations

import csv
import logging
import ntpath
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from glimpses.datasets.layouts.subset_names import named_subset
from glimpses.datasets.layouts.table_rows import (
    TABLE_SUFFIXES,
    Row,
    class_name,
    parse_json,
    read_text,
)
from glimpses.datasets.layouts.video_files import is_clip, is_hidden, walk, warn_unreadable
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

# Stems of tables of all clips. Tables of a subset have the name of the subset in theirs.
_STEMS = frozenset(
    {"annotation", "annotations", "clips", "dataset", "index", "labels", "metadata", "videos"}
)
# Stems of files with the names of the classes, if they are not tables of clips.
_CLASS_STEMS = re.compile(
    r"labels|classes|class_names|categories|classind|label_?map.*|.*_labels", re.IGNORECASE
)
# Folders of tables beside the clips.
_FOLDERS = frozenset({"annotation", "annotations", "labels", "lists", "metadata"})


class ClipFiles:
    """The video files below a folder, found by the names that tables give them.

    Args:
        root: the folder. It is searched when it is first needed. Paths of clips are absolute.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.normpath(root.absolute()))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file below the folder, not only videos."""
        return tuple(walk(self.root, warn_unreadable))

    @cached_property
    def videos(self) -> dict[str, Path]:
        """Every video by its path below the folder, without hidden ones."""
        return {
            _normal(file.relative_to(self.root).as_posix()): file
            for file in self.files
            if is_clip(file) and not is_hidden(file, self.root)
        }

    @cached_property
    def _by_name(self) -> Mapping[str, list[Path]]:
        """Videos by file name, with and without suffix, in lower case."""
        named: defaultdict[str, list[Path]] = defaultdict(list)
        for file in self.videos.values():
            for name in {file.name, file.stem}:
                named[_normal(name).casefold()].append(file)
        return named

    def has(self, name: str) -> bool:
        """Return whether a name without folders is that of a video."""
        return _normal(name).casefold() in self._by_name

    def find(self, row: Row) -> Path | None:
        """Return the clip of a row; None if there is none.

        A path may be absolute, or relative to the table or to the folder. If there is no such
        file, as for a data set that was moved, the longest end of the path that exists below the
        folder counts. An id is the name of a file without its suffix or, as in Kinetics, with
        start and end of the clip behind it.

        Raises:
            GlimpsesError: several files have the name.
        """
        name = row.name.replace("\\", "/") if "/" not in row.name else row.name
        for base in (row.table.parent, self.root):
            file = Path(os.path.normpath(base.absolute() / name))
            if is_clip(file) and os.path.lexists(file):
                return file
        parts = _normal(ntpath.splitdrive(name)[1]).strip("/").split("/")
        for start in range(len(parts) - 1):
            if video := self.videos.get("/".join(parts[start:])):
                return video
        if len(parts) > 1 and not name.startswith("/") and (self.root / parts[0]).is_dir():
            # The path is meant as it is written; elsewhere the name may be that of another clip.
            return None
        stem = parts[-1].casefold()
        names = [stem]
        if row.span is not None:
            names.insert(0, f"{stem}_{row.span[0]:06.0f}_{row.span[1]:06.0f}")
        for candidate in names:
            if files := self._by_name.get(candidate):
                return self._choose(row, files)
        return None

    def _choose(self, row: Row, files: Sequence[Path]) -> Path:
        """Return the file of a name; of several, the one in folders named after its row."""
        for hint in filter(None, (row.subset, *row.labels)):
            inside = [
                file
                for file in files
                if any(
                    hint in (folder, named_subset(folder))
                    for folder in file.relative_to(self.root).parts[:-1]
                )
            ]
            files = inside or files
        if len(files) > 1:
            names = ", ".join(str(file.relative_to(self.root)) for file in files[:3])
            raise GlimpsesError(
                f"{row.place}: {row.name} is the name of {len(files)} files ({names}); write the "
                "path below the folder"
            )
        return files[0]


def table_files(root: Path) -> list[Path]:
    """Return the files in a folder that by their names may be tables of its clips, sorted.

    They are in the folder itself, in one called `annotations` or the like, or in one of a subset.
    """
    if not root.is_dir():
        return []
    children = sorted(
        child
        for child in root.iterdir()
        if child.is_dir() and (child.name.lower() in _FOLDERS or named_subset(child.name))
    )
    return [
        file
        for folder in (root, *children)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in TABLE_SUFFIXES
        and not file.name.startswith(".")
        and (file.stem.lower() in _STEMS or subset_of_file(file))
        and file.is_file()
    ]


def subset_of_file(file: Path) -> str | None:
    """Return the subset that a table lists by its name or by that of its folder."""
    words = [word for word in re.split(r"[^a-z]+", file.stem.lower()) if word]
    subsets = {subset for word in words if (subset := named_subset(word))}
    if len(subsets) == 1:
        return subsets.pop()
    return named_subset(file.parent.name)


def class_names(file: Path, clips: ClipFiles) -> dict[str, str] | None:
    """Return the names of classes by their numbers if a file lists them; None if it does not.

    It is a JSON list, or an object of numbers by names (Something-Something's `labels.json`) or of
    names by numbers; or text with a name on each line, maybe after its number; or a CSV file with
    the columns `id,name`.
    """
    if not _CLASS_STEMS.fullmatch(file.stem):
        return None
    text = read_text(file)
    if file.suffix.lower() == ".json":
        return _names_in_json(parse_json(file, text), clips)
    if file.suffix.lower() not in {".csv", ".txt"}:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    if file.suffix.lower() == ".csv":
        rows = [[cell.strip() for cell in cells] for cells in csv.reader(lines)]
        pairs = [tuple(cells) for cells in rows[1:] if len(cells) == 2]
        numbers = [number for number, _ in pairs]
        consecutive = [[str(n + first) for n in range(len(pairs))] for first in (0, 1)]
        if not pairs or len(pairs) != len(rows) - 1 or numbers not in consecutive:
            return None
        if clips.has(numbers[0]):
            return None
        return {number: class_name(name) for number, name in pairs}
    if any(is_listed(line, clips) for line in lines[:1000]):
        return None
    numbered = [re.fullmatch(r"(\d+)[\s,:]+(\S.*)", line) for line in lines]
    if all(numbered):
        return {match[1]: class_name(match[2]) for match in numbered if match}
    return {str(number): class_name(line) for number, line in enumerate(lines)}


def is_listed(line: str, clips: ClipFiles) -> bool:
    """Return whether a line of text begins with the name of a clip."""
    name = re.split(r"[\t,; ]", line)[0].strip('"')
    return "/" in name or clips.has(name) or any(clips.has(part) for part in (line, name))


def _names_in_json(content: object, clips: ClipFiles) -> dict[str, str] | None:
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return {str(number): class_name(name) for number, name in enumerate(content)}
    if not isinstance(content, dict) or not content:
        return None
    texts = {str(key): str(value) for key, value in content.items()}
    if clips.has(Path(next(iter(texts))).name):
        return None
    if all(map(str.isdecimal, texts)):
        return {number: class_name(name) for number, name in texts.items()}
    if all(map(str.isdecimal, texts.values())) and len({*texts.values()}) == len(texts):
        return {number: class_name(name) for name, number in texts.items()}
    return None


def common_folder(files: Iterable[Path]) -> Path:
    """Return the folder that contains all files.

    Raises:
        GlimpsesError: they are on several drives.
    """
    try:
        return Path(os.path.commonpath([file.parent for file in files]))
    except ValueError as error:
        raise GlimpsesError(
            "the clips of the table are on several drives; move them to one"
        ) from error


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)
