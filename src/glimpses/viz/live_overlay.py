"""A stream with attention on it: the same look as an overlay video, drawn frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from glimpses.viz.heatmap import RunningScale, draw_heatmap
from glimpses.viz.overlay import LEAST_PANEL, display_size, joined, panel_scale
from glimpses.viz.panel_layout import SHOWN, Board

# How far back the lines go, in seconds, and how many steps the light is measured over.
_SECONDS = 10.0
_LIGHT = 100


class LiveOverlay:
    """Draws the frames of a stream one by one; what it holds does not grow.

    Args:
        size: width and height of the source as displayed, in pixels.
        classes: names of the actions.

    Attributes:
        size: width and height to which frames are to be brought before they are drawn on.
    """

    def __init__(self, size: tuple[int, int], classes: Sequence[str]) -> None:
        self.size = display_size(*size)
        width, height = self.size
        self._light = RunningScale(_LIGHT)
        self._panel = LivePanel(max(width, LEAST_PANEL), panel_scale(width, height), classes)

    def draw(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        *,
        time: float,
        probabilities: Float[np.ndarray, " C"],
        attention: Float[np.ndarray, "K K"] | None,
        aside: str = "",
    ) -> UInt8[np.ndarray, "V W 3"]:
        """Draw one step.

        Args:
            pixels: the frame that was looked at, RGB, of `size`.
            time: of that frame, in seconds; not less than that of the step before.
            probabilities: of the classes at this step.
            attention: location softmax l of this step; None for a model without, then the picture
                is left as it is.
            aside: what else is to be said, in a few words.

        Returns:
            The picture with the panel under it; the same size every time.
        """
        if attention is not None:
            pixels = draw_heatmap(pixels, attention, self._light(attention))
        return joined(pixels, self._panel.draw(time, probabilities, aside))


class LivePanel(Board):
    """The panel under a stream: the likeliest classes of the last seconds, and now at the right.

    A class keeps its row and colour for as long as it is among them.

    Args:
        width: of the panel in pixels.
        scale: of letters and lines; 1 makes names 12 pixels high.
        classes: names of the actions.
    """

    def __init__(self, width: int, scale: float, classes: Sequence[str]) -> None:
        super().__init__(width, scale, min(SHOWN, len(classes)))
        self._classes = classes
        self._times: deque[float] = deque()
        self._steps: deque[Float[np.ndarray, " C"]] = deque()
        self._rows = list(range(min(SHOWN, len(classes))))
        self._fixed = self._blank()
        self._axes(self._fixed, f"{_SECONDS:.0f} s ago", "now")

    def draw(
        self, time: float, probabilities: Float[np.ndarray, " C"], aside: str = ""
    ) -> Image.Image:
        """Take in one more step and draw the panel as it stands then; see `LiveOverlay.draw`."""
        self._take(time, probabilities)
        values = np.array(self._steps)
        best = int(probabilities.argmax())
        self._choose(values.mean(axis=0), best)
        image = self._fixed.copy()
        edge = self._width - self._px(14)
        right = self._aside(image, aside, edge) if aside else edge
        self._header(image, self._classes[best], float(probabilities[best]), right)
        self._list_names(image, [self._classes[index] for index in self._rows])
        now = [float(probabilities[index]) for index in self._rows]
        self._list_values(image, now)
        left, _, right, _ = self._plot
        columns = [right - (right - left) * (time - then) / _SECONDS for then in self._times]
        leading = self._rows.index(best)
        if len(columns) > 1:
            self._curves(image, columns, values[:, self._rows].T, leading)
        self._put_dots(image, right, now, leading)
        return image

    def _take(self, time: float, probabilities: Float[np.ndarray, " C"]) -> None:
        left, _, right, _ = self._plot
        # More than one step a pixel cannot be seen, however fast they come.
        if len(self._times) > right - left:
            self._times.popleft()
            self._steps.popleft()
        self._times.append(time)
        self._steps.append(probabilities)
        while time - self._times[0] > _SECONDS:
            self._times.popleft()
            self._steps.popleft()

    def _choose(self, means: Float[np.ndarray, " C"], best: int) -> None:
        """Give the rows of classes that have become unlikely to those that are likelier now."""
        order: Int[np.ndarray, " C"] = np.argsort(-means, kind="stable")
        wanted = [best, *(int(index) for index in order if index != best)][: len(self._rows)]
        new = [index for index in wanted if index not in self._rows]
        for row, index in enumerate(self._rows):
            if index not in wanted:
                self._rows[row] = new.pop(0)
