// Convolution without a column matrix.
//
// The plain version is seven loops, or im2col and a GEMM, which writes and reads a matrix kh kw times the size of the
// image. But in NHWC what one output pixel reads is a handful of contiguous runs:
//     many channels     kh kw runs of C floats, one per tap; a tap outside the image points at zeros
//     few channels      kh runs of kw C floats, from a copy of the image with its padding written out
// so a register tile takes a few output pixels at once, broadcasts from their runs in place, and multiplies by a packed
// panel of filters. The pixels of a tile need not be neighbours, hence no row is cut short: a table holds their
// addresses, built once per block of pixels and used for all output channels.
//
//     item = group x block of pixels x some panels of NR output channels      (shared out to the threads)
//       chunk of runs (CHUNK bytes of filters, which stay in L2)
//         panel of filters, tile of pixels, runs, channels
//
// The gradient of the input is the same product. dx at y collects taps u with (y + top - u dh) divisible by sh: the
// rows and columns of dx of one phase, y mod sh and x mod sw, form a convolution of dz of stride 1 with a subset of
// the flipped taps (`axis` below describes both directions); stride 1 is a single phase, and no two writes meet.
//
// The gradient of the filters is a product over pixels: dw[tap, c][k] = sum of x[pixel + tap][c] dz[pixel][k], again
// on operands in place; blocks of pixels small enough for L1 pass through all tiles of dw. Partial sums, in an order that
// does not depend on the threads, keep the threads apart and the float sums short.
//
// A depthwise filter has no product in it: vectors of channels, four pixels at a time to share the loads of the taps, and of
// the inputs where three taps are neighbours (0.75 to 0.9 of the time).
//
// Where the image has few channels the gradient of the input takes columns after all, a row of dz at a time in L2.
//
// Where one side has very few channels, vectors of pixels do better: conv_few.c; vectors of images, where the batch has
// enough of them and they are small: conv_lanes.c.
//
// A 3x3 filter of stride 1 or 2, or a 5x5 one, with many channels, in float32, goes through Winograd's transform instead
// where that is faster: winograd.c, which says when.
//
// Each direction takes 2 N OH OW kh kw (C / groups) K flops and reads and writes each array about once.
#include "conv.h"
#include "columns.h"
#include "conv_few.h"
#include "conv_lanes.h"
#include "conv_parts.h"
#include "derivative.h"
#include "flat.h"
#include "gemm.h"
#include "winograd.h"
#include "winograd_lanes.h"

static long common_divisor(long a, long b) {
    for (long r; b; a = b, b = r) r = a % b;
    return a;
}

// What the inputs phase, phase + stride, ... of a forward axis of `length` receive. Taps in descending order, so that
// the places they meet ascend.
static axis phase_axis(long length, long phase, long kernel, long stride, long pad, long dilation) {
    long period = stride / common_divisor(stride, dilation), u = 0;
    axis a = {length > phase ? div_up(length - phase, stride) : 0, phase, stride, 1, 0, 0, 1, 0, 0};
    while (u < kernel && u < period && (phase + pad - u * dilation) % stride) u++;
    if (u == kernel || u == period) return a;
    a.taps = (kernel - 1 - u) / period + 1;
    a.first = u + (a.taps - 1) * period;
    a.step = -period;
    a.offset = (phase + pad - a.first * dilation) / stride;
    a.spacing = dilation * period / stride;
    return a;
}

static int pointwise(const conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->sh == 1 && s->sw == 1 && !s->top && !s->left && s->oh == s->h &&
           s->ow == s->w && s->groups == 1;
}

static int is_depthwise(const conv_shape *s) { return s->groups > 1 && s->groups == s->c; }

#if REAL_BITS == 32
static int wanted_way = CONV_AUTO;

static void choose_way(int way) { wanted_way = way; }

// Sigmoid and tanh squeeze sums of any size into -1 ... 1 but keep their errors: there the direct way is worth its time.
static int takes_winograd(const conv_shape *s, int flipped, int activation, int prepared, int *way) {
    if (wanted_way == CONV_DIRECT || (wanted_way == CONV_AUTO && activation > RELU)) return 0;
    *way = winograd_way(s, flipped, prepared, wanted_way == CONV_WINOGRAD);
    return *way >= 0;
}

