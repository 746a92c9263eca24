"""Cost of causal processing: a run as a stream, compared with the same run offline.

Offline, a block starts from the mean of its own frames, and a frame is predicted by all blocks that
contain it. A stream starts a block from the frames so far and predicts a frame with the oldest
block; a new block begins every stride (`glimpses.inference.Stream`). This processes the test clips
of a run in both ways. It prints the fractions of clips and of frames that are classified correctly,
of frames whose prediction differs from the previous one, and of steps whose most attended place is
on the actor, if there are annotations. The last column is the fraction of frames classified
correctly when all clips, in random order, form one stream. Then it times one frame of the stream on
one core.

    OMP_NUM_THREADS=1 python benchmarks/streaming.py RUN
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from glimpses import Recogniser
from glimpses.datasets.annotations import annotations_for
from glimpses.evaluation import LocalisationScores, OpenedRun, localise, open_run
from glimpses.inference.aggregate import ClipResult, predict_causally, predict_clips

# Frames to time.
FRAMES = 200
# Random orders of the clips in one stream, each with another offset of the blocks.
STREAMS = 5


def main() -> None:
    """Process the clips in both ways, print the table and the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--feature-dir", type=Path, help="folder of the features, if not that of the run"
    )
    options = parser.parse_args()
    opened = open_run(options.run, feature_dir=options.feature_dir)
    steps = opened.config.data.block_length
    offline = predict_clips(
        opened.model, opened.cubes, block_length=steps, stride=opened.config.data.block_stride
    )
    print(f"| {opened.model.description} | clips | frames | changes | pointing | in one |")
    print("|---|---|---|---|---|---|")
    _print_row("offline", opened, list(offline), "")
    for stride in sorted({steps, max(1, steps // 2), 1}, reverse=True):
        stream = predict_causally(opened.model, opened.cubes, block_length=steps, stride=stride)
        in_one = f"{_in_one_stream(opened, stride):.1%}"
        _print_row(f"stream, stride {stride}", opened, list(stream), in_one)
    _time(Recogniser.load(options.run))


@dataclass
class JoinedClips:
    """Several clips as one, with the methods of features that `predict_causally` needs."""

    cubes: Tensor

    def __len__(self) -> int:
        return len(self.cubes)

    def block(self, start: int, length: int) -> Tensor:
        """Return consecutive cubes."""
        return self.cubes[start : start + length]


def _in_one_stream(opened: OpenedRun, stride: int) -> float:
    """Return the fraction of frames classified correctly when all clips form one stream."""
    steps, correct = opened.config.data.block_length, []
    for number in range(STREAMS):
        order = np.random.default_rng(number).permutation(len(opened.clips))
        cubes = torch.cat([opened.cubes[i].block(0, len(opened.cubes[i])) for i in order])
        labels = [opened.clips[i].labels[0] for i in order for _ in range(len(opened.cubes[i]))]
        skipped = number * steps // STREAMS
        (result,) = predict_causally(
            opened.model,
            [JoinedClips(cubes[skipped:])],  # type: ignore[list-item]
            block_length=steps,
            stride=stride,
        )
        correct.append((result.step_probabilities.argmax(1) == labels[skipped:]).mean())
    return float(np.mean(correct))


def _print_row(name: str, opened: OpenedRun, results: Sequence[ClipResult], in_one: str) -> None:
    labels = [clip.labels[0] for clip in opened.clips]
    pairs = list(zip(results, labels, strict=True))
    clips = np.mean([result.probabilities.argmax() == label for result, label in pairs])
    frames = np.concatenate(
        [result.step_probabilities.argmax(1) == label for result, label in pairs]
    ).mean()
    changes = np.concatenate(
        [np.diff(result.step_probabilities.argmax(1)) != 0 for result in results]
    ).mean()
    annotations = annotations_for(opened.clips)
    aims = [
        localise(maps, annotations[clip.id].occupancy(cubes.times, maps.shape[1]))
        for result, clip, cubes in zip(results, opened.clips, opened.cubes, strict=True)
        if (maps := result.attention_maps) is not None and clip.id in annotations
    ]
    pointing = f"{LocalisationScores.mean(aims).pointing:.1%}" if aims else ""
    print(f"| {name} | {clips:.1%} | {frames:.1%} | {changes:.1%} | {pointing} | {in_one} |")


def _time(recogniser: Recogniser) -> None:
    """Time a frame, and a large matrix product as a reference for the machine."""
    torch.set_num_threads(1)
    size = recogniser.config.frame_size
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    matrix = torch.randn(1024, 1024)
    stream = recogniser.stream()
    cubes = recogniser.backbone(noise[None]).cpu()
    product = _milliseconds(lambda: matrix @ matrix)
    network = _milliseconds(lambda: recogniser.backbone(noise[None]))
    decoder = _milliseconds(lambda: stream.step(cubes))
    print(
        f"\nCNN {network:.2f} ms per frame; decoder {decoder:.2f} ms, {decoder / network:.1%}; "
        f"product of two 1024 x 1024 matrices {product:.2f} ms; median of {FRAMES}, one core"
    )


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(FRAMES):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


if __name__ == "__main__":
    main()
