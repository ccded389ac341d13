// Packed GEMM around a register tile (Goto & van de Geijn 2008; the loops as in BLIS).
//
// The plain version is three loops. Here the threads split C by columns or rows, whichever gives whole panels to all,
// and each then works alone, without a barrier:
//     n in blocks of NC (the packed block KC x NC of B stays in L2/L3)
//       k in blocks of about KC (a panel KC x NR of B streams from L1/L2)
//         m in blocks of MC (the block MC x KC of A stays in L2; packed only if it is read often)
//           panel of B, panel of A, tile
// Where the processor multiplies tiles of bfloat16, products that pay for splitting are made there: split.c.
//
// Small m reads B in place when its rows are contiguous: packing would cost as much as the product (what B itself bounds is
// made in gemm_few.c). A single column is the row C^T = B^T A^T: 2000 x 64 x 1 27 us, so 5. Rows of A read in place that lie
// pages apart share a set of the first cache, and more than its ways of them drive each other out: tiles of at most 8 such
// rows take 0.55 to 0.8 of the time (32 x 2048 x 10 34 us, so 22), and as little as others until many panels of B pass.
// Up to FETCH_ROWS rows wait for a large B longer than the prefetcher helps: while a block of it is multiplied the next is
// fetched, a line a step of the tile, 32 x 4096 x 1000 by one thread 3.8 ms, so 2.9. (Tiles that copied the next block
// themselves stalled at the first line that had not arrived.)
//
// On a core whose L3 is far (Granite Rapids: L2 180 GB/s, L3 25) all that lies beyond L2 must be asked for early, which no
// prefetcher does across the ends of pages and panels: packed weights by the first tile of a panel (Winograd's, 512 channels
// on 7x7, 1.69 ms, so 1.09), weights of tens of megabytes by a single row, in the order in which they lie (1 x 9216 x 4096
// 5.9 ms, so 4.9: 31 GB/s), a large C before its sums are made (2048 cubed by one thread 150 GF/s, so 160), the next block
// of a large A by the tiles of this one, before it is packed (0.95 to 0.99 of the time from 600 cubed on).
// Tried there without gain: two steps of the tile at a time (1.04 alone, 1.00 in a product), A packed by transposing 16 x 16
// in registers (it waits for lines, not for shuffles), blocks of 384, 512 and 768 steps (0.99 in the mean). Rows of A read in
// place by up to 16 panels of B, which were 5: 384 cubed 0.94 of the time, 3136 x 256 x 256 0.95.
#include "gemm_parts.h"
#include "arena.h"
#include "split.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

enum {
    MOST_STEPS = KC + KC / 2,
    NC = 1024,
    MC = 16 * MR,
    PACK_A_FROM = 6,        // panels of B that read A before packing A pays, where its steps are not contiguous
    PACK_ROWS_FROM = 17,    // and where they are
    LARGE_A = 1 << 20,      // bytes of A whose next block is asked for while this one is multiplied
    LARGE_C = 1 << 20,      // bytes of C that do not stay there beside B
    MEMORY_B = 1 << 23,     // bytes of B from which it is read in the order in which it lies, as it comes from memory
    FAR_C = 1 << 23,        // bytes of C from which it is written by whole rows,
    SHALLOW = 128,          // if there are so few steps that storing takes a good part of the time
    NARROW_NC = 256,        // columns of a block that stays in the second cache
    FETCH_ROWS = 300,       // rows of A, below which the next such block is fetched meanwhile
    SERIAL_FLOPS = 300000,  // below this a second thread costs more than it brings
    TILE_DEPTH = 384,       // steps of a block on tiles,
    TILE_MC = 128,          // its rows,
    TILE_NC = 512,          // and its columns: split they take 1.5 MB
    FEW_ROWS = 4            // of A: B's way to the registers takes longer than so much arithmetic
};

// ---- the tile ----

