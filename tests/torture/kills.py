"""SIGKILL at random moments; the same command again must end as if nothing had happened."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.torture.commands import problems
from tests.torture.jobs import JOBS, choose, compare, prepare, references, start
from tests.torture.lab import Lab, Result


def kills(lab: Lab) -> Iterator[Result]:
    """Kill commands some times, let them end, and compare their files byte for byte."""
    jobs = JOBS[:1] if lab.short else JOBS
    expected = {}
    for _ in range(1) if lab.short else itertools.count():
        job = choose(lab, jobs)
        if job.name not in expected:
            expected |= references(lab, [job])
        folder = lab.new_folder("job")
        prepare(lab, job, folder)
        killed, reasons = 0, []
        for _ in range(2 if lab.short else lab.rng.integers(1, 5)):
            command = start(lab, job, folder)
            # What has been done before a kill is not done again, so later kills come earlier.
            seconds = expected[job.name][1].seconds * lab.rng.uniform(0, 1.1) / (1 + killed / 2)
            command.sleep(seconds)
            command.kill()
            killed += 1
            if survivors := command.survivors():
                reasons.append(f"left {len(survivors)} processes after a kill")
        outcome = start(lab, job, folder).wait(job.timeout * lab.patience)
        reasons += problems(outcome, codes=(0,)) + compare(expected[job.name], folder, outcome, job)
        if reasons:
            lab.fail(f"kills-{job.name}", reasons, folder, outcome)
        yield Result(killed, int(bool(reasons)))
