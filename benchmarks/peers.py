"""What a user would write instead of `glimpses extract`: read, resize, run, save, in that order.

    python benchmarks/peers.py onnxruntime CLIPS OUT --graph FILE
    python benchmarks/peers.py torch CLIPS OUT

Every frame is decoded by OpenCV (or PyAV where it is not installed) in this one process, goes
through the network in batches of 16, and a clip's cubes are saved in half precision.
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
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    run = (
        eager(given.stage) if given.engine == "torch" else onnx_runtime(given.graph, given.threads)
    )
    for number, path in enumerate(sorted(given.clips.rglob("*.*"))):
        if path.suffix not in (".avi", ".mp4", ".mpg"):
            continue
        frames = list(decode(path, 224))
        parts = [run(np.stack(frames[i : i + BATCH])) for i in range(0, len(frames), BATCH)]
        np.save(given.out / f"{number}.npy", np.concatenate(parts).astype(np.float16))


def _opencv(path: Path, size: int) -> Iterator[np.ndarray]:
    import cv2

    reader = cv2.VideoCapture(str(path))
    while True:
        there, frame = reader.read()
        if not there:
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


#: Every frame of a file, RGB, squeezed to a square, as its documentation shows it.
DECODERS: dict[str, Callable[[Path, int], Iterator[np.ndarray]]] = {
    "OpenCV": _opencv,
    "PyAV": _pyav,
    "torchcodec": _torchcodec,
}


def decode(path: Path, size: int) -> Iterator[np.ndarray]:
    """By OpenCV, or by PyAV where it is not installed."""
    return (_opencv if find_spec("cv2") else _pyav)(path, size)


def onnx_runtime(graph: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """ONNX Runtime as it comes, but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda frames: session.run(None, {"frames": frames})[0]


def eager(stage: str | None) -> Callable[[np.ndarray], np.ndarray]:
    """PyTorch layer by layer, in its usual layout."""
    import torch

    from glimpses.backbones import efficientnet_lite
    from glimpses.backbones.stages import FeatureCube

    network = FeatureCube(efficientnet_lite.build(stage), None).eval()

    @torch.inference_mode()
    def run(frames: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(frames)).numpy()

    return run


if __name__ == "__main__":
    main()
