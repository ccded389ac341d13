"""Cases of table look-up."""

from __future__ import annotations

import numpy as np

from .table import Arguments, Out, Rng, _add, _gradient, _label, _n


def add_cases() -> None:
    for number, (m, v, d) in enumerate(
        ((1, 1, 1), (5, 3, 4), (100, 7, 16), (33, 1000, 17), (0, 4, 3), (64, 2, 65), (2100, 5, 3))
    ):
        accumulate = number % 2 == 1

        def forward(rng: Rng, m=m, v=v, d=d) -> Arguments:
            return {"ids": rng.integers(0, v, m, np.int32), "table": _n(rng, v, d), "y": Out((m, d))}

        def backward(rng: Rng, m=m, v=v, d=d, accumulate=accumulate) -> Arguments:
            return {
                "dy": _n(rng, m, d), "ids": rng.integers(0, v, m, np.int32),
                "dtable": _gradient(rng, accumulate, v, d), "accumulate": accumulate,
            }  # fmt: skip

        _add("embedding", _label(m=m, v=v, d=d), forward, exact=True)
        _add("embedding_backward", _label(m=m, v=v, d=d, accumulate=accumulate), backward)
