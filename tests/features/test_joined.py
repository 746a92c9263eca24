"""One stage is read from the stored cubes of two, without the network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from glimpses.datasets import Clip
from glimpses.features.extraction import extract_clips, hash_files
from glimpses.features.store import FeatureStore

CUBES = np.random.default_rng(0).normal(size=(7, 4, 5)).astype(np.float16)


def backbone(name: str, channels: int) -> Any:
    """Return a network that must not be called."""
    return SimpleNamespace(
        name=name, weights="abc", size=32, grid=2, channels=channels, fine_channels=0,
        fine_ratio=1, flow_channels=0, threads=1, batch=4,
    )  # fmt: skip


@pytest.mark.parametrize("flow", ["", "@flow"])
@pytest.mark.parametrize(
    ("name", "channels"),
    [("net", slice(0, 3)), ("net:head", slice(0, 3)), ("net:16:2", slice(3, 5))],
)
def test_a_stage_of_two(tmp_path: Path, name: str, channels: slice, flow: str) -> None:
    (tmp_path / "a.avi").write_bytes(b"no video, since nothing is decoded")
    clip = Clip("a.avi", tmp_path / "a.avi", (0,), "a")
    digest = hash_files([clip])[clip.id]
    cubes = np.concatenate([CUBES, np.ones((7, 4, 27 if flow else 0), np.float16)], axis=2)
    store = FeatureStore(tmp_path, backbone(f"net:head+16:2{flow}", cubes.shape[2]), 10.0)
    store.write_part(digest, 0, cubes)
    store.finish(digest, [t / 10 for t in range(7)], None)
    wanted = CUBES[:, :, channels]
    features = extract_clips(
        [clip], backbone(name, wanted.shape[2]), fps=10.0, feature_dir=tmp_path
    ).clips[clip.id]
    assert features.shape == (4, wanted.shape[2])
    assert len(features) == 7
    torch.testing.assert_close(features.block(2, 3), torch.from_numpy(wanted[2:5]))


def test_another_stage_rate_or_network_is_not_taken(tmp_path: Path) -> None:
    from glimpses.features.joined import joined_stores

    FeatureStore(tmp_path, backbone("net:head+16:2", 5), 10.0).folder.mkdir()
    for name, fps in (("net:8:2", 10.0), ("net:16", 10.0), ("other", 10.0), ("net", 5.0)):
        network = backbone(name, 2)
        assert not list(joined_stores(FeatureStore(tmp_path, network, fps), tmp_path, network))
