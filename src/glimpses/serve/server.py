"""Server behind `glimpses serve`: sockets, workers, and descriptions of the runs."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import os
import secrets
import signal
import socket
import sys
import webbrowser
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rich.console import Console

from glimpses import runs
from glimpses.runs import RunConfig
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import read_json

if TYPE_CHECKING:
    from glimpses.serve.schemas import ModelInfo

log = logging.getLogger(__name__)

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_MAX_CONNECTIONS = 400


class _CancelledFilter(logging.Filter):
    """Log filter that drops requests cut off by the shutdown, which uvicorn logs as errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0] if record.exc_info else None
        return error is None or not issubclass(error, asyncio.CancelledError)


def serve(
    run: str | Path,
    /,
    *others: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    allowed_host: tuple[str, ...] = (),
    token: str | None = None,
    examples: str | Path | None = None,
    workers: int = 1,
    max_queue: int = 16,
    max_upload_mb: int = 100,
    max_seconds: float = 60.0,
    job_timeout: float = 120.0,
    retention: float = 15.0,
    open_browser: bool = False,
) -> None:
    """Serve a web page that recognises uploaded videos and shows where the model looks.

    Press Ctrl-C to stop; all uploaded clips are deleted then.

    Args:
        run: folder of a trained run.
        others: more runs, shown side by side.
        host: address to listen on. By default only this machine can connect; with 0.0.0.0
            others can too, if they have the token.
        port: port to listen on; 0 for any free one.
        allowed_host: another name by which browsers reach the server, as behind a proxy; may be
            repeated. Its own names and addresses are always allowed.
        token: secret that requests must give, in the URL, a cookie or a header; by default, a
            random one is printed if others than this machine can connect; "" asks for none.
        examples: folder of example videos; by default, test clips of the first run.
        workers: number of clips processed at a time; each worker holds all models in memory.
        max_queue: largest number of clips in the queue; more are asked to come back later.
        max_upload_mb: largest file in megabytes.
        max_seconds: longest clip in seconds.
        job_timeout: seconds of work after which a clip is aborted.
        retention: minutes that a result is kept after its last access.
        open_browser: open the page in a browser.

    Raises:
        GlimpsesError: a run cannot be used, or the port is taken.
    """
    if not (find_spec("fastapi") and find_spec("uvicorn")):
        raise GlimpsesError("serving needs FastAPI; pip install 'glimpses[serve]'")
    for name, value in {
        "--workers": workers, "--max-queue": max_queue, "--max-upload-mb": max_upload_mb,
        "--max-seconds": max_seconds, "--job-timeout": job_timeout, "--retention": retention,
    }.items():  # fmt: skip
        if not 0 < value < math.inf:
            raise GlimpsesError(f"{name} {value:g}: give a number above 0")
    import uvicorn

    from glimpses.serve.app import create_app
    from glimpses.serve.connections import limited_protocol
    from glimpses.serve.examples import examples_from_folder, examples_from_run
    from glimpses.serve.queue import JobQueue, Limits
    from glimpses.serve.worker import Worker

    folders = [Path(folder) for folder in (run, *others)]
    configs = [_read_config(folder) for folder in folders]
    listener = _listen(host, port)
    address = f"http://{_browser_host(host)}:{listener.getsockname()[1]}"
    limits = Limits(
        max_upload_mb=max_upload_mb, max_seconds=max_seconds, max_queue=max_queue,
        workers=workers, job_timeout=job_timeout, retention=retention,
    )  # fmt: skip
    threads = max(1, (os.cpu_count() or 1) // workers)
    # uvicorn raises a signal again after its shutdown; exit normally so that files get deleted.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), lambda *_: sys.exit(0))
    queue = JobQueue(limits, lambda: Worker(folders, threads))
    try:
        with Console(stderr=True).status("loading the models"):
            if examples is None:
                clips = examples_from_run(configs[0], max_seconds=max_seconds)
            else:
                clips = examples_from_folder(Path(examples), max_seconds=max_seconds)
            queue.start()
        hosts = (*_allowed_hosts(host), *allowed_host)
        if token is None and not _is_loopback(listener):
            token = secrets.token_urlsafe(24)
        suffix = f"/?{urlencode({'token': token})}" if token else ""
        app = create_app(
            queue,
            describe_models(folders, configs),
            clips,
            allowed_hosts=hosts,
            token=token or None,
        )
        logging.getLogger("uvicorn.error").addFilter(_CancelledFilter())
        config = uvicorn.Config(
            app, http=limited_protocol(_max_connections()), log_level="warning",
            server_header=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        print(f"{address}{suffix}   open it in a browser; the API is documented at {address}/api")
        print("press Ctrl-C to stop", flush=True)
        if open_browser:
            webbrowser.open(address + suffix)
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        # The normal way to stop the server.
        return
    finally:
        queue.close()
        listener.close()


def describe_models(folders: Sequence[Path], configs: Sequence[RunConfig]) -> list[ModelInfo]:
    """Return the descriptions of runs for the page, without their paths."""
    from glimpses.models import build_meta_model
    from glimpses.serve.schemas import ExplanationSummary, ModelInfo

    models = []
    for folder, config, name in zip(folders, configs, _unique_names(folders), strict=True):
        summary, model = _read_explanation(folder), build_meta_model(config.model)
        info = ModelInfo(
            name=name, description=model.description, backbone=config.data.backbone,
            fps=config.data.fps, classes=list(config.classes), has_attention=model.has_attention,
            score=_read_score(folder),
            explanation=None if summary is None else ExplanationSummary(**summary),
        )  # fmt: skip
        models.append(info)
    return models


def _read_config(folder: Path) -> RunConfig:
    """Return the configuration of a run whose training has finished."""
    config = runs.read_config(folder)
    if not (folder / runs.WEIGHTS).exists():
        advice = "run the same `glimpses train` again to resume"
        raise GlimpsesError(f"{folder}: training has not finished; {advice}")
    return config


def _unique_names(folders: Sequence[Path]) -> list[str]:
    """Return the last name of each folder, numbered where it occurs more than once."""
    names = [folder.resolve().name for folder in folders]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} {names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]


def _read_score(folder: Path) -> str | None:
    """Return the newest score of a run on unseen clips in words, or None if there is none."""
    try:
        records = runs.read_scores(folder)
    except GlimpsesError as error:
        log.warning("%s", error)
        return None
    unseen = [record for record in records if record.subset in ("test", runs.CROSS_VALIDATED)]
    return unseen[-1].headline if unseen else None


def _read_explanation(folder: Path) -> dict[str, Any] | None:
    """Return a summary of the results of `glimpses explain`, or None if there are none."""
    try:
        report = read_json(folder / "explained" / "explanation.json")
        localisation, ablation = report["localisation"], report["attention_ablation"]
        # Other maps, such as Grad-CAM, say nothing about the model's own attention.
        attention = localisation.get("attention") if report["map_name"] == "attention" else None
        uniform = ablation and ablation["uniform"]
        return {
            "clips": report["accuracy"]["clips"],
            "recordings": len(set(report["groups"])),
            "accuracy": report["accuracy"]["value"],
            "accuracy_interval": _interval(report["accuracy"]),
            "pointing_accuracy": attention and attention["pointing"]["value"],
            "pointing_chance": attention and localisation["uniform"]["pointing"]["value"],
            "accuracy_uniform_attention": uniform and uniform["value"],
            "accuracy_uniform_attention_interval": uniform and _interval(uniform),
        }
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("%s: cannot read its explanation; run glimpses explain again", folder)
        return None


def _interval(estimate: Mapping[str, float | None]) -> tuple[float, float] | None:
    low, high = estimate["low"], estimate["high"]
    return None if low is None or high is None else (low, high)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; opened first, to report errors before models are loaded."""
    if not 0 <= port < 65536:
        raise GlimpsesError(f"--port {port}: give a number from 0 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        if os.name == "posix":
            # On Windows this option would steal a port in use.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        problem = f"{host}:{port}: cannot listen on it ({error.strerror or error})"
        raise GlimpsesError(f"{problem}; give another --host or --port") from error
    return listener


def _max_connections() -> int:
    """Return the limit of open connections, below the system's limit of open files."""
    try:
        import resource

        return min(_MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    except ImportError:
        return _MAX_CONNECTIONS


def _browser_host(host: str) -> str:
    """Return the host for URLs that are opened on this machine."""
    host = "localhost" if host in ("0.0.0.0", "::", "") else host
    return f"[{host}]" if ":" in host else host


def _is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine can connect."""
    address = ipaddress.ip_address(listener.getsockname()[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _allowed_hosts(host: str) -> tuple[str, ...]:
    """Return the names of this server; of the machine if it listens on all addresses."""
    names = [*_LOOPBACK_NAMES, host.lower()]
    if host in ("0.0.0.0", "::", ""):
        machine = socket.gethostname()
        names += [machine, socket.getfqdn()]
        with suppress(OSError):
            names += [str(info[4][0]) for info in socket.getaddrinfo(machine, None)]
        # The address that packets to others leave by; none is sent.
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            names.append(probe.getsockname()[0])
    return tuple(dict.fromkeys(name.lower() for name in names if name))
