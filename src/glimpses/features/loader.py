"""BatchLoader on their way from the store to the model: read ahead of need, in half precision.

While the model is busy with a batch, threads read the next ones. Nothing is expanded on the way: a
cube reaches the model in the half precision in which it is stored. For a GPU batches are put into
page-locked memory and copied by a stream of their own, beside what is computed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch

from glimpses.features.blocks import Block, Blocks

#: Held while a CUDA graph is captured, which bears no allocations of other threads' meanwhile, and
#: by those threads when they allocate or copy.
beside_capture = threading.Lock()

# Threads that read. One hides the disk from a CPU's steps; a GPU makes a step in less time than a
# core takes to copy its batch.
_READERS, _READERS_FOR_GPU = 1, 4
# BatchLoader of each thread that are read and not yet taken.
_AHEAD = 2


class BatchLoader:
    """BatchLoader of blocks, read by threads; each iteration goes through all of them.

    Memory is bounded: what is read is at most two batches a thread ahead of what was taken.

    Args:
        blocks: what to read.
        size: blocks in a batch; the last one may have fewer.
        order: indices of the blocks; if not given, all as they come.
        device: where batches are wanted. They come on a GPU; for any other device they stay in the
            computer's memory.
    """

    def __init__(
        self,
        blocks: Blocks,
        size: int,
        *,
        order: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        order = range(len(blocks)) if order is None else order
        self._blocks = blocks
        self._parts = [order[first : first + size] for first in range(0, len(order), size)]
        self._device = torch.device(device)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Block]:
        """The batches, in order.

        Raises:
            GlimpsesError: a file of the store is gone or damaged; when that batch's turn comes.
        """
        on_gpu = self._device.type == "cuda"
        upload = _Upload(self._device) if on_gpu else _as_it_is

        def read(part: Sequence[int]) -> Callable[[], Block]:
            return upload(self._blocks.batch(part))

        threads = _READERS_FOR_GPU if on_gpu else _READERS
        pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        parts = iter(self._parts)
        try:
            coming = deque(pool.submit(read, part) for part in islice(parts, _AHEAD * threads))
            while coming:
                batch = coming.popleft().result()()
                coming.extend(pool.submit(read, part) for part in islice(parts, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _as_it_is(batch: Block) -> Callable[[], Block]:
    return lambda: batch


class _Upload:
    """Copies batches to a GPU while it computes.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, batch: Block) -> Callable[[], Block]:
        """Begin to copy; what is given takes the copy, in the thread that computes with it."""
        with beside_capture:
            pinned = [torch.empty_like(each, pin_memory=True) for each in batch]
        for own, each in zip(pinned, batch, strict=True):
            own.copy_(each)
        with beside_capture, torch.cuda.stream(self._stream):
            there = Block(*(each.to(self._device, non_blocking=True) for each in pinned))
            copied = self._stream.record_event()

        def take() -> Block:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            for each in there:
                # Or its memory would be the next copy's while it is still computed with.
                each.record_stream(computing)
            return there

        return take
