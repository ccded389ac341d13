// Winograd convolution (Lavin & Gray 2016): tiles of outputs from fewer products than they have taps.
//
//     outputs               Y  = At [ sum over c of (G g Gt) . (Bt d B) ] A
//     gradient of the input     the same, with filters turned by 180 degrees and transposed
//     gradient of the filters  dW = Gt [ sum over tiles of (Bt d B) . (A dY At) ] G
//
// The ways, their transforms in winograd_transforms.h; products for a pixel of output, and what the direct way needs:
//     FOUR     3x3, tiles of 4x4                                                     2.25 : 9
//     SIX      3x3, tiles of 6x6, for prepared filters of up to 128 channels         1.78 : 9
//     FIVE     5x5, tiles of 2x2 with FOUR's transform of the inputs                 9    : 25
//     STRIDED  3x3 of stride 2, tiles of 4x4                                         5.06 : 9
//     TWIN     3x3 on 2x2 images padded by one                                       2.25 : 4, as five taps of nine meet zeros
// STRIDED takes the image apart into four: even and odd rows and columns. On even ones a filter keeps taps 0 and 2, on odd
// ones tap 1, and the sum over the four is one over channels: F(4, 2) with all products of two taps, fewer where there is
// but one. The gradient of the input makes the four images from one. Output and input play the same parts in all three
// directions, so nothing else is different.
//
// From 16 channels up the largest error measured is 4.6e-6 of the largest output, below that 8e-6 (1.1e-5 after tanh or
// sigmoid, which shrink the output and not the error: conv.c keeps those direct unless told otherwise); under SIX, which
// serves inference alone, 1.0e-5 for 16 channels and 2.0e-5 for 128 (30 draws of noise). float64 is for checking and always
// takes the direct way. A NaN or infinity in an image spoils the whole tile around it.
//
// All transforms take a vector of channels at a time, from and to NHWC; the products between them are GEMMs on the shared
// register tile, which reads the transformed tiles in place (f: points in two dimensions, 36 under FOUR):
//     U[panel][f][c][NR]    filters           V[f][tile][c]     inputs
//     M[f][tile][k]         products          Z[f][panel][tile][NR]  gradients of the outputs
// Planes f lie an odd number of cache lines apart, or the stores of a transform would meet in one cache set.
//
// Two ways to cut the work of outputs:
//     by tiles      filters transformed once; each item takes a block of tiles through all phases, V and M in cache
//     by channels   where U outgrows the cache, or there are few tiles: V of a large block of tiles first; then each item
//                   takes a panel of output channels: it transforms its filters, uses them at once, and forgets them
// The gradient of the filters makes V and Z of a block of tiles first, V in pieces of channels; then, for each panel of
// output channels and piece of input channels, it sums their products and transforms the sums back. Ranges of tiles, each
// an item with a dw of its own, are added at the end. Memory is bounded in all of them. An element of a product is one sum
// in the order of channels or tiles, and ranges do not depend on the threads, so threads do not change a bit of it.
//
// What one core writes again and again must not be read by another: it would first have to take each line back from it, at
// 28 GB/s where both share an L3 and at 2.4 GB/s where they do not (Zen 4; a line of its own 100, either way). Hence two
// threads each transform for themselves what both read (U by tiles, V by channels), and ranges of tiles keep V and Z apart.
//
// The products run near the peak of the register tile (97 % of it on Zen 4); the rest of the time, 15 to 35 % of the whole,
// goes to waiting for lines in the transforms, which read runs of one pixel far apart. What helped, measured on two cores:
//     touching the rows of a block of tiles first, in long runs that the processor foresees, where software prefetches tile
//     by tile do not make it foresee anything     images of 64 channels 1.1 to 1.14 times faster
//     outputs stored past the caches, the next reader touching long rows as well     another 1.1 to 1.15 times
//     M of one panel of output channels instead of all, and V of fewer tiles: the filters, which pass through L2 between
//     two blocks, leave them there     1.05 to 1.1 times
//     neighbouring tiles on one core, not item by item on both     1.13 times, far more where L3 is busy
//     filters read tap after tap instead of side by side     512 channels on 4x4 images 1.1 times
//     V of all threads together within 10 MB, and prepared filters up to 16 MB cut by tiles, since L3 is shared     VGG-16's
//     prediction 1.05 times, on batches of 8 1.12 times
//     ranges of tiles in the gradient of the filters     64 to 128 channels 1.05 to 1.2 times; cores without a common L3 1.5
//     to 2.3 times, and 1.03 to 1.4 in the other directions from copies of their own
//     gradients of large filters stored past the caches     512 channels on 4x4 images 1.05 to 1.13 times
//     in the gradient of the filters, V and Z of a block in 1.2 MB and not 2.4, and all output channels for a piece of the
//     input channels, whose V stays in L2, not the reverse     Granite Rapids: 64 channels 1.2 times, 128 to 512 1.03 to 1.1
// Without gain: filters transformed 64 to 256 channels at a time, so that U stays in L2; dw written tap after tap (0.97);
// the next block's images or the outputs' lines fetched ahead during the products; a third cut, by planes f, whose
// products read V from L2 alone (0.9 to 0.98: M passes through L3). What the outputs take over from calls of their own gains
// little: residual and gate 1 % of a training step, maxima of 2x2 outputs 1 to 2 % of a VGG-16 prediction.
#include "winograd.h"
#if REAL_BITS == 32
#include "arena.h"
#include "derivative.h"
#include "flat.h"
#include "gemm.h"
#include "threads.h"
#include "vmath.h"
#include "winograd_transforms.h"
#include <string.h>

