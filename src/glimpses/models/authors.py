"""The model in the code that the paper's authors released, which differs from the paper's.

Source: `src/actrec.py` of github.com/kracwarlock/action-recognition-visual-attention (Theano).
Comments give the names of its options and arrays.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glimpses.models import base
from glimpses.models.base import ActionModel, ModelOutput, State
from glimpses.models.config import AuthorsOptions, ModelConfig

# Standard deviation of initial weights that are not orthogonal.
_INITIAL_STD = 0.01


class AuthorsModel(ActionModel):
    """Model of the authors' code: one LSTM layer, and attention as wide as the features.

    Differences from the paper: there is a single LSTM layer; the initial state (Eq. 6) is linear
    with tanh; the location softmax also sees the features of each place, through a layer of width
    D; dropout halves the values in evaluation instead of doubling them in training, and is not
    applied to the input of the LSTM.

    Padding does not enter the mean for the initial state. In the authors' code it does, but there
    no block is padded: the last frame of a short clip is repeated.

    Args:
        config: options and shapes. `options.authors` are the options of this model,
            `options.hidden_size` is `dim`, `cube.channels` is `ctx_dim`.
    """

    has_attention = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        options = config.options.authors or AuthorsOptions()
        width, size = config.cube.channels, config.options.hidden_size
        inner = options.output_size or size
        self.start_layers = _layers(width, options.start_layers - 1)  # ff_init_k
        self.start_hidden = nn.Linear(width, size)  # ff_state
        self.start_cell = nn.Linear(width, size)  # ff_memory
        self.key = nn.Linear(width, width)  # Wc_att, b_att
        self.key_layers = _layers(width, options.attention_layers - 1)  # W_att_k, b_att_k
        self.query = nn.Linear(size, width, bias=False)  # Wd_att
        self.score = nn.Linear(width, 1)  # U_att, c_tt
        self.inverse_temperature = options.inverse_temperature
        self.selector = nn.Linear(size, 1) if options.selector else None  # W_sel, b_sel
        self.input = nn.Linear(width, 4 * size)  # W, b; gates i, f, o, g
        self.recurrent = nn.Linear(size, 4 * size, bias=False)  # U
        self.inner = nn.Linear(size, inner)  # ff_logit_lstm
        self.inner_glimpse = nn.Linear(width, inner) if options.glimpse_to_output else None
        self.output_layers = _layers(inner, options.output_layers - 1)  # ff_logit_hk
        self.logits = nn.Linear(inner, config.num_classes)  # ff_logit
        self.dropout = _Dropout(config.options.dropout)
        self._initialize()

    @property
    def description(self) -> str:
        """Kind and size of the model, in one line."""
        return f"the authors' model, 1 layer of {self.config.options.hidden_size}"

    @property
    def state_spec(self) -> dict[str, tuple[int, ...]]:
        """Hidden and cell state."""
        shape = (self.config.options.hidden_size,)
        return {"hidden": shape, "cell": shape}

    def forward(
        self,
        cubes: Float[Tensor, "B T P D"],
        mask: Bool[Tensor, "B T"] | None = None,
        attention: Float[Tensor, "B T P"] | None = None,
        mean: Float[Tensor, "B D"] | None = None,
    ) -> ModelOutput:
        """Read blocks of feature cubes; see `ActionModel.forward`."""
        base.require_trailing_padding(mask)
        frames = [self.channel_norm(cube) for cube in cubes.unbind(1)]
        mean = base.mean_slice(frames, mask) if mean is None else self.channel_norm(mean)
        hidden, cell = self._initial(mean)
        replacements = [None] * len(frames) if attention is None else attention.unbind(1)
        hidden_states, glimpses, weights = [], [], []
        for cube, replacement in zip(frames, replacements, strict=True):
            glimpse, softmax, hidden, cell = self._step(cube, hidden, cell, replacement)
            hidden_states.append(hidden)
            glimpses.append(glimpse)
            weights.append(softmax)
        logits = self._head(torch.stack(hidden_states, dim=1), torch.stack(glimpses, dim=1))
        attention = torch.stack(weights, dim=1)
        return ModelOutput(logits, attention, slice_attention=attention)

    def initial_state(self, mean: Float[Tensor, "B D"]) -> State:
        """Return the state before the first step; see `ActionModel.initial_state`."""
        hidden, cell = self._initial(self.channel_norm(mean))
        return {"hidden": hidden, "cell": cell}

    def step(
        self, cube: Float[Tensor, "B P D"], state: State
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B P"], State]:
        """Read one frame; see `ActionModel.step`."""
        cube = self.channel_norm(cube)
        glimpse, attention, hidden, cell = self._step(cube, state["hidden"], state["cell"])
        return self._head(hidden, glimpse), attention, {"hidden": hidden, "cell": cell}

    def _initial(self, mean: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor]:
        for layer in self.start_layers:
            mean = self.dropout(torch.relu(layer(mean)))
        return torch.tanh(self.start_hidden(mean)), torch.tanh(self.start_cell(mean))

    def _keys(self, cube: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """Return the part of the scores that needs no hidden state; tanh is between layers only."""
        keys: Tensor = self.key(cube)
        for number, layer in enumerate(self.key_layers):
            keys = layer(torch.tanh(keys) if number else keys)
        return keys

    def _step(
        self,
        cube: Float[Tensor, "B P D"],
        hidden: Float[Tensor, "B H"],
        cell: Float[Tensor, "B H"],
        attention: Float[Tensor, "B P"] | None = None,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B P"], Tensor, Tensor]:
        """Return the glimpse and attention of one frame, and the state after it, (B, H) each."""
        if attention is None:
            scores = self.score(torch.tanh(self._keys(cube) + self.query(hidden).unsqueeze(1)))
            attention = torch.softmax(self.inverse_temperature * scores.squeeze(-1), dim=-1)
        glimpse = torch.bmm(attention.unsqueeze(1), cube).squeeze(1)
        if self.selector is not None:
            glimpse = torch.sigmoid(self.selector(hidden)) * glimpse
        i, f, o, g = (self.input(glimpse) + self.recurrent(hidden)).chunk(4, dim=-1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return glimpse, attention, torch.sigmoid(o) * torch.tanh(cell), cell

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
    def _initialize(self) -> None:
        """Draw weights as the authors do: orthogonal if square, else normal and small."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # The matrices of the four gates are stored as one, but drawn one by one.
                gates = 4 if module in (self.input, self.recurrent) else 1
                for part in module.weight.chunk(gates):
                    # Wc_att is square, but normal.
                    if part.shape[0] == part.shape[1] and module is not self.key:
                        nn.init.orthogonal_(part)
                    else:
                        nn.init.normal_(part, std=_INITIAL_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class _Dropout(nn.Module):
    """Dropout that scales its input in evaluation, and not in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        return (1 - self.p) * nn.functional.dropout(values, self.p, self.training)


def _layers(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(width, width) for _ in range(count))
