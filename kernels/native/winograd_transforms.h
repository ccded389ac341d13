// Winograd's transforms in one and two dimensions (Lavin & Gray 2016), one set per way; winograd.c says what they are for.
//
// A way F(m, r) makes m outputs of r taps from m + r - 1 inputs: transforms of inputs and filters evaluate polynomials at
// m + r - 1 points, the products are taken there, and the transform of the outputs interpolates. Points are chosen in
// pairs +-x, so each transform is an even and an odd half, joined by an addition and a subtraction. Points, their number and
// the error they make (rms, of the largest output, 64 channels of noise):
//     FOUR     F(4, 3)   0, +-5/8, +-3/2, infinity             2.4e-7; +-1, +-2 make three to five times as much
//     SIX      F(6, 3)   0, +-1/2, +-1, +-2, infinity          9.1e-7, and none of 125 others less
//     FIVE     F(2, 5)   those of FOUR, whose transform of inputs it shares                 3.0e-7
//     STRIDED  F(4, 2)   +-1/2, +-3/2, infinity                                             1.3e-7
//     TWIN     two outputs of three taps from two inputs between zeros: the filter takes the part of the inputs in F(2, 2)
#pragma once
#include "simd.h"

enum { FOUR, SIX, FIVE, STRIDED, TWIN };
enum { MOST_TAPS = 5, MOST_POINTS = 8, MOST_OUTPUTS = 6 };

INLINE int taps_of(const int way) { return way == FIVE ? 5 : way == STRIDED ? 2 : 3; }
INLINE int points_of(const int way) { return way == SIX ? 8 : way == STRIDED ? 5 : way == TWIN ? 3 : 6; }
INLINE int outputs_of(const int way) { return way == SIX ? 6 : way == FIVE || way == TWIN ? 2 : 4; }
INLINE int inputs_of(const int way) { return way == TWIN ? 2 : points_of(way); }

// ---- one-dimensional transforms --------------------------------------------------------------------------------------

#define P ((REAL)(way == STRIDED ? 0.5 : 0.625))
#define Q ((REAL)1.5)
#define A ((REAL)0.5) // of SIX; its second point is 1
#define C ((REAL)2)

// The rows of G are (1, x, x^2, ...) divided by the product of the distances of x from the other finite points.
#define AT_0 (1 / (P * P * Q * Q))
#define AT_P (1 / (2 * P * P * (P * P - Q * Q)))
#define AT_Q (1 / (2 * Q * Q * (Q * Q - P * P)))
#define SIX_0 (-1 / (A * A * C * C))
#define SIX_A (1 / (2 * A * A * (A * A - 1) * (A * A - C * C)))
#define SIX_1 (1 / (2 * (1 - A * A) * (1 - C * C)))
#define SIX_C (1 / (2 * C * C * (C * C - A * A) * (C * C - 1)))

