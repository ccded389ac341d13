// Dense layers with constant weights in fewer multiplications: Strassen's algorithm (Strassen 1969), the results without
// workspace (Huang, Smith, Henry & van de Geijn 2016).
//
// The plain product is in gemm.c and runs at the peak of the processor; what is left is to multiply less. With all three
// matrices cut into 2 x 2 blocks, seven products of sums of blocks give what eight products of blocks do; with each of the
// seven cut again, 49 give what 64 do. The sums of the weights are formed and packed beforehand: 1.75 or 3.06 times the
// memory. A call pays for
//     sums of blocks of x      all seven of a group (LEFT) in one pass over rows that lie in L2
//     results                  a tile goes from its registers straight to the one, two or four blocks it is part of (RESULT)
//
//     item = a strip of rows, the same in every block of x and y, so that no two items share a sum or a result
//       grids of blocks along n and k (most layers: one)
//         group of seven sums, product, panel of weights, tile of rows
//
// The largest error of noise is 1.3e-6 of the largest result on one level and 2.2e-6 on two (784 inputs, 30 draws; the plain
// product 0.7e-6), of inputs and weights that are all positive 2.3e-6 and 6.5e-6 (256 to 4096 inputs). It is in proportion
// to the largest numbers that meet in a sum, and sums join two or four rows of x that may have nothing to do with each other.
// So a row whose results are small beside what was added up for them is done again by the plain product (redo): each row
// stays within about 1e-5 of its own largest sum, and a NaN or infinity spoils no other row. Sigmoid and tanh shrink sums of
// any size and not their errors: linear.c leaves those to gemm.c. float64 is for checking and always takes the plain product.
//
// Measured on two cores of a Zen 4 against the plain product, 1 and 2 levels; rows x inputs x outputs:
//     128 x 256 x 256     1.02  1.00       128 x 1024 x 1024    1.12  1.24        128 x 2048 x 512    1.14  1.23
//     128 x 512 x 256     1.06  1.10       512 x 1024 x 1024    1.09  1.20        128 x 512 x 2048    1.11  1.17
//     128 x 512 x 512     1.12  1.17      1024 x 1024 x 1024    1.11  1.20        128 x 4096 x 4096   1.01  0.92
//     128 x 784 x 512     1.12  1.21      1024 x 2048 x 2048    1.14  1.23       3136 x 256 x 64      0.90  0.47
// (AVX2: 1.12 and 1.10 for 128 x 512 x 512, 1.14 and 1.16 for 1024 x 1024 x 1024.) What helped, two levels of 128 x 784 x 512:
//     strips of rows instead of columns for the threads: no sum is formed twice      1.06 times
//     seven sums in one pass instead of each on its own                              1.03
//     partial results in a buffer instead of in y, whose rows lie a power of two apart where layers are so wide and meet in
//     a few cache sets                                                               1.02
//     that buffer and the sums in scratch of each worker's own: side by side in one, the cores fetch ahead what the other
//     writes                                                                         1.11
//     the next panel of weights fetched meanwhile      1.00, with 2048 x 2048 weights 1.09
// Without gain: fewer outputs or more rows at a time; results fetched ahead (0.97).
#include "strassen.h"
#if REAL_BITS == 32
#include "arena.h"
#include "gemm.h"
#include "split.h"
#include "threads.h"
#include "vmath.h"
#include <math.h>

enum {
    STRIP = 3 * MR, // rows of a strip in each block: fewer read the weights more often, more do not fit L2
    STEPS = 384,    // of a block of x and w at most: more make longer sums, whose errors all four results share
    COLUMNS = 512,  // of a block of w and y at most
    // Of a block, for each of two threads (more change no bits): lower tiles wait for their own sums.
    LEAST_ROWS = VBYTES == 64 ? 8 : 2 * MR,
    MOST_WEIGHTS = 4 << 20 // more of them, packed, would come from memory instead of L3
};
static const double LEAST_GAIN = 0.03;
static const REAL EVEN = 0.25F;      // see redo
static const REAL TOO_LARGE = 1e25F; // beyond it sums might overflow where the plain product does not

// ---- the algorithm: blocks are numbered 0 1 over 2 3 ----

typedef struct {
    signed char block, sign; // sign 0: none
} term;
typedef struct {
    signed char block, sign, first, last; // whether it is the block's first or last addend
} addend;

// For x; seven_sums says the same.
static const term LEFT[7][2] = {{{0, 1}, {3, 1}}, {{2, 1}, {3, 1}},  {{0, 1}},         {{3, 1}},
                                {{0, 1}, {1, 1}}, {{2, 1}, {0, -1}}, {{1, 1}, {3, -1}}};
