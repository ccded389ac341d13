"""The CuPy engine where there is no GPU: what it says when it cannot run, told from stand-ins for CuPy."""

from __future__ import annotations

import importlib.machinery
import re
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from dlcore import backends
from dlcore.backends import cupy_backend, registry
from dlcore.backends.cupy_backend import CupyBackend
from dlcore.backends.interface import BackendUnavailableError


class CudaError(RuntimeError):
    """As `cupy.cuda.runtime.CUDARuntimeError`: a message and a status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def raising(error: Exception):
    def function(*args):
        raise error

    return function


def fake_cupy(monkeypatch, count=lambda: 1, capability="90", nvrtc=lambda: (13, 0), cublas=lambda: 1) -> None:
    """A CuPy in which these questions have these answers."""
    cupy = ModuleType("cupy")
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=count),
        Device=lambda device: SimpleNamespace(compute_capability=capability),
        nvrtc=SimpleNamespace(getVersion=nvrtc),
        device=SimpleNamespace(get_cublas_handle=cublas),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)


NO_DRIVER = CudaError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
NO_DEVICE = CudaError(100, "cudaErrorNoDevice: no CUDA-capable device is detected")
BROKEN = CudaError(999, "cudaErrorUnknown: unknown error")
LOST = RuntimeError("Failed to load libnvrtc.so.13")
MISSING = {
    "no driver": ({"count": raising(NO_DRIVER)}, "there is no NVIDIA driver, or it is older .*dlcore.cuda12"),
    "no device": ({"count": raising(NO_DEVICE)}, "driver finds no GPU; nvidia-smi and CUDA_VISIBLE_DEVICES"),
    "no device counted": ({"count": lambda: 0}, "driver finds no GPU"),
    "broken": ({"count": raising(BROKEN)}, "CUDA does not start .cudaErrorUnknown: unknown error.; nvidia-smi"),
    "old device": ({"capability": "61"}, r"compute capability 6.1, dlcore's kernels need 7.5"),
    "no NVRTC": ({"nvrtc": raising(LOST)}, "NVRTC, .* missing .Failed to load libnvrtc.*dlcore.cuda13"),
    "no cuBLAS": ({"cublas": raising(LOST)}, "cuBLAS, .* missing .*dlcore.cuda13"),
}


@pytest.mark.parametrize(("answers", "reason"), MISSING.values(), ids=MISSING)
def test_says_what_is_missing_and_what_to_do(monkeypatch, answers, reason):
    fake_cupy(monkeypatch, **answers)
    assert re.search(reason, CupyBackend.unavailable_reason())


def test_nothing_missing(monkeypatch):
    fake_cupy(monkeypatch)
    assert CupyBackend.unavailable_reason() is None


def test_not_installed(monkeypatch):
    monkeypatch.setattr(cupy_backend, "find_spec", lambda name: None)
    assert "CuPy is not installed; pip install 'dlcore[cuda13]'" in CupyBackend.unavailable_reason()


def test_installed_but_does_not_load(monkeypatch):
    monkeypatch.setattr(cupy_backend, "find_spec", lambda name: object())
    error = ImportError("\n=====\nFailed to import CuPy.\n=====\n")
    monkeypatch.setattr(cupy_backend, "import_module", raising(error))
    assert "does not load (Failed to import CuPy.); in an environment" in CupyBackend.unavailable_reason()
    error.__cause__ = ImportError("libcublas.so.13: cannot open shared object file")
    assert "does not load (libcublas.so.13: cannot open shared object file); in" in CupyBackend.unavailable_reason()


def test_named_it_fails_and_unnamed_it_is_passed_over(monkeypatch):
    fake_cupy(monkeypatch, count=raising(NO_DRIVER))
    monkeypatch.setattr(registry, "_instances", {})
    with pytest.raises(BackendUnavailableError, match="engine 'cupy' is not available: there is no NVIDIA driver"):
        backends.get_backend("cupy")
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.delenv("DLCORE_BACKEND", raising=False)
    assert backends.current().name in ("cython", "numba", "numpy")


def test_dlcore_does_not_import_cupy():
    code = "import dlcore, dlcore.kernels.cuda.launch, sys; assert 'cupy' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
