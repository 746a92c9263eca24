"""Attention as a measured result: where it looks, whether that matters, how it moves."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from glimpses import runs
from glimpses.evaluation.explain import explain_run, require_means
from glimpses.evaluation.explanation import (
    Curve,
    DeletionCurves,
    Estimate,
    Explanation,
    MapLocalisation,
)
from glimpses.report import comparison, explanation, text
from glimpses.report.comparison import Comparison
from glimpses.report.measures import table_of
from glimpses.report.sections import write_sections
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_writable

__all__ = [
    "Comparison",
    "Curve",
    "DeletionCurves",
    "Estimate",
    "Explanation",
    "MapLocalisation",
    "WrittenExplanation",
    "compare",
    "explain",
    "explain_run",
]


@dataclass(frozen=True)
class WrittenExplanation:
    """What `explain` made.

    Attributes:
        explanation: all that was measured.
        page: the HTML file.
        files: `explanation.json` and the pictures, which the page has inside it, too.
    """

    explanation: Explanation
    page: Path
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        written = {"page": str(self.page), "files": [str(file) for file in self.files]}
        return {**self.explanation.to_json(), **written}

    def __rich__(self) -> Group:
        # A terminal breaks lines there all the same.
        said = [Text(line.replace("\u00a0%", "%")) for line in text.lead(self.explanation)]
        table = table_of({self.explanation.name: self.explanation})
        return Group(*said, table, Text(f"written: {self.page}, pictures and numbers beside it"))


def explain(
    run: Path,
    /,
    *,
    data: Path | None = None,
    boxes: Path | None = None,
    pooled: Path | None = None,
    pixels: int = 12,
    out: Path | None = None,
    store: Path | None = None,
    device: str = "cpu",
) -> WrittenExplanation:
    """Measure where a trained run looks and whether its decisions hang on that.

    Writes all of it as numbers, as pictures, and as one page that has everything inside it.

    Args:
        run: folder of the run.
        data: folder of labelled clips; the ones that the run was trained without if not given.
        boxes: where the actor is, if the data do not say or for another truth than theirs: a JSON
            file, or a folder of annotations; see docs/data.md.
        pooled: a run with a pooling model, whose Grad-CAM maps are set beside the attention.
        pixels: how many clips to remove places from the frames of, too; 0 for none, for it is slow.
        out: folder for everything; `explained` in the run's folder if not given.
        store: where features are kept; where the run's own are if not given.
        device: "cpu" or "cuda".

    Returns:
        What was measured and written.

    Raises:
        GlimpsesError: the run, the data or the boxes cannot be used, or something cannot be
            written.
    """
    run = Path(run)
    folder = run / "explained" if out is None else Path(out)
    check_writable(folder)
    found = explain_run(
        run, data=data, boxes=boxes, pooled=pooled, pixels=pixels, store=store, device=device
    )
    # Numbers first: whatever becomes of the pictures, they are there.
    numbers = _write_numbers(folder / "explanation.json", found.to_json())
    page, *pictures = write_sections(
        folder,
        "explanation.html",
        title=f"Where `{found.name}` looks, and whether it matters",
        summary=text.lead(found),
        sections=explanation.sections_of(found),
    )
    return WrittenExplanation(found, page, (numbers, *pictures))


def compare(
    *folders: Path,
    data: Path | None = None,
    boxes: Path | None = None,
    pixels: int = 0,
    out: Path = Path("comparison"),
    store: Path | None = None,
    device: str = "cpu",
) -> Comparison:
    """Put trained runs side by side on the same clips, the others beside the first.

    Args:
        folders: the runs, of one data set.
        data: folder of labelled clips; the ones that the runs were trained without if not given.
        boxes: where the actor is, if the data do not say or for another truth than theirs: a JSON
            file, or a folder of annotations; see docs/data.md.
        pixels: how many clips to remove places from the frames of, too; 0 for none, for it is slow.
        out: folder for everything.
        store: where features are kept; where each run's own are if not given.
        device: "cpu" or "cuda".

    Returns:
        The models and how they differ.

    Raises:
        GlimpsesError: a run, the data or the boxes cannot be used, the runs' classes or clips are
            not the same, or something cannot be written.
    """
    folders, out = tuple(dict.fromkeys(map(Path, folders))), Path(out)
    if len(folders) < 2:
        raise GlimpsesError("there is nothing to compare; use glimpses compare RUN RUN...")
    check_writable(out)
    first, *others = ((folder, runs.read_config(folder)) for folder in folders)
    for folder, config in others:
        comparison.require_same_classes(
            str(folder), config.classes, str(first[0]), first[1].classes
        )
    for _, config in (first, *others):
        require_means(config.model)
    explanations = []
    for folder in folders:
        found = explain_run(
            folder, data=data, boxes=boxes, pixels=pixels, store=store, device=device
        )
        # What was said of each clip is not shown here; a model less in memory.
        explanations.append(replace(found, predictions=(), true_labels=()))
        if len(explanations) > 1:
            comparison.require_same_clips(explanations[-1], explanations[0])
    compared = comparison.compare_models(explanations)
    numbers = _write_numbers(out / "comparison.json", compared.to_json())
    page, *pictures = write_sections(
        out,
        "comparison.html",
        title="Models side by side",
        summary=compared.words(),
        sections=comparison.sections_of(compared),
    )
    return replace(compared, files=(page, numbers, *pictures))


def _write_numbers(file: Path, found: dict[str, Any]) -> Path:
    with atomic_write(file) as part:
        part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return file
