// Winograd convolution F(4x4, 3x3): 4x4 outputs from 6x6 inputs with 36 instead of 144 products (Lavin & Gray 2016).
//
//     outputs               Y  = At [ sum over c of (G g Gt) . (Bt d B) ] A
//     gradient of the input     the same, with filters turned by 180 degrees and transposed
//     gradient of the filters  dW = Gt [ sum over tiles of (Bt d B) . (A dY At) ] G
//
// Interpolation at 0, +-P, +-Q and infinity with P = 5/8, Q = 3/2: the errors are a third to a fifth of those of the usual
// +-1, +-2. From 16 channels up the largest error measured is 3.5e-6 of the largest output (1.1e-5 after tanh or sigmoid,
// which shrink the output and not the error: conv.c keeps those direct unless told otherwise; 8e-6 for a few channels).
// float64 is for checking and always takes the direct way. A NaN or infinity in an image spoils the whole tile around it.
// As the points come in pairs, each one-dimensional transform is an even and an odd half, joined by an addition and a
// subtraction.
//
// All transforms take a vector of channels at a time, from and to NHWC; the 36 products between them are GEMMs on the
// shared register tile, which reads the transformed tiles in place:
//     U[panel][f][c][NR]    filters           V[f][tile][c]     inputs
//     M[f][tile][k]         products          Z[f][panel][tile][NR]  gradients of the outputs
// Planes f lie an odd number of cache lines apart, or the 36 stores of a transform would meet in one cache set.
//
// Two ways to cut the work of outputs:
//     by tiles      filters transformed once; each item takes a block of tiles through all phases, V and M in cache
//     by channels   where U outgrows the cache, or there are few tiles: V of a large block of tiles first; then each item
//                   takes a panel of output channels: it transforms its filters, uses them at once, and forgets them
// The gradient of the filters always makes V and Z of a large block of tiles first; then each item sums its products for
// a panel of output channels and some input channels, and adds them, transformed back, to dw. Memory is bounded in all of
// them. An element of a product is one sum in the order of channels or tiles, so threads do not change a bit of it.
//
// The products run near the peak of the register tile; what costs is waiting for lines in the transforms, half of the time
// at 64 channels. Measured on Zen 5, two cores: fetching the next tile ahead makes images of 64 channels 1.2 to 1.6 times
// faster and filters of 512 channels on 4x4 images 1.2 times; neighbouring tiles on one core, not item by item on both,
// 1.13 times (64 channels, gradient of the filters) and far more where L3 is busy.
#include "winograd.h"
#if REAL_BITS == 32
#include "arena.h"
#include "gemm.h"
#include "threads.h"
#include <string.h>

enum {
    OUTPUT = 4, // outputs and inputs of a tile along one axis
    INPUT = 6,
    PLANES = INPUT * INPUT,
    LINE = 64 / sizeof(REAL),
    TILE_CACHE = 1 << 19,   // bytes of V and M of a block, by tiles: half of L2
    SHARE = 8,              // neighbouring tiles that one worker transforms: their lines must not wander between cores
    FILTER_CACHE = 6 << 20, // bytes of U above which the work is cut by channels
    BLOCK_V = 10 << 20,     // bytes of V of a block, by channels
    BLOCK_M = 2 << 20,      // and of M, per worker
    BLOCK_VZ = 3 << 20,     // bytes of V and Z of a block, gradient of the filters
    MOST_VZ = 32 << 20,     // however few tiles that gives
    SUM_TILES = 96,         // tiles per pass over the sums of an item there: their V and Z stay in L1
    SUM_CHANNELS = 64,      // input channels of an item there: its sums stay in L2
    STRIP = 16,             // channels of filters turned over at a time
    AHEAD = 4,              // channels from a filter's prefetch to its use
};

static const REAL P = 0.625f, Q = 1.5f;

// ---- one-dimensional transforms --------------------------------------------------------------------------------------

