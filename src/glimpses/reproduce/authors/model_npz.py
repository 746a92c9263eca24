"""Import and export of the authors' trained models, `model.npz`.

Array names and shapes follow `init_params` in `src/actrec.py` of the authors' code. Their matrices
have shape (in, out), ours (out, in). Pickled data are never loaded: neither `zipped_params` in the
file, which repeats the arrays, nor the options file beside it. Most options follow from the arrays;
the others are arguments.
"""

from __future__ import annotations

import re
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
from glimpses.reproduce.authors.file_formats import FPS, FRAME_SIZE, read_classes
from glimpses.runs import DataOptions, RunConfig, model_card
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import NPZ_ERRORS, atomic_write, check_regular, check_writable, quote_path
from glimpses.video import FrameRate

# Entries of the file that are not parameters.
_NOT_PARAMETERS = frozenset({"history_errs", "train_err", "valid_err", "test_err", "zipped_params"})


@dataclass(frozen=True)
class ImportedModel:
    """Run made from a trained model of the authors.

    Attributes:
        run: folder of the run.
        model: model configuration, inferred from the arrays.
        classes: names of the actions.
    """

    run: Path
    model: ModelConfig
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can hold."""
        return {"run": str(self.run), "model": asdict(self.model), "classes": self.classes}

    def __str__(self) -> str:
        shape, size = self.model, self.model.options.hidden_size
        options = self.model.options.authors or AuthorsOptions()
        return (
            f"{self.run}: the authors' model with {shape.num_classes} classes, {size} hidden "
            f"units and features of {shape.cube.places} places x {shape.cube.channels}; layers: "
            f"{options.attention_layers} attention, {options.start_layers} initial state, "
            f"{options.output_layers} output\n"
            f"next:\n  glimpses evaluate {quote_path(self.run)} --data FEATURES"
        )


@dataclass(frozen=True)
class ExportedModel:
    """Weights of a run in the authors' format.

    Attributes:
        out: the file.
        arrays: shape of each array by the authors' name.
    """

    out: Path
    arrays: Mapping[str, tuple[int, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return the fields in a form that JSON can hold."""
        return {"out": str(self.out), "arrays": dict(self.arrays)}

    def __str__(self) -> str:
        return f"{self.out}: {len(self.arrays)} arrays in the format of the authors' model.npz"


