"""Softmax regression, the baseline of Table 1 without memory."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models.base import ActionModel, ModelConfig, ModelOutput, State


class SoftmaxRegression(ActionModel):
    """One linear map from the whole cube to logits, at every step by itself."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.logits = nn.Linear(config.places * config.channels, config.classes)

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        softmax: Float[Tensor, "B T Q"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        if softmax is not None:
            raise ValueError("softmax regression has no attention")
        return ModelOutput(self.logits(self.standard(cubes).flatten(2)), None)

    def start(self, mean: Float[Tensor, "B D"]) -> State:
        """Nothing: it has no memory."""
        return State((), ())

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], None, State]:
        """Read one frame; see `ActionModel.step`."""
        return self.logits(self.standard(cube).flatten(1)), None, state
