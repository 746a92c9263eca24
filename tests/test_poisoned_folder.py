"""A folder of good clips with poisoned ones among them, through the commands."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glimpses import backbones, cli, video
from tests.fakes import GreyBackbone
from tests.video.poison import opened, poison

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and named pipes")

LIMITS = ("--clip-timeout", "1.5", "--clip-memory", "0.3")
GOOD = 50
REASONS = {
    "claims.gif": "pictures of 16000x16000 pixels",
    "crashes.avi": "crashed the decoder (SIGSEGV)",
    "empty.mp4": "is empty",
    "fills.avi": "needs more than 0.3 GB",
    "folder.mp4": "is a folder",
    "gone.mp4": "no such file",
    "hangs.avi": "returned nothing for 1.5 s",
    "pipe.mp4": "is not a regular file",
    "text.mp4": "is not a video",
    "truncated.mp4": "contains no decodable frame",
    "zeros.mp4": "is not a video",
}


def write_clip(path: Path, number: int) -> None:
    """Write a light that moves right in even clips and left in odd ones."""
    frames = np.full((6, 32, 32, 3), 20 + 2 * number, np.uint8)
    for step in range(6):
        column = 5 * (step if number % 2 == 0 else 5 - step)
        frames[step, :, column : column + 5] = 250
    video.write(path, frames, fps=10)


def write_poison(folder: Path) -> None:
    write_clip(folder / "whole.mp4", 0)
    content = (folder / "whole.mp4").read_bytes()
    (folder / "whole.mp4").unlink()
    for name in ("crashes.avi", "hangs.avi", "fills.avi"):
        (folder / name).write_bytes(content + name.encode())
    (folder / "truncated.mp4").write_bytes(content[: len(content) // 2])
    (folder / "empty.mp4").touch()
    (folder / "zeros.mp4").write_bytes(bytes(5000))
    (folder / "text.mp4").write_text("This is no video.\n" * 20)
    # A GIF of one pixel that claims to have a canvas of 0.8 GB.
    picture = bytes.fromhex("2c 0000 0000 0100 0100 00 02 02 4c01 00 3b")
    (folder / "claims.gif").write_bytes(
        b"GIF89a" + b"\x80\x3e" * 2 + bytes.fromhex("80 00 00") + bytes(6) + picture
    )
    (folder / "folder.mp4").mkdir()
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    os.mkfifo(folder / "pipe.mp4")
    if os.geteuid():
        (folder / "secret.mp4").write_bytes(content + b"secret")
        (folder / "secret.mp4").chmod(0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 50 good clips and the poisoned ones."""
    root = tmp_path_factory.mktemp("poisoned") / "clips"
    for number in range(GOOD):
        write_clip(root / ("right", "left")[number % 2] / f"{number:02}.avi", number)
    write_poison(root / "left")
    return root


@pytest.fixture(autouse=True)
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Poison the decoders, and use a fast backbone."""
    for name, value in poison(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    before = video.decode_options()
    yield tmp_path
    video.set_decode_options(before)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    code = cli.run([*map(str, arguments), *LIMITS, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def bad_names() -> set[str]:
    return {*REASONS, *(["secret.mp4"] if os.geteuid() else [])}


def test_check(clips: Path, poisoned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _ = run(capsys, "check", clips)
    assert code == 1
    assert {Path(name).name for name in result["broken"]} == bad_names()
    for name, reason in REASONS.items():
        assert reason in result["broken"][f"left/{name}"]
    readable = [clip for clip in result["clips"] if clip["problem"] is None]
    assert [clip["frames"] for clip in readable] == [6] * GOOD
    # Only in a new process does a file count as the cause; nothing is tried a third time.
    assert max(Counter(name for _, name in opened(poisoned)).values()) <= 2


def test_extract_train_evaluate_predict(
    clips: Path,
    poisoned: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    code, result, err = run(capsys, "extract", clips)
    assert code == 1
    assert set(result["clips"].values()) == {6}
    assert len(result["clips"]) == GOOD
    assert {Path(name).name for name in result["failures"]} == bad_names()
    for name, reason in REASONS.items():
        assert sum(name in line and reason in line for line in caplog.messages) == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"error: could not be read: {len(bad_names())} of ")
    assert all(name in last for name in bad_names())
    assert max(Counter(name for _, name in opened(poisoned)).values()) <= 2
    # The second time, the files that crashed or blocked a decoder come last.
    (poisoned / "opened.txt").unlink()
    for number in range(2):
        write_clip(clips / "right" / f"new{number}.avi", 100 + number)
    try:
        assert run(capsys, "extract", clips)[0] == 1
    finally:
        for number in range(2):
            (clips / "right" / f"new{number}.avi").unlink()
    order = list(dict.fromkeys(name for _, name in opened(poisoned)))
    assert set(order[-3:]) == {"crashes.avi", "fills.avi", "hangs.avi"}

    out = poisoned / "run"
    arguments = ("--out", out, "--recipe", "small", "--epochs", 1)
    code, result, err = run(capsys, "train", clips, *arguments)
    assert code == 1
    assert {Path(name).name for name in result["failures"]} <= bad_names()
    assert sum(size["clips"] for size in result["subsets"].values()) == GOOD
    assert err.splitlines()[-1].startswith("error: could not be read: ")
    code, result, err = run(capsys, "evaluate", out, "--data", clips, "--subset", "all")
    assert code == 1
    assert result["n"] == GOOD
    assert {Path(name).name for name in result["skipped"]} == bad_names()

    bad = sorted(clips / "left" / name for name in bad_names())
    code, result, err = run(capsys, "predict", out, *bad, clips / "left/01.avi")
    assert code == 1
    assert len(result["predictions"]) == 1
    assert [Path(line.split(": ")[0]) for line in result["failures"]] == bad
    table = poisoned / "table.csv"
    assert run(capsys, "predict", out, clips, "--csv", table)[0] == 1
    with table.open(newline="") as file:
        errors = {Path(row["video"]).name: row["error"] for row in csv.DictReader(file)}
    assert {name for name, error in errors.items() if error} == bad_names()
    assert len(errors) == GOOD + len(bad_names())
