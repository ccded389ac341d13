// The gradient of the filters: a product over pixels, on operands in place; conv.c tells the story.
#include "arena.h"
#include "conv_parts.h"
#include "conv_tile.h"
#include "threads.h"
#include <string.h>

enum {
    FEW = 16,            // channels below which images are padded and any entries of dw make a tile
    FILTER_PIXELS = 192, // pixels of a block
    SHARES = 16,         // items to make at least
    ENTRIES = 16,        // of dw whose partial sums an item adds
};

TILE(filters_1, ROWS_OF_1, FILTERS)
TILE(filters_2, ROWS_OF_2, FILTERS)
TILE(adjacent_filters_1, ROWS_OF_1, ADJACENT_FILTERS)
TILE(adjacent_filters_2, ROWS_OF_2, ADJACENT_FILTERS)

// ---- gradient of the filters --------------------------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    axis y, x;
    const REAL *in, *dz;
    REAL *dw, *partial; // [split][group][panel][entry][width]; unused with a single split, whose sums go to dw at once
    const REAL *zeros;  // NR of them
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

// Adds the products of `rows` rows of dz from r0 on to the rows of a tile at `out`, which lie `ld` apart; or writes them if
// they are the first.
static void filter_tile(const filter_job *g, long group, long tile, long r0, long rows, long panel, const REAL *dz, long ldb,
                        REAL *out, long ld, int first) {
    const conv_shape *s = g->s;
    long image = r0 / s->oh, oy = r0 % s->oh, columns = columns_of(panel, g->k), width = width_of(columns);
    long images = max_l(1, rows / s->oh);
    const REAL *from[ROWS1];
    long to[ROWS1];
    rows = min_l(rows, s->oh);
    tile_job t = {.runs = rows, .len = s->ow, .from = from, .b = dz, .nr = columns, .out = out, .to = to, .a_step = s->sw * s->c, .ldb = ldb};
    t.images = images;
    t.bias = first ? g->zeros : NULL;
    long entry, mr;
    if (g->few) {
        entry = tile * g->rows;
        mr = min_l(g->rows, g->entries - entry);
        const REAL *at = g->in + (image * g->tall + oy * s->sh) * g->wide + group * g->c;
        for (long i = 0; i < mr; i++) from[i] = at + g->offsets[entry + i];
        t.run_step = s->sh * g->wide;
        t.image_step = g->tall * g->wide;
    } else {
        long tap = tile / g->per_tap, c0 = tile % g->per_tap * g->rows, y0, y1, x0, x1;
        mr = min_l(g->rows, g->c - c0);
        entry = tap * g->c + c0;
        outputs_inside(&g->y, s->h, tap / s->kw, &y0, &y1);
        outputs_inside(&g->x, s->w, tap % s->kw, &x0, &x1);
        y0 = max_l(y0, oy), y1 = min_l(y1, oy + rows);
        if (y0 >= y1 || x0 >= x1) {
            for (long i = 0; first && i < mr; i++) memset(out + (entry + i) * ld, 0, (size_t)columns * sizeof(REAL));
            return;
        }
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
    for (long i = 0; i < mr; i++) to[i] = (entry + i) * ld;
    if (g->few) (width > LANES ? filters_2 : filters_1)(mr, &t);
    else (width > LANES ? adjacent_filters_2 : adjacent_filters_1)(mr, &t);
}

static void filter_item(void *job, long item, int worker) {
    const filter_job *g = job;
    const conv_shape *s = g->s;
    long range = item % g->ranges, group = item / g->ranges % s->groups, split = item / g->ranges / s->groups;
    long t0 = range * g->range, t1 = min_l(t0 + g->range, g->tiles), end = min_l((split + 1) * g->split, s->n * s->oh);
    REAL *partial = g->partial + split * g->set + group * g->panels * g->entries * NR, *room = g->room + worker * g->room_size;
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
            int alone = g->splits == 1, first = r0 == split * g->split && !(alone && g->accumulate);
            REAL *out = alone ? g->dw + group * g->k + panel * NR : partial + panel * g->entries * NR;
            for (long tile = t0; tile < t1; tile++)
                filter_tile(g, group, tile, r0, rows, panel, dz, ldb, out, alone ? s->k : width, first);
        }
    }
}

// Adds the partial sums of some entries, split after split.
static void sum_entries(void *job, long item, int worker) {
    const filter_job *g = job;
    const conv_shape *s = g->s;
    (void)worker;
    for (long group = 0; group < s->groups; group++)
        for (long panel = 0; panel < g->panels; panel++) {
            long columns = columns_of(panel, g->k), width = width_of(columns);
            for (long entry = item * ENTRIES, end = min_l(entry + ENTRIES, g->entries); entry < end; entry++) {
                const REAL *partial = g->partial + (group * g->panels + panel) * g->entries * NR + entry * width;
                REAL *dw = g->dw + entry * s->k + group * g->k + panel * NR;
                for (long j = 0; j < columns; j += LANES) {
                    long part = columns - j < LANES ? columns - j : 0;
                    vec sum = g->accumulate ? load_some(dw + j, part) : (vec){0};
                    for (long p = 0; p < g->splits; p++) sum += load_some(partial + p * g->set + j, part);
                    store_some(dw + j, sum, part);
                }
            }
        }
}

int filter_gradient(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, int accumulate) {
    filter_job job = {
        .s = s, .in = x, .dz = dz, .dw = dw, .accumulate = accumulate,
        .y = forward_axis(s->oh, s->kh, s->sh, s->top, s->dh),
        .x = forward_axis(s->ow, s->kw, s->sw, s->left, s->dw),
    }, *g = &job;
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
    plan_splits(s->n * s->oh, g->set, &g->splits, &g->split);
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
    long sets = g->splits > 1 ? g->splits * g->set : 0;
    REAL *zeros = scratch(SCRATCH_PARTIAL, (size_t)(NR + sets + pool_size() * g->room_size) * sizeof(REAL));
    if (!zeros) return -1;
    memset(zeros, 0, NR * sizeof(REAL));
    g->zeros = zeros;
    g->partial = zeros + NR;
    g->room = g->partial + sets;
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
            pad_images(s->n, s->h, s->w, s->c, g->in, -low_y, -low_x, g->tall, g->wide, input);
            g->in = input;
        }
    }
    if (empty) {
        if (!accumulate) memset(dw, 0, (size_t)(g->entries * s->k) * sizeof(REAL));
        return 0;
    }
    pool_for(g->splits * s->groups * g->ranges, filter_item, g);
    long items = div_up(g->entries, ENTRIES);
    if (g->splits == 1) return 0;
    if (g->set * g->splits < 16384)
        for (long i = 0; i < items; i++) sum_entries(g, i, 0);
    else pool_for(items, sum_entries, g);
    return 0;
}
