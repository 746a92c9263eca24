"""What every test may lean on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of real clips and weights, which users do not have."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the developers' shared folder is not beside the repository")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache, but let them share compiled graphs among themselves."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("GLIMPSES_CACHE", str(cache))


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.manual_seed(0)
