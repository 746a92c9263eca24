"""The decoder over whole blocks at once, its gradient written by hand.

`decoder.RecurrentModel.forward` says what is computed, step by step. This computes the same faster,
and `forward` takes it wherever `obstacle` sees none. What makes it faster on a CPU:

- **One product a step and layer.** With x the layer's input and all gates' weights in one matrix,
  W = [W_ih W_hh], the gates are W [x; h_(t-1)] + b. Blocks are columns: for few of them, matrix
  products are up to half as fast again that way round.
- **One product a layer for the gradient of its weights.** With dG_t what reaches the gates of step
  t, dL/dW = sum_t dG_t [x; h_(t-1)]^T; laid side by side, all steps are one product.
- **Cubes are never expanded.** They stay in the half precision that they come in, and a few blocks'
  slices at a time are expanded where the processor's cache still holds them when they are used.
- **Features are standardised after Eq. 2, not before.** The softmax l sums to 1, so
  sum_i l_i (X_i - m) s = (sum_i l_i X_i - m) s, and what every l_i would gain from m in the
  gradient falls out behind the softmax. In `content` m and s go into W_c and b.
- **Dropout is drawn once** for all steps and layers.

A GPU has another trouble: thousands of small kernels, each of which takes longer to launch than to
run. There all of it, forward and backward, is one launch each (`graphs`), an LSTM layer's pointwise
part one kernel (`kernels`), and what is expanded at a time stays in the second-level cache.

With the gates i, f, o, g of one step and layer, c' = f c + i g and h = o tanh(c'), what reaches h
and c' from above, dh and dc, goes on as

    do = dh tanh(c')                dc <- dc + dh o (1 - tanh(c')^2)
    di = dc g    df = dc c    dg = dc i    dc_(t-1) = dc f

each gate's times the derivative of its own function, s (1 - s) or 1 - g^2. Behind the location
softmax, de_i = l_i (dl_i - sum_j l_j dl_j) with dl_i = X_i^T dx. In `content`, e_i = U^T k_i with
k_i = tanh(W_c X_i + W_d h + b): what reaches W_c X_i is U de_i (1 - k_i^2).

A gradient of this gradient there is not; asked for, PyTorch says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from glimpses.models import kernels
from glimpses.models.base import ModelConfig, Standardise
from glimpses.models.dropout import survivors
from glimpses.models.graphs import Graphs
from glimpses.models.looking import (
    AveragePooling,
    ContentAttention,
    LocationAttention,
    Looking,
    MaxPooling,
)

log = logging.getLogger(__name__)

# What a model may be shaped by for its shape to be known here. Whatever else turns up in a
# `ModelConfig` is another model's until it is written into this file.
_KNOWN = {
    "classes", "places", "channels", "kind", "form", "hidden", "attention_size", "layers",
    "dropout",
}  # fmt: skip
# Numbers that are expanded at a time: for each thread what its core's own cache of one to two
# megabytes holds beside the rest, and a part of a GPU's cache of some forty.
_EXPANDED, _EXPANDED_ON_GPU = 200_000, 4_000_000


def obstacle(
    config: ModelConfig,
    looking: Looking,
    cells: nn.ModuleList,
    cubes: Float[Tensor, "B T P D"],
    mask: Bool[Tensor, "B T"],
    softmax: Float[Tensor, "B T Q"] | None,
) -> str | None:
    """Why blocks must be read step by step; None where `read` serves."""
    weights = [*looking.parameters(), *cells.parameters()]
    for reason, there in (
        ("neither on a CPU nor on a GPU", cubes.device.type not in ("cpu", "cuda")),
        ("attention is given", softmax is not None),
        ("cubes want a gradient", cubes.requires_grad),
        ("no plain soft attention", type(looking) not in _LOOKS),
        ("a model of another shape", bool(_unknown(config))),
        ("mixed precision", torch.is_autocast_enabled(cubes.device.type)),
        ("weights of several kinds", len({(each.dtype, each.device) for each in weights}) > 1),
        ("being traced", torch.compiler.is_compiling()),
        ("its parts are being watched", any(_hooks(part) for part in (looking, *cells))),
        ("no blocks or steps", not mask.numel()),
    ):
        if there:
            return reason
    # Behind the first step that is padding nothing counts, unless real ones follow.
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        return "real steps after padding"
    return None


@cache
def say(reason: str) -> None:
    """Tell once that blocks are read step by step, and why."""
    log.info("blocks are read step by step: %s", reason)


def _unknown(config: ModelConfig) -> list[str]:
    return [
        field.name
        for field in fields(config)
        if field.name not in _KNOWN
        and (field.default is MISSING or getattr(config, field.name) != field.default)
    ]


def _hooks(module: nn.Module) -> bool:
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
        for part in module.modules()
    )


def read(
    looking: Looking,
    cells: nn.ModuleList,
    standard: Standardise,
    cubes: Float[Tensor, "B T P D"],
    hidden: Sequence[Float[Tensor, "B H"]],
    cell: Sequence[Float[Tensor, "B H"]],
    dropout: float,
    graphs: Graphs | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T Q"]]:
    """Read blocks from their first state on.

    Args:
        looking: attention, of either form, or pooling.
        cells: the LSTM layers, bottom layer first.
        standard: how features are standardised.
        cubes: X as they are stored, not standardised, in any floating type.
        hidden: h_0 of each layer.
        cell: c_0 of each.
        dropout: share of the connections into each layer that is dropped.
        graphs: where those of this model are kept; None to launch every kernel by itself.

    Returns:
        The top layer's hidden state after every step, and the location softmax before it; zeros for
        one place of a model that pools.
    """
    if isinstance(looking, ContentAttention):
        weight, shift = looking.key.weight, standard.mean * standard.scale
        looks = [
            weight * standard.scale,
            looking.key.bias - weight @ shift,
            looking.query.weight,
            looking.score.weight.squeeze(0),
        ]
    else:
        looks = list(looking.parameters())
    lstms = [lstm for lstm in cells if isinstance(lstm, nn.LSTMCell)]
    layers = [
        weight
        for lstm in lstms
        for weight in (lstm.weight_ih, lstm.weight_hh, lstm.bias_ih + lstm.bias_hh)
    ]
    widths = [lstm.input_size for lstm in lstms]
    dropped = _dropped(widths, cubes, layers[0].dtype, dropout) if dropout else cubes.new_empty(0)
    at_once = partial(_at_once, type(looking))
    first = torch.stack(tuple(hidden)), torch.stack(tuple(cell))
    given = (cubes, standard.mean, standard.scale, dropped, *first, *looks, *layers)
    tops, attention = (at_once if graphs is None else graphs.take(at_once, given))(*given)
    return tops, attention


def _at_once(
    looking: type[Looking],
    cubes: Tensor,
    mean: Tensor,
    scale: Tensor,
    dropped: Tensor,
    hidden: Tensor,
    cell: Tensor,
    *weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """`read` as a function of tensors alone; nothing is `dropped` where that is empty."""
    blocks, steps = cubes.shape[:2]
    views: list[Sequence[Tensor]] = []
    if len(dropped):
        widths = [w_ih.shape[1] for w_ih in weights[_LOOKS[looking].learned :: 3]]
        parts = torch.split(dropped, [steps * width * blocks for width in widths])
        views = [
            part.view(steps, width, blocks).unbind()
            for part, width in zip(parts, widths, strict=True)
        ]
    constants = _Constants(cubes, mean, scale, views or None, looking, torch.is_grad_enabled())
    found: tuple[Tensor, Tensor] = _Read.apply(constants, hidden, cell, *weights)  # type: ignore[no-untyped-call]
    return found


def mean_slice(
    cubes: Float[Tensor, "B T P D"], mask: Bool[Tensor, "B T"], dtype: torch.dtype
) -> Float[Tensor, "B D"]:
    """Mean over places and real steps, in `dtype`, of cubes that stay as they are."""
    blocks, steps, places, channels = cubes.shape
    real = mask.to(dtype)
    real = real / real.sum(1, keepdim=True).clamp(min=1)
    if cubes.device.type != "cpu":
        return torch.einsum("btd,bt->bd", cubes.mean(2, dtype=dtype), real)
    parts = _Parts(cubes, dtype)
    mean = torch.zeros(blocks, channels, dtype=dtype)
    frame = torch.empty(blocks, channels, dtype=dtype)
    evens = parts.of(torch.full((blocks, 1, places), 1 / places, dtype=dtype))
    frames = parts.of(frame.unsqueeze(1))
    for step in range(steps):
        for part, slices in parts.expanded(step):
            torch.bmm(evens[part], slices, out=frames[part])
        mean.addcmul_(frame, real[:, step : step + 1])
    return mean


class _Constants(NamedTuple):
    """What has no gradient.

    Attributes:
        cubes: X as they come.
        mean: of each channel.
        scale: of each channel.
        dropped: what the inputs of each layer are multiplied by, (X, B) at each step; None for
            nothing.
        looking: what chooses a glimpse; its weights come first.
        training: whether a pass backward may follow.
    """

    cubes: Tensor
    mean: Tensor
    scale: Tensor
    dropped: list[Sequence[Tensor]] | None
    looking: type[Looking]
    training: bool


class _Parts:
    """The blocks of a batch, a few at a time: as many as can be expanded within a cache.

    All views that a pass needs are made before it, for all steps at once.
    """

    def __init__(self, cubes: Float[Tensor, "B T P D"], dtype: torch.dtype) -> None:
        blocks, _, places, channels = cubes.shape
        own = _EXPANDED * torch.get_num_threads()
        at_most = own if cubes.device.type == "cpu" else _EXPANDED_ON_GPU
        self._many = int(min(max(1, at_most // (places * channels)), blocks))
        self._stored = self.by_step(cubes.transpose(0, 1))
        self._room: tuple[Tensor, ...] = ()
        if cubes.dtype != dtype:
            room = cubes.new_empty((self._many, places, channels), dtype=dtype)
            self._room = tuple(room[: len(part[0])] for part in self._stored)

    def of(self, each: Float[Tensor, "B*n ..."], rows: int = 1) -> tuple[Tensor, ...]:
        """Every part's share of what has `rows` rows for a block."""
        return torch.split(each, self._many * rows)

    def by_step(self, each: Float[Tensor, "T B*n ..."], rows: int = 1) -> list[Sequence[Tensor]]:
        """The same at every step."""
        return [part.unbind(1) for part in self.of(each.transpose(0, 1), rows)]

    def expanded(self, t: int) -> Iterator[tuple[int, Float[Tensor, "b P D"]]]:
        """Every part's number, and its slices at a step; they are gone with the next part's."""
        for part, stored in enumerate(self._stored):
            yield part, self._room[part].copy_(stored[t]) if self._room else stored[t]


