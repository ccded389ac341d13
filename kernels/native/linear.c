// Dense layers are GEMMs: y = x w + b with the activation in the epilogue, dx = dz wᵀ and dw = xᵀ dz on transposed
// operands read in place. Flops 2 m n k each; db adds one pass over dz.
#include "linear.h"
#include "arena.h"
#include "columns.h"
#include "flat.h"
#include "gemm.h"
#include "rows.h"
#include "strassen.h"
#include "threads.h"

static int linear(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation) {
    return gemm(m, n, k, x, k, 1, w, n, 1, y, n, (epilogue){b, 0, activation});
}

// ---- one row: its gradients are a product of a matrix with a vector and one of two vectors, each bound by the matrix ----

typedef struct {
    long n;
    const REAL *x, *w, *dz;
    REAL *dx, *dw;
    int accumulate, past; // past: dw goes past the caches, its rows being whole lines
} row_job;

static void input_chunk(void *job, long first, long count) {
    const row_job *g = job;
    for (long i = first; i < first + count; i++) g->dx[i] = (REAL)dot_row(g->w + i * g->n, g->dz, g->n);
}

static void weight_chunk(void *job, long first, long count) {
    const row_job *g = job;
    for (long i = first; i < first + count; i++) {
        REAL *dw = g->dw + i * g->n;
        if (g->accumulate) add_scaled_row(g->dz, dw, g->n, g->x[i]);
        else if (!g->past) scale_row(g->dz, dw, g->n, g->x[i]);
        else for (long j = 0; j < g->n; j += LANES) store_past(dw + j, load(g->dz + j) * splat(g->x[i]));
    }
}

static int linear_backward_input(long m, long n, long k, const void *dz, const void *w, void *dx) {
    if (m == 1) {
        row_job g = {.n = n, .w = w, .dz = dz, .dx = dx};
        flat_for(k, n, input_chunk, &g);
        return 0;
    }
    return gemm(m, k, n, dz, n, 1, w, 1, n, dx, k, (epilogue){NULL, 0, LINEAR});
}

static int linear_backward_weight(long m, long n, long k, const void *x, const void *dz, void *dw, void *db,
                                  int accumulate) {
    if (db && column_sums(m, n, dz, n, db, accumulate)) return -1;
    if (m == 1) {
        row_job g = {.n = n, .x = x, .dz = dz, .dw = dw, .accumulate = accumulate};
        g.past = n % LINE == 0 && goes_past(k * n, dw);
        flat_for(k, n, weight_chunk, &g);
        return 0;
    }
    return gemm(k, n, m, x, 1, k, dz, n, 1, dw, n, (epilogue){NULL, accumulate, LINEAR});
}

typedef struct {
    prepared base;
    long m, n, k;
    const REAL *x, *weights, *b;
    REAL *y;
    int activation, from_the_end;
} prepared_linear;

// To and fro: where a network's weights are a little more than the cache, a call finds there what the last one left.
static int run_prepared(prepared *self) {
    prepared_linear *p = (prepared_linear *)self;
    p->from_the_end = !p->from_the_end;
    return gemm_packed(p->m, p->n, p->k, p->x, p->k, p->weights, p->b, NULL, p->activation, p->from_the_end, p->y);
}

static prepared *prepare_packed(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation) {
    size_t size = (sizeof(prepared_linear) + 63) / 64 * 64;
    prepared_linear *p = arena_allocate(size + packed_size(m, n, k) * sizeof(REAL));
    if (!p) return NULL;
    REAL *weights = (REAL *)((char *)p + size);
    *p = (prepared_linear){{run_prepared, arena_free}, m, n, k, x, weights, b, y, activation, 0};
    pack_weights(m, n, k, w, n, 1, weights);
    return &p->base;
}

#if REAL_BITS == 32
typedef struct {
    prepared base;
    strassen_call call;
} prepared_strassen;

static int run_strassen(prepared *self) { return strassen_product(&((const prepared_strassen *)self)->call); }

static prepared *prepare_strassen(strassen_call call) {
    size_t size = (sizeof(prepared_strassen) + 63) / 64 * 64;
    prepared_strassen *p = arena_allocate(size + strassen_size(&call) * sizeof(REAL));
    if (!p) return NULL;
    call.packed = (REAL *)((char *)p + size);
    strassen_pack(&call);
    *p = (prepared_strassen){{run_strassen, arena_free}, call};
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
    int failed;
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