enum {
    LINE = 64 / sizeof(REAL),
    PHASES = 4, // of an image under STRIDED: even and odd rows and columns
    TILE_CACHE = 1 << 18,   // bytes of V and M of a block, by tiles: a quarter of L2, for filters pass through it too
    SHARE = 8,              // neighbouring tiles that one worker transforms: their lines must not wander between cores
    FILTER_CACHE = 6 << 20, // bytes of U above which the work is cut by channels
    READY_CACHE = 16 << 20, // or, where they come transformed
    BLOCK_V = 10 << 20,     // bytes of V of a block, by channels, all copies of it
    BLOCK_M = 2 << 20,      // and of M, per worker
    BLOCK_VZ = 1200 << 10,  // bytes of V and Z of a block, gradient of the filters
    MOST_VZ = 32 << 20,     // however few tiles that gives
    RANGES = 16,            // of tiles there, at most: each has a dw of its own
    MOST_SUMS = 32 << 20,   // bytes of those
    SUM_TILES = 96,         // tiles per pass over the sums of an item there: their V and Z stay in L1
    SUM_CHANNELS = 64,      // input channels of an item there: its sums stay in L2
    STRIP = 16,             // channels of filters turned over at a time
    TAPS_AHEAD = 2,         // from the prefetch of a tap of a strip to its use
    AHEAD = 4,              // channels from the prefetch of a tap of dw to its use
    SIX_CHANNELS = 128,     // that SIX takes at most
    PAST_BYTES = 8 << 20,   // of images and filters in all, from which outputs are stored past the caches
    PAST_FILTERS = 4 << 20, // and of filters from which their gradients are
    OWN_THREADS = 2,        // up to which each makes its own copy of what all of them would read
};

// ---- what both directions share ------------------------------------------------------------------------------------------

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

static long share_of(long tiles, long threads) { return max_l(1, min_l(SHARE, tiles / (2 * threads))); }
static long plane_of(long rows, long columns) { return round_up(rows * columns, LINE) + LINE; }

// Tiles along an axis of n outputs; under STRIDED and flipped they consist of pairs of rows, the first at *start.
static long tiles_along(const winograd_job *g, long n, long shift, long *start) {
    *start = 0;
    if (g->pace_out == 1) return div_up(n, outputs_of(g->way));
    *start = (1 - shift) >> 1;
    return div_up(((n - shift) >> 1) - *start + 1, outputs_of(g->way));
}

static winograd_job job_of(const conv_shape *s, int way, int flipped) {
    winograd_job g = {.s = s, .way = way, .flipped = flipped, .points = points_of(way), .phases_in = 1, .phases_out = 1,
                      .pace_in = 1, .in_y = -s->top, .in_x = -s->left, .pace_out = 1};
    if (way == TWIN) g.in_y = g.in_x = 0;
    if (way == STRIDED && flipped) {
        g.phases_out = PHASES;
        g.pace_out = 2;
        g.in_y = g.in_x = 0;
        g.out_y = s->top;
        g.out_x = s->left;
    } else if (way == STRIDED) {
        g.phases_in = PHASES;
        g.pace_in = 2;
    }
    g.planes = g.points * g.points;
    g.down = tiles_along(&g, s->oh, s->top, &g.grid_y);
    g.across = tiles_along(&g, s->ow, s->left, &g.grid_x);
    g.tiles = s->n * g.down * g.across;
    g.c = round_up(s->c, LANES);
    g.panels = div_up(s->k, NR);
    g.k = g.panels * NR;
    g.plane_u = plane_of(s->c, NR);
    g.piece = g.c;
    g.pieces = 1;
    return g;
}

static int makes_copies(long threads) { return threads > 1 && threads <= OWN_THREADS; }

// Whether this worker has yet to transform the block in hand for itself, which it then does at once.
static int is_due(const winograd_job *g, int worker) {
    if (!g->worker_copy || g->made[worker].block == g->first + 1) return 0;
    g->made[worker].block = g->first + 1;
    return 1;
}

// Columns of a panel that hold channels, in whole vectors.
INLINE long width_of(const winograd_job *g, long panel) { return round_up(min_l(NR, g->s->k - panel * NR), LANES); }

// Which tile t is: image, first row and column in the grid.
INLINE void place_of(const winograd_job *g, const int way, long t, long *image, long *y, long *x) {
    long within = t % (g->down * g->across);
    *image = t / (g->down * g->across);
    *y = within / g->across * outputs_of(way) + g->grid_y;
    *x = within % g->across * outputs_of(way) + g->grid_x;
}

// Whether plane f of a phase is empty: of an odd row or column STRIDED has one tap only, which says nothing at infinity.
INLINE int is_empty(const winograd_job *g, long phase, long f) {
    return (phase >> 1 && f / g->points == g->points - 1) || (phase & 1 && f % g->points == g->points - 1);
}

