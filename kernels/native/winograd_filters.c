// The gradient of the filters by Winograd's transforms; winograd.c tells what these are, and what ways there are.
//
//     dW = Gt [ sum over tiles of (Bt d B) . (A dY At) ] G
//
// V[f][tile][c] are the transformed inputs, as there, in pieces of channels; Z[f][panel][tile][NR] the transformed gradients
// of the outputs. V and Z of a block of tiles come first; then, for each panel of output channels and piece of input channels,
// their products are summed over the tiles and the sums transformed back. Ranges of tiles, each an item with a dw of its own,
// keep V and Z of two threads apart, and are added at the end. An element of a product is one sum in the order of the tiles,
// and ranges do not depend on the threads, so threads do not change a bit of it.
//
// What helped, measured on two cores of a Zen 4 where nothing else is said:
//     ranges of tiles     64 to 128 channels 1.05 to 1.2 times; cores without a common L3 1.5 to 2.3 times
//     gradients of large filters stored past the caches     512 channels on 4x4 images 1.05 to 1.13 times
//     V and Z of a block in 1.2 MB and not 2.4, and all output channels for a piece of the input channels, whose V stays in
//     L2, not the reverse     Granite Rapids: 64 channels 1.2 times, 128 to 512 1.03 to 1.1
// Without gain: dw written tap after tap (0.97).
#include "winograd.h"
#if REAL_BITS == 32
#include "arena.h"
#include "flat.h"
#include "winograd_parts.h"

enum {
    BLOCK_VZ = 1200 << 10,  // bytes of V and Z of a block
    MOST_VZ = 32 << 20,     // however few tiles that gives
    RANGES = 16,            // of tiles at most: each has a dw of its own
    MOST_SUMS = 32 << 20,   // bytes of those
    SUM_TILES = 96,         // tiles per pass over the sums of an item: their V and Z stay in L1
    SUM_CHANNELS = 64,      // input channels of an item: its sums stay in L2
    AHEAD = 4,              // channels from the prefetch of a tap of dw to its use
    PAST_FILTERS = 4 << 20, // bytes of filters from which their gradients are stored past the caches
};

INLINE void gradients_of_tile(const int way, const winograd_job *g, long item) {
    const conv_shape *s = g->s;
    const int out = outputs_of(way);
    const REAL *pixel[MOST_OUTPUTS * MOST_OUTPUTS];
    long image, y0, x0;
    place_of(way, g, g->first + item, &image, &y0, &x0);
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

static void transform_gradients(const winograd_job *g, long item) { IN_WAY_BUT_SIX(g->way, gradients_of_tile, g, item); }

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
INLINE void filter_gradients_of(const int way, const winograd_job *g, long channels, long columns, const REAL *sums,
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
    IN_WAY_BUT_SIX(g->way, filter_gradients_of, g, channels, columns, sums, tap);
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
#endif
