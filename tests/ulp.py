"""How far an engine's float32 functions are from the exact results, in units in the last place.

    python -P tests/ulp.py cython

A unit is the distance between a float32 of the exact result's size and the next one, and never less than the smallest
number that float32 has. The arguments are spread over all of float32 (every 4099th bit pattern, so all exponents, both
signs, subnormal numbers and NaN), closer together where the functions bend, and the edges.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlcore.backends import Backend, get_backend

SMALLEST, NORMAL = 2.0**-149, 2.0**-126


class Function(NamedTuple):
    run: Callable[[Backend, Any, Any], None]
    exact: Callable[[np.ndarray], np.ndarray]  # in float64
    through: Callable[[np.ndarray], np.ndarray] | float = 1.0  # by what a subnormal number on the way is multiplied
    unit: Callable[[np.ndarray], np.ndarray] | None = None  # of the error, in place of the last place


def arguments() -> np.ndarray:
    patterns = np.arange(0, 1 << 32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    dense = [np.linspace(-reach, reach, 200_001, dtype=np.float32) for reach in (1.5, 12, 110, 8000)]
    limits = [0, np.inf, np.nan, SMALLEST, 2.0**-126, np.finfo(np.float32).max, 1, 88.72284, 87.33655, 103.97, 104.5]
    edges = np.array(limits, np.float32)
    return np.concatenate([patterns, *dense, edges, -edges])


def _unary(op: str) -> Callable[[Backend, Any, Any], None]:
    return lambda engine, x, y: engine.unary(x, y, op)


def _activation(kind: str) -> Callable[[Backend, Any, Any], None]:
    return lambda engine, x, y: engine.activation(x, y, kind, 1.0)


def _softmax(engine: Backend, x: Any, y: Any) -> None:
    """The second of two, which is no more than the first."""
    rows = engine.asarray(np.stack([np.zeros_like(x), -np.abs(x)], 1))
    engine.softmax(rows, rows)
    y[...] = rows[:, 1]


def _softmax_unit(x: np.ndarray) -> np.ndarray:
    p = _sigmoid(-np.abs(x))
    return np.where(p < NORMAL, NORMAL, np.ldexp(1.0, np.frexp(np.maximum(p, NORMAL))[1] - 24))  # below that 0 will do


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5))


FUNCTIONS = {
    "exp": Function(_unary("exp"), np.exp),
    "log": Function(_unary("log"), np.log),
    "sqrt": Function(_unary("sqrt"), np.sqrt),
    "sin": Function(_unary("sin"), np.sin),
    "cos": Function(_unary("cos"), np.cos),
    "tanh": Function(_activation("tanh"), np.tanh),
    "sigmoid": Function(_activation("sigmoid"), _sigmoid),
    "elu": Function(_activation("elu"), lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    "softplus": Function(_activation("softplus"), lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
    "silu": Function(_activation("silu"), lambda x: x * _sigmoid(x), np.abs),
    "softmax": Function(_softmax, lambda x: _sigmoid(-np.abs(x)), unit=_softmax_unit),
    "gelu": Function(_activation("gelu"), _gelu, np.abs),
    "gelu beside x": Function(_activation("gelu"), _gelu, unit=lambda x: np.maximum(1.0, np.abs(x))),
}


def worst_errors(engine: Backend) -> dict[str, float]:
    """Per function the largest error; infinite where NaN or an infinity stands for another value."""
    x = arguments()
    with np.errstate(all="ignore"):
        return {name: _worst(engine, function, x, x.astype(np.float64)) for name, function in FUNCTIONS.items()}


def _worst(engine: Backend, function: Function, x: np.ndarray, wide: np.ndarray) -> float:
    given, got = engine.asarray(x), engine.empty(x.shape, np.float32)
    function.run(engine, given, got)
    y, exact = engine.to_numpy(got).astype(np.float64), function.exact(wide)
    nearest = exact.astype(np.float32)
    finite = np.isfinite(nearest)
    if not np.array_equal(y[~finite], nearest[~finite].astype(np.float64), equal_nan=True):
        return math.inf
    exponent = np.frexp(np.where(finite, exact, 1.0))[1]
    factor = function.through(wide) if callable(function.through) else function.through
    unit = np.maximum(np.ldexp(1.0, exponent - 24), SMALLEST * np.maximum(1.0, factor))
    if function.unit is not None:
        unit = function.unit(wide)
    error = np.abs(y - exact)[finite] / unit[finite]
    return float(np.max(np.where(np.isnan(error), np.inf, error)))


if __name__ == "__main__":
    print(json.dumps(worst_errors(get_backend(sys.argv[1]))))