// mr rows by nv vectors, the last of which may be wanted in `part` only.
enum { NOTHING, NEXT_BLOCK, AHEAD }; // what the steps fetch besides
INLINE void tile_of(const int fetch, const int mr, const int nv, long part, long k, const REAL *a, long rs, long cs,
                    const REAL *b, long ldb, REAL *c, long ldc, tile_epilogue e) {
    vec acc[MR][2];
    // Else the addresses of all variants of a tile are computed, and spilled, before it is known which one it is.
    const long ld = hidden(ldc);
    if (!__builtin_constant_p(rs)) rs = hidden(rs);
    if (e.far_c) {
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            __builtin_prefetch(c + i * ld, 1, 2);
            if (nv > 1) __builtin_prefetch(c + i * ld + LANES, 1, 2);
        }
    }
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        acc[i][0] = e.start ? load(e.start + i * ld) : (vec){0};
        acc[i][1] = e.start && nv > 1 ? load(e.start + i * ld + LANES) : (vec){0};
    }
    const REAL *a3 = a + 3 * rs, *a6 = a + 6 * rs, *a9 = a + 9 * rs, *a12 = a + 12 * rs;
#pragma GCC unroll 1
    for (; k > 0; k--) {
        vec b0 = load(b), b1 = nv > 1 ? load(b + LANES) : b0;
#pragma GCC unroll 14
        for (int i = 0; i < mr; i++) {
            const REAL *row = i < 3 ? a + i * rs : i < 6 ? a3 + (i - 3) * rs : i < 9 ? a6 + (i - 6) * rs
                            : i < 12 ? a9 + (i - 9) * rs : a12 + (i - 12) * rs;
            vec x = splat(*row);
            acc[i][0] += x * b0;
            if (nv > 1) acc[i][1] += x * b1;
        }
        a += cs, a3 += cs, a6 += cs, a9 += cs, a12 += cs, b += ldb;
        if (fetch == NEXT_BLOCK) __builtin_prefetch(e.next, 0, 2), e.next += e.next_ld;
        if (fetch == AHEAD) {
            __builtin_prefetch(b + AHEAD_STEPS * ldb, 0, 2);
            if (nv > 1) __builtin_prefetch(b + AHEAD_STEPS * ldb + LANES, 0, 2);
        }
    }
    ldc = hidden(ldc);
    vec bias[2] = {{0}, {0}};
    for (int j = 0; e.bias && j < nv; j++)
        bias[j] = part && j == nv - 1 ? load_part(e.bias + j * LANES, part) : load(e.bias + j * LANES);
#pragma GCC unroll 14
    for (int i = 0; i < mr; i++) {
        const REAL *add = e.add ? e.add + i * ldc : NULL;
        finish_sum(acc[i][0], bias[0], add, c + i * ldc, nv > 1 ? 0 : part, e.activation);
        if (nv > 1) finish_sum(acc[i][1], bias[1], add ? add + LANES : NULL, c + i * ldc + LANES, part, e.activation);
    }
}

// A row alone: the sums of even and of odd steps, which do not wait for each other. One that is left over beside others adds
// as they do, or bits would depend on where threads cut the rows.
INLINE void row_of(const int fetch, const int nv, long part, long k, const REAL *a, long cs, const REAL *b, long ldb, REAL *c,
                   tile_epilogue e) {
    vec even[2] = {{0}, {0}}, odd[2] = {{0}, {0}};
#pragma GCC unroll 1
    for (; k >= STEPS; k -= STEPS, a += STEPS * cs, b += STEPS * ldb)
#pragma GCC unroll 8
        for (int s = 0; s < STEPS; s++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) {
                if (fetch == AHEAD) __builtin_prefetch(b + (s + AHEAD_STEPS / 4) * ldb + j * LANES);
                if (s & 1) odd[j] += splat(a[s * cs]) * load(b + s * ldb + j * LANES);
                else even[j] += splat(a[s * cs]) * load(b + s * ldb + j * LANES);
            }
    for (; k > 0; k--, a += cs, b += ldb)
        for (int j = 0; j < nv; j++) even[j] += splat(*a) * load(b + j * LANES);
    for (int j = 0; j < nv; j++) {
        long lanes = j == nv - 1 ? part : 0;
        vec bias = e.bias ? load_some(e.bias + j * LANES, lanes) : (vec){0};
        finish_sum(even[j] + odd[j], bias, e.add ? e.add + j * LANES : NULL, c + j * LANES, lanes, e.activation);
    }
}

