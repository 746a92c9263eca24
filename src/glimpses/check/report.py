"""Result of `glimpses check`: what was found, as tables, lines and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from glimpses.check.label_issues import LabelIssue
from glimpses.check.near_duplicates import SAME_MOTION
from glimpses.check.segment_issues import SegmentIssues
from glimpses.datasets import ActionDataset
from glimpses.datasets.base import MIN_CLIPS, MIN_RECORDINGS
from glimpses.datasets.groups import GROUPS
from glimpses.utils.errors import pluralise
from glimpses.utils.files import quote_path

# Ratio of the largest to the smallest class from which classes count as imbalanced.
_IMBALANCED = 1.5

# Lines of one kind to print; JSON has all of them.
_MAX_LINES = 20

# Label of clips whose class is unknown or that show none of the actions.
_NO_LABEL = "-"


@dataclass(frozen=True)
class ClipCheck:
    """Properties and problems of one video file.

    Attributes:
        clip: path relative to the checked folder.
        labels: names of its classes.
        group: the recording it belongs to; empty if the data set could not be read.
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
    labels: tuple[str, ...] = ()
    group: str = ""
    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    problem: str | None = None
    digest: str = ""

    @property
    def label(self) -> str:
        """Names of its classes joined by "|"; "-" for none."""
        return "|".join(self.labels) or _NO_LABEL


@dataclass(frozen=True)
class ClassSize:
    """Number of clips of a class, and of the recordings that they come from."""

    name: str
    clips: int
    recordings: int


@dataclass(frozen=True)
class SimilarClips:
    """Two clips of different groups that show the same pictures; see `NearDuplicate`."""

    first: ClipCheck
    second: ClipCheck
    similarity: float
    motion: float
    mirrored: bool

    @property
    def copy(self) -> bool:
        """True if not only the scene is the same, but also the moment."""
        return self.motion >= SAME_MOTION

    @property
    def contradicts(self) -> bool:
        """True for one clip with two labels."""
        return self.copy and self.first.labels != self.second.labels

    def __str__(self) -> str:
        kind = "mirrored" if self.mirrored else "copy" if self.copy else "same scene"
        return f"{self.first.clip} and {self.second.clip} ({kind}, {self.similarity:.2f})"

    def to_json(self) -> dict[str, Any]:
        """Return the pair in JSON's types."""
        clips = [self.first.clip, self.second.clip]
        flags = {name: getattr(self, name) for name in ("copy", "mirrored", "contradicts")}
        return {"clips": clips, "similarity": self.similarity, "motion": self.motion, **flags}


