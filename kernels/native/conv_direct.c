// Convolution as an implicit GEMM, without a column matrix; conv.c tells the story.
#include "arena.h"
#include "conv_parts.h"
#include "conv_tile.h"
#include "threads.h"
#include <string.h>

#if VBYTES == 64
enum { TILES = 8 }; // of a block of pixels
#else
enum { TILES = 16 };
#endif
enum {
    CHUNK = 64 << 10,    // bytes of a panel of filters between two visits of a tile
    FEW = 16,            // channels below which the runs of neighbouring taps are joined
    CHANNELS = 512,      // the longest run
    PLACES = 24 << 10,   // addresses in the table of one block
    PAST_BYTES = 12 << 20, // of images from which outputs are stored past the caches
    SMALL_IMAGE = 16,    // pixels up to which a tile takes the same pixel of several images: all of it skips the same taps
};

TILE(outputs_1, ROWS_OF_1, OUTPUTS)
TILE(outputs_2, ROWS_OF_2, OUTPUTS)
TILE(first_outputs_2, ROWS_OF_2, FIRST_OUTPUTS)
TILE(spaced_outputs_1, ROWS_OF_1, SPACED_OUTPUTS)
TILE(spaced_outputs_2, ROWS_OF_2, SPACED_OUTPUTS)

// ---- images with their padding written out ------------------------------------------------------------------------------

