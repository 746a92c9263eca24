"""Upsampled attention against SciPy's Gaussian filter, and invariants for any attention."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from glimpses.viz import upsample

ATTENTION = np.random.default_rng(0).dirichlet(np.ones(49), size=3).reshape(3, 7, 7)


def test_upsampling_equals_cells_blurred_by_scipy() -> None:
    """At 32 pixels a place, sampling the Gaussian, as SciPy does, is close to integrating it."""
    cells = ATTENTION.repeat(32, axis=1).repeat(32, axis=2)
    blurred = [gaussian_filter(frame, 16, mode="reflect", truncate=6) for frame in cells]

    np.testing.assert_allclose(upsample(ATTENTION, 224, 224), blurred, rtol=2e-3)


@pytest.mark.parametrize("size", [(224, 224), (240, 320), (720, 405), (5, 3), (1, 1)])
def test_the_mean_is_kept(size: tuple[int, int]) -> None:
    """Reflection at the edge loses nothing, for any ratio of pixels to places."""
    drawn = upsample(ATTENTION, *size)

    assert drawn.shape == (3, *size)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(axis=(1, 2)), 1 / 49, rtol=1e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 3), (6, 2)])
def test_the_maximum_is_in_the_attended_cell(row: int, column: int) -> None:
    attention = np.zeros((1, 7, 7))
    attention[0, row, column] = 1

    y, x = np.unravel_index(upsample(attention, 240, 320)[0].argmax(), (240, 320))

    assert row <= y * 7 / 240 < row + 1
    assert column <= x * 7 / 320 < column + 1


def test_mirrored_attention_gives_a_mirrored_map() -> None:
    drawn, mirrored = upsample(ATTENTION, 100, 90), upsample(ATTENTION[:, ::-1, ::-1], 100, 90)

    np.testing.assert_allclose(mirrored[:, ::-1, ::-1], drawn, rtol=1e-4, atol=1e-7)


def test_uniform_attention_stays_uniform() -> None:
    np.testing.assert_allclose(upsample(np.full((1, 5, 5), 0.04), 64, 48), 0.04, rtol=1e-6)
