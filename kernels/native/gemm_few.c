// Products of few rows: B is passed once, and that sets their pace.
//
// The plain version is the packed product of gemm.c. To pack a B that few rows multiply costs as much as the product, and a
// large one comes from beyond the second cache: panel by panel each line lies in another page, which no prefetcher follows,
// and rows a multiple of 4 KB apart drive each other out of the first cache. Three ways do without:
//
// - B is read by whole rows, some side by side, in blocks of steps whose sums are put together at the end, so that each core
//   passes over a part of B from one end to the other. One row by 1024 x 1024: 140 us, so 41; eight by 4096 x 4096: 9 ms, so
//   3.3. What comes from memory is asked for one block of rows before it is read: a row by 25088 x 512 0.7 of the time,
//   twelve rows 0.48.
// - A few rows against a transposed B are inner products.
// - With more of them C^T = B^T A^T is computed, whose tiles read B where it lies, and A is packed: 32 x 784 of 512 steps by
//   one thread 285 us, so 232.
#include "gemm_parts.h"
#include "arena.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

enum {
    STREAM_ROWS = 16,     // of A, up to which a B of FAR_B bytes is read by whole rows,
    LARGE_B = 1 << 19,    // and for a row or two one that does not stay in the second cache beside other arrays
    AHEAD_B = 1 << 24,    // bytes of B from which the rows that follow are asked for, if there are no tiles to hide that
    DOT_TILE = 4,         // rows that share what is loaded of a transposed B; up to as many, it is not packed
    DOT_ROWS = 14,        // and up to as many of at least DOT_STEPS steps
    DOT_STEPS = 128,
    DOTS_BEFORE = 11,     // and before A is packed instead, where the rows of B lie no pages apart
    COLUMNS = 48,         // of C that are multiplied at a time as rows of C^T,
    SHARE = 512,          // and as many that packing A for them is little
    PACKED_A = 1 << 22    // elements of A that each thread packs at most
};

// ---- inner products: rows against the rows of a transposed B, which is read once and not packed ----

INLINE void inner_step(const int mr, const REAL *a, long ars, const REAL *const rows[4], long p, long lanes,
                       vec acc[DOT_TILE][4]) {
    vec x[DOT_TILE];
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) x[i] = load_some(a + i * ars + p, lanes);
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        vec y = load_some(rows[q] + p, lanes);
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++) acc[i][q] += x[i] * y;
    }
}

INLINE void inner_tile(const int mr, const gemm_job *g, const REAL *a, const REAL *const rows[4], int columns, REAL *c,
                       const REAL *bias, const REAL *add) {
    vec acc[DOT_TILE][4] = {0}; // loads that ask each time whether a vector is whole would take twice as long
    const long whole = g->k / LANES * LANES;
    for (long p = 0; p < whole; p += LANES) inner_step(mr, a, g->ars, rows, p, 0, acc);
    if (whole < g->k) inner_step(mr, a, g->ars, rows, whole, g->k - whole, acc);
    for (int i = 0; i < mr; i++) {
        REAL sums[4];
        add_lanes_of_four(acc[i], sums);
        for (int q = 0; q < columns; q++)
            c[i * g->ldc + q] = sums[q] + (bias ? bias[q] : 0) + (add ? add[i * g->ldc + q] : 0);
    }
}

static void inner_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long from = item * g->share, to = min_l(from + g->share, g->n);
    (void)worker;
    for (long j = from; j < to; j += 4) {
        const int columns = (int)min_l(4, to - j);
        const REAL *rows[4];
        for (int q = 0; q < 4; q++) rows[q] = g->b + (j + (q < columns ? q : 0)) * g->bcs;
        for (long i = 0; i < g->m; i += DOT_TILE) {
            const REAL *a = g->a + i * g->ars, *bias = g->e.bias ? g->e.bias + j : NULL;
            const REAL *add = g->e.add ? g->e.add + i * g->ldc + j : NULL;
            REAL *c = g->c + i * g->ldc + j;
            switch (min_l(DOT_TILE, g->m - i)) {
                case 1: inner_tile(1, g, a, rows, columns, c, bias, add); break;
                case 2: inner_tile(2, g, a, rows, columns, c, bias, add); break;
                case 3: inner_tile(3, g, a, rows, columns, c, bias, add); break;
                case 4: inner_tile(4, g, a, rows, columns, c, bias, add); break;
            }
        }
    }
    apply_activation(g->m, to - from, g->c + from, g->ldc, g->e.activation);
}

static int inner_products(gemm_job *g, long parts) {
    g->share = div_up(g->n, parts);
    pool_for(div_up(g->n, g->share), inner_item, g);
    return 0;
}

