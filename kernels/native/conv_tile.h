// The register tile of direct convolution: a few rows whose runs lie anywhere in memory, times a panel of filters (or, for
// the gradient of the filters, a panel of dz). Included by the sources that use it.
#pragma once
#include "gemm.h"
#include <string.h>

#if VBYTES == 64
enum { ROWS1 = 14 }; // rows of a tile one vector wide
#else
enum { ROWS1 = 12 };
#endif

typedef struct {
    long runs, len;
    const REAL *const *from; // where row i starts: from[run * places + i] + offset + run * run_step
    long places, offset, run_step;
    long spacing;              // or, for evenly spaced rows: from[0] + i * spacing + offset + run * run_step
    const unsigned char *live; // 0 for each run of zeros
    const REAL *b; // one row of b per element of a run
    long nr;       // columns of the result
    REAL *out;     // row i goes to out + to[i]
    const long *to;
    const REAL *bias;     // what the sum starts from; NULL: from what the result holds
    const REAL *residual; // like out, added to the bias; or NULL
    int relu, past; // past: the result is stored past the caches
    // Gradient of the filters only: strides of a run and of b, what b skips after a run; the same for several images.
    long a_step, ldb, b_run_step, images, image_step, b_image_step;
} tile_job;

// FIRST_OUTPUTS: of several tiles the first to read a panel of filters, which may come from beyond the second cache. All of
// them asking ahead costs 7 % where it does not; 512 channels on a 7x7 image gain 12 to 17 % where it does.
enum tile_kind { OUTPUTS, FIRST_OUTPUTS, SPACED_OUTPUTS, FILTERS, ADJACENT_FILTERS };

// Few base registers serve all rows.
INLINE const REAL *spaced_run(const int mr, const int nv, vec acc[ROWS1][2], long len, const REAL *a, long spacing,
                              const REAL *b) {
    const REAL *a3 = a + 3 * spacing, *a6 = a + 6 * spacing, *a9 = a + 9 * spacing, *a12 = a + 12 * spacing;
    for (; len > 0; len--, a++, a3++, a6++, a9++, a12++, b += nv * LANES) {
        vec b0 = load(b), b1 = nv > 1 ? load(b + LANES) : b0;
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            vec x = splat(*(i < 3 ? a + i * spacing : i < 6 ? a3 + (i - 3) * spacing : i < 9 ? a6 + (i - 6) * spacing
                            : i < 12 ? a9 + (i - 9) * spacing : a12 + (i - 12) * spacing));
            acc[i][0] += x * b0;
            if (nv > 1) acc[i][1] += x * b1;
        }
    }
    return b;
}