// Touches the lines of what tiles t ... t + n - 1 read of `images`: `side` pixels from offset_y, offset_x, `pace` of them to a
// place of the grid. A tile's own reads are runs of a few lines far apart, which the processor does not foresee; long rows
// it does.
static void touch_tiles(const winograd_job *g, const REAL *images, long h, long w, long c, long pace, long offset_y,
                        long offset_x, long side, long t, long n) {
    for (long run; n > 0; t += run, n -= run) {
        long image, y, x;
        place_of(g, g->way, t, &image, &y, &x);
        run = min_l(n, g->across - t % g->across);
        y = y * pace + offset_y;
        x = x * pace + offset_x;
        long end = min_l(x + (run - 1) * outputs_of(g->way) * pace + side, w);
        for (long i = max_l(y, 0); i < min_l(y + side, h); i++) {
            const REAL *row = images + (image * h + i) * w * c;
            for (const REAL *p = row + max_l(x, 0) * c; p < row + end * c; p += LINE) (void)*(const volatile REAL *)p;
        }
    }
}

static void touch_inputs(const winograd_job *g, long t, long n) {
    long side = (inputs_of(g->way) - 1) * g->pace_in + 1;
    touch_tiles(g, g->in, g->s->h, g->s->w, g->s->c, g->pace_in, g->in_y, g->in_x, side, t, n);
}

// images: what is added to the outputs, or gates them; or NULL.
static void touch_outputs(const winograd_job *g, const REAL *images, long t, long n) {
    long side = outputs_of(g->way) * g->pace_out;
    if (images) touch_tiles(g, images, g->s->oh, g->s->ow, g->s->k, g->pace_out, g->out_y, g->out_x, side, t, n);
}

INLINE void inputs_of_tile(const winograd_job *g, const int way, long t, REAL *v, long tile) {
    const conv_shape *s = g->s;
    const int in = inputs_of(way);
    const REAL *pixel[MOST_POINTS * MOST_POINTS];
    long image, y0, x0;
    place_of(g, way, t, &image, &y0, &x0);
    for (long phase = 0; phase < (way == STRIDED ? g->phases_in : 1); phase++, v += g->planes * g->plane_v) {
        long odd_y = phase >> 1, y1 = y0 * g->pace_in + g->in_y + odd_y;
        long odd_x = phase & 1, x1 = x0 * g->pace_in + g->in_x + odd_x;
        for (long i = 0; i < in; i++) {
            long y = y1 + i * g->pace_in, inside = y >= 0 && y < s->h && !(odd_y && i == in - 1);
            const REAL *row = g->in + (inside ? (image * s->h + y) * s->w * s->c : 0);
            for (long j = 0; j < in; j++) {
                long x = x1 + j * g->pace_in;
                pixel[i * in + j] = inside && x >= 0 && x < s->w && !(odd_x && j == in - 1) ? row + x * s->c : g->zeros;
            }
        }
        long c = 0;
        for (long piece = 0; piece < g->pieces; piece++) {
            REAL *to = v + (piece * g->block + tile) * g->piece - c;
            long end = min_l(c + g->piece, s->c);
            for (; c + LANES <= end; c += LANES) input_tile(way, pixel, c, 0, to + c, g->plane_v);
            if (c < end) {
                input_tile(way, pixel, c, end - c, to + c, g->plane_v);
                c = end;
            }
        }
    }
}

// V of tile t, as tile `tile` of the block at v.
static void transform_inputs(const winograd_job *g, long t, REAL *v, long tile) {
    switch (g->way) {
        case SIX: inputs_of_tile(g, SIX, t, v, tile); break;
        case STRIDED: inputs_of_tile(g, STRIDED, t, v, tile); break;
        case TWIN: inputs_of_tile(g, TWIN, t, v, tile); break;
        case FIVE: inputs_of_tile(g, FIVE, t, v, tile); break;
        default: inputs_of_tile(g, FOUR, t, v, tile);
    }
}

// The largest of every 2x2 of a tile's outputs.
INLINE void store_maxima(const winograd_job *g, vec y[MOST_OUTPUTS][MOST_OUTPUTS], long rows, long columns, REAL *to, long part) {
    for (long i = 0; i < rows; i += 2)
        for (long j = 0; j < columns; j += 2) {
            vec v = max_or_nan(max_or_nan(y[i][j], y[i][j + 1]), max_or_nan(y[i + 1][j], y[i + 1][j + 1]));
            store_some(to + (i / 2 * (g->s->ow / 2) + j / 2) * g->s->k, v, part);
        }
}

