"""What runs in a worker's process in tests: nothing to load, and bad manners on request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path


def mannered(connection: Connection, runs: Sequence[str], threads: int) -> None:
    """Do to a clip what its name says."""
    say = lambda message: connection.send_bytes(json.dumps(message).encode())  # noqa: E731
    say({"ready": True})
    while True:
        try:
            order = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if "stop" in order:
            continue
        match order["name"]:
            case "hangs":
                time.sleep(3600)
            case "dies":
                os._exit(139)
            case "babbles":
                connection.send_bytes(b"\xff no JSON")
            case "lies":
                say({"progress": None})
            case "fails":
                say({"failed": "fails: gives no picture"})
                continue
            case "until told":
                while not connection.poll(0.01):
                    say({"progress": 0.5, "doing": "looking"})
                connection.recv_bytes()
                say({"failed": "until told: was sent away"})
                continue
        name = "0.mp4" if order["kind"] == "draw" else "prediction.json"
        Path(order["folder"], name).write_text(order["name"])
        say({"progress": 1.0, "doing": "drawing"})
        say({"done": True})


def unloadable(connection: Connection, runs: Sequence[str], threads: int) -> None:
    """Find that the models cannot be loaded."""
    connection.send_bytes(json.dumps({"failed": f"{runs[0]}: is damaged"}).encode())
