"""Every kernel run once, so that none is compiled in the middle of a training step.

Numba compiles a kernel for the types of its arguments, so small arrays do; a few must be so large that the kernel is
preferred to NumPy. Outputs are of no interest. What is missing here is found by a test, which compares the kernels that
there are with those that have been compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import (
    activation,
    conv,
    elementwise,
    embedding,
    gemm,
    gemm_few,
    gemm_tile,
    loss,
    norm,
    optim,
    pool,
    random,
    recurrent,
    reduce,
)

Array = Any


def warm(dtype: np.dtype[Any]) -> None:
    """Compile all kernels for one of float32 and float64."""

    def a(*shape: int) -> Array:
        return np.zeros(shape, dtype)

    with np.errstate(all="ignore"):
        _products(a)
        _convolutions(a)
        _pools(a)
        _norms(a)
        _recurrent(a)
        _rows(a)
        _elementwise(a)
        _optimizers(a)


def _products(a: Any) -> None:
    for x in (a(8, 8), a(8, 8).T):
        for w in (a(8, 8), a(8, 8).T):
            gemm.gemm(x, w, a(8, 8), a(8), True)
        gemm._gemm_transposed(x, a(8, 8), a(8, 8))
    for x in (a(8, 2), a(2, 8).T):
        gemm.gemm(x, a(2, 64), a(8, 64))
    for w in (a(8, 8), a(8, 8).T):
        gemm.gemm(a(2, 8), w, a(2, 8))
        gemm.pack_matrix(w, "gemm")
    gemm_few._parts_of_rows(0, 0, a(2, 8), a(8, 8), a(1, 2, 8))
    gemm_few._add_parts(0, 0, a(1, 2, 8), a(2, 8), a(8), 0, True)
    gemm._batched(0, 0, gemm_tile.multiplier(a(1).dtype), a(1), 1, 1, a(1), 1, 1, a(1, 1, 1), 1, 1)
    for kind in ("relu", "tanh"):
        conv.epilogue(a(2048, 8), a(8), kind)


def _convolutions(a: Any) -> None:
    rest = (0, 0, 0, 0), (1, 1)
    for c, k, groups, stride in ((2, 4, 1, 1), (2, 4, 1, 2), (4, 4, 4, 1), (4, 4, 4, 2), (2, 4, 2, 1), (1, 16, 1, 1)):
        size = (6 - 3) // stride + 1
        x, w, y = a(1, 6, 6, c), a(3, 3, c // groups, k), a(1, size, size, k)
        how = ((stride, stride), *rest, groups)
        conv.conv2d(x, w, a(k), y, *how, "relu")
        conv.conv2d_backward_input(y, w, x, *how)
        conv.conv2d_backward_weight(x, y, w, a(k), *how)
    # More filters than pixels, and more pixels than one sum takes.
    conv.conv2d(a(1, 3, 3, 2), a(3, 3, 2, 8), None, a(1, 1, 1, 8), (1, 1), *rest, 1, "linear")
    conv.conv2d_backward_weight(a(1, 20, 20, 1), a(1, 18, 18, 1), a(3, 3, 1, 1), None, (1, 1), *rest, 1)


def _pools(a: Any) -> None:
    # Windows that lie apart, and others.
    for side, how in ((2, ((2, 2), (2, 2), (0, 0, 0, 0))), (3, ((2, 2), (1, 1), (0, 0, 0, 0)))):
        x, y = a(1, 4, 4, 8), a(1, side, side, 8)
        for index in (np.zeros(y.shape, np.uint8), np.zeros(y.shape, np.int32)):
            pool.max_pool2d(x, y, index, *how)
            pool.max_pool2d_backward(y, index, x, *how)
        pool.avg_pool2d(x, y, *how)
        pool.avg_pool2d_backward(y, x, *how)
    for kind in (np.uint8, np.int32):
        pool.max_pool2d_backward(
            a(1, 1, 1, 8), np.zeros((1, 1, 1, 8), kind), a(1, 5, 5, 8), (5, 5), (1, 1), (0, 0, 0, 0)
        )
    pool.global_avg_pool(a(1, 4, 8), a(1, 8))
    pool.global_avg_pool_backward(a(1, 8), a(1, 4, 8))
    index = np.zeros((1, 8), np.int32)
    pool.global_max_pool(a(1, 4, 8), a(1, 8), index)
    pool.global_max_pool_backward(a(1, 8), index, a(1, 4, 8))


def _norms(a: Any) -> None:
    norm.batchnorm(a(4, 8), a(8), a(8), a(8), a(8), a(4, 8), a(8), a(8), 0.9, 1e-3, "relu")
    norm.batchnorm_inference(a(128, 8), a(8), a(8), a(8), a(8), a(128, 8), 1e-3, "relu")
    norm._normalise_past(1, 1, a(1), a(1), a(3, 1), False)
    norm.batchnorm_backward(a(4, 8), a(4, 8), a(8), a(8), a(8), a(4, 8), a(8), a(8))
    norm.layernorm(a(4, 8), a(8), a(8), a(4, 8), a(4), a(4), 1e-3)
    norm.layernorm_backward(a(4, 8), a(4, 8), a(8), a(4), a(4), a(4, 8), a(8), a(8))


def _recurrent(a: Any) -> None:
    def weights(gates: int) -> tuple[Array, Array]:
        return a(3, gates * 4), a(4, gates * 4)

    x, h0, h, dx = a(2, 2, 3), a(2, 4), a(2, 2, 4), a(2, 2, 3)
    recurrent.simple_rnn(x, h0, *weights(1), a(4), None, h, "tanh")
    recurrent.simple_rnn_backward(h, x, h0, *weights(1), None, h, dx, a(2, 4), *weights(1), a(4), "tanh")
    gates = a(2, 2, 16)
    recurrent.lstm(x, h0, a(2, 4), *weights(4), a(16), None, h, a(2, 2, 4), gates)
    recurrent.lstm_backward(
        h, None, x, h0, a(2, 4), *weights(4), None, h, a(2, 2, 4), gates, dx, a(2, 4), a(2, 4), *weights(4), a(16)
    )
    for after, b in ((True, a(2, 12)), (False, a(12))):
        recurrent.gru(x, h0, *weights(3), b, None, h, gates, after)
        recurrent.gru_backward(h, x, h0, *weights(3), None, h, gates, dx, a(2, 4), *weights(3), b, after)


def _rows(a: Any) -> None:
    activation.softmax(a(4, 8), a(4, 8))
    activation.log_softmax(a(4, 8), a(4, 8))
    activation.softmax_backward(a(4, 8), a(4, 8), a(4, 8))
    labels = np.zeros(4, np.int32)
    loss.softmax_cross_entropy(a(4, 8), labels, None, a(4), a(4, 8), 1.0)
    loss.softmax_cross_entropy_dense(a(4, 8), a(4, 8), None, a(4), a(4, 8), 1.0)
    loss.sigmoid_cross_entropy(a(4, 8), a(4, 8), None, a(4), a(4, 8), 1.0)
    embedding.embedding(labels, a(5, 8), a(4, 8))
    embedding.embedding_backward(a(4, 8), labels, a(5, 8))
    for op in ("sum", "max"):
        reduce.reduce(a(1, 1000, 8), a(1, 8), op)
        reduce.reduce(a(1000, 2, 3), a(1000, 3), op)
        reduce.reduce(a(8, 1000, 1), a(8, 1), op)
    for columns in (8, 64):
        rows = 2 * reduce.SMALL_ARGMAX // columns  # fewer elements are NumPy's
        reduce.argmax(a(rows, columns), np.zeros(rows, np.int32))


def _elementwise(a: Any) -> None:
    n = 1 << 14
    activation.activation(a(n), a(n), "relu", 0.0)
    activation.activation_backward(a(n), None, a(n), a(n), "relu", 0.0)
    elementwise.unary(a(n), a(n), "neg")
    elementwise.unary_backward(a(n), a(n), a(n), a(n), "neg")
    elementwise.binary(a(n), a(n), a(n), "add")
    elementwise._compare(1, 1, a(1), 0, 1, a(1), 0, 1, np.zeros(1, bool), 1, 0)
    elementwise.select(np.zeros(n, bool), a(n), a(n), a(n))
    elementwise._copy(1, 1, a(1), a(1))
    elementwise.copy(a(128, 128).T, a(128, 128))
    elementwise.fill(a(8 * n), 0.0)
    random.random_uniform(a(8), 0.0, 1.0, 0, 0)
    random.random_normal(a(8), 0.0, 1.0, 0, 0)
    random.dropout(a(8), a(8), 0.5, 0, 0)


def _optimizers(a: Any) -> None:
    n = 1 << 10
    optim.sgd(a(n), a(n), 0.1)
    optim.momentum(a(n), a(n), a(n), 0.1, 0.9, "classical")
    optim.adagrad(a(n), a(n), a(n), 0.1, 1e-7)
    optim.rmsprop(a(n), a(n), a(n), None, None, 0.1, 0.9, 0.0, 1e-7)
    optim.adam(a(n), a(n), a(n), a(n), None, 0.1, 0.9, 0.99, 1e-7, 0.0, 1)
