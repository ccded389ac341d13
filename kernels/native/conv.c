// Convolution without a column matrix.
//
// The plain version is seven loops, or im2col and a GEMM, which writes and reads a matrix kh kw times the size of the
// image. But in NHWC what one output pixel reads is a handful of contiguous runs:
//     many channels     kh kw runs of C floats, one per tap; a tap outside the image points at zeros
//     few channels      kh runs of kw C floats, from a copy of the image with its padding written out
// so a register tile takes a few output pixels at once, broadcasts from their runs in place, and multiplies by a packed
// panel of filters. The pixels of a tile need not be neighbours, hence no row is cut short: a table holds their
// addresses, built once per block of pixels and used for all output channels.
//
//     item = group x block of pixels x some panels of NR output channels      (shared out to the threads)
//       chunk of runs (CHUNK bytes of filters, which stay in L2)
//         panel of filters, tile of pixels, runs, channels
//
// The gradient of the input is the same product. dx at y collects taps u with (y + top - u dh) divisible by sh: the
// rows and columns of dx of one phase, y mod sh and x mod sw, form a convolution of dz of stride 1 with a subset of
// the flipped taps (`axis` below describes both directions); stride 1 is a single phase, and no two writes meet.
//
// The gradient of the filters is a product over pixels: dw[tap, c][k] = sum of x[pixel + tap][c] dz[pixel][k], again
// on operands in place; blocks of pixels small enough for L1 pass through all tiles of dw. Partial sums, in an order that
// does not depend on the threads, keep the threads apart and the float sums short.
//
// A depthwise filter has no product in it: vectors of channels, four pixels at a time to share the loads of the taps.
//
// Where the image has few channels the gradient of the input takes columns after all, a row of dz at a time in L2.
//
// A 3x3 filter of stride 1 with many channels, in float32, goes through Winograd's transform instead where that is
// faster: winograd.c, which says when.
//
// Each direction takes 2 N OH OW kh kw (C / groups) K flops and reads and writes each array about once.
#include "conv.h"
#include "arena.h"
#include "columns.h"
#include "conv_few.h"
#include "gemm.h"
#include "threads.h"
#include "winograd.h"
#include <string.h>

#if defined(__AVX512F__)
enum { ROWS1 = 14, TILES = 8 };
#else
enum { ROWS1 = 12, TILES = 16 }; // rows of a tile one vector wide; tiles of a block of pixels
#endif
enum {
    CHUNK = 64 << 10,        // bytes of a panel of filters between two visits of a tile
    FEW = 16,                // channels below which the runs of neighbouring taps are joined
    CHANNELS = 512,          // the longest run
    PLACES = 24 << 10,       // addresses in the table of one block
    FILTER_PIXELS = 192,     // pixels of a block in the gradient of the filters
    PARTIAL_BYTES = 2 << 20, // of partial sums there, beyond one set
    PARTIALS = 16,
    SHARES = 16,             // items to make at least
};

// ---- the tile: mr rows by one or two vectors -------------------------------------------------------------------------

typedef struct {
    long runs, len;
    const REAL *const *from; // where row i starts: from[run * places + i] + offset + run * run_step
    long places, offset, run_step;
    const REAL *b; // one row of b per element of a run
    long nr;       // columns of the result
    REAL *const *to;
    long column; // row i goes to to[i] + column
    const REAL *bias; // what the sum starts from; NULL: from what the result holds
    int relu;
    // Gradient of the filters only: strides of a run and of b, what b skips after a run; the same for several images.
    long a_step, ldb, b_run_step, images, image_step, b_image_step;
} tile_job;

enum tile_kind { OUTPUTS, FILTERS, ADJACENT_FILTERS };

INLINE void tile_of(const int mr, const int nv, const enum tile_kind kind, const tile_job *t) {
    vec acc[ROWS1][2];
    const long step = kind == OUTPUTS ? 1 : t->a_step, ldb = kind == OUTPUTS ? nv * LANES : t->ldb;
    const long column = t->column, part = t->nr < nv * LANES ? t->nr - (nv - 1) * LANES : 0;
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            if (t->bias) acc[i][j] = load(t->bias + j * LANES);
            else if (j == nv - 1 && part) acc[i][j] = load_part(t->to[i] + column + j * LANES, part);
            else acc[i][j] = load(t->to[i] + column + j * LANES);
    const REAL *const *from = t->from, *b = t->b;
    long start = t->offset, len = t->len, images = kind == OUTPUTS ? 1 : t->images;
    for (; images > 0; images--) {
        long offset = start;
        for (long run = t->runs; run > 0; run--, from += t->places, offset += t->run_step) {
            const REAL *a[ROWS1];
#pragma GCC unroll 14
            for (int i = 0; i < mr; i++) a[i] = kind == ADJACENT_FILTERS ? from[0] + offset + i : from[i] + offset;
#pragma GCC unroll 4
            for (long k = 0, at = 0; k < len; k++, at += step, b += ldb) {
                vec b0 = load(b), b1 = nv > 1 ? load(b + LANES) : b0;
#pragma GCC unroll 14
                for (int i = 0; i < mr; i++) {
                    vec x = splat(a[i][at]);
                    acc[i][0] += x * b0;
                    if (nv > 1) acc[i][1] += x * b1;
                }
            }
            if (kind != OUTPUTS) b += t->b_run_step;
        }
        if (kind != OUTPUTS) start += t->image_step, b += t->b_image_step;
    }
    if (t->relu) {
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) acc[i][j] = vmax((vec){0}, acc[i][j]);
    }
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            if (j == nv - 1 && part) store_part(t->to[i] + column + j * LANES, acc[i][j], part);
            else store(t->to[i] + column + j * LANES, acc[i][j]);
}

// Not inlined, so that the addresses of the rows stay in registers.
#define ROWS(n, nv, kind)                                                                                              \
    case n:                                                                                                            \
        tile_of(n, nv, kind, t);                                                                                       \
        break;
#define SIX_ROWS(nv, kind)                                                                                             \
    ROWS(1, nv, kind) ROWS(2, nv, kind) ROWS(3, nv, kind) ROWS(4, nv, kind) ROWS(5, nv, kind) ROWS(6, nv, kind)
#define TWELVE_ROWS(nv, kind)                                                                                          \
    SIX_ROWS(nv, kind)                                                                                                 \
    ROWS(7, nv, kind) ROWS(8, nv, kind) ROWS(9, nv, kind) ROWS(10, nv, kind) ROWS(11, nv, kind) ROWS(12, nv, kind)
#define ALL_ROWS(nv, kind) TWELVE_ROWS(nv, kind) ROWS(13, nv, kind) ROWS(14, nv, kind)
#if defined(__AVX512F__)
#define ROWS_OF_1(kind) ALL_ROWS(1, kind)
#define ROWS_OF_2(kind) ALL_ROWS(2, kind)
#else
#define ROWS_OF_1(kind) TWELVE_ROWS(1, kind)
#define ROWS_OF_2(kind) SIX_ROWS(2, kind)
#endif
#define TILE(name, rows, kind)                                                                                         \
    static NOINLINE void name(long mr, const tile_job *t) {                                                            \
        switch (mr) { rows(kind) }                                                                                     \
    }
