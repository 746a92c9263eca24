"""Boxes in VIPER's XML (`.xgtf`), the format of UCF-11 and of UCF-101's detection task."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from glimpses import video
from glimpses.datasets.annotations.boxes import BoxAnnotation, BoxTrack
from glimpses.datasets.base import Clip
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.xml import parse_xml

_ADVICE = "restore the file, or remove it to go without"


def read_viper(file: Path, clip: Clip) -> BoxAnnotation:
    """Read the boxes (`bbox`) of all objects; other shapes are ignored.

    Frames of the clip are counted from 1. The picture size is `H-FRAME-SIZE` x `V-FRAME-SIZE`, or
    the video's own if that is missing or 0. All of the `NUMFRAMES` frames count as annotated; if
    that is missing or 0, the frames from the first annotated one to the last.

    Format: D. Doermann and D. Mihalcik, "Tools and techniques for video performance evaluation",
    2000.
    """
    source = _source_of(file, clip)
    objects = [element for element in source if _tag(element) == "object"]
    # A box that never changes may leave its frames to its object.
    boxes = [
        (_corners(file, box), _spans(file, box if "framespan" in box.attrib else element))
        for element in objects
        for box in element.iter()
        if _tag(box) == "bbox"
    ]
    if objects and not boxes:
        raise GlimpsesError(f"{file}: none of its objects has a box (bbox); {_ADVICE}")
    spans = [span for element in objects for span in _spans(file, element)]
    spans += [span for _, box_spans in boxes for span in box_spans]
    last = max((end for _, end in spans), default=0)
    count = int(_header_value(file, source, "NUMFRAMES"))
    first = 0 if count else min((begin for begin, _ in spans), default=0)
    edges = video.frame_edges(clip.path)
    frames = len(edges) - 1
    return BoxAnnotation(
        edges=edges,
        size=_size(file, source, clip),
        span=(first, max(count, last)),
        tracks=tuple(
            BoxTrack(begin, min(end, frames), corners, corners)
            for corners, box_spans in boxes
            for begin, end in box_spans
            if begin < min(end, frames)
        ),
    )


def _source_of(file: Path, clip: Clip) -> ElementTree.Element:
    """Return the part of a file that annotates a clip."""
    try:
        root = parse_xml(file.read_bytes())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise GlimpsesError(f"{file}: cannot be read as XML ({error}); {_ADVICE}") from error
    except OSError as error:
        raise GlimpsesError(f"{file}: cannot be read ({error.strerror}); {_ADVICE}") from error
    sources = [element for element in root.iter() if _tag(element) == "sourcefile"]
    if _tag(root) != "viper" or not sources:
        raise GlimpsesError(
            f"{file}: is not a VIPER annotation (viper > data > sourcefile); {_ADVICE}"
        )
    if len(sources) > 1:
        sources = [
            element for element in sources if _stem(element.get("filename", "")) == clip.path.stem
        ]
    if len(sources) != 1:
        raise GlimpsesError(
            f"{file}: annotates several videos, {len(sources)} of them named {clip.path.stem}; "
            "use one file for each clip"
        )
    return sources[0]


def _tag(element: ElementTree.Element) -> str:
    """Return the tag without its namespace."""
    return element.tag.rpartition("}")[2]


def _stem(filename: str) -> str:
    return PurePosixPath(filename.replace("\\", "/")).stem


def _spans(file: Path, element: ElementTree.Element) -> list[tuple[int, int]]:
    """Return the frame ranges of an element: index of the first frame, and one past the last."""
    spans = []
    for span in element.get("framespan", "").split():
        first, _, last = span.partition(":")
        if not (first.isdecimal() and last.isdecimal() and len(first + last) < 20):
            raise GlimpsesError(f"{file}: framespan {span[:80]!r} should be like 1:25; {_ADVICE}")
        # Some writers count from 0 and mean the first frame, too.
        spans.append((max(0, int(first) - 1), int(last)))
    return spans


def _corners(file: Path, box: ElementTree.Element) -> tuple[float, float, float, float]:
    left, top, width, height = (_number(file, box, name) for name in ("x", "y", "width", "height"))
    return left, top, left + width, top + height


def _size(file: Path, source: ElementTree.Element, clip: Clip) -> tuple[float, float]:
    width, height = (_header_value(file, source, f"{side}-FRAME-SIZE") for side in "HV")
    if width > 0 and height > 0:
        return width, height
    info = video.probe(clip.path)
    return info.width, info.height


def _header_value(file: Path, source: ElementTree.Element, name: str) -> float:
    """Return a number from the header of a file; 0 if it is not there."""
    for head in source:
        if _tag(head) == "file":
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
            f"{file}: {_tag(element)} has {name}={text[:80]!r}, which is not a number; {_ADVICE}"
        )
    return value