// v = Bt d
INLINE void transform_input(const vec d[INPUT], vec v[INPUT]) {
    vec ep = d[4] - (Q * Q) * d[2], op = P * (d[3] - (Q * Q) * d[1]);
    vec eq = d[4] - (P * P) * d[2], oq = Q * (d[3] - (P * P) * d[1]);
    v[0] = d[4] + (P * P * Q * Q) * d[0] - (P * P + Q * Q) * d[2];
    v[1] = ep + op;
    v[2] = ep - op;
    v[3] = eq + oq;
    v[4] = eq - oq;
    v[5] = d[5] + (P * P * Q * Q) * d[1] - (P * P + Q * Q) * d[3];
}

// y = At m
INLINE void transform_output(const vec m[INPUT], vec y[OUTPUT]) {
    vec ep = m[1] + m[2], op = m[1] - m[2], eq = m[3] + m[4], oq = m[3] - m[4];
    y[0] = m[0] + ep + eq;
    y[1] = P * op + Q * oq;
    y[2] = (P * P) * ep + (Q * Q) * eq;
    y[3] = m[5] + (P * P * P) * op + (Q * Q * Q) * oq;
}

// z = A y
INLINE void transform_gradient(const vec y[OUTPUT], vec z[INPUT]) {
    vec ep = y[0] + (P * P) * y[2], op = P * y[1] + (P * P * P) * y[3];
    vec eq = y[0] + (Q * Q) * y[2], oq = Q * y[1] + (Q * Q * Q) * y[3];
    z[0] = y[0];
    z[1] = ep + op;
    z[2] = ep - op;
    z[3] = eq + oq;
    z[4] = eq - oq;
    z[5] = y[3];
}

// The rows of G are (1, x, x^2) divided by the product of the distances of x from the other finite points.
#define AT_0 (1 / (P * P * Q * Q))
#define AT_P (1 / (2 * P * P * (P * P - Q * Q)))
#define AT_Q (1 / (2 * Q * Q * (Q * Q - P * P)))

// u = G g
INLINE void transform_filter(const vec g[3], vec u[INPUT]) {
    vec ep = AT_P * g[0] + (AT_P * P * P) * g[2], op = (AT_P * P) * g[1];
    vec eq = AT_Q * g[0] + (AT_Q * Q * Q) * g[2], oq = (AT_Q * Q) * g[1];
    u[0] = AT_0 * g[0];
    u[1] = ep + op;
    u[2] = ep - op;
    u[3] = eq + oq;
    u[4] = eq - oq;
    u[5] = g[2];
}

// g = Gt u
INLINE void transform_filter_gradient(const vec u[INPUT], vec g[3]) {
    vec ep = u[1] + u[2], op = u[1] - u[2], eq = u[3] + u[4], oq = u[3] - u[4];
    g[0] = AT_0 * u[0] + AT_P * ep + AT_Q * eq;
    g[1] = (AT_P * P) * op + (AT_Q * Q) * oq;
    g[2] = u[5] + (AT_P * P * P) * ep + (AT_Q * Q * Q) * eq;
}

// ---- two-dimensional: the columns from memory, then the rows to memory; `part` lanes, or 0 for all ------------------------

INLINE void input_tile(const REAL *const pixel[PLANES], long c, long part, REAL *v, long plane) {
    vec half[INPUT][INPUT];
#pragma GCC unroll 6
    for (int j = 0; j < INPUT; j++) {
        vec from[INPUT], to[INPUT];
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) from[i] = load_some(pixel[i * INPUT + j] + c, part);
        transform_input(from, to);
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < INPUT; i++) {
        vec to[INPUT];
        transform_input(half[i], to);
#pragma GCC unroll 6
        for (int j = 0; j < INPUT; j++) store(v + (i * INPUT + j) * plane, to[j]);
    }
}

INLINE void output_tile(const REAL *m, long plane, vec y[OUTPUT][OUTPUT]) {
    vec half[OUTPUT][INPUT];
#pragma GCC unroll 6
    for (int j = 0; j < INPUT; j++) {
        vec from[INPUT], to[OUTPUT];
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) from[i] = load(m + (i * INPUT + j) * plane);
        transform_output(from, to);
#pragma GCC unroll 4
        for (int i = 0; i < OUTPUT; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < OUTPUT; i++) transform_output(half[i], y[i]);
}

