"""CUDA kernels, compiled at run time through CuPy, and the primitives that launch them."""
