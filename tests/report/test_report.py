"""The report page: whole, harmless, and in need of nothing but itself."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from glimpses.evaluation.pointing_game import LocalisationScores
from glimpses.report.scores_page import Confusion, Movie, Report, Training, write_report
from glimpses.utils.errors import GlimpsesError
from glimpses.viz import strip
from tests.viz.clips import grey_clip, output

HOSTILE = "<script>alert('&amp;')</script> \"🏃\" <img src=http://evil.example/x.png>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Takes a page apart, and fails where a tag is not closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.attributes: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append(value or "")
            if name in {"src", "href", "srcset", "poster", "action", "data"}:
                self.urls.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += re.sub(r"\s+", " ", data)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Everything a report can show, under the worst of names."""
    clip = grey_clip(tmp_path / "clip & co.mp4", count=4)
    said = output(steps=4) | {"classes": [HOSTILE, "jump", "{{ 7 * 7 }}"]}
    curves = {
        "training loss": [2.0, 1.0],
        "validation loss": [2.0, 1.5],
        "validation mAP": [0.1, 0],
    }
    return Report(
        title=f"Report {HOSTILE}",
        summary=["First.", HOSTILE],
        scores={HOSTILE: {"accuracy": 0.673, "mAP": 0.7}, "pooling": {"accuracy": 0.34}},
        chance={"accuracy": 1 / 6},
        aims={
            HOSTILE: LocalisationScores(120, 0.62, 0.128, 0.81, 0.25),
            "nobody seen": LocalisationScores.mean([]),
        },
        movies=[Movie(clip, HOSTILE)],
        right=[strip(clip, **said)],
        wrong=[strip(clip, **said, truth=[HOSTILE, "x"]), strip(clip, **said, truth="nothing")],
        training=[Training(HOSTILE, curves, best_epoch=1)],
        confusions=[Confusion(HOSTILE, np.array([[3, 1], [2, 0]]), [HOSTILE, "jump"])],
        settings={HOSTILE: HOSTILE},
        next_commands=[(f"glimpses predict {HOSTILE}", HOSTILE)],
    )


def page(out: Path, report: Report) -> Page:
    write_report(out, report)
    return Page(out.read_text(encoding="utf-8"))


def test_shows_all_it_was_given(tmp_path: Path, report: Report) -> None:
    words = page(tmp_path / "report.html", report).words

    for expected in ("67.3%", "34.0%", "16.7%", "62.0%", "12.8%", "81.0%", "25.0%"):
        assert expected in words
    for heading in ("Scores", "Attention", "Recognised", "Not recognised", "Training"):
        assert heading in words
    assert "jump taken for <script>" in words
    assert "{{ 7 * 7 }}" in words
    assert "nan" not in words


def test_asks_nothing_of_any_host(tmp_path: Path, report: Report) -> None:
    shown = page(tmp_path / "report.html", report)

    # A movie, three strips of four frames, a plot for each quantity, a confusion matrix.
    assert len(shown.urls) == 1 + 12 + 2 + 1
    assert all(url.startswith("data:") for url in shown.urls)
    assert "link" not in shown.tags
    style = re.search(r"<style>.*?</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import", style[0])
    assert any(value.startswith("default-src 'none'") for value in shown.attributes)


def test_names_are_text_and_never_markup(tmp_path: Path, report: Report) -> None:
    shown = page(tmp_path / "report.html", report)

    assert "script" not in shown.tags
    assert shown.tags.count("img") == 12 + 2 + 1
    assert shown.words.count(HOSTILE) >= 10


def test_movies_are_embedded_whole(tmp_path: Path, report: Report) -> None:
    shown = page(tmp_path / "report.html", report)

    (movie,) = (url for url in shown.urls if url.startswith("data:video/mp4;base64,"))
    assert base64.b64decode(movie.partition(",")[2]) == report.movies[0].video.read_bytes()
    assert "--shape: 1.5" in shown.attributes


def test_equal_reports_give_equal_files(tmp_path: Path, report: Report) -> None:
    write_report(tmp_path / "a.html", report)
    write_report(tmp_path / "b.html", report)

    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_title_is_enough(tmp_path: Path) -> None:
    shown = page(tmp_path / "new folder" / "report.html", Report("Nothing yet"))

    assert shown.words.split() == ["Nothing", "yet", "Nothing", "yet"]


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("the old one")

    with pytest.raises(GlimpsesError, match=r"gone\.mp4"):
        write_report(out, Report("New", movies=[Movie(tmp_path / "gone.mp4", "")]))

    assert out.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [out]