INLINE void gradient_tile(const REAL *const pixel[OUTPUT * OUTPUT], long k, long part, REAL *z, long plane) {
    vec half[INPUT][OUTPUT];
#pragma GCC unroll 4
    for (int j = 0; j < OUTPUT; j++) {
        vec from[OUTPUT], to[INPUT];
#pragma GCC unroll 4
        for (int i = 0; i < OUTPUT; i++) from[i] = load_some(pixel[i * OUTPUT + j] + k, part);
        transform_gradient(from, to);
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < INPUT; i++) {
        vec to[INPUT];
        transform_gradient(half[i], to);
#pragma GCC unroll 6
        for (int j = 0; j < INPUT; j++) store(z + (i * INPUT + j) * plane, to[j]);
    }
}

INLINE void filter_tile(const REAL *filter, long tap, REAL *u, long plane) {
    vec half[INPUT][3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++) {
        vec from[3], to[INPUT];
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) from[i] = load(filter + (i * 3 + j) * tap);
        transform_filter(from, to);
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < INPUT; i++) {
        vec to[INPUT];
        transform_filter(half[i], to);
#pragma GCC unroll 6
        for (int j = 0; j < INPUT; j++) store(u + (i * INPUT + j) * plane, to[j]);
    }
}

INLINE void filter_gradient_tile(const REAL *sums, long plane, int add, REAL *dw, long tap, long part) {
    vec half[3][INPUT];
#pragma GCC unroll 6
    for (int j = 0; j < INPUT; j++) {
        vec from[INPUT], to[3];
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) from[i] = load(sums + (i * INPUT + j) * plane);
        transform_filter_gradient(from, to);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) half[i][j] = to[i];
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        vec to[3];
        transform_filter_gradient(half[i], to);
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) {
            REAL *out = dw + (i * 3 + j) * tap;
            store_some(out, add ? load_some(out, part) + to[j] : to[j], part);
        }
    }
}

// ---- what both directions share ------------------------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    const REAL *in, *filters, *bias, *residual, *dz;
    REAL *out;
    int flipped, activation, accumulate, transformed;
    // derived
    long down, across, tiles;            // tiles of an image, of the batch
    long c, panels, k;                   // channels padded to vectors; panels of output channels and their width
    long block, first, count;            // tiles at a time; where the block in hand starts, what it holds
    long plane_u, plane_v, plane_m, plane_z;
    long pieces, piece;                  // of input channels, where an item takes a part of them
    long share;                          // tiles that an item transforms
    const REAL *zeros;                   // what tiles read outside an image
    REAL *u, *v, *m, *z;
    size_t worker_m;                     // what each worker has of its own
} winograd_job;

static long share_of(long tiles, long threads) { return max_l(1, min_l(SHARE, tiles / (2 * threads))); }
static long plane_of(long rows, long columns) { return round_up(rows * columns, LINE) + LINE; }

static winograd_job job_of(const conv_shape *s) {
    winograd_job g = {.s = s, .down = div_up(s->oh, OUTPUT), .across = div_up(s->ow, OUTPUT)};
    g.tiles = s->n * g.down * g.across;
    g.c = round_up(s->c, LANES);
    g.panels = div_up(s->k, NR);
    g.k = g.panels * NR;
    g.plane_u = plane_of(s->c, NR);
    return g;
}

// Columns of a panel that hold channels, in whole vectors.
INLINE long width_of(const winograd_job *g, long panel) { return round_up(min_l(NR, g->s->k - panel * NR), LANES); }

// Which outputs tile t makes: image, first row and column.
INLINE void place_of(const winograd_job *g, long t, long *image, long *y, long *x) {
    long within = t % (g->down * g->across);
    *image = t / (g->down * g->across);
    *y = within / g->across * OUTPUT;
    *x = within % g->across * OUTPUT;
}

// Tiles come in the order of the image, so the next one reads what lies OUTPUT pixels on. The processor does not foresee
// that by itself: runs of a few lines are too short.
INLINE void prefetch_pixels(const REAL *const pixel[OUTPUT], long ahead) {
    for (int j = 0; j < OUTPUT; j++) __builtin_prefetch(pixel[j] + ahead);
}

