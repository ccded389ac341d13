// Winograd convolution F(2x2, 5x5) with images in the lanes (Lavin & Gray 2016; conv_lanes.c says how they lie): 2x2
// outputs from 6x6 inputs with 36 instead of 100 products.
//
//     forward                  Y  = At [ sum over c of     (G g Gt) . (Bt d B)   ] A
//     gradient of the input    d' = B  [ sum over k of     (G g Gt) . (A y' At)  ] Bt       summed where tiles overlap
//     gradient of the filters  g' = Gt [ sum over tiles of (Bt d B) . (A y' At)  ] G
//
// The gradients are the transposed forward pass, product by product: so that of the input has as few tiles as there are
// outputs, none of which lies half outside.
//
// The transforms are those of winograd_transforms.h; the largest error measured at six channels is 8e-7 of the largest
// output, 3.5e-6 after tanh: small enough for any activation. float64 is for checking and takes the direct way.
//
// Every step is elementwise in the lanes. The forward pass transforms a tile's inputs once; then, for some output channels
// at a time, the products of a row of six points stay in registers, are summed over the channels and at once turned into
// the two columns of the output, so that only those go to memory (L1).
//
// The gradients transform a row of tiles (that of the filters: all tiles) by two points of a column at a time, a pair that
// shares its halves, whose 12 points stay in L2; their products take some tiles, or some input channels, times some output
// channels in registers. The tiles of the gradient of the input are added up where they overlap between the two passes of
// the transform, so that its second pass has 14 columns to do instead of 30.
//
// 36 c k multiply-adds per tile, and about 144 c for inputs and 60 k for outputs, instead of 100 c k. LeNet-5's second layer
// on Zen 4, against the direct way: 1.24 times faster forward, 1.5 and 1.65 in its gradients. There products run at the
// processor's peak and are 3,500 of 4,900 cycles a tile forward, of 5,900 and 6,800 backward, where storing the points
// is most of the rest. On a Granite Rapids, which multiplies twice as fast, 1.2 times faster forward, but 0.93 in the
// gradients: there those are direct (conv.c).
#include "winograd_lanes.h"
#if REAL_BITS == 32
#include "winograd_transforms.h"
#include <string.h>

enum {
    TAPS = 5,
    OUTPUT = 2,
    INPUT = 6,
    POINTS = INPUT * INPUT,
    PAIRS = INPUT / 2,
    PAIR = 2 * INPUT,        // points of a pair of rows
    CHANNELS = 8,            // of a product
    SUMMED = 4,              // output channels of a tile of sums
    CHUNK_BYTES = 512 << 10, // of transformed inputs and gradients of which products are summed
#if defined(__AVX512F__)
    FACTORS = 6, // input channels of a tile of sums
#else
    FACTORS = 3,
#endif
};

int winograd_lanes_wins(const conv_shape *s) {
    int can = s->kh == TAPS && s->kw == TAPS && !s->top && !s->left && s->oh == s->h - 4 && s->ow == s->w - 4 &&
              s->oh % OUTPUT == 0 && s->ow % OUTPUT == 0;
    const long direct = 100 * s->c * s->k, here = 36 * s->c * s->k + 144 * s->c + 60 * s->k; // multiply-adds per tile
    return can && 4 * direct > 5 * here;
}

// Point 0 or 1 of a pair, whose transforms share their halves: 0 and infinity, +-5/8, +-3/2.
INLINE int point_of(const int pair, const int which) {
    return which ? (pair ? 2 * pair : INPUT - 1) : (pair ? 2 * pair - 1 : 0);
}

#define EACH_PAIR(CALL)                                                                                                \
    switch (pair) {                                                                                                    \
        case 0: CALL(0); break;                                                                                        \
        case 1: CALL(1); break;                                                                                        \
        case 2: CALL(2); break;                                                                                        \
    }

// ---- filters: [point][c][k], c and k rounded up to whole tiles of the product ---------------------------------------------

typedef struct {
    long tiles, size; // so many of so many channels
} cut;

