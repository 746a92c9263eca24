"""Watch a camera, a stream or a file live: what is being done, and where the model looks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

from glimpses import video
from glimpses.inference.recogniser import Recogniser
from glimpses.live.capture import Clock, FilePlayback, LatestFrame, RealClock, Source
from glimpses.live.sampler import RATE, every, live
from glimpses.live.watcher import LiveRecogniser, LiveStats
from glimpses.live.window import Window
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_writable

__all__ = ["LiveStats", "watch"]

# Seconds without a picture after which a source is given up; longer than it gives itself.
_PATIENCE = 15.0


def watch(
    run: Path,
    file: Path | None = None,
    /,
    *,
    camera: int | None = None,
    url: str | None = None,
    window: bool | None = None,
    out: Path | None = None,
    lines: bool = False,
    fast: bool = False,
    seconds: float | None = None,
    device: str = "cpu",
) -> LiveStats | None:
    """Name the action while it happens, and draw where the model looks.

    Frames for which there is no time are dropped, never queued. It ends with the source, with q or
    Escape in the window, or with Ctrl-C.

    Args:
        run: folder of a trained run.
        file: a video file, which is played at its own speed.
        camera: number of a camera of this computer, from 0.
        url: address of a stream: rtsp, http, rtmp, tcp, udp or rtp.
        window: whether to open one; if not said, it is opened where there is a screen.
        out: MP4 file to write what is shown to.
        lines: print a line of JSON for every step as soon as it is done, and one at the end.
        fast: read a file as fast as may be and drop nothing.
        seconds: stop after so many.
        device: "cpu" or "cuda".

    Returns:
        How it went; None after `lines`, the last of which says so.

    Raises:
        GlimpsesError: the run cannot be used; the source cannot be opened, or broke off (what was
            written by then is kept); or `out` cannot be written.
    """
    clock = RealClock()
    source = _source(file, camera, url, clock)
    if fast and file is None:
        raise GlimpsesError("--fast: is for files; what is live comes no faster than it comes")
    if out is not None:
        _require_film(Path(out), file)
    if seconds is not None and seconds <= 0:
        raise GlimpsesError(f"--seconds {seconds:g}: give a number above 0")
    recogniser = Recogniser.load(run, device=device)
    fps = recogniser.config.data.fps
    screen = _screen(source.name, window)
    end = None if seconds is None else clock.now() + seconds
    with ExitStack() as stack:
        interrupted = stack.enter_context(_interrupts())
        if screen is not None:
            stack.callback(screen.close)

        def stopped() -> bool:
            if screen is not None:
                screen.respond()
                if screen.closed:
                    return True
            return interrupted.is_set() or (end is not None and clock.now() >= end)

        if fast and file is not None:
            looks = every(Path(file), fps, stopped)
        else:
            patience = _PATIENCE if file is None else None
            feed = stack.enter_context(LatestFrame(source, clock, patience=patience))
            looks = live(feed, fps, clock, stopped)
        watcher = LiveRecogniser(
            recogniser,
            source.name,
            clock,
            screen=screen,
            draws=out is not None,
            lines=lines,
            say=stack.enter_context(progress.line()),
        )
        drawn = watcher.watch(looks)
        first = next(drawn, None)
        if out is not None and first is not None:
            rate = fps if fps != "native" else source.rate or RATE
            video.write(Path(out), chain([first], drawn), fps=rate)
        for _ in drawn:
            pass
    return watcher.finish(None if out is None or first is None else Path(out))


def _source(file: Path | None, camera: int | None, url: str | None, clock: Clock) -> Source:
    """The one source that was asked for."""
    if sum(given is not None for given in (file, camera, url)) != 1:
        raise GlimpsesError(
            "one thing can be watched: give a FILE, --camera NUMBER, or --url ADDRESS"
        )
    if camera is not None:
        return video.camera(camera)
    if url is not None:
        return video.stream_at(url)
    assert file is not None
    return FilePlayback(Path(file), clock)


def _screen(title: str, wanted: bool | None) -> Window | None:
    """A window; None if there can be none, unless it was asked for."""
    if wanted is False:
        return None
    try:
        return Window(f"{title} - Glimpses")
    except GlimpsesError:
        if wanted:
            raise
        return None


def _require_film(out: Path, file: Path | None) -> None:
    """Refuse a film that cannot be written before anything is watched."""
    if out.suffix.lower() != ".mp4":
        raise GlimpsesError(f"{out}: films are MP4 files; give --out a name ending in .mp4")
    if file is not None and out.exists() and out.resolve() == Path(file).resolve():
        raise GlimpsesError(f"{out}: is the video itself; give --out another name")
    check_writable(out.parent)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Take Ctrl-C for the wish to end well; pressed again, it is what it was.

    What ends a service, SIGTERM, means the same.
    """
    asked = threading.Event()
    # Only the main thread hears of signals.
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(*_: object) -> None:
        asked.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        restore()
