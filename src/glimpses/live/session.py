"""Live session behind `glimpses watch`: source, sampler, recogniser and window."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

from glimpses import video
from glimpses.inference import Recogniser
from glimpses.live.capture import Clock, FilePlayback, LatestFrame, Source
from glimpses.live.live_recogniser import LiveRecogniser, LiveStats
from glimpses.live.sampler import DEFAULT_FPS, sample_file, sample_live
from glimpses.live.window import Window
from glimpses.utils import progress
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import check_writable

# Seconds without a frame after which a source is given up; longer than the source's own timeout.
_TIMEOUT = 15.0


def watch(
    run: str | Path,
    file: str | Path | None = None,
    /,
    *,
    camera: int | None = None,
    url: str | None = None,
    window: bool | None = None,
    out: str | Path | None = None,
    jsonl: bool = False,
    fast: bool = False,
    seconds: float | None = None,
    device: str = "cpu",
) -> LiveStats | None:
    """Recognise the action in a live video, and draw the attention on each frame.

    Frames are dropped, never queued, when the model is too slow. The command ends with the source,
    with q or Escape in the window, or with Ctrl-C.

    Args:
        run: folder of a trained run.
        file: a video file, played at its own speed.
        camera: number of a camera of this computer, from 0.
        url: address of a stream: rtsp, http, rtmp, tcp, udp or rtp.
        window: whether to open a window; by default, if there is a display.
        out: MP4 file for the annotated video.
        jsonl: print one JSON object per processed frame, and a summary at the end.
        fast: read a file as fast as possible and drop no frames.
        seconds: stop after this many seconds.
        device: "cpu" or "cuda".

    Returns:
        Statistics of the session; None with `jsonl`, which prints them as its last line.

    Raises:
        GlimpsesError: the run cannot be used; the source cannot be opened or broke off (the video
            written so far is kept); or `out` cannot be written.
    """
    run, file = Path(run), None if file is None else Path(file)
    out = None if out is None else Path(out)
    clock = Clock()
    source = _open_source(file, camera, url, clock)
    if fast and file is None:
        raise GlimpsesError("--fast: works with files only; a live source sets its own speed")
    if out is not None:
        _check_output(out, file)
    if seconds is not None and seconds <= 0:
        raise GlimpsesError(f"--seconds {seconds:g}: give a number above 0")
    recogniser = Recogniser.load(run, device=device)
    fps = recogniser.config.data.fps
    screen = _open_window(source.name, window)
    end = None if seconds is None else clock.now() + seconds
    with ExitStack() as stack:
        interrupted = stack.enter_context(_catch_interrupts())
        if screen is not None:
            stack.callback(screen.close)

        def stopped() -> bool:
            if screen is not None:
                screen.process_events()
                if screen.closed:
                    return True
            return interrupted.is_set() or (end is not None and clock.now() >= end)

        if fast and file is not None:
            samples = sample_file(file, fps, stopped)
        else:
            timeout = _TIMEOUT if file is None else None
            capture = stack.enter_context(LatestFrame(source, clock, timeout=timeout))
            samples = sample_live(capture, fps, clock, stopped)
        live = LiveRecogniser(
            recogniser, source.name, clock, screen=screen, draw=out is not None, jsonl=jsonl,
            show_status=stack.enter_context(progress.status_line()),
        )  # fmt: skip
        pictures = live.process(samples)
        first = next(pictures, None)
        if out is not None and first is not None:
            rate = fps if fps != "native" else source.rate or DEFAULT_FPS
            video.write(out, chain([first], pictures), fps=rate)
        for _ in pictures:
            pass
    return live.finish(None if first is None else out)


def _open_source(file: Path | None, camera: int | None, url: str | None, clock: Clock) -> Source:
    """Return the one source that was requested."""
    if sum(option is not None for option in (file, camera, url)) != 1:
        advice = "give either FILE, --camera NUMBER, or --url ADDRESS"
        raise GlimpsesError(f"one source is needed: {advice}")
    if camera is not None:
        return video.camera(camera)
    if url is not None:
        return video.stream_at(url)
    assert file is not None
    return FilePlayback(file, clock)


def _open_window(title: str, required: bool | None) -> Window | None:
    """Open a window; return None if none is wanted, or none is possible and none is required."""
    if required is False:
        return None
    try:
        return Window(f"{title} - Glimpses")
    except GlimpsesError:
        if required:
            raise
        return None


def _check_output(out: Path, file: Path | None) -> None:
    """Refuse an output file that cannot be written, before any work."""
    if out.suffix.lower() != ".mp4":
        raise GlimpsesError(f"{out}: only MP4 can be written; give --out a name ending in .mp4")
    if file is not None and out.exists() and out.resolve() == file.resolve():
        raise GlimpsesError(f"{out}: is the input video; give --out another name")
    check_writable(out.parent)


@contextmanager
def _catch_interrupts() -> Iterator[threading.Event]:
    """Set an event on the first SIGINT or SIGTERM; the second one has its usual effect."""
    interrupted = threading.Event()
    # Python delivers signals to the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(*_: object) -> None:
        interrupted.set()
        restore()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield interrupted
    finally:
        restore()
