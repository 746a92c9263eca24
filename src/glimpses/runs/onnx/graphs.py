"""ONNX graphs of a decoder: one for the initial state, one for a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from glimpses.backbones.export import to_onnx
from glimpses.models import ActionModel
from glimpses.utils.errors import GlimpsesError, describe_error
from glimpses.utils.onnx_runtime import onnxruntime

# Largest difference between ONNX Runtime and PyTorch, absolute or relative.
_TOLERANCE = 1e-4


class DecoderGraphs(NamedTuple):
    """ONNX graphs of a decoder.

    Attributes:
        start: mean feature slice of a block -> initial state; None for a model without memory.
        step: feature cube, state -> logits, probabilities, attention, next state.
    """

    start: bytes | None
    step: bytes


class InitialStateModule(nn.Module):
    """Initial state of a block from its mean feature slice (Eq. 6).

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


class StepModule(nn.Module):
    """One step of a decoder, with its state as a tuple of tensors.

    Args:
        model: the decoder.
        multi_label: whether classes are independent (sigmoid) or mutually exclusive (softmax).
    """

    def __init__(self, model: ActionModel, *, multi_label: bool) -> None:
        super().__init__()
        self.model = model
        self.multi_label = multi_label

    def forward(
        self, cube: Float[Tensor, "B P D"], state: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, ...]:
        """Process one frame.

        Args:
            cube: feature cube of the frame.
            state: the state from `InitialStateModule` or from the previous step.

        Returns:
            Logits and probabilities (B, C); attention (B, K*K) if the model has attention; the
            tensors of the next state.
        """
        names = list(self.model.state_spec)
        before = dict(zip(names, state, strict=True))
        logits, attention, after = self.model.step(cube, before)
        probabilities = self.model.to_probabilities(logits, multi_label=self.multi_label)
        maps = () if attention is None else (attention,)
        return logits, probabilities, *maps, *(after[name] for name in names)


def decoder_graphs(model: ActionModel, *, multi_label: bool) -> DecoderGraphs:
    """Export a decoder, and verify the graphs against PyTorch.

    Args:
        model: the decoder, on the CPU and in evaluation mode.
        multi_label: see `StepModule`.

    Raises:
        GlimpsesError: the model cannot be exported, or an output differs by more than 1e-4.
    """
    if model.streaming_problem is not None:
        raise GlimpsesError(
            f"this model ({model.description}) cannot be exported to ONNX: "
            f"{model.streaming_problem}"
        )
    shape = model.config.cube
    random = torch.Generator().manual_seed(0)
    cubes = torch.randn(2, 2, shape.places, shape.channels, generator=random)
    # Undo the standardization, to get inputs of a realistic scale.
    first, cube = cubes / model.channel_norm.scale + model.channel_norm.mean
    names = list(model.state_spec)
    start, step = InitialStateModule(model), StepModule(model, multi_label=multi_label)
    sample: tuple[Tensor | tuple[Tensor, ...], ...] = (cube,)
    if names:
        with torch.inference_mode():
            # The state after a frame, because parts of the initial state may be constant.
            sample = (cube, step(first, start(cube.mean(1)))[-len(names) :])
    outputs = ["logits", "probabilities"]
    outputs += ["attention"] if model.has_attention else []
    outputs += [f"next_{name}" for name in names]
    try:
        return DecoderGraphs(
            _export(start, (cube.mean(1),), ["mean"], names) if names else None,
            _export(step, sample, ["cube", *names], outputs),
        )
    # PyTorch's exporter and ONNX Runtime raise errors of many types.
    except Exception as error:
        raise GlimpsesError(
            f"this model ({model.description}) cannot be exported to ONNX: {describe_error(error)}"
        ) from error


def strip_metadata(graph: bytes) -> bytes:
    """Return a graph without the exporter's metadata, which contain paths of this machine."""
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
        for proto in (part, *part.node, *part.value_info, *tensors):
            proto.ClearField("metadata_props")
            proto.ClearField("doc_string")
        for node in part.node:
            for attribute in node.attribute:
                parts += [attribute.g] if attribute.HasField("g") else []
                parts += attribute.graphs
    stripped: bytes = model.SerializeToString()
    return stripped


def _export(
    module: nn.Module,
    sample: tuple[Tensor | tuple[Tensor, ...], ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """Return the graph of a module, verified for two batch sizes."""
    # Tensors created in inference mode cannot be traced.
    sample = pytree.tree_map(lambda tensor: tensor.detach().clone(), sample)
    graph = to_onnx(module.eval(), sample, inputs, outputs)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for size in (1, 5):
        batch = pytree.tree_map(lambda tensor, n=size: torch.cat([tensor] * 3)[:n], sample)
        with torch.inference_mode():
            expected = module(*batch)
        arrays = [tensor.numpy() for tensor in pytree.tree_leaves(batch)]
        actual = session.run(outputs, dict(zip(inputs, arrays, strict=True)))
        for name, reference, value in zip(outputs, expected, actual, strict=True):
            if not np.allclose(value, reference, rtol=_TOLERANCE, atol=_TOLERANCE):
                difference = float(np.abs(reference.numpy() - value).max())
                raise ValueError(f"ONNX Runtime differs from PyTorch by {difference:.1e} in {name}")
    return graph
