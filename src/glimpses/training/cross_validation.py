"""Cross-validation: a score on every clip, and a run trained on all of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
from rich.console import Group as Lines
from rich.table import Table

from glimpses import datasets, runs
from glimpses.datasets import Split
from glimpses.evaluation import (
    ClipLogits,
    Evaluation,
    Scores,
    calibrate_logits,
    clip_logits,
    describe_calibration,
    evaluate_clips,
    open_run,
    record_scores,
    require_threshold,
    score,
)
from glimpses.models import ModelOptions
from glimpses.runs import DataOptions, OptimOptions, ScoreRecord, Threshold
from glimpses.runs.model_card import record_score
from glimpses.training.budget import parse_budget
from glimpses.training.options import DataGroup, ModelGroup, OptimGroup, TrainOptions
from glimpses.training.recipes import RecipeName
from glimpses.training.resolve import Resolved, resolve
from glimpses.training.split_summary import ALL_CLIPS, warn_few
from glimpses.training.train_run import (
    FOLDS_DIR,
    TrainedRun,
    checked_options,
    load_for_training,
    selection_arguments,
    train_split,
)
from glimpses.utils.errors import GlimpsesError, pluralise
from glimpses.utils.files import quote_path
from glimpses.utils.options import COMMON, InvalidOptionError, require_name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        trained: the run that was trained without the clips of the fold.
        score: its scores on these clips.
    """

    trained: TrainedRun
    score: ScoreRecord


