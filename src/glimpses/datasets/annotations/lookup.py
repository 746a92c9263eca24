"""Ground truth of where the actor is, in whatever form the field has it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from glimpses.datasets.annotations.base import ActorAnnotation
from glimpses.datasets.annotations.boxes_json import boxes_of, read_listed
from glimpses.datasets.annotations.masks import read_masks
from glimpses.datasets.annotations.viper import read_viper
from glimpses.datasets.base import Clip
from glimpses.datasets.layouts.folder import ANNOTATIONS
from glimpses.datasets.layouts.list_files import clip_key
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)

_KINDS = " or ".join(ANNOTATIONS)


def annotation_for(clip: Clip) -> ActorAnnotation | None:
    """Where the actor of a clip is, by its annotation; None if there is none.

    It may be a generated clip's `.npz` of masks, a VIPER file `.xgtf` or a `.json` of boxes.

    Raises:
        GlimpsesError: the annotation cannot be used.
    """
    file = clip.annotation
    if file is None:
        return None
    if file.suffix.lower() == ".json":
        entry = read_listed(file).get(clip.id)
        return None if entry is None else boxes_of(file, clip.id, entry, clip)
    return _read(file, clip)


def annotations_for(clips: Sequence[Clip], boxes: Path | None = None) -> dict[str, ActorAnnotation]:
    """Where the actor is in each clip of which that is known, by the clip's id.

    Warns in a line of clips without, unless nothing at all is known and nothing was given. An
    annotation that was found beside a clip and cannot be used is warned of and left out; in what
    the user gives for the purpose it is an error.

    Args:
        clips: of one data set.
        boxes: a JSON file of boxes, or a folder of `.xgtf` or `.npz` files, one for each clip;
            taken instead of the clips' own annotations. What is in it belongs to a clip of the
            same id, with or without suffix, or of the same file name where only one clip has it.

    Raises:
        GlimpsesError: `boxes` cannot be used, or names none of the clips.
    """
    found = _own(clips) if boxes is None else _given(clips, Path(boxes))
    lacking = [clip.id for clip in clips if clip.id not in found]
    if lacking and found:
        log.warning(
            "%s does not tell where the actor is in %d of %d clips (%s)",
            "the data" if boxes is None else boxes,
            len(lacking),
            len(clips),
            lacking[0],
        )
    return found


def _own(clips: Sequence[Clip]) -> dict[str, ActorAnnotation]:
    """Annotation by the clips' own annotations."""
    found: dict[str, ActorAnnotation] = {}
    problems = []
    annotated = [clip for clip in clips if clip.annotation is not None]
    with progress.bar("reading annotations", len(annotated), transient=True) as bar:
        for clip in annotated:
            try:
                truth = annotation_for(clip)
            except GlimpsesError as error:
                problems.append(str(error))
            else:
                if truth is not None:
                    found[clip.id] = truth
            bar.advance()
    if problems:
        others = f" ({len(problems) - 1} more like this)" if problems[1:] else ""
        log.warning("%s; left out%s", problems[0], others)
    return found


def _given(clips: Sequence[Clip], boxes: Path) -> dict[str, ActorAnnotation]:
    """Annotation by a file or folder of the user's."""
    readers: Mapping[str, Callable[[Clip], ActorAnnotation]]
    if boxes.is_dir():
        readers = {
            file.relative_to(boxes).with_suffix("").as_posix(): partial(_read, file)
            for file in sorted(boxes.rglob("*"))
            if file.suffix.lower() in ANNOTATIONS and not file.name.startswith(".")
        }
    elif boxes.suffix.lower() in ANNOTATIONS:
        readers = {boxes.stem: partial(_read, boxes)}
    else:
        readers = {
            name: partial(boxes_of, boxes, name, entry)
            for name, entry in read_listed(boxes).items()
        }
    found = {}
    named = _match(boxes, readers, clips)
    with progress.bar("reading boxes", len(named), transient=True) as bar:
        for name, clip in named.items():
            found[clip.id] = readers[name](clip)
            bar.advance()
    return found


def _match(boxes: Path, names: Collection[str], clips: Sequence[Clip]) -> dict[str, Clip]:
    """Which clip each name means, as far as it means one."""
    ids = {clip.id: clip for clip in clips}
    bare = _unique((clip_key(clip.id), clip) for clip in clips)
    stems = _unique((clip_key(clip.path.name), clip) for clip in clips)
    named: dict[str, Clip] = {}
    taken: dict[str, str] = {}
    unknown = []
    for name in names:
        key = clip_key(name)
        clip = ids.get(name) or bare.get(key) or stems.get(key.rpartition("/")[2])
        if clip is None:
            unknown.append(name)
        elif taken.setdefault(clip.id, name) != name:
            raise GlimpsesError(
                f"{boxes}: {taken[clip.id]} and {name} are both {clip.id}; remove one"
            )
        else:
            named[name] = clip
    if not named:
        example = f"{unknown[0]} is not in it" if unknown else f"it holds no {_KINDS}"
        raise GlimpsesError(
            f"{boxes}: tells of none of the clips of the data ({example}); name them like "
            f"{clips[0].id}"
        )
    if unknown:
        log.warning(
            "%s: %d of %d names are none of the clips (%s)",
            boxes,
            len(unknown),
            len(names),
            unknown[0],
        )
    return named


def _unique(named: Iterable[tuple[str, Clip]]) -> dict[str, Clip]:
    """Clips by a name that no other one has."""
    pairs = list(named)
    counts = Counter(name for name, _ in pairs)
    return {name: clip for name, clip in pairs if counts[name] == 1}


def _read(file: Path, clip: Clip) -> ActorAnnotation:
    """The truth in a file that is about one clip."""
    return read_masks(file) if file.suffix.lower() == ".npz" else read_viper(file, clip)
