"""What stands under the picture of an overlay video: leading classes now, and over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from glimpses.viz.fonts import font_for

PAPER = (19, 22, 28)
_INK = (240, 242, 245)
_QUIET = (150, 156, 166)
_FAINT = (52, 58, 68)
_RIGHT = (94, 205, 165)
_WRONG = (255, 150, 92)
# Okabe and Ito's colours that stand out on a dark ground; told apart in any colour vision.
_COLOURS = ((86, 180, 233), (230, 159, 0), (240, 228, 66), (204, 121, 167))

_OVERSAMPLING = 4

_Colour = tuple[int, int, int]

#: How many classes are shown at most.
SHOWN = len(_COLOURS)


class Board:
    """The look of a panel: a header, a list of classes with bars, and their lines over time.

    Args:
        width: of the panel in pixels.
        scale: of letters and lines; 1 makes names 12 pixels high.
        rows: how many classes are shown, at most `SHOWN`.

    Attributes:
        height: of the panel in pixels.
    """

    def __init__(self, width: int, scale: float, rows: int) -> None:
        self._width, self._scale = width, scale
        self.height = self._px(46 + 26 * max(rows, 3) + 8) // 2 * 2
        self._dots = [self._dot(colour) for colour in _COLOURS[:rows]]

    def _blank(self) -> Image.Image:
        return Image.new("RGB", (self._width, self.height), PAPER)

    def _header(self, image: Image.Image, label: str, probability: float, right: int) -> None:
        """Write the leading class and its probability, up to a column."""
        pen = ImageDraw.Draw(image)
        pad, base = self._px(14), self._px(26)
        share = f" {probability:.0%}"
        room = right - pad - self._font(16).getlength(share)
        name = self._fit(label, 16, room, bold=True)
        font = self._font(16, name, bold=True)
        pen.text((pad, base), name, _INK, font, anchor="ls")
        pen.text((pad + font.getlength(name), base), share, _QUIET, self._font(16), anchor="ls")

    def _aside(self, image: Image.Image, text: str, right: int, colour: _Colour = _QUIET) -> int:
        """Write a word at the right of the header; gives the column before it."""
        room = (right - self._px(14)) * 0.45
        text = self._fit(text, 12, room)
        font = self._font(12, text)
        ImageDraw.Draw(image).text((right, self._px(26)), text, colour, font, anchor="rs")
        return right - round(font.getlength(text)) - self._px(16)

    def _list_names(self, image: Image.Image, names: Sequence[str]) -> None:
        pen = ImageDraw.Draw(image)
        left, _, right, _ = self._list
        room = right - left - self._font(12).getlength("100 %")
        for row, name in enumerate(names):
            top = self._row(row)
            text = self._fit(name, 12, room)
            pen.text((left, top + self._px(12)), text, _INK, self._font(12, text), anchor="ls")
            pen.rectangle((left, top + self._px(17), right, top + self._px(20.5)), _FAINT)

    def _list_values(self, image: Image.Image, values: Sequence[float]) -> None:
        pen = ImageDraw.Draw(image)
        left, _, right, _ = self._list
        for row, (value, colour) in enumerate(zip(values, _COLOURS, strict=False)):
            top = self._row(row)
            pen.text((right, top + self._px(12)), f"{value:.0%}", _INK, self._font(12), anchor="rs")
            end = left + round((right - left) * value)
            pen.rectangle((left, top + self._px(17), end, top + self._px(20.5)), colour)

    def _axes(self, image: Image.Image, begin: str, end: str) -> None:
        left, top, right, bottom = self._plot
        pen = ImageDraw.Draw(image)
        for share in (0.0, 0.5, 1.0):
            y = round(bottom + (top - bottom) * share)
            pen.line((left, y, right, y), _FAINT)
            pen.text((left - self._px(5), y), f"{share:.0%}", _QUIET, self._font(9), anchor="rm")
        pen.text((left, bottom + self._px(13)), begin, _QUIET, self._font(10), anchor="ls")
        pen.text((right, bottom + self._px(13)), end, _QUIET, self._font(10), anchor="rs")

    def _curves(
        self,
        image: Image.Image,
        columns: Sequence[float],
        lines: Float[np.ndarray, "R T"],
        leading: int = 0,
    ) -> None:
        """Draw a line for every row, the leading one thicker and on top."""
        left, top, right, bottom = self._plot
        # Pillow draws lines without smoothing: draw them larger and shrink.
        margin = self._px(4)
        box = (left - margin, top - margin, right + margin, bottom + margin)
        size = box[2] - box[0], box[3] - box[1]
        large = image.crop(box).resize(
            (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING), Image.Resampling.NEAREST
        )
        brush = ImageDraw.Draw(large)
        for row in self._from_below(len(lines), leading):
            points = [
                (
                    (x - box[0] + 0.5) * _OVERSAMPLING,
                    (bottom + (top - bottom) * value - box[1] + 0.5) * _OVERSAMPLING,
                )
                for x, value in zip(columns, lines[row], strict=True)
            ]
            thick = round(self._scale * (2.2 if row == leading else 1.5) * _OVERSAMPLING)
            brush.line(points, _COLOURS[row], thick, joint="curve")
        image.paste(large.resize(size, Image.Resampling.BOX), box[:2])

    def _put_dots(
        self, image: Image.Image, x: int, values: Sequence[float], leading: int = 0
    ) -> None:
        _, top, _, bottom = self._plot
        for row in self._from_below(len(values), leading):
            dot, y = self._dots[row], round(bottom + (top - bottom) * values[row])
            image.paste(dot, (x - dot.width // 2, y - dot.height // 2), dot)

    def _from_below(self, rows: int, leading: int) -> list[int]:
        """Rows in the order of drawing: the leading one comes last and lies on top."""
        return [row for row in reversed(range(rows)) if row != leading] + [leading]

    def _dot(self, colour: tuple[int, int, int]) -> Image.Image:
        side = self._px(9) | 1
        large = Image.new("RGBA", (side * _OVERSAMPLING, side * _OVERSAMPLING), (*PAPER, 0))
        pen = ImageDraw.Draw(large)
        edge = side * _OVERSAMPLING - 1
        pen.ellipse((0, 0, edge, edge), PAPER)
        rim = round(1.5 * self._scale * _OVERSAMPLING)
        pen.ellipse((rim, rim, edge - rim, edge - rim), colour)
        return large.resize((side, side), Image.Resampling.LANCZOS)

    @property
    def _list(self) -> tuple[int, int, int, int]:
        """Box of the list of classes: left, top, right, bottom."""
        pad = self._px(14)
        return pad, self._px(42), round(0.42 * self._width), self.height - pad

    @property
    def _plot(self) -> tuple[int, int, int, int]:
        """Box of the timeline: left, top, right, bottom."""
        left = round(0.42 * self._width) + self._px(44)
        return left, self._px(46), self._width - self._px(16), self.height - self._px(24)

    def _row(self, row: int) -> int:
        return self._px(40 + 26 * row)

    def _px(self, size: float) -> int:
        return round(size * self._scale)

    def _font(self, size: float, text: str = "", *, bold: bool = False) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(font_for(text, bold=bold), size * self._scale)

    def _fit(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        """Bring a text to one line and shorten it to a number of pixels."""
        text = " ".join(text.split())
        font = self._font(size, text, bold=bold)
        if font.getlength(text) <= room:
            return text
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        return text.rstrip() + "…"


class Panel(Board):
    """Draws the panel of one clip at any time.

    Everything that does not move is drawn once.
    """

    def __init__(
        self,
        width: int,
        scale: float,
        *,
        times: Float[np.ndarray, " T"],
        step_probabilities: Float[np.ndarray, "T C"],
        probabilities: Float[np.ndarray, " C"],
        classes: Sequence[str],
        truth: Sequence[str] = (),
        seconds: float,
    ) -> None:
        """Lay out the panel.

        Args:
            width: of the panel in pixels.
            scale: of letters and lines; 1 makes names 12 pixels high.
            times: when each step was taken, in seconds.
            step_probabilities: class probabilities of every step.
            probabilities: class probabilities of the clip.
            classes: names of the actions.
            truth: what the clip shows, where that is known.
            seconds: length of the clip.
        """
        self._times = times
        self._seconds = max(seconds, float(times[-1]), 1e-3)
        shown = _leading(probabilities, classes, truth)
        super().__init__(width, scale, len(shown))
        self._values = step_probabilities[:, shown]
        best = int(probabilities.argmax())
        self._fixed = self._blank()
        right = self._draw_truth(classes[best], truth)
        self._header(self._fixed, classes[best], float(probabilities[best]), right)
        self._list_names(self._fixed, [classes[index] for index in shown])
        self._axes(self._fixed, "0", f"{self._seconds:.1f} s")
        self._draw_lines()

    def draw(self, time: float) -> Image.Image:
        """Draw the panel as it stands at a time in seconds."""
        image = self._fixed.copy()
        now = [float(np.interp(time, self._times, column)) for column in self._values.T]
        self._list_values(image, now)
        self._draw_playhead(image, time, now)
        return image

    def _draw_playhead(self, image: Image.Image, time: float, now: Sequence[float]) -> None:
        left, top, right, bottom = self._plot
        pen = ImageDraw.Draw(image)
        x = round(self._x(time))
        pen.rectangle((x - self._px(0.5), top, x + self._px(0.5), bottom), _INK)
        self._put_dots(image, x, now)
        text, font = f"{time:.1f} s", self._font(10)
        half = round(font.getlength(text) / 2) + self._px(4)
        middle = min(max(x, left + half), right - half)
        pen.rectangle((middle - half, bottom + 1, middle + half, self.height), PAPER)
        pen.text((middle, bottom + self._px(13)), text, _INK, font, anchor="ms")

    def _draw_truth(self, label: str, truth: Sequence[str]) -> int:
        """Write at the right whether the label is right; gives the column before it."""
        right = self._width - self._px(14)
        if not truth:
            return right
        mark = "✓" if label in truth else "✗"
        colour = _RIGHT if label in truth else _WRONG
        place = right, self._px(26)
        ImageDraw.Draw(self._fixed).text(place, mark, colour, self._font(16, mark), anchor="rs")
        known = f"truth: {', '.join(truth)}"
        return self._aside(self._fixed, known, right - self._px(20), colour)

    def _draw_lines(self) -> None:
        left, _, right, _ = self._plot
        # Before the first step and after the last, the nearest step holds; where a pixel holds
        # several steps, their mean is drawn.
        spans = np.array_split(np.arange(len(self._times)), min(len(self._times), right - left))
        when = np.array([0.0, *(self._times[span].mean() for span in spans), self._seconds])
        means = np.stack([self._values[span].mean(axis=0) for span in spans])
        lines = np.concatenate([means[:1], means, means[-1:]]).T
        self._curves(self._fixed, [self._x(float(time)) for time in when], lines)

    def _x(self, time: float) -> float:
        left, _, right, _ = self._plot
        return left + (right - left) * min(max(time / self._seconds, 0.0), 1.0)


def _leading(
    probabilities: Float[np.ndarray, " C"], classes: Sequence[str], truth: Sequence[str]
) -> list[int]:
    """The most probable classes, and the true one even where it is not among them."""
    order = [int(index) for index in np.argsort(-probabilities, kind="stable")]
    shown = order[: len(_COLOURS)]
    if not any(classes[index] in truth for index in shown):
        shown[len(_COLOURS) - 1 :] = [index for index in order if classes[index] in truth][:1] or (
            shown[len(_COLOURS) - 1 :]
        )
    return shown
