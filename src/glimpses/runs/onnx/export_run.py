"""A run for other programs: ONNX graphs, and an example that needs nothing else of ours."""

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

import onnxruntime

from glimpses import backbones, runs
from glimpses.backbones import Backbone
from glimpses.runs import model_card
from glimpses.runs.config import RunConfig
from glimpses.runs.onnx.graphs import bare, decoder_graphs
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_writable, format_size

log = logging.getLogger(__name__)

_FORMAT = 1
_MODEL, _EXAMPLE, _README, _NEEDS = "model.json", "example.py", "README.md", "requirements.txt"
_GRAPHS = {name: f"{name}.onnx" for name in ("backbone", "start", "step")}
_OURS = frozenset({_MODEL, _EXAMPLE, _README, _NEEDS, *_GRAPHS.values()})


@dataclass(frozen=True)
class OnnxExport:
    """A run in a form that other programs read.

    Attributes:
        out: the folder.
        sizes: of its files in bytes, by name.
        attends: whether the model has attention, and so something to draw.
    """

    out: Path
    sizes: dict[str, int]
    attends: bool

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"out": str(self.out), "sizes": self.sizes}

    def __str__(self) -> str:
        graphs = [
            f"{name} {format_size(size)}"
            for name, size in self.sizes.items()
            if name.endswith(".onnx")
        ]
        look = " --overlay exported.mp4" if self.attends else ""
        return (
            f"{self.out}: {', '.join(graphs)}; equal to PyTorch to 1e-4\n"
            f"try, where Glimpses need not be installed:\n"
            f"  pip install -r {self.out / _NEEDS}\n"
            f"  python {self.out / _EXAMPLE} VIDEO{look}"
        )


def export(run: Path, /, *, to: Literal["onnx"] = "onnx", out: Path | None = None) -> OnnxExport:
    """Write a run as ONNX graphs, with an example that runs them without Glimpses.

    Args:
        run: folder of a trained run.
        to: the form.
        out: folder to write to, new or one of an earlier export; RUN/exported if not given.

    Returns:
        What was written: `backbone.onnx` (frames to feature cubes), `start.onnx` (a block's mean
        feature to the first state; not for a model without memory), `step.onnx` (one step of the
        decoder), `model.json` (all there is to know of their use), `example.py` and a model card.

    Raises:
        GlimpsesError: the run cannot be used or exported, or the folder holds something else.
    """
    run = Path(run)
    out = run / "exported" if out is None else Path(out)
    if to != "onnx":
        raise GlimpsesError(f"--to {to}: there is no such form; choose onnx")
    _require_ours(out)
    config, model = runs.load_model(run)
    if config.data.skip_static:
        log.warning(
            "%s: was trained on cubes that nearly equal frames share (--reuse %g); the example "
            "computes one for every frame, so it may say slightly other than predict",
            run,
            config.data.skip_static,
        )
    with progress.bar("exporting", 2, transient=True) as bar:
        # What is checked against PyTorch is checked on the CPU, where ONNX Runtime runs it.
        backbone = backbones.load(
            config.data.backbone, engine="onnxruntime", weights=config.backbone_weights
        )
        eye = backbone.to_onnx()
        bar.advance()
        decoder = decoder_graphs(model, multi_label=config.multi_label)
        bar.advance()
    graphs = {"backbone": eye, "start": decoder.start, "step": decoder.step}
    there = {name: bare(graph) for name, graph in graphs.items() if graph is not None}
    about = _about(config, backbone, there)
    content: dict[str, bytes] = {
        # First, so that what is half written is known as ours.
        _MODEL: _readable(about).encode(),
        **{_GRAPHS[name]: graph for name, graph in there.items()},
        _EXAMPLE: files("glimpses.runs.onnx").joinpath("example.py").read_bytes(),
        _NEEDS: b"av>=14\nnumpy>=1.26\nonnxruntime>=1.20\n",
        _README: model_card.export_card(run, about).encode(),
    }
    for name, data in content.items():
        with atomic_write(out / name) as part:
            part.write_bytes(data)
    for name in _OURS - content.keys():
        (out / name).unlink(missing_ok=True)
    sizes = {name: len(data) for name, data in content.items()}
    return OnnxExport(out, sizes, attends=about["attention_grid"] is not None)


def _require_ours(out: Path) -> None:
    """Refuse a folder that is no place for an export, before any work is done."""
    check_writable(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        ours = "glimpses" in json.loads((out / _MODEL).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise GlimpsesError(f"{out}: is not empty and holds no export; give --out a new folder")


def _about(config: RunConfig, backbone: Backbone, graphs: dict[str, bytes]) -> dict[str, Any]:
    """What a program has to know to use the graphs."""
    described = {
        name: {"file": _GRAPHS[name], **_described(graph)} for name, graph in graphs.items()
    }
    attention = described["step"]["outputs"].get("attention")
    grid = None if attention is None else math.isqrt(attention["shape"][1])
    return {
        "glimpses": version("glimpses"),
        "format": _FORMAT,
        "classes": list(config.classes),
        "multi_label": config.multi_label,
        "frames": {"fps": config.data.fps, "size": config.frame_size},
        "features": {
            "backbone": backbone.name,
            "weights": backbone.weights,
            "grid": backbone.grid,
            "channels": backbone.channels,
            "rounded_to": "float16",
        },
        "blocks": {
            "steps": config.data.block_length,
            "stride": config.data.block_stride,
            "last_steps": config.data.last_steps,
            "vote": config.data.aggregate,
        },
        "attention_grid": grid,
        "graphs": described,
    }


def _readable(about: dict[str, Any]) -> str:
    """As JSON, with shapes on one line."""
    text = json.dumps(about, indent=1)
    return re.sub(r'\[\s+"N"[\s\d,]*\]', lambda found: "".join(found[0].split()), text) + "\n"


def _described(graph: bytes) -> dict[str, Any]:
    """Inputs and outputs of a graph as ONNX Runtime sees them; N is the batch."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def described(tensors: Any) -> dict[str, Any]:
        return {
            tensor.name: {
                "type": tensor.type.removeprefix("tensor(").removesuffix(")"),
                "shape": [size if isinstance(size, int) else "N" for size in tensor.shape],
            }
            for tensor in tensors
        }

    return {"inputs": described(session.get_inputs()), "outputs": described(session.get_outputs())}
