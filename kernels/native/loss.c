// Cross-entropies: the loss and its gradient from one reading of the logits.
//
// The plain version is log_softmax, a selection, and then exp again for the gradient, each a pass over memory. Here the
// exponentials that the sum needs are kept and scaled while they are still in cache, with three rows under way (rows.h):
// logits (and targets) are read once from memory and dlogits written once; about 20 flops per logit. Rows of up to four
// vectors stay in registers (10 classes: 1.37 times faster).
//
// Where the label is the likeliest class by far, 1 - p and -log p are small and would be lost in rounding: both are
// taken from the sum over the other classes alone, log1p(others) and -others / sum.
//
// The binary loss works on flat blocks of narrow rows (a single logit, most often), so that they fill the vectors. Of wide
// rows the logarithms of 1 + e are added up as that of their product: 1000 columns from memory 31 GB/s, so 38.
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

INLINE double sparse_loss(double below, double own, double others) {
    return below <= 0 ? log1p(others) : below + log(others + own); // NaN stays NaN
}

// Rows of nv vectors, the last of which may be a part, stay in registers.
INLINE void short_sparse(const int nv, const loss_job *g, long first, long rows) {
    const long n = g->n, part = n % LANES;
    const int past = g->past && !part && (uintptr_t)g->dlogits % VBYTES == 0;
    for (long r = first; r < first + rows; r++) {
        const REAL *x = g->logits + r * n;
        const long label = g->labels[r];
        const double weight = g->weight ? g->weight[r] : 1;
        vec v[4], all = {0};
        ivec other[4];
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            v[j] = part && j == nv - 1 ? load_filled(x + j * LANES, part, -INFINITY) : load_from(x + j * LANES, past);
            other[j] = (ivec)(lane_numbers() != isplat((INT)(label - j * LANES)));
            all = j ? vmax(v[j], all) : v[j];
        }
        const REAL top = max_lanes(all), own = vexp_below(splat(x[label] - top))[0];
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            v[j] = vexp_below(v[j] - splat(top));
            vec kept = (vec)((ivec)v[j] & other[j]);
            all = j ? all + kept : kept;
        }
        const double others = add_lanes(all);
        g->losses[r] = (REAL)(weight * sparse_loss((double)top - x[label], own, others));
        if (!g->dlogits) continue;
        const vec factor = splat((REAL)(g->scale * weight / (others + own))), at_label = splat((REAL)-others);
        REAL *dx = g->dlogits + r * n;
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            v[j] = blend(other[j], v[j], at_label) * factor;
            if (part && j == nv - 1) store_part(dx + j * LANES, v[j], part);
            else store_to(dx + j * LANES, v[j], past);
        }
    }
}

