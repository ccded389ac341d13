// Recurrent layers over whole sequences.
//
// The plain version makes, at every step, one product with the input kernel and one with the recurrent kernel, then the
// gates, each over the whole batch. Here
//   1. the input projections of all steps are one GEMM, written straight to where the gates will stand;
//   2. the recurrent kernel is packed once, in panels of NR units per gate;
//   3. the batch is split across the threads for the whole sequence, so no barrier stands between steps; at a step a
//      thread adds the recurrent product of a panel of units on top of the projection and finishes those units' cells
//      while their gates are in L1;
//   4. backward, the steps leave the gradients of all gates in one buffer, and the gradients of weights, biases and
//      inputs are one GEMM each at the end.
// Flops: 2 N T G H (I + H) forward, twice that backward.
#include "recurrent.h"
#include "arena.h"
#include "columns.h"
#include "gemm.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

typedef struct {
    sequence_shape s;
    long share; // sequences per item
    const unsigned char *mask;
    const REAL *h0, *c0, *b, *packed, *h, *c, *gates, *dh;
    REAL *out_h, *out_c, *out_gates, *dz, *carry_h, *carry_c, *temporary;
    int activation, reset_after;
} sequence_job;

INLINE vec load_units(const REAL *p, long left) { return left >= LANES ? load(p) : load_part(p, left); }
INLINE void store_units(REAL *p, vec v, long left) {
    if (left >= LANES) store(p, v);
    else store_part(p, v, left);
}

// The state before step t as a matrix: its first row for sequence n, and its row stride.
typedef struct {
    const REAL *rows;
    long stride;
} state;
INLINE state previous(sequence_shape s, const REAL *initial, const REAL *all, long n, long t) {
    if (t == 0) return (state){initial + n * s.h, s.h};
    return (state){all + (n * s.t + t - 1) * s.h, s.t * s.h};
}

INLINE int skipped(const sequence_job *g, long n, long t) { return g->mask && !g->mask[n * g->s.t + t]; }

static void run(sequence_job *g, pool_function item) {
    g->share = max_l(1, div_up(g->s.n, pool_size()));
    pool_for(div_up(g->s.n, g->share), item, g);
}

// ---- the recurrent kernel in panels ----

INLINE long panels_size(long k, long n) { return k * round_up(n, NR); }

// u[h][gates * h], each gate packed on its own: panel p of gate q begins at q panels_size(h, h) + p h NR.
static REAL *pack_gates(long gates, long h, const REAL *u) {
    REAL *out = scratch(SCRATCH_WEIGHTS, (size_t)(gates * panels_size(h, h)) * sizeof(REAL) + 64);
    for (long q = 0; out && q < gates; q++) pack_columns(h, h, u + q * h, gates * h, 1, out + q * panels_size(h, h));
    return out;
}

// Its transpose, for the backward: one matrix [gates h][h].
static REAL *pack_transposed(long gates, long h, const REAL *u) {
    REAL *out = scratch(SCRATCH_WEIGHTS, (size_t)panels_size(gates * h, h) * sizeof(REAL) + 64);
    if (out) pack_columns(gates * h, h, u, 1, gates * h, out);
    return out;
}

// c[rows][h] (+)= a[rows][k] times a packed matrix [k][h] of which only k rows from row `from` of `depth` are used.
static void times_packed(long rows, long h, long k, const REAL *a, long rs, const REAL *packed, long depth, long from,
                         REAL *c, long ldc, epilogue e) {
    for (long j = 0; j < h; j += NR) {
        epilogue strip = {e.bias ? e.bias + j : NULL, e.add, e.activation};
        gemm_rows(rows, min_l(NR, h - j), k, a, rs, 1, packed + j * depth + from * NR, NR, c + j, ldc, strip);
    }
}

// ---- the ends: h_prev of all steps, and the gradients that are one GEMM each ----

// The state before every step, [n][t][h].
static REAL *all_previous(sequence_shape s, const REAL *h0, const REAL *h) {
    REAL *out = scratch(SCRATCH_INPUT, (size_t)(s.n * s.t * s.h) * sizeof(REAL) + 64);
    for (long n = 0; out && n < s.n; n++) {
        memcpy(out + n * s.t * s.h, h0 + n * s.h, (size_t)s.h * sizeof(REAL));
        memcpy(out + (n * s.t + 1) * s.h, h + n * s.t * s.h, (size_t)((s.t - 1) * s.h) * sizeof(REAL));
    }
    return out;
}

