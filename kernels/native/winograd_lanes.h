// Winograd's F(2x2, 5x5) on LANES images side by side: conv_lanes.c's way for 5x5 filters where it pays.
#pragma once
#include "conv.h"
#include "simd.h"

#define winograd_lanes_wins NAME(winograd_lanes_wins)
#define winograd_lanes_filters NAME(winograd_lanes_filters)
#define winograd_lanes_transform NAME(winograd_lanes_transform)
#define winograd_lanes_room NAME(winograd_lanes_room)
#define winograd_lanes_rows NAME(winograd_lanes_rows)
#define winograd_lanes_turned_room NAME(winograd_lanes_turned_room)
#define winograd_lanes_turned NAME(winograd_lanes_turned)
#define winograd_lanes_sums NAME(winograd_lanes_sums)
#define winograd_lanes_sums_room NAME(winograd_lanes_sums_room)
#define winograd_lanes_add NAME(winograd_lanes_add)
#define winograd_lanes_finish NAME(winograd_lanes_finish)

// Whether a layer whose images lie in lanes is better done so, in all directions.
int winograd_lanes_wins(const conv_shape *s);

// w, [5][5][channels][outputs] of the layer, transformed into that many elements; of s or turned about, they are as many.
long winograd_lanes_filters(const conv_shape *s);
void winograd_lanes_transform(long channels, long outputs, const REAL *w, REAL *out);

// In all that follows, room is for as many elements as the function before says, and images are LANES side by side.

// Two rows of outputs, before any activation but ReLU. in: the first of six rows of inputs; bias may be NULL.
long winograd_lanes_room(const conv_shape *s);
void winograd_lanes_rows(const conv_shape *s, const REAL *in, const REAL *filters, const REAL *bias, int relu, REAL *room,
                         REAL *out);

// The gradient of the input: rows y0 ... y1, y0 even, from gradients whose row `first` is at `in`. s turned about: h, w, c are
// those of the gradients, oh, ow, k those of the result.
long winograd_lanes_turned_room(const conv_shape *s);
void winograd_lanes_turned(const conv_shape *s, const REAL *in, long first, long y0, long y1, const REAL *filters, REAL *room,
                           REAL *out);

// The gradient of the filters: so many sums, each a vector, begun or (add) continued, the last k those of the bias.
long winograd_lanes_sums(const conv_shape *s);
long winograd_lanes_sums_room(const conv_shape *s);
void winograd_lanes_add(const conv_shape *s, const REAL *x, const REAL *dz, REAL *room, int add, REAL *sums);
// dw from these sums over the lanes, of which LANES elements more can be read.
void winograd_lanes_finish(const conv_shape *s, const REAL *sums, REAL *dw, int add);
