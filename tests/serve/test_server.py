"""The HTTP API as its clients see it, well-meaning and other."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from glimpses import Recogniser, cli, video
from glimpses.serve.worker import _is_full
from glimpses.utils.errors import GlimpsesError
from tests.serve.conftest import LIMITS, Site, make_clip


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.address, timeout=120) as client:
        yield client
        for job in list(site.desk._jobs.values()):
            site.desk.remove(job)


def hand_in(client: httpx.Client, content: bytes, name: str = "a.mp4", **more: Any) -> Any:
    answer = client.post("/api/clips", params={"name": name, **more}, content=content)
    assert answer.status_code == 202, answer.text
    return answer.json()


def ended(site: Site, client: httpx.Client, told: Any) -> Any:
    job = site.desk.get(told["id"])
    with site.desk._changed:
        assert site.desk._changed.wait_for(lambda: job.state in ("done", "failed"), timeout=120)
    return client.get(f"/api/clips/{told['id']}").json()


def test_clip_is_recognised_as_by_the_recogniser(
    site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    path = site.clips / "jump" / "a.mp4"
    told = hand_in(client, path.read_bytes(), "holiday/über <b>.mp4")
    assert told["name"] == "über <b>.mp4"
    assert ended(site, client, told)["state"] == "done"
    result = client.get(f"/api/clips/{told['id']}/result").json()
    assert [said["model"] for said in result["models"]] == [0, 1]
    for said, run in zip(result["models"], site.runs, strict=True):
        expected = Recogniser.load(run).predict(path)
        assert said["label"] == expected.label
        np.testing.assert_allclose(
            list(said["probabilities"].values()), expected.probabilities, atol=1e-5
        )
        np.testing.assert_allclose(said["times"], expected.times, atol=1e-5)
        np.testing.assert_allclose(
            said["step_probabilities"], expected.step_probabilities, atol=1e-5
        )
        if expected.attention is None:
            assert said["attention"] is None
        else:
            np.testing.assert_allclose(said["attention"], expected.attention, atol=1e-5)
        assert 1 <= len(said["decisive_steps"]) <= 4
    copy = tmp_path / "copy"
    copy.write_bytes(client.get(f"/api/clips/{told['id']}/video").content)
    info = video.probe(copy)
    assert (info.codec, info.width, info.height) == ("h264", 96, 96)
    assert info.seconds == pytest.approx(1.2, abs=0.1)
    for place in range(len(result["models"][0]["decisive_steps"])):
        picture = client.get(f"/api/clips/{told['id']}/models/0/steps/{place}")
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content[:2] == b"\xff\xd8"
    overlay = client.get(f"/api/clips/{told['id']}/models/1/overlay")
    assert overlay.status_code == 200
    assert overlay.headers["content-disposition"].endswith("%C3%BCber%20%3Cb%3E-average.mp4")
    copy.write_bytes(overlay.content)
    assert video.probe(copy).height > 96
    assert client.delete(f"/api/clips/{told['id']}").status_code == 204
    assert client.get(f"/api/clips/{told['id']}").status_code == 404


def test_one_of_the_models_can_be_asked(site: Site, client: httpx.Client) -> None:
    content = (site.clips / "run" / "b.avi").read_bytes()
    told = hand_in(client, content, models=[1])
    assert ended(site, client, told)["state"] == "done"
    result = client.get(f"/api/clips/{told['id']}/result").json()
    assert [said["model"] for said in result["models"]] == [1]
    assert client.get(f"/api/clips/{told['id']}/models/0/overlay").status_code == 404
    assert client.post("/api/clips?models=2", content=content).status_code == 422
    assert client.post("/api/clips?models=-1", content=content).status_code == 422


def test_example_is_a_clip_whose_truth_is_known(site: Site, client: httpx.Client) -> None:
    examples = client.get("/api/examples").json()
    assert [(each["name"], each["shows"]) for each in examples] == [
        ("a.mp4", ["jump"]),
        ("b.avi", ["run"]),
    ]
    assert client.get("/api/examples/1/picture").content[:2] == b"\xff\xd8"
    told = client.post("/api/examples/1").json()
    assert ended(site, client, told)["state"] == "done"
    assert client.get(f"/api/clips/{told['id']}/result").json()["truth"] == ["run"]
    client.delete(f"/api/clips/{told['id']}")
    assert (site.clips / "run" / "b.avi").exists()
    assert client.post("/api/examples/2").status_code == 404


def test_description_tells_of_every_route(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {
        "/api/status", "/api/clips", "/api/clips/{key}", "/api/clips/{key}/result",
        "/api/clips/{key}/models/{model}/overlay", "/api/examples/{number}",
    }  # fmt: skip
    for methods in described["paths"].values():
        for route in methods.values():
            assert route["description"]
    page = client.get("/api").text
    assert all(path in page for path in described["paths"])
    status = client.get("/api/status").json()
    assert [model["name"] for model in status["models"]] == ["attention", "average"]
    assert [model["attends"] for model in status["models"]] == [True, False]


def test_page_asks_nobody_else(client: httpx.Client) -> None:
    for path in ("/", "/page.js", "/style.css", "/api", "/api.css", "/icon.svg"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        # The namespace of SVG is a name that nobody fetches.
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def hostile(tmp_path: Path) -> dict[str, bytes]:
    """Files that are no clip, or that want more than to be one."""
    secret = tmp_path / "secret.mp4"
    shutil.copy(make_clip(tmp_path / "clip.mp4"), secret)
    whole = secret.read_bytes()
    huge = make_clip(tmp_path / "huge.avi").read_bytes()
    # The size of the picture stands in the header of the stream, twice.
    size = struct.pack("<II", 96, 96)
    assert size in huge
    return {
        "empty": b"",
        "text": b"no video\n" * 100,
        "noise": np.random.default_rng(0).bytes(50_000),
        "cut.mp4": whole[: len(whole) // 2],
        "list.m3u8": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        "list.txt": f"ffconcat version 1.0\nfile {secret}\n".encode(),
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "page.html": b"<html><script>alert(1)</script></html>",
        "huge.avi": huge.replace(size, struct.pack("<II", 60_000, 60_000)),
        "long.mp4": make_clip(tmp_path / "long.mp4", seconds=9, fps=4).read_bytes(),
    }


def test_hostile_files_get_one_line_without_a_path(
    site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    for name, content in hostile(tmp_path).items():
        state = ended(site, client, hand_in(client, content, name))
        if name == "huge.avi" and state["state"] == "done":
            continue  # The stream itself knows better than the header.
        assert state["state"] == "failed", name
        assert state["problem"].startswith(f"{name}: "), state
        assert "\n" not in state["problem"]
        assert "/" not in state["problem"]
        assert client.get(f"/api/clips/{state['id']}/result").status_code == 409
    good = hand_in(client, (site.clips / "jump" / "a.mp4").read_bytes())
    assert ended(site, client, good)["state"] == "done"


def test_a_hundred_uploads_at_once_leave_it_answering(
    site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    bad = list(hostile(tmp_path).values())
    good = (site.clips / "run" / "b.avi").read_bytes()

    def send(number: int) -> httpx.Response:
        content = bad[number % len(bad)] if number % 3 else good
        with httpx.Client(base_url=site.address, timeout=120) as own:
            return own.post("/api/clips", params={"name": f"clip {number}"}, content=content)

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(send, range(100)))
    assert {answer.status_code for answer in answers} <= {202, 503}
    taken = [answer.json() for answer in answers if answer.status_code == 202]
    assert len(taken) >= LIMITS.waiting
    for answer in answers:
        if answer.status_code == 503:
            assert "try again in" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
    states = [ended(site, client, told)["state"] for told in taken]
    assert set(states) <= {"done", "failed"}
    assert client.get("/api/status").json()["waiting"] == 0
    told = hand_in(client, good)
    assert ended(site, client, told)["state"] == "done"


def test_too_large_is_refused_however_it_is_sent(site: Site, client: httpx.Client) -> None:
    large = bytes(2_000_001)
    before = set(site.desk._folder.iterdir())
    assert client.post("/api/clips", content=large).status_code == 413
    # Without a length beforehand, piece by piece.
    pieces = (large[start : start + 100_000] for start in range(0, len(large), 100_000))
    assert client.post("/api/clips", content=pieces).status_code == 413
    assert set(site.desk._folder.iterdir()) == before


def test_broken_off_upload_leaves_nothing(site: Site, client: httpx.Client) -> None:
    before = set(site.desk._folder.iterdir())
    host, port = site.address.removeprefix("http://").split(":")
    desk = site.desk

    def arriving() -> bool:
        return any(job.state == "arriving" for job in desk._jobs.values())

    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(
            f"POST /api/clips HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nabc".encode()
        )
        with desk._changed:
            assert desk._changed.wait_for(arriving, timeout=30)
    with desk._changed:
        assert desk._changed.wait_for(lambda: not arriving(), timeout=30)
    assert set(site.desk._folder.iterdir()) == before


def test_what_is_asked_for_while_it_is_deleted_is_gone(
    site: Site, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    told = hand_in(client, (site.clips / "run" / "b.avi").read_bytes())
    ended(site, client, told)
    address = f"/api/clips/{told['id']}"
    # Its files are gone, and it is not yet known.
    shutil.rmtree(site.desk._jobs[told["id"]].folder)
    for what in ("result", "video", "models/0/steps/0"):
        assert client.get(f"{address}/{what}").status_code == 404
    assert not caplog.records


def test_full_disk_is_told(
    site: Site, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        answer = client.post("/api/clips", params={"name": "a.mp4"}, content=b"a video")
    assert answer.status_code == 507
    assert answer.json()["detail"].startswith("a.mp4: cannot be kept, the server's disk is full")
    wrapped = GlimpsesError("b")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert _is_full(wrapped)
    assert not _is_full(GlimpsesError("c"))


def test_foreign_pages_are_refused(site: Site, client: httpx.Client) -> None:
    assert client.get("/api/status", headers={"Host": "evil.example"}).status_code == 400
    answer = client.post("/api/examples/0", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    answer = client.post("/api/examples/0", headers={"Origin": "http://["})
    assert answer.status_code == 403
    assert "content-security-policy" in answer.headers
    own = client.post("/api/examples/0", headers={"Origin": site.address})
    assert own.status_code == 202


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST", "127.1", "0.0.0.0"])
def test_loopback_answers_to_its_own_names_only(host: str) -> None:
    from glimpses.serve.server import _listen, _names

    with _listen(host, 0) as listening:
        names = _names(host, listening)
    assert ("*" in names) == (host == "0.0.0.0")


def test_paths_lead_nowhere(client: httpx.Client) -> None:
    for path in ("/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/api/clips/..%2f..", "/app.py"):
        answer = client.get(path)
        assert answer.status_code in (307, 404)
        assert "import" not in answer.text
    assert client.get("/api/clips/" + "x" * 500).status_code == 422
    assert client.get("/api.html").status_code == 404
    assert client.get("/api/clips/x/models/0/steps/" + "9" * 250).status_code == 422


def test_what_explain_found_is_told(site: Site) -> None:
    from glimpses import runs
    from glimpses.serve import describe

    folder = site.runs[0]
    found = folder / "explained" / "explanation.json"
    estimate = {"value": 0.9, "low": 0.8, "high": 1.0, "clips": 72}
    told = {
        "accuracy": estimate,
        "maps": "attention",
        "where": {"attention": {"pointing": estimate}, "uniform": {"pointing": {"value": 0.25}}},
        "frozen": {"uniform": {"value": 0.4}},
    }
    found.parent.mkdir(exist_ok=True)
    found.write_text(json.dumps(told))
    measures = describe([folder], [runs.read_config(folder)])[0].measures
    assert measures is not None
    assert measures.model_dump() == {
        "clips": 72, "accuracy": 0.9, "pointing": 0.9, "pointing_chance": 0.25,
        "accuracy_uniform": 0.4,
    }  # fmt: skip
    found.write_text("{")
    assert describe([folder], [runs.read_config(folder)])[0].measures is None
    found.unlink()


def test_what_cannot_be_served_is_one_line(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = site.address.rsplit(":", 1)[1]
    run = str(site.runs[0])
    for words, line in {
        (str(tmp_path),): "is no run",
        (run, "--port", port): "cannot be listened on",
        (run, "--port", "99999999"): "ports are 0 to 65535",
        (run, "--host", "no.such.host.invalid"): "cannot be listened on",
        (run, "--workers", "0"): "--workers 0: give a number above 0",
        (run, "--seconds", "nan"): "--seconds nan: give a number above 0",
        (run, "--port", "0", "--examples", str(tmp_path / "none")): "is no folder",
        (run, "--port", "0", "--examples", str(tmp_path)): "holds no video",
    }.items():
        assert cli.run(["serve", *words]) == 1
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1