// The strides that occur as constants: packed panels (rs = 1, cs = MR, ldb = NR), rows (cs = 1).
INLINE void tile_strided(const int mr, const int nv, long part, long k, const REAL *a, long rs, long cs, const REAL *b,
                         long ldb, REAL *c, long ldc, tile_epilogue e) {
    if (ldb == NR && rs == 1 && cs == MR) {
        if (e.next) tile_of(NEXT_BLOCK, mr, nv, part, k, a, 1, MR, b, NR, c, ldc, e);
        else if (e.ahead) tile_of(AHEAD, mr, nv, part, k, a, 1, MR, b, NR, c, ldc, e);
        else tile_of(NOTHING, mr, nv, part, k, a, 1, MR, b, NR, c, ldc, e);
    } else if (ldb == NR && cs == 1) {
        if (e.ahead) tile_of(AHEAD, mr, nv, part, k, a, rs, 1, b, NR, c, ldc, e);
        else tile_of(NOTHING, mr, nv, part, k, a, rs, 1, b, NR, c, ldc, e);
    } else
        tile_of(NOTHING, mr, nv, part, k, a, rs, cs, b, ldb, c, ldc, e);
}

// A function for each height, or the registers of the smaller loops would be dealt out for all of them together.
#define ROWS(n)                                                                                                        \
    static NOINLINE void tile_##n(long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c,   \
                                  long ldc, const tile_epilogue *e) {                                                  \
        long part = nr % LANES;                                                                                        \
        if (n == 1 && e->alone && nr > LANES && e->ahead) row_of(AHEAD, 2, part, k, a, cs, b, ldb, c, *e);             \
        else if (n == 1 && e->alone && nr > LANES) row_of(NOTHING, 2, part, k, a, cs, b, ldb, c, *e);                  \
        else if (n == 1 && e->alone) row_of(NOTHING, 1, part, k, a, cs, b, ldb, c, *e);                                \
        else if (nr > LANES) tile_strided(n, 2, part, k, a, rs, cs, b, ldb, c, ldc, *e);                               \
        else tile_of(NOTHING, n, 1, part, k, a, rs, cs, b, ldb, c, ldc, *e);                                           \
    }
ROWS(1)
ROWS(2)
ROWS(3)
ROWS(4)
ROWS(5)
ROWS(6)
#if VBYTES == 64
ROWS(7)
ROWS(8)
ROWS(9)
ROWS(10)
ROWS(11)
ROWS(12)
ROWS(13)
ROWS(14)
#endif
#undef ROWS

const tile_function tiles_of_rows[MR + 1] = {
    NULL, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6,
#if VBYTES == 64
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
#endif
};

void gemm_rows(long rows, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
               epilogue e) {
    rows_of_tiles(rows, nr, k, a, rs, cs, b, ldb, c, ldc,
                  (tile_epilogue){.bias = e.bias, .add = e.add ? c : NULL, .activation = e.activation, .ahead = 1});
}

// ---- packing ----

// Four runs of four that lie `stride` apart, transposed: out[i * ld + j] = in[j * stride + i].
#if defined(__SSE__) && REAL_BITS == 32
#include <immintrin.h>
enum { RUN = 4 };
INLINE void transpose_runs(const REAL *in, long stride, REAL *out, long ld) {
    __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + stride), c = _mm_loadu_ps(in + 2 * stride);
    __m128 d = _mm_loadu_ps(in + 3 * stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a);
    _mm_storeu_ps(out + ld, b);
    _mm_storeu_ps(out + 2 * ld, c);
    _mm_storeu_ps(out + 3 * ld, d);
}
#else
enum { RUN = 1 };
INLINE void transpose_runs(const REAL *in, long stride, REAL *out, long ld) {
    (void)stride, (void)ld;
    *out = *in;
}
#endif

