// Elementwise arithmetic: a flop or two per element (20 to 30 for exp, log, sin; 60 for pow) and 8 to 12 bytes moved.
//
// The plain version walks an index per element. Here axes along which all operands walk alike are first made one, so
// that what is left is a few long rows: a flat loop for equal shapes and for a scalar, rows with a vector or with one
// number each for what broadcasts in two dimensions, an odometer over the outer axes for the rest. Narrow rows that meet
// a vector ([R, 10] + [10]) are taken many at a time against a tile of copies of it.
//
// Large operands are read ahead (simd.h), which the costlier functions gain most from: on a Granite Rapids logarithms of
// what lies in memory took 28 ns for a vector of 16 on one core, so 6.5, sines 15 and 5.
//
// Copies order the axes by where they write and take memcpy for rows that lie together on both sides; where what lies
// together in x is another axis than in y, a block at a time goes through a buffer, so that each cache line is read and
// written once, whole.
#include "elementwise.h"
#include "flat.h"
#include "vmath.h"
#include <string.h>

// ---- one operand ----

INLINE vec sign_of(vec x) {
    const vec zero = {0}, one = splat(1);
    return blend((ivec)(x != x), x, (vec)(((ivec)(x > zero) & (ivec)one) | ((ivec)(x < zero) & (ivec)-one)));
}

INLINE vec unary_of(const int op, vec x) {
    switch (op) {
    case NEG: return -x;
    case EXP: return vexp(x);
    case LOG: return vlog(x);
    case SQRT: return vsqrt(x);
    case SQUARE: return x * x;
    case ABS: return vabs(x);
    case SIGN: return sign_of(x);
    case RECIPROCAL: return splat(1) / x;
    case SIN: return vsin(x);
    default: return vcos(x);
    }
}

INLINE vec unary_gradient(const int op, vec dy, vec x, vec y) {
    switch (op) {
    case NEG: return -dy;
    case EXP: return dy * y;
    case LOG: return dy / x;
    case SQRT: return dy * splat((REAL)0.5) / y;
    case SQUARE: return splat(2) * dy * x;
    case ABS: return dy * sign_of(x);
    case SIGN: return (vec){0};
    case RECIPROCAL: return -dy * y * y;
    case SIN: return dy * vcos(x);
    default: return -dy * vsin(x);
    }
}

typedef struct {
    const REAL *dy, *x, *y;
    REAL *out;
    int op, past;
} unary_job;

INLINE void unary_loop(const int op, const unary_job *g, long first, long n) {
    const REAL *x = g->x + first;
    REAL *out = g->out + first;
    long i = 0;
    for (; i + LANES <= n; i += LANES) store_to(out + i, unary_of(op, load_from(x + i, g->past)), g->past);
    if (i < n) store_part(out + i, unary_of(op, load_part(x + i, n - i)), n - i);
}

INLINE void gradient_loop(const int op, const unary_job *g, long first, long n) {
    const REAL *dy = g->dy + first, *x = g->x + first, *y = g->y + first;
    REAL *out = g->out + first;
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec d = load_from(dy + i, g->past), from = load_from(x + i, g->past), to = load_from(y + i, g->past);
        store_to(out + i, unary_gradient(op, d, from, to), g->past);
    }
    if (i == n) return;
    n -= i;
    store_part(out + i, unary_gradient(op, load_part(dy + i, n), load_part(x + i, n), load_part(y + i, n)), n);
}

#define EACH_UNARY(LOOP)                                                                                               \
    LOOP(NEG) LOOP(EXP) LOOP(LOG) LOOP(SQRT) LOOP(SQUARE) LOOP(ABS) LOOP(SIGN) LOOP(RECIPROCAL) LOOP(SIN) LOOP(COS)

static void unary_chunk(void *job, long first, long n) {
    const unary_job *g = job;
    switch (g->op) {
#define LOOP(op)                                                                                                       \
    case op: unary_loop(op, g, first, n); break;
        EACH_UNARY(LOOP)
#undef LOOP
    }
}

