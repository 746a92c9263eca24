"""Glimpses: action recognition that shows where it looks.

```python
import glimpses

glimpses.train("clips", out="run")
glimpses.Recogniser.load("run").predict("clip.mp4").label  # "jump"
```
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["GlimpsesError", "Prediction", "Recogniser", "Scores", "evaluate", "extract", "train"]

# The types of these names are in __init__.pyi.
_PACKAGES = {
    "GlimpsesError": "utils.errors",
    "Prediction": "inference",
    "Recogniser": "inference",
    "Scores": "evaluation",
    "evaluate": "evaluation",
    "extract": "features",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import glimpses` does not load PyTorch."""
    if name not in _PACKAGES:
        raise AttributeError(f"module 'glimpses' has no attribute '{name}'")
    return getattr(importlib.import_module(f"glimpses.{_PACKAGES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted([*globals(), *__all__])