// v = Bt d
INLINE void transform_input(const int way, const vec *d, vec *v) {
    if (way == TWIN) {
        v[0] = d[0];
        v[1] = d[0] + d[1];
        v[2] = d[1];
    } else if (way == STRIDED) {
        vec ep = d[3] - (Q * Q) * d[1], op = P * (d[2] - (Q * Q) * d[0]);
        vec eq = d[3] - (P * P) * d[1], oq = Q * (d[2] - (P * P) * d[0]);
        v[0] = ep + op;
        v[1] = ep - op;
        v[2] = eq + oq;
        v[3] = eq - oq;
        v[4] = d[4] + (P * P * Q * Q) * d[0] - (P * P + Q * Q) * d[2];
    } else if (way == SIX) {
        vec ea = d[6] - (1 + C * C) * d[4] + (C * C) * d[2], oa = A * (d[5] - (1 + C * C) * d[3] + (C * C) * d[1]);
        vec e1 = d[6] - (A * A + C * C) * d[4] + (A * A * C * C) * d[2];
        vec o1 = d[5] - (A * A + C * C) * d[3] + (A * A * C * C) * d[1];
        vec ec = d[6] - (1 + A * A) * d[4] + (A * A) * d[2], oc = C * (d[5] - (1 + A * A) * d[3] + (A * A) * d[1]);
        v[0] = d[6] - (A * A + 1 + C * C) * d[4] + (A * A + C * C + A * A * C * C) * d[2] - (A * A * C * C) * d[0];
        v[1] = ea + oa;
        v[2] = ea - oa;
        v[3] = e1 + o1;
        v[4] = e1 - o1;
        v[5] = ec + oc;
        v[6] = ec - oc;
        v[7] = d[7] - (A * A + 1 + C * C) * d[5] + (A * A + C * C + A * A * C * C) * d[3] - (A * A * C * C) * d[1];
    } else {
        vec ep = d[4] - (Q * Q) * d[2], op = P * (d[3] - (Q * Q) * d[1]);
        vec eq = d[4] - (P * P) * d[2], oq = Q * (d[3] - (P * P) * d[1]);
        v[0] = d[4] + (P * P * Q * Q) * d[0] - (P * P + Q * Q) * d[2];
        v[1] = ep + op;
        v[2] = ep - op;
        v[3] = eq + oq;
        v[4] = eq - oq;
        v[5] = d[5] + (P * P * Q * Q) * d[1] - (P * P + Q * Q) * d[3];
    }
}

// y = At m
INLINE void transform_output(const int way, const vec *m, vec *y) {
    if (way == TWIN) {
        y[0] = m[1] + m[2];
        y[1] = m[1] + m[0];
    } else if (way == SIX) {
        vec ea = m[1] + m[2], oa = m[1] - m[2], e1 = m[3] + m[4], o1 = m[3] - m[4], ec = m[5] + m[6], oc = m[5] - m[6];
        y[0] = m[0] + ea + e1 + ec;
        y[1] = A * oa + o1 + C * oc;
        y[2] = (A * A) * ea + e1 + (C * C) * ec;
        y[3] = (A * A * A) * oa + o1 + (C * C * C) * oc;
        y[4] = (A * A * A * A) * ea + e1 + (C * C * C * C) * ec;
        y[5] = m[7] + (A * A * A * A * A) * oa + o1 + (C * C * C * C * C) * oc;
    } else {
        const vec *pairs = m + (way != STRIDED); // after point 0
        vec ep = pairs[0] + pairs[1], op = pairs[0] - pairs[1], eq = pairs[2] + pairs[3], oq = pairs[2] - pairs[3];
        y[0] = way == STRIDED ? ep + eq : m[0] + ep + eq;
        if (way == FIVE) y[1] = m[5] + P * op + Q * oq;
        else {
            y[1] = P * op + Q * oq;
            y[2] = (P * P) * ep + (Q * Q) * eq;
            y[3] = pairs[4] + (P * P * P) * op + (Q * Q * Q) * oq;
        }
    }
}

// z = A y
INLINE void transform_gradient(const int way, const vec *y, vec *z) {
    if (way == TWIN) {
        z[0] = y[1];
        z[1] = y[0] + y[1];
        z[2] = y[0];
    } else if (way == FIVE) {
        z[0] = y[0];
        z[1] = y[0] + P * y[1];
        z[2] = y[0] - P * y[1];
        z[3] = y[0] + Q * y[1];
        z[4] = y[0] - Q * y[1];
        z[5] = y[1];
    } else {
        vec *pairs = z + (way != STRIDED);
        vec ep = y[0] + (P * P) * y[2], op = P * y[1] + (P * P * P) * y[3];
        vec eq = y[0] + (Q * Q) * y[2], oq = Q * y[1] + (Q * Q * Q) * y[3];
        if (way != STRIDED) z[0] = y[0];
        pairs[0] = ep + op;
        pairs[1] = ep - op;
        pairs[2] = eq + oq;
        pairs[3] = eq - oq;
        pairs[4] = y[3];
    }
}

