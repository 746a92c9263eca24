"""A download is the published file, or there is none."""

from __future__ import annotations

import hashlib
import http.server
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from glimpses.backbones.weights import PublishedWeights, fetch, load_state, state_digest
from glimpses.utils import download
from glimpses.utils.errors import GlimpsesError
from tests.local_servers import serving

CONTENT = b"weights" * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Gives, by the file's folder: the file, another, half of it, nothing, or no answer at all."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Server.asked.append(self.path)
        how = self.path.split("/")[1]
        if how == "none":
            self.send_error(404)
            return
        if how == "silent":
            self.connection.settimeout(5)
            self.rfile.read(1)
            return
        content = CONTENT[:-1] + b"!" if how == "altered" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if how == "half" else content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GLIMPSES_WEIGHTS_URL", raising=False)
    monkeypatch.setattr(download, "pause", lambda _: None)
    Server.asked.clear()
    with serving(Server) as found:
        yield found


def published(folder: str) -> PublishedWeights:
    return PublishedWeights(folder=folder, file="net-12345678.pth", sha256=SHA256)


def test_fetched_once(address: str, tmp_path: Path) -> None:
    path = fetch(published(f"{address}/good"))
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    assert fetch(published(f"{address}/good")) == path
    assert Server.asked == ["/good/net-12345678.pth"]


def test_mirror_takes_the_place_of_the_public_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSES_WEIGHTS_URL", f"{address}/good/")
    assert fetch(published("http://nowhere.invalid")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("altered", "is not the published file"),
        ("half", "stopped at 0.3|cannot be fetched"),
        ("none", "cannot be fetched .*404"),
        ("silent", "cannot be fetched .*timed out"),
    ],
)
def test_failed_download_leaves_nothing(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, message: str
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
    with pytest.raises(GlimpsesError, match=message) as raised:
        fetch(published(f"{address}/{how}"))
    assert f"{address}/{how}/net-12345678.pth" in str(raised.value)
    assert "put the file at" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSES_CACHE", str(tmp_path))
    for address in ("http://127.0.0.1:9", "nonsense"):
        with pytest.raises(GlimpsesError, match="cannot be fetched"):
            fetch(published(address))


def test_damaged_file_in_the_cache_is_fetched_again(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = fetch(published(f"{address}/good"))
    path.write_bytes(CONTENT[:-5])
    assert fetch(published(f"{address}/good")).read_bytes() == CONTENT
    assert "is damaged; it is fetched again" in caplog.text


def test_nothing_is_unpickled_that_is_not_what_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"w": torch.arange(3)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_state(path, digest)["w"].tolist() == [0, 1, 2]
    with pytest.raises(GlimpsesError, match="is not the published file"):
        load_state(path, SHA256)


def test_digest_of_a_state_dict_is_of_its_names_and_numbers() -> None:
    state = {"a": torch.arange(4.0), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.arange(4.0)}
    assert state_digest(state) == state_digest(same)
    for other in ({**state, "b": torch.zeros(2)}, {"a": state["a"], "c": state["b"]}):
        assert state_digest(state) != state_digest(other)
