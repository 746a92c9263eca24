"""Tests of downloaded weights: the published file is kept, and nothing else."""

from __future__ import annotations

import hashlib
import http.server
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from glimpses.backbones.weights import (
    PublishedWeights,
    download_weights,
    load_weights,
    weights_digest,
)
from glimpses.utils import download
from glimpses.utils.errors import GlimpsesError
from tests.local_servers import serving

CONTENT = b"weights" * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class WeightsServer(http.server.BaseHTTPRequestHandler):
    """Server whose folders are named after how it responds to a request for the file."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        WeightsServer.requests.append(self.path)
        behaviour = self.path.split("/")[1]
        if behaviour == "none":
            self.send_error(404)
            return
        if behaviour == "silent":
            self.connection.settimeout(5)
            self.rfile.read(1)
            return
        content = CONTENT[:-1] + b"!" if behaviour == "altered" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if behaviour == "half" else content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GLIMPSES_WEIGHTS_URL", raising=False)
    monkeypatch.setattr(download, "pause", lambda _: None)
    WeightsServer.requests.clear()
    with serving(WeightsServer) as url:
        yield url


def published(folder: str) -> PublishedWeights:
    return PublishedWeights(folder=folder, file="net-12345678.pth", digest=SHA256)


def test_weights_are_downloaded_once(address: str, tmp_path: Path) -> None:
    path = download_weights(published(f"{address}/good"))
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    assert download_weights(published(f"{address}/good")) == path
    assert WeightsServer.requests == ["/good/net-12345678.pth"]


def test_a_mirror_replaces_the_public_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSES_WEIGHTS_URL", f"{address}/good/")
    assert download_weights(published("http://nowhere.invalid")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("altered", "is not the published file"),
        ("half", "stopped at 0.3|cannot be fetched"),
        ("none", "cannot be fetched .*404"),
        ("silent", "cannot be fetched .*timed out"),
    ],
)
def test_a_failed_download_leaves_nothing(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, message: str
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
    with pytest.raises(GlimpsesError, match=message) as raised:
        download_weights(published(f"{address}/{behaviour}"))
    assert f"{address}/{behaviour}/net-12345678.pth" in str(raised.value)
    assert "put the file at" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []


def test_an_unreachable_server_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    for address in ("http://127.0.0.1:9", "nonsense"):
        with pytest.raises(GlimpsesError, match="cannot be fetched"):
            download_weights(published(address))


def test_a_damaged_file_in_the_cache_is_downloaded_again(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = download_weights(published(f"{address}/good"))
    path.write_bytes(CONTENT[:-5])
    assert download_weights(published(f"{address}/good")).read_bytes() == CONTENT
    assert "is damaged; downloading it again" in caplog.text


def test_a_file_with_another_digest_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"w": torch.arange(3)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_weights(path, digest)["w"].tolist() == [0, 1, 2]
    with pytest.raises(GlimpsesError, match="is not the published file"):
        load_weights(path, SHA256)


def test_the_digest_of_a_state_dict_depends_on_names_and_values() -> None:
    state = {"a": torch.arange(4.0), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.arange(4.0)}
    assert weights_digest(state) == weights_digest(same)
    for other in ({**state, "b": torch.zeros(2)}, {"a": state["a"], "c": state["b"]}):
        assert weights_digest(state) != weights_digest(other)
