"""Folders of damaged files beside good ones, through every command that reads clips."""

from __future__ import annotations

import csv
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.torture.commands import Outcome, problems
from tests.torture.lab import BACKBONE, TRAINING, Lab, Result, steps
from tests.torture.mutations import mutate

_EXTRACTION = ("--backbone", BACKBONE, "--fps", "5", "--feature-dir", "store")
# Seconds that a command may take in addition to some for each file.
_START, _EACH = 90.0, 1.5

_Check = Callable[[Outcome, set[str], set[str], Path], list[str]]


def damaged_files(lab: Lab) -> Iterator[Result]:
    """Run every command on folders of damaged files, and find the file behind each failure."""
    for count in steps(lab.short, 24, 200):
        folder = lab.new_folder("fuzz")
        names = _write_files(lab, folder, count)
        failed = set()
        for name, (arguments, _) in _COMMANDS.items():
            if lab.short and name not in ("check", "predict"):
                continue
            reasons, outcome = _try(lab, folder, name, names)
            if reasons:
                culprits, reasons, outcome = _reduce(lab, folder, name, names, reasons, outcome)
                failed |= culprits
                inputs = _subset(lab, folder, "reduced", culprits)
                lab.fail(f"damaged-{arguments[0]}", reasons, inputs / "clips", outcome)
        yield Result(count, len(failed))


def _write_files(lab: Lab, folder: Path, count: int) -> list[str]:
    """Copy the good clips and write damaged files beside them; return the names of these."""
    shutil.copytree(lab.clips, folder / "clips")
    contents, seen, names = list(lab.seeds.items()), set(), []
    groups = (lab.clips / "groups.csv").read_text().splitlines()
    while len(names) < count:
        name, content = contents[lab.rng.integers(len(contents))]
        damaged = mutate(content, lab.rng, list(lab.seeds.values()))
        if damaged not in seen:
            seen.add(damaged)
            label = ("back", "forth")[len(names) % 2]
            names.append(f"{label}/{len(names):04}-{name}")
            (folder / "clips" / names[-1]).write_bytes(damaged)
            groups.append(f"{names[-1]},good-{len(names) % 5}")
    (folder / "clips" / "groups.csv").write_text("\n".join([*groups, ""]))
    return names


def _subset(lab: Lab, folder: Path, name: str, names: set[str]) -> Path:
    """Return a folder with the good clips and some of the damaged files."""
    part = lab.new_folder(name)
    shutil.copytree(lab.clips, part / "clips")
    groups = (lab.clips / "groups.csv").read_text()
    for index, file in enumerate(sorted(names)):
        shutil.copy2(folder / "clips" / file, part / "clips" / file)
        groups += f"{file},good-{index % 5}\n"
    (part / "clips" / "groups.csv").write_text(groups)
    return part


def _try(lab: Lab, folder: Path, name: str, damaged: Sequence[str]) -> tuple[list[str], Outcome]:
    """Run one command on a folder; return what is wrong with its results."""
    arguments, check = _COMMANDS[name]
    cache = folder / "cache"
    if not cache.exists():
        lab.copy_cache(folder)
        shutil.copytree(lab.trained, folder / "run")
    timeout = _START + _EACH * len(damaged)
    outcome = lab.run(arguments, folder, timeout, cache=cache)
    reasons = problems(outcome)
    if not reasons:
        good = {f"{clip.parent.name}/{clip.name}" for clip in lab.clips.glob("*/*.mp4")}
        try:
            reasons = check(outcome, good, set(damaged), folder)
        except (ValueError, KeyError, TypeError, OSError) as error:
            reasons = [f"results are damaged ({type(error).__name__}: {error})"]
    return reasons, outcome


def _reduce(
    lab: Lab, folder: Path, name: str, names: Sequence[str], reasons: list[str], outcome: Outcome
) -> tuple[set[str], list[str], Outcome]:
    """Halve the damaged files as long as a half alone fails; return those that are left."""
    left, size = list(names), len(names)
    while size > 1:
        size = (len(left) + 1) // 2
        for half in (left[:size], left[size:]):
            if not half or half == left:
                continue
            part = _subset(lab, folder, "half", set(half))
            half_reasons, half_outcome = _try(lab, part, name, half)
            if half_reasons:
                left, reasons, outcome = half, half_reasons, half_outcome
                break
        else:
            break
    return set(left), reasons, outcome


