"""Decoding compared with slow enumeration, and streams compared with whole recordings."""

from itertools import pairwise, product

import numpy as np
import pytest

from glimpses.segments import (
    DecodeOptions,
    Decoder,
    Viterbi,
    causal_mean,
    centred_mean,
    centred_median,
    decode,
    path_segments,
    viterbi,
)

OPTIONS = [
    DecodeOptions(),
    DecodeOptions(threshold=(0.3, 0.6, 0.5), release=0.5, smoothing=4),
    DecodeOptions(join_gap=1.0, min_length=1.5, smoothing=3),
    DecodeOptions(exclusive=True, background=0, threshold=0.2, join_gap=0.5),
]


def times(segments):
    return [(one.label, one.start, one.end) for one in segments]


def one_class(values, **options):
    array = np.array(values, float)[:, None]
    return decode(array, ["a"], step=0.5, options=DecodeOptions(**options))


def test_threshold_score_and_peak():
    (segment,) = one_class([0.1, 0.6, 0.9, 0.6, 0.4])
    assert (segment.start, segment.end, segment.peak) == (0.5, 2.0, 1.25)
    assert segment.score == pytest.approx(0.7)


def test_gaps_are_joined_and_short_segments_dropped():
    values = [0.9, 0, 0.9, 0, 0, 0.9]
    assert times(one_class(values)) == [("a", 0, 0.5), ("a", 1, 1.5), ("a", 2.5, 3)]
    assert times(one_class(values, join_gap=0.5)) == [("a", 0, 1.5), ("a", 2.5, 3)]
    assert times(one_class(values, join_gap=1)) == [("a", 0, 3)]
    assert times(one_class(values, join_gap=0.5, min_length=1)) == [("a", 0, 1.5)]
    assert one_class(values, join_gap=0.5)[0].score == pytest.approx(0.6)


def test_hysteresis():
    values = [0.4, 0.9, 0.4, 0.2, 0.4]
    assert times(one_class(values, threshold=0.8, release=0.4)) == [("a", 0.5, 1.5)]


def test_classes_overlap_unless_exclusive():
    both = np.array([[0.6, 0.7], [0.6, 0.5]])
    assert times(decode(both, "ab", step=1)) == [("a", 0, 2), ("b", 0, 2)]
    options = DecodeOptions(exclusive=True)
    assert times(decode(both, "ab", step=1, options=options)) == [("b", 0, 1), ("a", 1, 2)]
    options = DecodeOptions(background=0)
    assert times(decode(both, "ab", step=1, options=options)) == [("b", 0, 2)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_a_stream_equals_the_whole(options, seed):
    random = np.random.default_rng(seed)
    values = random.uniform(size=(200, 3)) ** 0.7
    whole = decode(values, "abc", step=0.25, options=options)
    decoder = Decoder("abc", step=0.25, options=options)
    parts = []
    position = 0
    while position < len(values):
        length = int(random.integers(0, 9))
        parts += decoder.add(values[position : position + length])
        position += length
    parts += decoder.finish()
    assert times(sorted(parts, key=lambda one: (one.start, one.end, one.label))) == times(whole)
    assert sorted(one.score for one in parts) == pytest.approx(sorted(one.score for one in whole))
    assert len(whole) > 2


def test_smoothing_is_a_plain_loop():
    values = np.random.default_rng(0).uniform(size=(20, 2))
    for index in range(20):
        past = values[max(0, index - 3) : index + 1]
        around = values[max(0, index - 2) : index + 3]
        assert causal_mean(values, 4)[index] == pytest.approx(past.mean(0))
        assert centred_mean(values, 5)[index] == pytest.approx(around.mean(0))
        assert centred_median(values, 5)[index] == pytest.approx(np.median(around, 0))


@pytest.mark.parametrize("cost", [0, 0.3, 1, 5])
def test_viterbi_is_the_best_of_all_paths(cost):
    values = np.random.default_rng(int(cost * 10)).normal(size=(6, 3))

    def total(path):
        changes = sum(one != other for one, other in pairwise(path))
        return sum(values[step, label] for step, label in enumerate(path)) - cost * changes

    best = max(product(range(3), repeat=6), key=total)
    assert tuple(viterbi(values, switch_cost=cost)) == best
    for lag in (6, 100):
        assert tuple(_chunks(values, cost, lag)) == best


@pytest.mark.parametrize("lag", [0, 3])
def test_a_lag_decides_from_the_past_and_the_lag_only(lag):
    values = np.random.default_rng(1).normal(size=(30, 3))
    path = _chunks(values, 1.0, lag)
    assert len(path) == 30
    for step in range(30 - lag):
        assert path[step] == viterbi(values[: step + lag + 1], switch_cost=1.0)[step]


def _chunks(values, cost, lag):
    search = Viterbi(values.shape[1], switch_cost=cost, lag=lag)
    parts = [search.add(values[start : start + 4]) for start in range(0, len(values), 4)]
    return np.concatenate([*parts, search.finish()])


def test_runs_of_a_path():
    path = np.array([0, 1, 1, 2, 0])
    probabilities = np.full((5, 3), 0.2)
    probabilities[2, 1] = 0.8
    segments = path_segments(path, probabilities, "xab", step=2, background=0)
    assert times(segments) == [("a", 2, 6), ("b", 6, 8)]
    assert (segments[0].score, segments[0].peak) == (0.5, 5)
    assert path_segments(path[:0], probabilities[:0], "xab", step=2) == []
