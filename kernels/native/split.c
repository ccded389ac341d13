// float32 products on tiles of bfloat16, as exact as on floats (Henry, Tang & Heinecke 2019, "Leveraging the bfloat16
// Artificial Intelligence Datatype For Higher-Precision Computations").
//
// A float is the sum of three numbers in bfloat16, without a remainder: 24 bits are three times 8. Of the nine products of
// two such sums the six largest are kept; what the others would add is below 2^-24 of |a| |b|, less than a float product is
// rounded by, and of either sign. A tile takes a product of 16 x 16 x 32 in 16 cycles, 16 times as many as two vector units:
// six of them leave 2.7 times the arithmetic, and sums of 32 products at a time, which round less often.
//
//     block of A, 32 rows:      [piece][half][16 rows][32 steps]
//     block of B, 32 columns:   [piece][half][16 pairs of steps][16 columns][2]
//     c, four tiles: 32 x 32   += low and high pieces first, middle ones, high ones last
//
// Measured on a Granite Rapids: 380 GF/s a core with operands in L2, where the register tile makes 190 (570 on zeros: numbers
// take more power, and the clock falls), 1024 cubed 0.65 of the time, 128 x 784 x 512 0.8, LSTM's steps 0.8. Splitting takes
// half a cycle for a number. Without gain: convolution. Winograd's planes are half as large again and pass through L2 either
// way (64 channels 0.9 of the time, 128 to 512 1.0 to 1.5), and direct convolution on tiles takes 1.3 to 2.5 times as long
// as Winograd's. Nor did asking ahead for blocks of A or B: 32 x 384 x 512 took 1.2 times as long.
//
// An infinity is one in its first piece and has no remainder, but times a piece that is zero it is NaN. So what comes out
// as NaN is made once more from floats, put together from the pieces.
#include "split.h"
#if HAS_TILES
#include "gemm.h"
#include <string.h>

#if defined(EMULATE_TILES)
_Thread_local char NAME(tiles)[8][TILE_ROWS * TILE_BYTES] __attribute__((aligned(64)));
#endif

