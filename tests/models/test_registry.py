"""No code outside the models package asks for a kind of model."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import glimpses
from glimpses import models
from glimpses.models import MODELS, ActionModel

SOURCES = Path(glimpses.__file__).parent
CLASSES = {
    name for name in models.__all__
    if isinstance(kind := getattr(models, name), type)
    and issubclass(kind, ActionModel)
    and kind is not ActionModel
}  # fmt: skip
# It reads and writes the weights of the authors' model, and is about no other.
EXCEPTIONS = {"reproduce/authors/model_npz.py"}


def questions(tree: ast.AST) -> list[int]:
    """Return the lines that name a class of models or compare a model's name with a string."""
    lines = []
    for node in ast.walk(tree):
        named = isinstance(node, ast.Name | ast.Attribute) and (
            getattr(node, "id", None) in CLASSES or getattr(node, "attr", None) in CLASSES
        )
        compared = (
            isinstance(node, ast.Compare)
            and any(ast.unparse(part).endswith(("options.model", ".kind")) for part in
                    (node.left, *node.comparators))
            and any(isinstance(part, ast.Constant) and part.value in MODELS for part in
                    (node.left, *node.comparators))
        )  # fmt: skip
        if named or compared:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "code",
    ["isinstance(model, RecurrentAttentionModel)", "models.AuthorsModel",
     'config.model.options.model == "attention"'],
)  # fmt: skip
def test_questions_are_found(code: str) -> None:
    assert questions(ast.parse(code)) == [1]


def test_nobody_asks_for_a_kind_of_model() -> None:
    found = {
        str(path.relative_to(SOURCES)): lines
        for path in SOURCES.rglob("*.py")
        if path.parent.name != "models" and (lines := questions(ast.parse(path.read_text("utf-8"))))
    }
    assert set(found) == EXCEPTIONS