// Where runs along p are contiguous they are transposed, STRIP at a time, so that the lines of the panel are written while
// they are in L1.
void interleave(long k, long n, const REAL *in, long rs, long cs, REAL *out, long ld) {
    enum { STRIP = 32 };
    for (long p = 0; cs == 1 && p < k; p++) {
        long q = 0;
        for (; q + LANES <= n; q += LANES) store(out + p * ld + q, load(in + p * rs + q));
        if (q < n) store_part(out + p * ld + q, load_part(in + p * rs + q, n - q), n - q);
    }
    if (cs == 1) return;
    for (long p0 = 0; p0 < k; p0 += STRIP) {
        long p1 = min_l(p0 + STRIP, k), q = 0;
        for (; rs == 1 && q + RUN <= n; q += RUN) {
            long p = p0;
            for (; p + RUN <= p1; p += RUN) transpose_runs(in + p + q * cs, cs, out + p * ld + q, ld);
            for (; p < p1; p++)
                for (long i = q; i < q + RUN; i++) out[p * ld + i] = in[p + i * cs];
        }
        for (; q < n; q++)
            for (long p = p0; p < p1; p++) out[p * ld + q] = in[p * rs + q * cs];
    }
}

// Some rows of all panels before the next: B is read by whole rows, as the prefetcher expects and the pages lie.
void pack_columns(long k, long n, const REAL *b, long rs, long cs, REAL *out) {
    enum { STRIPE = 32 };
    for (long p0 = 0; p0 < k; p0 += STRIPE)
        for (long j = 0; j < n; j += NR) {
            long nr = min_l(NR, n - j), steps = min_l(STRIPE, k - p0);
            const REAL *source = b + p0 * rs + j * cs;
            REAL *panel = out + j * k + p0 * NR;
            if (cs == 1 && nr == NR)
                for (long p = 0; p < steps; p++)
                    for (long q = 0; q < NR; q += LANES) store(panel + p * NR + q, load(source + p * rs + q));
            else {
                if (nr < NR) memset(panel, 0, (size_t)(steps * NR) * sizeof(REAL));
                interleave(steps, nr, source, rs, cs, panel, NR);
            }
        }
}

// out[m / MR][k][MR]
static void pack_rows(long m, long k, const REAL *a, long rs, long cs, REAL *out) {
    for (long i = 0; i < m; i += MR, out += k * MR) interleave(k, min_l(MR, m - i), a + i * rs, cs, rs, out, MR);
}

void pack_blocks(long k, long n, const REAL *b, long rs, long cs, REAL *out) {
    for (long p = 0, depth = depth_of(k); p < k; p += depth)
        pack_columns(min_l(depth, k - p), n, b + p * rs, rs, cs, out + p * round_up(n, NR));
}

static long tile_depth(long k) { return round_up(div_up(k, max_l(1, div_up(k, TILE_DEPTH))), SPLIT_STEPS); }

size_t packed_size(long m, long n, long k) {
    if (n == 1) return (size_t)k;
    return tiles_win(m, n, k) ? split_size(n, k) / (sizeof(REAL) / 2) : blocks_size(k, n);
}

void pack_weights(long m, long n, long k, const REAL *b, long rs, long cs, REAL *out) {
    for (long p = 0; n == 1 && p < k; p++) out[p] = b[p * rs];
    if (n == 1) return;
    if (!tiles_win(m, n, k)) return pack_blocks(k, n, b, rs, cs, out);
    for (long p = 0, depth = tile_depth(k); p < k; p += depth)
        split_columns(min_l(depth, k - p), n, b + p * rs, rs, cs, (bf16 *)out + split_size(n, p));
}

// ---- one thread's part ----

enum { PACKED_SIZE = MOST_STEPS * NC + MC * MOST_STEPS };
_Static_assert((TILE_MC + TILE_NC) * TILE_DEPTH * PIECES / 2 <= PACKED_SIZE, "what is split for tiles has room there");

// A block of A to come from far away, of whose lines each tile before it asks for a share.
typedef struct {
    const REAL *a;
    long stride, lines, total, share, asked;
} upcoming;

static upcoming upcoming_block(const gemm_job *g, const REAL *a, long m, long k, long tiles) {
    const int by_row = g->acs == 1;
    const long lines = div_up(by_row ? k : m, LANES), total = lines * (by_row ? m : k);
    return (upcoming){a, by_row ? g->ars : g->acs, lines, total, .share = div_up(total, tiles)};
}

