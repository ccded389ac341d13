"""Cases of batch and layer normalization."""

from __future__ import annotations

import numpy as np

from dlcore.backends.interface import FUSED_ACTIVATIONS

from .table import Arguments, InOut, Out, Rng, _add, _gradient, _label, _maybe, _n, _switch


def add_cases() -> None:
    kinds = _switch(FUSED_ACTIVATIONS)
    shapes = ((1, 1), (1, 5), (2, 3), (7, 1), (5, 17), (16, 16), (33, 8), (100, 6), (64, 65), (1000, 3), (130, 33))
    for number, (r, c) in enumerate((*shapes, (5, 0))):
        kind, scaled, shifted, accumulate = next(kinds), number % 3 != 1, number % 3 != 2, number % 2 == 1
        label = _label(r=r, c=c, gamma=scaled, beta=shifted)

        def training(rng: Rng, r=r, c=c, kind=kind, scaled=scaled, shifted=shifted, offset=1.0) -> Arguments:
            return {
                "x": _n(rng, r, c) * 2 + offset, "gamma": _maybe(scaled, _n(rng, c)),
                "beta": _maybe(shifted, _n(rng, c)), "running_mean": InOut(_n(rng, c)),
                "running_var": InOut(_n(rng, c) ** 2), "y": Out((r, c)), "mean": Out((c,)), "inv_std": Out((c,)),
                "momentum": 0.9, "eps": 1e-3, "activation": kind,
            }  # fmt: skip

        def inference(rng: Rng, r=r, c=c, kind=kind, scaled=scaled, shifted=shifted) -> Arguments:
            return {
                "x": _n(rng, r, c), "gamma": _maybe(scaled, _n(rng, c)), "beta": _maybe(shifted, _n(rng, c)),
                "running_mean": _n(rng, c), "running_var": _n(rng, c) ** 2, "y": Out((r, c)), "eps": 1e-3,
                "activation": kind,
            }  # fmt: skip

        def backward(
            rng: Rng, r=r, c=c, scaled=scaled, accumulate=accumulate, axis=0, wanted=("dx", "dgamma", "dbeta")
        ) -> Arguments:
            x, count = _n(rng, r, c) * 2 + 1, max((r, c)[axis], 1)
            mean = x.sum(axis=axis, keepdims=True) / count
            return {
                "dz" if axis == 0 else "dy": _n(rng, r, c), "x": x, "gamma": _maybe(scaled, _n(rng, c)),
                "mean": mean.reshape(-1), "inv_std": 1 / np.sqrt(((x - mean) ** 2).sum(axis=axis) / count + 1e-3),
                "dx": _maybe("dx" in wanted, Out((r, c))),
                "dgamma": _maybe("dgamma" in wanted, _gradient(rng, accumulate, c)),
                "dbeta": _maybe("dbeta" in wanted, _gradient(rng, accumulate, c)), "accumulate": accumulate,
            }  # fmt: skip

        def layer(rng: Rng, r=r, c=c, scaled=scaled, shifted=shifted, offset=1.0) -> Arguments:
            return {
                "x": _n(rng, r, c) * 2 + offset, "gamma": _maybe(scaled, _n(rng, c)),
                "beta": _maybe(shifted, _n(rng, c)), "y": Out((r, c)), "mean": Out((r,)), "inv_std": Out((r,)),
                "eps": 1e-3,
            }  # fmt: skip

        def layer_backward(rng: Rng, build=backward, wanted=("dx", "dgamma", "dbeta")) -> Arguments:
            return build(rng, axis=1, wanted=wanted)

        def only_dx(rng: Rng, build=backward) -> Arguments:
            return build(rng, wanted=("dx",))

        def no_dx(rng: Rng, build=backward) -> Arguments:
            return build(rng, wanted=("dgamma", "dbeta"))

        def layer_only_dx(rng: Rng, build=layer_backward) -> Arguments:
            return build(rng, wanted=("dx",))

        def layer_no_dx(rng: Rng, build=layer_backward) -> Arguments:
            return build(rng, wanted=("dgamma", "dbeta"))

        # With one or two values per statistic the gradient is all cancellation: errors are relative to its terms.
        floor = 50.0 if r == 1 else 1.0
        row_floor = 50.0 if c == 1 else 1.0
        _add("batchnorm", f"{label},{kind}", training, floor=1.0)
        _add("batchnorm", f"{label},{kind},in place", training, floor=1.0, in_place={"y": "x"})
        _add("batchnorm_inference", f"{label},{kind}", inference)
        _add("batchnorm_inference", f"{label},{kind},in place", inference, in_place={"y": "x"})
        _add("batchnorm_backward", f"{label},accumulate={accumulate}", backward, floor=floor)
        _add("batchnorm_backward", f"{label},in place", backward, floor=floor, in_place={"dx": "dz"})
        _add("layernorm", label, layer, floor=1.0)
        _add("layernorm_backward", f"{label},accumulate={accumulate}", layer_backward, floor=row_floor)
        if number % 4 == 0:
            _add("batchnorm_backward", f"{label},only dx", only_dx, floor=floor)
            _add("batchnorm_backward", f"{label},no dx", no_dx, floor=floor)
            _add("layernorm_backward", f"{label},only dx", layer_only_dx, floor=row_floor)
            _add("layernorm_backward", f"{label},no dx", layer_no_dx, floor=row_floor)
        if number in (8, 10):
            # The values themselves carry rounding errors of 2e4·2⁻²⁴ against a deviation of 2: only the variance, and
            # so everything but a shift of that size, can be right.
            def far(rng: Rng, build=training) -> Arguments:
                return build(rng, offset=2e4)

            def layer_far(rng: Rng, build=layer) -> Arguments:
                return build(rng, offset=2e4)

            loose = {np.dtype(np.float32): 2e-3, np.dtype(np.float64): 1e-10}
            _add("batchnorm", f"{label},mean 10,000 times the deviation", far, tolerance=loose)
            _add("layernorm", f"{label},mean 10,000 times the deviation", layer_far, tolerance=loose)

    def empty(rng: Rng) -> Arguments:
        return {
            "x": _n(rng, 0, 3), "gamma": _n(rng, 3), "beta": _n(rng, 3), "running_mean": _n(rng, 3),
            "running_var": _n(rng, 3) ** 2, "y": Out((0, 3)), "eps": 1e-3, "activation": "relu",
        }  # fmt: skip

    def layer_empty(rng: Rng) -> Arguments:
        return {
            "x": _n(rng, 0, 3), "gamma": _n(rng, 3), "beta": _n(rng, 3), "y": Out((0, 3)), "mean": Out((0,)),
            "inv_std": Out((0,)), "eps": 1e-3,
        }  # fmt: skip

    def layer_backward_empty(rng: Rng) -> Arguments:
        return {
            "dy": _n(rng, 0, 3), "x": _n(rng, 0, 3), "gamma": _n(rng, 3), "mean": _n(rng, 0), "inv_std": _n(rng, 0),
            "dx": Out((0, 3)), "dgamma": Out((3,)), "dbeta": InOut(np.zeros(3)),
        }  # fmt: skip

    _add("batchnorm_inference", "empty batch", empty)
    _add("layernorm", "empty batch", layer_empty)
    _add("layernorm_backward", "empty batch", layer_backward_empty)
