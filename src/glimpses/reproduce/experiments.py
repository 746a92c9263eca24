"""The paper's experiments with one command: `glimpses reproduce ucf11 --data DIR --out DIR`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from glimpses import datasets
from glimpses.datasets import ActionDataset
from glimpses.datasets.synthetic import make_miniature
from glimpses.evaluation import Evaluation, evaluate_clips
from glimpses.reproduce import figures, presets
from glimpses.reproduce.cost import Cost, estimate
from glimpses.reproduce.paper import (
    CLASSES,
    PENALTIES,
    SLOW,
    SLOW_FPS,
    TABLE1,
    TITLES,
    DatasetName,
    Row,
)
from glimpses.reproduce.presets import PresetName, Setting, train_options
from glimpses.reproduce.subset import make_subset
from glimpses.reproduce.tables import MeasuredRow, ResultTable, penalty_table, table1, table2
from glimpses.runs import ScoreRecord, read_config, read_scores
from glimpses.runs.model_card import record_score
from glimpses.training import check_options, train
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

__all__ = ["Reproduction", "reproduce"]

log = logging.getLogger(__name__)

# A miniature of the protocol: enough to see every part of it work, too little to learn much.
_QUICK: Mapping[str, Any] = {
    "backbone": "efficientnet_lite0:16:7", "hidden_size": 32, "batch_size": 8, "epochs": 6,
    "train_stride": 30, "stride": 30, "learning_rate": 5e-3, "channel_norm": True,
}  # fmt: skip
_QUICK_SOURCE, _YOURS = "ours: --quick", "yours: --change"
# What sets the rows of the tables apart cannot be one value for all of them.
_OF_ROWS = ("attention_penalty", "penalty_unit")

_CAPTIONS = {
    "figure2": "Figure 2. Recognised clips: attention over time",
    "figure3": "Figure 3. Clips that were not recognised: attention over time",
    "figure4": "Figure 4. More recognised clips",
    "figure5": "Figure 5. More clips that were not recognised",
    "figure6": "Figure 6. The attention penalty: λ = 0 and λ = 1 on the same clips",
    "figure7": "Figure 7. Frame rates: the same clip at 6 fps and at the rate of Table 1, λ = 1",
}


@dataclass(frozen=True)
class Reproduction:
    """What was measured.

    Attributes:
        out: folder of everything.
        tables: the paper's tables, measured.
        figures: pictures of figures 2 to 7.
        cost: the estimate that was told before the start.
        page: a page of text with all of it.
    """

    out: Path
    tables: tuple[ResultTable, ...]
    figures: tuple[Path, ...]
    cost: Cost
    page: Path

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "out": str(self.out),
            "tables": {table.file: table.to_json() for table in self.tables},
            "figures": [str(file) for file in self.figures],
            "cost": self.cost.to_json(),
            "page": str(self.page),
        }

    def __str__(self) -> str:
        parts = [table.markdown() for table in self.tables]
        return "\n".join([*parts, f"written: {self.page}, tables/ and figures/ beside it"])


def reproduce(
    dataset: DatasetName,
    /,
    *,
    data: Path | None = None,
    out: Path,
    preset: PresetName = "paper",
    quick: bool = False,
    seeds: int | None = None,
    split: tuple[str, ...] = (),
    change: tuple[str, ...] = (),
    device: str = "cpu",
    store: Path | None = None,
    dry_run: bool = False,
) -> Reproduction | Cost:
    """Run the paper's experiments on one of its data sets and write its tables and figures.

    The four models of Table 1 and the attention model with lambda 0, 1 and 10, over several seeds
    and every split; Table 1 and, where the paper has one, Table 2, ours beside the paper's;
    figures 2 to 7. It tells what it will cost before it starts. Interrupted, the same call goes on.

    Args:
        dataset: which of the paper's data sets.
        data: where it lies, as its distributor ships it; see `glimpses download`. With `--quick`
            it may be left out: then a miniature of generated clips takes its place.
        out: folder for everything that is made.
        preset: the settings of the `paper`, or those of the `authors-code` where they differ.
        quick: the whole way in minutes: few clips of few classes, small models, six epochs, a
            backbone that needs no download. The numbers say nothing.
        seeds: how many trainings of each model on each split, with seeds from 0; 3 if not given,
            with `--quick` 1.
        split: which splits, by name; HMDB-51's three or the data set's first one if not given;
            `logo` means UCF-11's leave-one-group-out in 25 folds.
        change: settings to change, as in `--change backbone=efficientnet_lite0 --change stride=15`.
        device: "cpu" or "cuda".
        store: where features are kept; in the user's cache folder if not given.
        dry_run: tell what it would cost, and stop.

    Returns:
        What was measured; with `dry_run` what it would cost.

    Raises:
        GlimpsesError: the data cannot be used, a setting is none, or `out` holds other settings.
    """
    out = Path(out)
    seeds = seeds if seeds is not None else 1 if quick else 3
    if seeds < 1:
        raise GlimpsesError(f"--seeds {seeds}: must be at least 1")
    settings = _settings(dataset, preset, quick, change)
    for row in (*TABLE1, *PENALTIES, SLOW):
        options = train_options(settings, row)
        check_options(options.model, options.optim, seed=0, device=device)
    with TemporaryDirectory() as scratch:
        place = Path(scratch) if dry_run else out
        data = _data(dataset, data, quick, split, place)
        known = datasets.load(data, dataset)
        splits = _splits(known, split)
        # Of the model that both tables have, Table 1 knows what the paper reports.
        rows = {row.key: row for row in (*PENALTIES, *TABLE1)}
        plan = [
            (train_options(settings, row), name)
            for row in rows.values()
            for name in splits
            for _ in range(seeds)
        ]
        cost = estimate(known, [*plan, (train_options(settings, SLOW), splits[0])], device)
        log.info("%s: %s", TITLES[dataset], cost)
    if dry_run:
        return cost
    work = _Work(data, dataset, known, out, settings, device, store)
    scores = {
        key: {name: {seed: work.score(row, name, seed) for seed in range(seeds)} for name in splits}
        for key, row in rows.items()
    }
    measured = {
        key: MeasuredRow(row, scores[key], row.reported.get(dataset)) for key, row in rows.items()
    }
    warning = ["A miniature, made with --quick: these numbers say nothing."] if quick else []
    notes = [*warning, *_notes(work, splits, preset)]
    tables = (
        table1(dataset, [measured[row.key] for row in TABLE1], notes),
        penalty_table(
            dataset,
            [replace(measured[row.key], row=row, reported=None) for row in PENALTIES],
            warning,
        ),
        table2(dataset, measured["attention-0"], warning),
    )
    whole = tuple(table for table in tables if table is not None)
    for table in whole:
        table.write(out / "tables")
    drawn = _draw(work, splits[0])
    page = _write_page(out, dataset, whole, drawn, settings, cost)
    return Reproduction(out, whole, tuple(drawn), cost, page)


def _settings(
    dataset: DatasetName, name: PresetName, quick: bool, changes: Sequence[str]
) -> dict[str, Setting]:
    """The preset with what is changed in it, each value with its source."""
    settings = presets.preset(dataset, name)
    if quick:
        settings |= {key: Setting(value, _QUICK_SOURCE) for key, value in _QUICK.items()}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or key not in settings or key in _OF_ROWS:
            names = ", ".join(name for name in settings if name not in _OF_ROWS)
            raise GlimpsesError(f"--change {change}: write NAME=VALUE with one of {names}")
        settings[key] = Setting(_parsed(key, text, settings[key].value), _YOURS)
    if settings["patience"].source != _YOURS:
        # As many as there are epochs, whoever chose those.
        settings["patience"] = replace(settings["patience"], value=settings["epochs"].value)
    return settings


def _data(
    dataset: DatasetName, data: Path | None, quick: bool, asked: Sequence[str], place: Path
) -> Path:
    """Where the clips lie that are used: the whole set, a sample of it, or a miniature."""
    if data is None and not quick:
        raise GlimpsesError(
            f"no --data: give the folder of {TITLES[dataset]} (glimpses download {dataset} DIR "
            "fetches it), or --quick to try it on a miniature"
        )
    if data is None:
        return make_miniature(dataset, place / "miniature")
    if not Path(data).is_dir():
        raise GlimpsesError(f"{data}: no such folder; give the one that holds {TITLES[dataset]}")
    if not quick:
        return Path(data)
    whole = datasets.load(Path(data), dataset)
    return make_subset(whole, _splits(whole, asked), place / "sample")


def _parsed(key: str, text: str, before: Any) -> Any:
    """A value as it is written on a command line, of the kind that the setting's own value has."""
    if key in ("train_stride", "last_steps") and text == "none":
        return None
    kind = int if before is None else type(before)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        raise GlimpsesError(f"--change {key}={text}: must be like {before}") from error


