"""Main functions of worker processes for tests: no models, and failures on request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path


def scripted(connection: Connection, runs: Sequence[str], threads: int) -> None:
    """Handle each clip according to its name; by default succeed at once."""

    def send(message: object) -> None:
        connection.send_bytes(json.dumps(message).encode())

    send({"ready": True})
    while True:
        try:
            task = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if "cancel" in task:
            continue
        match task["name"]:
            case "hangs":
                time.sleep(3600)
            case "dies":
                os._exit(139)
            case "sends garbage":
                connection.send_bytes(b"\xff no JSON")
            case "sends a bad message":
                send({"progress": None})
            case "fails":
                send({"failed": "fails: contains no frames"})
                continue
            case "until cancelled":
                while not connection.poll(0.01):
                    send({"progress": 0.5, "stage": "recognising"})
                connection.recv_bytes()
                send({"failed": "until cancelled: cancelled"})
                continue
        name = "0.mp4" if task["kind"] == "draw_overlay" else "prediction.json"
        Path(task["folder"], name).write_text(task["name"])
        send({"progress": 1.0, "stage": "drawing"})
        send({"done": True})


def unloadable(connection: Connection, runs: Sequence[str], threads: int) -> None:
    """Report that the models cannot be loaded."""
    connection.send_bytes(json.dumps({"failed": f"{runs[0]}: is damaged"}).encode())
