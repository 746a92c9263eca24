"""The whole thing behind one object: a video in, a prediction out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float16, Float64
from torch import Tensor

from glimpses import backbones, runs, video
from glimpses.backbones import Backbone
from glimpses.features import Block, FrameEncoder, collate
from glimpses.inference.aggregate import ClipAverage, run_blocks
from glimpses.inference.stream import Stream
from glimpses.models import ActionModel
from glimpses.runs import RunConfig

if TYPE_CHECKING:
    from glimpses.viz import Filmstrip

log = logging.getLogger(__name__)

# Frames in one pass of the CNN.
_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """What a recogniser says of one video, and where it looked.

    Attributes:
        video: the file.
        classes: names of the actions, (C,).
        probabilities: of the actions in the whole clip, (C,).
        times: when each step's frame is shown, in seconds after the first, (T,).
        step_probabilities: of the actions at each step, (T, C).
        attention: location softmax at each step, row-major from the top left, (T, K, K); for hard
            attention 1 at the place it chose. None for a model without attention.
        problem: what was wrong with the file, if it gave fewer frames than it promised.
    """

    video: Path
    classes: tuple[str, ...]
    probabilities: Float64[np.ndarray, " C"]
    times: Float64[np.ndarray, " T"]
    step_probabilities: Float64[np.ndarray, "T C"]
    attention: Float64[np.ndarray, "T K K"] | None
    problem: str | None = None

    @property
    def label(self) -> str:
        """The most probable action."""
        return self.classes[int(self.probabilities.argmax())]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable actions with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def decisive_steps(self, count: int = 4) -> list[int]:
        """The steps that speak most for the label, in order of time.

        A step speaks for it by how far its probability is above that of the best other class.
        Steps that follow one another say the same, so each that is chosen keeps others at a
        distance.

        Args:
            count: how many at most.
        """
        best = int(self.probabilities.argmax())
        others = np.delete(self.step_probabilities, best, axis=1)
        lead = self.step_probabilities[:, best] - (others.max(axis=1) if others.size else 0)
        apart = max(1, len(lead) // (2 * count))
        chosen: list[int] = []
        for step in np.argsort(-lead, kind="stable"):
            if len(chosen) < count and all(abs(step - other) >= apart for other in chosen):
                chosen.append(int(step))
        return sorted(chosen)

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs; numbers rounded to six places."""
        return {
            "video": str(self.video),
            "label": self.label,
            "probabilities": dict(
                zip(self.classes, self.probabilities.round(6).tolist(), strict=True)
            ),
            "times": self.times.round(6).tolist(),
            "step_probabilities": self.step_probabilities.round(6).tolist(),
            "attention": None if self.attention is None else self.attention.round(6).tolist(),
            "problem": self.problem,
        }

    def draw_overlay(self, out: Path | str, *, truth: str | Sequence[str] | None = None) -> None:
        """Write the video with the attention over it and the probabilities under it.

        Args:
            out: the MP4 file to write.
            truth: what the clip really shows, if that is to be shown too.
        """
        # Here, because it takes Matplotlib, for which who only predicts need not wait.
        from glimpses import viz

        viz.draw_overlay(self.video, Path(out), truth=truth, **self._seen())

    def strip(
        self,
        *,
        truth: str | Sequence[str] | None = None,
        count: int = 6,
        steps: Sequence[int] | None = None,
    ) -> Filmstrip:
        """Frames with the attention on them, for `viz.filmstrip_figure`.

        Args:
            truth: what the clip really shows, if that is known.
            count: how many equally spaced frames.
            steps: which frames instead, ascending.
        """
        from glimpses import viz

        return viz.strip(self.video, truth=truth, count=count, steps=steps, **self._seen())

    def _seen(self) -> dict[str, Any]:
        names = ("times", "attention", "step_probabilities", "probabilities", "classes")
        return {name: getattr(self, name) for name in names}