INLINE cut cut_channels(long n) {
    cut c = {div_up(n, CHANNELS), 0};
    c.size = round_up(div_up(n, c.tiles), 2);
    c.tiles = div_up(n, c.size);
    return c;
}
INLINE long padded(long n) {
    cut c = cut_channels(n);
    return c.tiles * c.size;
}

long winograd_lanes_filters(const conv_shape *s) { return POINTS * padded(s->c) * padded(s->k) + LANES; }

void winograd_lanes_transform(long channels, long outputs, const REAL *w, REAL *out) {
    const long tap = channels * outputs, width = padded(outputs), block = padded(channels) * width;
    memset(out, 0, (size_t)(POINTS * block) * sizeof(REAL));
    for (long c = 0; c < channels; c++)
        for (long k = 0; k < outputs; k += LANES) {
            const long part = outputs - k < LANES ? outputs - k : 0;
            vec half[INPUT][TAPS], g[TAPS], u[INPUT];
            for (long v = 0; v < TAPS; v++) {
                for (long t = 0; t < TAPS; t++) g[t] = load_some(w + (t * TAPS + v) * tap + c * outputs + k, part);
                transform_filter(FIVE, g, u);
                for (long i = 0; i < INPUT; i++) half[i][v] = u[i];
            }
            for (long i = 0; i < INPUT; i++) {
                transform_filter(FIVE, half[i], u);
                for (long j = 0; j < INPUT; j++) store_some(out + (i * INPUT + j) * block + c * width + k, u[j], part);
            }
        }
}

// ---- points of tiles -------------------------------------------------------------------------------------------------------

// out[point of the pair][tile][c], the points `plane` apart, from six rows of inputs `row` apart; column: room for [2][w][c].
INLINE void input_pair(const int pair, long w, long c, const REAL *in, long row, REAL *column, REAL *out, long plane) {
    const long run = w * c * LANES;
    for (long x = 0; x < run; x += LANES) {
        vec d[INPUT], v[INPUT];
#pragma GCC unroll 6
        for (int y = 0; y < INPUT; y++) d[y] = load(in + y * row + x);
        transform_input(FIVE, d, v);
        store(column + x, v[point_of(pair, 0)]);
        store(column + run + x, v[point_of(pair, 1)]);
    }
    for (int which = 0; which < 2; which++, column += run, out += INPUT * plane)
        for (long t = 0, n = (w - TAPS + 1) / OUTPUT; t < n; t++)
            for (long i = 0; i < c * LANES; i += LANES) {
                const REAL *from = column + t * OUTPUT * c * LANES + i;
                vec d[INPUT], v[INPUT];
#pragma GCC unroll 6
                for (int x = 0; x < INPUT; x++) d[x] = load(from + x * c * LANES);
                transform_input(FIVE, d, v);
#pragma GCC unroll 6
                for (int j = 0; j < INPUT; j++) store(out + j * plane + t * c * LANES + i, v[j]);
            }
}

static void points_of_inputs(int pair, long w, long c, const REAL *in, long row, REAL *column, REAL *out, long plane) {
#define CALL(p) input_pair(p, w, c, in, row, column, out, plane)
    EACH_PAIR(CALL)
#undef CALL
}

// The same of n tiles of gradients, from two rows of them.
INLINE void gradient_pair(const int pair, long n, long k, const REAL *dz, long row, REAL *out, long plane) {
    for (long t = 0; t < n; t++, dz += OUTPUT * k * LANES, out += k * LANES)
        for (long at = 0; at < k * LANES; at += LANES) {
            vec half[2][OUTPUT], z[INPUT];
#pragma GCC unroll 2
            for (int x = 0; x < OUTPUT; x++) {
                vec y[OUTPUT] = {load(dz + x * k * LANES + at), load(dz + row + x * k * LANES + at)};
                transform_gradient(FIVE, y, z);
                half[0][x] = z[point_of(pair, 0)];
                half[1][x] = z[point_of(pair, 1)];
            }
#pragma GCC unroll 2
            for (int which = 0; which < 2; which++) {
                transform_gradient(FIVE, half[which], z);
#pragma GCC unroll 6
                for (int j = 0; j < INPUT; j++) store(out + (which * INPUT + j) * plane + at, z[j]);
            }
        }
}

