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
//     M[f][tile][k]         products
// Planes f lie an odd number of cache lines apart, or the stores of a transform would meet in one cache set.
//
// Two ways to cut the work of outputs:
//     by tiles      filters transformed once; each item takes a block of tiles through all phases, V and M in cache
//     by channels   where U outgrows the cache, or there are few tiles: V of a large block of tiles first; then each item
//                   takes a panel of output channels: it transforms its filters, uses them at once, and forgets them
// winograd_filters.c cuts that of the filters' gradient. Memory is bounded in all of them. An element of a product is one sum
// in the order of channels, so threads do not change a bit of it.
//
// What one core writes again and again must not be read by another: it would first have to take each line back from it, at
// 28 GB/s where both share an L3 and at 2.4 GB/s where they do not (Zen 4; a line of its own 100, either way). Hence two
// threads each transform for themselves what both read (U by tiles, V by channels).
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
//     copies of their own where cores have no common L3     1.03 to 1.4 times
// Without gain: filters transformed 64 to 256 channels at a time, so that U stays in L2; the next block's images or the
// outputs' lines fetched ahead during the products; a third cut, by planes f, whose products read V from L2 alone (0.9 to
// 0.98: M passes through L3). What the outputs take over from calls of their own gains little: residual and gate 1 % of a
// training step, maxima of 2x2 outputs 1 to 2 % of a VGG-16 prediction.
#include "winograd.h"
#if REAL_BITS == 32
#include "arena.h"
#include "derivative.h"
#include "vmath.h"
#include "winograd_parts.h"
#include <string.h>

enum {
    PHASES = 4,             // of an image under STRIDED: even and odd rows and columns
    TILE_CACHE = 1 << 18,   // bytes of V and M of a block, by tiles: a quarter of L2, for filters pass through it too
    SHARE = 8,              // neighbouring tiles that one worker transforms: their lines must not wander between cores
    FILTER_CACHE = 6 << 20, // bytes of U above which the work is cut by channels
    READY_CACHE = 16 << 20, // or, where they come transformed
    BLOCK_V = 10 << 20,     // bytes of V of a block, by channels, all copies of it
    BLOCK_M = 2 << 20,      // and of M, per worker
    STRIP = 16,             // channels of filters turned over at a time
    TAPS_AHEAD = 2,         // from the prefetch of a tap of a strip to its use
    SIX_CHANNELS = 128,     // that SIX takes at most
    PAST_BYTES = 8 << 20,   // of images and filters in all, from which outputs are stored past the caches
};

// ---- what all directions share -------------------------------------------------------------------------------------------

// Tiles along an axis of n outputs; under STRIDED and flipped they consist of pairs of rows, the first at *start.
static long tiles_along(const winograd_job *g, long n, long shift, long *start) {
    *start = 0;
    if (g->pace_out == 1) return div_up(n, outputs_of(g->way));
    *start = (1 - shift) >> 1;
    return div_up(((n - shift) >> 1) - *start + 1, outputs_of(g->way));
}

winograd_job job_of(const conv_shape *s, int way, int flipped) {
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

void touch_tiles(const winograd_job *g, const REAL *images, long h, long w, long c, long pace, long offset_y, long offset_x,
                 long side, long t, long n) {
    for (long run; n > 0; t += run, n -= run) {
        long image, y, x;
        place_of(g->way, g, t, &image, &y, &x);
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

void touch_inputs(const winograd_job *g, long t, long n) {
    long side = (inputs_of(g->way) - 1) * g->pace_in + 1;
    touch_tiles(g, g->in, g->s->h, g->s->w, g->s->c, g->pace_in, g->in_y, g->in_x, side, t, n);
}

// images: what is added to the outputs, or gates them; or NULL.
static void touch_outputs(const winograd_job *g, const REAL *images, long t, long n) {
    long side = outputs_of(g->way) * g->pace_out;
    if (images) touch_tiles(g, images, g->s->oh, g->s->ow, g->s->k, g->pace_out, g->out_y, g->out_x, side, t, n);
}

INLINE void inputs_of_tile(const int way, const winograd_job *g, long t, REAL *v, long tile) {
    const conv_shape *s = g->s;
    const int in = inputs_of(way);
    const REAL *pixel[MOST_POINTS * MOST_POINTS];
    long image, y0, x0;
    place_of(way, g, t, &image, &y0, &x0);
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

void transform_inputs(const winograd_job *g, long t, REAL *v, long tile) { IN_WAY(g->way, inputs_of_tile, g, t, v, tile); }

// The largest of every 2x2 of a tile's outputs.
INLINE void store_maxima(const winograd_job *g, vec y[MOST_OUTPUTS][MOST_OUTPUTS], long rows, long columns, REAL *to, long part) {
    for (long i = 0; i < rows; i += 2)
        for (long j = 0; j < columns; j += 2) {
            vec v = max_or_nan(max_or_nan(y[i][j], y[i][j + 1]), max_or_nan(y[i + 1][j], y[i + 1][j + 1]));
            store_some(to + (i / 2 * (g->s->ow / 2) + j / 2) * g->s->k, v, part);
        }
}

INLINE void outputs_of_tile(const int way, const winograd_job *g, long t, long phase, long k0, long k1, const REAL *m) {
    const conv_shape *s = g->s;
    const int out = outputs_of(way);
    long image, y0, x0, rows[2], columns[2];
    place_of(way, g, t, &image, &y0, &x0);
    if (way != STRIDED) phase = 0;
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
    for (long t = first; t < first + count; t++, m += NR) IN_WAY(g->way, outputs_of_tile, g, t, phase, k0, k1, m);
    if (g->past) finish_stores();
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
        IN_WAY(g->way, filters_of_strip, rows, columns, tap, u, plane);
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

void transform_block(winograd_job *g, pool_function items) {
    g->share = max_l(1, min_l(SHARE, g->count / (2 * pool_size())));
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

const REAL *zero_pixel(long channels) {
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
