"""Cases of activations and of softmax."""

from __future__ import annotations

import numpy as np

from dlcore.backends.interface import ACTIVATIONS

from .table import Arguments, Out, Rng, _add, _kernel, _label, _maybe, _n, _switch

_FROM_OUTPUT = ("linear", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "exponential")


def add_cases() -> None:
    shapes = _switch(((1,), (7,), (3, 5), (2, 3, 4, 5), (0, 3), (129,), (1, 1000), (17, 33)))
    for kind in ACTIVATIONS:
        alpha = {"leaky_relu": 0.2, "elu": 0.7}.get(kind, 0.0)
        variants = [(next(shapes), spread) for spread in (1.0, 5.0, 1.0)] + [((4096 + 5,), 3.0), ((2, 9), 0.0)]
        for shape, spread in variants:
            label = _label(kind=kind, shape=shape, spread=spread)

            def values(rng: Rng, shape=shape, spread=spread) -> np.ndarray:
                if spread:
                    return _n(rng, *shape) * spread
                # Extremes, ±0 and the kinks.
                return np.array([[0.0, -0.0, 1e4, -1e4, 88.0, -88.0, 3.0, -3.0, 6.0]] * 2) * [[1], [0.5]]

            def forward(rng: Rng, kind=kind, alpha=alpha, values=values, shape=shape) -> Arguments:
                x = values(rng)
                if kind == "exponential":
                    x = np.minimum(x, 60)
                return {"x": x, "y": Out(shape), "kind": kind, "alpha": alpha}

            def backward(rng: Rng, kind=kind, alpha=alpha, forward=forward, shape=shape, x_given=True) -> Arguments:
                x = forward(rng)["x"].astype(np.float32).astype(np.float64)
                y = np.empty(shape)
                _kernel("activation")(x, y, kind, alpha)
                return {
                    "dy": _n(rng, *shape), "x": _maybe(x_given, x), "y": y, "dx": Out(shape), "kind": kind,
                    "alpha": alpha,
                }  # fmt: skip

            def from_output(rng: Rng, backward=backward) -> Arguments:
                return backward(rng, x_given=False)

            _add("activation", label, forward)
            _add("activation_backward", label, backward)
            if spread == 5.0:
                _add("activation", f"{label},in place", forward, in_place={"y": "x"})
                _add("activation_backward", f"{label},in place", backward, in_place={"dx": "dy"})
            if spread != 1.0 and kind in _FROM_OUTPUT:
                _add("activation_backward", f"{label},no x", from_output)

    row_shapes = ((1, 1), (3, 10), (0, 4), (5, 17), (64, 3), (2, 1000), (33, 16), (1, 65))
    for number, (r, c) in enumerate(row_shapes):
        for spread in (1.0, 1e4):
            label = _label(r=r, c=c, spread=spread)
            in_place = number % 2 == 1

            def rows(rng: Rng, r=r, c=c, spread=spread) -> Arguments:
                return {"x": _n(rng, r, c) * spread, "y": Out((r, c))}

            for name in ("softmax", "log_softmax"):

                def rows_backward(rng: Rng, r=r, c=c, spread=spread, name=name) -> Arguments:
                    y = np.empty((r, c))
                    _kernel(name)(_n(rng, r, c) * spread, y)
                    return {"dy": _n(rng, r, c), "y": y, "dx": Out((r, c))}

                options = {"floor": 1e-3} if c > 1 else {"floor": 1.0}
                _add(name, label, rows)
                _add(f"{name}_backward", label, rows_backward, **options)
                if in_place:
                    _add(name, f"{label},in place", rows, in_place={"y": "x"})
                    _add(f"{name}_backward", f"{label},in place", rows_backward, in_place={"dx": "dy"}, **options)