// An Intel server multiplies faster than it stores the points of gradients (LeNet-5's second layer 0.92 of the time without).
static int takes_winograd_lanes(const conv_shape *s, int gradient) {
    if (wanted_way == CONV_DIRECT || (wanted_way == CONV_AUTO && gradient && is_intel_server())) return 0;
    return winograd_lanes_wins(s);
}

static int takes_lanes(const conv_shape *s) {
    return (wanted_way != CONV_WINOGRAD || winograd_lanes_wins(s)) && lanes_win(s);
}
#else // the direct way only
static void choose_way(int way) { (void)way; }

static int takes_winograd_lanes(const conv_shape *s, int gradient) { return (void)s, (void)gradient, 0; }
static int takes_lanes(const conv_shape *s) { return lanes_win(s); }
#endif

static int in_lanes(const conv_shape *s) { return takes_lanes(s) ? LANES : 0; }

// The forward direction of the direct and the depthwise way.
static product forward_product(const conv_shape *s, const REAL *x, const REAL *w, const REAL *b, REAL *y, int activation) {
    return (product){
        .y = forward_axis(s->oh, s->kh, s->sh, s->top, s->dh),
        .x = forward_axis(s->ow, s->kw, s->sw, s->left, s->dw),
        .n = s->n, .h = s->h, .w = s->w, .out_h = s->oh, .out_w = s->ow,
        .in = x, .filters = w, .bias = b, .out = y, .activation = activation,
        .c = s->c / s->groups, .k = is_depthwise(s) ? s->k : s->k / s->groups, .groups = s->groups,
        .tap = s->c / s->groups * s->k, .row = s->kw * (s->c / s->groups) * s->k,
        .group = s->k / s->groups, .rs = s->k, .cs = 1,
    };
}

static int conv2d(const conv_shape *s, const void *x, const void *w, const void *b, void *y, int activation) {
    if (takes_lanes(s))
        return lanes_product(s, takes_winograd_lanes(s, 0), x, s->x_lanes, w, 0, b, activation, y, s->y_lanes);
    if (pointwise(s))
        return gemm(s->n * s->h * s->w, s->k, s->c, x, s->c, 1, w, s->k, 1, y, s->k, (epilogue){b, 0, activation});
#if REAL_BITS == 32
    int way;
    if (takes_winograd(s, 0, activation, 0, &way))
        return winograd_product(&(winograd_call){.s = s, .in = x, .filters = w, .bias = b, .out = y, .way = way,
                                                 .activation = activation});
#endif
    if (few_channels_wins(s, s->k, s->ow)) return few_channels_product(s, x, w, 0, b, activation, y);
    product g = forward_product(s, x, w, b, y, activation);
    return is_depthwise(s) ? depthwise(&g, 0) : multiply(&g);
}

// ---- prepared ------------------------------------------------------------------------------------------------------------

typedef struct {
    prepared base;
    conv_shape s;
    product g;              // direct and depthwise
#if REAL_BITS == 32
    winograd_call winograd;
#endif
} prepared_conv;

static int run_pointwise(prepared *self) {
    const product *g = &((const prepared_conv *)self)->g;
    return gemm_packed(g->n * g->h * g->w, g->k, g->c, g->in, g->c, self->weights, g->bias, g->residual, g->activation, 0,
                       g->out);
}
static int run_depthwise(prepared *self) { return depthwise(&((const prepared_conv *)self)->g, 0); }
static int run_direct(prepared *self) { return run_product(&((const prepared_conv *)self)->g); }
#if REAL_BITS == 32
static int run_winograd(prepared *self) { return winograd_product(&((const prepared_conv *)self)->winograd); }
#endif

static int run_lanes(prepared *self) {
    const prepared_conv *p = (const prepared_conv *)self;
    return lanes_product(&p->s, takes_winograd_lanes(&p->s, 0), p->g.in, p->s.x_lanes, p->g.filters, 0, p->g.bias,
                         p->g.activation, p->g.out, p->s.y_lanes);
}

