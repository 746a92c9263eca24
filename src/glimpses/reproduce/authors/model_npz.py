"""The authors' trained models, `model.npz`: into a run, and out of one.

Source of the arrays' names and shapes: `init_params` in `src/actrec.py` of their code. Matrices are
stored (in, out), ours (out, in). Nothing pickled is ever opened: neither `zipped_params` in the
file, which holds the same arrays once more, nor the options beside it. Most options show in the
arrays; those that don't are arguments.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glimpses import backbones, datasets, runs
from glimpses.features import clip_digests
from glimpses.models import AuthorsModel, AuthorsOptions, CubeShape, ModelConfig, ModelOptions
from glimpses.reproduce.authors.file_formats import FPS, read_classes
from glimpses.runs import DataOptions, RunConfig, model_card
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_writable
from glimpses.video import FrameRate

# What else their file holds.
_RECORDS = frozenset({"history_errs", "train_err", "valid_err", "test_err", "zipped_params"})
# Side of the frames that the authors gave their CNN, in pixels.
_SIZE = 224


@dataclass(frozen=True)
class ImportedModel:
    """A run made of the authors' trained model.

    Attributes:
        run: its folder.
        model: the shape that was found.
        classes: names of the actions.
    """

    run: Path
    model: ModelConfig
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"run": str(self.run), "model": asdict(self.model), "classes": self.classes}

    def __str__(self) -> str:
        shape, size = self.model, self.model.options.hidden_size
        options = self.model.options.authors or AuthorsOptions()
        return (
            f"{self.run}: the authors' model of {shape.num_classes} classes, {size} hidden "
            f"units, features of {shape.cube.places} places x {shape.cube.channels}; layers: "
            f"{options.attention_layers} of attention, {options.start_layers} at the start, "
            f"{options.output_layers} at the end\n"
            f"next:\n  glimpses evaluate {self.run} --data FEATURES"
        )


@dataclass(frozen=True)
class ExportedModel:
    """A run's weights in the authors' form.

    Attributes:
        out: the file.
        arrays: shapes by the authors' names.
    """

    out: Path
    arrays: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"out": str(self.out), "arrays": dict(self.arrays)}

    def __str__(self) -> str:
        return f"{self.out}: {len(self.arrays)} arrays in the form of the authors' model.npz"


def import_model(
    file: Path,
    /,
    *,
    out: Path,
    classes: Path | None = None,
    data: Path | None = None,
    backbone: str | None = None,
    inverse_temperature: float = 1.0,
    dropout: bool = True,
    multi_label: bool = False,
    grid: int = 7,
    fps: FrameRate = float(FPS),
    block_length: int = 30,
    stride: int | None = None,
) -> ImportedModel:
    """Make a run of a trained model of the authors', for `glimpses evaluate` and `predict`.

    Args:
        file: their `model.npz`; the options pickled beside it are never opened.
        out: folder of the run; made if it is not there.
        classes: text file with the names of the classes, one a line, in the order of their numbers.
        data: data set to take the classes from instead; its own train and validation clips then
            count as seen, and its test clips are what `evaluate` scores.
        backbone: CNN that gives features like those the model was trained on, so that `predict`
            can read videos; if not given, the run reads features from files only.
        inverse_temperature: their option `temperature_inverse`.
        dropout: their option `use_dropout`, on in their scripts; it halves what layers say in
            testing too.
        multi_label: whether a clip may show several actions, as in their `actrec_mAP.py`; known
            from `data` where that is given.
        grid: K, the features have K*K places.
        fps: frames per second the model was trained on, their option `fps`.
        block_length: length of a block in frames, their option `maxlen`.
        stride: distance of the blocks averaged in testing, their option `testing_stride` (1 in
            their scripts); `block_length` if not given.

    Returns:
        The run.

    Raises:
        GlimpsesError: the file is no model of the authors', or does not go with the classes.
    """
    file, out = Path(file), Path(out)
    _require_free(out)
    for name, value in {"grid": grid, "block_length": block_length, "stride": stride}.items():
        if value is not None and value < 1:
            raise GlimpsesError(f"--{name} {value}: must be at least 1")
    if fps != "native" and not 0 < fps < np.inf:
        raise GlimpsesError(f"--fps {fps}: must be above 0")
    if not 0 < inverse_temperature < np.inf:
        raise GlimpsesError(f"--inverse-temperature {inverse_temperature}: must be above 0")
    if (classes is None) == (data is None):
        raise GlimpsesError("the names of the classes: give either --classes FILE or --data DATA")
    arrays = _read(file)
    shape = _shape(file, arrays, grid)
    assert shape.options.authors is not None
    authors = replace(shape.options.authors, inverse_temperature=inverse_temperature)
    options = replace(shape.options, authors=authors, dropout=0.5 if dropout else 0.0)
    shape = replace(shape, options=options)
    model = AuthorsModel(shape)
    model.load_state_dict({**model.state_dict(), **_weights(file, arrays, model)})
    dataset = None if data is None else datasets.load(Path(data))
    names = read_classes(Path(classes)) if classes is not None else ()
    names = names if dataset is None else dataset.classes
    if len(names) != shape.num_classes:
        raise GlimpsesError(
            f"{classes or data}: has {len(names)} classes, but {file} tells "
            f"{shape.num_classes} apart; give the classes it was trained on, in their order"
        )
    network = None if backbone is None else backbones.load(backbone)
    if network is not None and (network.grid, network.channels) != (grid, shape.cube.channels):
        raise GlimpsesError(
            f"--backbone {backbone}: gives {network.grid} x {network.grid} x {network.channels}, "
            f"but the model reads {grid} x {grid} x {shape.cube.channels}; choose another"
        )
    sides = next(iter(dataset.splits.values()), {}) if dataset is not None else {}
    fitted = sides.get("train", frozenset()) | sides.get("validation", frozenset())
    seen = [] if dataset is None else [clip for clip in dataset.clips if clip.id in fitted]
    config = RunConfig(
        classes=names,
        multi_label=multi_label if dataset is None else dataset.multi_label,
        data_dir="" if data is None else str(Path(data).resolve()),
        data=DataOptions(
            layout="folder" if dataset is None else dataset.layout,
            backbone="authors:googlenet" if network is None else network.name,
            fps=fps,
            block_length=block_length,
            stride=stride or block_length,
        ),
        model=shape,
        optim=None,
        seed=0,
        backbone_weights="unknown" if network is None else network.weights,
        frame_size=_SIZE if network is None else network.size,
        clips={
            side: tuple(sorted(sides.get(side, ()))) for side in ("train", "validation", "test")
        },
        seen=() if dataset is None else tuple(sorted(set(clip_digests(dataset, seen).values()))),
    )
    runs.write_config(out, config)
    runs.save_model(out, model)
    model_card.write(out)
    return ImportedModel(out, shape, names)


def export_model(run: Path, /, *, out: Path) -> ExportedModel:
    """Write the weights of a run of the authors' model as their code reads them.

    Args:
        run: folder of the run, trained with `--model authors --no-standardise`.
        out: the `.npz` file to write.

    Returns:
        What was written.

    Raises:
        GlimpsesError: the run is none of this model, or reads standardised features.
    """
    run, out = Path(run), Path(out)
    _, model = runs.load_model(run)
    if not isinstance(model, AuthorsModel):
        raise GlimpsesError(
            f"{run}: is no run of the authors' model; train it with --model authors"
        )
    norm = model.channel_norm
    if not (bool((norm.mean == 0).all()) and bool((norm.scale == 1).all())):
        raise GlimpsesError(
            f"{run}: standardises its features, which their code does not; train it with "
            "--no-standardise"
        )
    if out.suffix != ".npz":
        raise GlimpsesError(f"{out}: give --out a name ending in .npz")
    known = model.state_dict()
    options = model.config.options.authors or AuthorsOptions()
    arrays = {
        # A number by itself is what their code has there.
        name: known[own].numpy().T if name != "decoder_b_sel" else known[own].numpy()[0]
        for name, own in _parameters(options).items()
    }
    with atomic_write(out) as part:
        np.savez(part, **arrays)
    return ExportedModel(out, {name: array.shape for name, array in arrays.items()})


def _parameters(options: AuthorsOptions) -> dict[str, str]:
    """Names of `AuthorsModel`'s parameters by the authors' names of their arrays."""
    layers = {
        "ff_state": "start_hidden",
        "ff_memory": "start_cell",
        "ff_logit_lstm": "inner",
        "ff_logit": "logits",
        **{f"ff_init_{k}": f"start_layers.{k - 1}" for k in range(1, options.start_layers)},
        **{f"ff_logit_h{k}": f"output_layers.{k - 1}" for k in range(1, options.output_layers)},
    }
    if options.glimpse_to_output:
        layers["ff_logit_ctx"] = "inner_glimpse"
    found = {
        f"{theirs}_{letter}": f"{ours}.{kind}"
        for theirs, ours in layers.items()
        for letter, kind in (("W", "weight"), ("b", "bias"))
    }
    found |= {
        "decoder_W": "input.weight",
        "decoder_b": "input.bias",
        "decoder_U": "recurrent.weight",
        "decoder_Wc_att": "key.weight",
        "decoder_b_att": "key.bias",
        "decoder_Wd_att": "query.weight",
        "decoder_U_att": "score.weight",
        "decoder_c_tt": "score.bias",
    }
    for k in range(1, options.attention_layers):
        found[f"decoder_W_att_{k}"] = f"key_layers.{k - 1}.weight"
        found[f"decoder_b_att_{k}"] = f"key_layers.{k - 1}.bias"
    if options.selector:
        found |= {"decoder_W_sel": "selector.weight", "decoder_b_sel": "selector.bias"}
    return found


def _read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of the file that are parameters; nothing pickled is touched."""
    try:
        with np.load(file, allow_pickle=False) as opened:
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise GlimpsesError(f"{file}: is a single array; give the authors' model.npz")
            return {name: opened[name] for name in opened.files if name not in _RECORDS}
    except FileNotFoundError as error:
        raise GlimpsesError(f"{file}: no such file; give the authors' model.npz") from error
    # What a damaged archive raises depends on where the damage is.
    except (OSError, ValueError, EOFError, MemoryError, TypeError, AttributeError, KeyError,
            NotImplementedError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise GlimpsesError(
            f"{file}: is no archive of plain NumPy arrays, or is damaged ({error}); give the "
            "authors' model.npz"
        ) from error


def _shape(file: Path, arrays: Mapping[str, np.ndarray], grid: int) -> ModelConfig:
    """The model's shape and options, by names and shapes of the arrays."""

    def size(name: str, axis: int, blocks: int | None = None) -> int:
        if name not in arrays:
            raise GlimpsesError(f"{file}: lacks the array {name}; it is no model of the authors'")
        shape = arrays[name].shape
        if len(shape) != 2 or 0 in shape or (blocks and shape[1] != blocks * shape[0]):
            wanted = f"{blocks} square matrices side by side" if blocks else "a matrix"
            raise GlimpsesError(
                f"{file}: {name} has the shape {shape}, must be {wanted}; it is no model of the "
                "authors'"
            )
        return int(shape[axis])

    def further(pattern: str) -> int:
        return 1 + sum(re.fullmatch(pattern, name) is not None for name in arrays)

    num_classes = size("ff_logit_W", 1)
    cube = CubeShape(grid**2, size("decoder_Wc_att", 0, blocks=1))
    options = ModelOptions(
        model="authors",
        hidden_size=size("decoder_U", 0, blocks=4),
        authors=AuthorsOptions(
            attention_layers=further(r"decoder_W_att_\d+"),
            start_layers=further(r"ff_init_\d+_W"),
            output_layers=further(r"ff_logit_h\d+_W"),
            output_size=size("ff_logit_lstm_W", 1),
            glimpse_to_output="ff_logit_ctx_W" in arrays,
            selector="decoder_W_sel" in arrays,
        ),
    )
    return ModelConfig(options, num_classes, cube)


def _weights(
    file: Path, arrays: Mapping[str, np.ndarray], model: AuthorsModel
) -> dict[str, Tensor]:
    """The model's parameters, after making sure that every array is there and fits."""
    options = model.config.options.authors or AuthorsOptions()
    names, own = _parameters(options), model.state_dict()
    if lacking := sorted(set(names) - set(arrays)):
        raise GlimpsesError(f"{file}: lacks the array {lacking[0]}; it is no model of the authors'")
    if unknown := sorted(set(arrays) - set(names)):
        raise GlimpsesError(
            f"{file}: holds {unknown[0]}, which is no array of the authors' model; it is another's"
        )
    weights = {}
    for theirs, ours in names.items():
        array, wanted = arrays[theirs], tuple(own[ours].shape[::-1])
        if theirs == "decoder_b_sel":
            array = array.reshape(1) if array.size == 1 else array
        if array.shape != wanted:
            raise GlimpsesError(
                f"{file}: {theirs} has the shape {array.shape}, must be {wanted} to go with the "
                "other arrays"
            )
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise GlimpsesError(f"{file}: {theirs} holds other things than finite numbers")
        weights[ours] = torch.from_numpy(array.astype(np.float32).T.copy())
    return weights


def _require_free(out: Path) -> None:
    """Refuse a folder that is in use; what an interrupted import left there may be replaced."""
    check_writable(out)
    if (out / runs.WEIGHTS).exists() or (
        out.is_dir() and any(file.name != runs.CONFIG for file in out.iterdir())
    ):
        raise GlimpsesError(f"{out}: is not empty; give --out a new folder")
