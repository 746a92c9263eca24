"""Scores agree with their definitions, counted by hand or by scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from glimpses.datasets import Clip
from glimpses.evaluation import score
from glimpses.features import Block
from glimpses.inference.aggregate import BlockResult, ClipAggregator, run_blocks
from glimpses.utils.errors import GlimpsesError


def clips(*labels: tuple[int, ...]) -> list[Clip]:
    return [Clip(f"c{n}.mp4", Path(f"c{n}.mp4"), own, f"g{n}") for n, own in enumerate(labels)]


def test_accuracy_recall_and_confusion_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2, 0], [0.4, 0.6, 0], [0.1, 0.9, 0], [0.3, 0.4, 0.3]])
    scores = score(clips((0,), (0,), (1,), (2,)), probabilities, ("x", "y", "z"))
    assert scores.accuracy == 0.5
    assert scores.per_class == {"x": 0.5, "y": 1.0, "z": 0.0}
    assert scores.confusion is not None
    assert scores.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert [clip.right for clip in scores.clips] == [True, False, True, False]


def test_a_class_without_clips_counts_for_nothing() -> None:
    scores = score(clips((0,), (0,)), np.array([[0.9, 0.1], [0.2, 0.8]]), ("x", "absent"))
    assert scores.per_class == {"x": 0.5}
    assert scores.accuracy == 0.5


def test_map_is_scikit_learns_mean_of_average_precisions() -> None:
    random = np.random.default_rng(0)
    truth = random.random((40, 5)) < 0.3
    truth[:, 0] |= ~truth.any(1)
    probabilities = random.random((40, 5))
    labels = [tuple(np.flatnonzero(row)) for row in truth]
    scores = score(clips(*labels), probabilities, tuple("abcde"), multi_label=True)
    assert scores.accuracy is None
    assert scores.mAP == pytest.approx(average_precision_score(truth, probabilities))
    assert "mAP" in scores.to_json()


def test_average_precision_is_the_mean_precision_at_every_hit() -> None:
    random = np.random.default_rng(1)
    truth = random.random((25, 4)) < 0.3
    truth[:2] = False
    probabilities = random.random((25, 4))
    scores = score(
        clips(*(tuple(np.flatnonzero(row)) for row in truth)),
        probabilities,
        tuple("abcd"),
        multi_label=True,
    )
    for index, name in enumerate("abcd"):
        ranked = truth[np.argsort(-probabilities[:, index]), index]
        precisions = [ranked[: rank + 1].mean() for rank in range(25) if ranked[rank]]
        assert scores.per_class[name] == pytest.approx(np.mean(precisions))
    assert [clip.right for clip in scores.clips[:2]] == [None, None]


def test_chance_of_average_precision_is_the_share_of_clips() -> None:
    labels = [(0,), (0, 1), ()] + [(0,)] * 100 + [(1,)] * 97
    random = np.random.default_rng(0)
    guesses = [
        score(clips(*labels), random.random((200, 3)), tuple("abc"), multi_label=True)
        for _ in range(50)
    ]
    # (102 + 98) / 2 of 200 clips; nothing shows c.
    assert guesses[0].chance == 0.5
    assert np.mean([scores.value for scores in guesses]) == pytest.approx(0.5, abs=0.03)


def test_clips_without_any_action_cannot_be_scored_alone() -> None:
    with pytest.raises(GlimpsesError, match="none of the 2 test clips shows an action"):
        score(clips((), ()), np.full((2, 3), 0.5), tuple("abc"), multi_label=True)


def test_scores_print_and_serialise() -> None:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    scores = score(
        clips((0,), (1,), (1,)), probabilities, ("[b]x", "y"), skipped={"bad.mp4": "is empty"}
    )
    written = json.loads(json.dumps(scores.to_json()))
    assert written["accuracy"] == pytest.approx(2 / 3)
    assert written["chance"] == 0.5
    assert written["skipped"] == {"bad.mp4": "is empty"}
    console = Console(record=True, width=100, markup=False)
    console.print(scores)
    text = console.export_text()
    assert "66.7%" in text
    assert "[b]x (1)" in text


def test_a_clip_is_the_mean_over_steps_then_over_blocks() -> None:
    random = np.random.default_rng(1)
    average = ClipAggregator()
    blocks = [random.dirichlet(np.ones(3), size=4) for _ in range(3)]
    for start, block in zip((0, 2, 3), blocks, strict=True):
        average.add(BlockResult(0, start, block, block[:, :2]))
    result = average.result()
    assert result.probabilities == pytest.approx(np.mean([b.mean(0) for b in blocks], 0))
    assert len(result.step_probabilities) == 7
    # Frame 3 is step 3 of the first block, step 1 of the second and step 0 of the third.
    assert result.step_probabilities[3] == pytest.approx(
        (blocks[0][3] + blocks[1][1] + blocks[2][0]) / 3
    )
    assert result.attention is not None
    assert result.attention[0] == pytest.approx(blocks[0][0, :2])


def test_the_last_steps_of_a_block_can_speak_for_it() -> None:
    block = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    average = ClipAggregator(last_steps=2)
    average.add(BlockResult(0, 0, block, None))
    average.add(BlockResult(0, 3, block[:1], None))
    assert average.result().probabilities == pytest.approx([(0.3 + 0.9) / 2, (0.7 + 0.1) / 2])


def test_blocks_can_vote() -> None:
    """Two blocks that lead with class 0 by little outvote one that leads with class 1 by much."""
    leads = ([0.6, 0.4], [0.01, 0.99], [0.55, 0.45])
    mean, majority = ClipAggregator(), ClipAggregator(aggregate="majority")
    for start, lead in enumerate(leads):
        for average in (mean, majority):
            average.add(BlockResult(0, start, np.array([lead]), None))
    assert mean.result().probabilities.argmax() == 1
    assert majority.result().probabilities == pytest.approx([2 / 3, 1 / 3], abs=1e-5)


def test_blocks_equally_divided_leave_it_to_the_mean() -> None:
    average = ClipAggregator(aggregate="majority")
    for lead in ([0.6, 0.4], [0.1, 0.9]):
        average.add(BlockResult(0, 0, np.array([lead]), None))
    result = average.result().probabilities
    assert result.argmax() == 1
    assert result.sum() == pytest.approx(1)


class Echo(nn.Module):
    """Logits are the cubes' first place; in training mode it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, cubes: Tensor, mask: Tensor, mean: Tensor | None = None) -> SimpleNamespace:
        assert not self.training
        return SimpleNamespace(logits=cubes[:, :, 0].float(), attention=None)