static void ask_for_share(upcoming *u) {
    for (long end = min_l(u->total, u->asked + u->share); u->asked < end; u->asked++)
        __builtin_prefetch(u->a + u->asked / u->lines * u->stride + u->asked % u->lines * LANES, 0, 2);
}

// Rows i ... i + m by columns j ... j + n of C. A few rows pass over packed weights once, a panel of columns after the
// other, so that a next product can begin where this one ends. Tiles fetch the next block of a B that comes from far away,
// a line a step, since packing would wait for it.
static void vector_part(const gemm_job *g, long i, long m, long j, long n, REAL *packed_b) {
    REAL *packed_a = packed_b + MOST_STEPS * NC, *c = g->c + i * g->ldc + j;
    const REAL *a = g->a + i * g->ars, *b = g->b + j * g->bcs, *add = g->e.add ? g->e.add + i * g->ldc + j : NULL;
    const int far = !g->weights && m < (g->bcs == 1 ? FETCH_ROWS : PACK_B_FROM) && b_bytes(g) > FAR_B;
    const int in_place = !g->weights && m < PACK_B_FROM && g->bcs == 1 && !far;
    const long width = g->weights && m <= FEW_ROWS && b_bytes(g) < MEMORY_B ? NR : far ? NARROW_NC : NC;
    const long blocks = div_up(n, width), depth = depth_of(g->k);
    const int far_a = m * g->k * (long)sizeof(REAL) > LARGE_A;
    const int far_c = g->m * g->n * (long)sizeof(REAL) > LARGE_C;
    const long pack_from = g->acs == 1 ? PACK_ROWS_FROM : PACK_A_FROM;
    const long high = g->k <= SHALLOW && (size_t)g->m * g->n * sizeof(REAL) > FAR_C ? MR : MC;
    for (long block = 0; block < blocks; block++)
        for (long p0 = 0; p0 < g->k; p0 += depth) {
            long j0 = (g->from_the_end ? blocks - 1 - block : block) * width;
            long nc = min_l(width, n - j0), kc = min_l(depth, g->k - p0);
            int last = p0 + kc == g->k;
            const REAL *bs = b + p0 * g->brs + j0 * g->bcs, *panels = packed_b;
            const REAL *next = last ? b + j0 + width : bs + depth * g->brs;
            if (!far || g->bcs != 1 || (last && block + 1 == blocks)) next = NULL;
            if (g->weights) panels = g->weights + p0 * round_up(g->n, NR) + (j + j0) * kc;
            else if (in_place) {
                long whole = nc / NR * NR; // reading a ragged panel in place would run over the end of its rows
                if (whole < nc) pack_columns(kc, nc - whole, bs + whole, g->brs, 1, packed_b + whole * kc);
            } else
                pack_columns(kc, nc, bs, g->brs, g->bcs, packed_b);
            for (long i0 = 0; i0 < m; i0 += high) {
                long mc = min_l(high, m - i0);
                const REAL *as = a + i0 * g->ars + p0 * g->acs;
                int pack_a = (nc >= pack_from * NR || next) && mc >= MR;
                upcoming soon = {0};
                if (pack_a) {
                    const long tiles = div_up(nc, NR) * div_up(mc, MR), left = m - i0 - mc;
                    pack_rows(mc, kc, as, g->ars, g->acs, packed_a);
                    if (far_a && left) soon = upcoming_block(g, as + mc * g->ars, min_l(high, left), kc, tiles);
                    else if (far_a && !last) soon = upcoming_block(g, a + (p0 + kc) * g->acs, min_l(high, m), kc, tiles);
                }
                for (long q = 0; q < nc; q += NR) {
                    long nr = min_l(NR, nc - q), at = i0 * g->ldc + j0 + q;
                    int whole = in_place && nr == NR;
                    const REAL *bt = whole ? bs + q : panels + q * kc;
                    tile_epilogue e = {
                        .bias = last && g->e.bias ? g->e.bias + j + j0 + q : NULL,
                        .add = p0 > 0 ? c + at : add ? add + at : NULL, .activation = last ? g->e.activation : LINEAR,
                        .far_c = far_c, .ahead = g->weights && (m > 1 || b_bytes(g) >= MEMORY_B), .alone = g->m == 1,
                        .next_ld = g->brs,
                    };
                    if (!pack_a) rows_of_tiles(mc, nr, kc, as, g->ars, g->acs, bt, whole ? g->brs : NR, c + at, g->ldc, e);
                    else
                        for (long r = 0; r < mc; r += MR, e.add += e.add ? MR * g->ldc : 0, e.ahead = 0) {
                            ask_for_share(&soon);
                            e.next = next && i0 + r < 2 * MR ? next + q + r / MR * LANES : NULL; // two tiles, two vectors
                            tile(min_l(MR, mc - r), nr, kc, packed_a + r * kc, 1, MR, bt, whole ? g->brs : NR,
                                 c + at + r * g->ldc, g->ldc, e);
                        }
                }
            }
        }
}

