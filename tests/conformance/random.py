"""Cases of random numbers and of dropout."""

from __future__ import annotations

import numpy as np

from .table import Arguments, Out, Rng, _add, _label, _n


def add_cases() -> None:
    streams = (
        ((1,), 0, 0), ((3, 5), 1, 0), ((1027,), 12345, 7), ((64, 33), 2**32 + 5, 2**32 - 3), ((0,), 1, 1),
        ((4,), 2**64 - 1, 2**63), ((9,), 2**63, 2**64 - 1), ((300_001,), 42, 10),
    )  # fmt: skip
    for shape, seed, offset in streams:
        label = _label(shape=shape, seed=seed, offset=offset)
        stream = {"seed": seed, "offset": offset}
        for low, high in ((0.0, 1.0), (-0.3, 2.1)):

            def uniform(rng: Rng, shape=shape, low=low, high=high, stream=stream) -> Arguments:
                return {"y": Out(shape), "low": low, "high": high, **stream}

            _add("random_uniform", f"{label},low={low},high={high}", uniform, exact=low == 0.0)

        def normal(rng: Rng, shape=shape, stream=stream, mean=0.5, stddev=2.0) -> Arguments:
            return {"y": Out(shape), "mean": mean, "stddev": stddev, **stream}

        _add("random_normal", label, normal, floor=1.0)
        for rate in (0.0, 0.1, 0.5, 0.999):

            def drop(rng: Rng, shape=shape, rate=rate, stream=stream) -> Arguments:
                x = _n(rng, *shape)
                return {"x": np.where(np.abs(x) < 1e-3, 1.0, x), "y": Out(shape), "rate": rate, **stream}

            _add("dropout", f"{label},rate={rate}", drop, same_zeros=True, exact=rate == 0.0)
            if rate == 0.5:
                _add("dropout", f"{label},rate={rate},in place", drop, same_zeros=True, in_place={"y": "x"})
