"""Descriptions of splits, and the warning about too few clips."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from glimpses.datasets import ActionDataset, Clip, Split
from glimpses.training.split_summary import describe_split, subset_sizes, warn_few


def make(clips: int, recordings: int, *, grouped: bool = True) -> ActionDataset:
    """A data set of two classes, each with some clips of some recordings of its own."""
    rows = [
        Clip(f"{name}/{n}.mp4", Path(), (label,), f"{name}{n % recordings}")
        for label, name in enumerate(("wave", "clap"))
        for n in range(clips)
    ]
    return ActionDataset(Path("my-clips"), ("wave", "clap"), tuple(rows), grouped=grouped)


def test_the_split_is_described_with_clips_and_recordings() -> None:
    data = make(8, 4)
    split = Split(data.clips[:9], data.clips[9:10], data.clips[10:])
    assert describe_split(data, split) == (
        "my-clips: split by recording: training 9 clips of 5 recordings; validation 1 clip of "
        "1 recording; test 6 clips of 4 recordings"
    )
    assert (subset_sizes(split)["test"].clips, subset_sizes(split)["test"].recordings) == (6, 4)
    own = ActionDataset(Path("my-clips"), data.classes, data.clips, splits={"listed": {}})
    text = describe_split(own, Split(data.clips[:9], (), data.clips[9:], "listed"))
    assert text.startswith("my-clips: the data set's own split listed: training 9 clips")
    assert "validation" not in text


def test_unknown_recordings_are_told() -> None:
    data = make(8, 8, grouped=False)
    text = describe_split(data, Split(data.clips[:9], data.clips[9:12], data.clips[12:]))
    assert "split by clip: training 9 clips; validation 3 clips; test 4 clips" in text
    assert text.endswith("recordings are unknown, so intervals treat each clip as a recording")


@pytest.mark.parametrize(
    ("clips", "recordings", "tested", "meaning"),
    [
        (3, 3, 2, "The test clips come from 2 recordings, too few for any conclusion"),
        (14, 14, 28, "With 28 test recordings, a score of 80% can mean anything from 61% to 91%"),
        (40, 4, 80, "With 8 test recordings, a score of 80% can mean anything from 39% to 96%"),
    ],
)
def test_few_clips_or_recordings_are_told_with_what_that_means(
    clips: int, recordings: int, tested: int, meaning: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = make(clips, recordings)
    warn_few(data, data.clips[-tested:] if tested < 80 else data.clips, ", or do this")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert f"wave has {clips} clips of {recordings} recordings, clap has" in message
    assert "15 clips of 5 recordings" in message
    assert meaning in message
    assert message.endswith("; add clips, or do this")


def test_enough_clips_are_not_remarked(caplog: pytest.LogCaptureFixture) -> None:
    data = make(15, 5)
    warn_few(data, data.clips, "")
    assert not caplog.records
