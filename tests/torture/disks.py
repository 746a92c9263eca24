"""Full disks: one line, nothing half-written counts as complete, and on it goes when there is room.

As root, the folder of a job is a file system in memory of limited size; otherwise, and in half of
the trials, the process may write no file beyond a size.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.torture.commands import LIMITS, Command, Outcome, limit_file_size, problems
from tests.torture.jobs import JOBS, Job, choose, compare, prepare, references, start
from tests.torture.lab import Lab, Result

_PAGE = 4096
# Bytes that a command may print.
_LOG = 30_000


def full_disks(lab: Lab) -> Iterator[Result]:
    """Run commands with too little room, then with enough, and compare their files."""
    jobs = [job for job in JOBS if job.name != "reproduce"]
    expected = {}
    can_mount = os.geteuid() == 0 and _can_mount(lab.new_folder("job"))
    for number in range(1) if lab.short else itertools.count():
        job = jobs[0] if lab.short else choose(lab, jobs)
        if job.name not in expected:
            expected |= references(lab, [job])
        sizes = _sizes(lab.folder / f"reference-{job.name}")
        reasons, folder = [], lab.new_folder("job")
        if can_mount and number % 2 == 0:
            _mount(folder, 64_000_000)
            try:
                prepare(lab, job, folder)
                room = int(sum(sizes) * lab.rng.uniform(0, 1))
                _mount(folder, _used(folder) + room, "remount")
                outcome = start(lab, job, folder).wait(job.timeout * lab.patience)
                reasons += _check(outcome)
                _mount(folder, 256_000_000, "remount")
                reasons += _go_on(lab, job, folder, expected[job.name])
                if reasons:
                    lab.fail(f"disks-{job.name}", reasons, folder, outcome)
            finally:
                subprocess.run(["umount", folder], check=True)
        else:
            prepare(lab, job, folder)
            # What the command prints counts as well.
            limit = _LOG + int(lab.rng.uniform(0, 1.1) * max(sizes) ** lab.rng.uniform(0.3, 1))
            outcome = _start_limited(lab, job, folder, partial(limit_file_size, limit))
            reasons += _check(outcome)
            reasons += _go_on(lab, job, folder, expected[job.name])
            if reasons:
                lab.fail(f"disks-{job.name}", reasons, folder, outcome)
        yield Result(1, int(bool(reasons)))


def _check(outcome: Outcome) -> list[str]:
    """Check a command that had too little room, or just enough."""
    reasons = problems(outcome)
    errors = [line for line in outcome.error.splitlines() if line.startswith("error: ")]
    if outcome.code == 1 and len(errors) != 1:
        reasons.append(f"printed {len(errors)} lines with errors")
    return reasons


def _go_on(lab: Lab, job: Job, folder: Path, expected: tuple[dict[str, str], Outcome]) -> list[str]:
    outcome = start(lab, job, folder).wait(job.timeout * lab.patience)
    reasons = problems(outcome, codes=(0,)) + compare(expected, folder, outcome, job)
    return [f"with enough room: {reason}" for reason in reasons]


def _start_limited(lab: Lab, job: Job, folder: Path, before: Callable[[], None]) -> Outcome:
    command = Command(
        (*job.arguments, *LIMITS), folder,
        environment=lab.environment(folder / "cache"), before=before,
    )  # fmt: skip
    return command.wait(job.timeout * lab.patience)


def _sizes(folder: Path) -> list[int]:
    """Return the sizes of a finished job's files, without those it was given, in whole pages."""
    return [
        -(-path.stat().st_size // _PAGE) * _PAGE
        for path in folder.rglob("*")
        if path.is_file() and "graphs" not in path.parts
    ]


def _used(folder: Path) -> int:
    usage = shutil.disk_usage(folder)
    return usage.used


def _can_mount(folder: Path) -> bool:
    try:
        _mount(folder, 1_000_000)
        subprocess.run(["umount", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _mount(folder: Path, size: int, *options: str) -> None:
    choices = ",".join((*options, f"size={max(size, _PAGE)}"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", choices, "torture", folder], check=True, capture_output=True
    )