def _check_check(outcome: Outcome, good: set[str], bad: set[str], folder: Path) -> list[str]:
    clips = {clip["clip"]: clip["problem"] for clip in outcome.json()["clips"]}
    return _compare(good, bad, set(clips), {name for name in clips if clips[name]})


def _check_extract(outcome: Outcome, good: set[str], bad: set[str], folder: Path) -> list[str]:
    result = outcome.json()
    wrong = _compare(good, bad, {*result["clips"], *result["failures"]}, set(result["failures"]))
    return wrong + _check_lines(outcome, result["failures"])


def _check_table(outcome: Outcome, good: set[str], bad: set[str], folder: Path) -> list[str]:
    with (folder / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    failures = {row["video"] for row in rows if row["error"]}
    wrong = _compare(good, bad, {row["video"] for row in rows}, failures)
    numbers = [row[name] for row in rows for name in ("p_back", "p_forth") if not row["error"]]
    if not all(math.isfinite(float(number)) for number in numbers):
        wrong.append("has probabilities that are not finite")
    return wrong + _check_lines(outcome, failures)


def _check_predict(outcome: Outcome, good: set[str], bad: set[str], folder: Path) -> list[str]:
    result = outcome.json()
    names = {row["video"].removeprefix("clips/") for row in result["predictions"]}
    failures = {line.removeprefix("clips/").partition(": ")[0] for line in result["failures"]}
    return _compare(good, bad, names | failures, failures) + _check_lines(outcome, failures)


def _check_train(outcome: Outcome, good: set[str], bad: set[str], folder: Path) -> list[str]:
    if not (folder / "new" / "model.safetensors").exists():
        return [f"trained no model: {outcome.error[-300:]}"]
    return []


def _check_evaluate(outcome: Outcome, good: set[str], bad: set[str], folder: Path) -> list[str]:
    result = outcome.json()
    clips, skipped = {clip["id"] for clip in result["clips"]}, set(result["skipped"])
    return _compare(good, bad, clips | skipped, skipped) + _check_lines(outcome, skipped)


def _compare(good: set[str], bad: set[str], listed: set[str], failed: set[str]) -> list[str]:
    wrong = []
    if missing := (good | bad) - listed:
        wrong.append(f"lists nothing about {sorted(missing)[:5]}")
    if extra := listed - good - bad:
        wrong.append(f"lists unknown {sorted(extra)[:5]}")
    if lost := good & failed:
        wrong.append(f"fails on good {sorted(lost)[:5]}")
    return wrong


def _check_lines(outcome: Outcome, failures: Sequence[str] | set[str]) -> list[str]:
    """Check that each clip that failed is named in one line, or again at the end."""
    words = [line.split(": ")[:2] for line in outcome.error_lines()]
    counts = Counter((kind, clip.removeprefix("clips/")) for kind, clip in words)
    wrong = []
    for name in sorted(failures):
        times = counts["warning", name], counts["error", name]
        if max(times) != 1:
            wrong.append(f"names {name} in {times[0]} warnings and {times[1]} errors")
    return wrong[:5]


_COMMANDS: dict[str, tuple[tuple[str, ...], _Check]] = {
    "check": (("check", "clips", "--json"), _check_check),
    "predict": (("predict", "run", "clips", "--json"), _check_predict),
    "extract": (("extract", "clips", "--json", *_EXTRACTION), _check_extract),
    "train": (
        ("train", "clips", "--out", "new", *TRAINING, "--epochs", "1", "--feature-dir", "store"),
        _check_train,
    ),
    "evaluate": (
        ("evaluate", "run", "--data", "clips", "--subset", "all", "--json", "--feature-dir",
         "store"),
        _check_evaluate,
    ),
    "table": (("predict", "run", "clips", "--csv", "out.csv"), _check_table),
}  # fmt: skip
