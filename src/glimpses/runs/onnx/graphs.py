"""The decoder as ONNX graphs: one for its first state, one for a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from glimpses.backbones.export import to_onnx
from glimpses.models import ActionModel
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

    def __init__(self, model: ActionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, mean: Float[Tensor, "B D"]) -> tuple[Tensor, ...]:
        """Return the tensors of the state, in the order of `ActionModel.state_spec`."""
        state = self.model.initial_state(mean)
        return tuple(state[name] for name in self.model.state_spec)


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
        self, cube: Float[Tensor, "B P D"], tensors: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, ...]:
        """Read one frame.

        Args:
            cube: its features.
            tensors: the state as `InitialStateGraph` or the step before gave it.

        Returns:
            Logits and probabilities (B, C); attention (B, K*K) where there is any; and the state.
        """
        names = list(self.model.state_spec)
        logits, attention, state = self.model.step(cube, dict(zip(names, tensors, strict=True)))
        probabilities = logits.sigmoid() if self.multi_label else logits.softmax(-1)
        shown = () if attention is None else (attention,)
        return logits, probabilities, *shown, *(state[name] for name in names)


def decoder_graphs(model: ActionModel, *, multi_label: bool) -> DecoderGraphs:
    """Export a decoder, and see that ONNX Runtime says what PyTorch says.

    Args:
        model: on the CPU, in evaluation mode.
        multi_label: see `StepGraph`.

    Raises:
        GlimpsesError: it cannot be exported, or a number differs by more than 1e-4.
    """
    if model.streaming_problem is not None:
        raise GlimpsesError(
            f"this model ({model.description}) cannot be written as ONNX: {model.streaming_problem}"
        )
    shape = model.config.cube
    random = torch.Generator().manual_seed(0)
    cubes = torch.randn(2, 2, shape.places, shape.channels, generator=random)
    # Of the size that features of its CNN have.
    first, cube = cubes / model.channel_norm.scale + model.channel_norm.mean
    names = list(model.state_spec)
    start, step = InitialStateGraph(model), StepGraph(model, multi_label=multi_label)
    state: tuple[Tensor, ...] = ()
    if names:
        with torch.inference_mode():
            # After one frame, so that nothing in it is left at its first value.
            state = step(first, start(cube.mean(1)))[-len(names) :]
    outputs = ["logits", "probabilities"]
    outputs += ["attention"] if model.has_attention else []
    outputs += [f"next_{name}" for name in names]
    try:
        made = DecoderGraphs(
            _made(start, (cube.mean(1),), ["mean"], names) if names else None,
            _made(step, (cube, state) if names else (cube,), ["cube", *names], outputs),
        )
    # An exporter and a run time of other people's making may fail in any way they like.
    except Exception as error:
        reason = describe_error(error)
        raise GlimpsesError(
            f"this model ({model.description}) cannot be written as ONNX: {reason}"
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


def _made(
    module: nn.Module,
    sample: tuple[Tensor | tuple[Tensor, ...], ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """A graph that has been seen to say the same for a batch of one and of several."""
    # A tensor made in inference mode cannot be traced.
    sample = pytree.tree_map(lambda tensor: tensor.detach().clone(), sample)
    graph = to_onnx(module.eval(), sample, inputs, outputs)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for size in (1, 5):
        batch = pytree.tree_map(lambda tensor, n=size: torch.cat([tensor] * 3)[:n], sample)
        with torch.inference_mode():
            expected = module(*batch)
        given = dict(zip(inputs, pytree.tree_leaves(batch), strict=True))
        found = session.run(outputs, {name: tensor.numpy() for name, tensor in given.items()})
        for name, one, other in zip(outputs, expected, found, strict=True):
            if not np.allclose(other, one, rtol=_TOLERANCE, atol=_TOLERANCE):
                worst = float(np.abs(one.numpy() - other).max())
                raise ValueError(f"ONNX Runtime differs from PyTorch by {worst:.1e} in {name}")
    return graph
