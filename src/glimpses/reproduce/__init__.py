"""The paper's experiments with one command: `glimpses reproduce ucf11 --data DIR --out DIR`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glimpses import allocator, datasets
from glimpses.datasets import ActionDataset, hollywood2, miniature
from glimpses.errors import GlimpsesError
from glimpses.evaluation import Evaluation, evaluate_clips
from glimpses.files import replacing
from glimpses.reproduce import figures, presets
from glimpses.reproduce.cost import Cost, estimate
from glimpses.reproduce.paper import PENALTIES, SLOW, SLOW_FPS, TABLE1, TITLES, Name, Row
from glimpses.reproduce.presets import PresetName, Setting, arguments
from glimpses.reproduce.tables import Measured, Table, penalty_table, table1, table2
from glimpses.training import train

__all__ = ["Reproduction", "reproduce"]

log = logging.getLogger(__name__)

# A miniature of the protocol: enough to see every part of it work, too little to learn much.
_QUICK: Mapping[str, Any] = {
    "backbone": "efficientnet_lite0:16:7", "hidden": 32, "batch": 8, "epochs": 6,
    "train_stride": 30, "stride": 30, "learning_rate": 5e-3, "standardise": True,
}  # fmt: skip
_QUICK_SOURCE = "ours: --quick"
# Of a large data set, what --quick looks at: classes, and clips of each on either side of a split.
_QUICK_CLASSES, _QUICK_TRAIN, _QUICK_TEST = 4, 5, 2

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
    tables: tuple[Table, ...]
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
    dataset: Name,
    /,
    *,
    data: Path | None = None,
    out: Path,
    preset: PresetName = "paper",
    quick: bool = False,
    seeds: int = 3,
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
        quick: the whole way in minutes: few clips of few classes, small models, six epochs, one
            seed, a backbone that needs no download. The numbers say nothing.
        seeds: how many trainings of each model on each split, with seeds from 0.
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
    if seeds < 1:
        raise GlimpsesError(f"--seeds {seeds}: must be at least 1")
    settings = _settings(dataset, preset, quick, change)
    if data is None and not quick:
        raise GlimpsesError(
            f"no --data: give the folder of {TITLES[dataset]} (glimpses download {dataset} DIR "
            "fetches it), or --quick to try it on a miniature"
        )
    allocator.keep_freed_memory()
    if data is None:
        data = miniature.make(dataset, out / "miniature")
    elif quick:
        data = _sample(datasets.load(Path(data), dataset), split, out / "sample")
    known = datasets.load(Path(data), dataset)
    splits = _splits(known, split)
    seeds = 1 if quick else seeds
    # Of the model that both tables have, Table 1 knows what the paper reports.
    rows = {row.key: row for row in (*PENALTIES, *TABLE1)}
    plan = [arguments(settings, row) for row in rows.values() for _ in range(seeds)]
    cost = estimate(known, splits, [*plan, arguments(settings, SLOW)], device)
    log.info("%s: %s", TITLES[dataset], cost)
    if dry_run:
        return cost
    work = _Work(Path(data), dataset, out, settings, device, store)
    scores = {
        key: {name: {seed: work.score(row, name, seed) for seed in range(seeds)} for name in splits}
        for key, row in rows.items()
    }
    measured = {
        key: Measured(row, scores[key], row.reported.get(dataset)) for key, row in rows.items()
    }
    notes = _notes(known, splits, settings, quick)
    tables = (
        table1(dataset, [measured[row.key] for row in TABLE1], notes),
        penalty_table(
            dataset, [replace(measured[row.key], row=row, reported=None) for row in PENALTIES]
        ),
        table2(dataset, measured["attention-0"]),
    )
    whole = tuple(table for table in tables if table is not None)
    for table in whole:
        table.write(out / "tables")
    drawn = _draw(work, splits[0])
    page = _write_page(out, dataset, whole, drawn, settings, cost)
    return Reproduction(out, whole, tuple(drawn), cost, page)


def _settings(
    dataset: Name, name: PresetName, quick: bool, changes: Sequence[str]
) -> dict[str, Setting]:
    """The preset with what is changed in it, each value with its source."""
    settings = presets.preset(dataset, name)
    if quick:
        settings |= {key: Setting(value, _QUICK_SOURCE) for key, value in _QUICK.items()}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or key not in settings:
            raise GlimpsesError(
                f"--change {change}: write NAME=VALUE with one of {', '.join(settings)}"
            )
        settings[key] = Setting(_parsed(key, text, settings[key].value), "yours: --change")
    return settings


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


def _sample(dataset: ActionDataset, asked: Sequence[str], out: Path) -> Path:
    """A small part of a data set in a folder of its own, with what its lists say of it."""
    chosen: set[str] = set()
    shown = {label for clip in dataset.clips for label in clip.labels}
    classes = sorted(shown)[:_QUICK_CLASSES]
    for name in _splits(dataset, asked):
        sides = dataset.splits[name]
        for label in classes:
            for side, most in (("train", _QUICK_TRAIN), ("test", _QUICK_TEST)):
                own = [c for c in dataset.clips if label in c.labels and c.id in sides[side]]
                # One clip of each source, as far as there are enough sources.
                firsts = {clip.group: clip for clip in reversed(own)}
                spread = [*firsts.values(), *(c for c in own if c not in firsts.values())]
                chosen |= {clip.id for clip in spread[:most]}
    for clip in dataset.clips:
        link = out / clip.path.relative_to(dataset.root)
        if clip.id in chosen and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(clip.path.resolve())
    names = tuple(Path(id).stem for id in chosen)
    for file in dataset.lists:
        # A name with "split" in it is found for HMDB-51; Hollywood2 wants its own.
        folder = hollywood2.LISTS if dataset.layout == "hollywood2" else "splits"
        lines = file.read_text(encoding="utf-8-sig").splitlines(keepends=True)
        with replacing(out / folder / file.name) as part:
            part.write_text("".join(line for line in lines if line.lstrip().startswith(names)))
    return out


class _Work:
    """Trains and tests models, each once: what is in the folder is not done again."""

    def __init__(
        self, data: Path, dataset: Name, out: Path, settings: Mapping[str, Setting],
        device: str, store: Path | None,
    ) -> None:  # fmt: skip
        self._data = data
        self._dataset = dataset
        self.out = out
        self._settings = settings
        self._device = device
        self._store = store
        self._tests: dict[Path, Evaluation] = {}

    def score(self, row: Row, split: str, seed: int) -> float:
        """Score of a model on the test clips of a split, per cent."""
        run = self._train(row, split, seed)
        file = run / "scores.json"
        if not file.exists():
            scores = self._evaluate(run).scores
            with replacing(file) as part:
                part.write_text(json.dumps(scores.to_json()))
        known = json.loads(file.read_text())
        return 100 * float(known.get("accuracy", known.get("mAP")))

    def test(self, row: Row, split: str) -> Evaluation:
        """Everything about a model's test, with the first seed."""
        run = self._train(row, split, 0)
        if run not in self._tests:
            self._tests[run] = self._evaluate(run)
        return self._tests[run]

    def _evaluate(self, run: Path) -> Evaluation:
        # The official test side as it is, even where a video of it also trains.
        return evaluate_clips(run, side="test", store=self._store, device=self._device)

    def _train(self, row: Row, split: str, seed: int) -> Path:
        run = self.out / "runs" / split / f"{row.key}-seed{seed}"
        return train(
            self._data,
            out=run,
            layout=self._dataset,
            split=split,
            seed=seed,
            device=self._device,
            store=self._store,
            **arguments(self._settings, row),
        ).run