static void gradient_chunk(void *job, long first, long n) {
    const unary_job *g = job;
    switch (g->op) {
#define LOOP(op)                                                                                                       \
    case op: gradient_loop(op, g, first, n); break;
        EACH_UNARY(LOOP)
#undef LOOP
    }
}

static void unary(long n, const void *x, void *y, int op) {
    unary_job g = {NULL, x, NULL, y, op, x != y && goes_past(2 * n, y)};
    flat_for(n, op == EXP || op == LOG || op >= SIN ? 2 : 1, unary_chunk, &g);
}

static void unary_backward(long n, const void *dy, const void *x, const void *y, void *dx, int op) {
    unary_job g = {dy, x, y, dx, op, dx != dy && dx != x && dx != y && goes_past(3 * n, dx)};
    flat_for(n, op >= SIN ? 2 : 1, gradient_chunk, &g);
}

// ---- broadcasting ----

enum { MAX_RANK = 64, INPUTS = 3 };

typedef struct {
    int rank; // outer axes
    long rows, length;
    long shape[MAX_RANK], stride[INPUTS][MAX_RANK]; // of the outer axes, innermost first
    long step[INPUTS];                              // along a row: 1, or 0 where the input is broadcast
} broadcast;

// The walk over y and its inputs, with as few axes as will do.
static void collapse(broadcast *g, operand y, const operand *input, int inputs) {
    long stride[INPUTS] = {1, 1, 1}; // of the axis at hand, were it not broadcast
    g->rank = -1;                    // axis -1 is the row itself
    g->rows = g->length = 1;
    for (int i = 0; i < INPUTS; i++) g->step[i] = 1;
    for (int axis = 1; axis <= y.rank; axis++) {
        long n = y.shape[y.rank - axis], here[INPUTS];
        if (n == 1) continue;
        int merges = 1; // with the axis before it; the first has none, and becomes the row whatever this says
        long inner = g->rank > 0 ? g->shape[g->rank - 1] : g->length;
        for (int i = 0; i < inputs; i++) {
            int whole = axis <= input[i].rank && input[i].shape[input[i].rank - axis] != 1;
            here[i] = whole ? stride[i] : 0;
            if (whole) stride[i] *= n;
            merges &= here[i] == inner * (g->rank > 0 ? g->stride[i][g->rank - 1] : g->step[i]);
        }
        if (g->rank < 0) { // the first axis that counts is the row
            g->rank = 0;
            g->length = n;
            for (int i = 0; i < inputs; i++) g->step[i] = here[i];
        } else if (merges) {
            if (g->rank) g->shape[g->rank - 1] *= n;
            else g->length *= n;
        } else {
            for (int i = 0; i < inputs; i++) g->stride[i][g->rank] = here[i];
            g->shape[g->rank++] = n;
        }
    }
    if (g->rank < 0) g->rank = 0;
    for (int axis = 0; axis < g->rank; axis++) g->rows *= g->shape[axis];
}

typedef struct {
    long index[MAX_RANK], at[INPUTS]; // where the row of each input begins
} cursor;

static void start_at(const broadcast *g, cursor *c, long row) {
    for (int i = 0; i < INPUTS; i++) c->at[i] = 0;
    for (int axis = 0; axis < g->rank; row /= g->shape[axis++]) {
        c->index[axis] = row % g->shape[axis];
        for (int i = 0; i < INPUTS; i++) c->at[i] += c->index[axis] * g->stride[i][axis];
    }
}

INLINE void next_row(const broadcast *g, cursor *c) {
    for (int axis = 0; axis < g->rank; axis++) {
        for (int i = 0; i < INPUTS; i++) c->at[i] += g->stride[i][axis];
        if (++c->index[axis] < g->shape[axis]) return;
        for (int i = 0; i < INPUTS; i++) c->at[i] -= g->shape[axis] * g->stride[i][axis];
        c->index[axis] = 0;
    }
}

