// What softmax and the cross-entropies do with a row: its maximum, its exponentials, its sums. Sums run on vectors for
// a block of the row and in double from block to block, so that a row of any length keeps its accuracy.
//
// A softmax sees a row three times: for the maximum, for the exponentials and their sum, and to scale them. Three rows are
// under way at once, one in each stage: so memory is read and written all the time, and what the exponentials leave of the
// vector units is used (rows of 1000 on Zen 4: 16 cycles for a vector of 16, so 12; from memory 20, so 15, copying 12).
// From memory it needs, besides, a loop without branches, whole lines, and no lane that is no normal number: two Granite
// Rapids cores, which copy at 49 GB/s, went from 34 to 49 on rows of 1000, from 16 to 37 on rows of 100.
#pragma once
#include "vmath.h"

enum {
    ROW_BLOCK = 64 * LANES,
    ROW_BUFFER = 4096, // exponentials wait for their sum in a buffer of two such rows, half a page apart; longer ones in y
    PAGE = 4096 / sizeof(REAL),
    ROW_AHEAD = 2 * PAGE, // from the prefetch of what memory holds into the second cache to its use
    LINE = 64 / sizeof(REAL),
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

// y = factor x, which may be y.
INLINE void scale_row(const REAL *x, REAL *y, long n, REAL factor) {
    const vec f = splat(factor);
    long i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, load(x + i) * f);
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
    int past;         // y goes past the caches, in whole lines:
    long waiting;     // elements of the row before y that share a line with y's first
    REAL *place;      // and where that line begins
    _Alignas(64) REAL shared[LINE];
} beside;

// y up to the first line that it begins. Stored by halves, the line before would have to be read first, and what follows
// would wait for it (rows of 1000 on a Granite Rapids: 1.2 times as long).
INLINE void scale_head(beside *b, long head) {
    if (!b->waiting) {
        scale_row(b->done, b->y, head, b->factor);
        return;
    }
    scale_row(b->done, b->shared + b->waiting, head, b->factor);
    for (long i = 0; i < LINE; i += LANES) store_past(b->y - b->waiting + i, load(b->shared + i));
}

// y from the beginning of a line on. Past the caches that ends with the last whole line, and the rest waits for the next row.
INLINE void scale_tail(beside *b, long at, long whole, long n) {
    const vec factor = splat(b->factor);
    for (; at + LANES <= whole; at += LANES) store_to(b->y + at, load(b->done + at) * factor, b->past);
    scale_row(b->done + at, b->past ? b->shared : b->y + at, n - at, b->factor);
    b->waiting = b->past ? n - at : 0;
    b->place = b->y + at;
}

// Where the first whole line of y begins and the last one ends.
INLINE void whole_lines(const REAL *y, long n, long *head, long *whole) {
    *head = (long)(-((uintptr_t)y / sizeof(REAL)) % LINE);
    *whole = *head + (n - *head) / LINE * LINE;
}

// y = factor done, all of it; what waits then is stored by finish_rows.
INLINE void scale_whole_row(beside *b, long n) {
    long head = 0, whole = n;
    if (b->past) whole_lines(b->y, n, &head, &whole);
    if (head) scale_head(b, head);
    scale_tail(b, head, whole, n);
}
INLINE void finish_rows(beside *b) {
    if (b->waiting) scale_row(b->shared, b->place, b->waiting, 1);
}

// A row made in b->done goes to y past the caches.
INLINE void store_row_past(beside *b, REAL *y, long n) {
    b->y = y;
    if (n >= LINE) {
        scale_whole_row(b, n);
        return;
    }
    finish_rows(b);
    b->waiting = 0;
    scale_row(b->done, y, n, b->factor);
}

// e = exp(x - top), not kept where e is NULL; returns their sum without that of x[apart], if there is one. y = factor done
// only where `scales`. The loop over pairs has no branch: with two it took 1.2 times as long from memory.
INLINE double exp_row_beside(const REAL *x, REAL *e, long n, REAL top, long apart, const int scales, const int past,
                             beside *b) {
    const REAL *next = b->next, *done = b->done;
    REAL *y = b->y;
    const vec shift = splat(top), factor = splat(b->factor);
    const long own = apart < 0 ? n : apart / LANES * LANES;
    long head = 0, whole = n;
    if (scales && past) whole_lines(y, n, &head, &whole);
    const long start = scales && !past ? first_stored(x, next, y, n) : 0;
    vec largest[2] = {splat(-INFINITY), splat(-INFINITY)};
    double total = 0;
    long at = head + start, stop = whole;
    if (head) scale_head(b, head);
    for (long i = 0, end; i < n; i = end) {
        const int is_own = i == own;
        vec sum[2] = {{0}};
        end = min_l(n, is_own ? i + LANES : i < own ? min_l(own, i + ROW_BLOCK) : i + ROW_BLOCK);
        for (;;) {
            long pairs = (scales ? min_l(end - i, stop - at) : end - i) / (2 * LANES);
            for (; pairs > 0; pairs--, i += 2 * LANES, at += 2 * LANES) {
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
                if (scales) store_to(y + at, load(done + at) * factor, past);
                if (scales) store_to(y + at + LANES, load(done + at + LANES) * factor, past);
            }
            if (!start || stop == start || at + 2 * LANES <= stop) break;
            scale_tail(b, at, n, n); // and on from the beginning
            at = 0;
            stop = start;
        }
        for (; i < end; i += LANES) {
            const long part = end - i < LANES ? end - i : 0;
            vec v = vexp_below((part ? load_filled(x + i, part, -INFINITY) : load(x + i)) - shift);
            if (scales || e) store_some(e + i, v, part);
            if (is_own) v = blend((ivec)(lane_numbers() == isplat((INT)(apart - own))), (vec){0}, v);
            v += sum[0]; // by turns, as in pairs
            sum[0] = sum[1];
            sum[1] = v;
            largest[0] = vmax(part ? load_filled(next + i, part, -INFINITY) : load(next + i), largest[0]);
        }
        total += add_lanes(sum[0] + sum[1]);
    }
    b->top = max_lanes(vmax(largest[0], largest[1]));
    if (!scales) return total;
    if (stop != start) {
        scale_tail(b, at, whole, n);
        at = 0;
    }
    for (; at < start; at += LANES) store(y + at, load(done + at) * factor);
    return total;
}

// Functions of their own, for want of registers.
static NOINLINE __attribute__((unused)) double exp_row(const REAL *x, REAL *e, long n, REAL top, long apart, beside *b) {
    if (!e) return exp_row_beside(x, NULL, n, top, apart, 0, 0, b);
    return b->past ? exp_row_beside(x, e, n, top, apart, 0, 1, b) : exp_row_beside(x, e, n, top, apart, 0, 0, b);
}
static NOINLINE __attribute__((unused)) double exp_row_scaling(const REAL *x, REAL *e, long n, REAL top, long apart,
                                                               beside *b) {
    return b->past ? exp_row_beside(x, e, n, top, apart, 1, 1, b) : exp_row_beside(x, e, n, top, apart, 1, 0, b);
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
