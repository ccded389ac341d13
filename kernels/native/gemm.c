// Packed GEMM around a register tile (Goto & van de Geijn 2008; the loops as in BLIS).
//
// The plain version is three loops. Here the threads split C by columns or rows, whichever gives whole panels to all,
// and each then works alone, without a barrier:
//     n in blocks of NC (the packed block KC x NC of B stays in L2/L3)
//       k in blocks of KC (a panel KC x NR of B streams from L1/L2)
//         m in blocks of MC (the block MC x KC of A stays in L2; packed only if it is read often)
//           panel of B, panel of A, tile
// Small m reads B in place when its rows are contiguous: packing would cost as much as the product.
#include "gemm.h"
#include "arena.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

enum {
    KC = 384,
    NC = 1024,
    MC = 16 * MR,
    PACK_A_FROM = 6,    // panels of B that read a row of A before packing A pays
    PACK_B_FROM = 3 * MR, // rows of A before packing B pays
    DOT_ROWS = 4,        // rows up to which a transposed B is not packed
    SERIAL_FLOPS = 400000 // below this a second thread costs more than it brings
};

// ---- the tile ----

// One vector of a row of C; `part` lanes of it if that is not 0.
INLINE void finish(vec sum, vec bias, REAL *c, long part, epilogue e) {
    sum += bias;
    if (e.add) sum += part ? load_part(c, part) : load(c);
    if (e.activation == RELU) sum = vmax((vec){0}, sum);
    if (part) store_part(c, sum, part);
    else store(c, sum);
}

// mr rows by nv vectors, the last of which may be wanted in `part` only.
INLINE void tile_of(const int mr, const int nv, long part, long k, const REAL *a, long rs, long cs, const REAL *b,
                    long ldb, REAL *c, long ldc, epilogue e) {
    vec acc[MR][2];
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = (vec){0};
    const REAL *a3 = a + 3 * rs, *a6 = a + 6 * rs, *a9 = a + 9 * rs, *a12 = a + 12 * rs;
#pragma GCC unroll 1
    for (; k > 0; k--) {
        vec b0 = load(b), b1 = nv > 1 ? load(b + LANES) : b0;
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            const REAL *row = i < 3 ? a + i * rs : i < 6 ? a3 + (i - 3) * rs : i < 9 ? a6 + (i - 6) * rs
                            : i < 12 ? a9 + (i - 9) * rs : a12 + (i - 12) * rs;
            vec x = splat(*row);
            acc[i][0] += x * b0;
            if (nv > 1) acc[i][1] += x * b1;
        }
        a += cs, a3 += cs, a6 += cs, a9 += cs, a12 += cs, b += ldb;
    }
    vec bias[2] = {{0}, {0}};
    for (int j = 0; e.bias && j < nv; j++)
        bias[j] = part && j == nv - 1 ? load_part(e.bias + j * LANES, part) : load(e.bias + j * LANES);
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        finish(acc[i][0], bias[0], c + i * ldc, nv > 1 ? 0 : part, e);
        if (nv > 1) finish(acc[i][1], bias[1], c + i * ldc + LANES, part, e);
    }
}

// The strides that occur as constants: packed panels (rs = 1, cs = MR, ldb = NR), rows (cs = 1).
INLINE void tile_strided(const int mr, const int nv, long part, long k, const REAL *a, long rs, long cs, const REAL *b,
                         long ldb, REAL *c, long ldc, epilogue e) {
    if (ldb == NR && rs == 1 && cs == MR) tile_of(mr, nv, part, k, a, 1, MR, b, NR, c, ldc, e);
    else if (ldb == NR && cs == 1) tile_of(mr, nv, part, k, a, rs, 1, b, NR, c, ldc, e);
    else tile_of(mr, nv, part, k, a, rs, cs, b, ldb, c, ldc, e);
}

static void tile(long mr, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
                 epilogue e) {
    long part = nr % LANES;
#define ROWS(n)                                                                                                        \
    case n:                                                                                                            \
        if (nr > LANES) tile_strided(n, 2, part, k, a, rs, cs, b, ldb, c, ldc, e);                                     \
        else tile_of(n, 1, part, k, a, rs, cs, b, ldb, c, ldc, e);                                                     \
        break
    switch (mr) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
#if defined(__AVX512F__)
        ROWS(7);
        ROWS(8);
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
        ROWS(13);
        ROWS(14);
#endif
    }
#undef ROWS
    if (e.activation > RELU) apply_activation(mr, nr, c, ldc, e.activation);
}

void gemm_rows(long rows, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
               epilogue e) {
    for (long tiles = div_up(rows, MR), mr; rows > 0; rows -= mr, tiles--, a += mr * rs, c += mr * ldc) {
        mr = div_up(rows, tiles);
        tile(mr, nr, k, a, rs, cs, b, ldb, c, ldc, e);
    }
}

// ---- packing ----

