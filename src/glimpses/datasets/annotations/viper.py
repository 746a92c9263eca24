"""Boxes in VIPER's XML (`.xgtf`), as UCF-11 and UCF-101's detection task are annotated."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from glimpses import video
from glimpses.datasets.annotations.boxes import BoxAnnotation, BoxTrack
from glimpses.datasets.base import Clip
from glimpses.utils.errors import GlimpsesError

_RESTORE = "restore it, or remove it to go without"


def read_viper(file: Path, clip: Clip) -> BoxAnnotation:
    """Read the boxes (`bbox`) of all objects; what has another shape is left out.

    Frames are counted from 1 and mean those of the clip. The picture's size is `H-FRAME-SIZE` x
    `V-FRAME-SIZE`, or the video's own where that is missing or 0. Known are all of the `NUMFRAMES`
    frames, or, where that is missing or 0, those from the first annotated one to the last. D.
    Doermann and D. Mihalcik, "Tools and techniques for video performance evaluation", 2000, is
    where the form comes from.

    Raises:
        GlimpsesError: the file cannot be used, or the clip's video is not there.
    """
    source = _source(file, clip)
    objects = [one for one in source if _name(one) == "object"]
    # A box that never changes may leave its frames to its object.
    boxes = [
        (_corners(file, box), _spans(file, box if "framespan" in box.attrib else one))
        for one in objects
        for box in one.iter()
        if _name(box) == "bbox"
    ]
    if objects and not boxes:
        raise GlimpsesError(f"{file}: none of its objects has a box (bbox); {_RESTORE}")
    spans = [span for one in objects for span in _spans(file, one)]
    spans += [span for _, own in boxes for span in own]
    last = max((end for _, end in spans), default=0)
    count = int(_header(file, source, "NUMFRAMES"))
    first = 0 if count else min((begin for begin, _ in spans), default=0)
    shown = video.frame_times(clip.path)
    return BoxAnnotation(
        shown=shown,
        size=_size(file, source, clip),
        span=(first, max(count, last)),
        stretches=tuple(
            BoxTrack(begin, min(end, len(shown) - 1), corners, corners)
            for corners, own in boxes
            for begin, end in own
            if begin < min(end, len(shown) - 1)
        ),
    )


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds no tree of a document that declares entities, which a small file can blow up with."""

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise ValueError("it has a document type, which VIPER's files never have")


def _source(file: Path, clip: Clip) -> ElementTree.Element:
    """The part of a file that is about a clip."""
    try:
        root = ElementTree.parse(file, ElementTree.XMLParser(target=_NoDoctype())).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise GlimpsesError(f"{file}: is no XML that can be read ({error}); {_RESTORE}") from error
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); {_RESTORE}") from error
    sources = [one for one in root.iter() if _name(one) == "sourcefile"]
    if _name(root) != "viper" or not sources:
        raise GlimpsesError(
            f"{file}: is no annotation of VIPER, which is viper > data > sourcefile; {_RESTORE}"
        )
    if len(sources) > 1:
        sources = [one for one in sources if _stem(one.get("filename", "")) == clip.path.stem]
    if len(sources) != 1:
        raise GlimpsesError(
            f"{file}: is about several videos, {len(sources)} of them called {clip.path.stem}; "
            "give every clip a file of its own"
        )
    return sources[0]


def _name(element: ElementTree.Element) -> str:
    """Name without its namespace."""
    return element.tag.rpartition("}")[2]


def _stem(filename: str) -> str:
    return PurePosixPath(filename.replace("\\", "/")).stem


def _spans(file: Path, element: ElementTree.Element) -> list[tuple[int, int]]:
    """Index of the first frame and of the one after the last, of every span of an element."""
    spans = []
    for span in element.get("framespan", "").split():
        first, _, last = span.partition(":")
        if not (first.isdecimal() and last.isdecimal() and len(first + last) < 20):
            raise GlimpsesError(f"{file}: framespan {span[:80]!r} should be like 1:25; {_RESTORE}")
        # Some writers count from 0 and mean the first one, too.
        spans.append((max(0, int(first) - 1), int(last)))
    return spans


def _corners(file: Path, box: ElementTree.Element) -> tuple[float, float, float, float]:
    left, top, width, height = (_number(file, box, name) for name in ("x", "y", "width", "height"))
    return left, top, left + width, top + height


def _size(file: Path, source: ElementTree.Element, clip: Clip) -> tuple[float, float]:
    width, height = (_header(file, source, f"{side}-FRAME-SIZE") for side in "HV")
    if width > 0 and height > 0:
        return width, height
    info = video.probe(clip.path)
    return info.width, info.height


def _header(file: Path, source: ElementTree.Element, name: str) -> float:
    """What the head of a file says of its video; 0 where it says nothing."""
    for head in source:
        if _name(head) == "file":
            for attribute in head:
                if attribute.get("name") == name and len(attribute):
                    return max(0.0, _number(file, attribute[0], "value"))
    return 0.0


def _number(file: Path, element: ElementTree.Element, name: str) -> float:
    text = element.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not math.isfinite(value):
        raise GlimpsesError(
            f"{file}: {_name(element)} has {name}={text[:80]!r}, which is no number; {_RESTORE}"
        )
    return value