class _Look:
    """A way of looking at a batch, and what its steps leave.

    Attributes:
        learned: how many tensors it learns.
        attention: the location softmax of all steps, (T, B, Q).
        glimpse: of the last step, (B, D), in a place that is used again.
    """

    learned = 0

    def __init__(self, cubes: Float[Tensor, "B T P D"], like: Tensor, places: int) -> None:
        blocks, steps, _, channels = cubes.shape
        self.attention = like.new_empty(steps, blocks, places)
        self.glimpse = like.new_empty(blocks, channels)
        self.parts = _Parts(cubes, like.dtype)
        self.own_softmax = self.parts.by_step(self.attention.unsqueeze(2))
        self.own_glimpse = self.parts.of(self.glimpse.unsqueeze(1))


class _Pooled(_Look):
    """All places at once, in place of attention: the baselines of Table 1."""

    def __init__(self, _: Sequence[Tensor], cubes: Tensor, kept: int, like: Tensor) -> None:
        # Not empty: a graph's results are compared with the function's by their largest values.
        super().__init__(cubes, like, 1)
        self.attention.zero_()

    def back(self, _: Float[Tensor, "T B 1"]) -> _PooledBack:
        """What goes the way back."""
        return _PooledBack(self)


class _Averaged(_Pooled):
    def step(self, t: int, _: Float[Tensor, "B H"]) -> Float[Tensor, "B D"]:
        """The mean over places."""
        for part, slices in self.parts.expanded(t):
            torch.mean(slices, 1, keepdim=True, out=self.own_glimpse[part])
        return self.glimpse