typedef struct {
    broadcast walk;
    const void *input[INPUTS];
    void *y;
    int op, past;
} broadcast_job;

// Threads share the rows, or the elements where there is one row only.
static void broadcast_for(broadcast_job *g, long weight, flat_function rows, flat_function flat) {
    const broadcast *w = &g->walk;
    if (w->rank) flat_for(w->rows, weight * w->length + 4, rows, g);
    else flat_for(w->length, weight, flat, g);
}

// ---- two operands ----

INLINE vec binary_of(const int op, vec a, vec b) {
    switch (op) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return a / b;
    case POW: return vpow(a, b);
    case MAXIMUM: return max_or_nan(a, b);
    default: return min_or_nan(a, b);
    }
}

INLINE void binary_loop(const int op, const int steps_a, const int steps_b, long n, const REAL *a, const REAL *b, REAL *y,
                        int past) {
    vec va = splat(*a), vb = splat(*b);
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        ask_near(a + i, steps_a && past);
        ask_near(b + i, steps_b && past);
        if (steps_a) va = load(a + i);
        if (steps_b) vb = load(b + i);
        store_to(y + i, binary_of(op, va, vb), past);
    }
    if (i == n) return;
    if (steps_a) va = load_part(a + i, n - i);
    if (steps_b) vb = load_part(b + i, n - i);
    store_part(y + i, binary_of(op, va, vb), n - i);
}

INLINE void binary_steps(const int op, long step_a, long step_b, long n, const REAL *a, const REAL *b, REAL *y, int past) {
    if (!step_b) binary_loop(op, 1, 0, n, a, b, y, past);
    else if (!step_a) binary_loop(op, 0, 1, n, a, b, y, past);
    else binary_loop(op, 1, 1, n, a, b, y, past);
}

static void binary_row(int op, long step_a, long step_b, long n, const REAL *a, const REAL *b, REAL *y, int past) {
    switch (op) {
    case ADD: binary_steps(ADD, step_a, step_b, n, a, b, y, past); break;
    case SUB: binary_steps(SUB, step_a, step_b, n, a, b, y, past); break;
    case MUL: binary_steps(MUL, step_a, step_b, n, a, b, y, past); break;
    case DIV: binary_steps(DIV, step_a, step_b, n, a, b, y, past); break;
    case POW: binary_steps(POW, step_a, step_b, n, a, b, y, past); break;
    case MAXIMUM: binary_steps(MAXIMUM, step_a, step_b, n, a, b, y, past); break;
    case MINIMUM: binary_steps(MINIMUM, step_a, step_b, n, a, b, y, past); break;
    }
}

static void binary_flat(void *job, long first, long n) {
    const broadcast_job *g = job;
    const broadcast *w = &g->walk;
    binary_row(g->op, w->step[0], w->step[1], n, (const REAL *)g->input[0] + first * w->step[0],
               (const REAL *)g->input[1] + first * w->step[1], (REAL *)g->y + first, g->past);
}

static void binary_rows(void *job, long first, long rows) {
    const broadcast_job *g = job;
    const broadcast *w = &g->walk;
    REAL *y = (REAL *)g->y + first * w->length;
    cursor c;
    for (start_at(w, &c, first); rows; rows--, y += w->length, next_row(w, &c))
        binary_row(g->op, w->step[0], w->step[1], w->length, (const REAL *)g->input[0] + c.at[0],
                   (const REAL *)g->input[1] + c.at[1], y, g->past);
}

// Narrow rows against one vector: operand `vector` is the same for all of them, the other walks on.
enum { TILE = 1024, TILE_BELOW = 128 };

static int tiled_operand(const broadcast *w) {
    if (w->rank != 1 || w->length >= TILE_BELOW || !w->step[0] || !w->step[1]) return -1;
    return w->stride[1][0] == 0 ? 1 : w->stride[0][0] == 0 ? 0 : -1;
}