// dx = dz wᵀ, dw = xᵀ dz, db = column sums; dz has `gates` blocks of h columns, its rows ld apart.
static int input_gradients(sequence_shape s, long gates, const REAL *dz, long ld, const REAL *x, const REAL *w, REAL *dx,
                           REAL *dw, REAL *db, int accumulate) {
    long rows = s.n * s.t, n = gates * s.h;
    if (dx && gemm(rows, s.i, n, dz, ld, 1, w, 1, n, dx, s.i, (epilogue){NULL, 0, LINEAR})) return -1;
    if (db && column_sums(rows, n, dz, ld, db, accumulate)) return -1;
    return gemm(s.i, n, rows, x, 1, s.i, dz, ld, 1, dw, n, (epilogue){NULL, accumulate, LINEAR});
}

// du[h][from ... from + n] = h_prevᵀ dz
static int recurrent_gradient(sequence_shape s, const REAL *h_prev, long ldh, const REAL *dz, long ld, long n, REAL *du,
                              long ldu, int accumulate) {
    return gemm(s.h, n, s.n * s.t, h_prev, 1, ldh, dz, ld, 1, du, ldu, (epilogue){NULL, accumulate, LINEAR});
}

// dz, and the gradients carried from step to step; carry_h begins as zero, carry_c as dc_last or zero.
static int make_carries(sequence_job *g, long dz_columns, const REAL *dc_last) {
    size_t cells = (size_t)(g->s.n * g->s.h);
    g->dz = scratch(SCRATCH_PROJECTED, (size_t)(g->s.n * g->s.t * dz_columns) * sizeof(REAL) + 64);
    g->carry_h = scratch(SCRATCH_STATE, 3 * cells * sizeof(REAL) + 64);
    if (!g->dz || !g->carry_h) return -1;
    g->carry_c = g->carry_h + cells;
    g->temporary = g->carry_c + cells;
    memset(g->carry_h, 0, cells * sizeof(REAL));
    if (dc_last) memcpy(g->carry_c, dc_last, cells * sizeof(REAL));
    else memset(g->carry_c, 0, cells * sizeof(REAL));
    return 0;
}

static void copy_carry(const sequence_job *g, const REAL *carry, REAL *out) {
    if (out) memcpy(out, carry, (size_t)(g->s.n * g->s.h) * sizeof(REAL));
}

// ---- simple RNN ----

static void simple_rnn_item(void *job, long item, int worker) {
    const sequence_job *g = job;
    const sequence_shape s = g->s;
    (void)worker;
    long first = item * g->share, rows = min_l(g->share, s.n - first);
    for (long t = 0; t < s.t; t++) {
        state before = previous(s, g->h0, g->out_h, first, t);
        REAL *h = g->out_h + (first * s.t + t) * s.h;
        times_packed(rows, s.h, s.h, before.rows, before.stride, g->packed, s.h, 0, h, s.t * s.h,
                     (epilogue){NULL, 1, g->activation});
        for (long n = 0; n < rows; n++)
            if (skipped(g, first + n, t))
                memcpy(h + n * s.t * s.h, before.rows + n * before.stride, (size_t)s.h * sizeof(REAL));
    }
}

static int simple_rnn(sequence_shape s, const void *x, const void *h0, const void *w, const void *u, const void *b,
                      const unsigned char *mask, void *h, int activation) {
    sequence_job g = {.s = s, .mask = mask, .h0 = h0, .out_h = h, .activation = activation, .packed = pack_gates(1, s.h, u)};
    if (!g.packed || gemm(s.n * s.t, s.h, s.i, x, s.i, 1, w, s.h, 1, h, s.h, (epilogue){b, 0, LINEAR})) return -1;
    run(&g, simple_rnn_item);
    return 0;
}

// dz = dy times the activation's derivative, which follows from its output y.
INLINE vec activation_gradient(int activation, vec dy, vec y) {
    switch (activation) {
        case RELU: return blend((ivec)(y > (vec){0}), dy, (vec){0});
        case SIGMOID: return dy * y * (splat(1) - y);
        case TANH: return dy * (splat(1) - y * y);
        default: return dy;
    }
}

