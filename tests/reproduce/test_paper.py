"""Scores that the paper reports, compared with its text."""

from __future__ import annotations

import re
from pathlib import Path

from glimpses.reproduce import TABLE1, TABLE2

NAMES = ("ucf11", "hmdb51", "hollywood2")


def test_reported_scores_are_those_of_the_paper(shared: Path) -> None:
    lines = (shared / "PAPER.md").read_text().splitlines()
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line.count("\t") == 3}
    names = {"softmax": "Softmax", "average": "Avg", "max": "Max", "attention-0": "Soft attention"}
    for row in TABLE1:
        cells = next(cells for title, cells in rows.items() if title.startswith(names[row.key]))
        assert [float(cell) for cell in cells] == [row.reported[name] for name in NAMES]
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line.count("\t") == 2}
    for system in TABLE2:
        key = re.sub(r"\W", "", system.title)
        cells = next(c for title, c in rows.items() if re.sub(r"\W", "", title).startswith(key))
        scores = {n: float(c) for n, c in zip(NAMES[1:], cells, strict=True) if c != "-"}
        assert scores == dict(system.reported)
