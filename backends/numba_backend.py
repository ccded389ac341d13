"""The Numba engine: kernels compiled for this processor at first use, or ahead of it by `warmup`."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from .interface import Array, Backend

_LINE = 64  # bytes, of the cache
_LARGE = 1 << 15  # bytes from which it pays to look where an array begins


def _on_a_line(make: Callable[..., Array], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        return make(shape, dtype)
    held = make(size + _LINE, np.uint8)
    start = -held.__array_interface__["data"][0] % _LINE
    return held[start : start + size].view(dtype).reshape(shape)


class NumbaBackend(Backend):
    """NumPy arrays, kernels compiled by Numba and cached on disk; the first run of a kernel takes a second or so."""

    name = "numba"
    kernels = "dlcore.kernels.jit"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """What is missing, or the error with which Numba refuses this NumPy."""
        if find_spec("numba") is None:
            return "numba not installed; pip install 'dlcore[numba]'"
        try:
            import_module("numba")
        except Exception as error:
            return f"Numba does not work here: {error}; pip install --upgrade 'dlcore[numba]'"
        return None

    def info(self) -> dict[str, str]:
        """Versions and threads."""
        threads = import_module("dlcore.kernels.jit.threads")
        return {
            "device": "CPU",
            "numba": import_module("numba").__version__,
            "numpy": np.__version__,
            "threads": str(threads.num_threads()),
            "threading layer": "own threads over nogil kernels",
        }

    def set_num_threads(self, count: int) -> None:
        """Threads of the kernels and, where NumPy's BLAS is an OpenBLAS, of that (in the whole process)."""
        import_module("dlcore.kernels.jit.threads").set_num_threads(count)

    def warmup(self, dtypes: tuple[Any, ...]) -> None:
        """Run every kernel once on small arrays: a minute or so where the cache is empty, half a second otherwise."""
        for dtype in dtypes:
            import_module("dlcore.kernels.jit.warmup").warm(dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Large ones begin on a line of the cache: from where NumPy lets them begin, every vector lies on two."""
        return _on_a_line(np.empty, shape, np.dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """As `empty`."""
        return _on_a_line(np.zeros, shape, np.dtype(dtype))

    def asarray(self, host: Any) -> Array:
        """Writeable and aligned too: Numba would compile every kernel once more for an array that is not."""
        array = super().asarray(host)
        if not array.flags.writeable or not array.flags.aligned:
            return array.copy()
        return array