def _splits(dataset: ActionDataset, asked: Sequence[str]) -> list[str]:
    """Names of the splits to use."""
    if not asked:
        return list(dataset.splits) if dataset.layout == "hmdb51" else list(dataset.splits)[:1]
    logo = [name for name in dataset.splits if name.startswith("group")]
    names = [name for one in asked for name in (logo if one == "logo" and logo else [one])]
    for name in names:
        if name not in dataset.splits:
            raise GlimpsesError(
                f"--split {name}: there is no such split; there are {', '.join(dataset.splits)}"
            )
    return list(dict.fromkeys(names))


class _Work:
    """Trains and tests models, each once: what is in the folder is not done again."""

    def __init__(
        self, data: Path, name: DatasetName, dataset: ActionDataset, out: Path,
        settings: Mapping[str, Setting], device: str, store: Path | None,
    ) -> None:  # fmt: skip
        self._data = data
        self._name = name
        self.dataset = dataset
        self.out = out
        self.settings = settings
        self._device = device
        self._store = store
        self._tests: dict[Path, Evaluation] = {}
        self._truths = {
            clip.id: tuple(dataset.classes[label] for label in clip.labels)
            for clip in dataset.clips
        }

    def score(self, row: Row, split: str, seed: int) -> float:
        """Score of a model on the test clips of a split, per cent."""
        return 100 * self.scores(self._train(row, split, seed)).value

    def scores(self, run: Path) -> ScoreRecord:
        """Return the test score of a run; computed again only if clips or labels changed."""
        size = len(read_config(run).clips["test"])
        for record in read_scores(run):
            if (record.data, record.subset) == (self._data.name, "test") and (
                record.n + record.skipped == size
                and all(self._truths.get(id) == names for id, names in record.labels.items())
            ):
                return record
        record = self._evaluate(run).scores.to_record(self._data.name)
        record_score(run, record)
        return record

    def test(self, row: Row, split: str) -> Evaluation:
        """Everything about a model's test, with the first seed."""
        run = self._train(row, split, 0)
        if run not in self._tests:
            self._tests[run] = self._evaluate(run)
        return self._tests[run]

    def run(self, row: Row, split: str, seed: int) -> Path:
        """Where a model is or will be."""
        return self.out / "runs" / split / f"{row.key}-seed{seed}"

    def _evaluate(self, run: Path) -> Evaluation:
        # The official test side as it is, even where a video of it also trains.
        return evaluate_clips(run, subset="test", feature_dir=self._store, device=self._device)

    def _train(self, row: Row, split: str, seed: int) -> Path:
        options = train_options(
            self.settings, row, layout=self._name, split=split, feature_dir=self._store
        )
        return train(
            self._data,
            out=self.run(row, split, seed),
            seed=seed,
            device=self._device,
            data=options.data,
            model=options.model,
            optim=options.optim,
        ).run