// V of tile t at v.
static void transform_inputs(const winograd_job *g, long t, REAL *v) {
    const conv_shape *s = g->s;
    const REAL *pixel[PLANES];
    long image, y0, x0;
    place_of(g, t, &image, &y0, &x0);
    y0 -= s->top;
    x0 -= s->left;
    for (long i = 0; i < INPUT; i++) {
        int inside = y0 + i >= 0 && y0 + i < s->h;
        const REAL *row = g->in + (inside ? (image * s->h + y0 + i) * s->w * s->c : 0);
        for (long j = 0; j < INPUT; j++)
            pixel[i * INPUT + j] = inside && x0 + j >= 0 && x0 + j < s->w ? row + (x0 + j) * s->c : g->zeros;
    }
    long c = 0;
    for (; c + LANES <= s->c; c += LANES) {
        for (int i = 0; i < INPUT; i++) prefetch_pixels(pixel + i * INPUT + (INPUT - OUTPUT), c + OUTPUT * s->c);
        input_tile(pixel, c, 0, v + c, g->plane_v);
    }
    if (c < s->c) input_tile(pixel, c, s->c - c, v + c, g->plane_v);
}

// The outputs of `count` tiles from the columns k0 ... k0 + width of M, which is `width` wide.
static void transform_outputs(const winograd_job *g, long first, long count, long k0, long width, const REAL *m) {
    const conv_shape *s = g->s;
    long k1 = min_l(k0 + width, s->k);
    for (long t = first; t < first + count; t++, m += width) {
        long image, y0, x0;
        place_of(g, t, &image, &y0, &x0);
        long rows = min_l(OUTPUT, s->oh - y0), columns = min_l(OUTPUT, s->ow - x0);
        long place = ((image * s->oh + y0) * s->ow + x0) * s->k;
        REAL *out = g->out + place;
        for (long k = k0; k < k1; k += LANES) {
            long part = k1 - k < LANES ? k1 - k : 0;
            vec y[OUTPUT][OUTPUT], bias = g->bias ? load_some(g->bias + k, part) : (vec){0};
            for (long i = 0; i < rows; i++)
                for (long j = 0; j < columns; j++) __builtin_prefetch(out + (i * s->ow + j + OUTPUT) * s->k + k, 1);
            output_tile(m + k - k0, g->plane_m, y);
            if (g->residual)
                for (long i = 0; i < rows; i++)
                    for (long j = 0; j < columns; j++)
                        y[i][j] += load_some(g->residual + place + (i * s->ow + j) * s->k + k, part);
#pragma GCC unroll 4
            for (int i = 0; i < OUTPUT; i++)
#pragma GCC unroll 4
                for (int j = 0; j < OUTPUT; j++) {
                    y[i][j] += bias;
                    if (g->activation == RELU) y[i][j] = vmax((vec){0}, y[i][j]);
                }
            for (long i = 0; i < rows; i++)
                for (long j = 0; j < columns; j++) store_some(out + (i * s->ow + j) * s->k + k, y[i][j], part);
        }
        if (g->activation > RELU)
            for (long i = 0; i < rows * columns; i++)
                apply_activation(1, k1 - k0, out + (i / columns * s->ow + i % columns) * s->k + k0, 0, g->activation);
    }
}

// U of a panel, channels c0 ... c1, at u[plane][c][NR].
static void transform_filters(const winograd_job *g, long panel, long c0, long c1, REAL *u, long plane) {
    const conv_shape *s = g->s;
    REAL turned[9 * STRIP * NR];
    long columns = min_l(NR, s->k - panel * NR);
    for (long from = c0; from < c1; from += STRIP) {
        long n = min_l(STRIP, c1 - from), tap = s->c * s->k, row = s->k;
        const REAL *filter = g->filters + from * s->k + panel * NR;
        if (g->flipped || columns < NR) { // through a copy in the order of the panel, with zeros for what is missing
            memset(turned, 0, columns < NR ? sizeof turned : 0);
            for (long i = 0; i < 9; i++) {
                REAL *to = turned + i * STRIP * NR;
                const REAL *w = g->flipped ? g->filters + ((8 - i) * s->k + panel * NR) * s->c + from : filter + i * tap;
                long rs = g->flipped ? 1 : s->k, cs = g->flipped ? s->c : 1;
                for (long q = 0; g->flipped && q < columns; q++) __builtin_prefetch(w + q * cs + STRIP);
                interleave(n, columns, w, rs, cs, to, NR);
            }
            filter = turned;
            tap = STRIP * NR;
            row = NR;
        }
        for (long p = 0; p < n; p++) {
            REAL *to = u + (from + p) * NR;
            for (long i = 0; i < 9 && filter != turned; i++) {
                __builtin_prefetch(filter + i * tap + (p + AHEAD) * row);
                __builtin_prefetch(filter + i * tap + (p + AHEAD) * row + LANES);
            }
            filter_tile(filter + p * row, tap, to, plane);
            if (columns > LANES) filter_tile(filter + p * row + LANES, tap, to + LANES, plane);
        }
    }
}

