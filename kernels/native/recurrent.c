// Recurrent layers over whole sequences.
//
// The plain version makes, at every step, one product with the input kernel and one with the recurrent kernel, then the
// gates, each over the whole batch. Here
//   1. inputs and state of a step lie side by side, so that a gate is one product with both kernels stacked; the cells of a
//      panel of units are finished while their gates are in L1;
//   2. threads share out the batch or, where the kernels are large, the units of a step (recurrent_groups.c);
//   3. backward, a step carries its gradient to the step before gate by gate, so that the operand is in L1. It leaves the
//      gates' gradients packed as the products for the gradients of the weights want them, which come at the end
//      (recurrent_weights.c).
// On tiles (split.h) kernels are split once per call. Whoever makes a panel of 32 units of a new state, or of a gate's
// gradient, splits it: it is just one block column of the operand of the next step, and nothing is split twice. Each task
// begins with the products of the step after, so that backward, too, threads can share out the panels: 6 bytes a number do
// not fit the L2 as soon as 4. The inputs' gradients come at the end for all steps, which leaves L2 to the recurrent kernel.
// Flops: 2 N T G H (I + H) forward; 2 N T G H H backward, and 2 N T G H I for dx.
// Bytes beyond operands and results: per step the packed kernels, G H (I + H) reals, from L2 or, without sharing, L3.
#include "recurrent_parts.h"
#include "arena.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

enum {
    DEPTH = 384,         // rows of a kernel per pass of a product: a panel of them stays in L1
    TILE_SEQUENCES = 16, // of a batch at least, or most of a tile is idle
    INPUT_ROWS = 128     // steps of the batch whose inputs' gradients are made together on tiles
};

_Static_assert(!HAS_TILES || ((int)NR == SPLIT_SIDE && (int)NR == SPLIT_STEPS), "a panel of units is as wide as a block");

// The shape alone decides, so that neither threads nor groups change a bit.
INLINE int suits_tiles(sequence_shape s) { return HAS_TILES && s.n >= TILE_SEQUENCES && s.h >= NR && s.i + s.h >= 2 * NR; }

// Rows of sequences lie far apart in the caller's arrays: ask for the next sequence's while this one's are worked on.
INLINE void prefetch_next(const sequence_job *g, const REAL *row, long width) { __builtin_prefetch(row + g->s.t * width); }

INLINE int skipped(const sequence_job *g, const step *p, long n) {
    return g->mask && !g->mask[(p->first + n) * g->s.t + p->t];
}
INLINE long row_at(const sequence_job *g, const step *p, long n) { return (p->first + n) * g->s.t + p->t; }

// The state before the step, of which `all` holds those after the steps.
INLINE const REAL *previous(const sequence_job *g, const step *p, const REAL *initial, const REAL *all, long n) {
    return p->t ? all + (row_at(g, p, n) - 1) * g->s.h : initial + (p->first + n) * g->s.h;
}

// ---- gates: half the instructions of vmath.h, for which a gate's precision is enough ----

