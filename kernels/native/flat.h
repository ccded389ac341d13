// Cutting flat loops for the pool.
#pragma once
#include "simd.h"
#include "threads.h"

// Elements below which a second thread costs more than it brings, and the least that one claims at a time: a few
// microseconds of work. Loops that spend long on each element count it as several.
enum { SERIAL_ELEMENTS = 32768, CHUNK_ELEMENTS = 16384 };

typedef void (*flat_function)(void *job, long first, long count);

typedef struct {
    long n, chunk;
    flat_function function;
    void *job;
} flat_for_job;

static inline void flat_for_item(void *job, long item, int worker) {
    const flat_for_job *g = job;
    (void)worker;
    long first = item * g->chunk;
    g->function(g->job, first, min_l(g->chunk, g->n - first));
    finish_stores();
}

// Run function(job, first, count) over 0 ... n - 1 in chunks; each of the n weighs `weight` elements. Chunks are a
// multiple of 64, so that no two threads write into one cache line of a flat array.
static inline void flat_for(long n, long weight, flat_function function, void *job) {
    if (n <= 0) return;
    if (n * weight < SERIAL_ELEMENTS) {
        function(job, 0, n);
        if (n * weight >= APART_BYTES / 16) finish_stores(); // less has not gone past the caches
        return;
    }
    long chunk = max_l(CHUNK_ELEMENTS / max_l(weight, 1), n / (16 * pool_size()));
    flat_for_job g = {n, chunk < 64 ? max_l(chunk, 1) : round_up(chunk, 64), function, job};
    pool_for(div_up(n, g.chunk), flat_for_item, &g);
}
