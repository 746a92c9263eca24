"""Decision of a prediction: an action, no action, or unsure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from glimpses.datasets import is_background

#: Decision of a prediction whose probability is below the threshold of its run.
UNSURE = "unsure"
#: Decision of a prediction of a background class.
NO_ACTION = "no action"


def is_sure(probabilities: Float[np.ndarray, " C"], threshold: float | None) -> bool:
    """Return whether the highest probability reaches the threshold, if there is one."""
    # Rounding must not make a prediction unsure.
    return threshold is None or float(probabilities.max()) >= threshold - 1e-9


def decide(
    classes: Sequence[str], probabilities: Float[np.ndarray, " C"], threshold: float | None
) -> str:
    """Return the most probable class, `NO_ACTION` if that is background, or `UNSURE`."""
    if not is_sure(probabilities, threshold):
        return UNSURE
    label = classes[int(probabilities.argmax())]
    return NO_ACTION if is_background(label) else label