static void simple_rnn_backward_item(void *job, long item, int worker) {
    const sequence_job *g = job;
    const sequence_shape s = g->s;
    (void)worker;
    long first = item * g->share, rows = min_l(g->share, s.n - first);
    REAL *carry = g->carry_h + first * s.h;
    for (long t = s.t - 1; t >= 0; t--) {
        long at = (first * s.t + t) * s.h, step = s.t * s.h;
        for (long n = 0; n < rows; n++)
            for (long j = 0; j < s.h; j += LANES) {
                long left = s.h - j, p = at + n * step + j;
                vec total = load_units(g->dh + p, left) + load_units(carry + n * s.h + j, left);
                int skip = skipped(g, first + n, t);
                store_units(g->dz + p, skip ? (vec){0} : activation_gradient(g->activation, total, load_units(g->h + p, left)), left);
                store_units(carry + n * s.h + j, skip ? total : (vec){0}, left); // a skipped step hands it on
            }
        times_packed(rows, s.h, s.h, g->dz + at, step, g->packed, s.h, 0, carry, s.h, (epilogue){NULL, 1, LINEAR});
    }
}

static int simple_rnn_backward(sequence_shape s, const void *dh, const void *x, const void *h0, const void *w,
                               const void *u, const unsigned char *mask, const void *h, void *dx, void *dh0, void *dw,
                               void *du, void *db, int activation, int accumulate) {
    sequence_job g = {.s = s, .mask = mask, .h0 = h0, .h = h, .dh = dh, .activation = activation,
                      .packed = pack_transposed(1, s.h, u)};
    const REAL *h_prev = all_previous(s, h0, h);
    if (!g.packed || !h_prev || make_carries(&g, s.h, NULL)) return -1;
    run(&g, simple_rnn_backward_item);
    copy_carry(&g, g.carry_h, dh0);
    if (input_gradients(s, 1, g.dz, s.h, x, w, dx, dw, db, accumulate)) return -1;
    return recurrent_gradient(s, h_prev, s.h, g.dz, s.h, s.h, du, s.h, accumulate);
}

// ---- LSTM ----

static void lstm_item(void *job, long item, int worker) {
    const sequence_job *g = job;
    const sequence_shape s = g->s;
    (void)worker;
    long first = item * g->share, rows = min_l(g->share, s.n - first), gate = panels_size(s.h, s.h);
    for (long t = 0; t < s.t; t++) {
        state h_before = previous(s, g->h0, g->out_h, first, t), c_before = previous(s, g->c0, g->out_c, first, t);
        long at = first * s.t + t;
        for (long j0 = 0; j0 < s.h; j0 += NR) {
            long units = min_l(NR, s.h - j0);
            for (long q = 0; q < 4; q++)
                gemm_rows(rows, units, s.h, h_before.rows, h_before.stride, 1, g->packed + q * gate + j0 * s.h, NR,
                          g->out_gates + at * 4 * s.h + q * s.h + j0, s.t * 4 * s.h, (epilogue){NULL, 1, LINEAR});
            for (long n = 0; n < rows; n++) {
                long row = at + n * s.t;
                int skip = skipped(g, first + n, t);
                for (long j = j0; j < j0 + units; j += LANES) {
                    long left = j0 + units - j;
                    REAL *z = g->out_gates + row * 4 * s.h + j;
                    vec in = vsigmoid(load_units(z, left)), forget = vsigmoid(load_units(z + s.h, left));
                    vec candidate = vtanh(load_units(z + 2 * s.h, left)), out = vsigmoid(load_units(z + 3 * s.h, left));
                    vec c_old = load_units(c_before.rows + n * c_before.stride + j, left);
                    vec c = skip ? c_old : forget * c_old + in * candidate;
                    vec h = skip ? load_units(h_before.rows + n * h_before.stride + j, left) : out * vtanh(c);
                    store_units(z, in, left);
                    store_units(z + s.h, forget, left);
                    store_units(z + 2 * s.h, candidate, left);
                    store_units(z + 3 * s.h, out, left);
                    store_units(g->out_c + row * s.h + j, c, left);
                    store_units(g->out_h + row * s.h + j, h, left);
                }
            }
        }
    }
}

static int lstm(sequence_shape s, const void *x, const void *h0, const void *c0, const void *w, const void *u,
                const void *b, const unsigned char *mask, void *h, void *c, void *gates) {
    sequence_job g = {.s = s, .mask = mask, .h0 = h0, .c0 = c0, .out_h = h, .out_c = c, .out_gates = gates,
                      .packed = pack_gates(4, s.h, u)};
    if (!g.packed || gemm(s.n * s.t, 4 * s.h, s.i, x, s.i, 1, w, 4 * s.h, 1, gates, 4 * s.h, (epilogue){b, 0, LINEAR}))
        return -1;
    run(&g, lstm_item);
    return 0;
}

