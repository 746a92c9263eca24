"""A recogniser that was loaded before a fork, in the child."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glimpses import Recogniser, backbones, video
from glimpses.utils.errors import GlimpsesError
from tests.fakes import make_recogniser

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Large enough that PyTorch divides the work among threads.
LARGE = 200_000


@pytest.fixture
def recogniser() -> Recogniser:
    return loaded()


@cache
def loaded() -> Recogniser:
    """Return a recogniser with a real CNN on two threads, which are running."""
    cnn = backbones.load("efficientnet_lite0:16:7", threads=2)
    recogniser = make_recogniser(cnn, places=49)  # type: ignore[arg-type]
    recogniser.predict(frames(), fps=10)
    torch.randn(LARGE).exp()
    return recogniser


def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), np.uint8)


def in_fork(work: Any) -> int:
    """Run a function in a forked child; return its status, that of SIGKILL if it hangs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_child_of_a_fork_predicts_the_same(recogniser: Recogniser, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    video.write(clip, frames(), fps=10)
    expected = recogniser.predict(clip).probabilities

    def child() -> None:
        probabilities = recogniser.predict(clip).probabilities
        assert np.allclose(probabilities, expected, atol=1e-6)
        torch.randn(LARGE).exp()
        # A grandchild, too.
        assert in_fork(lambda: recogniser.predict(clip)) == 0

    assert in_fork(child) == 0
    # The child took nothing from the parent.
    assert np.allclose(recogniser.predict(clip).probabilities, expected, atol=1e-6)


def test_pool_of_multiprocessing(recogniser: Recogniser) -> None:
    expected = recogniser.predict(frames(), fps=10).probabilities
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(_predict, range(3)).get(timeout=60)
    assert np.allclose(results, expected, atol=1e-6)


def _predict(_: int) -> np.ndarray:
    return loaded().predict(frames(), fps=10).probabilities


def test_stream_in_a_child(recogniser: Recogniser) -> None:
    def child() -> None:
        stream = recogniser.stream()
        for frame in frames():
            stream(frame)

    assert in_fork(child) == 0


def test_gpu_of_the_parent_is_refused(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(Recogniser, "device", torch.device("cuda"))
    for use in (lambda: recogniser.predict(frames(), fps=10), recogniser.stream):
        with pytest.raises(GlimpsesError, match="load the recogniser after the fork"):
            use()
