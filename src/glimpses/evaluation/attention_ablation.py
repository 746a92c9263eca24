"""Attention ablation: accuracy with the attention replaced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from glimpses.datasets import Clip
from glimpses.evaluation.block_runner import (
    BlockCollector,
    BlockRunner,
    ClipOutputs,
    Maps,
    batch_maps,
)
from glimpses.evaluation.metrics import correct
from glimpses.features import Block

#: The model's own attention, and its replacements.
ORIGINAL = "original"
UNIFORM, SHUFFLED, SWAPPED = "uniform", "shuffled in time", "swapped between clips"


@torch.inference_mode()
def attention_ablation(
    runner: BlockRunner, outputs: ClipOutputs, seed: int = 0
) -> dict[str, Float64[np.ndarray, " N"]]:
    """Classify all clips with the original attention and with each replacement.

    `uniform` is equal on every slice; `shuffled in time` permutes the real steps of each block;
    `swapped between clips` uses the attention of a clip of another class and group, at the same
    step (`swap_partners`).

    Args:
        runner: runner of the clips.
        outputs: outputs of the unmodified model.
        seed: random seed.

    Returns:
        1 for each correct clip, else 0 (see `correct`), by kind of attention, "original" first.
        NaN for clips without a swap partner.
    """
    assert outputs.softmax is not None
    clips = runner.opened.clips
    rng = np.random.default_rng(seed)
    partners = swap_partners(clips, rng)
    collectors = {name: BlockCollector(runner) for name in (UNIFORM, SHUFFLED, SWAPPED)}
    for batch in runner.batches("replacing attention"):
        original = batch_maps(outputs.softmax, runner.starts, batch)
        replacements = {
            UNIFORM: torch.full_like(original, 1 / original.shape[-1]),
            SHUFFLED: _shuffle_steps(original, batch.mask, rng),
            SWAPPED: _swap_clips(original, outputs.softmax, partners, runner.starts, batch),
        }
        for name, softmax in replacements.items():
            collectors[name].add(batch, runner.probabilities(batch.cubes, batch.mask, softmax))
    ablation = {ORIGINAL: correct(clips, outputs.results)}
    ablation |= {name: correct(clips, part.results()) for name, part in collectors.items()}
    # A clip without a partner kept its own attention, so its result means nothing.
    alone = [index for index, partner in enumerate(partners) if partner is None]
    ablation[SWAPPED][alone] = np.nan
    return ablation


def swap_partners(clips: Sequence[Clip], rng: np.random.Generator) -> list[int | None]:
    """Draw a partner for each clip: of another class and group, or at least of another group.

    Partners are drawn uniformly from the candidates; None if all clips are of one group.
    """
    partners: list[int | None] = []
    groups = np.array([clip.group for clip in clips])
    for clip in clips:
        other_groups = np.flatnonzero(groups != clip.group).tolist()
        other_classes = [i for i in other_groups if not set(clip.labels) & set(clips[i].labels)]
        candidates = other_classes or other_groups
        partners.append(int(rng.choice(candidates)) if candidates else None)
    return partners


def _shuffle_steps(
    original: Float[Tensor, "B T Q"], mask: Bool[Tensor, "B T"], rng: np.random.Generator
) -> Float[Tensor, "B T Q"]:
    """Permute the attention of each block's real steps."""
    shuffled = original.clone()
    for row, length in enumerate(mask.sum(1).tolist()):
        shuffled[row, :length] = original[row, torch.from_numpy(rng.permutation(length))]
    return shuffled


def _swap_clips(
    original: Float[Tensor, "B T Q"],
    softmax: Maps,
    partners: Sequence[int | None],
    starts: Sequence[Sequence[int]],
    batch: Block,
) -> Float[Tensor, "B T Q"]:
    """Replace the attention of each block by its partner's, repeated if that is shorter."""
    swapped = original.clone()
    for row, (clip, start) in enumerate(
        zip(batch.clip.tolist(), batch.start.tolist(), strict=True)
    ):
        partner = partners[clip]
        if partner is not None:
            blocks = softmax[partner]
            block = np.asarray(blocks[starts[clip].index(start) % len(blocks)], np.float32)
            steps = np.arange(original.shape[1]) % len(block)
            swapped[row] = torch.from_numpy(block[steps])
    return swapped
