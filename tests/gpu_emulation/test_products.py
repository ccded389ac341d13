"""Matrix products as the CUDA engine asks cuBLAS for them, and convolutions cut into slabs."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from conformance import CASES, check
from gpu_emulation import shim

if shutil.which("g++") is None:
    pytest.skip("the emulation of CUDA kernels needs g++", allow_module_level=True)

STREAM = 0x5EED
# What `gemm` may call while CuPy refuses: wrong arguments or another stream end in a status that is not 0.
LIBRARY = """
static void* current;
extern "C" int cublasSetStream_v2(void* handle, void* stream) { current = stream; return handle != (void*)7; }
template <class T>
int gemm(int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda, long long ja, const T* b, int ldb,
         long long jb, const T* beta, T* c, int ldc, long long jc, int batch) {
    if (current != (void*)0x5EED || *alpha != 1) return 7;
    for (; batch--; a += ja, b += jb, c += jc)
        for (int j = 0; j < n; j++)
            for (int i = 0; i < m; i++) {
                T s = 0;
                for (int p = 0; p < k; p++) s += (ta ? a[p + i * lda] : a[i + p * lda]) * (tb ? b[j + p * ldb] : b[p + j * ldb]);
                c[i + j * ldc] = *beta == 0 ? s : s + *beta * c[i + j * ldc];
            }
    return 0;
}
#define GEMM(T, X) \
extern "C" int cublas##X##gemm_v2(void*, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, int lda, \
    const T* b, int ldb, const T* beta, T* c, int ldc) { return gemm(ta, tb, m, n, k, alpha, a, lda, 0LL, b, ldb, 0LL, beta, c, ldc, 0LL, 1); } \
extern "C" int cublas##X##gemmStridedBatched(void*, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, \
    int lda, long long ja, const T* b, int ldb, long long jb, const T* beta, T* c, int ldc, long long jc, int batch) \
    { return gemm(ta, tb, m, n, k, alpha, a, lda, ja, b, ldb, jb, beta, c, ldc, jc, batch); }
GEMM(float, S)
GEMM(double, D)
"""  # noqa: E501


@pytest.fixture
def products():
    """`gemm` of the CUDA kernels, with the stand-in for CuPy in place."""
    with shim.installed():
        from dlcore.kernels.cuda import gemm

        gemm._cublas.cache_clear()
        gemm._library.cache_clear()
        yield gemm
    gemm._cublas.cache_clear()
    gemm._library.cache_clear()


@pytest.fixture(params=["few rows", "through CuPy", "past CuPy"])
def route(request, products, tmp_path, monkeypatch):
    """The ways of a product: our kernels; cuBLAS by CuPy, and by the library itself while CuPy refuses to record."""
    if request.param != "few rows":
        monkeypatch.setattr(products, "FEW", 0)
    if request.param != "past CuPy":
        yield products
        return
    source, library = tmp_path / "cublas.cpp", tmp_path / "cublas.so"
    source.write_text(LIBRARY)
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)

    def refuse(*arguments: object) -> None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")

    names = ("sgemm", "dgemm", "sgemmStridedBatched", "dgemmStridedBatched")
    refusing = SimpleNamespace(__file__=str(library), **dict.fromkeys(names, refuse))
    import cupy

    def stream() -> SimpleNamespace:
        return SimpleNamespace(ptr=STREAM)

    with (
        mock.patch.object(products, "_cublas", return_value=(refusing, lambda: 7)),
        mock.patch.object(cupy.cuda, "get_current_stream", stream, create=True),
    ):
        yield products


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
def test_products_of_views(route, dtype, add):
    rng = np.random.default_rng(1)

    def device(*shape: int) -> np.ndarray:
        return shim.device_array(rng.standard_normal(shape).astype(dtype))

    sequence, wide, filters = device(4, 3, 5), device(5, 21), device(6, 8)
    operands = [
        (device(4, 5), device(5, 7), device(4, 7)),
        (device(5, 4).T, device(7, 5).T, device(4, 7)),
        (sequence[:, 1], wide[:, 7:14], device(4, 2, 7)[:, 1]),  # one step of a sequence, one gate
        (device(4, 1), device(1, 1), device(4, 1)),
        (device(1, 4).T, device(1, 3), device(4, 3)),
        (device(3, 4, 5), device(3, 7, 5).swapaxes(1, 2), device(3, 4, 7)),
        # groups: two halves of each row, of the filters and of the output
        (device(9, 12).reshape(9, 2, 6).transpose(1, 0, 2), filters.reshape(6, 2, 4).transpose(1, 0, 2),
         device(9, 8).reshape(9, 2, 4).transpose(1, 0, 2)),
        (device(3, 0), device(0, 2), device(3, 2)),
        (device(0, 3), device(3, 2), device(0, 2)),
    ]  # fmt: skip
    for a, b, c in operands:
        expected = (np.asarray(a) @ np.asarray(b) + (np.asarray(c) if add else 0)).astype(dtype)
        route.gemm(a, b, c, add)
        np.testing.assert_allclose(np.asarray(c), expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)


@pytest.mark.parametrize("route", ["past CuPy"], indirect=True)
def test_a_status_of_cublas_is_an_error(route):
    a = shim.device_zeros((2, 2), np.float32)
    refusing, _ = route._cublas()
    with (
        mock.patch.object(route, "_cublas", return_value=(refusing, lambda: 8)),
        pytest.raises(RuntimeError, match="status 1"),
    ):
        route.gemm(a, a, a)


# One line of a small image, several lines, several images at once.
@pytest.mark.parametrize("room", [1, 4000, 30000])
def test_convolutions_in_slabs(products, room):
    from dlcore.kernels.cuda import conv, winograd

    cases = [case for case in CASES if case.primitive.startswith("conv2d")]
    backend = shim.ShimBackend()
    with mock.patch.object(conv, "COLUMN_BYTES", room), mock.patch.object(winograd, "PLANE_BYTES", 20 * room):
        for case in cases[::3]:
            check(backend, case, dtypes=(np.float32,), shifts=(None,))


def test_direct_convolutions(products):
    from dlcore.kernels.cuda import winograd

    backend = shim.ShimBackend()
    with mock.patch.object(winograd, "DIRECT", True), mock.patch.object(winograd, "_transformed", None):
        for case in CASES:
            if case.primitive.startswith("conv2d") and "w=(3, 3),s=(1, 1)" in str(case):
                check(backend, case, dtypes=(np.float32,), shifts=(None,))


def test_columns_do_not_grow_with_the_batch(products):
    from dlcore.kernels.cuda import conv

    sizes = []
    with mock.patch.object(conv, "scratch", lambda like, *shape: sizes.append(shape) or shim.device_empty(shape)):
        for images in (1, 2, 64, 512, 4096):
            w = shim.device_empty((3, 3, 16, 4))
            conv._columns(np.broadcast_to(w[0, 0, 0, 0], (images, 28, 28, 4)), w, 1)
    assert [8 * rows * size <= conv.COLUMN_BYTES for rows, size in sizes] == [True] * 5
    assert sizes[-1] == sizes[-2] > sizes[0]
