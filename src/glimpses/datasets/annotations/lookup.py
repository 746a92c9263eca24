"""Lookup of the annotation of each clip, in any supported file format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from glimpses.datasets.annotations.base import ActorAnnotation
from glimpses.datasets.annotations.boxes_json import read_boxes_file, read_entry
from glimpses.datasets.annotations.masks import read_masks
from glimpses.datasets.annotations.puppet_mask import read_puppet_mask
from glimpses.datasets.annotations.viper import read_viper
from glimpses.datasets.base import Clip
from glimpses.datasets.layouts.jhmdb import MASK_FILE
from glimpses.datasets.layouts.list_files import clip_key
from glimpses.datasets.layouts.video_files import ANNOTATION_SUFFIXES
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)


def annotation_for(clip: Clip) -> ActorAnnotation | None:
    """Read the annotation of a clip: `.npz`, `.xgtf`, `.mat` or `.json`; None if it has none.

    Raises:
        GlimpsesError: the annotation cannot be used.
    """
    file = clip.annotation
    if file is None:
        return None
    if file.suffix.lower() == ".json":
        entry = read_boxes_file(file).get(clip.id)
        return None if entry is None else read_entry(file, clip.id, entry, clip)
    return _read(file, clip)


def annotations_for(
    clips: Sequence[Clip], annotations: str | Path | None = None
) -> dict[str, ActorAnnotation]:
    """Return the annotations of clips, by clip id.

    Logs one warning for clips without annotation, unless no clip has any and `annotations` is
    None. Skips a clip's own annotation with a warning if it cannot be used; in `annotations` that
    is an error.

    Args:
        clips: of one data set.
        annotations: a JSON file with boxes, or a folder of `.xgtf` or `.npz` files with one file
            for each clip, or J-HMDB's folder `puppet_mask`. Replaces the clips' own annotations.
            An entry belongs to the clip with the same id, with or without suffix, or with the same
            file name if that is unique.

    Raises:
        GlimpsesError: `annotations` cannot be used, or names none of the clips.
    """
    if annotations is None:
        by_id = _read_attached(clips)
    else:
        by_id = _read_separate(clips, Path(annotations))
    missing = [clip.id for clip in clips if clip.id not in by_id]
    if missing and by_id:
        log.warning(
            "%s: no annotation for %d of %d clips (%s)",
            annotations or "annotations", len(missing), len(clips), missing[0],
        )  # fmt: skip
    return by_id


def _read_attached(clips: Sequence[Clip]) -> dict[str, ActorAnnotation]:
    """Read the annotations that come with the clips."""
    by_id: dict[str, ActorAnnotation] = {}
    problems = []
    annotated = [clip for clip in clips if clip.annotation is not None]
    with progress.bar("reading annotations", len(annotated), transient=True) as bar:
        for clip in annotated:
            try:
                if (annotation := annotation_for(clip)) is not None:
                    by_id[clip.id] = annotation
            except GlimpsesError as error:
                problems.append(str(error))
            bar.advance()
    if problems:
        others = f" ({len(problems) - 1} more like this)" if problems[1:] else ""
        log.warning("%s; skipped%s", problems[0], others)
    return by_id


def _read_separate(clips: Sequence[Clip], source: Path) -> dict[str, ActorAnnotation]:
    """Read annotations from a file or folder that the user named."""
    readers: Mapping[str, Callable[[Clip], ActorAnnotation]]
    if source.is_dir():
        readers = {
            annotated.relative_to(source).as_posix(): partial(_read, file)
            for file in sorted(source.rglob("*"))
            if (annotated := _annotated_by(file)) is not None
        }
    elif source.suffix.lower() in ANNOTATION_SUFFIXES:
        readers = {source.stem: partial(_read, source)}
    else:
        readers = {
            name: partial(read_entry, source, name, entry)
            for name, entry in read_boxes_file(source).items()
        }
    by_id, clip_of = {}, _match(source, readers, clips)
    with progress.bar("reading boxes", len(clip_of), transient=True) as bar:
        for name, clip in clip_of.items():
            by_id[clip.id] = readers[name](clip)
            bar.advance()
    return by_id


def _match(source: Path, names: Collection[str], clips: Sequence[Clip]) -> dict[str, Clip]:
    """Return the clip that each name refers to; names without a clip are left out."""
    by_id = {clip.id: clip for clip in clips}
    by_key = _unique((clip_key(clip.id), clip) for clip in clips)
    by_file_name = _unique((clip_key(clip.path.name), clip) for clip in clips)
    clip_of: dict[str, Clip] = {}
    name_of: dict[str, str] = {}
    unknown = []
    for name in names:
        key = clip_key(name)
        clip = by_id.get(name) or by_key.get(key) or by_file_name.get(key.rpartition("/")[2])
        if clip is None:
            unknown.append(name)
        elif name_of.setdefault(clip.id, name) != name:
            raise GlimpsesError(
                f"{source}: both {name_of[clip.id]} and {name} refer to {clip.id}; remove one"
            )
        else:
            clip_of[name] = clip
    if not clip_of:
        kinds = " or ".join(ANNOTATION_SUFFIXES)
        reason = f"there is no clip {unknown[0]}" if unknown else f"it contains no {kinds} file"
        raise GlimpsesError(
            f"{source}: annotates none of the clips ({reason}); use names like {clips[0].id}"
        )
    if unknown:
        log.warning(
            "%s: %d of %d names match no clip (%s)", source, len(unknown), len(names), unknown[0]
        )
    return clip_of


def _unique(named: Iterable[tuple[str, Clip]]) -> dict[str, Clip]:
    """Return clips by name, without names that occur more than once."""
    pairs = list(named)
    counts = Counter(name for name, _ in pairs)
    return {name: clip for name, clip in pairs if counts[name] == 1}


def _annotated_by(file: Path) -> Path | None:
    """Return the path without suffix of the clip that a file annotates; None for other files."""
    if file.name == MASK_FILE:
        return file.parent
    if file.suffix.lower() in ANNOTATION_SUFFIXES and not file.name.startswith("."):
        return file.with_suffix("")
    return None


def _read(file: Path, clip: Clip) -> ActorAnnotation:
    """Read a file that annotates a single clip."""
    if file.name == MASK_FILE:
        return read_puppet_mask(file, clip)
    return read_masks(file, clip) if file.suffix.lower() == ".npz" else read_viper(file, clip)
