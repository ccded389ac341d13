// What softmax and the cross-entropies do with a row: its maximum, its exponentials, its sums. Sums run on vectors for
// a block of the row and in double from block to block, so that a row of any length keeps its accuracy.
//
// A softmax sees a row three times: for the maximum, for the exponentials and their sum, and to scale them. Three rows are
// under way at once, one in each stage: so memory is read and written all the time, and what the exponentials leave of the
// vector units is used (rows of 1000 on Zen 4: 16 cycles for a vector of 16, so 12; from memory 20, so 15, copying 12).
#pragma once
#include "vmath.h"

enum {
    ROW_BLOCK = 64 * LANES,
    ROW_BUFFER = 4096, // exponentials wait for their sum in a buffer of two such rows, half a page apart; longer ones in y
    PAGE = 4096 / sizeof(REAL),
    ROW_AHEAD = 2 * PAGE, // from the prefetch of what memory holds into the second cache to its use
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

// Elements of p before the first that begins a vector in memory.
INLINE long unaligned_head(const REAL *p, long n) { return min_l(n, -((uintptr_t)p / sizeof(REAL)) % LANES); }

// y = factor x, which may be y. Past the caches that begins at the first whole vector.
INLINE void scale_row(const REAL *x, REAL *y, long n, REAL factor, int past) {
    const vec f = splat(factor);
    long i = past ? unaligned_head(y, n) : 0;
    if (i) store_part(y, load_part(x, i) * f, i);
    for (; i + LANES <= n; i += LANES) store_to(y + i, load(x + i) * f, past);
    if (i < n) store_part(y + i, load_part(x + i, n - i) * f, n - i);
}

// Elements, modulo a page, by which p is ahead of q.
INLINE long ahead_of(const REAL *p, const REAL *q) {
    return (long)(((uintptr_t)p - (uintptr_t)q) / sizeof(REAL) & (PAGE - 1));
}

// A load waits for a store shortly before it whose address has the same last twelve bits. So a row of y is not stored from
// its beginning, but from where x and next, which are read meanwhile, are just ahead of it all the way to the end, or from
// there on when the end is behind (1.25 times faster where a row has 4000 bytes).
INLINE long first_stored(const REAL *x, const REAL *next, const REAL *y, long n) {
    const REAL *nearer = ahead_of(next, x) <= PAGE / 2 ? x : next;
    long ahead = (ahead_of(nearer, y) - 1) & (PAGE - 1), behind = ahead_of(y, nearer) + LANES;
    if (ahead <= n / 2) return ahead / LANES * LANES;
    return behind < n ? (n - behind) / LANES * LANES : 0;
}

// What is done beside a row's exponentials.
typedef struct {
    const REAL *next; // a row whose maximum is sought
    REAL top;         // is that maximum
    const REAL *done; // the exponentials of the row before
    REAL *y, factor;  // y = factor done
    int past;         // y goes past the caches
} beside;

// e = exp(x - top), not kept where e is NULL; returns their sum without that of x[apart], if there is one. y = factor done
// only where `scales`.
INLINE double exp_row_beside(const REAL *x, REAL *e, long n, REAL top, long apart, const int scales, beside *b) {
    const REAL *next = b->next, *done = b->done;
    REAL *y = b->y;
    const int past = b->past;
    const vec shift = splat(top), factor = splat(b->factor);
    const long own = apart < 0 ? n : apart / LANES * LANES, head = scales && past ? unaligned_head(y, n) : 0;
    const long start = scales ? head + first_stored(x, next, y + head, n - head) : 0;
    vec largest[2] = {splat(-INFINITY), splat(-INFINITY)};
    double total = 0;
    long at = start, stop = n;
    if (head) store_part(y, load_part(done, head) * factor, head);
    if (scales && past) __builtin_prefetch(y + 2 * n, 1); // a row may end with a part of a line
    for (long i = 0, end; i < n; i = end) {
        const int is_own = i == own;
        vec sum[2] = {{0}};
        end = min_l(n, is_own ? i + LANES : i < own ? min_l(own, i + ROW_BLOCK) : i + ROW_BLOCK);
        for (; i + 2 * LANES <= end; i += 2 * LANES) {
            vec one = load(x + i) - shift, other = load(x + i + LANES) - shift;
            one = vexp_below(one);
            other = vexp_below(other);
            if (scales || e) store(e + i, one);
            if (scales || e) store(e + i + LANES, other);
            sum[0] += one;
            sum[1] += other;
            if (past) __builtin_prefetch(next + i + ROW_AHEAD, 0, 2);
            if (past) __builtin_prefetch(next + i + LANES + ROW_AHEAD, 0, 2);
            largest[0] = vmax(load(next + i), largest[0]);
            largest[1] = vmax(load(next + i + LANES), largest[1]);
            if (!scales) continue;
            if (at + 2 * LANES > stop && stop == n) { // at the end: on from the beginning
                scale_row(done + at, y + at, n - at, b->factor, past);
                at = head;
                stop = start;
            }
            if (at + 2 * LANES > stop) continue;
            store_to(y + at, load(done + at) * factor, past);
            store_to(y + at + LANES, load(done + at + LANES) * factor, past);
            at += 2 * LANES;
        }
        for (; i < end; i += LANES) {
            const long part = end - i < LANES ? end - i : 0;
            vec v = vexp_below((part ? load_filled(x + i, part, -INFINITY) : load(x + i)) - shift);
            if (scales || e) store_some(e + i, v, part);
            sum[0] += v;
            largest[0] = vmax(part ? load_filled(next + i, part, -INFINITY) : load(next + i), largest[0]);
        }
        if (is_own) sum[0] = blend((ivec)(lane_numbers() == isplat((INT)(apart - own))), (vec){0}, sum[0]);
        total += add_lanes(sum[0] + sum[1]);
    }
    b->top = max_lanes(vmax(largest[0], largest[1]));
    if (scales) scale_row(done + at, y + at, stop - at, b->factor, past);
    if (scales && stop == n) scale_row(done + head, y + head, start - head, b->factor, past);
    return total;
}

// Functions of their own, for want of registers.
static NOINLINE __attribute__((unused)) double exp_row(const REAL *x, REAL *e, long n, REAL top, long apart, beside *b) {
    return e ? exp_row_beside(x, e, n, top, apart, 0, b) : exp_row_beside(x, NULL, n, top, apart, 0, b);
}
static NOINLINE __attribute__((unused)) double exp_row_scaling(const REAL *x, REAL *e, long n, REAL top, long apart,
                                                               beside *b) {
    return exp_row_beside(x, e, n, top, apart, 1, b);
}

// y += factor x.
INLINE void add_scaled_row(const REAL *x, REAL *y, long n, REAL factor) {
    const vec f = splat(factor);
    long i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, load(y + i) + load(x + i) * f);
    if (i < n) store_part(y + i, load_part(y + i, n - i) + load_part(x + i, n - i) * f, n - i);
}

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
