// Reductions of x [A, R, B] over R: x read once, one flop per element, bound by memory.
//
// The plain version walks R for each (a, b): strided where B > 1, and a chain of dependent additions where B = 1. Here
// every case is a sum down columns. A strip of at most WIDTH columns stays in L1 and rows are added to it, four at a
// time; narrow rows (B = 1 above all) are first taken `fold` at a time as one wide row, whose columns are added up at
// the end, by halves (32 x 784 x 3, by one thread 56 us, so 4). After BLOCK_ROWS wide rows the strip, in REAL, is added to
// a total in double: errors grow with the block, not with R. Long reductions are cut into pieces for the threads by size
// alone: the result does not depend on the threads.
//
// Past the caches what counts is that lines are read in the order in which they lie: four rows at a time, narrow as they
// are, come at 14 GB/s a core (even with each line fetched ahead), one after the other at 31 to 35 (copying: 45). There
// narrow rows are added up in registers and those of up to FOLD_TO one by one, in runs of which each block has a few, so
// that no chain is longer. Wide rows stay with four at a time: their strips in L1 get in the way of so long runs of memory.
//
// Maxima and minima run the same way. Rows of few elements with B = 1 skip all that.
#include "reduce.h"
#include "arena.h"
#include "flat.h"
#include "vmath.h"
#include <string.h>

enum {
    REGISTERS = 8, // vectors that are summed up side by side
    NARROW = REGISTERS * LANES,
    WIDTH = 1024,
    FOLD_BELOW = 256,     // narrower rows are folded ...
    FOLD_TO = 512,        // ... to at most this width, by twos, so that halves are added up at the end,
    WIDE_ROWS = 8,        // and as long as so many remain
    BLOCK_ROWS = 64,
    IN_TURN = 16,         // rows added one by one, where x is too large for the caches
    AHEAD = 4,            // rows fetched before their use there, where they are wide
    SHORT_ROW = 128 * LANES,
    PIECE_ELEMENTS = 65536,
    ENOUGH_ITEMS = 16     // independent (a, strip) pairs with which R need not be cut
};

INLINE vec combine(const int op, vec a, vec b) {
    switch (op) {
    case REDUCE_MAX: return max_or_nan(a, b);
    case REDUCE_MIN: return min_or_nan(a, b);
    default: return a + b;
    }
}

INLINE double combine_double(const int op, double a, double b) {
    switch (op) {
    case REDUCE_MAX: return a > b || a != a ? a : b;
    case REDUCE_MIN: return a < b || a != a ? a : b;
    default: return a + b;
    }
}

INLINE double neutral(const int op) { return op == REDUCE_MAX ? -INFINITY : op == REDUCE_MIN ? INFINITY : 0; }

typedef struct {
    long a, r, b, fold, strips, pieces, piece; // pieces of `piece` wide rows
    const REAL *x;
    REAL *y;
    double *partial; // [pieces][a][b], or NULL where one piece goes straight to y
    int op, large;
} reduce_job;

INLINE void combine_row(const int op, const REAL *x, long width, REAL *strip) {
    long j = 0;
    for (; j + LANES <= width; j += LANES) store(strip + j, combine(op, load(strip + j), load(x + j)));
    if (j == width) return;
    store_part(strip + j, combine(op, load_part(strip + j, width - j), load_part(x + j, width - j)), width - j);
}

// strip = rows of x combined, at least one, `ld` apart: four by four.
INLINE void combine_rows(const int op, const int ahead, const REAL *x, long ld, long rows, long width, REAL *strip) {
    long r = 1;
    memcpy(strip, x, (size_t)width * sizeof(REAL));
    for (; r + 4 <= rows; r += 4) {
        const REAL *x0 = x + r * ld, *x1 = x0 + ld, *x2 = x1 + ld, *x3 = x2 + ld;
        long j = 0;
        for (; j + LANES <= width; j += LANES) {
            if (ahead)
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) __builtin_prefetch(x0 + (ahead + i) * ld + j);
            vec pair = combine(op, load(x0 + j), load(x1 + j)), other = combine(op, load(x2 + j), load(x3 + j));
            store(strip + j, combine(op, load(strip + j), combine(op, pair, other)));
        }
        if (j == width) continue;
        long n = width - j;
        vec pair = combine(op, load_part(x0 + j, n), load_part(x1 + j, n));
        vec other = combine(op, load_part(x2 + j, n), load_part(x3 + j, n));
        store_part(strip + j, combine(op, load_part(strip + j, n), combine(op, pair, other)), n);
    }
    for (; r < rows; r++) combine_row(op, x + r * ld, width, strip);
}

// The same for rows that lie side by side, one by one in runs of IN_TURN.
INLINE void combine_in_turn(const int op, const REAL *x, long rows, long width, REAL *strip) {
    REAL run[FOLD_TO];
    for (long r = 0; r < rows; r += IN_TURN) {
        REAL *into = r ? run : strip;
        memcpy(into, x + r * width, (size_t)width * sizeof(REAL));
        for (long q = r + 1, end = min_l(rows, r + IN_TURN); q < end; q++) combine_row(op, x + q * width, width, into);
        if (r) combine_row(op, run, width, strip);
    }
}

