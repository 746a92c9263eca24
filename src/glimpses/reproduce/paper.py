"""What the paper reports, to stand beside what is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: The data sets of the paper.
DatasetName = Literal["ucf11", "hmdb51", "hollywood2"]

#: Titles of the data sets.
TITLES: Mapping[DatasetName, str] = {
    "ucf11": "UCF-11", "hmdb51": "HMDB-51", "hollywood2": "Hollywood2",
}  # fmt: skip
#: How many actions each has, by its layout.
CLASSES: Mapping[str, int] = {"ucf11": 11, "hmdb51": 51, "hollywood2": 12}
#: What is scored on each.
QUANTITIES: Mapping[DatasetName, str] = {
    "ucf11": "accuracy", "hmdb51": "accuracy", "hollywood2": "mAP",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A model of Table 1, or one with another lambda.

    Attributes:
        key: short name; folders are called after it.
        title: the paper's name for it.
        changes: what sets it apart, as arguments of `glimpses.train`.
        reported: the paper's score on each data set, per cent.
    """

    key: str
    title: str
    changes: Mapping[str, Any]
    reported: Mapping[DatasetName, float]


#: Table 1.
TABLE1: tuple[Row, ...] = (
    Row("softmax", "Softmax regression (full feature cube)", {"model": "softmax"},
        {"ucf11": 82.37, "hmdb51": 33.46, "hollywood2": 34.62}),
    Row("average", "Average-pooled LSTM", {"model": "average"},
        {"ucf11": 82.56, "hmdb51": 40.52, "hollywood2": 43.19}),
    Row("max", "Max-pooled LSTM", {"model": "max"},
        {"ucf11": 81.60, "hmdb51": 37.58, "hollywood2": 43.22}),
    Row("attention-0", "Soft attention model", {"model": "attention", "attention_penalty": 0.0},
        {"ucf11": 84.96, "hmdb51": 41.31, "hollywood2": 43.91}),
)  # fmt: skip

#: The attention penalty of Eq. 7, of which the first version of the paper shows pictures only.
PENALTIES: tuple[Row, ...] = (
    Row("attention-0", "Soft attention model, λ = 0", TABLE1[-1].changes, {}),
    Row("attention-1", "Soft attention model, λ = 1",
        {"model": "attention", "attention_penalty": 1.0}, {}),
    Row("attention-10", "Soft attention model, λ = 10",
        {"model": "attention", "attention_penalty": 10.0}, {}),
)  # fmt: skip

#: Figure 7a: the same at 6 frames per second.
SLOW_FPS = 6.0
SLOW = Row(
    "attention-1-at-6-fps", "Soft attention model, λ = 1, 6 fps",
    {"model": "attention", "attention_penalty": 1.0, "fps": SLOW_FPS}, {},
)  # fmt: skip


@dataclass(frozen=True)
class CitedSystem:
    """A system of Table 2, as the paper reports it; it is literature and is not run here."""

    title: str
    source: str
    uses: str
    reported: Mapping[DatasetName, float]


#: Table 2 but for the paper's own model.
TABLE2: tuple[CitedSystem, ...] = (
    CitedSystem("Spatial stream ConvNet", "Simonyan and Zisserman 2014", "RGB", {"hmdb51": 40.5}),
    CitedSystem("Composite LSTM Model", "Srivastava et al. 2015", "RGB", {"hmdb51": 44.0}),
    CitedSystem("DL-SFA", "Sun et al. 2014", "RGB", {"hollywood2": 48.1}),
    CitedSystem("VideoDarwin", "Fernando et al. 2015", "RGB, optical flow",
          {"hmdb51": 63.7, "hollywood2": 73.7}),
    CitedSystem("Objects + Traditional + Stacked Fisher Vectors", "Jain et al. 2015",
          "RGB, optical flow, objects", {"hmdb51": 71.3, "hollywood2": 66.4}),
)  # fmt: skip
