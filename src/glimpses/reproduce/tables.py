"""The paper's tables with measured scores beside the reported ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from glimpses.reproduce.paper import (
    QUANTITIES,
    TABLE2,
    TITLES,
    CitedSystem,
    DatasetName,
    Row,
)
from glimpses.utils.files import atomic_write
from glimpses.viz import encode_figure, scores_figure

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class MeasuredRow:
    """Scores of one model beside the score that the paper reports.

    Attributes:
        row: the model.
        scores: score of every seed on every split, in per cent: `scores[split][seed]`.
        reported: the paper's score in per cent; None if the paper has none.
        interval: 95 % interval over the recordings of the test clips, averaged over splits and
            seeds, in per cent; None if they are too few.
    """

    row: Row
    scores: Mapping[str, Mapping[int, float]]
    reported: float | None
    interval: tuple[float, float] | None = None

    @property
    def by_seed(self) -> list[float]:
        """Mean score over the splits for each seed that was run on all of them."""
        splits = list(self.scores.values())
        complete = set.intersection(*(set(seeds) for seeds in splits)) if splits else set()
        return [mean(seeds[seed] for seeds in splits) for seed in sorted(complete)]

    @property
    def mean(self) -> float:
        """Mean score over splits and seeds."""
        return mean(self.by_seed)

    def to_json(self) -> dict[str, Any]:
        """Return all scores in a form that JSON can hold."""
        return {
            "model": self.row.title,
            "key": self.row.key,
            "scores": {split: dict(seeds) for split, seeds in self.scores.items()},
            "mean": self.mean,
            "deviation": stdev(self.by_seed) if len(self.by_seed) > 1 else None,
            "interval": self.interval,
            "paper": self.reported,
        }


@dataclass(frozen=True)
class ResultTable:
    """Table of the paper with measured scores.

    Attributes:
        file: name of the written files, without suffix.
        title: caption.
        dataset: name of the data set.
        rows: measured models.
        cited: systems from the literature that the paper compares with.
        notes: remarks on the scores, one sentence or paragraph each.
        decimals: number of decimals that the paper prints.
        quantity: the measured quantity; by default the score that the paper reports.
    """

    file: str
    title: str
    dataset: DatasetName
    rows: Sequence[MeasuredRow]
    cited: Sequence[CitedSystem] = ()
    notes: Sequence[str] = ()
    decimals: int = 2
    quantity: str = ""

    @property
    def _quantity(self) -> str:
        return self.quantity or QUANTITIES[self.dataset]

    def markdown(self) -> str:
        """Return the table and its notes as Markdown."""
        header, *rows = self._cells()
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        table = [f"| {' | '.join(line)} |" for line in lines]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"**{self.title}**", "", *table, "", *notes, ""])

    def rich_table(self) -> Table:
        """Return the table for a terminal, without its notes."""
        from rich.table import Table

        header, *rows = self._cells()
        table = Table(title=self.title, title_justify="left")
        for index, name in enumerate(header):
            table.add_column(name, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        return table

    def to_json(self) -> dict[str, Any]:
        """Return the table in a form that JSON can hold."""
        return {
            "title": self.title,
            "dataset": self.dataset,
            "quantity": self._quantity,
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
        """Write the table as Markdown, JSON and PNG and return the three files."""
        measured = {row.row.title: row.by_seed for row in self.rows}
        reported = {row.row.title: row.reported for row in self.rows}
        for system in self.cited:
            measured[f"{system.title} (cited)"] = []
            reported[f"{system.title} (cited)"] = system.reported.get(self.dataset)
        figure = scores_figure(
            measured, reported, title=self.title, quantity=f"{self._quantity}, %"
        )
        contents = {
            ".md": self.markdown().encode(),
            ".json": (json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n").encode(),
            ".png": encode_figure(figure),
        }
        files = []
        for suffix, content in contents.items():
            files.append(folder / f"{self.file}{suffix}")
            with atomic_write(files[-1]) as part:
                part.write_bytes(content)
        return tuple(files)

    def _cells(self) -> list[list[str]]:
        """Return the header and the rows as text; several splits have one column each."""
        splits = list(self.rows[0].scores)
        split_columns = splits if len(splits) > 1 else []
        seeds = len(self.rows[0].by_seed)
        ours = f"ours, mean of {seeds} seeds ± deviation" if seeds > 1 else "ours, one seed"
        ours += " (95 % interval)" if self.rows[0].interval else ""
        cells = [["model", *(f"split {name}" for name in split_columns), ours, "paper"]]
        for measured in self.rows:
            spreads = [_spread([*measured.scores[name].values()]) for name in split_columns]
            reported = _number(measured.reported, self.decimals)
            score = _spread(measured.by_seed)
            if measured.interval:
                score += " ({:.1f} to {:.1f})".format(*measured.interval)
            cells.append([measured.row.title, *spreads, score, reported])
        for system in self.cited:
            title = f"{system.title} ({system.source}; {system.uses}), cited"
            reported = _number(system.reported.get(self.dataset), self.decimals)
            cells.append([title, *("" for _ in split_columns), "", reported])
        # A table without published scores has no column for them.
        blank = not any(line[-1] for line in cells[1:])
        return [line[:-1] for line in cells] if blank else cells


_SAME_AS_TABLE1 = "Clips, settings and seeds are those of Table 1, whose notes apply here too."


def table1(dataset: DatasetName, rows: Sequence[MeasuredRow], notes: Sequence[str]) -> ResultTable:
    """Build Table 1: the soft attention model and the three baselines."""
    title = f"Table 1. Performance on {TITLES[dataset]} ({QUANTITIES[dataset]}, %)"
    decimals = 2
    if all(row.reported is None for row in rows):
        notes, decimals = [*notes, f"The paper has no scores for {TITLES[dataset]}."], 1
    return ResultTable("table1", title, dataset, rows, notes=notes, decimals=decimals)


def penalty_table(
    dataset: DatasetName, rows: Sequence[MeasuredRow], notes: Sequence[str]
) -> ResultTable:
    """Build the table of attention penalties 0, 1 and 10 (in arXiv v3 of the paper)."""
    title = f"Attention penalty λ on {TITLES[dataset]} ({QUANTITIES[dataset]}, %)"
    return ResultTable("penalty", title, dataset, rows, notes=[*notes, _SAME_AS_TABLE1])


def table2(
    dataset: DatasetName, attention: MeasuredRow, notes: Sequence[str]
) -> ResultTable | None:
    """Build Table 2: the attention model beside other systems; None if the paper has none."""
    cited = [system for system in TABLE2 if dataset in system.reported]
    if not cited:
        return None
    title = f"Table 2. Comparison on {TITLES[dataset]} ({QUANTITIES[dataset]}, %)"
    literature = "Scores of cited systems are copied from the paper; these systems were not run."
    return ResultTable(
        "table2", title, dataset, [attention], cited, [*notes, _SAME_AS_TABLE1, literature], 1
    )


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
