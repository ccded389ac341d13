"""Prepared kernels of the native engine: the bits of the plain primitives, a fused residual, fresh inputs."""

import os
import subprocess
import sys

import numpy as np
import pytest

core = pytest.importorskip("dlcore.kernels.native.core", reason="the native engine is not built")
conv = pytest.importorskip("dlcore.kernels.native.conv")
elementwise = pytest.importorskip("dlcore.kernels.native.elementwise")
linear = pytest.importorskip("dlcore.kernels.native.linear")
nonlinear = pytest.importorskip("dlcore.kernels.native.activation")
norm = pytest.importorskip("dlcore.kernels.native.norm")
pool = pytest.importorskip("dlcore.kernels.native.pool")
reference = pytest.importorskip("dlcore.kernels.reference.conv")

# n, h, w, c, k, kernel, stride, padding, dilation, groups
CONVOLUTIONS = {
    "stem": (2, 23, 21, 3, 20, 7, 2, 3, 1, 1),
    "digits": (3, 12, 12, 1, 6, 5, 1, 0, 1, 1),
    "pointwise": (1, 7, 6, 70, 45, 1, 1, 0, 1, 1),
    "pointwise, one filter": (2, 7, 6, 70, 1, 1, 1, 0, 1, 1),
    "shortcut": (1, 9, 8, 33, 40, 1, 2, 0, 1, 1),
    "3x3": (6, 7, 8, 24, 50, 3, 1, 1, 1, 1),  # Winograd with tiles of 4x4, whatever reading its filters costs
    "3x3, many channels": (1, 14, 14, 260, 200, 3, 1, 1, 1, 1),
    "3x3, stride 2": (2, 11, 12, 40, 36, 3, 2, 1, 1, 1),
    "dilated": (1, 12, 12, 20, 20, 3, 1, 2, 2, 1),
    "grouped": (2, 8, 8, 24, 36, 3, 1, 1, 1, 3),
    "depthwise": (2, 10, 11, 37, 37, 3, 1, 1, 1, 37),
    "many small images": (32, 9, 8, 3, 10, 3, 1, 1, 1, 1),
    "depthwise, stride 2": (1, 10, 11, 12, 24, 3, 2, 1, 1, 12),
    "2x2 images": (60, 2, 2, 40, 36, 3, 1, 1, 1, 1),
    "5x5, many channels": (1, 13, 15, 40, 70, 5, 1, 2, 1, 1),
    "3x3, stride 2, many channels": (1, 26, 28, 130, 270, 3, 2, 1, 1, 1),
}
LARGE = {"3x3, large": (1, 50, 53, 24, 40, 3, 1, 1, 1, 1)}  # prepared with larger tiles than the plain one has


