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
// Small m reads B in place when its rows are contiguous: packing would cost as much as the product. A large B then comes
// from beyond the second cache, and is read by whole rows, some side by side, in blocks of steps whose sums are put together
// at the end, so that each core passes over a part of B from one end to the other: panel by panel each line lies in another
// page, which no prefetcher follows, and rows a multiple of 4 KB apart drive each other out of the first cache. One row by
// 1024 x 1024: 140 us, so 41; eight by 4096 x 4096: 9 ms, so 3.3. What comes from memory is asked for one block of rows
// before it is read: a row by 25088 x 512 0.7 of the time, twelve rows 0.48. A single column is the row C^T = B^T A^T: 2000
// x 64 x 1 27 us, so 5.
// A few rows against a transposed B are inner products; with more of them C^T = B^T A^T is computed, whose tiles read B
// where it lies, and A is packed: 32 x 784 of 512 steps by one thread 285 us, so 232. Up to FETCH_ROWS rows wait for a large
// B longer than the prefetcher helps: while a block of it is multiplied the next is fetched, a line a step of the tile, 32 x
// 4096 x 1000 by one thread 3.8 ms, so 2.9. (Tiles that copied the next block themselves stalled at the first line that had
// not arrived.)
//
// On a core whose L3 is far (Granite Rapids: L2 180 GB/s, L3 25) all that lies beyond L2 must be asked for early, which no
// prefetcher does across the ends of pages and panels: packed weights by the first tile of a panel (Winograd's, 512 channels
// on 7x7, 1.69 ms, so 1.09), weights of tens of megabytes by a single row, in the order in which they lie (1 x 9216 x 4096
// 5.9 ms, so 4.9: 31 GB/s), a large C before its sums are made (2048 cubed by one thread 150 GF/s, so 160), the next block
// of a large A by the tiles of this one, before it is packed (0.95 to 0.99 of the time from 600 cubed on).
// Tried there without gain: two steps of the tile at a time (1.04 alone, 1.00 in a product), A packed by transposing 16 x 16
// in registers (it waits for lines, not for shuffles), blocks of 384, 512 and 768 steps (0.99 in the mean). Rows of A read in
// place by up to 16 panels of B, which were 5: 384 cubed 0.94 of the time, 3136 x 256 x 256 0.95.
#include "gemm.h"
#include "arena.h"
#include "split.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

enum {
    KC = VBYTES == 64 ? 256 : 384, // steps of a block, about: a panel of B stays in L1 beside the panels of A that pass
    MOST_STEPS = KC + KC / 2,
    NC = 1024,
    MC = 16 * MR,
    PACK_A_FROM = 6,        // panels of B that read A before packing A pays, where its steps are not contiguous
    PACK_ROWS_FROM = 17,    // and where they are, unless rows lie pages apart and drive each other out of the first cache
    PAGE_BYTES = 4096,
    PACK_B_FROM = 3 * MR,   // rows of A before packing B pays
    LARGE_A = 1 << 20,      // bytes of A whose next block is asked for while this one is multiplied
    LARGE_B = 1 << 19,      // bytes of B that do not stay in the second cache beside other arrays
    FAR_B = 1 << 22,        // and of one whose pages the processor does not remember
    LARGE_C = 1 << 20,      // bytes of C that do not stay there beside B
    MEMORY_B = 1 << 23,     // bytes of B from which it is read in the order in which it lies, as it comes from memory
    AHEAD_B = 1 << 24,      // and from which the rows that follow are asked for
    FAR_C = 1 << 23,        // bytes of C from which it is written by whole rows,
    SHALLOW = 128,          // if there are so few steps that storing takes a good part of the time
    STREAM_ROWS = 16,       // of A, up to which such a B is not packed
    STREAM_STEPS = 16,      // rows of B read side by side
    NARROW_NC = 256,        // columns of a block that stays in the second cache
    FETCH_ROWS = 300,       // rows of A, below which the next such block is fetched meanwhile
    DOT_TILE = 4,           // rows that share what is loaded of a transposed B; up to as many, it is not packed
    DOT_ROWS = 14,          // and up to as many of at least DOT_STEPS steps
    DOT_STEPS = 128,
    DOTS_BEFORE = 11,       // and before A is packed instead, where the rows of B lie no pages apart
    COLUMNS = 48,           // of C that are multiplied at a time as rows of C^T,
    SHARE = 512,            // and as many that packing A for them is little
    PACKED_A = 1 << 22,     // elements of A that each thread packs at most
    SERIAL_FLOPS = 300000,  // below this a second thread costs more than it brings
    TILE_DEPTH = 384,       // steps of a block on tiles,
    TILE_MC = 128,          // its rows,
    TILE_NC = 512,          // and its columns: split they take 1.5 MB
    FEW_ROWS = 4            // of A: B's way to the registers takes longer than so much arithmetic
};

