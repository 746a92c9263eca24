"""Run the code blocks of README and docs/."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch

from glimpses import backbones, datasets, models, video
from tests.configs import model_config
from tests.docs.written import PAGES, ROOT, RUN, SHOWN, Block, blocks_of, follow, lines_of, run

TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
NOT_RUN = [block for block in BLOCKS if block.reason is not None]
# The tutorial has its own tests.
WITH_CODE = [
    page
    for page in PAGES
    if page != TUTORIAL
    and any(
        block.page == page and block.language in RUN and block.reason is None for block in BLOCKS
    )
]


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder after the tutorial has been followed, with fewer clips and epochs."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSES_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        run(TUTORIAL, folder)
    return folder


@pytest.fixture
def restore_registries() -> Iterator[None]:
    """Undo what a page adds to the registries of backbones, layouts and models."""
    registries = (backbones.BACKBONES, datasets.LAYOUTS, models.MODELS)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def test_the_tutorial_writes_its_files(tutorial: Path) -> None:
    written = {file.relative_to(tutorial).as_posix() for file in tutorial.rglob("*")}
    assert written >= {
        "runs/mine/model.safetensors",
        "runs/mine/explained/explanation.html",
        "report.html",
        "seen.mp4",
    }


@pytest.mark.slow
def test_the_tutorial_runs_at_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(TUTORIAL, tmp_path, quick=False)
    assert (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("restore_registries")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_code_runs(
    page: Path, tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a page in a folder where the tutorial was followed and a video exists."""
    folder = tmp_path / "page"
    shutil.copytree(tutorial, folder)
    shutil.copy(next(folder.glob("my-clips/*/*/*.avi")), folder / "video.mp4")
    monkeypatch.chdir(folder)
    run(page, folder)


@contextmanager
def serve(checkout: Path, run: str) -> Iterator[str]:
    """Serve a run with the code of a checkout; yield the address of the page."""
    program = "from glimpses.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", run, "--port", "0"],
        cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout / "src")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        yield next(line.split()[0] for line in process.stdout if line.startswith("http"))
        process.send_signal(signal.SIGINT)
        process.stdout.read()


def test_the_extending_page_adds_a_backbone_a_layout_and_a_model(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    follow(ROOT / "docs" / "extending.md", tmp_path)
    (tmp_path / "soccer" / "videos").mkdir(parents=True)
    matches = ("final", "semifinal", "opening")
    for seed, (match, action) in enumerate(itertools.product(matches, ("pass", "shot"))):
        noise = np.random.default_rng(seed).integers(0, 256, (12, 32, 32, 3), np.uint8)
        video.write(tmp_path / f"soccer/videos/{match}_{action}_{seed}.mp4", noise, fps=10)

    def glimpses(*arguments: str, error: str = "") -> Any:
        program = "from glimpses.cli import main; main()"
        command = [sys.executable, "-c", program, *arguments, "--json"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
        process = subprocess.run(
            command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
        )
        if error:
            assert process.returncode == 1
            assert error in process.stderr.splitlines()[-1]
            return None
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout)

    assert {clip["label"] for clip in glimpses("check", "soccer")["clips"]} == {"pass", "shot"}
    glimpses(
        *("train", "soccer", "--layout", "soccer", "--backbone", "gabor", "--model", "transformer"),
        *("--hidden-size", "8", "--num-layers", "2", "--epochs", "1", "--block-length", "6"),
        *("--out", "run", "--feature-dir", "features"),
    )
    # This process does not have the model, so it cannot load the run.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["data"]["layout"], config["data"]["backbone"]) == ("soccer", "gabor")
    assert config["model"]["options"]["model"] == "transformer"
    with serve(tmp_path, "run") as address:
        (model,) = json.load(urlopen(f"{address}/api/status"))["models"]
        assert model["has_attention"]
        assert model["description"] == "transformer decoder, 2 layers of 8"
        content = (tmp_path / "soccer/videos/opening_pass_4.mp4").read_bytes()
        state = json.load(urlopen(Request(f"{address}/api/clips?name=a.mp4", content)))
        while state["state"] not in ("done", "failed"):
            state = json.load(urlopen(f"{address}/api/clips/{state['id']}"))
        result = json.load(urlopen(f"{address}/api/clips/{state['id']}/result"))
        assert np.array(result["models"][0]["attention"]).ndim == 3
    assert glimpses("evaluate", "run")["n"] == 2
    clip = "soccer/videos/opening_pass_4.mp4"
    prediction = glimpses("predict", "run", clip, "--overlay", "seen.mp4")["predictions"][0]
    assert np.array(prediction["attention"]).sum((1, 2)) == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "seen.mp4").stat().st_size
    explanation = glimpses("explain", "run")
    assert explanation["map_name"] == "attention"
    assert explanation["attention_ablation"]
    assert explanation["deletion"]
    glimpses("report", "run", "--out", "report.html")
    assert "transformer decoder, 2 layers of 8" in (tmp_path / "report.html").read_text("utf-8")
    reason = "a transformer decoder reads whole blocks"
    glimpses("evaluate", "run", "--causal", error=reason)
    glimpses("export", "run", error=reason)
    glimpses("watch", "run", clip, "--fast", error=reason)


