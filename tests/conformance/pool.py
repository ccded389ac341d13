"""Cases of pooling."""

from __future__ import annotations

import numpy as np

from .table import Arguments, Out, Rng, _add, _kernel, _label, _maybe, _n, _special, _ties

# x, size, stride, padding
_POOLS = (
    ((2, 6, 6, 3), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((2, 7, 5, 16), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((2, 7, 5, 17), (2, 2), (2, 2), (0, 1, 0, 1)),
    ((1, 9, 11, 4), (3, 3), (2, 2), (0, 0, 0, 0)),
    ((1, 9, 10, 33), (3, 3), (2, 2), (0, 0, 0, 1)),
    ((2, 8, 8, 8), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((1, 12, 7, 1), (3, 2), (1, 2), (1, 0, 0, 1)),
    ((1, 5, 6, 5), (2, 3), (3, 1), (0, 0, 2, 2)),
    ((2, 4, 4, 64), (4, 4), (4, 4), (0, 0, 0, 0)),
    ((1, 20, 18, 2), (17, 16), (1, 1), (0, 0, 0, 0)),
    ((1, 20, 20, 3), (16, 16), (2, 3), (3, 4, 5, 6)),
    ((1, 21, 19, 3), (17, 17), (2, 1), (8, 8, 8, 8)),
    ((3, 1, 9, 2), (1, 3), (1, 3), (0, 0, 0, 0)),
    ((2, 3, 3, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((2, 5, 5, 6), (1, 1), (2, 3), (0, 0, 0, 0)),
    ((2, 7, 7, 4), (2, 2), (4, 3), (1, 1, 1, 0)),
    ((0, 6, 6, 3), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((2, 28, 28, 6), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((1, 1, 1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),
)  # fmt: skip


def add_cases() -> None:
    for number, (x, size, stride, padding) in enumerate(_POOLS):
        oh = (x[1] + padding[0] + padding[1] - size[0]) // stride[0] + 1
        ow = (x[2] + padding[2] + padding[3] - size[1]) // stride[1] + 1
        y = (x[0], oh, ow, x[3])
        index_dtype = np.uint8 if size[0] * size[1] <= 256 else np.int32
        geometry = {"size": size, "stride": stride, "padding": padding}
        label = _label(x=x, w=size, s=stride, p=padding)

        def maximum(rng: Rng, x=x, y=y, geometry=geometry, dtype=index_dtype, index=True, made=_n) -> Arguments:
            return {"x": made(rng, *x), "y": Out(y), "index": _maybe(index, Out(y, dtype)), **geometry}

        def maximum_backward(rng: Rng, x=x, y=y, geometry=geometry, dtype=index_dtype) -> Arguments:
            index = np.empty(y, dtype)
            _kernel("max_pool2d")(_ties(rng, *x), np.empty(y), index, *geometry.values())
            return {"dy": _n(rng, *y), "index": index, "dx": Out(x), **geometry}

        def average(rng: Rng, x=x, y=y, geometry=geometry) -> Arguments:
            return {"x": _n(rng, *x), "y": Out(y), **geometry}

        def average_backward(rng: Rng, x=x, y=y, geometry=geometry) -> Arguments:
            return {"dy": _n(rng, *y), "dx": Out(x), **geometry}

        def ties(rng: Rng, build=maximum) -> Arguments:
            return build(rng, made=_ties)

        def special(rng: Rng, build=maximum, index=bool(number % 2)) -> Arguments:
            return build(rng, made=_special, index=index)

        def no_index(rng: Rng, build=maximum) -> Arguments:
            return build(rng, index=False)

        _add("max_pool2d", label, maximum)
        _add("max_pool2d", f"{label},no index", no_index)
        _add("max_pool2d", f"{label},ties", ties)
        _add("max_pool2d", f"{label},NaN and infinities", special)
        _add("max_pool2d_backward", label, maximum_backward)
        _add("avg_pool2d", label, average)
        _add("avg_pool2d_backward", label, average_backward)

    for n, s, c in ((2, 49, 16), (1, 1, 1), (3, 7, 5), (2, 100, 33), (4, 1, 8), (0, 4, 3), (1, 1000, 3), (2, 9, 1)):
        label = _label(n=n, s=s, c=c)
        _add("global_avg_pool", label, lambda rng, n=n, s=s, c=c: {"x": _n(rng, n, s, c), "y": Out((n, c))})
        _add("global_avg_pool_backward", label, lambda rng, n=n, s=s, c=c: {"dy": _n(rng, n, c), "dx": Out((n, s, c))})
        for made in (_n, _ties, _special):
            for index in (True, False):

                def maximum(rng: Rng, n=n, s=s, c=c, made=made, index=index) -> Arguments:
                    return {"x": made(rng, n, s, c), "y": Out((n, c)), "index": _maybe(index, Out((n, c), np.int32))}

                _add("global_max_pool", f"{label},{made.__name__},index={index}", maximum)

        def maximum_backward(rng: Rng, n=n, s=s, c=c) -> Arguments:
            index = rng.integers(0, s, (n, c), np.int32)
            return {"dy": _n(rng, n, c), "index": index, "dx": Out((n, s, c))}

        _add("global_max_pool_backward", label, maximum_backward)
