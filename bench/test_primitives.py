"""Every primitive at sizes that models really use, one group per case, one column per engine.

Before it is timed, a call is held against the NumPy engine on the same input: all arrays must agree within 1e-4 of the
largest element. The conformance table in tests/ is the strict check; this one keeps a broken kernel from looking fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from dlcore.backends import Backend, get_backend

F32 = np.float32


class Case(NamedTuple):
    primitive: str
    name: str
    arguments: Callable[[np.random.Generator], tuple[Any, ...]]  # inputs, outputs and attributes, as in the interface


def _real(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, F32)


def _zeros(*shape: int, dtype: Any = F32) -> np.ndarray:
    return np.zeros(shape, dtype)


def _run(primitive: str, *arguments: Any) -> None:
    """Compute on the NumPy engine what a backward needs from its forward."""
    getattr(get_backend("numpy"), primitive)(*arguments)


def linear_cases() -> Iterator[Case]:
    for m, i, o in ((1, 784, 512), (32, 400, 120), (64, 784, 512), (128, 512, 512), (512, 256, 10)):
        size = f"{m}x{i}x{o}"
        yield Case(
            "linear", f"{size} relu",
            lambda r, m=m, i=i, o=o: (_real(r, m, i), _real(r, i, o), _real(r, o), _zeros(m, o), "relu"),
        )  # fmt: skip
        yield Case(
            "linear_backward_input", size, lambda r, m=m, i=i, o=o: (_real(r, m, o), _real(r, i, o), _zeros(m, i))
        )
        yield Case(
            "linear_backward_weight", size,
            lambda r, m=m, i=i, o=o: (_real(r, m, i), _real(r, m, o), _zeros(i, o), _zeros(o), False),
        )  # fmt: skip
    yield Case(
        "matmul", "8x(128x64x128)",
        lambda r: (_real(r, 8, 128, 64), _real(r, 8, 64, 128), _zeros(8, 128, 128), False, False),
    )  # fmt: skip


CONVOLUTIONS = {  # (N, H, W, C), (kernel, K), stride, padding, groups
    "LeNet 5x5 first": ((32, 32, 32, 1), (5, 6), 1, 0, 1),
    "LeNet 5x5 second": ((32, 14, 14, 6), (5, 16), 1, 0, 1),
    "VGG 3x3 64": ((4, 56, 56, 64), (3, 64), 1, 1, 1),
    "VGG 3x3 256": ((4, 14, 14, 256), (3, 256), 1, 1, 1),
    "ResNet 3x3 stride 2": ((4, 56, 56, 64), (3, 128), 2, 1, 1),
    "ResNet 1x1": ((4, 28, 28, 256), (1, 64), 1, 0, 1),
    "ResNet 7x7 stem": ((2, 112, 112, 3), (7, 64), 2, 3, 1),
    "depthwise 3x3": ((4, 56, 56, 64), (3, 64), 1, 1, 64),
}


def conv_cases() -> Iterator[Case]:
    for name, (image, (k, channels), s, p, groups) in CONVOLUTIONS.items():
        n, h, w, c = image
        out = (n, (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1, channels)
        kernel = (k, k, c // groups, channels)
        how = ((s, s), (p, p, p, p), (1, 1), groups)
        yield Case(
            "conv2d", name,
            lambda r, x=image, w=kernel, y=out, how=how: (
                _real(r, *x), _real(r, *w), _real(r, w[3]), _zeros(*y), *how, "relu",
            ),
        )  # fmt: skip
        yield Case(
            "conv2d_backward_input", name,
            lambda r, x=image, w=kernel, y=out, how=how: (_real(r, *y), _real(r, *w), _zeros(*x), *how),
        )  # fmt: skip
        yield Case(
            "conv2d_backward_weight", name,
            lambda r, x=image, w=kernel, y=out, how=how: (
                _real(r, *x), _real(r, *y), _zeros(*w), _zeros(w[3]), *how, False,
            ),
        )  # fmt: skip


def pool_cases() -> Iterator[Case]:
    for name, x, size, stride in (
        ("2x2 LeNet", (32, 28, 28, 6), 2, 2),
        ("2x2 VGG", (4, 56, 56, 64), 2, 2),
        ("3x3 stride 2", (4, 55, 55, 64), 3, 2),
    ):
        out = (x[0], (x[1] - size) // stride + 1, (x[2] - size) // stride + 1, x[3])
        how = ((size, size), (stride, stride), (0, 0, 0, 0))

        def max_backward(r, x=x, y=out, how=how):
            index = _zeros(*y, dtype=np.uint8)
            _run("max_pool2d", _real(r, *x), _zeros(*y), index, *how)
            return _real(r, *y), index, _zeros(*x), *how

        yield Case(
            "max_pool2d", name,
            lambda r, x=x, y=out, how=how: (_real(r, *x), _zeros(*y), _zeros(*y, dtype=np.uint8), *how),
        )  # fmt: skip
        yield Case("max_pool2d_backward", name, max_backward)
        yield Case("avg_pool2d", name, lambda r, x=x, y=out, how=how: (_real(r, *x), _zeros(*y), *how))
        yield Case("avg_pool2d_backward", name, lambda r, x=x, y=out, how=how: (_real(r, *y), _zeros(*x), *how))
    yield Case("global_avg_pool", "32x49x512", lambda r: (_real(r, 32, 49, 512), _zeros(32, 512)))
    yield Case("global_avg_pool_backward", "32x49x512", lambda r: (_real(r, 32, 512), _zeros(32, 49, 512)))
    yield Case(
        "global_max_pool", "32x49x512",
        lambda r: (_real(r, 32, 49, 512), _zeros(32, 512), _zeros(32, 512, dtype=np.int32)),
    )  # fmt: skip


def norm_cases() -> Iterator[Case]:
    for rows, c in ((4 * 56 * 56, 64), (128, 512)):
        size = f"{rows}x{c}"

        def backward(r, rows=rows, c=c):
            x, mean, inv_std = _real(r, rows, c), _zeros(c), _zeros(c)
            statistics = _zeros(c), np.ones(c, F32)
            _run("batchnorm", x, None, None, *statistics, _zeros(rows, c), mean, inv_std, 0.99, 1e-3, "linear")
            return _real(r, rows, c), x, _real(r, c), mean, inv_std, _zeros(rows, c), _zeros(c), _zeros(c), False

        yield Case(
            "batchnorm", f"{size} relu",
            lambda r, rows=rows, c=c: (
                _real(r, rows, c), _real(r, c), _real(r, c), _zeros(c), np.ones(c, F32), _zeros(rows, c),
                _zeros(c), _zeros(c), 0.99, 1e-3, "relu",
            ),
        )  # fmt: skip
        yield Case(
            "batchnorm_inference", f"{size} relu",
            lambda r, rows=rows, c=c: (
                _real(r, rows, c), _real(r, c), _real(r, c), _zeros(c), np.ones(c, F32), _zeros(rows, c), 1e-3, "relu",
            ),
        )  # fmt: skip
        yield Case("batchnorm_backward", size, backward)

    def layernorm_backward(r):
        x, mean, inv_std = _real(r, 1024, 512), _zeros(1024), _zeros(1024)
        _run("layernorm", x, None, None, _zeros(1024, 512), mean, inv_std, 1e-3)
        return _real(r, 1024, 512), x, _real(r, 512), mean, inv_std, _zeros(1024, 512), _zeros(512), _zeros(512), False

    yield Case(
        "layernorm", "1024x512",
        lambda r: (
            _real(r, 1024, 512), _real(r, 512), _real(r, 512), _zeros(1024, 512), _zeros(1024), _zeros(1024), 1e-3,
        ),
    )  # fmt: skip
    yield Case("layernorm_backward", "1024x512", layernorm_backward)


def recurrent_cases() -> Iterator[Case]:
    n, t, i, h = 32, 28, 28, 128
    size = f"{n}x{t}x{i}, {h} units"

    def weights(r, gates, bias_rows=0):
        scale = F32(h**-0.5)
        bias = _real(r, *([bias_rows] if bias_rows else []), gates * h)
        return _real(r, i, gates * h) * scale, _real(r, h, gates * h) * scale, bias

    def gradients(gates, bias_rows=0):
        return _zeros(i, gates * h), _zeros(h, gates * h), _zeros(*([bias_rows] if bias_rows else []), gates * h)

    def simple_rnn(r):
        return _real(r, n, t, i), _zeros(n, h), *weights(r, 1), None, _zeros(n, t, h), "tanh"

    def simple_rnn_backward(r):
        forward = simple_rnn(r)
        _run("simple_rnn", *forward)
        x, h0, w, u, _, mask, hs, activation = forward
        return (
            _real(r, n, t, h), x, h0, w, u, mask, hs, _zeros(n, t, i), _zeros(n, h), *gradients(1), activation, False,
        )  # fmt: skip

    def lstm(r):
        states = _zeros(n, h), _zeros(n, h)
        return _real(r, n, t, i), *states, *weights(r, 4), None, _zeros(n, t, h), _zeros(n, t, h), _zeros(n, t, 4 * h)

    def lstm_backward(r):
        forward = lstm(r)
        _run("lstm", *forward)
        x, h0, c0, w, u, _, mask, *outputs = forward
        starts = _zeros(n, h), _zeros(n, h)
        return (
            _real(r, n, t, h), None, x, h0, c0, w, u, mask, *outputs, _zeros(n, t, i), *starts, *gradients(4), False,
        )  # fmt: skip

    def gru(r):
        return _real(r, n, t, i), _zeros(n, h), *weights(r, 3, 2), None, _zeros(n, t, h), _zeros(n, t, 4 * h), True

    def gru_backward(r):
        forward = gru(r)
        _run("gru", *forward)
        x, h0, w, u, _, mask, hs, gates, reset_after = forward
        return (
            _real(r, n, t, h), x, h0, w, u, mask, hs, gates, _zeros(n, t, i), _zeros(n, h), *gradients(3, 2),
            reset_after, False,
        )  # fmt: skip

    for arguments in (simple_rnn, simple_rnn_backward, lstm, lstm_backward, gru, gru_backward):
        yield Case(arguments.__name__, size, arguments)


def small_cases() -> Iterator[Case]:
    """Embedding, activations, losses, elementwise, reductions, random numbers, optimizers."""
    m = 1 << 20
    ids = np.random.default_rng(0).integers(0, 10_000, 4096).astype(np.int32)
    yield Case("embedding", "4096 of 10000x128", lambda r: (ids.copy(), _real(r, 10_000, 128), _zeros(4096, 128)))
    yield Case(
        "embedding_backward", "4096 of 10000x128",
        lambda r: (_real(r, 4096, 128), ids.copy(), _zeros(10_000, 128), False),
    )  # fmt: skip
    for kind in ("relu", "sigmoid", "tanh", "gelu", "elu"):
        yield Case("activation", f"{kind} 1 Mi", lambda r, kind=kind: (_real(r, m), _zeros(m), kind, 1.0))
    for kind in ("relu", "gelu"):
        yield Case(
            "activation_backward", f"{kind} 1 Mi",
            lambda r, kind=kind: (_real(r, m), _real(r, m), np.abs(_real(r, m)), _zeros(m), kind, 1.0),
        )  # fmt: skip
    yield Case("softmax", "256x1000", lambda r: (_real(r, 256, 1000), _zeros(256, 1000)))
    yield Case("log_softmax", "256x1000", lambda r: (_real(r, 256, 1000), _zeros(256, 1000)))
    for rows, c in ((128, 10), (256, 1000)):
        yield Case(
            "softmax_cross_entropy", f"{rows}x{c}",
            lambda r, rows=rows, c=c: (
                _real(r, rows, c), r.integers(0, c, rows).astype(np.int32), None, _zeros(rows), _zeros(rows, c),
                1 / rows,
            ),
        )  # fmt: skip
    yield Case(
        "sigmoid_cross_entropy", "256x100",
        lambda r: (_real(r, 256, 100), r.random((256, 100), F32), None, _zeros(256), _zeros(256, 100), 1 / 256),
    )  # fmt: skip
    for op in ("exp", "square"):
        yield Case("unary", f"{op} 1 Mi", lambda r, op=op: (_real(r, m), _zeros(m), op))
    for op in ("add", "mul", "div"):
        yield Case(
            "binary", f"{op} 1 Mi", lambda r, op=op: (_real(r, m), np.abs(_real(r, m)) + F32(0.1), _zeros(m), op)
        )
    yield Case("binary", "add a row 4096x256", lambda r: (_real(r, 4096, 256), _real(r, 256), _zeros(4096, 256), "add"))
    yield Case("compare", "greater 1 Mi", lambda r: (_real(r, m), _real(r, m), _zeros(m, dtype=bool), "greater"))
    yield Case("select", "1 Mi", lambda r: (_real(r, m) > 0, _real(r, m), _real(r, m), _zeros(m)))
    yield Case("copy", "1 Mi", lambda r: (_real(r, m), _zeros(m)))
    yield Case("copy", "transpose 1024x1024", lambda r: (_real(r, 1024, 1024).T, _zeros(1024, 1024)))
    yield Case("fill", "1 Mi", lambda r: (_zeros(m), 1.5))
    for op, (a, n, b) in (
        ("sum", (1, m, 1)), ("sum", (32, 784, 64)), ("mean", (4096, 256, 1)), ("max", (4096, 256, 1)),
    ):  # fmt: skip
        yield Case("reduce", f"{op} {a}x{n}x{b}", lambda r, op=op, a=a, n=n, b=b: (_real(r, a, n, b), _zeros(a, b), op))
    yield Case("argmax", "4096x256", lambda r: (_real(r, 4096, 256), _zeros(4096, dtype=np.int32)))
    yield Case("random_uniform", "1 Mi", lambda r: (_zeros(m), 0.0, 1.0, 7, 0))
    yield Case("random_normal", "1 Mi", lambda r: (_zeros(m), 0.0, 1.0, 7, 0))
    yield Case("dropout", "1 Mi", lambda r: (_real(r, m), _zeros(m), 0.5, 7, 0))
    yield Case("sgd", "1 Mi", lambda r: (_real(r, m), _real(r, m), 1e-3))
    yield Case("momentum", "1 Mi", lambda r: (_real(r, m), _real(r, m), _zeros(m), 1e-3, 0.9, "classical"))
    yield Case("adagrad", "1 Mi", lambda r: (_real(r, m), _real(r, m), _zeros(m), 1e-3, 1e-7))
    yield Case(
        "rmsprop", "1 Mi", lambda r: (_real(r, m), _real(r, m), _zeros(m), None, None, 1e-3, 0.9, 0.0, 1e-7)
    )  # fmt: skip
    yield Case(
        "adam", "1 Mi",
        lambda r: (_real(r, m), _real(r, m), _zeros(m), _zeros(m), None, 1e-3, 0.9, 0.999, 1e-7, 0.0, 1),
    )  # fmt: skip


CASES = [
    *linear_cases(), *conv_cases(), *pool_cases(), *norm_cases(), *recurrent_cases(), *small_cases(),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{case.primitive}: {case.name}" for case in CASES])
def test_primitive(benchmark, measure, engine: Backend, case: Case) -> None:
    if case.primitive in engine.fallbacks:
        pytest.skip(f"{engine.name} has no kernel of its own for {case.primitive}")
    benchmark.group = f"{case.primitive}: {case.name}"
    benchmark.extra_info["engine"] = engine.name
    expected = case.arguments(np.random.default_rng(0))
    arguments = _on(engine, case.arguments(np.random.default_rng(0)))
    _run(case.primitive, *expected)
    run = getattr(engine, case.primitive)
    run(*arguments)
    engine.synchronize()
    for got, want in zip(arguments, expected, strict=True):
        if isinstance(want, np.ndarray):
            scale = max(float(np.abs(want).max(initial=0)), 1e-30)
            np.testing.assert_allclose(engine.to_numpy(got), want, rtol=1e-4, atol=1e-4 * scale)

    def call() -> None:
        run(*arguments)
        engine.synchronize()

    measure(call)


def _on(engine: Backend, arguments: tuple[Any, ...]) -> list[Any]:
    """The arguments in the engine's memory, strided views as strided views."""
    moved = []
    for a in arguments:
        if isinstance(a, np.ndarray) and a.ndim == 2 and not a.flags.c_contiguous:
            moved.append(engine.asarray(a.T).T)
        else:
            moved.append(engine.asarray(a) if isinstance(a, np.ndarray) else a)
    return moved
