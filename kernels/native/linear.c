// Dense layers are GEMMs: y = x w + b with the activation in the epilogue, dx = dz wᵀ and dw = xᵀ dz on transposed
// operands read in place. Flops 2 m n k each; db adds one pass over dz.
//
// Of a batch's 64 rows and fewer, dw is much larger than x and dz, and writing it takes as long as the sums. Packed and
// with tiles of 14 rows it was written by as many rows at once, each in a page of its own. Here eight rows of it are
// written side by side from one end to the other, past the caches if it is large, and dz is read where it lies. On a Zen 4,
// two threads: 784 x 512 from 32 rows 0.75 of the time, 1024 x 1024 from 2 rows 0.42, 25088 x 512 from 8 rows 0.30.
#include "linear.h"
#include "columns.h"
#include "flat.h"
#include "gemm.h"
#include "rows.h"
#include "split.h"
#include "strassen.h"
#include "threads.h"
#include <stdatomic.h>

static int linear(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation) {
    return gemm(m, n, k, x, k, 1, w, n, 1, y, n, (epilogue){b, 0, activation});
}

// ---- gradients of a few rows, bound by the matrix that is read or written ----

enum {
    HIGH = VBYTES == 64 ? 8 : 6, // rows of dw and
    WIDE = 2,                    // vectors of each that are summed up in registers;
    LOW = 4,                     // so many rows,
    MOST_OF_LOW = 8,             // if x has no more than these, and registers hold what loading and storing wait for
    MOST_ROWS = 64,              // of x and dz, for which packing does not pay,
    NARROW = 64,                 // or, if dw has fewer columns than this,
    MOST_OF_NARROW = 4
};

typedef struct {
    long m, n, k;
    const REAL *x, *w, *dz;
    REAL *dx, *dw;
    int accumulate, past; // past: dw goes past the caches, its rows being whole lines
} rows_job;

static void input_chunk(void *job, long first, long count) {
    const rows_job *g = job;
    for (long i = first; i < first + count; i++) g->dx[i] = (REAL)dot_row(g->w + i * g->n, g->dz, g->n);
}

// Rows i ... i + high of dw by nv vectors from column j on, the last of which may be wanted in part; x: the numbers of
// these rows, packed.
INLINE void weight_tile(const rows_job *g, const REAL *x, long i, long j, const int high, const int nv, long part) {
    vec sum[HIGH][WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < high; r++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++)
            sum[r][v] = g->accumulate ? load_some(g->dw + (i + r) * g->n + j + v * LANES, part) : (vec){0};
    const REAL *dz = g->dz + j;
#pragma GCC unroll 1
    for (long row = g->m; row > 0; row--, x += high, dz += g->n) {
        vec d[WIDE];
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) d[v] = load_some(dz + v * LANES, part);
#pragma GCC unroll 8
        for (int r = 0; r < high; r++)
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++) sum[r][v] += splat(x[r]) * d[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < high; r++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) {
            REAL *dw = g->dw + (i + r) * g->n + j + v * LANES;
            if (part) store_part(dw, sum[r][v], part);
            else store_to(dw, sum[r][v], g->past);
        }
}

INLINE void weight_rows(const rows_job *g, long i, const int high) {
    REAL x[HIGH * MOST_ROWS];
    for (long row = 0; row < g->m; row++)
#pragma GCC unroll 8
        for (int r = 0; r < high; r++) x[row * high + r] = g->x[row * g->k + i + r];
    long j = 0;
    for (; j + WIDE * LANES <= g->n; j += WIDE * LANES) weight_tile(g, x, i, j, high, WIDE, 0);
    for (; j + LANES <= g->n; j += LANES) weight_tile(g, x, i, j, high, 1, 0);
    if (j < g->n) weight_tile(g, x, i, j, high, 1, g->n - j);
}

static void weight_chunk(void *job, long first, long count) {
    const rows_job own = *(const rows_job *)job, *g = &own; // which no store to dw can change
    long i = first * HIGH, end = min_l(i + count * HIGH, g->k);
    for (; g->m > MOST_OF_LOW && i + HIGH <= end; i += HIGH) weight_rows(g, i, HIGH);
    for (; i + LOW <= end; i += LOW) weight_rows(g, i, LOW);
    for (; i < end; i++) weight_rows(g, i, 1);
}

