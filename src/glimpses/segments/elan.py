"""Segments as ELAN's annotations (`.eaf`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from glimpses.segments.details import DETAILS, details, read_details
from glimpses.segments.segment import Segment
from glimpses.segments.source import MAX_SEGMENTS, Source
from glimpses.utils.xml import parse_xml

_TYPE = "default-lt"
_TIER = "action"
# Type of the tiers below those of the actions, which have one value for each segment.
_VALUE_TYPE = "value-lt"
_VALUES = ("score", *DETAILS)
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"


def read_elan(source: Source, text: str) -> list[Segment]:
    """Return the time-aligned annotations of all tiers, of the first media file.

    Scores, peaks, boxes and frames are read from tiers that `write_elan` has written.

    Raises:
        GlimpsesError: the file is not ELAN's, or an annotation is impossible.
    """
    try:
        # The declaration may name an encoding, which text no longer has.
        root = parse_xml(text.encode())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise source.error(f"cannot be read as XML ({error})") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise source.error("is not an ELAN file (ANNOTATION_DOCUMENT)")
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    name = source.video or _media(root) or source.path.stem
    values = _values(root)
    segments: list[Segment] = []
    for one in root.iter("ALIGNABLE_ANNOTATION"):
        place = f"annotation {one.get('ANNOTATION_ID')}"
        ends = [times.get(one.get(f"TIME_SLOT_REF{number}")) for number in (1, 2)]
        try:
            start, end = (int(value or "") / 1000 for value in ends)
        except (ValueError, OverflowError):
            raise source.error(f"{place}: has no times in milliseconds") from None
        label = one.findtext("ANNOTATION_VALUE")
        extra = values.get(one.get("ANNOTATION_ID"), {})
        score = extra.get("score")
        segments.append(
            source.segment(
                place, file=name, start=start, end=end, label=label,
                score=float(score) if isinstance(score, int | float) else None,
                **read_details(extra, start, end),
            )
        )  # fmt: skip
        if len(segments) > MAX_SEGMENTS:
            raise source.error(f"has more than {MAX_SEGMENTS} segments; divide it")
    return segments


def write_elan(source: Source, segments: Sequence[Segment]) -> str:
    """Return an ELAN document with as many tiers as segments overlap: a tier cannot hold both.

    Below each is a tier for the scores, peaks, boxes and frames, such as `score@action`.
    """
    name = source.only_video({one.file for one in segments}, "ELAN's format")
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "", "DATE": "1970-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0",
            "xmlns:xsi": _INSTANCE, "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )  # fmt: skip
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    ElementTree.SubElement(
        header, "MEDIA_DESCRIPTOR", MEDIA_URL=name, MIME_TYPE="video/*", RELATIVE_MEDIA_URL=name
    )
    order = ElementTree.SubElement(root, "TIME_ORDER")
    tiers: list[list[tuple[int, int, Segment]]] = []
    for one in segments:
        start, end = round(one.start * 1000), round(one.end * 1000)
        tier = next((tier for tier in tiers if tier[-1][1] <= start), None)
        if tier is None:
            tiers.append(tier := [])
        tier.append((start, end, one))
    number = 0
    for index, entries in enumerate(tiers or [[]], start=1):
        identity = _TIER if index == 1 else f"{_TIER}-{index}"
        tier_element = ElementTree.SubElement(
            root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=identity
        )
        values: dict[str, list[tuple[str, Any]]] = {}
        for start, end, one in entries:
            number += 1
            slots = [f"ts{2 * number - 1}", f"ts{2 * number}"]
            for slot, time in zip(slots, (start, end), strict=True):
                ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
            wrapper = ElementTree.SubElement(tier_element, "ANNOTATION")
            annotation = ElementTree.SubElement(
                wrapper, "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"a{number}",
                TIME_SLOT_REF1=slots[0], TIME_SLOT_REF2=slots[1],
            )  # fmt: skip
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = one.label
            scores = {} if one.score is None else {"score": one.score}
            for kind, value in (scores | details(one)).items():
                values.setdefault(kind, []).append((f"a{number}", value))
        for kind, entries_of_kind in values.items():
            _add_values(root, kind, identity, entries_of_kind)
    ElementTree.SubElement(
        root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_TYPE,
        TIME_ALIGNABLE="true",
    )  # fmt: skip
    ElementTree.SubElement(
        root, "LINGUISTIC_TYPE", CONSTRAINTS="Symbolic_Association", GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=_VALUE_TYPE, TIME_ALIGNABLE="false",
    )  # fmt: skip
    ElementTree.SubElement(
        root, "CONSTRAINT", DESCRIPTION="1-1 association with a parent annotation",
        STEREOTYPE="Symbolic_Association",
    )  # fmt: skip
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add_values(
    root: ElementTree.Element, kind: str, parent: str, entries: Sequence[tuple[str, Any]]
) -> None:
    """Add a tier with one value for each of some annotations."""
    tier = ElementTree.SubElement(
        root, "TIER", LINGUISTIC_TYPE_REF=_VALUE_TYPE, PARENT_REF=parent, TIER_ID=f"{kind}@{parent}"
    )
    for annotation, value in entries:
        wrapper = ElementTree.SubElement(tier, "ANNOTATION")
        reference = ElementTree.SubElement(
            wrapper, "REF_ANNOTATION", ANNOTATION_ID=f"{annotation}-{kind}",
            ANNOTATION_REF=annotation,
        )  # fmt: skip
        ElementTree.SubElement(reference, "ANNOTATION_VALUE").text = json.dumps(value)


def _values(root: ElementTree.Element) -> dict[str | None, dict[str, Any]]:
    """Return the values of each annotation by kind; those that are not JSON are left out."""
    values: dict[str | None, dict[str, Any]] = {}
    for tier in root.iter("TIER"):
        kind = (tier.get("TIER_ID") or "").partition("@")[0]
        if kind not in _VALUES:
            continue
        for one in tier.iter("REF_ANNOTATION"):
            try:
                value = json.loads(one.findtext("ANNOTATION_VALUE") or "")
            except (ValueError, RecursionError):
                continue
            values.setdefault(one.get("ANNOTATION_REF"), {})[kind] = value
    return values


def _media(root: ElementTree.Element) -> str | None:
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    if media is None:
        return None
    relative = media.get("RELATIVE_MEDIA_URL")
    if relative:
        return relative.removeprefix("./")
    url = media.get("MEDIA_URL") or ""
    if not url.startswith("file:"):
        return url or None
    return PurePosixPath(unquote(url)).name
