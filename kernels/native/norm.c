// Batch normalisation: per-column statistics of a tall matrix x[R][C], then one affine map per column.
//
// The plain version reads x for the mean, again for the variance, again to normalise. Here the statistics take one pass:
// a block of rows that fits L1 gives its mean and its sum of squared deviations (the second look is an L1 hit), and
// blocks are merged by the formula of Chan, Golub & LeVeque (1979), which does not cancel however large the mean is. The
// backward needs two passes over dz and x: the two column sums, then dx. Bytes: 3 of x's size forward, 5 backward.
//
// A block of more than GROUP vectors of columns is read strip by strip, which memory's own prefetching does not follow: the
// next block is fetched meanwhile, in the order in which it lies (128 to 512 channels: 0.70 to 0.85 of the time forward,
// 0.77 to 0.93 backward, of which the second passes are the same). Narrower ones gain too, and the second passes and layer
// normalisation by reading ahead (Granite Rapids, from memory: 64 channels forward 1.14 times, layer normalisation 1.4).
//
// Work is cut into at most PARTS ranges of rows, always the same for a shape, so that results do not depend on the number
// of threads. Few channels waste no lanes: LANES rows are folded into one (W = LANES C columns), and the folded statistics
// merged at the end.
//
// A residual and a ReLU after the normalisation cost their reading and nothing else: a residual block's eight passes over
// memory become four forward; the backward finds the ReLU's mask in x, five passes instead of eight.
//
// Layer normalisation works row by row: a row is read from memory once, its second and third look are cache hits.
#include "norm.h"
#include "arena.h"
#include "gemm.h"
#include "rows.h"
#include "threads.h"
#include <math.h>
#include <string.h>

// GROUP: vectors of columns summed side by side, so that rows are read in order and no sum waits for the last one.
enum { PARTS = 16, PART_ELEMENTS = 16384, BLOCK_ELEMENTS = 4096, FOLD_BELOW = 256, GROUP = 4 };

// x[R][C] as `rows` folded rows of w columns plus `rest` rows of C.
typedef struct {
    long n, fold, w, rows, rest, parts, share, block;
} shape;

static shape shape_of(long rows, long n) {
    shape s = {.n = n, .fold = n % LANES && n < FOLD_BELOW ? LANES : 1};
    s.w = n * s.fold;
    s.rows = rows / s.fold;
    s.rest = rows % s.fold;
    s.parts = max_l(1, min_l(PARTS, s.rows * s.w / PART_ELEMENTS));
    s.share = max_l(1, div_up(s.rows, s.parts));
    s.parts = max_l(1, div_up(s.rows, s.share));
    s.block = max_l(8, BLOCK_ELEMENTS / max_l(s.w, 1));
    return s;
}

// p[C], or `otherwise` where p is NULL, repeated for every folded row.
static void repeat(const shape *s, const REAL *p, REAL otherwise, REAL *out) {
    for (long j = 0; j < s->w; j++) out[j] = p ? p[j % s->n] : otherwise;
}

// ---- statistics ----

typedef struct {
    shape s;
    const REAL *x;
    REAL *mean, *m2; // [parts][w]: mean and sum of squared deviations of each part's rows
} stats_job;

// Adds `count` rows, after `before` others, to the mean and the squared deviations of nv vectors of columns; as much
// from `next` on, which follows the block, comes nearer meanwhile.
INLINE void block_stats(const int nv, const REAL *x, const REAL *next, long count, long w, long left, long before,
                        REAL *mean, REAL *m2) {
    vec centre[GROUP], square[GROUP];
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) centre[v] = square[v] = (vec){0};
    for (long i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) centre[v] += load_left(x + i * w + v * LANES, nv > 1 ? LANES : left);
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) centre[v] /= splat((REAL)count);
    for (long i = 0; i < count; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            __builtin_prefetch(next + (i * nv + v) * LANES, 0, 2);
            vec d = load_left(x + i * w + v * LANES, nv > 1 ? LANES : left) - centre[v];
            square[v] += d * d;
        }
    REAL share = (REAL)count / (REAL)(before + count);
    for (int v = 0; v < nv; v++) {
        long at = v * LANES, lanes = nv > 1 ? LANES : left;
        vec old = load_left(mean + at, lanes), delta = centre[v] - old;
        store_left(mean + at, old + delta * splat(share), lanes);
        store_left(m2 + at, load_left(m2 + at, lanes) + square[v] + delta * delta * splat((REAL)before * share), lanes);
    }
}