static int run_few(prepared *self) {
    const prepared_conv *p = (const prepared_conv *)self;
    return few_channels_prepared(&p->s, p->g.in, self->weights, p->g.activation, p->g.out);
}

// Room for that many elements of weights.
static prepared_conv *allocate(const prepared_conv *arguments, size_t weights) {
    return allocate_prepared(arguments, sizeof *arguments, weights * sizeof(REAL));
}

static prepared *prepare(const conv_shape *s, const void *x, const void *w, const void *b, void *y, int activation,
                         const void *residual) {
    prepared_conv a = {.s = *s, .g = forward_product(s, x, w, b, y, activation)}, *p;
    a.g.residual = residual;
    if (!residual && takes_lanes(s)) { // its filters are too few to be worth packing once
        a.base.run = run_lanes;
        return allocate_prepared(&a, sizeof a, 0);
    }
    if (pointwise(s)) {
        a.base.run = run_pointwise;
        if (!(p = allocate(&a, packed_size(s->n * s->h * s->w, s->k, s->c)))) return NULL;
        pack_weights(s->n * s->h * s->w, s->k, s->c, w, s->k, 1, p->base.weights);
        return &p->base;
    }
#if REAL_BITS == 32
    int way;
    if (takes_winograd(s, 0, activation, 1, &way)) {
        a.base.run = run_winograd;
        if (!(p = allocate(&a, winograd_filters(s, way)))) return NULL;
        winograd_transform(s, way, w, p->base.weights);
        p->winograd = (winograd_call){.s = &p->s, .in = x, .bias = b, .residual = residual, .transformed = p->base.weights,
                                      .out = y, .way = way, .activation = activation};
        return &p->base;
    }
#endif
    if (!residual && few_channels_wins(s, s->k, s->ow)) {
        a.base.run = run_few;
        if (!(p = allocate(&a, few_channels_packed(s)))) return NULL;
        few_channels_pack(s, w, b, p->base.weights);
        return &p->base;
    }
    if (is_depthwise(s)) {
        a.base.run = run_depthwise;
        return allocate_prepared(&a, sizeof a, 0);
    }
    a.base.run = run_direct;
    plan_product(&a.g);
    if (!(p = allocate(&a, packed_filters(&a.g)))) return NULL;
    pack_filters(&p->g, p->base.weights);
    return &p->base;
}

static int pools(const conv_shape *s, int activation) {
#if REAL_BITS == 32
    int way, winograd = takes_winograd(s, 0, activation, 1, &way);
#else
    (void)activation;
    int winograd = 0;
#endif
    if (s->oh % 2 || s->ow % 2 || pointwise(s)) return 0;
    if (takes_lanes(s)) return s->pooled == MEANS;
    if (winograd) return s->pooled == MAXIMA && activation <= RELU; // it applies the others to outputs that it has written
    return s->pooled == MEANS && few_channels_wins(s, s->k, s->ow);
}

// ---- gradients -----------------------------------------------------------------------------------------------------------

// The gradient of the input is a convolution of dz, of this shape where the stride is 1.
static conv_shape turn(const conv_shape *s) {
    return (conv_shape){s->n, s->oh, s->ow, s->k, s->h, s->w, s->c, s->kh, s->kw, s->sh, s->sw,
                        (s->kh - 1) * s->dh - s->top, (s->kw - 1) * s->dw - s->left, s->dh, s->dw, s->groups,
                        0, s->y_lanes, s->x_lanes};
}

static int few_channels_win_turned(const conv_shape *s, const conv_shape *turned) {
    return turned->top >= 0 && turned->left >= 0 && few_channels_wins(turned, s->c, s->w);
}