// ---- outputs, by tiles ---------------------------------------------------------------------------------------------------

static void filters_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    (void)worker;
    long panel = item / g->pieces, c0 = item % g->pieces * g->piece, c1 = min_l(c0 + g->piece, g->s->c);
    transform_filters(g, panel, c0, c1, g->u + panel * PLANES * g->plane_u, g->plane_u);
}

static void transform_all_filters(winograd_job *g) {
    g->piece = 4 * STRIP;
    g->pieces = div_up(g->s->c, g->piece);
    pool_for(g->panels * g->pieces, filters_item, g);
}

static void tiles_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    long first = item * g->block, count = min_l(g->block, g->tiles - first);
    REAL *v = g->m + worker * g->worker_m, *m = v + PLANES * g->plane_v;
    for (long t = 0; t < count; t++) transform_inputs(g, first + t, v + t * g->c);
    for (long f = 0; f < PLANES; f++)
        for (long panel = 0; panel < g->panels; panel++)
            gemm_rows(count, width_of(g, panel), g->s->c, v + f * g->plane_v, g->c, 1,
                      g->u + (panel * PLANES + f) * g->plane_u, NR, m + f * g->plane_m + panel * NR, g->k, (epilogue){NULL, 0, LINEAR});
    transform_outputs(g, first, count, 0, g->k, m);
}

static int by_tiles(winograd_job *g, long threads) {
    long most = max_l(1, TILE_CACHE / (PLANES * (long)sizeof(REAL) * (g->c + g->k)) / MR) * MR;
    long blocks = round_up(div_up(g->tiles, most), threads);
    g->block = div_up(g->tiles, blocks);
    if (g->block > MR) g->block = round_up(g->block, MR);
    g->plane_v = plane_of(g->block, g->c);
    g->plane_m = plane_of(g->block, g->k);
    g->worker_m = PLANES * (g->plane_v + g->plane_m);
    if (!g->transformed) g->u = scratch(SCRATCH_WEIGHTS, winograd_filters(g->s) * sizeof(REAL));
    g->m = scratch(SCRATCH_PARTIAL, threads * g->worker_m * sizeof(REAL));
    if (!g->u || !g->m) return -1;
    if (!g->transformed) transform_all_filters(g);
    pool_for(div_up(g->tiles, g->block), tiles_item, g);
    return 0;
}

// ---- outputs, by channels ------------------------------------------------------------------------------------------------

static void inputs_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    (void)worker;
    for (long t = item * g->share, end = min_l(t + g->share, g->count); t < end; t++)
        transform_inputs(g, g->first + t, g->v + t * g->c);
}

static void panel_item(void *job, long panel, int worker) {
    const winograd_job *g = job;
    REAL *u = g->u + (g->transformed ? panel : worker) * PLANES * g->plane_u, *m = g->m + worker * g->worker_m;
    if (!g->transformed) transform_filters(g, panel, 0, g->s->c, u, g->plane_u);
    for (long f = 0; f < PLANES; f++)
        gemm_rows(g->count, width_of(g, panel), g->s->c, g->v + f * g->plane_v, g->c, 1, u + f * g->plane_u, NR,
                  m + f * g->plane_m, NR, (epilogue){NULL, 0, LINEAR});
    transform_outputs(g, g->first, g->count, panel * NR, NR, m);
}

