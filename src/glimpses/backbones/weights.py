"""Files of pretrained weights: downloaded once, checked by their digest before they are read."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from glimpses.utils import download
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import atomic_write, cache_dir

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedWeights:
    """File of weights at a public address.

    Attributes:
        folder: URL of the folder; `$GLIMPSES_WEIGHTS_URL`, a mirror, takes precedence.
        file: file name, on the server and in the cache.
        digest: hexadecimal digest of the file.
        algorithm: algorithm of the digest. Only for files that are not unpickled may it be SHA-1,
            which Caffe publishes.
    """

    folder: str
    file: str
    digest: str
    algorithm: Literal["sha256", "sha1"] = "sha256"


def download_weights(weights: PublishedWeights) -> Path:
    """Return the path of published weights in the cache, downloaded if needed and checked.

    Raises:
        GlimpsesError: the download failed, or the file is not the published one; nothing is kept.
    """
    path = cache_dir() / "weights" / weights.file
    if path.exists():
        if _file_digest(path, weights.algorithm) == weights.digest:
            return path
        _log.warning("%s: is damaged; downloading it again", path)
    folder = os.environ.get("GLIMPSES_WEIGHTS_URL") or weights.folder
    url = f"{folder.rstrip('/')}/{weights.file}"
    remedy = f"try again, or put the file at {path} by other means"
    with atomic_write(path) as part:
        try:
            download.fetch(url, part)
        except download.DownloadError as error:
            raise GlimpsesError(f"{error}; {remedy}") from error
        _check_digest(part, weights.digest, url, remedy, weights.algorithm)
    return path


def load_weights(path: str | Path, expected: str | None = None) -> dict[str, Tensor]:
    """Read a state dict from a file written by `torch.save` into memory.

    Args:
        path: the file.
        expected: its required SHA-256; None if `download_weights` has just checked it.

    Raises:
        GlimpsesError: the file has another digest.
    """
    if expected is not None:
        _check_digest(Path(path), expected, str(path), "install its package again")
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, of the names and bytes of a state dict in memory."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous().view(-1)
        digest.update(name.encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_digest(
    path: Path, expected: str, subject: str, remedy: str, algorithm: str = "sha256"
) -> None:
    digest = _file_digest(path, algorithm)
    if digest != expected:
        name = algorithm.upper().replace("SHA", "SHA-")
        raise GlimpsesError(
            f"{subject}: is not the published file (its {name} begins with {digest[:8]}, not "
            f"{expected[:8]}); {remedy}"
        )


def _file_digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
