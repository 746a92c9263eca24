"""The `reproduce` command: the paper's experiments on one data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from glimpses import backbones, datasets
from glimpses.datasets import ActionDataset
from glimpses.datasets.synthetic import make_miniature
from glimpses.evaluation import Evaluation, evaluate_clips
from glimpses.reproduce import figures
from glimpses.reproduce.cost import CostEstimate, estimate_cost
from glimpses.reproduce.paper import NUM_CLASSES, PENALTIES, SLOW, TABLE1, TITLES, DatasetName, Row
from glimpses.reproduce.pointing import pointing_table
from glimpses.reproduce.presets import Preset, PresetName, load_preset
from glimpses.reproduce.subset import make_subset
from glimpses.reproduce.tables import MeasuredRow, ResultTable, penalty_table, table1, table2
from glimpses.runs import ScoreRecord, read_config, read_scores
from glimpses.runs.model_card import record_score
from glimpses.training import check_options, train
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Group

log = logging.getLogger(__name__)

# Options of `--quick`: small models that learn the actions of a miniature in seconds. They read
# motion, without which so few clips do not suffice, and 10 fps, the rate of the generated clips.
_QUICK: Mapping[str, Any] = {
    "backbone": "efficientnet_lite0:16:7", "fps": 10.0, "hidden_size": 64, "num_layers": 1,
    "motion": True, "batch_size": 8, "epochs": 24, "train_stride": 30, "stride": 30,
    "optimizer": "adam", "learning_rate": 2e-3, "channel_norm": True, "checkpoint": "last",
}  # fmt: skip
# Training clips of each class that a miniature has in addition.
_QUICK_CLIPS = 8
_QUICK_SOURCE, _USER_SOURCE = "--quick", "--set"
# Options for which `--set NAME=none` means no value.
_OPTIONAL = ("train_stride", "last_steps", "patience")

_CAPTIONS = {
    "figure2": "Figure 2. Attention over time in correctly classified clips",
    "figure3": "Figure 3. Attention over time in misclassified clips",
    "figure4": "Figure 4. More correctly classified clips",
    "figure5": "Figure 5. More misclassified clips",
    "figure6": "Figure 6. Attention penalty: the same clips with λ = 0 and λ = 1",
    "figure7": "Figure 7. Frame rate: the same clip at 6 fps and at the rate of Table 1, λ = 1",
}


@dataclass(frozen=True)
class Reproduction:
    """Measured tables and figures of the paper.

    Attributes:
        out: folder that holds everything.
        tables: tables with measured and reported scores.
        figures: image files of figures 2 to 7.
        cost: cost as estimated before the start.
        page: Markdown page with all results.
    """

    out: Path
    tables: tuple[ResultTable, ...]
    figures: tuple[Path, ...]
    cost: CostEstimate
    page: Path

    def to_json(self) -> dict[str, Any]:
        """Return the results in a form that JSON can hold."""
        return {
            "out": str(self.out),
            "tables": {table.file: table.to_json() for table in self.tables},
            "figures": [str(file) for file in self.figures],
            "cost": self.cost.to_json(),
            "page": str(self.page),
        }

    def __rich__(self) -> Group:
        from rich.console import Group

        parts: list[Any] = []
        for table in self.tables:
            notes = (note.replace("`", "") for note in table.notes)
            parts += [table.rich_table(), *(f"• {note}" for note in notes), ""]
        return Group(*parts, f"written: {self.page}, with tables/ and figures/ beside it")


def reproduce(
    dataset: DatasetName,
    /,
    *,
    data: str | Path | None = None,
    out: str | Path,
    preset: PresetName = "paper",
    quick: bool = False,
    seeds: int | None = None,
    split: tuple[str, ...] = (),
    set: tuple[str, ...] = (),
    device: str = "cpu",
    feature_dir: str | Path | None = None,
    dry_run: bool = False,
) -> Reproduction | CostEstimate:
    """Run the paper's experiments on one data set and write its tables and figures.

    The experiments are the four models of Table 1 and the attention model with lambda = 0, 1 and
    10, with several seeds on every split. The results are Table 1 and Table 2 (if the paper has it
    for the data set) with measured and reported scores, and figures 2 to 7. The command estimates
    its cost before it starts. If you interrupt it, the same command continues where it stopped.

    Args:
        dataset: one of the paper's data sets, or J-HMDB, which has masks of the actor.
        data: folder of the data set as its distributor ships it; see `glimpses download`. With
            `--quick` you can leave it out and use a miniature of generated clips.
        out: folder for everything that the command writes.
        preset: options of the `paper`, or of the `authors-code` where the two differ.
        quick: run everything in minutes with few clips and classes, small models that also read
            motion, and a backbone that needs no download. The scores cannot be compared with the
            paper's.
        seeds: number of trainings of each model on each split, with seeds from 0; by default 3, or
            1 with `--quick`.
        split: names of the splits; by default all three of HMDB-51 and J-HMDB, and the first of
            the others. `folds` divides by recording, differently for every seed.
            `logo` is UCF-11's leave-one-group-out in 25 folds.
        set: options to change, as in `--set backbone=efficientnet_lite0 --set stride=15`.
        device: "cpu" or "cuda".
        feature_dir: folder of stored features; by default in the user's cache folder.
        dry_run: estimate the cost and stop.

    Raises:
        GlimpsesError: the data or an option cannot be used, or `out` has results of other options.
    """
    out, data = Path(out), None if data is None else Path(data)
    seeds = seeds if seeds is not None else 1 if quick else 3
    if seeds < 1:
        raise GlimpsesError(f"--seeds {seeds}: must be at least 1")
    settings = _settings(dataset, preset, quick, set)
    # Table 1 comes last: its row of a model that both tables have holds the reported score.
    rows = {row.key: row for row in (*PENALTIES, *TABLE1)}
    for row in (*rows.values(), SLOW):
        options = settings.for_row(row)
        check_options(options.model, options.optim, seed=0, device=device)
    _check_backbone(settings.data.backbone, device)
    with TemporaryDirectory() as scratch:
        folder = _prepare_data(dataset, data, quick, split, Path(scratch) if dry_run else out)
        loaded = _load(folder, dataset)
        splits = _split_names(loaded, split)
        plan = [(settings.for_row(row), name) for row in rows.values() for name in splits] * seeds
        cost = estimate_cost(loaded, [*plan, (settings.for_row(SLOW), splits[0])], device)
        log.info("%s: %s", TITLES[dataset], cost)
    if dry_run:
        return cost
    runner = _Runner(
        data=folder, name=dataset, dataset=loaded, out=out, settings=settings, device=device,
        feature_dir=None if feature_dir is None else Path(feature_dir),
    )  # fmt: skip
    measured = {key: runner.measure(row, splits, seeds) for key, row in rows.items()}
    miniature = "A miniature, made with --quick: its scores cannot be compared with the paper's."
    warning = [miniature] if quick else []
    penalty_rows = [replace(measured[row.key], row=row, reported=None) for row in PENALTIES]
    notes = [*warning, *_notes(runner, splits, preset)]
    all_tables = (
        table1(dataset, [measured[row.key] for row in TABLE1], notes),
        penalty_table(dataset, penalty_rows, warning),
        table2(dataset, measured["attention-0"], warning),
        _pointing_table(runner, splits),
    )
    tables = tuple(table for table in all_tables if table is not None)
    for table in tables:
        table.write(out / "tables")
    drawn = _draw_figures(runner, splits[0])
    page = _write_page(out, dataset, tables, drawn, settings, cost)
    return Reproduction(out, tables, tuple(drawn), cost, page)


def _settings(
    dataset: DatasetName, preset_name: PresetName, quick: bool, changes: Sequence[str]
) -> Preset:
    """Return the preset with the changes of `--quick` and `--set`."""
    preset = load_preset(dataset, preset_name)
    if quick:
        preset = preset.replace(_QUICK_SOURCE, **_QUICK)
    options = preset.options()
    values = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or name not in options:
            names = ", ".join(options)
            raise GlimpsesError(f"--set {change}: write NAME=VALUE with one of {names}")
        values[name] = _parse(name, text, options[name])
    # All at once, because the limits of some options depend on others.
    return preset.replace(_USER_SOURCE, **values)


def _check_backbone(spec: str, device: str) -> None:
    """Load the backbone before any work is done, because its weights may be missing.

    Raises:
        GlimpsesError: it cannot be loaded.
    """
    try:
        backbones.load(spec, device=device)
    except GlimpsesError as error:
        if spec == _QUICK["backbone"]:
            raise
        raise GlimpsesError(
            f"{error}; or use a network whose weights are installed, with "
            "--set backbone=efficientnet_lite0"
        ) from error


def _parse(option: str, text: str, present: Any) -> Any:
    """Convert the text of a value to the type of the option's present value."""
    if option in _OPTIONAL and text == "none":
        return None
    kind = int if present is None else type(present)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        raise GlimpsesError(f"--set {option}={text}: must be a value like {present}") from error


