"""Panel below overlay videos: leading classes as bars, and over time as lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from glimpses.viz.fonts import font_for

BACKGROUND = (19, 22, 28)
INK = (240, 242, 245)
QUIET = (150, 156, 166)
FAINT = (52, 58, 68)
_CORRECT = (94, 205, 165)
_ERROR = (255, 150, 92)
# The colours of Okabe and Ito that stand out on a dark background, for any colour vision; the first
# four differ most.
COLOURS = (
    (86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167),
    (0, 158, 115), (213, 94, 0), (120, 140, 255), (200, 200, 200),
)  # fmt: skip

_SUPERSAMPLING = 4

_Colour = tuple[int, int, int]

#: Maximum number of classes with curves.
MAX_CLASSES = 4


class PanelLayout:
    """Layout of a panel: a header, a list of classes with bars, and their curves over time.

    Args:
        width: width in pixels.
        scale: scale of text and lines; class names are 12 pixels high at 1.
        rows: number of classes shown, at most `MAX_CLASSES`.

    Attributes:
        height: height in pixels.
    """

    def __init__(self, width: int, scale: float, rows: int) -> None:
        self._width, self._scale = width, scale
        self.height = self._px(46 + 26 * max(rows, 3) + 8) // 2 * 2
        self._dot_images = [self._make_dot(colour) for colour in COLOURS[:rows]]

    def _blank(self) -> Image.Image:
        return Image.new("RGB", (self._width, self.height), BACKGROUND)

    def _draw_header(
        self, image: Image.Image, text: str, probability: float | None, right: int
    ) -> None:
        """Draw the leading class with its probability, or a decision, left of column `right`."""
        pen = ImageDraw.Draw(image)
        pad, base = self._px(14), self._px(26)
        fraction = "" if probability is None else f" {probability:.0%}"
        room = right - pad - self._font(16).getlength(fraction)
        name = self._fit_text(text, 16, room, bold=True)
        font = self._font(16, name, bold=True)
        pen.text((pad, base), name, INK, font, anchor="ls")
        pen.text((pad + font.getlength(name), base), fraction, QUIET, self._font(16), anchor="ls")

    def _draw_aside(
        self, image: Image.Image, text: str, right: int, colour: _Colour = QUIET
    ) -> int:
        """Draw text at the right of the header; return the column left of it."""
        room = (right - self._px(14)) * 0.45
        text = self._fit_text(text, 12, room)
        font = self._font(12, text)
        ImageDraw.Draw(image).text((right, self._px(26)), text, colour, font, anchor="rs")
        return right - round(font.getlength(text)) - self._px(16)

    def _draw_names(self, image: Image.Image, names: Sequence[str]) -> None:
        pen = ImageDraw.Draw(image)
        left, _, right, _ = self._list_box
        room = right - left - self._font(12).getlength("100 %")
        for row, name in enumerate(names):
            top = self._row_top(row)
            text = self._fit_text(name, 12, room)
            pen.text((left, top + self._px(12)), text, INK, self._font(12, text), anchor="ls")
            pen.rectangle((left, top + self._px(17), right, top + self._px(20.5)), FAINT)

    def _draw_bars(self, image: Image.Image, values: Sequence[float]) -> None:
        pen = ImageDraw.Draw(image)
        left, _, right, _ = self._list_box
        for row, (value, colour) in enumerate(zip(values, COLOURS, strict=False)):
            top = self._row_top(row)
            pen.text((right, top + self._px(12)), f"{value:.0%}", INK, self._font(12), anchor="rs")
            end = left + round((right - left) * value)
            pen.rectangle((left, top + self._px(17), end, top + self._px(20.5)), colour)

    def _draw_axes(self, image: Image.Image, begin: str, end: str) -> None:
        left, top, right, bottom = self._plot_box
        pen = ImageDraw.Draw(image)
        for fraction in (0.0, 0.5, 1.0):
            y = round(bottom + (top - bottom) * fraction)
            pen.line((left, y, right, y), FAINT)
            pen.text((left - self._px(5), y), f"{fraction:.0%}", QUIET, self._font(9), anchor="rm")
        pen.text((left, bottom + self._px(13)), begin, QUIET, self._font(10), anchor="ls")
        pen.text((right, bottom + self._px(13)), end, QUIET, self._font(10), anchor="rs")

    def _draw_curves(
        self,
        image: Image.Image,
        columns: Sequence[float],
        lines: Float[np.ndarray, "R T"],
        leading: int = 0,
    ) -> None:
        """Draw a curve for every row, the leading one thicker and on top."""
        left, top, right, bottom = self._plot_box
        # Pillow draws lines without anti-aliasing, so draw them larger and shrink.
        margin = self._px(4)
        box = (left - margin, top - margin, right + margin, bottom + margin)
        size = box[2] - box[0], box[3] - box[1]
        large = image.crop(box).resize(
            (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING), Image.Resampling.NEAREST
        )
        brush = ImageDraw.Draw(large)
        for row in self._drawing_order(len(lines), leading):
            points = [
                (
                    (x - box[0] + 0.5) * _SUPERSAMPLING,
                    (bottom + (top - bottom) * value - box[1] + 0.5) * _SUPERSAMPLING,
                )
                for x, value in zip(columns, lines[row], strict=True)
            ]
            thick = round(self._scale * (2.2 if row == leading else 1.5) * _SUPERSAMPLING)
            brush.line(points, COLOURS[row], thick, joint="curve")
        image.paste(large.resize(size, Image.Resampling.BOX), box[:2])

    def _draw_dots(
        self, image: Image.Image, x: int, values: Sequence[float], leading: int = 0
    ) -> None:
        _, top, _, bottom = self._plot_box
        for row in self._drawing_order(len(values), leading):
            dot, y = self._dot_images[row], round(bottom + (top - bottom) * values[row])
            image.paste(dot, (x - dot.width // 2, y - dot.height // 2), dot)

    def _drawing_order(self, rows: int, leading: int) -> list[int]:
        """Return rows in drawing order: the leading one last, on top."""
        return [row for row in reversed(range(rows)) if row != leading] + [leading]

    def _make_dot(self, colour: tuple[int, int, int]) -> Image.Image:
        side = self._px(9) | 1
        large = Image.new("RGBA", (side * _SUPERSAMPLING, side * _SUPERSAMPLING), (*BACKGROUND, 0))
        pen = ImageDraw.Draw(large)
        edge = side * _SUPERSAMPLING - 1
        pen.ellipse((0, 0, edge, edge), BACKGROUND)
        rim = round(1.5 * self._scale * _SUPERSAMPLING)
        pen.ellipse((rim, rim, edge - rim, edge - rim), colour)
        return large.resize((side, side), Image.Resampling.LANCZOS)

    @property
    def _list_box(self) -> tuple[int, int, int, int]:
        """Box of the class list: left, top, right, bottom."""
        pad = self._px(14)
        return pad, self._px(42), round(0.42 * self._width), self.height - pad

    @property
    def _plot_box(self) -> tuple[int, int, int, int]:
        """Box of the timeline: left, top, right, bottom."""
        left = round(0.42 * self._width) + self._px(44)
        return left, self._px(46), self._width - self._px(16), self.height - self._px(24)

    def _row_top(self, row: int) -> int:
        return self._px(40 + 26 * row)

    def _px(self, size: float) -> int:
        return round(size * self._scale)

    def _font(self, size: float, text: str = "", *, bold: bool = False) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(font_for(text, bold=bold), size * self._scale)

    def _fit_text(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        """Put text on one line and truncate it to a width in pixels."""
        text = " ".join(text.split())
        font = self._font(size, text, bold=bold)
        if font.getlength(text) <= room:
            return text
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        return text.rstrip() + "…"


class ClipPanel(PanelLayout):
    """Panel of one clip, drawn at any time; the static parts are drawn once."""

    def __init__(
        self,
        width: int,
        scale: float,
        *,
        times: Float[np.ndarray, " T"],
        step_probabilities: Float[np.ndarray, "T C"],
        probabilities: Float[np.ndarray, " C"],
        classes: Sequence[str],
        labels: Sequence[str] = (),
        decision: str | None = None,
        duration: float,
    ) -> None:
        """Lay out the panel.

        Args:
            width: width in pixels.
            scale: scale of text and lines; class names are 12 pixels high at 1.
            times: time of each step in seconds.
            step_probabilities: class probabilities of every step.
            probabilities: class probabilities of the clip.
            classes: names of the actions.
            labels: the classes that the clip shows, if known.
            decision: text to show in place of the most probable class.
            duration: length of the clip in seconds.
        """
        self._times = times
        self._duration = max(duration, float(times[-1]), 1e-3)
        shown = _shown_classes(probabilities, classes, labels)
        super().__init__(width, scale, len(shown))
        self._values = step_probabilities[:, shown]
        best = int(probabilities.argmax())
        self._background = self._blank()
        right = self._draw_label_mark(None if decision else classes[best], labels)
        probability = None if decision else float(probabilities[best])
        self._draw_header(self._background, decision or classes[best], probability, right)
        self._draw_names(self._background, [classes[index] for index in shown])
        self._draw_axes(self._background, "0", f"{self._duration:.1f} s")
        self._draw_timeline()

    def draw(self, time: float) -> Image.Image:
        """Draw the panel at a time in seconds."""
        image = self._background.copy()
        current = [float(np.interp(time, self._times, column)) for column in self._values.T]
        self._draw_bars(image, current)
        self._draw_playhead(image, time, current)
        return image

    def _draw_playhead(self, image: Image.Image, time: float, current: Sequence[float]) -> None:
        left, top, right, bottom = self._plot_box
        pen = ImageDraw.Draw(image)
        x = round(self._x(time))
        pen.rectangle((x - self._px(0.5), top, x + self._px(0.5), bottom), INK)
        self._draw_dots(image, x, current)
        text, font = f"{time:.1f} s", self._font(10)
        half = round(font.getlength(text) / 2) + self._px(4)
        middle = min(max(x, left + half), right - half)
        pen.rectangle((middle - half, bottom + 1, middle + half, self.height), BACKGROUND)
        pen.text((middle, bottom + self._px(13)), text, INK, font, anchor="ms")

    def _draw_label_mark(self, predicted: str | None, labels: Sequence[str]) -> int:
        """Mark the prediction, if any, as correct or not; return the column left of the mark."""
        right = self._width - self._px(14)
        if not labels:
            return right
        if predicted is None:
            return self._draw_aside(self._background, f"label: {', '.join(labels)}", right)
        mark = "✓" if predicted in labels else "✗"
        colour = _CORRECT if predicted in labels else _ERROR
        pen, font = ImageDraw.Draw(self._background), self._font(16, mark)
        pen.text((right, self._px(26)), mark, colour, font, anchor="rs")
        text = f"label: {', '.join(labels)}"
        return self._draw_aside(self._background, text, right - self._px(20), colour)

    def _draw_timeline(self) -> None:
        left, _, right, _ = self._plot_box
        # Hold the nearest step before the first and after the last; draw the mean where a pixel
        # covers several steps.
        spans = np.array_split(np.arange(len(self._times)), min(len(self._times), right - left))
        times = np.array([0.0, *(self._times[span].mean() for span in spans), self._duration])
        means = np.stack([self._values[span].mean(axis=0) for span in spans])
        lines = np.concatenate([means[:1], means, means[-1:]]).T
        self._draw_curves(self._background, [self._x(float(time)) for time in times], lines)

    def _x(self, time: float) -> float:
        left, _, right, _ = self._plot_box
        return left + (right - left) * min(max(time / self._duration, 0.0), 1.0)


def _shown_classes(
    probabilities: Float[np.ndarray, " C"], classes: Sequence[str], labels: Sequence[str]
) -> list[int]:
    """Return the most probable classes, with a true one in the last row if none is among them."""
    order = [int(index) for index in np.argsort(-probabilities, kind="stable")]
    shown = order[:MAX_CLASSES]
    if not any(classes[index] in labels for index in shown):
        shown[MAX_CLASSES - 1 :] = [index for index in order if classes[index] in labels][:1] or (
            shown[MAX_CLASSES - 1 :]
        )
    return shown
