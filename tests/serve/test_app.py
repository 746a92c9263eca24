"""Tests of the HTTP API, with ordinary and hostile clients."""

from __future__ import annotations

import errno
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

from glimpses import Recogniser, datasets, video
from glimpses.segments import FORMATS, SegmentOptions, read_segments
from glimpses.serve.worker import _is_disk_full
from glimpses.utils.errors import GlimpsesError
from tests.serve.conftest import LIMITS, Site, make_clip


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.address, timeout=120) as client:
        yield client
        for job in list(site.queue._jobs.values()):
            site.queue.remove(job)


def upload(client: httpx.Client, content: bytes, name: str = "a.mp4", **params: Any) -> Any:
    response = client.post("/api/clips", params={"name": name, **params}, content=content)
    assert response.status_code == 202, response.text
    return response.json()


def finish(site: Site, client: httpx.Client, clip: Any) -> Any:
    """Wait until a clip is done or failed; return its state."""
    job, changed = site.queue.get(clip["id"]), site.queue._changed
    with changed:
        assert changed.wait_for(lambda: job.state in ("done", "failed"), timeout=120)
    return client.get(f"/api/clips/{clip['id']}").json()


def test_result_equals_the_recogniser(site: Site, client: httpx.Client, tmp_path: Path) -> None:
    path = site.clips / "jump" / "a.mp4"
    clip = upload(client, path.read_bytes(), "holiday/über <b>.mp4")
    assert clip["name"] == "über <b>.mp4"
    assert finish(site, client, clip)["state"] == "done"
    result = client.get(f"/api/clips/{clip['id']}/result").json()
    assert [prediction["model"] for prediction in result["models"]] == [0, 1]
    for prediction, run in zip(result["models"], site.runs, strict=True):
        expected = Recogniser.load(run).predict(path)
        assert prediction["label"] == expected.label
        np.testing.assert_allclose(
            list(prediction["probabilities"].values()), expected.probabilities, atol=1e-5
        )
        np.testing.assert_allclose(prediction["times"], expected.times, atol=1e-5)
        np.testing.assert_allclose(
            prediction["step_probabilities"], expected.step_probabilities, atol=1e-5
        )
        if expected.attention is None:
            assert prediction["attention"] is None
        else:
            np.testing.assert_allclose(prediction["attention"], expected.attention, atol=1e-5)
        assert 1 <= len(prediction["decisive_steps"]) <= 4
    copy = tmp_path / "copy"
    copy.write_bytes(client.get(f"/api/clips/{clip['id']}/video").content)
    info = video.probe(copy)
    assert (info.codec, info.width, info.height) == ("h264", 96, 96)
    assert info.seconds == pytest.approx(1.2, abs=0.1)
    for index in range(len(result["models"][0]["decisive_steps"])):
        picture = client.get(f"/api/clips/{clip['id']}/models/0/steps/{index}")
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content[:2] == b"\xff\xd8"
    overlay = client.get(f"/api/clips/{clip['id']}/models/1/overlay")
    assert overlay.status_code == 200
    assert overlay.headers["content-disposition"].endswith("%C3%BCber%20%3Cb%3E-average.mp4")
    copy.write_bytes(overlay.content)
    assert video.probe(copy).height > 96
    assert client.delete(f"/api/clips/{clip['id']}").status_code == 204
    assert client.get(f"/api/clips/{clip['id']}").status_code == 404


