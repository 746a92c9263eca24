"""A training step beside other ways, for a few of the sizes that `step.py` measures at length."""

from __future__ import annotations

from collections.abc import Iterator

import measuring
import step
from measuring import Bench, Comparison, Way


def run(bench: Bench) -> Iterator[Comparison]:
    """The paper's batches of 64 with both forms of attention, and our default's of 32."""
    sizes = [step.Size(form, 64, 30, 49, 1024, 512) for form in ("location", "content")]
    sizes.append(step.Size("content", 32, 10, 196, 112, 128, dropout=0.2))
    for size in step.SIZES["quick"] if bench.quick else sizes:
        ways = {name: Way(make(size), size.batch) for name, make in step.WAYS.items()}
        for way in ways.values():
            way.do()
        product = measuring.matrix_product()
        each = size.operations / size.batch / 1e9
        ways["limit: matrix product"] = Way(product.do, product.work / each)
        note = (
            f"{each:.2f} GFLOP a block cannot be done without; the limit is a product of as many."
        )
        yield bench.compare(f"A training step: {size}", "block", "plain loop", ways, note)