// ---- the tile ----

// An epilogue with what is added as an address: C itself, an array like C, or NULL. The sums of two rows and more go on from
// `start`, an array like C but of whole vectors, or begin with zero. Each step fetches a vector for the next block, next_ld
// elements after the last. `far_c`: C's lines come from beyond the second cache, and are asked for before the sums are made;
// `ahead`: B's may, and are asked for some steps before they are read.
typedef struct {
    const REAL *bias, *add;
    int activation, far_c, ahead;
    const REAL *start, *next;
    long next_ld;
} ending;

// mr rows by nv vectors, the last of which may be wanted in `part` only.
enum { NOTHING, NEXT_BLOCK, AHEAD }; // what the steps fetch besides
INLINE void tile_of(const int fetch, const int mr, const int nv, long part, long k, const REAL *a, long rs, long cs,
                    const REAL *b, long ldb, REAL *c, long ldc, ending e) {
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

// One row: the sums of even and of odd steps, which do not wait for each other.
enum { STEPS = 8 };
INLINE void row_of(const int fetch, const int nv, long part, long k, const REAL *a, long cs, const REAL *b, long ldb, REAL *c,
                   ending e) {
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
                         long ldb, REAL *c, long ldc, ending e) {
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
                                  long ldc, const ending *e) {                                                         \
        long part = nr % LANES;                                                                                        \
        if (n == 1 && nr > LANES && e->ahead) row_of(AHEAD, 2, part, k, a, cs, b, ldb, c, *e);                         \
        else if (n == 1 && nr > LANES) row_of(NOTHING, 2, part, k, a, cs, b, ldb, c, *e);                              \
        else if (n == 1) row_of(NOTHING, 1, part, k, a, cs, b, ldb, c, *e);                                            \
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

typedef void (*tile_function)(long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
                              const ending *e);
static const tile_function tiles_of_rows[MR + 1] = {
    NULL, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6,
#if VBYTES == 64
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
#endif
};

static void tile(long mr, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
                 ending e) {
    tiles_of_rows[mr](nr, k, a, rs, cs, b, ldb, c, ldc, &e);
    if (e.activation > RELU) apply_activation(mr, nr, c, ldc, e.activation);
}

static void rows_of_tiles(long rows, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c,
                          long ldc, ending e) {
    for (long tiles = div_up(rows, MR), mr; rows > 0; rows -= mr, tiles--, a += mr * rs, c += mr * ldc) {
        mr = div_up(rows, tiles);
        tile(mr, nr, k, a, rs, cs, b, ldb, c, ldc, e);
        e.ahead = 0;
        if (e.add) e.add += mr * ldc;
        if (e.start) e.start += mr * ldc;
    }
}

void gemm_rows(long rows, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
               epilogue e) {
    rows_of_tiles(rows, nr, k, a, rs, cs, b, ldb, c, ldc,
                  (ending){.bias = e.bias, .add = e.add ? c : NULL, .activation = e.activation, .ahead = 1});
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

// Steps of a block of k in all: blocks of like depth, since a shallow one would do little between reading C and writing it
// (784 as 272, 272 and 240, not 16 steps after three times 256). In every way to multiply, so that all add in one order.
static long depth_of(long k) { return max_l(STREAM_STEPS, round_up(div_up(k, max_l(1, (k + KC / 2) / KC)), STREAM_STEPS)); }

// Blocks of depth_of(k) rows of B, each as pack_columns makes it; a single column as it is.
static size_t blocks_size(long k, long n) { return (size_t)k * round_up(n, NR); }

static void pack_blocks(long k, long n, const REAL *b, long rs, long cs, REAL *out) {
    for (long p = 0, depth = depth_of(k); p < k; p += depth)
        pack_columns(min_l(depth, k - p), n, b + p * rs, rs, cs, out + p * round_up(n, NR));
}

static long tile_depth(long k) { return round_up(div_up(k, max_l(1, div_up(k, TILE_DEPTH))), SPLIT_STEPS); }

size_t packed_size(long m, long n, long k) {
    if (n == 1) return (size_t)k;
    return takes_tiles(m, n, k) ? split_size(n, k) / (sizeof(REAL) / 2) : blocks_size(k, n);
}

void pack_weights(long m, long n, long k, const REAL *b, long rs, long cs, REAL *out) {
    for (long p = 0; n == 1 && p < k; p++) out[p] = b[p * rs];
    if (n == 1) return;
    if (!takes_tiles(m, n, k)) return pack_blocks(k, n, b, rs, cs, out);
    for (long p = 0, depth = tile_depth(k); p < k; p += depth)
        split_columns(min_l(depth, k - p), n, b + p * rs, rs, cs, (bf16 *)out + split_size(n, p));
}

// ---- one thread's part ----

typedef struct {
    long m, n, k, ars, acs, brs, bcs, ldc, share;
    int on_tiles, by_rows, from_the_end; // from_the_end: a thread's columns in the reverse order
    const REAL *a, *b, *weights; // b, or packed as a whole
    REAL *c, *packed;
    ending e;
} gemm_job;

enum { PACKED_SIZE = MOST_STEPS * NC + MC * MOST_STEPS };
_Static_assert((TILE_MC + TILE_NC) * TILE_DEPTH * PIECES / 2 <= PACKED_SIZE, "what is split for tiles has room there");

static size_t b_bytes(const gemm_job *g) { return (size_t)g->k * g->n * sizeof(REAL); }

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
static void gemm_part(const gemm_job *g, long i, long m, long j, long n, REAL *packed_b) {
    REAL *packed_a = packed_b + MOST_STEPS * NC, *c = g->c + i * g->ldc + j;
    const REAL *a = g->a + i * g->ars, *b = g->b + j * g->bcs, *add = g->e.add ? g->e.add + i * g->ldc + j : NULL;
    const int far = !g->weights && m < (g->bcs == 1 ? FETCH_ROWS : PACK_B_FROM) && b_bytes(g) > FAR_B;
    const int in_place = !g->weights && m < PACK_B_FROM && g->bcs == 1 && !far;
    const long width = g->weights && m <= FEW_ROWS && b_bytes(g) < MEMORY_B ? NR : far ? NARROW_NC : NC;
    const long blocks = div_up(n, width), depth = depth_of(g->k);
    const int far_a = m * g->k * (long)sizeof(REAL) > LARGE_A;
    const int far_c = g->m * g->n * (long)sizeof(REAL) > LARGE_C;
    const long pack_from = g->acs == 1 && g->ars * (long)sizeof(REAL) % PAGE_BYTES ? PACK_ROWS_FROM : PACK_A_FROM;
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
                    ending e = {.bias = last && g->e.bias ? g->e.bias + j + j0 + q : NULL,
                                .add = p0 > 0 ? c + at : add ? add + at : NULL, .activation = last ? g->e.activation : LINEAR,
                                .far_c = far_c, .ahead = g->weights && (m > 1 || b_bytes(g) >= MEMORY_B), .next_ld = g->brs};
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
static void tiles_part(const gemm_job *g, long i, long m, long j, long n, REAL *packed) {
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

// Rows against the rows of a transposed B: inner products along both, B read once and not packed.
INLINE void inner_step(const int mr, const REAL *a, long ars, const REAL *const rows[4], long p, long lanes,
                       vec acc[DOT_TILE][4]) {
    vec x[DOT_TILE];
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) x[i] = load_some(a + i * ars + p, lanes);
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        vec y = load_some(rows[q] + p, lanes);
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++) acc[i][q] += x[i] * y;
    }
}

INLINE void inner_tile(const int mr, const gemm_job *g, const REAL *a, const REAL *const rows[4], int columns, REAL *c,
                       const REAL *bias, const REAL *add) {
    vec acc[DOT_TILE][4] = {0}; // loads that ask each time whether a vector is whole would take twice as long
    const long whole = g->k / LANES * LANES;
    for (long p = 0; p < whole; p += LANES) inner_step(mr, a, g->ars, rows, p, 0, acc);
    if (whole < g->k) inner_step(mr, a, g->ars, rows, whole, g->k - whole, acc);
    for (int i = 0; i < mr; i++) {
        REAL sums[4];
        add_lanes_of_four(acc[i], sums);
        for (int q = 0; q < columns; q++)
            c[i * g->ldc + q] = sums[q] + (bias ? bias[q] : 0) + (add ? add[i * g->ldc + q] : 0);
    }
}

static void inner_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long from = item * g->share, to = min_l(from + g->share, g->n);
    (void)worker;
    for (long j = from; j < to; j += 4) {
        const int columns = (int)min_l(4, to - j);
        const REAL *rows[4];
        for (int q = 0; q < 4; q++) rows[q] = g->b + (j + (q < columns ? q : 0)) * g->bcs;
        for (long i = 0; i < g->m; i += DOT_TILE) {
            const REAL *a = g->a + i * g->ars, *bias = g->e.bias ? g->e.bias + j : NULL;
            const REAL *add = g->e.add ? g->e.add + i * g->ldc + j : NULL;
            REAL *c = g->c + i * g->ldc + j;
            switch (min_l(DOT_TILE, g->m - i)) {
                case 1: inner_tile(1, g, a, rows, columns, c, bias, add); break;
                case 2: inner_tile(2, g, a, rows, columns, c, bias, add); break;
                case 3: inner_tile(3, g, a, rows, columns, c, bias, add); break;
                case 4: inner_tile(4, g, a, rows, columns, c, bias, add); break;
            }
        }
    }
    apply_activation(g->m, to - from, g->c + from, g->ldc, g->e.activation);
}

// ---- some rows against a large transposed B ----

// Some columns of C, as rows of C^T = B^T A^T: A is packed, and B read where it lies.
static void transposed_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long m = g->m, k = g->k, depth = depth_of(k), to = min_l((item + 1) * g->share, g->n);
    REAL *packed = g->packed + (size_t)worker * (blocks_size(k, m) + COLUMNS * m), *block = packed + blocks_size(k, m);
    pack_blocks(k, m, g->a, g->acs, g->ars, packed);
    for (long j = item * g->share; j < to; j += COLUMNS) {
        const long columns = min_l(COLUMNS, to - j);
        for (long p = 0; p < k; p += depth)
            for (long q = 0, kc = min_l(depth, k - p); q < m; q += NR)
                rows_of_tiles(columns, min_l(NR, m - q), kc, g->b + j * g->bcs + p, g->bcs, 1,
                              packed + p * round_up(m, NR) + q * kc, NR, block + q, m,
                              (ending){.add = p ? block + q : NULL});
        // A few rows at a time: if they lie a power of two apart, more of them would drive each other out of the cache.
        for (long i = 0; i < m; i += 8) interleave(min_l(8, m - i), columns, block + i, 1, m, g->c + i * g->ldc + j, g->ldc);
    }
}

