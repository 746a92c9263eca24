"""Check of every clip of a data set, from its first frame to its last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
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

# Label of clips outside class folders, and of clips that show none of the actions.
_NO_LABEL = "-"


@dataclass(frozen=True)
class ClipCheck:
    """Properties and problems of one video file.

    Attributes:
        clip: path relative to the checked folder.
        label: name of its class, or several joined by "|"; "-" for none.
        frames: number of frames that can be decoded.
        seconds: declared duration.
        fps: average frames per second.
        width: in pixels as displayed.
        height: in pixels as displayed.
        codec: FFmpeg's name of the codec; empty if the file cannot be read.
        problem: damage found, in a few words; None for an intact file.
        digest: SHA-256 of the file; empty if it cannot be read.
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
    """Result of `glimpses check`.

    Attributes:
        data: the checked folder or file.
        clips: one entry for each video file, sorted by name.
    """

    data: Path
    clips: tuple[ClipCheck, ...]

    @property
    def broken(self) -> tuple[ClipCheck, ...]:
        """Clips with a problem."""
        return tuple(clip for clip in self.clips if clip.problem is not None)

    @property
    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        """Groups of clips with identical bytes."""
        by_digest: dict[str, list[str]] = {}
        for clip in self.clips:
            if clip.digest:
                by_digest.setdefault(clip.digest, []).append(clip.clip)
        return tuple(tuple(clips) for clips in by_digest.values() if len(clips) > 1)

    @property
    def ok(self) -> bool:
        """True if no clip is broken."""
        return not self.broken

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line with the number of broken clips; empty if there are none."""
        if self.ok:
            return ()
        verb, pronoun = ("is", "it") if len(self.broken) == 1 else ("are", "them")
        counts = f"{len(self.broken)} of {pluralise(len(self.clips), 'clip')}"
        return (f"{self.data}: {counts} {verb} broken; replace or remove {pronoun}",)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON-compatible dictionary."""
        return {
            "data": str(self.data),
            "ok": self.ok,
            "clips": [asdict(clip) for clip in self.clips],
            "broken": {clip.clip: clip.problem for clip in self.broken},
            "duplicates": list(map(list, self.duplicates)),
        }

    def __rich__(self) -> Group:
        parts: list[Any] = [self._table()]
        if self.broken:
            table = Table("broken clip", "problem", title_justify="left")
            for clip in self.broken:
                table.add_row(clip.clip, clip.problem)
            parts.append(table)
        parts += [f"identical files: {', '.join(clips)}" for clips in self.duplicates]
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


def check(data: str | Path, /) -> CheckReport:
    """Decode every clip of a folder, or one video file, from end to end.

    Args:
        data: a data set, a folder of clips, or one video file.

    Raises:
        GlimpsesError: there is nothing to check, or a list of the data set cannot be used.
    """
    data = Path(data)
    root, files = _files(data)
    labels = _labels(data, files)
    clips = []
    with (
        progress.bar("checking", len(files), transient=True) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for clip in pool.map(lambda file: _check_clip(root, file, labels), files):
            clips.append(clip)
            bar.advance()
    return CheckReport(data, tuple(clips))


def _files(data: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the files to check."""
    if not data.exists():
        raise GlimpsesError(f"{data}: no such file or folder; check its name")
    if not data.is_dir():
        return data.parent, [data]
    loose = sorted(filter(folder.is_clip, data.iterdir()))
    try:
        return data, [*loose, *folder.clip_files(data)]
    except GlimpsesError:
        if not loose:
            raise
        return data, loose


def _labels(data: Path, files: Sequence[Path]) -> dict[Path, str]:
    """Return the label of every clip; none for files outside class folders."""
    if all(file.parent in (data, data.parent) for file in files):
        return {}
    dataset = datasets.load(data)
    warn_ungrouped(dataset)
    return {
        clip.path: "|".join(dataset.classes[label] for label in clip.labels) or _NO_LABEL
        for clip in dataset.clips
    }


def _check_clip(root: Path, file: Path, labels: Mapping[Path, str]) -> ClipCheck:
    clip, label = file.relative_to(root).as_posix(), labels.get(file, _NO_LABEL)
    try:
        result, digest = video.examine(file), sha256(file)
    except (GlimpsesError, OSError) as error:
        problem = str(error).removeprefix(f"{file}: ").partition(";")[0]
        return ClipCheck(clip, label, problem=problem)
    info = result.info
    return ClipCheck(
        clip=clip,
        label=label,
        frames=result.frames,
        seconds=round(info.seconds, 3),
        fps=round(info.fps, 3),
        width=info.width,
        height=info.height,
        codec=info.codec,
        problem=result.problem,
        digest=digest,
    )


def _add_row(table: Table, name: str, clips: Sequence[ClipCheck]) -> None:
    readable = [clip for clip in clips if clip.frames]
    table.add_row(
        name,
        str(len(clips)),
        str(sum(clip.problem is not None for clip in clips) or ""),
        str(sum(clip.frames for clip in readable)),
        f"{sum(clip.seconds for clip in readable):.1f}",
        _range((clip.fps, f"{clip.fps:.5g}") for clip in readable),
        _range((clip.width * clip.height, f"{clip.width}x{clip.height}") for clip in readable),
        ", ".join(sorted({clip.codec for clip in readable})),
    )


def _range(values: Iterable[tuple[float, str]]) -> str:
    """Return the text that all clips share, or those of the smallest and the largest value."""
    texts = [text for _, text in sorted(values)]
    return " to ".join(dict.fromkeys([*texts[:1], *texts[-1:]]))
