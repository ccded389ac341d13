// The plain version adds row after row. Here each thread takes blocks of rows and a strip of columns that fits L1,
// keeps a partial sum per block, and the caller adds the partials: one pass over x, n bytes of it read once. Rows of a few
// columns are added several at a time, as one wide row (10000 x 8: 28 us, so 3).
#include "columns.h"
#include "arena.h"
#include "threads.h"
#include <string.h>

enum { BLOCK_BYTES = 64 << 10, STRIP = 128 };

typedef struct {
    long rows, n, ld, block;
    const REAL *x;
    REAL *partial;
} columns_job;

// Narrow rows that follow one another, as many at a time as fill STRIP.
static void add_narrow_rows(const REAL *x, long rows, long n, REAL *sums) {
    REAL strip[STRIP] = {0};
    const long width = STRIP / n * n;
    long left = rows * n;
    for (; left >= width; left -= width, x += width) add_row(width, x, strip);
    add_row(left, x, strip);
    for (long j = 0; j < width; j += n)
        for (long i = 0; i < n; i++) sums[i] += strip[j + i];
}

static void columns_item(void *job, long item, int worker) {
    const columns_job *g = job;
    (void)worker;
    REAL *sums = g->partial + item * g->n;
    const long first = item * g->block, rows = min_l(g->block, g->rows - first);
    memset(sums, 0, (size_t)g->n * sizeof(REAL));
    if (g->ld == g->n && 2 * g->n <= STRIP && g->n) add_narrow_rows(g->x + first * g->ld, rows, g->n, sums);
    else
        for (long r = first; r < first + rows; r++) add_row(g->n, g->x + r * g->ld, sums);
}

int column_sums(long rows, long n, const REAL *x, long ld, REAL *sums, int accumulate) {
    columns_job g = {rows, n, ld, 0, x, NULL};
    g.block = max_l(16, BLOCK_BYTES / (long)sizeof(REAL) / max_l(n, 1));
    g.block = max_l(g.block, div_up(rows, 256)); // at most 256 partial rows
    long blocks = div_up(rows, g.block);
    if (!(g.partial = scratch(SCRATCH_PARTIAL, (size_t)(blocks * n) * sizeof(REAL)))) return -1;
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
