"""Local server of weights files, and torchvision as a reference implementation."""

from __future__ import annotations

import hashlib
import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from tests.local_servers import serving


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def weights_server(folder: Path, module: ModuleType) -> Iterator[str]:
    """Serve a folder, and make a backbone module expect the weights file in it."""
    content = (folder / module.WEIGHTS.file).read_bytes()
    expected = replace(
        module.WEIGHTS, digest=hashlib.new(module.WEIGHTS.algorithm, content).hexdigest()
    )
    with (
        serving(partial(_QuietHandler, directory=folder)) as address,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(module, "WEIGHTS", expected)
        m.setenv("GLIMPSES_WEIGHTS_URL", address)
        yield address


def torchvision_googlenet() -> nn.Module:
    """Return torchvision's GoogLeNet with random weights; skip the test if it is not installed."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed; it is not a dependency")
    declare_torchvision()
    models = import_module("torchvision.models")
    torch.manual_seed(0)
    network: nn.Module = models.googlenet(
        weights=None, transform_input=True, aux_logits=True, init_weights=False
    )
    return network.eval()


def declare_torchvision() -> None:
    """Make torchvision importable without a build for the installed PyTorch.

    Its compiled operators are then missing. The tests use none of them, so it is enough to declare
    their names.
    """
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _DECLARED.define(f"{name}(Tensor x) -> Tensor")


_DECLARED = torch.library.Library("torchvision", "FRAGMENT")
