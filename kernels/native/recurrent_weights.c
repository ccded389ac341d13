// Gradients of a recurrent layer's weights: one product over all steps for each kernel, not one at each step.
//
// dz comes packed as the products want it (recurrent_parts.h); a is packed here, transposed, step by step. An item is a few
// tiles of rows against all panels of dz, with the gradient of the bias summed from each panel while it is in cache.
// On tiles (split.h) these are products of 14 x 12 blocks or so, which stay in L2: some steps, and some blocks of 32 rows of
// all gradients, at a time.
// Flops: 2 N T G H (I + H).
#include "recurrent_parts.h"
#include "arena.h"
#include "threads.h"

enum {
    STEPS = 800,         // steps of the batch per pass, whose rows lie 4 KB apart: visit them rarely
    GROUP = 32 / MR,     // tiles of rows per item
    PASS_BLOCKS = 170,   // of 6 KB of the transposed rows per pass on tiles: they stay in L2;
    PASS_ROWS = 24 * 32, // these rows at most,
    PASS_STEPS = 192     // and so many steps at least, unless there are fewer
};

// Row `step`, counted as [t][n], of what is multiplied.
INLINE const REAL *row_of_step(const gradient *d, sequence_shape s, long step) {
    const long t = step / s.n, n = step % s.n;
    return d->initial && !t ? d->initial + n * d->stride : d->a + (n * s.t + t - (d->initial != NULL)) * d->stride;
}

typedef struct {
    const gradient_job *of;
    REAL *packed; // aᵀ of all gradients in tiles: [tile][t n][MR], a row more than needed apart
} packed_rows;

INLINE long tiles_of(const gradient *d) { return div_up(d->m, MR); }
INLINE long groups_of(const gradient *d) { return max_l(d->bias != NULL, div_up(tiles_of(d), GROUP)); }
INLINE long tile_size(sequence_shape s) { return (s.t * s.n + 1) * MR; }
INLINE long first_row(const gradient *d, long tile) { return tile * d->m / tiles_of(d); } // tiles as even as possible

static void pack_step(void *job, long t, int worker) {
    const packed_rows *r = job;
    const gradient_job *g = r->of;
    const sequence_shape s = g->s;
    REAL *out = r->packed + t * s.n * MR;
    (void)worker;
    for (const gradient *d = g->gradients; d < g->gradients + 3; out += tiles_of(d) * tile_size(s), d++)
        for (long n = 0; n < s.n; n++) {
            const REAL *row = row_of_step(d, s, t * s.n + n);
            for (long i = 0; i < d->m; i += LANES) __builtin_prefetch(row + s.t * d->stride + i); // the next sequence's
            for (long i = 0; i < tiles_of(d); i++) {
                long m0 = first_row(d, i), mr = first_row(d, i + 1) - m0;
                REAL *to = out + i * tile_size(s) + n * MR;
                if (m0 + MR <= d->m)
                    for (long r = 0; r < MR; r++) to[r] = row[m0 + r];
                else
                    for (long r = 0; r < mr; r++) to[r] = row[m0 + r];
            }
        }
}

// sums[columns] (+)= the column sums of k rows of a panel.
static void sum_panel(long k, const REAL *panel, long columns, REAL *sums, int add) {
    vec even[2] = {{0}, {0}}, odd[2] = {{0}, {0}};
    for (; k > 1; k -= 2, panel += 2 * NR)
        for (int v = 0; v < 2; v++) even[v] += load(panel + v * LANES), odd[v] += load(panel + NR + v * LANES);
    for (int v = 0; v < 2 && v * LANES < columns; v++) {
        vec sum = even[v] + odd[v] + (k ? load(panel + v * LANES) : (vec){0});
        store_left(sums + v * LANES, add ? sum + load_left(sums + v * LANES, columns - v * LANES) : sum, columns - v * LANES);
    }
}

static void gradient_item(void *job, long item, int worker) {
    const packed_rows *r = job;
    const gradient_job *g = r->of;
    const sequence_shape s = g->s;
    const gradient *d = g->gradients;
    const REAL *packed = r->packed;
    (void)worker;
    for (; item >= groups_of(d); d++) {
        item -= groups_of(d);
        packed += tiles_of(d) * tile_size(s);
    }
    const long first = item * GROUP, last = min_l(tiles_of(d), first + GROUP), steps = s.t * s.n;
    for (long passes = max_l(1, div_up(steps, STEPS)), k0 = 0, k; passes > 0; k0 += k, passes--) {
        k = div_up(steps - k0, passes);
        int add = g->accumulate || k0;
        for (long q = 0; q < d->blocks; q++)
            for (long j = 0; j < s.h; j += NR) {
                const REAL *panel = g->dz + (d->block + q) * plane_size(s) + j / NR * panel_size(s) + k0 * NR;
                if (d->bias && item == 0) sum_panel(k, panel, min_l(NR, s.h - j), d->bias + q * s.h + j, add);
                for (long i = first; i < last; i++) {
                    long m0 = first_row(d, i);
                    gemm_rows(first_row(d, i + 1) - m0, min_l(NR, s.h - j), k, packed + i * tile_size(s) + k0 * MR, 1, MR, panel,
                              NR, d->out + m0 * g->ldo + q * s.h + j, g->ldo, (epilogue){NULL, add, LINEAR});
                }
            }
    }
}

static int gradients(const gradient_job *g) {
    long items = 0, tiles = 0;
    for (int i = 0; i < 3; i++) items += groups_of(&g->gradients[i]), tiles += tiles_of(&g->gradients[i]);
    packed_rows r = {g, scratch(SCRATCH_INPUT, (size_t)(tiles * tile_size(g->s)) * sizeof(REAL) + 64)};
    if (!r.packed) return -1;
    pool_for(g->s.t, pack_step, &r);
    pool_for(items, gradient_item, &r);
    return 0;
}