static void stats_item(void *job, long part, int worker) {
    const stats_job *g = job;
    const shape s = g->s;
    (void)worker;
    REAL *mean = g->mean + part * s.w, *m2 = g->m2 + part * s.w;
    long first = part * s.share, end = min_l(first + s.share, s.rows);
    memset(mean, 0, (size_t)s.w * sizeof(REAL));
    memset(m2, 0, (size_t)s.w * sizeof(REAL));
    for (long r = first; r < end; r += s.block) {
        long count = min_l(s.block, end - r), before = r - first, j = 0;
        const REAL *block = g->x + r * s.w, *next = block + count * s.w;
        for (; j + GROUP * LANES <= s.w; j += GROUP * LANES)
            block_stats(GROUP, block + j, next + j * count, count, s.w, s.w - j, before, mean + j, m2 + j);
        for (; j < s.w; j += LANES) block_stats(1, block + j, next + j * count, count, s.w, s.w - j, before, mean + j, m2 + j);
    }
}

typedef struct {
    double count, mean, m2;
} moments;

static moments merge(moments a, double count, double mean, double m2) {
    double total = a.count + count, delta = mean - a.mean;
    if (count == 0) return a;
    return (moments){total, a.mean + delta * count / total, a.m2 + m2 + delta * delta * a.count * count / total};
}

// Mean and biased variance of column j over all rows.
static moments column_moments(const stats_job *g, long j) {
    const shape *s = &g->s;
    moments all = {0, 0, 0};
    for (long part = 0; part < s->parts; part++) {
        long rows = min_l(s->share, s->rows - part * s->share);
        for (long k = 0; k < s->fold; k++)
            all = merge(all, (double)rows, g->mean[part * s->w + k * s->n + j], g->m2[part * s->w + k * s->n + j]);
    }
    const REAL *rest = g->x + s->rows * s->w;
    for (long r = 0; r < s->rest; r++) all = merge(all, 1, rest[r * s->n + j], 0);
    return all;
}

// ---- y = activation((x - mean) scale + shift + residual) ----

typedef struct {
    shape s;
    const REAL *x, *mean, *scale, *shift, *residual; // mean, scale and shift [w]; residual like x or NULL
    REAL *y;
    int activation, past; // past: y goes past the caches
} affine_job;

// One expression for the forward and for the sign that the backward asks for, so that both round alike.
INLINE vec affine(vec x, vec mean, vec scale, vec shift) { return (x - mean) * scale + shift; }

INLINE void affine_columns(const affine_job *g, const int activation, const int adds, const int past, long at, long n) {
    for (long j = 0; j < n; j += LANES) {
        long left = n - j;
        ask_ahead(g->x + at + j, past);
        if (adds) ask_ahead(g->residual + at + j, past);
        vec v = affine(load_left(g->x + at + j, left), load_left(g->mean + j, left), load_left(g->scale + j, left),
                       load_left(g->shift + j, left));
        if (adds) v += load_left(g->residual + at + j, left);
        if (activation == RELU) v = vmax((vec){0}, v);
        if (past) store_past(g->y + at + j, v);
        else store_left(g->y + at + j, v, left);
    }
}

static void affine_item(void *job, long part, int worker) {
    const affine_job *g = job;
    const shape s = g->s;
    (void)worker;
    for (long r = part * s.share, end = min_l(r + s.share, s.rows); r < end; r++) {
        long at = r * s.w;
        if (g->past) affine_columns(g, g->activation, g->residual != NULL, 1, at, s.w);
        else if (g->residual && g->activation == RELU) affine_columns(g, RELU, 1, 0, at, s.w);
        else if (g->residual) affine_columns(g, LINEAR, 1, 0, at, s.w);
        else if (g->activation == RELU) affine_columns(g, RELU, 0, 0, at, s.w);
        else affine_columns(g, LINEAR, 0, 0, at, s.w);
        if (g->activation > RELU) apply_activation(1, s.w, g->y + at, s.w, g->activation);
    }
    if (part == s.parts - 1)
        for (long r = 0; r < s.rest; r++) {
            long at = s.rows * s.w + r * s.n;
            affine_columns(g, LINEAR, g->residual != NULL, 0, at, s.n);
            apply_activation(1, s.n, g->y + at, s.n, g->activation);
        }
    if (g->past) finish_stores();
}