def _draw(work: _Work, split: str) -> list[Path]:
    """Figures 2 to 7, from the first seed on one split."""
    none, one = PENALTIES[:2]
    folder = work.out / "figures"
    plain, spread = work.test(none, split), work.test(one, split)
    slow = work.test(SLOW, split)
    fast = f"{spread.config.data.fps:g} fps"
    return [
        *figures.draw_classified_clips(plain, folder),
        *figures.draw_penalties([("λ = 0", plain), ("λ = 1", spread)], folder),
        *figures.draw_frame_rates([(f"{SLOW_FPS:g} fps", slow), (fast, spread)], folder),
    ]


def _notes(work: _Work, splits: Sequence[str], preset: PresetName) -> list[str]:
    """What a reader must know of the numbers."""
    dataset, settings = work.dataset, work.settings
    divided = [datasets.split(dataset, name) for name in splits]
    sizes = [(len(one.train), len(one.validation), len(one.test)) for one in divided]
    clips = "; ".join(
        f"{name}: {train} / {validation} / {test}"
        for name, (train, validation, test) in zip(splits, sizes, strict=True)
    )
    official = CLASSES[dataset.layout]
    notes = [
        f"{len(dataset.classes)} of the {official} classes. Clips for training / for choosing the "
        f"epoch / for testing, by split: {clips}. Those that choose are taken from the training "
        "side and train nothing.",
        f"Preset {preset}: backbone {settings['backbone'].value} at {settings['fps'].value:g} fps, "
        f"blocks of {settings['steps'].value} frames, stride "
        f"{settings['train_stride'].value or 'random'} in training and "
        f"{settings['stride'].value} in testing.",
    ]
    for name, (_, _, test) in zip(splits, sizes, strict=True):
        scored = work.scores(work.run(TABLE1[-1], name, 0))
        lacking = sorted(set(dataset.classes) - scored.per_class.keys())
        if scored.n < test:
            notes.append(f"Split {name}: {test - scored.n} test clips could not be read.")
        if lacking:
            notes.append(f"Split {name} tests no clip of {', '.join(lacking)}.")
    if dataset.layout == "ucf11" and "paper" in splits:
        whole = sizes[splits.index("paper")]
        same = (whole[0] + whole[1], whole[2]) == (975, 625)
        notes.append(
            "The authors' list of 975 / 625 clips is not public; split `paper` "
            + ("has as many on either side, divided by whole groups." if same else
               "divides by whole groups, and has as many on either side when all clips are there.")
        )  # fmt: skip
    changed = [key for key, setting in settings.items() if setting.source == _YOURS]
    if changed:
        values = ", ".join(f"{key} = {settings[key].value}" for key in changed)
        notes.append(f"Not as in the preset: {values}.")
    return notes


def _write_page(
    out: Path,
    dataset: DatasetName,
    tables: Sequence[ResultTable],
    drawn: Sequence[Path],
    settings: Mapping[str, Setting],
    cost: Cost,
) -> Path:
    """One page of Markdown with tables, figures and the source of every setting."""
    lines = [f"# The paper's experiments on {TITLES[dataset]}", ""]
    for table in tables:
        lines += [table.markdown(), f"![{table.title}](tables/{table.file}.png)", ""]
    for file in drawn:
        lines += [f"## {_CAPTIONS[file.stem]}", "", f"![{file.stem}](figures/{file.name})", ""]
    lines += ["## Settings", "", "| setting | value | source |", "| --- | --- | --- |"]
    lines += [f"| {key} | {one.value} | {one.source} |" for key, one in settings.items()]
    lines += ["", f"Cost, estimated before the start: {cost}.", ""]
    page = out / "README.md"
    with atomic_write(page) as part:
        part.write_text("\n".join(lines), encoding="utf-8")
    return page