def _prepare_data(
    dataset: DatasetName, data: Path | None, quick: bool, splits: Sequence[str], out: Path
) -> Path:
    """Return the folder of the clips: the whole data set, a subset, or generated clips."""
    if data is None and not quick:
        raise GlimpsesError(
            f"no --data: give the folder of {TITLES[dataset]} (glimpses download {dataset} DIR "
            "downloads it), or try a miniature with --quick"
        )
    if data is None:
        return make_miniature(dataset, out / "miniature", extra=_QUICK_CLIPS)
    if not data.is_dir():
        raise GlimpsesError(f"{data}: no such folder; give the folder of {TITLES[dataset]}")
    if not quick:
        return data
    loaded = _load(data, dataset)
    return make_subset(loaded, _split_names(loaded, splits), out / "subset")


def _load(data: Path, dataset: DatasetName) -> ActionDataset:
    """Read a data set in its official layout; J-HMDB also from folders of classes."""
    is_plain = dataset == "jhmdb" and not datasets.LAYOUTS[dataset].matches(data)
    return datasets.load(data, "auto" if is_plain else dataset)


def _split_names(dataset: ActionDataset, names: Sequence[str]) -> list[str]:
    """Return the splits to use: the named ones, or the default of the data set."""
    if not names:
        official = list(dataset.splits)
        return official if dataset.layout in ("hmdb51", "jhmdb") else official[:1] or ["folds"]
    groups = [name for name in dataset.splits if name.startswith("group")]
    expanded = [n for name in names for n in (groups if name == "logo" and groups else [name])]
    for name in expanded:
        if name not in (*dataset.splits, "folds"):
            available = ", ".join(dataset.splits)
            raise GlimpsesError(f"--split {name}: no such split; there are {available}")
    return list(dict.fromkeys(expanded))