static void repeat_scale(const shape *s, const REAL *inv_std, const REAL *gamma, REAL *out) {
    for (long j = 0; j < s->w; j++) out[j] = inv_std[j % s->n] * (gamma ? gamma[j % s->n] : 1);
}

static int normalise(shape s, const REAL *x, const REAL *mean, const REAL *inv_std, const REAL *gamma, const REAL *beta,
                     const REAL *residual, REAL *y, int activation) {
    REAL *p = scratch(SCRATCH_STATE, 3 * (size_t)s.w * sizeof(REAL));
    if (!p) return -1;
    long elements = s.rows * s.w;
    int past = activation <= RELU && s.w % LANES == 0 && y != x && y != residual && goes_past((2 + !!residual) * elements, y);
    affine_job g = {s, x, p, p + s.w, p + 2 * s.w, residual, y, activation, past};
    repeat(&s, mean, 0, p);
    repeat_scale(&s, inv_std, gamma, p + s.w);
    repeat(&s, beta, 0, p + 2 * s.w);
    pool_for(s.parts, affine_item, &g);
    return 0;
}

static int batchnorm(long rows, long n, const void *x, const void *gamma, const void *beta, void *running_mean,
                     void *running_var, void *y, void *mean, void *inv_std, double momentum, double eps,
                     int activation, const void *residual) {
    if (!rows) { // they have no statistics, and leave the running ones alone
        memset(mean, 0, (size_t)n * sizeof(REAL));
        memset(inv_std, 0, (size_t)n * sizeof(REAL));
        return 0;
    }
    shape s = shape_of(rows, n);
    size_t sums = (size_t)(s.parts * s.w);
    REAL *partial = scratch(SCRATCH_PARTIAL, 2 * sums * sizeof(REAL));
    if (!partial) return -1;
    stats_job g = {s, x, partial, partial + sums};
    pool_for(s.parts, stats_item, &g);
    REAL *m = mean, *i = inv_std, *rm = running_mean, *rv = running_var;
    for (long j = 0; j < n; j++) {
        moments all = column_moments(&g, j);
        double variance = all.m2 / all.count;
        m[j] = (REAL)all.mean;
        i[j] = (REAL)(1 / sqrt(variance + eps));
        rm[j] = (REAL)(momentum * rm[j] + (1 - momentum) * all.mean);
        rv[j] = (REAL)(momentum * rv[j] + (1 - momentum) * variance);
    }
    return normalise(s, x, mean, inv_std, gamma, beta, residual, y, activation);
}

static int batchnorm_inference(long rows, long n, const void *x, const void *gamma, const void *beta,
                               const void *running_mean, const void *running_var, void *y, double eps, int activation) {
    REAL *inv_std = scratch(SCRATCH_PARTIAL, (size_t)n * sizeof(REAL));
    const REAL *variance = running_var;
    if (!inv_std) return -1;
    for (long j = 0; j < n; j++) inv_std[j] = (REAL)(1 / sqrt(variance[j] + eps));
    return normalise(shape_of(rows, n), x, running_mean, inv_std, gamma, beta, NULL, y, activation);
}

// ---- backward ----
// With xhat = (x - mean) inv_std:  dbeta = sum dz,  dgamma = sum dz xhat,
//     dx = gamma inv_std (dz - dbeta / R - xhat dgamma / R) = a dz + (x - mean) b + c  per column.
// Where a ReLU follows, dz is 0 wherever the output, which follows from x, is not above 0: so it need not be stored.

typedef struct {
    shape s;
    const REAL *dz, *x, *mean, *a, *b, *c, *scale, *shift; // the last six [w]
    REAL *dx, *sum, *dot;                                  // [parts][w]: sums of dz and of dz (x - mean)
    int relu, past;
} backward_job;

// dz from the gradient after the ReLU.
INLINE vec before_relu(vec dy, vec x, vec mean, vec scale, vec shift) {
    return blend((ivec)(affine(x, mean, scale, shift) > (vec){0}), dy, (vec){0});
}