TILE(outputs_1, ROWS_OF_1, OUTPUTS)
TILE(outputs_2, ROWS_OF_2, OUTPUTS)
TILE(filters_1, ROWS_OF_1, FILTERS)
TILE(filters_2, ROWS_OF_2, FILTERS)
TILE(adjacent_filters_1, ROWS_OF_1, ADJACENT_FILTERS)
TILE(adjacent_filters_2, ROWS_OF_2, ADJACENT_FILTERS)

// Panels of columns: NR wide, the last one LANES if that is enough.
INLINE long columns_of(long panel, long n) { return min_l(NR, n - panel * NR); }
INLINE long width_of(long columns) { return columns > LANES ? NR : LANES; }
INLINE long tile_rows(long n) { return n > LANES ? MR : ROWS1; }

// ---- one axis of a convolution, in either direction ---------------------------------------------------------------------

// Output o, which lies at place + o * pace, meets through tap i the input at o * stride + offset + i * spacing; tap i is
// row first + i * step of the filter.
typedef struct {
    long outputs, place, pace, stride, offset, taps, spacing, first, step;
} axis;

static axis forward_axis(long outputs, long kernel, long stride, long pad, long dilation) {
    return (axis){outputs, 0, 1, stride, -pad, kernel, dilation, 0, 1};
}

static long common_divisor(long a, long b) {
    for (long r; b; a = b, b = r) r = a % b;
    return a;
}

// What the inputs phase, phase + stride, ... of a forward axis of `length` receive. Taps in descending order, so that
// the places they meet ascend.
static axis phase_axis(long length, long phase, long kernel, long stride, long pad, long dilation) {
    long period = stride / common_divisor(stride, dilation), u = 0;
    axis a = {length > phase ? div_up(length - phase, stride) : 0, phase, stride, 1, 0, 0, 1, 0, 0};
    while (u < kernel && u < period && (phase + pad - u * dilation) % stride) u++;
    if (u == kernel || u == period) return a;
    a.taps = (kernel - 1 - u) / period + 1;
    a.first = u + (a.taps - 1) * period;
    a.step = -period;
    a.offset = (phase + pad - a.first * dilation) / stride;
    a.spacing = dilation * period / stride;
    return a;
}

// The places that an axis reads, and at least 0 ... length.
static void extent(const axis *a, long length, long *low, long *high) {
    *low = min_l(0, a->offset);
    *high = max_l(length, (a->outputs - 1) * a->stride + a->offset + (a->taps - 1) * a->spacing + 1);
}

// ---- images with their padding written out ------------------------------------------------------------------------------

typedef struct {
    const REAL *in;
    REAL *out;
    long h, w, ld, top, left, tall, wide; // wide, tall: the padded image in floats and rows
} padding_job;

static void pad_row(void *job, long item, int worker) {
    const padding_job *g = job;
    (void)worker;
    long y = item % g->tall - g->top, before = g->left * g->ld, row = g->w * g->ld;
    REAL *out = g->out + item * g->wide;
    if (y < 0 || y >= g->h) {
        memset(out, 0, (size_t)g->wide * sizeof(REAL));
        return;
    }
    memset(out, 0, (size_t)before * sizeof(REAL));
    memcpy(out + before, g->in + (item / g->tall * g->h + y) * row, (size_t)row * sizeof(REAL));
    memset(out + before + row, 0, (size_t)(g->wide - before - row) * sizeof(REAL));
}

// ---- the product: forward, and each phase of the gradient of the input -------------------------------------------------

typedef struct {
    axis y, x;
    long n, h, w;            // images read
    long c, k, groups;       // channels read and written, per group
    long out_h, out_w;
    const REAL *in, *filters, *bias;
    REAL *out;
    long row, tap, group, rs, cs; // strides of the filters: row of taps, tap, group, channel read and channel written
    int activation;
    // derived
    int joined;                          // runs of x.taps * c floats from images of `tall` rows of `wide` floats
    long runs, len, tall, wide, origin;  // origin: where in a padded image tap (0, 0) of output (0, 0) lies
    long rows, tiles, panels, panel_size, pixels, block, blocks, share, parts;
    const REAL *zeros;
    REAL *packed, *packed_bias;
    const REAL **places;
    size_t table;
} product;

// out[k][width] from columns strides (rs, cs) apart, filled up with zeros.
static void pack_panel(long k, long columns, long width, const REAL *b, long rs, long cs, REAL *out) {
    enum { STRIP = 32 };
    if (cs == 1) {
        for (long p = 0; p < k; p++, b += rs, out += width) {
            long q = 0;
            for (; q + LANES <= columns; q += LANES) store(out + q, load(b + q));
            if (q < width) store(out + q, load_part(b + q, columns - q));
            if (q + LANES < width) store(out + q + LANES, (vec){0});
        }
        return;
    }
    for (long p0 = 0; p0 < k; p0 += STRIP)
        for (long q = 0; q < width; q++)
            for (long p = p0, end = min_l(p0 + STRIP, k); p < end; p++)
                out[p * width + q] = q < columns ? b[p * rs + q * cs] : 0;
}

INLINE long channel_block(const product *g) {
    return g->joined || g->c <= CHANNELS ? max_l(g->c, 1) : div_up(g->c, div_up(g->c, CHANNELS));
}

// packed[group][panel][block of channels][tap][channel][width]
static void pack_item(void *job, long item, int worker) {
    const product *g = job;
    (void)worker;
    long panel = item % g->panels, group = item / g->panels, columns = columns_of(panel, g->k), width = width_of(columns);
    REAL *out = g->packed + item * g->panel_size, *bias = g->packed_bias + item * NR;
    for (long j = 0; j < NR; j++) bias[j] = g->bias && j < columns ? g->bias[group * g->k + panel * NR + j] : 0;
    for (long c0 = 0, step = channel_block(g); c0 < g->c; c0 += step)
        for (long u = 0; u < g->y.taps; u++)
            for (long v = 0; v < g->x.taps; v++) {
                const REAL *tap = g->filters + (g->y.first + u * g->y.step) * g->row + (g->x.first + v * g->x.step) * g->tap;
                long channels = min_l(step, g->c - c0);
                pack_panel(channels, columns, width, tap + group * g->group + c0 * g->rs + panel * NR * g->cs, g->rs, g->cs, out);
                out += channels * width;
            }
}