static int transposed_product(gemm_job *g, long parts) {
    g->share = round_up(div_up(g->n, parts * max_l(1, min_l(4, g->n / (parts * SHARE)))), LANES);
    g->packed = scratch(SCRATCH_GEMM, (size_t)pool_size() * (blocks_size(g->k, g->m) + COLUMNS * g->m) * sizeof(REAL));
    if (!g->packed) return -1;
    pool_for(div_up(g->n, g->share), transposed_item, g);
    return 0;
}

// ---- a few rows against a large B, read by whole rows ----

// What a block of steps has added up, with another part of it or NULL, as gemm_part does it: the last gets the bias, then come
// those before it.
static void add_block(const gemm_job *g, long p, long i, long j, long n, const REAL *sums, const REAL *others) {
    const REAL *bias = g->e.bias && p + depth_of(g->k) >= g->k ? g->e.bias + j : NULL;
    REAL *c = g->c + i * g->ldc + j;
    const REAL *add = p ? c : g->e.add ? g->e.add + i * g->ldc + j : NULL;
    for (long q = 0; q < n; q += LANES) {
        const long lanes = n - q < LANES ? n - q : 0;
        vec sum = load_some(sums + q, lanes);
        if (others) sum += load_some(others + q, lanes);
        finish_sum(sum, bias ? load_some(bias + q, lanes) : (vec){0}, add ? add + q : NULL, c + q, lanes, LINEAR);
    }
}

