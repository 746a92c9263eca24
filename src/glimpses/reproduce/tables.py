"""The paper's tables with what was measured beside what was reported: Markdown, JSON, picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from glimpses.reproduce.paper import QUANTITIES, TABLE2, TITLES, Cited, Name, Row
from glimpses.utils.files import atomic_write
from glimpses.viz import encode, scores_figure


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        row: the model.
        scores: per cent, of every seed on every split: `scores[split][seed]`.
        reported: the paper's own number, per cent; None where it gives none.
    """

    row: Row
    scores: Mapping[str, Mapping[int, float]]
    reported: float | None

    @property
    def by_seed(self) -> list[float]:
        """Score of every seed, the mean over splits; seeds that lack a split are left out."""
        splits = list(self.scores.values())
        whole = set.intersection(*(set(seeds) for seeds in splits)) if splits else set()
        return [mean(seeds[seed] for seeds in splits) for seed in sorted(whole)]

    @property
    def mean(self) -> float:
        """Mean over splits and seeds."""
        return mean(self.by_seed)

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "model": self.row.title,
            "key": self.row.key,
            "scores": {split: dict(seeds) for split, seeds in self.scores.items()},
            "mean": self.mean,
            "deviation": stdev(self.by_seed) if len(self.by_seed) > 1 else None,
            "paper": self.reported,
        }


@dataclass(frozen=True)
class ResultTable:
    """A table of the paper, measured.

    Attributes:
        file: name of its files, without ending.
        title: what it is.
        dataset: of the paper's three.
        rows: measured models.
        cited: systems that the paper compares with; literature.
        notes: what a reader must know of the numbers, a sentence each.
        decimals: with which the paper prints its numbers.
    """

    file: str
    title: str
    dataset: Name
    rows: Sequence[TableRow]
    cited: Sequence[Cited] = ()
    notes: Sequence[str] = ()
    decimals: int = 2

    def markdown(self) -> str:
        """The table for a page of text; splits have a column each where there are several."""
        splits = list(self.rows[0].scores)
        several = [f"split {name}" for name in splits] if len(splits) > 1 else []
        seeds = len(self.rows[0].by_seed)
        ours = f"ours, mean of {seeds} seeds ± deviation" if seeds > 1 else "ours, one seed"
        header = ["model", *several, ours, "paper"]
        lines = [
            f"**{self.title}**",
            "",
            _line(header),
            _line(["---"] + ["---:"] * (len(header) - 1)),
        ]
        for measured in self.rows:
            each = [_spread(list(measured.scores[name].values())) for name in splits]
            lines.append(
                _line([
                    measured.row.title, *(each if several else []),
                    _spread(measured.by_seed), _number(measured.reported, self.decimals),
                ])
            )  # fmt: skip
        for system in self.cited:
            empty = ["" for _ in several]
            name = f"{system.title} ({system.source}; {system.uses}), cited"
            reported = _number(system.reported.get(self.dataset), self.decimals)
            lines.append(_line([name, *empty, "", reported]))
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), ""])

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "title": self.title,
            "dataset": self.dataset,
            "quantity": QUANTITIES[self.dataset],
            "unit": "per cent",
            "rows": [row.to_json() for row in self.rows],
            "cited": [
                {
                    "model": system.title,
                    "source": system.source,
                    "uses": system.uses,
                    "reported": system.reported.get(self.dataset),
                }
                for system in self.cited
            ],
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write the table as Markdown, JSON and a picture."""
        files = tuple(folder / f"{self.file}{suffix}" for suffix in (".md", ".json", ".png"))
        figure = scores_figure(
            {
                **{measured.row.title: measured.by_seed for measured in self.rows},
                **{f"{system.title} (cited)": [] for system in self.cited},
            },
            {
                **{measured.row.title: measured.reported for measured in self.rows},
                **{
                    f"{system.title} (cited)": system.reported.get(self.dataset)
                    for system in self.cited
                },
            },
            title=self.title,
            quantity=f"{QUANTITIES[self.dataset]}, %",
        )
        contents = (
            self.markdown().encode(),
            (json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n").encode(),
            encode(figure),
        )
        for file, content in zip(files, contents, strict=True):
            with atomic_write(file) as part:
                part.write_bytes(content)
        return files


_SAME = "Clips, settings and seeds are those of Table 1, and so is what is said of them there."


def table1(dataset: Name, rows: Sequence[TableRow], notes: Sequence[str]) -> ResultTable:
    """Table 1: the paper's model beside its three baselines."""
    title = f"Table 1. Performance on {TITLES[dataset]} ({QUANTITIES[dataset]}, %)"
    return ResultTable("table1", title, dataset, rows, notes=notes)


def penalty_table(dataset: Name, rows: Sequence[TableRow], notes: Sequence[str]) -> ResultTable:
    """The attention penalty: lambda 0, 1 and 10, as the later version of the paper compares."""
    title = f"Attention penalty λ on {TITLES[dataset]} ({QUANTITIES[dataset]}, %)"
    return ResultTable("penalty", title, dataset, rows, notes=[*notes, _SAME])


def table2(dataset: Name, attention: TableRow, notes: Sequence[str]) -> ResultTable | None:
    """Table 2: the attention model beside other systems; None where the paper has none."""
    cited = [system for system in TABLE2 if dataset in system.reported]
    if not cited:
        return None
    title = f"Table 2. Comparison on {TITLES[dataset]} ({QUANTITIES[dataset]}, %)"
    literature = "Systems marked as cited are literature: their numbers are the paper's, not ours."
    return ResultTable("table2", title, dataset, [attention], cited, [*notes, _SAME, literature], 1)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
