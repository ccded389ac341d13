// A stand-in for hipBLAS, which is to CuPy on HIP what cuBLAS is on CUDA: products of matrices that lie column by column.
//
// Four rows of the result at a time are added up in double, plainly; a training run of a small network passes in seconds.
#include "emulated.h"

#include <vector>

struct Handle { void* stream; int pointer_mode; };
static const int TRANSPOSED = 112, NOT_TRANSPOSED = 111, INVALID = 3;

// c[i, j] = alpha Σ a[i, p] b[p, j] + beta c[i, j], c m × n, the sum over k.
template <class T>
static Status gemm(int op_a, int op_b, int m, int n, int k, T alpha, const T* a, int lda, const T* b, int ldb, T beta,
                   T* c, int ldc) {
    std::vector<T> row(k);
    std::vector<double> sums(n);
    for (int i = 0; i < m; i++) {
        for (int p = 0; p < k; p++) row[p] = op_a == TRANSPOSED ? a[p + (long)i * lda] : a[i + (long)p * lda];
        for (int j = 0; j < n; j++) sums[j] = 0;
        if (op_b == TRANSPOSED) {
            for (int p = 0; p < k; p++)
                for (int j = 0; j < n; j++) sums[j] += (double)row[p] * b[j + (long)p * ldb];
        } else {
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int p = 0; p < k; p++) sum += (double)row[p] * b[p + (long)j * ldb];
                sums[j] = sum;
            }
        }
        for (int j = 0; j < n; j++) {
            T& result = c[i + (long)j * ldc];
            result = (T)(alpha * sums[j] + (beta == 0 ? 0 : beta * (double)result));
        }
    }
    return SUCCESS;
}

template <class T>
static Status batched(Handle* handle, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a, int lda,
                      long long jump_a, const T* b, int ldb, long long jump_b, const T* beta, T* c, int ldc,
                      long long jump_c, int count) {
    bool known = (op_a == TRANSPOSED || op_a == NOT_TRANSPOSED) && (op_b == TRANSPOSED || op_b == NOT_TRANSPOSED);
    if (!known || lda < (op_a == TRANSPOSED ? k : m) || ldb < (op_b == TRANSPOSED ? n : k) || ldc < m) return INVALID;
    T factor = *alpha, kept = *beta;
    return submit(handle->stream, [=]() -> Status {
        for (int i = 0; i < count; i++)
            gemm(op_a, op_b, m, n, k, factor, a + i * jump_a, lda, b + i * jump_b, ldb, kept, c + i * jump_c, ldc);
        return SUCCESS;
    });
}

API Status hipblasCreate(Handle** handle) { *handle = new Handle{nullptr, 0}; return SUCCESS; }
API Status hipblasDestroy(Handle* handle) { delete handle; return SUCCESS; }
API Status hipblasSetStream(Handle* handle, void* stream) { handle->stream = stream; return SUCCESS; }
API Status hipblasGetStream(Handle* handle, void** stream) { *stream = handle->stream; return SUCCESS; }
API Status hipblasSetPointerMode(Handle* handle, int mode) { handle->pointer_mode = mode; return SUCCESS; }
API Status hipblasGetPointerMode(Handle* handle, int* mode) { *mode = handle->pointer_mode; return SUCCESS; }
API Status hipblasSetMathMode(Handle*, int) { return SUCCESS; }
API Status hipblasGetMathMode(Handle*, int* mode) { *mode = 0; return SUCCESS; }

#define GEMM(LETTER, T)                                                                                               \
    API Status hipblas##LETTER##gemm(Handle* h, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a,  \
                                     int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {                    \
        return batched(h, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);                      \
    }                                                                                                                 \
    API Status hipblas##LETTER##gemmStridedBatched(                                                                   \
        Handle* h, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a, int lda, long long jump_a,    \
        const T* b, int ldb, long long jump_b, const T* beta, T* c, int ldc, long long jump_c, int count) {           \
        return batched(h, op_a, op_b, m, n, k, alpha, a, lda, jump_a, b, ldb, jump_b, beta, c, ldc, jump_c, count);   \
    }
GEMM(S, float)
GEMM(D, double)
