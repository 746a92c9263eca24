"""A server with real workers and untrained models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn

from glimpses import backbones, models, runs, video
from glimpses.segments import DecodeOptions
from glimpses.serve.app import create_app
from glimpses.serve.connections import limited_protocol
from glimpses.serve.examples import examples_from_folder
from glimpses.serve.queue import JobQueue, Limits
from glimpses.serve.server import _listen, describe_models
from glimpses.serve.worker import Worker
from tests.configs import model_config, run_config

BACKBONE = "efficientnet_lite0:16:7"
LIMITS = Limits(max_upload_mb=2, max_seconds=5.0, max_queue=16)


@dataclass(frozen=True)
class Site:
    """A running server.

    Attributes:
        address: its URL.
        queue: its job queue.
        runs: folders of its two runs, attention and average pooling.
        clips: folder of the examples, with one subfolder per action.
    """

    address: str
    queue: JobQueue
    runs: tuple[Path, Path]
    clips: Path


def make_run(folder: Path, kind: str) -> Path:
    backbone = backbones.load(BACKBONE)
    torch.manual_seed(1)
    shape = model_config(
        num_classes=3, places=49, channels=backbone.channels, model=kind, hidden_size=16,
        attention_size=8,
    )  # fmt: skip
    config = run_config(
        classes=("jump", "run", "<b>&amp;"), backbone=BACKBONE, weights=backbone.weights,
        size=backbone.size, block_length=5, model=shape, data_dir=str(folder / "gone"),
        # An untrained model is never sure.
        segment_decoding=DecodeOptions(threshold=0.3),
    )  # fmt: skip
    runs.write_config(folder, config)
    runs.save_model(folder, models.build_model(shape))
    return folder


def make_clip(path: Path, *, seconds: float = 1.2, fps: float = 15.0, size: int = 96) -> Path:
    """Write a clip of a light that moves in a circle."""
    count = round(seconds * fps)
    frames = np.full((count, size, size, 3), 40, np.uint8)
    for step in range(count):
        angle = 2 * np.pi * step / 20
        row, column = (int(size * (0.4 + 0.3 * x)) for x in (np.sin(angle), np.cos(angle)))
        frames[step, row : row + size // 5, column : column + size // 5] = (250, 210, 40)
    video.write(path, frames, fps=fps)
    return path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSES_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        folders = (
            make_run(root / "runs" / "attention", "attention"),
            make_run(root / "runs" / "average", "average"),
        )
        clips = root / "clips"
        make_clip(clips / "jump" / "a.mp4")
        make_clip(clips / "run" / "b.avi", seconds=0.8)
        queue = JobQueue(LIMITS, lambda: Worker(folders, 1))
        queue.start()
        configs = [runs.read_config(folder) for folder in folders]
        examples = examples_from_folder(clips, max_seconds=LIMITS.max_seconds)
        model_infos = describe_models(folders, configs)
        app = create_app(queue, model_infos, examples, allowed_hosts=["127.0.0.1"])
        listener = _listen("127.0.0.1", 0)
        server = uvicorn.Server(
            uvicorn.Config(app, http=limited_protocol(200), log_level="warning")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", queue, folders, clips)
        server.should_exit = True
        thread.join()
        queue.close()
        listener.close()