static int suits_inner_products(const gemm_job *g) {
    if (g->acs != 1 || (g->k < LANES && g->m > 1)) return 0;
    return g->m <= DOT_TILE || (g->m <= DOT_ROWS && g->k >= DOT_STEPS) || (g->m < PACK_B_FROM && b_bytes(g) > FAR_B);
}

// ---- columns of C as rows of C^T = B^T A^T: A is packed, and a transposed B read where it lies ----

static void transposed_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long m = g->m, k = g->k, depth = depth_of(k), to = min_l((item + 1) * g->share, g->n);
    REAL *packed = g->packed + (size_t)worker * (blocks_size(k, m) + COLUMNS * m), *block = packed + blocks_size(k, m);
    pack_blocks(k, m, g->a, g->acs, g->ars, packed);
    for (long j = item * g->share; j < to; j += COLUMNS) {
        const long columns = min_l(COLUMNS, to - j);
        for (long p = 0; p < k; p += depth)
            for (long q = 0, kc = min_l(depth, k - p); q < m; q += NR)
                rows_of_tiles(columns, min_l(NR, m - q), kc, g->b + j * g->bcs + p, g->bcs, 1,
                              packed + p * round_up(m, NR) + q * kc, NR, block + q, m,
                              (tile_epilogue){.add = p ? block + q : NULL});
        // A few rows at a time: if they lie a power of two apart, more of them would drive each other out of the cache.
        for (long i = 0; i < m; i += 8) interleave(min_l(8, m - i), columns, block + i, 1, m, g->c + i * g->ldc + j, g->ldc);
    }
}

static int transposed_product(gemm_job *g, long parts) {
    g->share = round_up(div_up(g->n, parts * max_l(1, min_l(4, g->n / (parts * SHARE)))), LANES);
    g->packed = scratch(SCRATCH_GEMM, (size_t)pool_size() * (blocks_size(g->k, g->m) + COLUMNS * g->m) * sizeof(REAL));
    if (!g->packed) return -1;
    pool_for(div_up(g->n, g->share), transposed_item, g);
    return 0;
}

// Each thread packs all of A and transposes its part of C, else it packs its part of B: an element takes as long as a dozen
// multiplications. Lanes past the last row of A do nothing. Inner products add in an order of their own: which of both ways
// it is does not depend on the number of threads.
static int suits_transposed_product(const gemm_job *g) {
    const long m = g->m, n = g->n, k = g->k, idle = round_up(m, LANES) - m;
    const int plain = !g->e.bias && !g->e.add && g->e.activation == LINEAR;
    if (!plain || m <= (g->bcs * sizeof(REAL) % PAGE_BYTES ? DOTS_BEFORE : DOT_ROWS) || m * k > PACKED_A) return 0;
    const long packers = suits_inner_products(g) ? 2 : pool_size();
    return 3 * m * (k * packers + n) + idle * k * n / 6 <= 2 * k * n;
}

// ---- a large B by whole rows: blocks of steps, each with rows of sums of its own ----

// They lie no power of two apart, and stay in the caches.
static long sums_ld(const gemm_job *g) { return round_up(g->n, NR) + LANES; }
static long sums_rows(const gemm_job *g) { return max_l(2, g->m); }

// To two rows of sums add what one row of A, in its even and its odd steps, or two rows multiply with some rows of B: in the
// order of the tiles.
INLINE void add_steps(const int rows, const int steps, const int ahead, long n, const REAL *a, long ars, long acs,
                      const REAL *b, long ldb, REAL *sums, long ld) {
    REAL x[2][STEPS];
    for (int i = 0; i < rows; i++)
        for (int s = 0; s < steps; s++) x[i][s] = a[i * ars + s * acs];
    for (long j = 0; j < n; j += LANES) {
        const long lanes = n - j < LANES ? n - j : 0;
        vec sum[2] = {load(sums + j), load(sums + ld + j)};
#pragma GCC unroll 8
        for (int s = 0; s < steps; s++) {
            vec v = load_some(b + s * ldb + j, lanes);
            if (ahead) __builtin_prefetch(b + (STEPS + s) * ldb + j, 0, 2);
            if (rows == 2) sum[0] += splat(x[0][s]) * v, sum[1] += splat(x[1][s]) * v;
            else sum[s & 1] += splat(x[0][s]) * v;
        }
        store(sums + j, sum[0]);
        store(sums + ld + j, sum[1]);
    }
}

INLINE void add_rows(const int rows, const int ahead, const gemm_job *g, long p, long end, long n, const REAL *b, REAL *sums,
                     long ld) {
    const REAL *a = g->a + p * g->acs;
    for (long i = 0; i < 2; i++) memset(sums + i * ld, 0, (size_t)round_up(n, LANES) * sizeof(REAL));
    for (; p + STEPS <= end; p += STEPS, a += STEPS * g->acs, b += STEPS * g->brs)
        add_steps(rows, STEPS, ahead, n, a, g->ars, g->acs, b, g->brs, sums, ld);
    for (; p < end; p++, a += g->acs, b += g->brs) add_steps(rows, 1, 0, n, a, g->ars, g->acs, b, g->brs, sums, ld);
    for (long j = 0; rows == 1 && j < n; j += LANES) store(sums + j, load(sums + j) + load(sums + ld + j));
}

