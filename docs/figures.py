"""Draw the pictures of the pages from the folder that the tutorial leaves behind.

    python docs/figures.py FOLDER              # the figures
    python docs/figures.py FOLDER --screens    # and what a browser shows (pip install playwright)

They go to docs/figures/. FOLDER is where the commands of docs/tutorial.md were run.
"""

from __future__ import annotations

import argparse
import io
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from glimpses import Prediction, Recogniser, datasets, runs, video
from glimpses.viz import draw_heatmap, encode, heatmap_scale
from glimpses.viz.style import COLOURS, FAINT, QUIET, style

OUT = Path(__file__).parent / "figures"
# The clip that the tutorial shows.
CLIP = "wave/v_wave_051/v_wave_051_01.avi"
# Light where much is, as the overlays have it.
LIGHT = "magma"


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--screens", action="store_true", help="open pages in Chromium, too")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    folder = given.folder.resolve()
    clip = folder / "my-clips" / CLIP
    recogniser = Recogniser.load(folder / "runs/mine")
    prediction = recogniser.predict(clip)
    frames = np.stack([frame.pixels for frame in _frames(clip, recogniser)])
    with style():
        save("clips", clips_figure(folder))
        save("frames", frames_figure(frames, prediction))
        save("cube", cube_figure(frames[12], recogniser))
        save("looking", looking_figure(frames, prediction))
        save("steps", steps_figure(prediction, runs.read_config(folder / "runs/mine").steps))
    overlay(folder / "seen.mp4", 0.7)
    if given.screens:
        screens(folder, given.chromium)


def _frames(clip: Path, recogniser: Recogniser) -> video.FrameReader:
    return video.FrameReader(clip, fps=recogniser.config.fps, size=recogniser.config.size)


