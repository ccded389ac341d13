"""Faults planted in the CUDA kernels are found: each is one edit of a source, met by the cases of one primitive."""

from __future__ import annotations

import shutil
from unittest import mock

import numpy as np
import pytest
from conformance import CASES, check
from gpu_emulation import shim

from dlcore.kernels.cuda import launch

if shutil.which("g++") is None:
    pytest.skip("the emulation of CUDA kernels needs g++", allow_module_level=True)

VALUE = r"error .* allowed|= nan, not|is not equal"
MUTANTS = {
    # what is wrong: primitive, text, what it becomes, what finds it
    "a barrier is missing before shared values are read": (
        "softmax", "parts[warp] = value;\n    __syncthreads();", "parts[warp] = value;", VALUE),
    "a barrier is missing before shared values are overwritten": (
        "softmax_cross_entropy_dense", "    __syncthreads();  // parts may be written again", "//", VALUE),
    "a barrier is missing where lanes join": (
        "batchnorm", "Join join) {\n    __syncthreads();", "Join join) {", VALUE),
    "a square is written before it is read": (
        "copy", "__syncthreads();\n    for (int k = warp", "for (int k = warp", VALUE),
    "rows lie 32 apart in a square of 33": (
        "copy", "= square[lane][k];", "= square[0][lane * 32 + k];", "index outside"),
    "every thread writes one result": (
        "sigmoid_cross_entropy", "if (threadIdx.x == 0) losses", "losses", "data race in global memory"),
    "two lanes add one identifier's rows": (
        "embedding_backward", " && taker[first + k] == lane", "", VALUE),
    "rows are overwritten while lanes still read them": (
        "linear", "* value;\n            }\n        __syncwarp();", "* value;\n            }", VALUE),
    "a lane keeps the half that it gives away": (
        "linear_backward_input", "kept = upper ? sums[i + half] : sums[i]", "kept = sent", VALUE),
    "the filters are not turned": (
        "conv2d_backward_input", "turned ? TAPS * TAPS - 1 - tap : tap", "tap", VALUE),
    "a thread returns in front of a shuffle": (
        "softmax_cross_entropy", "    logits += (long long)blockIdx.x * columns;\n    int label",
        "    if (threadIdx.x >= columns) return;\n    logits += (long long)blockIdx.x * columns;\n    int label",
        "deadlock"),
    "a thread returns in front of a barrier": (
        "argmax", "    __syncthreads();\n    if (threadIdx.x > 0) return;",
        "    if (threadIdx.x > 0) return;\n    __syncthreads();", "after others have returned"),
    "a mask leaves out half of the warp": ("argmax", "0xffffffffu, place", "0x0000ffffu, place", "not in its mask"),
    "a shared array is overrun": (
        "argmax", "values[threadIdx.x / 32] = value", "values[threadIdx.x / 32 + 8] = value", "index outside an array"),
    "an output is overrun": (
        "random_normal", "if (i + j < n) y[i + j]", "y[i + j]", "access outside the arrays|wrote outside"),
    "an input is overrun": (
        "dropout", "four.of[j] = i + j < n ? x[i + j] : REAL(0);", "four.of[j] = x[i + j];",
        "access outside the arrays"),
    "two pieces overlap": ("reduce", "last = min(first + step, length)", "last = min(first + step + 1, length)", VALUE),
    "a lane takes an element twice": ("softmax", "c += blockDim.x) y[c] /= sum", "c += 32) y[c] /= sum", VALUE),
    "a remainder is forgotten": ("binary", "i3 -= i2 * n3", "i3 = 0", VALUE),
    "a state is not written": ("adam", "vhat[i] = second;", "", VALUE),
    "padding is one less": (
        "conv2d", "dh = tap / kw * dilation_h - top", "dh = tap / kw * dilation_h - max(top - 1, 0)", VALUE),
    "a window is one too long": ("max_pool2d", "min(column + size_w, width)", "min(column + size_w, width + 1)",
        VALUE + "|access outside the arrays"),
    "a counter's high word is dropped": ("random_uniform", "c1 = (unsigned)(block >> 32)", "c1 = 0", VALUE),
}  # fmt: skip


def found(primitive: str) -> str:
    """What the first case that fails says: in three orders of threads, then in the search for races."""
    backend = shim.ShimBackend()
    cases = [case for case in CASES if case.primitive == primitive]
    for schedule, race in (("forward", False), ("reversed", False), ("random", False), ("forward", True)):
        with shim.emulation(schedule, seed=3, race=race):
            for case in cases:
                try:
                    check(backend, case, dtypes=(np.float32,), shifts=(None,))
                except (AssertionError, shim.KernelError) as error:
                    return str(error)
    return "nothing"


@pytest.mark.parametrize("fault", MUTANTS)
def test_planted_fault_is_found(fault):
    primitive, old, new, message = MUTANTS[fault]
    with mock.patch.object(shim.RawModule, "edits", ((old, new),)), shim.installed():
        said = found(primitive)
    assert said != "nothing"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(said)


@pytest.mark.parametrize("fault", MUTANTS)
def test_plant_is_in_the_sources(fault):
    _, old, _, _ = MUTANTS[fault]
    folder = launch.Path(launch.__file__).parent
    assert sum(old in path.read_text() for path in folder.glob("*.cu*")) == 1


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [
        ("REAL* p, const REAL* g, int n, REAL lr", (4, 0.1)),
        ("REAL* p, const REAL* g, long long n, double lr", (4, 0.1)),
        ("REAL* p, const REAL* g, long long n", (4,)),
    ],
)
def test_wrong_declaration_is_found(parameters, arguments):
    with mock.patch.dict(launch.KERNELS), shim.installed():
        wrong = launch.Kernel("optim", "sgd", parameters)
        p = shim.device_zeros(4, np.float32)
        with pytest.raises((TypeError, ValueError), match=r"parameter|argument"):
            wrong(4, p, p, *arguments)


def test_host_array_is_refused():
    with shim.installed():
        sgd = launch.KERNELS["optim", "sgd"]
        with pytest.raises(TypeError, match="must be an array on the device"):
            sgd(4, shim.device_zeros(4, np.float32), np.zeros(4, np.float32), 4, 0.1)