class _Largest(_Pooled):
    def step(self, t: int, _: Float[Tensor, "B H"]) -> Float[Tensor, "B D"]:
        """The largest over places, which is so before features are standardised, too."""
        for part, slices in self.parts.expanded(t):
            torch.amax(slices, 1, keepdim=True, out=self.own_glimpse[part])
        return self.glimpse


class _PooledBack:
    """The way back through it, which leads nowhere: nothing of it is learned."""

    def __init__(self, look: _Pooled) -> None:
        self.glimpse = torch.empty_like(look.glimpse)

    def step(self, t: int, top: Float[Tensor, "H B"]) -> None:
        """Nothing reaches the hidden state."""

    def weights(self, _: Float[Tensor, "T H B"]) -> tuple[Tensor, ...]:
        """There are none."""
        return ()


class _Location(_Look):
    """Eq. 1 and 2: attention by the hidden state alone."""

    learned = 1

    def __init__(self, weights: Sequence[Tensor], cubes: Tensor, kept: int, like: Tensor) -> None:
        blocks, _, places, _ = cubes.shape
        super().__init__(cubes, like, places)
        (place,) = weights
        self.by_hidden = place.t()
        self.softmax, self.scores = self.attention.unbind(), like.new_empty(blocks, places)

    def back(self, dattention: Float[Tensor, "T B P"]) -> _LocationBack:
        """What goes the way back."""
        return _LocationBack(self, dattention)

    def step(self, t: int, top: Float[Tensor, "B H"]) -> Float[Tensor, "B D"]:
        """The glimpse that h_(t-1) of the top layer asks for, in a place that is used again."""
        torch.softmax(torch.mm(top, self.by_hidden, out=self.scores), 1, out=self.softmax[t])
        for part, slices in self.parts.expanded(t):
            torch.bmm(self.own_softmax[part][t], slices, out=self.own_glimpse[part])
        return self.glimpse


