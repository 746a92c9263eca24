"""Hard attention: the slice of one place in place of all (Xu et al., 2015, section 4.1)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glimpses.models.attention import AttentionWrapper, SpatialAggregator
from glimpses.models.base import HardSample


class HardAttention(AttentionWrapper):
    """Attention to a single place, chosen by the location softmax of another attention.

    In training the place is sampled from the location softmax with PyTorch's global random state.
    In evaluation it is the most probable place, so that a video always gets the same prediction.
    The layer `value` predicts the reward from the hidden state, as the baseline of REINFORCE.
    """

    def __init__(self, attention: SpatialAggregator, value: nn.Linear) -> None:
        super().__init__(attention)
        self.value = value

    def attend(
        self, scores: Float[Tensor, "B Q"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B Q"], HardSample]:
        """Choose a place for every frame; return weights (1 there, else 0) and the choices."""
        log_softmax = torch.log_softmax(scores, dim=-1)
        softmax = log_softmax.exp()
        place = self.sample(softmax) if self.training else softmax.argmax(dim=-1)
        place = place.unsqueeze(1)
        weights = torch.zeros_like(scores).scatter(1, place, 1.0)
        return weights, HardSample(
            log_probability=log_softmax.gather(1, place).squeeze(1),
            entropy=-(softmax * log_softmax).sum(dim=-1),
            # The baseline must not change the hidden state that it is computed from.
            value=self.value(hidden.detach()).squeeze(1),
        )

    def sample(self, softmax: Float[Tensor, "B Q"]) -> Int[Tensor, " B"]:
        """Sample a place for every frame of the batch."""
        return torch.multinomial(softmax, 1).squeeze(1)
