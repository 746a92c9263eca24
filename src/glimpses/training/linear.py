"""Solution of the linear model: logistic regression by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int

from glimpses.features import BatchLoader, Blocks, ClipFeatures, grid_starts
from glimpses.models import ConvexModel

# Values of C to choose from, as multiples of 1 / (number of statistics): the squared length of a
# row of standardized statistics is their number.
_RELATIVE_C = (0.3, 1.0, 3.0, 10.0)
_INNER_FOLDS = 3
# Logit of a class that all training clips have, and minus that of one that none has.
_CERTAIN = 30.0
# Blocks in a forward pass.
_BATCH = 16


@dataclass(frozen=True)
class Rows:
    """Statistics of the training blocks.

    Attributes:
        values: statistics of each block, not standardized.
        clip: index of each block's clip.
        clip_weights: weight of each clip; None if all have a weight of 1.
    """

    values: Float64[np.ndarray, "N S"]
    clip: Int[np.ndarray, " N"]
    clip_weights: Float64[np.ndarray, " M"] | None = None

    @property
    def weights(self) -> Float64[np.ndarray, " N"]:
        """Weight of each block; those of a clip add up to its weight."""
        weights: Float64[np.ndarray, " N"] = 1 / np.bincount(self.clip)[self.clip]
        return weights if self.clip_weights is None else weights * self.clip_weights[self.clip]

    def subset(self, clips: Sequence[int]) -> Rows:
        """Return the blocks of some clips, which are numbered in the order of `clips`."""
        position = {clip: index for index, clip in enumerate(clips)}
        chosen = np.flatnonzero(np.isin(self.clip, clips))
        renumbered = np.array([position[clip] for clip in self.clip[chosen]], dtype=int)
        weights = None if self.clip_weights is None else self.clip_weights[list(clips)]
        return Rows(self.values[chosen], renumbered, weights)


@dataclass(frozen=True)
class Weights:
    """Weights for standardized statistics."""

    mean: Float64[np.ndarray, " S"]
    std: Float64[np.ndarray, " S"]
    weight: Float64[np.ndarray, "C S"]
    bias: Float64[np.ndarray, " C"]

    def logits(self, values: Float64[np.ndarray, "N S"]) -> Float64[np.ndarray, "N C"]:
        """Return the logits of some rows."""
        return np.asarray((values - self.mean) / self.std @ self.weight.T + self.bias)


def solve(
    model: ConvexModel,
    clips: Sequence[ClipFeatures],
    targets: Float[np.ndarray, "N C"],
    groups: Sequence[str],
    *,
    block_length: int,
    stride: int,
    seed: int,
    inverse_penalty: float | None,
    device: torch.device,
    class_weights: Float64[np.ndarray, " C"] | None = None,
    multi_label: bool = False,
) -> float:
    """Set the weights of a linear model, and return its mean training loss.

    Args:
        model: the model, with its normalization fitted.
        clips: features of the training clips.
        targets: 1 for the classes of each clip and 0 for others.
        groups: recording of each clip; clips of one are in the same inner fold.
        block_length: T.
        stride: frames between the blocks of a clip.
        seed: seed of the inner folds.
        inverse_penalty: C; None to choose it by cross-validation.
        device: where the model is.
        class_weights: weight of the clips of each class, for classes that exclude each other.
        multi_label: whether classes are independent.
    """
    rows = read_rows(model, clips, block_length=block_length, stride=stride, device=device)
    if class_weights is not None and not multi_label:
        rows = replace(rows, clip_weights=class_weights[targets.argmax(1)])
    c = inverse_penalty
    if c is None:
        c = choose_c(rows, targets, groups, seed, multi_label=multi_label)
    weights = fit_weights(rows, targets, c, multi_label=multi_label)
    columns = (weights.mean, weights.std, weights.weight, weights.bias)
    model.set_weights(*(torch.from_numpy(column).float() for column in columns))
    logits = weights.logits(rows.values)
    return log_loss(logits, targets[rows.clip], rows.weights, multi_label=multi_label)


def read_rows(
    model: ConvexModel,
    clips: Sequence[ClipFeatures],
    *,
    block_length: int,
    stride: int,
    device: torch.device,
) -> Rows:
    """Return the statistics of all blocks of some clips."""
    starts = [grid_starts(len(clip), block_length, stride) for clip in clips]
    values, owners = [], []
    for batch in BatchLoader(Blocks(clips, starts, block_length), _BATCH, device=device):
        with torch.inference_mode():
            statistics = model.statistics(batch.cubes.to(device))
        last = batch.mask.sum(1).to(device) - 1
        values.append(statistics[torch.arange(len(last)), last].double().cpu().numpy())
        owners.append(batch.clip.cpu().numpy())
    return Rows(np.concatenate(values), np.concatenate(owners))


def choose_c(
    rows: Rows,
    targets: Float[np.ndarray, "N C"],
    groups: Sequence[str],
    seed: int,
    *,
    multi_label: bool = False,
) -> float:
    """Return the C with the least loss in folds by recording."""
    from sklearn.model_selection import StratifiedGroupKFold

    width = int(rows.values.shape[1])
    strata = targets.argmax(1)
    folds = min(_INNER_FOLDS, len(set(groups)))
    if folds < 2:
        return 1.0 / width
    losses = np.zeros(len(_RELATIVE_C))
    with warnings.catch_warnings():
        # A class with fewer recordings than folds.
        warnings.simplefilter("ignore", UserWarning)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = list(splitter.split(strata, strata, groups))
    for outside, inside in parts:
        train, held_out = rows.subset(outside.tolist()), rows.subset(inside.tolist())
        for index, factor in enumerate(_RELATIVE_C):
            weights = fit_weights(
                train, targets[outside], factor / width, tolerance=1e-3, multi_label=multi_label
            )
            loss = log_loss(
                weights.logits(held_out.values), targets[inside][held_out.clip],
                held_out.weights, multi_label=multi_label,
            )  # fmt: skip
            losses[index] += loss * len(inside)
    return _RELATIVE_C[int(losses.argmin())] / width


def predict_held_out(
    rows: Rows,
    targets: Float[np.ndarray, "N C"],
    groups: Sequence[str],
    outside: Int[np.ndarray, " K"],
    inside: Int[np.ndarray, " M"],
    *,
    inverse_penalty: float | None,
    seed: int,
    multi_label: bool,
) -> Float64[np.ndarray, "M C"]:
    """Solve on the clips outside a fold, and return the probabilities of those inside."""
    train, held_out = rows.subset(outside.tolist()), rows.subset(inside.tolist())
    c = inverse_penalty
    if c is None:
        groups = [groups[index] for index in outside.tolist()]
        c = choose_c(train, targets[outside], groups, seed, multi_label=multi_label)
    weights = fit_weights(train, targets[outside], c, multi_label=multi_label)
    logits = weights.logits(held_out.values)
    if multi_label:
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    result = np.zeros((len(inside), targets.shape[1]))
    np.add.at(result, held_out.clip, probabilities * held_out.weights[:, None])
    return result


def fit_weights(
    rows: Rows,
    targets: Float[np.ndarray, "N C"],
    c: float,
    *,
    tolerance: float = 1e-5,
    multi_label: bool = False,
) -> Weights:
    """Return the weights of logistic regression with a squared penalty.

    The penalty does not change under rotation, so the weights are in the span of the rows. With
    fewer rows than statistics, they are found there, in as many dimensions as there are rows.
    """
    mean, std = rows.values.mean(0), rows.values.std(0)
    std = np.maximum(std, 1e-2 * std.mean() + 1e-12)
    standardized = (rows.values - mean) / std
    reduced, back = standardized, None
    if standardized.shape[0] < standardized.shape[1]:
        squares, vectors = np.linalg.eigh(standardized @ standardized.T)
        positive = squares > squares.max() * 1e-10
        scale, vectors = np.sqrt(squares[positive]), vectors[:, positive]
        reduced, back = vectors * scale, (vectors / scale).T @ standardized
    fit = _regress_each if multi_label else _regress
    weight, bias = fit(reduced, targets[rows.clip], rows.weights, c, tolerance)
    return Weights(mean, std, weight if back is None else weight @ back, bias)


def _regress(
    values: Float64[np.ndarray, "N S"],
    targets: Float[np.ndarray, "N C"],
    weights: Float64[np.ndarray, " N"],
    c: float,
    tolerance: float,
) -> tuple[Float64[np.ndarray, "C S"], Float64[np.ndarray, " C"]]:
    """Return the weights and biases of classes that exclude each other."""
    labels = targets.argmax(1)
    present = np.unique(labels)
    # A class without a row is never predicted.
    weight = np.zeros((targets.shape[1], values.shape[1]))
    bias = np.full(targets.shape[1], -_CERTAIN)
    if len(present) == 1:
        bias[present] = 0
        return weight, bias
    coefficients, intercepts = _fit(values, labels, weights, c, tolerance)
    # Of two classes there is one row: the second against the first, whose logit is 0.
    columns = present[1:] if len(present) == 2 else present
    bias[present] = 0
    weight[columns], bias[columns] = coefficients, intercepts
    return weight, bias


def _regress_each(
    values: Float64[np.ndarray, "N S"],
    targets: Float[np.ndarray, "N C"],
    weights: Float64[np.ndarray, " N"],
    c: float,
    tolerance: float,
) -> tuple[Float64[np.ndarray, "C S"], Float64[np.ndarray, " C"]]:
    """Return the weights and biases of independent classes."""
    weight = np.zeros((targets.shape[1], values.shape[1]))
    bias = np.where(targets[0] > 0, _CERTAIN, -_CERTAIN)
    for column in np.flatnonzero(targets.min(0) < targets.max(0)):
        labels = targets[:, column].astype(int)
        weight[[column]], bias[[column]] = _fit(values, labels, weights, c, tolerance)
    return weight, bias


def _fit(
    values: Float64[np.ndarray, "N S"],
    labels: Int[np.ndarray, " N"],
    weights: Float64[np.ndarray, " N"],
    c: float,
    tolerance: float,
) -> tuple[Float64[np.ndarray, "R S"], Float64[np.ndarray, " R"]]:
    # Importing scikit-learn takes a second.
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=c, tol=tolerance, max_iter=2000)
    regression.fit(values, labels, sample_weight=weights)
    return regression.coef_, regression.intercept_


def log_loss(
    logits: Float64[np.ndarray, "N C"],
    targets: Float[np.ndarray, "N C"],
    weights: Float64[np.ndarray, " N"],
    *,
    multi_label: bool = False,
) -> float:
    """Return the weighted mean (binary) cross-entropy."""
    if multi_label:
        losses = np.logaddexp(0, np.where(targets > 0, -logits, logits)).sum(1)
    else:
        losses = np.logaddexp.reduce(logits, axis=1) - (logits * targets).sum(1)
    return float(np.average(losses, weights=weights))