class _LocationBack:
    """The way back through it: what reaches every score, from behind and from `dattention`."""

    def __init__(self, look: _Location, dattention: Float[Tensor, "T B P"]) -> None:
        self.look, self.dattention = look, dattention.unbind()
        new, (_, blocks, places) = look.glimpse.new_empty, dattention.shape
        self.glimpse, self.dlook = torch.empty_like(look.glimpse), new(blocks, places)
        self.own_glimpse = look.parts.of(self.glimpse.unsqueeze(1))
        self.own_dlook = look.parts.of(self.dlook.unsqueeze(1))
        self.all_scores = torch.empty_like(look.attention)
        self.scores = self.all_scores.unbind()

    def step(self, t: int, top: Float[Tensor, "H B"]) -> None:
        """From `glimpse` on; what reaches h_(t-1) is added to `top`."""
        for part, slices in self.look.parts.expanded(t):
            torch.bmm(self.own_glimpse[part], slices.transpose(1, 2), out=self.own_dlook[part])
        de = self.scores[t]
        _behind_softmax(self.look.softmax[t], self.dlook, self.dattention[t], de)
        top.addmm_(self.look.by_hidden, de.t())

    def weights(self, before: Float[Tensor, "T H B"]) -> tuple[Tensor, ...]:
        """Of the scores' W; `before` are the states that asked."""
        return (_product(self.all_scores, before),)


class _Content(_Look):
    """Attention by what is seen at every place, too: the form of the authors' code."""

    learned = 4

    def __init__(self, weights: Sequence[Tensor], cubes: Tensor, kept: int, like: Tensor) -> None:
        blocks, _, places, _ = cubes.shape
        super().__init__(cubes, like, places)
        key, self.shift, self.query, self.score = weights
        new, size, parts = like.new_empty, len(key), self.parts
        self.by_key, self.by_hidden = key.t().contiguous(), self.query.t()
        self.asked, scores = new(blocks, size), new(blocks, places)
        bent = new(kept, blocks, places, size)
        self.own_bent, self.rows = parts.by_step(bent), parts.by_step(bent.flatten(1, 2), places)
        self.own_asked = parts.of(self.asked.unsqueeze(1))
        self.own_scores = parts.of(scores.unsqueeze(1))
        self.flat_scores = parts.of(scores.flatten(), places)
        self.kept = kept

    def back(self, dattention: Float[Tensor, "T B P"]) -> _ContentBack:
        """What goes the way back."""
        return _ContentBack(self, dattention)

    def step(self, t: int, top: Float[Tensor, "B H"]) -> Float[Tensor, "B D"]:
        """The glimpse that h_(t-1) of the top layer asks for, in a place that is used again."""
        at = t % self.kept
        torch.addmm(self.shift, top, self.by_hidden, out=self.asked)
        for part, slices in self.parts.expanded(t):
            rows, softmax = self.rows[part][at], self.own_softmax[part][t]
            torch.mm(slices.flatten(0, 1), self.by_key, out=rows)
            self.own_bent[part][at].add_(self.own_asked[part]).tanh_()
            torch.mv(rows, self.score, out=self.flat_scores[part])
            torch.softmax(self.own_scores[part], 2, out=softmax)
            torch.bmm(softmax, slices, out=self.own_glimpse[part])
        return self.glimpse


