"""Every kernel compiles for real GPUs as CuPy compiles it, spills no registers, and has the parameters that its Python
declaration says."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from dlcore.kernels import cuda
from dlcore.kernels.cuda import launch

pytest.importorskip("cuda.bindings.nvrtc", reason="needs NVRTC: pip install 'dlcore[gpu-check]'")
nvrtc = pytest.importorskip(
    "gpu_emulation.nvrtc", reason="needs NVRTC: pip install 'dlcore[gpu-check]'", exc_type=Exception
)

FOLDER = Path(cuda.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.cu"))
for _path in FOLDER.glob("*.py"):
    import_module(f"dlcore.kernels.cuda.{_path.stem}")

PTX = {"float": "f32", "double": "f64", "bool": "u8"}  # PTX knows integers by their bits only


def types_of(module: str, real: str) -> dict[str, str]:
    """The C type of each word in capitals: REAL, and the others as the file defines them."""
    text = (FOLDER / f"{module}.cu").read_text()
    return {"REAL": real} | dict(re.findall(r"#ifndef ([A-Z]+).*\n#define \1 ([a-z ]+)", text))


@cache
def compiled(module: str, real: str, architecture: str):
    return nvrtc.compile_kernels(launch.source(module, types_of(module, real)), architecture)


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("module", MODULES)
def test_compiles_without_spills_or_warnings(module, real, architecture):
    result = compiled(module, real, architecture)
    assert set(result.spills) == set(result.parameters)
    assert {name: bytes for name, bytes in result.spills.items() if bytes} == {}
    assert "warning" not in result.log, result.log


@pytest.mark.parametrize("module", MODULES)
def test_every_kernel_is_declared(module):
    assert set(compiled(module, "float", "sm_80").parameters) == {k for m, k in launch.KERNELS if m == module}


@pytest.mark.parametrize("kernel", launch.KERNELS.values(), ids=lambda kernel: f"{kernel.module}.{kernel.name}")
@pytest.mark.parametrize("real", ["float", "double"])
def test_declared_parameters_are_the_compiled_ones(kernel, real):
    types = types_of(kernel.module, real)
    expected = []
    for parameter in kernel.parameters:
        c_type = types.get(parameter.type, parameter.type)
        bits = 8 * launch.C_TYPES[c_type]().itemsize
        expected.append("ptr" if parameter.pointer else PTX.get(c_type, f"u{bits}"))
    assert compiled(kernel.module, real, "sm_120").parameters[kernel.name] == expected  # whose PTX tells pointers


VARIANTS = [
    *(("copy", {"VALUE": c_type}) for c_type in ("double", "bool", "unsigned char", "int", "long long")),
    *(("pool", {"INDEX": c_type}) for c_type in ("unsigned char", "int")),
]


@pytest.mark.parametrize(("module", "types"), VARIANTS, ids=str)
def test_compiles_for_other_types(module, types):
    assert set(types) <= set(types_of(module, "float"))
    assert not any(nvrtc.compile_kernels(launch.source(module, types), "sm_80").spills.values())


def test_what_a_gpu_build_refuses_is_refused_here():
    with pytest.raises(RuntimeError, match=r"math\.h"):
        nvrtc.compile_kernels("#include <math.h>", "sm_80")


def test_spills_are_seen():
    source = """extern "C" __global__ void __launch_bounds__(1024, 2) crowded(float* x, int n) {
        float kept[64];
        #pragma unroll
        for (int i = 0; i < 64; i++) kept[i] = x[i * 1024 + threadIdx.x];
        for (int r = 0; r < n; r++) {
            #pragma unroll
            for (int i = 0; i < 64; i++) kept[i] = kept[i] * kept[(i + 1) % 64] + r;
        }
        #pragma unroll
        for (int i = 0; i < 64; i++) x[i * 1024 + threadIdx.x] = kept[i];
    }"""
    assert nvrtc.compile_kernels(source, "sm_80").spills["crowded"] > 0
