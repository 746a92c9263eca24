"""The decoder as ONNX graphs: one for its first state, one for a step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn

from glimpses.backbones.export import to_onnx
from glimpses.models import ActionModel, AuthorsModel, RecurrentModel, State
from glimpses.utils.errors import GlimpsesError, describe_error

# What numbers of the graphs may differ from PyTorch's, by themselves or as a part of their size.
_TOLERANCE = 1e-4


class DecoderGraphs(NamedTuple):
    """The decoder's graphs.

    Attributes:
        start: mean feature slice of a block -> first state; None for a model without memory.
        step: feature cube, state -> logits, probabilities, attention, next state.
    """

    start: bytes | None
    step: bytes


class InitialStateGraph(nn.Module):
    """A block's mean feature slice to the state before its first step: Eq. 6.

    Args:
        model: the decoder.
    """

    def __init__(self, model: RecurrentModel | AuthorsModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, mean: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B L H"], Float[Tensor, "B L H"]]:
        """Hidden and cell state, one row for each LSTM layer, the bottom one first."""
        state = self.model.start(mean)
        return torch.stack(state.hidden, dim=1), torch.stack(state.cell, dim=1)


class StepGraph(nn.Module):
    """One step of a decoder, with its state in plain tensors.

    Args:
        model: the decoder.
        multi_label: whether classes are independent (sigmoid) or exclude each other (softmax).
    """

    def __init__(self, model: ActionModel, *, multi_label: bool) -> None:
        super().__init__()
        self.model = model
        self.multi_label = multi_label

    def forward(
        self,
        cube: Float[Tensor, "B P D"],
        hidden: Float[Tensor, "B L H"] | None = None,
        cell: Float[Tensor, "B L H"] | None = None,
        before: Float[Tensor, "B P D"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Read one frame.

        Args:
            cube: its features.
            hidden: as `InitialStateGraph` or the step before gave it; for a model with memory.
            cell: likewise.
            before: features of the frame before, for a model that reads motion; at the first frame
                of a block, that frame's own.

        Returns:
            Logits and probabilities (B, C); attention (B, K*K) where there is any; and hidden and
            cell state where there is memory.
        """
        if not isinstance(self.model, RecurrentModel | AuthorsModel):
            return self._said(self.model(cube.unsqueeze(1)).logits.squeeze(1))
        assert hidden is not None
        assert cell is not None
        past = None if before is None else self.model.standard(before)
        state = State(hidden.unbind(1), cell.unbind(1), past)
        logits, attention, state = self.model.step(cube, state)
        looked = () if attention is None else (attention,)
        states = torch.stack(state.hidden, dim=1), torch.stack(state.cell, dim=1)
        return *self._said(logits), *looked, *states

    def _said(self, logits: Float[Tensor, "B C"]) -> tuple[Tensor, Tensor]:
        return logits, logits.sigmoid() if self.multi_label else logits.softmax(-1)


def decoder_graphs(model: ActionModel, *, multi_label: bool) -> DecoderGraphs:
    """Export a decoder, and see that ONNX Runtime says what PyTorch says.

    Args:
        model: on the CPU, in evaluation mode.
        multi_label: see `StepGraph`.

    Raises:
        GlimpsesError: it cannot be exported, or a number differs by more than 1e-4.
    """
    config = model.config
    if config.follow_motion:
        raise GlimpsesError(
            f"this model ({config.in_words()}) cannot be written as ONNX: it looks by the change "
            "of a whole block; train one without --follow-motion"
        )
    random = torch.Generator().manual_seed(0)
    cubes = torch.randn(2, 2, config.places, config.channels, generator=random)
    # Of the size that features of its CNN have.
    cube, before = cubes / model.standard.scale + model.standard.mean
    step = StepGraph(model, multi_label=multi_label)
    given = {"cube": cube}
    start = None
    if isinstance(model, RecurrentModel | AuthorsModel):
        start = InitialStateGraph(model)
        with torch.inference_mode():
            hidden, cell = (state.clone() for state in start(cube.mean(1)))
        given |= {"hidden": hidden, "cell": cell}
        if config.motion:
            given["before"] = before
    with torch.inference_mode():
        count = len(step(*given.values()))
    outputs = ["logits", "probabilities"]
    outputs += ["attention"] if count in (3, 5) else []
    outputs += ["next_hidden", "next_cell"] if count > 3 else []
    try:
        made = DecoderGraphs(
            None if start is None else _made(start, {"mean": cube.mean(1)}, ["hidden", "cell"]),
            _made(step, given, outputs),
        )
    # An exporter and a run time of other people's making may fail in any way they like.
    except Exception as error:
        reason = describe_error(error)
        raise GlimpsesError(
            f"this model ({config.in_words()}) cannot be written as ONNX: {reason}"
        ) from error
    return made


def bare(graph: bytes) -> bytes:
    """A graph without the exporter's notes, which name folders of the machine it was made on."""
    model = onnx.load_model_from_string(graph)
    model.ClearField("metadata_props")
    parts = [model.graph, *model.functions]
    while parts:
        part = parts.pop()
        tensors = (
            ()
            if isinstance(part, onnx.FunctionProto)
            else (*part.input, *part.output, *part.initializer)
        )
        for thing in (part, *part.node, *part.value_info, *tensors):
            thing.ClearField("metadata_props")
            thing.ClearField("doc_string")
        for node in part.node:
            for attribute in node.attribute:
                parts += [attribute.g] if attribute.HasField("g") else []
                parts += attribute.graphs
    stripped: bytes = model.SerializeToString()
    return stripped


def _made(module: nn.Module, given: dict[str, Tensor], outputs: list[str]) -> bytes:
    """A graph that has been seen to say the same for a batch of one and of several."""
    # A tensor made in inference mode cannot be traced.
    given = {name: tensor.detach().clone() for name, tensor in given.items()}
    graph = to_onnx(module.eval(), list(given.values()), list(given), outputs)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for size in (1, 5):
        batch = {name: torch.cat([tensor] * 3)[:size] for name, tensor in given.items()}
        with torch.inference_mode():
            expected = module(*batch.values())
        found = session.run(outputs, {name: tensor.numpy() for name, tensor in batch.items()})
        for name, one, other in zip(outputs, expected, found, strict=True):
            if not np.allclose(other, one, rtol=_TOLERANCE, atol=_TOLERANCE):
                worst = float(np.abs(one.numpy() - other).max())
                raise ValueError(f"ONNX Runtime differs from PyTorch by {worst:.1e} in {name}")
    return graph