class _ContentBack:
    """The way back through it: what reaches every score, key and query."""

    def __init__(self, look: _Content, dattention: Float[Tensor, "T B P"]) -> None:
        self.look = look
        parts, (steps, blocks, places) = look.parts, dattention.shape
        new, size = look.glimpse.new_empty, len(look.score)
        self.glimpse, dlook = torch.empty_like(look.glimpse), new(blocks, places)
        scores, bent = torch.empty_like(look.attention), new(blocks, places, size)
        self.own_glimpse = parts.of(self.glimpse.unsqueeze(1))
        self.own_dlook = parts.of(dlook.unsqueeze(1))
        self.own_dattention = parts.by_step(dattention.unsqueeze(2))
        self.own_scores = parts.by_step(scores.unsqueeze(2))
        self.flat_scores = parts.by_step(scores.flatten(1), places)
        self.own_bent, self.rows = parts.of(bent), parts.of(bent.flatten(0, 1), places)
        self.all_asked = new(steps, blocks, size)
        self.asked, self.own_asked = self.all_asked.unbind(), parts.by_step(self.all_asked)
        self.key, self.score = torch.zeros_like(look.by_key.t()), torch.zeros_like(look.score)

    def step(self, t: int, top: Float[Tensor, "H B"]) -> None:
        """From `glimpse` on; what reaches h_(t-1) is added to `top`."""
        look = self.look
        for part, slices in look.parts.expanded(t):
            dlook, de, dk = self.own_dlook[part], self.own_scores[part][t], self.own_bent[part]
            torch.bmm(self.own_glimpse[part], slices.transpose(1, 2), out=dlook)
            _behind_softmax(look.own_softmax[part][t], dlook, self.own_dattention[part][t], de)
            self.score.addmv_(look.rows[part][t].t(), self.flat_scores[part][t])
            k, each = look.own_bent[part][t], de.transpose(1, 2)
            torch.mul(k, each, out=dk)
            torch.addcmul(each, dk, k, value=-1, out=dk)
            torch.sum(dk, 1, out=self.own_asked[part][t])
            self.key.addmm_(self.rows[part].t(), slices.flatten(0, 1))
        top.addmm_(look.by_hidden, self.asked[t].mul_(look.score).t())

    def weights(self, before: Float[Tensor, "T H B"]) -> tuple[Tensor, ...]:
        """Of the keys' W and bias, the query's and the scores'; `before` are the states."""
        keys = self.key.mul_(self.look.score.unsqueeze(1))
        asked = self.all_asked
        return keys, asked.sum((0, 1)), _product(asked, before), self.score


_LOOKS: dict[type[Looking], type[_Averaged | _Largest | _Location | _Content]] = {
    AveragePooling: _Averaged,
    MaxPooling: _Largest,
    LocationAttention: _Location,
    ContentAttention: _Content,
}


