// The micro-kernel and the packed GEMM that dense layers, convolution and recurrent layers share.
//
//     C[m][n] (+)= A[m][k] B[k][n],  then bias and activation
//
// The tile is MR rows by NR = 2 vectors of columns, held in registers: 6 x 16 floats on AVX2 (12 accumulators, 2 vectors
// of B and 1 broadcast of A fill 15 of 16 registers), 14 x 32 on AVX-512, 6 x 8 on SSE2. A is read by broadcast, so it
// needs no packing: strides (rs, cs) = (row length, 1) read a row-major matrix, (1, ld) its transpose.
#pragma once
#include "simd.h"

#define gemm NAME(gemm)
#define gemm_rows NAME(gemm_rows)
#define pack_columns NAME(pack_columns)
#define interleave NAME(interleave)
#define packed_size NAME(packed_size)
#define pack_weights NAME(pack_weights)
#define gemm_packed NAME(gemm_packed)
#define apply_activation NAME(apply_activation)

#if VBYTES == 64
enum { MR = 14 };
#else
enum { MR = 6 };
#endif
enum { NR = 2 * LANES };

// Steps from the prefetch of a row of a packed panel to its use: L3 answers late (Granite Rapids: 25 GB/s of 180 in L2).
enum { AHEAD_STEPS = 64 };

// Fused activations, numbered as in binding.pxi.
enum { LINEAR, RELU, SIGMOID, TANH };

typedef struct {
    const REAL *bias; // per column, or NULL
    int add;          // start from what C holds
    int activation;
} epilogue;

// C of any number of rows, cut into tiles as even as possible, and nr <= NR columns, from k steps. b holds NR columns per
// step, ldb apart (NR if packed; then columns past nr are zeros).
void gemm_rows(long rows, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
               epilogue e);

// Panels of NR columns: out[n / NR][k][NR] from B with strides (rs, cs), the last panel filled up with zeros.
void pack_columns(long k, long n, const REAL *b, long rs, long cs, REAL *out);

// out[p * ld + q] = in[p * rs + q * cs] for p < k, q < n.
void interleave(long k, long n, const REAL *in, long rs, long cs, REAL *out, long ld);

// C[m][n] with row stride ldc. B has strides (brs, bcs). Uses the pool. 0, or -1 when memory is out.
int gemm(long m, long n, long k, const REAL *a, long ars, long acs, const REAL *b, long brs, long bcs, REAL *c, long ldc,
         epilogue e);

// The same for a B that is used often: packed once as a whole, into packed_size elements. A's rows are contiguous, C's
// too, n apart; C = activation(A B + bias + residual), the latter like C or NULL. With from_the_end, a product of a few
// rows takes the columns in the reverse order; the result is the same.
size_t packed_size(long m, long n, long k);
void pack_weights(long m, long n, long k, const REAL *b, long rs, long cs, REAL *out);
int gemm_packed(long m, long n, long k, const REAL *a, long lda, const REAL *weights, const REAL *bias,
                const REAL *residual, int activation, int from_the_end, REAL *c);

// y = activation(y) for `rows` rows of n columns, ld apart.
void apply_activation(long rows, long n, REAL *y, long ld, int activation);

// One vector of a row of C; `part` lanes of it if that is not 0.
INLINE void finish_sum(vec sum, vec bias, const REAL *add, REAL *c, long part, int activation) {
    sum += bias;
    if (add) sum += load_some(add, part);
    if (activation == RELU) sum = vmax((vec){0}, sum);
    if (part) store_part(c, sum, part);
    else store(c, sum);
}
