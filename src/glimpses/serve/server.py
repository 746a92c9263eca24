"""A page where one drops a clip and watches where models look, and its API; `glimpses serve`."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import logging
import math
import os
import signal
import socket
import sys
import webbrowser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from glimpses import runs
from glimpses.runs import RunConfig
from glimpses.utils.errors import GlimpsesError

if TYPE_CHECKING:
    from glimpses.serve.app import ModelInfo

log = logging.getLogger(__name__)

_EXTRA = ("fastapi", "uvicorn")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Connections beyond these are closed before anything is read from them.
_CONNECTIONS = 400


class _Cancelled(logging.Filter):
    """Leaves out that requests were cut off by the server's end: uvicorn tells it as an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        return kind is None or not issubclass(kind, asyncio.CancelledError)


def serve(
    run: Path,
    /,
    *others: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    examples: Path | None = None,
    workers: int = 1,
    waiting: int = 16,
    megabytes: int = 100,
    seconds: float = 60.0,
    patience: float = 120.0,
    keep: float = 15.0,
    browse: bool = False,
) -> None:
    """Open a page where one drops a video and watches where the model looks.

    Interrupt it (Ctrl-C) to end it; whatever was handed in is deleted then.

    Args:
        run: folder of a trained run.
        others: further runs, to be shown side by side with it.
        host: address to listen on. The default is this machine alone; 0.0.0.0 is everyone who can
            reach it, for whom there is no password.
        port: to listen on; 0 for any that is free.
        examples: folder of videos ready to be clicked; test clips of the first run if not given.
        workers: clips worked on at a time; each worker holds the models in memory.
        waiting: clips that may wait; beyond it the page asks to come back later.
        megabytes: largest file.
        seconds: longest clip.
        patience: seconds of work after which a clip is given up.
        keep: minutes that a result is kept after it was last looked at.
        browse: whether to open the page in a browser.

    Raises:
        GlimpsesError: a run cannot be used, or the port is taken.
    """
    if any(importlib.util.find_spec(name) is None for name in _EXTRA):
        raise GlimpsesError("the page needs FastAPI; pip install 'glimpses[serve]'")
    for name, value in {
        "--workers": workers, "--waiting": waiting, "--megabytes": megabytes,
        "--seconds": seconds, "--patience": patience, "--keep": keep,
    }.items():  # fmt: skip
        if not 0 < value < math.inf:
            raise GlimpsesError(f"{name} {value:g}: give a number above 0")
    import uvicorn

    from glimpses.serve.app import PageInfo, make_app
    from glimpses.serve.connections import impatient
    from glimpses.serve.examples import examples_in, examples_of
    from glimpses.serve.queue import JobQueue, Limits
    from glimpses.serve.worker import Worker

    folders = [Path(each) for each in (run, *others)]
    configs = [_usable(folder) for folder in folders]
    listening = _listen(host, port)
    address = f"http://{_spoken(host)}:{listening.getsockname()[1]}"
    limits = Limits(
        megabytes=megabytes, seconds=seconds, waiting=waiting, workers=workers,
        patience=patience, keep=keep,
    )  # fmt: skip
    threads = max(1, (os.cpu_count() or 1) // workers)
    # uvicorn raises a signal again once it has shut down; files are to be deleted first.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), lambda *_: sys.exit(0))
    desk = JobQueue(limits, lambda: Worker(folders, threads))
    console = Console(stderr=True)
    try:
        with console.status("loading the models"):
            clips = (
                examples_of(configs[0], most_seconds=seconds)
                if examples is None
                else examples_in(Path(examples), most_seconds=seconds)
            )
            desk.open()
        app = make_app(
            desk, PageInfo(describe(folders, configs), clips), hosts=_names(host, listening)
        )
        logging.getLogger("uvicorn.error").addFilter(_Cancelled())
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=impatient(_most_connections()),
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        print(f"{address}   open it in a browser; {address}/api tells how programs use it")
        print("Ctrl-C ends it", flush=True)
        if browse:
            webbrowser.open(address)
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        # That is how one ends a server.
        return
    finally:
        desk.close()
        listening.close()


def describe(folders: Sequence[Path], configs: Sequence[RunConfig]) -> list[ModelInfo]:
    """What the page tells of some runs.

    Args:
        folders: of the runs; only their last names are told.
        configs: of the runs.
    """
    from glimpses.models import build_meta_model
    from glimpses.serve.app import ExplanationSummary, ModelInfo

    described = [build_meta_model(config.model) for config in configs]
    return [
        ModelInfo(
            name=name,
            kind=model.description,
            backbone=config.data.backbone,
            frames_per_second=config.data.fps,
            classes=list(config.classes),
            attends=model.has_attention,
            measures=None if (found := _measures(folder)) is None else ExplanationSummary(**found),
        )
        for folder, config, model, name in zip(
            folders, configs, described, _names_of(folders), strict=True
        )
    ]


def _usable(folder: Path) -> RunConfig:
    """A run's settings, if it was trained to its end."""
    config = runs.read_config(folder)
    if not (folder / runs.WEIGHTS).exists():
        raise GlimpsesError(
            f"{folder}: its training has not finished; run the same `glimpses train` again to go on"
        )
    return config


def _names_of(folders: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, with a number where two are the same."""
    names = [folder.resolve().name for folder in folders]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} {names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]


def _measures(folder: Path) -> dict[str, Any] | None:
    """What `glimpses explain` left in a run's folder, in short; None where it left nothing."""
    try:
        told = json.loads((folder / "explained" / "explanation.json").read_text("utf-8"))
        where, frozen = told["where"], told["frozen"]
        own = where.get(told["maps"]) if told["maps"] == "attention" else None
        return {
            "clips": told["accuracy"]["clips"],
            "accuracy": told["accuracy"]["value"],
            "pointing": own and own["pointing"]["value"],
            "pointing_chance": own and where["uniform"]["pointing"]["value"],
            "accuracy_uniform": frozen and frozen["uniform"]["value"],
        }
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("%s: its explanation cannot be read; run glimpses explain again", folder)
        return None


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that what is wrong is told before models are loaded."""
    if not 0 <= port < 65536:
        raise GlimpsesError(f"--port {port}: ports are 0 to 65535")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        if os.name == "posix":
            # Elsewhere this would take the port from whoever has it.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GlimpsesError(
            f"{host}:{port}: cannot be listened on ({reason}); give another --host or --port"
        ) from error
    return listening


def _most_connections() -> int:
    """How many may be open at a time: the system lets a process have so many files."""
    try:
        import resource

        return min(_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    except ImportError:
        return _CONNECTIONS


def _spoken(host: str) -> str:
    """How a browser on this machine calls an address that is listened on."""
    if host in ("0.0.0.0", "::", ""):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _names(host: str, listening: socket.socket) -> tuple[str, ...]:
    """By which names the server may be called: on loopback by none but loopback's."""
    address = ipaddress.ip_address(listening.getsockname()[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (*_LOOPBACK, host.lower()) if (mapped or address).is_loopback else ("*",)
