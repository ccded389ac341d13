// Table look-up and its gradient; shapes as in backends/interface.py.
#pragma once
#include <stdint.h>

typedef struct {
    void (*embedding)(long m, long d, const int32_t *ids, const void *table, void *y);
    void (*embedding_backward)(long m, long v, long d, const void *dy, const int32_t *ids, void *dtable, int accumulate);
} embedding_kernels;
