"""No code outside the models package asks for the kind of a model."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import glimpses
from glimpses.models import MODELS, ActionModel

SOURCES = Path(glimpses.__file__).parent
# It converts the weights of the authors' model, and no other model.
EXCEPTIONS = {"reproduce/authors/model_npz.py"}


def class_names(base: type) -> Iterator[str]:
    """Yield the names of all classes of models in the package."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("glimpses."):
            yield kind.__name__
            yield from class_names(kind)


CLASSES = set(class_names(ActionModel))


def is_model_name(node: ast.AST) -> bool:
    """Return whether an expression is a model's name: `options.model`, `values["model"]`."""
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.slice) == "'model'"
    return isinstance(node, ast.Attribute) and node.attr in ("model", "kind")


def has_literal_name(nodes: list[ast.expr]) -> bool:
    """Return whether expressions contain the name of a model, also within a tuple or a set."""
    constants = (part for node in nodes for part in ast.walk(node))
    return any(isinstance(part, ast.Constant) and part.value in MODELS for part in constants)


def questions(tree: ast.AST) -> list[int]:
    """Return the lines that name a class of models or compare a model's name with a string."""
    lines = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                asks = name in CLASSES
            case ast.Compare():
                parts = [node.left, *node.comparators]
                asks = any(map(is_model_name, parts)) and has_literal_name(parts)
            case ast.Match():
                asks = is_model_name(node.subject)
            case ast.Subscript(value=ast.Dict(), slice=key):
                asks = is_model_name(key)
            case _:
                asks = False
        if asks:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(model, RecurrentAttentionModel)",
        "models.AuthorsModel",
        "from glimpses.models.baselines import PooledLSTM",
        'config.model.options.model == "attention"',
        'preset.model.model in ("average", "max")',
        'values["model"] != "softmax"',
        "match options.model:\n    case _: pass",
        "{}[options.model]",
    ],
)
def test_questions_are_detected(code: str) -> None:
    assert questions(ast.parse(code)) == [1]


def test_no_code_asks_for_the_kind_of_a_model() -> None:
    files = {
        path.relative_to(SOURCES).as_posix(): questions(ast.parse(path.read_text("utf-8")))
        for path in SOURCES.rglob("*.py")
    }
    asking = {file for file, lines in files.items() if lines and not file.startswith("models/")}
    assert asking == EXCEPTIONS
