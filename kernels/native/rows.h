// What softmax and the cross-entropies do with a row: its maximum, its exponentials, its sums. Sums run on vectors for
// a block of the row and in double from block to block, so that a row of any length keeps its accuracy.
#pragma once
#include "vmath.h"

enum {
    ROW_BLOCK = 64 * LANES,
    CHAINS = 4 // sums side by side, for each addition waits for the one before
};

// NaN may go unseen: the exponentials find it. n >= 1.
INLINE REAL row_max(const REAL *x, long n) {
    vec a = splat(-INFINITY), b = a;
    long i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        a = vmax(load(x + i), a);
        b = vmax(load(x + i + LANES), b);
    }
    for (; i + LANES <= n; i += LANES) a = vmax(load(x + i), a);
    if (i < n) b = vmax(n > LANES ? load(x + n - LANES) : load_filled(x + i, n - i, -INFINITY), b);
    return max_lanes(vmax(a, b));
}

// e = exp(x - top), not kept where e is NULL; returns their sum. The next row, `step` further, comes into the cache
// meanwhile.
INLINE double exp_row(const REAL *x, REAL *e, long n, REAL top, long step) {
    const vec shift = splat(top);
    double total = 0;
    for (long i = 0; i < n;) {
        vec sum = {0};
        long end = min_l(n, i + ROW_BLOCK);
        for (; i + LANES <= end; i += LANES) {
            __builtin_prefetch(x + step + i);
            vec v = vexp(load(x + i) - shift);
            if (e) store(e + i, v);
            sum += v;
        }
        if (i < end) {
            vec v = vexp(load_filled(x + i, n - i, -INFINITY) - shift);
            if (e) store_part(e + i, v, n - i);
            sum += v;
            i = end;
        }
        total += add_lanes(sum);
    }
    return total;
}

// y = factor x, which may be y. Past the caches that begins at the first whole vector.
INLINE void scale_row(const REAL *x, REAL *y, long n, REAL factor, int past) {
    const vec f = splat(factor);
    long i = past ? min_l(n, -((uintptr_t)y / sizeof(REAL)) % LANES) : 0;
    if (i) store_part(y, load_part(x, i) * f, i);
    for (; i + LANES <= n; i += LANES) store_to(y + i, load(x + i) * f, past);
    if (i < n) store_part(y + i, load_part(x + i, n - i) * f, n - i);
}

// y += factor x.
INLINE void add_scaled_row(const REAL *x, REAL *y, long n, REAL factor) {
    const vec f = splat(factor);
    long i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, load(y + i) + load(x + i) * f);
    if (i < n) store_part(y + i, load_part(y + i, n - i) + load_part(x + i, n - i) * f, n - i);
}

// Exponentials wait here for their sum where the result goes past the caches: rows of no more than this.
enum { ROW_BUFFER = 4096 };

INLINE int row_goes_past(long rows, long n, const REAL *x, const REAL *y) {
    return n <= ROW_BUFFER && x != y && 2 * rows * n * (long)sizeof(REAL) >= past_from(STREAM_BYTES);
}

// Sum of a * b, or of a where b is NULL.
INLINE double dot_row(const REAL *a, const REAL *b, long n) {
    double total = 0;
    for (long i = 0; i < n;) {
        vec sum[CHAINS] = {{0}};
        long end = min_l(n, i + ROW_BLOCK);
        for (; i + CHAINS * LANES <= end; i += CHAINS * LANES)
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++)
                sum[c] += b ? load(a + i + c * LANES) * load(b + i + c * LANES) : load(a + i + c * LANES);
        for (; i + LANES <= end; i += LANES) sum[0] += b ? load(a + i) * load(b + i) : load(a + i);
        if (i < end) {
            sum[1] += b ? load_part(a + i, n - i) * load_part(b + i, n - i) : load_part(a + i, n - i);
            i = end;
        }
        total += add_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    return total;
}

// Sum of (x - mean)^2.
INLINE double squares_row(const REAL *x, REAL mean, long n) {
    const vec centre = splat(mean);
    double total = 0;
    for (long i = 0; i < n;) {
        vec sum[CHAINS] = {{0}};
        long end = min_l(n, i + ROW_BLOCK);
        for (; i + CHAINS * LANES <= end; i += CHAINS * LANES)
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++) {
                vec d = load(x + i + c * LANES) - centre;
                sum[c] += d * d;
            }
        for (; i < end; i += LANES) {
            vec d = (i + LANES <= n ? load(x + i) : load_filled(x + i, n - i, mean)) - centre;
            sum[0] += d * d;
        }
        total += add_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    return total;
}
