"""Effect of computing the CNN in half precision, as on a GPU, on features and predictions.

    OMP_NUM_THREADS=1 python benchmarks/half.py OUT [--seeds 401 402]

Autocast on the CPU uses the same arithmetic: half-precision products with sums in single precision.
Reports the error of the cubes, and the predictions on them of a model trained on the usual cubes.
The model, clips and training are those of `sampling.py` (which may share OUT) with the default
sampling and the largest budget; the test clips are its held-out clips. Both kinds of cubes are
stored in half precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import sampling
import torch

from glimpses import backbones, video
from glimpses.backbones import Backbone
from glimpses.features import ClipFeatures, CubeStore
from glimpses.inference.aggregate import predict_clips
from glimpses.models import ActionModel
from glimpses.utils import process

SPECS = (sampling.BACKBONE, "efficientnet_lite0:16", "efficientnet_lite0")
FRAMES = 8


def main() -> None:
    """Print the errors and the predictions."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips and features")
    parser.add_argument("--seeds", nargs="+", type=int, default=sampling.SEEDS[:1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    process.keep_freed_memory()
    for seed in options.seeds:
        data = sampling.Data(options.out, sampling.GROUPS, seed)
        if seed == options.seeds[0]:
            for line in errors(frames_of(data.held_paths[0])[:FRAMES]):
                print(line)
        print(f"seed {seed}: {predictions(data, options.out / f'half-{seed}', seed)}")


def errors(frames: np.ndarray) -> Iterator[str]:
    """Yield the error of the cubes, by network and precision."""
    for spec in SPECS:
        backbone = backbones.load(spec, engine="torch")
        usual = backbone(frames)
        others = {
            "float16": in_half(backbone, frames),
            "bfloat16": in_half(backbone, frames, torch.bfloat16),
            "stored only": usual.half().float(),
        }
        for name, cubes in others.items():
            error = cubes - usual
            mean = error.square().mean().sqrt() / usual.square().mean().sqrt()
            largest = error.abs().max() / usual.abs().max()
            yield f"{spec}, {name}: off by {mean:.1e} (root mean square), at most {largest:.1e}"


def predictions(data: sampling.Data, folder: Path, seed: int) -> str:
    """Compare the predictions of a model on both kinds of cubes."""
    cover = sampling.SAMPLINGS[sampling.COVER]
    model, _ = sampling.train_model(data, cover, max(sampling.BUDGETS), seed)
    backbone, store = backbones.load(sampling.BACKBONE, engine="torch"), CubeStore(folder)
    clips: list[ClipFeatures] = []
    for path, usual in zip(data.held_paths, data.held, strict=True):
        if not store.is_intact(usual.digest):
            cubes = in_half(backbone, frames_of(path)[: len(usual)])
            store.write_part(usual.digest, 0, cubes.half().numpy())
            store.finish(usual.digest, usual.times.tolist(), None)
        stored = store.find(usual.digest)
        assert stored is not None
        clips.append(replace(stored, times=usual.times))
    before, after = probabilities(model, data.held), probabilities(model, clips)
    labels = data.held_labels.numpy()
    accuracies = [100 * np.mean(rows.argmax(1) == labels) for rows in (before, after)]
    changed = int((before.argmax(1) != after.argmax(1)).sum())
    moved = np.abs(before - after).mean()
    return (
        f"{accuracies[0]:.1f} % correct with the usual cubes, {accuracies[1]:.1f} with these; "
        f"{changed} of {len(clips)} labels differ, probabilities differ by {moved:.1e}"
    )


def in_half(
    backbone: Backbone, frames: np.ndarray, dtype: torch.dtype = torch.float16
) -> torch.Tensor:
    """Compute cubes with products in half precision."""
    with torch.autocast("cpu", dtype):
        parts = [
            backbone(frames[first : first + FRAMES]) for first in range(0, len(frames), FRAMES)
        ]
    return torch.cat(parts).float()


def frames_of(path: Path) -> np.ndarray:
    """Return the frames that `extract` would sample."""
    reader = video.FrameReader(path, fps=sampling.FPS, size=224)
    return np.stack([frame.pixels for frame in reader])


def probabilities(model: ActionModel, clips: Sequence[ClipFeatures]) -> np.ndarray:
    """Return the class probabilities of every clip, (N, C)."""
    results = predict_clips(model.eval(), clips, block_length=sampling.STEPS, stride=sampling.STEPS)
    return np.stack([result.probabilities for result in results])


if __name__ == "__main__":
    main()