@dataclass(frozen=True)
class CrossValidation:
    """Result of a cross-validation.

    Attributes:
        run: folder of the run that was trained on all clips.
        trained: that run.
        folds: the folds.
        scores: scores of all clips, each by the run of the fold that it is in.
    """

    run: Path
    trained: TrainedRun
    folds: tuple[Fold, ...]
    scores: Scores

    @property
    def ok(self) -> bool:
        """True if every clip could be read."""
        return self.trained.ok

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line if clips could not be read; a warning has given the reason of each."""
        return self.trained.complaints

    def to_json(self) -> dict[str, Any]:
        """Return the pooled scores, and those of each fold, as JSON values."""
        folds = [
            {
                "run": str(fold.trained.run), "epoch": fold.trained.best_epoch,
                **fold.score.to_json(),
            }
            for fold in self.folds
        ]  # fmt: skip
        run = {"run": str(self.run), "epoch": self.trained.best_epoch}
        return {**run, "folds": folds, "scores": self.scores.to_json()}

    def __str__(self) -> str:
        run = quote_path(self.run)
        lines = [
            str(self.scores),
            f"{self.run}: trained on all {self.trained.subsets['train'].clips} clips for "
            f"{pluralise(self.trained.best_epoch, 'epoch')}, the mean of the folds. Its score is "
            "estimated by those of the folds, whose runs saw fewer clips",
            describe_calibration(self.trained.calibration),
            "next:",
        ]
        lines += self.trained.predict_command()
        return "\n".join([*lines, f"  glimpses evaluate {run} --data OTHER-CLIPS"])

    def __rich__(self) -> Lines:
        table = Table("fold")
        name = runs.MEASURES[self.folds[0].score.metric]
        for column in ("training", "validation", "test clips", "recordings", "epoch"):
            table.add_column(column, justify="right")
        table.add_column(f"{name} (95% interval)", justify="right")
        for number, fold in enumerate(self.folds):
            sizes, record = fold.trained.subsets, fold.score
            recordings = str(record.recordings) if record.grouped else "?"
            table.add_row(
                str(number), str(sizes["train"].clips), str(sizes["validation"].clips),
                str(record.n), recordings, str(fold.trained.best_epoch),
                str(record.measures[record.metric]),
            )  # fmt: skip
        return Lines(table, self.scores.class_table(), str(self))


def crossvalidate(
    clips: str | Path,
    /,
    *,
    out: Annotated[str | Path, COMMON],
    recipe: Annotated[RecipeName, COMMON] = "auto",
    budget: Annotated[str | None, COMMON] = None,
    data: DataGroup = None,
    model: ModelGroup = None,
    optim: OptimGroup = None,
    threshold: str = "auto",
    seed: Annotated[int, COMMON] = 0,
    device: Annotated[str, COMMON] = "cpu",
    overwrite: bool = False,
) -> CrossValidation:
    """Score a training on every clip by cross-validation, and train a run on all clips.

    The recordings are assigned to `--folds` folds. For each fold a run is trained on the other
    folds and tested on this one. The run in `out` is then trained on all clips, for as many epochs
    as the runs of the folds kept on average, and the cross-validated score is its estimate. With
    `--recipe auto`, every one of these trainings chooses its model, which never sees the clips that
    it is tested on.
    Finished folds and epochs are kept if you interrupt the command.

    Args:
        clips: folder of labelled clips, as for `glimpses train`.
        out: folder of the run; those of the folds are in `folds` inside it.
        recipe: recipe of each training, as for `glimpses train`.
        budget: time that `auto` may take for each training, as for `glimpses train`.
        data: options of clips, features and blocks. The data set's own splits are not used.
        model: options of the model.
        optim: options of the optimisation.
        threshold: probability below which predictions are "unsure", as for `glimpses train`.
        seed: seed of the folds, the weights, the order of blocks and dropout.
        device: "cpu" or "cuda".
        overwrite: replace a run with other options in `out`.

    Raises:
        GlimpsesError: an option or the data cannot be used, or `out` holds a run with other
            options.
    """
    options = TrainOptions(data or DataOptions(), model or ModelOptions(), optim or OptimOptions())
    rule, out, seconds = Threshold.parse(threshold), Path(out), parse_budget(budget)
    _require_folds(options.data)
    require_name("recipe", recipe, get_args(RecipeName))
    dataset = load_for_training(clips, out, checked_options(recipe, options), seed, device)
    require_threshold(rule, dataset.classes, multi_label=dataset.multi_label)
    if not overwrite:
        _require_all_clips(out)
    splits = datasets.cross_validation(dataset, options.data.folds, seed)
    warn_few(dataset, dataset.clips, "")
    if len(splits) < options.data.folds:
        log.info(
            "%s: a class has %d recordings, so there are as many folds", dataset.root, len(splits)
        )
    if dataset.splits:
        log.info("%s: its own splits are not used; every clip is tested once", dataset.root)
    common: dict[str, Any] = {
        "data_dir": clips, "seed": seed, "device": device, "overwrite": overwrite, "rule": rule,
    }  # fmt: skip

    def resolve_options(split: Split, run: Path) -> Resolved:
        return resolve(
            recipe, dataset, split, options, out=run, budget=seconds, seed=seed,
            overwrite=overwrite, **selection_arguments(dataset, clips, split, seed, device),
        )  # fmt: skip

    folds, evaluations, logits, recipes = [], [], [], []
    for number, split in enumerate(splits):
        run = out / FOLDS_DIR / f"fold-{number}"
        in_fold, name = resolve_options(split, run)
        of_fold = replace(in_fold.data, split="folds", folds=len(splits), fold=number)
        trained = train_split(
            dataset, split, out=run, options=in_fold._replace(data=of_fold), recipe=name, **common
        )
        recipes.append(name)
        evaluation = evaluate_clips(trained.run, device=device)
        folds.append(Fold(trained, record_scores(trained.run, evaluation, None)))
        evaluations.append(evaluation)
        logits.append(_logits(trained.run, evaluation, device))
    if overwrite:
        _remove_other_folds(out, len(splits))
    every_clip = Split(dataset.clips, (), (), ALL_CLIPS)
    resolved, name = resolve_options(every_clip, out)
    # The schedule is that of the folds with this model, and ends when their runs were best.
    alike = [
        fold.trained.best_epoch for fold, one in zip(folds, recipes, strict=True) if one == name
    ]
    epoch = round(np.mean(alike)) if alike else resolved.optim.epochs
    in_all = replace(resolved.data, split=ALL_CLIPS, folds=len(splits), fold=0)
    final = replace(resolved.optim, checkpoint=epoch, patience=None)
    trained = train_split(
        dataset, every_clip, out=out, options=TrainOptions(in_all, resolved.model, final),
        recipe=name, **common,
    )  # fmt: skip
    scores = _pool(evaluations, grouped=dataset.grouped)
    config = runs.read_config(out)
    tested = [clip for evaluation in evaluations for clip in evaluation.clips]
    votes = np.array([clip.probabilities for clip in scores.clips])
    calibration = calibrate_logits(
        config, ClipLogits.join(logits), tested, rule, data="clips, cross-validated",
        votes=votes if config.data.aggregate == "majority" else None,
    )  # fmt: skip
    runs.write_config(out, replace(config, calibration=calibration))
    record_score(out, scores.to_record(Path(clips).resolve().name))
    trained = replace(trained, calibration=calibration)
    return CrossValidation(out, trained, tuple(folds), scores)


def _logits(run: Path, evaluation: Evaluation, device: str) -> ClipLogits:
    """Return the logits of the clips of an evaluation."""
    opened = open_run(run, device=device)
    assert opened.clips == evaluation.clips
    config = opened.config
    return clip_logits(opened.model, opened.cubes, config.data, multi_label=config.multi_label)


def _pool(evaluations: Sequence[Evaluation], *, grouped: bool) -> Scores:
    """Return the scores of the clips of all folds."""
    config = evaluations[0].config
    results = [result for evaluation in evaluations for result in evaluation.results]
    skipped: dict[str, str] = {}
    for evaluation in evaluations:
        skipped |= evaluation.scores.skipped
    return score(
        [clip for evaluation in evaluations for clip in evaluation.clips],
        np.stack([result.probabilities for result in results]), config.classes,
        multi_label=config.multi_label, skipped=skipped, subset=runs.CROSS_VALIDATED,
        grouped=grouped, folds=len(evaluations),
    )  # fmt: skip


def _require_folds(data: DataOptions) -> None:
    if data.fold:
        problem = "every fold is tested; leave it out, or use glimpses train"
        raise InvalidOptionError(f"--fold {data.fold}: {problem}")
    if data.split not in (None, "folds"):
        problem = "clips are divided into folds by recording; leave it out, or use glimpses train"
        raise InvalidOptionError(f"--split {data.split}: {problem}")


def _require_all_clips(out: Path) -> None:
    """Refuse the folder of another training before the folds are trained."""
    if (out / runs.CONFIG).exists() and runs.read_config(out).data.split != ALL_CLIPS:
        raise GlimpsesError(
            f"{out}: is a run of glimpses train; give another --out, or --overwrite to replace it"
        )


def _remove_other_folds(out: Path, count: int) -> None:
    """Remove the folds of an earlier cross-validation with more folds."""
    for folder in (out / FOLDS_DIR).iterdir():
        if folder.name not in {f"fold-{number}" for number in range(count)}:
            shutil.rmtree(folder)
