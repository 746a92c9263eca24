"""Segments in long recordings: models and decodings compared on joined real clips.

Recordings are built from the stored features of clips: pauses of clips of other classes, then clips
of one action, so that segments are known to the frame. The sources of training, validation and test
recordings are apart. Models predict every frame; the smoothing of each is chosen on the validation
recordings. Delays are those of a stream, which knows no later frame.

```sh
python benchmarks/untrimmed.py --jhmdb CLIPS --fight CLIPS --seeds 1 2 3
```
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.real_clips import SilentBar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from glimpses import datasets
from glimpses.datasets import Clip, Split
from glimpses.datasets.splits import stratified_folds
from glimpses.evaluation.segment_metrics import score_segments
from glimpses.features import ClipFeatures, Features, open_features
from glimpses.features.recordings import cut
from glimpses.inference import predict_causally, predict_clips
from glimpses.models import ActionModel, CubeShape, ModelConfig, build_model
from glimpses.runs import RunConfig
from glimpses.segments import (
    Segment,
    Viterbi,
    causal_mean,
    centred_mean,
    centred_median,
    path_segments,
    viterbi,
)  # fmt: skip
from glimpses.training.options import TrainOptions
from glimpses.training.recipes import RECIPES
from glimpses.training.trainer import Trainer, fit_normalization

FPS = 10.0
ACTIONS = ("clap", "golf", "jump", "pour", "pullup", "swing_baseball", "walk", "wave")
CLASSES = ("background", *ACTIONS, "fight")
SUBSETS = {"train": 16, "validation": 5, "test": 12}
FRAMES = 600
SMALL = RECIPES["small"].options


@dataclass(frozen=True)
class JoinedFeatures(ClipFeatures):
    """Features of several clips, one after the other, in memory."""

    pieces: tuple[np.ndarray, ...]

    @cached_property
    def _cubes(self) -> np.ndarray:
        return np.concatenate(self.pieces)

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Fill `out` with consecutive cubes."""
        out[...] = self._cubes[start : start + len(out)]