// To two rows of sums add what one row of A, in its even and its odd steps, or two rows multiply with some rows of B: the
// sums of row_of, or of tile_of.
INLINE void add_steps(const int fetch, const int rows, const int steps, long n, const REAL x[2][STEPS], const REAL *b,
                      long ldb, REAL *sums, long ld) {
    for (long j = 0; j < n; j += LANES) {
        const long lanes = n - j < LANES ? n - j : 0;
        vec sum[2] = {load_some(sums + j, lanes), load_some(sums + ld + j, lanes)};
#pragma GCC unroll 8
        for (int s = 0; s < steps; s++) {
            vec v = load_some(b + s * ldb + j, lanes);
            if (fetch == AHEAD) __builtin_prefetch(b + (STEPS + s) * ldb + j, 0, 2);
            if (rows == 2) sum[0] += splat(x[0][s]) * v, sum[1] += splat(x[1][s]) * v;
            else sum[s & 1] += splat(x[0][s]) * v;
        }
        for (int i = 0; i < 2; i++)
            if (lanes) store_part(sums + i * ld + j, sum[i], lanes);
            else store(sums + i * ld + j, sum[i]);
    }
}

// A row or two: some columns of a block of steps, so that a core reads a part of B from one end to the other.
static void part_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long columns = div_up(g->n, g->share), block = item / columns, from = item % columns * g->share;
    const long m = g->m, n = min_l(g->share, g->n - from), depth = depth_of(g->k);
    const long end = min_l(g->k, (block + 1) * depth);
    const int ahead = b_bytes(g) > AHEAD_B;
    REAL *sums = g->packed + 2 * block * g->n + from, x[2][STEPS];
    (void)worker;
    for (int i = 0; i < 2; i++) memset(sums + i * g->n, 0, (size_t)n * sizeof(REAL));
    for (long p = block * depth, steps; p < end; p += steps) {
        steps = end - p >= STEPS ? STEPS : 1;
        for (long i = 0; i < m; i++)
            for (long s = 0; s < steps; s++) x[i][s] = g->a[i * g->ars + (p + s) * g->acs];
        const REAL *rows = g->b + p * g->brs + from;
        if (steps == 1 && m == 1) add_steps(NOTHING, 1, 1, n, x, rows, g->brs, sums, g->n);
        else if (steps == 1) add_steps(NOTHING, 2, 1, n, x, rows, g->brs, sums, g->n);
        else if (m == 1 && ahead) add_steps(AHEAD, 1, STEPS, n, x, rows, g->brs, sums, g->n);
        else if (m == 1) add_steps(NOTHING, 1, STEPS, n, x, rows, g->brs, sums, g->n);
        else if (ahead) add_steps(AHEAD, 2, STEPS, n, x, rows, g->brs, sums, g->n);
        else add_steps(NOTHING, 2, STEPS, n, x, rows, g->brs, sums, g->n);
    }
}

