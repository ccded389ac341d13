"""Values at the edges of what numbers hold: NaN, infinities, huge and tiny ones, on every engine."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dlcore import functional as F
from dlcore import ops
from dlcore.backends import current
from dlcore.tensor import Tensor

pytestmark = pytest.mark.usefixtures("active_backend")
REALS = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _gradient(t: Tensor) -> np.ndarray:
    return current().to_numpy(t.grad)


def close(result, expected, dtype: str, least: float = 0.0) -> None:
    """To a few units in the last place, of small numbers too."""
    np.testing.assert_allclose(result, expected, rtol=8 * np.finfo(dtype).eps, atol=least)


@REALS
@pytest.mark.parametrize("classes", [3, 17, 200])
def test_a_loss_of_no_number_is_none(classes: int, dtype: str) -> None:
    for bad in (math.nan, math.inf):
        for label in (0, classes - 1):
            logits = np.linspace(-1, 1, classes).astype(dtype)
            logits[label] = bad
            assert np.isnan(F.softmax_cross_entropy(logits[None], [label]).numpy()).all(), (bad, label)
            recorded = Tensor(logits[None], requires_grad=True)
            assert np.isnan(F.softmax_cross_entropy(recorded, [label]).numpy()).all(), (bad, label)


@REALS
@pytest.mark.parametrize("top", [0.0, 1e3, -1e3, 1e30, 3e38])
def test_log_softmax_beside_a_large_maximum(top: float, dtype: str) -> None:
    y = F.log_softmax(np.full((2, 7), top, dtype)).numpy()
    close(y, np.full((2, 7), -math.log(7)), dtype)


@REALS
def test_logsumexp_of_infinities(dtype: str) -> None:
    inf, nan = math.inf, math.nan
    rows = np.array([[inf, 1, 2], [-inf, -inf, -inf], [inf, inf, -inf], [-inf, 0, 0], [nan, 1, 2]], dtype)
    np.testing.assert_allclose(ops.logsumexp(rows, -1), [inf, -inf, inf, math.log(2), nan], rtol=1e-6)
    np.testing.assert_allclose(ops.logsumexp(rows[:2, :1], keepdims=True), [[inf]])


@REALS
def test_logaddexp_of_infinities(dtype: str) -> None:
    a, b = np.array([math.inf, -math.inf, math.inf, 1], dtype), np.array([math.inf, -math.inf, -math.inf, 1], dtype)
    close(ops.logaddexp(a, b), np.logaddexp(a, b), dtype)


@REALS
@pytest.mark.parametrize("name", ["log1p", "expm1", "sinh", "cosh"])
def test_small_and_large_numbers_keep_their_digits(name: str, dtype: str) -> None:
    ours, theirs = getattr(ops, name), getattr(np, name)
    x = np.array([0, 1e-300, 1e-30, -1e-20, 1e-9, -9e-8, 1e-7, 1e-4, -0.01, 0.3, -0.49, 0.51, -0.7, 3, 20, 88.9])
    x = np.append(x, 710.0).astype(dtype) if dtype == "float64" else x.astype(dtype)
    if name == "log1p":
        x = np.append(x, [-1, math.inf]).astype(dtype)
    with np.errstate(all="ignore"):
        wide = theirs(x.astype("longdouble")).astype(dtype)
    close(ours(x), wide, dtype, least=np.finfo(dtype).tiny)
    slopes = {"log1p": lambda v: 1 / (1 + v), "expm1": np.exp, "sinh": np.cosh, "cosh": np.sinh}
    t = Tensor(x[1:15], requires_grad=True)
    F.sum(ours(t)).backward()
    close(_gradient(t), slopes[name](x[1:15].astype("longdouble")).astype(dtype), dtype, least=np.finfo(dtype).eps)


@REALS
def test_running_sums_pass_nothing_back(dtype: str) -> None:
    x = np.array([[1, 2, math.inf, 3], [1, math.nan, 2, 3]], dtype)
    np.testing.assert_array_equal(ops.cumsum(x, 1), np.cumsum(x, 1))
    t = Tensor(np.arange(12, dtype=dtype).reshape(3, 4), requires_grad=True)
    y = ops.cumsum(t, 0)
    np.testing.assert_array_equal(y.numpy(), np.cumsum(t.numpy(), 0))
    y.backward(np.ones((3, 4), dtype))
    np.testing.assert_array_equal(_gradient(t), np.repeat([[3.0], [2.0], [1.0]], 4, 1))


def test_running_sums_of_integers_are_exact() -> None:
    x = np.array([1 << 24, 1, 1, 5])
    y = ops.cumsum(x)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, np.cumsum(x))
    np.testing.assert_array_equal(ops.cumsum(np.array([True, False, True])), [1, 1, 2])
    np.testing.assert_array_equal(ops.cumsum(np.ones(100_000, "float32"))[-1], 100_000)


@REALS
def test_the_slope_of_a_norm_of_nothing_is_zero(dtype: str) -> None:
    rows = np.array([[0, 0, 0], [3, 4, 0]], dtype)
    for function, value in ((ops.norm, [0, 5]), (ops.std, np.std(rows, 1))):
        t = Tensor(rows, requires_grad=True)
        y = function(t, axis=1)
        close(y.numpy(), value, dtype)
        F.sum(y).backward()
        assert not _gradient(t)[0].any()
        assert np.isfinite(_gradient(t)).all()
    t = Tensor(rows, requires_grad=True)
    F.sum(ops.normalize(t)).backward()
    assert np.isfinite(_gradient(t)).all()


@REALS
def test_weights_of_an_average_belong_to_its_axis(dtype: str) -> None:
    x, weights = np.array([[1, 2], [3, 9]], dtype), np.array([1, 3], dtype)
    for axis in (0, 1, -2):
        close(ops.average(x, axis, weights), np.average(x, axis, weights), dtype)
    close(ops.average(x, 1, x), np.average(x, 1, x), dtype)
    assert ops.average(np.array([math.inf, 1], dtype), weights=weights) == math.inf


@pytest.mark.parametrize(
    ("dtype", "wide"), [("int8", "int32"), ("int16", "int32"), ("uint8", "uint32"), ("bool", "int32")]
)
def test_sums_of_short_integers_do_not_wrap_round(dtype: str, wide: str) -> None:
    y = F.sum(np.ones((2, 70_000), dtype), 1)
    assert y.dtype == wide
    assert y.numpy().tolist() == [70_000, 70_000]