static int gradient_of_input(const conv_shape *s, const conv_shape *turned, const void *dz, const void *w, void *dx) {
    if (pointwise(s))
        return gemm(s->n * s->h * s->w, s->c, s->k, dz, s->k, 1, w, 1, s->k, dx, s->c, (epilogue){NULL, 0, LINEAR});
    if (takes_lanes(s))
        return lanes_product(turned, takes_winograd_lanes(s, 1), dz, s->y_lanes, w, 1, NULL, LINEAR, dx, s->x_lanes);
    if (few_channels_win_turned(s, turned)) return few_channels_product(turned, dz, w, 1, NULL, LINEAR, dx);
    long vectors = s->h * s->w * s->kh * s->kw / (s->sh * s->sw) * div_up(s->c, LANES); // per image and channel of dz
    long scattered = s->oh * s->ow * (div_up(s->kh * s->kw * s->c, NR) * 2 + s->kh);
    if (s->groups == 1 && s->n && s->h && s->w && s->c && s->c < LANES && s->k > 0 && s->ow > 0 && 3 * scattered < 2 * vectors)
        return scatter_columns(s, dz, w, dx);
    product g = {
        .n = s->n, .h = s->oh, .w = s->ow, .out_h = s->h, .out_w = s->w,
        .in = dz, .filters = w, .out = dx, .activation = LINEAR,
        .c = s->k / s->groups, .k = s->c / s->groups, .groups = s->groups,
        .tap = s->c / s->groups * s->k, .row = s->kw * (s->c / s->groups) * s->k,
        .group = s->k / s->groups, .rs = 1, .cs = s->k,
    };
    if (is_depthwise(s)) g.k = s->k;
    for (long py = 0; py < s->sh; py++)
        for (long px = 0; px < s->sw; px++) {
            product phase = g;
            phase.y = phase_axis(s->h, py, s->kh, s->sh, s->top, s->dh);
            phase.x = phase_axis(s->w, px, s->kw, s->sw, s->left, s->dw);
            if (is_depthwise(s) ? depthwise(&phase, 1) : multiply(&phase)) return -1;
        }
    return 0;
}

typedef struct {
    const REAL *residual, *gate;
    REAL *dx;
} passing_job;

static void pass_chunk(void *job, long first, long n) {
    const passing_job *g = job;
    for (long i = first, end = first + n; i < end; i += LANES) {
        long part = end - i < LANES ? end - i : 0;
        vec v = load_some(g->dx + i, part);
        if (g->residual) v += load_some(g->residual + i, part);
        if (g->gate) v = before_activation(ACT_RELU, v, load_some(g->gate + i, part));
        store_some(g->dx + i, v, part);
    }
}

static int conv2d_backward_input(const conv_shape *s, const void *dz, const void *w, void *dx, const void *residual,
                                 const void *gate) {
    conv_shape turned = turn(s);
#if REAL_BITS == 32
    int way;
    if (!pointwise(s) && !takes_lanes(s) && !few_channels_win_turned(s, &turned) && takes_winograd(&turned, 1, LINEAR, 0, &way))
        return winograd_product(&(winograd_call){.s = &turned, .in = dz, .filters = w, .residual = residual, .gate = gate,
                                                 .out = dx, .way = way, .flipped = 1});
#endif
    if (gradient_of_input(s, &turned, dz, w, dx)) return -1;
    passing_job g = {residual, gate, dx};
    if (residual || gate) flat_for(s->n * s->h * s->w * s->c, 1, pass_chunk, &g);
    return 0;
}

static int conv2d_backward_weight(const conv_shape *s, const void *x, const void *dz, void *dw, void *db, int accumulate) {
    long pixels = s->n * s->oh * s->ow;
    if (takes_lanes(s))
        return lanes_filters(s, takes_winograd_lanes(s, 1), x, s->x_lanes, dz, s->y_lanes, dw, db, accumulate);
    if (few_channels_wins(s, s->k, s->ow)) return few_channels_filters(s, x, dz, dw, db, accumulate);
    if (db && column_sums(pixels, s->k, dz, s->k, db, accumulate)) return -1;
    if (pointwise(s))
        return gemm(s->c, s->k, pixels, x, 1, s->c, dz, s->k, 1, dw, s->k, (epilogue){NULL, accumulate, LINEAR});
#if REAL_BITS == 32
    int way;
    if (takes_winograd(s, 0, LINEAR, 0, &way)) return winograd_filter_gradient(s, way, x, dz, dw, accumulate);
#endif
    return (is_depthwise(s) ? depthwise_filter_gradient : filter_gradient)(s, x, dz, dw, accumulate);
}

const conv_kernels NAME(conv_kernels) = {
    conv2d, conv2d_backward_input, conv2d_backward_weight, prepare, choose_way, pools, in_lanes,
};
