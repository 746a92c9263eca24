"""Files of pretrained weights: fetched once, and never unpickled before their SHA-256 is right."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glimpses.utils import download
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, cache_dir, sha256

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedWeights:
    """A state dict at a public address.

    Attributes:
        folder: address of the folder it lies in; `$GLIMPSES_WEIGHTS_URL` replaces it (a mirror).
        file: its name, there and in the cache.
        sha256: hexadecimal digest of its bytes.
    """

    folder: str
    file: str
    sha256: str


def fetch(weights: PublishedWeights) -> Path:
    """Have the file in the cache: at once if it is there and whole, else by downloading it.

    Returns:
        Where it lies, below `glimpses.utils.files.cache_dir()`. Its SHA-256 has been checked.

    Raises:
        GlimpsesError: it cannot be had, or what came is not the published file; then nothing of
            it is kept.
    """
    path = cache_dir() / "weights" / weights.file
    if path.exists():
        if sha256(path) == weights.sha256:
            return path
        _log.warning("%s: is damaged; it is fetched again", path)
    folder = os.environ.get("GLIMPSES_WEIGHTS_URL") or weights.folder
    address = f"{folder.rstrip('/')}/{weights.file}"
    remedy = f"try again, or put the file at {path} by other means"
    with atomic_write(path) as part:
        try:
            download.fetch(address, part)
        except download.DownloadError as error:
            raise GlimpsesError(f"{error}; {remedy}") from error
        _check(part, weights.sha256, address, remedy)
    return path


def load_state(path: Path, expected: str | None = None) -> dict[str, Tensor]:
    """Read a state dict into memory.

    Args:
        path: a file written by `torch.save`.
        expected: what its SHA-256 must be; None if `fetch` has just checked it.

    Raises:
        GlimpsesError: the digest is another one.
    """
    if expected is not None:
        _check(path, expected, str(path), "install its package again")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256, hexadecimal, of the names and bytes of a state dict that came from no file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(
            state[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
        )
    return digest.hexdigest()


def _check(path: Path, expected: str, subject: str, remedy: str) -> None:
    found = sha256(path)
    if found != expected:
        raise GlimpsesError(
            f"{subject}: is not the published file (its SHA-256 begins {found[:8]}, not "
            f"{expected[:8]}); {remedy}"
        )
