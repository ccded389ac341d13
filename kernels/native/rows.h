// What softmax and the cross-entropies do with a row: its maximum, its exponentials, its sums. Sums run on vectors for
// a block of the row and in double from block to block, so that a row of any length keeps its accuracy.
#pragma once
#include "vmath.h"

enum { ROW_BLOCK = 64 * LANES };

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

// e = exp(x - top), not kept where e is NULL; returns their sum.
INLINE double exp_row(const REAL *x, REAL *e, long n, REAL top) {
    const vec shift = splat(top);
    double total = 0;
    for (long i = 0; i < n;) {
        vec sum = {0};
        long end = min_l(n, i + ROW_BLOCK);
        for (; i + LANES <= end; i += LANES) {
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

INLINE void scale_row(REAL *y, long n, REAL factor) {
    const vec f = splat(factor);
    long i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, load(y + i) * f);
    if (i < n) store_part(y + i, load_part(y + i, n - i) * f, n - i);
}

// Sum of a * b, or of a where b is NULL.
INLINE double dot_row(const REAL *a, const REAL *b, long n) {
    double total = 0;
    for (long i = 0; i < n;) {
        vec sum = {0};
        long end = min_l(n, i + ROW_BLOCK);
        for (; i + LANES <= end; i += LANES) sum += b ? load(a + i) * load(b + i) : load(a + i);
        if (i < end) {
            sum += b ? load_part(a + i, n - i) * load_part(b + i, n - i) : load_part(a + i, n - i);
            i = end;
        }
        total += add_lanes(sum);
    }
    return total;
}
