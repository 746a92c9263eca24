"""The kernels of an LSTM layer's step, run by Triton's interpreter, which needs no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

# In a process of its own: Triton asks when it is imported whether to interpret.
SCRIPT = """
import torch
from tests.models.transcription import CHANNELS, make
from glimpses.models import kernels, sequence
from glimpses.models.loss import sequence_loss

device = torch.device("cpu")
assert kernels.worst_difference(device, torch.float32) < 1e-6
assert kernels.worst_difference(device, torch.float64) < 1e-14
with torch.inference_mode():
    assert kernels._tried(device, torch.float32)

model = make(layers=2, dropout=0.0)
cubes, mask = torch.randn(3, 4, 4, CHANNELS, dtype=torch.float64), torch.ones(3, 4, dtype=bool)
found = []
for serve in (True, False):
    kernels.serve = lambda *_, serve=serve: serve
    model.zero_grad()
    output = model(cubes, mask)
    sequence_loss(output, torch.tensor([0, 2, 1]), mask).total.backward()
    found.append([output.logits, *(each.grad for each in model.parameters())])
for one, other in zip(*found, strict=True):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
print("all is equal")
"""


def test_they_are_what_pytorch_computes() -> None:
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False
    )
    assert "all is equal" in done.stdout, done.stderr[-2000:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_served() -> None:
    from glimpses.models import kernels

    assert kernels.serve(torch.device("cuda"), torch.float32)
