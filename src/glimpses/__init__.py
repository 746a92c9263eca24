"""Glimpses: action recognition that shows where it looks.

```python
import glimpses

glimpses.train("clips", out="run")
glimpses.Recogniser.load("run").predict("clip.mp4").label  # "jump"
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glimpses.evaluation import Scores, evaluate
    from glimpses.features import extract
    from glimpses.inference import Prediction, Recogniser
    from glimpses.models import ModelOptions
    from glimpses.runs import DataOptions, OptimOptions
    from glimpses.segments import Segment, SegmentOptions
    from glimpses.training import crossvalidate, train, tune
    from glimpses.utils.errors import GlimpsesError

_PACKAGES = {
    "DataOptions": "runs",
    "GlimpsesError": "utils.errors",
    "ModelOptions": "models",
    "OptimOptions": "runs",
    "Prediction": "inference",
    "Recogniser": "inference",
    "Scores": "evaluation",
    "Segment": "segments",
    "SegmentOptions": "segments",
    "crossvalidate": "training",
    "evaluate": "evaluation",
    "extract": "features",
    "train": "training",
    "tune": "training",
}

__all__ = [
    "DataOptions", "GlimpsesError", "ModelOptions", "OptimOptions", "Prediction", "Recogniser",
    "Scores", "Segment", "SegmentOptions", "crossvalidate", "evaluate", "extract", "train", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import glimpses` does not load PyTorch."""
    if name not in _PACKAGES:
        raise AttributeError(f"module 'glimpses' has no attribute '{name}'")
    return getattr(importlib.import_module(f"glimpses.{_PACKAGES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*globals(), *__all__])