static void lstm_backward_item(void *job, long item, int worker) {
    const sequence_job *g = job;
    const sequence_shape s = g->s;
    const vec one = splat(1);
    (void)worker;
    long first = item * g->share, rows = min_l(g->share, s.n - first);
    REAL *carry_h = g->carry_h + first * s.h, *carry_c = g->carry_c + first * s.h;
    for (long t = s.t - 1; t >= 0; t--) {
        long at = first * s.t + t;
        state c_before = previous(s, g->c0, g->c, first, t);
        for (long n = 0; n < rows; n++) {
            long row = at + n * s.t;
            int skip = skipped(g, first + n, t);
            for (long j = 0; j < s.h; j += LANES) {
                long left = s.h - j;
                const REAL *z = g->gates + row * 4 * s.h + j;
                REAL *dz = g->dz + row * 4 * s.h + j;
                vec in = load_units(z, left), forget = load_units(z + s.h, left);
                vec candidate = load_units(z + 2 * s.h, left), out = load_units(z + 3 * s.h, left);
                vec dh = load_units(g->dh + row * s.h + j, left) + load_units(carry_h + n * s.h + j, left);
                vec dc_carried = load_units(carry_c + n * s.h + j, left);
                vec squashed = vtanh(load_units(g->c + row * s.h + j, left));
                vec dc = dc_carried + dh * out * (one - squashed * squashed);
                vec c_old = load_units(c_before.rows + n * c_before.stride + j, left), zero = {0};
                store_units(dz, skip ? zero : dc * candidate * in * (one - in), left);
                store_units(dz + s.h, skip ? zero : dc * c_old * forget * (one - forget), left);
                store_units(dz + 2 * s.h, skip ? zero : dc * in * (one - candidate * candidate), left);
                store_units(dz + 3 * s.h, skip ? zero : dh * squashed * out * (one - out), left);
                store_units(carry_c + n * s.h + j, skip ? dc_carried : dc * forget, left);
                store_units(carry_h + n * s.h + j, skip ? dh : zero, left); // a skipped step hands it on
            }
        }
        times_packed(rows, s.h, 4 * s.h, g->dz + at * 4 * s.h, s.t * 4 * s.h, g->packed, 4 * s.h, 0, carry_h, s.h,
                     (epilogue){NULL, 1, LINEAR});
    }
}

static int lstm_backward(sequence_shape s, const void *dh, const void *dc_last, const void *x, const void *h0,
                         const void *c0, const void *w, const void *u, const unsigned char *mask, const void *h,
                         const void *c, const void *gates, void *dx, void *dh0, void *dc0, void *dw, void *du, void *db,
                         int accumulate) {
    sequence_job g = {.s = s, .mask = mask, .h0 = h0, .c0 = c0, .h = h, .c = c, .gates = gates, .dh = dh,
                      .packed = pack_transposed(4, s.h, u)};
    const REAL *h_prev = all_previous(s, h0, h);
    if (!g.packed || !h_prev || make_carries(&g, 4 * s.h, dc_last)) return -1;
    run(&g, lstm_backward_item);
    copy_carry(&g, g.carry_h, dh0);
    copy_carry(&g, g.carry_c, dc0);
    if (input_gradients(s, 4, g.dz, 4 * s.h, x, w, dx, dw, db, accumulate)) return -1;
    return recurrent_gradient(s, h_prev, s.h, g.dz, 4 * s.h, 4 * s.h, du, 4 * s.h, accumulate);
}

// ---- GRU: gates z, r, g and q side by side, 4 h columns a step ----

// reset_after: q = h U_h + bias does not wait for r, so a panel of units is finished at once.
static void gru_step_after(const sequence_job *g, long first, long rows, long t, state before) {
    const sequence_shape s = g->s;
    long at = first * s.t + t, gate = panels_size(s.h, s.h), step = s.t * 4 * s.h;
    for (long j0 = 0; j0 < s.h; j0 += NR) {
        long units = min_l(NR, s.h - j0);
        REAL *z0 = g->out_gates + at * 4 * s.h + j0;
        for (long q = 0; q < 3; q++)
            gemm_rows(rows, units, s.h, before.rows, before.stride, 1, g->packed + q * gate + j0 * s.h, NR,
                      z0 + (q < 2 ? q : 3) * s.h, step,
                      (epilogue){q == 2 && g->b ? g->b + 5 * s.h + j0 : NULL, q < 2, q < 2 ? SIGMOID : LINEAR});
        for (long n = 0; n < rows; n++)
            for (long j = 0; j < units; j += LANES) {
                long left = units - j;
                REAL *z = z0 + n * step + j;
                vec keep = load_units(z, left), reset = load_units(z + s.h, left);
                vec candidate = vtanh(load_units(z + 2 * s.h, left) + reset * load_units(z + 3 * s.h, left));
                vec old = load_units(before.rows + n * before.stride + j0 + j, left);
                vec h = skipped(g, first + n, t) ? old : keep * old + (splat(1) - keep) * candidate;
                store_units(z + 2 * s.h, candidate, left);
                store_units(g->out_h + (at + n * s.t) * s.h + j0 + j, h, left);
            }
    }
}

