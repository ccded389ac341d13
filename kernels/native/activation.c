// Activations and softmax.
//
// The plain version calls libm for each element and passes over memory once per operation of the formula. Here each is
// one pass on vectors, with the polynomials of vmath.h: 2 arrays of memory traffic for the forward, 3 for the backward,
// and 1 (relu) to 40 (gelu) flops per element, so that most are bound by memory once out of cache. In cache a Zen 4 core
// takes 10 cycles for an AVX-512 vector of exponentials, 13 of sigmoid, 14 of tanh, 22 of gelu, two vectors side by side
// (one by one: 5 % more); copying a vector from memory takes two cores 10 to 18, as the machine has it.
//
// From memory all read ahead (simd.h): a loop that computes has too few loads under way to bridge the end of a page, where
// the prefetcher stops. On two Granite Rapids cores copying at 48 GB/s sigmoid, tanh and elu went from 28 to 44, the gradient
// of gelu on one core from 11 to 34.
//
// softmax reads a row for its maximum, then for the exponentials and their sum, then scales it: a row that fits in
// cache costs one pass over memory, and three rows are under way at a time (rows.h). Rows of up to four vectors stay in
// registers between the three, which takes half to three quarters of the time.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("schedule-insns") // lets the loops' two vectors go side by side
#endif
#include "activation.h"
#include "derivative.h"
#include "flat.h"
#include "rows.h"
#include "vmath.h"

static const double SELU_ALPHA = 1.6732632423543772, SELU_SCALE = 1.0507009873554805;

// ---- elementwise ----

INLINE vec forward_of(const int kind, vec x, vec alpha) {
    const vec zero = {0}, one = splat(1);
    switch (kind) {
    case ACT_RELU: return vmax(zero, x);
    case ACT_SIGMOID: return vsigmoid(x);
    case ACT_TANH: return vtanh(x);
    case ACT_LEAKY_RELU: return blend((ivec)(x > zero), x, alpha * x);
    case ACT_ELU: return blend((ivec)(x > zero), x, alpha * vexpm1(vmin(zero, x)));
    case ACT_SELU:
        return splat((REAL)SELU_SCALE) * blend((ivec)(x > zero), x, splat((REAL)SELU_ALPHA) * vexpm1(vmin(zero, x)));
    case ACT_EXPONENTIAL: return vexp(x);
    case ACT_SOFTPLUS: return vmax(zero, x) + vlog1p(vexp(-vabs(x)));
    case ACT_SOFTSIGN: return x / (one + vabs(x));
    case ACT_SILU: return x * vsigmoid(x);
    case ACT_GELU: return vgelu(x);
    case ACT_RELU6: return vmin(splat(6), vmax(zero, x));
    case ACT_HARD_SIGMOID: return vmin(one, vmax(zero, x * splat((REAL)(1 / 6.)) + splat((REAL)0.5)));
    case ACT_STEP: return blend((ivec)(x > zero), one, zero);
    default: return x;
    }
}

INLINE vec backward_of(const int kind, vec dy, vec x, vec y, vec alpha) {
    const vec zero = {0}, one = splat(1);
    vec s;
    switch (kind) {
    case ACT_LEAKY_RELU: return blend((ivec)(y > zero), dy, alpha * dy);
    case ACT_ELU: return dy * blend((ivec)(y > zero), one, y + alpha);
    case ACT_SELU:
        return dy * blend((ivec)(y > zero), splat((REAL)SELU_SCALE), y + splat((REAL)(SELU_SCALE * SELU_ALPHA)));
    case ACT_EXPONENTIAL: return dy * y;
    case ACT_SOFTPLUS: return dy * vsigmoid(x);
    case ACT_SOFTSIGN:
        s = one + vabs(x);
        return dy / (s * s);
    case ACT_SILU:
        s = vsigmoid(x);
        return dy * s * (one + x * (one - s));
    case ACT_GELU: return dy * vgelu_slope(x);
    case ACT_RELU6: return blend((ivec)(x > zero) & (ivec)(x <= splat(6)), dy, zero);
    case ACT_HARD_SIGMOID:
        return blend((ivec)(x > splat(-3)) & (ivec)(x <= splat(3)), dy * splat((REAL)(1 / 6.)), zero);
    case ACT_STEP: return zero;
    default: return before_activation(kind, dy, y);
    }
}

typedef struct {
    const REAL *dy, *x, *y;
    REAL *out;
    int kind, past;
    REAL alpha;
} activation_job;

INLINE void forward_loop(const int kind, const activation_job *g, long first, long n) {
    const REAL *x = g->x + first;
    REAL *out = g->out + first;
    const vec alpha = splat(g->alpha);
    long i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) { // side by side: each instruction of one waits for the last
        vec one = load_from(x + i, g->past), other = load_from(x + i + LANES, g->past);
        one = forward_of(kind, one, alpha);
        other = forward_of(kind, other, alpha);
        store_to(out + i, one, g->past);
        store_to(out + i + LANES, other, g->past);
    }
    for (; i + LANES <= n; i += LANES) store_to(out + i, forward_of(kind, load(x + i), alpha), g->past);
    if (i < n) store_part(out + i, forward_of(kind, load_part(x + i, n - i), alpha), n - i);
}

