"""Hostile run folders: wrong and absurd values in every field, pipes and devices."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from tests.torture.commands import problems
from tests.torture.lab import Lab, Result

_COMMANDS = (
    ("predict", "run", "clips/back/good-0.mp4", "--json"),
    ("predict", "run", "clips", "--csv", "out.csv"),
    ("evaluate", "run", "--data", "clips", "--subset", "all", "--json", "--feature-dir", "store"),
    ("evaluate", "run", "--json", "--feature-dir", "store"),
    ("report", "run", "--out", "page"),
    ("export", "run", "--out", "onnx"),
    ("calibrate", "run", "--json"),
    ("explain", "run", "--out", "explained", "--data", "clips", "--feature-dir", "store"),
    ("train", "clips", "--out", "run", "--feature-dir", "store", "--epochs", "1"),
)  # fmt: skip
_TIMEOUT = 60.0
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**200, 0.5, -0.5, 1e308, 1e-320, math.nan,
    math.inf, -math.inf, "", "x", "native", "a" * 100_000, "\x1b[2J", "\n", "../..", "\ud800",
    [], [None], [[]] * 1000, {}, {"x": {}}, [0, 0], "/dev/zero", "0", [2**70], ["a", "a"],
)  # fmt: skip


def hostile_folders(lab: Lab) -> Iterator[Result]:
    """Give commands a run folder in which one or two things are not as they should be."""
    changes = _changes(lab)
    for _ in range(3) if lab.short else itertools.count():
        folder = lab.new_folder("hostile")
        shutil.copytree(lab.trained, folder / "run")
        (folder / "clips").symlink_to(lab.clips)
        (folder / "store").symlink_to(lab.store)
        names = []
        for _ in range(lab.rng.integers(1, 3)):
            name, change = changes[lab.rng.integers(len(changes))]
            names.append(name)
            change(folder / "run", lab.rng)
        arguments = _COMMANDS[0 if lab.short else lab.rng.integers(len(_COMMANDS))]
        outcome = lab.run(arguments, folder, _TIMEOUT)
        reasons = problems(outcome)
        errors = [line for line in outcome.error.splitlines() if line.startswith("error: ")]
        if outcome.code == 1 and len(errors) != 1:
            reasons.append(f"printed {len(errors)} lines with errors")
        if reasons:
            lab.fail(f"folders-{arguments[0]}", [*reasons, *names], folder, outcome)
        yield Result(1, int(bool(reasons)))


_Change = Callable[[Path, np.random.Generator], None]


def _changes(lab: Lab) -> list[tuple[str, _Change]]:
    """Return all kinds of changes; those of fields are made from the JSON files of a run."""
    changes = list(_WEIGHTS.items())
    for name in ("config.json", "scores.json", "curves.json"):
        fields = list(_fields(json.loads((lab.trained / name).read_text())))
        changes += [
            (f"{name}: {kind}", _change_field(name, fields, action))
            for kind, action in (("value", _set), ("missing", _remove), ("unknown", _add))
            for _ in range(8 if name == "config.json" and kind == "value" else 1)
        ]
    for name in ("config.json", "model.safetensors", "scores.json", "curves.json", "README.md",
                 "checkpoints/last.ckpt"):  # fmt: skip
        changes += [(f"{name}: {kind}", _replace(name, by)) for kind, by in _REPLACED.items()]
    return changes


def _content(file: Path) -> bytes:
    """Return the bytes of a file; nothing if an earlier change has made it something else."""
    if file.is_symlink() or not file.is_file() or file.stat().st_size > 10**8:
        return b""
    return file.read_bytes()


def _fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every field of a JSON value."""
    if path:
        yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else list(enumerate(value))[:3]
        for key, inner in items:
            yield from _fields(inner, (*path, key))


def _change_field(
    name: str, fields: list[tuple[Any, ...]], action: Callable[[Any, Any, Any], None]
) -> _Change:
    def change(run: Path, rng: np.random.Generator) -> None:
        try:
            content = json.loads(_content(run / name))
            *parents, last = fields[rng.integers(len(fields))]
            inner = content
            for key in parents:
                inner = inner[key]
            action(inner, last, _VALUES[rng.integers(len(_VALUES))])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            # The first of two changes left nothing for the second.
            return
        (run / name).write_text(json.dumps(content))

    return change


def _set(inner: Any, key: Any, value: Any) -> None:
    inner[key] = value


def _remove(inner: Any, key: Any, value: Any) -> None:
    del inner[key]


def _add(inner: Any, key: Any, value: Any) -> None:
    inner["surprise"] = value


