"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The models of the tests, and of the programs that they start, are too small for two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the developers' folder of real clips and weights; skip the test without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the developers' shared folder next to the repository")
    return folder


@pytest.fixture(autouse=True)
def _isolated_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use a cache that is shared by all tests and separate from the user's."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("GLIMPSES_CACHE", str(cache))


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what only matters to a power cut, which `power_cut` simulates."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.manual_seed(0)
