"""Import of the authors' feature files, compared with arrays that the tests lay out by hand."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from glimpses import cli, datasets, runs
from glimpses.datasets.layouts import feature_set
from glimpses.evaluation import evaluate
from glimpses.features import FRAMES_PER_PART, CubeStore, open_features, store
from glimpses.inference import Recogniser
from glimpses.report import report
from glimpses.reproduce.authors import (
    export_features,
    export_model,
    feature_import,
    import_features,
    import_model,
)
from glimpses.utils import files
from glimpses.utils.errors import GlimpsesError
from tests.configs import train
from tests.reproduce.authors import numpy_model
from tests.reproduce.authors.author_files import CHANNELS, GRID, NAMES, cubes_of, write_author_files


@pytest.fixture
def author_files(tmp_path: Path) -> Path:
    write_author_files(tmp_path / "authors")
    return tmp_path / "authors"


def test_every_number_of_a_row_is_at_its_place_in_the_cube(tmp_path: Path) -> None:
    features = write_author_files(tmp_path / "authors")
    imported = import_features(tmp_path / "authors", out=tmp_path / "data", grid=GRID)
    assert imported.frames == sum(map(len, features.values()))
    cubes_by_clip = cubes_of(tmp_path / "data")
    assert set(cubes_by_clip) == set(features)
    for name, cubes in cubes_by_clip.items():
        assert cubes.dtype == np.float16
        for frame, y, x in np.ndindex(features[name].shape[:3]):
            expected = features[name][frame, y, x].astype(np.float16)
            assert np.array_equal(cubes[frame, y * GRID + x], expected)


def test_orders_equal_numpys_reshape_orders(tmp_path: Path, author_files: Path) -> None:
    """The authors' loader reshapes in Fortran order; row-major files need C order."""
    for order, letter in (("column-major", "F"), ("row-major", "C")):
        import_features(author_files, out=tmp_path / letter, grid=GRID, order=order)  # type: ignore[arg-type]
        cubes_by_clip = cubes_of(tmp_path / letter)
        with h5py.File(author_files / "train_features.h5") as file:
            rows = file["features"][:5]
        expected = [row.reshape((GRID**2, CHANNELS), order=letter) for row in rows]
        assert np.array_equal(cubes_by_clip[NAMES[0]], np.array(expected, np.float16))


def test_imported_data_set_has_classes_groups_and_split(tmp_path: Path, author_files: Path) -> None:
    import_features(author_files, out=tmp_path / "data", grid=GRID)
    dataset = datasets.load(tmp_path / "data")
    # Classes are named after the videos' folders and ordered by label, not alphabetically.
    assert dataset.classes == ("climb", "wave")
    assert not dataset.multi_label
    assert dataset.grouped
    by_id = {clip.id: clip for clip in dataset.clips}
    assert by_id[NAMES[0]].labels == (1,)
    assert by_id[NAMES[0]].group == by_id[NAMES[1]].group == "film0"
    assert dataset.splits["listed"] == {
        "train": set(NAMES[:8]), "validation": set(NAMES[8:12]), "test": set(NAMES[12:])
    }  # fmt: skip
    features = open_features(dataset, "unused", fps=1.0)
    assert (features.backbone, features.fps, features.grid, features.channels) == (
        "authors:googlenet", 30, GRID, CHANNELS,
    )  # fmt: skip
    assert features.clips[NAMES[0]].times == pytest.approx(np.arange(5) / 30, abs=1e-6)


def test_lower_fps_keeps_every_nth_frame(tmp_path: Path) -> None:
    features = write_author_files(tmp_path / "authors", frames=11)
    import_features(tmp_path / "authors", out=tmp_path / "data", grid=GRID, fps=6)
    opened = open_features(datasets.load(tmp_path / "data"), "unused", fps=30.0)
    assert opened.fps == 6
    for name, cubes in cubes_of(tmp_path / "data").items():
        expected = features[name][::5].reshape(-1, GRID**2, CHANNELS)
        assert np.array_equal(cubes, expected.astype(np.float16))
        assert opened.clips[name].times == pytest.approx(np.arange(len(cubes)) / 6, abs=1e-6)