@pytest.mark.parametrize("multi_label", [False, True])
def test_padding_is_cut_off_and_the_mode_restored(multi_label: bool) -> None:
    cubes = torch.randn(2, 5, 4, 3).half()
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    model = Echo().train()
    batch = Block(cubes, mask, torch.tensor([7, 8]), torch.tensor([0, 30]))
    first, second = run_blocks(model, batch, multi_label=multi_label)  # type: ignore[arg-type]
    assert (first.clip, second.start) == (7, 30)
    assert (len(first.probabilities), len(second.probabilities)) == (5, 2)
    logits = cubes[1, :2, 0].double()
    expected = logits.sigmoid() if multi_label else logits.softmax(-1)
    assert second.probabilities == pytest.approx(expected.numpy(), abs=1e-6)
    assert model.training


def test_average_holds_frames_and_not_blocks() -> None:
    """The paper's stride of 1: thirty times as many block steps as frames."""
    import tracemalloc

    random = np.random.default_rng(0)
    average = ClipAggregator()
    tracemalloc.start()
    whole = []
    for start in range(2000):
        probabilities = random.random((30, 8))
        whole.append(probabilities.mean(0))
        average.add(BlockResult(0, start, probabilities, random.random((30, 49))))
    found = average.result()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert found.step_probabilities.shape == (2029, 8)
    assert found.attention is not None
    assert found.attention.shape == (2029, 49)
    np.testing.assert_allclose(found.probabilities, np.mean(whole, axis=0))
    assert held < 6e6  # all blocks would be 27 MB
