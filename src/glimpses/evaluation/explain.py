"""Explanations of trained runs: localisation, faithfulness and attention statistics."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from glimpses import runs
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation import saliency_baselines
from glimpses.evaluation.attention_ablation import ORIGINAL, attention_ablation
from glimpses.evaluation.attention_stats import attention_stats
from glimpses.evaluation.block_runner import BlockRunner, ClipOutputs, Maps, run_clips
from glimpses.evaluation.bootstrap import Bootstrap, estimate_fraction
from glimpses.evaluation.deletion_insertion import deletion_insertion
from glimpses.evaluation.explanation import Explanation, MapLocalisation
from glimpses.evaluation.gradcam import grad_cam_maps, import_captum
from glimpses.evaluation.localisation import measure_localisation, occupancy_maps
from glimpses.evaluation.metrics import correct
from glimpses.evaluation.open_run import OpenedRun, Subset, open_run
from glimpses.evaluation.pixel_deletion import pixel_deletion_insertion
from glimpses.inference import Prediction
from glimpses.models import ModelConfig, build_meta_model
from glimpses.utils.errors import GlimpsesError

log = logging.getLogger(__name__)


def explain_run(
    run: str | Path,
    *,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    gradcam_run: str | Path | None = None,
    pixels: int = 12,
    subset: Subset | None = None,
    feature_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Explanation:
    """Measure where a trained run attends and whether that matters, on unseen clips.

    Args:
        run: folder of the run.
        data: folder of a data set; that of training if not given.
        annotations: locations of the actor, if the data set has none or to replace them: a JSON
            file of boxes or a folder of annotations; see `glimpses.datasets.annotations`.
        gradcam_run: folder of a run that pools, whose Grad-CAM is a baseline for the attention. A
            run that pools is itself explained by Grad-CAM.
        pixels: number of clips for deletion on pixels; 0 for none.
        subset: subset of the run's own split; "all" takes every clip of `data`.
        feature_dir: folder for features; that of the run if not given.
        seed: random seed.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: a run, the data or the annotations cannot be used, or captum is needed and
            missing.
    """
    if pixels < 0:
        raise GlimpsesError(f"--pixels {pixels}: must be a number of clips, or 0 for none")
    require_dependencies(runs.read_config(Path(run)).model)
    opened = open_run(run, data=data, subset=subset, feature_dir=feature_dir, device=device)
    return explain_opened_run(
        opened, annotations=annotations, gradcam_run=gradcam_run, pixels=pixels,
        feature_dir=feature_dir, seed=seed, device=device,
    )  # fmt: skip


def require_dependencies(model: ModelConfig) -> None:
    """Check, before any work, that the packages needed to explain a model are installed.

    Raises:
        GlimpsesError: the model pools and captum is missing.
    """
    if not build_meta_model(model).has_attention:
        import_captum()


def explain_opened_run(
    opened: OpenedRun,
    *,
    annotations: str | Path | None = None,
    gradcam_run: str | Path | None = None,
    pixels: int = 0,
    feature_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Explanation:
    """Explain a run that is already open; see `explain_run`."""
    annotations = None if annotations is None else Path(annotations)
    gradcam_run = None if gradcam_run is None else Path(gradcam_run)
    if gradcam_run is not None:
        saliency_baselines.check_gradcam_run(gradcam_run, opened.config.model)
    runner, config, clips = BlockRunner(opened), opened.config, opened.clips
    groups = tuple(clip.group for clip in clips)
    bootstrap = Bootstrap(groups, seed)
    actors = annotations_for(clips, annotations)
    if gradcam_run is not None and not actors:
        log.warning("these clips have no actor annotations; --gradcam-run %s ignored", gradcam_run)
    elif gradcam_run is not None:
        import_captum()
    outputs = run_clips(runner)
    attends = outputs.attention is not None
    maps = outputs.attention or grad_cam_maps(runner, outputs.predicted)
    map_name = "attention" if attends else "Grad-CAM"
    by_clip = {"accuracy": correct(clips, outputs.results)}
    localisation: dict[str, MapLocalisation] = {}
    if actors:
        grid = _grid(maps)
        occupancy = occupancy_maps(runner, actors, grid)
        baselines = saliency_baselines.baseline_maps(
            runner, grid, gradcam_run, feature_dir=feature_dir, device=device
        )

        def measure(maps: Maps) -> tuple[MapLocalisation, dict[str, Float64[np.ndarray, " N"]]]:
            return measure_localisation(maps, occupancy, clips, config.classes, bootstrap)

        localisation[map_name], measures = measure(maps)
        by_clip |= measures
        for name, baseline in baselines.items():
            result, values = measure(baseline)
            margin = {key: bootstrap.estimate(measures[key] - values[key]) for key in values}
            localisation[name] = replace(result, margin=margin)
    ablation = attention_ablation(runner, outputs, seed) if attends else {}
    drop = {name: ablation[ORIGINAL] - ablation[name] for name in ablation if name != ORIGINAL}
    stats, stats_by_step = attention_stats(runner, outputs) if attends else ({}, {})
    removal = deletion_insertion(runner, maps, outputs.predicted, bootstrap, seed)
    on_pixels = pixel_deletion_insertion(
        runner, maps, outputs.predicted, pixels, bootstrap, seed=seed, device=device
    )
    by_clip |= removal.by_clip | stats
    by_clip |= {f"accuracy drop: {name}": values for name, values in drop.items()}
    if on_pixels is not None:
        by_clip |= {f"pixel {name}": values for name, values in on_pixels.by_clip.items()}
    return Explanation(
        run=str(opened.run),
        name=opened.run.resolve().name,
        model=opened.model.description,
        classes=config.classes,
        subset=opened.subset,
        clips=tuple(clip.id for clip in clips),
        accuracy=estimate_fraction(by_clip["accuracy"], groups),
        map_name=map_name,
        localisation=localisation,
        attention_ablation={key: estimate_fraction(ablation[key], groups) for key in ablation},
        accuracy_drop={key: bootstrap.estimate(values) for key, values in drop.items()},
        deletion=removal.deletion,
        insertion=removal.insertion,
        pixel_deletion=on_pixels and on_pixels.deletion,
        pixel_insertion=on_pixels and on_pixels.insertion,
        attention_stats={key: bootstrap.estimate(values) for key, values in stats.items()},
        attention_stats_by_step={
            key: bootstrap.curve(values) for key, values in stats_by_step.items()
        },
        faithfulness=by_clip["deletion gain"],
        pointing=by_clip.get("pointing", np.full(len(clips), np.nan)),
        groups=groups,
        by_clip=by_clip,
        predictions=_predictions(runner, outputs, maps),
        true_labels=tuple(tuple(config.classes[label] for label in clip.labels) for clip in clips),
        digests=()
        if opened.dataset.layout == "features"
        else tuple(cubes.digest for cubes in opened.cubes),
    )


def _grid(maps: Maps) -> int:
    """Return the number of places along each side of the maps."""
    return math.isqrt(maps[0][0].shape[1])


def _predictions(runner: BlockRunner, outputs: ClipOutputs, maps: Maps) -> tuple[Prediction, ...]:
    """Return the prediction for each clip, with the map in place of the attention."""
    opened, grid = runner.opened, _grid(maps)
    return tuple(
        Prediction(
            video=clip.path,
            classes=opened.config.classes,
            probabilities=result.probabilities,
            times=cubes.times,
            step_probabilities=result.step_probabilities,
            attention=frames.reshape(-1, grid, grid),
        )
        for clip, cubes, result, frames in zip(
            opened.clips, opened.cubes, outputs.results, runner.merge_blocks(maps), strict=True
        )
    )
