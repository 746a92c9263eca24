"""Overlay of a live stream: the style of overlay videos, drawn frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from glimpses.viz.heatmap import RunningHeatmapScale, draw_heatmap
from glimpses.viz.overlay import MIN_PANEL_WIDTH, display_size, panel_scale, stack_panel
from glimpses.viz.panel_layout import MAX_CLASSES, PanelLayout

# Length of the timeline in seconds, and number of steps behind the brightness scale.
_SECONDS = 10.0
_SCALE_STEPS = 100


class LiveOverlay:
    """Overlay that is drawn on the frames of a stream one by one, in constant memory.

    Args:
        size: width and height of the source as displayed, in pixels.
        classes: names of the actions.

    Attributes:
        size: width and height to which frames must be resized before drawing.
    """

    def __init__(self, size: tuple[int, int], classes: Sequence[str]) -> None:
        self.size = display_size(*size)
        width, height = self.size
        self._scale = RunningHeatmapScale(_SCALE_STEPS)
        self._panel = LivePanel(max(width, MIN_PANEL_WIDTH), panel_scale(width, height), classes)

    def draw(
        self,
        pixels: UInt8[np.ndarray, "H W 3"],
        *,
        time: float,
        probabilities: Float[np.ndarray, " C"],
        attention: Float[np.ndarray, "K K"] | None,
        decision: str | None = None,
        aside: str = "",
    ) -> UInt8[np.ndarray, "V W 3"]:
        """Draw one step.

        Args:
            pixels: the frame, RGB, of `size`.
            time: time of the frame in seconds; must not decrease.
            probabilities: class probabilities of this step.
            attention: location softmax l of this step; None for a model without, which leaves the
                frame unchanged.
            decision: text to show in place of the most probable class, such as "unsure".
            aside: short status text in the header.

        Returns:
            The frame with the panel below; always of the same size.
        """
        if attention is not None:
            pixels = draw_heatmap(pixels, attention, self._scale.update(attention))
        return stack_panel(pixels, self._panel.draw(time, probabilities, decision, aside))


class LivePanel(PanelLayout):
    """Panel of a stream: the likeliest classes of the last seconds, the present at the right.

    A class keeps its row and colour for as long as it is among them.

    Args:
        width: width in pixels.
        scale: scale of text and lines; class names are 12 pixels high at 1.
        classes: names of the actions.
    """

    def __init__(self, width: int, scale: float, classes: Sequence[str]) -> None:
        super().__init__(width, scale, min(MAX_CLASSES, len(classes)))
        self._classes = classes
        self._times: deque[float] = deque()
        self._steps: deque[Float[np.ndarray, " C"]] = deque()
        self._rows = list(range(min(MAX_CLASSES, len(classes))))
        self._background = self._blank()
        self._draw_axes(self._background, f"{_SECONDS:.0f} s ago", "now")

    def draw(
        self,
        time: float,
        probabilities: Float[np.ndarray, " C"],
        decision: str | None = None,
        aside: str = "",
    ) -> Image.Image:
        """Add one step and draw the panel; see `LiveOverlay.draw`."""
        self._add_step(time, probabilities)
        values = np.array(self._steps)
        best = int(probabilities.argmax())
        self._assign_rows(values.mean(axis=0), best)
        image = self._background.copy()
        edge = self._width - self._px(14)
        right = self._draw_aside(image, aside, edge) if aside else edge
        probability = None if decision else float(probabilities[best])
        self._draw_header(image, decision or self._classes[best], probability, right)
        self._draw_names(image, [self._classes[index] for index in self._rows])
        current = [float(probabilities[index]) for index in self._rows]
        self._draw_bars(image, current)
        left, _, right, _ = self._plot_box
        columns = [right - (right - left) * (time - then) / _SECONDS for then in self._times]
        leading = self._rows.index(best)
        if len(columns) > 1:
            self._draw_curves(image, columns, values[:, self._rows].T, leading)
        self._draw_dots(image, right, current, leading)
        return image

    def _add_step(self, time: float, probabilities: Float[np.ndarray, " C"]) -> None:
        left, _, right, _ = self._plot_box
        # More than one step per pixel would not be visible.
        if len(self._times) > right - left:
            self._times.popleft()
            self._steps.popleft()
        self._times.append(time)
        self._steps.append(probabilities)
        while time - self._times[0] > _SECONDS:
            self._times.popleft()
            self._steps.popleft()

    def _assign_rows(self, means: Float[np.ndarray, " C"], best: int) -> None:
        """Replace classes that have become unlikely by likelier ones, in the same rows."""
        order: Int[np.ndarray, " C"] = np.argsort(-means, kind="stable")
        likeliest = [best, *(int(index) for index in order if index != best)][: len(self._rows)]
        new = [index for index in likeliest if index not in self._rows]
        for row, index in enumerate(self._rows):
            if index not in likeliest:
                self._rows[row] = new.pop(0)
