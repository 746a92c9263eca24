"""Settings and statistics shared by the studies with paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

# With the settings for generated clips, models overfit a few hundred real clips of two seconds.
REAL_SETTINGS: dict[str, Any] = {
    "block_length": 20, "hidden_size": 32, "attention_size": 32, "num_layers": 1, "dropout": 0.5,
    "epochs": 8, "checkpoint": "last",
}  # fmt: skip


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % confidence interval of a mean (Student's t)."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(student.ppf(0.975, len(values) - 1) * error)