// ---- the same on tiles ----

// Some steps of the batch, and some blocks of 32 rows of all gradients, at a time: a transposed and split they stay in L2.
typedef struct {
    const gradient_job *of;
    long blocks; // of the gates' gradients
    long from, steps, first, last, share;
    bf16 *rows, *columns; // of a; a panel of dz for each thread
} tile_pass;

INLINE long split_blocks(const gradient *d) { return div_up(d->m, SPLIT_SIDE); }

// The third gradient's rows may be the second's, which are split already.
INLINE int shares_rows(const gradient_job *g, const gradient *d) {
    return d == g->gradients + 2 && d->a == d[-1].a && d->initial == d[-1].initial;
}

static void split_some_steps(void *job, long item, int worker) {
    enum { LD = SPLIT_SIDE + LANES };
    const tile_pass *r = job;
    const long from = item * SPLIT_STEPS, steps = min_l(SPLIT_STEPS, r->steps - from), blocks = split_steps(r->steps);
    bf16 *out = r->rows + item * SPLIT_BLOCK;
    REAL some[SPLIT_STEPS * LD] __attribute__((aligned(64)));
    long block = 0;
    (void)worker;
    for (const gradient *d = r->of->gradients; d < r->of->gradients + 3 && !shares_rows(r->of, d); d++)
        for (long m = 0; m < d->m; m += SPLIT_SIDE, block++) {
            if (block < r->first || block >= r->last) continue;
            const long rows = min_l(SPLIT_SIDE, d->m - m);
            for (long i = 0; i < steps; i++) {
                const REAL *row = row_of_step(d, r->of->s, r->from + from + i) + m;
                for (long j = 0; j < rows; j += LANES) {
                    __builtin_prefetch(row + SPLIT_SIDE + j);
                    store(some + i * LD + j, load_left(row + j, rows - j));
                }
            }
            split_rows(rows, steps, some, 1, LD, out);
            out += blocks * SPLIT_BLOCK;
        }
}

// A thread's share of the panels of dz, each split once.
static void multiply_some_steps(void *job, long item, int worker) {
    const tile_pass *r = job;
    const gradient_job *g = r->of;
    const sequence_shape s = g->s;
    const int add = g->accumulate || r->from;
    const long blocks = split_steps(r->steps), all = r->blocks * panels(s.h);
    bf16 *columns = r->columns + worker * split_size(SPLIT_SIDE, r->steps);
    tiles_begin();
    for (long panel = item * r->share; panel < min_l(all, (item + 1) * r->share); panel++) {
        const long q = panel / panels(s.h), j = panel % panels(s.h) * NR, nr = min_l(NR, s.h - j);
        const REAL *dz = g->dz + q * plane_size(s) + j / NR * panel_size(s) + r->from * NR;
        split_columns(r->steps, nr, dz, NR, 1, columns);
        long block = 0;
        for (const gradient *d = g->gradients; d < g->gradients + 3; block += split_blocks(d), d++) {
            if (shares_rows(g, d)) block -= split_blocks(d);
            const long first = max_l(0, r->first - block), last = min_l(split_blocks(d), r->last - block);
            const int sums = d->bias && (d->m ? first == 0 && last > 0 : r->first == 0);
            if ((first >= last && !sums) || q < d->block || q >= d->block + d->blocks) continue;
            const long column = (q - d->block) * s.h + j, m = first * SPLIT_SIDE;
            REAL *c = d->out + m * g->ldo + column;
            if (sums) sum_panel(r->steps, dz, nr, d->bias + column, add);
            if (first >= last) continue;
            split_product(min_l(last * SPLIT_SIDE, d->m) - m, nr, r->steps,
                          r->rows + (block + first - r->first) * blocks * SPLIT_BLOCK, columns, NULL, add ? c : NULL, LINEAR, c,
                          g->ldo);
        }
    }
    tiles_end();
}

static int gradients_on_tiles(const gradient_job *g) {
    const long steps = g->s.t * g->s.n, threads = pool_size();
    long rows = 0, blocks = 0;
    for (const gradient *d = g->gradients; d < g->gradients + 3 && !shares_rows(g, d); d++) rows += split_blocks(d);
    for (const gradient *d = g->gradients; d < g->gradients + 3; d++) blocks = max_l(blocks, d->block + d->blocks);
    const long passes_of_rows = max_l(1, div_up(rows * SPLIT_SIDE, PASS_ROWS)), share = div_up(rows, passes_of_rows);
    const long passes = max_l(1, div_up(steps, max_l(PASS_STEPS, PASS_BLOCKS / max_l(1, share) * SPLIT_STEPS)));
    const long depth = round_up(div_up(steps, passes), SPLIT_STEPS);
    const size_t size = (size_t)share * SPLIT_SIDE;
    bf16 *room = scratch(SCRATCH_INPUT, (split_size(size, depth) + threads * split_size(SPLIT_SIDE, depth)) * sizeof(bf16));
    if (!room) return -1;
    tile_pass r = {.of = g, .blocks = blocks, .rows = room, .columns = room + split_size(size, depth),
                   .share = div_up(blocks * panels(g->s.h), threads)};
    for (r.first = 0; r.first < rows; r.first = r.last)
        for (r.last = min_l(rows, r.first + share), r.from = 0; r.from < steps; r.from += r.steps) {
            r.steps = min_l(depth, steps - r.from);
            pool_for(split_steps(r.steps), split_some_steps, &r);
            pool_for(threads, multiply_some_steps, &r);
        }
    return 0;
}

int weight_gradients(const gradient_job *g) { return HAS_TILES && g->tiles ? gradients_on_tiles(g) : gradients(g); }