static void sparse_rows(void *job, long first, long rows) {
    const loss_job *g = job;
    const long n = g->n;
    switch (div_up(n, LANES)) {
    case 1: short_sparse(1, g, first, rows); return;
    case 2: short_sparse(2, g, first, rows); return;
    case 3: short_sparse(3, g, first, rows); return;
    case 4: short_sparse(4, g, first, rows); return;
    }
    _Alignas(64) REAL buffer[2][ROW_BUFFER + PAGE / 2];
    const REAL *x = g->logits + first * n;
    REAL *dx = g->dlogits ? g->dlogits + first * n : NULL;
    beside b = {.top = row_max(x, n), .past = g->past};
    for (long r = first; r < first + rows; r++, x += n) {
        REAL *e = !dx ? NULL : n <= ROW_BUFFER ? buffer[r % 2] : dx, top = b.top;
        const long label = g->labels[r];
        const double weight = g->weight ? g->weight[r] : 1, below = (double)top - x[label];
        const REAL own = vexp_below(splat(x[label] - top))[0];
        b.next = r + 1 < first + rows ? x + n : x;
        double others = b.done ? exp_row_scaling(x, e, n, top, label, &b) : exp_row(x, e, n, top, label, &b);
        g->losses[r] = (REAL)(weight * sparse_loss(below, own, others));
        if (!dx) continue;
        e[label] = (REAL)-others;
        b.done = e;
        b.y = dx;
        b.factor = (REAL)(g->scale * weight / (others + own));
        dx += n;
    }
    if (!dx) return;
    scale_whole_row(&b, n);
    finish_rows(&b);
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
    const long n = g->n;
    _Alignas(64) REAL buffer[ROW_BUFFER];
    beside b = {.top = row_max(g->logits + first * n, n), .past = g->past, .done = buffer, .factor = 1};
    for (long r = first; r < first + rows; r++) {
        const REAL *x = g->logits + r * n, *t = g->targets + r * n, top = b.top;
        REAL *dx = g->past ? buffer : g->dlogits ? g->dlogits + r * n : NULL;
        double weight = g->weight ? g->weight[r] : 1, mass, distance;
        b.next = r + 1 < first + rows ? x + n : x;
        double sum = exp_row(x, dx, n, top, -1, &b);
        target_sums(x, t, n, top, &mass, &distance);
        g->losses[r] = (REAL)(weight * (mass * log(sum) + distance));
        if (!dx) continue;
        const vec p = splat((REAL)(mass / sum)), k = splat((REAL)(g->scale * weight));
        for (long i = 0; i < n; i += LANES) {
            const long part = n - i < LANES ? n - i : 0;
            ask_near(t + n + i, g->past);
            store_some(dx + i, k * (load_some(dx + i, part) * p - load_some(t + i, part)), part);
        }
        if (g->past) store_row_past(&b, g->dlogits + r * n, n);
    }
    finish_rows(&b);
}

// ---- the binary loss ----

enum {
    FACTORS = 32,       // of 1 + e <= 2 each: their product is a number that float32 has
    NARROW = 4 * LANES, // columns from which a row is taken by itself
};

// The loss without log1p(e), with e = e^-|z|.
INLINE vec binary_loss(vec z, vec t, vec *e, vec *gradient) {
    const vec zero = {0}, one = splat(1);
    *e = vexp_below(-vabs(z));
    *gradient = blend((ivec)(z < zero), *e, one) / (one + *e) - t;
    return vmax(zero, z) - z * t;
}

// Losses of n logits one by one, and their gradients times `scale` if dz is not NULL.
INLINE void binary_block(const REAL *z, const REAL *t, REAL *loss, REAL *dz, long n, REAL scale, int large) {
    const vec k = splat(scale);
    vec e, gradient;
    for (long i = 0; i < n; i += LANES) {
        const long part = n - i < LANES ? n - i : 0;
        ask_ahead(z + i, large);
        ask_ahead(t + i, large);
        vec linear = binary_loss(load_some(z + i, part), load_some(t + i, part), &e, &gradient);
        store_some(loss + i, linear + vlog1p(e), part);
        if (dz) store_some(dz + i, gradient * k, part);
    }
}

// The sum of the losses of one row. The logarithms of 1 + e are that of a product, and the product less 1 keeps its digits
// where all e are small.
INLINE double binary_row(const REAL *z, const REAL *t, REAL *dz, long n, REAL scale, int large) {
    const vec k = splat(scale), one = splat(1);
    vec e, gradient;
    double total = 0;
    for (long i = 0; i < n;) {
        const long end = min_l(n, i + FACTORS * LANES);
        vec sum = {0}, product = {0}; // less 1
        for (; i < end; i += LANES) {
            const long part = n - i < LANES ? n - i : 0;
            ask_ahead(z + i, large);
            ask_ahead(t + i, large);
            vec linear = binary_loss(load_some(z + i, part), load_some(t + i, part), &e, &gradient);
            if (dz) store_some(dz + i, gradient * k, part);
            if (part) e = load_filled((REAL *)&e, part, 0);
            sum += linear;
            product = product * e + (product + e);
        }
        total += add_lanes(sum + blend((ivec)(product > one), vlog(one + product), vlog1p(vmin(one, product))));
    }
    return total;
}

