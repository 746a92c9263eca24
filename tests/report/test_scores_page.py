"""The report page: complete, safe and self-contained."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glimpses.evaluation.pointing_game import LocalisationScores
from glimpses.report.scores_page import (
    CaptionedVideo,
    ConfusionMatrix,
    ScoresPage,
    TrainingCurves,
    write_scores_page,
)
from glimpses.runs import ClassScore, ScoreValue
from glimpses.utils.errors import GlimpsesError
from glimpses.video import read
from glimpses.viz import draw_filmstrip
from tests.viz.clips import grey_clip, model_output

HOSTILE = "<script>alert('&amp;')</script> \"🏃\" <img src=http://evil.example/x.png>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Parser that collects tags, URLs and text of a page; fails if a tag is not closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
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
            self.text += re.sub(r"\s+", " ", data)


@pytest.fixture
def scores_page(tmp_path: Path) -> ScoresPage:
    """Page with all its parts, and hostile names."""
    clip = grey_clip(tmp_path / "clip & co.mp4", count=4)
    outputs = model_output(steps=4) | {"classes": [HOSTILE, "jump", "{{ 7 * 7 }}"]}
    curves = {
        "training loss": [2.0, 1.0],
        "validation loss": [2.0, 1.5],
        "validation mAP": [0.1, 0],
    }
    return ScoresPage(
        title=f"Report {HOSTILE}",
        summary=["First.", HOSTILE],
        scores={
            HOSTILE: {"accuracy": ScoreValue(0.673, (0.512, 0.789)), "mAP": ScoreValue(0.7)},
            "pooling": {"accuracy": ScoreValue(0.34)},
        },
        samples={HOSTILE: "72 test clips of 12 recordings"},
        chance={"accuracy": 1 / 6},
        majority={"accuracy": 0.257},
        classes={HOSTILE: ClassScore(12, 6, ScoreValue(0.431), None)},
        localisation={
            HOSTILE: LocalisationScores(120, 0.62, 0.128, 0.81, 0.25),
            "no actor visible": LocalisationScores.mean([]),
        },
        videos=[CaptionedVideo(clip, HOSTILE)],
        correct=[draw_filmstrip(clip, **outputs)],
        misclassified=[
            draw_filmstrip(clip, **outputs, labels=[HOSTILE, "x"]),
            draw_filmstrip(clip, **outputs, labels="nothing"),
        ],
        training=[TrainingCurves(HOSTILE, curves, best_epoch=1)],
        confusions=[ConfusionMatrix(HOSTILE, np.array([[3, 1], [2, 0]]), [HOSTILE, "jump"])],
        settings={HOSTILE: HOSTILE},
        next_commands=[(f"glimpses predict {HOSTILE}", HOSTILE)],
    )


def parse_page(out: Path, scores_page: ScoresPage) -> Page:
    write_scores_page(out, scores_page)
    return Page(out.read_text(encoding="utf-8"))


def test_the_page_shows_everything(tmp_path: Path, scores_page: ScoresPage) -> None:
    text = parse_page(tmp_path / "report.html", scores_page).text

    for expected in (
        "67.3%", "51.2 to 78.9", "34.0%", "16.7%", "25.7%", "72 test clips of 12 recordings",
        "43.1%", "62.0%", "12.8%", "81.0%", "25.0%",
    ):  # fmt: skip
        assert expected in text
    for heading in ("Scores", "Attention", "Classified correctly", "Misclassified", "Training"):
        assert heading in text
    assert "jump classified as <script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "nan" not in text


def test_the_page_requests_nothing_from_any_host(tmp_path: Path, scores_page: ScoresPage) -> None:
    shown = parse_page(tmp_path / "report.html", scores_page)

    # A video, its poster, three strips of four frames, a plot of each quantity, a confusion matrix
    assert len(shown.urls) == 2 + 12 + 2 + 1
    assert all(url.startswith("data:") for url in shown.urls)
    assert "link" not in shown.tags
    style = re.search(r"<style>.*?</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert style
    assert not re.search(r"url\(|@import", style[0])
    assert any(value.startswith("default-src 'none'") for value in shown.attributes)


def test_names_are_escaped(tmp_path: Path, scores_page: ScoresPage) -> None:
    shown = parse_page(tmp_path / "report.html", scores_page)

    assert "script" not in shown.tags
    assert shown.tags.count("img") == 12 + 2 + 1
    assert shown.text.count(HOSTILE) >= 10


def test_videos_are_embedded_whole(tmp_path: Path, scores_page: ScoresPage) -> None:
    shown = parse_page(tmp_path / "report.html", scores_page)

    (video,) = (url for url in shown.urls if url.startswith("data:video/mp4;base64,"))
    assert base64.b64decode(video.partition(",")[2]) == scores_page.videos[0].video.read_bytes()
    assert "--shape: 1.5" in shown.attributes
    # The poster is the frame at one second.
    page = (tmp_path / "report.html").read_text("utf-8")
    (poster,) = re.findall('poster="data:image/jpeg;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(poster))) as image:
        picture = np.asarray(image).astype(int)
    frames = read(scores_page.videos[0].video, fps=2, size=None).frames
    assert np.abs(picture - frames[:3][-1]).mean() < 4


def test_the_same_page_gives_the_same_bytes(tmp_path: Path, scores_page: ScoresPage) -> None:
    write_scores_page(tmp_path / "a.html", scores_page)
    write_scores_page(tmp_path / "b.html", scores_page)

    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_title_alone_is_enough(tmp_path: Path) -> None:
    shown = parse_page(tmp_path / "new folder" / "report.html", ScoresPage("Nothing yet"))

    assert shown.text.split() == ["Nothing", "yet", "Nothing", "yet"]


def test_a_failed_write_keeps_the_old_page(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("the old one")

    with pytest.raises(GlimpsesError, match=r"gone\.mp4"):
        write_scores_page(
            out, ScoresPage("New", videos=[CaptionedVideo(tmp_path / "gone.mp4", "")])
        )

    assert out.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [out]
