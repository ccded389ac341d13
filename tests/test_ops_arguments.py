"""Arguments of `ops` at their edges: empty axes, no repeats, integers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dlcore import functional as F
from dlcore import ops
from dlcore.backends import current
from dlcore.tensor import Tensor

pytestmark = pytest.mark.usefixtures("active_backend")
X = np.arange(12, dtype="float32").reshape(3, 4)


def _gradient(t: Tensor) -> np.ndarray:
    return current().to_numpy(t.grad)


def same(result, expected) -> None:
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_empty_axes() -> None:
    for shape in ((0,), (2, 0), (0, 3)):
        empty = np.zeros(shape, "float32")
        same(ops.roll(empty, 1, shape.index(0)), empty)
    assert [part.shape for part in ops.split(X[:0], 2)] == [(0, 4), (0, 4)]
    same(ops.repeat(X, 0, 1), X[:, :0])
    same(ops.tile(X, (0, 2)), np.tile(X, (0, 2)))
    same(ops.take(np.zeros((0, 3), "float32"), np.zeros(0, int), 0), np.zeros((0, 3), "float32"))


def test_several_repeats_and_axes() -> None:
    same(ops.repeat(X, [2, 0, 1], 0), np.repeat(X, [2, 0, 1], 0))
    t = Tensor(X, requires_grad=True)
    F.sum(ops.repeat(t, [2, 0, 1], 0)).backward()
    same(_gradient(t), np.repeat(np.array([[2], [0], [1]], "float32"), 4, 1))
    cube = np.arange(24, dtype="float32").reshape(2, 3, 4)
    for source, destination in (((0, 1), (2, 0)), ([-1], [0]), ((2, 0, 1), (0, 2, 1)), ((), ())):
        same(ops.moveaxis(cube, source, destination), np.moveaxis(cube, source, destination))
    same(ops.vstack([1.0, 2.0]), np.array([[1], [2]], "float32"))
    same(ops.hstack([1.0, 2.0]), np.array([1, 2], "float32"))


def test_integers_stay_integers() -> None:
    whole = np.arange(6).reshape(2, 3)
    same(ops.take_along_axis(whole, np.array([[2], [-3]]), 1), np.array([[2], [3]]))
    same(ops.take(whole, [[1, -1]], 1), np.take(whole, [[1, -1]], 1))
    same(ops.tril(whole), np.tril(whole))
    same(ops.triu(whole > 2), np.triu(whole > 2))
    assert ops.arange(2**31, 2**31 + 2).numpy().tolist() == [2**31, 2**31 + 1]
    same(ops.one_hot(np.array([2**32, 1]), 3), np.array([[0, 0, 0], [0, 1, 0]], "float32"))


def test_places_out_of_range_are_named() -> None:
    for index in (3, -4, 2**32, -(2**40)):
        with pytest.raises(ValueError, match=rf"take: indices must lie in 0 … 2 .*, got {index}$"):
            ops.take(X, [index], 0)
        with pytest.raises(ValueError, match=rf"take_along_axis: indices must lie in 0 … 2 .*, got {index}$"):
            ops.take_along_axis(X, np.full((1, 4), index), 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.split(X, 0), ValueError, "no 0 parts"),
        (lambda: ops.split(X, -1), ValueError, "no -1 parts"),
        (lambda: ops.unstack(X, 7), ValueError, "num must be the length 3 of axis 0, got 7"),
        (lambda: ops.tile(X, -1), ValueError, "repeats must not be negative, got -1"),
        (lambda: ops.repeat(X, -1, 0), ValueError, "repeats must not be negative, got -1"),
        (lambda: ops.repeat(X, [1, 2], 0), ValueError, "one number or 3, got 2"),
        (lambda: ops.hstack([]), ValueError, "at least one tensor, got none"),
        (lambda: ops.arange(0, 5, 0), ValueError, "step must not be 0"),
        (lambda: ops.moveaxis(X, (0, 1), 0), ValueError, "as many axes"),
        (lambda: ops.tensordot(X, X, 9), ValueError, r"axes must not exceed .*, got 9"),
        (lambda: ops.tensordot(X, X, -1), ValueError, r"axes must not exceed .*, got -1"),
        (lambda: ops.max_pool(np.ones((1, 2, 2, 1), "float32"), (2,)), ValueError, r"an int or 2, got \(2,\)"),
        (lambda: ops.zeros(-1), ValueError, "no length below 0, got -1"),
        (lambda: ops.zeros((2.5,)), ValueError, r"sequence of ints, got \(2.5,\)"),
        (lambda: F.reshape(X, None), ValueError, "reshape: shape must be an int or a sequence of ints, got None"),
        (lambda: F.reshape(X, (3.0, 4)), ValueError, "reshape: shape must be an int or a sequence of ints"),
        (lambda: F.reshape(X, (-2, -6)), ValueError, "reshape: shape must hold no length below -1"),
        (lambda: F.broadcast_to(X[:1], (-1, 4)), ValueError, "broadcast_to: shape must hold no length below 0"),
        (lambda: F.broadcast_to(X[:1], "ab"), ValueError, "broadcast_to: shape must be an int or a sequence"),
        (lambda: F.transpose(X, 0), ValueError, "axes must be a permutation of 2 axes, got 0"),
        (lambda: F.max_pool2d(np.ones((1, 2, 2, 1)), [2, [1]]), ValueError, "pool_size must be an int or two ints"),
        (lambda: F.pad(X, 1, "a"), TypeError, "pad: constant_values must be a number, got 'a'"),
        (lambda: F.pad(np.arange(3), 1, np.nan), ValueError, "must be finite for int64, got nan"),
        (lambda: F.clip(X, None, 1), TypeError, "clip: x_min must be a number, got None"),
        (lambda: F.cast(X, None), TypeError, "dtype must be .*, got None"),
        (lambda: F.dropout(X, "a", 0), TypeError, "dropout: rate must be a number, got 'a'"),
        (lambda: F.dropout(X, 0.5, 1.5), TypeError, "dropout: seed must be an int, got 1.5"),
        (lambda: F.dropout(X, 0.5, 1, 0.5), TypeError, "dropout: offset must be an int, got 0.5"),
    ],
)
def test_what_is_refused(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_shapes_in_arrays() -> None:
    same(F.reshape(X, np.array([4, 3])).numpy(), X.reshape(4, 3))
    same(ops.zeros(np.int64(3)).numpy(), np.zeros(3, "float32"))