def _draw(work: _Work, split: str) -> list[Path]:
    """Figures 2 to 7, from the first seed on one split."""
    none, one = PENALTIES[:2]
    folder = work.out / "figures"
    plain, spread = work.test(none, split), work.test(one, split)
    slow = work.test(SLOW, split)
    fast = f"{spread.config.fps:g} fps"
    return [
        *figures.right_and_wrong(plain, folder),
        *figures.penalty([("λ = 0", plain), ("λ = 1", spread)], folder),
        *figures.frame_rate([(f"{SLOW_FPS:g} fps", slow), (fast, spread)], folder),
    ]


def _notes(
    dataset: ActionDataset, splits: Sequence[str], settings: Mapping[str, Setting], quick: bool
) -> list[str]:
    """What a reader must know of the numbers."""
    sides = [dataset.splits[name] for name in splits]
    clips = ", ".join(
        f"{name}: {len(side['train'])} / {len(side['test'])}"
        for name, side in zip(splits, sides, strict=True)
    )
    notes = [
        f"Clips for training / testing by split: {clips}. A sixth of the sources in training "
        "choose the epoch and train nothing.",
        f"Backbone {settings['backbone'].value} at {settings['fps'].value:g} fps, blocks of "
        f"{settings['steps'].value} frames, stride {settings['train_stride'].value or 'random'} in "
        f"training and {settings['stride'].value} in testing.",
    ]
    if dataset.layout == "ucf11" and "paper" in splits:
        notes.append(
            "The authors' list of 975 / 625 clips is not public; split `paper` has as many on "
            "either side, divided by whole groups."
        )
    changed = [key for key, setting in settings.items() if setting.source.startswith("yours")]
    if changed:
        values = ", ".join(f"{key} = {settings[key].value}" for key in changed)
        notes.append(f"Not as in the preset: {values}.")
    if quick:
        notes.insert(0, "A miniature, made with --quick: these numbers say nothing.")
    return notes


def _write_page(
    out: Path,
    dataset: Name,
    tables: Sequence[Table],
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
    with replacing(page) as part:
        part.write_text("\n".join(lines), encoding="utf-8")
    return page