// u = G g
INLINE void transform_filter(const int way, const vec *g, vec *u) {
    if (way == TWIN) {
        u[0] = g[0] - g[1];
        u[1] = g[1];
        u[2] = g[2] - g[1];
    } else if (way == STRIDED) {
        vec ep = (P * AT_P) * g[0], op = (P * P * AT_P) * g[1], eq = (Q * AT_Q) * g[0], oq = (Q * Q * AT_Q) * g[1];
        u[0] = op + ep;
        u[1] = op - ep;
        u[2] = oq + eq;
        u[3] = oq - eq;
        u[4] = g[1];
    } else if (way == SIX) {
        vec ea = SIX_A * g[0] + (SIX_A * A * A) * g[2], oa = (SIX_A * A) * g[1];
        vec e1 = SIX_1 * (g[0] + g[2]), o1 = SIX_1 * g[1];
        vec ec = SIX_C * g[0] + (SIX_C * C * C) * g[2], oc = (SIX_C * C) * g[1];
        u[0] = SIX_0 * g[0];
        u[1] = ea + oa;
        u[2] = ea - oa;
        u[3] = e1 + o1;
        u[4] = e1 - o1;
        u[5] = ec + oc;
        u[6] = ec - oc;
        u[7] = g[2];
    } else {
        vec ep = AT_P * g[0] + (AT_P * P * P) * g[2], op = (AT_P * P) * g[1];
        vec eq = AT_Q * g[0] + (AT_Q * Q * Q) * g[2], oq = (AT_Q * Q) * g[1];
        if (way == FIVE) {
            ep += (AT_P * P * P * P * P) * g[4], op += (AT_P * P * P * P) * g[3];
            eq += (AT_Q * Q * Q * Q * Q) * g[4], oq += (AT_Q * Q * Q * Q) * g[3];
        }
        u[0] = AT_0 * g[0];
        u[1] = ep + op;
        u[2] = ep - op;
        u[3] = eq + oq;
        u[4] = eq - oq;
        u[5] = way == FIVE ? g[4] : g[2];
    }
}

// g = Gt u
INLINE void transform_filter_gradient(const int way, const vec *u, vec *g) {
    if (way == TWIN) {
        g[0] = u[0];
        g[1] = u[1] - u[0] - u[2];
        g[2] = u[2];
        return;
    }
    const vec *pairs = u + (way != STRIDED);
    vec ep = pairs[0] + pairs[1], op = pairs[0] - pairs[1], eq = pairs[2] + pairs[3], oq = pairs[2] - pairs[3];
    if (way == STRIDED) {
        g[0] = (P * AT_P) * op + (Q * AT_Q) * oq;
        g[1] = u[4] + (P * P * AT_P) * ep + (Q * Q * AT_Q) * eq;
        return;
    }
    g[0] = AT_0 * u[0] + AT_P * ep + AT_Q * eq;
    g[1] = (AT_P * P) * op + (AT_Q * Q) * oq;
    g[2] = (AT_P * P * P) * ep + (AT_Q * Q * Q) * eq;
    if (way == FIVE) {
        g[3] = (AT_P * P * P * P) * op + (AT_Q * Q * Q * Q) * oq;
        g[4] = u[5] + (AT_P * P * P * P * P) * ep + (AT_Q * Q * Q * Q * Q) * eq;
    } else
        g[2] += u[5];
}

#undef P
#undef Q
#undef A
#undef C

// ---- two-dimensional: the columns from memory, then the rows to memory; `part` lanes, or 0 for all ------------------------