static int product_in_parts(gemm_job *g) {
    const long depth = depth_of(g->k), blocks = div_up(g->k, depth), n = g->n;
    g->share = round_up(div_up(n, pool_size()), NR);
    g->packed = scratch(SCRATCH_GEMM, (size_t)(2 * blocks * n) * sizeof(REAL));
    if (!g->packed) return -1;
    pool_for(blocks * div_up(n, g->share), part_item, g);
    for (long block = 0; block < blocks; block++) {
        const REAL *sums = g->packed + 2 * block * n;
        add_block(g, block * depth, 0, 0, n, sums, g->m == 1 ? sums + n : NULL);
        if (g->m == 2) add_block(g, block * depth, 1, 0, n, sums + n, NULL);
    }
    apply_activation(g->m, n, g->c, g->ldc, g->e.activation);
    return 0;
}

// Three rows and more: tiles of STREAM_STEPS steps, which ask for the lines of as many more. Rows of sums stay in the caches,
// where they lie no power of two apart.
static long sums_ld(const gemm_job *g) { return round_up(g->n, NR) + LANES; }

static void stream_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    const long columns = div_up(g->n, g->share), block = item / columns, from = item % columns * g->share;
    const long m = g->m, n = min_l(g->share, g->n - from), ld = sums_ld(g), depth = depth_of(g->k);
    const long end = min_l(g->k, (block + 1) * depth);
    REAL *sums = g->packed + block * m * ld + from, ragged[STREAM_STEPS * NR];
    (void)worker;
    for (long p = block * depth; p < end; p += STREAM_STEPS) {
        const long kc = min_l(STREAM_STEPS, end - p), soon = min_l(STREAM_STEPS, g->k - p - kc);
        for (long j = 0; j < n; j += NR) {
            const REAL *b = g->b + p * g->brs + from + j;
            long ldb = g->brs;
            for (long s = 0; s < soon; s++) {
                __builtin_prefetch(b + (kc + s) * ldb, 0, 2);
                __builtin_prefetch(b + (kc + s) * ldb + LANES, 0, 2);
            }
            if (n - j < NR) { // read in place it would run over the end of its rows
                pack_columns(kc, n - j, b, g->brs, 1, ragged);
                b = ragged, ldb = NR;
            }
            rows_of_tiles(m, NR, kc, g->a + p * g->acs, g->ars, g->acs, b, ldb, sums + j, ld,
                          (ending){.start = p % depth ? sums + j : NULL});
        }
    }
}

