// A primitive bound to its arguments, with its weights packed: what inference runs again and again on fixed buffers.
#pragma once

// Begins a block that holds the arguments and the packed weights. run gives 0, or -1 when memory is out; weights and bias
// must not change in the meantime.
typedef struct prepared {
    int (*run)(struct prepared *self);
    void (*release)(void *self);
} prepared;
