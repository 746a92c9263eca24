"""`glimpses demo` in miniature."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from glimpses import Recogniser, cli, datasets, video
from glimpses.report import report


@pytest.fixture(scope="module")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished demo and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        patch.setenv("GLIMPSES_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert cli.run(["demo", "--quick", "--out", str(out)]) == 0
    return out, shown.getvalue()


def test_writes_and_lists_every_file(finished_demo: tuple[Path, str]) -> None:
    out, shown = finished_demo
    page = (out / "report.html").read_text()
    for words in (
        "attention", "average-pooling", "Attention", "Training",
        "glimpses predict", "glimpses serve",
    ):  # fmt: skip
        assert words in page
    assert page.index("The clips are generated") < page.index("Attention is the set of weights")
    assert page.index("Attention is the set of weights") < page.index("Scores</h2>")
    assert page.count("data:video/mp4;base64,") == len(list((out / "overlays").glob("*.mp4")))
    for overlay in (out / "overlays").glob("*.mp4"):
        assert video.probe(overlay).codec == "h264"
        assert str(overlay) in shown
    assert str(out / "report.html") in shown


def test_output_explains_the_clips_then_the_scores_then_the_next_commands(
    finished_demo: tuple[Path, str],
) -> None:
    _, shown = finished_demo
    score = re.search(
        r"The attention model: accuracy [\d.]+% .*on 12 test clips of 2 recordings",
        shown,
    )
    assert score is not None
    assert "always the most frequent class: 16.7%; chance level 16.7%" in shown
    assert shown.index("The clips are generated") < shown.index("Attention is") < score.start()
    next_lines = shown[shown.index("next:") :].splitlines()
    assert [line.split()[:2] for line in next_lines[1:]] == [
        ["glimpses", "serve"],
        ["glimpses", "predict"],
        ["glimpses", "explain"],
        ["glimpses", "check"],
        ["glimpses", "train"],
    ]


def test_second_run_trains_nothing_and_reports_the_same(
    finished_demo: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = finished_demo
    weights = out / "runs" / "attention" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert cli.run(["demo", "--quick", "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["scores"]) == {"attention", "average-pooling"}
    assert 0 <= shown["localisation"]["attention"]["pointing"] <= 1
    assert weights.stat().st_mtime_ns == before
    assert cli.run(["demo", "--out", str(out)]) == 1
    assert "other settings" in capsys.readouterr().err


def test_scores_equal_those_of_evaluate(
    finished_demo: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = finished_demo
    assert cli.run(["evaluate", str(out / "runs" / "attention"), "--json"]) == 0
    shown, log = capsys.readouterr()
    assert "extracting" not in log  # the demo's stored features are reused
    scores = json.loads(shown)
    assert cli.run(["demo", "--quick", "--out", str(out), "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["scores"]["attention"]["accuracy"] == scores["accuracy"]
    )
    assert scores["n"] == 12


def test_the_run_predicts_a_video(finished_demo: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = finished_demo
    clip = datasets.load(out / "clips").clips[0]
    prediction = Recogniser.load(out / "runs" / "attention").predict(clip.path)
    assert prediction.attention is not None
    assert prediction.attention.shape == (30, 7, 7)
    prediction.draw_overlay(tmp_path / "overlay.mp4", labels=prediction.label)
    assert abs(video.probe(tmp_path / "overlay.mp4").seconds - 3) < 0.1


def test_report_of_one_run_on_given_data(finished_demo: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = finished_demo
    written = report(
        out / "runs" / "average-pooling",
        out=tmp_path / "page.html",
        data=out / "clips",
    )
    assert written.localisation == {}
    assert "Where it looks" in written.page.read_text()
    assert len(written.overlays) <= 6


def test_clips_with_equal_names_get_separate_overlays(
    finished_demo: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = finished_demo
    data = tmp_path / "data"
    for clip in datasets.load(out / "clips").clips:
        action = clip.id.split("/")[0]
        if "_008_" in clip.id:
            (data / action).mkdir(parents=True)
            shutil.copy(clip.path, data / action / "clip.avi")
    written = report(out / "runs" / "average-pooling", out=tmp_path / "page.html", data=data)
    assert len(written.overlays) == len({file.read_bytes() for file in written.overlays}) == 6
