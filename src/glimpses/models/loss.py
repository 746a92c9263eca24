"""The loss of Eq. 7: classification at every step, and how attention is spread over a block.

Hard attention adds what teaches it to choose, which Eq. 7 has no derivative for.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glimpses.models.base import Choice, ModelOutput

# Weight of the entropy: `alpha_entropy_c` in the code of Xu et al. (2015).
ENTROPY = 0.002


class Loss(NamedTuple):
    """Terms of Eq. 7 for a batch, each the mean over its blocks.

    The last term, gamma times the sum of squared parameters, is the optimiser's: Adam with a
    coupled weight decay of 2 gamma adds its gradient.

    Attributes:
        total: what is minimised, `classification + lambda * penalty + choice`.
        classification: cross-entropy summed over steps.
        penalty: `attention_penalty`; 0 for a model without attention.
        choice: `choice_loss`; 0 without hard attention. Its value means nothing, its gradient
            does.
    """

    total: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    penalty: Float[Tensor, ""]
    choice: Float[Tensor, ""]


def sequence_loss(
    output: ModelOutput,
    targets: Int[Tensor, " B"] | Float[Tensor, "B C"],
    mask: Bool[Tensor, "B T"],
    *,
    multi_label: bool = False,
    attention_weight: float = 0.0,
    attention_target: Literal["one", "share"] = "one",
    entropy_weight: float = ENTROPY,
) -> Loss:
    """Loss of a batch of blocks.

    Args:
        output: what the model said.
        targets: class of each block; for multi-label data 1 for its classes and 0 for others.
        mask: True where a step is a real frame; other steps cost nothing.
        multi_label: independent classes: a sigmoid and binary cross-entropy for each, summed, as
            in the authors' code for Hollywood2.
        attention_weight: lambda.
        attention_target: how often every place should be looked at in a block: `one` time
            (Eq. 7), or its fair `share`, the block's length over the number of places.
        entropy_weight: lambda_e, what a nat of the location softmax's entropy is worth at a step,
            for hard attention.
    """
    steps = output.logits.shape[1]
    if multi_label:
        expanded = targets.to(output.logits.dtype).unsqueeze(1).expand(-1, steps, -1)
        each = F.binary_cross_entropy_with_logits(output.logits, expanded, reduction="none").sum(-1)
    else:
        repeated = targets.unsqueeze(1).expand(-1, steps)
        each = F.cross_entropy(output.logits.transpose(1, 2), repeated, reduction="none")
    each = torch.where(mask, each, 0.0)
    classification = each.sum(1).mean()
    penalty = choice = classification.new_zeros(())
    if output.attention is not None and attention_weight:
        target = (
            1.0
            if attention_target == "one"
            else mask.sum(1, keepdim=True) / output.attention.shape[2]
        )
        penalty = attention_penalty(output.attention, mask, target).mean()
    if output.choices is not None:
        choice = choice_loss(output.choices, -each, mask, entropy_weight).mean()
    total = classification + attention_weight * penalty + choice
    return Loss(total, classification, penalty, choice)


def choice_loss(
    choices: Choice,
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    entropy_weight: float = ENTROPY,
) -> Float[Tensor, " B"]:
    """What teaches hard attention to choose: REINFORCE with a baseline.

    After Xu et al. (2015), section 4.1. A choice is rewarded with the log-likelihood of the truth
    at its own step and all later ones, as earlier ones owe it nothing. With that, the gradient of
    `classification + choice` is on average over the draws that of the expected classification
    loss, whatever the baseline. Xu et al. take a moving average of the rewards for it; here it is
    a linear function of the hidden state (the value), which also knows the block and the time, and
    learns the mean reward of the steps that are left from squared errors.

    Args:
        choices: what is known of the places chosen.
        rewards: log-likelihood of the truth at every step, 0 at padding.
        mask: True where a step is a real frame.
        entropy_weight: lambda_e.

    Returns:
        A number for each block whose gradient counts.
    """
    real = mask.to(rewards.dtype)
    left = real.flip(1).cumsum(1).flip(1).clamp(min=1)
    reward = rewards.detach().flip(1).cumsum(1).flip(1)
    surplus = reward - left * choices.value.detach()
    chosen = -surplus * choices.log_probability - entropy_weight * choices.entropy
    value = (reward / left - choices.value) ** 2
    return torch.where(mask, chosen + value, 0.0).sum(1)


def attention_penalty(
    attention: Float[Tensor, "B T P"],
    mask: Bool[Tensor, "B T"],
    target: float | Float[Tensor, "B 1"] = 1.0,
) -> Float[Tensor, " B"]:
    """Doubly stochastic penalty: how far places are from being looked at `target` times a block.

    Args:
        attention: location softmax l, rows sum to 1.
        mask: True where a step is a real frame.
        target: what the sum over steps should be for every place; 1 in Eq. 7.

    Returns:
        Penalty of each block, >= 0; the second term of Eq. 7 without lambda.
    """
    looked = (attention * mask.unsqueeze(-1)).sum(1)
    return ((target - looked) ** 2).sum(1)
