// Optimizers: each update is one pass over the flat buffers.
//
// The plain version makes a pass, and often a temporary array, for each operation of the formula. Here every element of
// p, g and the states is read once and written once: sgd moves 12 bytes per parameter, adam 28 (amsgrad 36), with 2 to
// 15 flops, a root and a quotient; bound by memory.
#include "optim.h"
#include "flat.h"
#include "vmath.h"
#include <limits.h>

enum { STATES = 3 };

typedef struct {
    REAL *p, *state[STATES]; // a state that the rule lacks is NULL
    const REAL *g;
    REAL lr, decay, keep[2], rest[2], momentum, eps; // rest = 1 - keep, taken in double
    int past; // p goes past the caches
} optim_job;

// Parameters are read by all cores, states only by the one that writes them.
static int goes_apart(long n, const void *p) {
    return n * (long)sizeof(REAL) >= past_from(LONG_MAX) && (uintptr_t)p % VBYTES == 0;
}

enum rule { SGD, MOMENTUM, ADAGRAD, RMSPROP, ADAM };

// One vector's update; s holds the states.
INLINE vec updated(const int rule, const int form, const optim_job *o, vec p, vec g, vec s[STATES]) {
    const vec lr = splat(o->lr), eps = splat(o->eps), keep0 = splat(o->keep[0]), keep1 = splat(o->keep[1]);
    const vec rest0 = splat(o->rest[0]), rest1 = splat(o->rest[1]);
    vec d, step;
    switch (rule) {
    case SGD: return p - lr * g;
    case MOMENTUM:
        if (form == AVERAGED) {
            s[0] = keep0 * s[0] + rest0 * g;
            return p - lr * s[0];
        }
        s[0] = keep0 * s[0] - lr * g;
        return form == NESTEROV ? p + (keep0 * s[0] - lr * g) : p + s[0];
    case ADAGRAD:
        s[0] += g * g;
        return p - lr * g / vsqrt(s[0] + eps);
    case RMSPROP: // form: 1 with momentum, 2 centered
        s[0] = keep0 * s[0] + rest0 * (g * g);
        d = s[0];
        if (form & 2) {
            s[2] = keep0 * s[2] + rest0 * g;
            d -= s[2] * s[2];
        }
        step = lr * g / vsqrt(d + eps);
        if (form & 1) step = s[1] = splat(o->momentum) * s[1] + step;
        return p - step;
    default: // ADAM; form: 1 with the running maximum
        s[0] = keep0 * s[0] + rest0 * g;
        s[1] = keep1 * s[1] + rest1 * (g * g);
        if (form & 1) s[2] = max_or_nan(s[2], s[1]);
        return p - splat(o->decay) * p - lr * s[0] / (vsqrt(form & 1 ? s[2] : s[1]) + eps);
    }
}

INLINE void update_loop(const int rule, const int form, const int used, const optim_job *o, long first, long n) {
    vec s[STATES];
    REAL *p = o->p + first;
    const REAL *g = o->g + first;
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma GCC unroll 3
        for (int k = 0; k < STATES; k++)
            if (used >> k & 1) s[k] = load(o->state[k] + first + i);
        store_to(p + i, updated(rule, form, o, load(p + i), load(g + i), s), o->past);
#pragma GCC unroll 3
        for (int k = 0; k < STATES; k++)
            if (used >> k & 1) store(o->state[k] + first + i, s[k]);
    }
    if (i == n) return;
    for (int k = 0; k < STATES; k++)
        if (used >> k & 1) s[k] = load_part(o->state[k] + first + i, n - i);
    store_part(p + i, updated(rule, form, o, load_part(p + i, n - i), load_part(g + i, n - i), s), n - i);
    for (int k = 0; k < STATES; k++)
        if (used >> k & 1) store_part(o->state[k] + first + i, s[k], n - i);
}

#define UPDATE(function, rule, form, used)                                                                             \
    static void function(void *job, long first, long n) { update_loop(rule, form, used, job, first, n); }
UPDATE(sgd_chunk, SGD, 0, 0)
UPDATE(classical_chunk, MOMENTUM, CLASSICAL, 1)
UPDATE(nesterov_chunk, MOMENTUM, NESTEROV, 1)
UPDATE(averaged_chunk, MOMENTUM, AVERAGED, 1)
UPDATE(adagrad_chunk, ADAGRAD, 0, 1)
UPDATE(rmsprop_chunk, RMSPROP, 0, 1)
UPDATE(rmsprop_momentum_chunk, RMSPROP, 1, 3)
UPDATE(rmsprop_centered_chunk, RMSPROP, 2, 5)
UPDATE(rmsprop_both_chunk, RMSPROP, 3, 7)
UPDATE(adam_chunk, ADAM, 0, 3)
UPDATE(amsgrad_chunk, ADAM, 1, 7)

static void sgd(long n, void *p, const void *g, double lr) {
    optim_job o = {.p = p, .g = g, .past = goes_apart(n, p), .lr = (REAL)lr};
    flat_for(n, 1, sgd_chunk, &o);
}

static void momentum(long n, void *p, const void *g, void *m, double lr, double momentum, int form) {
    static const flat_function chunk[] = {classical_chunk, nesterov_chunk, averaged_chunk};
    optim_job o = {.p = p, .g = g, .past = goes_apart(n, p), .state = {m}, .lr = (REAL)lr, .keep = {(REAL)momentum},
                   .rest = {(REAL)(1 - momentum)}};
    flat_for(n, 1, chunk[form], &o);
}

static void adagrad(long n, void *p, const void *g, void *s, double lr, double eps) {
    optim_job o = {.p = p, .g = g, .past = goes_apart(n, p), .state = {s}, .lr = (REAL)lr, .eps = (REAL)eps};
    flat_for(n, 2, adagrad_chunk, &o);
}

static void rmsprop(long n, void *p, const void *g, void *s, void *m, void *gbar, double lr, double rho, double momentum,
                    double eps) {
    static const flat_function chunk[] = {rmsprop_chunk, rmsprop_momentum_chunk, rmsprop_centered_chunk,
                                          rmsprop_both_chunk};
    optim_job o = {.p = p, .g = g, .past = goes_apart(n, p), .state = {s, m, gbar}, .lr = (REAL)lr, .keep = {(REAL)rho},
                   .rest = {(REAL)(1 - rho)},
                   .momentum = (REAL)momentum, .eps = (REAL)eps};
    flat_for(n, 2, chunk[(m && momentum > 0) + 2 * (gbar != NULL)], &o);
}

static void adam(long n, void *p, const void *g, void *m, void *v, void *vhat, double lr, double beta1, double beta2,
                 double eps, double weight_decay, long step) {
    double rate = lr * sqrt(1 - pow(beta2, (double)step)) / (1 - pow(beta1, (double)step));
    optim_job o = {.p = p, .g = g, .past = goes_apart(n, p), .state = {m, v, vhat}, .lr = (REAL)rate,
                   .decay = weight_decay > 0 ? (REAL)(lr * weight_decay) : 0,
                   .keep = {(REAL)beta1, (REAL)beta2},
                   .rest = {(REAL)(1 - beta1), (REAL)(1 - beta2)}, .eps = (REAL)eps};
    flat_for(n, 2, vhat ? amsgrad_chunk : adam_chunk, &o);
}

const optim_kernels NAME(optim_kernels) = {sgd, momentum, adagrad, rmsprop, adam};