static const term RIGHT[7][2] = {{{0, 1}, {3, 1}}, {{0, 1}},         {{1, 1}, {3, -1}}, {{2, 1}, {0, -1}},
                                 {{3, 1}},         {{0, 1}, {1, 1}}, {{2, 1}, {3, 1}}};
static const addend RESULT[7][2] = {{{0, 1, 1, 0}, {3, 1, 1, 0}},  {{2, 1, 1, 0}, {3, -1, 0, 0}}, {{1, 1, 1, 0}, {3, 1, 0, 0}},
                                   {{0, 1, 0, 0}, {2, 1, 0, 1}},  {{0, -1, 0, 0}, {1, 1, 0, 1}}, {{3, 1, 0, 1}},
                                   {{0, 1, 0, 1}}};
static const term ALL[2] = {{0, 1}}; // at one level, around the seven products
static const addend ALL_RESULT[2] = {{0, 1, 1, 1}};

typedef struct {
    int grid, groups;          // blocks along a side; seven products each
    long rows, steps, columns; // of a block
    long deep, wide;           // how many grids of blocks there are along k and n
} cut;

static cut cut_of(const strassen_call *call) {
    cut c = {.grid = 1 << call->levels, .groups = call->levels == 2 ? 7 : 1};
    c.rows = div_up(call->m, c.grid);
    c.deep = div_up(call->k, c.grid * STEPS);
    c.wide = div_up(call->n, c.grid * COLUMNS);
    c.steps = div_up(call->k, c.grid * c.deep);
    c.columns = round_up(div_up(call->n, c.grid * c.wide), NR);
    return c;
}

static long strips_of(const cut *c, long threads) { return round_up(div_up(c->rows, STRIP), threads); }

// Where block `inner` of block `outer` lies.
static long block_row(int outer, int inner) { return outer / 2 * 2 + inner / 2; }
static long block_column(int outer, int inner) { return outer % 2 * 2 + inner % 2; }

// ---- weights: [wide][deep][products][panels][steps][NR] ----

static long grid_size(const cut *c) { return 7 * c->groups * c->steps * c->columns; }

size_t strassen_size(const strassen_call *call) {
    cut c = cut_of(call);
    return (size_t)c.wide * c.deep * grid_size(&c);
}

// A row of a panel of one sum of blocks; (row, column) is where it begins in the first block of the grid.
static void pack_row(const cut *c, long n, long k, const REAL *w, const term *outer, const term *inner, long row, long column,
                     REAL *out) {
    vec sum[2] = {{0}, {0}};
    for (int o = 0; o < 2; o++)
        for (int i = 0; i < 2; i++) {
            int sign = outer[o].sign * inner[i].sign;
            long at = row + block_row(outer[o].block, inner[i].block) * c->steps;
            long from = column + block_column(outer[o].block, inner[i].block) * c->columns;
            for (int v = 0; v < 2; v++, from += LANES)
                if (sign && at < k && from < n)
                    sum[v] += splat(sign) * load_some(w + at * n + from, n - from < LANES ? n - from : 0);
        }
    store(out, sum[0]);
    store(out + LANES, sum[1]);
}

typedef struct {
    const strassen_call *call;
    cut c;
} pack_job;

// One factor of one grid.
static void pack_item(void *job, long item, int worker) {
    const pack_job *g = job;
    const cut *c = &g->c;
    const strassen_call *call = g->call;
    const int factors = 7 * c->groups, factor = item % factors;
    const long grid = item / factors, row = grid % c->deep * c->grid * c->steps;
    const long column = grid / c->deep * c->grid * c->columns;
    REAL *out = call->packed + item * c->steps * c->columns;
    (void)worker;
    for (long j = 0; j < c->columns; j += NR)
        for (long r = 0; r < c->steps; r++, out += NR)
            pack_row(c, call->n, call->k, call->w, c->groups == 7 ? RIGHT[factor / 7] : ALL, RIGHT[factor % 7], row + r,
                     column + j, out);
}

void strassen_pack(strassen_call *call) {
    pack_job g = {call, cut_of(call)};
    pool_for(g.c.wide * g.c.deep * 7 * g.c.groups, pack_item, &g);
    const long n = call->k * call->n;
    vec squares = {0};
    for (long i = 0; i < n; i += LANES) {
        vec v = load_some(call->w + i, n - i < LANES ? n - i : 0);
        squares += v * v;
    }
    call->size = sqrtf(sum_lanes(squares) / (REAL)n);
}