@dataclass(frozen=True)
class Recording:
    """A joined recording: features, the class of every frame, and its clips."""

    name: str
    features: JoinedFeatures
    path: np.ndarray

    @cached_property
    def edges(self) -> list[tuple[int, int]]:
        """First frame and first frame after every run of one class."""
        ends = np.flatnonzero(np.r_[True, self.path[1:] != self.path[:-1], True])
        return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of every frame over its places, and its mean change since the last one, (T, D)."""
        means, changes, last = [], [], None
        for piece in self.features.pieces:
            cubes = piece.astype(np.float32)
            previous = np.concatenate([cubes[:1] if last is None else last, cubes[:-1]])
            means.append(cubes.mean(1))
            changes.append(np.abs(cubes - previous).mean(1))
            last = cubes[-1:]
        return np.concatenate(means), np.concatenate(changes)

    @cached_property
    def clips(self) -> list[Clip]:
        """Its segments, background included."""
        return [
            Clip(
                f"{self.name}#t={first / FPS:g},{stop / FPS:g}", Path(self.name),
                (int(self.path[first]),), self.name, start=first / FPS, end=stop / FPS,
            )
            for first, stop in self.edges
        ]  # fmt: skip

    @cached_property
    def segments(self) -> list[Segment]:
        """Its annotations."""
        return [
            Segment(
                file=self.name, start=first / FPS, end=stop / FPS,
                label=CLASSES[self.path[first]],
            )
            for first, stop in self.edges
            if self.path[first]
        ]  # fmt: skip


def load_cubes(arguments: argparse.Namespace) -> list[tuple[int, str, np.ndarray]]:
    """Return class, source and cubes of every clip of both sets."""
    rows = []
    for root in (arguments.jhmdb, arguments.fight):
        data = datasets.load(root)
        features = open_features(
            data, SMALL.data.backbone, fps=FPS, feature_dir=arguments.feature_dir
        )
        for clip in data.clips:
            name = data.classes[clip.labels[0]]
            label = CLASSES.index(name) if name in CLASSES else 0
            part = features.clips[clip.id]
            cubes = part.block(0, len(part)).numpy()
            rows.append((label, f"{root}/{clip.group}", cubes))
    return rows


def build_recordings(
    rows: Sequence[tuple[int, str, np.ndarray]], seed: int
) -> dict[str, list[Recording]]:
    """Return the recordings of each subset."""
    clips = [Clip(str(n), Path(str(n)), (row[0],), row[1]) for n, row in enumerate(rows)]
    folds = [inside for _, inside in stratified_folds(clips, 6, seed)]
    parts = {"test": [*folds[0], *folds[1]], "validation": folds[2]}
    used = {*parts["test"], *parts["validation"]}
    parts["train"] = [n for n in range(len(rows)) if n not in used]
    rng = np.random.default_rng(seed)
    return {
        subset: [
            _recording(f"{subset}-{number}", [rows[n] for n in parts[subset]], rng)
            for number in range(count)
        ]
        for subset, count in SUBSETS.items()
    }


def _recording(
    name: str, rows: Sequence[tuple[int, str, np.ndarray]], rng: np.random.Generator
) -> Recording:
    by_class: dict[int, list[np.ndarray]] = {}
    for label, _, cubes in rows:
        by_class.setdefault(label, []).append(cubes)
    actions = sorted(set(by_class) - {0})
    pieces: list[np.ndarray] = []
    path: list[int] = []

    def add(label: int, shortest: int, longest: int) -> None:
        target, length = int(rng.integers(shortest, longest)), 0
        while length < target:
            piece = by_class[label][int(rng.integers(len(by_class[label])))][: target - length]
            pieces.append(piece)
            path.extend([label] * len(piece))
            length += len(piece)

    while len(path) < FRAMES:
        add(0, 20, 80)
        add(actions[int(rng.integers(len(actions)))], 15, 50)
    add(0, 10, 40)
    times = np.arange(len(path)) / FPS
    features = JoinedFeatures(name, times, None, pieces[0].shape[1:], "", (), tuple(pieces))
    return Recording(name, features, np.array(path))


class TemporalConvolution(nn.Module):
    """Stages of dilated residual convolutions; each refines the probabilities of the last one.

    After Farha and Gall, MS-TCN (CVPR 2019). A causal one sees no later step.
    """

    def __init__(self, width: int, *, causal: bool, stages: int = 2, layers: int = 6) -> None:
        super().__init__()
        self.causal = causal
        sizes = [width, *[len(CLASSES)] * (stages - 1)]
        self.stages = nn.ModuleList(
            nn.ModuleDict(
                {
                    "first": nn.Conv1d(size, 64, 1),
                    "dilated": nn.ModuleList(
                        nn.Conv1d(64, 64, 3, dilation=2**n) for n in range(layers)
                    ),
                    "mix": nn.ModuleList(nn.Conv1d(64, 64, 1) for _ in range(layers)),
                    "last": nn.Conv1d(64, len(CLASSES), 1),
                }
            )
            for size in sizes
        )

    def forward(self, values: Tensor) -> list[Tensor]:
        """Return the logits of each stage, (C, T), of inputs (F, T)."""
        outputs: list[Tensor] = []
        x = F.dropout(values, 0.3, self.training)
        for stage in self.stages:
            x = stage["first"](x)
            for n, (dilated, mix) in enumerate(zip(stage["dilated"], stage["mix"], strict=True)):
                span = 2 ** (n + 1)
                padding = (span, 0) if self.causal else (span // 2, span // 2)
                change = mix(F.relu(dilated(F.pad(x, padding))))
                x = x + F.dropout(change, 0.5, self.training)
            outputs.append(stage["last"](x))
            x = outputs[-1].softmax(0)
        return outputs


def pooled(recording: Recording, window: int = 1) -> np.ndarray:
    """Return frame means, and their deviation and the change over the last steps, (T, F)."""
    means, change = recording.statistics
    if window == 1:
        return np.concatenate([means, change], 1)
    mean, square = causal_mean(means, window), causal_mean(means**2, window)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return np.concatenate([mean, deviation, causal_mean(change, window)], 1)


#: Probabilities (T, C) of a recording: with all its frames, and as a stream.
Predictor = Callable[[Recording], tuple[np.ndarray, np.ndarray]]


def train_probe(recordings: Mapping[str, list[Recording]], window: int) -> Predictor:
    """Return logistic regression on frames, or on the window of steps around each."""
    rows = np.concatenate([pooled(one, window) for one in recordings["train"]])
    labels = np.concatenate([one.path for one in recordings["train"]])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=50))
    model.fit(rows, labels)

    def predict(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
        values = pooled(recording, window)
        stream = model.predict_proba(values)
        centred = np.concatenate([stream[window // 2 :], stream[-1:].repeat(window // 2, 0)])
        return centred, stream

    return predict


def train_convolution(
    recordings: Mapping[str, list[Recording]], seed: int, *, causal: bool
) -> Predictor:
    """Return a temporal convolution over frozen features."""
    torch.manual_seed(seed)
    inputs = [torch.from_numpy(pooled(one)) for one in recordings["train"]]
    mean, std = torch.cat(inputs).mean(0), torch.cat(inputs).std(0) + 1e-3
    inputs = [((one - mean) / std).T for one in inputs]
    targets = [torch.from_numpy(one.path) for one in recordings["train"]]
    model = TemporalConvolution(len(mean), causal=causal)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4)
    order = np.random.default_rng(seed)
    for _ in range(40):
        for index in order.permutation(len(inputs)):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for logits in model(inputs[index]):
                logs = logits.log_softmax(0)
                jump = (logs[:, 1:] - logs[:, :-1].detach()).clamp(-4, 4) ** 2
                loss = loss + F.nll_loss(logs.T, targets[index]) + 0.15 * jump.mean()
            loss.backward()
            optimizer.step()
    model.eval()

    def predict(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
        values = (torch.from_numpy(pooled(recording)) - mean) / std
        with torch.inference_mode():
            probabilities = model(values.T)[-1].softmax(0).T.double().numpy()
        return probabilities, probabilities

    return predict


def train_model(
    recordings: Mapping[str, list[Recording]], seed: int, shape: CubeShape, *,
    model: Mapping[str, Any], optim: Mapping[str, Any], data: Mapping[str, Any],
) -> Predictor:  # fmt: skip
    """Return a model of the package, trained like the recipe `small` but for some options."""
    options = TrainOptions(
        replace(SMALL.data, **data), replace(SMALL.model, **model), replace(SMALL.optim, **optim)
    )
    config = RunConfig(
        classes=CLASSES, multi_label=False, data_dir="", data=options.data,
        model=ModelConfig(options.model, len(CLASSES), shape), optim=options.optim, seed=seed,
        backbone_weights="", frame_size=224, clips={}, seen=(),
    )  # fmt: skip
    clips = [clip for one in recordings["train"] for clip in one.clips]
    files = {one.name: one.features for one in recordings["train"]}
    parts = {clip.id: cut(files[clip.recording], clip.start or 0, clip.end) for clip in clips}
    features = Features(parts, {}, "", "", FPS, 224, 7, shape.channels, Path())  # type: ignore[arg-type]
    torch.manual_seed(seed)
    network = build_model(config.model)
    length = options.data.block_length
    fit_normalization(network, length, list(features.clips.values()))
    trainer = Trainer(network, config, Split(tuple(clips), (), ()), features, torch.device("cpu"))
    while not trainer.finished:
        trainer.train_epoch(SilentBar())
    return partial(_predict, network.eval(), length)


def _predict(
    network: ActionModel, length: int, recording: Recording
) -> tuple[np.ndarray, np.ndarray]:
    clips = [recording.features]
    offline = next(predict_clips(network, clips, block_length=length, stride=max(1, length // 4)))
    if not network.can_stream:
        return offline.step_probabilities, offline.step_probabilities
    stream = next(predict_causally(network, clips, block_length=length))
    return offline.step_probabilities, stream.step_probabilities


def rows_of(
    recordings: Mapping[str, list[Recording]], seed: int, shape: CubeShape
) -> dict[str, Callable[[], Predictor]]:
    """Return how each row is trained."""
    network = partial(train_model, recordings, seed, shape)
    past = {"motion_span": "past"}
    step = {"loss": "step", "class_weights": "none"}
    return {
        "frame probe": partial(train_probe, recordings, 1),
        "window probe": partial(train_probe, recordings, 20),
        "convolution": partial(train_convolution, recordings, seed, causal=False),
        "causal convolution": partial(train_convolution, recordings, seed, causal=True),
        "clip model": partial(network, model=past, optim={}, data={}),
        "clip model, T 20": partial(network, model=past, optim={}, data={"block_length": 20}),
        "steps": partial(network, model=past, optim=step, data={}),
        "steps, T 20": partial(network, model=past, optim=step, data={"block_length": 20}),
        "steps, weights": partial(
            network, model=past, optim={**step, "class_weights": "balanced"}, data={}
        ),
        "steps, weights, 30 epochs": partial(
            network, model=past, optim={**step, "class_weights": "balanced", "epochs": 30}, data={}
        ),
        "steps, whole block": partial(network, model={}, optim=step, data={}),
        "steps, no smoothing": partial(
            network, model=past, optim={**step, "label_smoothing": 0.0}, data={}
        ),
    }


def _argmax(smooth: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    return smooth(values).argmax(1)


def _viterbi(cost: float, values: np.ndarray) -> np.ndarray:
    return viterbi(np.log(values + 1e-6), switch_cost=cost)


def _online_viterbi(cost: float, values: np.ndarray) -> np.ndarray:
    search = Viterbi(values.shape[1], switch_cost=cost, lag=0)
    return np.concatenate([search.add(np.log(values + 1e-6)), search.finish()])


#: Ways from probabilities to the class of every step, by name.
OFFLINE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": partial(_argmax, lambda values: values),
    **{f"mean {n}": partial(_argmax, partial(centred_mean, length=n)) for n in (5, 11, 21)},
    **{f"median {n}": partial(_argmax, partial(centred_median, length=n)) for n in (11, 21)},
    **{f"Viterbi {cost}": partial(_viterbi, cost) for cost in (2, 5, 10, 20)},
}
ONLINE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": partial(_argmax, lambda values: values),
    **{f"mean {n}": partial(_argmax, partial(causal_mean, length=n)) for n in (3, 5, 10)},
    **{f"Viterbi {cost}": partial(_online_viterbi, cost) for cost in (1, 2, 5)},
}


def measure(
    recordings: Sequence[Recording], values: Sequence[np.ndarray],
    decoding: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    """Return mean mAP, F1 of seconds without background, F1 at tIoU 0.5, and false alarms."""
    segments = []
    for one, probabilities in zip(recordings, values, strict=True):
        path = decoding(probabilities)
        segments += path_segments(
            path, probabilities, CLASSES, step=1 / FPS, file=one.name, background=0
        )
    scores = score_segments(
        segments, [annotation for one in recordings for annotation in one.segments],
        {one.name: len(one.path) / FPS for one in recordings},
    )  # fmt: skip
    return {
        "mAP": scores.average_map, "mAP at 0.5": scores.mean_ap[0.5],
        "F1 of seconds": scores.second_f1["macro"], "segmental F1@50": scores.segmental_f1[0.5],
        "false alarms per hour": scores.false_alarms,
    }  # fmt: skip


def delays(
    recordings: Sequence[Recording], values: Sequence[np.ndarray],
    decoding: Callable[[np.ndarray], np.ndarray],
) -> tuple[list[float], int]:  # fmt: skip
    """Return the seconds from each change of class to that of the stream, and the missed ones."""
    waits, missed = [], 0
    for one, probabilities in zip(recordings, values, strict=True):
        path = decoding(probabilities)
        for first, stop in one.edges[1:]:
            hits = np.flatnonzero(path[first:stop] == one.path[first])
            if len(hits):
                waits.append(hits[0] / FPS)
            else:
                missed += 1
    return waits, missed


def main() -> None:
    """Run the rows, and print one line for each and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jhmdb", required=True)
    parser.add_argument("--fight", required=True)
    parser.add_argument("--feature-dir")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--rows", nargs="+")
    arguments = parser.parse_args()
    # Fifty iterations are enough for a baseline.
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = load_cubes(arguments)
    channels = rows[0][2].shape[2]
    config = open_features(datasets.load(arguments.jhmdb), SMALL.data.backbone, fps=FPS, clips=())
    shape = CubeShape(49, channels, config.fine_channels, config.fine_ratio, config.flow_channels)
    for seed in arguments.seeds:
        recordings = build_recordings(rows, seed)
        rows_by_name = rows_of(recordings, seed, shape)
        for name in arguments.rows or rows_by_name:
            train = rows_by_name[name]
            started = time.monotonic()
            predict = train()
            seconds = time.monotonic() - started
            results = {
                subset: list(zip(*[predict(one) for one in recordings[subset]], strict=True))
                for subset in ("validation", "test")
            }

            def value(values: Mapping[str, Any]) -> float:
                return values["mAP"].value + values["F1 of seconds"].value

            parts = [f"seed {seed}", f"{name} ({seconds:.0f} s)"]
            for kind, ways in enumerate((OFFLINE, ONLINE)):
                best = max(
                    ways,
                    key=lambda way: value(
                        measure(recordings["validation"], results["validation"][kind], ways[way])
                    ),
                )
                scores = measure(recordings["test"], results["test"][kind], ways[best])
                parts.append(("offline" if kind == 0 else "stream") + f" {best}")
                parts += [f"{measure_name} {one.value:.3f}" for measure_name, one in scores.items()]
                if kind:
                    waits, missed = delays(recordings["test"], results["test"][1], ways[best])
                    median, late = np.quantile(waits, [0.5, 0.9])
                    share = missed / (missed + len(waits))
                    parts.append(f"delay {median:.2f} s, 90 % {late:.2f} s, missed {share:.2f}")
            parts[1] += f", in all {time.monotonic() - started:.0f} s"
            print(" | ".join(parts), flush=True)


if __name__ == "__main__":
    main()
