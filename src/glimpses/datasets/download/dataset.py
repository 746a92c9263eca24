"""Download of a published data set to a folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from glimpses.datasets.download.archives import (
    SIGNATURES,
    DamagedArchiveError,
    require_unrar,
    unpack,
)
from glimpses.datasets.download.sources import SETS, Archive, PublishedSet
from glimpses.utils.download import DownloadError, fetch, remote_size
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import durable_replace, quote_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadedSet:
    """Result of `glimpses download`.

    Attributes:
        name: of the data set on the command line.
        root: folder that contains the distributor's folders.
        clips: number of clips in it.
        missing: official numbers that are not reached; empty for a complete set.
        fetched: whether anything had to be downloaded or unpacked.
    """

    name: str
    root: Path
    clips: int
    missing: tuple[str, ...]
    fetched: bool

    @property
    def ok(self) -> bool:
        """True for a complete set."""
        return not self.missing

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line about what is missing; empty for a complete set."""
        if self.ok:
            return ()
        folders = ", ".join(archive.folder for archive in SETS[self.name].archives)
        return (
            f"{self.root}: {SETS[self.name].title} is incomplete: {', '.join(self.missing)}; "
            f"remove the incomplete folders ({folders}) and run the same command again",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON-compatible dictionary."""
        terms, citation = SETS[self.name].terms, SETS[self.name].citation
        fields = msgspec.to_builtins(self, enc_hook=str)
        return {**fields, "ok": self.ok, "terms": terms, "citation": citation}

    def __str__(self) -> str:
        published = SETS[self.name]
        state = "is in" if self.fetched else "was already in"
        text = (
            f"{published.title} {state} {self.root}: {self.clips} clips\n"
            f"terms: {published.terms}\ncite:  {published.citation}"
        )
        root = quote_path(self.root)
        command = f"glimpses reproduce {self.name} --data {root} --out runs/{self.name}"
        return f"{text}\nnext:  {command}" if self.ok else text


def download(
    name: Literal["ucf11", "hmdb51", "jhmdb", "hollywood2"],
    to: str | Path,
    /,
    *,
    keep_archives: bool = False,
) -> DownloadedSet:
    """Download a published data set from its distributor and unpack it.

    After an interruption, the same command continues. If an archive is already in the folder under
    its own name, it is used. Folders that already exist are not changed.

    Args:
        name: the data set: UCF-11 (1 GB), HMDB-51 (2 GB), J-HMDB (0.2 GB) or Hollywood2
            (15 GB).
        to: folder for the distributor's folders.
        keep_archives: keep the archives after unpacking.

    Raises:
        GlimpsesError: no address provides an archive, or it is damaged; there is not enough disk
            space; or a package is missing that is needed to unpack it.
    """
    to = Path(to)
    published = SETS[name]
    needed = [archive for archive in published.archives if not (to / archive.folder).exists()]
    try:
        if needed:
            _prepare(published, needed, to)
        for archive in needed:
            _fetch_archive(published, archive, to)
            _unpack_archive(archive, to, keep_archives)
    except OSError as error:
        raise GlimpsesError(
            f"{to}: cannot be written ({error.strerror or error}); free some space or choose "
            "another folder, then run the same command again"
        ) from error
    clips, missing = published.count_clips(to), published.describe_missing(to)
    return DownloadedSet(name, to, clips, missing, fetched=bool(needed))


def _prepare(published: PublishedSet, needed: list[Archive], to: Path) -> None:
    """Log sizes and terms; raise an error if the archives cannot be unpacked or do not fit."""
    if any(archive.file.endswith(".rar") for archive in needed):
        require_unrar()
    to.mkdir(parents=True, exist_ok=True)
    sizes = [_expected_size(archive, to) for archive in needed]
    present = sum(_downloaded_bytes(to / archive.file) for archive in needed)
    download_size = max(sum(sizes) - present, 0)
    unpacked = sum(
        round(size * archive.disk_factor) for size, archive in zip(sizes, needed, strict=True)
    )
    required, free = download_size + unpacked, shutil.disk_usage(to).free
    hosts = dict.fromkeys(urlsplit(_addresses(archive)[0]).netloc for archive in needed)
    log.info(
        "%s: %s to download from %s; needs %s of disk space until unpacked, %s are free",
        published.title, _format_size(download_size), ", ".join(hosts), _format_size(required),
        _format_size(free),
    )  # fmt: skip
    log.info("terms: %s; see %s", published.terms, published.home)
    if required > free:
        raise GlimpsesError(
            f"{to}: {published.title} needs {_format_size(required)} until unpacked, but only "
            f"{_format_size(free)} are free; free some space or choose another folder"
        )


def _fetch_archive(published: PublishedSet, archive: Archive, to: Path) -> None:
    """Download an archive from the first address that provides it."""
    path = to / archive.file
    if path.exists():
        return
    part, version_file = _part_file(path), path.with_name(f"{path.name}.part.json")
    problems = []
    for address in _addresses(archive):
        try:
            fetch(address, part, version_file=version_file, signatures=[SIGNATURES[path.suffix]])
        except DownloadError as error:
            problems.append(str(error))
            continue
        durable_replace(part, path)
        version_file.unlink(missing_ok=True)
        return
    if part.exists() and not part.stat().st_size:
        part.unlink()
    raise GlimpsesError(
        f"{published.title}: {'; '.join(problems)}; try again, or download {archive.file} by way "
        f"of {published.home}, put it at {path} and run the same command"
    )


def _unpack_archive(archive: Archive, to: Path, keep: bool) -> None:
    """Unpack an archive, and remove it afterwards, or if it is damaged."""
    path = to / archive.file
    _compare_digest(path, archive.digest)
    try:
        unpack(path, to / archive.folder)
    except DamagedArchiveError as error:
        path.unlink()
        raise GlimpsesError(f"{error} and was removed; run the same command again") from error
    if not keep:
        path.unlink()


def _compare_digest(path: Path, digest: str | None) -> None:
    """Warn if an archive does not have the expected digest.

    This is not an error: the distributor may have packed the files again, and the checksums in the
    archive and the official numbers are checked later.
    """
    if digest is None:
        return
    algorithm = {32: "md5", 64: "sha256"}[len(digest)]
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != digest:
        log.warning(
            "%s: differs from the known file (its %s begins with %s, not %s); checking the "
            "checksums inside it", path, algorithm.upper(), actual[:8], digest[:8],
        )  # fmt: skip


def _expected_size(archive: Archive, to: Path) -> int:
    """Return the size of an archive: of the file here, by its server, or by the table."""
    if (to / archive.file).exists():
        return (to / archive.file).stat().st_size
    return next(filter(None, map(remote_size, _addresses(archive))), archive.size)


def _addresses(archive: Archive) -> list[str]:
    """Return the addresses of an archive: on the mirror `$GLIMPSES_DATA_URL`, or as published."""
    mirror = os.environ.get("GLIMPSES_DATA_URL")
    return [f"{mirror.rstrip('/')}/{archive.file}"] if mirror else [*archive.addresses]


def _downloaded_bytes(path: Path) -> int:
    file = path if path.exists() else _part_file(path)
    return file.stat().st_size if file.exists() else 0


def _part_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _format_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