@dataclass
class _Runner:
    """Trainer and tester of the models, which keeps what is already in the folder."""

    data: Path
    name: DatasetName
    dataset: ActionDataset
    out: Path
    settings: Preset
    device: str
    feature_dir: Path | None

    def __post_init__(self) -> None:
        self._evaluations: dict[Path, Evaluation] = {}
        classes = self.dataset.classes
        self._labels = {
            clip.id: tuple(classes[label] for label in clip.labels) for clip in self.dataset.clips
        }

    def run_folder(self, row: Row, split: str, seed: int) -> Path:
        """Return the folder of a model's run."""
        return self.out / "runs" / split / f"{row.key}-seed{seed}"

    def measure(self, row: Row, splits: Sequence[str], seeds: int) -> MeasuredRow:
        """Return the scores of a model on the test clips of splits, in per cent."""
        records = {
            name: {seed: self.scores(self._train(row, name, seed)) for seed in range(seeds)}
            for name in splits
        }
        scores = {
            name: {seed: 100 * record.value for seed, record in by_seed.items()}
            for name, by_seed in records.items()
        }
        headlines = [
            record.measures[record.metric].interval
            for by_seed in records.values()
            for record in by_seed.values()
        ]
        intervals = [interval for interval in headlines if interval is not None]
        low_high = None
        if len(intervals) == len(headlines):
            low, high = zip(*intervals, strict=True)
            low_high = 100 * mean(low), 100 * mean(high)
        return MeasuredRow(row, scores, row.reported.get(self.name), low_high)

    def scores(self, run: Path) -> ScoreRecord:
        """Return the scores of a run; evaluate it only if its clips or labels have changed."""
        num_clips = len(read_config(run).clips["test"])
        for record in read_scores(run):
            if (
                (record.data, record.subset) == (self.data.name, "test")
                and record.n + record.skipped == num_clips
                and all(self._labels.get(clip) == names for clip, names in record.labels.items())
            ):
                return record
        record = self._evaluate(run).scores.to_record(self.data.name)
        record_score(run, record)
        return record

    def evaluation(self, row: Row, split: str) -> Evaluation:
        """Return the evaluation of a model with the first seed."""
        run = self._train(row, split, seed=0)
        if run not in self._evaluations:
            self._evaluations[run] = self._evaluate(run)
        return self._evaluations[run]

    def _evaluate(self, run: Path) -> Evaluation:
        # The official test subset is used as it is, even if it repeats a training video.
        return evaluate_clips(run, subset="test", feature_dir=self.feature_dir, device=self.device)

    def _train(self, row: Row, split: str, seed: int) -> Path:
        options = self.settings.for_row(row)
        data = replace(
            options.data, layout=self.dataset.layout, split=split, feature_dir=self.feature_dir
        )
        return train(
            self.data, out=self.run_folder(row, split, seed), recipe="standard", data=data,
            model=options.model, optim=options.optim, seed=seed, device=self.device,
        ).run  # fmt: skip


