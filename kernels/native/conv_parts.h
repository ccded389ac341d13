// What the ways of convolution share: one axis in either direction, and the kernels that conv.c chooses from. Functions
// return 0, or -1 when memory is out.
#pragma once
#include "conv.h"
#include "simd.h"

#define pad_images NAME(pad_images)
#define plan_product NAME(plan_product)
#define packed_filters NAME(packed_filters)
#define pack_filters NAME(pack_filters)
#define run_product NAME(run_product)
#define multiply NAME(multiply)
#define scatter_columns NAME(scatter_columns)
#define depthwise NAME(depthwise)
#define filter_gradient NAME(filter_gradient)
#define depthwise_filter_gradient NAME(depthwise_filter_gradient)

// ---- one axis ------------------------------------------------------------------------------------------------------------

// Output o, which lies at place + o * pace, meets through tap i the input at o * stride + offset + i * spacing; tap i is
// row first + i * step of the filter.
typedef struct {
    long outputs, place, pace, stride, offset, taps, spacing, first, step;
} axis;

INLINE axis forward_axis(long outputs, long kernel, long stride, long pad, long dilation) {
    return (axis){outputs, 0, 1, stride, -pad, kernel, dilation, 0, 1};
}

// The places that an axis reads, and at least 0 ... length.
INLINE void extent(const axis *a, long length, long *low, long *high) {
    *low = min_l(0, a->offset);
    *high = max_l(length, (a->outputs - 1) * a->stride + a->offset + (a->taps - 1) * a->spacing + 1);
}

// The taps that lie inside the input for output o.
INLINE void taps_inside(const axis *a, long length, long o, long *low, long *high) {
    long at = o * a->stride + a->offset;
    *low = at >= 0 ? 0 : min_l(a->taps, div_up(-at, a->spacing));
    *high = at >= length ? 0 : min_l(a->taps, (length - 1 - at) / a->spacing + 1);
    *high = max_l(*high, *low);
}

// The outputs for which `tap` lies inside the input.
INLINE void outputs_inside(const axis *a, long length, long tap, long *low, long *high) {
    long at = a->offset + tap * a->spacing;
    *low = at >= 0 ? 0 : min_l(a->outputs, div_up(-at, a->stride));
    *high = at >= length ? 0 : min_l(a->outputs, (length - 1 - at) / a->stride + 1);
    *high = max_l(*high, *low);
}

// What tap and channel c of the input give to output channel k, 0 past the last. Turned: w is that of the forward direction,
// [kh][kw][k][c], and its taps are taken in descending order, for the gradient of the input.
INLINE REAL filter_at(const conv_shape *s, const REAL *w, int turned, long tap, long c, long k) {
    if (k >= s->k) return 0;
    return turned ? w[((s->kh * s->kw - 1 - tap) * s->k + k) * s->c + c] : w[(tap * s->c + c) * s->k + k];
}

// out[n][tall][wide]: images with their padding written out, `wide` floats to a row, the image `top` rows and `left`
// pixels of `ld` floats in.
void pad_images(long n, long h, long w, long ld, const REAL *in, long top, long left, long tall, long wide, REAL *out);

// ---- the product: forward, and each phase of the gradient of the input ---------------------------------------------------

typedef struct {
    axis y, x;
    long n, h, w;            // images read
    long c, k, groups;       // channels read and written, per group
    long out_h, out_w;
    const REAL *in, *filters, *bias;
    const REAL *residual;    // like out, added before the activation; or NULL
    REAL *out;
    long row, tap, group, rs, cs; // strides of the filters: row of taps, tap, group, channel read and channel written
    int activation;
    // What plan_product makes of that:
    int joined;                   // runs of x.taps * c floats from images of `tall` rows of `wide` floats
    long runs, len, tall, wide, left, top, origin; // origin: where in a padded image tap (0, 0) of output (0, 0) lies
    int images_first;
    long line, lines, cuts;       // a line of pixels is cut into tiles: a row, a pixel of all images, or all pixels
    long rows, tiles, block, blocks; // rows of a tile and tiles of a block at most; tiles of a block, blocks
    long panels, panel_size;
    int past;                     // outputs are stored past the caches
    const REAL *packed, *packed_bias; // what pack_filters makes
} product;

void plan_product(product *g);
size_t packed_filters(const product *g); // elements
void pack_filters(product *g, REAL *room);
int run_product(const product *g);
int multiply(product *g); // all of these, in scratch

// Gradient of the input for few channels.
int scatter_columns(const conv_shape *s, const REAL *dz, const REAL *w, REAL *dx);

// g->k: all output channels of the forward direction; g->groups the channels of the image. Folded: the gradient of the input.
int depthwise(const product *g, int folded);

// ---- the gradient of the filters: dw, or its sum with what dw holds -------------------------------------------------------

enum {
    PARTIAL_BYTES = 2 << 20, // of partial sums, beyond one set
    PARTIALS = 16,
};

// How many sets of partial sums, of how many rows of dz each.
INLINE void plan_splits(long rows, long set, long *splits, long *split) {
    *splits = max_l(1, min_l(min_l(PARTIALS, rows), PARTIAL_BYTES / max_l(set * (long)sizeof(REAL), 1)));
    *split = div_up(rows, *splits);
    *splits = max_l(1, div_up(rows, max_l(*split, 1)));
}

int filter_gradient(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, int accumulate);
int depthwise_filter_gradient(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, int accumulate);