// Fills the table for the pixels p0 ... p1 and says how many rows each tile has.
static long tabulate(const product *g, long group, long p0, long p1, const REAL **from, REAL **to, long *mr) {
    const axis *ya = &g->y, *xa = &g->x;
    long tiles = div_up(p1 - p0, g->rows), ld = g->c * g->groups, image = p0 / (ya->outputs * xa->outputs);
    long oy = p0 / xa->outputs % ya->outputs, ox = p0 % xa->outputs;
    for (long q = 0, p = p0; q < tiles; q++) {
        mr[q] = div_up(p1 - p, tiles - q);
        for (long i = 0; i < mr[q]; i++, p++) {
            long y = oy * ya->stride, x = ox * xa->stride;
            to[q * g->rows + i] = g->out + group * g->k +
                ((image * g->out_h + ya->place + oy * ya->pace) * g->out_w + xa->place + ox * xa->pace) * g->k * g->groups;
            if (g->joined) from[q * g->rows + i] = g->in + (image * g->tall + y) * g->wide + x * ld + g->origin;
            else {
                const REAL **place = from + q * g->runs * g->rows + i;
                for (long u = 0, iy = y + ya->offset; u < ya->taps; u++, iy += ya->spacing) {
                    int inside = iy >= 0 && iy < g->h;
                    const REAL *row = g->in + (inside ? (image * g->h + iy) * g->w * ld + group * g->c : 0);
                    for (long v = 0, ix = x + xa->offset; v < xa->taps; v++, ix += xa->spacing, place += g->rows)
                        *place = inside && ix >= 0 && ix < g->w ? row + ix * ld : g->zeros;
                }
            }
            if (++ox == xa->outputs) {
                ox = 0;
                if (++oy == ya->outputs) oy = 0, image++;
            }
        }
    }
    return tiles;
}

static void product_item(void *job, long item, int worker) {
    const product *g = job;
    long part = item % g->parts, block = item / g->parts % g->blocks, group = item / g->parts / g->blocks;
    long p0 = block * g->block, p1 = min_l(p0 + g->block, g->pixels), mr[TILES];
    const REAL **from = g->places + (size_t)worker * g->table;
    REAL **to = (REAL **)(from + (g->joined ? 1 : g->runs) * g->tiles * g->rows);
    long tiles = tabulate(g, group, p0, p1, from, to, mr);
    long per_tile = g->joined ? g->rows : g->runs * g->rows, all = g->joined ? g->len : g->c;
    long step = g->joined ? max_l(g->len, 1) : channel_block(g), c0 = 0;
    do { // at least once, so that an empty sum is written too
        long len = min_l(step, all - c0), chunk = max_l(1, CHUNK / (max_l(len, 1) * NR * (long)sizeof(REAL))), r0 = 0;
        do {
            long runs = min_l(chunk, g->runs - r0);
            int first = !c0 && !r0, last = c0 + step >= all && r0 + chunk >= g->runs;
            for (long panel = part * g->share, end = min_l(panel + g->share, g->panels); panel < end; panel++) {
                long columns = columns_of(panel, g->k), width = width_of(columns), at = group * g->panels + panel;
                tile_job t = {.runs = runs, .len = len, .offset = c0, .nr = columns, .column = panel * NR};
                t.b = g->packed + at * g->panel_size + (c0 * g->runs + r0 * len) * width;
                t.bias = first ? g->packed_bias + at * NR : NULL;
                t.relu = last && g->activation == RELU;
                t.places = g->joined ? 0 : g->rows;
                t.run_step = g->joined ? g->wide * g->y.spacing : 0;
                if (g->joined) t.offset = r0 * t.run_step;
                for (long q = 0; q < tiles; q++) {
                    t.from = from + q * per_tile + (g->joined ? 0 : r0 * g->rows);
                    t.to = to + q * g->rows;
                    (width > LANES ? outputs_2 : outputs_1)(mr[q], &t);
                    if (last && g->activation > RELU)
                        for (long i = 0; i < mr[q]; i++)
                            apply_activation(1, columns, t.to[i] + t.column, 0, g->activation);
                }
            }
            r0 += chunk;
        } while (r0 < g->runs);
        c0 += step;
    } while (c0 < all);
}

static int multiply(product *g) {
    g->pixels = g->n * g->y.outputs * g->x.outputs;
    if (!g->pixels || !g->k) return 0;
    long ld = g->c * g->groups, threads = pool_size(), taps = g->y.taps * g->x.taps;
    long low_y, low_x, high_y, high_x;
    extent(&g->y, g->h, &low_y, &high_y);
    extent(&g->x, g->w, &low_x, &high_x);
    g->joined = g->c < FEW && g->groups == 1 && taps && g->c && (g->x.spacing == 1 || g->x.taps == 1);
    g->runs = g->joined ? g->y.taps : taps;
    g->len = g->joined ? g->x.taps * g->c : g->c;
    g->tall = high_y - low_y;
    g->wide = (high_x - low_x) * ld;
    g->origin = (g->y.offset - low_y) * g->wide + (g->x.offset - low_x) * ld;
    int copied = g->joined && (g->tall != g->h || g->wide != g->w * ld);

    g->rows = tile_rows(g->k);
    g->tiles = g->joined ? TILES : max_l(1, min_l(TILES, PLACES / (max_l(g->runs, 1) * g->rows)));
    g->blocks = div_up(g->pixels, g->tiles * g->rows);
    g->block = round_up(div_up(g->pixels, g->blocks), g->rows);
    g->blocks = div_up(g->pixels, g->block);
    g->panels = div_up(g->k, NR);
    g->parts = min_l(g->panels, div_up(4 * threads, g->blocks * g->groups));
    g->share = div_up(g->panels, g->parts);
    g->parts = div_up(g->panels, g->share);
    g->table = (size_t)((g->joined ? 1 : g->runs) + 1) * g->tiles * g->rows;

    g->panel_size = taps * g->c * NR;
    g->packed = scratch(SCRATCH_WEIGHTS, (size_t)g->groups * g->panels * (g->panel_size + NR) * sizeof(REAL));
    size_t zeros = (size_t)round_up(g->c, NR), copy = copied ? (size_t)g->n * g->tall * round_up(g->wide, 1) : 0;
    copy = (copy + NR - 1) / NR * NR;
    REAL *input = scratch(SCRATCH_INPUT, (zeros + copy) * sizeof(REAL) + threads * g->table * sizeof(REAL *));
    if (!g->packed || !input) return -1;
    g->packed_bias = g->packed + g->groups * g->panels * g->panel_size;
    memset(input, 0, zeros * sizeof(REAL));
    g->zeros = input;
    g->places = (const REAL **)(input + zeros + copy);
    if (copied) {
        padding_job p = {g->in, input + zeros, g->h, g->w, ld, -low_y, -low_x, g->tall, g->wide};
        pool_for(g->n * g->tall, pad_row, &p);
        g->in = p.out;
    }
    pool_for(g->groups * g->panels, pack_item, g);
    pool_for(g->groups * g->blocks * g->parts, product_item, g);
    return 0;
}

// ---- gradient of the input for few channels: columns, scattered ---------------------------------------------------------

