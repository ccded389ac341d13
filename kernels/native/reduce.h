// Reductions over the middle of three axes, and the place of each row's maximum; shapes as in backends/interface.py.
#pragma once
#include <stdint.h>

enum reduce_op { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN };

// Functions return 0, or -1 when memory is out.
typedef struct {
    int (*reduce)(long a, long r, long b, const void *x, void *y, int op);
    void (*argmax)(long rows, long n, const void *x, int32_t *y);
} reduce_kernels;
