"""Cases of copying between views and types, and of filling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .table import Arguments, Array, Out, Rng, View, _add, _label, _n


def add_cases() -> None:
    views: dict[str, tuple[tuple[int, ...], Callable[[Array], Array]]] = {
        "whole": ((3, 4), lambda a: a),
        "one dimension": ((1030,), lambda a: a),
        "no dimension": ((), lambda a: a),
        "transpose": ((5, 7), lambda a: a.T),
        "permute": ((2, 3, 4, 5), lambda a: a.transpose(3, 0, 2, 1)),
        "slice": ((9, 8), lambda a: a[1:7, 2:5]),
        "step": ((9, 8), lambda a: a[::2, 1::3]),
        "flip": ((4, 5, 3), lambda a: a[::-1, :, ::-1]),
        "new axis": ((4, 5), lambda a: a[:, None, 1:]),
        "empty": ((3, 4), lambda a: a[1:1]),
        "large transpose": ((70, 65), lambda a: a.T),
        "five axes": ((2, 3, 2, 3, 2), lambda a: a.transpose(4, 1, 0, 3, 2)[:, ::-1]),
        "six axes": ((2, 2, 2, 2, 2, 3), lambda a: a.transpose(5, 0, 4, 1, 3, 2)),
    }
    for label, (shape, view) in views.items():
        target = view(np.empty(shape)).shape

        def read(rng: Rng, shape=shape, view=view, target=target) -> Arguments:
            return {"x": View(_n(rng, *shape), view), "y": Out(target)}

        def write(rng: Rng, shape=shape, view=view, target=target) -> Arguments:
            return {"x": _n(rng, *target), "y": View(_n(rng, *shape), view, written=True)}

        def fill(rng: Rng, shape=shape, view=view) -> Arguments:
            return {"y": View(_n(rng, *shape), view, written=True), "value": -1.5}

        _add("copy", f"from {label}", read, exact=True)
        _add("copy", f"to {label}", write, exact=True)
        _add("fill", label, fill, exact=True)

    for shape, target in (((1, 5), (4, 5)), ((3, 1), (3, 7)), ((1, 1, 1), (2, 3, 4)), ((2, 1, 3), (2, 6, 3))):

        def broadcast(rng: Rng, shape=shape, target=target) -> Arguments:
            return {"x": View(_n(rng, *shape), lambda a: np.broadcast_to(a, target)), "y": Out(target)}

        _add("copy", _label(broadcast=shape, to=target), broadcast, exact=True)

    types = (bool, np.uint8, np.int32, np.int64, np.float64)
    for source in types:
        for destination in types:

            def convert(rng: Rng, source=source, destination=destination) -> Arguments:
                x = rng.integers(0, 2 if source is bool else 100, (6, 5)).astype(source)
                if source is np.float64:
                    x += 0.75
                out = Out((5, 6), None if destination is np.float64 else destination)
                return {"x": View(x, lambda a: a.T), "y": out}

            _add("copy", f"{np.dtype(source)} to {np.dtype(destination)}", convert, exact=True)

    for dtype in (np.uint8, np.int32, np.int64, bool):
        _add("fill", f"{np.dtype(dtype)}", lambda rng, dtype=dtype: {"y": Out((3, 5), dtype), "value": 1.0})
    for value in (0.0, float("inf"), float("nan")):
        _add("fill", f"value {value}", lambda rng, value=value: {"y": Out((17,)), "value": value})