// ---- on tiles of bfloat16: the same loops around the blocks of split.c ----

// TILE_MC rows of A are split once for TILE_NC columns of B, or for all where they come split.
static void bfloat16_part(const gemm_job *g, long i, long m, long j, long n, REAL *packed) {
    bf16 *rows = (bf16 *)packed, *columns = rows + split_size(TILE_MC, TILE_DEPTH);
    const REAL *a = g->a + i * g->ars, *b = g->b + j * g->bcs, *add = g->e.add ? g->e.add + i * g->ldc + j : NULL;
    const long width = g->weights ? n : TILE_NC, depth = tile_depth(g->k);
    REAL *c = g->c + i * g->ldc + j;
    tiles_begin();
    for (long j0 = 0; j0 < n; j0 += width)
        for (long p0 = 0; p0 < g->k; p0 += depth) {
            const long nc = min_l(width, n - j0), kc = min_l(depth, g->k - p0), panel = split_size(SPLIT_SIDE, kc);
            const int last = p0 + kc == g->k;
            const bf16 *panels = columns;
            if (g->weights) panels = (const bf16 *)g->weights + split_size(g->n, p0) + (j + j0) / SPLIT_SIDE * panel;
            else split_columns(kc, nc, b + p0 * g->brs + j0 * g->bcs, g->brs, g->bcs, columns);
            for (long i0 = 0; i0 < m; i0 += TILE_MC) {
                const long mc = min_l(TILE_MC, m - i0);
                split_rows(mc, kc, a + i0 * g->ars + p0 * g->acs, g->ars, g->acs, rows);
                for (long r = 0; r < nc; r += SPLIT_SIDE) {
                    const long q = g->from_the_end ? (div_up(nc, SPLIT_SIDE) - 1) * SPLIT_SIDE - r : r;
                    const long at = i0 * g->ldc + j0 + q, nr = min_l(SPLIT_SIDE, nc - q);
                    const int activation = last ? g->e.activation : LINEAR;
                    split_product(mc, nr, kc, rows, panels + q / SPLIT_SIDE * panel,
                                  last && g->e.bias ? g->e.bias + j + j0 + q : NULL, p0 > 0 ? c + at : add ? add + at : NULL,
                                  activation > RELU ? LINEAR : activation, c + at, g->ldc);
                    if (activation > RELU) apply_activation(mc, nr, c + at, g->ldc, activation);
                }
            }
        }
    tiles_end();
}

static void gemm_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    REAL *packed = g->packed + (size_t)worker * PACKED_SIZE;
    long from = item * g->share;
    if (HAS_TILES && g->on_tiles && g->by_rows) bfloat16_part(g, from, min_l(g->share, g->m - from), 0, g->n, packed);
    else if (HAS_TILES && g->on_tiles) bfloat16_part(g, 0, g->m, from, min_l(g->share, g->n - from), packed);
    else if (g->by_rows) vector_part(g, from, min_l(g->share, g->m - from), 0, g->n, packed);
    else vector_part(g, 0, g->m, from, min_l(g->share, g->n - from), packed);
}

