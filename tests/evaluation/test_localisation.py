"""Localisation by models of known attention: an oracle scores 1, uniform attention chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.evaluation.block_runner import BlockRunner, Maps, run_clips
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import MapLocalisation
from glimpses.evaluation.localisation import average_blocks, measure_localisation, occupancy_maps
from glimpses.evaluation.saliency_baselines import centre_prior, resize_maps
from tests.configs import model_config
from tests.evaluation.fake_runs import FakeAnnotation, FakeModel, fake_run


@pytest.fixture
def shares() -> list[np.ndarray]:
    """Actors that partly fill a few of 5 x 5 places; one clip is short, another has two blocks."""
    rng = np.random.default_rng(0)
    localisation = []
    for frames in (4, 4, 2, 7):
        share = np.zeros((frames, 5, 5))
        for step in range(frames):
            row, column = rng.integers(0, 3, 2)
            share[step, row : row + 2, column : column + 2] = rng.integers(1, 64, (2, 2)) / 64
        localisation.append(share.reshape(frames, 25))
    return localisation


def measure(shares: list[np.ndarray], attend: object) -> tuple[MapLocalisation, Maps]:
    """Localisation by a model whose only channel is the occupancy, and the occupancy by block."""
    model = FakeModel(
        model_config(num_classes=2, places=25, channels=1),
        attend,
        lambda cubes, _: cubes[..., :2, 0],
    )  # type: ignore[arg-type]
    cubes = [torch.from_numpy(share[..., None]) for share in shares]
    run = fake_run(model, cubes, [0, 1, 0, 1])
    runner = BlockRunner(run)
    annotations = {
        clip.id: FakeAnnotation(share) for clip, share in zip(run.clips, shares, strict=True)
    }
    occupancy = occupancy_maps(runner, annotations, 5)
    attention = run_clips(runner).attention
    assert attention is not None
    bootstrap = Bootstrap([clip.group for clip in run.clips])
    return measure_localisation(attention, occupancy, run.clips, run.config.classes, bootstrap)[
        0
    ], occupancy


def oracle(cubes: Tensor) -> Tensor:
    share = cubes[..., 0]
    return share / share.sum(-1, keepdim=True).clamp(min=1e-9)


def uniform(cubes: Tensor) -> Tensor:
    return torch.full(cubes.shape[:3], 1 / cubes.shape[2])


def test_an_oracle_scores_one(shares: list[np.ndarray]) -> None:
    localisation, _ = measure(shares, oracle)
    for score in (localisation.energy, localisation.pointing, localisation.auc):
        assert score.value == pytest.approx(1, abs=1e-12)
        assert score.clips == 4
    assert localisation.by_class["a"]["energy"].value == pytest.approx(1, abs=1e-12)
    for curve in localisation.by_step.values():
        assert curve.value == pytest.approx(np.ones(4))


def test_uniform_attention_scores_chance(shares: list[np.ndarray]) -> None:
    localisation, occupancy = measure(shares, uniform)
    hits = [np.mean([(block > 0).mean(1).mean() for block in clip]) for clip in occupancy]
    # The last clip has two overlapping blocks, all of whose steps count equally.
    assert localisation.energy.value == pytest.approx(np.mean(hits), abs=1e-6)
    assert localisation.pointing.value == pytest.approx(localisation.energy.value, abs=1e-6)
    assert localisation.energy.value == pytest.approx(4 / 25, abs=1e-6)
    assert localisation.auc.value == 0.5


def test_values_by_class_and_by_step(shares: list[np.ndarray]) -> None:
    """An oracle at the first two steps that misses the actor at all later steps."""
    first, second = shares[0].copy(), shares[1].copy()
    both = [np.stack([a, a[:, ::-1]], axis=2) for a in (first, second, shares[2], shares[3])]

    def attend(cubes: Tensor) -> Tensor:
        maps = cubes[..., 0].clone()
        maps[:, 2:] = (maps[:, 2:] == 0).float()
        return maps / maps.sum(-1, keepdim=True).clamp(min=1e-9)

    localisation, _ = measure([each[..., 0] for each in both], attend)
    assert localisation.by_step["energy"].value == pytest.approx([1, 1, 0, 0])
    assert localisation.by_step["pointing"].value == pytest.approx([1, 1, 0, 0])
    assert localisation.by_step["auc"].value == pytest.approx([1, 1, 0, 0])
    # Clips 0 and 2 are of class a: two of four steps, and two of two.
    assert localisation.by_class["a"]["energy"].value == pytest.approx((0.5 + 1) / 2)


def test_clips_without_annotation_are_left_out(shares: list[np.ndarray]) -> None:
    model = FakeModel(
        model_config(num_classes=2, places=25, channels=1),
        oracle,
        lambda cubes, _: cubes[..., :2, 0],
    )
    run = fake_run(model, [torch.from_numpy(share[..., None]) for share in shares], [0, 1, 0, 1])
    runner = BlockRunner(run)
    occupancy = occupancy_maps(runner, {"1.avi": FakeAnnotation(shares[1])}, 5)
    assert np.isnan(occupancy[0][0]).all()
    attention = run_clips(runner).attention
    assert attention is not None
    localisation, by_clip = measure_localisation(
        attention, occupancy, run.clips, "ab", Bootstrap(["x", "y", "z", "z"])
    )
    assert (localisation.energy.value, localisation.energy.clips) == (pytest.approx(1), 1)
    assert np.isnan(by_clip["pointing"]).tolist() == [True, False, True, True]
    assert np.isnan(localisation.by_class["a"]["auc"].value)


def test_average_blocks_ignores_missing_values() -> None:
    nan = np.nan
    by_clip, by_step = average_blocks(
        [[np.array([1.0, nan]), np.array([0.0, 0.5])], [np.array([nan])]]
    )
    assert by_clip[0] == 0.5
    assert by_step[0].tolist() == [0.5, 0.5]
    assert np.isnan(by_clip[1])
    assert np.isnan(by_step[1]).all()


def test_the_centre_prior_is_symmetric_with_its_maximum_at_the_centre() -> None:
    prior = centre_prior(5).reshape(5, 5)
    assert prior.sum() == pytest.approx(1)
    assert prior.argmax() == 12
    np.testing.assert_allclose(prior, prior.T)
    np.testing.assert_allclose(prior, prior[::-1])
    # Two cells of a fifth from the centre, at a standard deviation of a quarter.
    assert prior[0, 2] / prior[2, 2] == pytest.approx(np.exp(-(0.4**2) / (2 * 0.25**2)))


def test_resized_maps_keep_their_places() -> None:
    maps = np.array([[0.1, 0.2, 0.3, 0.4]])
    fine = resize_maps(maps, 4).reshape(4, 4)
    np.testing.assert_allclose(fine, np.kron(maps.reshape(2, 2), np.full((2, 2), 1 / 4)))
    np.testing.assert_allclose(resize_maps(fine.reshape(1, 16), 2), maps)
