// Table look-up copies rows: 2 M D numbers moved, no flops. Its gradient adds rows up where an identifier returns.
//
// The plain gradient adds row after row, which threads could not share without races. Here each thread takes a strip of
// columns, whole cache lines wide, and walks all identifiers: no races, no atomics, and every sum in the order of the
// identifiers, so that the result does not depend on the threads. 3 M D numbers moved.
#include "embedding.h"
#include "flat.h"
#include <string.h>

typedef struct {
    long m, d, strip;
    const int32_t *ids;
    const REAL *from;
    REAL *to;
} embedding_job;

static void gather_rows(void *job, long first, long rows) {
    const embedding_job *g = job;
    for (long r = first; r < first + rows; r++)
        memcpy(g->to + r * g->d, g->from + g->ids[r] * g->d, (size_t)g->d * sizeof(REAL));
}

static void embedding(long m, long d, const int32_t *ids, const void *table, void *y) {
    embedding_job g = {m, d, 0, ids, table, y};
    if (d) flat_for(m, d, gather_rows, &g);
}

static void scatter_strip(void *job, long item, int worker) {
    const embedding_job *g = job;
    (void)worker;
    long first = item * g->strip, n = min_l(g->strip, g->d - first);
    for (long r = 0; r < g->m; r++) {
        const REAL *from = g->from + r * g->d + first;
        REAL *to = g->to + g->ids[r] * g->d + first;
        add_row(n, from, to);
    }
}

static void clear(void *job, long first, long n) { memset((REAL *)job + first, 0, (size_t)n * sizeof(REAL)); }

static void embedding_backward(long m, long v, long d, const void *dy, const int32_t *ids, void *dtable, int accumulate) {
    const long line = 64 / sizeof(REAL);
    embedding_job g = {m, d, max_l(d, 1), ids, dy, dtable};
    if (!accumulate) flat_for(v * d, 1, clear, dtable);
    if (m * d >= SERIAL_ELEMENTS) g.strip = max_l(2 * line, round_up(div_up(d, pool_size()), line));
    pool_for(div_up(d, g.strip), scatter_strip, &g);
}

const embedding_kernels NAME(embedding_kernels) = {embedding, embedding_backward};
