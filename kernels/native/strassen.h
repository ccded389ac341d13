// Products with constant weights by fewer multiplications (Strassen), in float32: y = activation(x w + b), the activation
// LINEAR or RELU.
#pragma once
#include "simd.h"

#define strassen_levels NAME(strassen_levels)
#define strassen_size NAME(strassen_size)
#define strassen_pack NAME(strassen_pack)
#define strassen_product NAME(strassen_product)

enum { STRASSEN_AUTO = -1 };

typedef struct {
    long m, n, k; // none of them 0
    int levels, activation;
    const REAL *x, *w, *b; // b may be NULL
    REAL *y;
    REAL *packed; // the weights, in strassen_size elements
    REAL size;    // their root mean square
} strassen_call;

// How often to halve all three sides where that is faster than the plain product: 2, 1, or 0 for never.
int strassen_levels(long m, long n, long k);

// To be done once: packed and size, from w.
size_t strassen_size(const strassen_call *call);
void strassen_pack(strassen_call *call);

// 0, or -1 when memory is out.
int strassen_product(const strassen_call *call);
