"""Selection of a recipe for a data set: `--recipe auto` compares candidates.

The clips of the test subset are not used. The others are divided into folds by recording; each
candidate is trained on all folds but one and scored on that one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from glimpses.datasets import ActionDataset, Split
from glimpses.evaluation import Bootstrap
from glimpses.features import Features
from glimpses.runs import DataOptions
from glimpses.training.budget import describe_budget
from glimpses.training.data_summary import DataSummary, Footage, measure, summarize
from glimpses.training.options import TrainOptions
from glimpses.training.recipes import CANDIDATES, RECIPES, override
from glimpses.training.search import Choice, Contender, choose, race
from glimpses.training.trial import Configure, Trial
from glimpses.utils import progress
from glimpses.utils.errors import pluralise
from glimpses.utils.options import InvalidOptionError

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)

# With fewer recordings of a class, a comparison of candidates is a game of chance.
_MIN_RECORDINGS = 4
# Clips of a class up to which `small` is the recipe if nothing can be compared.
_SMALL_CLASS = 150
# Frames that the default backbone computes in a second on two cores, for the default budget.
_FRAMES_PER_SECOND = 60.0
# Seconds that a comparison may take even if extraction takes less.
_LEAST_BUDGET = 60.0

#: Returns the features of all clips by the backbone and the frame rate of some options.
OpenFeatures = Callable[[DataOptions], Features]


@dataclass(frozen=True)
class CandidateScore:
    """Cross-validated score of a candidate.

    Attributes:
        name: name of the candidate.
        model: kind of its model.
        backbone: backbone and stage.
        accuracy: mean over the clips that it was tested on; None if it was not tested. For
            multi-label data, it is the mean precision of a clip's labels.
        low: lower end of its 95 % interval over recordings; None for too few recordings.
        high: upper end.
        folds: number of folds.
        clips: number of clips that it was tested on.
        seconds: duration of its trainings.
        stopped: why it was not tested on all folds, if so.
    """

    name: str
    model: str
    backbone: str
    accuracy: float | None
    low: float | None
    high: float | None
    folds: int
    clips: int
    seconds: float
    stopped: str | None = None


@dataclass(frozen=True)
class Selection:
    """Chosen options, and the comparison that they come from.

    Attributes:
        data: what the data are like.
        recipe: name of the chosen recipe or candidate.
        options: its options.
        reason: why it was chosen, in one sentence.
        candidates: scores of all candidates; empty if nothing was compared.
        folds: number of folds.
        budget: time that the comparison could take, in seconds; None for no limit.
        seconds: time that it took.
        footage: length and motion of the clips; None if nothing was compared.
    """

    data: DataSummary
    recipe: str
    options: TrainOptions
    reason: str
    candidates: tuple[CandidateScore, ...] = ()
    folds: int = 0
    budget: float | None = 0.0
    seconds: float = 0.0
    footage: Footage | None = None

    def table(self) -> Table:
        """Return the scores of the tested candidates as a table, the best first."""
        from rich.table import Table

        tested = [one for one in self.candidates if one.folds]
        others = [one.name for one in self.candidates if not one.folds]
        caption = f"not tested for lack of time: {', '.join(others)}" if others else None
        table = Table(caption=caption, caption_justify="left")
        table.add_column("model")
        for column in ("accuracy (95% interval)", "folds", "seconds"):
            table.add_column(column, justify="right")
        table.add_column("")
        ranked = sorted(tested, key=lambda one: -(one.accuracy or -1))
        for one in ranked:
            note = "chosen" if one.name == self.recipe else one.stopped or ""
            table.add_row(
                one.name, _format(one), f"{one.folds} of {self.folds}", f"{one.seconds:.0f}", note
            )
        return table


def select(
    dataset: ActionDataset,
    split: Split,
    user_options: TrainOptions,
    *,
    budget: float | None,
    seed: int,
    device: str,
    open_features: OpenFeatures,
    configure: Configure,
) -> Selection:
    """Choose the options for a data set by cross-validation of the clips that are not tested.

    Args:
        dataset: the data set.
        split: its split; the clips of the test subset are not used.
        user_options: options that the user gave; every candidate has them.
        budget: time for the comparison in seconds; None for about the time of extraction.
        seed: seed of the folds and of the trainings.
        device: where models are trained.
        open_features: opens the features of a backbone.
        configure: makes the config of a run.

    Raises:
        GlimpsesError: the given options go with no candidate, or no clip can be read.
    """
    clips = tuple(dict.fromkeys((*split.train, *split.validation)))
    candidates = _candidates(dataset, user_options)
    data = summarize(dataset, clips)
    log.info("%s", data)
    fallback = _fallback(data, user_options)
    if dataset.untrimmed:
        options = override(RECIPES["segments"].options, user_options)
        reason = "for segments of long recordings; candidates are compared on clips only"
        return replace(fallback, recipe="segments", options=options, reason=reason)
    if data.recordings_per_class < _MIN_RECORDINGS:
        few = pluralise(data.recordings_per_class, "recording")
        reason = f"a class has only {few} outside the test clips, too few to compare models"
        return replace(fallback, reason=reason)
    if len(candidates) < 2:
        return _without_comparison(candidates, fallback)
    started = time.monotonic()
    data_options = {options.data.backbone: options.data for options in candidates.values()}
    # Once two joined stages are stored, each of them needs no network.
    opened = {
        name: open_features(data_options[name])
        for name in sorted(data_options, key=lambda name: ("+" not in name, name))
    }
    extraction = time.monotonic() - started
    clips = tuple(
        clip for clip in clips if all(clip.id in features.clips for features in opened.values())
    )
    first = next(iter(opened.values()))
    frames = sum(len(first.clips[clip.id]) for clip in clips)
    if budget is None:
        budget = max(extraction, frames / _FRAMES_PER_SECOND, _LEAST_BUDGET)
    footage = measure(first, clips)
    log.info("%s", footage)
    trial = Trial(dataset, clips, opened, configure, seed, device)
    candidates = {
        name: options for name, options in candidates.items() if trial.is_possible(options)
    }
    if len(candidates) < 2:
        return _without_comparison(candidates, fallback)
    log.info(
        "comparing %d models by cross-validation on the %s that are not tested, for %s "
        "(--budget changes this, --recipe small skips it)",
        len(candidates), pluralise(len(clips), "clip"), describe_budget(budget),
    )  # fmt: skip
    return replace(_compare(trial, candidates, data, fallback, budget), footage=footage)


def _without_comparison(candidates: Mapping[str, TrainOptions], fallback: Selection) -> Selection:
    """Return the only candidate, or what stands for one."""
    for name, options in candidates.items():
        reason = "it is the only candidate with the given options"
        return replace(fallback, recipe=name, options=options, reason=reason)
    return replace(fallback, reason="no candidate has the given options")


def _compare(
    trial: Trial,
    candidates: Mapping[str, TrainOptions],
    data: DataSummary,
    fallback: Selection,
    budget: float,
) -> Selection:
    """Run the comparison and make the choice."""
    started = time.monotonic()
    contenders = [
        Contender(name, trial.has_attention(options), np.full(len(trial.clips), np.nan))
        for name, options in candidates.items()
    ]
    trainings = len(contenders) * len(trial.folds)
    with progress.bar("comparing models, trainings", trainings) as bar:

        def evaluate(index: int, fold: int, seconds: float) -> Float64[np.ndarray, " M"] | None:
            bar.note(f"fold {fold + 1}: {contenders[index].name}")
            scores = trial.score(candidates[contenders[index].name], fold, seconds)
            if scores is not None:
                bar.advance()
            return scores

        race(contenders, trial.folds, trial.groups, evaluate, budget)
        bar.note("")
        # Those that were stopped early.
        bar.advance(trainings - sum(one.folds for one in contenders))
    scores = tuple(
        _candidate_score(contender, candidates[contender.name], trial.groups)
        for contender in contenders
    )
    made = Selection(
        data, "", fallback.options, "", scores, len(trial.folds),
        None if math.isinf(budget) else budget, time.monotonic() - started,
    )  # fmt: skip
    choice = choose(contenders, trial.groups)
    if choice is None:
        kind = " with attention" if any(one.has_attention for one in contenders) else ""
        reason = f"the time is too short to test a model{kind}"
        if trial.seconds_per_training:
            minutes = math.ceil(trial.seconds_per_training * trainings / 60)
            reason += (
                f": a training takes about {trial.seconds_per_training:.0f} s here; "
                f"`--budget {minutes}m` is enough for all"
            )
        tested = scores if any(one.folds for one in scores) else ()
        return replace(made, recipe=fallback.recipe, reason=reason, candidates=tested)
    name = contenders[choice.chosen].name
    reason = _explain(choice, contenders, scores)
    return replace(made, recipe=name, options=candidates[name], reason=reason)


def _candidates(dataset: ActionDataset, user_options: TrainOptions) -> dict[str, TrainOptions]:
    """Return the candidates that go with the given options, with these options.

    Raises:
        InvalidOptionError: an option goes with none of them, and with no other model.
    """
    pool = dict(CANDIDATES)
    if "model" in user_options.model.given_names:
        pool = {
            name: one for name, one in pool.items() if one.model.model == user_options.model.model
        }
    remaining: dict[str, TrainOptions] = {}
    problem = None
    for name, candidate in pool.items():
        try:
            options = override(candidate, user_options)
        except InvalidOptionError as error:
            problem = error
            continue
        if not dataset.has_videos:
            # Imported features have a backbone of their own.
            options = options._replace(
                data=replace(options.data, backbone=user_options.data.backbone)
            )
        if options not in remaining.values():
            remaining[name] = options
    if not remaining and problem is not None:
        raise problem
    return remaining


def _fallback(data: DataSummary, user_options: TrainOptions) -> Selection:
    """Return the recipe for the number of clips, without a comparison."""
    name = "small" if data.clips_per_class <= _SMALL_CLASS else "standard"
    return Selection(data, name, override(RECIPES[name].options, user_options), "")


def _candidate_score(
    contender: Contender, options: TrainOptions, groups: Sequence[str]
) -> CandidateScore:
    tested = np.isfinite(contender.scores)
    accuracy = low = high = None
    if tested.any():
        chosen = [group for group, scored in zip(groups, tested, strict=True) if scored]
        estimate = Bootstrap(chosen).estimate(contender.scores[tested])
        accuracy = estimate.value
        if math.isfinite(estimate.low):
            low, high = estimate.low, estimate.high
    return CandidateScore(
        contender.name, options.model.model, options.data.backbone, accuracy, low, high,
        contender.folds, int(tested.sum()), sum(contender.seconds), contender.stopped,
    )  # fmt: skip


def _explain(
    choice: Choice, contenders: Sequence[Contender], scores: Sequence[CandidateScore]
) -> str:
    """Return the reason of a choice, in one sentence."""
    best, chosen = scores[choice.best], scores[choice.chosen]
    if choice.chosen == choice.best and (
        contenders[choice.best].has_attention or not any(one.has_attention for one in contenders)
    ):
        return f"{chosen.name} is the best of all"
    if math.isinf(choice.standard_error):
        return (
            f"{chosen.name} is the first choice, and the clips tested so far are from too few "
            f"recordings to prefer the best, {best.name}; a longer --budget tests more"
        )
    error = f"{100 * choice.standard_error:.1f} points"
    if choice.chosen != choice.best:
        return (
            f"{chosen.name} shows where it looks, and is within one standard error ({error}) of "
            f"the best, {best.name}"
        )
    behind = f"{100 * choice.behind:.1f} points" if choice.behind else "too far"
    return (
        f"{best.name} is the best, and models with attention are {behind} behind it, more than "
        "one standard error; add --model attention for a model that shows where it looks"
    )


def _format(score: CandidateScore) -> str:
    """Return a score with its interval."""
    if score.accuracy is None:
        return "–"
    text = f"{score.accuracy:.1%}"
    if score.low is None or score.high is None:
        return text
    return f"{text} ({score.low:.1%} to {score.high:.1%})"
