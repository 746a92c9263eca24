#!/usr/bin/env python3
"""Name the action in a video and show where the model looked, with ONNX Runtime alone.

    pip install -r requirements.txt         # numpy, onnxruntime, av (PyAV decodes the video)
    python example.py video.mp4
    python example.py video.mp4 --overlay seen.mp4 --maps maps.npz

What it knows of the model stands in model.json beside it. It samples a video as Glimpses does and
gives the same numbers, but lacks its care with damaged files. The features of the whole video are
held in memory: about 45 kB a frame for 14 x 14 places of 112 features.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

HERE = Path(__file__).resolve().parent
Array = np.ndarray[Any, Any]

# Frames in one pass of the CNN, and blocks in one pass of the decoder.
BATCH = 16
BLOCKS = 32


def main() -> None:
    """Read the command line, and print what the model says."""
    parser = argparse.ArgumentParser(description="Name the action in a video.")
    parser.add_argument("video")
    parser.add_argument("--overlay", help="MP4 file to write: bright where the model looked")
    parser.add_argument("--maps", help="NPZ file to write: attention and probabilities by step")
    given = parser.parse_args()
    try:
        tell(given)
    except (OSError, av.FFmpegError) as error:
        # Both name the file.
        raise SystemExit(f"error: {error}") from error


def tell(given: argparse.Namespace) -> None:
    """Recognise, print and write what was asked for."""
    model = Model(HERE)
    result = model.recognise(given.video)
    best = np.argsort(-result["probabilities"], kind="stable")
    for index in best[:5]:
        print(f"{result['probabilities'][index]:.4f}  {model.classes[index]}")
    if given.maps:
        arrays: dict[str, Any] = {"classes": np.array(model.classes), **result}
        np.savez_compressed(given.maps, **arrays)
        print(f"written: {given.maps}")
    if given.overlay:
        model.draw(given.video, result, given.overlay)
        print(f"written: {given.overlay}")


class Model:
    """The exported graphs, and what model.json says of how to use them."""

    def __init__(self, folder: Path) -> None:
        self.about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.classes = tuple(self.about["classes"])
        self.graphs = {
            name: onnxruntime.InferenceSession(
                str(folder / graph["file"]), providers=["CPUExecutionProvider"]
            )
            for name, graph in self.about["graphs"].items()
        }

    def recognise(self, path: str) -> dict[str, Array]:
        """Probabilities (C,), times (N,), step_probabilities (N, C) and attention (N, K, K).

        `attention` is missing for a model that has none.
        """
        sampled = frames(path, **self.about["frames"])
        times: list[float] = []
        cubes: list[Array] = []
        while batch := list(islice(sampled, BATCH)):
            times += [time for time, _ in batch]
            cubes += [self.cubes(np.stack([pixels for _, pixels in batch]))]
        if not times:
            raise SystemExit(f"{path}: gives no picture")
        return {"times": np.array(times), **self.decide(np.concatenate(cubes))}

    def cubes(self, pixels: Array) -> Array:
        """Frames uint8 (N, S, S, 3) -> feature cubes float16 (N, P, D), precise enough."""
        (cubes,) = self.graphs["backbone"].run(["half"], {"frames": pixels})
        return np.asarray(cubes)

    def decide(self, cubes: Array) -> dict[str, Array]:
        """The cubes of a whole video -> its probabilities, and those and attention by frame."""
        blocks = self.about["blocks"]
        steps, stride = blocks["steps"], blocks["stride"]
        # Blocks lie `stride` apart; where that leaves frames over, a last one ends with the video.
        last = max(len(cubes) - steps, 0)
        starts = sorted({*range(0, last + 1, stride), last})
        count = np.zeros((len(cubes), 1))
        sums: dict[str, Array] = {}
        means: list[Array] = []
        for first in range(0, len(starts), BLOCKS):
            some = starts[first : first + BLOCKS]
            said = self.read(np.stack([cubes[start : start + steps] for start in some]))
            means += list(said["probabilities"][:, -(blocks["last_steps"] or steps) :].mean(1))
            for row, start in enumerate(some):
                count[start : start + steps] += 1
                for name, values in said.items():
                    if name not in sums:
                        sums[name] = np.zeros((len(cubes), values.shape[2]))
                    sums[name][start : start + steps] += values[row]
        whole = np.mean(means, axis=0)
        if blocks["vote"] == "majority":
            # The share of blocks that a class leads in; the mean only parts equal ones.
            votes = np.bincount(np.argmax(means, axis=1), minlength=len(whole)) / len(means)
            whole = (1 - 1e-6) * votes + 1e-6 * whole
        found = {"probabilities": whole, "step_probabilities": sums["probabilities"] / count}
        if "attention" in sums:
            side = math.isqrt(sums["attention"].shape[1])
            found["attention"] = (sums["attention"] / count).reshape(-1, side, side)
        return found

    def read(self, blocks: Array) -> dict[str, Array]:
        """Blocks of cubes (B, T, P, D) -> probabilities (B, T, C) and attention (B, T, K*K)."""
        blocks = blocks.astype(np.float32)
        step = self.graphs["step"]
        outputs = [one.name for one in step.get_outputs()]
        state: dict[str, Array] = {}
        if "start" in self.graphs:
            # The first state comes from the block's mean feature.
            graph = self.graphs["start"]
            names = [one.name for one in graph.get_outputs()]
            mean = blocks.mean((1, 2), dtype=np.float64).astype(np.float32)
            state = dict(zip(names, graph.run(names, {"mean": mean}), strict=True))
        said: dict[str, list[Array]] = {"probabilities": [], "attention": []}
        for time in range(blocks.shape[1]):
            given = {"cube": blocks[:, time], **state}
            got = dict(zip(outputs, step.run(outputs, given), strict=True))
            state = {name: got[f"next_{name}"] for name in state}
            for name in said:
                if name in got:
                    said[name].append(got[name].astype(np.float64))
        return {name: np.stack(values, axis=1) for name, values in said.items() if values}

    def draw(self, path: str, result: dict[str, Array], out: str) -> None:
        """Write the sampled frames as a film, dim where the model did not look."""
        if "attention" not in result:
            raise SystemExit("this model has no attention to draw")
        maps, times, size = result["attention"], result["times"], self.about["frames"]["size"]
        # From places to pixels, in straight lines from centre to centre.
        centres = (np.arange(maps.shape[1]) + 0.5) * size / maps.shape[1]
        spread = np.stack(
            [np.interp(np.arange(size), centres, row) for row in np.eye(len(centres))]
        )
        full = max(float(np.quantile(maps.max((1, 2)), 0.9)), 3 / maps[0].size)
        rate = Fraction((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else 10
        with av.open(out, "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
            stream.width, stream.height = size - size % 2, size - size % 2
            stream.pix_fmt = "yuv420p"
            for attention, (_, pixels) in zip(
                maps, frames(path, **self.about["frames"]), strict=True
            ):
                light = 0.25 + 0.75 * np.minimum(spread.T @ attention @ spread / full, 1)
                lit = (pixels * light[..., None]).astype(np.uint8)
                lit = np.ascontiguousarray(lit[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(lit, format="rgb24")))
            container.mux(stream.encode(None))


def frames(path: str, fps: float | str, size: int) -> Iterator[tuple[float, Array]]:
    """Seconds and RGB pixels uint8 (size, size, 3) of the frames on display at k / fps.

    With the rate "native" these are all frames. A picture is squeezed to the square.
    """
    with av.open(path, metadata_errors="ignore") as container:
        stream = next(
            (one for one in container.streams.video
             if not one.disposition & Disposition.attached_pic), None,
        )  # fmt: skip
        if stream is None:
            raise SystemExit(f"{path}: holds no video")
        rate = stream.average_rate or stream.guessed_rate
        period = float(1 / rate) if rate else 0.04
        reformatter = VideoReformatter()
        shown, count = None, 0
        first, last, end = None, 0.0, 0.0
        for frame in container.decode(stream):
            # By presentation time, so that films of any frame rate come out at the same speed.
            stamp = frame.time
            if first is None:
                first, time = stamp or 0.0, 0.0
            else:
                time = end if stamp is None else stamp - first
                # Broken writers repeat stamps or let them fall: the order of decoding decides.
                time = max(time, last + 1e-6)
            last = time
            lasts = float(frame.duration * (frame.time_base or 0))
            if fps == "native":
                yield time, squeezed(frame, size, reformatter)
            else:
                while shown is not None and count / float(fps) < time - 1e-3:
                    yield count / float(fps), squeezed(shown, size, reformatter)
                    count += 1
            shown = frame
            end = time + (lasts if lasts > 0 else period)
        while fps != "native" and shown is not None and count / float(fps) < end - 1e-3:
            yield count / float(fps), squeezed(shown, size, reformatter)
            count += 1


def squeezed(frame: av.VideoFrame, size: int, reformatter: VideoReformatter) -> Array:
    """A decoded frame as RGB uint8 (size, size, 3), turned upright as the file says."""
    rgb = reformatter.reformat(
        frame,
        width=size,
        height=size,
        format="rgb24",
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
        threads=1,
    )
    pixels = rgb.to_ndarray()
    try:
        matrix = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]
    except KeyError:
        return np.ascontiguousarray(pixels)
    # QuickTime's matrix takes pixel (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    turned = abs(a) < abs(b)
    mirrored, upended = (c < 0, b < 0) if turned else (a < 0, d < 0)
    pixels = pixels.transpose(1, 0, 2) if turned else pixels
    return np.ascontiguousarray(pixels[:: -1 if upended else 1, :: -1 if mirrored else 1])


if __name__ == "__main__":
    main()
