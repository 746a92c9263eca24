"""Folder of the uploads of a server, which does not survive the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Prefix of the folder of a server; the id of its process follows.
_PREFIX = "glimpses-serve-"
# Waits for the end of the server, which closes the pipe, and deletes the folder. Workers end at the
# same time and may still write for a moment.
_CLEANER = """
import shutil, sys, time
sys.stdin.buffer.read()
for _ in range(20):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    time.sleep(0.5)
"""


class Spool:
    """Folder that is deleted when this process ends, even if it is killed.

    A process of its own deletes it. If that is killed, too, the next server does.

    Attributes:
        folder: the folder.
    """

    def __init__(self) -> None:
        _delete_stale_folders()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._cleaner = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CLEANER, self.folder],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal, which ends the server, must not end this one first.
            start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._cleaner.kill()
        assert self._cleaner.stdin is not None
        self._cleaner.stdin.close()
        self._cleaner.wait()


def _delete_stale_folders() -> None:
    """Delete the folders of servers that were killed together with their cleaners."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
