// What the files of the recurrent layers share: the layer's job and how it is worked off (recurrent_groups.c), and what its
// steps leave for the gradients of the weights (recurrent_weights.c).
#pragma once
#include "recurrent.h"
#include "gemm.h"
#include "split.h"

#define run_groups NAME(run_groups)
#define weight_gradients NAME(weight_gradients)

INLINE long panels(long n) { return div_up(n, NR); }
INLINE long split_steps(long n) { return div_up(n, SPLIT_STEPS); } // blocks of n columns of an operand

// ---- the steps ----

enum { ROWS = 32 }; // sequences at a time: operands of a step stay in L1 and L2
enum { SPLIT_REALS = SPLIT_BLOCK * (int)sizeof(bf16) / (int)sizeof(REAL) };

typedef struct sequence_job sequence_job;

// One step of a group of sequences. Rows of buffers lie ld(width) apart.
typedef struct {
    long first, rows, t;
    const REAL *read; // forward: inputs and state before the step; backward: what is multiplied of `write`
    REAL *write;      // forward: those of the next step; backward: the gates' gradients, gate by gate
    REAL *carry_h, *carry_c, *extra;
    const bf16 *split_read; // on tiles: the same as blocks of split.c, [inputs, state] or [gate], of SPLIT_STEPS columns
    bf16 *split_write, *split_extra;
} step;

// Gates of the kernel through which blocks of the gates' gradients reach the state before.
typedef struct {
    long block, gate, count;
} carried_gates;

struct sequence_job {
    sequence_shape s;
    long gates, blocks, parts; // gates of the kernels, kept per unit; parts of a step that wait for one another
    void (*cells)(const sequence_job *g, const step *p, long j, int part); // forward, of the panel from unit j
    void (*backward)(const sequence_job *g, const step *p, long from, long to, int part); // of these units
    carried_gates carried[2];
    int activation, tiles;
    const unsigned char *mask;
    const REAL *x, *h0, *c0, *bias, *recurrent_bias, *w, *u; // kernels packed
    const REAL *h, *c, *z, *dh, *dc_last;
    REAL *out_h, *out_c, *out_z, *dz, *dx, *dh0, *dc0;
};

// Rows of buffers: room for whole panels, and not a power of two apart.
INLINE long ld(long n) { return round_up(n, NR) + LANES; }

INLINE int on_tiles(const sequence_job *g) { return HAS_TILES && g->tiles; }

// Where the state begins in a row of floats. On tiles the inputs are in the blocks alone.
INLINE long state_at(const sequence_job *g) { return on_tiles(g) ? 0 : g->s.i; }

// Sequences that are worked off together, step by step, with room for their operands and states.
typedef struct {
    const sequence_job *g;
    long first, rows;
    REAL *operands[2]; // forward: inputs and states of two steps; backward: the gates' gradients, gate by gate
    REAL *carry_h, *carry_c, *extra;
    bf16 *split[2], *split_extra; // the operands on tiles
} group;

// How: phases, which are steps or parts of one, come one after the other; the tasks of a phase do not wait for each other.
typedef struct {
    void (*begin)(const group *o), (*task)(const group *o, long phase, long task, long tasks);
    void (*end)(const group *o); // or NULL
    long tasks, phases;
} group_steps;

// All sequences, on all threads; out of memory -1, otherwise 0.
int run_groups(const sequence_job *g, group_steps steps);

// ---- the gradients of the weights ----

// The gates' gradients before their activations, packed: [block][unit / NR][t n][NR], a line more than needed apart.
INLINE long panel_size(sequence_shape s) { return (s.t * s.n + 1) * NR; }
INLINE long plane_size(sequence_shape s) { return panels(s.h) * panel_size(s); }

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
