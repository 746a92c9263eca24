"""The authors' feature files, in and out, against arrays laid by hand."""

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

from authors import theirs
from fakes import GreyBackbone, make_moving_set
from glimpses import backbones, cli, datasets, files, runs
from glimpses.authors import importing
from glimpses.authors.exporting import export_features
from glimpses.authors.importing import import_features
from glimpses.authors.model import export_model, import_model
from glimpses.datasets import stored
from glimpses.errors import GlimpsesError
from glimpses.evaluation import evaluate
from glimpses.features import PART, CubeStore, gather
from glimpses.recogniser import Recogniser
from glimpses.report import report
from glimpses.training import train

GRID, CHANNELS = 2, 3
# Their file names; films of several clips, two actions.
NAMES = [
    f"{action}/film{film}_{action}_f_cm_np1_le_goo_{clip}.avi"
    for film in range(4)
    for action in ("wave", "climb")
    for clip in range(2)
]


def write_theirs(
    folder: Path, *, labels: list[str] | None = None, seed: int = 0, frames: int = 5
) -> dict[str, np.ndarray]:
    """Files of three sides; gives each clip's features as (frames, row, column, channel).

    Laid out number by number: place p = row * K + column of channel d is number p + K*K d.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    known = {}
    for side, prefix in enumerate(("train", "valid", "test")):
        names = NAMES[:8] if side == 0 else NAMES[4 + 4 * side : 8 + 4 * side]
        lengths = [frames + number % 3 for number in range(len(names))]
        rows = np.zeros((sum(lengths), GRID * GRID * CHANNELS), np.float32)
        row = 0
        for name, length in zip(names, lengths, strict=True):
            known[name] = rng.normal(size=(length, GRID, GRID, CHANNELS)).astype(np.float32)
            for frame in range(length):
                for (y, x, channel), value in np.ndenumerate(known[name][frame]):
                    rows[row, y * GRID + x + GRID * GRID * channel] = value
                row += 1
        with h5py.File(folder / f"{prefix}_features.h5", "w") as file:
            file.create_dataset("features", data=rows, maxshape=(None, None))
        own = labels or ["1" if name.startswith("wave") else "0" for name in names]
        for what, lines in (("filename", names), ("framenum", lengths), ("labels", own)):
            text = "".join(f"{line}\n" for line in lines[: len(names)])
            (folder / f"{prefix}_{what}.txt").write_text(text)
    return known


def cubes_of(data: Path) -> dict[str, np.ndarray]:
    found = gather(datasets.load(data), "unused", fps=1.0)
    return {id: clip.block(0, len(clip)).numpy() for id, clip in found.clips.items()}


@pytest.fixture
def their_files(tmp_path: Path) -> Path:
    write_theirs(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_rows_become_cubes_place_by_place(tmp_path: Path) -> None:
    known = write_theirs(tmp_path / "theirs")
    made = import_features(tmp_path / "theirs", out=tmp_path / "data", grid=GRID)
    assert made.frames == sum(map(len, known.values()))
    found = cubes_of(tmp_path / "data")
    assert set(found) == set(known)
    for name, cubes in found.items():
        assert cubes.dtype == np.float16
        for frame, y, x in np.ndindex(known[name].shape[:3]):
            expected = known[name][frame, y, x].astype(np.float16)
            assert np.array_equal(cubes[frame, y * GRID + x], expected)


def test_the_order_is_that_of_numpys_fortran_reshape(tmp_path: Path, their_files: Path) -> None:
    """What their loader does with a row, said in NumPy; and what row-major files would give."""
    for order, letter in (("column-major", "F"), ("row-major", "C")):
        import_features(their_files, out=tmp_path / letter, grid=GRID, order=order)  # type: ignore[arg-type]
        found = cubes_of(tmp_path / letter)
        with h5py.File(their_files / "train_features.h5") as file:
            rows = file["features"][:5]
        expected = [row.reshape((GRID**2, CHANNELS), order=letter) for row in rows]
        assert np.array_equal(found[NAMES[0]], np.array(expected, np.float16))


def test_data_set_is_read_as_any_other(tmp_path: Path, their_files: Path) -> None:
    import_features(their_files, out=tmp_path / "data", grid=GRID)
    dataset = datasets.load(tmp_path / "data")
    # Named by the videos' folders, in the order of the labels and not of the alphabet.
    assert dataset.classes == ("climb", "wave")
    assert not dataset.multi_label
    assert dataset.grouped
    by_id = {clip.id: clip for clip in dataset.clips}
    assert by_id[NAMES[0]].labels == (1,)
    assert by_id[NAMES[0]].group == by_id[NAMES[1]].group == "film0"
    assert dataset.splits["listed"] == {
        "train": set(NAMES[:8]), "validation": set(NAMES[8:12]), "test": set(NAMES[12:])
    }  # fmt: skip
    features = gather(dataset, "unused", fps=1.0)
    assert (features.backbone, features.fps, features.grid, features.channels) == (
        "authors:googlenet", 30, GRID, CHANNELS,
    )  # fmt: skip
    assert features.clips[NAMES[0]].times == pytest.approx(np.arange(5) / 30, abs=1e-6)


def test_lower_rates_take_every_nth_frame(tmp_path: Path) -> None:
    known = write_theirs(tmp_path / "theirs", frames=11)
    import_features(tmp_path / "theirs", out=tmp_path / "data", grid=GRID, fps=6)
    found = gather(datasets.load(tmp_path / "data"), "unused", fps=30.0)
    assert found.fps == 6
    for name, cubes in cubes_of(tmp_path / "data").items():
        expected = known[name][::5].reshape(-1, GRID**2, CHANNELS)
        assert np.array_equal(cubes, expected.astype(np.float16))
        assert found.clips[name].times == pytest.approx(np.arange(len(cubes)) / 6, abs=1e-6)


def test_long_clips_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays flat: no read is longer than a slab, and parts are as the store's."""
    known = write_theirs(tmp_path / "theirs", frames=PART + 40)
    longest = 0
    original = importing.Rows.read

    def read(self: importing.Rows, start: int, stop: int, step: int) -> np.ndarray:
        nonlocal longest
        longest = max(longest, -(-(stop - start) // step))
        return original(self, start, stop, step)

    monkeypatch.setattr(importing.Rows, "read", read)
    import_features(tmp_path / "theirs", out=tmp_path / "data", grid=GRID)
    assert longest == 128
    found = cubes_of(tmp_path / "data")
    for name in (NAMES[0], NAMES[-1]):
        expected = known[name].reshape(-1, GRID**2, CHANNELS).astype(np.float16)
        assert np.array_equal(found[name], expected)


@pytest.mark.parametrize("fail_after", [0, 3, 9])
def test_an_interrupted_import_goes_on(
    tmp_path: Path, their_files: Path, fail_after: int, monkeypatch: pytest.MonkeyPatch
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
        import_features(their_files, out=tmp_path / "data", grid=GRID)
    assert not stored.recognise(tmp_path / "data")
    kept, fail_after, written = written, -1, 0
    import_features(their_files, out=tmp_path / "data", grid=GRID)
    assert written == len(NAMES) - kept
    import_features(their_files, out=tmp_path / "whole", grid=GRID)
    for name, cubes in cubes_of(tmp_path / "whole").items():
        assert np.array_equal(cubes, cubes_of(tmp_path / "data")[name])


def test_finished_imports_are_not_mixed(tmp_path: Path, their_files: Path) -> None:
    first = import_features(their_files, out=tmp_path / "data", grid=GRID)
    assert import_features(their_files, out=tmp_path / "data", grid=GRID) == first
    write_theirs(their_files, seed=1)
    with pytest.raises(GlimpsesError, match="data: holds other features"):
        import_features(their_files, out=tmp_path / "data", grid=GRID)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    with pytest.raises(GlimpsesError, match="mine: is not empty"):
        import_features(their_files, out=tmp_path / "mine", grid=GRID)


def test_a_full_disk_is_seen_before(
    tmp_path: Path, their_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    with pytest.raises(GlimpsesError, match="need about 2 kB, but 1 B are free; lower --fps"):
        import_features(their_files, out=tmp_path / "data", grid=GRID)
    assert not (tmp_path / "data").exists()


def test_several_labels(tmp_path: Path) -> None:
    write_theirs(tmp_path / "theirs", labels=["0,1,0", "1,1,0", "0,0,1", "1,0,0"] * 2)
    (tmp_path / "names.txt").write_text("Eat\nRun\nKiss\n")
    import_features(
        tmp_path / "theirs", out=tmp_path / "data", grid=GRID, classes=tmp_path / "names.txt"
    )
    dataset = datasets.load(tmp_path / "data")
    assert dataset.multi_label
    assert dataset.classes == ("Eat", "Run", "Kiss")
    by_id = {clip.id: clip.labels for clip in dataset.clips}
    assert [by_id[name] for name in NAMES[:4]] == [(1,), (0, 1), (2,), (0,)]


def test_one_side_alone_has_yet_to_be_divided(tmp_path: Path, their_files: Path) -> None:
    for file in their_files.glob("t*"):
        file.rename(their_files / f"x{file.name}")
    import_features(their_files, out=tmp_path / "data", grid=GRID)
    dataset = datasets.load(tmp_path / "data")
    assert len(dataset.clips) == 4
    assert not dataset.splits


def test_recordings_on_two_sides_are_told_and_kept(
    tmp_path: Path, their_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = their_files / "test_filename.txt"
    file.write_text(file.read_text().replace("film3", "film0").replace("goo", "bad"))
    import_features(their_files, out=tmp_path / "data", grid=GRID)
    assert "1 recordings have clips on several sides (film0" in caplog.text
    split = datasets.split(datasets.load(tmp_path / "data"))
    assert [len(side) for side in (split.train, split.validation, split.test)] == [8, 4, 4]


def edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("".join(f"{line}\n" for line in change(lines)))

    return do


def cut(folder: Path) -> None:
    whole = (folder / "valid_features.h5").read_bytes()
    (folder / "valid_features.h5").write_bytes(whole[:-200])


def redo(**arrays: Any) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        with h5py.File(folder / "test_features.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array

    return do


def same_clip(folder: Path) -> None:
    for what in ("filename", "framenum", "labels"):
        shutil.copy(folder / f"valid_{what}.txt", folder / f"test_{what}.txt")
    shutil.copy(folder / "valid_features.h5", folder / "test_features.h5")


def no_array(folder: Path) -> None:
    with h5py.File(folder / "test_features.h5", "w") as file:
        file.create_group("features")


def huge(folder: Path) -> None:
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
    "forms mixed": (edit("test_labels.txt", lambda x: ["0,1"] * len(x)), "not of one form"),
    "row short": (edit("test_labels.txt", lambda x: ["0,1", "1", "0,1", "1,0"]), "line 2 is '1'"),
    "row of 2": (edit("test_labels.txt", lambda x: ["0,2"] * len(x)), "must be a row of 2 times"),
    "file gone": (lambda f: (f / "valid_labels.txt").unlink(), "valid_labels.txt: cannot be read"),
    "h5 gone": (lambda f: (f / "valid_features.h5").unlink(), "valid_features.h5: "),
    "no text": (lambda f: (f / "test_labels.txt").write_bytes(b"\xff\xfe0"), "no text in UTF-8"),
    "h5 cut": (cut, "valid_features.h5: is no HDF5 file, or cut short"),
    "h5 text": (lambda f: (f / "test_features.h5").write_text("0 1 2"), "is no HDF5 file"),
    "other array": (redo(labels=np.ones((23, 12))), "holds no array 'features'"),
    "whole numbers": (redo(features=np.ones((23, 12), int)), "holds no array 'features'"),
    "group": (
        no_array,
        "no array",
    ),
    "other grid": (redo(features=np.ones((23, 13))), "13 numbers a frame are no 2 x 2 places"),
    "other width": (redo(features=np.ones((23, 16))), "has 16 numbers a frame, but"),
    "no number": (redo(features=np.full((23, 12), np.nan)), "numbers that are none or too large"),
    "too large": (huge, "numbers that are none or too large"),
    "on two sides": (same_clip, "is listed here and in valid_filename.txt"),
    "all gone": (lambda f: [file.unlink() for file in f.glob("*_*")], "holds no features of the"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_files_are_one_line(
    name: str, tmp_path: Path, their_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alter, message = ALTERED[name]
    alter(their_files)
    (their_files / "classes.txt").write_text("climb\nwave\n")
    out = tmp_path / "data"
    arguments = ["import-features", str(their_files), "--out", str(out), "--grid", "2"]
    assert cli.run(arguments) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert str(their_files) in line
    assert not stored.recognise(out)


def test_without_h5py_it_says_what_to_install(
    tmp_path: Path, their_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[hdf5\]'"):
        import_features(their_files, out=tmp_path / "data", grid=GRID)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[hdf5\]'"):
        export_features(tmp_path / "nowhere", out=tmp_path / "out")


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GreyBackbone]:
    def load(spec: str, **_: object) -> GreyBackbone:
        return GreyBackbone() if spec == "grey" else original(spec)  # type: ignore[return-value]

    original = backbones.load
    monkeypatch.setattr(backbones, "load", load)
    return load


def test_clips_go_out_and_come_back(tmp_path: Path, grey: object) -> None:
    clips = make_moving_set(tmp_path / "clips")
    store = tmp_path / "store"
    written = export_features(clips, out=tmp_path / "theirs", backbone="grey", fps=10, store=store)
    assert written.ok
    import_features(tmp_path / "theirs", out=tmp_path / "back", grid=2)
    dataset = datasets.load(clips)
    videos = gather(dataset, "grey", fps=10.0, store=store)
    back = cubes_of(tmp_path / "back")
    assert set(back) == set(videos.clips)
    for id, clip in videos.clips.items():
        assert np.array_equal(back[id], clip.block(0, len(clip)).numpy())
    returned = datasets.load(tmp_path / "back")
    assert returned.classes == dataset.classes
    assert [(c.id, c.labels, c.group) for c in returned.clips] == [
        (c.id, c.labels, c.group) for c in dataset.clips
    ]
    assert datasets.split(returned).test == tuple(
        clip for clip in returned.clips if clip.id in {c.id for c in datasets.split(dataset).test}
    )
    # As their loader would read it.
    rows = h5py.File(tmp_path / "theirs" / "test_features.h5")["features"]
    assert rows.dtype == np.dtype("<f4")
    names = (tmp_path / "theirs" / "test_filename.txt").read_text().splitlines()
    counts = list(map(int, (tmp_path / "theirs" / "test_framenum.txt").read_text().split()))
    start = sum(counts[:-1])
    cube = rows[start + 2].reshape((4, 1), order="F")
    assert np.array_equal(cube, videos.clips[names[-1]].block(2, 1)[0].float().numpy())


def test_several_labels_go_out_and_come_back(tmp_path: Path, grey: object) -> None:
    clips = make_moving_set(tmp_path / "clips")
    rows = ["clip,label,group"]
    for file in sorted(clips.rglob("*.avi")):
        id, group = file.relative_to(clips).as_posix(), file.stem.split("_")[2]
        rows.append(f"{id},{'forth|back' if group == '03' else file.parent.name},{group}")
    (clips / "groups.csv").write_text("\n".join(rows) + "\n")
    export_features(clips, out=tmp_path / "theirs", backbone="grey", store=tmp_path / "store")
    lines = [line for file in (tmp_path / "theirs").glob("*_labels.txt")
             for line in file.read_text().splitlines()]  # fmt: skip
    assert sorted(lines) == ["0,1"] * 5 + ["1,0"] * 5 + ["1,1"] * 2
    import_features(tmp_path / "theirs", out=tmp_path / "back", grid=2)
    assert [set(clip.labels) for clip in datasets.load(tmp_path / "back").clips] == [
        set(clip.labels) for clip in datasets.load(clips).clips
    ]


def test_the_whole_way_on_features_alone(
    tmp_path: Path, their_files: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Import, train their model, evaluate, report, and say why a video cannot be read."""
    data, out = tmp_path / "data", tmp_path / "run"
    import_features(their_files, out=data, grid=GRID)
    arguments = ["train", str(data), "--out", str(out), "--model", "authors", "--steps", "4",
                 "--hidden", "4", "--epochs", "2", "--batch", "4", "--no-standardise",
                 "--authors.attention-layers", "2", "--authors.selector"]  # fmt: skip
    assert cli.run(arguments) == 0
    assert "glimpses predict" not in capsys.readouterr().out
    config = runs.read_config(out)
    assert (config.backbone, config.fps) == ("authors:googlenet", 30)
    assert config.model.options.authors is not None
    assert config.model.options.authors.attention_layers == 2
    assert config.model.options.authors.selector
    assert cli.run(arguments) == 0  # the same run
    scores = evaluate(out)
    assert len(scores.clips) == 4
    written = report(out, out=tmp_path / "report.html")
    assert not written.overlays
    page = (tmp_path / "report.html").read_text()
    assert "only features are here" in page
    assert "glimpses predict" not in page
    with pytest.raises(GlimpsesError, match="these features came from files"):
        Recogniser.load(out)
    capsys.readouterr()
    assert cli.run(["predict", str(out), "clip.mp4"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    # Their form and back: the same run by another way.
    export_model(out, out=tmp_path / "model.npz")
    import_model(tmp_path / "model.npz", out=tmp_path / "again", data=data, grid=GRID, steps=4)
    caplog.clear()
    assert evaluate(tmp_path / "again").to_json()["accuracy"] == scores.to_json()["accuracy"]
    # By another name of the folder: what it was fitted on is left out.
    shutil.copytree(data, tmp_path / "copy")
    assert len(evaluate(tmp_path / "again", data=tmp_path / "copy").clips) == 4


def test_features_of_another_shape_or_kind_are_told(
    tmp_path: Path, their_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import_features(their_files, out=tmp_path / "data", grid=GRID, network="vgg")
    arrays = theirs.draw(0, channels=CHANNELS, hidden=4, inner=4, classes=2)
    theirs.save(tmp_path / "model.npz", arrays)
    (tmp_path / "names.txt").write_text("climb\nwave\n")
    import_model(tmp_path / "model.npz", out=tmp_path / "run", classes=tmp_path / "names.txt",
                 grid=GRID)  # fmt: skip
    assert len(evaluate(tmp_path / "run", data=tmp_path / "data").clips) == len(NAMES)
    assert "on features of authors:googlenet at 30.0 fps, these are of authors:vgg" in caplog.text
    with pytest.raises(GlimpsesError, match="run: was imported and knows no data set; say which"):
        evaluate(tmp_path / "run")
    import_model(tmp_path / "model.npz", out=tmp_path / "seven", classes=tmp_path / "names.txt")
    with pytest.raises(GlimpsesError, match="holds features of 4 places x 3, but"):
        evaluate(tmp_path / "seven", data=tmp_path / "data")


def test_imported_features_that_are_gone_are_one_line(tmp_path: Path, their_files: Path) -> None:
    import_features(their_files, out=tmp_path / "data", grid=GRID)
    known = json.loads((tmp_path / "data" / stored.INDEX).read_text())
    digest = known["clips"][0]["digest"]
    CubeStore(tmp_path / "data" / stored.CUBES)._part(digest, 0).unlink()
    with pytest.raises(GlimpsesError, match="are not there or damaged; import them again"):
        train(tmp_path / "data", out=tmp_path / "run")
    # The same import heals it.
    import_features(their_files, out=tmp_path / "data", grid=GRID)
    assert len(cubes_of(tmp_path / "data")) == len(NAMES)
    for text in ("{", json.dumps({**known, "format": 9}), "[]", json.dumps({"format": 1})):
        (tmp_path / "data" / stored.INDEX).write_text(text)
        with pytest.raises(GlimpsesError, match=r"features\.json: is .*import the features again"):
            datasets.load(tmp_path / "data")
