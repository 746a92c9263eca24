"""Many uploads at once: all are answered, the server lives, and nothing is left behind."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.torture.commands import MEMORY_LIMIT, Command, problems
from tests.torture.lab import Lab, Result
from tests.torture.mutations import mutate

# Seconds for the result of an upload, and for one response.
_TIMEOUT, _RESPONSE_TIMEOUT = 300.0, 600.0
# Seconds after which nothing may be left of a server that was killed.
_SWEPT = 60.0


def many_uploads(lab: Lab) -> Iterator[Result]:
    """Upload good and damaged clips at once, and check the responses and leftovers."""
    for number in range(1) if lab.short else itertools.count():
        folder = lab.new_folder("uploads")
        shutil.copytree(lab.trained, folder / "run")
        (folder / "clips").symlink_to(lab.clips)
        lab.copy_cache(folder)
        uploads = _make_uploads(lab, 12 if lab.short else 100)
        (folder / "inputs").mkdir()
        for name, content in uploads:
            (folder / "inputs" / name).write_bytes(content)
        # With a short queue, clients are sent away and come again.
        queue = ("--max-queue", "200") if number % 2 else ()
        reasons: list[str] = []
        arguments = ("serve", "run", "--port", "0", "--max-seconds", "20", *queue)
        server = Command(
            (*arguments, "--clip-timeout", "10", "--clip-memory", "1.5"), folder,
            environment=lab.environment(folder / "cache"),
        )  # fmt: skip
        try:
            address = _address(server, 60 * lab.patience)
            with ThreadPoolExecutor(len(uploads)) as clients:
                futures = [
                    clients.submit(_upload, address, *upload, _TIMEOUT * lab.patience)
                    for upload in uploads
                ]
                reasons += [reason for future in futures for reason in future.result()]
            _request(address, "GET", "/api/status")
            if (megabytes := server.peak_memory()) > MEMORY_LIMIT:
                reasons.append(f"took {megabytes:.0f} MB")
        except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"server failed ({type(error).__name__}: {error})")
        is_killed = not lab.short and number % 4 == 3
        os.kill(server.pid, signal.SIGKILL if is_killed else signal.SIGTERM)
        outcome = server.wait(60 * lab.patience)
        reasons += problems(outcome, codes=(-signal.SIGKILL,) if is_killed else (0,))
        if survivors := server.survivors():
            reasons.append(f"left {len(survivors)} processes")
        if left := _left(folder / "tmp", _SWEPT if is_killed else 0):
            reasons.append(f"left {left[:3]} in the folder for temporary files")
        if reasons:
            lab.fail("uploads", reasons, folder, outcome)
        yield Result(len(uploads), min(len(reasons), len(uploads)))


def _make_uploads(lab: Lab, count: int) -> list[tuple[str, bytes]]:
    """Return names and contents of files: a third is good."""
    uploads, seeds = [], list(lab.seeds.items())
    good = [(clip.name, clip.read_bytes()) for clip in sorted(lab.clips.glob("*/*.mp4"))]
    for index in range(count):
        if index % 3 == 0:
            name, content = good[index % len(good)]
        else:
            name, content = seeds[lab.rng.integers(len(seeds))]
            content = mutate(content, lab.rng, list(lab.seeds.values()))
        uploads.append((f"{index:03}-{name}", content))
    return uploads


def _address(server: Command, timeout: float) -> str:
    """Return host and port, once the server prints them."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if match := re.search(r"http://([\w.]+:\d+)", server.output()):
            return match[1]
        time.sleep(0.1)
    raise RuntimeError("the server does not start")


def _upload(address: str, name: str, content: bytes, timeout: float) -> list[str]:
    """Upload a clip and wait for its result; return what is wrong with the responses."""
    deadline = time.monotonic() + timeout
    try:
        while True:
            status, answer = _request(address, "POST", f"/api/clips?name={quote(name)}", content)
            if status != 503:
                break
            if time.monotonic() > deadline:
                return [f"{name}: was sent away for {timeout:.0f} s"]
            time.sleep(1)
        if status != 202:
            return [f"{name}: the upload was answered with {status} {answer}"]
        path = f"/api/clips/{answer['id']}"
        while answer["state"] not in ("done", "failed"):
            if time.monotonic() > deadline:
                return [f"{name}: is {answer['state']} after {timeout:.0f} s"]
            time.sleep(0.5)
            status, answer = _request(address, "GET", path)
            if status != 200:
                return [f"{name}: its state was answered with {status} {answer}"]
        if answer["state"] == "failed":
            error = answer["error"]
            is_fine = "good" not in name and error and len(error.splitlines()) == 1
            return [] if is_fine else [f"{name}: failed ({error})"]
        status, result = _request(address, "GET", f"{path}/result")
        if status != 200 or not result["models"]:
            return [f"{name}: its result was answered with {status} {result}"]
        for part in ("video", "models/0/overlay"):
            status = _request(address, "GET", f"{path}/{part}")[0] if "good" in name else 200
            if status not in (200, 503):
                return [f"{name}: its {part} was answered with {status}"]
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return [f"{name}: {type(error).__name__}: {error}"]
    return []


def _request(address: str, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=_RESPONSE_TIMEOUT)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        content = response.read()
        if response.getheader("Content-Type", "").startswith("application/json"):
            return response.status, json.loads(content, parse_constant=_refuse_constant)
        return response.status, None
    finally:
        connection.close()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _left(folder: Path, patience: float) -> list[str]:
    """Return the files in a folder, once it is empty or after some seconds."""
    deadline = time.monotonic() + patience
    while left := [str(path.relative_to(folder)) for path in folder.rglob("*")]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.2)
    return []