def import_model(
    file: str | Path,
    /,
    *,
    out: str | Path,
    classes: str | Path | None = None,
    data: str | Path | None = None,
    backbone: str | None = None,
    inverse_temperature: float = 1.0,
    dropout: bool = True,
    multi_label: bool = False,
    grid: int = 7,
    fps: FrameRate = float(FPS),
    block_length: int = 30,
    stride: int | None = None,
) -> ImportedModel:
    """Import a trained model of the authors as a run for `glimpses evaluate` and `predict`.

    Args:
        file: the authors' `model.npz`. The pickled options beside it are never loaded.
        out: folder of the run; created if it does not exist.
        classes: text file with the class names, one per line, in the order of the model's outputs.
        data: data set to take the classes from instead. Its training and validation clips count as
            seen by the model; `evaluate` scores its test clips.
        backbone: CNN whose features resemble those that the model was trained on, so that
            `predict` can read videos. By default the run reads stored features only.
        inverse_temperature: the authors' option `temperature_inverse`.
        dropout: the authors' option `use_dropout`, on in their scripts. In testing it halves the
            outputs of the layers that it applies to.
        multi_label: whether a clip can show several actions, as in `actrec_mAP.py`; ignored if
            `data` is given.
        grid: side length K of the grid; the features have K*K places.
        fps: frames per second of the training clips, the authors' option `fps`.
        block_length: frames in a block, the authors' option `maxlen`.
        stride: distance in frames between blocks in testing, the authors' option `testing_stride`
            (1 in their scripts); by default `block_length`.

    Raises:
        GlimpsesError: the file is not a model of the authors, or does not match the classes.
    """
    file, out = Path(file), Path(out)
    _require_free(out)
    for name, value in {"grid": grid, "block-length": block_length, "stride": stride}.items():
        if value is not None and value < 1:
            raise GlimpsesError(f"--{name} {value}: must be at least 1")
    if fps != "native" and not 0 < fps < np.inf:
        raise GlimpsesError(f"--fps {fps}: must be above 0")
    if not 0 < inverse_temperature < np.inf:
        raise GlimpsesError(f"--inverse-temperature {inverse_temperature}: must be above 0")
    if (classes is None) == (data is None):
        raise GlimpsesError("class names are needed: give either --classes FILE or --data DATA")
    arrays = _read(file)
    shape = _infer_config(file, arrays, grid)
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
            f"{classes or data}: has {len(names)} classes, but the model in {file} has "
            f"{shape.num_classes}; give the classes it was trained on, in their order"
        )
    network = None if backbone is None else backbones.load(backbone)
    if network is not None and (network.grid, network.channels) != (grid, shape.cube.channels):
        raise GlimpsesError(
            f"--backbone {backbone}: computes {network.grid} x {network.grid} x "
            f"{network.channels} features, but the model needs {grid} x {grid} x "
            f"{shape.cube.channels}; choose another backbone"
        )
    subsets = next(iter(dataset.splits.values()), {}) if dataset is not None else {}
    seen_ids = subsets.get("train", frozenset()) | subsets.get("validation", frozenset())
    seen = [] if dataset is None else [clip for clip in dataset.clips if clip.id in seen_ids]
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
        frame_size=FRAME_SIZE if network is None else network.size,
        clips={
            name: tuple(sorted(subsets.get(name, ()))) for name in ("train", "validation", "test")
        },
        seen=() if dataset is None else tuple(sorted(set(clip_digests(dataset, seen).values()))),
    )
    runs.write_config(out, config)
    runs.save_model(out, model)
    model_card.write(out)
    return ImportedModel(out, shape, names)


def export_model(run: str | Path, /, *, out: str | Path) -> ExportedModel:
    """Write the weights of a run in the file format of the authors' code.

    Args:
        run: folder of a run that was trained with `--model authors --no-channel-norm`.
        out: the `.npz` file to write.

    Returns:
        The file and the shapes of its arrays.

    Raises:
        GlimpsesError: the run has another model, or normalises the channels of its features.
    """
    run, out = Path(run), Path(out)
    _, model = runs.load_model(run)
    if not isinstance(model, AuthorsModel):
        raise GlimpsesError(
            f"{run}: is not a run of the authors' model; train one with --model authors"
        )
    norm = model.channel_norm
    if not (bool((norm.mean == 0).all()) and bool((norm.scale == 1).all())):
        raise GlimpsesError(
            f"{run}: normalises the channels of its features, which the authors' code does not; "
            "train it with --no-channel-norm"
        )
    if out.suffix != ".npz":
        raise GlimpsesError(f"--out {out}: the name must end in .npz")
    state = model.state_dict()
    options = model.config.options.authors or AuthorsOptions()
    arrays = {
        # The authors' code stores this bias as a scalar.
        name: state[parameter].numpy().T if name != "decoder_b_sel" else state[parameter].numpy()[0]
        for name, parameter in _parameter_names(options).items()
    }
    with atomic_write(out) as part:
        np.savez(part, **arrays)
    return ExportedModel(out, {name: array.shape for name, array in arrays.items()})