// ---- sums of blocks of x ----

// A row of four blocks, each the sum of as many as `terms` rows, `length` of their elements; the rest counts as zeros.
typedef struct {
    const REAL *row[4][2];
    long length[4][2];
    REAL sign; // of the second
} block_rows;

// All of LEFT's sums, size apart.
INLINE void seven_sums(const int terms, const block_rows *b, long steps, REAL *out, long size) {
    const vec sign = splat(b->sign);
    long whole = steps;
    for (int q = 0; q < 4; q++)
        for (int t = 0; t < terms; t++) whole = min_l(whole, b->length[q][t]);
    for (long p = 0; p < steps; p += LANES, out += LANES) {
        vec x[4];
        for (int q = 0; q < 4; q++) {
            x[q] = (vec){0};
            for (int t = 0; t < terms; t++) {
                long left = b->length[q][t] - p;
                vec v = p + LANES <= whole || left >= LANES ? load(b->row[q][t] + p)
                        : left > 0                          ? load_part(b->row[q][t] + p, left)
                                                            : (vec){0};
                x[q] += t ? sign * v : v;
            }
        }
        store(out, x[0] + x[3]);
        store(out + size, x[2] + x[3]);
        store(out + 2 * size, x[0]);
        store(out + 3 * size, x[3]);
        store(out + 4 * size, x[0] + x[1]);
        store(out + 5 * size, x[2] - x[0]);
        store(out + 6 * size, x[1] - x[3]);
    }
}

// ---- products ----

// A block's tile of results: where they add up, and where they go with the last addend.
typedef struct {
    REAL *partial, *y;
    const REAL *bias;
    vec *peak;          // of each row, the largest results so far
    long rows, columns; // of y from here on
    REAL sign;
    int first, last;
} target;

INLINE void keep(const int mr, vec acc[MR][2], const target *t) {
    const vec sign = splat(t->sign);
    REAL *to = t->partial;
    if (t->first)
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            store(to + i * NR, sign * acc[i][0]);
            store(to + i * NR + LANES, sign * acc[i][1]);
        }
    else
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            store(to + i * NR, load(to + i * NR) + sign * acc[i][0]);
            store(to + i * NR + LANES, load(to + i * NR + LANES) + sign * acc[i][1]);
        }
}

// Vector v of each row.
INLINE void finish(const int mr, const int v, vec acc[MR][2], const target *t, long ldy, int activation) {
    const long left = t->columns - v * LANES, part = left < LANES ? left : 0;
    if (left <= 0) return;
    const vec sign = splat(t->sign), bias = t->bias ? load_some(t->bias + v * LANES, part) : (vec){0};
    const ivec magnitude = isplat(0x7fffffff);
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++)
        if (i < t->rows) {
            vec sum = load(t->partial + i * NR + v * LANES) + sign * acc[i][v];
            t->peak[i] = vmax((vec)((ivec)sum & magnitude), t->peak[i]);
            sum += bias;
            store_some(t->y + i * ldy + v * LANES, activation == RELU ? vmax((vec){0}, sum) : sum, part);
        }
}

// mr rows by NR columns. While it runs the panel at `ahead` comes closer, at its pace.
INLINE void tile_of(const int mr, long steps, const REAL *a, long lda, const REAL *b, const REAL *ahead, const target *t,
                    int targets, long ldy, int activation) {
    vec acc[MR][2];
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = (vec){0};
    const REAL *a3 = a + 3 * lda, *a6 = a + 6 * lda, *a9 = a + 9 * lda, *a12 = a + 12 * lda;
#pragma GCC unroll 1
    for (; steps > 0; steps--) {
        __builtin_prefetch(ahead, 0, 2);
        if (NR * sizeof(REAL) > 64) __builtin_prefetch(ahead + LANES, 0, 2);
        vec b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            const REAL *row = i < 3 ? a + i * lda : i < 6 ? a3 + (i - 3) * lda : i < 9 ? a6 + (i - 6) * lda
                            : i < 12 ? a9 + (i - 9) * lda : a12 + (i - 12) * lda;
            vec x = splat(*row);
            acc[i][0] += x * b0;
            acc[i][1] += x * b1;
        }
        a++, a3++, a6++, a9++, a12++, b += NR, ahead += NR;
    }
    for (; targets > 0; targets--, t++) {
        if (!t->last) keep(mr, acc, t);
        else {
            finish(mr, 0, acc, t, ldy, activation);
            finish(mr, 1, acc, t, ldy, activation);
        }
    }
}