// With C small a vector of channels of dx would be mostly empty. There a row of dz makes its columns, dz wT, whose vectors
// run over taps and channels alike, and adds them to the rows of the image that they came from. Each item owns a band of
// rows of dx and computes every row of dz that reaches it.
typedef struct {
    const conv_shape *s;
    const REAL *dz, *packed;
    REAL *dx, *room; // per worker: the columns of a row of dz, the band with its padding
    axis x;          // of the forward direction
    long columns, low, wide, band, bands;
    size_t room_size;
} scatter_job;

INLINE void add_run(long n, const REAL *from, REAL *to) {
    long i = 0;
    for (; i + LANES <= n; i += LANES) store(to + i, load(to + i) + load(from + i));
    if (i < n) store_part(to + i, load_part(to + i, n - i) + load_part(from + i, n - i), n - i);
}

static void scatter_item(void *job, long item, int worker) {
    const scatter_job *g = job;
    const conv_shape *s = g->s;
    long image = item / g->bands, y0 = item % g->bands * g->band, y1 = min_l(y0 + g->band, s->h);
    REAL *columns = g->room + worker * g->room_size, *band = columns + s->ow * g->columns;
    int joined = s->dw == 1;
    long runs = joined ? 1 : s->kw, run = joined ? s->kw * s->c : s->c;
    memset(band, 0, (size_t)((y1 - y0) * g->wide) * sizeof(REAL));
    for (long oy = 0; oy < s->oh; oy++) {
        long from = oy * s->sh - s->top;
        if (from >= y1 || from + (s->kh - 1) * s->dh < y0) continue;
        const REAL *dz = g->dz + (image * s->oh + oy) * s->ow * s->k;
        for (long j = 0; j < g->columns; j += NR)
            gemm_rows(s->ow, min_l(NR, g->columns - j), s->k, dz, s->k, 1, g->packed + j * s->k, NR, columns + j, g->columns,
                      (epilogue){NULL, 0, LINEAR});
        for (long u = 0; u < s->kh; u++) {
            long y = from + u * s->dh;
            if (y < y0 || y >= y1) continue;
            for (long ox = 0; ox < s->ow; ox++) {
                const REAL *column = columns + ox * g->columns + u * s->kw * s->c;
                REAL *to = band + (y - y0) * g->wide + (ox * s->sw + g->x.offset - g->low) * s->c;
                for (long v = 0; v < runs; v++) add_run(run, column + v * run, to + v * s->dw * s->c);
            }
        }
    }
    for (long y = y0; y < y1; y++)
        memcpy(g->dx + (image * s->h + y) * s->w * s->c, band + (y - y0) * g->wide - g->low * s->c,
               (size_t)(s->w * s->c) * sizeof(REAL));
}

static int scatter_columns(const conv_shape *s, const REAL *dz, const REAL *w, REAL *dx) {
    scatter_job g = {.s = s, .dz = dz, .dx = dx, .columns = s->kh * s->kw * s->c};
    g.x = forward_axis(s->ow, s->kw, s->sw, s->left, s->dw);
    long high, threads = pool_size();
    extent(&g.x, s->w, &g.low, &high);
    g.wide = (high - g.low) * s->c;
    g.bands = s->n >= 2 * threads ? 1 : min_l(div_up(2 * threads, s->n), div_up(s->h, s->kh * s->dh));
    g.band = div_up(s->h, g.bands);
    g.bands = div_up(s->h, g.band);
    g.room_size = (size_t)(s->ow * g.columns + g.band * g.wide);
    REAL *packed = scratch(SCRATCH_WEIGHTS, (size_t)(round_up(g.columns, NR) * s->k) * sizeof(REAL));
    g.room = scratch(SCRATCH_INPUT, threads * g.room_size * sizeof(REAL));
    if (!packed || !g.room) return -1;
    pack_columns(s->k, g.columns, w, 1, s->k, packed);
    g.packed = packed;
    pool_for(s->n * g.bands, scatter_item, &g);
    return 0;
}

// ---- depthwise: output channel k reads channel k / multiplier ----------------------------------------------------------

enum { EXPANDED = 64, ROW_BYTES = 32 << 10 }; // channels at a time where the multiplier is above 1; work of an item

INLINE vec load_some(const REAL *p, long part) { return part ? load_part(p, part) : load(p); }
INLINE void store_some(REAL *p, vec v, long part) {
    if (part) store_part(p, v, part);
    else store(p, v);
}

// x[pixel][c] written `multiplier` times side by side.
static void expand(long pixels, long channels, long multiplier, const REAL *x, long ld, REAL *out) {
    for (long p = 0; p < pixels; p++, x += ld)
        for (long c = 0; c < channels; c++)
            for (long j = 0; j < multiplier; j++) *out++ = x[c];
}

typedef struct {
    const REAL *const *rows; // per row of taps; NULL outside the image
    long step, spacing;      // floats between the inputs of two outputs, of two taps
    const REAL *w, *bias;
    long w_row, w_tap, out_step;
    int relu;
} strip_job;

