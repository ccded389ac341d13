"""Every CUDA kernel on the CPU, through its binding, against the float64 reference: the conformance table with threads
in three orders, arrays that end at guard pages and, where it is small, a search for races.

Emulated: no GPU ran anything."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from conformance import CASES, Case, InOut, Out, View, check
from gpu_emulation import shim

from dlcore.backends import registry
from dlcore.backends.interface import PRIMITIVES
from dlcore.kernels.cuda import launch

if shutil.which("g++") is None:
    pytest.skip("the emulation of CUDA kernels needs g++", allow_module_level=True)

# What the table holds in such numbers, and large, is run in one order and type: each element costs microseconds here.
LARGE = 20_000
SMALL = 10_000  # elements up to which a case is searched for races, which costs a hundred times as much


@pytest.fixture(scope="module")
def emulated():
    with shim.installed():
        yield shim.ShimBackend()


def size(case: Case) -> int:
    """Elements of the case's arrays, all together."""
    arguments = case.arguments(np.dtype(np.float32)).values()
    return sum(
        int(np.prod(value.shape))
        if isinstance(value, np.ndarray | Out)
        else value.start.size
        if isinstance(value, InOut)
        else value.base.size
        if isinstance(value, View)
        else 0
        for value in arguments
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(emulated, case):
    large = size(case) > LARGE
    with shim.emulation("forward"):
        check(emulated, case, dtypes=(np.float32,), shifts=(None,) if large else (None, 0))
    with shim.emulation("random", seed=1):
        check(emulated, case, dtypes=(np.float64,), shifts=(None,))
    if not large:
        with shim.emulation("reversed"):
            check(emulated, case, dtypes=(np.float32,), shifts=(1,))
        with shim.emulation("random", seed=2):
            check(emulated, case, dtypes=(np.float32,), shifts=(None,))


@pytest.mark.parametrize("case", [case for case in CASES if size(case) <= SMALL], ids=str)
def test_case_has_no_races(emulated, case):
    with shim.emulation("forward", race=True):
        check(emulated, case, dtypes=(np.float32,), shifts=(None,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_numbers_and_masks_have_the_bits_of_the_cpu_engines(emulated, dtype):
    x = np.arange(1, 10_004).astype(dtype)
    results = []
    for engine in (emulated, registry.get_backend("numpy")):
        y, z = engine.empty(x.shape, dtype), engine.empty(x.shape, dtype)
        engine.random_uniform(y, -0.3, 2.1, 2**40 + 7, 2**33)
        engine.dropout(engine.asarray(x), z, 0.3, 9, 1)
        results.append((engine.to_numpy(y), engine.to_numpy(z)))
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


def test_every_primitive_has_a_kernel(emulated):
    assert emulated.native == set(PRIMITIVES)


def test_every_primitive_is_searched_for_races():
    assert {case.primitive for case in CASES if size(case) <= SMALL} == set(PRIMITIVES)


def test_every_kernel_is_launched():
    """A kernel that no case reaches is proved by nothing."""
    with shim.installed():
        backend = shim.ShimBackend()
        for case in CASES:
            if size(case) <= LARGE:
                check(backend, case, dtypes=(np.float32,), shifts=(None,))
        assert [str(kernel) for kernel in launch.KERNELS.values() if not kernel._functions] == []