def clips_figure(folder: Path) -> Figure:
    """A clip of each action, the same group, in the middle of the movement."""
    dataset = datasets.load(folder / "my-clips")
    group = next(clip.group for clip in dataset.clips if clip.id == CLIP)
    ours = [clip for clip in dataset.clips if clip.group == group]
    figure = _row()
    for axes, clip in zip(figure.subplots(1, len(ours)), ours, strict=True):
        frames = list(video.FrameReader(clip.path, fps=10, size=None))
        _picture(axes, frames[len(frames) // 2].pixels, dataset.classes[clip.labels[0]])
    return figure


def frames_figure(frames: np.ndarray, prediction: Prediction) -> Figure:
    """Some frames that the model reads, with their times."""
    figure = _row()
    chosen = range(0, len(frames), len(frames) // 6)[:6]
    for axes, step in zip(figure.subplots(1, 6), chosen, strict=True):
        _picture(axes, frames[step], f"{prediction.times[step]:.1f} s")
    return figure


def cube_figure(frame: np.ndarray, recogniser: Recogniser) -> Figure:
    """A frame in its places, and the channels of its cube that differ most between places."""
    backbone, grid = recogniser.backbone, recogniser.backbone.grid
    cube = recogniser.model.standard(backbone(frame[None]))[0].detach()
    busiest = torch.argsort(cube.var(dim=0), descending=True)[:5]
    figure = _row()
    first, *others = figure.subplots(1, 6)
    _picture(first, frame, f"{grid}x{grid} places")
    for line in np.arange(1, grid) * len(frame) / grid - 0.5:
        first.axhline(line, color="white", linewidth=0.5, alpha=0.7)
        first.axvline(line, color="white", linewidth=0.5, alpha=0.7)
    for axes, channel in zip(others, busiest.tolist(), strict=True):
        _picture(axes, cube[:, channel].reshape(grid, grid).numpy(), f"channel {channel}")
    return figure


def looking_figure(frames: np.ndarray, prediction: Prediction) -> Figure:
    """The location softmax of some steps, and the same as light on the frames."""
    assert prediction.attention is not None
    full = heatmap_scale(prediction.attention)
    figure = Figure(figsize=(9, 3.3))
    chosen = range(0, len(frames), len(frames) // 6)[:6]
    for column, step in enumerate(chosen):
        attention = prediction.attention[step]
        above = figure.add_subplot(2, 6, column + 1)
        _picture(above, attention, f"{prediction.times[step]:.1f} s", most=full)
        below = figure.add_subplot(2, 6, column + 7)
        _picture(below, draw_heatmap(frames[step], attention, full), "")
    figure.subplots_adjust(hspace=0.08, wspace=0.06)
    return figure


def steps_figure(prediction: Prediction, steps: int) -> Figure:
    """What the model says at every step, and of the clip."""
    names = [name for name, _ in prediction.top(3)]
    figure = Figure(figsize=(9, 2.4))
    each, whole = figure.subplots(1, 2, width_ratios=(2.4, 1))
    for name, colour in zip(names, COLOURS, strict=False):
        index = prediction.classes.index(name)
        each.plot(
            prediction.times, prediction.step_probabilities[:, index], color=colour, label=name
        )
    for start in prediction.times[steps::steps]:
        each.axvline(start - 0.05, color=FAINT)
    each.set(xlabel="seconds", ylim=(0, 1.02), title="at each step")
    each.legend(loc="center right")
    order = np.argsort(prediction.probabilities)
    colours = [
        COLOURS[names.index(prediction.classes[i])] if prediction.classes[i] in names else QUIET
        for i in order
    ]
    whole.barh(
        [prediction.classes[i] for i in order], prediction.probabilities[order], color=colours
    )
    whole.set(xlim=(0, 1), title="of the clip: their mean")
    figure.subplots_adjust(wspace=0.45)
    return figure


def overlay(file: Path, time: float) -> None:
    """The frame of an overlay video that is shown at a time."""
    frame = next(f for f in video.FrameReader(file, fps=10, size=None) if f.time >= time - 1e-3)
    _keep("overlay", Image.fromarray(frame.pixels))


def screens(folder: Path, chromium: str) -> None:
    """What a browser shows of the pages that the tutorial makes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, _served(folder / "runs/mine") as address:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 1200})
        for name, file in (
            ("report", folder / "report.html"),
            ("explanation", folder / "runs/mine/explained/explanation.html"),
        ):
            page.goto(file.as_uri())
            page.wait_for_timeout(1500)
            _keep(name, Image.open(io.BytesIO(page.screenshot())))
        page.set_viewport_size({"width": 1000, "height": 800})
        page.goto(address)
        page.click("#examples li:last-child button")
        page.wait_for_selector("#result:not([hidden])", timeout=120_000)
        page.fill("#seek", "0.7")
        page.evaluate("document.querySelector('#result').scrollIntoView(); scrollBy(0, -24)")
        page.wait_for_timeout(1500)
        _keep("serve", Image.open(io.BytesIO(page.screenshot())))
        browser.close()


@contextmanager
def _served(run: Path) -> Iterator[str]:
    """The page of `glimpses serve`, at its address."""
    command = ["glimpses", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.send_signal(signal.SIGINT)


def _row() -> Figure:
    figure = Figure(figsize=(9, 1.75))
    figure.subplots_adjust(wspace=0.06)
    return figure


def _picture(axes: Axes, picture: np.ndarray, title: str, most: float | None = None) -> None:
    flat = picture.ndim == 2
    axes.imshow(picture, cmap=LIGHT if flat else None, vmin=0 if most else None, vmax=most)
    axes.set_title(title, loc="center", fontsize=9, fontweight="normal", pad=4)
    axes.set_axis_off()


def save(name: str, figure: Figure) -> None:
    """Keep a figure as a small file."""
    _keep(name, Image.open(io.BytesIO(encode(figure, dpi=120))))


def _keep(name: str, picture: Image.Image) -> None:
    OUT.mkdir(exist_ok=True)
    picture.convert("RGB").save(OUT / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