static void points_of_gradients(int pair, long n, long k, const REAL *dz, long row, REAL *out, long plane) {
#define CALL(p) gradient_pair(p, n, k, dz, row, out, plane)
    EACH_PAIR(CALL)
#undef CALL
}

// ---- the product at a point: m[tile][channels] = sum over `depth` of points[tile][depth] u[channels][depth] -----------------

INLINE int most_tiles(const int channels) {
#if defined(__AVX512F__)
    return channels <= 6 ? 4 : 3;
#else
    return channels <= 6 ? 2 : 1;
#endif
}

INLINE void product_tile(const int tiles, const int channels, long depth, const REAL *points, const REAL *u, long ld, REAL *m,
                         long width) {
    vec acc[4][CHANNELS];
#pragma GCC unroll 4
    for (int t = 0; t < tiles; t++)
#pragma GCC unroll 8
        for (int k = 0; k < channels; k++) acc[t][k] = (vec){0};
#pragma GCC unroll 1
    for (long d = 0; d < depth; d++, u++) {
        vec point[4];
#pragma GCC unroll 4
        for (int t = 0; t < tiles; t++) point[t] = load(points + (t * depth + d) * LANES);
#pragma GCC unroll 8
        for (int k = 0; k < channels; k++) {
            vec weight = splat(u[k * ld]);
#pragma GCC unroll 4
            for (int t = 0; t < tiles; t++) acc[t][k] += weight * point[t];
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < tiles; t++)
#pragma GCC unroll 8
        for (int k = 0; k < channels; k++) store(m + (t * width + k) * LANES, acc[t][k]);
}

INLINE void product_of(const int channels, long n, long depth, const REAL *points, const REAL *u, long ld, REAL *m,
                       long width) {
    const int most = most_tiles(channels);
    for (long t = 0, parts = div_up(n, most), tiles; t < n; t += tiles, parts--) {
        tiles = div_up(n - t, parts);
        const REAL *from = points + t * depth * LANES;
        REAL *to = m + t * width * LANES;
#define TILES(count)                                                                                                   \
    case count:                                                                                                        \
        if (count <= most) product_tile(count, channels, depth, from, u, ld, to, width);                              \
        break
        switch (tiles) {
            TILES(1);
            TILES(2);
            TILES(3);
            TILES(4);
        }
#undef TILES
    }
}

static void product_at_point(long channels, long n, long depth, const REAL *points, const REAL *u, long ld, REAL *m,
                             long width) {
    switch (channels) {
        case 2: product_of(2, n, depth, points, u, ld, m, width); break;
        case 4: product_of(4, n, depth, points, u, ld, m, width); break;
        case 6: product_of(6, n, depth, points, u, ld, m, width); break;
        case 8: product_of(8, n, depth, points, u, ld, m, width); break;
    }
}

// ---- forward ---------------------------------------------------------------------------------------------------------------

enum {
#if defined(__AVX512F__)
    OUTPUTS = 4, // channels at a time: INPUT accumulators each
#else
    OUTPUTS = 2,
#endif
};

// points[point of the column][c][point of the row]
INLINE void inputs_of_tile(const conv_shape *s, const REAL *in, REAL *points) {
    const long pixel = s->c * LANES, row = s->w * pixel;
    for (long c = 0; c < s->c; c++, in += LANES) {
        vec half[INPUT][INPUT], d[INPUT], v[INPUT];
#pragma GCC unroll 6
        for (int x = 0; x < INPUT; x++) {
#pragma GCC unroll 6
            for (int y = 0; y < INPUT; y++) d[y] = load(in + y * row + x * pixel);
            transform_input(FIVE, d, v);
#pragma GCC unroll 6
            for (int i = 0; i < INPUT; i++) half[i][x] = v[i];
        }
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) {
            transform_input(FIVE, half[i], v);
#pragma GCC unroll 6
            for (int j = 0; j < INPUT; j++) store(points + ((i * s->c + c) * INPUT + j) * LANES, v[j]);
        }
    }
}

