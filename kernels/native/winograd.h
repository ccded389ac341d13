// Winograd convolution, for 3x3 filters of stride 1 or 2 and 5x5 of stride 1, dilation 1 and one group, in float32.
// Functions return 0, or -1 when memory is out.
#pragma once
#include "conv.h"
#include "simd.h"

#define winograd_way NAME(winograd_way)
#define winograd_product NAME(winograd_product)
#define winograd_filter_gradient NAME(winograd_filter_gradient)
#define winograd_filters NAME(winograd_filters)
#define winograd_transform NAME(winograd_transform)

// Which transforms to use (a number that the functions below take), or -1 where the direct way is faster or the only one;
// s as given to the function concerned. Prepared: the filters are transformed. Forced: the fastest of those that can be.
int winograd_way(const conv_shape *s, int flipped, int prepared, int forced);

// out = activation(conv(in, filters) + bias + residual), and 0 where gate, the output of a ReLU, is not positive. Flipped:
// the filters are [kh][kw][k][c] and turned by 180 degrees, which with the shape of the gradient (in = dz, out = dx, padding
// kh - 1 - top and kw - 1 - left, possibly negative) gives the gradient of the input; of a stride of 2, too.
typedef struct {
    const conv_shape *s;
    const REAL *in, *filters;
    const REAL *bias, *residual, *gate;         // or NULL; the latter two like out
    const REAL *transformed;                    // what winograd_transform made of the filters, or NULL
    REAL *out;
    int way, flipped, activation;
} winograd_call;
int winograd_product(const winograd_call *call);

// The filters for many calls, in winograd_filters(s, way) elements.
size_t winograd_filters(const conv_shape *s, int way);
void winograd_transform(const conv_shape *s, int way, const REAL *filters, REAL *transformed);

// dw [kh][kw][c][k], or its sum with what dw holds.
int winograd_filter_gradient(const conv_shape *s, int way, const REAL *x, const REAL *dz, REAL *dw, int accumulate);
