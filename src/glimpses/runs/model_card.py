"""The model card: what a run is, for whoever is handed it; README.md in its folder.

It names the data's folder and counts its clips, and says nothing of where they lie. What is between
the two marks is written anew by `glimpses evaluate`; the rest is its owner's to change.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glimpses import backbones, runs
from glimpses.runs.storage import MONITOR, RunConfig
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write
from glimpses.utils.templates import render

log = logging.getLogger(__name__)

_BEGIN, _END = "<!-- scores, written by glimpses evaluate -->", "<!-- end of scores -->"
_TAGS = ("action-recognition", "visual-attention", "video")


def write(run: Path) -> None:
    """Write a run's card anew.

    Raises:
        GlimpsesError: the run is none, or the card cannot be written.
    """
    with atomic_write(run / runs.CARD) as part:
        part.write_text(_run_card(run), encoding="utf-8")


def read(run: Path) -> str:
    """A run's card as it stands, or as it would be written where there is none.

    Raises:
        GlimpsesError: the run is none, or the card cannot be read.
    """
    try:
        return (run / runs.CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return _run_card(run)
    except (OSError, ValueError) as error:
        raise GlimpsesError(f"{run / runs.CARD}: cannot be read ({error}); remove it") from error


def record(run: Path, data: Path | None, found: Mapping[str, Any]) -> None:
    """Keep what a test of a run found, and say it in its card; a warning if that cannot be.

    Args:
        run: the run's folder.
        data: folder of the clips; None for the run's own data.
        found: `accuracy` or `mAP`, `side`, `n` and `chance`; what else there is is not kept.
    """
    names = ("accuracy", "mAP", "side", "n", "chance")
    kept = {name: found[name] for name in names if name in found}
    try:
        config = runs.read_config(run)
        own = data is None or data.resolve() == Path(config.data)
        place = Path(config.data).name if own or data is None else data.resolve().name
        scores = {**_scores(run), f"{place}, {kept['side']}": kept}
        with atomic_write(run / runs.SCORES) as part:
            part.write_text(json.dumps(scores, indent=1) + "\n")
        card = read(run)
        head, begin, rest = card.partition(_BEGIN)
        _, end, tail = rest.partition(_END)
        if begin and end:
            with atomic_write(run / runs.CARD) as part:
                part.write_text(f"{head}{_section(run, config)}{tail}", encoding="utf-8")
    except GlimpsesError as error:
        log.warning("%s; the scores are not kept", error)


def export_card(run: Path, about: Mapping[str, Any]) -> str:
    """The card of an exported run.

    Args:
        run: the run's folder.
        about: what `model.json` says.
    """
    return _rendered("exported.md", run, about=about)


def fresh_card(config: RunConfig, name: str) -> str:
    """The card of a model that is in no folder.

    Args:
        config: its settings.
        name: what to call it.
    """
    return render("card.md", **_known(config, name), scores=f"{_BEGIN}\n{_END}")


def _run_card(run: Path) -> str:
    return _rendered("card.md", run)


def _rendered(template: str, run: Path, **more: Any) -> str:
    config = runs.read_config(run)
    known = _known(config, run.resolve().name)
    return render(template, **known, scores=_section(run, config), **more)


def _known(config: RunConfig, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "config": config,
        "data": Path(config.data).name,
        "settings": {key: value for key, value in config.training.items() if value is not None},
        "grid": math.isqrt(config.model.places),
        "origin": backbones.weights_info(config.backbone),
        "tags": _TAGS,
    }


def _section(run: Path, config: RunConfig) -> str:
    """What is known of how good it is, between its marks."""
    curves = runs.read_curves(run)
    keep = config.training.get("keep", "best")
    best = runs.kept_epoch(curves[MONITOR], keep) if curves.get(MONITOR) else None
    shown = render(
        "scores.md",
        best=best,
        epochs=len(curves.get(MONITOR, ())),
        validation=None if best is None else curves["validation accuracy"][best - 1],
        measure="mAP" if config.multi_label else "accuracy",
        scores=_scores(run),
    )
    return f"{_BEGIN}\n{shown.strip()}\n{_END}"


def _scores(run: Path) -> dict[str, Any]:
    file = run / runs.SCORES
    try:
        return dict(json.loads(file.read_text())) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise GlimpsesError(f"{file}: is damaged ({error}); remove it") from error