// Otherwise q = r h_prev of all units comes first, then the candidate's product.
static void gru_step_before(const sequence_job *g, long first, long rows, long t, state before) {
    const sequence_shape s = g->s;
    long at = first * s.t + t, gate = panels_size(s.h, s.h), step = s.t * 4 * s.h;
    REAL *z0 = g->out_gates + at * 4 * s.h;
    for (long q = 0; q < 2; q++)
        times_packed(rows, s.h, s.h, before.rows, before.stride, g->packed + q * gate, s.h, 0, z0 + q * s.h, step,
                     (epilogue){NULL, 1, SIGMOID});
    for (long n = 0; n < rows; n++)
        for (long j = 0; j < s.h; j += LANES) {
            REAL *z = z0 + n * step + j;
            vec old = load_units(before.rows + n * before.stride + j, s.h - j);
            store_units(z + 3 * s.h, load_units(z + s.h, s.h - j) * old, s.h - j);
        }
    times_packed(rows, s.h, s.h, z0 + 3 * s.h, step, g->packed + 2 * gate, s.h, 0, z0 + 2 * s.h, step,
                 (epilogue){NULL, 1, TANH});
    for (long n = 0; n < rows; n++)
        for (long j = 0; j < s.h; j += LANES) {
            long left = s.h - j;
            const REAL *z = z0 + n * step + j;
            vec keep = load_units(z, left), old = load_units(before.rows + n * before.stride + j, left);
            vec h = skipped(g, first + n, t) ? old : keep * old + (splat(1) - keep) * load_units(z + 2 * s.h, left);
            store_units(g->out_h + (at + n * s.t) * s.h + j, h, left);
        }
}

static void gru_item(void *job, long item, int worker) {
    const sequence_job *g = job;
    (void)worker;
    long first = item * g->share, rows = min_l(g->share, g->s.n - first);
    for (long t = 0; t < g->s.t; t++) {
        state before = previous(g->s, g->h0, g->out_h, first, t);
        if (g->reset_after) gru_step_after(g, first, rows, t, before);
        else gru_step_before(g, first, rows, t, before);
    }
}

static int gru(sequence_shape s, const void *x, const void *h0, const void *w, const void *u, const void *b,
               const unsigned char *mask, void *h, void *gates, int reset_after) {
    sequence_job g = {.s = s, .mask = mask, .h0 = h0, .b = b, .out_h = h, .out_gates = gates, .reset_after = reset_after,
                      .packed = pack_gates(3, s.h, u)};
    REAL *bias = scratch(SCRATCH_STATE, 3 * (size_t)s.h * sizeof(REAL) + 64);
    if (!g.packed || !bias) return -1;
    for (long j = 0; b && j < 3 * s.h; j++) // z and r see only the sum of both biases
        bias[j] = g.b[j] + (reset_after && j < 2 * s.h ? g.b[3 * s.h + j] : 0);
    if (gemm(s.n * s.t, 3 * s.h, s.i, x, s.i, 1, w, 3 * s.h, 1, gates, 4 * s.h, (epilogue){b ? bias : NULL, 0, LINEAR}))
        return -1;
    run(&g, gru_item);
    return 0;
}