INLINE void tile_of(const int mr, const int nv, const enum tile_kind kind, const tile_job *t) {
    vec acc[ROWS1][2];
    const int outputs = kind <= SPACED_OUTPUTS;
    const long step = outputs ? 1 : t->a_step, ldb = outputs ? nv * LANES : t->ldb;
    const long part = t->nr < nv * LANES ? t->nr - (nv - 1) * LANES : 0;
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            if (t->bias) acc[i][j] = load(t->bias + j * LANES);
            else acc[i][j] = load_some(t->out + t->to[i] + j * LANES, j == nv - 1 ? part : 0);
    if (outputs && t->residual) {
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++)
                acc[i][j] += load_some(t->residual + t->to[i] + j * LANES, j == nv - 1 ? part : 0);
    }
    if (!outputs && t->bias)
        for (int i = 0; i < mr; i++)
            for (int j = 0; j < nv; j++) __builtin_prefetch(t->out + t->to[i] + j * LANES, 1);
    const REAL *const *from = t->from, *b = t->b;
    long start = t->offset, len = t->len, images = outputs ? 1 : t->images;
    const unsigned char *live = t->live;
    for (; images > 0; images--) {
        long offset = start;
        for (long run = t->runs; run > 0; run--, from += t->places, offset += t->run_step) {
            if (kind <= FIRST_OUTPUTS && !*live++) {
                b += len * ldb;
                continue;
            }
            if (kind == SPACED_OUTPUTS) {
                b = spaced_run(mr, nv, acc, len, from[0] + offset, t->spacing, b);
                continue;
            }
            const REAL *a[ROWS1];
#pragma GCC unroll 14
            for (int i = 0; i < mr; i++) a[i] = kind == ADJACENT_FILTERS ? from[0] + offset + i : from[i] + offset;
#pragma GCC unroll 4
            for (long k = 0, at = 0; k < len; k++, at += step, b += ldb) {
                vec b0 = load(b), b1 = nv > 1 ? load(b + LANES) : b0;
                for (int j = 0; kind == FIRST_OUTPUTS && j < nv; j++)
                    __builtin_prefetch(b + AHEAD_STEPS * nv * LANES + j * LANES, 0, 2);
#pragma GCC unroll 14
                for (int i = 0; i < mr; i++) {
                    vec x = splat(a[i][at]);
                    acc[i][0] += x * b0;
                    if (nv > 1) acc[i][1] += x * b1;
                }
            }
            if (!outputs) b += t->b_run_step;
        }
        if (!outputs) start += t->image_step, b += t->b_image_step;
    }
    if (t->relu) {
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) acc[i][j] = vmax((vec){0}, acc[i][j]);
    }
    if (outputs && t->past) {
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) store_past(t->out + t->to[i] + j * LANES, acc[i][j]);
        return;
    }
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            store_some(t->out + t->to[i] + j * LANES, acc[i][j], j == nv - 1 ? part : 0);
}

// Not inlined, so that the addresses of the rows stay in registers.
#define ROWS(n, nv, kind)                                                                                              \
    case n:                                                                                                            \
        tile_of(n, nv, kind, t);                                                                                       \
        break;
#define SIX_ROWS(nv, kind)                                                                                             \
    ROWS(1, nv, kind) ROWS(2, nv, kind) ROWS(3, nv, kind) ROWS(4, nv, kind) ROWS(5, nv, kind) ROWS(6, nv, kind)
#define TWELVE_ROWS(nv, kind)                                                                                          \
    SIX_ROWS(nv, kind)                                                                                                 \
    ROWS(7, nv, kind) ROWS(8, nv, kind) ROWS(9, nv, kind) ROWS(10, nv, kind) ROWS(11, nv, kind) ROWS(12, nv, kind)
#define ALL_ROWS(nv, kind) TWELVE_ROWS(nv, kind) ROWS(13, nv, kind) ROWS(14, nv, kind)
#if VBYTES == 64
#define ROWS_OF_1(kind) ALL_ROWS(1, kind)
#define ROWS_OF_2(kind) ALL_ROWS(2, kind)
#else
#define ROWS_OF_1(kind) TWELVE_ROWS(1, kind)
#define ROWS_OF_2(kind) SIX_ROWS(2, kind)
#endif
#define TILE(name, rows, kind)                                                                                         \
    static NOINLINE void name(long mr, const tile_job *t) {                                                            \
        switch (mr) { rows(kind) }                                                                                     \
    }

// Panels of columns: NR wide, the last one LANES if that is enough.
INLINE long columns_of(long panel, long n) { return min_l(NR, n - panel * NR); }
INLINE long width_of(long columns) { return columns > LANES ? NR : LANES; }
INLINE long tile_rows(long n) { return n > LANES ? MR : ROWS1; }

// out[k][width] from columns strides (rs, cs) apart, filled up with zeros.
static inline void pack_panel(long k, long columns, long width, const REAL *b, long rs, long cs, REAL *out) {
    if (cs == 1) {
        for (long p = 0; p < k; p++, b += rs, out += width) {
            long q = 0;
            for (; q + LANES <= columns; q += LANES) store(out + q, load(b + q));
            if (q < width) store(out + q, load_part(b + q, columns - q));
            if (q + LANES < width) store(out + q + LANES, (vec){0});
        }
        return;
    }
    if (columns < width) memset(out, 0, (size_t)(k * width) * sizeof(REAL));
    interleave(k, columns, b, rs, cs, out, width);
}
