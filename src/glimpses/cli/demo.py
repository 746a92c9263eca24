"""The `demo` command: generate clips, train two models on them and report the results."""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpses.datasets import synthetic
from glimpses.models import ModelOptions
from glimpses.report import WrittenReport, report
from glimpses.runs import DataOptions, OptimOptions
from glimpses.training import train
from glimpses.utils.files import quote_path

# On these clips, stage 16 pooled to 7x7 is as accurate as the default 14x14 and trains in a third
# of the time (docs/lab-book.md).
_BACKBONE = "efficientnet_lite0:16:7"

# Names of the runs, and their models.
_MODELS = (("attention", "attention"), ("average-pooling", "average"))

#: Explanation of the clips and of attention, for readers who start with the demo.
INTRODUCTION = (
    "The clips are generated. In each of them a person performs one of six actions beside another "
    "person who does something else. The models learn to name the action; they are never shown "
    "where it happens.",
    "Attention is the set of weights that the model assigns to the places of a grid over each "
    "frame: a softmax over the places (the location softmax of the paper), so the weights of a "
    "frame sum to 1. The heat map shows these weights. The model classifies the frame by the "
    "weighted mean of the features at all places.",
)


@dataclass(frozen=True)
class Demo:
    """Files and scores of a finished demo.

    Attributes:
        out: folder that holds everything.
        clips: folder of the generated clips.
        runs: trained models: attention, then average pooling.
        report: the HTML page, its overlay videos and the scores.
        seconds: duration of the demo.
    """

    out: Path
    clips: Path
    runs: tuple[Path, ...]
    report: WrittenReport
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the files and scores in a form that JSON can hold."""
        return {
            "out": str(self.out),
            "clips": str(self.clips),
            "runs": [str(run) for run in self.runs],
            "seconds": round(self.seconds, 1),
            **self.report.to_json(),
        }

    def __str__(self) -> str:
        localisation = self.report.localisation.get(self.runs[0].name)
        lines = [""]
        for paragraph in INTRODUCTION:
            lines += [textwrap.fill(paragraph, 88), ""]
        for name, record in self.report.scores.items():
            lines.append(f"The {name} model: {record.headline}.")
        lines.append(f"Without a model: {record.baselines}.")
        if localisation is not None:
            lines.append(
                "The place with the highest attention is on the person who performs the action in "
                f"{_percent(localisation.pointing)} of the frames (chance level: "
                f"{_percent(localisation.pointing_chance)})."
            )
        run = quote_path(self.runs[0])
        lines += [
            "",
            f"written in {self.seconds / 60:.1f} minutes:",
            f"  {self.report.page}   open this page in a browser",
            *(f"  {file}" for file in self.report.overlays),
            f"  {self.clips}   the clips, one folder per action",
            "",
            "next:",
            f"  glimpses serve {run}   # open a page to drop clips on and see the attention",
            f"  glimpses predict {run} VIDEO.mp4 --overlay overlay.mp4",
            f"  glimpses explain {run}   # test whether the decisions depend on the attention",
            "  glimpses check MY-CLIPS   # your own clips: one folder per action",
            "  glimpses train MY-CLIPS --out runs/my-clips",
        ]
        return "\n".join(lines)


def demo(*, out: str | Path = Path("glimpses-demo"), quick: bool = False, seed: int = 0) -> Demo:
    """Generate clips, train an attention model and a baseline on them, and write a report.

    If you interrupt it, the same command continues where it stopped.

    Args:
        out: folder for everything that the demo writes.
        quick: run a miniature in about a minute; its models learn next to nothing.
        seed: seed of the clips and of training.

    Raises:
        GlimpsesError: a file cannot be written, or `out` holds a demo with other settings.
    """
    started, out = time.monotonic(), Path(out)
    clips, features = out / "clips", out / "features"
    synthetic.generate(clips, quick=quick, groups=None if quick else 60, seed=seed)
    data = DataOptions(backbone=_BACKBONE, feature_dir=features)
    optim = OptimOptions(epochs=2 if quick else 20)
    folders = []
    for name, kind in _MODELS:
        model, folder = ModelOptions(model=kind), out / "runs" / name
        trained = train(
            clips, out=folder, recipe="synthetic", data=data, model=model, optim=optim, seed=seed
        )
        folders.append(trained.run)
    written = report(
        *folders, out=out / "report.html", title="Glimpses demo", introduction=INTRODUCTION,
        feature_dir=features,
    )  # fmt: skip
    return Demo(
        out=out, clips=clips, runs=tuple(folders), report=written,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
