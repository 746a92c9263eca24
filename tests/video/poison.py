"""Decoders that crash, hang or take all memory, by a `sitecustomize` of the processes."""

from __future__ import annotations

from pathlib import Path

# Patches PyAV, so that the fault is in the process that opens the file, whichever it is.
SITECUSTOMIZE = """
import os, signal, time

import av

real_open = av.open


def poisoned_open(file, *args, **options):
    name = os.path.basename(str(file))
    with open(os.environ["POISON_LOG"], "a") as log:
        log.write(f"{os.getpid()} {name}\\n")
    if "crashes" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "ends" in name:
        os._exit(3)
    if "hangs" in name:
        time.sleep(3600)
    if "spins" in name:
        while True:
            pass
    if "fills" in name:
        hoard = [bytearray(1 << 28) for _ in range(64)]
    if "raises" in name:
        raise RuntimeError("no such luck")
    return real_open(file, *args, **options)


av.open = poisoned_open
"""


def poison(folder: Path) -> dict[str, str]:
    """Return the environment of processes in which files with telling names do harm."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    source = Path(__file__).parents[2] / "src"
    return {
        "PYTHONPATH": f"{folder / 'site'}:{source}",
        "POISON_LOG": str(folder / "opened.txt"),
    }


def opened(folder: Path) -> list[tuple[int, str]]:
    """Return the id of the process and the name of every opened file."""
    lines = (folder / "opened.txt").read_text().splitlines()
    return [(int(pid), name) for pid, name in (line.split(" ", 1) for line in lines)]
