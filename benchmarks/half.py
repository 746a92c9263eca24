"""What features lose where the CNN computes in half precision, as it does on a GPU.

    OMP_NUM_THREADS=1 python benchmarks/half.py OUT [--seeds 401 402]

Autocast on the CPU does the same: half-precision products with sums in single. Said are how far the
cubes are off, and what a model that was trained on the usual cubes makes of these: the model,
clips and training of `sampling.py` (whose OUT this may share) by the default's way with the largest
budget, and the clips that it was not trained on. Both kinds of cubes are stored in half precision.
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
    """Print what is lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for clips and features")
    parser.add_argument("--seeds", nargs="+", type=int, default=sampling.SEEDS[:1])
    given = parser.parse_args()
    torch.set_num_threads(1)
    process.keep_freed_memory()
    for seed in given.seeds:
        data = sampling.Data(given.out, sampling.GROUPS, seed)
        if seed == given.seeds[0]:
            for line in errors(frames_of(data.held_paths[0])[:FRAMES]):
                print(line)
        print(f"seed {seed}: {predictions(data, given.out / f'half-{seed}', seed)}")


def errors(frames: np.ndarray) -> Iterator[str]:
    """How far cubes are off the usual ones, by network and precision."""
    for spec in SPECS:
        backbone = backbones.load(spec, engine="torch")
        usual = backbone(frames)
        others = {
            "float16": in_half(backbone, frames),
            "bfloat16": in_half(backbone, frames, torch.bfloat16),
            "stored only": usual.half().float(),
        }
        for name, cubes in others.items():
            off = cubes - usual
            mean = off.square().mean().sqrt() / usual.square().mean().sqrt()
            most = off.abs().max() / usual.abs().max()
            yield f"{spec}, {name}: off by {mean:.1e} (root mean square), at most {most:.1e}"


def predictions(data: sampling.Data, folder: Path, seed: int) -> str:
    """What a model makes of clips by either kind of cubes."""
    cover = sampling.SAMPLINGS[sampling.COVER]
    model, _ = sampling.trained(data, cover, max(sampling.BUDGETS), seed)
    backbone, store = backbones.load(sampling.BACKBONE, engine="torch"), CubeStore(folder)
    clips: list[ClipFeatures] = []
    for path, usual in zip(data.held_paths, data.held, strict=True):
        if not store.has(usual.digest):
            cubes = in_half(backbone, frames_of(path)[: len(usual)])
            store.write_part(usual.digest, 0, cubes.half().numpy())
            store.finish(usual.digest, usual.times.tolist(), None)
        clips.append(replace(store.open(usual.digest), times=usual.times))
    before, after = said(model, data.held), said(model, clips)
    named = [100 * np.mean(each.argmax(1) == data.held_labels.numpy()) for each in (before, after)]
    changed = int((before.argmax(1) != after.argmax(1)).sum())
    moved = np.abs(before - after).mean()
    return (
        f"{named[0]:.1f} % named rightly by the usual cubes, {named[1]:.1f} by these; "
        f"{changed} of {len(clips)} named otherwise, probabilities moved by {moved:.1e}"
    )


def in_half(
    backbone: Backbone, frames: np.ndarray, dtype: torch.dtype = torch.float16
) -> torch.Tensor:
    """Cubes by products in half precision."""
    with torch.autocast("cpu", dtype):
        parts = [
            backbone(frames[first : first + FRAMES]) for first in range(0, len(frames), FRAMES)
        ]
    return torch.cat(parts).float()


def frames_of(path: Path) -> np.ndarray:
    """A clip as `extract` sees it."""
    reader = video.FrameReader(path, fps=sampling.FPS, size=224)
    return np.stack([frame.pixels for frame in reader])


def said(model: ActionModel, clips: Sequence[ClipFeatures]) -> np.ndarray:
    """Class probabilities of every clip, (N, C)."""
    results = predict_clips(model.eval(), clips, steps=sampling.STEPS, stride=sampling.STEPS)
    return np.stack([result.probabilities for result in results])


if __name__ == "__main__":
    main()
