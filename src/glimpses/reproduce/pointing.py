"""Pointing game of the attention models, beside maps that do not depend on a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from glimpses.datasets import Clip
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation import Evaluation
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.pointing_game import localise
from glimpses.evaluation.saliency_baselines import centre_prior, uniform, video_motion_energy
from glimpses.reproduce.paper import TITLES, DatasetName, Row
from glimpses.reproduce.tables import MeasuredRow, ResultTable
from glimpses.utils.errors import pluralise
from glimpses.utils.progress import bar
from glimpses.video import is_video

# Maps to compare with; no model sees them.
_BASELINES = (
    Row("chance", "Chance level", None),
    Row("centre", "Centre of the picture", None),
    Row("motion", "Frame difference", None),
)


def pointing_table(
    dataset: DatasetName, tests: Mapping[str, Sequence[tuple[Row, Evaluation]]]
) -> ResultTable | None:
    """Build the table of how often attention points at the actor; None without annotations.

    The score of a clip is the fraction of its steps whose most attended place is on the actor.
    Steps without a visible actor do not count.

    Args:
        dataset: name of the data set.
        tests: by split, the models and their evaluations on the same clips.
    """
    models = [row for row, _ in next(iter(tests.values()), ())]
    rows = {row.key: row for row in (*models, *_BASELINES)}
    scores: dict[str, dict[str, dict[int, float]]] = {key: {} for key in rows}
    notes = []
    for split, pairs in tests.items():
        clips, by_row = _measure(pairs)
        if not clips:
            continue
        bootstrap = Bootstrap([clip.group for clip in clips])
        estimates = {key: bootstrap.estimate(100 * np.array(v)) for key, v in by_row.items()}
        for key, estimate in estimates.items():
            scores[key][split] = {0: estimate.value}
        intervals = "; ".join(
            f"{rows[key].title}: {estimate.low:.1f} to {estimate.high:.1f}"
            for key, estimate in estimates.items()
            if np.isfinite(estimate.low)
        )
        groups = pluralise(len({clip.group for clip in clips}), "recording")
        sample = f"Split {split}: {pluralise(len(clips), 'annotated clip')} of {groups}, seed 0"
        notes.append(f"{sample}. 95 % intervals over recordings: {intervals or 'too few'}.")
    if not notes:
        return None
    notes.append(
        "Fraction of the steps whose most attended place is on the actor, averaged over clips. A "
        "place is on the actor if the actor fills any part of its cell."
    )
    measured = [MeasuredRow(row, scores[key], None) for key, row in rows.items()]
    title = f"Pointing game on {TITLES[dataset]} (% of steps)"
    return ResultTable("pointing", title, dataset, measured, notes=notes, quantity="pointing")


def _measure(
    pairs: Sequence[tuple[Row, Evaluation]],
) -> tuple[list[Clip], dict[str, list[float]]]:
    """Return the clips with a visible actor, and the score of each on them by the row's key."""
    first = pairs[0][1]
    annotations = annotations_for(first.clips)
    clips: list[Clip] = []
    by_row: dict[str, list[float]] = {
        row.key: [] for row in (*(row for row, _ in pairs), *_BASELINES)
    }
    with bar("comparing attention with masks", len(first.clips), transient=True) as progress:
        for index, clip in enumerate(first.clips):
            progress.advance()
            maps = {
                row.key: test.results[index].attention_maps
                for row, test in pairs
                if index < len(test.clips) and test.clips[index].id == clip.id
            }
            attention = {key: of_clip for key, of_clip in maps.items() if of_clip is not None}
            if clip.id not in annotations or len(attention) < len(pairs):
                continue
            grid = next(iter(attention.values())).shape[1]
            occupancy = annotations[clip.id].occupancy(first.times[index], grid)
            if not occupancy.any():
                continue
            clips.append(clip)
            for key, pointed in (
                *attention.items(),
                *_baseline_maps(clip, first, len(occupancy), grid),
            ):
                by_row[key].append(localise(pointed, occupancy[: len(pointed)]).pointing)
    return clips, by_row


def _baseline_maps(
    clip: Clip, test: Evaluation, count: int, grid: int
) -> Iterator[tuple[str, Float[np.ndarray, "T K K"]]]:
    shape = (count, grid, grid)
    yield "chance", np.broadcast_to(uniform(grid).reshape(grid, grid), shape)
    yield "centre", np.broadcast_to(centre_prior(grid).reshape(grid, grid), shape)
    # Without a video, the measure is missing.
    energy = np.zeros((0, grid * grid))
    if is_video(clip.path):
        energy = video_motion_energy(clip.path, test.config.data.fps, grid)
    yield "motion", energy[:count].reshape(-1, grid, grid)