// And for those as wide as REGISTERS vectors.
INLINE void combine_narrow(const int op, const REAL *x, long rows, REAL *strip) {
    vec all[REGISTERS] = {{0}};
    for (long r = 0; r < rows; r += IN_TURN) {
        vec run[REGISTERS];
#pragma GCC unroll 8
        for (int k = 0; k < REGISTERS; k++) run[k] = load(x + r * NARROW + k * LANES);
        for (long q = r + 1, end = min_l(rows, r + IN_TURN); q < end; q++)
#pragma GCC unroll 8
            for (int k = 0; k < REGISTERS; k++) run[k] = combine(op, run[k], load(x + q * NARROW + k * LANES));
#pragma GCC unroll 8
        for (int k = 0; k < REGISTERS; k++) all[k] = r ? combine(op, all[k], run[k]) : run[k];
    }
#pragma GCC unroll 8
    for (int k = 0; k < REGISTERS; k++) store(strip + k * LANES, all[k]);
}

// One piece of one strip of one a.
INLINE void reduce_piece(const int op, const reduce_job *g, long item) {
    REAL strip[WIDTH];
    double total[WIDTH];
    long piece = item % g->pieces, s = item / g->pieces % g->strips, a = item / g->pieces / g->strips;
    long ld = g->b * g->fold, left = s * WIDTH, width = min_l(WIDTH, ld - left);
    long columns = g->fold > 1 ? g->b : width; // folded rows make one strip
    const REAL *x = g->x + a * g->r * g->b + left;
    long wide = g->r / g->fold, r = piece * g->piece, end = min_l(wide, r + g->piece);
    const long rest = end == wide ? g->r % g->fold * g->b : 0; // elements of the rows that fill no wide one
    const int single = g->fold == 1 && !g->partial && r < end && end <= r + BLOCK_ROWS; // the strip is the result
    for (long j = 0; !single && j < width; j++) total[j] = neutral(op);
    for (long rows; r < end; r += rows) {
        rows = min_l(BLOCK_ROWS, end - r);
        if (g->large && ld == NARROW) combine_narrow(op, x + r * ld, rows, strip);
        else if (g->large && ld <= FOLD_TO) combine_in_turn(op, x + r * ld, rows, width, strip);
        else if (g->large) combine_rows(op, AHEAD, x + r * ld, ld, rows, width, strip);
        else combine_rows(op, 0, x + r * ld, ld, rows, width, strip);
        if (rest && r + rows == wide) combine_row(op, x + wide * ld, rest, strip);
        for (long j = 0; !single && j < width; j++) total[j] = combine_double(op, total[j], strip[j]);
    }
    for (long half = width / 2; half >= columns; half /= 2)
        for (long j = 0; j < half; j++) total[j] = combine_double(op, total[j], total[j + half]);
    if (g->partial) {
        memcpy(g->partial + (piece * g->a + a) * g->b + left, total, (size_t)columns * sizeof(double));
        return;
    }
    REAL *y = g->y + a * g->b + left;
    if (single)
        for (long j = 0; j < columns; j++) y[j] = op == REDUCE_MEAN ? strip[j] / (REAL)g->r : strip[j];
    else
        for (long j = 0; j < columns; j++) y[j] = (REAL)(op == REDUCE_MEAN ? total[j] / g->r : total[j]);
}

static void reduce_items(void *job, long first, long count) {
    const reduce_job *g = job;
    for (long i = first; i < first + count; i++) switch (g->op) {
        case REDUCE_SUM: reduce_piece(REDUCE_SUM, g, i); break;
        case REDUCE_MEAN: reduce_piece(REDUCE_MEAN, g, i); break;
        case REDUCE_MAX: reduce_piece(REDUCE_MAX, g, i); break;
        case REDUCE_MIN: reduce_piece(REDUCE_MIN, g, i); break;
        }
}

// ---- short rows: R <= SHORT_ROW, B = 1 ----

enum { CHAINS = 4 }; // vectors in flight, for each combination waits for the one before

INLINE REAL reduce_row(const int op, const REAL *x, long n) {
    long i = 0;
    REAL y = (REAL)neutral(op);
    if (n >= LANES) {
        vec v[CHAINS];
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) v[c] = splat((REAL)neutral(op));
        for (; i + CHAINS * LANES <= n; i += CHAINS * LANES)
#pragma GCC unroll 4
            for (int c = 0; c < CHAINS; c++) v[c] = combine(op, v[c], load(x + i + c * LANES));
        for (; i + LANES <= n; i += LANES) v[0] = combine(op, v[0], load(x + i));
        v[0] = combine(op, combine(op, v[0], v[1]), combine(op, v[2], v[3]));
#pragma GCC unroll 4
        for (int step = LANES / 2; step; step /= 2) v[0] = combine(op, v[0], swap_lanes(v[0], step));
        y = v[0][0];
    }
    for (; i < n; i++) y = (REAL)combine_double(op, y, x[i]);
    return op == REDUCE_MEAN ? y / n : y;
}

