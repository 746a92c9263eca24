"""The whole way, from nothing to a recogniser that shows where it looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpses.datasets import synthetic
from glimpses.models import ModelOptions
from glimpses.report import WrittenReport, report
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training import train

# On clips of the demo's kind the default's stage does as well pooled, in a third of the time
# (docs/experiments.md).
_BACKBONE = "efficientnet_lite0:16:7"


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        out: folder of everything.
        clips: the generated clip set.
        runs: the trained models.
        written: the page and its videos, with the scores.
        seconds: it took.
    """

    out: Path
    clips: Path
    runs: tuple[Path, ...]
    written: WrittenReport
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "out": str(self.out),
            "clips": str(self.clips),
            "runs": [str(run) for run in self.runs],
            "seconds": round(self.seconds, 1),
            **self.written.to_json(),
        }

    def __str__(self) -> str:
        scores = self.written.scores
        aim = self.written.aims.get(self.runs[0].name)
        lines = [
            "",
            *(f"  {name:20} {value:6.1%} of unseen clips right" for name, value in scores.items()),
        ]
        if aim is not None:
            lines.append(
                f"  the place looked at most is on the actor in {aim.pointing:.0%} of the steps "
                f"(at random {aim.pointing_chance:.0%})"
            )
        return "\n".join(
            [
                *lines,
                "",
                f"made in {self.seconds / 60:.1f} minutes:",
                f"  {self.written.page}   open it in a browser",
                *(f"  {file}" for file in self.written.overlays),
                f"  {self.clips}   the clips, one folder per action",
                "",
                "next:",
                f"  glimpses explain {self.runs[0]}   # does its decision hang on where it looks?",
                f"  glimpses predict {self.runs[0]} VIDEO.mp4 --overlay overlay.mp4",
                "  glimpses check MY-CLIPS          # a folder with one folder of clips per action",
                "  glimpses train MY-CLIPS --out runs/my-clips",
            ]
        )


def demo(*, out: Path = Path("glimpses-demo"), quick: bool = False, seed: int = 0) -> Demo:
    """Make clips, train attention and a baseline on them, and show where the model looks.

    Interrupted, the same call goes on where it was.

    Args:
        out: folder for everything that is made.
        quick: a miniature of it all in a minute; it learns next to nothing.
        seed: of the clips and of training.

    Returns:
        What was made.

    Raises:
        GlimpsesError: something cannot be written, or `out` holds a demo with other settings.
    """
    started, out = time.monotonic(), Path(out)
    clips = out / "clips"
    synthetic.generate(clips, quick=quick, groups=None if quick else 60, seed=seed)
    folders = []
    data = DataOptions(backbone=_BACKBONE, feature_dir=out / "features")
    for name, kind in (("attention", "attention"), ("average-pooling", "average")):
        trained = train(
            clips,
            out=out / "runs" / name,
            data=data,
            model=ModelOptions(model=kind),
            optim=OptimOptions(epochs=2 if quick else 20),
            seed=seed,
        )
        folders.append(trained.run)
    written = report(
        *folders, out=out / "report.html", title="Glimpses demo", store=out / "features"
    )
    return Demo(out, clips, tuple(folders), written, time.monotonic() - started)
