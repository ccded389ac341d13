"""The NumPy engine: the reference kernels as they stand, with NumPy's BLAS underneath. Always available."""

from __future__ import annotations

import numpy as np

from .interface import Backend


class NumpyBackend(Backend):
    """Plain NumPy on the CPU."""

    name = "numpy"
    kernels = "dlcore.kernels.reference"

    def info(self) -> dict[str, str]:
        """NumPy's version and the BLAS it was built with."""
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {"device": "CPU", "numpy": np.__version__, "blas": f"{blas['name']} {blas['version']}"}