// Narrow rows go together, so that they fill the vectors.
static void narrow_rows(const loss_job *g, long first, long rows) {
    const long n = g->n, group = ROW_BUFFER / n;
    const REAL scale = (REAL)(g->scale / n);
    _Alignas(64) REAL losses[ROW_BUFFER], gradients[ROW_BUFFER];
    beside b = {.past = g->past, .done = gradients, .factor = 1};
    for (long r = first, count; r < first + rows; r += count) {
        count = min_l(group, first + rows - r);
        const REAL *z = g->logits + r * n, *t = g->targets + r * n;
        REAL *loss = n == 1 ? g->losses + r : losses, *dz = g->past ? gradients : g->dlogits ? g->dlogits + r * n : NULL;
        if (dz) binary_block(z, t, loss, dz, count * n, scale, g->past);
        else binary_block(z, t, loss, NULL, count * n, scale, 0);
        for (long j = 0; j < count && (n > 1 || g->weight); j++) {
            double weight = g->weight ? g->weight[r + j] : 1;
            g->losses[r + j] = (REAL)(weight * (n == 1 ? loss[j] : dot_row(loss + j * n, NULL, n)) / n);
            if (!dz || !g->weight) continue;
            if (n == 1) dz[j] *= (REAL)weight;
            else scale_row(dz + j * n, dz + j * n, n, (REAL)weight);
        }
        if (g->past) store_row_past(&b, g->dlogits + r * n, count * n);
    }
    finish_rows(&b);
}

static void wide_rows(const loss_job *g, long first, long rows) {
    const long n = g->n;
    _Alignas(64) REAL gradients[ROW_BUFFER];
    beside b = {.past = g->past, .done = gradients, .factor = 1};
    for (long r = first; r < first + rows; r++) {
        const REAL *z = g->logits + r * n, *t = g->targets + r * n;
        const double weight = g->weight ? g->weight[r] : 1;
        REAL *dz = g->past ? gradients : g->dlogits ? g->dlogits + r * n : NULL, scale = (REAL)(weight * g->scale / n);
        double total = dz ? binary_row(z, t, dz, n, scale, g->past) : binary_row(z, t, NULL, n, 0, 0);
        g->losses[r] = (REAL)(weight * total / n);
        if (g->past) store_row_past(&b, g->dlogits + r * n, n);
    }
    finish_rows(&b);
}

static void binary_rows(void *job, long first, long rows) {
    const loss_job *g = job;
    if (g->n < NARROW) narrow_rows(g, first, rows);
    else wide_rows(g, first, rows);
}

static void softmax_cross_entropy(long rows, long n, const void *logits, const int32_t *labels, const void *weight,
                                  void *losses, void *dlogits, double scale) {
    int past = dlogits && row_goes_past(rows, n, logits, dlogits);
    loss_job g = {n, logits, NULL, labels, weight, losses, dlogits, scale, past};
    if (n) flat_for(rows, 2 * n + 16, sparse_rows, &g);
}

static void softmax_cross_entropy_dense(long rows, long n, const void *logits, const void *targets, const void *weight,
                                        void *losses, void *dlogits, double scale) {
    int past = dlogits && targets != dlogits && row_goes_past(rows, n, logits, dlogits);
    loss_job g = {n, logits, targets, NULL, weight, losses, dlogits, scale, past};
    if (n) flat_for(rows, 2 * n + 16, dense_rows, &g);
}

static void sigmoid_cross_entropy(long rows, long n, const void *logits, const void *targets, const void *weight,
                                  void *losses, void *dlogits, double scale) {
    int past = dlogits && targets != dlogits && row_goes_past(rows, n, logits, dlogits);
    loss_job g = {n, logits, targets, NULL, weight, losses, dlogits, scale, past};
    if (n) flat_for(rows, 3 * n, binary_rows, &g);
}

const loss_kernels NAME(loss_kernels) = {softmax_cross_entropy, softmax_cross_entropy_dense, sigmoid_cross_entropy};