// Leaves dz, dr, dg (before their activations) and, for reset_after, dq in 4 h columns a step.
static void gru_backward_item(void *job, long item, int worker) {
    const sequence_job *g = job;
    const sequence_shape s = g->s;
    const vec one = splat(1), zero = {0};
    (void)worker;
    long first = item * g->share, rows = min_l(g->share, s.n - first), step = s.t * 4 * s.h, depth = 3 * s.h;
    REAL *carry = g->carry_h + first * s.h, *dq0 = g->temporary + first * s.h;
    for (long t = s.t - 1; t >= 0; t--) {
        long at = first * s.t + t;
        state before = previous(s, g->h0, g->h, first, t);
        REAL *dz0 = g->dz + at * 4 * s.h;
        for (long n = 0; n < rows; n++) {
            long row = at + n * s.t;
            int skip = skipped(g, first + n, t);
            for (long j = 0; j < s.h; j += LANES) {
                long left = s.h - j;
                const REAL *z = g->gates + row * 4 * s.h + j;
                REAL *dz = dz0 + n * step + j;
                vec keep = load_units(z, left), reset = load_units(z + s.h, left), candidate = load_units(z + 2 * s.h, left);
                vec old = load_units(before.rows + n * before.stride + j, left);
                vec dh = load_units(g->dh + row * s.h + j, left) + load_units(carry + n * s.h + j, left);
                vec dg = dh * (one - keep) * (one - candidate * candidate);
                store_units(dz, skip ? zero : dh * (old - candidate) * keep * (one - keep), left);
                store_units(dz + 2 * s.h, skip ? zero : dg, left);
                if (g->reset_after) {
                    store_units(dz + s.h, skip ? zero : dg * load_units(z + 3 * s.h, left) * reset * (one - reset), left);
                    store_units(dz + 3 * s.h, skip ? zero : dg * reset, left);
                }
                store_units(carry + n * s.h + j, skip ? dh : dh * keep, left);
            }
        }
        if (g->reset_after)
            times_packed(rows, s.h, s.h, dz0 + 3 * s.h, step, g->packed, depth, 2 * s.h, carry, s.h, (epilogue){NULL, 1, LINEAR});
        else {
            times_packed(rows, s.h, s.h, dz0 + 2 * s.h, step, g->packed, depth, 2 * s.h, dq0, s.h, (epilogue){NULL, 0, LINEAR});
            for (long n = 0; n < rows; n++)
                for (long j = 0; j < s.h; j += LANES) {
                    long left = s.h - j;
                    vec reset = load_units(g->gates + (at + n * s.t) * 4 * s.h + s.h + j, left);
                    vec dq = load_units(dq0 + n * s.h + j, left), old = load_units(before.rows + n * before.stride + j, left);
                    store_units(dz0 + n * step + s.h + j, dq * old * reset * (one - reset), left);
                    store_units(carry + n * s.h + j, load_units(carry + n * s.h + j, left) + dq * reset, left);
                }
        }
        times_packed(rows, s.h, 2 * s.h, dz0, step, g->packed, depth, 0, carry, s.h, (epilogue){NULL, 1, LINEAR});
    }
}

static int gru_backward(sequence_shape s, const void *dh, const void *x, const void *h0, const void *w, const void *u,
                        const unsigned char *mask, const void *h, const void *gates, void *dx, void *dh0, void *dw,
                        void *du, void *db, int reset_after, int accumulate) {
    sequence_job g = {.s = s, .mask = mask, .h0 = h0, .h = h, .gates = gates, .dh = dh, .reset_after = reset_after,
                      .packed = pack_transposed(3, s.h, u)};
    const REAL *h_prev = all_previous(s, h0, h);
    if (!g.packed || !h_prev || make_carries(&g, 4 * s.h, NULL)) return -1;
    run(&g, gru_backward_item);
    copy_carry(&g, g.carry_h, dh0);
    long ld = 4 * s.h, rows = s.n * s.t;
    REAL *recurrent_bias = db && reset_after ? (REAL *)db + 3 * s.h : NULL;
    if (input_gradients(s, 3, g.dz, ld, x, w, dx, dw, db, accumulate)) return -1;
    if (recurrent_bias && (column_sums(rows, 2 * s.h, g.dz, ld, recurrent_bias, accumulate) ||
                           column_sums(rows, s.h, g.dz + 3 * s.h, ld, recurrent_bias + 2 * s.h, accumulate)))
        return -1;
    if (recurrent_gradient(s, h_prev, s.h, g.dz, ld, 2 * s.h, du, 3 * s.h, accumulate)) return -1;
    REAL *du_h = (REAL *)du + 2 * s.h;
    if (reset_after) return recurrent_gradient(s, h_prev, s.h, g.dz + 3 * s.h, ld, s.h, du_h, 3 * s.h, accumulate);
    return recurrent_gradient(s, g.gates + 3 * s.h, ld, g.dz + 2 * s.h, ld, s.h, du_h, 3 * s.h, accumulate);
}

const recurrent_kernels NAME(recurrent_kernels) = {simple_rnn, simple_rnn_backward, lstm, lstm_backward, gru,
                                                   gru_backward};
