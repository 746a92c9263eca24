"""Features that are computed again when a stored file turns out to be damaged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16

from glimpses.datasets import Clip
from glimpses.features.part import DamagedFeaturesError
from glimpses.features.store import ClipFeatures, CubeStore
from glimpses.utils.errors import GlimpsesError
from glimpses.utils.files import sha256

log = logging.getLogger(__name__)


class Recovery:
    """Replacement of damaged features, which several readers may ask for.

    Args:
        store: receives the features.
        fill: computes clips by digest into the store, and returns why some cannot be read.
    """

    def __init__(
        self, store: CubeStore, fill: Callable[[Mapping[str, Clip]], Mapping[str, str]]
    ) -> None:
        self._store = store
        self._fill = fill
        self._lock = threading.Lock()
        self._recovered: dict[str, ClipFeatures] = {}

    def current(self, stored: ClipFeatures) -> ClipFeatures:
        """Return the replacement of a clip's features, if there is one."""
        return self._recovered.get(stored.digest, stored)

    def recover(
        self, stored: ClipFeatures, clip: Clip, damaged: ClipFeatures, error: DamagedFeaturesError
    ) -> ClipFeatures:
        """Compute a clip again, unless another thread has done so, and return its features.

        Args:
            stored: features as they were opened.
            clip: the clip they belong to.
            damaged: the features whose reading failed; `stored` or a replacement.
            error: why it failed.

        Raises:
            GlimpsesError: the clip cannot be read any more, or is another one now.
        """
        with self._lock:
            if (current := self.current(stored)) is not damaged:
                return current
            log.warning("%s; computing the features of %s again", error.problem, clip.path)
            features = self._compute(stored, clip)
            self._recovered[stored.digest] = features
            return features

    def _compute(self, stored: ClipFeatures, clip: Clip) -> ClipFeatures:
        digest = stored.digest
        try:
            problem = "" if sha256(clip.path) == digest else "has changed"
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        if not problem:
            failures = self._fill({digest: clip})
            problem = failures.get(digest, "").removeprefix(f"{clip.path}: ")
        features = None if problem else self._store.find(digest)
        if features is None:
            problem = problem or "cannot be read"
        elif not np.array_equal(features.times, stored.times):
            problem = "is decoded to other frames now"
        if features is None or problem:
            raise GlimpsesError(
                f"{clip.path}: {problem}, and its stored features are damaged; run the same "
                "command again"
            )
        return features


@dataclass(frozen=True)
class RecoverableFeatures(ClipFeatures):
    """Stored features of a clip whose video is available.

    Attributes:
        stored: features as they were opened.
        clip: the clip.
        recovery: replaces them if they turn out to be damaged.
    """

    stored: ClipFeatures
    clip: Clip
    recovery: Recovery

    @classmethod
    def of(cls, stored: ClipFeatures, clip: Clip, recovery: Recovery) -> RecoverableFeatures:
        """Return features that equal `stored`."""
        return cls(
            stored.digest, stored.times, stored.problem, stored.shape, stored.remedy, (), stored,
            clip, recovery,
        )  # fmt: skip

    def read_into(self, start: int, out: Float16[np.ndarray, "T P D"]) -> None:
        """Fill `out` with consecutive cubes; see `ClipFeatures.read_into`.

        Raises:
            GlimpsesError: features are damaged and cannot be computed again.
        """
        current = self.recovery.current(self.stored)
        try:
            current.read_into(start, out)
        except DamagedFeaturesError as error:
            self.recovery.recover(self.stored, self.clip, current, error).read_into(start, out)
