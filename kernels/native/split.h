// Products of float32 matrices on tiles that multiply bfloat16: split.c.
#pragma once
#include "tiles.h"

#define tiles_win NAME(tiles_win)
#define split_rows NAME(split_rows)
#define split_columns NAME(split_columns)
#define split_product NAME(split_product)

// Builds without tiles have the names too, and code that uses them under `if (tiles_win(...))`, which there is never so.
typedef uint16_t bf16;

// Blocks of SPLIT_SIDE rows of A, or columns of B, by SPLIT_STEPS steps, in three pieces of two tiles.
enum { PIECES = 3, SPLIT_STEPS = 32, TILE = 16 * SPLIT_STEPS, SPLIT_SIDE = 32, SPLIT_BLOCK = PIECES * 2 * TILE };

// Numbers of n rows or columns of k steps.
INLINE size_t split_size(long n, long k) { return (size_t)div_up(n, SPLIT_SIDE) * div_up(k, SPLIT_STEPS) * SPLIT_BLOCK; }

// Whether a product of this size is faster so than on the register tile, both operands to be split.
#if HAS_TILES
int tiles_win(long m, long n, long k);
#else
#undef tiles_win
#define tiles_win(m, n, k) ((void)(m), (void)(n), (void)(k), 0)
#endif

// out[side / SPLIT_SIDE][k / SPLIT_STEPS] blocks from A or B with strides (rs, cs), filled up with zeros.
void split_rows(long m, long k, const REAL *a, long rs, long cs, bf16 *out);
void split_columns(long k, long n, const REAL *b, long rs, long cs, bf16 *out);

// c[rows][nr] = activation(A B + bias + add) for nr <= SPLIT_SIDE columns; bias per column, add like c; each may be NULL;
// activation: LINEAR or RELU; k > 0. Between tiles_begin and tiles_end.
void split_product(long rows, long nr, long k, const bf16 *a, const bf16 *b, const REAL *bias, const REAL *add,
                   int activation, REAL *c, long ldc);