@pytest.mark.parametrize("hidden_size", [6, 8])
@pytest.mark.usefixtures("restore_registries")
def test_the_model_of_the_extending_page_is_a_causal_model_with_exact_attention(
    hidden_size: int,
) -> None:
    (code,) = (
        block.text for block in BLOCKS if block.title == "src/glimpses/models/transformer.py"
    )
    names: dict[str, Any] = {"__name__": "transformer"}
    exec(compile(code, "transformer.py", "exec"), names)
    options = frozenset({"hidden_size", "num_layers", "dropout", "channel_norm"})
    models.MODELS["transformer"] = models.ModelEntry(names["TransformerDecoder"], "", options)
    config = model_config(
        num_classes=3, model="transformer", places=4, channels=5, hidden_size=hidden_size
    )
    torch.manual_seed(0)
    model = models.build_model(config).eval()
    model.channel_norm.set(torch.randn(5), torch.rand(5) + 0.5)
    cubes, mask = torch.randn(2, 6, 4, 5), torch.arange(6) < torch.tensor([[6], [4]])
    output = model(cubes, mask)
    torch.testing.assert_close(output.attention.sum(-1), torch.ones(2, 6))

    later = torch.cat((cubes[:, :4], torch.randn(2, 2, 4, 5)), 1)
    torch.testing.assert_close(model(later, mask).logits[:, :4], output.logits[:, :4])
    assert not torch.allclose(model(later, mask).logits[:, 4:], output.logits[:, 4:])
    # The query depends on earlier frames.
    earlier = torch.cat((torch.randn(2, 1, 4, 5), cubes[:, 1:]), 1)
    assert not torch.allclose(model(earlier, mask).attention[:, 5], output.attention[:, 5])

    given_back = model(cubes, mask, output.slice_attention)
    torch.testing.assert_close(given_back.logits, output.logits)
    one_place = torch.zeros(2, 6, 4)
    one_place[..., 2] = 1
    moved = cubes.clone()
    moved[:, :, :2] += 1
    at_place = model(cubes, mask, one_place)
    torch.testing.assert_close(at_place.slice_attention, one_place)
    torch.testing.assert_close(model(moved, mask, one_place).logits, at_place.logits)
    assert not torch.allclose(at_place.logits, output.logits)

    with pytest.raises(ValueError, match="padding must come after"):
        model(cubes, ~mask)
    with pytest.raises(ValueError, match="whole blocks"):
        model.initial_state(cubes.mean((1, 2)))
    with pytest.raises(ValueError, match="whole blocks"):
        model.step(cubes[:, 0], {})


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_block_is_skipped_with_a_reason(block: Block) -> None:
    pytest.skip(f"{block}: {block.reason}")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_has_a_known_language(block: Block) -> None:
    assert block.language in (*RUN, *SHOWN), f"{block}: name its language after the fence"
    if block.language == "sh":
        assert list(lines_of(block.text))
    elif block.language == "text":
        assert not re.match(r"\$|(glimpses|python3?|pip) ", block.text), (
            f"{block}: has a command; its language is sh"
        )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=lambda page: page.name)
def test_links_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
