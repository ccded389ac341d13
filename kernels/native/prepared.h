// A primitive bound to its arguments, with its weights packed: what inference runs again and again on fixed buffers.
#pragma once
#include "arena.h"
#include <string.h>

// Begins a block that holds the arguments and the packed weights. run gives 0, or -1 when memory is out; weights and bias
// must not change in the meantime.
typedef struct prepared {
    int (*run)(struct prepared *self);
    void (*release)(void *self);
    void *weights;
} prepared;

// A block of `arguments`, which begin with a prepared whose run is set, and room for so many bytes of weights, to be packed
// there, on a line of their own; NULL when memory is out.
static inline void *allocate_prepared(const void *arguments, size_t size, size_t weights) {
    const size_t before = (size + 63) / 64 * 64;
    prepared *p = arena_allocate(before + weights);
    if (!p) return NULL;
    memcpy(p, arguments, size);
    p->release = arena_free;
    p->weights = (char *)p + before;
    return p;
}
