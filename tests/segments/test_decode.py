"""Decoding compared with slow enumeration, and streams compared with whole recordings."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from glimpses.segments import (
    DecodeOptions,
    Decoder,
    MovingMean,
    SegmentOptions,
    Viterbi,
    attention_box,
    causal_mean,
    centred_mean,
    centred_median,
    decode,
    path_segments,
    viterbi,
)
from glimpses.utils.options import InvalidOptionError

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


def test_times_of_steps_that_vary():
    """Segments by definition: runs of active steps, joined over short gaps, long enough."""
    random = np.random.default_rng(3)
    for _ in range(40):
        count = int(random.integers(1, 60))
        edges = np.cumsum(random.choice([0.05, 0.1, 0.4, 1.5], count + 1))
        values = random.choice([0.2, 0.8], (count, 1))
        join_gap, min_length = random.choice([0, 0.3, 1]), random.choice([0, 0.6])
        runs = []
        for step in np.flatnonzero(values[:, 0] > 0.5).tolist():
            if runs and edges[step] - edges[runs[-1][1]] <= join_gap + 1e-9:
                runs[-1][1] = step + 1
            else:
                runs.append([step, step + 1])
        expected = [
            (pytest.approx(edges[a]), pytest.approx(edges[b]), (2 * a, 2 * b))
            for a, b in runs
            if edges[b] - edges[a] >= min_length - 1e-9
        ]
        options = DecodeOptions(join_gap=join_gap, min_length=min_length)
        decoder = Decoder("a", step=0.1, options=options)
        found = []
        for rows in np.array_split(np.arange(count), 4):
            found += decoder.add(values[rows], times=edges[rows], frames=2 * rows)
        found += decoder.finish(end=edges[-1], frames=2 * count)
        assert [(one.start, one.end, one.frames) for one in found] == expected


def test_exclusive_segments_never_overlap():
    """A gap is joined only over steps that make no segment themselves."""
    random = np.random.default_rng(5)
    joined = 0
    for _ in range(60):
        path = random.integers(0, 3, 12).repeat(random.integers(1, 6, 12))
        values = np.full((len(path), 3), 0.1)
        values[np.arange(len(path)), path] = 0.9
        options = DecodeOptions(
            exclusive=True, join_gap=random.integers(0, 7), min_length=random.integers(0, 5)
        )
        found = decode(values, "abc", step=1, options=options)
        assert all(one.end <= other.start for one, other in pairwise(found))
        assert all(one.duration >= options.min_length for one in found)
        runs = path_segments(path, values, "abc", step=1)
        for run in runs:
            covering = [one for one in found if one.start <= run.start and one.end >= run.end]
            if run.duration >= options.min_length:
                assert [one.label for one in covering] == [run.label]
        joined += sum(one.score < 0.89 for one in found)
    assert joined > 10


def test_a_segment_has_the_mean_attention_of_its_steps():
    random = np.random.default_rng(1)
    values = np.array([[0.1], [0.9], [0.2], [0.8], [0.1], [0.1], [0.7]])
    attention = random.dirichlet(np.ones(9), 7)
    decoder = Decoder("a", step=1, options=DecodeOptions(join_gap=1))
    found = [*decoder.add(values, attention=attention), *decoder.finish()]
    # The gap is a part of the segment.
    for segment, steps in zip(found, (slice(1, 4), slice(6, 7)), strict=True):
        np.testing.assert_allclose(segment.attention.ravel(), attention[steps].mean(0))
        assert segment.box == attention_box(segment.attention)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("length", [1, 3, 7])
def test_a_moving_mean_equals_that_of_the_whole(length, centred):
    values = np.random.default_rng(0).uniform(size=(31, 2))
    whole = (centred_mean if centred else causal_mean)(values, length)
    for sizes in ([31], [1] * 31, [0, 2, 9, 0, 20]):
        mean, parts, start = MovingMean(length, centred=centred), [], 0
        for size in sizes:
            parts += mean.add(values[start : start + size]).tolist()
            start += size
            # None comes later than it must.
            assert len(parts) == max(start - (length // 2 if centred else 0), 0)
        parts += mean.finish().tolist()
        np.testing.assert_allclose(parts, whole)


def test_centred_smoothing_is_that_of_the_whole():
    values = np.random.default_rng(4).uniform(size=(80, 3))
    options = DecodeOptions(smoothing=5, centred=True, join_gap=0.2, threshold=0.55)
    expected = decode(
        centred_mean(values, 5), "abc", step=0.1, options=replace(options, smoothing=1)
    )
    decoder = Decoder("abc", step=0.1, options=options)
    found = [one for row in values for one in decoder.add(row[None])] + decoder.finish()
    assert sorted(times(found)) == sorted(times(expected))
    assert sorted(one.peak for one in found) == sorted(one.peak for one in expected)
    assert len(found) > 5


def test_the_box_holds_the_attended_places():
    attention = np.zeros((4, 4))
    assert attention_box(np.full((7, 7), 1 / 49)) == (0, 0, 1, 1)
    attention[1, 2] = 1
    assert attention_box(attention) == (0.5, 0.25, 0.75, 0.5)
    # Connected by a corner; the third place is not connected, the fourth has too little.
    attention[2, 3], attention[3, 0], attention[0, 2] = 0.6, 0.9, 0.4
    assert attention_box(attention) == (0.5, 0.25, 1, 0.75)


def test_options_of_the_user_replace_learned_ones():
    learned = DecodeOptions(threshold=0.3, release=0.5, smoothing=4, min_length=2, join_gap=3)

    def options(learned=learned, *, causal=True, **given):
        return SegmentOptions(**given).decoding(
            learned, step=0.1, background=(2,), exclusive=True, causal=causal
        )

    assert options() == replace(learned, background=(2,), exclusive=True)
    changed = options(threshold=0.6, smoothing=2, min_length=0)
    assert changed == replace(
        learned, threshold=0.6, smoothing=20, min_length=0, background=(2,), exclusive=True
    )
    assert options(None) == DecodeOptions(
        threshold=0.5, smoothing=10, min_length=0.5, join_gap=0.5, background=(2,), exclusive=True
    )
    assert options(causal=False).smoothing == 5
    assert options(None, causal=False, smoothing=0).smoothing == 1
    assert options(threshold="auto").threshold == 0.3
    for wrong in ({"threshold": 0}, {"min_length": -1}, {"stride": 0}, {"smoothing": "1"}):
        with pytest.raises(InvalidOptionError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            SegmentOptions(**wrong)
