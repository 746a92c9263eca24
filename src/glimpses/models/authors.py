"""The model that the paper's authors released, where it is not the paper's.

Source: `src/actrec.py` of github.com/kracwarlock/action-recognition-visual-attention (Theano); the
names of its options and arrays stand in `code` beside ours.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models.base import ActionModel, AuthorsOptions, ModelConfig, ModelOutput, State
from glimpses.models.decoder import keep, mean_slice, unbound

# Deviation of the weights at the start, where they are not orthogonal.
_START = 0.01


class AuthorsModel(ActionModel):
    """One LSTM layer that looks with attention of the width of the features.

    What it does otherwise than the paper: one LSTM layer; the start (Eq. 6) is linear with tanh;
    the location softmax also sees each place's features, D numbers wide inside; dropout halves the
    numbers in testing instead of doubling them in training, and is not on the LSTM's input.

    Padding is no part of the start's mean. In the authors' code it is, but there a mask never cuts
    a block short: a short clip's last frame is repeated.

    Args:
        config: the shape; `config.authors` are the options, `config.hidden` is `dim`,
            `config.channels` is `ctx_dim`. `form`, `attention_size` and `layers` mean nothing here.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options = config.authors or AuthorsOptions()
        width, size = config.channels, config.hidden
        inner = options.output_size or size
        self.start_layers = _layers(width, options.start_layers - 1)  # ff_init_k
        self.start_hidden = nn.Linear(width, size)  # ff_state
        self.start_cell = nn.Linear(width, size)  # ff_memory
        self.key = nn.Linear(width, width)  # Wc_att, b_att
        self.key_layers = _layers(width, options.attention_layers - 1)  # W_att_k, b_att_k
        self.query = nn.Linear(size, width, bias=False)  # Wd_att
        self.score = nn.Linear(width, 1)  # U_att, c_tt
        self.sharpness = options.inverse_temperature
        self.selector = nn.Linear(size, 1) if options.selector else None  # W_sel, b_sel
        self.input = nn.Linear(width, 4 * size)  # W, b; gates i, f, o, g
        self.recurrent = nn.Linear(size, 4 * size, bias=False)  # U
        self.inner = nn.Linear(size, inner)  # ff_logit_lstm
        self.inner_glimpse = nn.Linear(width, inner) if options.glimpse_to_output else None
        self.output_layers = _layers(inner, options.output_layers - 1)  # ff_logit_hk
        self.logits = nn.Linear(inner, config.classes)  # ff_logit
        self.dropout = _Dropout(config.dropout)
        self._draw()

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        softmax: Float[Tensor, "B T P"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        cubes = self.standard(cubes)
        if mask is None:
            mask = torch.ones(cubes.shape[:2], dtype=torch.bool, device=cubes.device)
        state = self._start(mean_slice(cubes, mask)) if mean is None else self.start(mean)
        keys = self._keys(cubes)
        hidden, glimpses, attentions = [], [], []
        for cube, key, given, real in zip(
            cubes.unbind(1), keys.unbind(1), unbound(softmax, mask.shape[1]), mask.unbind(1),
            strict=True,
        ):  # fmt: skip
            glimpse, attention, new = self._advance(cube, key, state, given)
            state = keep(state, new, real.unsqueeze(1))
            hidden.append(state.hidden[0])
            glimpses.append(glimpse)
            attentions.append(attention)
        logits = self._head(torch.stack(hidden, dim=1), torch.stack(glimpses, dim=1))
        attention = torch.stack(attentions, dim=1)
        return ModelOutput(logits, attention, softmax=attention)

    def start(self, mean: Float[Tensor, "B D"]) -> State:
        """The state before the first step; see `ActionModel.start`."""
        return self._start(self.standard(mean))

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B P"], State]:
        """Read one frame; see `ActionModel.step`."""
        cube = self.standard(cube)
        glimpse, attention, state = self._advance(cube, self._keys(cube), state)
        return self._head(state.hidden[0], glimpse), attention, state

    def _start(self, mean: Float[Tensor, "B D"]) -> State:
        for layer in self.start_layers:
            mean = self.dropout(torch.relu(layer(mean)))
        return State((torch.tanh(self.start_hidden(mean)),), (torch.tanh(self.start_cell(mean)),))

    def _keys(self, cubes: Float[Tensor, "*B P D"]) -> Float[Tensor, "*B P D"]:
        """What attention makes of the features alone: tanh between the further layers only."""
        keys: Tensor = self.key(cubes)
        for number, layer in enumerate(self.key_layers):
            keys = layer(torch.tanh(keys) if number else keys)
        return keys

    def _advance(
        self,
        cube: Float[Tensor, "B P D"],
        keys: Float[Tensor, "B P D"],
        state: State,
        attention: Float[Tensor, "B P"] | None = None,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B P"], State]:
        (hidden,), (cell,) = state.hidden, state.cell
        if attention is None:
            scores = self.score(torch.tanh(keys + self.query(hidden).unsqueeze(1))).squeeze(-1)
            attention = torch.softmax(self.sharpness * scores, dim=-1)
        glimpse = torch.bmm(attention.unsqueeze(1), cube).squeeze(1)
        if self.selector is not None:
            glimpse = torch.sigmoid(self.selector(hidden)) * glimpse
        gates = self.input(glimpse) + self.recurrent(hidden)
        take, retain, show, new = gates.chunk(4, dim=-1)  # i, f, o, g
        cell = torch.sigmoid(retain) * cell + torch.sigmoid(take) * torch.tanh(new)
        return glimpse, attention, State((torch.sigmoid(show) * torch.tanh(cell),), (cell,))

    def _head(
        self, hidden: Float[Tensor, "*B H"], glimpse: Float[Tensor, "*B D"]
    ) -> Float[Tensor, "*B C"]:
        inner = self.inner(self.dropout(hidden))
        if self.inner_glimpse is not None:
            inner = inner + self.inner_glimpse(glimpse)
        inner = self.dropout(torch.tanh(inner))
        for layer in self.output_layers:
            inner = self.dropout(torch.relu(layer(inner)))
        logits: Tensor = self.logits(inner)
        return logits

    @torch.no_grad()
    def _draw(self) -> None:
        """Draw weights as the authors do: orthogonal where square, else small and normal."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # The gates' matrices lie in one, but are drawn one by one.
                gates = 4 if module in (self.input, self.recurrent) else 1
                for part in module.weight.chunk(gates):
                    # Wc_att is square, and yet normal.
                    if part.shape[0] == part.shape[1] and module is not self.key:
                        nn.init.orthogonal_(part)
                    else:
                        nn.init.normal_(part, std=_START)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class _Dropout(nn.Module):
    """Dropout of the old kind: what is kept stays as it is in training, and shrinks in testing."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, numbers: Tensor) -> Tensor:
        return (1 - self.share) * nn.functional.dropout(numbers, self.share, self.training)


def _layers(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, width) for _ in range(count))
