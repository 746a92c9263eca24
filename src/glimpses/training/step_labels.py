"""Labels of every sampled frame of long recordings, for blocks that cross the edges of segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glimpses.datasets import Clip
from glimpses.features import Block, ClipFeatures
from glimpses.features.recordings import SegmentFeatures


class StepLabels:
    """Labels of every sampled frame of the recordings that some clips are segments of.

    Args:
        clips: the segments.
        features: features of each segment.
        num_classes: number of classes, C.
        multi_label: whether a frame may show several classes.

    Attributes:
        features: features of each recording.
    """

    def __init__(
        self, clips: Sequence[Clip], features: Mapping[str, ClipFeatures], num_classes: int, *,
        multi_label: bool,
    ) -> None:  # fmt: skip
        self._classes = num_classes
        parts: dict[Path, list[tuple[Clip, SegmentFeatures]]] = {}
        for clip in clips:
            part = features[clip.id]
            assert isinstance(part, SegmentFeatures)
            parts.setdefault(clip.path, []).append((clip, part))
        self.features = [pieces[0][1].recording for pieces in parts.values()]
        lengths = torch.tensor([len(recording) for recording in self.features])
        # The frames of all recordings are in one tensor, each from its offset on.
        self._offsets = lengths.cumsum(0) - lengths
        frames = int(lengths.sum())
        shape = (frames, num_classes) if multi_label else (frames,)
        self._targets = torch.zeros(shape, dtype=torch.float if multi_label else torch.long)
        self._has_label = torch.zeros(frames, dtype=torch.bool)
        for offset, pieces in zip(self._offsets.tolist(), parts.values(), strict=True):
            for clip, part in pieces:
                rows = slice(offset + part.first, offset + part.first + len(part))
                self._has_label[rows] = True
                if multi_label:
                    self._targets[rows] = 0
                    self._targets[rows, list(clip.labels)] = 1
                else:
                    self._targets[rows] = clip.labels[0]

    def of(
        self, batch: Block
    ) -> tuple[Int[Tensor, "B T"] | Float[Tensor, "B T C"], Bool[Tensor, "B T"]]:
        """Return the targets of the steps of a batch, and which steps have one, on its device."""
        steps = torch.arange(batch.mask.shape[1])
        rows = (self._offsets[batch.clip.cpu()] + batch.start.cpu())[:, None] + steps
        # Steps after the end of the last recording are padding.
        rows = rows.clamp(max=len(self._has_label) - 1)
        device = batch.mask.device
        return self._targets[rows].to(device), self._has_label[rows].to(device) & batch.mask

    def counts(self) -> Float[Tensor, " C"]:
        """Return the number of labelled frames of each class; single-label data only."""
        return torch.bincount(self._targets[self._has_label], minlength=self._classes).float()
