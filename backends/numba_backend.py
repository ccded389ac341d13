"""The Numba engine: loops compiled for this processor at first use, matrix products by the BLAS."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np

from .interface import Backend


class NumbaBackend(Backend):
    """NumPy arrays, kernels compiled by Numba and cached on disk; the first run of a kernel takes a second or so."""

    name = "numba"
    kernels = "dlcore.kernels.jit"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """What is missing, or the error with which Numba refuses this NumPy."""
        missing = [package for package in ("numba", "scipy") if find_spec(package) is None]
        if missing:
            return f"{' and '.join(missing)} not installed; pip install 'dlcore[numba]'"
        try:
            import_module("numba")
            import_module("scipy.linalg.cython_blas")
        except Exception as error:
            return f"Numba does not work here: {error}; pip install --upgrade 'dlcore[numba]'"
        return None

    def info(self) -> dict[str, str]:
        """Versions and threads."""
        threads = import_module("dlcore.kernels.jit.threads")
        return {
            "device": "CPU",
            "numba": import_module("numba").__version__,
            "numpy": f"{np.__version__} (BLAS for matrix products)",
            "scipy": f"{import_module('scipy').__version__} (BLAS for the steps of recurrent layers)",
            "threads": str(threads.num_threads()),
            "threading layer": "Python threads over nogil kernels",
        }

    def set_num_threads(self, count: int) -> None:
        """Threads of the loops and, where the BLAS is an OpenBLAS, of the matrix products (in the whole process)."""
        import_module("dlcore.kernels.jit.threads").set_num_threads(count)
