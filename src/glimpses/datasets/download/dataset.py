"""The paper's data sets, from their distributors to a folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from glimpses.datasets.download.archives import SIGNATURES, DamagedArchiveError, need_unrar, unpack
from glimpses.datasets.download.sources import SETS, Archive, PublishedSet
from glimpses.utils.download import DownloadError, fetch, remote_size
from glimpses.utils.errors import GlimpsesError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadedSet:
    """A data set that lies on this disk.

    Attributes:
        name: what the commands call it.
        root: the folder that its own folders lie in.
        clips: how many clips are there.
        lacking: what is too few, against the official numbers; empty if nothing is.
        fetched: whether anything had to be fetched or unpacked.
    """

    name: str
    root: Path
    clips: int
    lacking: tuple[str, ...]
    fetched: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return not self.lacking

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line that says what is missing; empty if nothing is."""
        if self.ok:
            return ()
        folders = ", ".join(archive.folder for archive in SETS[self.name].archives)
        return (
            f"{self.root}: is not the whole of {SETS[self.name].title}: {', '.join(self.lacking)}; "
            f"remove what is incomplete ({folders}) and run the same command to fetch it anew",
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "name": self.name,
            "root": str(self.root),
            "clips": self.clips,
            "lacking": list(self.lacking),
            "ok": self.ok,
            "fetched": self.fetched,
            "terms": SETS[self.name].terms,
            "citation": SETS[self.name].citation,
        }

    def __str__(self) -> str:
        published = SETS[self.name]
        there = "lies in" if self.fetched else "was already in"
        lines = [
            f"{published.title} {there} {self.root}: {self.clips} clips",
            f"terms: {published.terms}",
            f"cite:  {published.citation}",
        ]
        if self.ok:
            out = f"runs/{self.name}"
            lines.append(f"next:  glimpses reproduce {self.name} --data {self.root} --out {out}")
        return "\n".join(lines)


def download(
    name: Literal["ucf11", "hmdb51", "hollywood2"], to: Path, /, *, keep_archives: bool = False
) -> DownloadedSet:
    """Fetch one of the paper's data sets from its distributor and unpack it.

    Interrupted, the same command goes on where it was. An archive that was fetched by other means
    and lies in the folder under its own name is taken as it is. What is there is left alone.

    Args:
        name: which set: UCF-11 (1 GB), HMDB-51 (2 GB) or Hollywood2 (15 GB).
        to: the folder that gets the distributor's own folders.
        keep_archives: keep the archives after unpacking.

    Returns:
        What lies there. It is `ok` if it agrees with the official numbers of clips and lists.

    Raises:
        GlimpsesError: an archive cannot be had from any of its addresses or is damaged; there is
            no room for it; or a package is missing that is needed to unpack it.
    """
    to = Path(to)
    published = SETS[name]
    wanted = [archive for archive in published.archives if not (to / archive.folder).exists()]
    try:
        if wanted:
            _prepare(published, wanted, to)
        for archive in wanted:
            _have(published, archive, to)
            _place(archive, to, keep_archives)
    except OSError as error:
        raise GlimpsesError(
            f"{to}: cannot be written ({error.strerror or error}); free some space or choose "
            "another place, then the same command goes on"
        ) from error
    return DownloadedSet(
        name=name,
        root=to,
        clips=published.clips(to),
        lacking=published.lacking(to),
        fetched=bool(wanted),
    )


def _prepare(published: PublishedSet, wanted: list[Archive], to: Path) -> None:
    """Say what will be fetched and on which terms; refuse what cannot be unpacked in the end."""
    if any(archive.file.endswith(".rar") for archive in wanted):
        need_unrar()
    to.mkdir(parents=True, exist_ok=True)
    sizes = [_expected_size(archive, to) for archive in wanted]
    here = sum(map(_bytes_here, (to / archive.file for archive in wanted)))
    fetch = max(sum(sizes) - here, 0)
    unpack_room = [round(size * a.room) for size, a in zip(sizes, wanted, strict=True)]
    need, free = fetch + sum(unpack_room), shutil.disk_usage(to).free
    _log.info(
        "%s: %s to fetch from %s, %s of disk until all is unpacked, %s free",
        published.title,
        _gigabytes(fetch),
        ", ".join(dict.fromkeys(urlsplit(_addresses(a)[0]).netloc for a in wanted)),
        _gigabytes(need),
        _gigabytes(free),
    )
    _log.info("terms: %s; see %s", published.terms, published.home)
    if need > free:
        raise GlimpsesError(
            f"{to}: has {_gigabytes(free)} free and {published.title} needs {_gigabytes(need)} "
            "until it is unpacked; free some space or choose another place"
        )


def _have(published: PublishedSet, archive: Archive, to: Path) -> None:
    """Fetch an archive from the first of its addresses that has it."""
    path = to / archive.file
    if path.exists():
        return
    part, tag = _part(path), _tag(path)
    complaints = []
    for address in _addresses(archive):
        try:
            fetch(address, part, version_file=tag, signatures=[SIGNATURES[path.suffix]])
        except DownloadError as error:
            complaints.append(str(error))
            continue
        part.replace(path)
        tag.unlink(missing_ok=True)
        return
    if part.exists() and not part.stat().st_size:
        part.unlink()
    raise GlimpsesError(
        f"{published.title}: {'; '.join(complaints)}; try again, or get {archive.file} by way of "
        f"{published.home}, put it at {path} and run the same command"
    )


def _place(archive: Archive, to: Path, keep: bool) -> None:
    """Unpack a fetched archive, and remove it: at the end, or because it is worth nothing."""
    path = to / archive.file
    _compare(path, archive.digest)
    try:
        unpack(path, to / archive.folder)
    except DamagedArchiveError as error:
        path.unlink()
        raise GlimpsesError(f"{error}; it was removed, run the same command again") from error
    if not keep:
        path.unlink()


def _compare(path: Path, digest: str | None) -> None:
    """Tell if an archive is not the one that is known.

    It is no error: the distributor may have packed it anew, and the archive's own checksums and
    the official numbers are still to come.
    """
    if digest is None:
        return
    algorithm = {32: "md5", 64: "sha256"}[len(digest)]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digest:
        _log.warning(
            "%s: is not the file that was known (its %s begins %s, not %s); its checksums decide",
            path,
            algorithm.upper(),
            found[:8],
            digest[:8],
        )


def _expected_size(archive: Archive, to: Path) -> int:
    """Size of an archive: as it lies here, as its server tells, or as it is known."""
    if (to / archive.file).exists():
        return (to / archive.file).stat().st_size
    asked = (remote_size(address) for address in _addresses(archive))
    return next((size for size in asked if size), archive.size)


def _addresses(archive: Archive) -> list[str]:
    """Where to look for an archive: the mirror `$GLIMPSES_DATA_URL`, or where it is published."""
    mirror = os.environ.get("GLIMPSES_DATA_URL")
    return [f"{mirror.rstrip('/')}/{archive.file}"] if mirror else [*archive.addresses]


def _bytes_here(path: Path) -> int:
    found = path if path.exists() else _part(path)
    return found.stat().st_size if found.exists() else 0


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _tag(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