INLINE void outputs_of_tile(const winograd_job *g, const int way, long t, long phase, long k0, long k1, const REAL *m) {
    const conv_shape *s = g->s;
    const int out = outputs_of(way);
    long image, y0, x0, rows[2], columns[2];
    place_of(g, way, t, &image, &y0, &x0);
    y0 = y0 * g->pace_out + g->out_y - (phase >> 1);
    x0 = x0 * g->pace_out + g->out_x - (phase & 1);
    rows[0] = y0 < 0, rows[1] = min_l(out, div_up(s->oh - y0, g->pace_out)); // at most one row is outside: see out_y
    columns[0] = x0 < 0, columns[1] = min_l(out, div_up(s->ow - x0, g->pace_out));
    long first = ((image * s->oh + y0) * s->ow + x0) * s->k, down = g->pace_out * s->ow * s->k, right = g->pace_out * s->k;
    REAL *to = g->out + first;
    for (long k = k0; k < k1; k += LANES) {
        long part = k1 - k < LANES ? k1 - k : 0;
        vec y[MOST_OUTPUTS][MOST_OUTPUTS], bias = g->bias ? load_some(g->bias + k, part) : (vec){0};
        for (long i = rows[0]; i < rows[1]; i++)
            for (long j = columns[0]; j < columns[1] && !g->past && !s->pooled; j++)
                __builtin_prefetch(to + i * down + (j + out) * right + k, 1);
        output_tile(way, m + k - k0, g->plane_m, y);
        if (g->residual)
            for (long i = rows[0]; i < rows[1]; i++)
                for (long j = columns[0]; j < columns[1]; j++)
                    y[i][j] += load_some(g->residual + first + i * down + j * right + k, part);
#pragma GCC unroll 8
        for (int i = 0; i < out; i++)
#pragma GCC unroll 8
            for (int j = 0; j < out; j++) {
                y[i][j] += bias;
                if (g->activation == RELU) y[i][j] = vmax((vec){0}, y[i][j]);
            }
        if (s->pooled) {
            long place = ((image * s->oh + y0) / 2 * (s->ow / 2) + x0 / 2) * s->k;
            store_maxima(g, y, rows[1], columns[1], g->out + place + k, part);
            continue;
        }
        for (long i = rows[0]; i < rows[1]; i++)
            for (long j = columns[0]; j < columns[1]; j++) {
                long at = i * down + j * right + k;
                vec v = y[i][j];
                if (g->gate) v = before_activation(ACT_RELU, v, load_some(g->gate + first + at, part));
                if (g->past) store_past(to + at, v);
                else store_some(to + at, v, part);
            }
    }
    if (g->activation > RELU)
        for (long i = rows[0]; i < rows[1]; i++)
            for (long j = columns[0]; j < columns[1]; j++)
                apply_activation(1, k1 - k0, to + i * down + j * right + k0, 0, g->activation);
}

// The outputs of `count` tiles from M, a panel of output channels in one phase.
static void transform_outputs(const winograd_job *g, long first, long count, long panel, const REAL *m) {
    long phase = panel / g->panels, k0 = panel % g->panels * NR, k1 = min_l(k0 + NR, g->s->k);
    for (long t = first; t < first + count; t++, m += NR) switch (g->way) {
            case SIX: outputs_of_tile(g, SIX, t, 0, k0, k1, m); break;
            case STRIDED: outputs_of_tile(g, STRIDED, t, phase, k0, k1, m); break;
            case TWIN: outputs_of_tile(g, TWIN, t, 0, k0, k1, m); break;
            case FIVE: outputs_of_tile(g, FIVE, t, 0, k0, k1, m); break;
            default: outputs_of_tile(g, FOUR, t, 0, k0, k1, m);
        }
    if (g->past) finish_stores();
}

// Which of the filter's taps are those of the way: all of them, or those of a phase of STRIDED, -1 for none. Even rows have
// taps 0 and 2, or turned 2 and 0; odd ones tap 1.
static void taps_of_phase(const winograd_job *g, long phase, int taps[]) {
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

INLINE void filters_of_strip(const int way, long n, long columns, const REAL *const *tap, REAL *u, long plane) {
    for (long p = 0; p < n; p++, u += NR) {
        filter_tile(way, tap, p * NR, u, plane);
        if (columns > LANES) filter_tile(way, tap, p * NR + LANES, u + LANES, plane);
    }
}

// U of a phase and a panel, channels c0 ... c1, at u[plane][channel][NR]; through a copy of a few channels, tap after tap.
// Where channels are a power of two, all taps and many channels of them meet in one cache set: read side by side they would
// drive each other out.
static void transform_filters(const winograd_job *g, long phase, long panel, long c0, long c1, REAL *u, long plane) {
    const conv_shape *s = g->s;
    REAL copy[MOST_TAPS * MOST_TAPS * STRIP * NR];
    const REAL *tap[MOST_TAPS * MOST_TAPS];
    int taps[MOST_TAPS * MOST_TAPS], used[MOST_TAPS * MOST_TAPS], n = 0;
    long columns = min_l(NR, s->k - panel * NR), rs = g->flipped ? 1 : s->k, cs = g->flipped ? s->c : 1;
    const REAL *filters = g->filters + panel * NR * cs;
    taps_of_phase(g, phase, taps);
    for (int i = 0; i < taps_of(g->way) * taps_of(g->way); i++) {
        tap[i] = taps[i] < 0 ? NULL : copy + n * STRIP * NR;
        if (taps[i] >= 0) used[n++] = taps[i];
    }
    memset(copy, 0, columns < NR ? n * STRIP * NR * sizeof(REAL) : 0);
    for (long from = c0; from < c1; from += STRIP, u += STRIP * NR) {
        long rows = min_l(STRIP, c1 - from);
        for (int i = 0; i < n; i++) {
            int ahead = i + TAPS_AHEAD;
            const REAL *next = filters + used[ahead % n] * s->c * s->k + (from + ahead / n * STRIP) * rs;
            for (long q = 0; q < (g->flipped ? columns : STRIP); q++) {
                __builtin_prefetch(next + q * (g->flipped ? cs : rs), 0, 2);
                if (!g->flipped) __builtin_prefetch(next + q * rs + LANES, 0, 2);
            }
            interleave(rows, columns, filters + used[i] * s->c * s->k + from * rs, rs, cs, copy + i * STRIP * NR, NR);
        }
        switch (g->way) {
            case SIX: filters_of_strip(SIX, rows, columns, tap, u, plane); break;
            case STRIDED: filters_of_strip(STRIDED, rows, columns, tap, u, plane); break;
            case TWIN: filters_of_strip(TWIN, rows, columns, tap, u, plane); break;
            case FIVE: filters_of_strip(FIVE, rows, columns, tap, u, plane); break;
            default: filters_of_strip(FOUR, rows, columns, tap, u, plane);
        }
    }
}

// ---- filters for many calls: u[panel][phase][plane][c][NR], panels of one phase of outputs after those of the other --------

static long phases_of(const winograd_job *g) { return g->phases_in * g->phases_out; }
static REAL *filters_at(const winograd_job *g, long panel, long phase, long f) {
    return g->u + ((panel * g->phases_in + phase) * g->planes + f) * g->plane_u;
}

static void filters_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    (void)worker;
    long c0 = item % g->pieces * g->piece, c1 = min_l(c0 + g->piece, g->s->c), rest = item / g->pieces;
    long phase = rest % g->phases_in, panel = rest / g->phases_in; // of all phases of outputs
    REAL *u = filters_at(g, panel, phase, 0) + c0 * NR;
    transform_filters(g, phase + panel / g->panels, panel % g->panels, c0, c1, u, g->plane_u);
}

