"""CuPy + CUDA: registered, so that it can be asked for and answer why it is not there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar

from .interface import Backend, BackendUnavailableError


class CupyBackend(Backend):
    """NVIDIA GPUs through CuPy. Its kernels are not written yet, so it is never available."""

    name: ClassVar[str] = "cupy"
    kernels: ClassVar[str] = "dlcore.kernels.cuda"

    def __init__(self, device: int | None = None) -> None:
        raise BackendUnavailableError(f"engine 'cupy' is not available: {self.unavailable_reason()}")

    @classmethod
    def unavailable_reason(cls) -> str:
        """What stands between here and a GPU: CuPy, the driver or device, or (always, for now) the kernels."""
        if find_spec("cupy") is None:
            return (
                "CuPy is not installed: pip install 'dlcore[cuda13]' for CUDA 13 or 'dlcore[cuda12]' for CUDA 12. "
                "Nor does this version of dlcore hold CUDA kernels yet"
            )
        try:
            import cupy

            devices = cupy.cuda.runtime.getDeviceCount()
        except Exception as error:
            return f"CuPy is installed but finds no usable GPU ({error}): is there an NVIDIA GPU, and its driver?"
        if not devices:
            return "CuPy is installed but finds no CUDA device"
        return "the CUDA kernels are not part of this version of dlcore yet; choose a CPU engine"
