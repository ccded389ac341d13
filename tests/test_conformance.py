"""The conformance table on every backend, and proof that its checks bite."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest
from conformance import CASES, Case, Out, check, outputs

from dlcore.backends import get_backend
from dlcore.backends.interface import PRIMITIVES, signature
from dlcore.backends.numpy_backend import NumpyBackend

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(backend, case):
    check(backend, case)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_cython_gives_the_same_bits_on_any_number_of_threads(count):
    core = pytest.importorskip("dlcore.kernels.native.core", reason="the native engine is not built")
    engine, before = get_backend("cython"), core.num_threads()

    def bits(threads, case, dtype):
        engine.set_num_threads(threads)
        return {name: array.tobytes() for name, array in outputs(engine, case, dtype).items()}

    try:
        for case in CASES:
            for dtype in (np.float32, np.float64):
                assert bits(1, case, dtype) == bits(count, case, dtype), f"{case}, {np.dtype(dtype)}"
    finally:
        engine.set_num_threads(before)


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_kernel_has_the_signature_of_the_interface(backend, primitive):
    kernel = inspect.signature(getattr(backend, primitive))
    bare = kernel.replace(
        parameters=[p.replace(annotation=inspect.Parameter.empty) for p in kernel.parameters.values()],
        return_annotation=inspect.Signature.empty,
    )
    assert bare == signature(primitive)


def test_backend_binds_every_primitive(backend):
    assert backend.native | backend.fallbacks == set(PRIMITIVES)
    assert not backend.native & backend.fallbacks


def test_memory_functions(backend):
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    array = backend.asarray(host.T)
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(backend.to_numpy(array), host.T)
    assert backend.asarray(np.array(3.0)).shape == ()
    zeros, empty = backend.zeros((2, 3), np.float64), backend.empty((0, 5), np.int32)
    np.testing.assert_array_equal(backend.to_numpy(zeros), np.zeros((2, 3)))
    assert zeros.dtype == np.float64
    assert empty.shape == (0, 5)
    assert empty.dtype == np.int32
    backend.synchronize()


def test_info_is_text(backend):
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in backend.info().items())


def test_table_covers_every_primitive():
    assert {case.primitive for case in CASES} == set(PRIMITIVES)


def test_labels_are_unique():
    assert [label for label, count in Counter(map(str, CASES)).items() if count > 1] == []


# ---- a broken kernel must be found ----------------------------------------------------------------------------------


def _forgets_the_last(x, y, op):
    np.negative(x[:-1], out=y[:-1])


def _rounds_too_much(x, y, op):
    y[...] = -x * (1 + 3e-5)


def _writes_behind(x, y, op):
    np.negative(x, out=y)
    y.base[_offset(y) + y.size] = 0


def _writes_in_front(x, y, op):
    np.negative(x, out=y)
    y.base[_offset(y) - 1] = 0


def _reads_behind(x, y, op):
    np.negative(x, out=y)
    y[-1] += 0 * x.base[_offset(x) + x.size]


def _changes_its_input(x, y, op):
    np.negative(x, out=y)
    x[0] = 0


def _returns_the_output(x, y, op):
    np.negative(x, out=y)
    return y


def _offset(view):
    return (view.ctypes.data - view.base.ctypes.data) // view.itemsize


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (_forgets_the_last, r"y\[4\] = nan"),
        (_rounds_too_much, "error .* allowed"),
        (_writes_behind, "wrote outside y"),
        (_writes_in_front, "wrote outside y"),
        (_reads_behind, r"y\[4\] = nan"),
        (_changes_its_input, "changed its input x"),
        (_returns_the_output, "returned ndarray"),
    ],
)
def test_broken_kernel_is_found(kernel, message):
    engine = NumpyBackend()
    engine.unary = kernel
    case = Case("unary", "five", lambda rng: {"x": rng.standard_normal(5), "y": Out((5,)), "op": "neg"})
    with pytest.raises(AssertionError, match=message):
        check(engine, case)


def test_ignored_accumulate_is_found():
    engine = NumpyBackend()
    true = engine.linear_backward_weight
    engine.linear_backward_weight = lambda x, dz, dw, db, accumulate=False: true(x, dz, dw, db)
    failed = 0
    for case in CASES:
        if case.primitive == "linear_backward_weight":
            try:
                check(engine, case)
            except AssertionError:
                failed += 1
    assert failed > 5


def test_input_used_after_it_was_overwritten_in_place_is_found():
    engine = NumpyBackend()

    def kernel(dy, y, dx):
        dx[...] = y * dy
        dx -= y * (dy * y).sum(axis=1, keepdims=True)

    engine.softmax_backward = kernel
    case = next(c for c in CASES if c.primitive == "softmax_backward" and c.in_place)
    with pytest.raises(AssertionError, match="in place"):
        check(engine, case)
