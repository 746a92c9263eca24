"""End-to-end tests of attention on a grid that is finer than the cube's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from glimpses import Recogniser, video
from glimpses.datasets import synthetic
from glimpses.evaluation import evaluate_clips
from glimpses.report import report
from tests.configs import train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two-stages")
    synthetic.generate(out / "clips", groups=3, workers=1)
    return out


@pytest.mark.parametrize("glimpse", ["soft", "hard"])
def test_train_evaluate_predict_report(made: Path, glimpse: Literal["soft", "hard"]) -> None:
    run, store = made / "runs" / glimpse, made / "features"
    train(
        made / "clips", out=run, backbone="efficientnet_lite0:head+16", attention_mode=glimpse,
        fps=3, block_length=4, hidden_size=8, epochs=1, feature_dir=store,
    )  # fmt: skip
    test = evaluate_clips(run)
    clip, expected = test.clips[0], test.results[0]
    found = Recogniser.load(run).predict(clip.path)
    assert found.attention is not None
    assert found.attention.shape == (len(found.times), 14, 14)
    np.testing.assert_allclose(found.attention.sum((1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(found.attention.reshape(-1, 196), expected.attention, atol=1e-5)
    # One fine place or the four below a coarse one; the mean of two where blocks overlap.
    chosen = (0, 0.125, 0.25, 0.5, 0.625, 1)
    assert np.isin(found.attention, chosen).all() == (glimpse == "hard")
    found.draw_overlay(made / "overlay.mp4")
    assert video.probe(made / "overlay.mp4").codec == "h264"
    written = report(run, out=made / f"{glimpse}.html")
    assert 0 < written.localisation[glimpse].pointing_chance < 1
    page = written.page.read_text()
    assert "7x7x1280 and 14x14x112" in page
    assert ("hard attention, content" in page) == (glimpse == "hard")
