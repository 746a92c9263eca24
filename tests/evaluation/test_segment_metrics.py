"""Segment metrics compared with slow transcriptions of the published definitions."""

import json

import numpy as np
import pytest

from glimpses.evaluation import score_segments
from glimpses.evaluation.segment_metrics import edit_score
from glimpses.segments import Segment

FILES = [f"{number}.mp4" for number in range(8)]
DURATIONS = dict.fromkeys(FILES, 100.0)


def random_segments(seed, scored, per_file=6):
    random = np.random.default_rng(seed)
    segments = []
    for file in FILES:
        for _ in range(per_file):
            start = float(random.uniform(0, 80))
            segments.append(
                Segment(
                    file=file, start=start, end=start + float(random.uniform(5, 20)),
                    label="abc"[int(random.integers(3))],
                    score=float(random.uniform()) if scored else None,
                )
            )  # fmt: skip
    return segments


def activitynet_map(predicted, annotated, tiou):
    """mAP as ActivityNet's evaluation defines it: VOC's interpolated AP with locked annotations."""
    aps = []
    for label in {one.label for one in annotated}:
        truths = [one for one in annotated if one.label == label]
        locked = [False] * len(truths)
        ranked = sorted((p for p in predicted if p.label == label), key=lambda p: -p.score)
        tp, fp = np.zeros(len(ranked)), np.zeros(len(ranked))
        for index, one in enumerate(ranked):
            ious = []
            for number, other in enumerate(truths):
                if other.file != one.file:
                    continue
                shared = max(0, min(one.end, other.end) - max(one.start, other.start))
                union = (one.end - one.start) + (other.end - other.start) - shared
                ious.append((shared / union, number))
            for value, number in sorted(ious, reverse=True):
                if value < tiou:
                    break
                if not locked[number]:
                    locked[number] = True
                    tp[index] = 1
                    break
            fp[index] = 1 - tp[index]
        tp, fp = tp.cumsum(), fp.cumsum()
        precision = np.hstack([[0], tp / (tp + fp), [0]])
        recall = np.hstack([[0], tp / len(truths), [1]])
        for i in range(len(precision) - 1)[::-1]:
            precision[i] = max(precision[i], precision[i + 1])
        steps = np.where(recall[1:] != recall[:-1])[0] + 1
        aps.append(((recall[steps] - recall[steps - 1]) * precision[steps]).sum())
    return np.mean(aps)


@pytest.mark.parametrize("seed", range(4))
def test_map_as_activitynet_defines_it(seed):
    annotated = random_segments(seed, False)
    predicted = random_segments(seed + 100, True, per_file=40)
    scores = score_segments(predicted, annotated, DURATIONS)
    for tiou, estimate in scores.mean_ap.items():
        assert estimate.value == pytest.approx(activitynet_map(predicted, annotated, tiou))
        assert estimate.low <= estimate.value <= estimate.high
    assert 0.05 < scores.average_map.value < 0.9


def test_f1_of_seconds_is_a_plain_loop():
    annotated, predicted = random_segments(1, False), random_segments(2, True)
    counts = {label: [0, 0, 0] for label in ["", *"abc"]}
    for file in FILES:
        for second in range(100):
            guess, label = (
                {s.label for s in side if s.file == file and s.start <= second + 0.5 < s.end}
                or {""}
                for side in (predicted, annotated)
            )
            for name, count in counts.items():
                count[0] += name in guess and name in label
                count[1] += name in guess and name not in label
                count[2] += name not in guess and name in label
    f1 = {name: 2 * tp / (2 * tp + fp + fn) for name, (tp, fp, fn) in counts.items()}
    total = np.sum([counts[name] for name in "abc"], axis=0)
    scores = score_segments(predicted, annotated, DURATIONS).second_f1
    assert scores["macro"].value == pytest.approx(np.mean([f1[name] for name in "abc"]))
    assert scores["macro, with background"].value == pytest.approx(np.mean(list(f1.values())))
    assert scores["micro"].value == pytest.approx(2 * total[0] / (2 * total[0] + total[1:].sum()))


def one(start, end, label="a", file="0.mp4", score=None):
    return Segment(file=file, start=start, end=end, label=label, score=score)


def test_spotting_and_false_alarms():
    annotated = [one(10, 10), one(50, 50)]
    predicted = [one(10.5, 10.5, score=0.9), one(11, 11, score=0.8), one(53, 53, score=0.7)]
    scores = score_segments(predicted, annotated, {"0.mp4": 1800})
    assert scores.spotting_map[1].value == 0.5
    assert scores.spotting_f1[1].value == pytest.approx(2 / 5)
    assert scores.spotting_map[5].value == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert scores.false_alarms.value == 6
    assert np.isnan(scores.false_alarms.low)


def test_segmental_scores():
    assert edit_score("abc", "abc") == 1
    assert edit_score("aabc", "abd") == 0.5
    assert edit_score("", "") == 1
    annotated = [one(0, 10), one(10, 20, "b"), one(20, 30)]
    # The second is a fragment of the first, which takes it only once.
    predicted = [one(0, 6), one(6, 10), one(12, 20, "b"), one(20, 60)]
    scores = score_segments(predicted, annotated, {"0.mp4": 60})
    assert scores.segmental_f1[0.25].value == pytest.approx(6 / 7)
    assert scores.segmental_f1[0.5].value == pytest.approx(4 / 7)
    assert scores.edit.value == 0.75


def test_perfect_and_empty_predictions():
    annotated = random_segments(3, False, per_file=1)
    perfect = score_segments(annotated, annotated, DURATIONS)
    assert perfect.average_map.value == perfect.second_f1["micro"].value == perfect.edit.value == 1
    assert perfect.false_alarms.value == 0
    nothing = score_segments([], annotated, DURATIONS)
    assert nothing.average_map.value == nothing.segmental_f1[0.1].value == 0
    json.dumps(score_segments([], [], DURATIONS).to_json(), allow_nan=False)
    assert "8 recordings, 0.22 hours" in str(perfect)
    with pytest.raises(ValueError, match="no duration"):
        score_segments([one(0, 1, file="x")], [], DURATIONS)
