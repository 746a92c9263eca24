"""What it costs to know nothing of what comes: a run read as a stream, beside the same run tested.

Offline a block starts from the mean of its own frames, and a frame is judged by all blocks that
hold it. A stream starts a block from what it has seen and judges a frame by the oldest block; how
often a new block begins is its stride (`inference.stream`). This reads the test clips of a run
both ways and prints how often clips and single frames are named rightly, how often from one frame
to the next the name changes, how often the place attended most is on the actor, where that is
known; and how often frames are named rightly where all clips, in random order, are one stream in
which the action changes with every clip. Then it times one frame of the stream on one core.

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

# Frames that are timed.
FRAMES = 200
# How often the clips are put in one stream, each time anew and with blocks at another place of it.
STREAMS = 5


def main() -> None:
    """Read both ways, print the table and the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--store", type=Path, help="where the run's features lie, if elsewhere")
    given = parser.parse_args()
    opened = open_run(given.run, feature_dir=given.store)
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
    _time(Recogniser.load(given.run))


@dataclass
class Cut:
    """Clips cut together: what `predict_causally` asks of features."""

    cubes: Tensor

    def __len__(self) -> int:
        return len(self.cubes)

    def block(self, start: int, length: int) -> Tensor:
        """Consecutive cubes."""
        return self.cubes[start : start + length]


def _in_one_stream(opened: OpenedRun, stride: int) -> float:
    """Share of frames named rightly where one clip follows the other."""
    steps, right = opened.config.data.block_length, []
    for number in range(STREAMS):
        order = np.random.default_rng(number).permutation(len(opened.clips))
        cubes = torch.cat([opened.cubes[i].block(0, len(opened.cubes[i])) for i in order])
        labels = [opened.clips[i].labels[0] for i in order for _ in range(len(opened.cubes[i]))]
        skipped = number * steps // STREAMS
        (result,) = predict_causally(
            opened.model,
            [Cut(cubes[skipped:])],  # type: ignore[list-item]
            block_length=steps,
            stride=stride,
        )
        right.append((result.step_probabilities.argmax(1) == labels[skipped:]).mean())
    return float(np.mean(right))


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
    known = annotations_for(opened.clips)
    aims = [
        localise(maps, known[clip.id].occupancy(cubes.times, maps.shape[1]))
        for result, clip, cubes in zip(results, opened.clips, opened.cubes, strict=True)
        if (maps := result.attention_maps) is not None and clip.id in known
    ]
    pointing = f"{LocalisationScores.mean(aims).pointing:.1%}" if aims else ""
    print(f"| {name} | {clips:.1%} | {frames:.1%} | {changes:.1%} | {pointing} | {in_one} |")


def _time(recogniser: Recogniser) -> None:
    """Time a frame, and beside it a large matrix product, by which machines differ."""
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
        f"\nCNN {network:.2f} ms a frame; decoder {decoder:.2f} ms, {decoder / network:.1%} of it; "
        f"a product of two 1024 x 1024 matrices {product:.2f} ms; median of {FRAMES}, one core"
    )


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(FRAMES):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return 1000 * median(times)


if __name__ == "__main__":
    main()
