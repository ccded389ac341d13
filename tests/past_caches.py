"""Arrays too large for the caches take ways of their own through the native kernels; the results are the same.

    python -P tests/past_caches.py

Each kernel runs on a large array and on pieces of it that are small; reductions, whose order of additions differs, are
compared with float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.backends import get_backend

ENGINE = get_backend("cython")
N = 6 << 20  # elements of a flat array: a result and an input are 48 MiB
PIECE = 1 << 18  # a multiple of four, for random numbers come in blocks of four
RATE, SEED, OFFSET = 0.3, 5, 2**32 - 1000


def made(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    return ENGINE.empty(shape, dtype)


def normal(shape: tuple[int, ...], seed: int = 1) -> Any:
    x = made(shape)
    x[...] = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return x


def same(name: str, whole: Any, pieces: Any) -> None:
    np.testing.assert_array_equal(whole, pieces, err_msg=name)


def check_flat(name: str, run: Callable[[slice, Any], None]) -> None:
    """run(elements, y) writes y for these elements."""
    whole, pieces = made((N - 5,)), made((N - 5,))
    run(slice(0, N - 5), whole)
    for start in range(0, N - 5, PIECE):
        part = slice(start, min(start + PIECE, N - 5))
        run(part, pieces[part])
    same(name, whole, pieces)


def flat() -> None:
    x, dy = normal((N,)), normal((N,), 2)
    for kind in ("sigmoid", "tanh", "gelu", "elu"):
        check_flat(kind, lambda part, y, kind=kind: ENGINE.activation(x[part], y, kind, 1.0))
    check_flat("gelu backward", lambda part, y: ENGINE.activation_backward(dy[part], x[part], x[part], y, "gelu", 1.0))
    check_flat("dropout", lambda part, y: ENGINE.dropout(x[part], y, RATE, SEED, OFFSET + part.start // 4))
    check_flat("uniform", lambda part, y: ENGINE.random_uniform(y, -1.0, 2.0, SEED, OFFSET + part.start // 4))
    check_flat("normal", lambda part, y: ENGINE.random_normal(y, 1.0, 2.0, SEED, OFFSET + part.start // 4))


def rows() -> None:
    for columns in (1, 10, 64, 66, 1000, 1003):
        count = 4 * (N // 4 // columns)
        x, t = normal((count, columns)), normal((count, columns), 2)
        labels = made((count,), np.int32)
        labels[...] = np.arange(count) % columns
        shapes = [(count, columns)] * 7 + [(count,)] * 3
        whole, pieces = ([made(shape) for shape in shapes] for _ in range(2))
        for results, step in ((whole, count), (pieces, count // 32 - 3)):
            for start in range(0, count, step):
                part = slice(start, start + step)
                p, dx, logp, dlogp, sparse, dense, binary, *losses = (result[part] for result in results)
                ENGINE.softmax(x[part], p)
                ENGINE.softmax_backward(x[part], t[part], dx)
                ENGINE.log_softmax(x[part], logp)
                ENGINE.log_softmax_backward(x[part], t[part], dlogp)
                ENGINE.softmax_cross_entropy(x[part], labels[part], None, losses[0], sparse, 0.5)
                ENGINE.softmax_cross_entropy_dense(x[part], t[part], None, losses[1], dense, 0.5)
                ENGINE.sigmoid_cross_entropy(x[part], t[part], None, losses[2], binary, 0.5)
        for number, (one, other) in enumerate(zip(whole, pieces, strict=True)):
            same(f"rows of {columns}, result {number}", one, other)


def images() -> None:
    n, h, w, c = 16, 64, 60, 64
    x = normal((n, h, w, c))
    for size, stride, padding in (
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 3), (2, 2), (0, 0, 0, 0)),
        ((3, 2), (2, 1), (1, 1, 1, 0)),
    ):
        how = size, stride, padding
        oh = (h + padding[0] + padding[1] - size[0]) // stride[0] + 1
        ow = (w + padding[2] + padding[3] - size[1]) // stride[1] + 1
        dy = normal((n, oh, ow, c), 3)
        whole, pieces = (
            [made(dy.shape), made(dy.shape, np.uint8), made(x.shape), made(dy.shape), made(x.shape)] for _ in range(2)
        )
        for results, step in ((whole, n), (pieces, 1)):
            for start in range(0, n, step):
                part = slice(start, start + step)
                largest, place, dx, mean, mean_dx = (result[part] for result in results)
                ENGINE.max_pool2d(x[part], largest, place, *how)
                ENGINE.max_pool2d_backward(dy[part], place, dx, *how)
                ENGINE.avg_pool2d(x[part], mean, *how)
                ENGINE.avg_pool2d_backward(dy[part], mean_dx, *how)
        for one, other in zip(whole, pieces, strict=True):
            same(f"window {size}", one, other)


def convolutions() -> None:
    n, h, w = 4, 112, 100
    for channels, filters, groups in ((64, 64, 1), (128, 128, 32), (64, 96, 2), (64, 160, 4)):
        x, bias = normal((n, h, w, channels)), normal((filters,), 2)
        kernel, how = normal((3, 3, channels // groups, filters), 3), ((1, 1), (1, 1, 1, 1), (1, 1), groups)
        whole, pieces = ([made((n, h, w, filters)), made(x.shape)] for _ in range(2))
        for results, step in ((whole, n), (pieces, 1)):
            for start in range(0, n, step):
                part = slice(start, start + step)
                y, dx = (result[part] for result in results)
                ENGINE.conv2d(x[part], kernel, bias, y, *how, "relu")
                ENGINE.conv2d_backward_input(y, kernel, dx, *how)
        for one, other in zip(whole, pieces, strict=True):
            scale = np.abs(other).max()
            np.testing.assert_allclose(one, other, atol=1e-5 * scale, err_msg=f"convolution, {groups} groups")


def reductions() -> None:
    for a, r, b in (
        (1, N - 3, 1),
        (1, N // 8 - 1, 8),
        (3, N // 192, 64),
        (1, N // 100, 100),
        (2, N // 2000, 1000),
        (1, N // 3000, 3000),
    ):
        x, y = normal((a, r, b)), made((a, b))
        x[...] = np.abs(x)
        exact = x.astype(np.float64)
        for op in ("sum", "mean", "max", "min"):
            ENGINE.reduce(x, y, op)
            tolerance = 1e-6 if op in ("sum", "mean") else 0
            np.testing.assert_allclose(y, getattr(exact, op)(1), rtol=tolerance, err_msg=f"{op} of {a, r, b}")
        x[a - 1, r // 2, b - 1] = np.nan
        ENGINE.reduce(x, y, "max")
        assert np.isnan(y[a - 1, b - 1])
        assert np.isnan(y).sum() == 1


if __name__ == "__main__":
    flat()
    rows()
    images()
    convolutions()
    reductions()
