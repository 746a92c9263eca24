"""All that is measured of a trained run: where it looks, whether it matters, how it moves."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from glimpses import runs
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation import saliency_baselines
from glimpses.evaluation.attention_stats import moves
from glimpses.evaluation.block_runner import BlockRunner, ClipOutputs, Maps, look
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import Explanation, MapLocalisation
from glimpses.evaluation.faithfulness import attention_ablation, correct, removal
from glimpses.evaluation.gradcam import grad_cams, require_captum
from glimpses.evaluation.localisation import aiming, shares_of
from glimpses.evaluation.open_run import OpenedRun, Side, open_run
from glimpses.evaluation.pixel_deletion import pixel_removal
from glimpses.inference import Prediction
from glimpses.models import ModelConfig, build_meta_model
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)


def explain_run(
    run: Path,
    *,
    data: Path | None = None,
    boxes: Path | None = None,
    pooled: Path | None = None,
    pixels: int = 12,
    side: Side | None = None,
    store: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Explanation:
    """Measure where a trained run looks and what that is worth, on clips it has not seen.

    Args:
        run: folder of the run.
        data: folder of a data set; the one it was trained on if not given.
        boxes: where the actor is, if the data do not say or for another truth than theirs: a JSON
            file, or a folder of annotations; see `datasets.annotations`.
        pooled: another run, one that pools, whose Grad-CAM is a rival of the attention. For a run
            that pools itself its own Grad-CAM stands where attention would.
        pixels: how many clips deletion on pixels is tried on; 0 for none.
        side: which side of the run's own split; "all" takes every clip of `data`.
        store: where features are kept; where each run's own are if not given.
        seed: of all that is random.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: a run, the data or the boxes cannot be used, or captum is needed and missing.
    """
    if pixels < 0:
        raise GlimpsesError(f"--pixels {pixels}: must be a number of clips, or 0 for none")
    require_means(runs.read_config(run).model)
    opened = open_run(run, data=data, side=side, store=store, device=device)
    return explain_opened(
        opened, boxes=boxes, pooled=pooled, pixels=pixels, store=store, seed=seed, device=device
    )


def require_means(model: ModelConfig) -> None:
    """Refuse, before any work is done, a model that cannot be explained by what is installed.

    Raises:
        GlimpsesError: it pools, and captum is missing.
    """
    if not build_meta_model(model).has_attention:
        require_captum()


def explain_opened(
    opened: OpenedRun,
    *,
    boxes: Path | None = None,
    pooled: Path | None = None,
    pixels: int = 0,
    store: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Explanation:
    """Like `explain_run`, for a run that is open already."""
    if pooled is not None:
        saliency_baselines.require_rival(pooled, opened.config.model)
    reader, config = BlockRunner(opened), opened.config
    bootstrap = Bootstrap([clip.group for clip in opened.clips], seed)
    known = annotations_for(opened.clips, boxes)
    if pooled is not None and not known:
        log.warning("nothing tells where the actor is, so %s has no part in this", pooled)
    elif pooled is not None:
        require_captum()
    looks = look(reader)
    maps = grad_cams(reader, looks.named) if looks.attention is None else looks.attention
    attends = looks.attention is not None
    name = "attention" if attends else "Grad-CAM"
    own = {"accuracy": correct(opened.clips, looks.results)}
    where: dict[str, MapLocalisation] = {}
    if known:
        shares = shares_of(reader, known, _side(maps))
        others = _rivals(reader, _side(maps), pooled, store=store, device=device)
        where[name], aims = aiming(maps, shares, opened.clips, config.classes, bootstrap)
        own |= aims
        for title, each in others.items():
            rival, its = aiming(each, shares, opened.clips, config.classes, bootstrap)
            behind = {measure: bootstrap.estimate(aims[measure] - its[measure]) for measure in its}
            where[title] = replace(rival, behind=behind)
    right = attention_ablation(reader, looks, seed) if attends else {}
    moved, by_step = moves(reader, looks) if attends else ({}, {})
    lost = {other: right["own"] - right[other] for other in right if other != "own"}
    removed = removal(reader, maps, looks.named, bootstrap, seed)
    on_pixels = pixel_removal(
        reader, maps, looks.named, pixels, bootstrap, seed=seed, device=device
    )
    own |= {**removed.by_clip, **moved, **{f"lost: {other}": each for other, each in lost.items()}}
    if on_pixels is not None:
        own |= {f"pixel {measure}": each for measure, each in on_pixels.by_clip.items()}
    return Explanation(
        run=str(opened.run),
        name=opened.run.resolve().name,
        shape=opened.model.description,
        classes=config.classes,
        side=opened.side,
        clips=tuple(clip.id for clip in opened.clips),
        accuracy=bootstrap.estimate(own["accuracy"]),
        maps=name,
        where=where,
        frozen={given: bootstrap.estimate(each) for given, each in right.items()},
        lost={given: bootstrap.estimate(each) for given, each in lost.items()},
        deletion=removed.deletion,
        insertion=removed.insertion,
        pixel_deletion=on_pixels and on_pixels.deletion,
        pixel_insertion=on_pixels and on_pixels.insertion,
        moves={measure: bootstrap.estimate(each) for measure, each in moved.items()},
        moves_by_step={measure: bootstrap.curve(each) for measure, each in by_step.items()},
        faithfulness=own["deletion gain"],
        pointing=own.get("pointing", np.full(len(opened.clips), np.nan)),
        groups=tuple(clip.group for clip in opened.clips),
        by_clip=own,
        predictions=_predictions(reader, looks, maps),
        true_labels=tuple(
            tuple(config.classes[label] for label in clip.labels) for clip in opened.clips
        ),
        digests=()
        if opened.dataset.layout == "features"
        else tuple(cubes.digest for cubes in opened.cubes),
    )


def _side(maps: Maps) -> int:
    """Places along a side of the grid of some maps."""
    return math.isqrt(maps[0][0].shape[1])


def _predictions(reader: BlockRunner, looks: ClipOutputs, maps: Maps) -> tuple[Prediction, ...]:
    """What was said of each clip, with the map in place of the attention."""
    opened, side = reader.opened, _side(maps)
    return tuple(
        Prediction(
            video=clip.path,
            classes=opened.config.classes,
            probabilities=result.probabilities,
            times=cubes.times,
            step_probabilities=result.step_probabilities,
            attention=frames.reshape(-1, side, side),
        )
        for clip, cubes, result, frames in zip(
            opened.clips, opened.cubes, looks.results, reader.joined(maps), strict=True
        )
    )


def _rivals(
    reader: BlockRunner, grid: int, pooled: Path | None, *, store: Path | None, device: str
) -> dict[str, Maps]:
    """Maps that the model's own must beat, as far as they can be had."""
    found = {
        "uniform": saliency_baselines.constant(saliency_baselines.uniform(grid), reader),
        "centre prior": saliency_baselines.constant(saliency_baselines.centre_prior(grid), reader),
    }
    places = saliency_baselines.place_prior(reader.opened, grid)
    if places is not None:
        found["place prior"] = saliency_baselines.constant(places, reader)
    motion = saliency_baselines.motion_energy(reader, grid)
    if motion is not None:
        found["motion energy"] = motion
    if pooled is not None:
        found["Grad-CAM"] = saliency_baselines.pooled_grad_cam(
            pooled, reader, grid, store=store, device=device
        )
    return found
