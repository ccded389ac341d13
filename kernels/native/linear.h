// Dense layers and matrix products; shapes as in backends/interface.py. Functions return 0, or -1 when memory is out.
#pragma once
#include "prepared.h"

typedef struct {
    int (*linear)(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation);
    int (*linear_backward_input)(long m, long n, long k, const void *dz, const void *w, void *dx);
    int (*linear_backward_weight)(long m, long n, long k, const void *x, const void *dz, void *dw, void *db, int accumulate);
    // levels of Strassen's products: 1, 2, 0 for the plain one, or -1 for what is fastest; float64 takes the plain one
    prepared *(*prepare)(long m, long n, long k, const void *x, const void *w, const void *b, void *y, int activation,
                         int levels);
    int (*matmul)(long batch, long m, long n, long k, const void *a, const void *b, void *y, int transpose_a, int transpose_b);
} linear_kernels;
