// The plain version adds row after row. Here each thread takes blocks of rows and a strip of columns that fits L1,
// keeps a partial sum per block, and the caller adds the partials: one pass over x, n bytes of it read once.
#include "columns.h"
#include "arena.h"
#include "threads.h"
#include <string.h>

enum { BLOCK_BYTES = 64 << 10 };

typedef struct {
    long rows, n, ld, block;
    const REAL *x;
    REAL *partial;
} columns_job;

static void columns_item(void *job, long item, int worker) {
    const columns_job *g = job;
    (void)worker;
    REAL *sums = g->partial + item * g->n;
    memset(sums, 0, (size_t)g->n * sizeof(REAL));
    for (long r = item * g->block, end = min_l(r + g->block, g->rows); r < end; r++) {
        const REAL *x = g->x + r * g->ld;
        long j = 0;
        for (; j + LANES <= g->n; j += LANES) store(sums + j, load(sums + j) + load(x + j));
        for (; j < g->n; j++) sums[j] += x[j];
    }
}

int column_sums(long rows, long n, const REAL *x, long ld, REAL *sums, int accumulate) {
    columns_job g = {rows, n, ld, 0, x, NULL};
    g.block = max_l(16, BLOCK_BYTES / (long)sizeof(REAL) / max_l(n, 1));
    g.block = max_l(g.block, div_up(rows, 256)); // at most 256 partial rows
    long blocks = div_up(rows, g.block);
    if (!(g.partial = scratch(SCRATCH_PARTIAL, (size_t)max_l(blocks, 1) * max_l(n, 1) * sizeof(REAL)))) return -1;
    if (rows * n < 16384)
        for (long i = 0; i < blocks; i++) columns_item(&g, i, 0);
    else pool_for(blocks, columns_item, &g);
    for (long j = 0; j < n; j++) {
        REAL s = accumulate ? sums[j] : 0;
        for (long i = 0; i < blocks; i++) s += g.partial[i * n + j];
        sums[j] = s;
    }
    return 0;
}
