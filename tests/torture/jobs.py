"""Commands that can be interrupted at any moment, and the files that they must write in the end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from glimpses.utils.files import sha256
from tests.torture.commands import LIMITS, Command, Outcome
from tests.torture.lab import BACKBONE, TRAINING, Lab

# Not compared: event files of TensorBoard have the time and the name of the machine in them. The
# cache is compared by what the commands print and write. Of videos, only the number of frames is
# compared, because H.264 is encoded by several threads.
_IGNORED = ("/tensorboard/", "cache/", "clips")
_TEMPORARY = (".part-", ".lock", ".tmp", "tmp/")


@dataclass(frozen=True)
class Job:
    """A command that resumes after an interruption.

    Attributes:
        name: name in messages.
        arguments: the command line.
        needs: folders of the lab that are copied beside the clips before the first start.
        prints_result: whether standard output is the same after an interruption.
        timeout: seconds within which it must end.
        weight: how often it is chosen.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    prints_result: bool = False
    timeout: float = 120.0
    weight: float = 1.0


_EXTRACTION = ("--backbone", BACKBONE, "--feature-dir", "store")
JOBS = (
    Job("extract", ("extract", "clips", "--fps", "10", "--json", *_EXTRACTION),
        prints_result=True),
    Job("train", ("train", "clips", "--out", "run", "--feature-dir", "store", *TRAINING,
                  "--epochs", "6")),
    Job("predict", ("predict", "run", "clips", "--csv", "out.csv"), ("run",)),
    Job("overlay", ("predict", "run", "clips", "--csv", "out.csv", "--overlay", "overlays"),
        ("run",), weight=0.3),
    Job("evaluate", ("evaluate", "run", "--data", "clips", "--subset", "all", "--json",
                     "--feature-dir", "store"), ("run",), prints_result=True),
    Job("crossvalidate", ("crossvalidate", "clips", "--out", "run", "--feature-dir", "store",
                          *TRAINING, "--folds", "2", "--epochs", "2"), weight=0.3),
    Job("report", ("report", "run", "--out", "page"), ("run", "store"), weight=0.3),
    Job("export", ("export", "run", "--out", "onnx"), ("run",), weight=0.2),
    Job("reproduce", ("reproduce", "ucf11", "--quick", "--out", "paper", "--feature-dir", "store",
                      "--set", "epochs=1"), timeout=600, weight=0.05),
)  # fmt: skip


def prepare(lab: Lab, job: Job, folder: Path) -> None:
    """Put what a job needs into a new folder; all paths are the same in every folder."""
    # A link, so that the times of the clips are the same everywhere.
    (folder / "clips").symlink_to(lab.clips)
    for name in job.needs:
        shutil.copytree(lab.clips.parent / name, folder / name)
    lab.copy_cache(folder)


def start(lab: Lab, job: Job, folder: Path) -> Command:
    """Start a job in its folder."""
    environment = lab.environment(folder / "cache")
    return Command((*job.arguments, *LIMITS), folder, environment=environment)


def written(folder: Path) -> dict[str, str]:
    """Return a digest of each file of a job that must not depend on interruptions."""
    files = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    return {
        name: _frames(path) if path.suffix == ".mp4" else sha256(path)
        for name, path in sorted(files.items())
        if not any(part in f"{name}/" for part in _IGNORED)
    }


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files that a job has left, in its cache too."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [name for name in names if any(part in name for part in _TEMPORARY)]


def compare(
    expected: tuple[dict[str, str], Outcome], folder: Path, outcome: Outcome, job: Job
) -> list[str]:
    """Return how the results in a folder differ from those of a job that was not interrupted."""
    before, after = expected[0], written(folder)
    wrong = [
        f"{what} {names[:4]}"
        for what, names in (
            ("lacks", sorted(before.keys() - after.keys())),
            ("also has", sorted(after.keys() - before.keys())),
            ("has other bytes in", [name for name in before if after.get(name, "") != before[name]
                                    and name in after]),
            ("left behind", leftovers(folder)),
        )
        if names
    ]  # fmt: skip
    if job.prints_result and outcome.output != expected[1].output:
        wrong.append("printed another result")
    return wrong


def references(lab: Lab, jobs: Sequence[Job]) -> dict[str, tuple[dict[str, str], Outcome]]:
    """Run each job without an interruption; return its files and how it ended."""
    results = {}
    for job in jobs:
        folder = lab.new_folder("job")
        prepare(lab, job, folder)
        outcome = start(lab, job, folder).wait(job.timeout * lab.patience)
        if outcome.code != 0:
            raise RuntimeError(f"{job.name}: {outcome.error}")
        if left := leftovers(folder):
            raise RuntimeError(f"{job.name}: left {left}")
        results[job.name] = (written(folder), outcome)
        keep = lab.new_folder(f"reference-{job.name}")
        keep.rmdir()
        folder.rename(keep)
    return results


def choose(lab: Lab, jobs: Sequence[Job]) -> Job:
    """Return a job at random, by their weights."""
    weights = [job.weight for job in jobs]
    total = sum(weights)
    return jobs[lab.rng.choice(len(jobs), p=[weight / total for weight in weights])]


def _frames(video: Path) -> str:
    try:
        with av.open(str(video)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            return f"{sum(1 for _ in container.decode(video=0))} frames"
    except av.FFmpegError as error:
        return f"no video ({error})"
