"""Main function of a decoder process: reads one video after the other."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Generator, Mapping
from typing import Any

import msgspec
import numpy as np

from glimpses.utils.errors import GlimpsesError
from glimpses.utils.limits import DecodeOptions, on_each_frame, set_decode_options
from glimpses.utils.worker_main import Channel, limit_resources
from glimpses.video.isolation import FRAME_HEADER, Frame, drain

# Seconds between two signs of life while frames are decoded and not sent.
_SIGN_OF_LIFE = 1.0
# A decoder has nothing to write; bytes of a file that it writes all the same.
_MAX_FILE = 1 << 20


class _CancelledError(Exception):
    """The parent has cancelled the current task."""


def main(channel: Channel, options: Mapping[str, Any]) -> None:
    """Run functions decorated by `isolated` until the parent ends."""
    set_decode_options(DecodeOptions(**options), isolated=False)
    channel.send({"ready": True})
    limit_resources(memory=options["clip_memory"] * 1e9, file_size=_MAX_FILE)
    last = 0.0

    def send(frame: Frame) -> None:
        nonlocal last
        last = time.monotonic()
        height, width, _ = frame.pixels.shape
        header = FRAME_HEADER.pack(frame.time, frame.number, height, width)
        channel.send_bytes(header, np.ascontiguousarray(frame.pixels).data.cast("B"))

    def show_life() -> None:
        nonlocal last
        if channel.cancelled:
            raise _CancelledError
        if time.monotonic() - last > _SIGN_OF_LIFE:
            last = time.monotonic()
            channel.send({"alive": True})

    on_each_frame(show_life)
    while True:
        task = channel.next_task()
        last = time.monotonic()
        try:
            if task["folder"] is not None:
                os.chdir(task["folder"])
            function = getattr(importlib.import_module(task["module"]), task["function"])
            result = function(*task["arguments"], **task["options"])
            if isinstance(result, Generator):
                result = drain(result, send)
        except _CancelledError:
            channel.send({"end": None})
        except MemoryError:
            channel.send({"memory": True})
        except GlimpsesError as error:
            channel.send({"failed": str(error)})
        except Exception as error:
            # A damaged file may cause any error in the libraries below.
            channel.send({"broken": f"{type(error).__name__}: {error}"})
        else:
            channel.send({"end": msgspec.to_builtins(result, enc_hook=str)})
