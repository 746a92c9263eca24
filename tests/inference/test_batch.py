"""The predict command with --csv: every row correct, none lost, none twice."""

from __future__ import annotations

import csv
import gc
import json
import os
import resource
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from glimpses import Recogniser, backbones, cli, video
from glimpses.inference import CsvPredictions, Prediction, predict
from glimpses.inference.csv_table import PredictionRow, PredictionTable
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_grey_run, make_moving_set
from tests.power_cut import PowerCut

# Names that could confuse a CSV reader, a spreadsheet or a shell.
NAMES = ("plain.avi", 'a, "b".avi', "=1+1.avi", "-x.avi", "@é.avi", "two\nlines.avi", "cr\rlf.avi",
         "byte\udcff.avi", " space .AVI", "video", "'quoted'.avi")  # fmt: skip


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> GreyBackbone:
    grey = GreyBackbone()
    monkeypatch.setattr(backbones, "load", lambda *_, **__: grey)
    return grey


@pytest.fixture
def run(tmp_path: Path, backbone: GreyBackbone) -> Path:
    return make_grey_run(tmp_path / "run")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Six clips in two folders."""
    return make_moving_set(tmp_path / "clips", groups=3, length=9)


def tabled(run: Path, *videos: Path, **options: object) -> CsvPredictions:
    found = predict(run, *videos, **options)  # type: ignore[arg-type]
    assert isinstance(found, CsvPredictions)
    return found


def decoders() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("decoder")]


def rows(table: Path) -> dict[str, dict[str, str]]:
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        read = list(csv.DictReader(file))
    assert len({row["video"] for row in read}) == len(read)
    return {row["video"]: row for row in read}


def test_rows_equal_the_predictions(run: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "notes.txt").touch()
    (clips / ".hidden.avi").touch()
    done = tabled(run, clips, csv=tmp_path / "new" / "out.csv")
    assert (done.videos, done.new, done.ok) == (6, 6, True)
    found = rows(tmp_path / "new" / "out.csv")
    assert list(found) == sorted(file.relative_to(clips).as_posix() for file in clips.glob("*/*"))
    recogniser = Recogniser.load(run)
    for name, row in found.items():
        expected = recogniser.predict(clips / name)
        assert row["label"] == expected.label
        values = [float(row["p_back"]), float(row["p_forth"])]
        np.testing.assert_allclose(values, expected.probabilities, atol=1e-6)
        assert float(row["probability"]) == max(values)
        assert (row["steps"], row["seconds"]) == ("9", "0.800")
        assert (row["problem"], row["error"]) == ("", "")


def test_odd_names_are_preserved(
    run: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = next(clips.glob("back/*"))
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(clip, folder / name)
    found = rows(tmp_path / "out.csv") if tabled(run, folder, csv=tmp_path / "out.csv").ok else {}
    videos = {folder / name for name in NAMES if name != "video"}
    assert {folder / name for name in found} == videos
    assert all((folder / name).is_file() for name in found)
    assert not any(name.startswith(("=", "-", "@", "+")) for name in found)
    # A file may have the name of a column.
    monkeypatch.chdir(folder)
    assert tabled(run, Path("video"), csv=tmp_path / "one.csv").new == 1
    os.utime("video", (1, 1))
    assert tabled(run, Path("video"), csv=tmp_path / "one.csv").new == 1
    assert list(rows(tmp_path / "one.csv")) == ["video"]


def test_a_table_cut_at_any_byte_is_completed(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        with PredictionTable(path, ("a", "b, c"), "m") as table:
            for number, name in enumerate(NAMES):
                if name not in table.rows:
                    # A line break in the error could make half a row look complete.
                    error = 'line\n"two", three\n' if number % 2 else ""
                    shares = () if error else (0.25, 0.75)
                    table.add(
                        PredictionRow(name, (number, 10**18), probabilities=shares, error=error)
                    )

    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    fill(whole)
    content = whole.read_bytes()
    assert len(content) > 600
    for length in range(len(content)):  # even between \r and \n
        cut.write_bytes(content[:length])
        fill(cut)
        assert cut.read_bytes() == content, length
    # After a power failure there may be zeros instead of a row.
    cut.write_bytes(content[:-20] + bytes(20))
    fill(cut)
    assert cut.read_bytes() == content


def test_reported_rows_survive_a_power_cut(tmp_path: Path) -> None:
    def row(number: int) -> PredictionRow:
        return PredictionRow(f"{number}.mp4", (number, 10**18), probabilities=(0.25, 0.75))

    with (
        PowerCut(tmp_path) as cut,
        PredictionTable(tmp_path / "new" / "t.csv", ("a", "b"), "m") as table,
    ):
        for number in range(3):
            table.add(row(number))
            cut.report(f"{number}.mp4")
        cut.reported.remove("1.mp4")
        table.remove({"1.mp4"})
    disks = list(cut.disks())
    for number, disk in enumerate(disks):
        path = disk.write(tmp_path / f"disk{number}") / "new" / "t.csv"
        with PredictionTable(path, ("a", "b"), "m") as table:
            assert set(table.rows) >= set(disk.reported), disk.cut
            table.add(row(9))
        with PredictionTable(path, ("a", "b"), "m") as table:
            assert set(table.rows) <= {"0.mp4", "1.mp4", "2.mp4", "9.mp4"}, disk.cut
    assert len(disks) > 20


def test_an_interrupted_command_continues(
    run: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    tabled(run, clips, csv=tmp_path / "whole.csv")
    command = ["predict", str(run), str(clips), "--csv", str(tmp_path / "out.csv")]
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone(fail_after=4))
    assert cli.run(command) == 130
    assert len(rows(tmp_path / "out.csv")) == 4
    assert not decoders()
    again = GreyBackbone()
    monkeypatch.setattr(backbones, "load", lambda *_, **__: again)
    capsys.readouterr()
    assert cli.run([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["videos"], shown["new"], shown["failures"]) == (6, 2, {})
    assert again.frames == 2 * 9
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    # With nothing left to do, not even the CNN is loaded.
    monkeypatch.setattr(backbones, "load", None)
    assert cli.run(command) == 0


def test_failures_are_reported_and_retried_on_request(
    run: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    backbone: GreyBackbone,
) -> None:  # fmt: skip
    good, bad, table = next(clips.glob("back/*")), clips / "bad.mp4", tmp_path / "out.csv"
    bad.write_text("no video")
    command = ["predict", str(run), str(clips), "--csv", str(table)]
    for more, count in ((), 9 * 6), ((), 9 * 6), (("--retry",), 9 * 6):
        assert cli.run([*command, *more]) == 1
        out, error = capsys.readouterr()
        assert "6 of 7 videos" in out
        assert error.endswith("error: bad.mp4: is not a video; replace the file or remove it\n")
        assert backbone.frames == count
    assert rows(table)["bad.mp4"]["error"].startswith("is not a video")
    assert rows(table)["bad.mp4"]["label"] == ""
    # A changed file is read again without --retry.
    shutil.copy(good, bad)
    assert cli.run(command) == 0
    assert backbone.frames == 9 * 7
    assert rows(table)["bad.mp4"]["error"] == ""


def test_a_changed_file_is_read_again(run: Path, clips: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    tabled(run, clips, csv=table)
    before = rows(table)
    name, other = list(before)[:2]
    shutil.copyfile(next(clips.glob("forth/*")), clips / name)
    assert tabled(run, clips, csv=table).new == 1
    after = rows(table)
    assert after.keys() == before.keys()
    assert after[name] != before[name]
    assert after[other] == before[other]


def test_tables_of_other_models_are_refused(run: Path, clips: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    tabled(run, clips, csv=table)
    content = table.read_bytes()
    others = {
        "another model": make_grey_run(tmp_path / "weights"),
        "other classes": make_grey_run(tmp_path / "classes", classes=("x", "y", "z")),
    }
    slower = make_grey_run(tmp_path / "slower", fps=5.0)
    shutil.copy(run / "model.safetensors", slower / "model.safetensors")
    for message, other in (*others.items(), ("another model", slower)):
        with pytest.raises(GlimpsesError, match=message):
            predict(other, clips, csv=table)
        assert table.read_bytes() == content
    for wrong, message in ((b"a,b\n1,2\n", "is not a table of predictions"),
                           (b"a" * 140_000, "is not a table of predictions"),
                           (content.replace(b",9,", b",", 1), "row 2 is damaged")):  # fmt: skip
        table.write_bytes(wrong)
        with pytest.raises(GlimpsesError, match=message):
            predict(run, clips, csv=table)
        assert table.read_bytes() == wrong


def test_one_process_at_a_time_writes_a_table(run: Path, clips: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    with PredictionTable(table, ("a", "b"), "model") as first:
        first.add(PredictionRow("one.mp4", (1, 2), (0.25, 0.75)))
        content = table.read_bytes()
        with pytest.raises(GlimpsesError, match=r"out\.csv: another glimpses predict"):
            PredictionTable(table, ("a", "b"), "model")
        # Removing rows replaces the file; the lock still holds.
        first.remove({"one.mp4"})
        with pytest.raises(GlimpsesError, match="another glimpses predict"):
            PredictionTable(table, ("a", "b"), "model")
        first.add(PredictionRow("one.mp4", (1, 2), (0.25, 0.75)))
    with PredictionTable(table, ("a", "b"), "model") as second:
        assert list(second.rows) == ["one.mp4"]
    assert table.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir() if "out.csv" in path.name] == ["out.csv"]


def test_unwritable_paths_are_refused(run: Path, clips: Path, tmp_path: Path) -> None:
    for place, message in (
        (tmp_path, "not a regular file"),
        (Path("/dev/full"), "not a regular file"),
        (run / "config.json" / "x.csv", "cannot be written"),
    ):
        with pytest.raises(GlimpsesError, match=message):
            predict(run, clips, csv=place)


def test_a_full_disk_loses_no_row(run: Path, clips: Path, tmp_path: Path) -> None:
    tabled(run, clips, csv=tmp_path / "whole.csv")
    whole = (tmp_path / "whole.csv").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, before[1]))
    try:
        with pytest.raises(GlimpsesError, match=r"out\.csv: cannot be written \(File too large\)"):
            predict(run, clips, csv=tmp_path / "out.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not decoders()
    assert (tmp_path / "out.csv").read_bytes() == whole[: len(whole) // 2]
    assert 0 < tabled(run, clips, csv=tmp_path / "out.csv").new < 6
    assert (tmp_path / "out.csv").read_bytes() == whole


def test_predictions_are_not_kept_in_memory(
    run: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = []
    add = PredictionTable.add

    def counting(table: PredictionTable, row: PredictionRow) -> None:
        alive.append(sum(type(thing) is Prediction for thing in gc.get_objects()))
        add(table, row)

    monkeypatch.setattr(PredictionTable, "add", counting)
    tabled(run, clips, csv=tmp_path / "out.csv")
    assert len(alive) == 6
    assert max(alive) <= min(alive) + 1


def test_overlays_keep_the_folders_of_their_videos(
    run: Path, clips: Path, tmp_path: Path, backbone: GreyBackbone
) -> None:
    overlays, table = clips / "seen", tmp_path / "out.csv"
    shutil.copy(clips / "back" / "v_back_00_01.avi", clips / "back" / "v_back_00_01.mp4")
    tabled(run, clips, csv=table)
    assert tabled(run, clips, csv=table, overlay=overlays).new == 7
    made = {file.relative_to(overlays).as_posix() for file in overlays.rglob("*.mp4")}
    twins = {"back/v_back_00_01.avi.mp4", "back/v_back_00_01.mp4.mp4"}
    names = {f"{action}/v_{action}_{k:02}_01.mp4" for action in ("back", "forth") for k in range(3)}
    assert made == names - {"back/v_back_00_01.mp4"} | twins
    # Overlays are not read as videos, and only a missing one is made again.
    (overlays / "back" / "v_back_01_01.mp4").unlink()
    assert tabled(run, clips, csv=table, overlay=overlays).new == 1
    assert len(rows(table)) == 7


def test_folders_without_a_table(
    run: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = next(clips.glob("back/*"))
    assert cli.run(["predict", str(run), str(clips / "forth"), str(lone), "--json"]) == 0
    shown = [one["video"] for one in json.loads(capsys.readouterr().out)["predictions"]]
    assert shown == [*sorted(str(file) for file in clips.glob("forth/*")), str(lone)]
    tabled(run, clips / "forth", lone, csv=tmp_path / "out.csv")
    assert list(rows(tmp_path / "out.csv")) == shown
    (tmp_path / "empty").mkdir()
    for videos, options, message in (
        ([tmp_path / "empty"], {}, "contains no video"),
        ([tmp_path / "nowhere"], {"csv": tmp_path / "x.csv"}, "no such file or folder"),
        ([clips], {"retry": True}, "--retry: works with --csv only"),
    ):
        with pytest.raises(GlimpsesError, match=message):
            predict(run, *videos, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "x.csv").exists()


def test_prefetched_frames_equal_those_of_a_reader(clips: Path) -> None:
    bad = clips / "bad.avi"
    bad.touch()
    paths = [*sorted(clips.glob("*/*"))[:3], bad, *sorted(clips.glob("*/*"))[3:]]
    order = []
    with video.Prefetcher(paths, fps=25, size=16) as prefetcher:
        for index, frames in prefetcher:
            order.append(index)
            if paths[index] == bad:
                with pytest.raises(GlimpsesError, match="is empty"):
                    list(frames)
                continue
            expected = list(video.FrameReader(paths[index], fps=25, size=16))
            found = list(frames)
            assert len(found) == len(expected) > 20
            for one, other in zip(found, expected, strict=True):
                assert one.time == other.time
                assert (one.pixels == other.pixels).all()
    assert order == list(range(len(paths)))


def test_the_prefetcher_stops_when_closed(clips: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.avi"
    video.write(long, [np.zeros((16, 16, 3), np.uint8)] * 200, fps=25)
    with video.Prefetcher([long, long, long], fps=25, size=16) as prefetcher:
        _, frames = next(iter(prefetcher))
        assert next(iter(frames)).time == 0
    assert not decoders()
