"""The Numba engine's own machinery: its threads and its matrix products."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conformance import CASES, Case, Out, check

from dlcore.backends import get_backend
from dlcore.backends.interface import PRIMITIVES

pytest.importorskip("numba")


def _square(n: int = 1 << 18) -> None:
    x, y = np.full(n, 3, np.float32), np.zeros(n, np.float32)
    get_backend("numba").unary(x, y, "square")
    assert (y == 9).all()


def _in_threads(count: int, call) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failures == []


@pytest.fixture
def engine():
    engine = get_backend("numba")
    yield engine
    engine.set_num_threads(len(os.sched_getaffinity(0)))


def test_many_callers_at_once(engine):
    engine.set_num_threads(4)
    _in_threads(6, _square)


def test_threads_change_under_way(engine):
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for count in (1, 3, 2):
                engine.set_num_threads(count)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        _in_threads(2, _square)
    finally:
        stop.set()
        changing.join()


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="no clock of another thread on this system")
def test_thread_that_waited_for_the_interpreter_takes_part(engine):
    engine.set_num_threads(2)
    x = np.ones(1 << 22, np.float32)
    y = np.empty_like(x)

    def both() -> tuple[float, float]:
        workers = [t for t in threading.enumerate() if t.name == "dlcore-numba"]
        return time.thread_time(), max(time.clock_gettime(time.pthread_getcpuclockid(t.ident)) for t in workers)

    engine.unary(x, y, "square")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1)
    try:
        for _ in range(50):
            engine.unary(x, y, "square")
            end = time.perf_counter() + 0.003
            while time.perf_counter() < end:  # the worker has given up polling and wants the interpreter's lock
                pass
            caller, worker = both()
            engine.unary(x, y, "square")
            caller, worker = (now - then for now, then in zip(both(), (caller, worker), strict=True))
            if worker > caller / 10:
                return
    finally:
        sys.setswitchinterval(interval)
    pytest.fail("the worker was never woken")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork():
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import test_jit as t; t._square(); pid = os.fork(); "
        "t._square(); sys.exit(0 if not pid else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    run = subprocess.run([sys.executable, "-c", code, os.path.dirname(__file__)], timeout=100)
    assert run.returncode == 0


def test_idle_threads_sleep():
    _square()
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(1)
    assert time.process_time() - before < 0.05


def test_number_of_threads_changes_no_bit(engine):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 30, 30, 16), np.float32), rng.standard_normal((3, 3, 16, 24), np.float32)
    dz = rng.standard_normal((4, 28, 28, 24), np.float32)
    how = (1, 1), (0, 0, 0, 0), (1, 1), 1
    results = []
    for threads in (1, 2, 5):
        engine.set_num_threads(threads)
        y, dx, dw, db = np.empty_like(dz), np.empty_like(x), np.empty_like(w), np.empty(24, np.float32)
        engine.conv2d(x, w, None, y, *how, "relu")
        engine.conv2d_backward_input(dz, w, dx, *how)
        engine.conv2d_backward_weight(x, dz, dw, db, *how, False)
        results.append((y, dx, dw, db))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_compiled_kernels_are_stale_where_what_they_call_has_changed():
    from dlcore.kernels.jit import loss, threads

    sources = {module.rpartition(".")[2] for module, _ in threads._sources(loss.__name__)}
    assert sources == {"loss", "rows", "scalar", "lanes", "stream", "threads"}


# What decides that NumPy's call, or one thread, is cheaper: everything else is tested where nothing is ever small.
_LIMITS = {
    "activation": ("SMALL_TANH", "_SMALL_RELU", "_SMALL_PRODUCT"),
    "conv": ("_SHORT_LINE",),
    "elementwise": ("_SMALL", "_SMALL_BROADCAST", "_SMALL_COMPARE", "_SMALL_FILL", "_SMALL_NARROW", "_SMALL_SELECT"),
    "gemm": (
        "SMALL",
        "_FEW_STEPS",
        "_NARROW",
        "_SMALL_BATCHED",
        "SMALL_VECTOR",
        "_SMALL_TRANSPOSED",
        "_SMALL_UNPACKED",
    ),
    "linear": ("SMALL_VECTOR", "_SMALL_BIAS"),
    "norm": ("_SMALL", "SMALL_TANH"),
    "pool": ("_NARROW",),
    "reduce": ("_SMALL", "_SMALL_ONCE", "_SMALL_EXTREME", "SMALL_ARGMAX"),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("operands", ["rows", "columns of a", "columns of b", "columns"])
def test_long_products_with_and_without_the_native_engine(engine, monkeypatch, operands, native, threads):
    from dlcore.kernels.jit import gemm, gemm_native

    core, linear = gemm_native._native()
    limits = []
    if not native:
        monkeypatch.setattr(gemm_native, "_native", lambda: (None, None))
    elif core is None:
        pytest.skip("the native engine was not built for this processor")
    else:

        def limit(count):
            limits.append(count)
            core.limit_threads(count)

        monkeypatch.setattr(gemm_native, "_native", lambda: (SimpleNamespace(limit_threads=limit), linear))
    before = core.num_threads() if core else None
    engine.set_num_threads(threads)
    rng = np.random.default_rng(0)
    rows, depth, columns = 230, 310, 270  # 19 million multiplications
    a, b, held = (rng.standard_normal(s, np.float32) for s in ((rows, depth), (depth, columns), (rows, columns)))
    bias = rng.standard_normal(columns, np.float32)
    if operands in ("columns of a", "columns"):
        a = np.ascontiguousarray(a.T).T
    if operands in ("columns of b", "columns"):
        b = np.ascontiguousarray(b.T).T
    expected = a.astype(np.float64) @ b
    for options, result in (
        ({}, expected),
        ({"add": True}, expected + held),
        ({"bias": bias}, expected + bias),
        ({"bias": bias, "rectify": True}, np.maximum(expected + bias, 0)),
        ({"rectify": True}, np.maximum(expected, 0)),
    ):
        y = held.copy()
        gemm.gemm(a, b, y, **options)
        np.testing.assert_allclose(y, result, rtol=0, atol=1e-4)
    if native:
        assert limits[:2] == (
            [] if operands == "columns" else [threads, 0]
        )  # for the call alone: the native engine's own setting stays
        assert core.num_threads() == before


@pytest.mark.parametrize("primitive", [name for name in PRIMITIVES if name.startswith(("linear", "matmul", "conv2d"))])
def test_conformance_where_every_product_is_long(engine, monkeypatch, primitive):
    for name in (
        "gemm_native._LONG",
        "gemm.SMALL",
        "gemm._SMALL_BATCHED",
        "linear.SMALL_VECTOR",
    ):
        monkeypatch.setattr(f"dlcore.kernels.jit.{name}", 0)
    for module in ("gemm", "linear"):
        monkeypatch.setattr(f"dlcore.kernels.jit.{module}.is_small", lambda *shape: False)
    for case in CASES:
        if case.primitive == primitive:
            check(engine, case)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_conformance_where_nothing_is_small(engine, monkeypatch, primitive):
    for module, names in _LIMITS.items():
        for name in names:
            monkeypatch.setattr(f"dlcore.kernels.jit.{module}.{name}", 0)
    for limit in ("_LONG", "LARGE"):
        monkeypatch.setattr(f"dlcore.kernels.jit.gemm_native.{limit}", 1 << 62)  # all products are our own
    for module in ("threads", "gemm"):
        monkeypatch.setattr(f"dlcore.kernels.jit.{module}.GRAIN", 1)
    engine.set_num_threads(3)
    for case in CASES:
        if case.primitive == primitive:
            check(engine, case)


# Elements that are as large as results which go past the caches; no array below ends with a whole vector or a line.
_LARGE = (16 << 20) // 4
_TABLE, _IMAGES = (_LARGE // 66 + 1, 33), (3, 131, 101, 64)
_ROWS, _POOLED = (_LARGE // 502 + 1, 251), (3, 65, 50, 64)
_WINDOWS = {"size": (3, 3), "stride": (2, 2), "padding": (0, 0, 0, 0)}


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def _large_cases() -> Iterator[tuple[str, Callable[[np.random.Generator], dict[str, Any]], dict[str, str]]]:
    """Primitives, their arguments, and what is computed in place."""
    n, quarter, (rows, columns) = (_LARGE // 2 + 37,), (_LARGE // 4 + 37,), _ROWS
    yield "fill", lambda rng: {"y": Out((_LARGE + 37,)), "value": 1.5}, {}
    for change in ({}, {"y": "x"}):
        for op in ("exp", "sin"):
            yield "unary", lambda rng, op=op: {"x": _normal(rng, *n), "y": Out(n), "op": op}, change
        yield "activation", lambda rng: {"x": _normal(rng, *n), "y": Out(n), "kind": "elu", "alpha": 1.0}, change
        yield "softmax", lambda rng: {"x": _normal(rng, *_ROWS), "y": Out(_ROWS)}, change
    for change in ({}, {"dx": "dy"}):
        yield "activation_backward", lambda rng: {
            "dy": _normal(rng, *quarter), "x": _normal(rng, *quarter), "y": _normal(rng, *quarter),
            "dx": Out(quarter), "kind": "gelu", "alpha": 1.0,
        }, change  # fmt: skip
        yield "unary_backward", lambda rng: {
            "dy": _normal(rng, *quarter), "x": _normal(rng, *quarter), "y": _normal(rng, *quarter),
            "dx": Out(quarter), "op": "sin",
        }, change  # fmt: skip
    for change, other in (({}, _TABLE), ({}, (_TABLE[0], 1)), ({}, (33,)), ({"y": "a"}, _TABLE), ({"y": "a"}, (33,))):
        yield "binary", lambda rng, other=other: {
            "a": _normal(rng, *_TABLE), "b": _normal(rng, *other), "y": Out(_TABLE), "op": "sub"
        }, change  # fmt: skip
    yield "select", lambda rng: {
        "condition": _normal(rng, *_TABLE) > 0, "a": _normal(rng, *_TABLE), "b": _normal(rng, 33), "y": Out(_TABLE)
    }, {}  # fmt: skip
    yield "log_softmax", lambda rng: {"x": _normal(rng, *_ROWS), "y": Out(_ROWS)}, {}
    yield "softmax_backward", lambda rng: {
        "dy": _normal(rng, *_ROWS), "y": _normal(rng, *_ROWS), "dx": Out(_ROWS)
    }, {}  # fmt: skip
    yield "softmax_cross_entropy", lambda rng: {
        "logits": _normal(rng, *_ROWS), "labels": rng.integers(0, columns, rows, np.int32), "weight": None,
        "losses": Out((rows,)), "dlogits": Out(_ROWS), "scale": 1.0,
    }, {}  # fmt: skip
    yield "softmax_cross_entropy_dense", lambda rng: {
        "logits": _normal(rng, *_ROWS), "targets": np.abs(_normal(rng, *_ROWS)) / columns, "weight": None,
        "losses": Out((rows,)), "dlogits": Out(_ROWS), "scale": 1.0,
    }, {}  # fmt: skip
    yield "layernorm", lambda rng: {
        "x": _normal(rng, *_ROWS), "gamma": _normal(rng, columns), "beta": None, "y": Out(_ROWS),
        "mean": Out((rows,)), "inv_std": Out((rows,)), "eps": 1e-3,
    }, {}  # fmt: skip
    yield "layernorm_backward", lambda rng: {
        "dy": _normal(rng, *_ROWS), "x": _normal(rng, *_ROWS), "gamma": _normal(rng, columns),
        "mean": _normal(rng, rows) / 100, "inv_std": np.ones(rows), "dx": Out(_ROWS), "dgamma": Out((columns,)),
        "dbeta": Out((columns,)),
    }, {}  # fmt: skip
    yield "max_pool2d", lambda rng: {
        "x": _normal(rng, *_IMAGES), "y": Out(_POOLED), "index": Out(_POOLED, np.uint8), **_WINDOWS
    }, {}  # fmt: skip
    yield "max_pool2d_backward", lambda rng: {
        "dy": _normal(rng, *_POOLED), "index": rng.integers(0, 9, _POOLED, np.uint8), "dx": Out(_IMAGES), **_WINDOWS
    }, {}  # fmt: skip
    yield "avg_pool2d", lambda rng: {"x": _normal(rng, *_IMAGES), "y": Out(_POOLED), **_WINDOWS}, {}
    yield "avg_pool2d_backward", lambda rng: {"dy": _normal(rng, *_POOLED), "dx": Out(_IMAGES), **_WINDOWS}, {}
    places = (33, _LARGE // (33 * 64) + 1, 64)
    yield "global_avg_pool", lambda rng: {"x": _normal(rng, *places), "y": Out((33, 64))}, {}
    yield "global_avg_pool_backward", lambda rng: {"dy": _normal(rng, 33, 64), "dx": Out(places)}, {}


@pytest.mark.parametrize("which", [*enumerate(_large_cases())], ids=lambda which: f"{which[0]}-{which[1][0]}")
def test_large_arrays(engine, which):
    """Where results go past the caches, beginning with a whole line or not, or lie where what they are made of lay."""
    number, (primitive, build, in_place) = which
    engine.set_num_threads(3)
    case = Case(primitive, f"large {number}", build, in_place, floor=1.0)
    check(engine, case, (np.float32,))
    check(engine, case, (np.float64,), (1,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 5, 3), (2, 9, 70), (7, 0, 4), (13, 33, 31), (12, 600, 8), (25, 1, 100), (100, 520, 97), (5, 3, 1),
        (300, 70, 40), (9, 130, 200), (24, 140, 1100), (70, 530, 999),
    ],
)  # fmt: skip
def test_products(dtype, transpose_a, transpose_b, shape):
    """Every tile's height, width and edge, against NumPy in double precision."""
    from dlcore.kernels.jit.gemm import gemm

    m, k, n = shape
    rng = np.random.default_rng(0)

    def operand(rows: int, columns: int, transposed: bool) -> np.ndarray:
        return (
            rng.standard_normal((columns, rows)).astype(dtype).T
            if transposed
            else rng.standard_normal((rows, columns)).astype(dtype)
        )

    a, b = operand(m, k, transpose_a), operand(k, n, transpose_b)
    bias, y = rng.standard_normal(n).astype(dtype), rng.standard_normal((m, n)).astype(dtype)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    tolerance = 8 * np.finfo(dtype).eps * (np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(bias) + 4)
    added = y + exact
    gemm(a, b, y, add=True)
    assert (np.abs(y - added) <= tolerance).all()
    gemm(a, b, y)
    assert (np.abs(y - exact) <= tolerance).all()
    gemm(a, b, y, bias, True)
    assert (np.abs(y - np.maximum(exact + bias, 0)) <= tolerance).all()