static void transform_all_filters(const winograd_job *job) {
    winograd_job g = *job;
    g.piece = 4 * STRIP;
    g.pieces = div_up(g.s->c, g.piece);
    pool_for(g.panels * phases_of(&g) * g.pieces, filters_item, &g);
}

static size_t filters_size(const winograd_job *g) {
    return (size_t)g->panels * phases_of(g) * g->planes * g->plane_u;
}

// ---- outputs, by tiles ---------------------------------------------------------------------------------------------------

// M[f][tile] of a panel (of all phases of outputs), or what a further phase of inputs adds to it.
static void multiply_planes(const winograd_job *g, long panel, long phase, const REAL *v, const REAL *u, REAL *m, long count) {
    long phase_out = panel / g->panels, width = width_of(g, panel % g->panels);
    for (long f = 0; f < g->planes; f++) {
        REAL *to = m + f * g->plane_m;
        if (!is_empty(g, phase + phase_out, f))
            gemm_rows(count, width, g->s->c, v + f * g->plane_v, g->c, 1, u + f * g->plane_u, NR, to, NR,
                      (epilogue){NULL, phase > 0, LINEAR});
        else if (phase_out)
            memset(to, 0, (size_t)(count * NR) * sizeof(REAL));
    }
}

static void tiles_item(void *job, long item, int worker) {
    winograd_job own = *(const winograd_job *)job;
    const winograd_job *g = &own;
    own.u += worker * g->worker_copy;
    if (is_due(g, worker)) transform_all_filters(g);
    long first = item * g->tiles / g->blocks, count = (item + 1) * g->tiles / g->blocks - first;
    REAL *v = g->m + worker * g->worker_m, *m = v + g->phases_in * g->planes * g->plane_v;
    touch_inputs(g, first, count);
    for (long t = 0; t < count; t++) transform_inputs(g, first + t, v, t);
    touch_outputs(g, g->residual, first, count);
    touch_outputs(g, g->gate, first, count);
    for (long panel = 0; panel < g->panels * g->phases_out; panel++) {
        for (long phase = 0; phase < g->phases_in; phase++)
            multiply_planes(g, panel, phase, v + phase * g->planes * g->plane_v, filters_at(g, panel, phase, 0), m, count);
        transform_outputs(g, first, count, panel, m);
    }
}

static int by_tiles(winograd_job *g, long threads) {
    long each = g->planes * (long)sizeof(REAL) * (g->phases_in * g->c + NR);
    long most = max_l(1, TILE_CACHE / each / MR) * MR;
    g->blocks = min_l(round_up(div_up(g->tiles, most), threads), g->tiles);
    g->block = div_up(g->tiles, g->blocks);
    g->plane_v = plane_of(g->block, g->c);
    g->plane_m = plane_of(g->block, NR);
    g->worker_m = g->planes * (g->phases_in * g->plane_v + g->plane_m);
    if (!g->transformed) {
        g->worker_copy = makes_copies(threads) ? filters_size(g) : 0;
        g->u = scratch(SCRATCH_WEIGHTS, (g->worker_copy ? threads : 1) * filters_size(g) * sizeof(REAL));
    }
    g->m = scratch(SCRATCH_PARTIAL, threads * g->worker_m * sizeof(REAL));
    if (!g->u || !g->m) return -1;
    if (!g->transformed && !g->worker_copy) transform_all_filters(g);
    pool_for(g->blocks, tiles_item, g);
    return 0;
}

// ---- outputs, by channels ------------------------------------------------------------------------------------------------

static void inputs_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    long first = item * g->share, end = min_l(first + g->share, g->count);
    (void)worker;
    touch_inputs(g, g->first + first, end - first);
    for (long t = first; t < end; t++) transform_inputs(g, g->first + t, g->v, t);
}

// items: inputs_item or gradients_item.
static void transform_block(winograd_job *g, pool_function items) {
    g->share = share_of(g->count, pool_size());
    pool_for(div_up(g->count, g->share), items, g);
}

