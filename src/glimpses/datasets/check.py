"""Read every clip of a data set to its end, and tell what is there and what is broken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from glimpses import datasets, video
from glimpses.datasets.groups import warn_ungrouped
from glimpses.datasets.layouts import folder
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import sha256

# Class of clips that lie in no class folder, or that show none of the actions.
_LOOSE = "-"


@dataclass(frozen=True)
class ClipCheck:
    """What was found in one file.

    Attributes:
        clip: its path below the folder that was checked.
        label: name of its class, or several with "|" between them; "-" for a clip with none.
        frames: that can be decoded; 0 if none.
        seconds: duration by its header.
        fps: average frames per second.
        width: in pixels as displayed.
        height: in pixels as displayed.
        codec: FFmpeg's name of it; empty where nothing can be read.
        problem: what is wrong with it, in a few words; None if nothing.
        digest: SHA-256 of the file; empty where it cannot be read.
    """

    clip: str
    label: str
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    problem: str | None = None
    digest: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What `glimpses check` found.

    Attributes:
        data: the folder or file.
        clips: one entry per video file, sorted by name.
    """

    data: Path
    clips: tuple[ClipCheck, ...]

    @property
    def broken(self) -> tuple[ClipCheck, ...]:
        """The clips with something wrong."""
        return tuple(clip for clip in self.clips if clip.problem is not None)

    @property
    def copies(self) -> tuple[tuple[str, ...], ...]:
        """Clips that are the same file byte by byte, together."""
        same: dict[str, list[str]] = {}
        for clip in self.clips:
            if clip.digest:
                same.setdefault(clip.digest, []).append(clip.clip)
        return tuple(tuple(clips) for clips in same.values() if len(clips) > 1)

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line that says how many clips are broken; empty if none is."""
        if self.ok:
            return ()
        return (
            f"{self.data}: {len(self.broken)} of {pluralise(len(self.clips), 'clip')} "
            f"{'is' if len(self.broken) == 1 else 'are'} broken; replace or remove what is",
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "data": str(self.data),
            "ok": self.ok,
            "clips": [asdict(clip) for clip in self.clips],
            "broken": {clip.clip: clip.problem for clip in self.broken},
            "copies": [list(clips) for clips in self.copies],
        }

    def __rich__(self) -> Group:
        parts: list[Any] = [self._table()]
        if self.broken:
            table = Table("broken", "why", title_justify="left")
            for clip in self.broken:
                table.add_row(clip.clip, clip.problem)
            parts.append(table)
        parts += [f"the same video more than once: {', '.join(clips)}" for clips in self.copies]
        return Group(*parts)

    def _table(self) -> Table:
        table = Table("class")
        for name in ("clips", "broken", "frames", "seconds", "fps", "size", "codec"):
            table.add_column(name, justify="right")
        labels = sorted({label for clip in self.clips for label in clip.label.split("|")})
        for label in labels:
            _add_row(table, label, [c for c in self.clips if label in c.label.split("|")])
        if len(labels) > 1:
            table.add_section()
            _add_row(table, f"{len(labels)} classes", self.clips)
        return table


def check(data: Path, /) -> CheckReport:
    """Read every clip of a folder, or one video file, from end to end.

    Args:
        data: a data set, a folder of clips, or one video file.

    Returns:
        What was found. It is `ok` if nothing is broken.

    Raises:
        GlimpsesError: there is nothing to check, or lists of a data set cannot be used.
    """
    data = Path(data)
    root, files = _files(data)
    labels = _labels(data, files)
    with (
        progress.bar("checking", len(files), transient=True) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        found = []
        for clip in pool.map(lambda file: _check_clip(root, file, labels), files):
            found.append(clip)
            bar.advance()
    return CheckReport(data, tuple(found))


def _files(data: Path) -> tuple[Path, list[Path]]:
    """What to check, and the folder that names are relative to."""
    if not data.exists():
        raise GlimpsesError(f"{data}: no such file or folder; check its name")
    if not data.is_dir():
        return data.parent, [data]
    loose = sorted(file for file in data.iterdir() if folder.is_clip(file))
    try:
        return data, [*loose, *folder.clip_files(data)]
    except GlimpsesError:
        if not loose:
            raise
        return data, loose


def _labels(data: Path, files: Sequence[Path]) -> dict[Path, str]:
    """What clips show; nothing of those that lie in no class folder."""
    if all(file.parent in (data, data.parent) for file in files):
        return {}
    known = datasets.load(data)
    warn_ungrouped(known)
    return {
        clip.path: "|".join(known.classes[label] for label in clip.labels) or _LOOSE
        for clip in known.clips
    }


def _check_clip(root: Path, file: Path, labels: Mapping[Path, str]) -> ClipCheck:
    clip, label = file.relative_to(root).as_posix(), labels.get(file, _LOOSE)
    try:
        found = video.examine(file)
        digest = sha256(file)
    except (GlimpsesError, OSError) as error:
        problem = str(error).removeprefix(f"{file}: ").partition(";")[0]
        return ClipCheck(clip, label, problem=problem)
    info = found.info
    return ClipCheck(
        clip=clip,
        label=label,
        frames=found.frames,
        seconds=round(info.seconds, 3),
        fps=round(info.fps, 3),
        width=info.width,
        height=info.height,
        codec=info.codec,
        problem=found.problem,
        digest=digest,
    )


def _add_row(table: Table, name: str, clips: Sequence[ClipCheck]) -> None:
    read = [clip for clip in clips if clip.frames]
    table.add_row(
        name,
        str(len(clips)),
        str(sum(clip.problem is not None for clip in clips) or ""),
        str(sum(clip.frames for clip in read)),
        f"{sum(clip.seconds for clip in read):.1f}",
        _range(read, lambda clip: f"{clip.fps:.5g}", lambda clip: clip.fps),
        _range(
            read,
            lambda clip: f"{clip.width}x{clip.height}",
            lambda clip: clip.width * clip.height,
        ),
        ", ".join(sorted({clip.codec for clip in read})),
    )


def _range(
    clips: Sequence[ClipCheck],
    text: Callable[[ClipCheck], str],
    size: Callable[[ClipCheck], float],
) -> str:
    """What all clips share, or the least and the most of it."""
    if not clips:
        return ""
    if len(Counter(text(clip) for clip in clips)) == 1:
        return text(clips[0])
    return f"{text(min(clips, key=size))} to {text(max(clips, key=size))}"
