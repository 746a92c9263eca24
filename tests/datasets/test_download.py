"""Tests of downloads: a complete data set in spite of bad servers and disks, or a clear error."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import threading
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from glimpses import cli
from glimpses.datasets.download import archives
from glimpses.datasets.download.dataset import download
from glimpses.datasets.download.sources import SETS, Archive
from glimpses.utils import download as http_download
from glimpses.utils.errors import GlimpsesError
from tests.datasets.rar import rar
from tests.local_servers import Site

pytest.importorskip("unrar.cffi")

UCF = "/UCF11_updated_mpg.rar"
UCF11 = SETS["ucf11"]


def tar_gz(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return buffer.getvalue()


def ucf11(clips: int = 110, size: int = 9000) -> dict[str, bytes]:
    files = {"UCF11_updated_mpg/": b""}
    for i in range(clips):
        label, group = f"class{i % 11:02}", f"v_clip_{i // 11 % 25 + 1:02}"
        files[f"UCF11_updated_mpg/{label}/{group}/{group}_{i}.mpg"] = f"clip {i}".encode().ljust(
            size, b"-"
        )
    files["UCF11_updated_mpg/class00/Annotation/v_clip_01_0.xgtf"] = b"<viper/>"
    return files


def hmdb51() -> dict[str, bytes]:
    """Content of the outer archive: one archive per class with the class's folder."""
    sizes = [6766 // 51 + (i < 6766 % 51) for i in range(51)]
    return {
        f"class_{i:02}.rar": rar(
            {
                f"class_{i:02}/#20_(odd)_[x]&;!{j}_h_nm_np1_ba_goo_0.avi": b"RIFF%d" % j
                for j in range(size)
            }
        )
        for i, size in enumerate(sizes)
    }


def hmdb51_lists() -> dict[str, bytes]:
    return {
        f"testTrainMulti_7030_splits/class_{i:02}_test_split{n}.txt": b"a.avi 1 \n"
        for i in range(51)
        for n in (1, 2, 3)
    }


def hollywood2() -> dict[str, bytes]:
    kinds = {"train": 823, "test": 884, "autoautotrain": 810}
    clips = {
        f"Hollywood2/AVIClips/actionclip{kind}{i + 1:05}.avi": b"RIFF"
        for kind, number in kinds.items()
        for i in range(number)
    }
    lists = {
        f"Hollywood2/ClipSets/Action{i}_{kind}.txt": b"actioncliptrain00001  1\n"
        for i in range(12)
        for kind in ("train", "test", "autotrain")
    }
    return clips | lists | {"Hollywood2/ShotBounds/actioncliptrain00001.sht": b"1 2"}


def jhmdb() -> dict[str, dict[str, bytes]]:
    """Content of each archive, with the folders that macOS adds to it."""
    clips = [f"class_{i % 21:02}/#1!_(odd)_[{i}]_class_{i % 21:02}_u_cm_np1_fr_goo_0"
             for i in range(928)]  # fmt: skip
    hidden = {"__MACOSX/._ReCompress_Videos": b"macOS", "ReCompress_Videos/.DS_Store": b"macOS"}
    lists = {
        f"splits/class_{i:02}_test_split{n}.txt": b"a.avi 1\n" for i in range(21) for n in (1, 2, 3)
    }
    return {
        "JHMDB_video.zip": {f"ReCompress_Videos/{c}.avi": b"RIFF" for c in clips} | hidden,
        "puppet_mask.zip": {f"puppet_mask/{c}/puppet_mask.mat": b"MATLAB" for c in clips},
        "splits.zip": lists,
    }


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dict.fromkeys(f"{name.rpartition('/')[0]}/" for name in files):
            archive.writestr(name, b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_download, "pause", lambda _: None)


@pytest.fixture(scope="module")
def ucf11_rar() -> bytes:
    return rar(ucf11())


@pytest.fixture
def site(ucf11_rar: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server of a UCF-11 with 110 clips."""
    classes, clips = UCF11.expected
    small = replace(UCF11, expected=(classes, replace(clips, number=110)))
    monkeypatch.setitem(SETS, "ucf11", small)
    site = Site({UCF: ucf11_rar})
    with site.over_http() as address:
        monkeypatch.setenv("GLIMPSES_DATA_URL", address)
        yield site


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def publish(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> None:
    """Change how a set's first archive is published."""
    archives = (replace(SETS[name].archives[0], **changes), *SETS[name].archives[1:])  # type: ignore[arg-type]
    monkeypatch.setitem(SETS, name, replace(SETS[name], archives=archives))


# ---- The three data sets


def test_ucf11_is_downloaded_unpacked_and_counted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setitem(SETS, "ucf11", UCF11)
    files = ucf11(1600, size=500)
    site.files[UCF] = rar(files)
    result = download("ucf11", tmp_path)
    assert result.ok
    assert result.clips == 1600
    assert files_in(tmp_path) == {k: v for k, v in files.items() if not k.endswith("/")}
    assert left_in(tmp_path) == ["UCF11_updated_mpg"]
    size = len(site.files[UCF]) / 1e6
    assert f"UCF-11: {size:.1f} MB to download from 127.0.0.1" in caplog.text
    assert "for research; see https://www.crcv.ucf.edu" in caplog.text
    assert f"glimpses reproduce ucf11 --data {tmp_path} --out runs/ucf11" in str(result)
    assert "CVPR 2009" in str(result)


def test_hmdb51_is_an_archive_of_archives(site: Site, tmp_path: Path) -> None:
    site.files = {
        "/hmdb51_org.rar": rar(hmdb51()),
        "/test_train_splits.rar": rar(hmdb51_lists()),
    }
    result = download("hmdb51", tmp_path)
    assert result.ok
    assert result.clips == 6766
    assert left_in(tmp_path) == ["hmdb51_org", "testTrainMulti_7030_splits"]
    assert left_in(tmp_path / "hmdb51_org") == [f"class_{i:02}" for i in range(51)]
    odd = tmp_path / "hmdb51_org/class_50/#20_(odd)_[x]&;!131_h_nm_np1_ba_goo_0.avi"
    assert odd.read_bytes() == b"RIFF131"
    assert "CC BY 4.0" in str(result)


def test_hollywood2_is_a_tar_archive_over_ftp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tar_gz(hollywood2(), links={"Hollywood2/link": "/etc/passwd"})
    site = Site({"/pub/Hollywood2-actions.tar.gz": content}, version="20090601000000", breaks=1)
    with site.over_ftp() as address:
        publish(monkeypatch, "hollywood2", addresses=(f"{address}/pub/Hollywood2-actions.tar.gz",))
        result = download("hollywood2", tmp_path)
    assert result.ok
    assert result.clips == 823 + 884 + 810
    assert files_in(tmp_path) == hollywood2()
    assert site.range_requests == [("0", None), (str(len(content) // 2), None)]
    assert not (tmp_path / "Hollywood2/link").is_symlink()


def test_jhmdb_is_three_zip_archives(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archives = jhmdb()
    site.files = {f"/{name}": zipped(files) for name, files in archives.items()}
    result = download("jhmdb", tmp_path)
    assert result.ok
    assert result.clips == 928
    everything = {name: data for files in archives.values() for name, data in files.items()}
    unpacked = {name: data for name, data in everything.items() if data != b"macOS"}
    assert files_in(tmp_path) == unpacked
    assert left_in(tmp_path) == ["ReCompress_Videos", "puppet_mask", "splits"]
    # The test's archives are not the distributor's.
    assert caplog.text.count("differs from the known file (its MD5") == 3
    assert "ICCV 2013" in str(result)
    assert f"glimpses reproduce jhmdb --data {tmp_path} --out runs/jhmdb" in str(result)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (zipped({"splits/a.txt": bytes(5000)})[:-60], "not a zip file"),
        (zipped({"splits/a.txt": b"abcdefgh" * 99}).replace(b"K", b"L", 9), "splits.zip"),
        (zipped({"../a.txt": b"1"}), "outside its folder"),
        (zipped({}), "returned another file"),
    ],
)
def test_damaged_zip_archive_is_removed(
    site: Site, tmp_path: Path, content: bytes, problem: str
) -> None:
    site.files = {f"/{name}": zipped(files) for name, files in jhmdb().items()}
    site.files["/splits.zip"] = content
    with pytest.raises(GlimpsesError) as caught:
        download("jhmdb", tmp_path)
    assert "splits.zip" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert problem in str(caught.value)
    assert left_in(tmp_path) == ["ReCompress_Videos", "puppet_mask"]
    site.files["/splits.zip"] = zipped(jhmdb()["splits.zip"])
    assert download("jhmdb", tmp_path).ok


def test_existing_folders_are_not_changed(site: Site, tmp_path: Path) -> None:
    download("ucf11", tmp_path)
    site.requests.clear()
    again = download("ucf11", tmp_path)
    assert site.requests == []
    assert again.ok
    assert "was already in" in str(again)
    assert json.loads(json.dumps(again.to_json()))["fetched"] is False


def test_archives_can_be_kept_and_are_used_again(
    site: Site, tmp_path: Path, ucf11_rar: bytes
) -> None:
    download("ucf11", tmp_path, keep_archives=True)
    assert (tmp_path / UCF[1:]).read_bytes() == ucf11_rar
    shutil.rmtree(tmp_path / "UCF11_updated_mpg")
    site.requests.clear()
    assert download("ucf11", tmp_path).clips == 110
    assert site.requests == []


def test_too_few_clips_are_reported_and_kept(site: Site, tmp_path: Path) -> None:
    site.files[UCF] = rar(ucf11(109))
    for _ in range(2):
        result = download("ucf11", tmp_path)
        assert not result.ok
        assert "109 of 110 clips" in result.complaints[0]
        assert result.clips == 109
    assert len(site.requests) == 2


# ---- Broken connections


def test_broken_connection_resumes(site: Site, tmp_path: Path) -> None:
    size = len(site.files[UCF])
    site.breaks = 3
    assert download("ucf11", tmp_path).ok
    expected, start = [(None, None)], 0
    for _ in range(3):
        start += (size - start) // 2
        expected.append((f"bytes={start}-", '"1"'))
    assert site.range_requests == expected


def test_partial_download_survives_the_process(
    site: Site, tmp_path: Path, ucf11_rar: bytes
) -> None:
    site.breaks = 1
    part = tmp_path / f"{UCF[1:]}.part"
    with pytest.MonkeyPatch.context() as patch:

        def killed(_: int) -> None:
            raise KeyboardInterrupt

        patch.setattr(http_download, "pause", killed)
        with pytest.raises(KeyboardInterrupt):
            download("ucf11", tmp_path)
    half = len(ucf11_rar) // 2
    assert part.read_bytes() == ucf11_rar[:half]
    assert download("ucf11", tmp_path).ok
    assert site.range_requests[-1] == (f"bytes={half}-", '"1"')
    assert left_in(tmp_path) == ["UCF11_updated_mpg"]


@pytest.mark.parametrize("version", ['"2"', None])
def test_changed_file_is_not_resumed(
    site: Site, tmp_path: Path, ucf11_rar: bytes, version: str | None
) -> None:
    """Detect the change by ETag or, if the server sends none, by size."""
    site.version = version and '"1"'
    site.files[UCF] = rar(ucf11(50))
    site.breaks = 6
    site.ranges = False
    with pytest.raises(GlimpsesError, match="stopped at"):
        download("ucf11", tmp_path)
    site.files[UCF], site.version, site.ranges = ucf11_rar, version, True
    assert download("ucf11", tmp_path).ok
    assert site.range_requests[-1] == (
        (f"bytes={len(rar(ucf11(50))) // 2}-", '"1"') if version else (None, None)
    )


def test_equal_size_resumes_without_etag_and_date(site: Site, tmp_path: Path) -> None:
    site.version, site.breaks = None, 1
    assert download("ucf11", tmp_path).ok
    assert site.range_requests[-1] == (f"bytes={len(site.files[UCF]) // 2}-", None)


def test_server_without_range_support_sends_the_file_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.breaks = False, 2
    assert download("ucf11", tmp_path).ok
    assert len(site.range_requests) == 3


def test_gives_up_on_a_server_that_always_breaks(site: Site, tmp_path: Path) -> None:
    site.ranges, site.breaks = False, 1000
    with pytest.raises(GlimpsesError, match=r"stopped at 0\.5 of 1\.0 MB"):
        download("ucf11", tmp_path)
    assert len(site.range_requests) == 6


def test_busy_server_is_retried(site: Site, tmp_path: Path) -> None:
    site.status = {UCF: 503}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_download, "pause", lambda _: site.status.clear())
        assert download("ucf11", tmp_path).ok


# ---- Wrong content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><title>\nAre you\n human?</title>", r'a web page \("Are you human\?"\)'),
        (b"\n<HTML><body>moved", "a web page instead of the file"),
        (b"", "the file is empty"),
        (b"\x89PNG and more", "returned another file"),
    ],
)
def test_wrong_content_is_named_and_removed(
    site: Site, tmp_path: Path, content: bytes, message: str
) -> None:
    site.files[UCF] = content
    with pytest.raises(GlimpsesError, match=message):
        download("ucf11", tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(("status", "message"), [(404, "404"), (403, "require registration")])
def test_missing_file_names_the_distributors_page(
    site: Site, tmp_path: Path, status: int, message: str
) -> None:
    site.status = {UCF: status}
    with pytest.raises(GlimpsesError, match=message) as raised:
        download("ucf11", tmp_path)
    assert SETS["ucf11"].home in str(raised.value)
    assert f"put it at {tmp_path}{UCF}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert left_in(tmp_path) == []


def test_tries_the_next_address(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ucf11_rar: bytes
) -> None:
    address = os.environ["GLIMPSES_DATA_URL"]
    monkeypatch.delenv("GLIMPSES_DATA_URL")
    site.files["/page" + UCF] = b"<html>gone</html>"
    publish(
        monkeypatch,
        "ucf11",
        addresses=(
            "http://127.0.0.1:9/x.rar",
            f"{address}/none{UCF}",
            f"{address}/page{UCF}",
            f"{address}{UCF}",
        ),
    )
    assert download("ucf11", tmp_path).ok


# ---- Damaged archives


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("how", ["cut", "flipped", "cut in the header", "empty"])
def test_damaged_rar_is_removed(site: Site, tmp_path: Path, ucf11_rar: bytes, how: str) -> None:
    at = ucf11_rar.index(b"clip 77")
    site.files[UCF] = {
        "cut": ucf11_rar[: at + 3],
        "flipped": flipped(ucf11_rar, at),
        "cut in the header": ucf11_rar[:12],
        "empty": rar({}),
    }[how]
    with pytest.raises(GlimpsesError, match=r"is damaged .* removed") as raised:
        download("ucf11", tmp_path)
    if how in ("cut", "flipped"):
        assert "v_clip_08_77.mpg" in str(raised.value)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("how", ["cut", "flipped", "checksum", "no tar"])
def test_damaged_tar_is_removed(site: Site, tmp_path: Path, how: str) -> None:
    content = tar_gz(hollywood2())
    site.files["/Hollywood2-actions.tar.gz"] = {
        "cut": content[: len(content) // 2],
        "flipped": flipped(content, len(content) // 2),
        "checksum": flipped(content, len(content) - 6),
        "no tar": gzip.compress(b"no tar" * 1000),
    }[how]
    with pytest.raises(GlimpsesError, match="is damaged"):
        download("hollywood2", tmp_path)
    assert left_in(tmp_path) == []


def test_damaged_nested_archive_is_removed(site: Site, tmp_path: Path) -> None:
    outer = hmdb51()
    outer["class_20.rar"] = flipped(outer["class_20.rar"], outer["class_20.rar"].index(b"RIFF99"))
    site.files = {"/hmdb51_org.rar": rar(outer)}
    with pytest.raises(GlimpsesError, match=r"is damaged \(class_20/#20_\(odd\)_\[x\]&;!99_h"):
        download("hmdb51", tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "C:\\evil"])
def test_no_file_is_written_outside_the_folder(site: Site, tmp_path: Path, name: str) -> None:
    to = tmp_path / "deep" / "data"
    site.files = {UCF: rar({name: b"x"}), "/Hollywood2-actions.tar.gz": tar_gz({name: b"x"})}
    for which in ("ucf11", "hollywood2"):
        with pytest.raises(GlimpsesError, match="outside"):
            download(which, to)  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Path("/tmp/evil").exists()


def test_warns_about_another_digest(
    site: Site,
    tmp_path: Path,
    ucf11_rar: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish(monkeypatch, "ucf11", digest=hashlib.md5(ucf11_rar).hexdigest())
    download("ucf11", tmp_path / "a")
    assert "differs from the known file" not in caplog.text
    publish(monkeypatch, "ucf11", digest=hashlib.sha256(b"another").hexdigest())
    assert download("ucf11", tmp_path / "b").ok
    assert "differs from the known file" in caplog.text


# ---- Disk space, interruptions and missing packages


def test_disk_space_is_checked_before_downloading(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(site.files[UCF])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, int(size * 2.0)))
    with pytest.raises(GlimpsesError, match=r"UCF-11 needs .* are free"):
        download("ucf11", tmp_path)
    assert site.requests == [f"HEAD {UCF}"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, int(size * 2.2)))
    assert download("ucf11", tmp_path).ok


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_unpacking_starts_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    new = archives._new
    with pytest.MonkeyPatch.context() as patch:

        def fails(target: Path) -> object:
            if target.name == "v_clip_08_77.mpg":
                raise error
            return new(target)

        patch.setattr(archives, "_new", fails)
        with pytest.raises((GlimpsesError, KeyboardInterrupt)) as raised:
            download("ucf11", tmp_path)
    if isinstance(error, OSError):
        assert "No space left on device" in str(raised.value)
    assert left_in(tmp_path) == [UCF[1:]]
    # Leftovers of a killed process.
    left = tmp_path / ".unpacking-UCF11_updated_mpg" / "UCF11_updated_mpg"
    left.mkdir(parents=True)
    (left / "half.mpg").write_bytes(b"half")
    site.requests.clear()
    assert download("ucf11", tmp_path).ok
    assert site.requests == []
    assert "half.mpg" not in {Path(name).name for name in files_in(tmp_path)}


def test_full_disk_while_unpacking_rar(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The data come through C code, which exceptions cannot cross."""

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_new", lambda _: Full())
    with pytest.raises(GlimpsesError, match="No space left on device"):
        download("ucf11", tmp_path)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a thread are POSIX")
def test_ctrl_c_while_unpacking_rar(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the main thread it would be lost in a callback from C code."""
    main = threading.main_thread().ident
    assert main is not None
    written = []

    class Interrupting(io.BytesIO):
        def write(self, content: object) -> int:
            written.append(content)
            if len(written) == 1:
                signal.pthread_kill(main, signal.SIGINT)
            return 0

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_new", lambda _: Interrupting())
        with pytest.raises(KeyboardInterrupt):
            download("ucf11", tmp_path)
    assert "Traceback" not in capfd.readouterr().err
    assert left_in(tmp_path) == [UCF[1:]]
    assert download("ucf11", tmp_path).ok


def test_missing_package_is_reported_before_downloading(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "unrar.cffi.unrarlib", None)
    with pytest.raises(GlimpsesError, match=r"pip install 'glimpses\[download\]'"):
        download("ucf11", tmp_path)
    assert site.requests == []


def test_command(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["download", "ucf11", str(tmp_path)]) == 0
    assert "110 clips" in capsys.readouterr().out
    site.files[UCF] = rar(ucf11(7))
    assert cli.run(["download", "ucf11", str(tmp_path / "few")]) == 1
    assert "7 of 11 classes, 7 of 110 clips" in capsys.readouterr().err
    assert cli.run(["download", "ucf12", str(tmp_path)]) == 2


def test_table_of_sources_is_consistent() -> None:
    for published in SETS.values():
        for archive in published.archives:
            assert isinstance(archive, Archive)
            assert Path(archive.file).suffix in archives.SIGNATURES
            assert all(urlsplit(a).scheme in ("http", "https", "ftp") for a in archive.addresses)
            assert archive.digest is None or len(archive.digest) in (32, 64)
        assert sum(files.number for files in published.expected if files.clips) > 0