def test_segments_are_those_of_the_recogniser(
    site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    path = make_clip(tmp_path / "long.mp4", seconds=4.0)
    clip = upload(client, path.read_bytes(), "long.mp4")
    assert finish(site, client, clip)["state"] == "done"
    result = client.get(f"/api/clips/{clip['id']}/result").json()
    for prediction, run in zip(result["models"], site.runs, strict=True):
        recogniser = Recogniser.load(run)
        stride = recogniser.config.data.block_stride
        expected = recogniser.segments(path, SegmentOptions(stride=stride))
        found = prediction["segments"]
        assert found
        assert [one["label"] for one in found] == [one.label for one in expected]
        for field in ("start", "end", "peak", "score"):
            np.testing.assert_allclose(
                [one[field] for one in found],
                [getattr(one, field) for one in expected], atol=2e-3,
            )  # fmt: skip
        for one, other in zip(found, expected, strict=True):
            assert (one["box"] is None) == (other.box is None)


@pytest.fixture
def done(site: Site, client: httpx.Client) -> Any:
    """A clip that is done."""
    clip = upload(client, (site.clips / "run" / "b.avi").read_bytes(), "b.avi")
    assert finish(site, client, clip)["state"] == "done"
    return clip


@pytest.mark.parametrize("format", FORMATS)
def test_corrected_segments_are_written_in_every_format(
    client: httpx.Client, done: Any, tmp_path: Path, format: str
) -> None:
    # The clip has 15 frames per second.
    corrected = [
        {"start": 0.0, "end": 0.2, "label": "jump", "score": 0.75},
        {"start": 0.4, "end": 0.8, "label": "<b>&amp;"},
    ]
    response = client.post(
        f"/api/clips/{done['id']}/segments", params={"format": format}, json=corrected
    )
    assert response.status_code == 200, response.text
    assert "filename*=UTF-8''b-segments." in response.headers["content-disposition"]
    file = tmp_path / "written"
    file.write_bytes(response.content)
    found = read_segments(file, format=format, fps=15, video="b.avi")
    assert [(one.start, one.end, one.label) for one in found] == [
        (pytest.approx(part["start"], abs=2e-3), pytest.approx(part["end"], abs=2e-3), label)
        for part, label in zip(corrected, ("jump", "<b>&amp;"), strict=True)
    ]
    found = client.get(f"/api/clips/{done['id']}/models/0/segments", params={"format": format})
    assert found.status_code == 200, found.text


def test_corrected_segments_are_training_data(
    site: Site, client: httpx.Client, done: Any, tmp_path: Path
) -> None:
    shutil.copy(site.clips / "run" / "b.avi", tmp_path / "b.avi")
    corrected = [{"start": 0.2, "end": 0.6, "label": "jump"}]
    response = client.post(f"/api/clips/{done['id']}/segments", json=corrected)
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "b-segments.csv").write_bytes(response.content)
    dataset = datasets.load(tmp_path)
    assert dataset.untrimmed
    assert [(one.file, one.start, one.end, one.label) for one in dataset.segments] == [
        ("b.avi", 0.2, 0.6, "jump")
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[", "Invalid JSON"),
        (b"{}", "body"),
        (b'[{"start": 2, "end": 1, "label": "run"}]', "before its start"),
        (b'[{"start": 0, "end": NaN, "label": "run"}]', "finite"),
        (b'[{"start": 0, "end": 1, "label": " "}]', "label is empty"),
        (b'[{"start": 0, "end": 1}]', "0.label"),
    ],
)
def test_impossible_segments_are_refused(
    client: httpx.Client, done: Any, body: bytes, problem: str
) -> None:
    response = client.post(f"/api/clips/{done['id']}/segments", content=body)
    assert response.status_code == 422
    assert response.json()["detail"].startswith("b.avi: segments: ")
    assert problem in response.json()["detail"]


def test_too_many_segments_are_refused(client: httpx.Client, done: Any) -> None:
    response = client.post(f"/api/clips/{done['id']}/segments", content=bytes(4_000_001))
    assert response.status_code == 413
    unknown = client.post(f"/api/clips/{done['id']}/segments?format=doc", json=[])
    assert unknown.status_code == 422


def test_models_can_be_chosen(site: Site, client: httpx.Client) -> None:
    content = (site.clips / "run" / "b.avi").read_bytes()
    clip = upload(client, content, models=[1])
    assert finish(site, client, clip)["state"] == "done"
    result = client.get(f"/api/clips/{clip['id']}/result").json()
    assert [prediction["model"] for prediction in result["models"]] == [1]
    assert client.get(f"/api/clips/{clip['id']}/models/0/overlay").status_code == 404
    assert client.post("/api/clips?models=2", content=content).status_code == 422
    assert client.post("/api/clips?models=-1", content=content).status_code == 422


def test_example_can_be_submitted(site: Site, client: httpx.Client) -> None:
    examples = client.get("/api/examples").json()
    assert [(example["name"], example["labels"]) for example in examples] == [
        ("a.mp4", ["jump"]),
        ("b.avi", ["run"]),
    ]
    assert client.get("/api/examples/1/picture").content[:2] == b"\xff\xd8"
    clip = client.post("/api/examples/1").json()
    assert finish(site, client, clip)["state"] == "done"
    assert client.get(f"/api/clips/{clip['id']}/result").json()["labels"] == ["run"]
    client.delete(f"/api/clips/{clip['id']}")
    assert (site.clips / "run" / "b.avi").exists()
    assert client.post("/api/examples/2").status_code == 404


def test_every_route_is_documented(client: httpx.Client) -> None:
    openapi = client.get("/openapi.json").json()
    assert set(openapi["paths"]) >= {
        "/api/status", "/api/clips", "/api/clips/{clip_id}", "/api/clips/{clip_id}/result",
        "/api/clips/{clip_id}/models/{model}/overlay", "/api/examples/{example_id}",
    }  # fmt: skip
    for methods in openapi["paths"].values():
        for route in methods.values():
            assert route["description"]
    page = client.get("/api").text
    assert all(path in page for path in openapi["paths"])
    status = client.get("/api/status").json()
    assert [model["name"] for model in status["models"]] == ["attention", "average"]
    assert [model["has_attention"] for model in status["models"]] == [True, False]


def test_page_is_self_contained(client: httpx.Client) -> None:
    for path in ("/", "/page.js", "/style.css", "/api", "/api.css", "/icon.svg"):
        response = client.get(path)
        assert response.status_code == 200
        assert "default-src 'self'" in response.headers["content-security-policy"]
        # The namespace of SVG is a name, not a request.
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def hostile_files(tmp_path: Path) -> dict[str, bytes]:
    """Return contents that are invalid as clips, or try to read other files."""
    secret = tmp_path / "secret.mp4"
    shutil.copy(make_clip(tmp_path / "clip.mp4"), secret)
    whole = secret.read_bytes()
    huge = make_clip(tmp_path / "huge.avi").read_bytes()
    # The header of the stream contains the frame size twice.
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


