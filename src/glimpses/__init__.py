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
    from glimpses.evaluation import evaluate
    from glimpses.features import extract
    from glimpses.inference.hub import HubRecogniser
    from glimpses.inference.recogniser import Prediction, Recogniser
    from glimpses.training import train
    from glimpses.utils.errors import GlimpsesError

__all__ = [
    "GlimpsesError", "HubRecogniser", "Prediction", "Recogniser", "evaluate", "extract", "train",
]  # fmt: skip

_HOME = {
    "GlimpsesError": "utils.errors",
    "HubRecogniser": "inference.hub",
    "Prediction": "inference",
    "Recogniser": "inference",
    "evaluate": "evaluation",
    "extract": "features",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import glimpses` loads no PyTorch."""
    if name not in _HOME:
        raise AttributeError(f"module 'glimpses' has no attribute '{name}'")
    return getattr(importlib.import_module(f"glimpses.{_HOME[name]}"), name)