static void tile(long mr, long steps, const REAL *a, long lda, const REAL *b, const REAL *ahead, const target *t, int targets,
                 long ldy, int activation) {
#define ROWS(r) case r: tile_of(r, steps, a, lda, b, ahead, t, targets, ldy, activation); break
    switch (mr) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
#if VBYTES == 64
        ROWS(7);
        ROWS(8);
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
        ROWS(13);
        ROWS(14);
#endif
    }
#undef ROWS
}

// ---- a strip ----

typedef struct {
    const strassen_call *call;
    cut c;
    long share, ld; // rows of a strip; from row to row of a sum
    size_t room;    // of a worker, in elements
    atomic_int failed;
} strassen_job;

// Rows r ... r + count of all blocks; the grid at hand is at (step, column) and its weights at `weights`.
typedef struct {
    const strassen_job *g;
    long r, count, step, column;
    int begins, ends; // whether it is the first or last grid along k
    const REAL *weights;
    REAL *sums, *partial;
    vec *peaks; // [grid][count]
} strip;

static void sum_rows(const strip *s, int group) {
    const strassen_job *g = s->g;
    const strassen_call *call = g->call;
    const term *outer = g->c.groups == 7 ? LEFT[group] : ALL;
    for (long r = 0; r < s->count; r++) {
        block_rows b = {.sign = outer[1].sign};
        for (int q = 0; q < 4; q++)
            for (int t = 0; t < 2; t++) {
                long row = block_row(outer[t].block, q) * g->c.rows + s->r + r;
                long step = s->step + block_column(outer[t].block, q) * g->c.steps;
                b.row[q][t] = call->x + row * call->k + step;
                b.length[q][t] = row < call->m ? min_l(g->c.steps, call->k - step) : 0;
            }
        REAL *out = s->sums + r * g->ld;
        if (outer[1].sign) seven_sums(2, &b, g->c.steps, out, g->share * g->ld);
        else seven_sums(1, &b, g->c.steps, out, g->share * g->ld);
    }
}

static int targets_of(const strip *s, int group, int p, long r, long j, target *out) {
    const strassen_job *g = s->g;
    const strassen_call *call = g->call;
    const addend *outer = g->c.groups == 7 ? RESULT[group] : ALL_RESULT;
    int n = 0;
    for (int o = 0; o < 2 && outer[o].sign; o++)
        for (int i = 0; i < 2 && RESULT[p][i].sign; i++) {
            const addend *inner = &RESULT[p][i];
            long down = block_row(outer[o].block, inner->block), across = block_column(outer[o].block, inner->block);
            long row = down * g->c.rows + s->r + r, column = s->column + across * g->c.columns + j;
            out[n++] = (target){
                .partial = s->partial + ((down * g->c.grid + across) * g->c.columns + j) * s->count + r * NR,
                .y = call->y + row * call->n + column, .bias = call->b ? call->b + column : NULL,
                .peak = s->peaks + down * s->count + r, .rows = call->m - row, .columns = call->n - column,
                .sign = outer[o].sign * inner->sign, .first = s->begins && outer[o].first && inner->first,
                .last = s->ends && outer[o].last && inner->last};
        }
    return n;
}

static void multiply(const strip *s, int group, int p) {
    const strassen_job *g = s->g;
    const cut *c = &g->c;
    const REAL *b = s->weights + (group * 7 + p) * c->steps * c->columns;
    for (long j = 0; j < c->columns; j += NR, b += c->steps * NR) {
        const REAL *a = s->sums + p * g->share * g->ld;
        for (long r = 0, tiles = div_up(s->count, MR), mr; r < s->count; r += mr, a += mr * g->ld, tiles--) {
            target t[4];
            mr = div_up(s->count - r, tiles);
            int n = targets_of(s, group, p, r, j, t);
            tile(mr, c->steps, a, g->ld, b, tiles == 1 ? b + c->steps * NR : b, t, n, g->call->n, g->call->activation);
        }
    }
}

// ---- rows that must not meet ----

// Of the rows that this row of the strip joins: the root of their sum of squares.
static REAL norm_of(const strassen_job *g, long r) {
    const strassen_call *call = g->call;
    vec squares[2] = {{0}, {0}};
    for (long row = r; row < call->m; row += g->c.rows) {
        const REAL *x = call->x + row * call->k;
        long p = 0;
        for (; p + 2 * LANES <= call->k; p += 2 * LANES)
            for (int i = 0; i < 2; i++) {
                vec v = load(x + p + i * LANES);
                squares[i] += v * v;
            }
        for (; p < call->k; p += LANES) {
            vec v = load_some(x + p, call->k - p < LANES ? call->k - p : 0);
            squares[0] += v * v;
        }
    }
    return sqrtf(sum_lanes(squares[0] + squares[1]));
}

