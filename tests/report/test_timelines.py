"""Timelines of recordings on the report page."""

from __future__ import annotations

from pathlib import Path

import pytest

from glimpses.evaluation import RecordingScores
from glimpses.evaluation.segment_metrics import score_segments
from glimpses.report.scores_page import ScoresPage
from glimpses.report.timelines import draw_timelines
from glimpses.segments import Segment
from tests.report.test_scores_page import HOSTILE, parse_page


def segment(start: float, end: float, label: str, score: float | None = None) -> Segment:
    return Segment(file="a.mp4", start=start, end=end, label=label, score=score)


TRUTH = (segment(1, 3, "run"), segment(2, 4, HOSTILE), segment(4, 8, "run"))
FOUND = (segment(1, 4, "run", 0.875), segment(9, 10, "jump", 0.5))


@pytest.fixture
def scores() -> RecordingScores:
    durations = {"a.mp4": 10.0, "b.mp4": 5.0}
    return RecordingScores(score_segments(FOUND, TRUTH, durations), {}, FOUND, TRUTH, durations)


def test_the_truth_is_above_the_models_in_the_same_scale(scores: RecordingScores) -> None:
    timelines = draw_timelines({"first": scores, "second": scores})
    assert timelines is not None
    assert timelines.left_out == 0
    assert set(timelines.legend) == {"run", "jump", HOSTILE}
    assert len(set(timelines.legend.values())) == 3
    recording, empty = timelines.recordings
    assert (recording.name, recording.seconds) == ("a.mp4", 10.0)
    assert [row.name for row in recording.rows] == ["annotated", "first", "second"]
    truth, found, _ = recording.rows
    # Segments that overlap are in two lanes; one may begin where another ends.
    assert [[(bar.left, bar.width) for bar in lane] for lane in truth.lanes] == [
        [(0.1, pytest.approx(0.2)), (0.4, pytest.approx(0.4))],
        [(0.2, pytest.approx(0.2))],
    ]
    assert {bar.colour for bar in truth.lanes[0]} == {timelines.legend["run"]}
    assert [bar.text for bar in found.lanes[0]] == [
        "run, 1.0 to 4.0 s, 88%", "jump, 9.0 to 10.0 s, 50%",
    ]  # fmt: skip
    assert truth.text == f"annotated: {HOSTILE} 2.0 s, run 6.0 s"
    assert [row.lanes for row in empty.rows] == [((),)] * 3


def test_the_page_shows_timelines_and_legend(scores: RecordingScores, tmp_path: Path) -> None:
    page = ScoresPage("Recordings", timelines=draw_timelines({"first": scores}))
    shown = parse_page(tmp_path / "report.html", page)
    for text in ("a.mp4 10.0 s", "b.mp4 5.0 s", "annotated", "first", HOSTILE):
        assert text in shown.text
    assert "first: no segments" in shown.attributes
    assert "left: 40.000%; width: 40.000%" in shown.attributes
    assert "script" not in shown.tags


def test_many_recordings_are_counted(scores: RecordingScores) -> None:
    durations = {f"{number:03}.mp4": 1.0 for number in range(50)}
    many = RecordingScores(scores.model, {}, (), (), durations)
    timelines = draw_timelines({"first": many})
    assert timelines is not None
    assert len(timelines.recordings) + timelines.left_out == 50
    assert timelines.left_out > 0


def test_clips_have_no_timelines() -> None:
    assert draw_timelines({}) is None
