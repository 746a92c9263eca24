"""Loss of Eq. 7: classification at every step, and the doubly stochastic attention penalty.

Hard attention adds a REINFORCE term, because Eq. 7 has no derivative with respect to its choices.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glimpses.models.base import HardSample, ModelOutput

# Weight of the entropy: `alpha_entropy_c` in the code of Xu et al. (2015).
ENTROPY = 0.002


class Loss(NamedTuple):
    """Terms of Eq. 7 for a batch, each the mean over its blocks.

    The last term of Eq. 7, gamma times the sum of squared parameters, is left to the optimizer: a
    coupled weight decay of 2 gamma adds its gradient.

    Attributes:
        total: the minimized sum, `classification + lambda * penalty + reinforce`.
        classification: cross-entropy summed over steps.
        penalty: `attention_penalty`; 0 for a model without attention.
        reinforce: `reinforce_loss`; 0 without hard attention. Only its gradient has a meaning.
    """

    total: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    penalty: Float[Tensor, ""]
    reinforce: Float[Tensor, ""]


def sequence_loss(
    output: ModelOutput,
    targets: Int[Tensor, "B *T"] | Float[Tensor, "B *T C"],
    mask: Bool[Tensor, "B T"],
    *,
    multi_label: bool = False,
    per: Literal["step", "block"] = "step",
    label_smoothing: float = 0.0,
    attention_weight: float = 0.0,
    attention_target: Literal["one", "share"] = "one",
    entropy_weight: float = ENTROPY,
    class_weights: Float[Tensor, " C"] | None = None,
) -> Loss:
    """Return the loss of a batch of blocks.

    Args:
        output: output of the model.
        targets: class of each block, or of each of its steps; for multi-label data 1 for its
            classes and 0 for others.
        mask: True where a step is a real frame with a label; other steps do not count.
        multi_label: whether classes are independent: a sigmoid and binary cross-entropy for each,
            summed, as in the authors' code for Hollywood2.
        per: classify every step (Eq. 7), or the block by the mean of its logits. The loss of a
            block then counts once for each of its steps, so that both are of one size.
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy et
            al., 2016); for multi-label data over both values of each class.
        attention_weight: lambda.
        attention_target: intended sum of attention to a place over a block: `one` (Eq. 7), or the
            place's `share`, the block's length over the number of places.
        entropy_weight: lambda_e, weight of the entropy of the location softmax at every step, for
            hard attention.
        class_weights: weight of the clips of each class; for multi-label data, weight of a class
            where a clip shows it. 1 if not given.
    """
    logits, steps = output.logits, output.logits.shape[1]
    if per == "block":
        weights = mask / mask.sum(1, keepdim=True).clamp(min=1)
        logits = torch.einsum("btc,bt->bc", logits, weights.to(logits.dtype)).unsqueeze(1)
        logits = logits.expand(-1, steps, -1)
    if targets.ndim == 1 + multi_label:
        targets = targets.unsqueeze(1).expand(-1, steps, *targets.shape[1:])
    if multi_label:
        targets = (1 - label_smoothing) * targets.to(logits.dtype) + label_smoothing / 2
        step_losses = F.binary_cross_entropy_with_logits(
            logits, targets, reduction="none", pos_weight=class_weights
        ).sum(-1)
    else:
        step_losses = F.cross_entropy(
            logits.transpose(1, 2),
            targets,
            weight=class_weights,
            reduction="none",
            label_smoothing=label_smoothing,
        )
    step_losses = torch.where(mask, step_losses, 0.0)
    classification = step_losses.sum(1).mean()
    penalty = reinforce = classification.new_zeros(())
    if output.attention is not None and attention_weight:
        share = mask.sum(1, keepdim=True) / output.attention.shape[2]
        target = 1.0 if attention_target == "one" else share
        penalty = attention_penalty(output.attention, mask, target).mean()
    if output.samples is not None:
        reinforce = reinforce_loss(output.samples, -step_losses, mask, entropy_weight).mean()
    total = classification + attention_weight * penalty + reinforce
    return Loss(total, classification, penalty, reinforce)


def reinforce_loss(
    samples: HardSample,
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    entropy_weight: float = ENTROPY,
) -> Float[Tensor, " B"]:
    """Return the loss of each block that trains hard attention: REINFORCE with a learned baseline.

    After Xu et al. (2015), section 4.1. The reward of a choice is the log-likelihood of the label
    at its own step and all later ones; earlier steps do not depend on it. The expected gradient of
    `classification + reinforce` over the samples is that of the expected classification loss,
    whatever the baseline. Xu et al. use a moving average of the rewards as the baseline. Here it
    is a linear function of the hidden state, the value, which knows the block and the time. It
    learns the mean reward of the remaining steps by least squares. Only the gradient of the loss
    has a meaning.

    Args:
        samples: places that were chosen.
        rewards: log-likelihood of the label at every step, 0 at padding.
        mask: True where a step is a real frame.
        entropy_weight: lambda_e.
    """
    real = mask.to(rewards.dtype)
    steps_left = real.flip(1).cumsum(1).flip(1).clamp(min=1)
    reward = rewards.detach().flip(1).cumsum(1).flip(1)
    advantage = reward - steps_left * samples.value.detach()
    policy_loss = -advantage * samples.log_probability - entropy_weight * samples.entropy
    value_loss = (reward / steps_left - samples.value) ** 2
    return torch.where(mask, policy_loss + value_loss, 0.0).sum(1)


def attention_penalty(
    attention: Float[Tensor, "B T P"],
    mask: Bool[Tensor, "B T"],
    target: float | Float[Tensor, "B 1"] = 1.0,
) -> Float[Tensor, " B"]:
    """Return each block's doubly stochastic penalty, the second term of Eq. 7 without lambda.

    Args:
        attention: location softmax l, rows sum to 1.
        mask: True where a step is a real frame.
        target: intended sum over steps for every place; 1 in Eq. 7.
    """
    total = (attention * mask.unsqueeze(-1)).sum(1)
    return ((target - total) ** 2).sum(1)
