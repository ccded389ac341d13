"""Cython + C kernels, compiled for several instruction sets; the fastest this processor runs is chosen at import."""
