// Winograd convolution F(2x2, 5x5) with images in the lanes (Lavin & Gray 2016; conv_lanes.c says how they lie): 2x2
// outputs from 6x6 inputs with 36 instead of 100 products.
//
//     Y = At [ sum over c of (G g Gt) . (Bt d B) ] A
//
// The transforms are those of winograd_transforms.h; the largest error measured at six channels is 8e-7 of the largest
// output, 3.5e-6 after tanh: small enough for any activation. float64 is for checking and takes the direct way.
//
// Every step is elementwise in the lanes. A tile's inputs are transformed once; then, for some output channels at a time,
// the products of a row of six points stay in registers, are summed over the channels and at once turned into the two
// columns of the output, so that only those go to memory (L1): 36 c k multiply-adds, 144 c for the inputs and about 60 k
// for the outputs instead of 100 c k. Only the forward pass gains: the gradient of the input has the many channels on the
// dear side, and its outer tiles lie half outside. Measured on Zen 4: LeNet-5's second layer 1.24 times faster; of 7,000
// cycles a tile takes there, half are products.
#include "winograd_lanes.h"
#if REAL_BITS == 32
#include "gemm.h"
#include "winograd_transforms.h"

enum {
    TAPS = 5,
    OUTPUT = 2,
    INPUT = 6,
    POINTS = INPUT * INPUT,
#if defined(__AVX512F__)
    CHANNELS = 4, // of outputs at a time: INPUT accumulators each
#else
    CHANNELS = 2,
#endif
};

int winograd_lanes_wins(const conv_shape *s) {
    int can = s->kh == TAPS && s->kw == TAPS && !s->top && !s->left && s->oh == s->h - 4 && s->ow == s->w - 4 &&
              s->oh % OUTPUT == 0 && s->ow % OUTPUT == 0;
    const long direct = 100 * s->c * s->k, here = 36 * s->c * s->k + 144 * s->c + 60 * s->k; // multiply-adds per tile
    return can && 4 * direct > 5 * here;
}

// ---- filters: [point of the row][c][point of the column][k], k rounded up -------------------------------------------------

static long columns(const conv_shape *s) { return round_up(s->k, CHANNELS); }
static long block(const conv_shape *s) { return s->c * INPUT * columns(s); } // a row of points

long winograd_lanes_filters(const conv_shape *s) { return INPUT * block(s) + LANES; }

void winograd_lanes_transform(const conv_shape *s, const REAL *w, REAL *out) {
    const long tap = s->c * s->k, width = columns(s);
    for (long c = 0; c < s->c; c++)
        for (long k = 0; k < s->k; k += LANES) {
            const long part = s->k - k < LANES ? s->k - k : 0;
            vec half[INPUT][TAPS], g[TAPS], u[INPUT];
            for (long v = 0; v < TAPS; v++) {
                for (long t = 0; t < TAPS; t++) g[t] = load_some(w + (t * TAPS + v) * tap + c * s->k + k, part);
                transform_filter(FIVE, g, u);
                for (long i = 0; i < INPUT; i++) half[i][v] = u[i];
            }
            for (long i = 0; i < INPUT; i++) {
                transform_filter(FIVE, half[i], u);
                for (long j = 0; j < INPUT; j++)
                    store_some(out + i * block(s) + (c * INPUT + j) * width + k, u[j], part ? min_l(LANES, width - k) % LANES : 0);
            }
        }
}

// ---- a tile ----------------------------------------------------------------------------------------------------------------

// v[point of the row][c][point of the column]
INLINE void inputs_of_tile(const conv_shape *s, const REAL *in, REAL *v) {
    const long pixel = s->c * LANES, row = s->w * pixel;
    for (long c = 0; c < s->c; c++, in += LANES) {
        vec half[INPUT][INPUT], d[INPUT], u[INPUT];
#pragma GCC unroll 6
        for (int x = 0; x < INPUT; x++) {
#pragma GCC unroll 6
            for (int y = 0; y < INPUT; y++) d[y] = load(in + y * row + x * pixel);
            transform_input(FIVE, d, u);
#pragma GCC unroll 6
            for (int i = 0; i < INPUT; i++) half[i][x] = u[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) {
            transform_input(FIVE, half[i], u);
#pragma GCC unroll 6
            for (int j = 0; j < INPUT; j++) store(v + ((i * s->c + c) * INPUT + j) * LANES, u[j]);
        }
    }
}

// CHANNELS output channels, of which `used` exist. out: the first of four pixels.
INLINE void outputs_of_tile(const conv_shape *s, const REAL *v, const REAL *filters, const REAL *bias, long used, int relu,
                        REAL *out) {
    const long width = columns(s), pixel = s->k * LANES;
    vec rows[CHANNELS][OUTPUT][INPUT];
    for (long i = 0; i < INPUT; i++, v += s->c * INPUT * LANES, filters += block(s)) {
        vec acc[CHANNELS][INPUT] = {0};
#pragma GCC unroll 1
        for (long c = 0; c < s->c; c++) {
            const REAL *points = v + c * INPUT * LANES, *weights = filters + c * INPUT * width;
#pragma GCC unroll 6
            for (int j = 0; j < INPUT; j++) {
                vec point = load(points + j * LANES);
#pragma GCC unroll 4
                for (int k = 0; k < CHANNELS; k++) acc[k][j] += splat(weights[j * width + k]) * point;
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < CHANNELS; k++) {
            vec y[OUTPUT];
            transform_output(FIVE, acc[k], y);
            rows[k][0][i] = y[0];
            rows[k][1][i] = y[1];
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < CHANNELS; k++) {
        if (k >= used) break;
        for (int x = 0; x < OUTPUT; x++) {
            vec y[OUTPUT], b = splat(bias ? bias[k] : 0);
            transform_output(FIVE, rows[k][x], y);
            for (int r = 0; r < OUTPUT; r++) {
                y[r] += b;
                store(out + (r * s->ow + x) * pixel + k * LANES, relu ? vmax((vec){0}, y[r]) : y[r]);
            }
        }
    }
}

long winograd_lanes_room(const conv_shape *s) { return POINTS * s->c * LANES; }

void winograd_lanes_rows(const conv_shape *s, const REAL *in, const REAL *filters, const REAL *bias, int relu, REAL *room,
                         REAL *out) {
    for (long x = 0; x < s->ow; x += OUTPUT) {
        inputs_of_tile(s, in + x * s->c * LANES, room);
        for (long k = 0; k < s->k; k += CHANNELS)
            outputs_of_tile(s, room, filters + k, bias ? bias + k : NULL, min_l(CHANNELS, s->k - k), relu,
                        out + (x * s->k + k) * LANES);
    }
}
#endif
