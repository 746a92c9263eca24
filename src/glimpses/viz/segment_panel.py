"""Panel below overlay videos of long recordings: a timeline of coloured segments."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from glimpses.segments import Segment
from glimpses.viz.panel_layout import BACKGROUND, COLOURS, FAINT, INK, QUIET, PanelLayout

_ROW = 18.0


class SegmentPanel(PanelLayout):
    """Panel of the segments of a video: a row for each class, and the present ones in the header.

    The classes with most time have a row; the static parts are drawn once.

    Args:
        width: width in pixels.
        scale: scale of text and lines; class names are 12 pixels high at 1.
        segments: the segments of the video.
        duration: length of the video in seconds.
    """

    def __init__(
        self, width: int, scale: float, *, segments: Sequence[Segment], duration: float
    ) -> None:
        seconds: dict[str, float] = {}
        for one in segments:
            seconds[one.label] = seconds.get(one.label, 0.0) + one.duration
        longest = sorted(seconds, key=lambda label: (-seconds[label], label))[: len(COLOURS)]
        self._rows = {label: row for row, label in enumerate(sorted(longest))}
        super().__init__(width, scale, 0)
        self.height = self._px(46 + _ROW * max(len(self._rows), 1) + 24) // 2 * 2
        self._segments = segments
        self._duration = max(duration, max((one.end for one in segments), default=0.0), 1e-3)
        self._background = self._blank()
        self._draw_rows()

    def draw(self, time: float) -> Image.Image:
        """Draw the panel at a time in seconds."""
        image = self._background.copy()
        current = [one for one in self._segments if one.start <= time < one.end]
        right = self._draw_aside(image, _clock(time), self._width - self._px(14))
        text = ", ".join(one.label for one in current) or "no action"
        score = current[0].score if len(current) == 1 else None
        self._draw_header(image, text, score, right)
        left, top, _, bottom = self._lanes
        x = round(self._x(time))
        half = max(self._px(1), 1)
        pen = ImageDraw.Draw(image)
        pen.rectangle((max(x - half, left), top - half, x + half - 1, bottom + half), INK)
        return image

    def _draw_rows(self) -> None:
        left, top, right, bottom = self._lanes
        pen = ImageDraw.Draw(self._background)
        pad = self._px(3)
        for label, row in self._rows.items():
            y = top + self._px(_ROW * row)
            text = self._fit_text(label, 12, left - self._px(28))
            place = self._px(14), y + self._px(13)
            pen.text(place, text, INK, self._font(12, text), anchor="ls")
            pen.rectangle((left, y + pad, right, y + self._px(_ROW) - pad), FAINT)
        for one in self._segments:
            if one.label not in self._rows:
                continue
            row = self._rows[one.label]
            y = top + self._px(_ROW * row)
            # One pixel of background separates neighbours.
            first, last = round(self._x(one.start)), round(self._x(one.end)) - 1
            box = (first, y + pad, max(first, last - 1), y + self._px(_ROW) - pad)
            pen.rectangle(box, COLOURS[row])
            pen.line((last + 1, box[1], last + 1, box[3]), BACKGROUND)
        font, base = self._font(10), bottom + self._px(15)
        pen.text((left, base), "0:00", QUIET, font, anchor="ls")
        pen.text((right, base), _clock(self._duration), QUIET, font, anchor="rs")

    @property
    def _lanes(self) -> tuple[int, int, int, int]:
        """Box of the timeline: left, top, right, bottom."""
        top = self._px(42)
        bottom = top + self._px(_ROW * max(len(self._rows), 1))
        return round(0.28 * self._width), top, self._width - self._px(16), bottom

    def _x(self, time: float) -> float:
        left, _, right, _ = self._lanes
        return left + (right - left) * min(max(time / self._duration, 0.0), 1.0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
