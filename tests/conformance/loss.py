"""Cases of losses."""

from __future__ import annotations

import numpy as np

from .table import Arguments, Out, Rng, _add, _label, _maybe, _n


def add_cases() -> None:
    shapes = ((1, 1), (3, 10), (0, 4), (32, 10), (5, 17), (64, 3), (2, 1000), (7, 1), (33, 16), (257, 2))
    for number, (r, c) in enumerate(shapes):
        for spread in (1.0, 1e4):
            number += 1
            weighted, wanted, scale = number % 3 != 1, number % 4 != 2, (1.0, 1 / max(r, 1), 0.3)[number % 3]
            label = _label(r=r, c=c, spread=spread, weight=weighted, gradient=wanted)

            def build(rng: Rng, given, r=r, c=c, spread=spread, weighted=weighted, wanted=wanted, scale=scale):
                return {
                    "logits": _n(rng, r, c) * spread, **given(rng, r, c), "weight": _maybe(weighted, rng.random(r)),
                    "losses": Out((r,)), "dlogits": _maybe(wanted, Out((r, c))), "scale": scale,
                }  # fmt: skip

            def sparse(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"labels": g.integers(0, k, m, np.int32)})

            def dense(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"targets": g.dirichlet(np.ones(k), m)})

            def unnormalised(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"targets": g.integers(0, 3, (m, k)) * 0.5})

            def binary(rng: Rng, build=build) -> Arguments:
                return build(rng, lambda g, m, k: {"targets": g.random((m, k)).round(g.integers(0, 2))})

            floor = 1e-6 if c > 1 else 1.0
            _add("softmax_cross_entropy", label, sparse, floor=floor)
            _add("softmax_cross_entropy_dense", label, dense, floor=max(floor, 0.1 * min(scale, 1)))
            _add("softmax_cross_entropy_dense", f"{label},rows of any sum", unnormalised, floor=floor)
            _add("sigmoid_cross_entropy", label, binary, floor=floor)

    def sure(rng: Rng) -> Arguments:
        targets = rng.random((3, 200)).round()
        logits = (2 * targets - 1) * rng.uniform(12, 14, (3, 200))
        return {
            "logits": logits, "targets": targets, "weight": None, "losses": Out((3,)), "dlogits": None, "scale": 1.0,
        }  # fmt: skip

    _add("sigmoid_cross_entropy", "3x200, losses of a millionth", sure, floor=1e-9)
