"""Tests of the J-HMDB layout: real clips in the distributor's folders, as videos and pictures."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from glimpses import backbones, datasets, evaluation, inference, video
from glimpses.datasets import split
from glimpses.datasets.annotations import annotation_for
from glimpses.features import clip_digests
from glimpses.utils.errors import GlimpsesError
from tests.configs import train
from tests.datasets.jhmdb_tree import rows_of, write_jhmdb
from tests.datasets.trees import make
from tests.fakes import GreyBackbone


@pytest.fixture(scope="module")
def videos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jhmdb(tmp_path_factory.mktemp("videos"), shared)


@pytest.fixture(scope="module")
def pictures(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jhmdb(tmp_path_factory.mktemp("pictures"), shared, pictures=True)


def test_clips_masks_and_official_splits(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = datasets.load(videos)
    assert data.layout == "jhmdb"
    assert data.root == videos / "ReCompress_Videos"
    assert data.classes == ("clap", "golf", "wave")
    assert len(data.clips) == 12
    for clip in data.clips:
        assert clip.id == f"{data.classes[clip.labels[0]]}/{clip.path.name}"
        mask = videos / "puppet_mask" / clip.id.removesuffix(".avi") / "puppet_mask.mat"
        assert clip.annotation == mask
    assert {name: (len(s["train"]), len(s["test"])) for name, s in data.splits.items()} == {
        "1": (9, 3), "2": (9, 3), "3": (9, 3),
    }  # fmt: skip
    assert (
        "split 1 has 9 training and 3 test clips (and 2 more like this); the lists" in caplog.text
    )
    division = split(data, "2")
    assert {clip.id for clip in division.test} == data.splits["2"]["test"]


@pytest.mark.parametrize("place", ["ReCompress_Videos", "above"])
def test_the_folder_of_the_clips_or_above_may_be_given(
    videos: Path, tmp_path: Path, place: str
) -> None:
    root = videos / place
    if place == "above":
        root = tmp_path
        shutil.copytree(videos, root / "JHMDB")
    data = datasets.load(root)
    assert data.layout == "jhmdb"
    assert [clip.id for clip in data.clips] == [clip.id for clip in datasets.load(videos).clips]
    assert all(clip.annotation for clip in data.clips)


def test_groups_are_the_source_videos(tmp_path: Path, shared: Path) -> None:
    rows = rows_of(shared)
    make(tmp_path, *(f"ReCompress_Videos/{row['clip']}" for row in rows))
    lists: dict[str, str] = {}
    for row in rows:
        label, name = row["clip"].split("/")
        lists[label] = lists.get(label, "") + f"{name} 1\n"
    for label, text in lists.items():
        file = tmp_path / f"splits/{label}_test_split1.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    groups = {clip.id: clip.group for clip in datasets.load(tmp_path).clips}
    assert groups == {row["clip"]: row["group"] for row in rows}


def test_a_film_may_be_in_both_subsets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = {label: [f"{film}_{label}_u_cm_np1_fr_goo_0.avi" for film in ("A!", "b", "c", "d")]
             for label in ("clap", "wave")}  # fmt: skip
    make(tmp_path, *(f"ReCompress_Videos/{label}/{n}" for label in names for n in names[label]))
    (tmp_path / "splits").mkdir()
    for label, tested in (("clap", 0), ("wave", 1)):
        (tmp_path / f"splits/{label}_test_split1.txt").write_text(
            "".join(f"{name} {1 + (i == tested)}\n" for i, name in enumerate(names[label]))
        )
    data = datasets.load(tmp_path)
    assert data.clips[0].group == "a"
    with caplog.at_level(logging.INFO):
        assert len(split(data).test) == 2
    assert "2 of 4 groups have clips in several subsets of the official split 1" in caplog.text


def test_pictures_are_read_as_the_video_of_30_frames_per_second(pictures: Path) -> None:
    data = datasets.load(pictures)
    assert data.layout == "jhmdb"
    clip = data.clips[0]
    assert clip.id == f"clap/{clip.path.name}"
    files = sorted(clip.path.glob("*.png"))
    frames = video.read(clip.path, fps="native", size=None)
    assert frames.problem is None
    np.testing.assert_allclose(frames.times, np.arange(len(files)) / 30, atol=1e-6)
    with av.open(str(files[4])) as container:
        fifth = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(frames.frames[4], fifth)
    annotation = annotation_for(clip)
    assert annotation is not None
    assert annotation.annotated(frames.times).all()
    info = video.probe(clip.path)
    assert (info.width, info.height, info.fps) == (320, 240, 30)
    assert info.seconds == pytest.approx(len(files) / 30)


def test_a_folder_of_pictures_with_a_gap_breaks_off(pictures: Path, tmp_path: Path) -> None:
    source = datasets.load(pictures).clips[0].path
    folder = Path(shutil.copytree(source, tmp_path / "100% [a] %03d"))
    (folder / "00006.png").write_bytes(b"no picture")
    damaged = video.read(folder, fps="native", size=32)
    assert len(damaged.times) < len(list(folder.iterdir()))
    assert damaged.problem
    (folder / "00001.png").write_bytes(b"")
    with pytest.raises(GlimpsesError, match=r"00001\.png: is empty"):
        video.read(folder)


def test_models_accept_pictures(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    data = datasets.load(pictures)
    before = clip_digests(data, data.clips)
    assert len(set(before.values())) == len(data.clips)
    options = {"hidden_size": 8, "num_layers": 1, "batch_size": 8, "epochs": 1}
    store = tmp_path / "store"
    run = train(pictures, out=tmp_path / "run", feature_dir=store, split="1", **options).run
    scored = evaluation.evaluate_clips(run, feature_dir=store)
    assert len(scored.clips) == 3
    assert scored.localisation().steps > 10
    overlay = tmp_path / "overlay.mp4"
    predicted = inference.predict(run, scored.clips[0].path, overlay=overlay)
    assert isinstance(predicted, inference.Predictions)
    (prediction,) = predicted.predictions
    assert prediction.name == scored.clips[0].path.name
    assert video.probe(overlay).seconds > 0.5


def test_videos_take_precedence(videos: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "both")
    shutil.copytree(pictures / "Rename_Images", tmp_path / "both/Rename_Images")
    assert datasets.load(tmp_path / "both").clips[0].path.suffix == ".avi"


def test_unusable_folders_are_one_line_errors(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(GlimpsesError, match="does not have the layout of J-HMDB"):
        datasets.load(tmp_path, "jhmdb")
    root = tmp_path / "part"
    (root / "Rename_Images/wave").mkdir(parents=True)
    (root / "splits").mkdir()
    with pytest.raises(GlimpsesError, match=r"has no lists such as wave_test_split1\.txt"):
        datasets.load(root, "jhmdb")
    shutil.copy(videos / "splits/wave_test_split1.txt", root / "splits")
    with pytest.raises(GlimpsesError, match="has no clip such as"):
        datasets.load(root, "jhmdb")
    shutil.copytree(videos / "ReCompress_Videos", root / "ReCompress_Videos")
    with pytest.raises(GlimpsesError, match=r"clap_test_split1\.txt: is missing"):
        datasets.load(root, "jhmdb")