// Adds `count` rows from r on to the sums of nv vectors of columns from j on.
INLINE void block_sums(const int nv, const int relu, const backward_job *g, long r, long count, long j, REAL *sum, REAL *dot) {
    vec block_sum[GROUP], block_dot[GROUP], mean[GROUP], scale[GROUP], shift[GROUP];
    long w = g->s.w, left = nv > 1 ? LANES : w - j;
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) {
        block_sum[v] = block_dot[v] = (vec){0};
        mean[v] = load_left(g->mean + j + v * LANES, left);
        scale[v] = relu ? load_left(g->scale + j + v * LANES, left) : (vec){0};
        shift[v] = relu ? load_left(g->shift + j + v * LANES, left) : (vec){0};
    }
    const REAL *next_dz = g->dz + (r + count) * w + j * count, *next_x = g->x + (r + count) * w + j * count;
    for (long at = r * w + j, end = at + count * w; at < end; at += w, next_dz += nv * LANES, next_x += nv * LANES)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            __builtin_prefetch(next_dz + v * LANES);
            __builtin_prefetch(next_x + v * LANES);
            vec dz = load_left(g->dz + at + v * LANES, left), x = load_left(g->x + at + v * LANES, left);
            if (relu) dz = before_relu(dz, x, mean[v], scale[v], shift[v]);
            block_sum[v] += dz;
            block_dot[v] += dz * (x - mean[v]);
        }
    for (int v = 0; v < nv; v++) {
        REAL *s = sum + j + v * LANES, *d = dot + j + v * LANES;
        store_left(s, load_left(s, left) + block_sum[v], left);
        store_left(d, load_left(d, left) + block_dot[v], left);
    }
}

static void backward_sums_item(void *job, long part, int worker) {
    const backward_job *g = job;
    const shape s = g->s;
    (void)worker;
    REAL *sum = g->sum + part * s.w, *dot = g->dot + part * s.w;
    long first = part * s.share, end = min_l(first + s.share, s.rows);
    memset(sum, 0, (size_t)s.w * sizeof(REAL));
    memset(dot, 0, (size_t)s.w * sizeof(REAL));
    for (long r = first; r < end; r += s.block) {
        long count = min_l(s.block, end - r), j = 0;
        for (; j + GROUP * LANES <= s.w; j += GROUP * LANES)
            if (g->relu) block_sums(GROUP, 1, g, r, count, j, sum, dot);
            else block_sums(GROUP, 0, g, r, count, j, sum, dot);
        for (; j < s.w; j += LANES)
            if (g->relu) block_sums(1, 1, g, r, count, j, sum, dot);
            else block_sums(1, 0, g, r, count, j, sum, dot);
    }
}

INLINE void backward_columns(const int relu, const int past, const backward_job *g, long at, long n) {
    for (long j = 0; j < n; j += LANES) {
        long left = n - j;
        ask_ahead(g->x + at + j, past);
        ask_ahead(g->dz + at + j, past);
        vec x = load_left(g->x + at + j, left), mean = load_left(g->mean + j, left);
        vec dz = load_left(g->dz + at + j, left), d = x - mean;
        if (relu) dz = before_relu(dz, x, mean, load_left(g->scale + j, left), load_left(g->shift + j, left));
        vec v = load_left(g->a + j, left) * dz + d * load_left(g->b + j, left) + load_left(g->c + j, left);
        if (past) store_past(g->dx + at + j, v);
        else store_left(g->dx + at + j, v, left);
    }
}

static void backward_item(void *job, long part, int worker) {
    const backward_job *g = job;
    const shape s = g->s;
    (void)worker;
    for (long r = part * s.share, end = min_l(r + s.share, s.rows); r < end; r++)
        if (g->relu && g->past) backward_columns(1, 1, g, r * s.w, s.w);
        else if (g->relu) backward_columns(1, 0, g, r * s.w, s.w);
        else if (g->past) backward_columns(0, 1, g, r * s.w, s.w);
        else backward_columns(0, 0, g, r * s.w, s.w);
    if (part == s.parts - 1)
        for (long r = 0; r < s.rest; r++) backward_columns(g->relu, 0, g, s.rows * s.w + r * s.n, s.n);
    if (g->past) finish_stores();
}

