"""Import and export of the authors' models, compared with a NumPy transcription of their code."""

from __future__ import annotations

import itertools
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from glimpses.models.loss import sequence_loss
from torch.autograd import gradcheck

from glimpses import backbones, cli, models, runs
from glimpses.models import AuthorsModel, AuthorsOptions, ModelConfig
from glimpses.reproduce.authors import export_model, import_model
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone
from tests.reproduce.authors import numpy_model

SHAPE = {"channels": 6, "hidden": 5, "inner": 7, "classes": 3}


def import_arrays(
    tmp_path: Path, arrays: numpy_model.Arrays, **arguments: Any
) -> models.ActionModel:
    """Write arrays to a `model.npz`, import it and load the run."""
    numpy_model.save(tmp_path / "model.npz", arrays)
    count = arrays["ff_logit_W"].shape[1]
    (tmp_path / "classes.txt").write_text("".join(f"action {n}\n" for n in range(count)))
    import_model(
        tmp_path / "model.npz", out=tmp_path / "run", classes=tmp_path / "classes.txt",
        **{"grid": 2, **arguments},
    )  # fmt: skip
    return runs.load_model(tmp_path / "run")[1]


OPTIONS = [
    {"attention": attention, "start": start, "output": output, "selector": odd, "steps": steps,
     "glimpse_to_output": odd != (output == 2), "inverse_temperature": [1.0, 0.3, 2.5][start - 1],
     "dropout": not (odd and attention == 1)}
    for (attention, start, output), odd, steps in zip(
        itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3)),
        itertools.cycle((False, True)), itertools.cycle((4, 1, 3)), strict=False,
    )
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_imported_model_equals_the_transcription(tmp_path: Path, options: dict[str, Any]) -> None:
    steps, dropout = options.pop("steps"), options.pop("dropout")
    sharpness = options.pop("inverse_temperature")
    arrays = numpy_model.draw(1, **SHAPE, **options)
    model = import_arrays(tmp_path, arrays, inverse_temperature=sharpness, dropout=dropout)
    cubes = np.random.default_rng(2).normal(size=(3, steps, 4, SHAPE["channels"]))
    mask = np.arange(steps) < np.array([[steps], [max(1, steps - 1)], [max(1, steps - 2)]])
    logits, attention_maps = numpy_model.run(
        arrays, cubes, mask, inverse_temperature=sharpness, dropout=dropout
    )
    with torch.no_grad():
        output = model(torch.from_numpy(cubes).float(), torch.from_numpy(mask))
    np.testing.assert_allclose(output.logits.numpy(), logits, atol=1e-5)
    np.testing.assert_allclose(output.attention.numpy(), attention_maps, atol=1e-5)


