// Products of float32 matrices on tiles that multiply bfloat16: split.c.
#pragma once
#include "tiles.h"

#define takes_tiles NAME(takes_tiles)
#define split_rows NAME(split_rows)
#define split_columns NAME(split_columns)
#define split_sums NAME(split_sums)
#define split_product NAME(split_product)

// Builds without tiles have the names too, and code that uses them under `if (takes_tiles(...))`, which there is never so.
typedef uint16_t bf16;

// Blocks of SPLIT_SIDE rows of A, or columns of B, by SPLIT_STEPS steps, in three pieces of two tiles.
enum { PIECES = 3, SPLIT_STEPS = 32, TILE = 16 * SPLIT_STEPS, SPLIT_SIDE = 32, SPLIT_BLOCK = PIECES * 2 * TILE };

// Numbers of n rows or columns of k steps.
INLINE size_t split_size(long n, long k) { return (size_t)div_up(n, SPLIT_SIDE) * div_up(k, SPLIT_STEPS) * SPLIT_BLOCK; }

// Whether a product of this size is faster so than on the register tile, both operands to be split.
#if HAS_TILES
int takes_tiles(long m, long n, long k);
#else
#undef takes_tiles
#define takes_tiles(m, n, k) ((void)(m), (void)(n), (void)(k), 0)
#endif

// out[side / SPLIT_SIDE][k / SPLIT_STEPS] blocks from A or B with strides (rs, cs), filled up with zeros.
void split_rows(long m, long k, const REAL *a, long rs, long cs, bf16 *out);
void split_columns(long k, long n, const REAL *b, long rs, long cs, bf16 *out);

// c[rows][nr] = activation(A B + bias + add) for nr <= SPLIT_SIDE columns; bias per column, add like c; each may be NULL;
// activation: LINEAR or RELU. Between tiles_begin and tiles_end.
void split_product(long rows, long nr, long k, const bf16 *a, const bf16 *b, const REAL *bias, const REAL *add,
                   int activation, REAL *c, long ldc);

// c[rows][nr] (+)= A B, in whole tiles: up to 16 rows and columns are a multiple of 16, and what A and B hold there is used.
// What is not a number need not be so in the product of floats, and the other way round.
void split_sums(long rows, long nr, long k, const bf16 *a, const bf16 *b, int add, REAL *c, long ldc);

// ---- one row or pair of steps --------------------------------------------------------------------------------------------

#if HAS_TILES
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
#else
INLINE void split_row(const REAL *in, bf16 *out) { (void)in, (void)out; }
INLINE void split_pair(const REAL *even, const REAL *odd, bf16 *out) { (void)even, (void)odd, (void)out; }
#endif