def test_long_clips_are_read_in_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read is longer than a slab, so memory use does not grow with the clip."""
    features = write_author_files(tmp_path / "authors", frames=FRAMES_PER_PART + 40)
    longest = 0
    original = feature_import.ClipRows.read

    def read(self: feature_import.ClipRows, start: int, stop: int, step: int) -> np.ndarray:
        nonlocal longest
        longest = max(longest, -(-(stop - start) // step))
        return original(self, start, stop, step)

    monkeypatch.setattr(feature_import.ClipRows, "read", read)
    import_features(tmp_path / "authors", out=tmp_path / "data", grid=GRID)
    assert longest == 128
    cubes_by_clip = cubes_of(tmp_path / "data")
    for name in (NAMES[0], NAMES[-1]):
        expected = features[name].reshape(-1, GRID**2, CHANNELS).astype(np.float16)
        assert np.array_equal(cubes_by_clip[name], expected)


@pytest.mark.parametrize("fail_after", [0, 3, 9])
def test_interrupted_import_continues(
    tmp_path: Path, author_files: Path, fail_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    original = CubeStore.write_part

    def write(self: CubeStore, *arguments: Any) -> None:
        nonlocal written
        if written == fail_after:
            raise KeyboardInterrupt
        written += 1
        original(self, *arguments)

    monkeypatch.setattr(CubeStore, "write_part", write)
    with pytest.raises(KeyboardInterrupt):
        import_features(author_files, out=tmp_path / "data", grid=GRID)
    assert not feature_set.matches(tmp_path / "data")
    kept, fail_after, written = written, -1, 0
    import_features(author_files, out=tmp_path / "data", grid=GRID)
    assert written == len(NAMES) - kept
    import_features(author_files, out=tmp_path / "whole", grid=GRID)
    for name, cubes in cubes_of(tmp_path / "whole").items():
        assert np.array_equal(cubes, cubes_of(tmp_path / "data")[name])


def test_finished_import_is_not_mixed_with_other_features(
    tmp_path: Path, author_files: Path
) -> None:
    first = import_features(author_files, out=tmp_path / "data", grid=GRID)
    assert import_features(author_files, out=tmp_path / "data", grid=GRID) == first
    write_author_files(author_files, seed=1)
    with pytest.raises(GlimpsesError, match="data: holds other features"):
        import_features(author_files, out=tmp_path / "data", grid=GRID)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    with pytest.raises(GlimpsesError, match="mine: is not empty"):
        import_features(author_files, out=tmp_path / "mine", grid=GRID)


def test_full_disk_is_detected_before_the_import(
    tmp_path: Path, author_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    with pytest.raises(GlimpsesError, match="need about 2 kB, but 1 B are free; lower --fps"):
        import_features(author_files, out=tmp_path / "data", grid=GRID)
    assert not (tmp_path / "data").exists()


def test_multi_label_rows_become_labels(tmp_path: Path) -> None:
    write_author_files(tmp_path / "authors", labels=["0,1,0", "1,1,0", "0,0,1", "1,0,0"] * 2)
    (tmp_path / "names.txt").write_text("Eat\nRun\nKiss\n")
    import_features(
        tmp_path / "authors", out=tmp_path / "data", grid=GRID, classes=tmp_path / "names.txt"
    )
    dataset = datasets.load(tmp_path / "data")
    assert dataset.multi_label
    assert dataset.classes == ("Eat", "Run", "Kiss")
    by_id = {clip.id: clip.labels for clip in dataset.clips}
    assert [by_id[name] for name in NAMES[:4]] == [(1,), (0, 1), (2,), (0,)]


def test_import_without_train_and_test_files_has_no_split(
    tmp_path: Path, author_files: Path
) -> None:
    for file in author_files.glob("t*"):
        file.rename(author_files / f"x{file.name}")
    import_features(author_files, out=tmp_path / "data", grid=GRID)
    dataset = datasets.load(tmp_path / "data")
    assert len(dataset.clips) == 4
    assert not dataset.splits


def test_recording_in_two_subsets_is_warned_about_and_kept(
    tmp_path: Path, author_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = author_files / "test_filename.txt"
    file.write_text(file.read_text().replace("film3", "film0").replace("goo", "bad"))
    import_features(author_files, out=tmp_path / "data", grid=GRID)
    assert "1 recordings have clips in several subsets of the split (film0" in caplog.text
    split = datasets.split(datasets.load(tmp_path / "data"))
    assert [len(side) for side in (split.train, split.validation, split.test)] == [8, 4, 4]


def edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("".join(f"{line}\n" for line in change(lines)))

    return do


def truncate(folder: Path) -> None:
    whole = (folder / "valid_features.h5").read_bytes()
    (folder / "valid_features.h5").write_bytes(whole[:-200])


def replace_arrays(**arrays: Any) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        with h5py.File(folder / "test_features.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array

    return do


def repeat_clips(folder: Path) -> None:
    for what in ("filename", "framenum", "labels"):
        shutil.copy(folder / f"valid_{what}.txt", folder / f"test_{what}.txt")
    shutil.copy(folder / "valid_features.h5", folder / "test_features.h5")


def no_array(folder: Path) -> None:
    with h5py.File(folder / "test_features.h5", "w") as file:
        file.create_group("features")


def add_huge_number(folder: Path) -> None:
    with h5py.File(folder / "test_features.h5", "a") as file:
        file["features"][7, 3] = 1e6


ALTERED = {
    "line lost": (edit("train_labels.txt", lambda x: x[1:]), "train_labels.txt: has 7 lines, but"),
    "line doubled": (edit("test_framenum.txt", lambda x: [*x, x[0]]), "test_framenum.txt: has 5"),
    "name doubled": (edit("test_filename.txt", lambda x: [x[1], *x[1:]]), "is listed twice"),
    "line empty": (edit("test_labels.txt", lambda x: [x[0], "", *x[2:]]), "line 2 is empty"),
    "count wrong": (edit("test_framenum.txt", lambda x: ["9", *x[1:]]), "has 23 frames, but"),
    "count none": (edit("test_framenum.txt", lambda x: ["0", *x[1:]]), "line 1 is '0', must be"),
    "count odd": (edit("test_framenum.txt", lambda x: ["²", *x[1:]]), "line 1 is '²', must be"),
    "label word": (edit("train_labels.txt", lambda x: [*x[:3], "wave", *x[4:]]), "line 4 is 'wave"),
    "label minus": (edit("train_labels.txt", lambda x: ["-1", *x[1:]]), "line 1 is '-1'"),
    "label beyond": (edit("train_labels.txt", lambda x: ["1", "2", *x[2:]]), "line 2 has more"),
    "label vast": (edit("test_labels.txt", lambda x: ["9" * 30, *x[1:]]), "a whole number from 0"),
    "labels mixed": (edit("train_labels.txt", lambda x: ["1", "0,1", *x[2:]]), "line 2 is '0,1'"),
    "forms mixed": (edit("test_labels.txt", lambda x: ["0,1"] * len(x)), "have different formats"),
    "row short": (edit("test_labels.txt", lambda x: ["0,1", "1", "0,1", "1,0"]), "line 2 is '1'"),
    "row of 2": (edit("test_labels.txt", lambda x: ["0,2"] * len(x)), "must be a row of 2 flags"),
    "file gone": (lambda f: (f / "valid_labels.txt").unlink(), "valid_labels.txt: cannot be read"),
    "h5 gone": (lambda f: (f / "valid_features.h5").unlink(), "valid_features.h5: "),
    "no text": (lambda f: (f / "test_labels.txt").write_bytes(b"\xff\xfe0"), "is not UTF-8 text"),
    "h5 cut": (truncate, "valid_features.h5: is not an HDF5 file, or is truncated"),
    "h5 text": (lambda f: (f / "test_features.h5").write_text("0 1 2"), "is not an HDF5 file"),
    "other array": (
        replace_arrays(labels=np.ones((23, 12))),
        "has no two-dimensional float array 'features'",
    ),
    "whole numbers": (
        replace_arrays(features=np.ones((23, 12), int)),
        "has no two-dimensional float array 'features'",
    ),
    "group": (no_array, "has no two-dimensional float array"),
    "other grid": (
        replace_arrays(features=np.ones((23, 13))),
        "13 numbers per frame do not fit a grid of 2 x 2",
    ),
    "other width": (replace_arrays(features=np.ones((23, 16))), "has 16 numbers per frame, but"),
    "no number": (
        replace_arrays(features=np.full((23, 12), np.nan)),
        "contain NaN or numbers too large",
    ),
    "too large": (add_huge_number, "contain NaN or numbers too large"),
    "on two sides": (repeat_clips, "is listed here and in valid_filename.txt"),
    "all gone": (
        lambda f: [file.unlink() for file in f.glob("*_*")],
        "has no feature files in the authors' format",
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_files_are_refused_in_one_line(
    name: str, tmp_path: Path, author_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alter, message = ALTERED[name]
    alter(author_files)
    (author_files / "classes.txt").write_text("climb\nwave\n")
    out = tmp_path / "data"
    arguments = ["import-features", str(author_files), "--out", str(out), "--grid", "2"]
    assert cli.run(arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert str(author_files) in line
    assert not feature_set.matches(out)


def test_missing_h5py_is_reported_with_the_command_to_install_it(
    tmp_path: Path, author_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[hdf5\]'"):
        import_features(author_files, out=tmp_path / "data", grid=GRID)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[hdf5\]'"):
        export_features(tmp_path / "nowhere", out=tmp_path / "out")


def test_commands_work_on_imported_features(
    tmp_path: Path, author_files: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Import, train, evaluate and report without videos; refuse to predict a video."""
    data, out = tmp_path / "data", tmp_path / "run"
    import_features(author_files, out=data, grid=GRID)
    arguments = ["train", str(data), "--out", str(out), "--model", "authors", "--block-length", "4",
                 "--hidden-size", "4", "--epochs", "2", "--batch-size", "4", "--no-channel-norm",
                 "--authors.attention-layers", "2", "--authors.selector"]  # fmt: skip
    assert cli.run(arguments) == 0
    assert "glimpses predict" not in capsys.readouterr().out
    config = runs.read_config(out)
    assert (config.data.backbone, config.data.fps) == ("authors:googlenet", 30)
    assert config.model.options.authors is not None
    assert config.model.options.authors.attention_layers == 2
    assert config.model.options.authors.selector
    assert cli.run(arguments) == 0  # the same run
    scores = evaluate(out)
    assert len(scores.clips) == 4
    written = report(out, out=tmp_path / "report.html")
    assert not written.overlays
    page = (tmp_path / "report.html").read_text()
    assert "only the features of these clips are available" in page
    assert "glimpses predict" not in page
    with pytest.raises(GlimpsesError, match="these features were imported from files"):
        Recogniser.load(out)
    capsys.readouterr()
    assert cli.run(["predict", str(out), "clip.mp4"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    # Export the model and import it again.
    export_model(out, out=tmp_path / "model.npz")
    import_model(
        tmp_path / "model.npz", out=tmp_path / "again", data=data, grid=GRID, block_length=4
    )
    caplog.clear()
    assert evaluate(tmp_path / "again").to_json()["accuracy"] == scores.to_json()["accuracy"]
    # In a copied folder the clips that the model was trained on are still left out.
    shutil.copytree(data, tmp_path / "copy")
    assert len(evaluate(tmp_path / "again", data=tmp_path / "copy").clips) == 4


def test_features_of_another_network_warn_and_of_another_shape_are_refused(
    tmp_path: Path, author_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import_features(author_files, out=tmp_path / "data", grid=GRID, network="vgg")
    arrays = numpy_model.draw(0, channels=CHANNELS, hidden=4, inner=4, classes=2)
    numpy_model.save(tmp_path / "model.npz", arrays)
    (tmp_path / "names.txt").write_text("climb\nwave\n")
    import_model(tmp_path / "model.npz", out=tmp_path / "run", classes=tmp_path / "names.txt",
                 grid=GRID)  # fmt: skip
    assert len(evaluate(tmp_path / "run", data=tmp_path / "data").clips) == len(NAMES)
    assert (
        "on features of authors:googlenet at 30.0 fps, but these are of authors:vgg" in caplog.text
    )
    with pytest.raises(GlimpsesError, match="run: was imported without a data set"):
        evaluate(tmp_path / "run")
    import_model(tmp_path / "model.npz", out=tmp_path / "seven", classes=tmp_path / "names.txt")
    with pytest.raises(GlimpsesError, match="has features of 4 places x 3 channels, but"):
        evaluate(tmp_path / "seven", data=tmp_path / "data")


def test_missing_imported_features_are_reported_in_one_line(
    tmp_path: Path, author_files: Path
) -> None:
    import_features(author_files, out=tmp_path / "data", grid=GRID)
    known = json.loads((tmp_path / "data" / feature_set.INDEX).read_text())
    digest = known["clips"][0]["digest"]
    whole = cubes_of(tmp_path / "data")
    cubes = tmp_path / "data" / feature_set.CUBES
    part = CubeStore(cubes)._part_path(digest, 0)

    def flip_bits() -> None:
        for file in cubes.rglob("*.safetensors"):
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)

    for damage in (part.unlink, flip_bits):
        damage()
        # As in a new process.
        store._verified_offset.cache_clear()
        problem = rf"^{cubes}/.*: is damaged \(.*\); import the features again$"
        with pytest.raises(GlimpsesError, match=problem):
            train(tmp_path / "data", out=tmp_path / "run")
        # Importing again repairs the data set.
        import_features(author_files, out=tmp_path / "data", grid=GRID)
        np.testing.assert_equal(cubes_of(tmp_path / "data"), whole)
    shutil.rmtree(part.parent)
    with pytest.raises(GlimpsesError, match="are missing; import the features again"):
        train(tmp_path / "data", out=tmp_path / "run")
    for text in ("{", json.dumps({**known, "format": 9}), "[]", json.dumps({"format": 1})):
        (tmp_path / "data" / feature_set.INDEX).write_text(text)
        with pytest.raises(
            GlimpsesError, match=r"features\.json: (is|has) .*import the features again"
        ):
            datasets.load(tmp_path / "data")