// The operation on n elements, from element `at` of the result on.
typedef void (*tiled_run)(const broadcast_job *g, long n, const REAL *a, const REAL *b, long at);

static void run_tiled(const broadcast_job *g, tiled_run run, long first, long rows) {
    const long n = g->walk.length, together = min_l(rows, TILE / n);
    const int vector = tiled_operand(&g->walk);
    REAL tile[TILE];
    for (long i = 0; i < together; i++) memcpy(tile + i * n, g->input[vector], (size_t)n * sizeof(REAL));
    const REAL *other = g->input[!vector];
    for (long at = first * n, end = at + rows * n, count; at < end; at += count) {
        count = min_l(end - at, together * n);
        run(g, count, vector ? other + at : tile, vector ? tile : other + at, at);
    }
}

static void binary_run(const broadcast_job *g, long n, const REAL *a, const REAL *b, long at) {
    binary_row(g->op, 1, 1, n, a, b, (REAL *)g->y + at, g->past);
}

static void binary_tiled(void *job, long first, long rows) { run_tiled(job, binary_run, first, rows); }

static long size_of(operand x) {
    long n = 1;
    for (int i = 0; i < x.rank; i++) n *= x.shape[i];
    return n;
}

static void binary(operand a, operand b, operand y, int op) {
    broadcast_job g = {.input = {a.data, b.data}, .y = y.data, .op = op};
    if (!size_of(y)) return;
    if (op == POW && size_of(b) == 1 && *(const REAL *)b.data == 2 && size_of(a) == size_of(y)) {
        unary(size_of(y), a.data, y.data, SQUARE);
        return;
    }
    collapse(&g.walk, y, (operand[]){a, b}, 2);
    int rows_whole = !g.walk.rank || g.walk.length % LANES == 0;
    g.past = y.data != a.data && y.data != b.data && rows_whole && goes_past(size_of(a) + size_of(b) + size_of(y), y.data);
    broadcast_for(&g, op == POW ? 4 : 1, tiled_operand(&g.walk) >= 0 ? binary_tiled : binary_rows, binary_flat);
}

// ---- comparison: bytes, which the compiler packs well from plain loops ----

#define COMPARE(name, op)                                                                                              \
    INLINE void name##_loop(const long step_a, const long step_b, long n, const REAL *restrict a,                      \
                            const REAL *restrict b, uint8_t *restrict y) {                                             \
        for (long i = 0; i < n; i++) y[i] = a[i * step_a] op b[i * step_b];                                            \
    }                                                                                                                  \
    static void name##_row(long step_a, long step_b, long n, const REAL *a, const REAL *b, uint8_t *y) {               \
        if (!step_b) name##_loop(1, 0, n, a, b, y);                                                                    \
        else if (!step_a) name##_loop(0, 1, n, a, b, y);                                                               \
        else name##_loop(1, 1, n, a, b, y);                                                                            \
    }
COMPARE(equal, ==)
COMPARE(not_equal, !=)
COMPARE(less, <)
COMPARE(less_equal, <=)
COMPARE(greater, >)
COMPARE(greater_equal, >=)

static void (*const compare_row[])(long step_a, long step_b, long n, const REAL *a, const REAL *b, uint8_t *y) = {
    equal_row, not_equal_row, less_row, less_equal_row, greater_row, greater_equal_row,
};

static void compare_flat(void *job, long first, long n) {
    const broadcast_job *g = job;
    const broadcast *w = &g->walk;
    compare_row[g->op](w->step[0], w->step[1], n, (const REAL *)g->input[0] + first * w->step[0],
                       (const REAL *)g->input[1] + first * w->step[1], (uint8_t *)g->y + first);
}