def _parameter_names(options: AuthorsOptions) -> dict[str, str]:
    """Return the names of `AuthorsModel`'s parameters by the authors' array names."""
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
    names = {
        f"{array}_{letter}": f"{layer}.{kind}"
        for array, layer in layers.items()
        for letter, kind in (("W", "weight"), ("b", "bias"))
    }
    names |= {
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
        names[f"decoder_W_att_{k}"] = f"key_layers.{k - 1}.weight"
        names[f"decoder_b_att_{k}"] = f"key_layers.{k - 1}.bias"
    if options.selector:
        names |= {"decoder_W_sel": "selector.weight", "decoder_b_sel": "selector.bias"}
    return names


def _read(file: Path) -> dict[str, np.ndarray]:
    """Read the parameter arrays of the file without loading pickled data."""
    try:
        check_regular(file, 4_000_000_000)
        with np.load(file, allow_pickle=False) as opened:
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise GlimpsesError(
                    f"{file}: is a single array, not an archive; give the authors' model.npz"
                )
            return {name: opened[name] for name in opened.files if name not in _NOT_PARAMETERS}
    except FileNotFoundError as error:
        raise GlimpsesError(f"{file}: no such file; give the authors' model.npz") from error
    except NPZ_ERRORS as error:
        raise GlimpsesError(
            f"{file}: is not an archive of plain NumPy arrays, or is damaged ({error}); give the "
            "authors' model.npz"
        ) from error


def _infer_config(file: Path, arrays: Mapping[str, np.ndarray], grid: int) -> ModelConfig:
    """Infer the model's configuration from the names and shapes of the arrays."""

    def size(name: str, axis: int, blocks: int | None = None) -> int:
        if name not in arrays:
            raise GlimpsesError(
                f"{file}: the array {name} is missing; the file is not a model of the authors"
            )
        shape = arrays[name].shape
        if len(shape) != 2 or 0 in shape or (blocks and shape[1] != blocks * shape[0]):
            expected = f"{blocks} square matrices side by side" if blocks else "a matrix"
            raise GlimpsesError(
                f"{file}: {name} has the shape {shape}, must be {expected}; the file is not a "
                "model of the authors"
            )
        return int(shape[axis])

    def count_layers(pattern: str) -> int:
        return 1 + sum(re.fullmatch(pattern, name) is not None for name in arrays)

    num_classes = size("ff_logit_W", 1)
    cube = CubeShape(grid**2, size("decoder_Wc_att", 0, blocks=1))
    options = ModelOptions(
        model="authors",
        hidden_size=size("decoder_U", 0, blocks=4),
        authors=AuthorsOptions(
            attention_layers=count_layers(r"decoder_W_att_\d+"),
            start_layers=count_layers(r"ff_init_\d+_W"),
            output_layers=count_layers(r"ff_logit_h\d+_W"),
            output_size=size("ff_logit_lstm_W", 1),
            glimpse_to_output="ff_logit_ctx_W" in arrays,
            selector="decoder_W_sel" in arrays,
        ),
    )
    return ModelConfig(options, num_classes, cube)


def _weights(
    file: Path, arrays: Mapping[str, np.ndarray], model: AuthorsModel
) -> dict[str, Tensor]:
    """Return the model's parameters after checking that every array is present and fits."""
    names = _parameter_names(model.config.options.authors or AuthorsOptions())
    state = model.state_dict()
    if missing := sorted(set(names) - set(arrays)):
        raise GlimpsesError(
            f"{file}: the array {missing[0]} is missing; the file is not a model of the authors"
        )
    if unknown := sorted(set(arrays) - set(names)):
        raise GlimpsesError(
            f"{file}: contains {unknown[0]}, which is not an array of the authors' model; the file "
            "belongs to another model"
        )
    weights = {}
    for name, parameter in names.items():
        array, expected = arrays[name], tuple(state[parameter].shape[::-1])
        if name == "decoder_b_sel":
            array = array.reshape(1) if array.size == 1 else array
        if array.shape != expected:
            raise GlimpsesError(
                f"{file}: {name} has the shape {array.shape}, must be {expected} to match the "
                "other arrays"
            )
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise GlimpsesError(f"{file}: {name} contains values that are not finite floats")
        weights[parameter] = torch.from_numpy(array.astype(np.float32).T.copy())
    return weights


def _require_free(out: Path) -> None:
    """Refuse a folder that is in use; files of an interrupted import may be replaced."""
    check_writable(out)
    if (out / runs.WEIGHTS).exists() or (
        out.is_dir() and any(file.name != runs.CONFIG for file in out.iterdir())
    ):
        raise GlimpsesError(f"{out}: is not empty; give --out a new folder")
