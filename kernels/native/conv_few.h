// Convolutions of stride 1 with at most FEW_CHANNELS channels on one side: vectors of pixels instead of channels.
#pragma once
#include "conv.h"
#include "simd.h"

#define few_channels_wins NAME(few_channels_wins)
#define few_channels_product NAME(few_channels_product)
#define few_channels_packed NAME(few_channels_packed)
#define few_channels_pack NAME(few_channels_pack)
#define few_channels_prepared NAME(few_channels_prepared)
#define few_channels_filters NAME(few_channels_filters)

// Whether `channels` channels of an image `width` wide are better held as planes.
int few_channels_wins(const conv_shape *s, long channels, long width);

// out = activation(conv(in, w) + bias), s->k <= 8. `turned`: w is that of the forward direction, [kh][kw][k][c], and its
// taps are taken in descending order, for the gradient of the input. -1 if memory is out.
int few_channels_product(const conv_shape *s, const REAL *in, const REAL *w, int turned, const REAL *bias, int activation,
                         REAL *out);

// The same, not turned, for filters and bias packed once into few_channels_packed elements.
size_t few_channels_packed(const conv_shape *s);
void few_channels_pack(const conv_shape *s, const REAL *w, const REAL *bias, REAL *packed);
int few_channels_prepared(const conv_shape *s, const REAL *in, const REAL *packed, int activation, REAL *out);

// dw, and db unless NULL; s->k <= 8.
int few_channels_filters(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, REAL *db, int accumulate);
