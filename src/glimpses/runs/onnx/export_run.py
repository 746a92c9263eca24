"""Export of a run to ONNX, with an example that runs it without Glimpses."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from glimpses import backbones, runs
from glimpses.backbones import Backbone
from glimpses.datasets import is_background
from glimpses.runs import RunConfig, model_card
from glimpses.runs.onnx.graphs import decoder_graphs, strip_metadata
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_writable, format_size, read_json
from glimpses.utils.onnx_runtime import onnxruntime

log = logging.getLogger(__name__)

_FORMAT = 2
_MODEL, _EXAMPLE, _CARD = "model.json", "example.py", "README.md"
_REQUIREMENTS = "requirements.txt"
_GRAPHS = {name: f"{name}.onnx" for name in ("backbone", "start", "step")}
_FILES = frozenset({_MODEL, _EXAMPLE, _CARD, _REQUIREMENTS, *_GRAPHS.values()})


@dataclass(frozen=True)
class OnnxExport:
    """A run that was exported to ONNX.

    Attributes:
        out: the folder.
        sizes: sizes of its files in bytes, by name.
        has_attention: whether the model has attention to draw.
    """

    out: Path
    sizes: dict[str, int]
    has_attention: bool

    def to_json(self) -> dict[str, Any]:
        """Return folder and sizes as JSON types."""
        return {"out": str(self.out), "sizes": self.sizes}

    def __str__(self) -> str:
        graphs = [
            f"{name} {format_size(size)}"
            for name, size in self.sizes.items()
            if name.endswith(".onnx")
        ]
        overlay = " --overlay overlay.mp4" if self.has_attention else ""
        return (
            f"{self.out}: {', '.join(graphs)}; equal to PyTorch within 1e-4\n"
            f"try it on a machine without Glimpses:\n"
            f"  pip install -r {self.out / _REQUIREMENTS}\n"
            f"  python {self.out / _EXAMPLE} VIDEO{overlay}"
        )


def export(
    run: str | Path, /, *, to: Literal["onnx"] = "onnx", out: str | Path | None = None
) -> OnnxExport:
    """Export a run to ONNX graphs, with an example that runs them without Glimpses.

    Args:
        run: folder of a trained run.
        to: format of the export.
        out: folder to write to, empty or with an earlier export; RUN/exported by default.

    Returns:
        The folder and its files: `backbone.onnx` (frames to feature cubes), `start.onnx` (mean
        feature slice of a block to initial state; not for a model without memory), `step.onnx`
        (one step of the decoder), `model.json` (settings), `example.py` and a model card.

    Raises:
        GlimpsesError: the run cannot be used or exported, or the folder has other files.
    """
    run = Path(run)
    out = run / "exported" if out is None else Path(out)
    if to != "onnx":
        raise GlimpsesError(f"--to {to}: there is no such format; choose onnx")
    _check_folder(out)
    config, model = runs.load_model(run)
    if config.data.skip_static:
        log.warning(
            "%s: was trained with --skip-static %g, which reuses the features of static frames; "
            "the example computes every frame, so its numbers may differ slightly from predict",
            run,
            config.data.skip_static,
        )
    with progress.bar("exporting", 2, transient=True) as bar:
        # On the CPU, where the verification runs both PyTorch and ONNX Runtime.
        backbone = backbones.load(
            config.data.backbone, engine="onnxruntime", weights=config.backbone_weights
        )
        cnn = backbone.to_onnx()
        bar.advance()
        decoder = decoder_graphs(model, multi_label=config.multi_label)
        bar.advance()
    exported = {"backbone": cnn, "start": decoder.start, "step": decoder.step}
    graphs = {name: strip_metadata(graph) for name, graph in exported.items() if graph is not None}
    settings = _settings(config, backbone, graphs)
    content: dict[str, bytes] = {
        # First, so that an interrupted export is recognised as ours.
        _MODEL: _format_json(settings).encode(),
        **{_GRAPHS[name]: graph for name, graph in graphs.items()},
        _EXAMPLE: files("glimpses.runs.onnx").joinpath("example.py").read_bytes(),
        _REQUIREMENTS: b"av>=17\nnumpy>=1.26\nonnxruntime>=1.20\n",
        _CARD: model_card.export_card(run, settings).encode(),
    }
    for name, data in content.items():
        with atomic_write(out / name) as part:
            part.write_bytes(data)
    for name in _FILES - content.keys():
        (out / name).unlink(missing_ok=True)
    sizes = {name: len(data) for name, data in content.items()}
    return OnnxExport(out, sizes, has_attention=model.has_attention)


def _check_folder(out: Path) -> None:
    """Refuse a folder with other files than an export's, before any work is done."""
    check_writable(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        is_export = "glimpses" in read_json(out / _MODEL)
    except (OSError, ValueError, TypeError):
        is_export = False
    if not is_export:
        raise GlimpsesError(f"{out}: is not empty and not an export; give --out a new folder")


def _settings(config: RunConfig, backbone: Backbone, graphs: dict[str, bytes]) -> dict[str, Any]:
    """Return the content of `model.json`."""
    signatures = {
        name: {"file": _GRAPHS[name], **_signature(graph)} for name, graph in graphs.items()
    }
    attention = signatures["step"]["outputs"].get("attention")
    return {
        "glimpses": version("glimpses"),
        "format": _FORMAT,
        "classes": list(config.classes),
        "multi_label": config.multi_label,
        "calibration": {"temperature": config.temperature, "threshold": config.threshold},
        "background": [name for name in config.classes if is_background(name)],
        "frames": {"fps": config.data.fps, "size": config.frame_size},
        "features": {
            "backbone": backbone.name, "weights": backbone.weights, "grid": backbone.grid,
            "channels": backbone.channels, "rounded_to": "float16",
        },
        "blocks": {
            "length": config.data.block_length, "stride": config.data.block_stride,
            "last_steps": config.data.last_steps, "aggregate": config.data.aggregate,
        },
        "attention_grid": None if attention is None else math.isqrt(attention["shape"][1]),
        "graphs": signatures,
    }  # fmt: skip


def _format_json(settings: dict[str, Any]) -> str:
    """Return indented JSON, with each shape on one line."""
    text = json.dumps(settings, indent=1)
    return re.sub(r'\[\s+"N"[\s\d,]*\]', lambda match: "".join(match[0].split()), text) + "\n"


def _signature(graph: bytes) -> dict[str, Any]:
    """Return types and shapes of a graph's inputs and outputs; N is the batch size."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def describe(tensors: Any) -> dict[str, Any]:
        return {
            tensor.name: {
                "type": tensor.type.removeprefix("tensor(").removesuffix(")"),
                "shape": [size if isinstance(size, int) else "N" for size in tensor.shape],
            }
            for tensor in tensors
        }

    return {"inputs": describe(session.get_inputs()), "outputs": describe(session.get_outputs())}
