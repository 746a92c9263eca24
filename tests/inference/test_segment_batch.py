"""The predict command with --segments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glimpses import Recogniser, SegmentOptions, backbones, cli
from glimpses.segments import read_segments
from tests.fakes import GreyBackbone, make_grey_run, make_moving_set


def test_segments_are_written_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = GreyBackbone()
    monkeypatch.setattr(backbones, "load", lambda *_, **__: grey)
    run, clips = make_grey_run(tmp_path / "run"), make_moving_set(tmp_path / "clips", groups=2)
    (clips / "bad.mp4").write_text("no video")
    table = tmp_path / "out.csv"
    options = ["--threshold", "0.3", "--min-length", "0"]
    command = ["predict", str(run), str(clips), "--segments", str(table), *options]
    assert cli.run([*command, "--json"]) == 1
    out, error = capsys.readouterr()
    assert "bad.mp4: is not a video" in error
    written = read_segments(table)
    assert len(json.loads(out)["segments"]) == len(written) >= 4
    recogniser = Recogniser.load(run)
    for path in sorted(clips.glob("*/*.avi")):
        name = path.relative_to(clips).as_posix()
        expected = recogniser.segments(path, SegmentOptions(threshold=0.3, min_length=0))
        assert [
            (one.label, one.start, one.end, one.frames, one.box, one.peak)
            for one in written
            if one.file == name
        ] == [(one.label, one.start, one.end, one.frames, one.box, one.peak) for one in expected]
    grey.frames = 0
    overlays = tmp_path / "overlays"
    command += ["--overlay", str(overlays)]
    assert cli.run([*command, "--segments-format", "label-studio"]) == 1
    assert grey.frames == 0
    assert len(list(overlays.rglob("*.mp4"))) == 4
    assert "in 4 of 5 videos" in " ".join(capsys.readouterr().out.split())
    for more, message in (
        (["--segments", str(tmp_path / "a.xyz")], "no format of segments ends like this"),
        (["--segments", str(tmp_path / "a.vtt")], "describes one video"),
        (["--segments", str(table), "--csv", "b.csv"], "cannot be combined"),
        (["--segments", str(table), "--threshold", "0"], "--threshold 0: must be above 0"),
        (["--min-length", "1"], "work with --segments only"),
        (["--segments", str(table), "--stride", "99"], "stride 99"),
    ):
        assert cli.run(["predict", str(run), str(clips), *more]) == 1
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1
