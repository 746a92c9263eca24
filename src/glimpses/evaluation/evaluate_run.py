"""Evaluation of a trained run on unseen clips; `glimpses evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from jaxtyping import Float

from glimpses import runs
from glimpses.datasets import Clip
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation.calibration import measure_calibration
from glimpses.evaluation.metrics import Scores, score
from glimpses.evaluation.open_run import OpenedRun, Subset, open_run
from glimpses.evaluation.pointing_game import LocalisationScores, localise
from glimpses.evaluation.score_recordings import score_recordings
from glimpses.inference import ClipResult, Prediction, Recogniser, predict_causally, predict_clips
from glimpses.runs import ScoreRecord, model_card
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of a run, clip by clip.

    Attributes:
        config: settings of the run.
        clips: the clips that were scored.
        results: result of each clip, in the same order.
        times: time of each sampled frame of each clip, in seconds.
        scores: the scores.
    """

    config: runs.RunConfig
    clips: tuple[Clip, ...]
    results: tuple[ClipResult, ...]
    times: tuple[Float[np.ndarray, " N"], ...]
    scores: Scores

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """Names of the actions that each clip shows."""
        classes = self.config.classes
        return [tuple(classes[label] for label in clip.labels) for clip in self.clips]

    def prediction(self, index: int) -> Prediction:
        """Return the prediction for one clip, which can be drawn."""
        result = self.results[index]
        return Prediction(
            video=self.clips[index].path, classes=self.config.classes,
            probabilities=result.probabilities, times=self.times[index],
            step_probabilities=result.step_probabilities, attention=result.attention_maps,
            threshold=self.config.threshold,
        )  # fmt: skip

    def localisation(self) -> LocalisationScores:
        """Measure how well the attention localises the actor, over all annotated clips."""
        attended = {
            clip: (times, result.attention_maps)
            for clip, times, result in zip(self.clips, self.times, self.results, strict=True)
            if result.attention_maps is not None
        }
        annotations = annotations_for(list(attended))
        return LocalisationScores.mean(
            [
                localise(maps, annotations[clip.id].occupancy(times, maps.shape[1]))
                for clip, (times, maps) in attended.items()
                if clip.id in annotations
            ]
        )


def evaluate(
    run: Annotated[str | Path | Recogniser, Parameter(accepts_keys=False)],
    *,
    data: str | Path | None = None,
    subset: Subset | None = None,
    causal: bool = False,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> Scores:
    """Score a trained run on unseen clips and record the scores in its model card.

    For long recordings with a table of segments, the segments that the run finds are scored too,
    beside those of two baselines: a sliding window that is classified as a clip, and logistic
    regression on the features in a window, if the training recordings are there.

    Args:
        run: folder of the run, or a recogniser, which stays on its own device.
        data: folder of a data set; that of training if not given. Clips whose video was used in
            training are left out unless `subset` asks for them.
        subset: subset of the run's own split; "all" scores every clip of `data`.
        causal: process the clips frame by frame, as `glimpses watch` does, without later frames.
        feature_dir: folder for features; that of the run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run or the data cannot be used, their classes do not match, or no
            unseen clip is left.
    """
    evaluation = evaluate_clips(
        run, data=data, subset=subset, causal=causal, feature_dir=feature_dir, device=device
    )
    folder = run.run if isinstance(run, Recogniser) else Path(run)
    if not causal and folder is not None:
        record_scores(folder, evaluation, data)
    return evaluation.scores


def record_scores(run: Path, evaluation: Evaluation, data: str | Path | None) -> ScoreRecord:
    """Save the scores of a run in `scores.json` and in its model card, and return the record.

    Args:
        run: folder of the run.
        evaluation: the evaluation.
        data: folder of the data set; None for that of training.
    """
    training_data = Path(evaluation.config.data_dir)
    is_training_data = data is None or Path(data).resolve() == training_data
    name = training_data.name if is_training_data else Path(data or "").resolve().name
    record = evaluation.scores.to_record(name)
    model_card.record_score(run, record)
    return record


def evaluate_clips(
    run: str | Path | Recogniser,
    *,
    data: str | Path | None = None,
    subset: Subset | None = None,
    causal: bool = False,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Evaluate a run like `evaluate`, but return the result of every clip too."""
    opened = open_run(run, data=data, subset=subset, feature_dir=feature_dir, device=device)
    config, clips = opened.config, opened.clips
    results = []
    with progress.bar("evaluating", len(clips), transient=True) as bar:
        for result in _predict(opened, causal=causal):
            results.append(result)
            bar.advance()
    probabilities = np.stack([result.probabilities for result in results])
    scores = score(
        clips, probabilities, config.classes, multi_label=config.multi_label,
        skipped=opened.features.failures, subset=opened.subset, grouped=opened.dataset.grouped,
    )  # fmt: skip
    if not config.multi_label:
        uncalibrated = _uncalibrated(opened, probabilities, causal=causal)
        measured = measure_calibration(config, clips, probabilities, uncalibrated)
        scores = replace(scores, calibration=measured)
    if opened.dataset.untrimmed and opened.dataset.segments:
        scores = replace(scores, segments=score_recordings(opened, causal=causal))
    times = tuple(cubes.times for cubes in opened.cubes)
    return Evaluation(config, clips, tuple(results), times, scores)


def _uncalibrated(
    opened: OpenedRun, probabilities: Float[np.ndarray, "N C"], *, causal: bool
) -> Float[np.ndarray, "N C"]:
    """Return the class probabilities of each clip with a temperature of 1."""
    temperature = opened.model.temperature
    if temperature == 1:
        return probabilities
    opened.model.temperature = 1.0
    try:
        return np.stack([result.probabilities for result in _predict(opened, causal=causal)])
    finally:
        opened.model.temperature = temperature


def _predict(opened: OpenedRun, *, causal: bool) -> Iterator[ClipResult]:
    model, cubes, config = opened.model, opened.cubes, opened.config
    if causal and model.streaming_problem is not None:
        raise GlimpsesError(f"--causal: {model.streaming_problem}")
    if causal:
        return predict_causally(
            model, cubes, block_length=config.data.block_length, multi_label=config.multi_label
        )
    return predict_clips(
        model, cubes, block_length=config.data.block_length, stride=config.data.block_stride,
        multi_label=config.multi_label, last_steps=config.data.last_steps,
        aggregate=config.data.aggregate,
    )  # fmt: skip