static int batchnorm_backward(long rows, long n, const void *dz, const void *x, const void *gamma, const void *mean,
                              const void *inv_std, void *dx, void *dgamma, void *dbeta, int accumulate, int relu,
                              const void *beta) {
    shape s = shape_of(rows, n);
    size_t sums = (size_t)(s.parts * s.w);
    REAL *partial = scratch(SCRATCH_PARTIAL, 2 * sums * sizeof(REAL));
    REAL *p = scratch(SCRATCH_STATE, 6 * (size_t)s.w * sizeof(REAL));
    if (!partial || !p) return -1;
    backward_job g = {s, dz, x, p, p + s.w, p + 2 * s.w, p + 3 * s.w, p + 4 * s.w, p + 5 * s.w, dx, partial, partial + sums,
                      relu, s.w % LANES == 0 && dx != dz && dx != x && goes_past(3 * s.rows * s.w, dx)};
    repeat(&s, mean, 0, p);
    if (relu) {
        repeat_scale(&s, inv_std, gamma, p + 4 * s.w);
        repeat(&s, beta, 0, p + 5 * s.w);
    }
    pool_for(s.parts, backward_sums_item, &g);
    const REAL *weight = gamma, *inverse = inv_std, *rest_dz = g.dz + s.rows * s.w, *rest_x = g.x + s.rows * s.w;
    REAL *out_gamma = dgamma, *out_beta = dbeta;
    for (long j = 0; j < n; j++) {
        double sum = 0, dot = 0;
        for (long i = j; i < s.parts * s.w; i += n) {
            sum += g.sum[i];
            dot += g.dot[i];
        }
        for (long r = 0; r < s.rest; r++) {
            REAL d = rest_dz[r * n + j], v = rest_x[r * n + j];
            if (relu) d = before_relu(splat(d), splat(v), splat(p[j]), splat(g.scale[j]), splat(g.shift[j]))[0];
            sum += d;
            dot += d * (v - p[j]);
        }
        double scale = inverse[j] * (weight ? weight[j] : 1);
        if (out_beta) out_beta[j] = (REAL)((accumulate ? out_beta[j] : 0) + sum);
        if (out_gamma) out_gamma[j] = (REAL)((accumulate ? out_gamma[j] : 0) + dot * inverse[j]);
        for (long k = 0; k < s.fold; k++) {
            p[s.w + k * n + j] = (REAL)scale;
            p[2 * s.w + k * n + j] = (REAL)(-scale * inverse[j] * inverse[j] * dot / (double)rows);
            p[3 * s.w + k * n + j] = (REAL)(-scale * sum / (double)rows);
        }
    }
    if (dx) pool_for(s.parts, backward_item, &g);
    return 0;
}

// ---- layer normalisation ----

typedef struct {
    long rows, n, share;
    const REAL *x, *gamma, *beta, *dy;
    REAL *y, *mean, *inv_std, *dgamma, *dbeta; // in the backward y is dx, the last two are partial sums [parts][n]
    REAL eps;
    int past; // y goes past the caches
} layer_job;

// Lanes past the row's end must not count in sums of deviations.
INLINE vec deviation(const REAL *x, vec mean, long left) {
    vec d = load_left(x, left) - mean;
    for (long i = left; i < LANES; i++) d[i] = 0;
    return d;
}

static void layernorm_item(void *job, long part, int worker) {
    const layer_job *g = job;
    long n = g->n, count = max_l(n, 1);
    (void)worker;
    for (long r = part * g->share, end = min_l(r + g->share, g->rows); r < end; r++) {
        const REAL *x = g->x + r * n;
        REAL mean = (REAL)(dot_row(x, NULL, n) / count), inv_std = (REAL)(1 / sqrt(squares_row(x, mean, n) / count + g->eps));
        g->mean[r] = mean;
        g->inv_std[r] = inv_std;
        for (long j = 0; j < n; j += LANES) {
            long left = n - j;
            ask_ahead(x + n + j, g->past);
            vec v = (load_left(x + j, left) - splat(mean)) * splat(inv_std);
            if (g->gamma) v *= load_left(g->gamma + j, left);
            if (g->beta) v += load_left(g->beta + j, left);
            if (g->past) store_past(g->y + r * n + j, v);
            else store_left(g->y + r * n + j, v, left);
        }
    }
    if (g->past) finish_stores();
}

