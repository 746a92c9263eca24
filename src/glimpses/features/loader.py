"""Batch loading: threads read ahead of the model, in half precision.

Cubes reach the model in the half precision in which they are stored. For a GPU, batches go into
page-locked memory and are copied on a separate stream while the model computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import torch

from glimpses.features.blocks import Block, Blocks

# Reader threads. One hides the disk behind a CPU's steps; a GPU finishes a step in less time than a
# core needs to copy its batch.
_CPU_READERS, _GPU_READERS = 1, 4
# Batches that each reader may have ready ahead of the model.
_BATCHES_AHEAD = 2


class BatchLoader:
    """Iterable over batches of blocks, which threads read ahead of use.

    Every iteration goes through all blocks. Memory is bounded: at most two batches per thread are
    read ahead.

    Args:
        blocks: the blocks to read.
        batch_size: blocks in a batch; the last one may have fewer.
        order: indices of the blocks; by default all blocks in their order.
        device: a GPU receives the batches; for any other device they stay in host memory.
    """

    def __init__(
        self, blocks: Blocks, batch_size: int, *, order: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        order = range(len(blocks)) if order is None else order
        firsts = range(0, len(order), batch_size)
        self._blocks = blocks
        self._batches = [order[first : first + batch_size] for first in firsts]
        self._device = torch.device(device)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Block]:
        """Yield the batches in order.

        Raises:
            GlimpsesError: a file of the feature store is missing or damaged; raised at the batch
                that needs the file.
        """
        on_gpu = self._device.type == "cuda"
        upload = _Uploader(self._device) if on_gpu else _keep_in_host_memory

        def read(indices: Sequence[int]) -> Callable[[], Block]:
            return upload(self._blocks.batch(indices))

        threads = _GPU_READERS if on_gpu else _CPU_READERS
        pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        remaining = iter(self._batches)
        try:
            first_batches = islice(remaining, _BATCHES_AHEAD * threads)
            pending = deque(pool.submit(read, indices) for indices in first_batches)
            while pending:
                batch = pending.popleft().result()()
                pending.extend(pool.submit(read, indices) for indices in islice(remaining, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _keep_in_host_memory(batch: Block) -> Callable[[], Block]:
    return lambda: batch


class _Uploader:
    """Copier of batches to a GPU on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, batch: Block) -> Callable[[], Block]:
        """Start the copy, and return a function that the computing thread calls for the result."""
        pinned = [tensor.pin_memory() for tensor in batch]
        with torch.cuda.stream(self._stream):
            on_gpu = Block(*(tensor.to(self._device, non_blocking=True) for tensor in pinned))
            copied = self._stream.record_event()

        def receive() -> Block:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            for tensor in on_gpu:
                # Without this the allocator could reuse the memory for the next copy too early.
                tensor.record_stream(computing)
            return on_gpu

        return receive
