#!/usr/bin/env python3
"""Predict the action in a video and show where the model looks, with ONNX Runtime alone.

    pip install -r requirements.txt         # numpy, onnxruntime, av (PyAV decodes the video)
    python example.py video.mp4
    python example.py video.mp4 --overlay overlay.mp4 --maps maps.npz

The settings of the model are in model.json. Videos are sampled as in Glimpses, so the numbers are
the same, but damaged files are handled with less care, and pictures with high dynamic range are not
mapped to those of usual screens. The features of the whole video are held in memory: about 45 kB a
frame for a 14x14 grid with 112 channels.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

# Otherwise its wheels for Linux send records of each session to Microsoft.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

FOLDER = Path(__file__).resolve().parent
Array = np.ndarray[Any, Any]

# Frames in a forward pass of the CNN, and blocks in a forward pass of the decoder.
TINY = 1e-300
FRAME_BATCH = 16
BLOCK_BATCH = 32


def main() -> None:
    """Parse the command line and print the prediction."""
    parser = argparse.ArgumentParser(description="Predict the action in a video.")
    parser.add_argument("video")
    parser.add_argument("--overlay", help="MP4 file to write: bright where the model looks")
    parser.add_argument("--maps", help="NPZ file to write: attention and probabilities by step")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (OSError, av.FFmpegError) as error:
        # Both name the file.
        raise SystemExit(f"error: {error}") from error


def run(arguments: argparse.Namespace) -> None:
    """Predict the action, print it, and write the requested files."""
    model = Model(FOLDER)
    result = model.predict(arguments.video)
    order = np.argsort(-result["probabilities"], kind="stable")
    print(model.decide(result["probabilities"]))
    for index in order[:5]:
        print(f"{result['probabilities'][index]:.4f}  {model.classes[index]}")
    if arguments.maps:
        arrays: dict[str, Any] = {"classes": np.array(model.classes), **result}
        np.savez_compressed(arguments.maps, **arrays)
        print(f"written: {arguments.maps}")
    if arguments.overlay:
        model.draw(arguments.video, result, arguments.overlay)
        print(f"written: {arguments.overlay}")


class Model:
    """The exported graphs with the settings of model.json."""

    def __init__(self, folder: Path) -> None:
        self.settings = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.classes = tuple(self.settings["classes"])
        self.graphs = {
            name: onnxruntime.InferenceSession(
                str(folder / graph["file"]), providers=["CPUExecutionProvider"]
            )
            for name, graph in self.settings["graphs"].items()
        }

    def decide(self, probabilities: Array) -> str:
        """Return the most probable class, "no action" for background, or "unsure"."""
        # The graph divides the logits by the temperature.
        threshold = self.settings["calibration"]["threshold"]
        if threshold is not None and float(probabilities.max()) < threshold - 1e-9:
            return "unsure"
        label = self.classes[int(probabilities.argmax())]
        return "no action" if label in self.settings["background"] else label

    def predict(self, path: str) -> dict[str, Array]:
        """Return the prediction for a video.

        Returns:
            `probabilities` (C,), `times` (N,), `step_probabilities` (N, C) and, if the model has
            attention, `attention` (N, K, K).
        """
        sampled = frames(path, **self.settings["frames"])
        times: list[float] = []
        cubes: list[Array] = []
        while batch := list(islice(sampled, FRAME_BATCH)):
            times += [time for time, _ in batch]
            cubes += [self.encode(np.stack([pixels for _, pixels in batch]))]
        if not times:
            raise SystemExit(f"{path}: has no frames")
        return {"times": np.array(times), **self.decode(np.concatenate(cubes))}

    def encode(self, pixels: Array) -> Array:
        """Return the feature cubes, float16 (N, P, D), of frames, uint8 (N, S, S, 3)."""
        (cubes,) = self.graphs["backbone"].run(["half"], {"frames": pixels})
        return np.asarray(cubes)

    def decode(self, cubes: Array) -> dict[str, Array]:
        """Return probabilities and attention for the feature cubes of a whole video."""
        settings = self.settings["blocks"]
        length, stride = settings["length"], settings["stride"]
        # Blocks start every `stride` frames; the last one ends with the video.
        last = max(len(cubes) - length, 0)
        starts = sorted({*range(0, last + 1, stride), last})
        count = np.zeros((len(cubes), 1))
        sums: dict[str, Array] = {}
        means: list[Array] = []
        for first in range(0, len(starts), BLOCK_BATCH):
            batch = starts[first : first + BLOCK_BATCH]
            outputs = self.run_blocks(np.stack([cubes[start : start + length] for start in batch]))
            last_steps = settings["last_steps"] or length
            probabilities = outputs["probabilities"][:, -last_steps:]
            if settings["aggregate"] == "logits":
                odds = 1 - probabilities if self.settings["multi_label"] else 1
                probabilities = np.log(np.maximum(probabilities / np.maximum(odds, TINY), TINY))
            means += list(probabilities.mean(1))
            for row, start in enumerate(batch):
                count[start : start + length] += 1
                for name, values in outputs.items():
                    if name not in sums:
                        sums[name] = np.zeros((len(cubes), values.shape[2]))
                    sums[name][start : start + length] += values[row]
        probabilities = np.mean(means, axis=0)
        if settings["aggregate"] == "logits":
            # The softmax (or sigmoid) of the mean logits.
            independent = self.settings["multi_label"]
            odds = np.exp(probabilities - (0 if independent else probabilities.max()))
            probabilities = odds / ((1 + odds) if independent else odds.sum())
        if settings["aggregate"] == "majority":
            # The share of blocks that predict each class; the mean breaks ties.
            votes = np.bincount(np.argmax(means, axis=1), minlength=len(probabilities)) / len(means)
            probabilities = (1 - 1e-6) * votes + 1e-6 * probabilities
        result = {
            "probabilities": probabilities,
            "step_probabilities": sums["probabilities"] / count,
        }
        if "attention" in sums:
            grid = math.isqrt(sums["attention"].shape[1])
            result["attention"] = (sums["attention"] / count).reshape(-1, grid, grid)
        return result

    def run_blocks(self, blocks: Array) -> dict[str, Array]:
        """Return probabilities (B, T, C) and attention (B, T, K*K) of blocks (B, T, P, D)."""
        blocks = blocks.astype(np.float32)
        step = self.graphs["step"]
        names = [output.name for output in step.get_outputs()]
        state: dict[str, Array] = {}
        if "start" in self.graphs:
            # The initial state comes from the block's mean feature slice.
            start = self.graphs["start"]
            state_names = [output.name for output in start.get_outputs()]
            mean = blocks.mean((1, 2), dtype=np.float64).astype(np.float32)
            state = dict(zip(state_names, start.run(state_names, {"mean": mean}), strict=True))
        results: dict[str, list[Array]] = {"probabilities": [], "attention": []}
        for time in range(blocks.shape[1]):
            inputs = {"cube": blocks[:, time], **state}
            outputs = dict(zip(names, step.run(names, inputs), strict=True))
            state = {name: outputs[f"next_{name}"] for name in state}
            for name, values in results.items():
                if name in outputs:
                    values.append(outputs[name].astype(np.float64))
        return {name: np.stack(values, axis=1) for name, values in results.items() if values}

    def draw(self, path: str, result: dict[str, Array], out: str) -> None:
        """Write the sampled frames as a video, dark where the attention is low."""
        if "attention" not in result:
            raise SystemExit("this model has no attention to draw")
        maps, times, size = result["attention"], result["times"], self.settings["frames"]["size"]
        # Bilinear interpolation between the centres of the places.
        centres = (np.arange(maps.shape[1]) + 0.5) * size / maps.shape[1]
        weights = np.stack(
            [np.interp(np.arange(size), centres, row) for row in np.eye(len(centres))]
        )
        maximum = max(float(np.quantile(maps.max((1, 2)), 0.9)), 3 / maps[0].size)
        rate = Fraction((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else 10
        with av.open(out, "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
            stream.width, stream.height = size - size % 2, size - size % 2
            stream.pix_fmt = "yuv420p"
            sampled = frames(path, **self.settings["frames"])
            for attention, (_, pixels) in zip(maps, sampled, strict=True):
                brightness = 0.25 + 0.75 * np.minimum(weights.T @ attention @ weights / maximum, 1)
                picture = (pixels * brightness[..., None]).astype(np.uint8)
                picture = np.ascontiguousarray(picture[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))


def frames(path: str, fps: float | str, size: int) -> Iterator[tuple[float, Array]]:
    """Yield time in seconds and RGB pixels, uint8 (size, size, 3), of the frames at k / fps.

    The frame rate "native" yields every frame. Frames are resized to squares.
    """
    with av.open(path, metadata_errors="ignore") as container:
        streams = [
            one for one in container.streams.video
            if one.codec_context and not one.disposition & Disposition.attached_pic
        ]  # fmt: skip
        if not streams:
            raise SystemExit(f"{path}: has no video stream")
        # As players do, take the default stream, or else the largest one.
        stream = max(
            streams,
            key=lambda one: (
                one.frames != 1, bool(one.disposition & Disposition.default), one.width * one.height
            ),
        )  # fmt: skip
        rate = stream.average_rate or stream.guessed_rate
        period = float(1 / rate) if rate else 0.04
        unit = float(stream.time_base or 0)
        reformatter = VideoReformatter()
        shown, count = None, 0
        first, last, end = None, 0.0, 0.0
        for frame in container.decode(stream):
            # Presentation times keep the speed of the video, whatever its frame rate. AVI has none,
            # and those that FFmpeg guesses are wrong with B-frames; times of decoding are even.
            stamp = frame.dts if container.format.name == "avi" else frame.pts
            if first is None:
                first, time = (stamp or 0) * unit, 0.0
            else:
                time = end if stamp is None else stamp * unit - first
                # Files with repeated or decreasing time stamps keep the order of decoding.
                time = max(time, last + 1e-6)
            last = time
            duration = float(frame.duration * (frame.time_base or 0))
            if fps == "native":
                yield time, to_rgb(frame, size, reformatter)
            else:
                while shown is not None and count / float(fps) < time - 1e-3:
                    yield count / float(fps), to_rgb(shown, size, reformatter)
                    count += 1
            shown = frame
            end = time + (duration if duration > 0 else period)
        while fps != "native" and shown is not None and count / float(fps) < end - 1e-3:
            yield count / float(fps), to_rgb(shown, size, reformatter)
            count += 1


def to_rgb(frame: av.VideoFrame, size: int, reformatter: VideoReformatter) -> Array:
    """Return a decoded frame as RGB, uint8 (size, size, 3), in the orientation of display."""
    # Players take large pictures without a colour space (2) for BT.709.
    is_large = frame.width >= 1280 or frame.height > 576
    is_bt709 = is_large and frame.colorspace == 2 and not frame.format.is_rgb
    rgb = reformatter.reformat(
        frame,
        width=size,
        height=size,
        format="rgb24",
        src_colorspace=Colorspace.ITU709 if is_bt709 else None,
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
        threads=1,
    )
    pixels = rgb.to_ndarray()
    try:
        matrix = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]
    except KeyError:
        return np.ascontiguousarray(pixels)
    # The display matrix maps pixel (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    transposed = abs(a) < abs(b)
    flipped_x, flipped_y = (c < 0, b < 0) if transposed else (a < 0, d < 0)
    pixels = pixels.transpose(1, 0, 2) if transposed else pixels
    return np.ascontiguousarray(pixels[:: -1 if flipped_y else 1, :: -1 if flipped_x else 1])


if __name__ == "__main__":
    main()
