"""Cases of dense layers and of products of matrices."""

from __future__ import annotations

import numpy as np

from dlcore.backends.interface import FUSED_ACTIVATIONS

from .table import Arguments, Out, Rng, _add, _gradient, _label, _maybe, _n, _switch


def add_cases() -> None:
    sizes = (1, 2, 3, 5, 6, 7, 13, 16, 17, 31, 33, 64, 65, 100, 129)
    shapes = [(s, sizes[(4 * i + 3) % 15], sizes[(7 * i + 5) % 15]) for i, s in enumerate(sizes)]
    shapes += [(s, s, s) for s in sizes[::2]] + [(6, 1, 16), (6, 16, 16), (12, 32, 17), (1, 300, 10), (97, 1, 1)]
    shapes += [(1, 530, 520), (2, 520, 530), (3, 2100, 1090), (16, 1040, 1030), (20, 1040, 1030)]  # large weights
    shapes += [(31, 250, 420), (47, 530, 130)]  # and such that few rows make not worth packing
    shapes += [(300, 520, 130), (0, 5, 7), (5, 0, 7), (5, 7, 0), (0, 0, 0), (257, 9, 3), (3, 9, 257), (4, 1030, 4)]
    shapes += [(2000, 65, 1), (300, 7, 1), (600, 530, 1)]  # a single column
    kinds = _switch(FUSED_ACTIVATIONS)
    for number, (m, i, o) in enumerate(shapes):
        kind, bias, accumulate = next(kinds), number % 3 != 0, number % 2 == 1
        label = _label(m=m, i=i, o=o)

        def forward(rng: Rng, m=m, i=i, o=o, kind=kind, bias=bias) -> Arguments:
            scale = 1 / np.sqrt(max(i, 1))
            return {
                "x": _n(rng, m, i), "w": _n(rng, i, o) * scale, "b": _maybe(bias, _n(rng, o)), "y": Out((m, o)),
                "activation": kind,
            }  # fmt: skip

        def backward_input(rng: Rng, m=m, i=i, o=o) -> Arguments:
            return {"dz": _n(rng, m, o), "w": _n(rng, i, o), "dx": Out((m, i))}

        def backward_weight(rng: Rng, m=m, i=i, o=o, bias=bias, accumulate=accumulate) -> Arguments:
            return {
                "x": _n(rng, m, i), "dz": _n(rng, m, o), "dw": _gradient(rng, accumulate, i, o),
                "db": _maybe(bias, _gradient(rng, accumulate, o)), "accumulate": accumulate,
            }  # fmt: skip

        _add("linear", f"{label},{kind},bias={bias}", forward)
        _add("linear_backward_input", label, backward_input)
        _add("linear_backward_weight", f"{label},bias={bias},accumulate={accumulate}", backward_weight)

    def default(rng: Rng) -> Arguments:
        return {"x": _n(rng, 5, 4), "dz": _n(rng, 5, 3), "dw": Out((4, 3)), "db": Out((3,))}

    _add("linear_backward_weight", "accumulate left out", default)

    batches = ((1, 5, 7, 3), (3, 6, 16, 16), (7, 1, 13, 1), (2, 33, 17, 65), (5, 16, 64, 2), (0, 3, 4, 5), (3, 4, 0, 2))
    for b, m, k, n in (*batches, (2, 0, 3, 4), (1, 130, 70, 31)):
        for ta, tb in ((False, False), (True, False), (False, True), (True, True)):

            def product(rng: Rng, b=b, m=m, k=k, n=n, ta=ta, tb=tb) -> Arguments:
                return {
                    "a": _n(rng, b, *((k, m) if ta else (m, k))), "b": _n(rng, b, *((n, k) if tb else (k, n))),
                    "y": Out((b, m, n)), "transpose_a": ta, "transpose_b": tb,
                }  # fmt: skip

            _add("matmul", _label(b=b, m=m, k=k, n=n, ta=ta, tb=tb), product)