def test_model_of_realistic_size_survives_import_and_export(tmp_path: Path) -> None:
    """Compare in float64 to rounding error, on a narrow version of the HMDB-51 model."""
    arrays = numpy_model.draw(3, channels=128, hidden=64, inner=64, classes=51, attention=3)
    arrays = {name: array / 4 for name, array in arrays.items()}
    model = import_arrays(tmp_path, arrays, grid=7).double()
    cubes = np.random.default_rng(4).random((1, 3, 49, 128))
    logits, attention_maps = numpy_model.run(
        arrays, cubes, np.ones((1, 3)), inverse_temperature=1, dropout=True
    )
    with torch.no_grad():
        output = model(torch.from_numpy(cubes))
    np.testing.assert_allclose(output.logits.numpy(), logits, atol=1e-12)
    np.testing.assert_allclose(output.attention.numpy(), attention_maps, atol=1e-12)
    written = export_model(tmp_path / "run", out=tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again:
        assert set(again.files) == set(arrays) == set(written.arrays)
        assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_selector_survives_import_and_export(tmp_path: Path) -> None:
    arrays = numpy_model.draw(3, **SHAPE, selector=True, glimpse_to_output=True, start=2, output=3)
    import_arrays(tmp_path, arrays)
    export_model(tmp_path / "run", out=tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again:
        assert {name: again[name].shape for name in again.files} == {
            name: array.shape for name, array in arrays.items()
        }


def test_pickled_data_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    arrays = numpy_model.draw(1, **SHAPE)
    np.savez(tmp_path / "trap.npz", zipped_params=np.array([Trap()], object), **arrays)
    (tmp_path / "trap.npz.pkl").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    import_model(
        tmp_path / "trap.npz", out=tmp_path / "run", classes=tmp_path / "classes.txt", grid=2
    )
    assert not (tmp_path / "sprung").exists()
    arrays["ff_logit_b"] = np.array([Trap(), Trap(), Trap()], object)
    refused(tmp_path, "not an archive of plain NumPy arrays", arrays)
    assert not (tmp_path / "sprung").exists()


def refused(tmp_path: Path, message: str, arrays: numpy_model.Arrays, **arguments: Any) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(GlimpsesError, match=message) as error:
        import_model(
            tmp_path / "bad.npz", out=tmp_path / "bad", classes=tmp_path / "classes.txt",
            **{"grid": 2, **arguments},
        )  # fmt: skip
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "bad").exists()


def test_altered_arrays_are_refused_in_one_line(tmp_path: Path) -> None:
    good = numpy_model.draw(1, **SHAPE, attention=3)
    for name in good:
        refused(tmp_path, rf"npz: (the array|contains) decoder|the array {name} is missing",
                {other: good[other] for other in good if other != name})  # fmt: skip
        refused(tmp_path, f"{name} has the shape|ff_logit_lstm_[Wb] has the shape|decoder_[WU]",
                {**good, name: good[name][:-1]})  # fmt: skip
        refused(
            tmp_path,
            f"{name} contains values that are not finite",
            {**good, name: good[name] * np.nan},
        )
        refused(
            tmp_path,
            f"{name} contains values that are not finite",
            {**good, name: good[name].astype(int)},
        )
    refused(tmp_path, "contains conv1, which is not an array", {**good, "conv1": np.ones(3)})
    refused(tmp_path, "contains decoder_b_att_7", {**good, "decoder_b_att_7": np.ones(6)})
    refused(tmp_path, "--block-length 0: must be", good, block_length=0)
    refused(tmp_path, "--stride -1: must be", good, stride=-1)
    refused(tmp_path, "--inverse-temperature nan", good, inverse_temperature=float("nan"))


def test_other_files_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = numpy_model.draw(1, **SHAPE)
    np.savez(tmp_path / "good.npz", **good)
    whole = (tmp_path / "good.npz").read_bytes()
    names = tmp_path / "classes.txt"
    names.write_text("a\nb\nc\n")
    np.save(tmp_path / "single.npy", np.ones(3))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("decoder_W.npy", "no array")
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (tmp_path / "flipped.npz").write_bytes(
        whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64])
        + whole[middle + 64 :]
    )  # fmt: skip
    (tmp_path / "empty.npz").touch()
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(good))
    for name in ("single.npy", "text.zip", "short.npz", "flipped.npz", "empty.npz", "pickle.npz",
                 "nowhere.npz", "."):  # fmt: skip
        arguments = [str(tmp_path / name), "--out", str(tmp_path / "run"), "--classes", str(names)]
        assert cli.run(["import-model", *arguments]) == 1, name
        (line,) = capsys.readouterr().err.splitlines()
        assert str(tmp_path / name) in line
    names.write_text("a\nb\n")
    arguments = [str(tmp_path / "good.npz"), "--out", str(tmp_path / "run")]
    for extra, message in (
        (["--classes", str(names)], "has 2 classes, but the model in"),
        (["--classes", str(tmp_path / "none.txt")], "cannot be read"),
        ([], "--classes FILE or --data DATA"),
    ):
        assert cli.run(["import-model", *arguments, *extra]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_not_replaced(tmp_path: Path) -> None:
    arrays = numpy_model.draw(1, **SHAPE)
    import_arrays(tmp_path, arrays)
    with pytest.raises(GlimpsesError, match="run: is not empty"):
        import_arrays(tmp_path, arrays)


def test_backbone_must_match_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "load", lambda *_, **__: GreyBackbone())
    arrays = numpy_model.draw(1, channels=1, hidden=3, inner=3, classes=2)
    import_arrays(tmp_path, arrays, backbone="grey:2")
    assert runs.read_config(tmp_path / "run").backbone == "grey:2"
    with pytest.raises(GlimpsesError, match="--backbone grey:2: computes 2 x 2 x 1 features, but"):
        import_arrays(tmp_path / "run", numpy_model.draw(1, **SHAPE), backbone="grey:2")