@dataclass(frozen=True)
class CheckReport:
    """Result of `glimpses check`.

    Attributes:
        data: the checked folder or file.
        clips: one entry for each video file, sorted by name.
        refusals: messages with which `train` would end.
        classes: sizes of the classes; empty if the data set could not be read.
        grouped: whether the recordings of the clips are known.
        similar: pairs of clips with the same pictures.
        recordings: number of recordings if clips with the same pictures are of one recording.
        label_issues: clips whose label may be wrong; None if they were not searched for.
        segment_issues: what was found in tables of segments; None for other data sets.
    """

    data: Path
    clips: tuple[ClipCheck, ...]
    refusals: tuple[str, ...] = ()
    classes: tuple[ClassSize, ...] = ()
    grouped: bool = False
    similar: tuple[SimilarClips, ...] = ()
    recordings: int | None = None
    label_issues: tuple[LabelIssue, ...] | None = None
    segment_issues: SegmentIssues | None = None

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
    def imbalance(self) -> float | None:
        """Size of the largest class over that of the smallest; None for fewer than two."""
        sizes = [size.clips for size in self.classes]
        return max(sizes) / min(sizes) if len(sizes) > 1 and min(sizes) else None

    @property
    def ok(self) -> bool:
        """True if no clip or segment is wrong, and `train` accepts the data set."""
        return not self.complaints

    @property
    def complaints(self) -> tuple[str, ...]:
        """Messages with which `train` would end, wrong segments, and the number of broken clips."""
        wrong = self.segment_issues.problems if self.segment_issues else ()
        if not self.broken:
            return (*self.refusals, *wrong)
        verb, pronoun = ("is", "it") if len(self.broken) == 1 else ("are", "them")
        counts = f"{len(self.broken)} of {pluralise(len(self.clips), 'clip')}"
        line = f"{self.data}: {counts} {verb} broken; replace or remove {pronoun}"
        return (*self.refusals, *wrong, line)

    @property
    def next_command(self) -> str | None:
        """The command to run next; None if something has to be repaired before."""
        if not self.ok or not self.classes:
            return None
        data = quote_path(self.data)
        folder = self.data if self.data.is_dir() else self.data.parent
        if self.similar and not (groups := folder / GROUPS).exists():
            return f"glimpses check {data} --suggest-groups {quote_path(groups)}"
        return f"glimpses train {data} --out {quote_path(f'runs/{folder.resolve().name}')}"

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON-compatible dictionary."""
        issues = self.label_issues
        return {
            "data": str(self.data),
            "ok": self.ok,
            "refusals": list(self.refusals),
            "clips": [asdict(clip) | {"label": clip.label} for clip in self.clips],
            "classes": [asdict(size) for size in self.classes],
            "grouped": self.grouped,
            "recordings": len({clip.group for clip in self.clips}) if self.classes else None,
            "recordings_by_pictures": self.recordings,
            "imbalance": self.imbalance,
            "broken": {clip.clip: clip.problem for clip in self.broken},
            "duplicates": list(map(list, self.duplicates)),
            "similar": [pair.to_json() for pair in self.similar],
            "label_issues": None if issues is None else [asdict(issue) for issue in issues],
            "segments": self.segment_issues and asdict(self.segment_issues),
            "next": self.next_command,
        }

    def __rich__(self) -> Group:
        parts: list[Any] = [self._segment_table() if self.segment_issues else self._table()]
        if self.broken:
            table = Table("broken clip", "problem", title_justify="left")
            for clip in self.broken:
                table.add_row(clip.clip, clip.problem)
            parts.append(table)
        parts += self._lines()
        return Group(*parts)

    def _segment_table(self) -> Table:
        assert self.segment_issues is not None
        table = Table("class")
        for name in ("segments", "recordings", "seconds", "length"):
            table.add_column(name, justify="right")
        for one in self.segment_issues.times:
            length = _range((value, f"{value:.1f}") for value in one.durations)
            counts = [str(len(one.durations)), str(one.recordings), f"{one.seconds:.1f}"]
            table.add_row(one.name, *counts, length)
        table.add_section()
        seconds = [clip.seconds for clip in self.clips if clip.frames]
        table.add_row("unlabelled", "", "", f"{self.segment_issues.background:.1f}", "")
        length = _range((value, f"{value:.1f}") for value in seconds)
        table.add_row("recordings", "", str(len(self.clips)), f"{sum(seconds):.1f}", length)
        return table

    def _table(self) -> Table:
        table = Table("class")
        for name in ("clips", "recordings", "broken", "seconds", "length", "fps", "size", "codec"):
            if name != "recordings" or self.grouped:
                table.add_column(name, justify="right")
        labels = sorted({label for clip in self.clips for label in clip.labels or (_NO_LABEL,)})
        for label in labels:
            clips = [clip for clip in self.clips if label in (clip.labels or (_NO_LABEL,))]
            table.add_row(label, *self._cells(clips))
        if len(labels) > 1:
            table.add_section()
            table.add_row(f"{len(labels)} classes", *self._cells(self.clips))
        return table

    def _cells(self, clips: Sequence[ClipCheck]) -> list[str]:
        readable = [clip for clip in clips if clip.frames]
        recordings = [str(len({clip.group for clip in clips}))] if self.grouped else []
        return [
            str(len(clips)), *recordings,
            str(sum(clip.problem is not None for clip in clips) or ""),
            f"{sum(clip.seconds for clip in readable):.1f}",
            _range((clip.seconds, f"{clip.seconds:.1f}") for clip in readable),
            _range((clip.fps, f"{clip.fps:.5g}") for clip in readable),
            _range((clip.width * clip.height, f"{clip.width}x{clip.height}") for clip in readable),
            ", ".join(sorted({clip.codec for clip in readable})),
        ]  # fmt: skip

    def _lines(self) -> Iterator[str]:
        """Yield what was found, one finding a line."""
        yield from (f"identical files: {', '.join(clips)}" for clips in self.duplicates)
        yield from self._sizes()
        if self.segment_issues is not None:
            yield from _listed("segments overlap", self.segment_issues.overlaps)
            little = [f"{one.name} ({one.seconds:.1f} s)" for one in self.segment_issues.little]
            if little:
                yield (
                    f"little labelled time: {_shortened(little)}; a model cannot learn what "
                    "varies within these classes"
                )
        contradicting = [str(pair) for pair in self.similar if pair.contradicts]
        yield from _listed("same clip, two labels; remove the wrong one", contradicting)
        leaks = [str(pair) for pair in self.similar if not pair.contradicts]
        title = (
            f"should be one recording; put both clips into one group in {GROUPS}, as "
            "--suggest-groups FILE does"
        )
        yield from _listed(title, leaks)
        if self.recordings is not None and leaks:
            total = len({clip.group for clip in self.clips})
            counted = pluralise(total, "recording" if self.grouped else "clip")
            recordings = pluralise(self.recordings, "recording")
            yield f"by their pictures, these {counted} are {recordings}"
        if self.label_issues is not None:
            yield from _listed("label may be wrong; watch the clip", map(str, self.label_issues))
            if not self.label_issues:
                yield "no label looks wrong"
        if self.next_command:
            yield f"next:\n  {self.next_command}"

    def _sizes(self) -> Iterator[str]:
        if self.imbalance is not None and self.imbalance >= _IMBALANCED:
            largest = max(self.classes, key=lambda size: size.clips)
            smallest = min(self.classes, key=lambda size: size.clips)
            yield (
                f"imbalance {self.imbalance:.1f}: {largest.name} has {largest.clips} clips, "
                f"{smallest.name} has {smallest.clips}"
            )
        few = [f"{size.name} ({size.clips})" for size in self.classes if size.clips < MIN_CLIPS]
        if few:
            yield (
                f"fewer than {MIN_CLIPS} clips: {_shortened(few)}; a model cannot learn what "
                "varies within these classes, and their scores depend on a few clips"
            )
        few = [
            f"{size.name} ({size.recordings})"
            for size in self.classes
            if self.grouped and size.recordings < MIN_RECORDINGS
        ]
        if few:
            yield (
                f"fewer than {MIN_RECORDINGS} recordings: {_shortened(few)}; a test holds one or "
                "two of them, so its score is worth little for other recordings"
            )


def class_sizes(dataset: ActionDataset) -> tuple[ClassSize, ...]:
    """Return the size of every class of a data set."""
    clips_of = [
        [clip for clip in dataset.clips if label in clip.labels]
        for label in range(len(dataset.classes))
    ]
    return tuple(
        ClassSize(name, len(clips), len({clip.group for clip in clips}))
        for name, clips in zip(dataset.classes, clips_of, strict=True)
    )


def _listed(title: str, texts: Iterable[str]) -> Iterator[str]:
    """Yield a title and indented lines; nothing if there are none."""
    texts = list(texts)
    if texts:
        yield f"{title}:"
        yield from (f"  {text}" for text in islice(texts, _MAX_LINES))
    if len(texts) > _MAX_LINES:
        yield f"  and {len(texts) - _MAX_LINES} more; --json lists all"


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _range(values: Iterable[tuple[float, str]]) -> str:
    """Return the text that all clips share, or those of the smallest and the largest value."""
    texts = [text for _, text in sorted(values)]
    return " to ".join(dict.fromkeys([*texts[:1], *texts[-1:]]))
