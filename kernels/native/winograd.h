// Winograd convolution, for 3x3 filters of stride 1, dilation 1 and one group, in float32. Functions return 0, or -1 when
// memory is out.
#pragma once
#include "conv.h"
#include "simd.h"

#define winograd_product NAME(winograd_product)
#define winograd_filter_gradient NAME(winograd_filter_gradient)
#define winograd_filters NAME(winograd_filters)
#define winograd_transform NAME(winograd_transform)
#define winograd_wins NAME(winograd_wins)

// Whether this is faster than the direct way; s as given to the function concerned. Prepared: the filters are transformed.
int winograd_wins(const conv_shape *s, int prepared);

// out = activation(conv(in, filters) + bias + residual). Flipped: the filters are [3][3][k][c] and turned by 180 degrees,
// which with the shape of the gradient (in = dz, out = dx, padding 2 - top and 2 - left, possibly negative) gives the
// gradient of the input.
typedef struct {
    const conv_shape *s;
    const REAL *in, *filters, *bias, *residual; // bias, residual: or NULL; the latter like out
    const REAL *transformed;                    // what winograd_transform made of the filters, or NULL
    REAL *out;
    int flipped, activation;
} winograd_call;
int winograd_product(const winograd_call *call);

// The filters for many calls, in winograd_filters(s) elements.
size_t winograd_filters(const conv_shape *s);
void winograd_transform(const conv_shape *s, const REAL *filters, REAL *transformed);

// dw [3][3][c][k], or its sum with what dw holds.
int winograd_filter_gradient(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, int accumulate);