// px outputs by nv vectors (or the first `part` lanes of one) at channel c; v0 ... v1: taps inside the image.
INLINE void strip(const int px, const int nv, const strip_job *s, long taps_y, long v0, long v1, long at, long c, long part,
                  REAL *out) {
    vec acc[4][2];
#pragma GCC unroll 4
    for (int i = 0; i < px; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) acc[i][j] = s->bias ? load_some(s->bias + c + j * LANES, part) : (vec){0};
    for (long u = 0; u < taps_y; u++) {
        if (!s->rows[u]) continue;
        for (long v = v0; v < v1; v++) {
            const REAL *x = s->rows[u] + at + v * s->spacing + c, *w = s->w + u * s->w_row + v * s->w_tap + c;
            vec w0 = load_some(w, part), w1 = nv > 1 ? load(w + LANES) : w0;
#pragma GCC unroll 4
            for (int i = 0; i < px; i++) {
                acc[i][0] += load_some(x + i * s->step, part) * w0;
                if (nv > 1) acc[i][1] += load(x + i * s->step + LANES) * w1;
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < px; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            store_some(out + i * s->out_step + j * LANES, s->relu ? vmax((vec){0}, acc[i][j]) : acc[i][j], part);
}

// The taps of an axis that lie inside the input for output o.
INLINE void taps_inside(const axis *a, long length, long o, long *low, long *high) {
    long at = o * a->stride + a->offset;
    *low = at >= 0 ? 0 : min_l(a->taps, div_up(-at, a->spacing));
    *high = at >= length ? 0 : min_l(a->taps, (length - 1 - at) / a->spacing + 1);
    *high = max_l(*high, *low);
}

// The outputs for which `tap` lies inside the input.
INLINE void outputs_inside(const axis *a, long length, long tap, long *low, long *high) {
    long at = a->offset + tap * a->spacing;
    *low = at >= 0 ? 0 : min_l(a->outputs, div_up(-at, a->stride));
    *high = at >= length ? 0 : min_l(a->outputs, (length - 1 - at) / a->stride + 1);
    *high = max_l(*high, *low);
}

static void depthwise_columns(const product *g, const strip_job *s, long ld, long c, long part, int nv, REAL *out) {
    long inner0 = g->x.outputs, inner1 = 0, last; // outputs with all taps inside the image
    if (g->x.taps) {
        outputs_inside(&g->x, g->w, 0, &inner0, &last);
        outputs_inside(&g->x, g->w, g->x.taps - 1, &last, &inner1);
        if (last > inner0) inner0 = last;
    }
    for (long o = 0; o < g->x.outputs;) {
        long at = (o * g->x.stride + g->x.offset) * ld, v0 = 0, v1 = g->x.taps;
        REAL *to = out + o * s->out_step;
        if (o >= inner0 && o + 4 <= inner1) {
            if (nv == 2) strip(4, 2, s, g->y.taps, 0, v1, at, c, 0, to);
            else if (!part) strip(4, 1, s, g->y.taps, 0, v1, at, c, 0, to);
            else strip(4, 1, s, g->y.taps, 0, v1, at, c, part, to);
            o += 4;
            continue;
        }
        taps_inside(&g->x, g->w, o, &v0, &v1);
        if (nv == 2) strip(1, 2, s, g->y.taps, v0, v1, at, c, 0, to);
        else strip(1, 1, s, g->y.taps, v0, v1, at, c, part, to);
        o++;
    }
}

typedef struct {
    product g;
    long multiplier, channels, channel_blocks; // output channels at a time
    int folded;                                // the multiplier's channels of the result are summed: gradient of the input
    long rows, chunks;                         // rows per item, items per image
    REAL *room;                                // per worker: expanded inputs or an unfolded result, and row pointers
    size_t room_size;
} depthwise_job;

static void depthwise_item(void *job, long item, int worker) {
    const depthwise_job *d = job;
    const product *g = &d->g;
    long m = d->multiplier, k = d->channels, total = g->k, c0 = item % d->channel_blocks * k, cn = min_l(k, total - c0);
    long image = item / d->channel_blocks / d->chunks, y0 = item / d->channel_blocks % d->chunks * d->rows;
    const REAL **rows = (const REAL **)(d->room + (size_t)worker * d->room_size);
    REAL *room = (REAL *)(rows + round_up(g->y.taps, 16));
    int expanded = m > 1 && !d->folded, fold = m > 1 && d->folded;
    long in_channels = d->folded ? total : total / m, ld = expanded ? cn : in_channels;
    for (long o = y0, end = min_l(y0 + d->rows, g->y.outputs); o < end; o++) {
        for (long u = 0; u < g->y.taps; u++) {
            long y = o * g->y.stride + g->y.offset + u * g->y.spacing;
            rows[u] = NULL;
            if (y < 0 || y >= g->h) continue;
            const REAL *row = g->in + (image * g->h + y) * g->w * in_channels + c0 / (expanded ? m : 1);
            rows[u] = row;
            if (expanded) {
                REAL *wider = room + u * g->w * k;
                expand(g->w, cn / m, m, row, in_channels, wider);
                rows[u] = wider;
            }
        }
        long out_channels = d->folded ? total / m : total;
        REAL *out = g->out + ((image * g->out_h + g->y.place + o * g->y.pace) * g->out_w + g->x.place) * out_channels +
                    (fold ? c0 / m : c0);
        REAL *target = fold ? room : out;
        strip_job s = {rows, g->x.stride * ld, g->x.spacing * ld, g->filters + g->y.first * g->row + g->x.first * g->tap + c0,
                       g->bias ? g->bias + c0 : NULL, g->y.step * g->row, g->x.step * g->tap,
                       fold ? cn : g->x.pace * out_channels, g->activation == RELU};
        long c = 0;
        for (; c + 2 * LANES <= cn; c += 2 * LANES) depthwise_columns(g, &s, ld, c, 0, 2, target + c);
        for (; c + LANES <= cn; c += LANES) depthwise_columns(g, &s, ld, c, 0, 1, target + c);
        if (c < cn) depthwise_columns(g, &s, ld, c, cn - c, 1, target + c);
        if (g->activation > RELU) apply_activation(g->x.outputs, cn, out, out_channels, g->activation);
        if (fold)
            for (long x = 0; x < g->x.outputs; x++)
                for (long j = 0; j < cn / m; j++) {
                    REAL sum = 0;
                    for (long i = 0; i < m; i++) sum += room[x * cn + j * m + i];
                    out[x * g->x.pace * out_channels + j] = sum;
                }
    }
}

// g->k: all output channels of the forward direction; g->groups the channels of the image.
static int depthwise(const product *g, int folded) {
    if (!g->n || !g->y.outputs || !g->x.outputs || !g->k) return 0;
    depthwise_job d = {.g = *g, .multiplier = g->k / g->groups, .folded = folded};
    d.channels = d.multiplier > 1 ? d.multiplier * max_l(1, EXPANDED / d.multiplier) : g->k;
    d.channel_blocks = div_up(g->k, d.channels);
    d.rows = max_l(1, min_l(ROW_BYTES / (max_l(g->x.outputs * d.channels, 1) * (long)sizeof(REAL)), div_up(g->y.outputs, 4)));
    d.chunks = div_up(g->y.outputs, d.rows);
    long floats = d.multiplier == 1 ? 0 : folded ? g->x.outputs * d.channels : g->y.taps * g->w * d.channels;
    d.room_size = (size_t)round_up(floats, 16) + round_up(g->y.taps, 16) * sizeof(REAL *) / sizeof(REAL);
    if (!(d.room = scratch(SCRATCH_INPUT, pool_size() * d.room_size * sizeof(REAL)))) return -1;
    pool_for(g->n * d.chunks * d.channel_blocks, depthwise_item, &d);
    return 0;
}

// ---- gradient of the filters --------------------------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    axis y, x;
    const REAL *in, *dz;
    REAL *dw, *partial; // [split][group][panel][entry][width]
    int accumulate, few;
    long c, k;                  // per group
    long entries;               // of dw per output channel: taps * c
    long tall, wide;            // of the images read if padded
    long *offsets;              // of each entry in a padded image, if few
    long tiles, per_tap, rows;  // tiles of entries, tiles per tap, entries per tile
    long panels, set;           // set: floats of one split
    long splits, split, ranges, range, block; // rows of dz per split, tiles per range, rows of dz (or images of them) per block
    REAL *room;                 // per worker: ragged panel of dz
    long room_size;
} filter_job;

static void filter_tile(const filter_job *g, long group, long tile, long r0, long rows, long panel, const REAL *dz, long ldb,
                        REAL *partial) {
    const conv_shape *s = g->s;
    long image = r0 / s->oh, oy = r0 % s->oh, columns = columns_of(panel, g->k), width = width_of(columns);
    long images = max_l(1, rows / s->oh);
    const REAL *from[ROWS1];
    REAL *to[ROWS1];
    rows = min_l(rows, s->oh);
    tile_job t = {.runs = rows, .len = s->ow, .from = from, .b = dz, .nr = width, .to = to, .a_step = s->sw * s->c, .ldb = ldb};
    t.images = images;
    long first, mr;
    if (g->few) {
        first = tile * g->rows;
        mr = min_l(g->rows, g->entries - first);
        const REAL *at = g->in + (image * g->tall + oy * s->sh) * g->wide + group * g->c;
        for (long i = 0; i < mr; i++) from[i] = at + g->offsets[first + i];
        t.run_step = s->sh * g->wide;
        t.image_step = g->tall * g->wide;
    } else {
        long tap = tile / g->per_tap, c0 = tile % g->per_tap * g->rows, y0, y1, x0, x1;
        mr = min_l(g->rows, g->c - c0);
        first = tap * g->c + c0;
        outputs_inside(&g->y, s->h, tap / s->kw, &y0, &y1);
        outputs_inside(&g->x, s->w, tap % s->kw, &x0, &x1);
        y0 = max_l(y0, oy), y1 = min_l(y1, oy + rows);
        if (y0 >= y1 || x0 >= x1 || mr <= 0) return;
        long iy = y0 * s->sh + g->y.offset + tap / s->kw * s->dh, ix = x0 * s->sw + g->x.offset + tap % s->kw * s->dw;
        from[0] = g->in + ((image * s->h + iy) * s->w + ix) * s->c + group * g->c + c0;
        t.run_step = s->sh * s->w * s->c;
        t.runs = y1 - y0;
        t.len = x1 - x0;
        t.b = dz + ((y0 - oy) * s->ow + x0) * ldb;
        t.b_run_step = (s->ow - t.len) * ldb;
        t.image_step = s->h * s->w * s->c;
        t.b_image_step = (s->oh - t.runs) * s->ow * ldb;
    }
    for (long i = 0; i < mr; i++) to[i] = partial + (first + i) * width;
    if (g->few) (width > LANES ? filters_2 : filters_1)(mr, &t);
    else (width > LANES ? adjacent_filters_2 : adjacent_filters_1)(mr, &t);
}

static void filter_item(void *job, long item, int worker) {
    const filter_job *g = job;
    const conv_shape *s = g->s;
    long range = item % g->ranges, group = item / g->ranges % s->groups, split = item / g->ranges / s->groups;
    long t0 = range * g->range, t1 = min_l(t0 + g->range, g->tiles), end = min_l((split + 1) * g->split, s->n * s->oh);
    REAL *partial = g->partial + split * g->set + group * g->panels * g->entries * NR, *room = g->room + worker * g->room_size;
    long e0 = g->few ? t0 * g->rows : t0 / g->per_tap * g->c + t0 % g->per_tap * g->rows;
    long e1 = t1 == g->tiles ? g->entries
            : g->few         ? t1 * g->rows
                             : t1 / g->per_tap * g->c + t1 % g->per_tap * g->rows;
    for (long panel = 0; panel < g->panels; panel++) {
        long width = width_of(columns_of(panel, g->k));
        memset(partial + panel * g->entries * NR + e0 * width, 0, (size_t)((e1 - e0) * width) * sizeof(REAL));
    }
    for (long r0 = split * g->split, rows; r0 < end; r0 += rows) {
        rows = min_l(g->block, end - r0);
        if (g->block < s->oh) rows = min_l(rows, s->oh - r0 % s->oh);
        for (long panel = 0; panel < g->panels; panel++) {
            long columns = columns_of(panel, g->k), width = width_of(columns), ldb = s->k;
            const REAL *dz = g->dz + r0 * s->ow * s->k + group * g->k + panel * NR;
            if (columns < width) {
                pack_panel(rows * s->ow, columns, width, dz, s->k, 1, room);
                dz = room;
                ldb = width;
            }
            for (long tile = t0; tile < t1; tile++)
                filter_tile(g, group, tile, r0, rows, panel, dz, ldb, partial + panel * g->entries * NR);
        }
    }
}

// Adds the partial sums of one entry, split after split.
static void sum_entry(void *job, long entry, int worker) {
    const filter_job *g = job;
    const conv_shape *s = g->s;
    (void)worker;
    for (long group = 0; group < s->groups; group++)
        for (long panel = 0; panel < g->panels; panel++) {
            long columns = columns_of(panel, g->k), width = width_of(columns);
            const REAL *partial = g->partial + (group * g->panels + panel) * g->entries * NR + entry * width;
            REAL *dw = g->dw + entry * s->k + group * g->k + panel * NR;
            for (long j = 0; j < columns; j += LANES) {
                long part = columns - j < LANES ? columns - j : 0;
                vec sum = g->accumulate ? load_some(dw + j, part) : (vec){0};
                for (long p = 0; p < g->splits; p++) sum += load(partial + p * g->set + j);
                store_some(dw + j, sum, part);
            }
        }
}

// How many sets of partial sums, of how many rows of dz each.
static void split_rows(long rows, long set, long *splits, long *split) {
    *splits = max_l(1, min_l(min_l(PARTIALS, rows), PARTIAL_BYTES / max_l(set * (long)sizeof(REAL), 1)));
    *split = div_up(rows, *splits);
    *splits = max_l(1, div_up(rows, max_l(*split, 1)));
}

static int filter_gradient(filter_job *g) {
    const conv_shape *s = g->s;
    g->c = s->c / s->groups;
    g->k = s->k / s->groups;
    g->entries = s->kh * s->kw * g->c;
    if (!g->entries || !g->k) return 0;
    g->few = g->c < FEW;
    long most = tile_rows(g->k);
    if (g->few) {
        g->tiles = div_up(g->entries, most);
        g->rows = div_up(g->entries, g->tiles);
        g->tiles = div_up(g->entries, g->rows);
    } else {
        g->rows = div_up(g->c, div_up(g->c, most));
        g->per_tap = div_up(g->c, g->rows);
        g->tiles = s->kh * s->kw * g->per_tap;
    }
    g->panels = div_up(g->k, NR);
    g->set = s->groups * g->panels * g->entries * NR;
    split_rows(s->n * s->oh, g->set, &g->splits, &g->split);
    g->block = max_l(1, FILTER_PIXELS / max_l(s->ow, 1));
    if (s->oh && g->block >= s->oh) { // whole images
        g->block = min_l(g->block / s->oh, s->n) * s->oh;
        g->split = round_up(g->split, s->oh);
        g->splits = max_l(1, div_up(s->n * s->oh, max_l(g->split, 1)));
    }
    g->ranges = min_l(g->tiles, div_up(SHARES, g->splits * s->groups));
    g->range = div_up(g->tiles, g->ranges);
    g->ranges = div_up(g->tiles, g->range);
    g->room_size = g->block * s->ow * NR;
    g->partial = scratch(SCRATCH_PARTIAL, (size_t)(g->splits * g->set + pool_size() * g->room_size) * sizeof(REAL));
    if (!g->partial) return -1;
    g->room = g->partial + g->splits * g->set;
    int empty = !s->n || !s->oh || !s->ow;
    if (g->few && !empty) {
        long low_y, low_x, high_y, high_x;
        extent(&g->y, s->h, &low_y, &high_y);
        extent(&g->x, s->w, &low_x, &high_x);
        g->tall = high_y - low_y;
        g->wide = (high_x - low_x) * s->c;
        int copied = g->tall != s->h || g->wide != s->w * s->c;
        size_t copy = copied ? (size_t)s->n * g->tall * g->wide : 0;
        copy = (copy + NR - 1) / NR * NR;
        REAL *input = scratch(SCRATCH_INPUT, copy * sizeof(REAL) + g->entries * sizeof(long));
        if (!input) return -1;
        g->offsets = (long *)(input + copy);
        for (long u = 0, e = 0; u < s->kh; u++)
            for (long v = 0; v < s->kw; v++)
                for (long c = 0; c < g->c; c++, e++)
                    g->offsets[e] = (g->y.offset - low_y + u * s->dh) * g->wide + (g->x.offset - low_x + v * s->dw) * s->c + c;
        if (copied) {
            padding_job p = {g->in, input, s->h, s->w, s->c, -low_y, -low_x, g->tall, g->wide};
            pool_for(s->n * g->tall, pad_row, &p);
            g->in = input;
        }
    }
    if (empty) memset(g->partial, 0, (size_t)(g->splits * g->set) * sizeof(REAL));
    else pool_for(g->splits * s->groups * g->ranges, filter_item, g);
    if (g->set * g->splits < 16384)
        for (long e = 0; e < g->entries; e++) sum_entry(g, e, 0);
    else pool_for(g->entries, sum_entry, g);
    return 0;
}

// Depthwise: up to four taps of a row of the filter share the loads of dz.
INLINE void correlate(const int taps, const int nv, const REAL *x, long x_step, long tap_step, const REAL *dz, long dz_step,
                      long pixels, long part, REAL *sums, long ld) {
    vec acc[4][2];
#pragma GCC unroll 4
    for (int v = 0; v < taps; v++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) acc[v][j] = load_some(sums + v * ld + j * LANES, part);
    for (; pixels > 0; pixels--, x += x_step, dz += dz_step) {
        vec d0 = load_some(dz, part), d1 = nv > 1 ? load(dz + LANES) : d0;
#pragma GCC unroll 4
        for (int v = 0; v < taps; v++) {
            acc[v][0] += load_some(x + v * tap_step, part) * d0;
            if (nv > 1) acc[v][1] += load(x + v * tap_step + LANES) * d1;
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < taps; v++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) store_some(sums + v * ld + j * LANES, acc[v][j], part);
}

static NOINLINE void correlate_taps(long taps, long channels, const REAL *x, long x_step, long tap_step, const REAL *dz,
                                    long dz_step, long pixels, REAL *sums, long ld) {
#define TAPS(n)                                                                                                        \
    case n:                                                                                                            \
        for (; c + 2 * LANES <= channels; c += 2 * LANES)                                                              \
            correlate(n, 2, x + c, x_step, tap_step, dz + c, dz_step, pixels, 0, sums + c, ld);                        \
        for (; c + LANES <= channels; c += LANES)                                                                      \
            correlate(n, 1, x + c, x_step, tap_step, dz + c, dz_step, pixels, 0, sums + c, ld);                        \
        if (c < channels) correlate(n, 1, x + c, x_step, tap_step, dz + c, dz_step, pixels, channels - c, sums + c, ld); \
        break
    long c = 0;
    if (pixels <= 0) return;
    switch (taps) {
        TAPS(1);
        TAPS(2);
        TAPS(3);
        TAPS(4);
    }
#undef TAPS
}

typedef struct {
    filter_job f;
    long multiplier, channels, channel_blocks;
    REAL *room;
    long room_size;
} depthwise_filter_job;

static void depthwise_filter_item(void *job, long item, int worker) {
    const depthwise_filter_job *d = job;
    const filter_job *g = &d->f;
    const conv_shape *s = g->s;
    long m = d->multiplier, split = item / d->channel_blocks, c0 = item % d->channel_blocks * d->channels;
    long cn = min_l(d->channels, s->k - c0), end = min_l((split + 1) * g->split, s->n * s->oh), ld = m > 1 ? cn : s->c;
    REAL *sums = g->partial + split * g->set + c0;
    for (long t = 0; t < s->kh * s->kw; t++) memset(sums + t * s->k, 0, (size_t)cn * sizeof(REAL));
    for (long r = split * g->split; r < end; r++) {
        long image = r / s->oh, o = r % s->oh;
        const REAL *dz = g->dz + r * s->ow * s->k + c0;
        for (long u = 0; u < s->kh; u++) {
            long y = o * s->sh + g->y.offset + u * s->dh;
            if (y < 0 || y >= s->h) continue;
            const REAL *x = g->in + (image * s->h + y) * s->w * s->c + c0 / m;
            if (m > 1) {
                REAL *room = d->room + worker * d->room_size;
                expand(s->w, cn / m, m, x, s->c, room);
                x = room;
            }
            for (long v0 = 0, taps; v0 < s->kw; v0 += taps) {
                taps = min_l(4, s->kw - v0);
                long low = 0, high = s->ow, x0[4], x1[4]; // the outputs for which all these taps are inside
                for (long v = 0; v < taps; v++) {
                    outputs_inside(&g->x, s->w, v0 + v, &x0[v], &x1[v]);
                    low = max_l(low, x0[v]);
                    high = min_l(high, x1[v]);
                }
                high = max_l(low, high);
                long at = g->x.offset + v0 * s->dw;
                REAL *to = sums + (u * s->kw + v0) * s->k;
                correlate_taps(taps, cn, x + (low * s->sw + at) * ld, s->sw * ld, s->dw * ld, dz + low * s->k, s->k,
                               high - low, to, s->k);
                for (long v = 0; v < taps; v++) {
                    long before = min_l(low, x1[v]) - x0[v], after = max_l(high, x0[v]);
                    const REAL *tap = x + (at + v * s->dw) * ld;
                    correlate_taps(1, cn, tap + x0[v] * s->sw * ld, s->sw * ld, 0, dz + x0[v] * s->k, s->k, before,
                                   to + v * s->k, s->k);
                    correlate_taps(1, cn, tap + after * s->sw * ld, s->sw * ld, 0, dz + after * s->k, s->k,
                                   x1[v] - after, to + v * s->k, s->k);
                }
            }
        }
    }
}

static int depthwise_filter_gradient(const filter_job *f) {
    const conv_shape *s = f->s;
    depthwise_filter_job d = {.f = *f, .multiplier = s->k / s->c};
    long taps = s->kh * s->kw;
    d.channels = d.multiplier > 1 ? d.multiplier * max_l(1, EXPANDED / d.multiplier) : s->k;
    d.channel_blocks = div_up(s->k, d.channels);
    d.f.set = taps * s->k;
    split_rows(s->n * s->oh, d.f.set, &d.f.splits, &d.f.split);
    d.room_size = d.multiplier > 1 ? s->w * d.channels : 0;
    d.f.partial = scratch(SCRATCH_PARTIAL, (size_t)(d.f.splits * d.f.set + pool_size() * d.room_size) * sizeof(REAL));
    if (!d.f.partial) return -1;
    d.room = d.f.partial + d.f.splits * d.f.set;
    pool_for(d.f.splits * d.channel_blocks, depthwise_filter_item, &d);
    for (long i = 0; i < d.f.set; i++) {
        REAL sum = d.f.accumulate ? d.f.dw[i] : 0;
        for (long p = 0; p < d.f.splits; p++) sum += d.f.partial[p * d.f.set + i];
        d.f.dw[i] = sum;
    }
    return 0;
}

// ---- the kernels --------------------------------------------------------------------------------------------------------

static int pointwise(const conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->sh == 1 && s->sw == 1 && !s->top && !s->left && s->oh == s->h &&
           s->ow == s->w && s->groups == 1;
}

static int is_depthwise(const conv_shape *s) { return s->groups > 1 && s->groups == s->c; }

#if REAL_BITS == 32
static int wanted_way = CONV_AUTO;

static void choose_way(int way) { wanted_way = way; }

// Sigmoid and tanh squeeze sums of any size into -1 ... 1 but keep their errors: there the direct way is worth its time.
static int takes_winograd(const conv_shape *s, int activation) {
    int can = s->kh == 3 && s->kw == 3 && s->sh == 1 && s->sw == 1 && s->dh == 1 && s->dw == 1 && s->groups == 1 &&
              s->n && s->h && s->w && s->c && s->oh && s->ow && s->k;
    return can && (wanted_way == CONV_WINOGRAD || (wanted_way == CONV_AUTO && activation <= RELU && winograd_wins(s)));
}
#else // the direct way only
static void choose_way(int way) { (void)way; }
#endif

static int conv2d(const conv_shape *s, const void *x, const void *w, const void *b, void *y, int activation) {
    if (pointwise(s))
        return gemm(s->n * s->h * s->w, s->k, s->c, x, s->c, 1, w, s->k, 1, y, s->k, (epilogue){b, 0, activation});
#if REAL_BITS == 32
    if (takes_winograd(s, activation)) return winograd_product(s, x, w, 0, b, activation, y);
#endif
    if (few_channels_wins(s, s->k, s->ow)) return few_channels_product(s, x, w, 0, b, activation, y);
    product g = {
        .y = forward_axis(s->oh, s->kh, s->sh, s->top, s->dh),
        .x = forward_axis(s->ow, s->kw, s->sw, s->left, s->dw),
        .n = s->n, .h = s->h, .w = s->w, .out_h = s->oh, .out_w = s->ow,
        .in = x, .filters = w, .bias = b, .out = y, .activation = activation,
        .c = s->c / s->groups, .k = s->k / s->groups, .groups = s->groups,
        .tap = s->c / s->groups * s->k, .row = s->kw * (s->c / s->groups) * s->k,
        .group = s->k / s->groups, .rs = s->k, .cs = 1,
    };
    if (!is_depthwise(s)) return multiply(&g);
    g.k = s->k;
    return depthwise(&g, 0);
}

static int conv2d_backward_input(const conv_shape *s, const void *dz, const void *w, void *dx) {
    if (pointwise(s))
        return gemm(s->n * s->h * s->w, s->c, s->k, dz, s->k, 1, w, 1, s->k, dx, s->c, (epilogue){NULL, 0, LINEAR});
    conv_shape turned = {s->n, s->oh, s->ow, s->k, s->h, s->w, s->c, s->kh, s->kw, s->sh, s->sw,
                         (s->kh - 1) * s->dh - s->top, (s->kw - 1) * s->dw - s->left, s->dh, s->dw, s->groups};
    if (turned.top >= 0 && turned.left >= 0 && few_channels_wins(&turned, s->c, s->w))
        return few_channels_product(&turned, dz, w, 1, NULL, LINEAR, dx);
#if REAL_BITS == 32
    if (takes_winograd(&turned, LINEAR)) return winograd_product(&turned, dz, w, 1, NULL, LINEAR, dx);
#endif
    long vectors = s->h * s->w * s->kh * s->kw / (s->sh * s->sw) * div_up(s->c, LANES); // per image and channel of dz
    long scattered = s->oh * s->ow * (div_up(s->kh * s->kw * s->c, NR) * 2 + s->kh);
    if (s->groups == 1 && s->n && s->h && s->w && s->c && s->c < LANES && s->k > 0 && s->ow > 0 && 3 * scattered < 2 * vectors)
        return scatter_columns(s, dz, w, dx);
    product g = {
        .n = s->n, .h = s->oh, .w = s->ow, .out_h = s->h, .out_w = s->w,
        .in = dz, .filters = w, .out = dx, .activation = LINEAR,
        .c = s->k / s->groups, .k = s->c / s->groups, .groups = s->groups,
        .tap = s->c / s->groups * s->k, .row = s->kw * (s->c / s->groups) * s->k,
        .group = s->k / s->groups, .rs = 1, .cs = s->k,
    };
    if (is_depthwise(s)) g.k = s->k;
    for (long py = 0; py < s->sh; py++)
        for (long px = 0; px < s->sw; px++) {
            product phase = g;
            phase.y = phase_axis(s->h, py, s->kh, s->sh, s->top, s->dh);
            phase.x = phase_axis(s->w, px, s->kw, s->sw, s->left, s->dw);
            if (is_depthwise(s) ? depthwise(&phase, 1) : multiply(&phase)) return -1;
        }
    return 0;
}

static int conv2d_backward_weight(const conv_shape *s, const void *x, const void *dz, void *dw, void *db, int accumulate) {
    long pixels = s->n * s->oh * s->ow;
    if (few_channels_wins(s, s->k, s->ow)) return few_channels_filters(s, x, dz, dw, db, accumulate);
    if (db && column_sums(pixels, s->k, dz, s->k, db, accumulate)) return -1;
    if (pointwise(s))
        return gemm(s->c, s->k, pixels, x, 1, s->c, dz, s->k, 1, dw, s->k, (epilogue){NULL, accumulate, LINEAR});
#if REAL_BITS == 32
    if (takes_winograd(s, LINEAR)) return winograd_filter_gradient(s, x, dz, dw, accumulate);
#endif
    filter_job g = {
        .s = s, .in = x, .dz = dz, .dw = dw, .accumulate = accumulate,
        .y = forward_axis(s->oh, s->kh, s->sh, s->top, s->dh),
        .x = forward_axis(s->ow, s->kw, s->sw, s->left, s->dw),
    };
    return is_depthwise(s) ? depthwise_filter_gradient(&g) : filter_gradient(&g);
}

const conv_kernels NAME(conv_kernels) = {conv2d, conv2d_backward_input, conv2d_backward_weight, choose_way};
