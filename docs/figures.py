"""Draw the figures of the documentation into docs/figures/.

    python docs/figures.py FOLDER              # figures only
    python docs/figures.py FOLDER --screens    # also screenshots (pip install playwright)

FOLDER is the folder in which the commands of docs/tutorial.md were run.
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
from glimpses.viz import draw_heatmap, encode_figure, heatmap_scale
from glimpses.viz.style import COLOURS, FAINT, QUIET, figure_style

OUT = Path(__file__).parent / "figures"
# Clip shown in the tutorial.
CLIP = "wave/v_wave_051/v_wave_051_01.avi"
# Bright for large values, as in the overlays.
COLOUR_MAP = "magma"


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--screens", action="store_true", help="also take screenshots in Chromium")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    clip = folder / "my-clips" / CLIP
    recogniser = Recogniser.load(folder / "runs/mine")
    prediction = recogniser.predict(clip)
    frames = np.stack([frame.pixels for frame in _frames(clip, recogniser)])
    with figure_style():
        save("clips", clips_figure(folder))
        save("frames", frames_figure(frames, prediction))
        save("cube", cube_figure(frames[12], recogniser))
        save("attention", attention_figure(frames, prediction))
        save(
            "steps",
            steps_figure(prediction, runs.read_config(folder / "runs/mine").data.block_length),
        )
    save_overlay_frame(folder / "seen.mp4", 0.7)
    if arguments.screens:
        take_screenshots(folder, arguments.chromium)


def _frames(clip: Path, recogniser: Recogniser) -> video.FrameReader:
    config = recogniser.config
    return video.FrameReader(clip, fps=config.data.fps, size=config.frame_size)


def clips_figure(folder: Path) -> Figure:
    """Draw the middle frame of one clip per action, all of one group."""
    dataset = datasets.load(folder / "my-clips")
    group = next(clip.group for clip in dataset.clips if clip.id == CLIP)
    clips = [clip for clip in dataset.clips if clip.group == group]
    figure = _row()
    for axes, clip in zip(figure.subplots(1, len(clips)), clips, strict=True):
        frames = list(video.FrameReader(clip.path, fps=10, size=None))
        _picture(axes, frames[len(frames) // 2].pixels, dataset.classes[clip.labels[0]])
    return figure


def frames_figure(frames: np.ndarray, prediction: Prediction) -> Figure:
    """Draw six of the frames that the model reads, with their times."""
    figure = _row()
    chosen = range(0, len(frames), len(frames) // 6)[:6]
    for axes, step in zip(figure.subplots(1, 6), chosen, strict=True):
        _picture(axes, frames[step], f"{prediction.times[step]:.1f} s")
    return figure


def cube_figure(frame: np.ndarray, recogniser: Recogniser) -> Figure:
    """Draw a frame with its grid, and the five channels of its cube with the largest variance."""
    backbone, grid = recogniser.backbone, recogniser.backbone.grid
    cube = recogniser.model.standard(backbone(frame[None]))[0].detach()
    channels = torch.argsort(cube.var(dim=0), descending=True)[:5]
    figure = _row()
    first, *others = figure.subplots(1, 6)
    _picture(first, frame, f"{grid}x{grid} places")
    for line in np.arange(1, grid) * len(frame) / grid - 0.5:
        first.axhline(line, color="white", linewidth=0.5, alpha=0.7)
        first.axvline(line, color="white", linewidth=0.5, alpha=0.7)
    for axes, channel in zip(others, channels.tolist(), strict=True):
        _picture(axes, cube[:, channel].reshape(grid, grid).numpy(), f"channel {channel}")
    return figure


def attention_figure(frames: np.ndarray, prediction: Prediction) -> Figure:
    """Draw the location softmax of six steps, and the same as heat maps over the frames."""
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
    """Draw the class probabilities at every step and of the clip."""
    names = [name for name, _ in prediction.top(3)]
    figure = Figure(figsize=(9, 2.4))
    by_step, of_clip = figure.subplots(1, 2, width_ratios=(2.4, 1))
    for name, colour in zip(names, COLOURS, strict=False):
        index = prediction.classes.index(name)
        by_step.plot(
            prediction.times, prediction.step_probabilities[:, index], color=colour, label=name
        )
    for start in prediction.times[steps::steps]:
        by_step.axvline(start - 0.05, color=FAINT)
    by_step.set(xlabel="seconds", ylim=(0, 1.02), title="at each step")
    by_step.legend(loc="center right")
    order = np.argsort(prediction.probabilities)
    colours = [
        COLOURS[names.index(prediction.classes[i])] if prediction.classes[i] in names else QUIET
        for i in order
    ]
    of_clip.barh(
        [prediction.classes[i] for i in order], prediction.probabilities[order], color=colours
    )
    of_clip.set(xlim=(0, 1), title="of the clip: their mean")
    figure.subplots_adjust(wspace=0.45)
    return figure


def save_overlay_frame(file: Path, time: float) -> None:
    """Save the frame of an overlay video at a time in seconds."""
    frame = next(f for f in video.FrameReader(file, fps=10, size=None) if f.time >= time - 1e-3)
    _save_image("overlay", Image.fromarray(frame.pixels))


def take_screenshots(folder: Path, chromium: str) -> None:
    """Save screenshots of the pages that the tutorial writes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, _serve(folder / "runs/mine") as address:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 1200})
        for name, file in (
            ("report", folder / "report.html"),
            ("explanation", folder / "runs/mine/explained/explanation.html"),
        ):
            page.goto(file.as_uri())
            page.wait_for_timeout(1500)
            _save_image(name, Image.open(io.BytesIO(page.screenshot())))
        page.set_viewport_size({"width": 1000, "height": 800})
        page.goto(address)
        page.click("#examples li:last-child button")
        page.wait_for_selector("#result:not([hidden])", timeout=120_000)
        page.fill("#seek", "0.7")
        page.evaluate("document.querySelector('#result').scrollIntoView(); scrollBy(0, -24)")
        page.wait_for_timeout(1500)
        _save_image("serve", Image.open(io.BytesIO(page.screenshot())))
        browser.close()


@contextmanager
def _serve(run: Path) -> Iterator[str]:
    """Run `glimpses serve` and yield its address."""
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
    axes.imshow(picture, cmap=COLOUR_MAP if flat else None, vmin=0 if most else None, vmax=most)
    axes.set_title(title, loc="center", fontsize=9, fontweight="normal", pad=4)
    axes.set_axis_off()


def save(name: str, figure: Figure) -> None:
    """Save a figure as a small WebP file."""
    _save_image(name, Image.open(io.BytesIO(encode_figure(figure, dpi=120))))


def _save_image(name: str, picture: Image.Image) -> None:
    OUT.mkdir(exist_ok=True)
    picture.convert("RGB").save(OUT / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