static void reduce_short_rows(void *job, long first, long rows) {
    const reduce_job *g = job;
    for (long i = first; i < first + rows; i++) {
        const REAL *x = g->x + i * g->r;
        switch (g->op) {
        case REDUCE_SUM: g->y[i] = reduce_row(REDUCE_SUM, x, g->r); break;
        case REDUCE_MEAN: g->y[i] = reduce_row(REDUCE_MEAN, x, g->r); break;
        case REDUCE_MAX: g->y[i] = reduce_row(REDUCE_MAX, x, g->r); break;
        case REDUCE_MIN: g->y[i] = reduce_row(REDUCE_MIN, x, g->r); break;
        }
    }
}

static int reduce(long a, long r, long b, const void *x, void *y, int op) {
    const int large = a * r * b * (long)sizeof(REAL) >= STREAM_BYTES;
    reduce_job g = {.a = a, .r = r, .b = b, .fold = 1, .pieces = 1, .x = x, .y = y, .op = op, .large = large};
    if (a * b == 0) return 0;
    if (b == 1 && r <= SHORT_ROW) {
        flat_for(a, r + 4, reduce_short_rows, &g);
        return 0;
    }
    if (large && NARROW % b == 0 && r * b >= NARROW) g.fold = NARROW / b;
    else
        while (b < FOLD_BELOW && 2 * g.fold * b <= FOLD_TO && (g.fold * b < LANES ? 2 : 2 * WIDE_ROWS) * g.fold <= r)
            g.fold *= 2;
    long ld = b * g.fold, wide = r / g.fold;
    g.strips = div_up(ld, WIDTH);
    if (a * g.strips < ENOUGH_ITEMS) g.pieces = max_l(1, min_l(32, r * b / g.strips / PIECE_ELEMENTS));
    g.piece = round_up(div_up(wide, g.pieces), BLOCK_ROWS);
    g.pieces = max_l(1, div_up(wide, max_l(g.piece, 1)));
    if (g.pieces > 1 && !(g.partial = scratch(SCRATCH_PARTIAL, (size_t)(g.pieces * a * b) * sizeof(double)))) return -1;
    flat_for(a * g.strips * g.pieces, min_l(wide, max_l(g.piece, 1)) * min_l(WIDTH, ld), reduce_items, &g);
    if (g.pieces == 1) return 0;
    for (long i = 0; i < a * b; i++) {
        double total = g.partial[i];
        for (long p = 1; p < g.pieces; p++) {
            double next = g.partial[p * a * b + i];
            total = op == REDUCE_MAX   ? combine_double(REDUCE_MAX, total, next)
                    : op == REDUCE_MIN ? combine_double(REDUCE_MIN, total, next)
                                       : total + next;
        }
        g.y[i] = (REAL)(op == REDUCE_MEAN ? total / r : total);
    }
    return 0;
}

// ---- argmax: the largest element, then its first place; NaN counts as the largest, as in NumPy ----

typedef struct {
    long n;
    const REAL *x;
    int32_t *y;
} argmax_job;

// Rows that fill a vector end with one that reaches back into the last: what it holds twice changes nothing.
INLINE long row_argmax(const REAL *x, long n) {
    const long last = n - LANES;
    long i = 0;
    if (last < 0) {
        long at = 0;
        for (i = 1; i < n; i++)
            if (x[i] > x[at] || (x[i] != x[i] && x[at] == x[at])) at = i;
        return at;
    }
    vec top[CHAINS];
    ivec nan[CHAINS] = {{0}};
#pragma GCC unroll 4
    for (int c = 0; c < CHAINS; c++) top[c] = splat(-INFINITY);
    for (; i + CHAINS * LANES <= n; i += CHAINS * LANES)
#pragma GCC unroll 4
        for (int c = 0; c < CHAINS; c++) {
            vec v = load(x + i + c * LANES);
            top[c] = vmax(v, top[c]);
            nan[c] |= (ivec)(v != v);
        }
    for (; i < n; i += LANES) {
        vec v = load(x + min_l(i, last));
        top[0] = vmax(v, top[0]);
        nan[0] |= (ivec)(v != v);
    }
    const int has_nan = any_lane((nan[0] | nan[1]) | (nan[2] | nan[3]));
    vec largest = vmax(vmax(top[0], top[1]), vmax(top[2], top[3]));
#pragma GCC unroll 4
    for (int step = LANES / 2; step; step /= 2) largest = vmax(largest, swap_lanes(largest, step));
    for (i = 0;; i = min_l(i + LANES, last)) {
        vec v = load(x + i);
        ivec found = has_nan ? (ivec)(v != v) : (ivec)(v == largest);
        if (any_lane(found)) return i + first_lane(found);
    }
}

static void argmax_rows(void *job, long first, long rows) {
    const argmax_job *g = job;
    for (long r = first; r < first + rows; r++) g->y[r] = (int32_t)row_argmax(g->x + r * g->n, g->n);
}

static void argmax(long rows, long n, const void *x, int32_t *y) {
    argmax_job g = {n, x, y};
    if (n) flat_for(rows, n + 4, argmax_rows, &g);
}

const reduce_kernels NAME(reduce_kernels) = {reduce, argmax};
