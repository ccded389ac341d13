"""Cases of reductions and of argmax."""

from __future__ import annotations

import numpy as np

from dlcore.backends.interface import REDUCE_OPS

from .table import Arguments, Out, Rng, _add, _label, _n, _special, _ties


def add_cases() -> None:
    shapes = (
        (1, 1, 1), (3, 4, 5), (1, 1000, 1), (7, 3, 1), (1, 33, 17), (2, 129, 3), (5, 1, 6), (0, 3, 4), (1, 70, 64),
        (3, 4, 0), (16, 65, 1), (3, 50, 7), (2, 784, 3), (2, 49, 64), (1, 2, 3000), (1, 4100, 1), (2, 8, 8),
        (1, 130, 300),
    )  # fmt: skip
    for a, r, b in shapes:
        for op in REDUCE_OPS:
            label = _label(op=op, a=a, r=r, b=b)
            floor = 1.0 if op in ("sum", "mean") else 0.0

            def reduction(rng: Rng, a=a, r=r, b=b, op=op, made=_n) -> Arguments:
                return {"x": made(rng, a, r, b), "y": Out((a, b)), "op": op}

            def special(rng: Rng, build=reduction) -> Arguments:
                return build(rng, made=_special)

            _add("reduce", label, reduction, floor=floor)
            if op in ("max", "min"):
                _add("reduce", f"{label},NaN and infinities", special)
    _add("reduce", "op=sum,nothing to add", lambda rng: {"x": _n(rng, 3, 0, 4), "y": Out((3, 4)), "op": "sum"})
    for a, r, b in ((1, 300_000, 1), (1, 100_000, 3), (2, 100_000, 1)):
        for op in ("sum", "mean"):

            def long(rng: Rng, a=a, r=r, b=b, op=op) -> Arguments:
                return {"x": rng.random((a, r, b)) + 0.1, "y": Out((a, b)), "op": op}

            accurate = {np.dtype(np.float32): 2e-6}
            _add("reduce", f"{_label(op=op, a=a, r=r, b=b)},one sign", long, tolerance=accurate)
    for r, c in ((1, 1), (3, 10), (0, 4), (5, 17), (64, 3), (2, 1000), (33, 16)):
        for made in (_n, _ties, _special):

            def place(rng: Rng, r=r, c=c, made=made) -> Arguments:
                return {"x": made(rng, r, c), "y": Out((r,), np.int32)}

            _add("argmax", f"{_label(r=r, c=c)},{made.__name__}", place)