static void panel_item(void *job, long panel, int worker) {
    winograd_job copy = *(const winograd_job *)job;
    const winograd_job *g = &copy;
    copy.v += worker * g->worker_copy;
    if (is_due(g, worker)) transform_block(&copy, inputs_item);
    REAL *own = g->u + worker * g->planes * g->plane_u, *m = g->m + worker * g->worker_m;
    for (long phase = 0; phase < g->phases_in; phase++) {
        const REAL *v = g->v + phase * g->planes * g->plane_v, *u = g->transformed ? filters_at(g, panel, phase, 0) : own;
        if (!g->transformed) transform_filters(g, phase + panel / g->panels, panel % g->panels, 0, g->s->c, own, g->plane_u);
        multiply_planes(g, panel, phase, v, u, m, g->count);
    }
    transform_outputs(g, g->first, g->count, panel, m);
}

static int by_channels(winograd_job *g, long threads) {
    long plane = g->planes * (long)sizeof(REAL), copies = makes_copies(threads) ? threads : 1;
    long most = min_l(BLOCK_V / (copies * g->phases_in * plane * g->c), BLOCK_M / (plane * NR));
    g->block = div_up(g->tiles, div_up(g->tiles, max_l(most, MR)));
    g->plane_v = plane_of(g->block, g->c);
    g->plane_m = plane_of(g->block, NR);
    g->worker_m = g->planes * g->plane_m;
    if (!g->transformed) g->u = scratch(SCRATCH_WEIGHTS, threads * g->planes * g->plane_u * sizeof(REAL));
    g->worker_copy = makes_copies(threads) ? g->phases_in * g->planes * g->plane_v : 0;
    g->v = scratch(SCRATCH_PROJECTED, (g->worker_copy ? threads : 1) * g->phases_in * g->planes * g->plane_v * sizeof(REAL));
    g->m = scratch(SCRATCH_PARTIAL, threads * g->worker_m * sizeof(REAL));
    if (!g->u || !g->v || !g->m) return -1;
    for (g->first = 0; g->first < g->tiles; g->first += g->block) {
        g->count = min_l(g->block, g->tiles - g->first);
        if (!g->worker_copy) transform_block(g, inputs_item);
        pool_for(g->panels * g->phases_out, panel_item, g);
    }
    return 0;
}

static const REAL *zero_pixel(long channels) {
    REAL *zeros = scratch(SCRATCH_INPUT, channels * sizeof(REAL));
    if (zeros) memset(zeros, 0, channels * sizeof(REAL));
    return zeros;
}

int winograd_product(const winograd_call *call) {
    const conv_shape *s = call->s;
    winograd_job g = job_of(s, call->way, call->flipped);
    long threads = pool_size(), bytes = (long)sizeof(REAL) * phases_of(&g) * g.planes * s->c * g.k;
    g.in = call->in;
    g.filters = call->filters;
    g.u = (REAL *)call->transformed;
    g.transformed = g.u != NULL;
    g.bias = call->bias;
    g.residual = call->residual;
    g.gate = call->gate;
    g.activation = call->activation;
    g.out = call->out;
    g.zeros = zero_pixel(g.c);
    if (!g.zeros) return -1;
    copy_made made[OWN_THREADS] = {0};
    g.made = made;
    long passing = bytes + (s->n * (s->h * s->w * s->c + s->oh * s->ow * s->k)) * (long)sizeof(REAL);
    g.past = !s->pooled && g.activation <= RELU && passing >= past_from(PAST_BYTES) && are_whole_lines(s->k, g.out);
    int few = g.tiles < 2 * MR * threads && g.panels * g.phases_out >= threads;
    return bytes > (g.transformed ? READY_CACHE : FILTER_CACHE) || few ? by_channels(&g, threads) : by_tiles(&g, threads);
}

size_t winograd_filters(const conv_shape *s, int way) {
    winograd_job g = job_of(s, way, 0);
    return filters_size(&g);
}

void winograd_transform(const conv_shape *s, int way, const REAL *filters, REAL *transformed) {
    winograd_job g = job_of(s, way, 0);
    g.filters = filters;
    g.u = transformed;
    transform_all_filters(&g);
}

// ---- gradient of the filters ---------------------------------------------------------------------------------------------

INLINE void gradients_of_tile(const winograd_job *g, const int way, long item) {
    const conv_shape *s = g->s;
    const int out = outputs_of(way);
    const REAL *pixel[MOST_OUTPUTS * MOST_OUTPUTS];
    long image, y0, x0;
    place_of(g, way, g->first + item, &image, &y0, &x0);
    for (long i = 0; i < out; i++)
        for (long j = 0; j < out; j++) {
            int inside = y0 + i < s->oh && x0 + j < s->ow;
            pixel[i * out + j] = inside ? g->dz + ((image * s->oh + y0 + i) * s->ow + x0 + j) * s->k : g->zeros;
        }
    for (long k = 0; k < s->k; k += LANES) {
        REAL *z = g->z + (k / NR * g->block + item) * NR + k % NR;
        for (int i = 0; i < out * out; i++) __builtin_prefetch(pixel[i] + k + out * s->k);
        if (k + LANES <= s->k) gradient_tile(way, pixel, k, 0, z, g->plane_z);
        else gradient_tile(way, pixel, k, s->k - k, z, g->plane_z);
    }
}

static void transform_gradients(const winograd_job *g, long item) {
    switch (g->way) {
        case STRIDED: gradients_of_tile(g, STRIDED, item); break;
        case TWIN: gradients_of_tile(g, TWIN, item); break;
        case FIVE: gradients_of_tile(g, FIVE, item); break;
        default: gradients_of_tile(g, FOUR, item);
    }
}