// k = 0: the sum is empty, only the epilogue remains.
static void empty_product(const gemm_job *g) {
    tile_epilogue e = g->e;
    for (long i = 0; i < g->m; i++)
        for (long j = 0, at = i * g->ldc; j < g->n; j++, at++) g->c[at] = (e.add ? e.add[at] : 0) + (e.bias ? e.bias[j] : 0);
    apply_activation(g->m, g->n, g->c, g->ldc, e.activation);
}

static int run_parts(gemm_job *g) {
    g->packed = scratch(SCRATCH_GEMM, (size_t)pool_size() * PACKED_SIZE * sizeof(REAL));
    if (!g->packed) return -1;
    pool_for(div_up(g->by_rows ? g->m : g->n, g->share), gemm_item, g);
    return 0;
}

static int run(gemm_job *g) {
    if (!g->m || !g->n) return 0;
    if (!g->k) return empty_product(g), 0;
    long m = g->m, n = g->n, parts = 2.0 * max_l(m, FEW_ROWS) * n * g->k < SERIAL_FLOPS ? 1 : pool_size();
    g->on_tiles = tiles_win(m, n, g->k);
    g->by_rows = m >= 2 * n || (n < 2 * NR * parts && m > n); // a tall C: packing B twice is little, and rows lie apart
    const long height = g->on_tiles ? SPLIT_SIDE : MR, rows = round_up(div_up(m, parts), height);
    if (g->on_tiles && g->weights && 8 * rows * parts <= 9 * m) g->by_rows = 1; // no row of A is split twice
    g->share = g->by_rows ? rows : round_up(div_up(n, parts), NR);
    if (g->on_tiles) return run_parts(g);
    const gemm_way way = few_rows_way(g);
    return way ? way(g, parts) : run_parts(g);
}

// A column is the row C^T = B^T A^T: A is read once, by whole rows, and no lane of a tile is idle.
static int run_column(gemm_job *g) {
    gemm_job row = {.m = 1, .n = g->m, .k = g->k, .a = g->b, .acs = g->brs, .b = g->a, .brs = g->acs, .bcs = g->ars, .c = g->c,
                    .ldc = g->m, .e = g->e};
    if (g->e.bias) { // one number, where a row would have one for each element
        for (long i = 0; i < g->m; i++) g->c[i] = *g->e.bias + (g->e.add ? g->e.add[i] : 0);
        row.e.bias = NULL, row.e.add = g->c;
    }
    return run(&row);
}

int gemm(long m, long n, long k, const REAL *a, long ars, long acs, const REAL *b, long brs, long bcs, REAL *c,
         long ldc, epilogue e) {
    gemm_job g = {.m = m, .n = n, .k = k, .ars = ars, .acs = acs, .brs = brs, .bcs = bcs, .ldc = ldc, .a = a, .b = b,
                  .c = c, .e = {.bias = e.bias, .add = e.add ? c : NULL, .activation = e.activation}};
    return n == 1 && ldc == 1 ? run_column(&g) : run(&g);
}

int gemm_packed(long m, long n, long k, const REAL *a, long lda, const REAL *weights, const REAL *bias,
                const REAL *residual, int activation, int from_the_end, REAL *c) {
    gemm_job g = {.m = m, .n = n, .k = k, .ars = lda, .acs = 1, .ldc = n, .a = a, .b = weights, .weights = weights, .c = c,
                  .e = {.bias = bias, .add = residual, .activation = activation}, .from_the_end = from_the_end};
    if (n > 1) return run(&g);
    g.b = weights, g.brs = 1;
    return run_column(&g);
}

void apply_activation(long rows, long n, REAL *y, long ld, int activation) {
    if (activation == LINEAR) return;
    if (ld == n) n *= rows, rows = 1; // rows that follow one another fill their vectors
    for (long r = 0; r < rows; r++, y += ld)
        for (long j = 0; j < n; j += LANES) {
            long left = n - j;
            vec v = load_left(y + j, left);
            store_left(y + j, activation == RELU ? vmax((vec){0}, v) : activation == SIGMOID ? vsigmoid(v) : vtanh(v), left);
        }
}