// Three rows and more: tiles of EVEN_STEPS steps, which ask for the lines of as many more.
static void add_tiles(const gemm_job *g, long p, long end, long n, const REAL *rows, REAL *sums, long ld) {
    REAL ragged[EVEN_STEPS * NR];
    for (long first = p; p < end; p += EVEN_STEPS, rows += EVEN_STEPS * g->brs) {
        const long kc = min_l(EVEN_STEPS, end - p), soon = min_l(EVEN_STEPS, g->k - p - kc);
        for (long j = 0; j < n; j += NR) {
            const REAL *b = rows + j;
            long ldb = g->brs;
            for (long s = 0; s < soon; s++) {
                __builtin_prefetch(b + (kc + s) * ldb, 0, 2);
                __builtin_prefetch(b + (kc + s) * ldb + LANES, 0, 2);
            }
            if (n - j < NR) { // read in place it would run over the end of its rows
                pack_columns(kc, n - j, b, g->brs, 1, ragged);
                b = ragged, ldb = NR;
            }
            rows_of_tiles(g->m, NR, kc, g->a + p * g->acs, g->ars, g->acs, b, ldb, sums + j, ld,
                          (tile_epilogue){.start = p > first ? sums + j : NULL});
        }
    }
}

// Some columns of a block of steps.
static void stream_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long columns = div_up(g->n, g->share), block = item / columns, from = item % columns * g->share;
    const long n = min_l(g->share, g->n - from), ld = sums_ld(g), p = block * depth_of(g->k);
    const long end = min_l(g->k, p + depth_of(g->k));
    const REAL *b = g->b + p * g->brs + from;
    REAL *sums = g->packed + block * sums_rows(g) * ld + from;
    (void)worker;
    const int rows = (int)g->m, ahead = b_bytes(g) > AHEAD_B;
    if (rows == 1 && ahead) add_rows(1, 1, g, p, end, n, b, sums, ld);
    else if (rows == 1) add_rows(1, 0, g, p, end, n, b, sums, ld);
    else if (rows == 2 && ahead) add_rows(2, 1, g, p, end, n, b, sums, ld);
    else if (rows == 2) add_rows(2, 0, g, p, end, n, b, sums, ld);
    else add_tiles(g, p, end, n, b, sums, ld);
}

// A row of C from those of its blocks, as gemm.c does it: the last gets the bias, then come those before it.
static void sum_item(void *job, long i, int worker) {
    const gemm_job *g = job;
    const long depth = depth_of(g->k), ld = sums_ld(g);
    REAL *c = g->c + i * g->ldc;
    (void)worker;
    for (long p = 0; p < g->k; p += depth) {
        const REAL *sums = g->packed + (p / depth * sums_rows(g) + i) * ld, *bias = p + depth >= g->k ? g->e.bias : NULL;
        const REAL *add = p ? c : g->e.add ? g->e.add + i * g->ldc : NULL;
        for (long j = 0; j < g->n; j += LANES) {
            const long lanes = g->n - j < LANES ? g->n - j : 0;
            finish_sum(load(sums + j), bias ? load_some(bias + j, lanes) : (vec){0}, add ? add + j : NULL, c + j, lanes, LINEAR);
        }
    }
    apply_activation(1, g->n, c, g->ldc, g->e.activation);
}

static int streamed_product(gemm_job *g, long parts) {
    const long blocks = div_up(g->k, depth_of(g->k));
    g->share = blocks >= 2 * parts ? g->n : round_up(div_up(g->n, parts), NR);
    g->packed = scratch(SCRATCH_GEMM, (size_t)(blocks * sums_rows(g) * sums_ld(g)) * sizeof(REAL));
    if (!g->packed) return -1;
    pool_for(blocks * div_up(g->n, g->share), stream_item, g);
    pool_for(g->m, sum_item, g);
    return 0;
}

static int suits_streaming(const gemm_job *g) { return g->m <= STREAM_ROWS && b_bytes(g) > (g->m <= 2 ? LARGE_B : FAR_B); }

gemm_way few_rows_way(const gemm_job *g) {
    if (g->weights) return NULL;
    if (g->brs == 1 && suits_transposed_product(g)) return transposed_product;
    if (g->brs == 1 && suits_inner_products(g)) return inner_products;
    if (g->bcs == 1 && suits_streaming(g)) return streamed_product;
    return NULL;
}
