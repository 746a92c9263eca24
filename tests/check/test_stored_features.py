"""Damaged features are named, computed again or removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glimpses import backbones, cli, features
from glimpses.check import FeatureCheck, check
from glimpses.datasets.layouts import feature_set
from glimpses.features import CubeStore
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_moving_set
from tests.features.test_store import DAMAGES, damage_flip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data set of 4 clips with features in `tmp_path / "store"`."""

    def load(spec: str, *, weights: str | None = None, **_: object) -> GreyBackbone:
        assert (spec, weights) in {("grey:2", "abc"), ("grey:2", None)}
        return GreyBackbone()

    monkeypatch.setattr(backbones, "load", load)
    data = make_moving_set(tmp_path / "data", groups=2)
    features.extract(data, backbone="grey:2", feature_dir=tmp_path / "store")
    return data


def verify(tmp_path: Path, data: Path | None = None, *, repair: bool = False) -> FeatureCheck:
    result = check(data, features=True, repair=repair, feature_dir=tmp_path / "store")
    assert isinstance(result, FeatureCheck)
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_an_intact_store_is_not_changed(tmp_path: Path, data: Path) -> None:
    before = contents(tmp_path / "store")
    result = verify(tmp_path, data, repair=True)
    assert (result.ok, list(result.clips.values()), result.damaged) == (True, [4], ())
    assert contents(tmp_path / "store") == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_damage_is_named_and_repaired(
    tmp_path: Path, data: Path, damage: Callable[[Path], None], suffix: str
) -> None:
    if damage is Path.unlink and suffix == "json":
        pytest.skip("without its index, a clip is not stored")
    before = contents(tmp_path / "store")
    file = sorted((tmp_path / "store").glob(f"*/??/*.{suffix}"))[1]
    damage(file)
    result = verify(tmp_path)
    (clip,) = result.damaged
    assert len(clip.files) == 1
    assert clip.files[0].startswith(f"{file}: is damaged (")
    assert clip.digest == file.stem[:64]
    assert not result.ok
    result = verify(tmp_path, data, repair=True)
    assert result.ok
    assert [clip.repair for clip in result.damaged] == ["recomputed"]
    assert contents(tmp_path / "store") == before


def test_without_the_clip_damaged_features_are_removed(tmp_path: Path, data: Path) -> None:
    before = contents(tmp_path / "store")
    file = sorted((tmp_path / "store").glob("*/??/*.safetensors"))[0]
    damage_flip(file)
    result = verify(tmp_path, repair=True)
    assert [clip.repair for clip in result.damaged] == ["removed"]
    left = contents(tmp_path / "store")
    assert left == {name: text for name, text in before.items() if file.stem[:64] not in name}
    assert not verify(tmp_path).damaged
    # The next command computes them.
    features.extract(data, backbone="grey:2", feature_dir=tmp_path / "store")
    assert contents(tmp_path / "store") == before


@pytest.mark.parametrize("settings", ["{", "{}", '{"backbone": 1}', "[]"])
def test_without_settings_damaged_features_are_removed(
    tmp_path: Path, data: Path, settings: str, caplog: pytest.LogCaptureFixture
) -> None:
    next((tmp_path / "store").glob("*/settings.json")).write_text(settings)
    damage_flip(next((tmp_path / "store").glob("*/??/*.safetensors")))
    result = verify(tmp_path, data, repair=True)
    assert [clip.repair for clip in result.damaged] == ["removed"]
    assert "cannot be computed again (" in caplog.messages[-1]


def test_a_clip_that_broke_is_removed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glimpses.check import stored_features

    damage_flip(next((tmp_path / "store").glob("*/??/*.safetensors")))
    monkeypatch.setattr(stored_features, "fill", lambda *_: {"digest": "is broken"})
    result = verify(tmp_path, data, repair=True)
    assert [clip.repair for clip in result.damaged] == ["removed"]


def test_imported_features_are_checked_in_their_folder(tmp_path: Path) -> None:
    store = CubeStore(tmp_path / "set" / feature_set.CUBES)
    import numpy as np

    for name in ("ab1", "cd2"):
        store.write_part(name, 0, np.zeros((3, 4, 2), np.float16))
        store.finish(name, [0.0, 0.1, 0.2], None)
    (tmp_path / "set" / feature_set.INDEX).write_text("{}")
    part = tmp_path / "set" / feature_set.CUBES / "ab" / "ab1-00000.safetensors"
    damage_flip(part)
    (clip,) = verify(tmp_path, tmp_path / "set").damaged
    assert clip.files[0].startswith(f"{part}: is damaged (its checksum is wrong)")


def test_the_command_exits_with_1_for_damage(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", "--features", "--feature-dir", str(tmp_path / "store")]
    assert cli.run(command) == 0
    file = next((tmp_path / "store").glob("*/??/*.safetensors"))
    damage_flip(file)
    capsys.readouterr()
    assert cli.run(["--json", *command]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["damaged"][0]["files"] == [f"{file}: is damaged (its checksum is wrong)"]
    assert err.strip().endswith(
        "the features of 1 of 4 clips are damaged; run the same command with --repair"
    )
    assert cli.run(["check", str(data), *command[1:], "--repair"]) == 0
    assert cli.run(command) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repair": True}, "--repair: works with --features only"),
        ({}, "no data set given"),
        ({"features": True, "labels": True}, "--features: checks no clips"),
        ({"features": True, "feature_dir": "nowhere"}, "nowhere: has no stored features"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(GlimpsesError, match=message):
        check(**options)  # type: ignore[arg-type]
