"""The linear model is scikit-learn's logistic regression, stored as any other model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from glimpses import datasets, runs
from glimpses.evaluation import evaluate
from glimpses.features import open_features
from glimpses.inference.aggregate import predict_clips
from glimpses.models import build_model
from glimpses.training.linear import Rows, choose_c, fit_weights
from tests.configs import model_config, train
from tests.training import planted

LINEAR = {"model": "linear", "block_length": 20, "last_steps": 1, "folds": 3}


def expected_statistics(cubes: np.ndarray) -> np.ndarray:
    """Return mean, deviation and change of a clip, computed from its cubes in one go."""
    means = cubes.mean(1)
    return np.concatenate(
        [means.mean(0), means.std(0), np.abs(np.diff(cubes, axis=0)).mean((0, 1))]
    )


def test_a_run_predicts_as_scikit_learn(tmp_path: Path) -> None:
    data = planted.make_set(tmp_path / "data", planted.deviation, groups=6)
    train(data, out=tmp_path / "run", inverse_penalty=0.3, **LINEAR)
    config, model = runs.load_model(tmp_path / "run")
    dataset = datasets.load(data)
    cubes = open_features(dataset, "", fps=10).clips
    clips = {clip.id: clip for clip in dataset.clips}

    def rows(subset: str) -> np.ndarray:
        stored = [cubes[id].block(0, 20).double().numpy() for id in config.clips[subset]]
        return np.stack([expected_statistics(clip) for clip in stored])

    labels = [clips[id].labels[0] for id in config.clips["train"]]
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, tol=1e-8))
    expected = regression.fit(rows("train"), labels).predict_proba(rows("test"))
    model.temperature = 1.0
    results = predict_clips(
        model, [cubes[id] for id in config.clips["test"]], block_length=20, stride=20, last_steps=1
    )
    actual = np.stack([result.probabilities for result in results])
    np.testing.assert_allclose(actual, expected, atol=2e-3)
    assert evaluate(tmp_path / "run").accuracy > 0.9


def test_frame_by_frame_is_the_whole_block() -> None:
    statistics = ("mean", "deviation", "change", "maximum")
    model = build_model(
        model_config(num_classes=3, places=4, channels=5, model="linear", statistics=statistics)
    )
    model.channel_norm.set(torch.randn(5), torch.rand(5) + 0.5)
    cubes = torch.randn(2, 6, 4, 5)
    output = model(cubes)
    assert output.attention is None
    state = model.initial_state(cubes.mean((1, 2)))
    assert {name: tuple(value.shape[1:]) for name, value in state.items()} == model.state_spec
    for step in range(6):
        logits, _, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, output.logits[:, step], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no attention"):
        model(cubes, attention=torch.ones(2, 6, 4))


@pytest.mark.parametrize("classes", [2, 3])
def test_few_rows_are_solved_in_their_span(classes: int) -> None:
    rng = np.random.default_rng(classes)
    values = rng.normal(size=(30, 80)) * rng.uniform(0.5, 3, 80)
    labels = np.arange(30) % classes
    values[:, 0] += 2 * labels
    weights = fit_weights(Rows(values, np.arange(30)), np.eye(classes)[labels], 0.05)
    standardized = StandardScaler().fit(values)
    direct = LogisticRegression(C=0.05, tol=1e-8, max_iter=1000)
    direct.fit(standardized.transform(values), labels)
    unseen = rng.normal(size=(20, 80))
    logits = weights.logits(unseen)
    actual = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    expected = direct.predict_proba(standardized.transform(unseen))
    np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_independent_classes_are_solved_one_by_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 4))
    targets = np.stack([values[:, 0] > 0, values[:, 1] > 0.5, np.zeros(40)], axis=1).astype(float)
    weights = fit_weights(Rows(values, np.arange(40)), targets, 1.0, multi_label=True)
    predicted = weights.logits(values) > 0
    assert (predicted == targets).mean() > 0.9
    # No clip has the last class.
    assert not predicted[:, 2].any()


def test_the_blocks_of_a_clip_count_as_one() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(9, 3))
    targets = np.eye(2)[np.arange(9) % 2]
    once = fit_weights(Rows(values, np.arange(9)), targets, 1.0)
    copies = np.repeat(np.arange(9), 3)
    thrice = fit_weights(Rows(values[copies], copies), targets, 1.0)
    np.testing.assert_allclose(once.weight, thrice.weight, atol=1e-3)


def test_noise_wants_a_stronger_penalty_than_signal() -> None:
    rng = np.random.default_rng(2)
    targets = np.eye(2)[np.arange(60) % 2]
    groups = [str(index // 4) for index in range(60)]
    noise = rng.normal(size=(60, 20))
    signal = noise.copy()
    signal[:, :10] += 2 * targets[:, :1]
    chosen = [
        choose_c(Rows(values, np.arange(60)), targets, groups, 0) for values in (noise, signal)
    ]
    assert chosen[0] < chosen[1]