// Four runs of four that lie `stride` apart, transposed: out[i * ld + j] = in[j * stride + i].
#if defined(__SSE__) && REAL_BITS == 32
#include <immintrin.h>
enum { RUN = 4 };
INLINE void transpose_runs(const REAL *in, long stride, REAL *out, long ld) {
    __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + stride), c = _mm_loadu_ps(in + 2 * stride);
    __m128 d = _mm_loadu_ps(in + 3 * stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a);
    _mm_storeu_ps(out + ld, b);
    _mm_storeu_ps(out + 2 * ld, c);
    _mm_storeu_ps(out + 3 * ld, d);
}
#else
enum { RUN = 1 };
INLINE void transpose_runs(const REAL *in, long stride, REAL *out, long ld) {
    (void)stride, (void)ld;
    *out = *in;
}
#endif

// out[p * ld + q] = in[p * rs + q * cs] for p < k, q < n. Where runs along p are contiguous they are transposed, STRIP at
// a time, so that the lines of the panel are written while they are in L1.
static void interleave(long k, long n, const REAL *in, long rs, long cs, REAL *out, long ld) {
    enum { STRIP = 32 };
    for (long p0 = 0; p0 < k; p0 += STRIP) {
        long p1 = min_l(p0 + STRIP, k), q = 0;
        for (; rs == 1 && q + RUN <= n; q += RUN) {
            long p = p0;
            for (; p + RUN <= p1; p += RUN) transpose_runs(in + p + q * cs, cs, out + p * ld + q, ld);
            for (; p < p1; p++)
                for (long i = q; i < q + RUN; i++) out[p * ld + i] = in[p + i * cs];
        }
        for (; q < n; q++)
            for (long p = p0; p < p1; p++) out[p * ld + q] = in[p * rs + q * cs];
    }
}

void pack_columns(long k, long n, const REAL *b, long rs, long cs, REAL *out) {
    for (long j = 0; j < n; j += NR, out += k * NR) {
        long nr = min_l(NR, n - j);
        const REAL *source = b + j * cs;
        if (cs == 1)
            for (long p = 0; p < k; p++)
                for (long q = 0; q < NR; q += LANES) {
                    long left = nr - q;
                    vec v = left >= LANES ? load(source + p * rs + q) : left > 0 ? load_part(source + p * rs + q, left) : (vec){0};
                    store(out + p * NR + q, v);
                }
        else {
            if (nr < NR) memset(out, 0, (size_t)(k * NR) * sizeof(REAL));
            interleave(k, nr, source, rs, cs, out, NR);
        }
    }
}

// out[m / MR][k][MR]
static void pack_rows(long m, long k, const REAL *a, long rs, long cs, REAL *out) {
    for (long i = 0; i < m; i += MR, out += k * MR) interleave(k, min_l(MR, m - i), a + i * rs, cs, rs, out, MR);
}

// ---- one thread's part ----

typedef struct {
    long m, n, k, ars, acs, brs, bcs, ldc, share;
    int by_rows;
    const REAL *a, *b;
    REAL *c, *packed;
    epilogue e;
} gemm_job;

enum { PACKED_SIZE = KC * NC + MC * KC };

static void gemm_part(const gemm_job *g, long m, long n, const REAL *a, const REAL *b, REAL *c, const REAL *bias,
                      REAL *packed_b) {
    REAL *packed_a = packed_b + KC * NC;
    for (long j0 = 0; j0 < n; j0 += NC)
        for (long p0 = 0; p0 < g->k; p0 += KC) {
            long nc = min_l(NC, n - j0), kc = min_l(KC, g->k - p0);
            int last = p0 + kc == g->k, in_place = m < PACK_B_FROM && g->bcs == 1;
            const REAL *bs = b + p0 * g->brs + j0 * g->bcs;
            if (in_place) {
                long whole = nc / NR * NR; // reading a ragged panel in place would run over the end of its rows
                if (whole < nc) pack_columns(kc, nc - whole, bs + whole, g->brs, 1, packed_b + whole * kc);
            } else
                pack_columns(kc, nc, bs, g->brs, g->bcs, packed_b);
            for (long i0 = 0; i0 < m; i0 += MC) {
                long mc = min_l(MC, m - i0);
                const REAL *as = a + i0 * g->ars + p0 * g->acs;
                int pack_a = nc >= PACK_A_FROM * NR && mc >= MR;
                if (pack_a) pack_rows(mc, kc, as, g->ars, g->acs, packed_a);
                for (long j = 0; j < nc; j += NR) {
                    long nr = min_l(NR, nc - j);
                    const REAL *bt = in_place && nr == NR ? bs + j : packed_b + j * kc;
                    long ldb = in_place && nr == NR ? g->brs : NR;
                    REAL *ct = c + i0 * g->ldc + j0 + j;
                    epilogue e = {last && bias ? bias + j0 + j : NULL, p0 > 0 || g->e.add, last ? g->e.activation : LINEAR};
                    if (!pack_a) gemm_rows(mc, nr, kc, as, g->ars, g->acs, bt, ldb, ct, g->ldc, e);
                    else
                        for (long i = 0; i < mc; i += MR)
                            gemm_rows(min_l(MR, mc - i), nr, kc, packed_a + i * kc, 1, MR, bt, ldb, ct + i * g->ldc, g->ldc, e);
                }
            }
        }
}