class _Layer:
    """One LSTM layer of a block: its weights, and what its steps leave.

    Gates lie in the order i, f, o, g: one sigmoid, one tanh.
    """

    def __init__(self, weights: Sequence[Tensor], steps: int, blocks: int, kept: int) -> None:
        w_ih, w_hh, bias = weights
        self.size, self.width = w_hh.shape[1], w_ih.shape[1]
        size, self.inner = self.size, self.width + self.size
        new = bias.new_empty
        self.weight = new(4 * size, self.inner)
        self.bias = new(4 * size, 1)
        for ours, theirs in self.order():
            self.weight[ours, : self.width] = w_ih[theirs]
            self.weight[ours, self.width :] = w_hh[theirs]
            self.bias[ours, 0] = bias[theirs]
        read = new(steps + 1, self.inner, blocks)
        gates, cell, bent = new(kept, 4 * size, blocks), new(steps + 1, size, blocks), None
        bent = new(kept, size, blocks)
        self.all_read, self.all_cell = read, cell
        self.read = read.unbind()
        self.input = read[:, : self.width].unbind()
        self.hidden = read[:, self.width :].unbind()
        self.gates = gates.unbind()
        self.sigmoids = gates[:, : 3 * size].unbind()
        self.i, self.f, self.o, self.g = (part.unbind() for part in gates.chunk(4, dim=1))
        self.cell, self.bent = cell.unbind(), bent.unbind()
        self.fused = kernels.serve(bias.device, bias.dtype)

    def order(self) -> Iterator[tuple[slice, slice]]:
        """Where each gate lies here, and where in PyTorch's order i, f, g, o."""
        for ours, theirs in ((0, 0), (1, 1), (2, 3), (3, 2)):
            yield (
                slice(ours * self.size, (ours + 1) * self.size),
                slice(theirs * self.size, (theirs + 1) * self.size),
            )

    def step(self, t: int, at: int) -> Tensor:
        """Eq. 3 to 5, from what lies in `input[t]` and `hidden[t]`."""
        torch.addmm(self.bias, self.weight, self.read[t], out=self.gates[at])
        if self.fused:
            state = self.cell[t], self.cell[t + 1], self.bent[at], self.hidden[t + 1]
            kernels.advance(self.gates[at], *state)
            return self.hidden[t + 1]
        self.sigmoids[at].sigmoid_()
        self.g[at].tanh_()
        cell = torch.mul(self.f[at], self.cell[t], out=self.cell[t + 1])
        cell.addcmul_(self.i[at], self.g[at])
        bent = torch.tanh(cell, out=self.bent[at])
        return torch.mul(self.o[at], bent, out=self.hidden[t + 1])