class Recogniser:
    """A trained model together with everything that turns a video into its input.

    ```python
    recogniser = Recogniser.load("runs/mine")
    recogniser.predict("clip.mp4").label  # "jump"
    ```

    Args:
        config: how frames become cubes and blocks, and what the classes are.
        model: the decoder.
        backbone: the CNN.
    """

    def __init__(self, config: RunConfig, model: ActionModel, backbone: Backbone) -> None:
        self.config = config
        self.model = model
        self.backbone = backbone

    @classmethod
    def load(cls, run: Path | str, *, device: str = "cpu") -> Recogniser:
        """Load a trained run.

        Args:
            run: its folder.
            device: where it is to run, "cpu" or "cuda".

        Raises:
            GlimpsesError: the folder is no finished run, or is damaged.
        """
        config, model = runs.load_model(Path(run))
        backbone = backbones.load(config.backbone, device=device, weights=config.weights)
        return cls(config, model.to(device), backbone)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the actions it knows."""
        return self.config.classes

    @property
    def eye(self) -> tuple[object, ...]:
        """What makes its cubes what they are; models with equal ones can share them."""
        config = self.config
        return config.backbone, config.weights, config.fps, config.size, config.reuse

    def predict(self, path: Path | str) -> Prediction:
        """Recognise the action in a video.

        Memory does not grow with the video but for the prediction itself.

        Args:
            path: a video file of any length.

        Raises:
            GlimpsesError: no picture can be read from it.
        """
        return predict_together([self], Path(path))[0]

    def stream(self, *, stride: int | None = None) -> Stream:
        """Recognise frame by frame, as they come, without an end; see `streaming.Stream`.

        Streams of one recogniser share its weights and nothing else.

        Args:
            stride: distance of two blocks in frames, 1 to T; half a block if not given.

        Raises:
            GlimpsesError: `stride` is out of range.
        """
        return Stream(self.config, self.model, self.backbone, stride=stride)


def predict_together(
    recognisers: Sequence[Recogniser],
    path: Path,
    *,
    seen: Callable[[float], None] | None = None,
    read: Callable[..., video.FrameSource] = video.FrameReader,
) -> list[Prediction]:
    """Recognise the action in a video with several models; those with the same CNN share its work.

    Args:
        recognisers: the models.
        path: a video file of any length.
        seen: called as the video is read, with the time of the last frame in seconds; what it
            raises ends the reading.
        read: what opens it, called as `FrameReader` is.

    Returns:
        What each says, in their order.

    Raises:
        GlimpsesError: no picture can be read from it.
    """
    judges = [_Judge(recogniser) for recogniser in recognisers]
    sharing: dict[object, list[_Judge]] = {}
    for judge in judges:
        sharing.setdefault(judge.recogniser.eye, []).append(judge)
    for group in sharing.values():
        recogniser = group[0].recogniser
        config = recogniser.config
        frames = read(path, fps=config.fps, size=config.size)
        # As the feature store has them, so that evaluation and prediction agree.
        cubes_of = FrameEncoder(recogniser.backbone, config.reuse)
        for batch in _batches(frames, _BATCH):
            cubes = torch.from_numpy(cubes_of([frame.pixels for frame in batch]))
            times = [frame.time for frame in batch]
            for judge in group:
                judge.take(cubes, times)
            if seen is not None:
                seen(times[-1])
        if frames.problem:
            log.warning("%s: %s; its frames before that are used", path, frames.problem)
        for judge in group:
            judge.problem = frames.problem
    return [judge.prediction(path) for judge in judges]


class _Judge:
    """Makes a prediction of a video from its cubes as they arrive.

    Blocks lie as `blocks.grid_starts` places them; only what they still need is held.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.problem: str | None = None
        config = recogniser.config
        self._steps, self._stride = config.steps, config.stride
        self._average = ClipAverage(config.last_steps, config.vote)
        self._times: list[float] = []
        self._held: list[Tensor] = []
        self._first, self._start, self._previous = 0, 0, -1

    def take(self, cubes: Float16[Tensor, "N P D"], times: Sequence[float]) -> None:
        """Take in the next frames."""
        self._times += times
        self._held += cubes
        while self._first + len(self._held) >= self._start + self._steps:
            self._read(self._start)
            self._previous, self._start = self._start, self._start + self._stride
        # A last block may have to end with the video: hold on to a block's worth.
        spare = min(self._start - self._first, len(self._held) - self._steps)
        if spare > 0:
            del self._held[:spare]
            self._first += spare

    def prediction(self, path: Path) -> Prediction:
        """What it says when no frame is left."""
        last = max(self._first + len(self._held) - self._steps, 0)
        if last != self._previous:
            self._read(last)
        clip = self._average.result()
        return Prediction(
            video=path,
            classes=self.recogniser.classes,
            probabilities=clip.probabilities,
            times=np.array(self._times),
            step_probabilities=clip.steps,
            attention=clip.attention_maps,
            problem=self.problem,
        )

    def _read(self, start: int) -> None:
        cubes = torch.stack(self._held[start - self._first : start - self._first + self._steps])
        mask = torch.ones(len(cubes), dtype=torch.bool)
        block = Block(cubes, mask, torch.tensor(0), torch.tensor(start))
        multi_label = self.recogniser.config.multi_label
        for result in run_blocks(self.recogniser.model, collate([block]), multi_label=multi_label):
            self._average.add(result)


def _batches(frames: video.FrameSource, size: int) -> Iterator[list[video.Frame]]:
    batch: list[video.Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