def test_hostile_files_fail_with_one_line_without_a_path(
    site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    for name, content in hostile_files(tmp_path).items():
        state = finish(site, client, upload(client, content, name))
        if name == "huge.avi" and state["state"] == "done":
            continue  # The stream overrides the header.
        assert state["state"] == "failed", name
        assert state["error"].startswith(f"{name}: "), state
        assert "\n" not in state["error"]
        assert "/" not in state["error"]
        assert client.get(f"/api/clips/{state['id']}/result").status_code == 409
    good = upload(client, (site.clips / "jump" / "a.mp4").read_bytes())
    assert finish(site, client, good)["state"] == "done"


def test_server_survives_a_hundred_simultaneous_uploads(
    site: Site, client: httpx.Client, tmp_path: Path
) -> None:
    bad = list(hostile_files(tmp_path).values())
    good = (site.clips / "run" / "b.avi").read_bytes()

    def send(number: int) -> httpx.Response:
        content = bad[number % len(bad)] if number % 3 else good
        with httpx.Client(base_url=site.address, timeout=120) as sender:
            return sender.post("/api/clips", params={"name": f"clip {number}"}, content=content)

    with ThreadPoolExecutor(100) as pool:
        responses = list(pool.map(send, range(100)))
    assert {response.status_code for response in responses} <= {202, 503}
    accepted = [response.json() for response in responses if response.status_code == 202]
    assert len(accepted) >= LIMITS.max_queue
    for response in responses:
        if response.status_code == 503:
            assert "try again in" in response.json()["detail"]
            assert int(response.headers["retry-after"]) >= 1
    states = [finish(site, client, clip)["state"] for clip in accepted]
    assert set(states) <= {"done", "failed"}
    assert client.get("/api/status").json()["queued"] == 0
    clip = upload(client, good)
    assert finish(site, client, clip)["state"] == "done"


def test_large_upload_is_rejected_with_and_without_a_length(
    site: Site, client: httpx.Client
) -> None:
    large = bytes(2_000_001)
    before = set(site.queue._folder.iterdir())
    assert client.post("/api/clips", content=large).status_code == 413
    # Chunked, without a Content-Length header.
    chunks = (large[start : start + 100_000] for start in range(0, len(large), 100_000))
    assert client.post("/api/clips", content=chunks).status_code == 413
    assert set(site.queue._folder.iterdir()) == before


def test_aborted_upload_leaves_no_files(site: Site, client: httpx.Client) -> None:
    before = set(site.queue._folder.iterdir())
    host, port = site.address.removeprefix("http://").split(":")
    queue = site.queue

    def uploading() -> bool:
        return any(job.state == "uploading" for job in queue._jobs.values())

    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(
            f"POST /api/clips HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nabc".encode()
        )
        with queue._changed:
            assert queue._changed.wait_for(uploading, timeout=30)
    with queue._changed:
        assert queue._changed.wait_for(lambda: not uploading(), timeout=30)
    assert set(site.queue._folder.iterdir()) == before


def test_deleted_files_are_not_found(
    site: Site, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    clip = upload(client, (site.clips / "run" / "b.avi").read_bytes())
    finish(site, client, clip)
    url = f"/api/clips/{clip['id']}"
    # Delete the files before the queue forgets the job.
    shutil.rmtree(site.queue._jobs[clip["id"]].folder)
    for path in ("result", "video", "models/0/steps/0"):
        assert client.get(f"{url}/{path}").status_code == 404
    assert not caplog.records


def test_full_disk_is_reported(
    site: Site, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", raise_full)
        response = client.post("/api/clips", params={"name": "a.mp4"}, content=b"a video")
    assert response.status_code == 507
    assert response.json()["detail"].startswith(
        "a.mp4: cannot be stored: the server's disk is full"
    )
    wrapped = GlimpsesError("b")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert _is_disk_full(wrapped)
    assert not _is_disk_full(GlimpsesError("c"))


def test_cross_origin_requests_are_rejected(site: Site, client: httpx.Client) -> None:
    assert client.get("/api/status", headers={"Host": "evil.example"}).status_code == 400
    response = client.post("/api/examples/0", headers={"Origin": "http://evil.example"})
    assert response.status_code == 403
    response = client.post("/api/examples/0", headers={"Origin": "http://["})
    assert response.status_code == 403
    assert "content-security-policy" in response.headers
    response = client.post("/api/examples/0", headers={"Origin": site.address})
    assert response.status_code == 202


def test_paths_cannot_escape_the_page(client: httpx.Client) -> None:
    for path in ("/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/api/clips/..%2f..", "/app.py"):
        response = client.get(path)
        assert response.status_code in (307, 404)
        assert "import" not in response.text
    assert client.get("/api/clips/" + "x" * 500).status_code == 422
    assert client.get("/api.html").status_code == 404
    assert client.get("/api/clips/x/models/0/steps/" + "9" * 250).status_code == 422
