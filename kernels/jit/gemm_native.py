"""Products by the native engine, where it is built.

Plain version: our own (`gemm`). LLVM's tile is as fast as a C compiler's while all lies in the first cache, but what
surrounds it, rows packed as the tile reads them and lines asked for ahead, is not: 2048³ on two cores of a Granite
Rapids took 1.07 to 1.17 of OpenBLAS's time, the native product 0.95 to 1.03; products of 1 to 16 million
multiplications on a Zen 4 took 0.7 to 0.95 of ours. Its threads are its own: both pools sleep soon after a call, and
what is shorter than a waking gains nothing.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from .threads import num_threads

Array = Any

# Multiplications from which a product outlasts the waking of one pool and the falling asleep of the other.
_LONG = 1 << 20
# Rows, steps or columns below which a product is bound by its operands' way to the core, which is the same for both;
# where that is from memory, as an operand of so many elements is, there may be more of them.
_NARROW, _NARROW_FROM_MEMORY = 4, 16
_FROM_MEMORY = 1 << 20
# Threads that the native engine has at most.
_MOST_THREADS = 64


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
    if a.size * b.shape[1] < _LONG or y.dtype != np.float32:
        return False
    narrow = _NARROW if max(a.size, b.size, y.size) < _FROM_MEMORY else _NARROW_FROM_MEMORY
    if min(*a.shape, b.shape[1]) < narrow:
        return False
    core, linear = _native()
    if core is None:
        return False
    threads = min(num_threads(), _MOST_THREADS)
    if core.num_threads() != threads:
        core.set_num_threads(threads)
    a_by_rows, b_by_rows = a.flags.c_contiguous, b.flags.c_contiguous
    if a_by_rows and b_by_rows and not add:
        linear.linear(a, b, bias, y, "relu" if rectify else "linear")
    elif bias is not None or rectify or a_by_rows == b_by_rows:
        return False
    elif b_by_rows:
        linear.linear_backward_weight(a.T, b, y, None, add)
    elif not add:
        linear.linear_backward_input(a, b.T, y)
    else:
        return False
    return True
