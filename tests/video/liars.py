"""Main function of a worker process that breaks the protocol."""

from __future__ import annotations

from glimpses.utils.worker import BYTES, HEADER, JSON
from glimpses.utils.worker_main import Channel


def main(channel: Channel, sent: str) -> None:
    content = {
        "garbage": b"\xff" * 100,
        "huge": HEADER.pack(JSON, 1 << 40),
        "list": HEADER.pack(JSON, 2) + b"[]",
        "frame": HEADER.pack(BYTES, 101) + bytes(101),
    }[sent]
    channel._output.write(content)
    channel._output.flush()
    channel.next_task()