def _pointing_table(runner: _Runner, splits: Sequence[str]) -> ResultTable | None:
    """Compare attention with annotations, if there are any, for the first seed."""
    if not any(clip.annotation for clip in runner.dataset.clips):
        return None
    tests = {name: [(row, runner.evaluation(row, name)) for row in PENALTIES] for name in splits}
    return pointing_table(runner.name, tests)


def _draw_figures(runner: _Runner, split: str) -> list[Path]:
    """Draw figures 2 to 7 with the first seed on one split."""
    folder = runner.out / "figures"
    without_penalty, with_penalty = (runner.evaluation(row, split) for row in PENALTIES[:2])
    slow = runner.evaluation(SLOW, split)
    frame_rates = [(f"{test.config.data.fps:g} fps", test) for test in (slow, with_penalty)]
    return [
        *figures.draw_classified_clips(without_penalty, folder),
        *figures.draw_penalties([("λ = 0", without_penalty), ("λ = 1", with_penalty)], folder),
        *figures.draw_frame_rates(frame_rates, folder),
    ]


def _notes(runner: _Runner, split_names: Sequence[str], preset: PresetName) -> list[str]:
    """Return the notes on Table 1: classes, clips, options and exceptions."""
    dataset, data = runner.dataset, runner.settings.data
    splits = {name: datasets.split(dataset, name) for name in split_names}
    sizes = "; ".join(
        f"{name}: {len(split.train)} / {len(split.validation)} / {len(split.test)}"
        for name, split in splits.items()
    )
    best = runner.settings.optim.checkpoint == "best"
    purpose = "choose the epoch" if best else "do not choose the epoch; the last one is kept"
    notes = [
        f"{len(dataset.classes)} of the {NUM_CLASSES[runner.name]} classes. Clips for training "
        f"/ validation / test, by split: {sizes}. Validation clips {purpose}. They come from the "
        "training subset and are not used for training.",
        f"Preset {preset}: backbone {data.backbone} at {data.fps:g} fps, blocks of "
        f"{data.block_length} frames, stride {data.train_stride or 'random'} in training and "
        f"{data.block_stride} in testing.",
    ]
    for name, split in splits.items():
        scores = runner.scores(runner.run_folder(TABLE1[-1], name, seed=0))
        untested = sorted({*dataset.classes} - scores.per_class.keys())
        if scores.measures[scores.metric].interval is None:
            meaning = "too few recordings for an interval"
        else:
            meaning = "the interval, averaged over seeds, is over recordings"
        notes.append(f"Split {name}: {scores.sample}; {meaning}. Baseline: {scores.baselines}.")
        if scores.n < len(split.test):
            unreadable = len(split.test) - scores.n
            notes.append(f"Split {name}: {unreadable} test clips could not be read.")
        if untested:
            notes.append(f"Split {name} has no test clip of {', '.join(untested)}.")
    if dataset.layout == "ucf11" and "paper" in splits:
        split = splits["paper"]
        complete = (len(split.train) + len(split.validation), len(split.test)) == (975, 625)
        notes.append(
            "The authors' list of 975 / 625 clips is not public. Split `paper` divides the clips "
            "by whole groups"
            + (" and has the same sizes." if complete else
               " and has the same sizes if all clips are present.")
        )  # fmt: skip
    sources, options = runner.settings.sources, runner.settings.options()
    changed = [f"{name} = {options[name]}" for name in options if sources[name] == _USER_SOURCE]
    if changed:
        notes.append(f"Changed from the preset: {', '.join(changed)}.")
    return notes


def _write_page(
    out: Path,
    dataset: DatasetName,
    tables: Sequence[ResultTable],
    drawn: Sequence[Path],
    settings: Preset,
    cost: CostEstimate,
) -> Path:
    """Write a Markdown page with tables, figures and the source of every option."""
    lines = [f"# The paper's experiments on {TITLES[dataset]}", ""]
    for table in tables:
        lines += [table.markdown(), f"![{table.title}](tables/{table.file}.png)", ""]
    for file in drawn:
        lines += [f"## {_CAPTIONS[file.stem]}", "", f"![{file.stem}](figures/{file.name})", ""]
    lines += ["## Options", "", "| option | value | source |", "| --- | --- | --- |"]
    for name, value in settings.options().items():
        lines.append(f"| {name} | {value} | {settings.sources[name]} |")
    lines += ["", f"Cost as estimated before the start: {cost}.", ""]
    page = out / "README.md"
    with atomic_write(page) as part:
        part.write_text("\n".join(lines), encoding="utf-8")
    return page