static int linear_backward_input(long m, long n, long k, const void *dz, const void *w, void *dx) {
    if (m == 1) {
        rows_job g = {.n = n, .w = w, .dz = dz, .dx = dx};
        flat_for(k, n, input_chunk, &g);
        return 0;
    }
    return gemm(m, k, n, dz, n, 1, w, 1, n, dx, k, (epilogue){NULL, 0, LINEAR});
}

static int linear_backward_weight(long m, long n, long k, const void *x, const void *dz, void *dw, void *db,
                                  int accumulate) {
    if (db && column_sums(m, n, dz, n, db, accumulate)) return -1;
    if (m <= (n < NARROW ? MOST_OF_NARROW : MOST_ROWS) && !tiles_win(k, n, m)) {
        rows_job g = {.m = m, .n = n, .k = k, .x = x, .dz = dz, .dw = dw, .accumulate = accumulate};
        g.past = n % LINE == 0 && !accumulate && goes_past(k * n, dw);
        flat_for(div_up(k, HIGH), HIGH * m * n, weight_chunk, &g);
        return 0;
    }
    return gemm(k, n, m, x, 1, k, dz, n, 1, dw, n, (epilogue){NULL, accumulate, LINEAR});
}

typedef struct {
    prepared base;
    long m, n, k;
    const REAL *x, *b;
    REAL *y;
    int activation, from_the_end;
} prepared_linear;

// To and fro: where a network's weights are a little more than the cache, a call finds there what the last one left.
static int run_prepared(prepared *self) {
    prepared_linear *p = (prepared_linear *)self;
    p->from_the_end = !p->from_the_end;
    return gemm_packed(p->m, p->n, p->k, p->x, p->k, self->weights, p->b, NULL, p->activation, p->from_the_end, p->y);
}

static prepared *prepare_packed(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation) {
    prepared_linear a = {{.run = run_prepared}, m, n, k, x, b, y, activation, 0};
    prepared *p = allocate_prepared(&a, sizeof a, packed_size(m, n, k) * sizeof(REAL));
    if (p) pack_weights(m, n, k, w, n, 1, p->weights);
    return p;
}

#if REAL_BITS == 32
typedef struct {
    prepared base;
    strassen_call call;
} prepared_strassen;

static int run_strassen(prepared *self) { return strassen_product(&((const prepared_strassen *)self)->call); }

static prepared *prepare_strassen(strassen_call call) {
    prepared_strassen a = {{.run = run_strassen}, call};
    prepared_strassen *p = allocate_prepared(&a, sizeof a, strassen_size(&call) * sizeof(REAL));
    if (!p) return NULL;
    p->call.packed = p->base.weights;
    strassen_pack(&p->call);
    return &p->base;
}
#endif

static prepared *prepare(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation,
                         int levels) {
#if REAL_BITS == 32
    if (levels == STRASSEN_AUTO) levels = strassen_levels(m, n, k);
    if (levels && activation <= RELU)
        return prepare_strassen((strassen_call){
            .m = m, .n = n, .k = k, .levels = levels, .activation = activation, .x = x, .w = w, .b = b, .y = y});
#endif
    (void)levels;
    return prepare_packed(m, n, k, x, w, b, y, activation);
}

// Many small products run side by side (a gemm inside an item stays in its thread), a few big ones one after the other.
typedef struct {
    long m, n, k;
    const REAL *a, *b;
    REAL *y;
    int transpose_a, transpose_b;
    atomic_int failed;
} matmul_job;

static void matmul_item(void *job, long i, int worker) {
    matmul_job *g = job;
    (void)worker;
    const REAL *a = g->a + i * g->m * g->k, *b = g->b + i * g->k * g->n;
    if (gemm(g->m, g->n, g->k, a, g->transpose_a ? 1 : g->k, g->transpose_a ? g->m : 1, b, g->transpose_b ? 1 : g->n,
             g->transpose_b ? g->k : 1, g->y + i * g->m * g->n, g->n, (epilogue){NULL, 0, LINEAR}))
        g->failed = 1;
}

static int matmul(long batch, long m, long n, long k, const void *a, const void *b, void *y, int transpose_a,
                  int transpose_b) {
    matmul_job g = {m, n, k, a, b, y, transpose_a, transpose_b, 0};
    if (batch >= pool_size() && 2.0 * m * n * k < 5e6) pool_for(batch, matmul_item, &g);
    else
        for (long i = 0; i < batch; i++) matmul_item(&g, i, 0);
    return -g.failed;
}

const linear_kernels NAME(linear_kernels) = {linear, linear_backward_input, linear_backward_weight, prepare, matmul};
