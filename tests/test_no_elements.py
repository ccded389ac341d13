"""Kernels given sequences without a step and batches without a row: every engine leaves what there is nothing for."""

from __future__ import annotations

import numpy as np
import pytest

from dlcore import functional as F
from dlcore.backends.interface import Backend
from dlcore.tensor import Tensor

ROWS, INPUTS, UNITS = 3, 2, 4


class _Arrays:
    def __init__(self, backend: Backend, dtype: str) -> None:
        self.backend, self.dtype = backend, dtype

    def full(self, value: float, *shape: int):
        return self.backend.asarray(np.full(shape, value, self.dtype))

    def same(self, array, value: float) -> None:
        np.testing.assert_array_equal(self.backend.to_numpy(array), np.full(array.shape, value, self.dtype))


@pytest.fixture(params=["float32", "float64"])
def arrays(backend: Backend, request: pytest.FixtureRequest) -> _Arrays:
    return _Arrays(backend, request.param)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru", "gru, reset before"])
def test_the_gradients_of_no_steps_are_zero(arrays: _Arrays, cell: str, accumulate: bool) -> None:
    full, backend = arrays.full, arrays.backend
    gates = {"simple_rnn": 1, "lstm": 4}.get(cell, 3)
    x, h, kept = full(1, ROWS, 0, INPUTS), full(1, ROWS, 0, UNITS), full(1, ROWS, 0, 4 * UNITS)
    h0, c0 = full(1, ROWS, UNITS), full(2, ROWS, UNITS)
    w, u = full(1, INPUTS, gates * UNITS), full(1, UNITS, gates * UNITS)
    dx, dh0, dc0 = full(7, ROWS, 0, INPUTS), full(7, ROWS, UNITS), full(7, ROWS, UNITS)
    dw, du, db = full(3, *w.shape), full(3, *u.shape), full(3, gates * UNITS)
    if cell == "simple_rnn":
        backend.simple_rnn_backward(h, x, h0, w, u, None, h, dx, dh0, dw, du, db, "tanh", accumulate)
    elif cell == "lstm":
        last = full(5, ROWS, UNITS)
        backend.lstm_backward(h, last, x, h0, c0, w, u, None, h, h, kept, dx, dh0, dc0, dw, du, db, accumulate)
        arrays.same(dc0, 5)
    else:
        after = cell == "gru"
        db = full(3, 2, gates * UNITS) if after else db
        backend.gru_backward(h, x, h0, w, u, None, h, kept, dx, dh0, dw, du, db, after, accumulate)
    arrays.same(dh0, 0)
    for gradient in (dw, du, db):
        arrays.same(gradient, 3 if accumulate else 0)


def test_no_rows_leave_running_statistics_alone(arrays: _Arrays) -> None:
    full, backend = arrays.full, arrays.backend
    x, gamma, beta = full(0, 0, 5), full(2, 5), full(1, 5)
    running_mean, running_var, mean, inv_std = full(3, 5), full(4, 5), full(9, 5), full(9, 5)
    backend.batchnorm(x, gamma, beta, running_mean, running_var, full(0, 0, 5), mean, inv_std, 0.9, 1e-3, "relu")
    arrays.same(running_mean, 3)
    arrays.same(running_var, 4)
    dgamma, dbeta = full(6, 5), full(6, 5)
    backend.batchnorm_backward(x, x, gamma, mean, inv_std, full(0, 0, 5), dgamma, dbeta, True)
    arrays.same(dgamma, 6)
    arrays.same(dbeta, 6)


@pytest.mark.usefixtures("active_backend")
def test_functions_refuse_both() -> None:
    mean, variance = Tensor(np.ones(5, "float32")), Tensor(np.ones(5, "float32"))
    for shape in ((0, 5), (0, 2, 2, 5), (3, 0, 5)):
        with pytest.raises(ValueError, match=r"batchnorm: a training batch must have at least one row"):
            F.batchnorm(np.ones(shape, "float32"), None, None, mean, variance, True)
    assert (mean.numpy() == 1).all()
    assert (variance.numpy() == 1).all()
    with pytest.raises(ValueError, match=r"simple_rnn: x must have at least one time step"):
        F.simple_rnn(np.ones((2, 0, 3), "float32"), np.ones((3, 4), "float32"), np.ones((4, 4), "float32"))
