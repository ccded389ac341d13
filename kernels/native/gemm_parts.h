// What the ways to multiply share: the tile and the packing of gemm.c, and the product as gemm.c and gemm_few.c cut it.
#pragma once
#include "gemm.h"

#define tiles_of_rows NAME(tiles_of_rows)
#define pack_blocks NAME(pack_blocks)
#define few_rows_way NAME(few_rows_way)

enum {
    KC = VBYTES == 64 ? 256 : 384, // steps of a block, about: a panel of B stays in L1 beside the panels of A that pass
    EVEN_STEPS = 16,               // of which blocks are made
    STEPS = 8,                     // side by side, for a row or two
    PACK_B_FROM = 3 * MR,          // rows of A before packing B pays
    FAR_B = 1 << 22,               // bytes of B whose pages the processor does not remember
    PAGE_BYTES = 4096,
    PAGED_ROWS = 8                 // of A that lie pages apart in a tile that reads them in place
};

// An epilogue with what is added as an address: C itself, an array like C, or NULL. The sums of two rows and more go on from
// `start`, an array like C but of whole vectors, or begin with zero. Each step fetches a vector for the next block, next_ld
// elements after the last. `far_c`: C's lines come from beyond the second cache, and are asked for before the sums are made;
// `ahead`: B's may, and are asked for some steps before they are read; `alone`: A has one row in all.
typedef struct {
    const REAL *bias, *add;
    int activation, far_c, ahead, alone;
    const REAL *start, *next;
    long next_ld;
} tile_epilogue;

typedef struct {
    long m, n, k, ars, acs, brs, bcs, ldc, share;
    int on_tiles, by_rows, from_the_end; // from_the_end: a thread's columns in the reverse order
    const REAL *a, *b, *weights; // b, or packed as a whole
    REAL *c, *packed;
    tile_epilogue e;
} gemm_job;

INLINE size_t b_bytes(const gemm_job *g) { return (size_t)g->k * g->n * sizeof(REAL); }

// Steps of a block of k in all: blocks of like depth, since a shallow one would do little between reading C and writing it
// (784 as 272, 272 and 240, not 16 steps after three times 256). In every way to multiply but inner products
// and tiles of bfloat16, so that all of these add in one order.
INLINE long depth_of(long k) { return max_l(EVEN_STEPS, round_up(div_up(k, max_l(1, (k + KC / 2) / KC)), EVEN_STEPS)); }

// Blocks of depth_of(k) rows of B, each as pack_columns makes it.
INLINE size_t blocks_size(long k, long n) { return (size_t)k * round_up(n, NR); }
void pack_blocks(long k, long n, const REAL *b, long rs, long cs, REAL *out);

typedef void (*tile_function)(long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
                              const tile_epilogue *e);
extern const tile_function tiles_of_rows[MR + 1];

INLINE void tile(long mr, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c, long ldc,
                 tile_epilogue e) {
    tiles_of_rows[mr](nr, k, a, rs, cs, b, ldb, c, ldc, &e);
    if (e.activation > RELU) apply_activation(mr, nr, c, ldc, e.activation);
}

// As gemm_rows.
INLINE void rows_of_tiles(long rows, long nr, long k, const REAL *a, long rs, long cs, const REAL *b, long ldb, REAL *c,
                          long ldc, tile_epilogue e) {
    const long most = rs * sizeof(REAL) % PAGE_BYTES ? MR : min_l(MR, PAGED_ROWS);
    for (long tiles = div_up(rows, most), mr; rows > 0; rows -= mr, tiles--, a += mr * rs, c += mr * ldc) {
        mr = div_up(rows, tiles);
        tile(mr, nr, k, a, rs, cs, b, ldb, c, ldc, e);
        e.ahead = 0;
        if (e.add) e.add += mr * ldc;
        if (e.start) e.start += mr * ldc;
    }
}

// The way that a product of few rows is made in, or NULL: 0, or -1 when memory is out. `parts`: threads that are worth waking.
typedef int (*gemm_way)(gemm_job *g, long parts);
gemm_way few_rows_way(const gemm_job *g);
