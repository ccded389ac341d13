// Winograd's F(2x2, 5x5) on LANES images side by side: conv_lanes.c's way for 5x5 filters where it pays.
#pragma once
#include "conv.h"
#include "simd.h"

#define winograd_lanes_wins NAME(winograd_lanes_wins)
#define winograd_lanes_filters NAME(winograd_lanes_filters)
#define winograd_lanes_transform NAME(winograd_lanes_transform)
#define winograd_lanes_room NAME(winograd_lanes_room)
#define winograd_lanes_rows NAME(winograd_lanes_rows)

// Whether the forward pass of a layer whose images lie in lanes is better done so.
int winograd_lanes_wins(const conv_shape *s);

// w, [5][5][c][k], transformed into that many elements.
long winograd_lanes_filters(const conv_shape *s);
void winograd_lanes_transform(const conv_shape *s, const REAL *w, REAL *out);

// Two rows of outputs of LANES images, before any activation but ReLU. in: the first of six rows of inputs; bias may be
// NULL; room for so many elements.
long winograd_lanes_room(const conv_shape *s);
void winograd_lanes_rows(const conv_shape *s, const REAL *in, const REAL *filters, const REAL *bias, int relu, REAL *room,
                         REAL *out);
