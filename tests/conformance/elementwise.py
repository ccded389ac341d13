"""Cases of arithmetic, comparison and selection, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlcore.backends.interface import BINARY_OPS, COMPARE_OPS, UNARY_OPS

from .table import Arguments, Out, Rng, _add, _kernel, _label, _n, _switch, _ties


def add_cases() -> None:
    shapes = _switch(((1,), (7,), (3, 5), (2, 3, 4, 5), (0, 3), (129,), (), (1, 1000)))
    for op in UNARY_OPS:
        for spread in (1.0, 4.0, 1.5):
            shape = next(shapes)

            def forward(rng: Rng, op=op, shape=shape, spread=spread) -> Arguments:
                x = _n(rng, *shape) * spread
                return {
                    "x": np.abs(x) + 0.05 if op in ("log", "sqrt", "reciprocal") else x, "y": Out(shape), "op": op
                }  # fmt: skip

            def backward(rng: Rng, op=op, forward=forward, shape=shape) -> Arguments:
                x = forward(rng)["x"]
                y = np.empty(shape)
                _kernel("unary")(x, y, op)
                return {"dy": _n(rng, *shape), "x": x, "y": y, "dx": Out(shape), "op": op}

            label = _label(op=op, shape=shape, spread=spread)
            _add("unary", label, forward, floor=1e-2)
            _add("unary_backward", label, backward, floor=1e-2)
            if spread == 1.0:
                _add("unary", f"{label},in place", forward, floor=1e-2, in_place={"y": "x"})
                _add("unary_backward", f"{label},in place", backward, floor=1e-2, in_place={"dx": "dy"})

    def extremes(rng: Rng, op: str) -> Arguments:
        x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0])
        return {"x": x, "y": Out(x.shape), "op": op}

    for op in ("neg", "exp", "log", "sqrt", "square", "abs", "reciprocal"):
        _add("unary", f"op={op},extremes", lambda rng, op=op: extremes(rng, op))

    def kinks(rng: Rng, op: str) -> Arguments:
        x = np.array([0.0, -0.0, 2.0, -2.0])
        return {"dy": _n(rng, 4), "x": x, "y": np.abs(x) if op == "abs" else np.sign(x), "dx": Out((4,)), "op": op}

    for op in ("abs", "sign"):
        _add("unary_backward", f"op={op},kink", lambda rng, op=op: kinks(rng, op))

    pairs = (
        ((5,), (5,)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3, 4), (3, 1)), ((1,), (7,)), ((), (3, 2)), ((0, 3), (3,)),
        ((2, 1, 5, 1), (1, 3, 1, 17)), ((1030,), (1030,)), ((64, 33), (64, 1)), ((4, 5), ()), ((2, 3, 2, 3, 2), (3, 2)),
        ((), ()), ((33, 16), (16,)), ((2, 1, 3, 1, 2), (1, 2, 1, 3, 1)),
    )  # fmt: skip
    for number, (a, b) in enumerate(pairs):
        shape = np.broadcast_shapes(a, b)
        for op in BINARY_OPS if number < 4 else (BINARY_OPS[number % 7], BINARY_OPS[(number + 3) % 7]):

            def arithmetic(rng: Rng, a=a, b=b, op=op, shape=shape) -> Arguments:
                left, right = _n(rng, *a), _n(rng, *b)
                if op == "pow":
                    left = np.abs(left) + 0.1
                if op == "div":
                    right = right + np.copysign(0.1, right)
                return {"a": left, "b": right, "y": Out(shape), "op": op}

            _add("binary", _label(op=op, a=a, b=b), arithmetic)
            if a == shape:
                _add("binary", f"{_label(op=op, a=a, b=b)},y is a", arithmetic, in_place={"y": "a"})
            if b == shape:
                _add("binary", f"{_label(op=op, a=a, b=b)},y is b", arithmetic, in_place={"y": "b"})
        for op in COMPARE_OPS if number < 3 else (COMPARE_OPS[number % 6],):

            def comparison(rng: Rng, a=a, b=b, op=op, shape=shape) -> Arguments:
                return {"a": _ties(rng, *a), "b": _ties(rng, *b), "y": Out(shape, bool), "op": op}

            _add("compare", _label(op=op, a=a, b=b), comparison)

    def not_numbers(rng: Rng, op: str, dtype: Any = None) -> Arguments:
        values = np.array([0.0, 1.0, -2.0, np.nan, np.inf, -np.inf])
        a, b = (np.ascontiguousarray(v) for v in np.broadcast_arrays(values[:, None], values))
        return {"a": a, "b": b, "y": Out((6, 6), dtype), "op": op}

    for op in ("add", "sub", "mul", "div", "maximum", "minimum"):
        _add("binary", f"op={op},NaN and infinities", lambda rng, op=op: not_numbers(rng, op))
    for op in COMPARE_OPS:
        _add("compare", f"op={op},NaN and infinities", lambda rng, op=op: not_numbers(rng, op, bool))

    selections = (
        ((5,), (5,), (5,)), ((3, 1), (4,), (3, 4)), ((), (2, 3), (1,)), ((2, 3, 4), (1,), (4,)), ((0, 2), (2,), ()),
        ((1030,), (1,), (1030,)), ((2, 1, 3), (5, 1), ()), ((2, 1, 3, 1, 2), (2, 1, 3, 1), (3, 1, 1)),
    )  # fmt: skip
    for condition, a, b in selections:

        def selection(rng: Rng, condition=condition, a=a, b=b) -> Arguments:
            chosen = np.asarray(rng.random(condition) < 0.5)
            return {"condition": chosen, "a": _n(rng, *a), "b": _n(rng, *b),
                    "y": Out(np.broadcast_shapes(condition, a, b))}  # fmt: skip

        _add("select", _label(c=condition, a=a, b=b), selection, exact=True)
