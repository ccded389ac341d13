// float32 products on tiles of bfloat16, as exact as on floats (Henry, Tang & Heinecke 2019, "Leveraging the bfloat16
// Artificial Intelligence Datatype For Higher-Precision Computations").
//
// A float is the sum of three numbers in bfloat16, without a remainder: 24 bits are three times 8. Of the nine products of
// two such sums the six largest are kept; what the others would add is below 2^-24 of |a| |b|, less than a float product is
// rounded by, and of either sign. A tile takes a product of 16 x 16 x 32 in 16 cycles, 16 times as many as two vector units:
// six of them leave 2.7 times the arithmetic, and sums of 32 products at a time, which round less often.
//
//     block of A, 32 rows:     [piece][16 rows][32 steps] twice      block of B: [piece][16 pairs of steps][16 columns][2] twice
//     c, four tiles: 32 x 32   += low and high pieces first, middle ones, high ones last
//
// An infinity is one in its first piece and has no remainder, but times a piece that is zero it is NaN. So a block of C in
// which a NaN appears is made once more from floats, put together from the pieces.
#include "split.h"
#if HAS_TILES
#include "gemm.h"
#include <string.h>

#if defined(EMULATE_TILES)
_Thread_local char NAME(tiles)[8][TILE_ROWS * TILE_BYTES] __attribute__((aligned(64)));
#endif

typedef uint16_t words __attribute__((vector_size(64)));

enum {
    LEAST_ROWS = 16,      // below this much of a tile is idle
    LEAST_STEPS = 24,
    LEAST_PRODUCTS = 1 << 16
};

// ---- splitting -----------------------------------------------------------------------------------------------------------

// The upper halves of lanes; the lower ones are zero.
typedef struct {
    ivec high, middle, low;
} pieces;

INLINE ivec rounded(vec x) { return ((ivec)x + isplat(0x8000)) & isplat((INT)0xffff0000); }

INLINE pieces split(vec x) {
    const vec most = (vec)isplat(0x7f7f0000); // numbers next to the largest would round to infinity
    pieces p;
#if defined(__AVX512DQ__)
    p.high = (ivec)_mm512_range_ps((__m512)rounded(x), (__m512)most, 2); // the smaller magnitude, the sign of the first
#else
    p.high = (ivec)vmin(most, vmax(-most, (vec)rounded(x)));
#endif
    vec rest = x - (vec)p.high;
    p.middle = rounded(rest);
    p.low = (ivec)(rest - (vec)p.middle);
    return p;
}

// One row of 32 steps: the upper halves of two vectors, in order.
INLINE void store_steps(bf16 *to, ivec first, ivec second) {
#define ODD(i) 2 * (i) + 1
#define FOUR(i) ODD(i), ODD((i) + 1), ODD((i) + 2), ODD((i) + 3)
    const words order = {FOUR(0),  FOUR(4),  FOUR(8),  FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)};
#undef FOUR
#undef ODD
    *(words *)to = __builtin_shuffle((words)first, (words)second, order);
}

// A pair of steps of 16 columns, side by side.
INLINE void store_pair(bf16 *to, ivec first, ivec second) {
    typedef uint32_t lanes __attribute__((vector_size(64)));
    *(lanes *)to = (lanes)first >> 16 | ((lanes)second & (lanes)isplat((INT)0xffff0000));
}

// `in` gives 16 rows of 32 steps, ld apart.
INLINE void split_tile_of_rows(const REAL *in, long ld, bf16 *out) {
    for (int i = 0; i < TILE_ROWS; i++, in += ld, out += TILE_STEPS) {
        pieces first = split(load(in)), second = split(load(in + LANES));
        store_steps(out, first.high, second.high);
        store_steps(out + 2 * TILE, first.middle, second.middle);
        store_steps(out + 4 * TILE, first.low, second.low);
    }
}

// 32 steps, ld apart, of 16 columns.
INLINE void split_tile_of_columns(const REAL *in, long ld, bf16 *out) {
    for (int p = 0; p < TILE_STEPS; p += 2, in += 2 * ld, out += 2 * LANES) {
        pieces first = split(load(in)), second = split(load(in + ld));
        store_pair(out, first.high, second.high);
        store_pair(out + 2 * TILE, first.middle, second.middle);
        store_pair(out + 4 * TILE, first.low, second.low);
    }
}

