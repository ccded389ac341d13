// Cross-entropies: the loss and its gradient from one reading of the logits.
//
// The plain version is log_softmax, a selection, and then exp again for the gradient, each a pass over memory. Here the
// exponentials that the sum needs are left in dlogits and scaled there while the row is still in cache: logits (and
// targets) are read once from memory and dlogits written once; about 25 flops per logit.
//
// Where the label is the likeliest class by far, 1 - p and -log p are small and would be lost in rounding: both are
// taken from the sum over the other classes alone, log1p(others) and -others / sum.
//
// The binary loss works on flat blocks of rows, so that narrow rows (a single logit, most often) fill the vectors.
#include "loss.h"
#include "flat.h"
#include "rows.h"

typedef struct {
    long n;
    const REAL *logits, *targets;
    const int32_t *labels;
    const REAL *weight;
    REAL *losses, *dlogits;
    double scale;
    int past; // the gradient
} loss_job;

// e = exp(x - top), not kept where e is NULL; returns their sum without that of `label`, which is *own.
INLINE double exp_others(const REAL *x, REAL *e, long n, REAL top, long label, REAL *own) {
    const long at = label / LANES * LANES, after = min_l(n, at + LANES), part = n - at < LANES ? n - at : 0;
    vec v = vexp((part ? load_filled(x + at, part, -INFINITY) : load(x + at)) - splat(top));
    if (e) store_some(e + at, v, part);
    *own = v[label - at];
    vec others = blend((ivec)(lane_numbers() == isplat((INT)(label - at))), (vec){0}, v);
    return exp_row(x, e, at, top, n) + add_lanes(others) + exp_row(x + after, e ? e + after : NULL, n - after, top, n);
}

static void sparse_rows(void *job, long first, long rows) {
    const loss_job *g = job;
    REAL buffer[ROW_BUFFER];
    for (long r = first; r < first + rows; r++) {
        const REAL *x = g->logits + r * g->n;
        REAL *dx = g->dlogits ? g->dlogits + r * g->n : NULL;
        long label = g->labels[r];
        double weight = g->weight ? g->weight[r] : 1;
        REAL top = row_max(x, g->n), *e = g->past ? buffer : dx;
        double below = (double)top - x[label];
        REAL own;
        double others = e ? exp_others(x, e, g->n, top, label, &own) : exp_others(x, NULL, g->n, top, label, &own);
        g->losses[r] = (REAL)(weight * (below > 0 ? below + log(others + own) : log1p(others)));
        if (!dx) continue;
        double factor = g->scale * weight / (others + own);
        e[label] = (REAL)-others;
        scale_row(e, dx, g->n, (REAL)factor, g->past);
    }
}

// The sums that the dense loss needs besides the exponentials': of t, and of t (top - x), which is never negative.
INLINE void target_sums(const REAL *x, const REAL *t, long n, REAL top, double *sum, double *distance) {
    const vec shift = splat(top);
    *sum = *distance = 0;
    for (long i = 0; i < n;) {
        vec s = {0}, d = {0};
        long end = min_l(n, i + ROW_BLOCK);
        for (; i + LANES <= end; i += LANES) {
            vec v = load(t + i);
            s += v;
            d += v * (shift - load(x + i));
        }
        if (i < end) {
            vec v = load_part(t + i, n - i);
            s += v;
            d += v * (shift - load_filled(x + i, n - i, top));
            i = end;
        }
        *sum += add_lanes(s);
        *distance += add_lanes(d);
    }
}

static void dense_rows(void *job, long first, long rows) {
    const loss_job *g = job;
    for (long r = first; r < first + rows; r++) {
        const REAL *x = g->logits + r * g->n, *t = g->targets + r * g->n;
        REAL *dx = g->dlogits ? g->dlogits + r * g->n : NULL;
        double weight = g->weight ? g->weight[r] : 1, mass, distance;
        REAL top = row_max(x, g->n);
        double sum = dx ? exp_row(x, dx, g->n, top, g->n) : exp_row(x, NULL, g->n, top, g->n);
        target_sums(x, t, g->n, top, &mass, &distance);
        g->losses[r] = (REAL)(weight * (mass * log(sum) + distance));
        if (!dx) continue;
        const vec p = splat((REAL)(mass / sum)), k = splat((REAL)(g->scale * weight));
        long i = 0;
        for (; i + LANES <= g->n; i += LANES) store(dx + i, k * (load(dx + i) * p - load(t + i)));
        if (i < g->n) store_part(dx + i, k * (load_part(dx + i, g->n - i) * p - load_part(t + i, g->n - i)), g->n - i);
    }
}

