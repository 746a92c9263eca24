"""Streams: equal to their definition frame by frame, and to the computation by blocks."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from glimpses import Recogniser, backbones
from glimpses.inference.aggregate import predict_causally
from glimpses.utils.errors import GlimpsesError
from tests.fakes import GreyBackbone, make_recogniser

# Every kind of model and of attention.
MODELS: dict[str, dict[str, object]] = {
    "content": {},
    "location": {"attention": "location"},
    "hard": {"attention_mode": "hard"},
    "motion": {"motion": True},
    "motion alone": {"motion": True, "motion_only": True},
    "hard, motion": {"attention_mode": "hard", "motion": True},
    "two stages": {"channels": 5 + 4 * 3, "fine_channels": 3, "fine_ratio": 2},
    "average": {"model": "average"},
    "max": {"model": "max"},
    "max, motion": {"model": "max", "motion": True},
    "softmax": {"model": "softmax"},
    "authors": {"model": "authors", "num_layers": 1},
}
STEPS = 5


@dataclass
class Stored:
    """Feature cubes of a clip, with the interface of the store."""

    cubes: Tensor

    def __len__(self) -> int:
        return len(self.cubes)

    def block(self, start: int, length: int) -> Tensor:
        return self.cubes[start : start + length]


class WideBackbone(GreyBackbone):
    """A fake backbone with any number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels


def make(options: dict[str, object], frames: int) -> tuple[Recogniser, Tensor]:
    backbone = WideBackbone(int(str(options.get("channels", 7))))
    recogniser = make_recogniser(backbone, steps=STEPS, **options)
    cubes = 100 + 50 * torch.randn(frames, 4, backbone.channels)
    mean, deviation = torch.tensor([[100.0], [50.0]]).expand(2, backbone.channels)
    recogniser.model.channel_norm.set(mean, deviation)
    return recogniser, cubes.half()


