"""Predictions: class probabilities and attention of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from glimpses.inference.decision import decide, is_sure
from glimpses.utils.errors import GlimpsesError
from glimpses.video import is_video

if TYPE_CHECKING:
    from glimpses.viz import Filmstrip


@dataclass(frozen=True)
class Prediction:
    """Prediction for one video.

    Attributes:
        video: the file; None for frames from an array.
        classes: names of the classes, (C,).
        probabilities: class probabilities of the clip, (C,).
        times: display time of each step's frame in seconds after the first, (T,).
        step_probabilities: class probabilities at each step, (T, C).
        attention: location softmax at each step, row-major from the top left, (T, K, K); one-hot
            for hard attention. None for a model without attention.
        problem: short description of the damage if the file has fewer frames than it declares.
        threshold: probability below which the prediction is unsure; None for no threshold.
    """

    video: Path | None
    classes: tuple[str, ...]
    probabilities: Float64[np.ndarray, " C"]
    times: Float64[np.ndarray, " T"]
    step_probabilities: Float64[np.ndarray, "T C"]
    attention: Float64[np.ndarray, "T K K"] | None
    problem: str | None = None
    threshold: float | None = None

    @property
    def name(self) -> str:
        """The name of the file, or "array"."""
        return "array" if self.video is None else self.video.name

    @property
    def has_video(self) -> bool:
        """True if there is a video file to draw on."""
        return self.video is not None and is_video(self.video)

    @property
    def label(self) -> str:
        """The most probable class, sure or not."""
        return self.classes[int(self.probabilities.argmax())]

    @property
    def is_sure(self) -> bool:
        """True if the label's probability reaches the threshold of the run, if it has one."""
        return is_sure(self.probabilities, self.threshold)

    @property
    def decision(self) -> str:
        """The label; "no action" if it is a background class, "unsure" below the threshold."""
        return decide(self.classes, self.probabilities, self.threshold)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def decisive_steps(self, count: int = 4) -> list[int]:
        """Return the steps with the strongest evidence for the label, in order of time.

        The evidence of a step is the margin of the label's probability over the best other class.
        Neighbouring steps carry the same evidence, so the returned steps keep a minimum distance.

        Args:
            count: maximum number of steps.
        """
        best = int(self.probabilities.argmax())
        others = np.delete(self.step_probabilities, best, axis=1)
        margin = self.step_probabilities[:, best] - (others.max(axis=1) if others.size else 0)
        min_distance = max(1, len(margin) // (2 * count))
        chosen: list[int] = []
        for step in np.argsort(-margin, kind="stable"):
            if len(chosen) < count and all(abs(step - other) >= min_distance for other in chosen):
                chosen.append(int(step))
        return sorted(chosen)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON types, numbers rounded to six decimals."""
        return {
            "video": None if self.video is None else str(self.video),
            "label": self.label,
            "decision": self.decision,
            "sure": self.is_sure,
            "threshold": self.threshold,
            "probabilities": dict(
                zip(self.classes, self.probabilities.round(6).tolist(), strict=True)
            ),
            "times": self.times.round(6).tolist(),
            "step_probabilities": self.step_probabilities.round(6).tolist(),
            "attention": None if self.attention is None else self.attention.round(6).tolist(),
            "problem": self.problem,
        }

    def draw_overlay(self, out: str | Path, *, labels: str | Sequence[str] | None = None) -> None:
        """Write the video with the attention over it and the probabilities below it.

        Args:
            out: the MP4 file to write.
            labels: the true label or labels of the clip, to be shown too.

        Raises:
            GlimpsesError: the prediction is of an array, or a file cannot be read or written.
        """
        # Imported here because it loads Matplotlib, which a mere prediction does not need.
        from glimpses import viz

        viz.draw_overlay(self._require_video(), Path(out), labels=labels, **self._model_output())

    def strip(
        self,
        *,
        labels: str | Sequence[str] | None = None,
        count: int = 6,
        steps: Sequence[int] | None = None,
    ) -> Filmstrip:
        """Return frames with the attention drawn over them, for `viz.filmstrip_figure`.

        Args:
            labels: the true label or labels of the clip, if known.
            count: number of equally spaced steps.
            steps: steps to show instead, ascending.

        Raises:
            GlimpsesError: the prediction is of an array, or the file cannot be read.
        """
        from glimpses import viz

        return viz.draw_filmstrip(
            self._require_video(), labels=labels, count=count, steps=steps, **self._model_output()
        )

    def _require_video(self) -> Path:
        if self.video is None:
            raise GlimpsesError(
                "this prediction is of an array, so there is no video to draw on; write the frames "
                "to a file with glimpses.video.write and predict that"
            )
        return self.video

    def _model_output(self) -> dict[str, Any]:
        names = ("times", "attention", "step_probabilities", "probabilities", "classes")
        decision = None if self.decision == self.label else self.decision
        return {name: getattr(self, name) for name in names} | {"decision": decision}
