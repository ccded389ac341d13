"""Numba kernels, compiled for this processor at first use and cached on disk."""
