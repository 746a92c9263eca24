"""Extraction from video to store, compared with engines that have the frames in memory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import measuring
import numpy as np
import onnx
import peers
from measuring import Bench, Comparison, Way
from torch.utils.flop_counter import FlopCounterMode

from glimpses import backbones, datasets, features, video

# The default stage and the last one; an early one for a quick run.
STAGES, QUICK_STAGES = ("16", "head"), ("4",)
# Frames for eager PyTorch, which is much slower than the others.
EAGER = 64
# Largest difference of an engine from PyTorch, relative to the largest value.
TOLERANCE = 1e-4


class _Work(NamedTuple):
    """Folder of clips for one network.

    Attributes:
        clips: folder of clips.
        description: content of the folder, in words.
        stage: stage of EfficientNet-Lite0.
        graph: ONNX file of the network.
        frames: all frames of all clips, RGB (N, 224, 224, 3).
    """

    clips: Path
    description: str
    stage: str
    graph: Path
    frames: np.ndarray

    @property
    def spec(self) -> str:
        """Spec of the network, as in `--backbone`."""
        return f"efficientnet_lite0:{self.stage}"


def run(bench: Bench) -> Iterator[Comparison]:
    """Measure both stages on generated clips, the first one on the user's; decoding alone."""
    # Enough that start-up counts for little; whole processes are timed on a few as well.
    generated = made_clips(
        bench.folder / "made", 2 if bench.quick else 50, 4 if bench.quick else 30
    )
    stages = QUICK_STAGES if bench.quick else STAGES
    folders = {"generated clips": generated}
    if bench.clips is not None:
        folders["clips given"] = bench.clips
    for kind, folder in folders.items():
        paths = [clip.path for clip in datasets.load(folder).clips]
        frames = np.concatenate([video.read(path, fps="native").frames for path in paths])
        description = f"{len(paths)} {kind}, {len(frames)} frames"
        for number, stage in enumerate(stages if folder == generated else stages[:1]):
            graph = graph_of(bench, stage)
            work = _Work(folder, description, stage, graph, frames)
            yield _beside_engines(bench, work)
            if number == 0:
                yield _whole_processes(bench, folder, stage, graph, len(frames), description)
        yield _decoding(bench, paths, len(frames), description)
    if not bench.quick:
        few = made_clips(bench.folder / "few", 10, 30)
        description = "10 generated clips, 300 frames"
        yield _whole_processes(bench, few, stages[0], graph_of(bench, stages[0]), 300, description)