void split_rows(long m, long k, const REAL *a, long rs, long cs, bf16 *out) {
    REAL some[TILE] __attribute__((aligned(64)));
    for (long i = 0; i < m; i += SPLIT_SIDE)
        for (long p = 0; p < k; p += TILE_STEPS, out += SPLIT_BLOCK)
            for (int half = 0; half < 2 && i + half * TILE_ROWS < m; half++) {
                const long first = i + half * TILE_ROWS, rows = min_l(TILE_ROWS, m - first), steps = min_l(TILE_STEPS, k - p);
                const REAL *from = a + first * rs + p * cs;
                if (cs == 1 && rows == TILE_ROWS && steps == TILE_STEPS) {
                    split_tile_of_rows(from, rs, out + half * TILE);
                    continue;
                }
                if (rows < TILE_ROWS || steps < TILE_STEPS) memset(some, 0, sizeof some);
                interleave(rows, steps, from, rs, cs, some, TILE_STEPS);
                split_tile_of_rows(some, TILE_STEPS, out + half * TILE);
            }
}

void split_columns(long k, long n, const REAL *b, long rs, long cs, bf16 *out) {
    REAL some[TILE] __attribute__((aligned(64)));
    for (long p = 0; p < k; p += TILE_STEPS) // by whole rows of B, as gemm.c packs it
        for (long j = 0; j < n; j += TILE_ROWS) {
            const long columns = min_l(TILE_ROWS, n - j), steps = min_l(TILE_STEPS, k - p);
            const REAL *from = b + p * rs + j * cs;
            bf16 *to = out + (j / SPLIT_SIDE * div_up(k, TILE_STEPS) + p / TILE_STEPS) * SPLIT_BLOCK + j / TILE_ROWS % 2 * TILE;
            if (cs == 1 && columns == TILE_ROWS && steps == TILE_STEPS) {
                split_tile_of_columns(from, rs, to);
                continue;
            }
            if (columns < TILE_ROWS || steps < TILE_STEPS) memset(some, 0, sizeof some);
            interleave(steps, columns, from, rs, cs, some, TILE_ROWS);
            split_tile_of_columns(some, TILE_ROWS, to);
        }
}

// ---- product -------------------------------------------------------------------------------------------------------------

// Registers, whose names the assembler must see as numbers.
#define C00 0
#define C01 1
#define C10 2
#define C11 3
#define A0 4
#define A1 5
#define B0 6
#define B1 7

// rows, columns: tiles of C in both directions, one or two. What of b is used twice in a row stays in its registers.
INLINE void multiply_block(const int rows, const int columns, long blocks, const bf16 *a, const bf16 *b, REAL *c, long ldc) {
    tile_zero(C00);
    if (columns > 1) tile_zero(C01);
    if (rows > 1) tile_zero(C10);
    if (rows > 1 && columns > 1) tile_zero(C11);
#define LOAD_A(piece)                                                        \
    tile_load(A0, a + 2 * piece * TILE, TILE_BYTES);                          \
    if (rows > 1) tile_load(A1, a + (2 * piece + 1) * TILE, TILE_BYTES)
#define LOAD_B(piece)                                                        \
    tile_load(B0, b + 2 * piece * TILE, TILE_BYTES);                          \
    if (columns > 1) tile_load(B1, b + (2 * piece + 1) * TILE, TILE_BYTES)
#define MULTIPLY()                                                           \
    tile_multiply(C00, A0, B0);                                               \
    if (columns > 1) tile_multiply(C01, A0, B1);                              \
    if (rows > 1) tile_multiply(C10, A1, B0);                                 \
    if (rows > 1 && columns > 1) tile_multiply(C11, A1, B1)
    for (; blocks > 0; blocks--, a += SPLIT_BLOCK, b += SPLIT_BLOCK) {
        LOAD_A(2);
        LOAD_B(0);
        MULTIPLY(); // low, high
        LOAD_A(1);
        MULTIPLY(); // middle, high
        LOAD_B(1);
        MULTIPLY(); // middle, middle
        LOAD_A(0);
        MULTIPLY(); // high, middle
        LOAD_B(2);
        MULTIPLY(); // high, low
        LOAD_B(0);
        MULTIPLY(); // high, high
    }
    tile_store(C00, c, ldc * sizeof(REAL));
    if (columns > 1) tile_store(C01, c + LANES, ldc * sizeof(REAL));
    if (rows > 1) tile_store(C10, c + TILE_ROWS * ldc, ldc * sizeof(REAL));
    if (rows > 1 && columns > 1) tile_store(C11, c + TILE_ROWS * ldc + LANES, ldc * sizeof(REAL));
}

