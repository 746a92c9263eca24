"""Export of features to the authors' files and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from glimpses import backbones, datasets
from glimpses.features import open_features
from glimpses.reproduce.authors import export_features, import_features
from tests.fakes import GreyBackbone, make_moving_set
from tests.reproduce.authors.author_files import cubes_of


@pytest.fixture
def grey(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GreyBackbone]:
    def load(spec: str, **_: object) -> GreyBackbone:
        return GreyBackbone() if spec == "grey" else original(spec)  # type: ignore[return-value]

    original = backbones.load
    monkeypatch.setattr(backbones, "load", load)
    return load


def test_clips_survive_export_and_import(tmp_path: Path, grey: object) -> None:
    clips = make_moving_set(tmp_path / "clips")
    store = tmp_path / "store"
    written = export_features(
        clips, out=tmp_path / "authors", backbone="grey", fps=10, feature_dir=store
    )
    assert written.ok
    import_features(tmp_path / "authors", out=tmp_path / "back", grid=2)
    dataset = datasets.load(clips)
    videos = open_features(dataset, "grey", fps=10.0, feature_dir=store)
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
    # Read as the authors' loader does.
    rows = h5py.File(tmp_path / "authors" / "test_features.h5")["features"]
    assert rows.dtype == np.dtype("<f4")
    names = (tmp_path / "authors" / "test_filename.txt").read_text().splitlines()
    counts = list(map(int, (tmp_path / "authors" / "test_framenum.txt").read_text().split()))
    start = sum(counts[:-1])
    cube = rows[start + 2].reshape((4, 1), order="F")
    assert np.array_equal(cube, videos.clips[names[-1]].block(2, 1)[0].float().numpy())


def test_several_labels_survive_export_and_import(tmp_path: Path, grey: object) -> None:
    clips = make_moving_set(tmp_path / "clips")
    rows = ["clip,label,group"]
    for file in sorted(clips.rglob("*.avi")):
        id, group = file.relative_to(clips).as_posix(), file.stem.split("_")[2]
        rows.append(f"{id},{'forth|back' if group == '03' else file.parent.name},{group}")
    (clips / "groups.csv").write_text("\n".join(rows) + "\n")
    export_features(
        clips, out=tmp_path / "authors", backbone="grey", feature_dir=tmp_path / "store"
    )
    lines = [line for file in (tmp_path / "authors").glob("*_labels.txt")
             for line in file.read_text().splitlines()]  # fmt: skip
    assert sorted(lines) == ["0,1"] * 5 + ["1,0"] * 5 + ["1,1"] * 2
    import_features(tmp_path / "authors", out=tmp_path / "back", grid=2)
    assert [set(clip.labels) for clip in datasets.load(tmp_path / "back").clips] == [
        set(clip.labels) for clip in datasets.load(clips).clips
    ]
