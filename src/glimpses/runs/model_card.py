"""Model cards: README.md in the folder of a run.

A card names the data set's folder and counts its clips, but gives no path. `glimpses evaluate`
rewrites the part between the two markers; the rest is yours to edit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glimpses import backbones, models, runs
from glimpses.runs.calibration import describe_calibration_scores
from glimpses.runs.config import RunConfig
from glimpses.runs.scores import MEASURES, ScoreRecord, add_score, read_scores
from glimpses.runs.storage import MONITOR
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, read_text
from glimpses.utils.templates import render

log = logging.getLogger(__name__)

_BEGIN, _END = "<!-- scores, written by glimpses evaluate -->", "<!-- end of scores -->"
_TAGS = ("action-recognition", "visual-attention", "video")


def write(run: Path) -> None:
    """Write the card of a run, replacing the old one.

    Raises:
        GlimpsesError: the folder is not a run, or the card cannot be written.
    """
    with atomic_write(run / runs.CARD) as part:
        part.write_text(_run_card(run), encoding="utf-8")


def read(run: Path) -> str:
    """Return the card of a run, or a new one if the run has none.

    Raises:
        GlimpsesError: the folder is not a run, or the card cannot be read.
    """
    try:
        return read_text(run / runs.CARD)
    except FileNotFoundError:
        return _run_card(run)
    except (OSError, ValueError) as error:
        raise GlimpsesError(f"{run / runs.CARD}: cannot be read ({error}); remove it") from error


def record_score(run: Path, score: ScoreRecord) -> None:
    """Save a score of a run and show it in the card; warn if that fails."""
    try:
        config = runs.read_config(run)
        add_score(run, score)
        card = read(run)
        head, begin, rest = card.partition(_BEGIN)
        _, end, tail = rest.partition(_END)
        if begin and end:
            with atomic_write(run / runs.CARD) as part:
                part.write_text(f"{head}{_score_section(run, config)}{tail}", encoding="utf-8")
    except GlimpsesError as error:
        log.warning("%s; the scores are not saved", error)


def export_card(run: Path, about: Mapping[str, Any]) -> str:
    """Return the card of an exported run.

    Args:
        run: folder of the run.
        about: content of `model.json`.
    """
    return _render_run("exported.md", run, about=about)


def fresh_card(config: RunConfig, name: str) -> str:
    """Return a card for a model without a folder.

    Args:
        config: its settings.
        name: the title.
    """
    return render("card.md", **_facts(config, name), scores=f"{_BEGIN}\n{_END}")


def _run_card(run: Path) -> str:
    return _render_run("card.md", run)


def _render_run(template: str, run: Path, **values: Any) -> str:
    config = runs.read_config(run)
    facts = _facts(config, run.resolve().name)
    return render(template, **facts, scores=_score_section(run, config), **values)


def _facts(config: RunConfig, name: str) -> dict[str, Any]:
    model = models.build_meta_model(config.model)
    return {
        "name": name,
        "config": config,
        "data": Path(config.data_dir).name,
        "model": model.description,
        "has_attention": model.has_attention,
        "settings": {
            key: value for key, value in config.training_settings().items() if value is not None
        },
        "grid": math.isqrt(config.model.cube.places),
        "origin": backbones.weights_info(config.data.backbone),
        "tags": _TAGS,
    }


def _score_section(run: Path, config: RunConfig) -> str:
    """Return the scores of a run between the two markers."""
    curves = runs.read_curves(run)
    epoch = runs.kept_epoch(curves[MONITOR], config.checkpoint) if curves.get(MONITOR) else None
    records = read_scores(run)
    validation = [record for record in records if record.subset == "validation"]
    section = render(
        "scores.md",
        epoch=epoch,
        epochs=len(curves.get(MONITOR, ())),
        chosen=config.checkpoint == "best",
        validation=validation[0].headline if validation else None,
        scores=[record for record in records if record.subset != "validation"],
        names=MEASURES,
        describe=describe_calibration_scores,
    )
    return f"{_BEGIN}\n{section.strip()}\n{_END}"