def _convolution(label, dtype, seed=0):
    n, h, w, c, k, kernel, stride, padding, dilation, groups = (CONVOLUTIONS | LARGE)[label]
    oh, ow = ((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for size in (h, w))
    rng = np.random.default_rng(seed)
    shapes = (n, h, w, c), (kernel, kernel, c // groups, k), (k,), (n, oh, ow, k)
    x, filters, bias, residual = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return x, filters, bias, residual, ((stride, stride), (padding,) * 4, (dilation, dilation), groups)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize(
    ("n", "h", "w", "c", "k", "kernel", "pad"),
    [(3, 12, 38, 1, 6, 5, 0), (1, 7, 68, 2, 5, 3, 1), (32, 14, 12, 6, 16, 5, 0), (48, 6, 10, 3, 9, 3, 1)],
)
def test_a_prepared_convolution_gives_the_bits_of_the_pooling_after_it(n, h, w, c, k, kernel, pad, activation, dtype):
    rng = np.random.default_rng(0)
    shapes = (n, h, w, c), (kernel, kernel, c, k), (k,), (n, h + 2 * pad - kernel + 1, w + 2 * pad - kernel + 1, k)
    x, filters, bias, y = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    geometry = ((1, 1), (pad,) * 4, (1, 1), 1)
    can = conv.pools(x.shape, filters.shape, y.shape, *geometry, activation, x.dtype, "mean")
    even = y.shape[1] % 2 == 0
    assert not can or even
    assert can or not even or dtype == np.float64 or "DLCORE_CONV" in os.environ
    if not can:
        return
    conv.conv2d(x, filters, bias, y, *geometry, activation)
    expected, found = (np.full((n, y.shape[1] // 2, y.shape[2] // 2, k), np.nan, dtype) for _ in range(2))
    pool.avg_pool2d(y, expected, (2, 2), (2, 2), (0, 0, 0, 0))
    conv.prepare_conv2d(x, filters, bias, found, *geometry, activation, pooled="mean")()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("label", ["3x3", "3x3, many channels", "5x5, many channels", "3x3, large"])
def test_a_prepared_convolution_gives_the_bits_of_the_maxima_after_it(label, activation):
    x, filters, bias, y, geometry = _convolution(label, np.float32)
    x = np.concatenate([x, x[:, :, :1]], 2) if y.shape[2] % 2 else x  # outputs that windows tile
    x = np.concatenate([x, x[:, :1]], 1) if y.shape[1] % 2 else x
    n, h, w, k = y.shape
    y = np.empty((n, h + h % 2, w + w % 2, k), np.float32)
    if not conv.pools(x.shape, filters.shape, y.shape, *geometry, activation, x.dtype, "max"):
        assert activation == "tanh" or "DLCORE_CONV" in os.environ
        return
    x[0, 0, 0, 0] = np.nan
    conv.prepare_conv2d(x, filters, bias, y, *geometry, activation)()
    expected, found = np.full((2, n, y.shape[1] // 2, y.shape[2] // 2, k), np.inf, np.float32)
    pool.max_pool2d(y, expected, None, (2, 2), (2, 2), (0, 0, 0, 0))
    conv.prepare_conv2d(x, filters, bias, found, *geometry, activation, pooled="max")()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("label", CONVOLUTIONS)
def test_a_prepared_convolution_gives_the_bits_of_the_plain_one_and_sees_new_inputs(label, activation, dtype):
    x, filters, bias, like, geometry = _convolution(label, dtype)
    for b in (bias, None):
        plain, prepared = np.empty_like(like), np.empty_like(like)
        run = conv.prepare_conv2d(x, filters, b, prepared, *geometry, activation)
        for seed in range(2):
            x[...] = _convolution(label, dtype, seed)[0]
            conv.conv2d(x, filters, b, plain, *geometry, activation)
            prepared.fill(np.nan)
            run()
            np.testing.assert_array_equal(prepared, plain)


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid"])
@pytest.mark.parametrize("label", CONVOLUTIONS | LARGE)
def test_a_residual_is_added_before_the_activation(label, activation):
    x, filters, bias, residual, geometry = _convolution(label, np.float32)
    expected = np.empty(residual.shape)
    reference.conv2d(*(a.astype(np.float64) for a in (x, filters, bias)), expected, *geometry, "linear")
    scale = np.abs(expected).max()
    expected += residual
    expected = {"linear": expected, "relu": np.maximum(expected, 0), "sigmoid": 1 / (1 + np.exp(-expected))}[activation]
    y = np.empty_like(residual)
    conv.prepare_conv2d(x, filters, bias, y, *geometry, activation, residual)()
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("label", CONVOLUTIONS | LARGE)
def test_the_gradient_of_the_input_takes_over_an_addition_and_a_gate(label, dtype):
    x, filters, _, dz, geometry = _convolution(label, dtype)
    residual, gate = (_convolution(label, dtype, seed)[0] for seed in (1, 2))
    plain, total, gated = np.empty((3, *x.shape), dtype)
    conv.conv2d_backward_input(dz, filters, plain, *geometry)
    elementwise.binary(residual, plain, total, "add")
    for added, before in ((None, plain), (residual, total)):
        fused = np.full_like(x, np.nan)
        conv.conv2d_gated_backward_input(dz, filters, fused, *geometry, added)
        np.testing.assert_array_equal(fused, before)
        nonlinear.activation_backward(before, None, gate, gated, "relu", 0.0)
        conv.conv2d_gated_backward_input(dz, filters, fused, *geometry, added, gate)
        np.testing.assert_array_equal(fused, gated)


@pytest.mark.parametrize("label", ["3x3, many images", "5x5, many images", "3x3, stride 2, many images"])
def test_results_stored_past_the_caches_are_those_of_each_image(label):
    images = 9  # 12 MB and more; one of them is small enough to be stored like any other array
    kernel, stride = int(label[0]), 1 + ("stride 2" in label)
    side, c, k = (96, 32, 32) if stride == 2 else (64, 48, 64)  # one image and all go the same way, on every processor
    rng = np.random.default_rng(0)
    small = side // stride
    x, residual = core.empty((images, side, side, c), "f4"), core.empty((images, small, small, k), "f4")
    x[...], residual[...] = rng.standard_normal(x.shape), rng.standard_normal(residual.shape)
    filters, bias = rng.standard_normal((kernel, kernel, c, k)).astype("f4"), rng.standard_normal(k).astype("f4")
    geometry = ((stride, stride), (kernel // 2,) * 4, (1, 1), 1)
    y, dx = core.empty(residual.shape, "f4"), core.empty(x.shape, "f4")
    one_y, one_dx = core.empty((1, *y.shape[1:]), "f4"), core.empty((1, *x.shape[1:]), "f4")
    conv.prepare_conv2d(x, filters, bias, y, *geometry, "relu", residual)()
    conv.conv2d_gated_backward_input(residual, filters, dx, *geometry, x, x)
    for i in range(images):
        image, added = x[i : i + 1], residual[i : i + 1]
        conv.prepare_conv2d(image, filters, bias, one_y, *geometry, "relu", added)()
        conv.conv2d_gated_backward_input(added, filters, one_dx, *geometry, image, image)
        np.testing.assert_array_equal(y[i], one_y[0])
        np.testing.assert_array_equal(dx[i], one_dx[0])


def test_gradients_of_filters_stored_past_the_caches_are_those_that_are_not():
    rng = np.random.default_rng(0)
    shape = (3, 3, 384, 384)  # 5 MB
    x, dz = rng.standard_normal((2, 32, 4, 4, 384)).astype("f4")
    geometry = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
    whole_lines = core.empty(shape, "f4")
    askew = core.empty((whole_lines.size + 1,), "f4")[1:].reshape(shape)
    conv.conv2d_backward_weight(x, dz, whole_lines, None, *geometry)
    conv.conv2d_backward_weight(x, dz, askew, None, *geometry)
    np.testing.assert_array_equal(whole_lines, askew)
    conv.conv2d_backward_weight(x, dz, whole_lines, None, *geometry, True)
    np.testing.assert_allclose(whole_lines, 2 * askew, rtol=0, atol=1e-5 * np.abs(askew).max())


def test_the_error_of_large_tiles_is_what_is_stated():
    rng = np.random.default_rng(0)
    x, filters = rng.standard_normal((1, 60, 60, 128)), rng.standard_normal((3, 3, 128, 64))
    geometry = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
    expected, y = np.empty((1, 60, 60, 64)), np.empty((1, 60, 60, 64), np.float32)
    x, filters = x.astype(np.float32), filters.astype(np.float32)
    reference.conv2d(x.astype(np.float64), filters.astype(np.float64), None, expected, *geometry, "linear")
    conv.prepare_conv2d(x, filters, None, y, *geometry, "linear")()
    error = (y - expected) / np.abs(expected).max()
    assert np.abs(error).max() < 1.7e-5
    assert np.sqrt(np.mean(error**2)) < 1.1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 300, 10),
        (1, 1200, 530),
        (3, 784, 256),
        (8, 1000, 70),
        (50, 33, 100),
        (100, 500, 1100),
        (1, 1030, 1111),
        (2, 1111, 1030),
        (1, 300, 4099),
        (5, 1030, 1100),
        (16, 1100, 1030),
        (24, 1030, 1100),
        (1, 300, 1),
        (700, 64, 1),
        (50, 7, 1),
        (3, 1100, 1),
    ],
)
def test_a_prepared_dense_layer_gives_the_bits_of_the_plain_one_and_sees_new_inputs(shape, activation, dtype):
    rows, inputs, outputs = shape
    rng = np.random.default_rng(0)
    w, bias = rng.standard_normal((inputs, outputs)).astype(dtype), rng.standard_normal(outputs).astype(dtype)
    x = np.empty((rows, inputs), dtype)
    for b in (bias, None):
        plain, prepared = np.empty((2, rows, outputs), dtype)
        run = linear.prepare_linear(x, w, b, prepared, activation, levels=0)
        for _ in range(2):
            x[...] = rng.standard_normal(x.shape)
            linear.linear(x, w, b, plain, activation)
            prepared.fill(np.nan)
            run()
            np.testing.assert_array_equal(prepared, plain)


def _dense(rows, inputs, outputs):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, inputs), (inputs, outputs), outputs))
    return x, w, b, np.full((rows, outputs), np.nan, np.float32)


def _row_errors(y, x, w, b, activation):
    """Largest error of each row, as a part of its largest sum."""
    sums = x.astype(np.float64) @ w
    exact = sums + (0 if b is None else b)
    exact = np.maximum(exact, 0) if activation == "relu" else exact
    return np.abs(y - exact).max(axis=1) / np.abs(sums).max(axis=1)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize(
    "shape",
    [
        (128, 784, 512), (127, 783, 509), (131, 40, 70), (66, 33, 129), (4, 4, 4), (3, 5, 2), (1, 1, 1), (9, 64, 31),
        (21, 4100, 40), (18, 50, 2100), (20, 2300, 2200), (300, 17, 33),
    ],
)  # fmt: skip
def test_products_of_strassen_are_as_exact_as_stated(shape, activation, levels):
    x, w, bias, y = _dense(*shape)
    for b in (bias, None):
        run = linear.prepare_linear(x, w, b, y, activation, levels=levels)
        for sign in (1, -1):
            np.negative(x, out=x)
            y.fill(np.nan)
            run()
            assert _row_errors(y, x, w, b, activation).max() < (2.5e-6, 5e-6)[levels - 1], sign


@pytest.mark.parametrize("levels", [1, 2])
def test_a_row_of_a_product_of_strassen_does_not_spoil_another(levels):
    x, w, _, y = _dense(100, 300, 200)
    run = linear.prepare_linear(x, w, None, y, "linear", levels=levels)
    x[7] = 0
    x[50:53] *= 1e12
    x[60] *= 1e-12
    x[99] *= 1e30
    run()
    sound = np.arange(len(x)) != 7
    assert _row_errors(y[sound], x[sound], w, None, "linear").max() < 2e-5
    assert not y[7].any()
    x[3, 5], x[30, 299], x[98, 0] = np.nan, np.inf, -np.inf
    run()
    sound[[3, 30, 98]] = False
    assert _row_errors(y[sound], x[sound], w, None, "linear").max() < 2e-5
    assert np.isnan(y[3]).all()
    np.testing.assert_array_equal(y[30], np.inf * np.sign(w[299]))
    np.testing.assert_array_equal(y[98], -np.inf * np.sign(w[0]))


@pytest.mark.parametrize("levels", [1, 2])
def test_a_product_of_strassen_keeps_inputs_of_very_different_size_apart(levels):
    x, w, b, y = _dense(70, 300, 200)
    x[:, ::2] *= 1e6
    w[::2] *= 1e-6
    linear.prepare_linear(x, w, b, y, "linear", levels=levels)()
    assert _row_errors(y, x, w, b, "linear").max() < 5e-6
    w[:, 150] = np.nan
    w[5, 160] = np.inf
    linear.prepare_linear(x, w, b, y, "linear", levels=levels)()
    assert np.isnan(y[:, 150]).all()
    assert np.isinf(y[:, 160]).all()
    kept = np.delete(np.arange(200), [150, 160])
    assert _row_errors(y[:, kept], x, w[:, kept], b[kept], "linear").max() < 5e-6


def test_products_of_strassen_serve_where_they_are_faster():
    x, w, b, y = _dense(512, 1024, 1024)
    plain, two = np.empty_like(y), np.empty_like(y)
    linear.prepare_linear(x, w, b, y, "relu")()
    linear.prepare_linear(x, w, b, plain, "relu", levels=0)()
    linear.prepare_linear(x, w, b, two, "relu", levels=2)()
    assert (plain != two).any()
    np.testing.assert_array_equal(y, plain if core.isa in ("amx", "wide") else two)  # tiles are faster still
    for activation in ("sigmoid", "tanh"):  # which shrink the results and not their errors
        linear.prepare_linear(x, w, b, y, activation)()
        linear.linear(x, w, b, plain, activation)
        np.testing.assert_array_equal(y, plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("shape", [(37, 64), (400, 3), (203, 21), (1, 5), (2048, 130)])
def test_fused_batch_normalisation_gives_the_bits_of_its_parts(shape, activation, dtype):
    rng = np.random.default_rng(0)
    x, residual, dy = rng.standard_normal((3, *shape)).astype(dtype)
    for gamma, beta in (rng.standard_normal((2, shape[1])).astype(dtype), (None, None)):
        plain, fused, target = np.empty((3, *shape), dtype)
        mean, inv_std, again_mean, again_std = np.empty((4, shape[1]), dtype)
        statistics = np.zeros((4, shape[1]), dtype)
        norm.batchnorm(x, gamma, beta, *statistics[:2], plain, mean, inv_std, 0.9, 1e-3, "linear")
        elementwise.binary(residual, plain, target, "add")
        nonlinear.activation(target, target, activation, 0.0)
        outputs = fused, again_mean, again_std
        norm.batchnorm_residual(x, gamma, beta, *statistics[2:], *outputs, 0.9, 1e-3, activation, residual)
        np.testing.assert_array_equal(fused, target)
        np.testing.assert_array_equal(statistics[2:], statistics[:2])

        dz, dx, fused_dx = np.empty((3, *shape), dtype)
        sums, fused_sums = rng.standard_normal((2, 2, shape[1])).astype(dtype)
        fused_sums[...] = sums
        nonlinear.activation(plain, plain, "relu", 0.0)
        nonlinear.activation_backward(dy, None, plain, dz, "relu", 0.0)
        norm.batchnorm_backward(dz, x, gamma, mean, inv_std, dx, *sums, True)
        norm.batchnorm_relu_backward(dy, x, gamma, mean, inv_std, fused_dx, *fused_sums, True, beta)
        np.testing.assert_array_equal(fused_dx, dx)
        np.testing.assert_array_equal(fused_sums, sums)


@pytest.mark.parametrize("count", [1, 3])
def test_threads_may_change_after_preparation(count):
    before = core.num_threads()
    try:
        for label in CONVOLUTIONS | LARGE:
            x, filters, bias, residual, geometry = _convolution(label, np.float32)
            y, again = np.empty_like(residual), np.empty_like(residual)
            core.set_num_threads(2)
            run = conv.prepare_conv2d(x, filters, bias, y, *geometry, "relu", residual)
            run()
            again[...] = y
            core.set_num_threads(count)
            run()
            np.testing.assert_array_equal(again, y)
    finally:
        core.set_num_threads(before)


def _run_here(**environment):
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-k", "not other_builds", __file__]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("isa", [isa for isa in core.runnable_isas() if isa != core.isa])
def test_other_builds_that_run_here_do_the_same(isa):
    _run_here(DLCORE_ISA=isa)


@pytest.mark.parametrize("way", ["winograd", "direct"])
def test_other_builds_and_ways_of_convolution_do_the_same(way):
    _run_here(DLCORE_CONV=way)