// OUTPUTS channels, of which `used` exist. out: the first of four pixels.
INLINE void outputs_of_tile(const conv_shape *s, const REAL *points, const REAL *filters, const REAL *bias, long used, int relu,
                            REAL *out) {
    const long width = padded(s->k), block = padded(s->c) * width, pixel = s->k * LANES;
    vec rows[OUTPUTS][OUTPUT][INPUT];
    for (long i = 0; i < INPUT; i++, filters += INPUT * block) {
        vec acc[OUTPUTS][INPUT] = {0};
#pragma GCC unroll 1
        for (long c = 0; c < s->c; c++, points += INPUT * LANES) {
            const REAL *weights = filters + c * width;
#pragma GCC unroll 6
            for (int j = 0; j < INPUT; j++) {
                vec point = load(points + j * LANES);
#pragma GCC unroll 4
                for (int k = 0; k < OUTPUTS; k++) acc[k][j] += splat(weights[j * block + k]) * point;
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < OUTPUTS; k++) {
            vec y[OUTPUT];
            transform_output(FIVE, acc[k], y);
            rows[k][0][i] = y[0];
            rows[k][1][i] = y[1];
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < OUTPUTS; k++) {
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
        for (long k = 0; k < s->k; k += OUTPUTS)
            outputs_of_tile(s, room, filters + k, bias ? bias + k : NULL, min_l(OUTPUTS, s->k - k), relu,
                            out + (x * s->k + k) * LANES);
    }
}

// ---- the gradient of the input ---------------------------------------------------------------------------------------------

// d = B v, the transpose of transform_input(FIVE, ...).
INLINE void transform_turned(const vec *v, vec *d) {
    const REAL p = 0.625, q = 1.5;
    vec ep = v[1] + v[2], op = p * (v[1] - v[2]), eq = v[3] + v[4], oq = q * (v[3] - v[4]);
    d[0] = (p * p * q * q) * v[0];
    d[1] = (p * p * q * q) * v[5] - (q * q) * op - (p * p) * oq;
    d[2] = -(p * p + q * q) * v[0] - (q * q) * ep - (p * p) * eq;
    d[3] = op + oq - (p * p + q * q) * v[5];
    d[4] = v[0] + ep + eq;
    d[5] = v[5];
}

long winograd_lanes_turned_room(const conv_shape *s) { // s: as winograd_lanes_turned takes it
    const long n = s->w / OUTPUT, width = padded(s->k);
    return (PAIR * n * s->c + INPUT * n * width + (INPUT + 1) * s->ow * s->k) * LANES;
}

// Adds a row of tiles, each of which is d[6] of (point of the column, x), side by side: they overlap by four.
INLINE void join_tiles(long n, long k, const REAL *m, long width, REAL *out) {
    for (long i = 0; i < k * LANES; i += LANES) {
        vec carry[INPUT - OUTPUT] = {0};
        for (long t = 0; t < n; t++) {
            vec from[INPUT], d[INPUT];
#pragma GCC unroll 6
            for (int j = 0; j < INPUT; j++) from[j] = load(m + (j * n + t) * width * LANES + i);
            transform_turned(from, d);
            REAL *to = out + t * OUTPUT * k * LANES + i;
            store(to, carry[0] + d[0]);
            store(to + k * LANES, carry[1] + d[1]);
            carry[0] = carry[2] + d[2];
            carry[1] = carry[3] + d[3];
            carry[2] = d[4];
            carry[3] = d[5];
        }
#pragma GCC unroll 4
        for (int x = 0; x < INPUT - OUTPUT; x++) store(out + (n * OUTPUT + x) * k * LANES + i, carry[x]);
    }
}

// row[6]: rows of the result; of the first `old` of them others have written a part.
INLINE void join_rows(long run, const REAL *columns, const int old, REAL *const *row) {
    for (long x = 0; x < run; x += LANES) {
        vec from[INPUT], d[INPUT];
#pragma GCC unroll 6
        for (int i = 0; i < INPUT; i++) from[i] = load(columns + i * run + x);
        transform_turned(from, d);
#pragma GCC unroll 6
        for (int y = 0; y < INPUT; y++) store(row[y] + x, y < old ? load(row[y] + x) + d[y] : d[y]);
    }
}

void winograd_lanes_turned(const conv_shape *s, const REAL *in, long first, long y0, long y1, const REAL *filters, REAL *room,
                           REAL *out) {
    const long n = s->w / OUTPUT, plane = n * s->c * LANES, run = s->ow * s->k * LANES, in_row = s->w * s->c * LANES;
    const long width = padded(s->k), ld = padded(s->c), block = width * ld; // of filters [c of the result][k of the gradient]
    const cut cut = cut_channels(s->k);
    REAL *points = room, *m = points + PAIR * plane, *columns = m + INPUT * n * width * LANES, *outside = columns + INPUT * run;
    const long t0 = max_l(0, y0 - TAPS + 1) / OUTPUT, t1 = min_l(s->h, y1) / OUTPUT;
    for (long t = t0; t < t1; t++) {
        for (int pair = 0; pair < PAIRS; pair++) {
            points_of_gradients(pair, n, s->c, in + (t * OUTPUT - first) * in_row, in_row, points, plane);
            for (int which = 0; which < 2; which++) {
                const int i = point_of(pair, which);
                for (int j = 0; j < INPUT; j++)
                    for (long k = 0; k < width; k += cut.size)
                        product_at_point(cut.size, n, s->c, points + (which * INPUT + j) * plane,
                                         filters + (i * INPUT + j) * block + k * ld, ld,
                                         m + (j * n * width + k) * LANES, width);
                join_tiles(n, s->k, m, width, columns + i * run);
            }
        }
        REAL *row[INPUT];
        for (long r = 0; r < INPUT; r++) {
            const long y = t * OUTPUT + r;
            row[r] = y >= y0 && y < y1 ? out + (y - y0) * run : outside;
        }
        if (t == t0) join_rows(run, columns, 0, row);
        else join_rows(run, columns, INPUT - OUTPUT, row);
    }
}

// ---- the gradient of the filters -------------------------------------------------------------------------------------------

static long chunk_rows(const conv_shape *s) { // of tiles
    return max_l(1, min_l(s->oh / OUTPUT, CHUNK_BYTES / VBYTES / (PAIR * (s->ow / OUTPUT) * (s->c + s->k))));
}

long winograd_lanes_sums(const conv_shape *s) { return POINTS * s->c * s->k + s->k; }

long winograd_lanes_sums_room(const conv_shape *s) {
    return (PAIR * chunk_rows(s) * (s->ow / OUTPUT) * (s->c + s->k) + 2 * s->w * s->c) * LANES;
}

// sums[c][k] (+)= sum over n tiles of inputs[tile][c] gradients[tile][k]
INLINE void sum_tile(const int cs, const int ks, long n, const REAL *inputs, long c, const REAL *gradients, long k, REAL *sums,
                     int add) {
    vec acc[FACTORS][SUMMED];
#pragma GCC unroll 6
    for (int i = 0; i < cs; i++)
#pragma GCC unroll 4
        for (int j = 0; j < ks; j++) acc[i][j] = add ? load(sums + (i * k + j) * LANES) : (vec){0};
#pragma GCC unroll 1
    for (long t = 0; t < n; t++, inputs += c * LANES, gradients += k * LANES) {
        vec in[FACTORS];
#pragma GCC unroll 6
        for (int i = 0; i < cs; i++) in[i] = load(inputs + i * LANES);
#pragma GCC unroll 4
        for (int j = 0; j < ks; j++) {
            vec z = load(gradients + j * LANES);
#pragma GCC unroll 6
            for (int i = 0; i < cs; i++) acc[i][j] += in[i] * z;
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < cs; i++)
#pragma GCC unroll 4
        for (int j = 0; j < ks; j++) store(sums + (i * k + j) * LANES, acc[i][j]);
}

static void sum_point(long n, const REAL *inputs, long c, const REAL *gradients, long k, REAL *sums, int add) {
    for (long i = 0, rows = div_up(c, FACTORS), cs; i < c; i += cs, rows--) {
        cs = div_up(c - i, rows);
        for (long j = 0, parts = div_up(k, SUMMED), ks; j < k; j += ks, parts--) {
            ks = div_up(k - j, parts);
            const REAL *x = inputs + i * LANES, *z = gradients + j * LANES;
            REAL *to = sums + (i * k + j) * LANES;
#define CASE(a, b)                                                                                                     \
    case a * (SUMMED + 1) + b: sum_tile(a, b, n, x, c, z, k, to, add); break
#define ROW(a)                                                                                                         \
    CASE(a, 1);                                                                                                        \
    CASE(a, 2);                                                                                                        \
    CASE(a, 3);                                                                                                        \
    CASE(a, 4)
            switch (cs * (SUMMED + 1) + ks) {
                ROW(1);
                ROW(2);
                ROW(3);
#if defined(__AVX512F__)
                ROW(4);
                ROW(5);
                ROW(6);
#endif
            }
#undef ROW
#undef CASE
        }
    }
}

void winograd_lanes_add(const conv_shape *s, const REAL *x, const REAL *dz, REAL *room, int add, REAL *sums) {
    const long n = s->ow / OUTPUT, chunk = chunk_rows(s), x_row = s->w * s->c * LANES, dz_row = s->ow * s->k * LANES;
    const long in_plane = chunk * n * s->c * LANES, plane = chunk * n * s->k * LANES;
    REAL *inputs = room, *gradients = inputs + PAIR * in_plane, *column = gradients + PAIR * plane;
    for (long t0 = 0, rows; t0 < s->oh / OUTPUT; t0 += rows, add = 1) {
        rows = min_l(chunk, s->oh / OUTPUT - t0);
        const REAL *from = x + t0 * OUTPUT * x_row, *grad = dz + t0 * OUTPUT * dz_row;
        for (int pair = 0; pair < PAIRS; pair++) {
            for (long r = 0; r < rows; r++) {
                points_of_inputs(pair, s->w, s->c, from + r * OUTPUT * x_row, x_row, column,
                                 inputs + r * n * s->c * LANES, in_plane);
                points_of_gradients(pair, n, s->k, grad + r * OUTPUT * dz_row, dz_row,
                                    gradients + r * n * s->k * LANES, plane);
            }
            for (int p = 0; p < PAIR; p++) {
                const int point = point_of(pair, p / INPUT) * INPUT + p % INPUT;
                sum_point(rows * n, inputs + p * in_plane, s->c, gradients + p * plane, s->k,
                          sums + point * s->c * s->k * LANES, add);
            }
        }
        REAL *bias = sums + POINTS * s->c * s->k * LANES;
        for (long k = 0; k < s->k; k++) {
            vec sum = add ? load(bias + k * LANES) : (vec){0};
            for (long p = 0; p < rows * OUTPUT * s->ow; p++) sum += load(grad + (p * s->k + k) * LANES);
            store(bias + k * LANES, sum);
        }
    }
}

void winograd_lanes_finish(const conv_shape *s, const REAL *sums, REAL *dw, int add) {
    const long tap = s->c * s->k;
    REAL *taps[TAPS * TAPS];
    for (long t = 0; t < TAPS * TAPS; t++) taps[t] = dw + t * tap;
    for (long i = 0; i < tap; i += LANES) {
        const long part = tap - i < LANES ? tap - i : 0;
        filter_gradient_tile(FIVE, sums + i, tap, add, 0, taps, i, part);
    }
}
#endif
