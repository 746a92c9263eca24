"""Pages about attention: `glimpses explain` for one run, `glimpses compare` for several."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from glimpses import runs
from glimpses.evaluation.explain import explain_run, require_dependencies
from glimpses.evaluation.explanation import Explanation
from glimpses.report import comparison, explanation, text
from glimpses.report.comparison import Comparison
from glimpses.report.measures import measures_table
from glimpses.report.sections import write_sections
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, check_writable


@dataclass(frozen=True)
class WrittenExplanation:
    """Result of `explain`.

    Attributes:
        explanation: the measurements.
        page: the HTML file.
        files: `explanation.json` and the images, which the page embeds too.
    """

    explanation: Explanation
    page: Path
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the measurements and the files as JSON values."""
        files = {"page": str(self.page), "files": [str(file) for file in self.files]}
        return {**self.explanation.to_json(), **files}

    def __rich__(self) -> Group:
        # A terminal breaks lines at non-breaking spaces too.
        lines = [Text(line.replace("\u00a0%", "%")) for line in text.summary(self.explanation)]
        table = measures_table({self.explanation.name: self.explanation})
        return Group(*lines, table, Text(f"written: {self.page}, images and numbers in its folder"))


def explain(
    run: str | Path,
    /,
    *,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    gradcam_run: str | Path | None = None,
    pixels: int = 12,
    out: str | Path | None = None,
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> WrittenExplanation:
    """Measure where a trained run looks and whether its decisions depend on that.

    Writes numbers, figures and a self-contained page.

    Args:
        run: folder of the run.
        data: folder of labelled clips; the run's own test clips if not given.
        annotations: locations of the actor, if the data set has none or to replace them: a JSON
            file of boxes or a folder of annotations; see docs/data.md.
        gradcam_run: folder of a run with a pooling model, whose Grad-CAM maps are compared with the
            attention.
        pixels: number of clips for deletion on the frames, which is slow; 0 for none.
        out: folder for all files; `explained` in the run's folder if not given.
        feature_dir: folder for features; that of the run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: the run, the data or the annotations cannot be used, or a file cannot be
            written.
    """
    folder = Path(run) / "explained" if out is None else Path(out)
    check_writable(folder)
    result = explain_run(
        run, data=data, annotations=annotations, gradcam_run=gradcam_run, pixels=pixels,
        feature_dir=feature_dir, device=device,
    )  # fmt: skip
    # Numbers first: they are kept even if drawing fails.
    numbers = _write_json(folder / "explanation.json", result.to_json())
    page, *images = write_sections(
        folder,
        "explanation.html",
        title=f"Where `{result.name}` looks, and whether it matters",
        summary=text.summary(result),
        sections=explanation.sections_of(result),
    )
    return WrittenExplanation(result, page, (numbers, *images))


def compare(
    *folders: str | Path,
    data: str | Path | None = None,
    annotations: str | Path | None = None,
    pixels: int = 0,
    out: str | Path = Path("comparison"),
    feature_dir: str | Path | None = None,
    device: str = "cpu",
) -> Comparison:
    """Compare trained runs with the first one, on the same clips.

    Args:
        folders: folders of the runs, of one data set.
        data: folder of labelled clips; the runs' own test clips if not given.
        annotations: locations of the actor, if the data set has none or to replace them: a JSON
            file of boxes or a folder of annotations; see docs/data.md.
        pixels: number of clips for deletion on the frames, which is slow; 0 for none.
        out: folder for all files.
        feature_dir: folder for features; that of each run if not given.
        device: "cpu" or "cuda".

    Raises:
        GlimpsesError: a run, the data or the annotations cannot be used, the runs' classes or clips
            differ, or a file cannot be written.
    """
    paths, out = tuple(dict.fromkeys(map(Path, folders))), Path(out)
    if len(paths) < 2:
        raise GlimpsesError("there is nothing to compare; use glimpses compare RUN RUN...")
    check_writable(out)
    first, *others = ((path, runs.read_config(path)) for path in paths)
    for path, config in others:
        comparison.require_same_classes(str(path), config.classes, str(first[0]), first[1].classes)
    for _, config in (first, *others):
        require_dependencies(config.model)
    explanations: list[Explanation] = []
    for path in paths:
        result = explain_run(
            path, data=data, annotations=annotations, pixels=pixels, feature_dir=feature_dir,
            device=device,
        )  # fmt: skip
        # Predictions are not shown here; drop them to save memory.
        explanations.append(replace(result, predictions=(), true_labels=()))
        comparison.require_same_clips(explanations[-1], explanations[0])
    compared = comparison.compare_models(explanations)
    numbers = _write_json(out / "comparison.json", compared.to_json())
    page, *images = write_sections(
        out,
        "comparison.html",
        title="Comparison of models",
        summary=compared.summary(),
        sections=comparison.sections_of(compared),
    )
    return replace(compared, files=(page, numbers, *images))


def _write_json(file: Path, content: dict[str, Any]) -> Path:
    with atomic_write(file) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return file
