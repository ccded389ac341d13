// What the steps of a recurrent layer leave for the gradients of its weights, which recurrent_weights.c makes.
#pragma once
#include "recurrent.h"
#include "gemm.h"
#include "split.h"

#define weight_gradients NAME(weight_gradients)

INLINE long panels(long n) { return div_up(n, NR); }
INLINE long split_steps(long n) { return div_up(n, SPLIT_STEPS); } // blocks of n columns of an operand

// The gates' gradients before their activations, packed: [block][unit / NR][t n][NR], a line more than needed apart.
INLINE long panel_size(sequence_shape s) { return (s.t * s.n + 1) * NR; }
INLINE long plane_size(sequence_shape s) { return panels(s.h) * panel_size(s); }

INLINE vec load_units(const REAL *p, long left) { return left >= LANES ? load(p) : load_part(p, left); }
INLINE void store_units(REAL *p, vec v, long left) {
    if (left >= LANES) store(p, v);
    else store_part(p, v, left);
}

// out[m][blocks h] = sum over all steps of aᵀ dz, and bias = sum of dz.
typedef struct {
    const REAL *a; // rows of m, `stride` apart, [n][t]
    long stride;
    const REAL *initial; // if given, the row of the step before is meant, and this one for the first
    long m, block, blocks;
    REAL *out, *bias;
} gradient;

typedef struct {
    sequence_shape s;
    const REAL *dz;
    gradient gradients[3];
    long ldo;
    int accumulate, tiles;
} gradient_job;

// All of them, out of memory -1, otherwise 0.
int weight_gradients(const gradient_job *g);
