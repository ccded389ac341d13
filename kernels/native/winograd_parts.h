// What Winograd's files share: the job of any direction, its tiles, and their way to V. winograd.c tells what U, V, M are,
// winograd_filters.c what Z is.
#pragma once
#include "winograd.h"
#include "gemm.h"
#include "threads.h"
#include "winograd_transforms.h"

#define job_of NAME(winograd_job_of)
#define touch_tiles NAME(winograd_touch_tiles)
#define touch_inputs NAME(winograd_touch_inputs)
#define transform_inputs NAME(winograd_transform_inputs)
#define transform_block NAME(winograd_transform_block)
#define zero_pixel NAME(winograd_zero_pixel)

enum {
    LINE = 64 / sizeof(REAL),
    OWN_THREADS = 2, // up to which each makes its own copy of what all of them would read
};

typedef struct {
    _Alignas(64) long block; // that a worker has transformed for itself, counted from 1
} copy_made;

typedef struct {
    const conv_shape *s;
    const REAL *in, *filters, *bias, *residual, *gate, *dz;
    REAL *out;
    int way, flipped, activation, accumulate, transformed, past;
    // derived
    int points, planes, phases_in, phases_out;
    long pace_in, in_y, in_x;            // the input row that row y of the grid of tiles begins at is y * pace_in + in_y
    long pace_out, out_y, out_x;         // and the output row y * pace_out + out_y
    long grid_y, grid_x;                 // where that grid begins
    long down, across, tiles;            // tiles of an image, of the batch
    long c, panels, k;                   // channels padded to vectors; panels of output channels, of one phase, and their width
    long block, blocks, first, count;    // tiles at a time, and how often; where the block in hand starts, what it holds
    long plane_u, plane_v, plane_m, plane_z;
    long pieces, piece;                  // V lies as [phase][plane][piece][tile][channels of a piece]
    long share;                          // tiles that an item transforms
    const REAL *zeros;                   // what tiles read outside an image
    REAL *u, *v, *m, *z;
    size_t worker_m, worker_copy;        // what each worker has of its own; the latter 0 where transforms are shared
    copy_made *made;                     // per worker
    long ranges, filter;                 // of tiles, gradient of the filters; how far apart their sums lie
} winograd_job;

// What follows from shape and way.
winograd_job job_of(const conv_shape *s, int way, int flipped);
const REAL *zero_pixel(long channels); // in scratch, or NULL

INLINE long plane_of(long rows, long columns) { return round_up(rows * columns, LINE) + LINE; }

// body(way, ...), compiled for each way as a constant; SIX, which serves inference alone, has no part in the gradient of the
// filters.
#define IN_WAY(way, body, ...)                                                                                         \
    switch (way) {                                                                                                     \
        case SIX: body(SIX, __VA_ARGS__); break;                                                                       \
        default: IN_WAY_BUT_SIX(way, body, __VA_ARGS__)                                                                \
    }
#define IN_WAY_BUT_SIX(way, body, ...)                                                                                 \
    switch (way) {                                                                                                     \
        case STRIDED: body(STRIDED, __VA_ARGS__); break;                                                               \
        case TWIN: body(TWIN, __VA_ARGS__); break;                                                                     \
        case FIVE: body(FIVE, __VA_ARGS__); break;                                                                     \
        default: body(FOUR, __VA_ARGS__);                                                                              \
    }

// ---- tiles ---------------------------------------------------------------------------------------------------------------

// Which tile t is: image, first row and column in the grid.
INLINE void place_of(const int way, const winograd_job *g, long t, long *image, long *y, long *x) {
    long within = t % (g->down * g->across);
    *image = t / (g->down * g->across);
    *y = within / g->across * outputs_of(way) + g->grid_y;
    *x = within % g->across * outputs_of(way) + g->grid_x;
}

// Touches the lines of what tiles t ... t + n - 1 read of `images`: `side` pixels from offset_y, offset_x, `pace` of them to a
// place of the grid. A tile's own reads are runs of a few lines far apart, which the processor does not foresee; long rows
// it does.
void touch_tiles(const winograd_job *g, const REAL *images, long h, long w, long c, long pace, long offset_y, long offset_x,
                 long side, long t, long n);
void touch_inputs(const winograd_job *g, long t, long n);

// V of tile t, as tile `tile` of the block at v.
void transform_inputs(const winograd_job *g, long t, REAL *v, long tile);

// The block in hand, g->share tiles to an item.
void transform_block(winograd_job *g, pool_function items);

// ---- copies of what all threads would read -------------------------------------------------------------------------------

INLINE int makes_copies(long threads) { return threads > 1 && threads <= OWN_THREADS; }

// Whether this worker has yet to transform the block in hand for itself, which it then does at once.
INLINE int is_due(const winograd_job *g, int worker) {
    if (!g->worker_copy || g->made[worker].block == g->first + 1) return 0;
    g->made[worker].block = g->first + 1;
    return 1;
}

// ---- filters and products ------------------------------------------------------------------------------------------------

// Which of the filter's taps are those of the way: all of them, or those of a phase of STRIDED, -1 for none. Even rows have
// taps 0 and 2, or turned 2 and 0; odd ones tap 1.
static inline void taps_of_phase(const winograd_job *g, long phase, int taps[]) {
    const int n = taps_of(g->way), last = n * n - 1;
    if (g->way != STRIDED) {
        for (int i = 0; i <= last; i++) taps[i] = g->flipped ? last - i : i;
        return;
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            int u = phase >> 1 ? 1 : g->flipped ? 2 - 2 * i : 2 * i, v = phase & 1 ? 1 : g->flipped ? 2 - 2 * j : 2 * j;
            taps[2 * i + j] = (phase >> 1 && i) || (phase & 1 && j) ? -1 : 3 * u + v;
        }
}

// Columns of a panel that hold channels, in whole vectors.
INLINE long width_of(const winograd_job *g, long panel) { return round_up(min_l(NR, g->s->k - panel * NR), LANES); }

// Whether plane f of a phase is empty: of an odd row or column STRIDED has one tap only, which says nothing at infinity.
INLINE int is_empty(const winograd_job *g, long phase, long f) {
    return (phase >> 1 && f / g->points == g->points - 1) || (phase & 1 && f % g->points == g->points - 1);
}