INLINE REAL float_of(const bf16 *p, long piece) {
    uint32_t bits = (uint32_t)p[2 * piece * TILE] << 16;
    REAL x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// What p is a piece of; of an infinity the middle piece is one too, and the low one means nothing.
static REAL whole_of(const bf16 *p) {
    REAL middle = float_of(p, 1);
    return float_of(p, 0) + (middle - middle == 0 ? middle + float_of(p, 2) : middle);
}

static NOINLINE void plain_product(long rows, long nr, long blocks, const bf16 *a, const bf16 *b, REAL *c, long ldc) {
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < nr; j++) {
            REAL sum = 0;
            for (long p = 0; p < blocks * TILE_STEPS; p++) {
                const long block = p / TILE_STEPS * SPLIT_BLOCK, step = p % TILE_STEPS;
                const bf16 *x = a + block + i / TILE_ROWS * TILE + i % TILE_ROWS * TILE_STEPS + step;
                const bf16 *y = b + block + j / TILE_ROWS * TILE + (step / 2 * TILE_ROWS + j % TILE_ROWS) * 2 + step % 2;
                sum += whole_of(x) * whole_of(y);
            }
            c[i * ldc + j] = sum;
        }
}

static int has_nan(long rows, long nr, const REAL *c, long ldc) {
    ivec seen = {0};
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < nr; j += LANES) {
            vec v = load(c + i * ldc + j);
            seen |= (ivec)(v != v);
        }
    for (int i = 0; i < LANES; i++)
        if (seen[i]) return 1;
    return 0;
}

void split_product(long rows, long nr, long k, const bf16 *a, const bf16 *b, const REAL *bias, const REAL *add,
                   int activation, REAL *c, long ldc) {
    const long blocks = div_up(k, TILE_STEPS);
    const int plain = !bias && !add && activation == LINEAR && nr % LANES == 0;
    REAL sums[SPLIT_SIDE * SPLIT_SIDE] __attribute__((aligned(64)));
    vec biases[2] = {{0}, {0}};
    for (long j = 0; bias && j < nr; j += LANES) biases[j / LANES] = load_some(bias + j, nr - j < LANES ? nr - j : 0);
    for (; rows > 0; rows -= SPLIT_SIDE, a += blocks * SPLIT_BLOCK, c += SPLIT_SIDE * ldc) {
        const long m = min_l(rows, SPLIT_SIDE);
        const int direct = plain && m % TILE_ROWS == 0;
        REAL *to = direct ? c : sums;
        const long ld = direct ? ldc : SPLIT_SIDE;
        if (m > TILE_ROWS && nr > LANES) multiply_block(2, 2, blocks, a, b, to, ld);
        else if (m > TILE_ROWS) multiply_block(2, 1, blocks, a, b, to, ld);
        else if (nr > LANES) multiply_block(1, 2, blocks, a, b, to, ld);
        else multiply_block(1, 1, blocks, a, b, to, ld);
        if (has_nan(m, nr, to, ld)) plain_product(m, nr, blocks, a, b, to, ld);
        if (direct) continue;
        for (long i = 0; i < m; i++)
            for (long j = 0; j < nr; j += LANES)
                finish_sum(load(sums + i * SPLIT_SIDE + j), biases[j / LANES], add ? add + i * ldc + j : NULL, c + i * ldc + j,
                       nr - j < LANES ? nr - j : 0, activation);
        if (add) add += SPLIT_SIDE * ldc;
    }
}

int takes_tiles(long m, long n, long k) {
    return m >= LEAST_ROWS && n >= LEAST_ROWS && k >= LEAST_STEPS && m * n * k >= LEAST_PRODUCTS;
}
#endif
