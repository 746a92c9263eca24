"""Files survive a kill and a simulated power cut: whole, or as they were before."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glimpses.utils import files
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, durable_replace, sweep
from tests.power_cut import Disk, PowerCut


def write_twice(cut: PowerCut, path: Path) -> None:
    for text in ("first", "second"):
        with atomic_write(path) as part:
            part.write_text(text)
        cut.report(text)


def is_right(disk: Disk, name: str) -> bool:
    """The file is one that was written, and none older than reported; no file before that."""
    texts = ["first", "second"][max(len(disk.reported) - 1, 0) :]
    allowed = {text.encode() for text in texts} | ({None} if not disk.reported else set())
    return disk.files.get(name) in allowed


def test_a_power_cut_leaves_the_old_or_the_new_file(
    tmp_path: Path,
) -> None:
    with PowerCut(tmp_path) as cut:
        write_twice(cut, tmp_path / "run" / "new" / "scores.json")
    wrong = [disk for disk in cut.disks() if not is_right(disk, "run/new/scores.json")]
    assert not wrong
    assert {disk.files.get("run/new/scores.json") for disk in cut.disks()} == {
        None, b"first", b"second",
    }  # fmt: skip


@pytest.mark.parametrize("forgotten", ["file", "folder", "new folder"])
def test_the_simulation_notices_each_missing_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    if forgotten == "file":
        monkeypatch.setattr(files, "durable_replace", lambda old, new: old.replace(new))
    elif forgotten == "folder":
        monkeypatch.setattr(files, "sync_folder", lambda _: None)
    else:
        monkeypatch.setattr(files, "make_folder", lambda folder: folder.mkdir(exist_ok=True))
    with PowerCut(tmp_path) as cut:
        write_twice(cut, tmp_path / "run" / "scores.json")
    assert any(not is_right(disk, "run/scores.json") for disk in cut.disks())


def test_a_disk_error_is_reported_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with (
        pytest.raises(GlimpsesError, match=r"cannot be written \(Input/output error\)"),
        atomic_write(path) as part,
    ):
        part.write_text("new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_that_cannot_be_synchronised_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.fsync

    def refuse_folders(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(22, "Invalid argument")
        original(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with atomic_write(tmp_path / "new" / "a.json") as part:
        part.write_text("text")
    assert (tmp_path / "new" / "a.json").read_text() == "text"


def test_what_a_living_process_writes_is_not_swept(tmp_path: Path) -> None:
    other = "from pathlib import Path; from glimpses.utils.files import sweep; sweep(Path('.'))"
    with atomic_write(tmp_path / "clip.json") as part:
        part.write_text("half")
        # However old it is.
        os.utime(part, (0, 0))
        subprocess.run([sys.executable, "-c", other], cwd=tmp_path, check=True)
        sweep(tmp_path)
        assert part.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.json"]


def test_leftovers_of_a_killed_process_are_swept_at_the_next_write(tmp_path: Path) -> None:
    killed = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from glimpses.utils.files import atomic_write\n"
        "with atomic_write(Path('clip.json')) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", killed], cwd=tmp_path, check=False)
    assert process.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".part-")
    # Files of other programs and folders are none of ours.
    (tmp_path / ".part-of-my-life.txt").touch()
    (tmp_path / ".part-abcdefgh").mkdir()
    with atomic_write(tmp_path / "other.json") as part:
        part.write_text("whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"other.json", ".part-of-my-life.txt", ".part-abcdefgh"}


def test_a_file_swept_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, swept = fcntl.flock, []

    def sweep_first(handle: int, operation: int) -> None:
        if not swept:
            swept.append(Path(f"/proc/self/fd/{handle}").readlink())
            swept[0].unlink()
        original(handle, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with atomic_write(tmp_path / "a.json") as part:
        part.write_text("whole")
    assert swept
    assert (tmp_path / "a.json").read_text() == "whole"


@pytest.mark.parametrize(("age", "left"), [(10, 1), (7200, 0)])
def test_without_locks_only_old_files_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, left: int
) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    leftover = tmp_path / ".part-abcd_123.json"
    leftover.touch()
    os.utime(leftover, (time.time() - age,) * 2)
    with atomic_write(tmp_path / "a.json") as part:
        part.write_text("whole")
    assert leftover.exists() == bool(left)
    assert (tmp_path / "a.json").read_text() == "whole"


def save_video(path: Path) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16  # type: ignore[attr-defined]
        out.mux(stream.encode(None))  # type: ignore[attr-defined]


def save_hdf5(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", locking=False) as file:
        file["a"] = [1]


def save_array(path: Path) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def save_picture(path: Path) -> None:
    from PIL import Image

    Image.new("L", (2, 2)).save(path, format="png")


def save_graph(path: Path) -> None:
    import onnx

    onnx.save(onnx.ModelProto(), path)


@pytest.mark.parametrize("save", [save_video, save_hdf5, save_array, save_picture, save_graph])
def test_libraries_write_into_the_locked_file(tmp_path: Path, save: Callable[[Path], None]) -> None:
    with atomic_write(tmp_path / "file.mp4") as part:
        before = part.stat().st_ino
        save(part)
        # A new file in its place would not be locked.
        assert part.stat().st_ino == before
        sweep(tmp_path)
        assert part.exists()


def test_a_finished_file_is_moved(tmp_path: Path) -> None:
    (tmp_path / "a.part").write_text("whole")
    durable_replace(tmp_path / "a.part", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_text() == "whole"
