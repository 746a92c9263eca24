"""A run goes to a hub and comes back the same, without anything it should keep to itself."""

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
from huggingface_hub import ModelHubMixin, constants

from glimpses import backbones, cli, runs, video
from glimpses.inference.hub import HubRecogniser
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_grey_run
from tests.inference.hub_server import Hub

SECRET = "/home/somebody/patients"


@pytest.fixture(autouse=True)
def _grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with random weights, as if trained on a private folder."""
    return make_grey_run(
        tmp_path / "mine", data=f"{SECRET}/clips", store=f"{SECRET}/store", seen=("d" * 64,),
        split={"train": ("back/a.avi",), "validation": ("back/b.avi",), "test": ("forth/c.avi",)},
    )  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub takes for the real one."""
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


def test_there_and_back(
    run: Path, hub: Hub, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = HubRecogniser.load(run).predict(clip)
    (run / runs.CARD).write_text("---\nlicense: mit\n---\nmine")
    assert cli.run(["push", str(run), "user/name"]) == 0
    assert "/user/name/commit/" in capsys.readouterr().out
    assert hub.private is True
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    assert hub.files["README.md"] == b"---\nlicense: mit\n---\nmine"
    assert not any(b"somebody" in content for content in hub.files.values())
    out = tmp_path / "theirs"
    assert cli.run(["pull", "user/name", "--out", str(out)]) == 0
    for loaded in (HubRecogniser.from_pretrained("user/name"), HubRecogniser.load(out)):
        assert isinstance(loaded, ModelHubMixin)
        np.testing.assert_array_equal(loaded.predict(clip).probabilities, expected.probabilities)
    assert runs.read_config(out).seen == ("d" * 64,)
    assert (out / "README.md").read_bytes() == hub.files["README.md"]
    capsys.readouterr()
    assert cli.run(["evaluate", str(out)]) == 1
    assert "was trained elsewhere, on clips; say where that is" in capsys.readouterr().err
    assert cli.run(["pull", "user/name", "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_mixins_own_ways(run: Path, hub: Hub, clip: Path, tmp_path: Path) -> None:
    recogniser = HubRecogniser.load(run)
    recogniser.save_pretrained(tmp_path / "saved")
    again = HubRecogniser.from_pretrained(tmp_path / "saved")
    found = again.predict(clip).probabilities
    np.testing.assert_array_equal(found, recogniser.predict(clip).probabilities)
    again.push_to_hub("user/name", token=hub.token)
    assert hub.private is False
    front = yaml.safe_load(hub.files["README.md"].split(b"---")[1])
    assert front["library_name"] == "glimpses"
    assert front["pipeline_tag"] == "video-classification"
    assert SECRET.encode() not in hub.files["README.md"] + hub.files["config.json"]
    assert b"1 clips trained it, 1 chose the epoch, 1 were kept" in hub.files["README.md"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"stride": -1}, "stride is -1"),
        ({"fps": 1e9}, "fps is 1000000000.0"),
        ({"classes": ["back", "back"]}, "classes are not"),
        ({"classes": ["back", 3]}, "no text"),
        ({"split": []}, "no attribute"),
        ({"training": []}, "training or versions"),
        ({"model": {"options": {"hidden_size": 2**16}}}, "these are not the weights"),
        ({"model": {"options": {"hidden_size": 10**12}}}, "--hidden-size 1000000000000"),
        ({"model": {"options": {"num_layers": 10**8}}}, "--num-layers 100000000"),
        (
            {"model": {"options": {"model": "os.system"}}},
            "--model os.system: there is no such model",
        ),
        ({"format": 2}, "is of format 2"),
    ],
    ids=str,
)
def test_a_config_from_anywhere_is_read_with_distrust(
    run: Path, hub: Hub, change: dict[str, Any], message: str
) -> None:
    known = json.loads((run / runs.CONFIG).read_text())
    options = {**known["model"]["options"], **change.get("model", {}).get("options", {})}
    known |= {**change, "model": {**known["model"], "options": options}}
    hub.there = True
    hub.files = {
        "config.json": json.dumps(known).encode(),
        "model.safetensors": (run / runs.WEIGHTS).read_bytes(),
    }
    with pytest.raises(GlimpsesError, match=message) as caught:
        HubRecogniser.from_pretrained("user/name")
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
        HubRecogniser.from_pretrained("user/name")
    del hub.files["model.safetensors"]
    with pytest.raises(GlimpsesError):
        HubRecogniser.from_pretrained("user/name")
    assert not (tmp_path / "exploded").exists()
    assert not any(".bin" in asked or ".pkl" in asked for asked in hub.asked)


def test_errors_are_one_line(
    run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(*arguments: str) -> str:
        assert cli.run(arguments) == 1
        lines = capsys.readouterr().err.splitlines()
        # Beside progress bars of the library's.
        (line,) = (line for line in lines if line.startswith("error: "))
        return line

    out = str(tmp_path / "out")
    assert "there is no such repository" in fails("pull", "user/name", "--out", out)
    assert "check the name" in fails("pull", "no/such/name", "--out", out)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "user/name: you are not logged in" in fails("push", str(run), "user/name")
    hub.there = True
    assert "is no run" in fails("pull", "user/name", "--out", out)
    assert not Path(out).exists()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "user/other: the Hub did not do it" in fails("pull", "user/other", "--out", out)


def test_weights_of_another_shape_take_no_memory(run: Path) -> None:
    weights = safetensors.torch.load_file(run / runs.WEIGHTS)
    weights["cells.0.weight_hh"] = torch.zeros(3, 3)
    safetensors.torch.save_file(weights, run / runs.WEIGHTS)
    with pytest.raises(GlimpsesError, match=r"cells\.0\.weight_hh is not of shape \(16, 4\)"):
        runs.load_model(run)


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "glimpses.inference.hub")
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[hub\]'"):
        importlib.import_module("glimpses.inference.hub")
    assert huggingface_hub.__version__