class _Back:
    """The way back through a layer: what reaches its state, and its gates at every step."""

    def __init__(self, layer: _Layer, steps: int) -> None:
        self.layer = layer
        self.weight = _transposed(layer.weight)
        like, size = layer.all_cell, layer.size
        blocks = like.shape[2]
        self.all_gates = like.new_empty(steps, 4 * size, blocks)
        self.gates = self.all_gates.unbind()
        self.sigmoids = self.all_gates[:, : 3 * size].unbind()
        self.i, self.f, self.o, self.g = (part.unbind() for part in self.all_gates.chunk(4, dim=1))
        read = like.new_zeros(layer.inner, blocks)
        self.read, self.input, self.hidden = read, read[: layer.width], read[layer.width :]
        self.cell = like.new_zeros(size, blocks)
        self.spare = like.new_empty(size, blocks)

    def step(self, t: int) -> None:
        """From `hidden` and `cell` behind a step to those before it, and to `input`."""
        layer, dh, dc, spare = self.layer, self.hidden, self.cell, self.spare
        if layer.fused:
            kernels.retreat(layer.gates[t], layer.cell[t], layer.bent[t], dh, dc, self.gates[t])
            torch.mm(self.weight, self.gates[t], out=self.read)
            return
        torch.mul(dh, layer.bent[t], out=self.o[t])
        torch.mul(self.o[t], layer.bent[t], out=spare)
        torch.sub(dh, spare, out=spare)
        dc.addcmul_(spare, layer.o[t])
        torch.mul(dc, layer.g[t], out=self.i[t])
        torch.mul(dc, layer.cell[t], out=self.f[t])
        dg = torch.mul(dc, layer.i[t], out=self.g[t])
        dc.mul_(layer.f[t])
        sigmoids = self.sigmoids[t].mul_(layer.sigmoids[t])
        sigmoids.addcmul_(sigmoids, layer.sigmoids[t], value=-1)
        torch.mul(dg, layer.g[t], out=spare)
        dg.addcmul_(spare, layer.g[t], value=-1)
        torch.mm(self.weight, self.gates[t], out=self.read)

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of W_ih, W_hh and the bias: all steps in one product."""
        layer, (steps, rows, blocks) = self.layer, self.all_gates.shape
        gates = self.all_gates.new_empty(rows, steps, blocks)
        for ours, theirs in layer.order():
            gates[theirs] = self.all_gates[:, ours].transpose(0, 1)
        gates, read = gates.flatten(1), _side_by_side(layer.all_read[:-1])
        return gates @ read[: layer.width].t(), gates @ read[layer.width :].t(), gates.sum(1)


class _Read(torch.autograd.Function):
    """`read` from the stacked first states on; see the head of this file."""

    @staticmethod
    def forward(
        ctx: Any, constants: _Constants, hidden: Tensor, cell: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        cubes, mean, scale, dropped, looking, training = constants
        blocks, steps = cubes.shape[:2]
        kept = steps if training else 1
        looks = _LOOKS[looking].learned
        look = _LOOKS[looking](weights[:looks], cubes, kept, hidden)
        layers = [
            _Layer(weights[k : k + 3], steps, blocks, kept) for k in range(looks, len(weights), 3)
        ]
        for layer, h, c in zip(layers, hidden, cell, strict=True):
            layer.hidden[0].copy_(h.t())
            layer.cell[0].copy_(c.t())
        for t in range(steps):
            glimpse = look.step(t, layers[-1].hidden[t].t())
            below = glimpse.sub_(mean).mul_(scale).t()
            for number, layer in enumerate(layers):
                if dropped is None:
                    layer.input[t].copy_(below)
                else:
                    torch.mul(below, dropped[number][t], out=layer.input[t])
                below = layer.step(t, t % kept)
        tops = layers[-1].all_read[1:, layers[-1].width :].permute(2, 0, 1).contiguous()
        if training:
            # Not for their values: so that a change of them before the way back is an error.
            ctx.save_for_backward(cubes, *weights)
            ctx.kept = scale, dropped, look, layers
        return tops, look.attention.transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dtops: Tensor, dattention: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors
        scale, dropped, look, layers = ctx.kept
        dtops = dtops.permute(1, 2, 0).contiguous()
        dattention = dattention.transpose(0, 1).contiguous()
        steps = len(dtops)
        look_back = look.back(dattention)
        backs = [_Back(layer, steps) for layer in layers]
        top = backs[-1]
        for t in reversed(range(steps)):
            top.hidden.add_(dtops[t])
            for number in reversed(range(len(backs))):
                back = backs[number]
                back.step(t)
                if dropped is not None:
                    back.input.mul_(dropped[number][t])
                if number:
                    backs[number - 1].hidden.add_(back.input)
            look_back.glimpse.copy_(backs[0].input.t()).mul_(scale)
            look_back.step(t, top.hidden)
        before = layers[-1].all_read[:-1, layers[-1].width :]
        return (
            None,
            torch.stack([back.hidden.t() for back in backs]),
            torch.stack([back.cell.t() for back in backs]),
            *look_back.weights(before),
            *(weight for back in backs for weight in back.weights()),
        )


def _behind_softmax(softmax: Tensor, dlook: Tensor, also: Tensor, out: Tensor) -> None:
    """What reaches e: `dlook` reaches l through the glimpse, `also` from elsewhere; (..., P)."""
    torch.add(dlook, also, out=out).mul_(softmax)
    out.addcmul_(softmax, out.sum(-1, keepdim=True), value=-1)


def _transposed(matrix: Float[Tensor, "Y X"]) -> Float[Tensor, "X Y"]:
    """In memory too; PyTorch's own way takes twice as long."""
    turned = matrix.new_empty(matrix.shape[::-1])
    for rows, columns in zip(torch.split(matrix, 64), torch.split(turned, 64, dim=1), strict=True):
        columns.copy_(rows.t())
    return turned


def _side_by_side(steps: Float[Tensor, "T X B"]) -> Float[Tensor, "X T*B"]:
    return steps.transpose(0, 1).flatten(1)


def _product(rows: Float[Tensor, "T B Y"], columns: Float[Tensor, "T X B"]) -> Tensor:
    """sum_t rows_t^T columns_t^T, (Y, X)."""
    return rows.flatten(0, 1).t() @ _side_by_side(columns).t()


def _dropped(
    widths: Sequence[int], cubes: Tensor, dtype: torch.dtype, share: float
) -> Float[Tensor, " T*X*B"]:
    """What the inputs of each layer are multiplied by at every step, (T, X, B) a layer."""
    blocks, steps = cubes.shape[:2]
    return survivors(sum(widths) * steps * blocks, share, dtype, cubes.device)