// A few rows against the rows of a transposed B: inner products along both, B read once and not packed.
INLINE void inner_products(const int mr, const gemm_job *g, long n, const REAL *b, REAL *c, const REAL *bias) {
    const REAL *a = g->a;
    for (long j = 0; j < n; j += 4) {
        const int columns = (int)min_l(4, n - j);
        const REAL *rows[4];
        for (int q = 0; q < 4; q++) rows[q] = b + (j + (q < columns ? q : 0)) * g->bcs;
        vec acc[DOT_ROWS][4] = {0};
        for (long p = 0; p < g->k; p += LANES) {
            long left = g->k - p;
            vec x[DOT_ROWS];
#pragma GCC unroll 4
            for (int i = 0; i < mr; i++) x[i] = left >= LANES ? load(a + i * g->ars + p) : load_part(a + i * g->ars + p, left);
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++) {
                vec y = left >= LANES ? load(rows[q] + p) : load_part(rows[q] + p, left);
#pragma GCC unroll 4
                for (int i = 0; i < mr; i++) acc[i][q] += x[i] * y;
            }
        }
        for (int i = 0; i < mr; i++)
            for (int q = 0; q < columns; q++) {
                REAL *to = c + i * g->ldc + j + q;
                *to = sum_lanes(acc[i][q]) + (bias ? bias[j + q] : 0) + (g->e.add ? *to : 0);
            }
    }
    apply_activation(mr, n, c, g->ldc, g->e.activation);
}

static void inner_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    long from = item * g->share, n = min_l(g->share, g->n - from);
    const REAL *b = g->b + from * g->bcs, *bias = g->e.bias ? g->e.bias + from : NULL;
    (void)worker;
    switch (g->m) {
        case 1: inner_products(1, g, n, b, g->c + from, bias); break;
        case 2: inner_products(2, g, n, b, g->c + from, bias); break;
        case 3: inner_products(3, g, n, b, g->c + from, bias); break;
        case 4: inner_products(4, g, n, b, g->c + from, bias); break;
    }
}

static void gemm_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    REAL *packed = g->packed + (size_t)worker * PACKED_SIZE;
    long from = item * g->share;
    if (g->by_rows)
        gemm_part(g, min_l(g->share, g->m - from), g->n, g->a + from * g->ars, g->b, g->c + from * g->ldc, g->e.bias, packed);
    else
        gemm_part(g, g->m, min_l(g->share, g->n - from), g->a, g->b + from * g->bcs, g->c + from,
                  g->e.bias ? g->e.bias + from : NULL, packed);
}

// k = 0: the sum is empty, only the epilogue remains.
static void empty_product(long m, long n, REAL *c, long ldc, epilogue e) {
    for (long i = 0; i < m; i++)
        for (long j = 0; j < n; j++) c[i * ldc + j] = (e.add ? c[i * ldc + j] : 0) + (e.bias ? e.bias[j] : 0);
    apply_activation(m, n, c, ldc, e.activation);
}

int gemm(long m, long n, long k, const REAL *a, long ars, long acs, const REAL *b, long brs, long bcs, REAL *c,
         long ldc, epilogue e) {
    if (!m || !n) return 0;
    if (!k) return empty_product(m, n, c, ldc, e), 0;
    gemm_job g = {m, n, k, ars, acs, brs, bcs, ldc, 0, 0, a, b, c, NULL, e};
    long parts = 2.0 * m * n * k < SERIAL_FLOPS ? 1 : pool_size();
    g.by_rows = m >= 2 * n || (n < 2 * NR * parts && m > n); // a tall C: packing B twice is little, and rows lie apart
    g.share = g.by_rows ? round_up(div_up(m, parts), MR) : round_up(div_up(n, parts), NR);
    if (m <= DOT_ROWS && acs == 1 && brs == 1 && k >= LANES) {
        g.share = div_up(n, parts);
        pool_for(div_up(n, g.share), inner_item, &g);
        return 0;
    }
    g.packed = scratch(SCRATCH_GEMM, (size_t)pool_size() * PACKED_SIZE * sizeof(REAL));
    if (!g.packed) return -1;
    pool_for(div_up(g.by_rows ? m : n, g.share), gemm_item, &g);
    return 0;
}

void apply_activation(long rows, long n, REAL *y, long ld, int activation) {
    if (activation == LINEAR) return;
    for (long r = 0; r < rows; r++, y += ld)
        for (long j = 0; j < n; j += LANES) {
            long left = n - j;
            vec v = left >= LANES ? load(y + j) : load_part(y + j, left);
            v = activation == RELU ? vmax((vec){0}, v) : activation == SIGMOID ? vsigmoid(v) : vtanh(v);
            if (left >= LANES) store(y + j, v);
            else store_part(y + j, v, left);
        }
}