static int by_channels(winograd_job *g, long threads) {
    long most = min_l(BLOCK_V / (PLANES * (long)sizeof(REAL) * g->c), BLOCK_M / (PLANES * (long)sizeof(REAL) * NR));
    g->block = div_up(g->tiles, div_up(g->tiles, max_l(most, MR)));
    g->plane_v = plane_of(g->block, g->c);
    g->plane_m = plane_of(g->block, NR);
    g->worker_m = PLANES * g->plane_m;
    if (!g->transformed) g->u = scratch(SCRATCH_WEIGHTS, threads * PLANES * g->plane_u * sizeof(REAL));
    g->v = scratch(SCRATCH_PROJECTED, PLANES * g->plane_v * sizeof(REAL));
    g->m = scratch(SCRATCH_PARTIAL, threads * g->worker_m * sizeof(REAL));
    if (!g->u || !g->v || !g->m) return -1;
    for (g->first = 0; g->first < g->tiles; g->first += g->block) {
        g->count = min_l(g->block, g->tiles - g->first);
        g->share = share_of(g->count, threads);
        pool_for(div_up(g->count, g->share), inputs_item, g);
        pool_for(g->panels, panel_item, g);
    }
    return 0;
}

static const REAL *zero_pixel(long channels) {
    REAL *zeros = scratch(SCRATCH_INPUT, channels * sizeof(REAL));
    if (zeros) memset(zeros, 0, channels * sizeof(REAL));
    return zeros;
}

int winograd_product(const winograd_call *call) {
    winograd_job g = job_of(call->s);
    long threads = pool_size(), bytes = PLANES * (long)sizeof(REAL) * call->s->c * g.k;
    g.in = call->in;
    g.filters = call->filters;
    g.flipped = call->flipped;
    g.u = (REAL *)call->transformed;
    g.transformed = g.u != NULL;
    g.bias = call->bias;
    g.residual = call->residual;
    g.activation = call->activation;
    g.out = call->out;
    g.zeros = zero_pixel(g.c);
    if (!g.zeros) return -1;
    int few = g.tiles < 2 * MR * threads && g.panels >= threads;
    return bytes > FILTER_CACHE || few ? by_channels(&g, threads) : by_tiles(&g, threads);
}

size_t winograd_filters(const conv_shape *s) {
    winograd_job g = job_of(s);
    return (size_t)g.panels * PLANES * g.plane_u;
}

void winograd_transform(const conv_shape *s, const REAL *filters, REAL *transformed) {
    winograd_job g = job_of(s);
    g.filters = filters;
    g.u = transformed;
    transform_all_filters(&g);
}

// ---- gradient of the filters ---------------------------------------------------------------------------------------------

static void transform_gradients(const winograd_job *g, long item) {
    const conv_shape *s = g->s;
    const REAL *pixel[OUTPUT * OUTPUT];
    long image, y0, x0;
    place_of(g, g->first + item, &image, &y0, &x0);
    for (long i = 0; i < OUTPUT; i++)
        for (long j = 0; j < OUTPUT; j++) {
            int inside = y0 + i < s->oh && x0 + j < s->ow;
            pixel[i * OUTPUT + j] = inside ? g->dz + ((image * s->oh + y0 + i) * s->ow + x0 + j) * s->k : g->zeros;
        }
    for (long k = 0; k < s->k; k += LANES) {
        REAL *z = g->z + (k / NR * g->block + item) * NR + k % NR;
        for (int i = 0; i < OUTPUT; i++) prefetch_pixels(pixel + i * OUTPUT, k + OUTPUT * s->k);
        if (k + LANES <= s->k) gradient_tile(pixel, k, 0, z, g->plane_z);
        else gradient_tile(pixel, k, s->k - k, z, g->plane_z);
    }
}

static void gradients_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    (void)worker;
    long first = item * g->share, end = min_l(first + g->share, g->count);
    for (long t = first; t < end; t++) transform_inputs(g, g->first + t, g->v + t * g->c);
    for (long t = first; t < end; t++) transform_gradients(g, t);
}