def _replace(name: str, by: Callable[[Path, np.random.Generator], None]) -> _Change:
    def change(run: Path, rng: np.random.Generator) -> None:
        file = run / name
        content = _content(file)
        if file.is_dir():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)
        by(file, rng)
        if not os.path.lexists(file):
            file.write_bytes(_damage(content, by.__name__, rng))

    return change


def _damage(content: bytes, name: str, rng: np.random.Generator) -> bytes:
    if name == "_cut":
        return content[: rng.integers(len(content) + 1)]
    changed = bytearray(content)
    for _ in range(8):
        if changed:
            changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed)


def _nothing(file: Path, rng: np.random.Generator) -> None:
    file.touch()


def _cut(file: Path, rng: np.random.Generator) -> None:
    """Leave the rest to `_damage`."""


def _flip(file: Path, rng: np.random.Generator) -> None:
    """Leave the rest to `_damage`."""


def _noise(file: Path, rng: np.random.Generator) -> None:
    file.write_bytes(rng.bytes(5000))


def _pipe(file: Path, rng: np.random.Generator) -> None:
    os.mkfifo(file)


def _device(file: Path, rng: np.random.Generator) -> None:
    file.symlink_to(("/dev/zero", "/dev/full", "/dev/tty", "/dev/null")[rng.integers(4)])


def _folder(file: Path, rng: np.random.Generator) -> None:
    file.mkdir()


def _loop(file: Path, rng: np.random.Generator) -> None:
    file.symlink_to(file.name)


def _dangling(file: Path, rng: np.random.Generator) -> None:
    file.symlink_to("nowhere")


def _huge(file: Path, rng: np.random.Generator) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


def _deep(file: Path, rng: np.random.Generator) -> None:
    opening = ("[", '{"a":', '{"model":{"options":')[rng.integers(3)]
    file.write_text(opening * 200_000)


_REPLACED: dict[str, Callable[[Path, np.random.Generator], None]] = {
    function.__name__[1:]: function
    for function in (_nothing, _cut, _flip, _noise, _pipe, _device, _folder, _loop, _dangling,
                     _huge, _deep)
}  # fmt: skip


def _change_weights(
    change: Callable[[dict[str, np.ndarray], str, np.random.Generator], None],
) -> _Change:
    def change_file(run: Path, rng: np.random.Generator) -> None:
        try:
            weights = load(_content(run / "model.safetensors"))
        except Exception:
            # The first of two changes has replaced the file.
            return
        change(weights, sorted(weights)[rng.integers(len(weights))], rng)
        (run / "model.safetensors").write_bytes(save(weights))

    return change_file


def _not_finite(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    values = weights[name].astype(np.float32)
    values.reshape(-1)[rng.integers(max(1, values.size)) :][:1] = (np.nan, np.inf, 3e38)[
        rng.integers(3)
    ]
    weights[name] = values.astype(weights[name].dtype)


def _drop(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    del weights[name]


def _reshape(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    shapes = (weights[name].T, weights[name].reshape(-1), np.zeros((0,), np.float32),
              np.zeros((), np.float32), np.zeros((3000, 3000), np.float32))  # fmt: skip
    weights[name] = np.ascontiguousarray(shapes[rng.integers(len(shapes))])


def _retype(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    kinds = (np.float16, np.float64, np.int64, np.uint8, np.bool_)
    with np.errstate(all="ignore"):
        weights[name] = weights[name].astype(kinds[rng.integers(len(kinds))])


def _exchange(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    other = sorted(weights)[rng.integers(len(weights))]
    weights[name], weights[other] = weights[other], weights[name]


def _surplus(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    weights["\x1b[2Jsurplus"] = weights[name]


def _enlarge(weights: dict[str, np.ndarray], name: str, rng: np.random.Generator) -> None:
    weights[name] = weights[name] * np.float32(10.0 ** rng.integers(5, 38))


def _claim_header(run: Path, rng: np.random.Generator) -> None:
    """Declare a header, a shape or offsets that the file does not have."""
    file = run / "model.safetensors"
    header: dict[str, Any] = {
        "a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}
    }
    text = json.dumps(header).encode()
    length = (len(text), 2**63 - 1, 2**40, 0)[rng.integers(4)]
    if _content(file):
        file.write_bytes(length.to_bytes(8, "little") + text)


_WEIGHTS: dict[str, _Change] = {
    "weights: header": _claim_header,
    **{
        f"weights: {function.__name__[1:]}": _change_weights(function)
        for function in (_not_finite, _not_finite, _drop, _reshape, _retype, _exchange, _surplus,
                         _enlarge)
    },
}  # fmt: skip
