"""Products by the native engine, where it is built.

Plain version: our own (`gemm`). LLVM's tile is as fast as a C compiler's while all lies in the first cache, but what
surrounds it, rows packed as the tile reads them and lines asked for ahead, is not: 2048³ on two cores of a Granite
Rapids took 1.07 to 1.17 of OpenBLAS's time, the native product 0.95 to 1.03; products of 1 to 16 million
multiplications on a Zen 4 took 0.7 to 0.95 of ours, those of a few rows 0.3 to 1.05. Its threads are its own, of
which it takes no more than are set here: both pools sleep soon after a call, and what is shorter than a waking gains
nothing.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from .threads import num_threads

Array = Any

# Multiplications, and elements of an operand, from which a product outlasts the waking of one pool and the other's
# falling asleep.
_LONG, LARGE = 1 << 20, 1 << 16


@cache
def _native() -> tuple[Any, Any]:
    """The native engine's core and dense layers; None where it is not built, or was built for any processor."""
    try:
        core, linear = (import_module(f"dlcore.kernels.native.{name}") for name in ("core", "linear"))
    except (ImportError, ValueError):
        return None, None
    return (None, None) if core.isa == "baseline" else (core, linear)


def multiply_natively(a: Array, b: Array, y: Array, bias: Array | None, rectify: bool, add: bool) -> bool:
    """What `gemm` does, if the product is long and one of a dense layer's three; whether it was."""
    if y.dtype != np.float32 or (a.size * b.shape[1] < _LONG and max(a.size, b.size, y.size) < LARGE):
        return False
    core, linear = _native()
    if core is None:
        return False
    a_by_rows, b_by_rows = a.flags.c_contiguous and a.shape[1] > 1, b.flags.c_contiguous
    if a_by_rows and b_by_rows and not add:
        call, arguments = linear.linear, (a, b, bias, y, "relu" if rectify else "linear")
    elif bias is not None or rectify or a_by_rows == b_by_rows:
        return False
    elif b_by_rows:
        call, arguments = linear.linear_backward_weight, (a.T, b, y, None, add)
    elif not add:
        call, arguments = linear.linear_backward_input, (a, b.T, y)
    else:
        return False
    core.limit_threads(num_threads())
    try:
        call(*arguments)
    finally:
        core.limit_threads(0)
    return True