typedef struct {
    const REAL *in;
    REAL *out;
    long h, w, ld, top, left, tall, wide;
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

void pad_images(long n, long h, long w, long ld, const REAL *in, long top, long left, long tall, long wide, REAL *out) {
    padding_job p = {in, out, h, w, ld, top, left, tall, wide};
    pool_for(n * tall, pad_row, &p);
}

// ---- the product: forward, and each phase of the gradient of the input -------------------------------------------------

typedef struct {
    product g;
    long share, parts;
    const REAL *zeros;
    void **tables; // per worker: a table, in words
    size_t table;
} product_job;

INLINE long channel_block(const product *g) {
    return g->joined || g->c <= CHANNELS ? max_l(g->c, 1) : div_up(g->c, div_up(g->c, CHANNELS));
}

// packed[group][panel][block of channels][tap][channel][width]
static void pack_item(void *job, long item, int worker) {
    const product *g = job;
    (void)worker;
    long panel = item % g->panels, group = item / g->panels, columns = columns_of(panel, g->k), width = width_of(columns);
    REAL *out = (REAL *)g->packed + item * g->panel_size, *bias = (REAL *)g->packed_bias + item * NR;
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

// One block's table: per tile its rows, where they go, and where they come from, run by run (joined: where row 0 does).
typedef struct {
    long tiles, mr[TILES], *to;
    const REAL **from;
    unsigned char *live; // per tile and run: whether any row of it lies inside the image
} table;

INLINE long place_of(const product *g, long group, long image, long oy, long ox) {
    return group * g->k + ((image * g->out_h + g->y.place + oy * g->y.pace) * g->out_w + g->x.place + ox * g->x.pace) *
                              g->k * g->groups;
}

// Where tile q begins in its line.
INLINE long start_of(const product *g, long q) { return q % g->cuts * g->line / g->cuts; }
INLINE long rows_of(const product *g, long q) { return (q % g->cuts + 1) * g->line / g->cuts - start_of(g, q); }

static void tabulate(const product *g, const REAL *zeros, long group, long first, table *t) {
    const axis *ya = &g->y, *xa = &g->x;
    long ld = g->c * g->groups, places = ya->outputs * xa->outputs;
    memset(t->live, 0, (size_t)(t->tiles * g->runs));
    for (long q = 0; q < t->tiles; q++) {
        long p = start_of(g, first + q), line = (first + q) / g->cuts;
        long image = g->images_first ? p : p / places, place = g->images_first ? line : p % places;
        long oy = place / xa->outputs, ox = place % xa->outputs;
        t->mr[q] = rows_of(g, first + q);
        for (long i = 0; i < t->mr[q]; i++) {
            long y = oy * ya->stride + ya->offset, x = ox * xa->stride + xa->offset;
            const REAL **from = t->from + q * g->runs * g->rows + i;
            unsigned char *live = t->live + q * g->runs;
            t->to[q * g->rows + i] = place_of(g, group, image, oy, ox);
            for (long u = 0, iy = y; u < ya->taps; u++, iy += ya->spacing) {
                int inside = iy >= 0 && iy < g->h;
                const REAL *row = g->in + (inside ? (image * g->h + iy) * g->w * ld + group * g->c : 0);
                for (long v = 0, ix = x; v < xa->taps; v++, ix += xa->spacing, from += g->rows, live++) {
                    int within = inside && ix >= 0 && ix < g->w;
                    *from = within ? row + ix * ld : zeros;
                    *live |= within;
                }
            }
            if (g->images_first) image++;
            else if (++ox == xa->outputs) {
                ox = 0;
                if (++oy == ya->outputs) oy = 0, image++;
            }
        }
    }
}

static void tabulate_joined(const product *g, long first, table *t) {
    for (long q = 0; q < t->tiles; q++) {
        long row = (first + q) / g->cuts, image = row / g->y.outputs, oy = row % g->y.outputs, ox = start_of(g, first + q);
        t->mr[q] = rows_of(g, first + q);
        t->from[q] = g->in + (image * g->tall + oy * g->y.stride) * g->wide + ox * g->x.stride * g->c + g->origin;
        long *to = t->to + q * g->rows;
        for (long i = 0; i < t->mr[q]; i++) to[i] = place_of(g, 0, image, oy, ox + i);
    }
}

static void product_item(void *job, long item, int worker) {
    const product_job *r = job;
    const product *g = &r->g;
    long part = item % r->parts, block = item / r->parts % g->blocks, group = item / r->parts / g->blocks;
    long first = block * g->block;
    table table = {.tiles = min_l(g->block, g->lines * g->cuts - first), .from = (const REAL **)(r->tables + (size_t)worker * r->table)};
    table.to = (long *)(table.from + g->tiles * (g->joined ? 1 : g->runs * g->rows));
    table.live = (unsigned char *)(table.to + g->tiles * g->rows);
    if (g->joined) tabulate_joined(g, first, &table);
    else tabulate(g, r->zeros, group, first, &table);
    long all = g->joined ? g->len : g->c, step = g->joined ? max_l(g->len, 1) : channel_block(g), c0 = 0;
    do { // at least once, so that an empty sum is written too
        long len = min_l(step, all - c0), chunk = max_l(1, CHUNK / (max_l(len, 1) * NR * (long)sizeof(REAL))), r0 = 0;
        do {
            long runs = min_l(chunk, g->runs - r0);
            int start = !c0 && !r0, last = c0 + step >= all && r0 + chunk >= g->runs;
            for (long panel = part * r->share, to = min_l(panel + r->share, g->panels); panel < to; panel++) {
                long columns = columns_of(panel, g->k), width = width_of(columns), at = group * g->panels + panel;
                tile_job t = {.runs = runs, .len = len, .offset = c0, .nr = columns, .out = g->out + panel * NR};
                t.b = g->packed + at * g->panel_size + (c0 * g->runs + r0 * len) * width;
                t.bias = start ? g->packed_bias + at * NR : NULL;
                t.residual = start && g->residual ? g->residual + panel * NR : NULL;
                t.relu = last && g->activation == RELU;
                t.past = g->past && start && last;
                t.places = g->joined ? 0 : g->rows;
                if (g->joined) {
                    t.spacing = g->x.stride * g->c;
                    t.run_step = g->wide * g->y.spacing;
                    t.offset = r0 * t.run_step;
                }
                for (long q = 0; q < table.tiles; q++) {
                    long mr = table.mr[q];
                    t.to = table.to + q * g->rows;
                    t.from = table.from + (g->joined ? q : (q * g->runs + r0) * g->rows);
                    t.live = table.live + q * g->runs + r0;
                    if (g->joined) (width > LANES ? spaced_outputs_2 : spaced_outputs_1)(mr, &t);
                    else if (width > LANES) (q ? outputs_2 : first_outputs_2)(mr, &t);
                    else outputs_1(mr, &t);
                    if (last && g->activation > RELU)
                        for (long i = 0; i < mr; i++) apply_activation(1, columns, t.out + t.to[i], 0, g->activation);
                }
            }
            r0 += chunk;
        } while (r0 < g->runs);
        c0 += step;
    } while (c0 < all);
    if (g->past) finish_stores();
}

void plan_product(product *g) {
    long ld = g->c * g->groups, taps = g->y.taps * g->x.taps, low_y, low_x, high_y, high_x;
    extent(&g->y, g->h, &low_y, &high_y);
    extent(&g->x, g->w, &low_x, &high_x);
    g->joined = g->c < FEW && g->groups == 1 && taps && g->c && (g->x.spacing == 1 || g->x.taps == 1);
    g->runs = g->joined ? g->y.taps : taps;
    g->len = g->joined ? g->x.taps * g->c : g->c;
    g->top = -low_y;
    g->left = -low_x;
    g->tall = high_y - low_y;
    g->wide = (high_x - low_x) * ld;
    g->origin = (g->y.offset - low_y) * g->wide + (g->x.offset - low_x) * ld;
    g->rows = tile_rows(g->k);
    g->images_first = g->n >= g->rows && g->y.outputs * g->x.outputs <= SMALL_IMAGE;
    long pixels = g->n * g->y.outputs * g->x.outputs;
    g->line = g->joined ? g->x.outputs : g->images_first ? g->n : pixels;
    g->lines = pixels ? pixels / g->line : 0;
    g->cuts = div_up(g->line, g->rows);
    g->tiles = g->joined ? TILES : max_l(1, min_l(TILES, PLACES / (max_l(g->runs, 1) * g->rows)));
    g->blocks = div_up(g->lines * g->cuts, g->tiles);
    g->block = g->blocks ? div_up(g->lines * g->cuts, g->blocks) : 0;
    g->blocks = g->blocks ? div_up(g->lines * g->cuts, g->block) : 0;
    g->panels = div_up(g->k, NR);
    g->panel_size = taps * g->c * NR;
    long passing = g->n * (g->h * g->w * ld + g->out_h * g->out_w * g->k * g->groups) * (long)sizeof(REAL);
    g->past = g->activation <= RELU && passing >= past_from(PAST_BYTES) && are_whole_lines(g->k, g->out);
}

size_t packed_filters(const product *g) { return (size_t)g->groups * g->panels * (g->panel_size + NR); }

void pack_filters(product *g, REAL *room) {
    g->packed = room;
    g->packed_bias = room + g->groups * g->panels * g->panel_size;
    pool_for(g->groups * g->panels, pack_item, g);
}

int run_product(const product *g) {
    if (!g->lines || !g->k) return 0;
    product_job r = {.g = *g};
    long threads = pool_size(), ld = g->c * g->groups;
    r.parts = min_l(g->panels, div_up(4 * threads, g->blocks * g->groups));
    r.share = div_up(g->panels, r.parts);
    r.parts = div_up(g->panels, r.share);
    r.table = (size_t)g->tiles * (g->joined ? 1 + g->rows : (g->runs + 1) * g->rows + div_up(g->runs, sizeof(void *)));
    int copied = g->joined && (g->tall != g->h || g->wide != g->w * ld);
    size_t zeros = (size_t)round_up(g->c, NR), copy = copied ? (size_t)round_up(g->n * g->tall * g->wide, NR) : 0;
    REAL *input = scratch(SCRATCH_INPUT, (zeros + copy) * sizeof(REAL) + threads * r.table * sizeof(void *));
    if (!input) return -1;
    memset(input, 0, zeros * sizeof(REAL));
    r.zeros = input;
    r.tables = (void **)(input + zeros + copy);
    if (copied) {
        pad_images(g->n, g->h, g->w, ld, g->in, g->top, g->left, g->tall, g->wide, input + zeros);
        r.g.in = input + zeros;
    }
    pool_for(g->groups * g->blocks * r.parts, product_item, &r);
    return 0;
}

int multiply(product *g) {
    plan_product(g);
    REAL *room = scratch(SCRATCH_WEIGHTS, packed_filters(g) * sizeof(REAL));
    if (!room) return -1;
    pack_filters(g, room);
    return run_product(g);
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

// add_row for rows of which many are shorter than a vector.
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

int scatter_columns(const conv_shape *s, const REAL *dz, const REAL *w, REAL *dx) {
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

