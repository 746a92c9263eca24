"""Runs on the Hub: uploaded without private paths, downloaded unchanged, never unpickled."""

from __future__ import annotations

import builtins
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from huggingface_hub import constants

from glimpses import Recogniser, backbones, cli, runs, video
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_grey_run
from tests.runs.hub_server import Hub

SECRET = "/home/somebody/patients"


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with random weights whose config has private paths."""
    return make_grey_run(
        tmp_path / "mine", data_dir=f"{SECRET}/clips", feature_dir=f"{SECRET}/store",
        seen=("d" * 64,),
        clips={"train": ("back/a.avi",), "validation": ("back/b.avi",), "test": ("forth/c.avi",)},
    )  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A local server that huggingface_hub uses as the Hub."""
    hub = Hub()
    with hub.serving() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        yield hub


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    video.write(tmp_path / "clip.avi", noise, fps=10)
    return tmp_path / "clip.avi"


def test_push_and_pull_return_the_same_run(
    run: Path, hub: Hub, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Recogniser.load(run).predict(clip)
    (run / runs.CARD).write_text("---\nlicense: mit\n---\nmine")
    assert cli.run(["push", str(run), "user/name"]) == 0
    assert "/user/name/commit/" in capsys.readouterr().out
    assert hub.private is True
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    assert hub.files["README.md"] == b"---\nlicense: mit\n---\nmine"
    assert not any(b"somebody" in content for content in hub.files.values())
    out = tmp_path / "pulled"
    assert cli.run(["pull", "user/name", "--out", str(out)]) == 0
    for loaded in (
        Recogniser.from_pretrained("user/name", revision="main"),
        Recogniser.load("user/name"),
        Recogniser.load(out),
    ):
        np.testing.assert_array_equal(loaded.predict(clip).probabilities, expected.probabilities)
    assert runs.read_config(out).seen == ("d" * 64,)
    assert (out / "README.md").read_bytes() == hub.files["README.md"]
    capsys.readouterr()
    assert cli.run(["evaluate", str(out)]) == 1
    assert "was trained on another machine, on clips; give its folder" in capsys.readouterr().err
    assert cli.run(["pull", "user/name", "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_push_to_hub_uploads_a_card_without_paths(
    run: Path, hub: Hub, clip: Path, tmp_path: Path
) -> None:
    recogniser = Recogniser.load(run)
    pushed = recogniser.push_to_hub("user/name", public=True, token=hub.token)
    assert pushed.address.endswith(f"/user/name/commit/{hub.commit}")
    assert hub.private is False
    front = yaml.safe_load(hub.files["README.md"].split(b"---")[1])
    assert front["library_name"] == "glimpses"
    assert front["pipeline_tag"] == "video-classification"
    assert not any(b"somebody" in content for content in hub.files.values())
    assert b"1 clips for training, 1 for validation, 1 for testing" in hub.files["README.md"]
    # What was downloaded can be saved and uploaded again, card included.
    downloaded = Recogniser.from_pretrained("user/name")
    downloaded.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_bytes() == hub.files["README.md"]
    before = dict(hub.files)
    downloaded.push_to_hub("user/name")
    assert hub.files == before


def test_a_local_folder_wins_over_the_hub(
    run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user").mkdir()
    run.rename(tmp_path / "user" / "name")
    for recogniser in (Recogniser.load("user/name"), Recogniser.from_pretrained("user/name")):
        assert recogniser.run == Path("user/name")
    # Nor is a path ever a name on the Hub.
    with pytest.raises(GlimpsesError, match=r"user/other: is not a run"):
        Recogniser.load(Path("user/other"))
    with pytest.raises(GlimpsesError, match=r"\.\./other: is not a run"):
        Recogniser.load("../other")
    assert not hub.asked


def updated(config: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a config with some values changed, at any depth."""
    return config | {
        name: updated(config[name], value) if isinstance(value, dict) else value
        for name, value in change.items()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"block_length": 0}}, "--block-length 0"),
        ({"data": {"stride": -1}}, "--stride -1"),
        ({"data": {"fps": 1e9}}, "--fps 1000000000.0"),
        ({"frame_size": 0}, "--frame-size 0"),
        ({"classes": ["back", "back"]}, "classes are not"),
        ({"classes": ["back", 3]}, "Expected `str`, got `int`"),
        ({"clips": []}, "Expected `object`, got `array`"),
        ({"optim": []}, "Expected `object"),
        ({"model": {"options": {"hidden_size": 2**16}}}, "these are not the weights"),
        ({"model": {"options": {"hidden_size": 10**12}}}, "--hidden-size 1000000000000"),
        ({"model": {"options": {"num_layers": 10**8}}}, "--num-layers 100000000"),
        (
            {"model": {"options": {"model": "os.system"}}},
            "--model os.system: unknown name",
        ),
        ({"format": 1}, "has format 1"),
    ],
    ids=str,
)
def test_a_downloaded_config_is_validated(
    run: Path, hub: Hub, change: dict[str, Any], message: str
) -> None:
    config = updated(json.loads((run / runs.CONFIG).read_text()), change)
    hub.there = True
    hub.files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": (run / runs.WEIGHTS).read_bytes(),
    }
    with pytest.raises(GlimpsesError, match=message) as caught:
        Recogniser.from_pretrained("user/name")
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(run: Path, hub: Hub, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return builtins.open, (str(tmp_path / "exploded"), "w")

    hub.there = True
    for name in ("model.safetensors", "pytorch_model.bin", "model.pkl"):
        hub.files[name] = pickle.dumps(Bomb())
    hub.files["config.json"] = (run / runs.CONFIG).read_bytes()
    with pytest.raises(GlimpsesError, match="these are not the weights"):
        Recogniser.from_pretrained("user/name")
    del hub.files["model.safetensors"]
    with pytest.raises(GlimpsesError):
        Recogniser.from_pretrained("user/name")
    assert not (tmp_path / "exploded").exists()
    assert not any(".bin" in asked or ".pkl" in asked for asked in hub.asked)


def test_errors_take_one_line(
    run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(*arguments: str) -> str:
        assert cli.run(arguments) == 1
        lines = capsys.readouterr().err.splitlines()
        # The library prints progress bars too.
        (line,) = (line for line in lines if line.startswith("error: "))
        return line

    out = str(tmp_path / "out")
    assert "there is no such repository" in fails("pull", "user/name", "--out", out)
    assert "check the name" in fails("pull", "no/such/name", "--out", out)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "user/name: you are not logged in" in fails("push", str(run), "user/name")
    hub.there = True
    assert "is not a run" in fails("pull", "user/name", "--out", out)
    assert not Path(out).exists()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "user/other: the request to the Hub failed" in fails("pull", "user/other", "--out", out)


def test_weights_of_another_shape_are_refused(run: Path) -> None:
    weights = safetensors.torch.load_file(run / runs.WEIGHTS)
    weights["cells.0.weight_hh"] = torch.zeros(3, 3)
    safetensors.torch.save_file(weights, run / runs.WEIGHTS)
    with pytest.raises(GlimpsesError, match=r"cells\.0\.weight_hh is not of shape \(16, 4\)"):
        runs.load_model(run)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "glimpses.runs.hub")
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[hub\]'"):
        importlib.import_module("glimpses.runs.hub")
    assert huggingface_hub.__version__