static void sums_item(void *job, long item, int worker) {
    const winograd_job *g = job;
    const conv_shape *s = g->s;
    long panel = item / g->pieces, c0 = item % g->pieces * g->piece, channels = min_l(g->piece, s->c - c0);
    REAL *sums = g->m + worker * g->worker_m;
    for (long f = 0; f < PLANES; f++)
        for (long t = 0; t < g->count; t += SUM_TILES)
            gemm_rows(channels, width_of(g, panel), min_l(SUM_TILES, g->count - t),
                      g->v + f * g->plane_v + t * g->c + c0, 1, g->c,
                      g->z + f * g->plane_z + (panel * g->block + t) * NR, NR, sums + f * g->plane_m, NR,
                      (epilogue){NULL, t > 0, LINEAR});
    int add = g->accumulate || g->first;
    for (long c = 0; c < channels; c++)
        for (long k = panel * NR, end = min_l(k + NR, s->k), h = 0; k < end; k += LANES, h += LANES) {
            REAL *dw = g->out + (c0 + c) * s->k + k;
            for (int i = 0; i < 9; i++) __builtin_prefetch(dw + AHEAD * s->k + i * s->c * s->k, 1);
            if (k + LANES <= end) filter_gradient_tile(sums + c * NR + h, g->plane_m, add, dw, s->c * s->k, 0);
            else filter_gradient_tile(sums + c * NR + h, g->plane_m, add, dw, s->c * s->k, end - k);
        }
}

int winograd_filter_gradient(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, int accumulate) {
    winograd_job g = job_of(s);
    long threads = pool_size(), bytes = PLANES * (long)sizeof(REAL) * (g.c + g.k);
    g.in = x;
    g.dz = dz;
    g.out = dw;
    g.accumulate = accumulate;
    long most = max_l(max_l(BLOCK_VZ / bytes, min_l(SUM_TILES, MOST_VZ / bytes)), 1);
    g.block = div_up(g.tiles, div_up(g.tiles, most));
    g.pieces = max_l(div_up(s->c, SUM_CHANNELS), min_l(div_up(2 * threads, g.panels), div_up(s->c, MR)));
    g.piece = div_up(s->c, g.pieces);
    g.pieces = div_up(s->c, g.piece);
    g.plane_v = plane_of(g.block, g.c);
    g.plane_z = plane_of(g.block, g.k);
    g.plane_m = plane_of(g.piece, NR);
    g.worker_m = PLANES * g.plane_m;
    g.zeros = zero_pixel(max_l(g.c, g.k));
    g.v = scratch(SCRATCH_PROJECTED, PLANES * (g.plane_v + g.plane_z) * sizeof(REAL));
    g.m = scratch(SCRATCH_PARTIAL, threads * g.worker_m * sizeof(REAL));
    if (!g.zeros || !g.v || !g.m) return -1;
    g.z = g.v + PLANES * g.plane_v;
    for (g.first = 0; g.first < g.tiles; g.first += g.block) {
        g.count = min_l(g.block, g.tiles - g.first);
        g.share = share_of(g.count, threads);
        pool_for(div_up(g.count, g.share), gradients_item, &g);
        pool_for(g.panels * g.pieces, sums_item, &g);
    }
    return 0;
}

// ---- the choice ----------------------------------------------------------------------------------------------------------

// In multiply-adds per input and output channel, the direct way takes 9 per pixel. Here a tile takes 36, a third more than
// that for what a shorter sum and M cost, and its transforms, which weigh less the more channels share them; the filters
// take as much as 5 tiles. So images that fill their tiles badly (2x2, 5x5) and single small ones stay direct. The
// constants are fitted to times on AVX2 and AVX-512; a gain of a fifth is asked for, as accuracy pays for it.
int winograd_wins(const conv_shape *s, int prepared) {
    if (s->c < 16 || s->k < 16) return 0;
    double pixels = (double)s->n * s->oh * s->ow, tiles = (double)s->n * div_up(s->oh, OUTPUT) * div_up(s->ow, OUTPUT);
    double per_tile = 4.0 / 3 + 5.0 / s->c + 5.0 / s->k;
    return 9 * pixels > 1.2 * PLANES * (tiles * per_tile + (prepared ? 0 : 5));
}
#endif
