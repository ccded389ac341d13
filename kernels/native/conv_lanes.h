// Convolutions of small images with few channels, LANES images side by side in the lanes of a vector.
#pragma once
#include "conv.h"
#include "simd.h"

#define lanes_win NAME(lanes_win)
#define lanes_product NAME(lanes_product)
#define lanes_filters NAME(lanes_filters)

// Whether LANES images at a time are better. True or false for all directions of a layer alike.
int lanes_win(const conv_shape *s);

// out = activation(conv(in, w) + bias). `turned` as in conv_few.h, `winograd`: by winograd_lanes.c. in_lanes, out_lanes: that array lies as
// [n / LANES][h][w][c][LANES]. -1 if memory is out.
int lanes_product(const conv_shape *s, int winograd, const REAL *in, int in_lanes, const REAL *w, int turned,
                  const REAL *bias, int activation, REAL *out, int out_lanes);

// dw, and db unless NULL.
int lanes_filters(const conv_shape *s, int winograd, const REAL *x, int x_lanes, const REAL *dz, int dz_lanes, REAL *dw,
                  REAL *db, int accumulate);