static void compare_rows(void *job, long first, long rows) {
    const broadcast_job *g = job;
    const broadcast *w = &g->walk;
    uint8_t *y = (uint8_t *)g->y + first * w->length;
    cursor c;
    for (start_at(w, &c, first); rows; rows--, y += w->length, next_row(w, &c))
        compare_row[g->op](w->step[0], w->step[1], w->length, (const REAL *)g->input[0] + c.at[0],
                           (const REAL *)g->input[1] + c.at[1], y);
}

static void compare_run(const broadcast_job *g, long n, const REAL *a, const REAL *b, long at) {
    compare_row[g->op](1, 1, n, a, b, (uint8_t *)g->y + at);
}

static void compare_tiled(void *job, long first, long rows) { run_tiled(job, compare_run, first, rows); }

static void compare(operand a, operand b, operand y, int op) {
    broadcast_job g = {.input = {a.data, b.data}, .y = y.data, .op = op};
    if (!size_of(y)) return;
    collapse(&g.walk, y, (operand[]){a, b}, 2);
    broadcast_for(&g, 1, tiled_operand(&g.walk) >= 0 ? compare_tiled : compare_rows, compare_flat);
}

// ---- selection ----

INLINE ivec chosen(const uint8_t *condition, long count) {
    if (count == LANES) return (ivec)(load_bytes(condition) != 0);
    ivec v = {0};
    for (long i = 0; i < LANES && i < count; i++) v[i] = -(condition[i] != 0);
    return v;
}

INLINE void select_loop(const long step_a, const long step_b, long n, const uint8_t *c, const REAL *a, const REAL *b, REAL *y,
                        int past) {
    vec yes = splat(*a), no = splat(*b);
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (step_a) yes = load_from(a + i, past);
        if (step_b) no = load_from(b + i, past);
        ask_ahead(c + i, past);
        store_to(y + i, blend(chosen(c + i, LANES), yes, no), past);
    }
    if (i == n) return;
    if (step_a) yes = load_part(a + i, n - i);
    if (step_b) no = load_part(b + i, n - i);
    store_part(y + i, blend(chosen(c + i, n - i), yes, no), n - i);
}

static void select_row(const long *step, long n, const uint8_t *c, const REAL *a, const REAL *b, REAL *y, int past) {
    if (!step[0]) // one condition for all
        for (long i = 0; i < n; i++) y[i] = *c ? a[i * step[1]] : b[i * step[2]];
    else if (step[1] && step[2]) select_loop(1, 1, n, c, a, b, y, past);
    else if (step[1]) select_loop(1, 0, n, c, a, b, y, past);
    else if (step[2]) select_loop(0, 1, n, c, a, b, y, past);
    else select_loop(0, 0, n, c, a, b, y, past);
}

static void select_flat(void *job, long first, long n) {
    const broadcast_job *g = job;
    const long *step = g->walk.step;
    select_row(step, n, (const uint8_t *)g->input[0] + first * step[0], (const REAL *)g->input[1] + first * step[1],
               (const REAL *)g->input[2] + first * step[2], (REAL *)g->y + first, g->past);
}

static void select_rows(void *job, long first, long rows) {
    const broadcast_job *g = job;
    const broadcast *w = &g->walk;
    REAL *y = (REAL *)g->y + first * w->length;
    cursor c;
    for (start_at(w, &c, first); rows; rows--, y += w->length, next_row(w, &c))
        select_row(w->step, w->length, (const uint8_t *)g->input[0] + c.at[0], (const REAL *)g->input[1] + c.at[1],
                   (const REAL *)g->input[2] + c.at[2], y, g->past);
}

static void select_(operand condition, operand a, operand b, operand y) {
    broadcast_job g = {.input = {condition.data, a.data, b.data}, .y = y.data};
    if (!size_of(y)) return;
    collapse(&g.walk, y, (operand[]){condition, a, b}, 3);
    g.past = !g.walk.rank && y.data != a.data && y.data != b.data && goes_past(3 * size_of(y), y.data);
    broadcast_for(&g, 1, select_rows, select_flat);
}

// ---- copies: they know items of some bytes, not their type ----

