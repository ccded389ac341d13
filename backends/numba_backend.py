"""The Numba engine: kernels compiled for this processor at first use, or ahead of it by `warmup`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from .interface import Array, Backend


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

    def asarray(self, host: Any) -> Array:
        """Writeable and aligned too: Numba would compile every kernel once more for an array that is not."""
        array = super().asarray(host)
        if not array.flags.writeable or not array.flags.aligned:
            return array.copy()
        return array
