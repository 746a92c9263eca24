"""Recognisers: trained models together with everything that turns a video into their input."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import Tensor

from glimpses import backbones, runs, video
from glimpses.backbones import Backbone
from glimpses.features import FrameEncoder
from glimpses.inference.aggregate import ClipAggregator
from glimpses.inference.blockwise import BlockRunner
from glimpses.inference.find_segments import find_segments, segment_decoder, step_store
from glimpses.inference.prediction import Prediction
from glimpses.inference.steps import batches, require_steps
from glimpses.inference.stream import Stream
from glimpses.models import ActionModel
from glimpses.runs import RunConfig, model_card
from glimpses.segments import Segment, SegmentOptions
from glimpses.utils import process
from glimpses.utils.errors import GlimpsesError

if TYPE_CHECKING:
    from glimpses import Scores
    from glimpses.runs.hub import PushedRun

log = logging.getLogger(__name__)

# Frames in a forward pass of the CNN.
_BATCH = 16
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

#: A video: a file, or RGB frames uint8 (T, H, W, 3).
VideoLike = str | Path | UInt8[np.ndarray, "T H W 3"]


class Recogniser:
    """Trained model with its CNN: takes videos, returns predictions.

    ```python
    recogniser = Recogniser.load("runs/mine")  # or the name of a repository on the Hub
    recogniser.predict("clip.mp4").label  # "jump"
    recogniser.predict(frames, fps=25).label  # uint8 (T, H, W, 3), RGB
    ```

    Args:
        config: the settings of the run.
        model: the decoder.
        backbone: the CNN.
        run: the run's folder, where `evaluate` keeps its scores; None if there is none.
        source: folder that config and weights were read from, with the model card; None to write
            a new card when the recogniser is saved.
    """

    def __init__(
        self,
        config: RunConfig,
        model: ActionModel,
        backbone: Backbone,
        *,
        run: Path | None = None,
        source: Path | None = None,
    ) -> None:
        self.config = config
        self.model = model
        self.backbone = backbone
        self.run = run
        self._source = source
        process.allow_forks()

    @classmethod
    def load(cls, run: str | Path, *, device: str = "cpu") -> Recogniser:
        """Load a trained run from its folder, or from the Hugging Face Hub.

        Args:
            run: folder of the run. A string that names no folder and reads `USER/NAME` is a
                repository on the Hub; see `from_pretrained`.
            device: "cpu" or "cuda".

        Raises:
            GlimpsesError: there is no such run, its training has not finished, or it is damaged.
        """
        return cls.from_pretrained(run, device=device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        revision: str | None = None,
        device: str = "cpu",
        **options: Any,
    ) -> Recogniser:
        """Load a trained run like `load`, with the options of the Hub.

        Nothing is unpickled; the config and the weights are validated before use.

        Args:
            name_or_folder: `USER/NAME` on the Hub, or folder of a run; a folder of that name wins.
            revision: branch, tag or commit; the newest of `main` by default.
            device: "cpu" or "cuda".
            options: `token`, `cache_dir`, `force_download` and `local_files_only`, as in
                `huggingface_hub.snapshot_download`.

        Raises:
            GlimpsesError: there is no such run, its training has not finished, or it is damaged.
        """
        folder, run = Path(name_or_folder), Path(name_or_folder)
        is_name = isinstance(name_or_folder, str) and _HUB_NAME.fullmatch(name_or_folder)
        if is_name and not folder.is_dir():
            from glimpses.runs import hub

            folder = hub.download(str(name_or_folder), revision=revision, **options)
        config, model = runs.load_model(folder)
        backbone = backbones.load(
            config.data.backbone, device=device, weights=config.backbone_weights
        )
        return cls(
            config,
            model.to(device),
            backbone,
            run=run if folder == run else None,  # none in the cache of huggingface_hub
            source=folder,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.config.classes

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.model.parameters()).device

    def require_device(self) -> None:
        """Check that this process may use the device of the model.

        Raises:
            GlimpsesError: it is a GPU, and this process was forked from one that used it.
        """
        if self.device.type == "cuda" and torch.cuda._is_in_bad_fork():
            raise GlimpsesError(
                "this process was forked after its parent had used the GPU, which CUDA does not "
                "support; load the recogniser after the fork, or start processes by spawn"
            )

    @property
    def feature_key(self) -> tuple[object, ...]:
        """Everything that determines the feature cubes; recognisers with equal keys share them."""
        config = self.config
        data = config.data
        return data.backbone, config.backbone_weights, data.fps, config.frame_size, data.skip_static

    @overload
    def predict(self, x: VideoLike, *, fps: float | None = None) -> Prediction: ...

    @overload
    def predict(
        self, x: list[VideoLike] | tuple[VideoLike, ...], *, fps: float | None = None
    ) -> list[Prediction]: ...

    def predict(
        self, x: VideoLike | list[VideoLike] | tuple[VideoLike, ...], *, fps: float | None = None
    ) -> Prediction | list[Prediction]:
        """Predict the action in a video, or in each of several.

        The frames of an array are sampled and resized as those of a file. A file's frames are
        resized before they become RGB, so the array of a file's frames may differ from the file
        by a few grey levels.

        Args:
            x: a video file of any length; RGB frames, uint8 (T, H, W, 3); or a list of either.
            fps: frame rate of the arrays; files have their own.

        Returns:
            The prediction, or a list of them for a list.

        Raises:
            GlimpsesError: a file cannot be read, an array has no frames, the wrong type or no
                `fps`, or the model is on a GPU that a parent of this process used before a fork.
        """
        if isinstance(x, list | tuple):
            return [self.predict(one, fps=fps) for one in x]
        if isinstance(x, str | Path):
            return predict_together([self], Path(x))[0]
        if fps is None:
            raise GlimpsesError("predict: frames without a frame rate; give fps=")
        return _predict([self], None, partial(video.ArrayReader, x, fps))[0]

    def segments(
        self,
        x: VideoLike,
        options: SegmentOptions | None = None,
        *,
        fps: float | None = None,
        steps_dir: str | Path | None = None,
    ) -> list[Segment]:
        """Find out when the actions of a video happen.

        The video may be of any length: memory does not grow with it. Segments of a background class
        (`background`, `none`, `no_action`, `other`) are left out. Those of a model with several
        labels may overlap.

        Args:
            x: a video file, or RGB frames, uint8 (T, H, W, 3).
            options: of the segments.
            fps: frame rate of an array; files have their own.
            steps_dir: folder that keeps the step probabilities of files, so that an interrupted
                call resumes and other options need no computation.

        Returns:
            The segments by start: times, label, score, and the mean attention with its box.

        Raises:
            GlimpsesError: see `predict`; the model cannot stream, which `causal` requires; or
                `stride` is out of range.
        """
        self.require_device()
        options = options or SegmentOptions()
        config = self.config
        reader: video.FrameSource
        if isinstance(x, str | Path):
            path, rate = Path(x), None
            if config.data.fps == "native":
                rate = video.read_header(path).fps
            reader = video.FrameReader(path, fps=config.data.fps, size=config.frame_size)
            name, store = str(path), None
            if steps_dir is not None and path.exists():
                store = step_store(steps_dir, self, path, options)
        else:
            if fps is None:
                raise GlimpsesError("segments: frames without a frame rate; give fps=")
            reader = video.ArrayReader(x, fps, fps=config.data.fps, size=config.frame_size)
            name, store, rate = "array", None, fps
        decoder = segment_decoder(
            config, options, causal=options.causal, file=name, source_fps=rate
        )
        segments, problem = find_segments(self, reader, decoder, options, store=store)
        if problem:
            log.warning("%s: %s; the frames before that are used", name, problem)
        return segments

    def check_segments(self, options: SegmentOptions) -> None:
        """Check options of segments before any work.

        Raises:
            GlimpsesError: `stride` is out of range, or the model cannot stream.
        """
        require_steps(self, options.stride, causal=options.causal)

    def evaluate(self, data: str | Path | None = None, **options: Any) -> Scores:
        """Score the recogniser on labelled clips; see `glimpses.evaluate`.

        Args:
            data: folder of a data set; the one it was trained on by default.
            options: the other arguments of `glimpses.evaluate`.

        Raises:
            GlimpsesError: the data cannot be used, or no unseen clip is left.
        """
        # Evaluation builds on inference, so it is reached through the package.
        import glimpses

        return glimpses.evaluate(self, data=data, **options)

    def stream(
        self, *, stride: int | None = None, segments: SegmentOptions | None = None
    ) -> Stream:
        """Return a `Stream`, which predicts frame by frame without an end.

        The streams of one recogniser share its weights and nothing else.

        Args:
            stride: distance between the starts of blocks in frames, 1 to T; T / 2 by default.
            segments: options of the segments to find (see `Stream`); their `stride` counts where
                the first argument is missing.

        Raises:
            GlimpsesError: `stride` is out of range, or the model cannot stream.
        """
        self.require_device()
        if stride is None and segments is not None:
            stride = segments.stride
        return Stream(self.config, self.model, self.backbone, stride=stride, segments=segments)

    def save(self, folder: str | Path) -> None:
        """Write a run folder that loads again and predicts the same.

        Args:
            folder: where to write config, weights and model card, and the curves and scores of
                the run it was loaded from.

        Raises:
            GlimpsesError: the folder cannot be written to.
        """
        folder = Path(folder)
        runs.write_run(folder, self.config, self.model, self._card(folder.resolve().name))
        if self.run is not None:
            runs.copy_records(self.run, folder)

    def push_to_hub(
        self,
        repository: str,
        *,
        public: bool = False,
        token: str | None = None,
        commit_message: str = "Upload a run of Glimpses",
    ) -> PushedRun:
        """Upload config, weights and model card to the Hugging Face Hub.

        No path of this machine is in what is uploaded.

        Args:
            repository: USER/NAME; created if it does not exist.
            public: whether a repository that is created is public.
            token: access token; the one of `hf auth login` or `$HF_TOKEN` by default.
            commit_message: message of the commit.

        Raises:
            GlimpsesError: huggingface_hub is not installed, or the Hub refuses the upload.
        """
        from glimpses.runs import hub

        card = self._card(repository.rpartition("/")[2])
        return hub.upload(
            repository, self.config, self.model, card,
            public=public, token=token, commit_message=commit_message,
        )  # fmt: skip

    def _card(self, name: str) -> str:
        if self._source is not None:
            return model_card.read(self._source)
        return model_card.fresh_card(self.config, name)


def predict_together(
    recognisers: Sequence[Recogniser],
    path: str | Path,
    *,
    on_progress: Callable[[float], None] | None = None,
    open_video: Callable[..., video.FrameSource] = video.FrameReader,
) -> list[Prediction]:
    """Predict the action in a video with several models; those with the same CNN share its work.

    Args:
        recognisers: the models.
        path: a video file of any length.
        on_progress: called after each batch of frames with the time of the last one in seconds;
            what it raises stops the reading.
        open_video: opens the file; has the arguments of `FrameReader`.

    Returns:
        The predictions, in the order of the models.

    Raises:
        GlimpsesError: no frame can be read.
    """
    path = Path(path)
    return _predict(recognisers, path, partial(open_video, path), on_progress)


def _predict(
    recognisers: Sequence[Recogniser],
    path: Path | None,
    open_frames: Callable[..., video.FrameSource],
    on_progress: Callable[[float], None] | None = None,
) -> list[Prediction]:
    for recogniser in recognisers:
        recogniser.require_device()
    predictors = [_BlockwisePredictor(recogniser) for recogniser in recognisers]
    groups: dict[object, list[_BlockwisePredictor]] = {}
    for predictor in predictors:
        groups.setdefault(predictor.recogniser.feature_key, []).append(predictor)
    for group in groups.values():
        recogniser = group[0].recogniser
        config = recogniser.config
        frames = open_frames(fps=config.data.fps, size=config.frame_size)
        # The same cubes as in the feature store, so that evaluation and prediction agree.
        encode = FrameEncoder(recogniser.backbone, config.data.skip_static)
        for batch in batches(frames, _BATCH):
            cubes = torch.from_numpy(encode([frame.pixels for frame in batch]))
            times = [frame.time for frame in batch]
            for predictor in group:
                predictor.add(cubes, times)
            if on_progress is not None:
                on_progress(times[-1])
        if frames.problem:
            log.warning("%s: %s; the frames before that are used", path, frames.problem)
        for predictor in group:
            predictor.problem = frames.problem
    return [predictor.prediction(path) for predictor in predictors]


class _BlockwisePredictor:
    """Predictor that runs a model on the blocks of a video as its feature cubes arrive."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.problem: str | None = None
        config = recogniser.config
        self._blocks = BlockRunner(
            recogniser.model, block_length=config.data.block_length,
            stride=config.data.block_stride, multi_label=config.multi_label,
        )  # fmt: skip
        self._average = ClipAggregator(
            config.data.last_steps, config.data.aggregate, multi_label=config.multi_label
        )
        self._times: list[float] = []

    def add(self, cubes: Float16[Tensor, "N P D"], times: Sequence[float]) -> None:
        """Add the next frames."""
        self._times += times
        for result in self._blocks.add(cubes):
            self._average.add(result)

    def prediction(self, path: Path | None) -> Prediction:
        """Run the last block and return the prediction."""
        for result in self._blocks.finish():
            self._average.add(result)
        clip = self._average.result()
        return Prediction(
            video=path,
            classes=self.recogniser.classes,
            probabilities=clip.probabilities,
            times=np.array(self._times),
            step_probabilities=clip.step_probabilities,
            attention=clip.attention_maps,
            problem=self.problem,
            threshold=self.recogniser.config.threshold,
        )
