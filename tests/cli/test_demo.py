"""The whole way as a new user goes it: `glimpses demo`, in miniature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from glimpses import Recogniser, cli, datasets, video
from glimpses.report import report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished demo, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    import contextlib
    import io

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        patch.setenv("GLIMPSES_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert cli.run(["demo", "--quick", "--out", str(out)]) == 0
    return out, shown.getvalue()


def test_makes_and_names_everything(made: tuple[Path, str]) -> None:
    out, shown = made
    page = (out / "report.html").read_text()
    for words in ("attention", "average-pooling", "Attention", "Training", "glimpses predict"):
        assert words in page
    assert page.count("data:video/mp4;base64,") == len(list((out / "overlays").glob("*.mp4")))
    for overlay in (out / "overlays").glob("*.mp4"):
        assert video.probe(overlay).codec == "h264"
        assert str(overlay) in shown
    assert str(out / "report.html") in shown
    assert [line.split()[:2] for line in shown.splitlines() if line.startswith("  glimpses ")] == [
        ["glimpses", "explain"],
        ["glimpses", "predict"],
        ["glimpses", "check"],
        ["glimpses", "train"],
    ]


def test_again_is_quick_and_says_the_same(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = made
    weights = out / "runs" / "attention" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert cli.run(["demo", "--quick", "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["scores"]) == {"attention", "average-pooling"}
    assert 0 <= shown["aims"]["attention"]["pointing"] <= 1
    assert weights.stat().st_mtime_ns == before
    assert cli.run(["demo", "--out", str(out)]) == 1
    assert "other settings" in capsys.readouterr().err


def test_scores_are_those_of_evaluate(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = made
    assert cli.run(["evaluate", str(out / "runs" / "attention"), "--json"]) == 0
    shown, log = capsys.readouterr()
    assert "extracting" not in log  # the demo's own features are found
    scores = json.loads(shown)
    assert cli.run(["demo", "--quick", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["attention"] == scores["accuracy"]
    assert scores["n"] == 12


def test_the_run_recognises_a_video(made: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = made
    clip = datasets.load(out / "clips").clips[0]
    found = Recogniser.load(out / "runs" / "attention").predict(clip.path)
    assert found.attention is not None
    assert found.attention.shape == (30, 7, 7)
    found.draw_overlay(tmp_path / "overlay.mp4", truth=found.label)
    assert abs(video.probe(tmp_path / "overlay.mp4").seconds - 3) < 0.1


def test_report_of_one_run_of_other_data(made: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = made
    written = report(
        out / "runs" / "average-pooling",
        out=tmp_path / "page.html",
        data=out / "clips",
    )
    assert written.aims == {}
    assert "Where it looks" in written.page.read_text()
    assert len(written.overlays) <= 6


def test_clips_of_one_name_keep_their_own_overlay(made: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = made
    data = tmp_path / "data"
    for clip in datasets.load(out / "clips").clips:
        action = clip.id.split("/")[0]
        if "_008_" in clip.id:
            (data / action).mkdir(parents=True)
            shutil.copy(clip.path, data / action / "clip.avi")
    written = report(out / "runs" / "average-pooling", out=tmp_path / "page.html", data=data)
    assert len(written.overlays) == len({file.read_bytes() for file in written.overlays}) == 6