static void gradients_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    (void)worker;
    long first = item * g->share, end = min_l(first + g->share, g->count);
    touch_inputs(g, g->first + first, end - first);
    for (long t = first; t < end; t++) transform_inputs(g, g->first + t, g->v, t);
    touch_tiles(g, g->dz, g->s->oh, g->s->ow, g->s->k, 1, 0, 0, outputs_of(g->way), g->first + first, end - first);
    for (long t = first; t < end; t++) transform_gradients(g, t);
}

// The sums of a panel of output channels and `channels` input channels, transformed back, to where each tap of dw lies.
INLINE void filter_gradients_of(const winograd_job *g, const int way, long channels, long columns, const REAL *sums,
                                REAL *const *tap) {
    for (long c = 0; c < channels; c++)
        for (long k = 0; k < columns; k += LANES) {
            long at = c * g->s->k + k;
            for (int i = 0; i < taps_of(way) * taps_of(way); i++)
                if (!g->past && (way != STRIDED || tap[i])) __builtin_prefetch(tap[i] + at + AHEAD * g->s->k, 1);
            long part = columns - k < LANES ? columns - k : 0;
            filter_gradient_tile(way, sums + c * NR + k, g->plane_m, g->accumulate, g->past, tap, at, part);
        }
}

static void sums_item(void *job, long item, int worker) {
    winograd_job copy = *(const winograd_job *)job;
    const winograd_job *g = &copy;
    copy.v += worker * g->worker_copy;
    copy.z += worker * g->worker_copy;
    if (is_due(g, worker)) transform_block(&copy, gradients_item);
    const conv_shape *s = g->s;
    long panel = item % g->panels, phase = item / g->panels % g->phases_in, piece = item / g->panels / g->phases_in;
    long c0 = piece * g->piece, channels = min_l(g->piece, s->c - c0), columns = min_l(NR, s->k - panel * NR);
    REAL *sums = g->m + worker * g->worker_m, *tap[MOST_TAPS * MOST_TAPS];
    const REAL *v = g->v + phase * g->planes * g->plane_v + piece * g->block * g->piece;
    int taps[MOST_TAPS * MOST_TAPS];
    for (long f = 0; f < g->planes; f++)
        for (long t = 0; t < g->count && !is_empty(g, phase, f); t += SUM_TILES)
            gemm_rows(channels, width_of(g, panel), min_l(SUM_TILES, g->count - t), v + f * g->plane_v + t * g->piece, 1,
                      g->piece, g->z + f * g->plane_z + (panel * g->block + t) * NR, NR, sums + f * g->plane_m, NR,
                      (epilogue){NULL, t > 0, LINEAR});
    taps_of_phase(g, phase, taps);
    for (int i = 0; i < taps_of(g->way) * taps_of(g->way); i++)
        tap[i] = taps[i] < 0 ? NULL : g->out + (taps[i] * s->c + c0) * s->k + panel * NR;
    switch (g->way) {
        case STRIDED: filter_gradients_of(g, STRIDED, channels, columns, sums, tap); break;
        case TWIN: filter_gradients_of(g, TWIN, channels, columns, sums, tap); break;
        case FIVE: filter_gradients_of(g, FIVE, channels, columns, sums, tap); break;
        default: filter_gradients_of(g, FOUR, channels, columns, sums, tap);
    }
    if (g->past) finish_stores();
}

// The blocks of a range, one after the other; as an item all of it in one thread, which then reads only what it wrote.
static void range_item(void *job, long range, int worker) {
    winograd_job g = *(const winograd_job *)job;
    long end = (range + 1) * g.tiles / g.ranges, copy = g.planes * (g.phases_in * g.plane_v + g.plane_z);
    g.v += worker * copy;
    g.z = g.v + g.phases_in * g.planes * g.plane_v;
    g.m += worker * g.worker_m;
    g.out += range * g.filter;
    for (g.first = range * g.tiles / g.ranges; g.first < end; g.first += g.block, g.accumulate = 1) {
        g.count = min_l(g.block, end - g.first);
        if (!g.worker_copy) transform_block(&g, gradients_item);
        pool_for(g.panels * g.phases_in * g.pieces, sums_item, &g);
    }
}

typedef struct {
    REAL *dw;
    const winograd_job *of;
    int accumulate;
} ranges_job;

static void add_ranges(void *job, long first, long n) {
    const ranges_job *g = job;
    for (long i = first, end = first + n; i < end; i += LANES) {
        long part = end - i < LANES ? end - i : 0;
        vec sum = g->accumulate ? load_some(g->dw + i, part) : (vec){0};
        for (long r = 0; r < g->of->ranges; r++) sum += load_some(g->of->out + r * g->of->filter + i, part);
        store_some(g->dw + i, sum, part);
    }
}