static long rows_per_part(long rows, long n) {
    long parts = max_l(1, min_l(PARTS, rows * n / PART_ELEMENTS));
    return max_l(1, div_up(rows, parts));
}

static int layernorm(long rows, long n, const void *x, const void *gamma, const void *beta, void *y, void *mean,
                     void *inv_std, double eps) {
    layer_job g = {.rows = rows, .n = n, .share = rows_per_part(rows, n), .x = x, .gamma = gamma, .beta = beta, .y = y,
                   .mean = mean, .inv_std = inv_std, .eps = (REAL)eps,
                   .past = n % LANES == 0 && y != x && goes_past(2 * rows * n, y)};
    pool_for(div_up(rows, g.share), layernorm_item, &g);
    return 0;
}

// With e = dy gamma:  dx = inv_std (e - mean(e) - xhat mean(e xhat)).
static void layernorm_backward_item(void *job, long part, int worker) {
    const layer_job *g = job;
    long n = g->n;
    (void)worker;
    REAL *dgamma = g->dgamma + part * n, *dbeta = g->dbeta + part * n;
    memset(dgamma, 0, (size_t)n * sizeof(REAL));
    memset(dbeta, 0, (size_t)n * sizeof(REAL));
    for (long r = part * g->share, end = min_l(r + g->share, g->rows); r < end; r++) {
        const REAL *x = g->x + r * n, *dy = g->dy + r * n;
        vec sum = {0}, dot = {0}, mean = splat(g->mean[r]), inv_std = splat(g->inv_std[r]);
        for (long j = 0; j < n; j += LANES) {
            long left = n - j;
            vec d = load_left(dy + j, left), xhat = deviation(x + j, mean, left) * inv_std;
            store_left(dbeta + j, load_left(dbeta + j, left) + d, left);
            store_left(dgamma + j, load_left(dgamma + j, left) + d * xhat, left);
            if (g->gamma) d *= load_left(g->gamma + j, left);
            sum += d;
            dot += d * xhat;
        }
        if (!g->y) continue;
        vec mean_e = splat(sum_lanes(sum) / (REAL)n), mean_dot = splat(sum_lanes(dot) / (REAL)n);
        for (long j = 0; j < n; j += LANES) {
            long left = n - j;
            ask_near(dy + n + j, g->past);
            ask_near(x + n + j, g->past);
            vec d = load_left(dy + j, left), xhat = (load_left(x + j, left) - mean) * inv_std;
            if (g->gamma) d *= load_left(g->gamma + j, left);
            vec v = inv_std * (d - mean_e - xhat * mean_dot);
            if (g->past) store_past(g->y + r * n + j, v);
            else store_left(g->y + r * n + j, v, left);
        }
    }
    if (g->past) finish_stores();
}

static int layernorm_backward(long rows, long n, const void *dy, const void *x, const void *gamma, const void *mean,
                              const void *inv_std, void *dx, void *dgamma, void *dbeta, int accumulate) {
    layer_job g = {.rows = rows, .n = n, .share = rows_per_part(rows, n), .x = x, .gamma = gamma, .dy = dy, .y = dx,
                   .mean = (REAL *)mean, .inv_std = (REAL *)inv_std,
                   .past = n % LANES == 0 && dx != dy && dx != x && goes_past(3 * rows * n, dx)};
    long parts = div_up(rows, g.share);
    REAL *partial = scratch(SCRATCH_PARTIAL, 2 * (size_t)(parts * n) * sizeof(REAL));
    if (!partial) return -1;
    g.dgamma = partial;
    g.dbeta = partial + parts * n;
    pool_for(parts, layernorm_backward_item, &g);
    REAL *outputs[2] = {dgamma, dbeta};
    for (int k = 0; k < 2; k++)
        for (long j = 0; outputs[k] && j < n; j++) {
            REAL s = accumulate ? outputs[k][j] : 0;
            for (long i = 0; i < parts; i++) s += partial[k * parts * n + i * n + j];
            outputs[k][j] = s;
        }
    return 0;
}

const norm_kernels NAME(norm_kernels) = {batchnorm, batchnorm_inference, batchnorm_backward, layernorm,
                                         layernorm_backward};