def make(**options: Any) -> AuthorsModel:
    torch.manual_seed(0)
    config = ModelConfig(
        kind="authors", classes=3, places=4, channels=6, hidden=5, authors=AuthorsOptions(**options)
    )
    model = models.build(config)
    assert isinstance(model, AuthorsModel)
    return model


ALL_OPTIONS = {
    "attention_layers": 3, "start_layers": 2, "output_layers": 2, "output_size": 4,
    "glimpse_to_output": True, "selector": True, "inverse_temperature": 1.5,
}  # fmt: skip


def randomised(model: AuthorsModel) -> AuthorsModel:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    return model.double().eval()


def test_forward_equals_its_steps_and_ignores_padding() -> None:
    model = randomised(make(**ALL_OPTIONS))
    cubes = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[3], [3]])
    output = model(torch.where(mask[..., None, None], cubes, 99.0), mask)
    state = model.start(cubes[:, :3].mean((1, 2)))
    for step in range(3):
        logits, attention, state = model.step(cubes[:, step], state)
        torch.testing.assert_close(logits, output.logits[:, step])
        torch.testing.assert_close(attention, output.attention[:, step])


def test_gradients_equal_finite_differences() -> None:
    model = randomised(make(**ALL_OPTIONS))
    cubes = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    names, values = zip(*model.named_parameters(), strict=True)

    def loss(*parameters: torch.Tensor) -> torch.Tensor:
        state = dict(zip(names, parameters, strict=True))
        output = torch.func.functional_call(model, state, (cubes, mask))
        return sequence_loss(output, torch.tensor([0, 2]), mask, attention_weight=0.3).total

    assert gradcheck(
        loss, tuple(v.detach().requires_grad_() for v in values), atol=1e-7, fast_mode=True
    )


def test_initial_weights_follow_the_authors_code() -> None:
    torch.manual_seed(0)
    model = AuthorsModel(
        ModelConfig(kind="authors", classes=9, places=4, channels=64, hidden=64,
                    authors=AuthorsOptions(attention_layers=2, output_size=32))
    )  # fmt: skip

    def is_orthogonal(matrix: torch.Tensor) -> bool:
        return torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-5)

    square = [*model.recurrent.weight.chunk(4), *model.input.weight.chunk(4), model.query.weight]
    square += [model.start_hidden.weight, model.key_layers[0].weight]
    assert all(map(is_orthogonal, square))
    assert not torch.equal(square[0], square[1])
    for layer in (model.key, model.inner, model.logits, model.score):
        assert 0.007 < layer.weight.std() < 0.013
    assert all(not b.any() for name, b in model.named_parameters() if name.endswith("bias"))


def test_dropout_does_not_rescale_and_halves_in_testing() -> None:
    dropout = make().dropout.train()
    numbers = torch.full((10_000,), 3.0)
    dropped = dropout(numbers)
    assert set(dropped.unique().tolist()) == {0.0, 3.0}
    assert 0.45 < (dropped == 0).float().mean() < 0.55
    assert torch.equal(dropout.eval()(numbers), numbers / 2)


@pytest.mark.parametrize("wrong", [{"output_size": 0}, {"inverse_temperature": 0.0}])
def test_invalid_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**wrong)


def test_config_comes_back_from_disk_and_old_ones_still_load(tmp_path: Path) -> None:
    import_arrays(tmp_path, numpy_model.draw(1, **SHAPE, attention=3))
    file = tmp_path / "run" / runs.CONFIG
    config = runs.read_config(tmp_path / "run")
    assert config.model.authors == AuthorsOptions(attention_layers=3, output_size=7)
    old = json.loads(file.read_text())
    old["model"] |= {"kind": "attention"}
    del old["model"]["authors"]
    file.write_text(json.dumps(old))
    assert runs.read_config(tmp_path / "run").model.authors is None
