"""Search for wrong labels: clips that a model of the other clips takes for another class.

The rule is confident learning (Northcutt, Jiang and Chuang, 2021), with logistic regression on the
mean and the standard deviation of stored features over time. The folds are over clips, not over
recordings as in a test: clips of one recording are the best witnesses against a wrong label.
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

# Pooled features of the last stage distinguish scenes and actions best.
_BACKBONE = "efficientnet_lite0"
_FOLDS = 5
# Inverse strength of the penalty, for standardised features: most of a thousand channels are noise.
_C = 0.01
# Difference of probabilities from which a label is suspicious. Below, most are right but difficult.
_MARGIN = 0.5


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
    probabilities = out_of_fold(np.stack(vectors), labels)
    return [
        LabelIssue(
            clips[row].id, dataset.classes[labels[row]], dataset.classes[other],
            round(float(probabilities[row, labels[row]]), 3),
            round(float(probabilities[row, other]), 3),
        )
        for row, other in suspects(probabilities, labels)
    ]  # fmt: skip


def out_of_fold(
    vectors: Float[np.ndarray, "N F"], labels: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "N C"]:
    """Return class probabilities of every row by a model that has not seen it."""
    # Importing scikit-learn takes a second.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sizes = np.bincount(labels)
    number = max(2, min(_FOLDS, int(sizes[sizes > 0].min())))
    folds = StratifiedKFold(number, shuffle=True, random_state=0)
    probabilities = np.zeros((len(labels), len(sizes)))
    with warnings.catch_warnings(), progress.bar("checking labels", number, transient=True) as bar:
        # A class with a single clip is missing from a fold.
        warnings.simplefilter("ignore", UserWarning)
        for train, test in folds.split(vectors, labels):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=300))
            model.fit(vectors[train], labels[train])
            probabilities[np.ix_(test, model.classes_)] = model.predict_proba(vectors[test])
            # A model cannot doubt a class that it has not seen.
            unseen = test[~np.isin(labels[test], model.classes_)]
            probabilities[unseen] = np.eye(len(sizes))[labels[unseen]]
            bar.advance()
    return probabilities


def suspects(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]
) -> list[tuple[int, int]]:
    """Return row and likely class of each suspicious label, the most suspicious first.

    A label is suspicious if another class is much more probable, and at least as probable as it is
    on average for the clips labelled with it.
    """
    self_confidence = probabilities[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, self_confidence, len(sizes))
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    margin = confident.max(1) - self_confidence
    rows = np.flatnonzero(margin >= _MARGIN)
    return [(int(row), int(confident[row].argmax())) for row in rows[np.argsort(-margin[rows])]]