INLINE void input_tile(const int way, const REAL *const *pixel, long c, long part, REAL *v, long plane) {
    const int in = inputs_of(way), points = points_of(way);
    vec half[MOST_POINTS][MOST_POINTS];
#pragma GCC unroll 8
    for (int j = 0; j < in; j++) {
        vec from[MOST_POINTS], to[MOST_POINTS];
#pragma GCC unroll 8
        for (int i = 0; i < in; i++) from[i] = load_some(pixel[i * in + j] + c, part);
        transform_input(way, from, to);
#pragma GCC unroll 8
        for (int i = 0; i < points; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < points; i++) {
        vec to[MOST_POINTS];
        transform_input(way, half[i], to);
#pragma GCC unroll 8
        for (int j = 0; j < points; j++) store(v + (i * points + j) * plane, to[j]);
    }
}

INLINE void output_tile(const int way, const REAL *m, long plane, vec y[MOST_OUTPUTS][MOST_OUTPUTS]) {
    const int out = outputs_of(way), points = points_of(way);
    vec half[MOST_OUTPUTS][MOST_POINTS];
#pragma GCC unroll 8
    for (int j = 0; j < points; j++) {
        vec from[MOST_POINTS], to[MOST_OUTPUTS];
#pragma GCC unroll 8
        for (int i = 0; i < points; i++) from[i] = load(m + (i * points + j) * plane);
        transform_output(way, from, to);
#pragma GCC unroll 8
        for (int i = 0; i < out; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < out; i++) transform_output(way, half[i], y[i]);
}

INLINE void gradient_tile(const int way, const REAL *const *pixel, long k, long part, REAL *z, long plane) {
    const int out = outputs_of(way), points = points_of(way);
    vec half[MOST_POINTS][MOST_OUTPUTS];
#pragma GCC unroll 8
    for (int j = 0; j < out; j++) {
        vec from[MOST_OUTPUTS], to[MOST_POINTS];
#pragma GCC unroll 8
        for (int i = 0; i < out; i++) from[i] = load_some(pixel[i * out + j] + k, part);
        transform_gradient(way, from, to);
#pragma GCC unroll 8
        for (int i = 0; i < points; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < points; i++) {
        vec to[MOST_POINTS];
        transform_gradient(way, half[i], to);
#pragma GCC unroll 8
        for (int j = 0; j < points; j++) store(z + (i * points + j) * plane, to[j]);
    }
}

// tap: where each tap of the filter lies, or NULL for a tap of zeros.
INLINE void filter_tile(const int way, const REAL *const *tap, long at, REAL *u, long plane) {
    const int taps = taps_of(way), points = points_of(way);
    vec half[MOST_POINTS][MOST_TAPS];
#pragma GCC unroll 8
    for (int j = 0; j < taps; j++) {
        vec from[MOST_TAPS], to[MOST_POINTS];
#pragma GCC unroll 8
        for (int i = 0; i < taps; i++) {
            const REAL *g = tap[i * taps + j];
            from[i] = way != STRIDED || g ? load(g + at) : (vec){0};
        }
        transform_filter(way, from, to);
#pragma GCC unroll 8
        for (int i = 0; i < points; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < points; i++) {
        vec to[MOST_POINTS];
        transform_filter(way, half[i], to);
#pragma GCC unroll 8
        for (int j = 0; j < points; j++) store(u + (i * points + j) * plane, to[j]);
    }
}

// Adds to, or writes (past: past the caches), each tap at its place; NULL for a tap that the filter lacks.
INLINE void filter_gradient_tile(const int way, const REAL *sums, long plane, int add, int past, REAL *const *tap, long at,
                                 long part) {
    const int taps = taps_of(way), points = points_of(way);
    vec half[MOST_TAPS][MOST_POINTS];
#pragma GCC unroll 8
    for (int j = 0; j < points; j++) {
        vec from[MOST_POINTS], to[MOST_TAPS];
#pragma GCC unroll 8
        for (int i = 0; i < points; i++) from[i] = load(sums + (i * points + j) * plane);
        transform_filter_gradient(way, from, to);
#pragma GCC unroll 8
        for (int i = 0; i < taps; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < taps; i++) {
        vec to[MOST_TAPS];
        transform_filter_gradient(way, half[i], to);
#pragma GCC unroll 8
        for (int j = 0; j < taps; j++) {
            REAL *out = tap[i * taps + j];
            if (way == STRIDED && !out) continue;
            if (past) store_past(out + at, to[j]);
            else store_some(out + at, add ? load_some(out + at, part) + to[j] : to[j], part);
        }
    }
}