enum {
    EDGE = 16,       // items along a block to be transposed
    WHOLE_BLOCK = 8, // shorter axes are not worth one
    PIECE = 16384    // items that a thread claims of a long row
};

typedef struct {
    long n, x, y; // strides in bytes
} copy_axis;

typedef struct {
    int rank, transposed, past;
    copy_axis outer[MAX_RANK], row, across; // `across` lies together in x where `row` does in y
    long item, piece, pieces; // `across`, or else the row, is cut into pieces for the threads
    const char *x;
    char *y;
} copy_job;

// Size is a constant in each of these loops: memcpy becomes one load and one store.
INLINE void strided_run(const long size, long n, const char *x, long xs, char *y, long ys) {
    for (long i = 0; i < n; i++, x += xs, y += ys) memcpy(y, x, size);
}

INLINE void repeat_run(const long size, long n, const char *x, char *y) {
    char item[16];
    memcpy(item, x, size);
    for (long i = 0; i < n; i++) memcpy(y + i * size, item, size);
}

static void copy_run(long size, copy_axis a, const char *x, char *y) {
    if (a.x == size && a.y == size) {
        memcpy(y, x, (size_t)(a.n * size));
        return;
    }
    const int repeats = a.x == 0 && a.y == size;
    switch (size) {
#define SIZE(s)                                                                                                        \
    case s:                                                                                                            \
        if (repeats) repeat_run(s, a.n, x, y);                                                                         \
        else strided_run(s, a.n, x, a.x, y, a.y);                                                                      \
        break;
        SIZE(1) SIZE(2) SIZE(4) SIZE(8) SIZE(16)
#undef SIZE
    default: strided_run(size, a.n, x, a.x, y, a.y);
    }
}

// What of a run fills whole vectors, past the caches; returns how many items that were.
static long copy_past(long size, copy_axis a, const char *x, char *y) {
    long bytes = a.n * size / VBYTES * VBYTES;
    vec v = {0};
    if (a.x == 0)
        for (long i = 0; i < VBYTES; i += size) memcpy((char *)&v + i, x, (size_t)size);
    for (long i = 0; i < bytes; i += VBYTES) {
        if (a.x) memcpy(&v, x + i, VBYTES);
        store_past((REAL *)(y + i), v);
    }
    return bytes / size;
}

// y[i][j] = x[j][i] for i < m, j < n; rows of x are xs bytes apart, those of y ys.
INLINE void transpose(const long size, long m, long n, const char *x, long xs, char *y, long ys) {
    char block[EDGE * EDGE * 8];
    for (long j0 = 0; j0 < n; j0 += EDGE) {
        long nj = min_l(EDGE, n - j0);
        for (long i0 = 0; i0 < m; i0 += EDGE) {
            long ni = min_l(EDGE, m - i0);
            for (long j = 0; j < nj; j++) {
                const char *from = x + (j0 + j) * xs + i0 * size;
                if (ni == EDGE) memcpy(block + j * EDGE * size, from, EDGE * size);
                else memcpy(block + j * EDGE * size, from, (size_t)(ni * size));
            }
            for (long i = 0; i < ni; i++) {
                char *to = y + (i0 + i) * ys + j0 * size;
                if (nj == EDGE)
#pragma GCC unroll 16
                    for (long j = 0; j < EDGE; j++) memcpy(to + j * size, block + (j * EDGE + i) * size, size);
                else
                    for (long j = 0; j < nj; j++) memcpy(to + j * size, block + (j * EDGE + i) * size, size);
            }
        }
    }
}