#if REAL_BITS == 32
INLINE vec sigmoid(vec x) { // 3 ulp where the result is above 2e-38
    vec n;
    vec r = split_by_ln2(vmin(splat(87.f), vmax(splat(-87.f), -x)), &n);
    vec power = (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
    return splat(1.f) / (splat(1.f) + (exp_tail(r) * (r * r) + (r + splat(1.f))) * power);
}

INLINE vec squash(vec x) { // tanh as a quotient of polynomials (Eigen's); 5 ulp
    x = vmin(splat(7.90531110763549805f), vmax(splat(-7.90531110763549805f), x));
    vec z = x * x, p = splat(-2.76076847742355e-16f), q = splat(1.19825839466702e-06f);
    p = p * z + splat(2.00018790482477e-13f);
    p = p * z + splat(-8.60467152213735e-11f);
    p = p * z + splat(5.12229709037114e-08f);
    p = p * z + splat(1.48572235717979e-05f);
    p = p * z + splat(6.37261928875436e-04f);
    p = p * z + splat(4.89352455891786e-03f);
    q = q * z + splat(1.18534705686654e-04f);
    q = q * z + splat(2.26843463243900e-03f);
    q = q * z + splat(4.89352518554385e-03f);
    return x * p / q;
}
#else
INLINE vec sigmoid(vec x) { return vsigmoid(x); }
INLINE vec squash(vec x) { return vtanh(x); }
#endif

INLINE vec activate(int activation, vec v) {
    switch (activation) {
        case RELU: return vmax((vec){0}, v);
        case SIGMOID: return sigmoid(v);
        case TANH: return squash(v);
        default: return v;
    }
}

// dy times the activation's derivative, which follows from its output y.
INLINE vec activation_gradient(int activation, vec dy, vec y) {
    switch (activation) {
        case RELU: return blend((ivec)(y > (vec){0}), dy, (vec){0});
        case SIGMOID: return dy * y * (splat(1) - y);
        case TANH: return dy * (splat(1) - y * y);
        default: return dy;
    }
}

// ---- kernels in panels of NR columns, in the order in which they are read ----

typedef struct {
    long gates, k, n, rs, cs, gate_stride;
    long from, depth; // rows from ... from + k of `depth`; on tiles, blocks of rows
    int by_panel;     // the gates of a panel side by side, otherwise the panels of a gate
    int tiles;
    const REAL *in;
    REAL *out;
} pack_job;

// Of k rows, or on tiles so many blocks of rows.
static size_t packed_gates_size(const sequence_job *g, long k, long n) {
    return (size_t)g->gates * k * (on_tiles(g) ? panels(n) * SPLIT_REALS : round_up(n, NR));
}

static void pack_item(void *job, long item, int worker) {
    const pack_job *g = job;
    const long q = g->by_panel ? item % g->gates : item / panels(g->n);
    const long j = (g->by_panel ? item / g->gates : item % panels(g->n)) * NR;
    const long nr = min_l(NR, g->n - j), at = item * g->depth + g->from;
    const REAL *in = g->in + q * g->gate_stride + j * g->cs;
    (void)worker;
    if (HAS_TILES && g->tiles) split_columns(g->k, nr, in, g->rs, g->cs, (bf16 *)g->out + at * SPLIT_BLOCK);
    else pack_columns(g->k, nr, in, g->rs, g->cs, g->out + at * NR);
}

static void pack(pack_job g) { pool_for(g.gates * panels(g.n), pack_item, &g); }

// Rows of a packed kernel, or on tiles blocks of them.
static long depth_of(const sequence_job *g, long k) { return on_tiles(g) ? split_steps(k) : k; }

// Forward: w [i][gates h] over u [h][gates h].
static int pack_forward(sequence_job *g, const REAL *w, const REAL *u) {
    const long h = g->s.h, i = g->s.i, n = g->gates * h, inputs = depth_of(g, i), depth = inputs + depth_of(g, h);
    REAL *out = scratch(SCRATCH_WEIGHTS, packed_gates_size(g, depth, h) * sizeof(REAL));
    if (!out) return -1;
    g->w = out;
    pack((pack_job){g->gates, i, h, n, 1, h, 0, depth, 1, g->tiles, w, out});
    pack((pack_job){g->gates, h, h, n, 1, h, inputs, depth, 1, g->tiles, u, out});
    return 0;
}

// Backward: the transposes, gate by gate; on tiles panel by panel, so that gates which follow one another are one product.
static int pack_backward(sequence_job *g, const REAL *w, const REAL *u) {
    const long h = g->s.h, i = g->s.i, n = g->gates * h, depth = depth_of(g, h);
    const size_t size_u = packed_gates_size(g, depth, h), size_w = g->dx ? packed_gates_size(g, depth, i) : 0;
    REAL *out = scratch(SCRATCH_WEIGHTS, (size_u + size_w) * sizeof(REAL));
    if (!out) return -1;
    g->u = out;
    g->w = out + size_u;
    pack((pack_job){g->gates, h, h, 1, n, h, 0, depth, on_tiles(g), g->tiles, u, out});
    if (g->dx) pack((pack_job){g->gates, h, i, 1, n, h, 0, depth, on_tiles(g), g->tiles, w, out + size_u});
    return 0;
}

// c[rows][nr] = a b and the epilogue; b is a packed panel of k rows.
static void product(long rows, long nr, long k, const REAL *a, long lda, const REAL *b, REAL *c, long ldc, epilogue e) {
    for (long passes = max_l(1, div_up(k, DEPTH)), k0 = 0, kc; passes > 0; k0 += kc, passes--) {
        kc = div_up(k - k0, passes);
        gemm_rows(rows, nr, kc, a + k0, lda, 1, b + k0 * NR, NR, c, ldc, e);
        e.bias = NULL, e.add = 1;
    }
}

// ---- forward ----

enum { LDZ = 4 * NR }; // gates of a panel of units, side by side

enum operand { BOTH, INPUTS, STATE, RESET_STATE }; // what is multiplied with the kernels, or with one of them

// z of a panel = bias + the operand times gate q's kernels.
static void gate(const sequence_job *g, const step *p, long j, long q, enum operand of, const REAL *bias, REAL *z) {
    const long i = g->s.i, h = g->s.h, nr = min_l(NR, h - j);
    if (bias) bias += j;
    if (on_tiles(g)) {
        const long inputs = split_steps(i), depth = inputs + split_steps(h), from = of < STATE ? 0 : inputs;
        const bf16 *a = of == RESET_STATE ? p->split_extra : p->split_read + from * SPLIT_BLOCK;
        const bf16 *b = (const bf16 *)g->w + ((j / NR * g->gates + q) * depth + from) * SPLIT_BLOCK;
        split_product(p->rows, nr, (of == INPUTS ? inputs : depth - from) * SPLIT_STEPS, a, b, bias, NULL, LINEAR, z, LDZ);
        return;
    }
    const long depth = i + h, from = of < STATE ? 0 : i;
    const REAL *a = of == RESET_STATE ? p->extra : p->read + from;
    product(p->rows, nr, of == INPUTS ? i : depth - from, a, ld(of == RESET_STATE ? h : depth),
            g->w + ((j * g->gates + q * NR) * depth + from * NR), z, LDZ, (epilogue){bias, 0, LINEAR});
}

INLINE void whole_gate(const sequence_job *g, const step *p, long j, long q, REAL *z) {
    gate(g, p, j, q, BOTH, g->bias ? g->bias + q * g->s.h : NULL, z + q * NR);
}

// A task's share of the inputs of step t: some rows, or on tiles some blocks of columns.
static void take_inputs(const group *o, long t, long task, long tasks) {
    const sequence_job *g = o->g;
    const long i = g->s.i, row = g->s.t * i, all = on_tiles(g) ? split_steps(i) : o->rows;
    const REAL *x = g->x + (o->first * g->s.t + t) * i;
    for (long at = task * all / tasks; at < (task + 1) * all / tasks; at++)
        if (on_tiles(g))
            split_rows(o->rows, min_l(SPLIT_STEPS, i - at * SPLIT_STEPS), x + at * SPLIT_STEPS, row, 1,
                       o->split[t % 2] + at * SPLIT_BLOCK);
        else memcpy(o->operands[t % 2] + at * ld(i + g->s.h), x + at * row, (size_t)i * sizeof(REAL));
}

// A panel of a step's results as an operand of what comes next.
static void split_panel(const sequence_job *g, const step *p, const REAL *results, long j, bf16 *out) {
    split_rows(p->rows, min_l(NR, g->s.h - j), results + j, ld(g->s.h), 1, out + j / NR * SPLIT_BLOCK);
}

static void begin_forward(const group *o) {
    const sequence_job *g = o->g;
    const sequence_shape s = g->s;
    const size_t row = (size_t)s.h * sizeof(REAL);
    const REAL *h0 = g->h0 + o->first * s.h;
    take_inputs(o, 0, 0, 1);
    if (on_tiles(g)) split_rows(o->rows, s.h, h0, s.h, 1, o->split[0] + split_steps(s.i) * SPLIT_BLOCK);
    for (long n = 0; n < o->rows; n++) {
        memcpy(o->operands[0] + n * ld(state_at(g) + s.h) + state_at(g), h0 + n * s.h, row);
        if (g->c0) memcpy(o->carry_c + n * ld(s.h), g->c0 + (o->first + n) * s.h, row);
    }
}

static void forward_task(const group *o, long phase, long task, long tasks) {
    const sequence_job *g = o->g;
    const long t = phase / g->parts;
    const int part = phase % g->parts;
    step p = {o->first, o->rows, t, o->operands[t % 2], o->operands[1 - t % 2], o->carry_h, o->carry_c, o->extra,
              o->split[t % 2], o->split[1 - t % 2], o->split_extra};
    if (!part && t + 1 < g->s.t) take_inputs(o, t + 1, task, tasks);
    g->cells(g, &p, task * NR, part);
    if (!on_tiles(g)) return;
    if (part + 1 < g->parts) split_panel(g, &p, p.extra, task * NR, p.split_extra);
    else split_panel(g, &p, p.write, task * NR, p.split_write + split_steps(g->s.i) * SPLIT_BLOCK);
}

static int forward(sequence_job g, const void *w, const void *u) {
    g.tiles = suits_tiles(g.s);
    if (pack_forward(&g, w, u)) return -1;
    return run_groups(&g, (group_steps){.begin = begin_forward, .task = forward_task,
                                        .tasks = panels(g.s.h), .phases = g.s.t * g.parts});
}

INLINE vec state_before(const sequence_job *g, const step *p, long n, long j) {
    return load(p->read + n * ld(state_at(g) + g->s.h) + state_at(g) + j);
}

// A new state, to where the next step and the caller look for it.
INLINE void put_state(const sequence_job *g, const step *p, long n, long j, vec h) {
    store(p->write + n * ld(state_at(g) + g->s.h) + state_at(g) + j, h);
    store_left(g->out_h + row_at(g, p, n) * g->s.h + j, h, g->s.h - j);
}

static void simple_rnn_cells(const sequence_job *g, const step *p, long j0, int part) {
    REAL gates[ROWS * LDZ] __attribute__((aligned(64)));
    (void)part;
    whole_gate(g, p, j0, 0, gates);
    for (long n = 0; n < p->rows; n++) {
        int skip = skipped(g, p, n);
        for (long j = j0; j < min_l(j0 + NR, g->s.h); j += LANES)
            put_state(g, p, n, j, skip ? state_before(g, p, n, j) : activate(g->activation, load(gates + n * LDZ + j - j0)));
    }
}

static void lstm_cells(const sequence_job *g, const step *p, long j0, int part) {
    REAL gates[ROWS * LDZ] __attribute__((aligned(64)));
    const long h = g->s.h;
    (void)part;
    for (long q = 0; q < 4; q++) whole_gate(g, p, j0, q, gates);
    for (long n = 0; n < p->rows; n++) {
        long row = row_at(g, p, n);
        int skip = skipped(g, p, n);
        for (long j = j0; j < min_l(j0 + NR, h); j += LANES) {
            const REAL *z = gates + n * LDZ + j - j0;
            REAL *cell = p->carry_c + n * ld(h) + j;
            vec in = sigmoid(load(z)), forget = sigmoid(load(z + NR));
            vec candidate = squash(load(z + 2 * NR)), out = sigmoid(load(z + 3 * NR));
            vec c = skip ? load(cell) : forget * load(cell) + in * candidate;
            store(cell, c);
            put_state(g, p, n, j, skip ? state_before(g, p, n, j) : out * squash(c));
            if (g->out_c) store_left(g->out_c + row * h + j, c, h - j);
            if (!g->out_z) continue;
            REAL *kept = g->out_z + row * 4 * h + j;
            for (long q = 0; q < 4; q++) prefetch_next(g, kept + q * h, 4 * h);
            store_left(kept, in, h - j);
            store_left(kept + h, forget, h - j);
            store_left(kept + 2 * h, candidate, h - j);
            store_left(kept + 3 * h, out, h - j);
        }
    }
}

// GRU: gates z, r, g and q.

INLINE void put_gru(const sequence_job *g, const step *p, long n, long j, vec keep, vec reset, vec candidate, vec q) {
    const long h = g->s.h;
    vec old = state_before(g, p, n, j);
    put_state(g, p, n, j, skipped(g, p, n) ? old : keep * old + (splat(1) - keep) * candidate);
    if (!g->out_z) return;
    REAL *kept = g->out_z + row_at(g, p, n) * 4 * h + j;
    for (long q = 0; q < 4; q++) prefetch_next(g, kept + q * h, 4 * h);
    store_left(kept, keep, h - j);
    store_left(kept + h, reset, h - j);
    store_left(kept + 2 * h, candidate, h - j);
    store_left(kept + 3 * h, q, h - j);
}

// reset_after: q = h U_h + bias does not wait for r, so a panel of units is finished at once.
static void gru_cells_after(const sequence_job *g, const step *p, long j0, int part) {
    REAL gates[ROWS * LDZ] __attribute__((aligned(64)));
    const long h = g->s.h;
    (void)part;
    for (long q = 0; q < 2; q++) whole_gate(g, p, j0, q, gates);
    gate(g, p, j0, 2, INPUTS, g->bias ? g->bias + 2 * h : NULL, gates + 2 * NR);
    gate(g, p, j0, 2, STATE, g->recurrent_bias, gates + 3 * NR);
    for (long n = 0; n < p->rows; n++)
        for (long j = j0; j < min_l(j0 + NR, h); j += LANES) {
            const REAL *z = gates + n * LDZ + j - j0;
            vec reset = sigmoid(load(z + NR)), q = load(z + 3 * NR);
            put_gru(g, p, n, j, sigmoid(load(z)), reset, squash(load(z + 2 * NR) + reset * q), q);
        }
}

// Otherwise q = r h_prev of all units comes first, then the candidate's product.
static void gru_cells_before(const sequence_job *g, const step *p, long j0, int part) {
    REAL gates[ROWS * LDZ] __attribute__((aligned(64)));
    const long h = g->s.h;
    if (part == 0)
        for (long q = 0; q < 2; q++) whole_gate(g, p, j0, q, gates);
    else {
        gate(g, p, j0, 2, INPUTS, g->bias ? g->bias + 2 * h : NULL, gates);
        gate(g, p, j0, 2, RESET_STATE, NULL, gates + NR);
    }
    for (long n = 0; n < p->rows; n++)
        for (long j = j0; j < min_l(j0 + NR, h); j += LANES) {
            const REAL *z = gates + n * LDZ + j - j0;
            const long at = n * ld(h) + j;
            if (part == 0) {
                vec reset = sigmoid(load(z + NR));
                store(p->carry_c + at, sigmoid(load(z)));
                store(p->carry_h + at, reset);
                store(p->extra + at, reset * state_before(g, p, n, j));
            } else
                put_gru(g, p, n, j, load(p->carry_c + at), load(p->carry_h + at), squash(load(z) + load(z + NR)),
                        load(p->extra + at));
        }
}

static int simple_rnn(sequence_shape s, const void *x, const void *h0, const void *w, const void *u, const void *b,
                      const unsigned char *mask, void *h, int activation) {
    return forward((sequence_job){.s = s, .gates = 1, .blocks = 1, .parts = 1, .cells = simple_rnn_cells, .activation = activation,
                                  .mask = mask, .x = x, .h0 = h0, .bias = b, .out_h = h}, w, u);
}

static int lstm(sequence_shape s, const void *x, const void *h0, const void *c0, const void *w, const void *u,
                const void *b, const unsigned char *mask, void *h, void *c, void *gates) {
    return forward((sequence_job){.s = s, .gates = 4, .blocks = 4, .parts = 1, .cells = lstm_cells, .mask = mask, .x = x, .h0 = h0,
                                  .c0 = c0, .bias = b, .out_h = h, .out_c = c, .out_z = gates}, w, u);
}

static int gru(sequence_shape s, const void *x, const void *h0, const void *w, const void *u, const void *b,
               const unsigned char *mask, void *h, void *gates, int reset_after) {
    const REAL *biases = b;
    REAL *sum = b && reset_after ? scratch(SCRATCH_PARTIAL, 3 * (size_t)s.h * sizeof(REAL) + 64) : NULL;
    if (b && reset_after && !sum) return -1;
    for (long j = 0; sum && j < 3 * s.h; j++) // z and r see only the sum of both biases
        sum[j] = biases[j] + (j < 2 * s.h ? biases[3 * s.h + j] : 0);
    return forward((sequence_job){.s = s, .gates = 3, .blocks = 4, .parts = reset_after ? 1 : 2,
                                  .cells = reset_after ? gru_cells_after : gru_cells_before,
                                  .mask = mask, .x = x, .h0 = h0, .bias = sum ? sum : b,
                                  .recurrent_bias = sum ? biases + 5 * s.h : NULL, .out_h = h, .out_z = gates}, w, u);
}

// ---- backward ----

// The gradients of the gates before their activations, twice: in blocks of this step's rows, and packed for all steps.

// Where a panel of block q keeps this step's rows.
INLINE REAL *kept_gradients(const sequence_job *g, const step *p, long q, long j) {
    return g->dz + q * plane_size(g->s) + j / NR * panel_size(g->s) + (p->t * g->s.n + p->first) * NR;
}

INLINE void put_gradient(const sequence_job *g, const step *p, long q, long n, long j, vec v) {
    if (on_tiles(g)) store(kept_gradients(g, p, q, j) + n * NR + j % NR, v);
    else store(p->write + (q * ROWS + n) * ld(g->s.h) + j, v);
}

// From the blocks to the panels, panel by panel: rows one after the other miss the cache less than lines here and there.
static void keep_gradients(const sequence_job *g, const step *p) {
    const long h = g->s.h;
    for (long q = 0; q < g->blocks; q++)
        for (long j = 0; j < h; j += NR) {
            const REAL *from = p->write + q * ROWS * ld(h) + j;
            REAL *to = kept_gradients(g, p, q, j);
            for (long n = 0; n < p->rows; n++, from += ld(h), to += NR) {
                store(to, load(from));
                store(to + LANES, load(from + LANES));
            }
        }
}

// On tiles the other way round: what was kept is the next products' operand.
static void split_gradients(const sequence_job *g, const step *p, long q, long j) {
    split_rows(p->rows, min_l(SPLIT_STEPS, g->s.h - j), kept_gradients(g, p, q, j), NR, 1,
               p->split_write + (q * split_steps(g->s.h) + j / NR) * SPLIT_BLOCK);
}

// Columns from ... to of c[rows][n] (+)= blocks of the gates' gradients times gates of a transposed kernel.
static void times_gates(const sequence_job *g, const step *p, carried_gates of, const REAL *packed, long n, long from, long to,
                        REAL *c, long ldc, int add) {
    const long h = g->s.h;
    for (long j = from; on_tiles(g) && j < to; j += NR) {
        const bf16 *b = (const bf16 *)packed + (j / NR * g->gates + of.gate) * split_steps(h) * SPLIT_BLOCK;
        split_product(p->rows, min_l(NR, n - j), of.count * split_steps(h) * SPLIT_STEPS,
                      p->split_read + of.block * split_steps(h) * SPLIT_BLOCK, b, NULL, add ? c + j : NULL, LINEAR, c + j, ldc);
    }
    for (long q = 0; !on_tiles(g) && q < of.count; q++, add = 1) {
        const REAL *a = p->read + (of.block + q) * ROWS * ld(h), *b = packed + (of.gate + q) * h * round_up(n, NR);
        for (long j = from; j < to; j += NR)
            gemm_rows(p->rows, min_l(NR, n - j), h, a, ld(h), 1, b + j * h, NR, c + j, ldc, (epilogue){NULL, add, LINEAR});
    }
}

INLINE vec incoming(const sequence_job *g, const step *p, long n, long j) {
    const REAL *dh = g->dh + row_at(g, p, n) * g->s.h + j;
    prefetch_next(g, dh, g->s.h);
    return load_left(dh, g->s.h - j) + load(p->carry_h + n * ld(g->s.h) + j);
}

static void simple_rnn_backward_step(const sequence_job *g, const step *p, long from, long to, int part) {
    const long h = g->s.h;
    (void)part;
    for (long n = 0; n < p->rows; n++) {
        int skip = skipped(g, p, n);
        for (long j = from; j < to; j += LANES) {
            vec total = incoming(g, p, n, j), y = load_left(g->h + row_at(g, p, n) * h + j, h - j);
            put_gradient(g, p, 0, n, j, skip ? (vec){0} : activation_gradient(g->activation, total, y));
            store(p->carry_h + n * ld(h) + j, skip ? total : (vec){0}); // a skipped step hands it on
        }
    }
}

static void lstm_backward_step(const sequence_job *g, const step *p, long from, long to, int part) {
    const long h = g->s.h;
    (void)part;
    const vec one = splat(1), zero = {0};
    for (long n = 0; n < p->rows; n++) {
        long row = row_at(g, p, n);
        int skip = skipped(g, p, n);
        const REAL *c_before = previous(g, p, g->c0, g->c, n);
        for (long j = from; j < to; j += LANES) {
            long left = h - j;
            const REAL *z = g->z + row * 4 * h + j;
            REAL *carry_h = p->carry_h + n * ld(h) + j, *carry_c = p->carry_c + n * ld(h) + j;
            for (long q = 0; q < 4; q++) prefetch_next(g, z + q * h, 4 * h);
            prefetch_next(g, c_before + j, h);
            vec in = load_left(z, left), forget = load_left(z + h, left);
            vec candidate = load_left(z + 2 * h, left), out = load_left(z + 3 * h, left);
            vec dh = incoming(g, p, n, j), dc_carried = load(carry_c), squashed = squash(load_left(g->c + row * h + j, left));
            vec dc = dc_carried + dh * out * (one - squashed * squashed);
            put_gradient(g, p, 0, n, j, skip ? zero : dc * candidate * in * (one - in));
            put_gradient(g, p, 1, n, j, skip ? zero : dc * load_left(c_before + j, left) * forget * (one - forget));
            put_gradient(g, p, 2, n, j, skip ? zero : dc * in * (one - candidate * candidate));
            put_gradient(g, p, 3, n, j, skip ? zero : dh * squashed * out * (one - out));
            store(carry_c, skip ? dc_carried : dc * forget);
            store(carry_h, skip ? dh : zero);
        }
    }
}

// Leaves dz, dr, dg and, if it is another than dg, dq.
INLINE void gru_backward_step(const sequence_job *g, const step *p, long from, long to, const int reset_after) {
    const long h = g->s.h;
    const vec one = splat(1), zero = {0};
    for (long n = 0; n < p->rows; n++) {
        int skip = skipped(g, p, n);
        const REAL *before = previous(g, p, g->h0, g->h, n);
        for (long j = from; j < to; j += LANES) {
            long left = h - j;
            const REAL *z = g->z + row_at(g, p, n) * 4 * h + j;
            for (long q = 0; q < 4; q++) prefetch_next(g, z + q * h, 4 * h);
            prefetch_next(g, before + j, h);
            vec keep = load_left(z, left), reset = load_left(z + h, left), candidate = load_left(z + 2 * h, left);
            vec dh = incoming(g, p, n, j), dg = dh * (one - keep) * (one - candidate * candidate);
            put_gradient(g, p, 0, n, j, skip ? zero : dh * (load_left(before + j, left) - candidate) * keep * (one - keep));
            put_gradient(g, p, 2, n, j, skip ? zero : dg);
            if (reset_after) {
                put_gradient(g, p, 1, n, j, skip ? zero : dg * load_left(z + 3 * h, left) * reset * (one - reset));
                put_gradient(g, p, 3, n, j, skip ? zero : dg * reset);
            }
            store(p->carry_h + n * ld(h) + j, skip ? dh : dh * keep);
        }
    }
}
static void gru_backward_after(const sequence_job *g, const step *p, long from, long to, int part) {
    (void)part;
    gru_backward_step(g, p, from, to, 1);
}

// The reset gate's gradient waits for dg of all units.
static void gru_backward_before(const sequence_job *g, const step *p, long from, long to, int part) {
    const long h = g->s.h;
    if (!part) return gru_backward_step(g, p, from, to, 0);
    times_gates(g, p, (carried_gates){2, 2, 1}, g->u, h, from, to, p->extra, ld(h), 0);
    for (long n = 0; n < p->rows; n++) {
        const REAL *before = previous(g, p, g->h0, g->h, n);
        for (long j = from; j < to; j += LANES) {
            REAL *carry = p->carry_h + n * ld(h) + j;
            vec reset = load_left(g->z + row_at(g, p, n) * 4 * h + h + j, h - j);
            vec dq = load(p->extra + n * ld(h) + j), old = load_left(before + j, h - j);
            put_gradient(g, p, 1, n, j, dq * old * reset * (splat(1) - reset));
            store(carry, load(carry) + dq * reset);
        }
    }
}

static void begin_backward(const group *o) {
    const sequence_job *g = o->g;
    const size_t size = (size_t)(o->rows * ld(g->s.h)) * sizeof(REAL), row = (size_t)g->s.h * sizeof(REAL);
    memset(o->carry_h, 0, size);
    memset(o->carry_c, 0, size);
    for (long n = 0; n < o->rows && g->dc_last; n++)
        memcpy(o->carry_c + n * ld(g->s.h), g->dc_last + (o->first + n) * g->s.h, row);
}

static void end_backward(const group *o) {
    const sequence_job *g = o->g;
    const size_t row = (size_t)g->s.h * sizeof(REAL);
    for (long n = 0; n < o->rows; n++) {
        if (g->dh0) memcpy(g->dh0 + (o->first + n) * g->s.h, o->carry_h + n * ld(g->s.h), row);
        if (g->dc0) memcpy(g->dc0 + (o->first + n) * g->s.h, o->carry_c + n * ld(g->s.h), row);
    }
}

// What the gates' gradients of step t + 1 mean for the state before it and for its inputs, then those of step t; after all
// steps, the former once more. A task has all units, or on tiles a panel of them.
static void backward_task(const group *o, long phase, long task, long tasks) {
    const sequence_job *g = o->g;
    const sequence_shape s = g->s;
    const long t = s.t - 1 - phase / g->parts, after = t + 1, from = task * NR, to = tasks > 1 ? min_l(from + NR, s.h) : s.h;
    const int part = phase % g->parts;
    step p = {o->first, o->rows, t, o->operands[0], o->operands[0], o->carry_h, o->carry_c, o->extra,
              o->split[(part ? t : after) & 1], o->split[t & 1], NULL};
    if (!part && after < s.t) {
        for (const carried_gates *c = g->carried; c < g->carried + 2 && (after || g->dh0); c++)
            if (c->count) times_gates(g, &p, *c, g->u, s.h, from, to, o->carry_h, ld(s.h), 1);
        if (g->dx && !on_tiles(g))
            times_gates(g, &p, (carried_gates){0, 0, g->gates}, g->w, s.i, 0, s.i, g->dx + (o->first * s.t + after) * s.i,
                        s.t * s.i, 0);
    }
    if (t < 0) return;
    g->backward(g, &p, from, to, part);
    if (!on_tiles(g) && part + 1 == g->parts) keep_gradients(g, &p);
    for (long q = 0; on_tiles(g) && q < g->blocks; q++)
        for (long j = from; (g->parts == 1 || (q == 1) == part) && j < to; j += NR) split_gradients(g, &p, q, j);
}

// On tiles the inputs' gradients come after all steps, from more rows at a time and with less of the kernels in L2 before.
typedef struct {
    const sequence_job *g;
    bf16 *rows;
    long share; // of each thread
} input_pass;

INLINE size_t input_sums(sequence_shape s) { return (size_t)INPUT_ROWS * ld(s.i); }

static void input_item(void *job, long item, int worker) {
    const input_pass *r = job;
    const sequence_job *g = r->g;
    const sequence_shape s = g->s;
    const long first = item * INPUT_ROWS, rows = min_l(INPUT_ROWS, s.t * s.n - first), blocks = split_steps(s.h);
    bf16 *a = r->rows + worker * r->share;
    REAL *sums = (REAL *)(a + split_size(INPUT_ROWS, s.h));
    tiles_begin();
    for (long q = 0; q < g->gates; q++) {
        for (long j = 0; j < s.h; j += NR)
            for (long n = 0; n < rows; n += SPLIT_SIDE)
                split_rows(min_l(SPLIT_SIDE, rows - n), min_l(SPLIT_STEPS, s.h - j),
                           g->dz + q * plane_size(s) + j / NR * panel_size(s) + (first + n) * NR, NR, 1,
                           a + (n / SPLIT_SIDE * blocks + j / NR) * SPLIT_BLOCK);
        for (long j = 0; j < s.i; j += NR)
            split_product(rows, min_l(NR, s.i - j), blocks * SPLIT_STEPS, a,
                          (const bf16 *)g->w + (j / NR * g->gates + q) * blocks * SPLIT_BLOCK, NULL, q ? sums + j : NULL,
                          LINEAR, sums + j, ld(s.i));
    }
    tiles_end();
    for (long n = 0; n < rows; n++)
        memcpy(g->dx + ((first + n) % s.n * s.t + (first + n) / s.n) * s.i, sums + n * ld(s.i), (size_t)s.i * sizeof(REAL));
}

static int inputs_on_tiles(const sequence_job *g) {
    const long share = split_size(INPUT_ROWS, g->s.h) + input_sums(g->s) * sizeof(REAL) / sizeof(bf16);
    input_pass r = {g, scratch(SCRATCH_STATE, pool_size() * share * sizeof(bf16)), share};
    if (!r.rows) return -1;
    pool_for(div_up(g->s.t * g->s.n, INPUT_ROWS), input_item, &r);
    return 0;
}

// ---- whole layers ----

static int backward(sequence_job g, const void *w, const void *u, gradient_job d) {
    const sequence_shape s = g.s;
    g.tiles = suits_tiles(s);
    g.dz = scratch(SCRATCH_PROJECTED, (size_t)(g.blocks * plane_size(s)) * sizeof(REAL) + 64);
    if (!g.dz || pack_backward(&g, w, u)) return -1;
    if (run_groups(&g, (group_steps){.begin = begin_backward, .task = backward_task, .end = end_backward,
                                     .tasks = on_tiles(&g) ? panels(s.h) : 1, .phases = s.t * g.parts + 1})) return -1;
    if (g.dx && on_tiles(&g) && inputs_on_tiles(&g)) return -1;
    d.s = s;
    d.dz = g.dz;
    d.ldo = g.gates * s.h;
    d.tiles = g.tiles;
    return weight_gradients(&d);
}

static int simple_rnn_backward(sequence_shape s, const void *dh, const void *x, const void *h0, const void *w,
                               const void *u, const unsigned char *mask, const void *h, void *dx, void *dh0, void *dw,
                               void *du, void *db, int activation, int accumulate) {
    gradient_job d = {.gradients = {{x, s.i, NULL, s.i, 0, 1, dw, db}, {h, s.h, h0, s.h, 0, 1, du, NULL}}, .accumulate = accumulate};
    return backward((sequence_job){.s = s, .gates = 1, .blocks = 1, .parts = 1,
                                   .backward = simple_rnn_backward_step, .carried = {{0, 0, 1}}, .activation = activation,
                                   .mask = mask, .h0 = h0, .h = h, .dh = dh, .dx = dx, .dh0 = dh0}, w, u, d);
}

static int lstm_backward(sequence_shape s, const void *dh, const void *dc_last, const void *x, const void *h0,
                         const void *c0, const void *w, const void *u, const unsigned char *mask, const void *h,
                         const void *c, const void *gates, void *dx, void *dh0, void *dc0, void *dw, void *du, void *db,
                         int accumulate) {
    gradient_job d = {.gradients = {{x, s.i, NULL, s.i, 0, 4, dw, db}, {h, s.h, h0, s.h, 0, 4, du, NULL}}, .accumulate = accumulate};
    return backward((sequence_job){.s = s, .gates = 4, .blocks = 4, .parts = 1,
                                   .backward = lstm_backward_step, .carried = {{0, 0, 4}}, .mask = mask, .h0 = h0, .c0 = c0,
                                   .h = h, .c = c, .z = gates, .dh = dh, .dc_last = dc_last, .dx = dx, .dh0 = dh0,
                                   .dc0 = dc0}, w, u, d);
}

static int gru_backward(sequence_shape s, const void *dh, const void *x, const void *h0, const void *w, const void *u,
                        const unsigned char *mask, const void *h, const void *gates, void *dx, void *dh0, void *dw,
                        void *du, void *db, int reset_after, int accumulate) {
    REAL *du_h = (REAL *)du + 2 * s.h, *recurrent_bias = db && reset_after ? (REAL *)db + 3 * s.h : NULL;
    gradient_job d = {.gradients = {{x, s.i, NULL, s.i, 0, 3, dw, db}, {h, s.h, h0, s.h, 0, 2, du, recurrent_bias}},
                      .accumulate = accumulate};
    d.gradients[2] = reset_after ? (gradient){h, s.h, h0, s.h, 3, 1, du_h, recurrent_bias ? recurrent_bias + 2 * s.h : NULL}
                                 : (gradient){(const REAL *)gates + 3 * s.h, 4 * s.h, NULL, s.h, 2, 1, du_h, NULL};
    return backward((sequence_job){.s = s, .gates = 3, .blocks = reset_after ? 4 : 3, .parts = reset_after ? 1 : 2,
                                   .backward = reset_after ? gru_backward_after : gru_backward_before,
                                   .carried = {reset_after ? (carried_gates){3, 2, 1} : (carried_gates){0}, {0, 0, 2}},
                                   .mask = mask, .h0 = h0,
                                   .h = h, .z = gates, .dh = dh, .dx = dx, .dh0 = dh0}, w, u, d);
}

const recurrent_kernels NAME(recurrent_kernels) = {simple_rnn, simple_rnn_backward, lstm, lstm_backward, gru,
                                                   gru_backward};