def made_clips(folder: Path, clips: int, frames: int, size: int = 224) -> Path:
    """Write clips of a coarse drifting pattern with noise, at 10 frames per second."""
    noise = np.random.default_rng(0)
    for number in range(clips):
        coarse = noise.integers(0, 256, (8, 8, 3), np.uint8)
        pattern = coarse.repeat(size // 4, 0).repeat(size // 4, 1)
        grain = noise.integers(0, 16, (size, size, 3), np.uint8)
        drift = (
            np.minimum(pattern[step : step + size, 2 * step : 2 * step + size], 239) + grain
            for step in (np.arange(frames) % (size // 2))
        )
        video.write(folder / f"action{number % 2}" / f"{number:05}.avi", drift, fps=10)
    return folder


def graph_of(bench: Bench, stage: str) -> Path:
    """Return the exported network in single precision, the same file for every engine."""
    before = set(bench.folder.rglob("*.onnx"))
    backbones.load(f"efficientnet_lite0:{stage}")
    file = bench.folder / f"{stage}.onnx"
    if not file.exists():
        (exported,) = set(bench.folder.rglob("*.onnx")) - before
        graph = onnx.load(exported)
        del graph.graph.output[1:]
        onnx.save(graph, file)
    return file


def _beside_engines(bench: Bench, work: _Work) -> Comparison:
    """Compare `extract`, from video to store, with engines that only compute."""
    eager = peers.eager(work.stage)
    some = work.frames[:EAGER]
    ours = _ours(bench, work)
    ours()
    timed = {
        "eager PyTorch alone": Way(lambda: _batched(eager, some), len(some)),
        "glimpses extract, video to store": Way(ours, len(work.frames)),
    }
    expected = eager(work.frames[:2])
    engines = _onnx_runtime(bench, work) | _openvino(bench, work)
    for name, engine in engines.items():
        timed[f"{name} alone"] = Way(lambda engine=engine: engine(work.frames), len(work.frames))
        difference = np.abs(engine(work.frames[:2]) - expected).max() / np.abs(expected).max()
        if difference > TOLERANCE:
            raise RuntimeError(f"{name} differs from PyTorch by {difference:.1e}")
    gflop = _gflop(eager, work.frames[:1])
    product = measuring.matrix_product()
    timed["limit: matrix product"] = Way(product.do, product.work / gflop)
    return bench.compare(
        f"Extraction by {work.spec}: {work.description}",
        "frame",
        "eager PyTorch alone",
        timed,
        "All but `extract` have the decoded frames in memory and store nothing. The network does "
        f"{gflop:.2f} GFLOP a frame; the limit is a large product of as many.",
    )


def _ours(bench: Bench, work: _Work) -> Callable[[], None]:
    def do() -> None:
        store = bench.folder / "store"
        features.extract(work.clips, backbone=work.spec, fps="native", feature_dir=store)
        shutil.rmtree(store)

    return do


_Engine = Callable[[np.ndarray], np.ndarray]


def _onnx_runtime(bench: Bench, work: _Work) -> Mapping[str, _Engine]:
    together = peers.onnx_runtime(work.graph, bench.threads)
    single = peers.onnx_runtime(work.graph, 1)
    cores = ThreadPoolExecutor(bench.threads)

    def one_frame_per_core(frames: np.ndarray) -> np.ndarray:
        return np.concatenate(list(cores.map(single, np.split(frames, len(frames)))))

    return {
        "ONNX Runtime": lambda frames: _batched(together, frames),
        "ONNX Runtime, one frame per core,": one_frame_per_core,
    }


def _batched(engine: _Engine, frames: np.ndarray) -> np.ndarray:
    batches = np.split(frames, range(peers.BATCH, len(frames), peers.BATCH))
    return np.concatenate([engine(batch) for batch in batches])


def _openvino(bench: Bench, work: _Work) -> Mapping[str, _Engine]:
    """Return OpenVINO in throughput mode, its fastest; nothing if it is not installed."""
    try:
        import openvino
    except ImportError:
        return {}
    core = openvino.Core()
    model = core.read_model(work.graph)
    model.reshape([1, *work.frames.shape[1:]])
    # The default is bfloat16 on processors that support it.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": bench.threads,
    }
    compiled = core.compile_model(model, "CPU", settings)

    def stream(frames: np.ndarray) -> np.ndarray:
        queue = openvino.AsyncInferQueue(compiled)
        outputs: list[np.ndarray] = [np.empty(0)] * len(frames)

        def store(request: openvino.InferRequest, number: int) -> None:
            outputs[number] = request.get_output_tensor().data.copy()

        queue.set_callback(store)
        for number, frame in enumerate(frames):
            queue.start_async({0: frame[None]}, number)
        queue.wait_all()
        return np.concatenate(outputs)

    return {"OpenVINO": stream}


def _gflop(network: _Engine, frame: np.ndarray) -> float:
    """Return the operations for a frame, a multiplication and an addition counted as two."""
    with FlopCounterMode(display=False) as counter:
        network(frame)
    return counter.get_total_flops() / 1e9


def _whole_processes(
    bench: Bench, clips: Path, stage: str, graph: Path, frames: int, description: str
) -> Comparison:
    """Compare the whole command with a plain script."""
    spec = f"efficientnet_lite0:{stage}"
    out = bench.folder / "out"
    script = Path(__file__).with_name("peers.py")

    def glimpses() -> object:
        shutil.rmtree(out, ignore_errors=True)
        return bench.process(
            Path(sys.executable).with_name("glimpses"), "extract", clips, "--backbone",
            spec, "--fps", "native", "--feature-dir", out,
        )  # fmt: skip

    def peer() -> object:
        shutil.rmtree(out, ignore_errors=True)
        return bench.process(
            sys.executable, script, "onnxruntime", clips, out, "--stage", stage,
            "--graph", graph, "--threads", str(bench.threads),
        )  # fmt: skip

    ways: dict[str, Callable[[], object]] = {
        "script with ONNX Runtime": peer,
        "glimpses extract": glimpses,
    }
    return bench.compare(
        f"Extraction by {spec} as a whole process: {description}",
        "frame",
        "script with ONNX Runtime",
        {name: Way(do, frames) for name, do in ways.items()},
        "Including the start of Python and all imports. The script, `benchmarks/peers.py`, reads "
        "a clip, computes its cubes and saves them, one after the other.",
    )


def _decoding(bench: Bench, paths: Sequence[Path], frames: int, description: str) -> Comparison:
    """Compare decoders of all frames to 224x224 RGB, on one core."""
    ways: dict[str, Callable[[], object]] = {
        "glimpses": lambda: [
            None for path in paths for _ in video.FrameReader(path, fps="native", size=224)
        ],
    }
    for name, decode in peers.DECODERS.items():
        ways[name] = lambda decode=decode: [None for path in paths for _ in decode(path, 224)]
    working: dict[str, Way] = {}
    missing: list[str] = []
    for name, do in ways.items():
        try:
            if len(do()) != frames:
                missing.append(f"{name} yields a different number of frames")
                continue
        except ImportError:
            missing.append(f"{name} is not installed")
        # A peer may raise any error on a file that it cannot read.
        except Exception as error:
            missing.append(f"{name} fails ({str(error).splitlines()[0][:80]})")
        else:
            working[name] = Way(do, frames)
    return bench.compare(
        f"Decoding and resizing: {description}", "frame", "glimpses", working, "; ".join(missing)
    )
