"""Dense layers whose weights or gradients do not fit the nearer caches: some engines have other ways for them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import backend_or_skip

TOLERANCE = {np.float32: 2e-6, np.float64: 5e-15}


@pytest.fixture(params=["numpy", "numba", "cython"])
def engine(request):
    return backend_or_skip(request.param, request.config)


def _check(found: np.ndarray, expected: np.ndarray, terms: int) -> None:
    # Rounding errors of sums grow like the root of the number of terms, up to their order.
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[found.dtype.type] * terms**0.75)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [
        (1, 784, 513), (2, 390, 1100), (1, 1030, 1100), (2, 1031, 1111), (3, 1100, 1030), (4, 300, 4099),
        (5, 1030, 1100), (12, 1111, 1031), (13, 2100, 1090), (16, 1090, 2100), (17, 1030, 1100), (33, 1100, 1030),
        (45, 1030, 1100), (1, 100, 11_000), (8, 100, 11_000), (130, 2100, 1090),
    ],
)  # fmt: skip
def test_a_dense_layer_and_its_gradients(engine, rows, inputs, outputs, dtype):
    rng = np.random.default_rng(0)
    x, w, b, dz = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((rows, inputs), (inputs, outputs), outputs, (rows, outputs))
    )
    wide_x, wide_w, wide_dz = (array.astype(np.float64) for array in (x, w, dz))
    sums = wide_x @ wide_w + b
    for activation, bias, expected in (
        ("linear", b, sums),
        ("relu", b, np.maximum(sums, 0)),
        ("tanh", None, np.tanh(sums - b)),
    ):
        y = np.full((rows, outputs), np.nan, dtype)
        engine.linear(x, w, bias, y, activation)
        _check(y, expected, inputs)
    dx = np.full((rows, inputs), np.nan, dtype)
    engine.linear_backward_input(dz, w, dx)
    _check(dx, wide_dz @ wide_w.T, outputs)
    dw, db = np.ones((inputs, outputs), dtype), np.ones(outputs, dtype)
    engine.linear_backward_weight(x, dz, dw, db, True)
    _check(dw, 1 + wide_x.T @ wide_dz, rows)
    _check(db, 1 + wide_dz.sum(0), rows)


@pytest.mark.parametrize("rows", [1, 2, 5, 16, 40])
def test_infinity_and_nan_reach_their_sums_only(engine, rows):
    x, w = np.ones((rows, 1030), np.float32), np.ones((1030, 1100), np.float32)
    w[7, 3], w[1029, 1099], w[500, 40] = np.inf, np.nan, -np.inf
    y = np.zeros((rows, 1100), np.float32)
    engine.linear(x, w, None, y, "linear")
    assert (y[:, 3] == np.inf).all()
    assert np.isnan(y[:, 1099]).all()
    assert (y[:, 40] == -np.inf).all()
    assert (np.delete(y, (3, 40, 1099), axis=1) == 1030).all()
