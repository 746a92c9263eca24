"""Put a trained run to the test on clips it has not seen; `glimpses evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from jaxtyping import Float

from glimpses import runs
from glimpses.datasets import Clip
from glimpses.evaluation.metrics import ClipScore, Scores, score
from glimpses.evaluation.open_run import OpenedRun, Side, open_beside, open_run
from glimpses.inference import ClipResult, Recogniser, predict_causally, predict_clips
from glimpses.runs import model_card
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError

__all__ = [
    "ClipScore",
    "Evaluation",
    "OpenedRun",
    "Scores",
    "Side",
    "evaluate",
    "evaluate_clips",
    "open_beside",
    "open_run",
    "score",
]


@dataclass(frozen=True)
class Evaluation:
    """A run put to the test, clip by clip.

    Attributes:
        config: of the run.
        clips: those that were scored.
        results: what the model made of each of them, in the same order.
        times: when each sampled frame of each of them is shown, in seconds.
        scores: all of it in numbers.
    """

    config: runs.RunConfig
    clips: tuple[Clip, ...]
    results: tuple[ClipResult, ...]
    times: tuple[Float[np.ndarray, " N"], ...]
    scores: Scores


def evaluate(
    run: Annotated[str | Path | Recogniser, Parameter(accepts_keys=False)],
    *,
    data: str | Path | None = None,
    side: Side | None = None,
    causal: bool = False,
    store: str | Path | None = None,
    device: str = "cpu",
) -> Scores:
    """Score a trained run on clips it has not seen, and keep the scores in its model card.

    Args:
        run: folder of the run, or a recogniser, which stays on its own device.
        data: folder of a data set; the one it was trained on if not given. Clips whose video was
            used in training are left out, unless `side` asks for them.
        side: which side of the run's own split; "all" scores every clip of `data`.
        causal: read the clips as `glimpses watch` does, frame by frame and without knowledge of
            what comes.
        store: where features are kept; where the run's own are if not given.
        device: "cpu" or "cuda".

    Returns:
        The scores.

    Raises:
        GlimpsesError: the run or the data cannot be used, their classes do not match, or no
            unseen clip is left.
    """
    test = evaluate_clips(run, data=data, side=side, causal=causal, store=store, device=device)
    folder = run.run if isinstance(run, Recogniser) else Path(run)
    if not causal and folder is not None:
        record_scores(folder, test, data)
    return test.scores


def record_scores(run: Path, test: Evaluation, data: str | Path | None) -> None:
    """Save the scores of a run in `scores.json` and in its model card.

    Args:
        run: folder of the run.
        test: the evaluation.
        data: folder of the data set; None for the one the run was trained on.
    """
    trained_on = Path(test.config.data_dir)
    is_own = data is None or Path(data).resolve() == trained_on
    name = trained_on.name if is_own else Path(data or "").resolve().name
    model_card.record_score(run, test.scores.to_record(name))


def evaluate_clips(
    run: str | Path | Recogniser,
    *,
    data: str | Path | None = None,
    side: Side | None = None,
    causal: bool = False,
    store: str | Path | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Like `evaluate`, with all that the scores were computed from."""
    opened = open_run(run, data=data, side=side, store=store, device=device)
    config, clips = opened.config, opened.clips
    results = []
    with progress.bar("evaluating", len(clips), transient=True) as bar:
        for result in _read(opened, causal=causal):
            results.append(result)
            bar.advance()
    scores = score(
        clips,
        np.stack([result.probabilities for result in results]),
        config.classes,
        multi_label=config.multi_label,
        skipped=opened.features.failures,
        side=opened.side,
    )
    times = tuple(cubes.times for cubes in opened.cubes)
    return Evaluation(config, clips, tuple(results), times, scores)


def _read(opened: OpenedRun, *, causal: bool) -> Iterator[ClipResult]:
    model, cubes, config = opened.model, opened.cubes, opened.config
    if causal and model.streaming_problem is not None:
        raise GlimpsesError(f"--causal: {model.streaming_problem}")
    if causal:
        return predict_causally(
            model, cubes, block_length=config.data.block_length, multi_label=config.multi_label
        )
    return predict_clips(
        model,
        cubes,
        block_length=config.data.block_length,
        stride=config.data.block_stride,
        multi_label=config.multi_label,
        last_steps=config.data.last_steps,
        aggregate=config.data.aggregate,
    )