// x or y, where the derivative does not need it, is never read: the compiler sees that its loads lead nowhere.
INLINE void backward_loop(const int kind, const activation_job *g, long first, long n) {
    const int from_y = kind <= ACT_EXPONENTIAL;
    const REAL *dy = g->dy + first, *from = (from_y ? g->y : g->x) + first;
    REAL *out = g->out + first;
    const vec alpha = splat(g->alpha);
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec v = load_from(from + i, g->past);
        store_to(out + i, backward_of(kind, load_from(dy + i, g->past), v, v, alpha), g->past);
    }
    if (i < n) {
        vec v = load_part(from + i, n - i);
        store_part(out + i, backward_of(kind, load_part(dy + i, n - i), v, v, alpha), n - i);
    }
}

#define EACH_KIND(LOOP)                                                                                                \
    LOOP(ACT_LINEAR)                                                                                                   \
    LOOP(ACT_RELU)                                                                                                     \
    LOOP(ACT_SIGMOID)                                                                                                  \
    LOOP(ACT_TANH)                                                                                                     \
    LOOP(ACT_LEAKY_RELU)                                                                                               \
    LOOP(ACT_ELU)                                                                                                      \
    LOOP(ACT_SELU)                                                                                                     \
    LOOP(ACT_EXPONENTIAL)                                                                                              \
    LOOP(ACT_SOFTPLUS)                                                                                                 \
    LOOP(ACT_SOFTSIGN)                                                                                                 \
    LOOP(ACT_SILU)                                                                                                     \
    LOOP(ACT_GELU)                                                                                                     \
    LOOP(ACT_RELU6)                                                                                                    \
    LOOP(ACT_HARD_SIGMOID)                                                                                             \
    LOOP(ACT_STEP)

static void forward_chunk(void *job, long first, long n) {
    const activation_job *g = job;
    switch (g->kind) {
#define LOOP(kind)                                                                                                     \
    case kind: forward_loop(kind, g, first, n); break;
        EACH_KIND(LOOP)
#undef LOOP
    }
}

static void backward_chunk(void *job, long first, long n) {
    const activation_job *g = job;
    switch (g->kind) {
#define LOOP(kind)                                                                                                     \
    case kind: backward_loop(kind, g, first, n); break;
        EACH_KIND(LOOP)
#undef LOOP
    }
}

// Elements by which the kinds with an exponential count as dearer.
static long weight_of(int kind) {
    int cheap = kind == ACT_LINEAR || kind == ACT_RELU || kind == ACT_LEAKY_RELU || kind == ACT_SOFTSIGN ||
                kind >= ACT_RELU6;
    return cheap ? 1 : 2;
}

static void activation(long n, const void *x, void *y, int kind, double alpha) {
    if (kind == ACT_LINEAR && x == y) return;
    activation_job g = {NULL, x, NULL, y, kind, x != y && goes_past(2 * n, y), (REAL)alpha};
    flat_for(n, weight_of(kind), forward_chunk, &g);
}

static void activation_backward(long n, const void *dy, const void *x, const void *y, void *dx, int kind, double alpha) {
    if (kind == ACT_LINEAR && dy == dx) return;
    int past = dx != dy && dx != x && dx != y && goes_past(3 * n, dx);
    activation_job g = {dy, x, y, dx, kind, past, (REAL)alpha};
    flat_for(n, kind == ACT_SOFTPLUS || kind == ACT_SILU || kind == ACT_GELU ? 2 : 1, backward_chunk, &g);
}

// ---- rows ----

typedef struct {
    long n;
    const REAL *a, *b;
    REAL *out;
    int past;
} rows_job;

// Rows of nv vectors, the last of which may be a part, stay in registers.
INLINE void short_softmax(const int nv, const rows_job *g, long first, long rows) {
    const long n = g->n, part = n % LANES;
    const int past = g->past && !part && (uintptr_t)g->out % VBYTES == 0;
    for (long r = first; r < first + rows; r++) {
        const REAL *x = g->a + r * n;
        REAL *y = g->out + r * n;
        vec v[4], all = {0};
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            v[j] = part && j == nv - 1 ? load_filled(x + j * LANES, part, -INFINITY) : load_from(x + j * LANES, past);
            all = j ? vmax(v[j], all) : v[j];
        }
        const vec top = splat(max_lanes(all));
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            v[j] = vexp_below(v[j] - top);
            all = j ? all + v[j] : v[j];
        }
        const vec factor = splat(1 / add_lanes(all));
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++)
            if (part && j == nv - 1) store_part(y + j * LANES, v[j] * factor, part);
            else store_to(y + j * LANES, v[j] * factor, past);
    }
}