static void sum_item(void *job, long i, int worker) {
    const gemm_job *g = job;
    const long depth = depth_of(g->k), ld = sums_ld(g);
    (void)worker;
    for (long p = 0; p < g->k; p += depth) add_block(g, p, i, 0, g->n, g->packed + (p / depth * g->m + i) * ld, NULL);
    apply_activation(1, g->n, g->c + i * g->ldc, g->ldc, g->e.activation);
}

static int streamed_product(gemm_job *g) {
    const long blocks = div_up(g->k, depth_of(g->k)), share = round_up(div_up(g->n, pool_size()), NR);
    g->share = blocks >= 2 * pool_size() ? g->n : share;
    g->packed = scratch(SCRATCH_GEMM, (size_t)(blocks * g->m * sums_ld(g)) * sizeof(REAL));
    if (!g->packed) return -1;
    pool_for(blocks * div_up(g->n, g->share), stream_item, g);
    pool_for(g->m, sum_item, g);
    return 0;
}

static void gemm_item(void *job, long item, int worker) {
    const gemm_job *g = job;
    REAL *packed = g->packed + (size_t)worker * PACKED_SIZE;
    long from = item * g->share;
    if (HAS_TILES && g->on_tiles && g->by_rows) tiles_part(g, from, min_l(g->share, g->m - from), 0, g->n, packed);
    else if (HAS_TILES && g->on_tiles) tiles_part(g, 0, g->m, from, min_l(g->share, g->n - from), packed);
    else if (g->by_rows) gemm_part(g, from, min_l(g->share, g->m - from), 0, g->n, packed);
    else gemm_part(g, 0, g->m, from, min_l(g->share, g->n - from), packed);
}

