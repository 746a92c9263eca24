"""Models with known attention, put through the measures: an oracle has 1, uniform has chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from glimpses.evaluation.block_runner import BlockRunner, Maps, look
from glimpses.evaluation.bootstrap import Bootstrap
from glimpses.evaluation.explanation import MapLocalisation
from glimpses.evaluation.localisation import aiming, shares_of, tabulate
from glimpses.evaluation.saliency_baselines import centre_prior, regridded
from tests.configs import model_config
from tests.evaluation.known import Made, Shares, opened


@pytest.fixture
def shares() -> list[np.ndarray]:
    """Actors that fill a few places of 5 x 5, partly; one clip is short, another of two blocks."""
    rng = np.random.default_rng(0)
    found = []
    for frames in (4, 4, 2, 7):
        share = np.zeros((frames, 5, 5))
        for step in range(frames):
            row, column = rng.integers(0, 3, 2)
            share[step, row : row + 2, column : column + 2] = rng.integers(1, 64, (2, 2)) / 64
        found.append(share.reshape(frames, 25))
    return found


def measured(shares: list[np.ndarray], looks: object) -> tuple[MapLocalisation, Maps]:
    """The aim of a model whose cube's only channel is the truth, and that truth by block."""
    model = Made(
        model_config(num_classes=2, places=25, channels=1),
        looks,
        lambda cubes, _: cubes[..., :2, 0],
    )  # type: ignore[arg-type]
    cubes = [torch.from_numpy(share[..., None]) for share in shares]
    run = opened(model, cubes, [0, 1, 0, 1])
    reader = BlockRunner(run)
    truth = {clip.id: Shares(share) for clip, share in zip(run.clips, shares, strict=True)}
    known = shares_of(reader, truth, 5)
    attention = look(reader).attention
    assert attention is not None
    bootstrap = Bootstrap([clip.group for clip in run.clips])
    return aiming(attention, known, run.clips, run.config.classes, bootstrap)[0], known


def oracle(cubes: Tensor) -> Tensor:
    share = cubes[..., 0]
    return share / share.sum(-1, keepdim=True).clamp(min=1e-9)


def uniform(cubes: Tensor) -> Tensor:
    return torch.full(cubes.shape[:3], 1 / cubes.shape[2])


def test_the_oracle_has_one(shares: list[np.ndarray]) -> None:
    found, _ = measured(shares, oracle)
    for measure in (found.energy, found.pointing, found.auc):
        assert measure.value == pytest.approx(1, abs=1e-12)
        assert measure.clips == 4
    assert found.by_class["a"]["energy"].value == pytest.approx(1, abs=1e-12)
    for curve in found.by_step.values():
        assert curve.value == pytest.approx(np.ones(4))


def test_the_uniform_one_has_chance(shares: list[np.ndarray]) -> None:
    found, known = measured(shares, uniform)
    hits = [np.mean([(block > 0).mean(1).mean() for block in clip]) for clip in known]
    # Of the last clip's two blocks, which overlap, all steps count the same.
    assert found.energy.value == pytest.approx(np.mean(hits), abs=1e-6)
    assert found.pointing.value == pytest.approx(found.energy.value, abs=1e-6)
    assert found.energy.value == pytest.approx(4 / 25, abs=1e-6)
    assert found.auc.value == 0.5


def test_classes_and_steps_are_told_apart(shares: list[np.ndarray]) -> None:
    """An oracle for class a that never finds b; and one that is late by two steps."""
    first, second = shares[0].copy(), shares[1].copy()
    both = [np.stack([a, a[:, ::-1]], axis=2) for a in (first, second, shares[2], shares[3])]

    def looks(cubes: Tensor) -> Tensor:
        maps = cubes[..., 0].clone()
        maps[:, 2:] = (maps[:, 2:] == 0).float()
        return maps / maps.sum(-1, keepdim=True).clamp(min=1e-9)

    found, _ = measured([each[..., 0] for each in both], looks)
    assert found.by_step["energy"].value == pytest.approx([1, 1, 0, 0])
    assert found.by_step["pointing"].value == pytest.approx([1, 1, 0, 0])
    assert found.by_step["auc"].value == pytest.approx([1, 1, 0, 0])
    # Clips 0 and 2 are of class a: two of four steps, and two of two.
    assert found.by_class["a"]["energy"].value == pytest.approx((0.5 + 1) / 2)


def test_clips_without_truth_are_left_out(shares: list[np.ndarray]) -> None:
    model = Made(
        model_config(num_classes=2, places=25, channels=1),
        oracle,
        lambda cubes, _: cubes[..., :2, 0],
    )
    run = opened(model, [torch.from_numpy(share[..., None]) for share in shares], [0, 1, 0, 1])
    reader = BlockRunner(run)
    known = shares_of(reader, {"1.avi": Shares(shares[1])}, 5)
    assert np.isnan(known[0][0]).all()
    attention = look(reader).attention
    assert attention is not None
    found, by_clip = aiming(attention, known, run.clips, "ab", Bootstrap(["x", "y", "z", "z"]))
    assert (found.energy.value, found.energy.clips) == (pytest.approx(1), 1)
    assert np.isnan(by_clip["pointing"]).tolist() == [True, False, True, True]
    assert np.isnan(found.by_class["a"]["auc"].value)


def test_tables_are_means_over_what_is_known() -> None:
    nan = np.nan
    by_clip, by_step = tabulate([[np.array([1.0, nan]), np.array([0.0, 0.5])], [np.array([nan])]])
    assert by_clip[0] == 0.5
    assert by_step[0].tolist() == [0.5, 0.5]
    assert np.isnan(by_clip[1])
    assert np.isnan(by_step[1]).all()


def test_the_centre_prior_is_symmetric_and_highest_in_the_middle() -> None:
    prior = centre_prior(5).reshape(5, 5)
    assert prior.sum() == pytest.approx(1)
    assert prior.argmax() == 12
    np.testing.assert_allclose(prior, prior.T)
    np.testing.assert_allclose(prior, prior[::-1])
    # Two cells of a fifth from the middle, at a deviation of a quarter.
    assert prior[0, 2] / prior[2, 2] == pytest.approx(np.exp(-(0.4**2) / (2 * 0.25**2)))


def test_maps_on_another_grid_keep_their_places() -> None:
    maps = np.array([[0.1, 0.2, 0.3, 0.4]])
    fine = regridded(maps, 4).reshape(4, 4)
    np.testing.assert_allclose(fine, np.kron(maps.reshape(2, 2), np.full((2, 2), 1 / 4)))
    np.testing.assert_allclose(regridded(fine.reshape(1, 16), 2), maps)
