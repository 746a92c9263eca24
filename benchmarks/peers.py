"""Plain script that does the work of `glimpses extract`: read, resize, run the CNN, save.

    python benchmarks/peers.py onnxruntime CLIPS OUT --graph FILE
    python benchmarks/peers.py torch CLIPS OUT

Frames are decoded with OpenCV (or PyAV, if OpenCV is not installed) in this process and go through
the network in batches of 16. The cubes of a clip are saved in half precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

BATCH = 16


def main() -> None:
    """Extract a folder of clips."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("engine", choices=("onnxruntime", "torch"))
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--stage")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = (
        eager(options.stage)
        if options.engine == "torch"
        else onnx_runtime(options.graph, options.threads)
    )
    for number, path in enumerate(sorted(options.clips.rglob("*.*"))):
        if path.suffix not in (".avi", ".mp4", ".mpg"):
            continue
        frames = list(decode(path, 224))
        parts = [run(np.stack(frames[i : i + BATCH])) for i in range(0, len(frames), BATCH)]
        np.save(options.out / f"{number}.npy", np.concatenate(parts).astype(np.float16))


def _opencv(path: Path, size: int) -> Iterator[np.ndarray]:
    import cv2

    reader = cv2.VideoCapture(str(path))
    while True:
        success, frame = reader.read()
        if not success:
            return
        yield cv2.cvtColor(cv2.resize(frame, (size, size)), cv2.COLOR_BGR2RGB)


def _pyav(path: Path, size: int) -> Iterator[np.ndarray]:
    import av

    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(width=size, height=size, format="rgb24")


def _torchcodec(path: Path, size: int) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    for frame in VideoDecoder(path, transforms=[Resize((size, size))]):
        yield frame.permute(1, 2, 0).numpy()


#: Generators of all frames of a file, RGB, resized to a square, as in the documentation of each.
DECODERS: dict[str, Callable[[Path, int], Iterator[np.ndarray]]] = {
    "OpenCV": _opencv,
    "PyAV": _pyav,
    "torchcodec": _torchcodec,
}


def decode(path: Path, size: int) -> Iterator[np.ndarray]:
    """Yield all frames, decoded with OpenCV, or with PyAV if OpenCV is not installed."""
    return (_opencv if find_spec("cv2") else _pyav)(path, size)


def onnx_runtime(graph: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network in ONNX Runtime with default settings and a number of threads."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    return lambda frames: session.run(None, {"frames": frames})[0]


def eager(stage: str | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network in eager PyTorch with the default memory layout."""
    import torch

    from glimpses.backbones import efficientnet_lite
    from glimpses.backbones.stages import CubeNetwork

    network = CubeNetwork(efficientnet_lite.build(stage), None).eval()

    @torch.inference_mode()
    def run(frames: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(frames)).numpy()

    return run


if __name__ == "__main__":
    main()