int winograd_filter_gradient(const conv_shape *s, int way, const REAL *x, const REAL *dz, REAL *dw, int accumulate) {
    winograd_job g = job_of(s, way, 0);
    copy_made made[OWN_THREADS] = {0};
    long threads = pool_size(), tile = g.planes * (long)sizeof(REAL) * (g.phases_in * g.c + g.k), n = s->kh * s->kw * s->c * s->k;
    g.in = x;
    g.dz = dz;
    g.made = made;
    g.blocks = div_up(g.tiles, max_l(max_l(BLOCK_VZ / tile, min_l(SUM_TILES, MOST_VZ / tile)), 1));
    g.blocks = min_l(g.tiles, g.blocks > 1 ? round_up(g.blocks, 2) : 1); // two threads then have as much to do
    g.filter = round_up(n, LINE);
    g.ranges = min_l(g.blocks, max_l(1, min_l(RANGES, MOST_SUMS / (g.filter * (long)sizeof(REAL)) / 2 * 2)));
    g.block = div_up(g.tiles, g.ranges * div_up(g.blocks, g.ranges));
    g.accumulate = accumulate && g.ranges == 1;
    g.pieces = max_l(div_up(s->c, SUM_CHANNELS), min_l(div_up(2 * threads, g.panels * g.phases_in), div_up(s->c, MR)));
    g.piece = round_up(div_up(s->c, g.pieces), LANES);
    g.pieces = div_up(s->c, g.piece);
    g.plane_v = plane_of(g.block, g.pieces * g.piece);
    g.plane_z = plane_of(g.block, g.k);
    g.plane_m = plane_of(g.piece, NR);
    g.worker_m = g.planes * g.plane_m;
    size_t copy = g.planes * (g.phases_in * g.plane_v + g.plane_z);
    int alone = g.ranges % threads == 0 || g.ranges > 4 * threads; // the threads are all busy with a range each
    g.worker_copy = !alone && makes_copies(threads) ? copy : 0;
    g.zeros = zero_pixel(max_l(g.c, g.k));
    g.v = scratch(SCRATCH_PROJECTED, (alone || g.worker_copy ? threads : 1) * copy * sizeof(REAL));
    g.m = scratch(SCRATCH_PARTIAL, threads * g.worker_m * sizeof(REAL));
    g.out = g.ranges > 1 ? scratch(SCRATCH_WEIGHTS, g.ranges * g.filter * sizeof(REAL)) : dw;
    if (!g.zeros || !g.v || !g.m || !g.out) return -1;
    int past = g.ranges > 1 ? threads > 1 : !accumulate && n * (long)sizeof(REAL) >= past_from(PAST_FILTERS);
    g.past = past && g.blocks == g.ranges && are_whole_lines(s->k, g.out);
    if (alone) pool_for(g.ranges, range_item, &g);
    else
        for (long range = 0; range < g.ranges; range++) range_item(&g, range, 0);
    if (g.ranges > 1) flat_for(n, g.ranges, add_ranges, &(ranges_job){dw, &g, accumulate});
    return 0;
}

// ---- the choice ----------------------------------------------------------------------------------------------------------

// Prepared filters are read, more numbers than there are taps; one takes as long as 11 multiply-adds, but FOUR's come while
// it multiplies. Where L3 is slow all count, as 18: 512 channels on one 7x7 image took FOUR 1.35 ms, the direct way 0.9.
static double reading_cost(int way, double numbers, double taps) {
    if (is_intel_server()) return 18 * (numbers - taps);
    return 11 * (way == SIX ? numbers - 36 : way == STRIDED ? numbers - taps : 0);
}

// In multiply-adds per input and output channel, the direct way takes one per tap and pixel. Here a tile takes its products,
// a third more than that for what a shorter sum and M cost (on a Zen 4 not under STRIDED, whose direct way is slower), and its
// transforms, which weigh less the more channels share them; the filters take as much as 5 tiles. So images that fill their
// tiles badly (5x5 under FOUR) and single small ones stay direct. The constants are fitted to times on AVX2 and AVX-512; a
// gain of a fifth is asked for, as accuracy pays for it.
static double cost_of(const conv_shape *s, int way, int flipped, int prepared) {
    winograd_job g = job_of(s, way, flipped);
    double products = way == STRIDED ? 81 : g.planes, in = g.planes * g.phases_in, out = g.planes * g.phases_out;
    double sum = way == STRIDED && !is_intel_server() ? products : products * 4 / 3, filters = 5 * products;
    if (prepared) filters = reading_cost(way, products, s->kh * s->kw);
    return 1.2 * (g.tiles * (sum + 5 * in / s->k + 5 * out / s->c) + filters);
}

int winograd_way(const conv_shape *s, int flipped, int prepared, int forced) {
    int best = -1, ways[3], n = 0;
    if (s->dh != 1 || s->dw != 1 || s->groups != 1 || !s->n || !s->h || !s->w || !s->c || !s->oh || !s->ow || !s->k) return -1;
    if (!forced && (s->c < 16 || s->k < 16)) return -1;
    double taps = s->kh * s->kw, pixels = (double)s->n * (flipped ? s->h * s->w : s->oh * s->ow), least = taps * pixels;
    if (s->kh == 3 && s->kw == 3 && s->sh == 1 && s->sw == 1) {
        ways[n++] = FOUR;
        if (prepared && s->c <= SIX_CHANNELS) ways[n++] = SIX;
        if (s->h == 2 && s->w == 2 && s->oh == 2 && s->ow == 2 && s->top == 1 && s->left == 1) {
            ways[n++] = TWIN;
            least = 16.0 * s->n + (prepared ? 0 : 5 * taps); // of other taps the direct way knows that they meet zeros; packing
        }
    }
    if (s->kh == 3 && s->kw == 3 && s->sh == 2 && s->sw == 2) ways[n++] = STRIDED;
    if (s->kh == 5 && s->kw == 5 && s->sh == 1 && s->sw == 1) ways[n++] = FIVE;
    for (int i = 0; i < n; i++) {
        double cost = cost_of(s, ways[i], flipped, prepared);
        if (cost >= least && !(forced && best < 0)) continue;
        best = ways[i];
        least = cost;
    }
    return best;
}
#endif
