"""Segments as JSON: ActivityNet's form and Label Studio's tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from glimpses.segments.details import details, read_details
from glimpses.segments.segment import Segment, sort_segments
from glimpses.segments.source import MAX_SEGMENTS, Source


def load_json(source: Source, text: str) -> Any:
    """Return the value of a JSON file.

    Raises:
        GlimpsesError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise source.error(f"is not JSON ({error.msg})", error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise source.error("is not JSON that can be read; it is nested or long") from error


def read_json(source: Source, text: str) -> list[Segment]:
    """Return the segments of a JSON file in either form."""
    if isinstance(load_json(source, text), list):
        return read_label_studio(source, text)
    return read_activitynet(source, text)


def read_activitynet(source: Source, text: str) -> list[Segment]:
    """Return the segments of a ground truth (`database`) or of results (`results`).

    Raises:
        GlimpsesError: the file has neither, or a segment is impossible.
    """
    value = load_json(source, text)
    if isinstance(value, dict) and isinstance(value.get("database"), dict):
        videos = {
            name: entry.get("annotations") if isinstance(entry, dict) else None
            for name, entry in value["database"].items()
        }
    elif isinstance(value, dict) and isinstance(value.get("results"), dict):
        videos = value["results"]
    else:
        raise source.error("has neither `database` nor `results`, as ActivityNet's JSON has")
    segments = []
    for name, entries in videos.items():
        for index, entry in enumerate(_list(source, entries, name)):
            place = f"{name}, segment {index + 1}"
            times = entry.get("segment") if isinstance(entry, dict) else None
            if not isinstance(times, list) or len(times) != 2:
                raise source.error(f"{place}: `segment` must be start and end")
            start, end = _number(times[0]), _number(times[1])
            segments.append(
                source.segment(
                    place, file=name, start=start, end=end, label=entry.get("label"),
                    score=_number(entry.get("score")), **read_details(entry, start, end),
                )
            )  # fmt: skip
    return segments


def write_activitynet(_source: Source, segments: Sequence[Segment]) -> str:
    """Return ActivityNet's JSON: results if every segment has a score, else a ground truth.

    The peak, box and frames are further keys of a segment, which other programs ignore.
    """
    scored = bool(segments) and all(one.score is not None for one in segments)
    videos: dict[str, list[dict[str, Any]]] = {}
    for one in segments:
        entry: dict[str, Any] = {"segment": [one.start, one.end], "label": one.label}
        if one.score is not None:
            entry["score"] = one.score
        entry |= details(one)
        videos.setdefault(one.file, []).append(entry)
    value: dict[str, Any] = (
        {"version": "VERSION 1.3", "results": videos, "external_data": {}}
        if scored
        else {
            "version": "VERSION 1.3",
            "database": {name: {"annotations": entries} for name, entries in videos.items()},
        }
    )
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def read_label_studio(source: Source, text: str) -> list[Segment]:
    """Return the segments of Label Studio's tasks.

    Timeline labels are ranges of frames from 1, both ends included. Regions of type `labels` are in
    seconds.

    Raises:
        GlimpsesError: the file is not a list of tasks, or a region is impossible.
    """
    tasks = load_json(source, text)
    segments: list[Segment] = []
    for number, task in enumerate(_list(source, tasks, "the file"), start=1):
        place = f"task {number}"
        data = task.get("data") if isinstance(task, dict) else None
        name = data.get("video") if isinstance(data, dict) else None
        name = name if isinstance(name, str) else source.video
        if name is None:
            raise source.error(f"{place}: `data` has no `video`")
        for index, region in enumerate(_regions(source, task, place), start=1):
            segments.extend(_region(source, name, region, f"{place}, region {index}"))
            if len(segments) > MAX_SEGMENTS:
                raise source.error(f"has more than {MAX_SEGMENTS} segments; divide it")
    return segments


def write_label_studio(source: Source, segments: Sequence[Segment]) -> str:
    """Return Label Studio's tasks with timeline labels, one task for each video.

    Segments with a score are predictions, the others annotations. The peak and box are part of the
    `meta` of a region, which Label Studio keeps.
    """
    tasks = []
    for name, group in groupby(sort_segments(segments), key=lambda one: one.file):
        regions: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        for number, one in enumerate(group, start=1):
            first, stop = one.frame_range(source.rate(name))
            region: dict[str, Any] = {
                "id": f"segment{number}", "from_name": "label", "to_name": "video",
                "type": "timelinelabels",
                "value": {
                    "ranges": [{"start": first + 1, "end": max(stop, first + 1)}],
                    "timelinelabels": [one.label],
                },
            }  # fmt: skip
            if one.score is not None:
                region["score"] = one.score
            # The ranges are the frames.
            meta = {key: value for key, value in details(one).items() if key != "frames"}
            if meta:
                region["meta"] = meta
            regions[one.score is not None].append(region)
        task: dict[str, Any] = {"data": {"video": name}}
        if regions[False]:
            task["annotations"] = [{"result": regions[False]}]
        if regions[True]:
            task["predictions"] = [{"model_version": "glimpses", "result": regions[True]}]
        tasks.append(task)
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _regions(source: Source, task: dict[str, Any], place: str) -> Iterator[dict[str, Any]]:
    for part in ("annotations", "predictions"):
        for entry in _list(source, task.get(part) or [], place):
            result = entry.get("result") if isinstance(entry, dict) else None
            for region in _list(source, result, place):
                if isinstance(region, dict) and isinstance(region.get("value"), dict):
                    yield region


def _region(source: Source, name: str, region: dict[str, Any], place: str) -> Iterator[Segment]:
    value = region["value"]
    if region.get("type") == "timelinelabels":
        rate = source.rate(name)
        for label in _list(source, value.get("timelinelabels"), place):
            for part in _list(source, value.get("ranges"), place):
                ends = (part.get("start"), part.get("end")) if isinstance(part, dict) else ()
                if not all(isinstance(end, int) and 1 <= end < 2**53 for end in ends) or not ends:
                    raise source.error(f"{place}: a range must have a start and an end, from 1")
                first, stop = int(ends[0]) - 1, int(ends[1])  # type: ignore[arg-type]
                yield _labelled(
                    source, place, region, file=name, start=first / rate, end=stop / rate,
                    label=label, frames=(first, stop),
                )  # fmt: skip
    elif region.get("type") == "labels":
        for label in _list(source, value.get("labels"), place):
            yield _labelled(
                source, place, region, file=name, start=_number(value.get("start")),
                end=_number(value.get("end")), label=label,
            )  # fmt: skip


def _labelled(source: Source, place: str, region: dict[str, Any], **values: Any) -> Segment:
    """Return a segment with the score and details of its region."""
    meta = region.get("meta")
    if isinstance(meta, dict):
        values = read_details(meta, values["start"], values["end"]) | values
    return source.segment(place, score=_number(region.get("score")), **values)


def _list(source: Source, value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise source.error(f"{place}: must contain a list of segments or tasks")
    return value


def _number(value: Any) -> float | None:
    """Return a number, or None for what is none; `Segment` reports a missing time."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