static void softmax_rows(void *job, long first, long rows) {
    const rows_job *g = job;
    switch (div_up(g->n, LANES)) {
    case 1: short_softmax(1, g, first, rows); return;
    case 2: short_softmax(2, g, first, rows); return;
    case 3: short_softmax(3, g, first, rows); return;
    case 4: short_softmax(4, g, first, rows); return;
    }
    _Alignas(64) REAL buffer[2][ROW_BUFFER + PAGE / 2];
    const REAL *x = g->a + first * g->n;
    REAL *y = g->out + first * g->n;
    beside b = {.top = row_max(x, g->n), .past = g->past};
    for (long r = 0; r < rows; r++, x += g->n, y += g->n) {
        REAL *e = g->n <= ROW_BUFFER ? buffer[r % 2] : y;
        b.next = r + 1 < rows ? x + g->n : x;
        double sum = r ? exp_row_scaling(x, e, g->n, b.top, -1, &b) : exp_row(x, e, g->n, b.top, -1, &b);
        b.done = e;
        b.y = y;
        b.factor = (REAL)(1 / sum);
    }
    scale_whole_row(&b, g->n);
    finish_rows(&b);
}

static void log_softmax_rows(void *job, long first, long rows) {
    const rows_job *g = job;
    const long n = g->n;
    _Alignas(64) REAL buffer[ROW_BUFFER];
    beside b = {.top = row_max(g->a + first * n, n), .past = g->past, .done = buffer, .factor = 1};
    for (long r = first; r < first + rows; r++) {
        const REAL *x = g->a + r * n;
        REAL *y = g->past ? buffer : g->out + r * n;
        vec shift = splat(b.top);
        b.next = r + 1 < first + rows ? x + n : x;
        vec below = splat((REAL)log(exp_row(x, NULL, n, b.top, -1, &b)));
        long i = 0;
        for (; i + LANES <= n; i += LANES) {
            ask_near(x + 2 * n + i, g->past);
            store(y + i, load(x + i) - shift - below);
        }
        if (i < n) store_part(y + i, load_part(x + i, n - i) - shift - below, n - i);
        if (g->past) store_row_past(&b, g->out + r * n, n);
    }
    finish_rows(&b);
}

INLINE void softmax_gradients(void *job, long first, long rows, const int logarithm) {
    const rows_job *g = job;
    const long n = g->n;
    _Alignas(64) REAL buffer[ROW_BUFFER];
    beside b = {.past = g->past, .done = buffer, .factor = 1};
    for (long r = first; r < first + rows; r++) {
        const REAL *dy = g->a + r * n, *y = g->b + r * n;
        REAL *dx = g->past ? buffer : g->out + r * n;
        const vec sum = splat((REAL)dot_row(dy, logarithm ? NULL : y, n));
        for (long i = 0; i < n; i += LANES) {
            const long part = n - i < LANES ? n - i : 0;
            ask_near(dy + n + i, g->past);
            ask_near(y + n + i, g->past);
            vec p = load_some(y + i, part), d = load_some(dy + i, part);
            store_some(dx + i, logarithm ? d - vexp(p) * sum : p * (d - sum), part);
        }
        if (g->past) store_row_past(&b, g->out + r * n, n);
    }
    finish_rows(&b);
}
static void softmax_backward_rows(void *job, long first, long rows) { softmax_gradients(job, first, rows, 0); }
static void log_softmax_backward_rows(void *job, long first, long rows) { softmax_gradients(job, first, rows, 1); }

static void softmax(long rows, long n, const void *x, void *y) {
    rows_job g = {n, x, NULL, y, row_goes_past(rows, n, x, y)};
    if (n) flat_for(rows, 2 * n + 8, softmax_rows, &g);
}

static void softmax_backward(long rows, long n, const void *dy, const void *y, void *dx) {
    rows_job g = {n, dy, y, dx, y != dx && row_goes_past(rows, n, dy, dx)};
    if (n) flat_for(rows, n + 8, softmax_backward_rows, &g);
}

static void log_softmax(long rows, long n, const void *x, void *y) {
    rows_job g = {n, x, NULL, y, row_goes_past(rows, n, x, y)};
    if (n) flat_for(rows, 2 * n + 8, log_softmax_rows, &g);
}

static void log_softmax_backward(long rows, long n, const void *dy, const void *y, void *dx) {
    rows_job g = {n, dy, y, dx, y != dx && row_goes_past(rows, n, dy, dx)};
    if (n) flat_for(rows, 2 * n + 8, log_softmax_backward_rows, &g);
}

const activation_kernels NAME(activation_kernels) = {
    activation, activation_backward, softmax, softmax_backward, log_softmax, log_softmax_backward,
};
