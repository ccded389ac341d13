"""The reference kernels against outside oracles: they are what every other engine is measured by.

PyTorch in float64 where it defines the same thing, published test vectors for Philox, formulas written out one number
at a time, and central differences along random directions for every gradient.
"""

from __future__ import annotations

import math
import warnings
from importlib import import_module

import numpy as np
import pytest

from dlcore.backends.interface import ACTIVATIONS, PRIMITIVES, UNARY_OPS, signature
from dlcore.backends.numpy_backend import NumpyBackend

K = NumpyBackend()
FUSED = ("linear", "relu", "sigmoid", "tanh")


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def close(got, want, tolerance=1e-10):
    if hasattr(want, "detach"):
        want = want.detach().numpy()
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def leaf(torch, array):
    return torch.tensor(array, requires_grad=True)


def fuse(torch, z, kind):
    return {"linear": lambda t: t, "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[kind](z)


# ---- PyTorch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FUSED)
def test_linear_matches_torch(torch, rng, kind):
    x, w, b, dy = (rng.standard_normal(s) for s in ((5, 7), (7, 4), (4,), (5, 4)))
    tx, tw, tb = (leaf(torch, a) for a in (x, w, b))
    out = fuse(torch, tx @ tw + tb, kind)
    out.backward(torch.tensor(dy))
    y, dz, dx, dw, db = np.empty((5, 4)), np.empty((5, 4)), np.empty((5, 7)), np.empty((7, 4)), np.empty(4)
    K.linear(x, w, b, y, kind)
    K.activation_backward(dy, None, y, dz, kind, 0.0)
    K.linear_backward_input(dz, w, dx)
    K.linear_backward_weight(x, dz, dw, db)
    for got, want in ((y, out), (dx, tx.grad), (dw, tw.grad), (db, tb.grad)):
        close(got, want)


CONVOLUTIONS = [
    ((2, 8, 7, 3), 4, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((2, 9, 11, 4), 6, (3, 2), (2, 3), (2, 0, 1, 3), (2, 1), 2),
    ((1, 7, 8, 6), 6, (3, 3), (1, 2), (0, 1, 2, 0), (1, 1), 6),
    ((1, 7, 8, 3), 12, (2, 3), (2, 1), (1, 1, 0, 0), (2, 2), 3),
    ((3, 5, 5, 8), 5, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
]


@pytest.mark.parametrize(("shape", "k", "size", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_conv_matches_torch(torch, rng, shape, k, size, stride, padding, dilation, groups):
    x, w, b = rng.standard_normal(shape), rng.standard_normal((*size, shape[3] // groups, k)), rng.standard_normal(k)
    tx, tw, tb = (leaf(torch, a) for a in (x, w, b))
    top, bottom, left, right = padding
    image = torch.nn.functional.pad(tx.permute(0, 3, 1, 2), (left, right, top, bottom))
    z = torch.nn.functional.conv2d(image, tw.permute(3, 2, 0, 1), tb, stride, 0, dilation, groups)
    z = z.permute(0, 2, 3, 1)
    dz = rng.standard_normal(tuple(z.shape))
    z.backward(torch.tensor(dz))
    y, dx, dw, db = np.empty(dz.shape), np.empty_like(x), np.empty_like(w), np.empty_like(b)
    geometry = (stride, padding, dilation, groups)
    K.conv2d(x, w, b, y, *geometry, "linear")
    K.conv2d_backward_input(dz, w, dx, *geometry)
    K.conv2d_backward_weight(x, dz, dw, db, *geometry)
    for got, want in ((y, z), (dx, tx.grad), (dw, tw.grad), (db, tb.grad)):
        close(got, want)


def test_conv_in_slabs_is_the_same(rng, monkeypatch):
    shape, k, size, stride, padding, dilation, groups = CONVOLUTIONS[1]
    x, w = rng.standard_normal(shape), rng.standard_normal((*size, shape[3] // groups, k))
    dz = rng.standard_normal((2, 4, 5, k))

    def run():
        y, dx, dw = np.empty_like(dz), np.empty_like(x), np.empty_like(w)
        K.conv2d(x, w, None, y, stride, padding, dilation, groups, "tanh")
        K.conv2d_backward_input(dz, w, dx, stride, padding, dilation, groups)
        K.conv2d_backward_weight(x, dz, dw, None, stride, padding, dilation, groups)
        return y, dx, dw

    whole = run()
    for slab in (1, 300, 500):
        monkeypatch.setattr("dlcore.kernels.reference.conv._SLAB", slab)
        for got, want in zip(run(), whole, strict=True):
            close(got, want)


@pytest.mark.parametrize(
    ("shape", "size", "stride", "pad"),
    [((2, 8, 8, 3), (2, 2), (2, 2), 0), ((2, 9, 7, 4), (3, 3), (2, 1), 1), ((1, 20, 21, 2), (17, 16), (2, 3), 8)],
)
def test_pools_match_torch(torch, rng, shape, size, stride, pad):
    F = torch.nn.functional
    x = rng.standard_normal(shape)
    tx = leaf(torch, x)
    image = tx.permute(0, 3, 1, 2)
    out = F.max_pool2d(image, size, stride, pad).permute(0, 2, 3, 1)
    dy = rng.standard_normal(tuple(out.shape))
    out.backward(torch.tensor(dy))
    geometry = (size, stride, (pad, pad, pad, pad))
    index = np.empty(dy.shape, np.uint8 if size[0] * size[1] <= 256 else np.int32)
    y, dx = np.empty(dy.shape), np.empty(shape)
    K.max_pool2d(x, y, index, *geometry)
    K.max_pool2d_backward(dy, index, dx, *geometry)
    close(y, out)
    close(dx, tx.grad)

    tx.grad = None
    out = F.avg_pool2d(image, size, stride, pad, count_include_pad=False).permute(0, 2, 3, 1)
    out.backward(torch.tensor(dy))
    K.avg_pool2d(x, y, *geometry)
    K.avg_pool2d_backward(dy, dx, *geometry)
    close(y, out)
    close(dx, tx.grad)


def test_global_pools_match_torch(torch, rng):
    x, dy = rng.standard_normal((3, 11, 4)), rng.standard_normal((3, 4))
    y, dx, index = np.empty((3, 4)), np.empty_like(x), np.empty((3, 4), np.int32)
    for name, reduction in (("avg", lambda t: t.mean(1)), ("max", lambda t: t.max(1).values)):
        tx = leaf(torch, x)
        out = reduction(tx)
        out.backward(torch.tensor(dy))
        if name == "avg":
            K.global_avg_pool(x, y)
            K.global_avg_pool_backward(dy, dx)
        else:
            K.global_max_pool(x, y, index)
            K.global_max_pool_backward(dy, index, dx)
        close(y, out)
        close(dx, tx.grad)


def test_max_pool_ties_padding_and_nan():
    x = np.array([[1.0, 1.0, -np.inf], [1.0, np.nan, -np.inf], [-np.inf, -np.inf, -np.inf]])[None, :, :, None]
    y, index = np.empty((1, 2, 2, 1)), np.empty((1, 2, 2, 1), np.uint8)
    K.max_pool2d(x, y, index, (2, 2), (2, 2), (1, 0, 1, 0))
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 1], [1, np.nan]])
    # Row by row: only the image's corner; the first of [1, −∞]; the first of [1; −∞]; NaN before anything else.
    np.testing.assert_array_equal(index[0, :, :, 0], [[3, 2], [1, 0]])
    K.max_pool2d(np.full((1, 1, 1, 1), -np.inf), y[:, :1, :1], index[:, :1, :1], (2, 2), (1, 1), (1, 0, 1, 0))
    assert index[0, 0, 0, 0] == 3


def test_batchnorm_matches_torch(torch, rng):
    x, gamma, beta, dz = (rng.standard_normal(s) for s in ((9, 4), (4,), (4,), (9, 4)))
    running = rng.standard_normal(4), rng.random(4)
    tx, tg, tb = (leaf(torch, a) for a in (x, gamma, beta))
    out = torch.nn.functional.batch_norm(tx, None, None, tg, tb, training=True, eps=1e-3)
    out.backward(torch.tensor(dz))
    y, mean, inv_std, moved = np.empty_like(x), np.empty(4), np.empty(4), [r.copy() for r in running]
    K.batchnorm(x, gamma, beta, *moved, y, mean, inv_std, 0.9, 1e-3, "linear")
    dx, dg, db = np.empty_like(x), np.empty(4), np.empty(4)
    K.batchnorm_backward(dz, x, gamma, mean, inv_std, dx, dg, db)
    for got, want in ((y, out), (dx, tx.grad), (dg, tg.grad), (db, tb.grad)):
        close(got, want)
    close(moved[0], 0.9 * running[0] + 0.1 * x.mean(0))
    close(moved[1], 0.9 * running[1] + 0.1 * x.var(0))
    K.batchnorm_inference(x, gamma, beta, *running, y, 1e-3, "relu")
    tensors = [torch.tensor(a) for a in (x, *running, gamma, beta)]
    close(y, torch.relu(torch.nn.functional.batch_norm(*tensors, training=False, eps=1e-3)))


def test_layernorm_matches_torch(torch, rng):
    x, gamma, beta, dy = (rng.standard_normal(s) for s in ((5, 6), (6,), (6,), (5, 6)))
    tx, tg, tb = (leaf(torch, a) for a in (x, gamma, beta))
    out = torch.nn.functional.layer_norm(tx, (6,), tg, tb, eps=1e-3)
    out.backward(torch.tensor(dy))
    y, mean, inv_std = np.empty_like(x), np.empty(5), np.empty(5)
    K.layernorm(x, gamma, beta, y, mean, inv_std, 1e-3)
    dx, dg, db = np.empty_like(x), np.empty(6), np.empty(6)
    K.layernorm_backward(dy, x, gamma, mean, inv_std, dx, dg, db)
    for got, want in ((y, out), (dx, tx.grad), (dg, tg.grad), (db, tb.grad)):
        close(got, want)


def _torch_recurrent(torch, kind, w, u, bias, order):
    """PyTorch's module with our weights; `order` maps its gate blocks to ours, `bias` is (input, recurrent)."""
    size = u.shape[0]
    module = getattr(torch.nn, kind)(w.shape[0], size, batch_first=True, dtype=torch.float64)
    columns = np.concatenate([np.arange(size) + g * size for g in order])
    with torch.no_grad():
        for parameter, value in (
            (module.weight_ih_l0, w[:, columns].T),
            (module.weight_hh_l0, u[:, columns].T),
            (module.bias_ih_l0, bias[0][columns]),
            (module.bias_hh_l0, bias[1][columns]),
        ):
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))
    return module, np.argsort(columns)


# PyTorch's LSTM has our order of gates; its GRU stores r · z · n, and always resets after the product.
@pytest.mark.parametrize(
    ("kind", "gates", "order"), [("RNN", 1, (0,)), ("LSTM", 4, (0, 1, 2, 3)), ("GRU", 3, (1, 0, 2))]
)
def test_recurrent_matches_torch(torch, rng, kind, gates, order):
    n, t, i, h = 3, 5, 4, 6
    x, h0, c0, dh = (rng.standard_normal(s) for s in ((n, t, i), (n, h), (n, h), (n, t, h)))
    w, u = rng.standard_normal((i, gates * h)), rng.standard_normal((h, gates * h))
    bias = rng.standard_normal((2, gates * h))
    module, back = _torch_recurrent(torch, kind, w, u, bias, order)
    tx, th0, tc0 = (leaf(torch, a) for a in (x, h0, c0))
    out, last = module(tx, (th0[None], tc0[None]) if kind == "LSTM" else th0[None])
    dc = rng.standard_normal((n, h))
    objective = (out * torch.tensor(dh)).sum()
    if kind == "LSTM":
        objective = objective + (last[1][0] * torch.tensor(dc)).sum()
    objective.backward()
    y, dx, dh0, dc0, dw, du = (np.empty(s) for s in ((n, t, h), x.shape, h0.shape, h0.shape, w.shape, u.shape))
    db = np.empty((2, 3 * h) if kind == "GRU" else gates * h)
    if kind == "RNN":
        K.simple_rnn(x, h0, w, u, bias.sum(0), None, y, "tanh")
        K.simple_rnn_backward(dh, x, h0, w, u, None, y, dx, dh0, dw, du, db, "tanh")
    elif kind == "LSTM":
        c, saved = np.empty((n, t, h)), np.empty((n, t, 4 * h))
        K.lstm(x, h0, c0, w, u, bias.sum(0), None, y, c, saved)
        K.lstm_backward(dh, dc, x, h0, c0, w, u, None, y, c, saved, dx, dh0, dc0, dw, du, db)
        close(c[:, -1], last[1][0])
        close(dc0, tc0.grad)
    else:
        saved = np.empty((n, t, 4 * h))
        K.gru(x, h0, w, u, bias, None, y, saved, True)
        K.gru_backward(dh, x, h0, w, u, None, y, saved, dx, dh0, dw, du, db, True)
    close(y, out)
    close(dx, tx.grad)
    close(dh0, th0.grad)
    close(dw, module.weight_ih_l0.grad.numpy().T[:, back])
    close(du, module.weight_hh_l0.grad.numpy().T[:, back])
    close(db.reshape(-1, gates * h)[0], module.bias_ih_l0.grad.numpy()[back])
    close(db.reshape(-1, gates * h)[-1], module.bias_hh_l0.grad.numpy()[back])


def test_gru_reset_before_by_hand(rng):
    x, h0, w, u, b = (rng.standard_normal(s) for s in ((1, 1, 2), (1, 3), (2, 9), (3, 9), (9,)))
    h, gates = np.empty((1, 1, 3)), np.empty((1, 1, 12))
    K.gru(x, h0, w, u, b, None, h, gates, False)
    parts = [slice(0, 3), slice(3, 6), slice(6, 9)]
    z, r = (1 / (1 + np.exp(-(x[0] @ w[:, p] + h0 @ u[:, p] + b[p]))) for p in parts[:2])
    g = np.tanh(x[0] @ w[:, parts[2]] + (r * h0) @ u[:, parts[2]] + b[parts[2]])
    close(h[0], z * h0 + (1 - z) * g)
    close(gates[0], np.concatenate([z, r, g, r * h0], axis=1))


@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru", "gru_reset_before"])
def test_mask_is_the_same_as_leaving_steps_out(rng, cell):
    x, h0, c0 = rng.standard_normal((1, 6, 2)), rng.standard_normal((1, 3)), rng.standard_normal((1, 3))
    mask = np.array([[0, 1, 1, 0, 1, 0]], np.uint8)

    def run(x, mask):
        h, c, gates = (np.empty((1, x.shape[1], f)) for f in (3, 3, 12))
        weights = np.random.default_rng(3)
        g = {"simple_rnn": 1, "lstm": 4}.get(cell, 3)
        w, u = weights.standard_normal((2, 3 * g)), weights.standard_normal((3, 3 * g))
        if cell == "simple_rnn":
            K.simple_rnn(x, h0, w, u, None, mask, h, "tanh")
        elif cell == "lstm":
            K.lstm(x, h0, c0, w, u, None, mask, h, c, gates)
        else:
            K.gru(x, h0, w, u, None, mask, h, gates, cell == "gru")
        return h

    masked = run(x, mask)
    packed = run(np.ascontiguousarray(x[:, mask[0] == 1]), None)
    close(masked[:, mask[0] == 1], packed, 1e-14)
    close(masked[:, 0], h0)
    close(masked[:, 3], masked[:, 2])


def test_embedding_matches_torch(torch, rng):
    ids, table, dy = rng.integers(0, 5, 20, np.int32), rng.standard_normal((5, 3)), rng.standard_normal((20, 3))
    tt = leaf(torch, table)
    out = torch.nn.functional.embedding(torch.tensor(ids), tt)
    out.backward(torch.tensor(dy))
    y, dtable = np.empty((20, 3)), np.ones((5, 3))
    K.embedding(ids, table, y)
    K.embedding_backward(dy, ids, dtable, accumulate=True)
    close(y, out)
    close(dtable - 1, tt.grad)


TORCH_ACTIVATIONS = {
    "linear": lambda t, x: x * 1,
    "relu": lambda t, x: t.relu(x),
    "sigmoid": lambda t, x: t.sigmoid(x),
    "tanh": lambda t, x: t.tanh(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x, 0.3),
    "elu": lambda t, x: t.nn.functional.elu(x, 0.3),
    "selu": lambda t, x: t.selu(x),
    "exponential": lambda t, x: t.exp(x),
    "softplus": lambda t, x: t.logaddexp(x, t.zeros_like(x)),
    "softsign": lambda t, x: t.nn.functional.softsign(x),
    "silu": lambda t, x: t.nn.functional.silu(x),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "relu6": lambda t, x: t.nn.functional.relu6(x),
    "hard_sigmoid": lambda t, x: t.clamp(x / 6 + 0.5, 0, 1),  # its hardsigmoid divides by 6 in float32
    "step": lambda t, x: (x > 0) * 1.0 + 0 * x,
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_matches_torch(torch, rng, kind):
    x = np.concatenate([rng.standard_normal(40) * 4, [-50.0, 50.0, 0.3, -0.4]])
    dy = rng.standard_normal(x.shape)
    tx = leaf(torch, x)
    out = TORCH_ACTIVATIONS[kind](torch, tx)
    out.backward(torch.tensor(dy))
    y, dx = np.empty_like(x), np.empty_like(x)
    K.activation(x, y, kind, 0.3)
    K.activation_backward(dy, x, y, dx, kind, 0.3)
    close(y, out)
    close(dx, tx.grad)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_derivative_at_a_kink_is_the_left_one(kind):
    kinks = {"relu6": (0.0, 6.0), "hard_sigmoid": (-3.0, 3.0)}.get(kind, (0.0,))
    for kink in kinks:
        x = np.array([kink, kink - 1e-9])
        y, dx = np.empty(2), np.empty(2)
        K.activation(x, y, kind, 0.3)
        K.activation_backward(np.ones(2), x, y, dx, kind, 0.3)
        assert dx[0] == pytest.approx(dx[1], abs=1e-7)


def test_erf_is_accurate_to_float64():
    from dlcore.kernels.reference.activation import _erfc

    x = np.concatenate([np.linspace(-7, 7, 20001), [0.0, 1e-300, -1e-10, 1e5, -1e5, np.inf, -np.inf]])
    np.testing.assert_allclose(1 - _erfc(x), [math.erf(v) for v in x], rtol=0, atol=3e-16)
    np.testing.assert_allclose(_erfc(x), [math.erfc(v) for v in x], rtol=1e-14, atol=1e-300)
    assert np.isnan(_erfc(np.array([np.nan]))).all()


def test_softmaxes_match_torch(torch, rng):
    x, dy = rng.standard_normal((4, 7)) * 3, rng.standard_normal((4, 7))
    y, dx = np.empty_like(x), np.empty_like(x)
    for name in ("softmax", "log_softmax"):
        tx = leaf(torch, x)
        out = getattr(torch, name)(tx, 1)
        out.backward(torch.tensor(dy))
        getattr(K, name)(x, y)
        getattr(K, f"{name}_backward")(dy, y, dx)
        close(y, out)
        close(dx, tx.grad)


@pytest.mark.parametrize("spread", [1.0, 1e4])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_match_torch(torch, rng, weighted, spread):
    F = torch.nn.functional
    z = rng.standard_normal((6, 5)) * spread
    labels, dense, binary = rng.integers(0, 5, 6, np.int32), rng.random((6, 5)), rng.random((6, 5))
    weight = rng.random(6) if weighted else None
    factor = torch.tensor(weight if weighted else np.ones(6))
    for name, target, loss in (
        ("softmax_cross_entropy", labels, lambda t: F.cross_entropy(t, torch.tensor(labels).long(), reduction="none")),
        ("softmax_cross_entropy_dense", dense, lambda t: -(torch.tensor(dense) * F.log_softmax(t, 1)).sum(1)),
        (
            "sigmoid_cross_entropy",
            binary,
            lambda t: F.binary_cross_entropy_with_logits(t, torch.tensor(binary), reduction="none").mean(1),
        ),
    ):
        tz = leaf(torch, z)
        out = loss(tz) * factor
        (0.25 * out.sum()).backward()
        losses, dz = np.empty(6), np.empty_like(z)
        getattr(K, name)(z, target, weight, losses, dz, 0.25)
        close(losses, out)
        close(dz, tz.grad)


def test_losses_and_activations_are_finite_and_silent_at_extremes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in (np.float32, np.float64):
            z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype)
            losses, dz = np.empty(2, dtype), np.empty_like(z)
            K.softmax_cross_entropy(z, np.array([1, 2], np.int32), None, losses, dz, 1.0)
            close(losses, [2e4, np.log(3)], 1e-6)
            K.softmax_cross_entropy_dense(z, np.ones_like(z), None, losses, dz, 1.0)
            assert np.isfinite(losses).all()
            K.sigmoid_cross_entropy(z, np.zeros_like(z), None, losses, dz, 1.0)
            close(losses, [(1e4 + math.log(2)) / 3, 0.0], 1e-6)
            for kind in ACTIVATIONS:
                y, dx = np.empty_like(z), np.empty_like(z)
                K.activation(z, y, kind, 0.5)
                K.activation_backward(np.ones_like(z), z, y, dx, kind, 0.5)
                assert np.isfinite(y).all() or kind == "exponential"


def test_scalars_do_not_change_the_dtype(rng):
    """A float32 result must not be a rounded float64 computation: scalars stay weak."""
    from dlcore.kernels.reference import activation, random

    x = rng.standard_normal(8).astype(np.float32)
    assert activation._sigmoid(x).dtype == np.float32
    assert activation._normal_cdf(x).dtype == np.float32
    assert random._unit(np.arange(4, dtype=np.uint64), np.dtype(np.float32)).dtype == np.float32


# ---- optimizers -----------------------------------------------------------------------------------------------------


def _torch_steps(torch, make, p, gradients):
    tp = leaf(torch, p)
    optimizer = make([tp])
    for g in gradients:
        tp.grad = torch.tensor(g)
        optimizer.step()
    return tp


def test_optimizers_match_torch_where_they_agree(torch, rng):
    start, gradients = rng.standard_normal(6), rng.standard_normal((4, 6))

    p = start.copy()
    for g in gradients:
        K.sgd(p, g, 0.1)
    close(p, _torch_steps(torch, lambda q: torch.optim.SGD(q, 0.1), start, gradients))

    # With a constant rate PyTorch's buffer is −m / lr.
    for form in ("classical", "nesterov"):
        p, m = start.copy(), np.zeros(6)
        for g in gradients:
            K.momentum(p, g, m, 0.1, 0.9, form)
        make = lambda q, form=form: torch.optim.SGD(q, 0.1, momentum=0.9, nesterov=form == "nesterov")  # noqa: E731
        close(p, _torch_steps(torch, make, start, gradients))

    # With eps = 0 the place of eps does not matter.
    p, s = start.copy(), np.full(6, 0.1)
    for g in gradients:
        K.adagrad(p, g, s, 0.1, 0.0)
    make = lambda q: torch.optim.Adagrad(q, 0.1, initial_accumulator_value=0.1, eps=0.0)  # noqa: E731
    close(p, _torch_steps(torch, make, start, gradients))

    for momentum, centered in ((0.0, False), (0.8, False), (0.8, True)):
        p, s, m, gbar = start.copy(), np.zeros(6), np.zeros(6), np.zeros(6)
        for g in gradients:
            K.rmsprop(p, g, s, m if momentum else None, gbar if centered else None, 0.01, 0.9, momentum, 1e-30)
        make = lambda q, mu=momentum, c=centered: torch.optim.RMSprop(  # noqa: E731
            q, 0.01, 0.9, eps=0.0, momentum=mu, centered=c
        )
        close(p, _torch_steps(torch, make, start, gradients))

    # PyTorch adds eps after the bias correction, Keras before it: the same where it is 0.
    for amsgrad, decay in ((False, 0.0), (False, 0.1), (True, 0.0)):
        p, m, v, vhat = start.copy(), np.zeros(6), np.zeros(6), np.zeros(6)
        for step, g in enumerate(gradients, 1):
            K.adam(p, g, m, v, vhat if amsgrad else None, 0.01, 0.9, 0.999, 0.0, decay, step)
        make = lambda q, a=amsgrad, d=decay: torch.optim.AdamW(q, 0.01, eps=0.0, weight_decay=d, amsgrad=a)  # noqa: E731
        close(p, _torch_steps(torch, make, start, gradients))


def test_optimizers_one_number_at_a_time():
    p0, m0, s0, lr, eps = 0.7, 0.2, 0.5, 0.1, 1e-3

    def arrays(*values):
        return [np.array([v]) for v in values]

    g = np.array([-0.4])
    (p,) = arrays(p0)
    K.sgd(p, g, lr)
    assert p[0] == pytest.approx(0.7 + 0.04)

    for form, m1, p1 in (
        ("classical", 0.9 * 0.2 + 0.04, 0.7 + 0.22),
        ("nesterov", 0.9 * 0.2 + 0.04, 0.7 + 0.9 * 0.22 + 0.04),
        ("averaged", 0.9 * 0.2 - 0.1 * 0.4, 0.7 - 0.1 * (0.9 * 0.2 - 0.1 * 0.4)),
    ):
        p, m = arrays(p0, m0)
        K.momentum(p, g, m, lr, 0.9, form)
        assert (m[0], p[0]) == pytest.approx((m1, p1))

    p, s = arrays(p0, s0)
    K.adagrad(p, g, s, lr, eps)
    assert (s[0], p[0]) == pytest.approx((0.66, 0.7 + 0.1 * 0.4 / math.sqrt(0.66 + eps)))

    s1 = 0.8 * 0.5 + 0.2 * 0.16
    p, s, m, gbar = arrays(p0, s0, m0, 0.3)
    K.rmsprop(p, g, s, None, None, lr, 0.8, 0.0, eps)
    assert (s[0], p[0]) == pytest.approx((s1, 0.7 + 0.04 / math.sqrt(s1 + eps)))
    p, s = arrays(p0, s0)
    K.rmsprop(p, g, s, m, gbar, lr, 0.8, 0.9, eps)
    mean = 0.8 * 0.3 - 0.2 * 0.4
    m1 = 0.9 * 0.2 - 0.04 / math.sqrt(s1 - mean**2 + eps)
    assert (gbar[0], m[0], p[0]) == pytest.approx((mean, m1, 0.7 - m1))

    for vhat0 in (None, 0.1, 9.0):
        p, m, v = arrays(p0, m0, s0)
        vhat = None if vhat0 is None else np.array([vhat0])
        K.adam(p, g, m, v, vhat, lr, 0.9, 0.99, eps, 0.05, 3)
        m1, v1 = 0.9 * 0.2 - 0.1 * 0.4, 0.99 * 0.5 + 0.01 * 0.16
        used = v1 if vhat0 is None else max(v1, vhat0)
        rate = 0.1 * math.sqrt(1 - 0.99**3) / (1 - 0.9**3)
        p1 = 0.7 - 0.1 * 0.05 * 0.7 - rate * m1 / (math.sqrt(used) + eps)
        assert (m[0], v[0], p[0]) == pytest.approx((m1, v1, p1))
        assert vhat is None or vhat[0] == pytest.approx(used)
    assert g[0] == -0.4


# ---- random ---------------------------------------------------------------------------------------------------------


# Random123's kat_vectors for philox4x32-10: counter, key, words.
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    from dlcore.kernels.reference.random import philox

    got = philox(tuple(np.array([c], np.uint64) for c in counter), key)
    assert tuple(int(w[0]) for w in got) == words


def _philox_by_the_book(block, seed):
    c, k = [block & 0xFFFFFFFF, block >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (2**63 + 12345, 2**32 - 2), (2**64 - 1, 2**64 - 1)])
def test_streams_follow_the_definition(seed, offset):
    n = 19
    whole = [w for b in range(5) for w in _philox_by_the_book((offset + b) % 2**64, seed)]
    words = whole[:n]
    for dtype in (np.float32, np.float64):
        y = np.empty(n, dtype)
        K.random_uniform(y, 0.0, 1.0, seed, offset)
        assert y.tolist() == [(w >> 8) / 2**24 for w in words]
        K.random_uniform(y, -2.0, 3.0, seed, offset)
        close(y, [(w >> 8) / 2**24 * 5 - 2 for w in words], 1e-6)
        K.random_normal(y, 1.0, 2.0, seed, offset)
        u = [(w >> 8) / 2**24 for w in whole]
        normal = []
        for i in range(0, 20, 2):
            radius = math.sqrt(-2 * math.log(u[i] + 2**-24))
            normal += [radius * math.cos(2 * math.pi * u[i + 1]), radius * math.sin(2 * math.pi * u[i + 1])]
        close(y, 1 + 2 * np.array(normal[:n]), 1e-5 if dtype == np.float32 else 1e-14)
    x, y = np.arange(1.0, n + 1), np.empty(n)
    K.dropout(x, y, 0.3, seed, offset)
    keep = [(w >> 8) >= math.ceil(0.3 * 2**24) for w in words]
    close(y, np.where(keep, x / 0.7, 0), 1e-14)


def test_a_stream_does_not_depend_on_how_it_is_cut():
    whole, parts = np.empty(1 << 19, np.float32), np.empty(1 << 19, np.float32)
    K.random_normal(whole, 0.0, 1.0, 5, 3)
    cut = 1 << 18
    K.random_normal(parts[: cut + 40], 0.0, 1.0, 5, 3)
    K.random_normal(parts[cut + 40 :], 0.0, 1.0, 5, 3 + (cut + 40) // 4)
    np.testing.assert_array_equal(whole, parts)


def test_distributions():
    y = np.empty(1 << 20)
    K.random_uniform(y, 0.0, 1.0, 1, 0)
    assert y.min() >= 0
    assert y.max() < 1
    assert y.mean() == pytest.approx(0.5, abs=2e-3)
    assert y.var() == pytest.approx(1 / 12, abs=1e-3)
    K.random_normal(y, 0.0, 1.0, 1, 0)
    assert y.mean() == pytest.approx(0, abs=5e-3)
    assert y.var() == pytest.approx(1, abs=1e-2)
    assert (y**4).mean() == pytest.approx(3, abs=0.1)
    assert np.corrcoef(y[0::2], y[1::2])[0, 1] == pytest.approx(0, abs=5e-3)
    K.dropout(np.ones_like(y), y, 0.25, 1, 0)
    assert (y == 0).mean() == pytest.approx(0.25, abs=2e-3)


# ---- reductions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1_000_003, 1), (1, 1_000_003, 2), (2, 500_001, 1)])
def test_long_float32_sums_stay_accurate(rng, shape):
    x = rng.random(shape, np.float32)
    y = np.empty((shape[0], shape[2]), np.float32)
    K.reduce(x, y, "sum")
    np.testing.assert_allclose(y, x.astype(np.float64).sum(1), rtol=5e-7)


# ---- every gradient along random directions -------------------------------------------------------------------------


def _directional(forward, inputs, gradients_of, rng, tolerance=1e-7):
    """Compare Σ gradient·direction with the central difference of Σ output·weight, one input at a time.

    forward(**inputs) -> outputs; gradients_of(weights, **inputs) -> {input: gradient}, where the weights are the
    gradients of the outputs.
    """
    outputs = forward(**inputs)
    weights = [rng.standard_normal(o.shape) for o in outputs]
    gradients = gradients_of(weights, **inputs)
    assert gradients
    for name, gradient in gradients.items():
        for _ in range(2):
            direction = rng.standard_normal(inputs[name].shape)
            step = 1e-5
            ends = [forward(**{**inputs, name: inputs[name] + s * step * direction}) for s in (1, -1)]
            change = sum(((a - b) * w).sum() for a, b, w in zip(*ends, weights, strict=True)) / (2 * step)
            assert (gradient * direction).sum() == pytest.approx(change, rel=tolerance, abs=tolerance), name


CHECKED: set[str] = set()


def checks(*names):
    CHECKED.update(names)


checks("linear_backward_input", "linear_backward_weight")


def test_gradients_linear(rng):
    def forward(x, w, b):
        y = np.empty((3, 5))
        K.linear(x, w, b, y, "tanh")
        return [y]

    def backward(weights, x, w, b):
        (y,) = forward(x, w, b)
        dz, dx, dw, db = np.empty_like(y), np.empty_like(x), np.ones_like(w), np.ones_like(b)
        K.activation_backward(weights[0], None, y, dz, "tanh", 0.0)
        K.linear_backward_input(dz, w, dx)
        K.linear_backward_weight(x, dz, dw, db, accumulate=True)
        return {"x": dx, "w": dw - 1, "b": db - 1}

    shapes = {"x": (3, 4), "w": (4, 5), "b": (5,)}
    _directional(forward, {k: rng.standard_normal(s) for k, s in shapes.items()}, backward, rng)


checks("conv2d_backward_input", "conv2d_backward_weight")


@pytest.mark.parametrize(("shape", "k", "size", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_gradients_conv(rng, shape, k, size, stride, padding, dilation, groups):
    geometry = (stride, padding, dilation, groups)
    oh = (shape[1] + padding[0] + padding[1] - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
    ow = (shape[2] + padding[2] + padding[3] - dilation[1] * (size[1] - 1) - 1) // stride[1] + 1

    def forward(x, w, b):
        y = np.empty((shape[0], oh, ow, k))
        K.conv2d(x, w, b, y, *geometry, "sigmoid")
        return [y]

    def backward(weights, x, w, b):
        (y,) = forward(x, w, b)
        dz, dx, dw, db = np.empty_like(y), np.empty_like(x), np.ones_like(w), np.ones_like(b)
        K.activation_backward(weights[0], None, y, dz, "sigmoid", 0.0)
        K.conv2d_backward_input(dz, w, dx, *geometry)
        K.conv2d_backward_weight(x, dz, dw, db, *geometry, accumulate=True)
        return {"x": dx, "w": dw - 1, "b": db - 1}

    shapes = {"x": shape, "w": (*size, shape[3] // groups, k), "b": (k,)}
    _directional(forward, {k: rng.standard_normal(s) for k, s in shapes.items()}, backward, rng)


checks("max_pool2d_backward", "avg_pool2d_backward", "global_avg_pool_backward", "global_max_pool_backward")


def test_gradients_pool(rng):
    geometry = ((3, 2), (2, 1), (1, 0, 0, 1))
    x = rng.permutation(2 * 6 * 5 * 3).reshape(2, 6, 5, 3) * 0.1  # no two values closer than the step
    flat = x.reshape(2, 30, 3)
    y, index = np.empty((2, 3, 5, 3)), np.empty((2, 3, 5, 3), np.uint8)
    gy, gindex = np.empty((2, 3)), np.empty((2, 3), np.int32)

    def maximum(x):
        K.max_pool2d(x, y, index, *geometry)
        return [y.copy()]

    def maximum_backward(weights, x):
        maximum(x)
        dx = np.empty_like(x)
        K.max_pool2d_backward(weights[0], index, dx, *geometry)
        return {"x": dx}

    def average(x):
        K.avg_pool2d(x, y, *geometry)
        return [y.copy()]

    def average_backward(weights, x):
        dx = np.empty_like(x)
        K.avg_pool2d_backward(weights[0], dx, *geometry)
        return {"x": dx}

    def global_maximum(x):
        K.global_max_pool(x, gy, gindex)
        return [gy.copy()]

    def global_maximum_backward(weights, x):
        global_maximum(x)
        dx = np.empty_like(x)
        K.global_max_pool_backward(weights[0], gindex, dx)
        return {"x": dx}

    def global_average(x):
        K.global_avg_pool(x, gy)
        return [gy.copy()]

    def global_average_backward(weights, x):
        dx = np.empty_like(x)
        K.global_avg_pool_backward(weights[0], dx)
        return {"x": dx}

    _directional(maximum, {"x": x}, maximum_backward, rng)
    _directional(average, {"x": x}, average_backward, rng)
    _directional(global_maximum, {"x": flat}, global_maximum_backward, rng)
    _directional(global_average, {"x": flat}, global_average_backward, rng)


checks("batchnorm_backward", "layernorm_backward")


@pytest.mark.parametrize("layer", [False, True])
def test_gradients_norm(rng, layer):
    r, c = 6, 4
    statistic = r if layer else c

    def run(x, gamma, beta):
        y, mean, inv_std = np.empty((r, c)), np.empty(statistic), np.empty(statistic)
        if layer:
            K.layernorm(x, gamma, beta, y, mean, inv_std, 1e-3)
        else:
            K.batchnorm(x, gamma, beta, np.zeros(c), np.ones(c), y, mean, inv_std, 0.9, 1e-3, "linear")
        return y, mean, inv_std

    def forward(x, gamma=None, beta=None):
        return [run(x, gamma, beta)[0]]

    def backward(weights, x, gamma=None, beta=None):
        _, mean, inv_std = run(x, gamma, beta)
        dx, dgamma, dbeta = np.empty_like(x), np.ones(c), np.ones(c)
        kernel = K.layernorm_backward if layer else K.batchnorm_backward
        kernel(weights[0], x, gamma, mean, inv_std, dx, dgamma, dbeta, accumulate=True)
        return {"x": dx} if gamma is None else {"x": dx, "gamma": dgamma - 1, "beta": dbeta - 1}

    inputs = {"x": rng.standard_normal((r, c)), "gamma": rng.standard_normal(c), "beta": rng.standard_normal(c)}
    _directional(forward, inputs, backward, rng)
    _directional(forward, {"x": inputs["x"]}, backward, rng)


checks("simple_rnn_backward", "lstm_backward", "gru_backward")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", ["simple_rnn", "simple_rnn sigmoid", "lstm", "gru", "gru reset before"])
def test_gradients_recurrent(rng, cell, masked):
    n, t, i, h = 4, 5, 3, 4
    name, _, mode = cell.partition(" ")
    g = {"simple_rnn": 1, "lstm": 4, "gru": 3}[name]
    mask = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], np.uint8) if masked else None
    b_shape = (2, 3 * h) if cell == "gru" else (g * h,)
    shapes = {"x": (n, t, i), "h0": (n, h), "w": (i, g * h), "u": (h, g * h), "b": b_shape}
    if name == "lstm":
        shapes["c0"] = (n, h)

    def run(x, h0, w, u, b, c0=None):
        y, c, gates = np.empty((n, t, h)), np.empty((n, t, h)), np.empty((n, t, 4 * h))
        if name == "simple_rnn":
            K.simple_rnn(x, h0, w, u, b, mask, y, mode or "tanh")
        elif name == "lstm":
            K.lstm(x, h0, c0, w, u, b, mask, y, c, gates)
        else:
            K.gru(x, h0, w, u, b, mask, y, gates, not mode)
        return y, c, gates

    def forward(**inputs):
        y, c, _ = run(**inputs)
        return [y, c[:, -1]] if name == "lstm" else [y]

    def backward(weights, x, h0, w, u, b, c0=None):
        y, c, gates = run(x, h0, w, u, b, c0)
        dx, dh0, dc0 = np.empty_like(x), np.empty_like(h0), np.empty_like(h0)
        dw, du, db = np.ones_like(w), np.ones_like(u), np.ones_like(b)
        if name == "simple_rnn":
            activation = mode or "tanh"
            K.simple_rnn_backward(weights[0], x, h0, w, u, mask, y, dx, dh0, dw, du, db, activation, accumulate=True)
        elif name == "lstm":
            before = (weights[0], weights[1], x, h0, c0, w, u, mask, y, c, gates)
            K.lstm_backward(*before, dx, dh0, dc0, dw, du, db, accumulate=True)
        else:
            before = (weights[0], x, h0, w, u, mask, y, gates)
            K.gru_backward(*before, dx, dh0, dw, du, db, not mode, accumulate=True)
        gradients = {"x": dx, "h0": dh0, "w": dw - 1, "u": du - 1, "b": db - 1}
        return gradients | ({"c0": dc0} if name == "lstm" else {})

    inputs = {k: rng.standard_normal(s) for k, s in shapes.items()}
    _directional(forward, inputs, backward, rng)


checks("embedding_backward")


def test_gradients_embedding(rng):
    ids = rng.integers(0, 4, 9, np.int32)

    def forward(table):
        y = np.empty((9, 3))
        K.embedding(ids, table, y)
        return [y]

    def backward(weights, table):
        dtable = np.ones_like(table)
        K.embedding_backward(weights[0], ids, dtable, accumulate=True)
        return {"table": dtable - 1}

    _directional(forward, {"table": rng.standard_normal((5, 3))}, backward, rng)


checks("activation_backward", "unary_backward")


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gradients_activation(rng, kind):
    def forward(x):
        y = np.empty_like(x)
        K.activation(x, y, kind, 0.4)
        return [y]

    def backward(weights, x):
        dx = np.empty_like(x)
        K.activation_backward(weights[0], x, forward(x)[0], dx, kind, 0.4)
        return {"x": dx}

    x = np.linspace(-7.1, 7.3, 40)  # stays clear of the kinks
    _directional(forward, {"x": x}, backward, rng)


@pytest.mark.parametrize("op", UNARY_OPS)
def test_gradients_unary(rng, op):
    def forward(x):
        y = np.empty_like(x)
        K.unary(x, y, op)
        return [y]

    def backward(weights, x):
        dx = np.empty_like(x)
        K.unary_backward(weights[0], x, forward(x)[0], dx, op)
        return {"x": dx}

    x = rng.uniform(0.3, 2.0, 12)
    if op not in ("log", "sqrt"):
        x *= rng.choice([-1, 1], 12)
    _directional(forward, {"x": x}, backward, rng)


checks("softmax_backward", "log_softmax_backward")


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_gradients_softmax(rng, name):
    def forward(x):
        y = np.empty_like(x)
        getattr(K, name)(x, y)
        return [y]

    def backward(weights, x):
        dx = np.empty_like(x)
        getattr(K, f"{name}_backward")(weights[0], forward(x)[0], dx)
        return {"x": dx}

    _directional(forward, {"x": rng.standard_normal((4, 5))}, backward, rng)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "softmax_cross_entropy_dense", "sigmoid_cross_entropy"])
def test_gradients_losses(rng, name, weighted):
    dense = rng.random((4, 5))
    target = rng.integers(0, 5, 4, np.int32) if name == "softmax_cross_entropy" else dense
    weight = rng.random(4) if weighted else None

    def run(z, scale):
        losses, dz = np.empty(4), np.empty_like(z)
        getattr(K, name)(z, target, weight, losses, dz, scale)
        return losses, dz

    z, direction, step = rng.standard_normal((4, 5)), rng.standard_normal((4, 5)), 1e-5
    change = (run(z + step * direction, 1.0)[0] - run(z - step * direction, 1.0)[0]).sum() / (2 * step)
    assert (run(z, 0.3)[1] * direction).sum() == pytest.approx(0.3 * change, rel=1e-7)


def test_every_gradient_primitive_is_checked():
    assert {name for name in PRIMITIVES if "_backward" in name} == CHECKED


def test_reference_modules_hold_nothing_public_but_their_primitives():
    """A helper with a primitive's name in the wrong family would be bound by mistake."""
    for name, family in PRIMITIVES.items():
        module = import_module(f"dlcore.kernels.reference.{family}")
        assert getattr(module, name).__module__ == module.__name__
        assert list(signature(name).parameters)
