"""Search for wrong labels: clips that models of the other recordings take for another class.

The rule is confident learning (Northcutt, Jiang and Chuang, 2021), with logistic regression on the
mean and the standard deviation of stored features over time.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from glimpses.datasets import ActionDataset, Clip
from glimpses.utils import progress

log = logging.getLogger(__name__)

# The last stage tells scenes and actions apart best when it is pooled.
_BACKBONE = "efficientnet_lite0"
_FOLDS = 5
# Inverse strength of the penalty, for standardised features: most of a thousand channels are noise.
_C = 0.01


@dataclass(frozen=True)
class LabelIssue:
    """Clip whose label may be wrong.

    Attributes:
        clip: its id.
        label: its class.
        suggested: the class it looks like.
        probability: out-of-fold probability of its class.
        suggested_probability: that of the suggested one.
    """

    clip: str
    label: str
    suggested: str
    probability: float
    suggested_probability: float

    def __str__(self) -> str:
        return (
            f"{self.clip}: labelled {self.label} ({self.probability:.0%}), looks like "
            f"{self.suggested} ({self.suggested_probability:.0%})"
        )


def find_label_issues(
    dataset: ActionDataset, clips: Sequence[Clip], feature_dir: str | Path | None = None
) -> list[LabelIssue]:
    """Return the clips whose label may be wrong, the most suspicious first.

    Args:
        dataset: data set of the clips.
        clips: the clips that can be read.
        feature_dir: folder of the stored features.
    """
    from glimpses.features import open_features

    if dataset.multi_label:
        log.warning("%s: has several labels for a clip; labels are not checked", dataset.root)
        return []
    features = open_features(dataset, _BACKBONE, clips=clips, fps=10.0, feature_dir=feature_dir)
    clips = [clip for clip in clips if clip.id in features.clips]
    labels = np.array([clip.labels[0] for clip in clips])
    vectors = []
    with progress.bar("reading features", len(clips), transient=True) as bar:
        for clip in clips:
            stored = features.clips[clip.id]
            cubes = stored.block(0, len(stored)).numpy().mean(1, dtype=np.float32)
            vectors.append(np.concatenate([cubes.mean(0), cubes.std(0)]))
            bar.advance()
    probabilities = out_of_fold(np.stack(vectors), labels, [clip.group for clip in clips])
    return [
        LabelIssue(
            clips[row].id, dataset.classes[labels[row]], dataset.classes[other],
            round(float(probabilities[row, labels[row]]), 3),
            round(float(probabilities[row, other]), 3),
        )
        for row, other in suspects(probabilities, labels)
    ]  # fmt: skip


def out_of_fold(
    vectors: Float[np.ndarray, "N F"], labels: Int[np.ndarray, " N"], groups: Sequence[str]
) -> Float[np.ndarray, "N C"]:
    """Return class probabilities of every row by a model that saw no row of its group."""
    # Importing scikit-learn takes a second.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = np.array(groups)
    fewest = min(len(np.unique(names[labels == label])) for label in np.unique(labels))
    number = max(2, min(_FOLDS, fewest))
    folds = StratifiedGroupKFold(number, shuffle=True, random_state=0)
    probabilities = np.zeros((len(labels), labels.max() + 1))
    with warnings.catch_warnings(), progress.bar("checking labels", number, transient=True) as bar:
        # Classes with few clips are missing from some folds.
        warnings.simplefilter("ignore", UserWarning)
        for train, test in folds.split(vectors, labels, groups):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=300))
            model.fit(vectors[train], labels[train])
            probabilities[np.ix_(test, model.classes_)] = model.predict_proba(vectors[test])
            # A model cannot doubt a class that it has not seen.
            unseen = test[~np.isin(labels[test], model.classes_)]
            probabilities[unseen] = np.eye(probabilities.shape[1])[labels[unseen]]
            bar.advance()
    return probabilities


def suspects(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]
) -> list[tuple[int, int]]:
    """Return row and likely class of each suspicious label, the most suspicious first.

    A clip counts for the class with the highest probability among those that reach their
    threshold, the mean probability of the clips labelled with it. These counts estimate how many
    clips of class i are labelled j; as many are suspicious, those with the largest margin.
    """
    given = probabilities[np.arange(len(labels)), labels]
    classes = range(probabilities.shape[1])
    sizes = np.bincount(labels, minlength=len(classes))
    sums = np.bincount(labels, given, len(classes))
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    margins = probabilities - given[:, None]
    suspicious: dict[int, int] = {}
    for label in classes:
        rows = np.flatnonzero((labels == label) & (confident.max(1) > 0))
        counts = np.bincount(confident[rows].argmax(1), minlength=len(classes))
        for other in classes:
            if other == label or not counts[other]:
                continue
            # Clips that reach no threshold are assumed to be distributed as the others.
            number = round(counts[other] / len(rows) * sizes[label])
            candidates = np.flatnonzero((labels == label) & (margins[:, other] > 0))
            for row in candidates[np.argsort(-margins[candidates, other])][:number]:
                if margins[row, other] > margins[row, suspicious.get(row, label)]:
                    suspicious[int(row)] = other
    return sorted(suspicious.items(), key=lambda item: -margins[item])