// Rows whose results are small beside the numbers that were added up for them, or next to which there was a NaN or an
// infinity, once more by the plain product.
static int redo(const strip *s, const REAL *norms) {
    const strassen_call *call = s->g->call;
    int failed = 0;
    for (int down = 0; down < s->g->c.grid; down++)
        for (long r = 0, rows; r < s->count; r += rows + 1) {
            long row = down * s->g->c.rows + s->r + r;
            for (rows = 0; r + rows < s->count && row + rows < call->m; rows++) {
                REAL least = EVEN * call->size * norms[r + rows];
                if (least < TOO_LARGE && max_lanes(s->peaks[down * s->count + r + rows]) >= least) break;
            }
            if (rows)
                failed |= gemm(rows, call->n, call->k, call->x + row * call->k, call->k, 1, call->w, call->n, 1,
                               call->y + row * call->n, call->n, (epilogue){call->b, 0, call->activation});
        }
    return failed;
}

static void strip_item(void *job, long item, int worker) {
    strassen_job *g = job;
    const cut *c = &g->c;
    strip s = {.g = g, .r = item * g->share};
    s.count = min_l(g->share, c->rows - s.r);
    REAL *room = scratch(SCRATCH_PARTIAL, g->room * sizeof(REAL)); // this thread's own, far from the others'
    (void)worker;
    if (!room) {
        g->failed = 1;
        return;
    }
    s.peaks = (vec *)room;
    s.sums = (REAL *)(s.peaks + c->grid * g->share);
    s.partial = s.sums + 7 * g->share * g->ld;
    REAL norms[STRIP];
    for (long r = 0; r < s.count; r++) norms[r] = norm_of(g, s.r + r);
    for (long i = 0; i < c->grid * s.count; i++) s.peaks[i] = (vec){0};
    for (long wide = 0; wide < c->wide; wide++)
        for (long deep = 0; deep < c->deep; deep++) {
            s.step = deep * c->grid * c->steps, s.column = wide * c->grid * c->columns;
            s.begins = !deep, s.ends = deep == c->deep - 1;
            s.weights = g->call->packed + (wide * c->deep + deep) * grid_size(c);
            for (int group = 0; group < c->groups; group++) {
                sum_rows(&s, group);
                for (int p = 0; p < 7; p++) multiply(&s, group, p);
            }
        }
    if (redo(&s, norms)) g->failed = 1;
}

int strassen_product(const strassen_call *call) {
    strassen_job g = {.call = call, .c = cut_of(call)};
    g.share = div_up(g.c.rows, strips_of(&g.c, pool_size()));
    g.ld = round_up(g.c.steps, LANES);
    g.room = g.share * (g.c.grid * LANES + 7 * g.ld + g.c.grid * g.c.grid * g.c.columns);
    pool_for(div_up(g.c.rows, g.share), strip_item, &g);
    return -g.failed;
}

// In multiplications, of which additions to the results (40 and 14 for each) and sums of x (17 and 11) cost as many as that,
// measured at 128 to 1024 rows. Each strip reads all packed weights, where L3 is slow at 6 for each (Granite Rapids: two
// levels of 128 x 784 x 512 0.35 ms, the plain product 0.29; of 512 x 1024 x 1024 0.97 of its time). As two threads do it,
// since more change no bits.
static double cost_of(strassen_call call) {
    cut c = cut_of(&call);
    double weights = 7.0 * c.groups * c.deep * c.steps * c.wide * c.columns;
    double results = (double)call.m * call.n, inputs = (double)call.m * call.k;
    double sums = call.levels == 2 ? 40 * results + 17 * inputs : 14 * results + 11 * inputs;
    return weights * (c.rows + (is_intel_server() ? 6 * strips_of(&c, 2) : 0)) + sums;
}

int strassen_levels(long m, long n, long k) {
    if (tiles_win(m, n, k)) return 0; // which multiply faster than it saves
    double least = (1 - LEAST_GAIN) * m * n * k;
    int levels = 0;
    for (int l = 1; l <= 2; l++) {
        double cost = cost_of((strassen_call){.m = m, .n = n, .k = k, .levels = l});
        if (m < 2 * LEAST_ROWS << l || n * k > MOST_WEIGHTS || cost > least) continue;
        least = cost, levels = l;
    }
    return levels;
}
#endif