def output_by_definition(
    recogniser: Recogniser, cubes: Tensor, frame: int, stride: int
) -> tuple[Tensor, ...]:
    """Return the output for one frame by the definition, in float64."""
    model = recogniser.model.double()
    cubes = cubes.double()
    start = next(s for s in range(0, frame + 1, stride) if s > frame - STEPS)
    mean = cubes[max(0, start - STEPS + 1) : start + 1].mean((0, 1))
    with torch.no_grad():
        output = model(cubes[None, start : frame + 1], mean=mean[None])
    attention = None if output.attention is None else output.attention[0, -1]
    return output.logits[0, -1].softmax(-1), attention


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_stream_equals_its_definition_and_the_computation_by_blocks(
    options: dict[str, object], stride: int
) -> None:
    recogniser, cubes = make(options, 17)
    stream = recogniser.stream(stride=stride)
    steps = [stream.step(cube[None]) for cube in cubes]
    (whole,) = predict_causally(
        recogniser.model,
        [Stored(cubes)],
        block_length=STEPS,
        stride=stride,  # type: ignore[list-item]
    )
    assert whole.step_probabilities.shape == (17, 3)
    for frame, step in enumerate(steps):
        assert step.index == frame
        np.testing.assert_allclose(step.probabilities, whole.step_probabilities[frame], atol=1e-5)
        if step.attention is not None:
            assert whole.attention is not None
            np.testing.assert_allclose(step.attention.ravel(), whole.attention[frame], atol=1e-5)
    for frame, step in enumerate(steps):
        probabilities, attention = output_by_definition(recogniser, cubes, frame, stride)
        np.testing.assert_allclose(step.probabilities, probabilities, atol=1e-5)
        if attention is not None:
            assert step.attention is not None
            np.testing.assert_allclose(step.attention.ravel(), attention, atol=1e-5)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_steps_from_the_blocks_own_mean_equal_forward(options: dict[str, object]) -> None:
    recogniser, cubes = make(options, STEPS)
    model, block = recogniser.model, cubes.float()[None]
    with torch.no_grad():
        whole = model(block)
        state = model.initial_state(block.mean((1, 2)))
        for step in range(STEPS):
            logits, attention, state = model.step(block[:, step], state)
            torch.testing.assert_close(logits, whole.logits[:, step], atol=1e-5, rtol=1e-5)
            if whole.attention is not None:
                torch.testing.assert_close(attention, whole.attention[:, step], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_later_frames_do_not_change_earlier_outputs(options: dict[str, object]) -> None:
    recogniser, cubes = make(options, 14)
    other = cubes.clone()
    other[9] = 150
    first, second = (
        result.step_probabilities
        for result in predict_causally(
            recogniser.model,
            [Stored(cubes), Stored(other)],
            block_length=STEPS,  # type: ignore[list-item]
        )
    )
    np.testing.assert_array_equal(first[:9], second[:9])
    assert np.abs(first[9] - second[9]).max() > 1e-5


def test_the_output_comes_from_the_oldest_block() -> None:
    recogniser, cubes = make({}, 14)
    stream = recogniser.stream()
    context = [stream.step(cube[None]).context for cube in cubes]
    # Blocks of 5 start at every second frame.
    assert context == [1, 2, 3, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4]
    single = recogniser.stream(stride=5)
    assert [single.step(cube[None]).context for cube in cubes[:7]] == [1, 2, 3, 4, 5, 1, 2]


def test_attention_that_follows_motion_cannot_stream() -> None:
    with pytest.raises(GlimpsesError, match="not known at its first frame"):
        make_recogniser(motion_bias=True).stream()


def test_streams_are_independent_and_can_be_reset() -> None:
    recogniser, cubes = make({"motion": True}, 9)
    one, other = recogniser.stream(), recogniser.stream()
    first = []
    for cube in cubes:
        first.append(one.step(cube[None]).probabilities)
        other.step(cube.flip(0)[None])
    one.reset()
    again = [one.step(cube[None]) for cube in cubes]
    np.testing.assert_array_equal(first, [step.probabilities for step in again])
    assert [step.index for step in again] == list(range(9))


def test_memory_does_not_grow() -> None:
    recogniser, cubes = make({"motion": True}, 5)
    stream = recogniser.stream()

    def tensors_after(frames: int) -> int:
        for number in range(frames):
            stream.step(cubes[number % 5][None])
        gc.collect()
        return sum(type(item) is Tensor for item in gc.get_objects())

    # Both after the same number of open blocks.
    before = tensors_after(50)
    assert tensors_after(200) == before


def test_multi_label_probabilities_do_not_sum_to_one() -> None:
    stream = make_recogniser(multi_label=True).stream()
    step = stream(np.full((32, 32, 3), 90, np.uint8))
    assert step.probabilities.sum() != pytest.approx(1)
    assert ((step.probabilities > 0) & (step.probabilities < 1)).all()


def test_frames_of_any_size_are_resized() -> None:
    recogniser = make_recogniser()
    small = np.zeros((32, 32, 3), np.uint8)
    small[:16, :16], small[16:, :16] = 200, (90, 30, 60)
    large = small.repeat(6, axis=0).repeat(10, axis=1)
    exact = recogniser.stream()(small)
    step = recogniser.stream()(large)
    np.testing.assert_allclose(step.probabilities, exact.probabilities, atol=0.02)
    # A reversed view of BGR, as from OpenCV.
    turned = recogniser.stream()(np.ascontiguousarray(large[..., ::-1])[..., ::-1])
    np.testing.assert_array_equal(turned.probabilities, step.probabilities)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((32, 32, 3), np.float32), "float32"),
        (np.zeros((32, 32), np.uint8), r"\(32, 32\)"),
        (np.zeros((32, 32, 4), np.uint8), r"\(32, 32, 4\)"),
        (np.zeros((0, 32, 3), np.uint8), "at least one pixel"),
        (None, "NoneType"),
    ],
)
def test_invalid_frames_are_refused(frame: np.ndarray, message: str) -> None:
    stream = make_recogniser().stream()
    with pytest.raises(GlimpsesError, match=message):
        stream(frame)
    assert stream(np.zeros((32, 32, 3), np.uint8)).index == 0


@pytest.mark.parametrize("stride", [0, -1, 5])
def test_strides_out_of_range_are_refused(stride: int) -> None:
    with pytest.raises(GlimpsesError, match=f"stride {stride}"):
        make_recogniser(steps=4).stream(stride=stride)


def test_a_real_network_gives_the_same_frame_by_frame() -> None:
    """Batch sizes differ in the last bit, which rounding to half precision could amplify."""
    backbone = backbones.load("efficientnet_lite0:16:7", threads=1)
    recogniser = make_recogniser(
        backbone,
        steps=6,
        places=49,
        hidden_size=8,  # type: ignore[arg-type]
    )
    photos = [image[i * 9 : i * 9 + 224, i * 20 : i * 20 + 224] for image in
              load_sample_images().images for i in range(9)]  # fmt: skip
    frames = np.stack(photos)
    stream = recogniser.stream()
    steps = [stream(frame) for frame in frames]
    (whole,) = predict_causally(
        recogniser.model,
        [Stored(backbone(frames).half())],
        block_length=6,  # type: ignore[list-item]
    )
    assert np.ptp(whole.step_probabilities, axis=0).max() > 0.01
    for step, expected, places in zip(
        steps, whole.step_probabilities, whole.attention, strict=True
    ):  # type: ignore[arg-type]
        np.testing.assert_allclose(step.probabilities, expected, atol=1e-5)
        np.testing.assert_allclose(step.attention.ravel(), places, atol=1e-5)  # type: ignore[union-attr]
