"""Data sets, models, scores and cited systems of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: Data sets of the paper, and J-HMDB, for which the paper has no scores.
DatasetName = Literal["ucf11", "hmdb51", "hollywood2", "jhmdb"]

#: Title of each data set.
TITLES: Mapping[DatasetName, str] = {
    "ucf11": "UCF-11", "hmdb51": "HMDB-51", "hollywood2": "Hollywood2", "jhmdb": "J-HMDB",
}  # fmt: skip
#: Number of actions in each data set.
NUM_CLASSES: Mapping[DatasetName, int] = {
    "ucf11": 11, "hmdb51": 51, "hollywood2": 12, "jhmdb": 21,
}  # fmt: skip
#: Score that the paper reports on each data set.
QUANTITIES: Mapping[DatasetName, str] = {
    "ucf11": "accuracy", "hmdb51": "accuracy", "hollywood2": "mAP", "jhmdb": "accuracy",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Model in a table of the paper.

    Attributes:
        key: short name, used for the folders of its runs.
        title: the paper's name of the model.
        baseline: "average", "max" or "softmax"; None for the paper's own model.
        attention_penalty: lambda of Eq. 7.
        fps: frames per second if they differ from the other rows.
        reported: the paper's score on each data set, in per cent.
    """

    key: str
    title: str
    baseline: str | None
    attention_penalty: float = 0.0
    fps: float | None = None
    reported: Mapping[DatasetName, float] = field(default_factory=dict)


#: Rows of Table 1.
TABLE1: tuple[Row, ...] = (
    Row("softmax", "Softmax regression (full feature cube)", "softmax",
        reported={"ucf11": 82.37, "hmdb51": 33.46, "hollywood2": 34.62}),
    Row("average", "Average-pooled LSTM", "average",
        reported={"ucf11": 82.56, "hmdb51": 40.52, "hollywood2": 43.19}),
    Row("max", "Max-pooled LSTM", "max",
        reported={"ucf11": 81.60, "hmdb51": 37.58, "hollywood2": 43.22}),
    Row("attention-0", "Soft attention model", None,
        reported={"ucf11": 84.96, "hmdb51": 41.31, "hollywood2": 43.91}),
)  # fmt: skip

#: Models with different attention penalties (Eq. 7). The first version of the paper has no scores.
PENALTIES: tuple[Row, ...] = (
    Row("attention-0", "Soft attention model, λ = 0", None),
    Row("attention-1", "Soft attention model, λ = 1", None, attention_penalty=1.0),
    Row("attention-10", "Soft attention model, λ = 10", None, attention_penalty=10.0),
)

#: Model of Figure 7a, which reads 6 frames per second.
SLOW = Row(
    "attention-1-at-6-fps", "Soft attention model, λ = 1, 6 fps", None,
    attention_penalty=1.0, fps=6.0,
)  # fmt: skip


@dataclass(frozen=True)
class CitedSystem:
    """System from the literature; Glimpses does not run it.

    Attributes:
        title: name of the system.
        source: authors and year.
        uses: inputs that it reads.
        reported: score on each data set in per cent, as published.
    """

    title: str
    source: str
    uses: str
    reported: Mapping[DatasetName, float]


#: Rows of Table 2 without the paper's own model.
TABLE2: tuple[CitedSystem, ...] = (
    CitedSystem("Spatial stream ConvNet", "Simonyan and Zisserman 2014", "RGB", {"hmdb51": 40.5}),
    CitedSystem("Composite LSTM Model", "Srivastava et al. 2015", "RGB", {"hmdb51": 44.0}),
    CitedSystem("DL-SFA", "Sun et al. 2014", "RGB", {"hollywood2": 48.1}),
    CitedSystem("VideoDarwin", "Fernando et al. 2015", "RGB, optical flow",
                {"hmdb51": 63.7, "hollywood2": 73.7}),
    CitedSystem("Objects + Traditional + Stacked Fisher Vectors", "Jain et al. 2015",
                "RGB, optical flow, objects", {"hmdb51": 71.3, "hollywood2": 66.4}),
)  # fmt: skip