enum {
    LEAST_STEPS = 48,      // below this the results take longer than the products
    GROUP = 128,           // rows whose sums are made together,
    DEEP = 4               // from so many blocks of steps at a time
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

typedef uint16_t words __attribute__((vector_size(64)));

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

// 32 steps of a row of A: a row of three tiles.
INLINE void split_row(const REAL *in, bf16 *out) {
    const pieces first = split(load(in)), second = split(load(in + LANES));
    store_steps(out, first.high, second.high);
    store_steps(out + 2 * TILE, first.middle, second.middle);
    store_steps(out + 4 * TILE, first.low, second.low);
}

// Two steps of 16 columns of B.
INLINE void split_pair(const REAL *even, const REAL *odd, bf16 *out) {
    const pieces first = split(load(even)), second = split(load(odd));
    store_pair(out, first.high, second.high);
    store_pair(out + 2 * TILE, first.middle, second.middle);
    store_pair(out + 4 * TILE, first.low, second.low);
}

// `in` gives 16 rows of 32 steps, ld apart.
INLINE void split_tile_of_rows(const REAL *in, long ld, bf16 *out) {
    for (int i = 0; i < TILE_ROWS; i++) split_row(in + i * ld, out + i * TILE_STEPS);
}

// 32 steps, ld apart, of 16 columns.
INLINE void split_tile_of_columns(const REAL *in, long ld, bf16 *out) {
    for (int p = 0; p < TILE_STEPS; p += 2) split_pair(in + p * ld, in + (p + 1) * ld, out + p * LANES);
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

// rows, columns: tiles of C in both directions, one or two; c is as wide as they are. What of A or B is used twice in a row
// stays in its registers.
INLINE void multiply_block(const int rows, const int columns, long blocks, const bf16 *a, const bf16 *b, int add, REAL *c) {
    const long ld = columns * TILE_BYTES, below = TILE_ROWS * columns * LANES;
#define START(t, at)                                 \
    if (add) tile_load(t, c + (at), ld);              \
    else tile_zero(t)
#define LOAD_A(piece)                                \
    tile_load(A0, a + 2 * piece * TILE, TILE_BYTES);  \
    if (rows > 1) tile_load(A1, a + (2 * piece + 1) * TILE, TILE_BYTES)
#define LOAD_B(piece)                                \
    tile_load(B0, b + 2 * piece * TILE, TILE_BYTES);  \
    if (columns > 1) tile_load(B1, b + (2 * piece + 1) * TILE, TILE_BYTES)
#define MULTIPLY()                                   \
    tile_multiply(C00, A0, B0);                       \
    if (columns > 1) tile_multiply(C01, A0, B1);      \
    if (rows > 1) tile_multiply(C10, A1, B0);         \
    if (rows > 1 && columns > 1) tile_multiply(C11, A1, B1)
    START(C00, 0);
    if (columns > 1) { START(C01, LANES); }
    if (rows > 1) { START(C10, below); }
    if (rows > 1 && columns > 1) { START(C11, below + LANES); }
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
    tile_store(C00, c, ld);
    if (columns > 1) tile_store(C01, c + LANES, ld);
    if (rows > 1) tile_store(C10, c + below, ld);
    if (rows > 1 && columns > 1) tile_store(C11, c + below + LANES, ld);
#undef START
#undef LOAD_A
#undef LOAD_B
#undef MULTIPLY
}

// Up to GROUP rows, DEEP blocks of steps at a time: their panel of B stays in L1 for all rows, and the sums do.
static NOINLINE void multiply_group(long rows, long columns, long blocks, const bf16 *a, const bf16 *b, REAL *sums) {
    const int wide = columns > LANES;
    for (long from = 0, passes = rows > SPLIT_SIDE ? div_up(blocks, DEEP) : 1, deep; passes > 0; passes--, from += deep, b += deep * SPLIT_BLOCK) {
        deep = div_up(blocks - from, passes);
        for (long i = 0; i < rows; i += SPLIT_SIDE) {
            const bf16 *block = a + (i / SPLIT_SIDE * blocks + from) * SPLIT_BLOCK;
            const int add = from > 0, two = rows - i > TILE_ROWS;
            REAL *to = sums + i * columns;
            if (two && wide) multiply_block(2, 2, deep, block, b, add, to);
            else if (two) multiply_block(2, 1, deep, block, b, add, to);
            else if (wide) multiply_block(1, 2, deep, block, b, add, to);
            else multiply_block(1, 1, deep, block, b, add, to);
        }
    }
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

static int has_nan(long n, const REAL *sums) {
    ivec seen = {0};
    for (long i = 0; i < n; i += LANES) seen |= (ivec)(load(sums + i) != load(sums + i));
    for (int i = 0; i < LANES; i++)
        if (seen[i]) return 1;
    return 0;
}

// Rows of sums with a NaN once more, from floats. Only those, or results would hang on how rows are shared out to threads.
static NOINLINE void redo_rows(long rows, long columns, long blocks, const bf16 *a, const bf16 *b, REAL *sums) {
    for (long i = 0; i < rows; i++, sums += columns) {
        if (!has_nan(columns, sums)) continue;
        vec sum[2] = {{0}, {0}};
        for (long p = 0; p < blocks * TILE_STEPS; p++) {
            const long block = p / TILE_STEPS, step = p % TILE_STEPS;
            const bf16 *x = a + (i / SPLIT_SIDE * blocks + block) * SPLIT_BLOCK + i % SPLIT_SIDE * TILE_STEPS + step;
            const bf16 *y = b + block * SPLIT_BLOCK + step / 2 * 2 * TILE_ROWS + step % 2;
            REAL row[SPLIT_SIDE] __attribute__((aligned(64)));
            for (long j = 0; j < columns; j++) row[j] = whole_of(y + j / TILE_ROWS * TILE + j % TILE_ROWS * 2);
            for (long j = 0; j < columns / LANES; j++) sum[j] += splat(whole_of(x)) * load(row + j * LANES);
        }
        for (long j = 0; j < columns / LANES; j++) store(sums + j * LANES, sum[j]);
    }
}

void split_product(long rows, long nr, long k, const bf16 *a, const bf16 *b, const REAL *bias, const REAL *add,
                   int activation, REAL *c, long ldc) {
    const long blocks = div_up(k, TILE_STEPS), columns = nr > LANES ? SPLIT_SIDE : LANES;
    REAL sums[GROUP * SPLIT_SIDE] __attribute__((aligned(64)));
    vec biases[2] = {{0}, {0}};
    for (long j = 0; bias && j < nr; j += LANES) biases[j / LANES] = load_some(bias + j, nr - j < LANES ? nr - j : 0);
    for (; rows > 0; rows -= GROUP, a += GROUP / SPLIT_SIDE * blocks * SPLIT_BLOCK, c += GROUP * ldc) {
        const long m = min_l(rows, GROUP);
        for (long i = 0; i < m; i++) {
            __builtin_prefetch(c + i * ldc, 1, 2);
            if (nr > LANES) __builtin_prefetch(c + i * ldc + LANES, 1, 2);
        }
        multiply_group(m, columns, blocks, a, b, sums);
        if (has_nan(m * columns, sums)) redo_rows(m, columns, blocks, a, b, sums);
        for (long i = 0; i < m; i++)
            for (long j = 0; j < nr; j += LANES)
                finish_sum(load(sums + i * columns + j), biases[j / LANES], add ? add + i * ldc + j : NULL, c + i * ldc + j,
                           nr - j < LANES ? nr - j : 0, activation);
        if (add) add += GROUP * ldc;
    }
}

// A multiplication takes 1/54 of a cycle here and 1/28 on the register tile; splitting an element of A or B and going once
// more over one of C takes half a cycle.
int tiles_win(long m, long n, long k) {
    return k >= LEAST_STEPS && 1.0 / m + 1.0 / n + 1.0 / k < 1.0 / 29;
}
#endif