// k = 0: the sum is empty, only the epilogue remains.
static void empty_product(const gemm_job *g) {
    ending e = g->e;
    for (long i = 0; i < g->m; i++)
        for (long j = 0, at = i * g->ldc; j < g->n; j++, at++) g->c[at] = (e.add ? e.add[at] : 0) + (e.bias ? e.bias[j] : 0);
    apply_activation(g->m, g->n, g->c, g->ldc, e.activation);
}

static int has_few_rows(const gemm_job *g) {
    return g->m <= DOT_TILE || (g->m <= DOT_ROWS && g->k >= DOT_STEPS) || (g->m < PACK_B_FROM && b_bytes(g) > FAR_B);
}

// Each thread packs all of A and transposes its part of C, else it packs its part of B: an element takes as long as a dozen
// multiplications. Lanes past the last row of A do nothing.
static int packs_a(const gemm_job *g) {
    const long m = g->m, n = g->n, k = g->k, idle = round_up(m, LANES) - m;
    const int plain = !g->e.bias && !g->e.add && g->e.activation == LINEAR;
    if (!plain || m <= (g->bcs * sizeof(REAL) % PAGE_BYTES ? DOTS_BEFORE : DOT_ROWS) || m * k > PACKED_A) return 0;
    return 3 * m * (k * pool_size() + n) + idle * k * n / 6 <= 2 * k * n;
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
    g->on_tiles = takes_tiles(m, n, g->k);
    g->by_rows = m >= 2 * n || (n < 2 * NR * parts && m > n); // a tall C: packing B twice is little, and rows lie apart
    const long height = g->on_tiles ? SPLIT_SIDE : MR, rows = round_up(div_up(m, parts), height);
    if (g->on_tiles && g->weights && 8 * rows * parts <= 9 * m) g->by_rows = 1; // no row of A is split twice
    g->share = g->by_rows ? rows : round_up(div_up(n, parts), NR);
    if (g->on_tiles) return run_parts(g);
    const int transposed = !g->weights && g->brs == 1;
    if (transposed && packs_a(g)) return transposed_product(g, parts);
    if (transposed && g->acs == 1 && (g->k >= LANES || g->m == 1) && has_few_rows(g)) {
        g->share = div_up(n, parts);
        pool_for(div_up(n, g->share), inner_item, g);
        return 0;
    }
    if (!g->weights && g->bcs == 1 && m <= 2 && b_bytes(g) > LARGE_B) return product_in_parts(g);
    if (!g->weights && g->bcs == 1 && m <= STREAM_ROWS && b_bytes(g) > FAR_B) return streamed_product(g);
    return run_parts(g);
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
            vec v = left >= LANES ? load(y + j) : load_part(y + j, left);
            v = activation == RELU ? vmax((vec){0}, v) : activation == SIGMOID ? vsigmoid(v) : vtanh(v);
            if (left >= LANES) store(y + j, v);
            else store_part(y + j, v, left);
        }
}
