// Memory of the native engine: scratch for kernels, and blocks for arrays.
#pragma once
#include <stddef.h>

// What scratch is for; a buffer stays valid until the same thread asks for the same use again.
enum scratch_use {
    SCRATCH_GEMM,      // packed panels of gemm's operands
    SCRATCH_WEIGHTS,   // weights packed or transformed by conv, recurrent
    SCRATCH_INPUT,     // padded or gathered inputs
    SCRATCH_PARTIAL,   // per-thread partial sums of reductions
    SCRATCH_STATE,     // running states of recurrent kernels
    SCRATCH_PROJECTED, // input projections of whole sequences
    SCRATCH_USES
};

// At least `bytes` bytes, aligned to 64, on huge pages where they are offered; NULL when memory is out. Grows, never
// shrinks; belongs to the calling thread, so a parallel kernel's caller gets room for all its workers.
void *scratch(enum scratch_use use, size_t bytes);

// Blocks for arrays, aligned to 64. A freed block is kept for the next array of its size, so that a training loop
// takes no page faults; the blocks kept never exceed what was in use at the peak.
void *arena_allocate(size_t bytes);
void arena_free(void *block);
size_t arena_size(const void *block);
void arena_release(void); // gives the blocks that are kept back to the system
void arena_survive_fork(void); // to be called once: a child must not inherit a taken lock