static void copy_items(void *job, long first, long count) {
    const copy_job *g = job;
    const copy_axis cut = g->transposed ? g->across : g->row;
    const char *x = g->x;
    char *y = g->y;
    long index[MAX_RANK], piece = first % g->pieces, rest = first / g->pieces;
    for (int axis = g->rank - 1; axis >= 0; rest /= g->outer[axis--].n) {
        index[axis] = rest % g->outer[axis].n;
        x += index[axis] * g->outer[axis].x;
        y += index[axis] * g->outer[axis].y;
    }
    for (; count; count--) {
        long from = piece * g->piece;
        copy_axis run = {min_l(g->piece, cut.n - from), cut.x, cut.y};
        const char *px = x + from * cut.x;
        char *py = y + from * cut.y;
        if (g->past) {
            long done = copy_past(g->item, run, px, py);
            run.n -= done;
            px += done * run.x;
            py += done * run.y;
        }
        if (!g->transposed) copy_run(g->item, run, px, py);
        else if (g->item == 4) transpose(4, run.n, g->row.n, px, g->row.x, py, cut.y);
        else if (g->item == 8) transpose(8, run.n, g->row.n, px, g->row.x, py, cut.y);
        else if (g->item == 2) transpose(2, run.n, g->row.n, px, g->row.x, py, cut.y);
        else transpose(1, run.n, g->row.n, px, g->row.x, py, cut.y);
        if (++piece < g->pieces) continue;
        piece = 0;
        for (int axis = g->rank - 1; axis >= 0; axis--) {
            const copy_axis a = g->outer[axis];
            x += a.x;
            y += a.y;
            if (++index[axis] < a.n) break;
            x -= a.n * a.x;
            y -= a.n * a.y;
            index[axis] = 0;
        }
    }
}

static void copy(int rank, const intptr_t *shape, view x, view y, long item) {
    copy_job g = {.item = item, .x = x.data, .y = y.data};
    copy_axis *axes = g.outer;
    for (int i = 0; i < rank; i++) {
        copy_axis a = {shape[i], x.stride[i], y.stride[i]};
        if (a.n == 0) return;
        if (a.n == 1) continue;
        if (a.y < 0) { // write forwards
            g.x += (a.n - 1) * a.x;
            g.y += (a.n - 1) * a.y;
            a.x = -a.x;
            a.y = -a.y;
        }
        int at = g.rank++;
        for (; at && axes[at - 1].y < a.y; at--) axes[at] = axes[at - 1];
        axes[at] = a;
    }
    int merged = 0;
    for (int i = 0; i < g.rank; i++) {
        copy_axis *outer = &axes[merged - 1];
        if (merged && outer->y == axes[i].y * axes[i].n && outer->x == axes[i].x * axes[i].n)
            *outer = (copy_axis){outer->n * axes[i].n, axes[i].x, axes[i].y};
        else axes[merged++] = axes[i];
    }
    g.rank = merged;
    g.row = g.rank ? axes[--g.rank] : (copy_axis){1, item, item};
    if (g.row.y == item && g.row.x != item && g.row.x != 0 && g.row.n >= WHOLE_BLOCK && item <= 8 && !(item & (item - 1)))
        for (int i = 0; i < g.rank; i++)
            if (axes[i].x == item && axes[i].n >= WHOLE_BLOCK) {
                g.transposed = 1;
                g.across = axes[i];
                memmove(axes + i, axes + i + 1, (size_t)(--g.rank - i) * sizeof *axes);
            }
    int together = (g.row.x == item || g.row.x == 0) && g.row.y == item;
    g.past = !g.rank && together && VBYTES % item == 0 && x.data != y.data &&
             goes_past(2 * g.row.n * item / (long)sizeof(REAL), g.y);
    long rows = 1, cut = g.transposed ? g.across.n : g.row.n;
    for (int i = 0; i < g.rank; i++) rows *= axes[i].n;
    g.piece = g.transposed ? round_up(max_l(PIECE / g.row.n, 1), EDGE) : PIECE;
    g.pieces = div_up(cut, g.piece);
    flat_for(rows * g.pieces, min_l(cut, g.piece) * (g.transposed ? g.row.n : 1), copy_items, &g);
}

const elementwise_kernels NAME(elementwise_kernels) = {unary, unary_backward, binary, compare, select_, copy};