// ---- the binary loss ----

enum { BLOCK = 1024 };

INLINE vec binary_loss(vec z, vec t, vec *gradient) {
    const vec zero = {0}, one = splat(1);
    vec e = vexp(-vabs(z));
    *gradient = blend((ivec)(z < zero), e, one) / (one + e) - t;
    return vmax(zero, z) - z * t + vlog1p(e);
}

// Losses of n <= BLOCK logits one by one, and their gradients times `scale` if dz is not NULL.
INLINE void binary_block(const REAL *z, const REAL *t, REAL *loss, REAL *dz, long n, REAL scale) {
    const vec k = splat(scale);
    vec gradient;
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        store(loss + i, binary_loss(load(z + i), load(t + i), &gradient));
        if (dz) store(dz + i, gradient * k);
    }
    if (i < n) {
        store_part(loss + i, binary_loss(load_part(z + i, n - i), load_part(t + i, n - i), &gradient), n - i);
        if (dz) store_part(dz + i, gradient * k, n - i);
    }
}

static void binary_rows(void *job, long first, long rows) {
    const loss_job *g = job;
    const long n = g->n, group = n < BLOCK ? BLOCK / n : 1;
    const REAL scale = (REAL)(g->scale / n);
    REAL loss[BLOCK];
    for (long r = first, count; r < first + rows; r += count) {
        count = min_l(group, first + rows - r);
        double total = 0;
        for (long i = r * n, end = (r + count) * n, step; i < end; i += step) {
            step = min_l(BLOCK, end - i);
            if (g->dlogits) binary_block(g->logits + i, g->targets + i, loss, g->dlogits + i, step, scale);
            else binary_block(g->logits + i, g->targets + i, loss, NULL, step, scale);
            if (group == 1) total += dot_row(loss, NULL, step);
        }
        for (long j = 0; j < count; j++) {
            double weight = g->weight ? g->weight[r + j] : 1;
            if (group > 1) total = n == 1 ? loss[j] : dot_row(loss + j * n, NULL, n);
            g->losses[r + j] = (REAL)(weight * total / n);
            if (!g->dlogits || !g->weight) continue;
            REAL *dz = g->dlogits + (r + j) * n;
            if (n == 1) *dz *= (REAL)weight;
            else scale_row(dz, dz, n, (REAL)weight, 0);
        }
    }
}

static void softmax_cross_entropy(long rows, long n, const void *logits, const int32_t *labels, const void *weight,
                                  void *losses, void *dlogits, double scale) {
    int past = dlogits && row_goes_past(rows, n, logits, dlogits);
    loss_job g = {n, logits, NULL, labels, weight, losses, dlogits, scale, past};
    if (n) flat_for(rows, 2 * n + 16, sparse_rows, &g);
}

static void softmax_cross_entropy_dense(long rows, long n, const void *logits, const void *targets, const void *weight,
                                        void *losses, void *dlogits, double scale) {
    loss_job g = {n, logits, targets, NULL, weight, losses, dlogits, scale, 0};
    if (n) flat_for(rows, 2 * n + 16, dense_rows, &g);
}

static void sigmoid_cross_entropy(long rows, long n, const void *logits, const void *targets, const void *weight,
                                  void *losses, void *dlogits, double scale) {
    loss_job g = {n, logits, targets, NULL, weight, losses, dlogits, scale, 0};
    if (n) flat_for(rows, 3 * n, binary_rows, &g);
}

const loss_kernels NAME(loss_kernels) = {softmax_cross_entropy, softmax_cross_entropy_dense, sigmoid_cross_entropy};
