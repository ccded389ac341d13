// Convolution with few channels on one side: the images and feature maps of small networks.
//
// A vector of six channels in sixteen lanes wastes most of it, and rows of six floats cannot be stored as vectors. So here
// the pixels of a row fill the lanes. The image is split into planes, one per channel, its padding written out (a few KB,
// which stay in L1); a tile keeps K channels of P vectors of pixels in registers, loads each vector of the image once per
// tap, unaligned, and multiplies it by K scalars of the filter. The planes of the result are interleaved back in blocks of
// four by four, and the activation runs over whole rows of channels at once. Where a prediction takes means of 2x2 outputs
// next, the planes go through activation and pooling before that.
//
// The gradient of the input is the same product with the filters turned. In the gradient of the filters the tile keeps T
// neighbouring taps times K channels and runs over all pixels of some images; the sums over the lanes come last.
//
// LeNet-5's first convolution (5x5, 1 -> 6, 32 images of 32x32, one thread, AVX-512) took 0.95 ms by vectors of channels.
// A lone image is cut into bands for the threads, and a prediction packs the filters once: the same layer with tanh and
// pooling, one image, two threads of a Zen 4, took 5.3 us with neither, so 2.9 (6.8 and 5.3 where the cores lie far apart).
// Each direction takes 2 N OH OW kh kw C K flops.
#include "conv_few.h"
#include "arena.h"
#include "conv_parts.h"
#include "gemm.h"
#include "threads.h"
#include "vmath.h"
#include <string.h>

enum {
    FEW_CHANNELS = 8,
    MAPS = 64,         // channels on the other side at most, whose planes stay in cache
    ITEM_WORK = 40000, // multiplications of vectors in an item, about
    LEAST_WORK = 4000, // that are worth a second thread's while
    PLANES = 64 << 10, // elements of an item's planes, about
    IMAGES = 4,        // of an item in the gradient of the filters, if they are small
#if VBYTES == 64
    TAPS = 4, // of a tile there
#else
    TAPS = 2,
#endif
};

int few_channels_wins(const conv_shape *s, long channels, long width) {
    if (s->groups != 1 || s->sh != 1 || s->sw != 1 || channels > FEW_CHANNELS || s->kh * s->kw == 1) return 0;
    if (s->c > MAPS || s->k > MAPS || !s->n || !s->oh || !s->ow || !s->h || !s->w || !s->c || !s->k) return 0;
    return width * round_up(channels, LANES) > channels * round_up(width, LANES);
}

// ---- planes -------------------------------------------------------------------------------------------------------------

typedef REAL quad __attribute__((vector_size(4 * sizeof(REAL))));
typedef INT iquad __attribute__((vector_size(4 * sizeof(REAL))));
typedef REAL unaligned_quad __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

INLINE void transpose4(quad a[4]) {
    const iquad low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, halves0 = {0, 1, 4, 5}, halves1 = {2, 3, 6, 7};
    quad ab = __builtin_shuffle(a[0], a[1], low), cd = __builtin_shuffle(a[2], a[3], low);
    quad ab2 = __builtin_shuffle(a[0], a[1], high), cd2 = __builtin_shuffle(a[2], a[3], high);
    a[0] = __builtin_shuffle(ab, cd, halves0);
    a[1] = __builtin_shuffle(ab, cd, halves1);
    a[2] = __builtin_shuffle(ab2, cd2, halves0);
    a[3] = __builtin_shuffle(ab2, cd2, halves1);
}

// n pixels of `channels` channels as planes `ld` apart.
INLINE void row_to_planes(const REAL *row, long n, long channels, REAL *planes, long ld) {
    long i = 0;
    for (; i + 4 <= n; i += 4) {
        const REAL *in = row + i * channels;
        long c = 0;
        for (; c + 4 <= channels; c += 4) {
            quad block[4];
            for (long p = 0; p < 4; p++) block[p] = *(const unaligned_quad *)(in + p * channels + c);
            transpose4(block);
            for (long j = 0; j < 4; j++) *(unaligned_quad *)(planes + (c + j) * ld + i) = block[j];
        }
        for (; c < channels; c++)
            for (long p = 0; p < 4; p++) planes[c * ld + i + p] = in[p * channels + c];
    }
    for (; i < n; i++)
        for (long c = 0; c < channels; c++) planes[c * ld + i] = row[i * channels + c];
}

// `rows` rows of [n][channels], from row `first` of an image of `tall` rows, as planes of rows of `wide`: n at `left`, zero
// elsewhere and in rows outside the image.
static void rows_to_planes(const REAL *image, long first, long rows, long tall, long n, long channels, REAL *planes,
                           long wide, long left) {
    long plane = rows * wide;
    if (channels == 1 && wide == n) { // rows as they lie
        long low = min_l(rows, max_l(0, -first)), high = max_l(low, min_l(rows, tall - first));
        memset(planes, 0, (size_t)(low * wide) * sizeof(REAL));
        memcpy(planes + low * wide, image + (first + low) * wide, (size_t)((high - low) * wide) * sizeof(REAL));
        memset(planes + high * wide, 0, (size_t)((rows - high) * wide) * sizeof(REAL));
        return;
    }
    for (long r = 0; r < rows; r++) {
        long y = first + r;
        const REAL *row = image + y * n * channels;
        for (long c = 0; c < channels; c++) {
            REAL *out = planes + c * plane + r * wide;
            if (y < 0 || y >= tall) {
                memset(out, 0, (size_t)wide * sizeof(REAL));
                continue;
            }
            for (long i = 0; i < left; i++) out[i] = 0;
            if (channels == 1) memcpy(out + left, row, (size_t)n * sizeof(REAL));
            for (long i = left + n; i < wide; i++) out[i] = 0;
        }
        if (channels > 1 && y >= 0 && y < tall) row_to_planes(row, n, channels, planes + r * wide + left, plane);
    }
}

// out[n][channels], n rounded up to whole fours, from planes `ld` apart; out has room for 4 more elements.
INLINE void join_pixels(long n, long channels, const REAL *planes, long ld, REAL *out) {
    for (long i = 0; i < n; i += 4) {
        quad block[2][4];
        for (long b = 0; b < 2; b++) {
            for (long c = 0; c < 4; c++)
                block[b][c] = *(const unaligned_quad *)(planes + min_l(4 * b + c, channels - 1) * ld + i);
            transpose4(block[b]);
        }
        for (long p = 0; p < 4; p++) { // each overwrites what the one before wrote too much
            *(unaligned_quad *)(out + (i + p) * channels) = block[0][p];
            if (channels > 4) *(unaligned_quad *)(out + (i + p) * channels + 4) = block[1][p];
        }
    }
}

// The last pixels go by way of a room of their own: nothing is written behind them.
static void join_planes(long n, long channels, const REAL *planes, long ld, REAL *out) {
    if (channels == 1) {
        memcpy(out, planes, (size_t)n * sizeof(REAL));
        return;
    }
    REAL last[4 * FEW_CHANNELS + 4];
    const long most = (n - 1) / 4 * 4;
    join_pixels(most, channels, planes, ld, out);
    join_pixels(n - most, channels, planes + most, ld, last);
    memcpy(out + most * channels, last, (size_t)((n - most) * channels) * sizeof(REAL));
}

// ---- forward, and the gradient of the input -----------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    const REAL *in, *filters, *bias; // filters [c][kh][kw][even], bias [even]
    REAL *out, *room;
    long even;                       // output channels, rounded up to an even number
    long bands, band;                // of output rows per image, rows of a band
    long vectors, wide, tall;        // per output row; of a plane of a band
    long ld, pooled_ld;              // of a band's planes of results: rows without gaps, and room for a vector more
    size_t planes, results, room_size;
    int activation;
} few_job;

// Vectors of pixels in a tile.
INLINE int tile_vectors(const int even) {
#if VBYTES == 64
    return even <= 6 ? 4 : 3;
#else
    return even <= 6 ? 2 : 1;
#endif
}

// x: where tap (0, 0) of the first channel lies for each vector of pixels; to: where it goes; u0 ... u1: rows of the filter
// that meet the image in any of them.
INLINE void few_tile(const int even, const int vectors, const few_job *g, const REAL *const *x, const long *to, long u0,
                     long u1, REAL *out) {
    const conv_shape *s = g->s;
    vec acc[FEW_CHANNELS][4];
#pragma GCC unroll 8
    for (int k = 0; k < even; k++)
#pragma GCC unroll 4
        for (int p = 0; p < vectors; p++) acc[k][p] = splat(g->bias[k]);
    for (long c = 0; c < s->c; c++) {
        const REAL *w = g->filters + (c * s->kh + u0) * s->kw * even;
        for (long u = u0, row = (c * g->tall + u0 * s->dh) * g->wide; u < u1; u++, row += s->dh * g->wide)
            for (long v = 0, at = row; v < s->kw; v++, at += s->dw, w += even) {
                vec image[4];
#pragma GCC unroll 4
                for (int p = 0; p < vectors; p++) image[p] = load(x[p] + at);
#pragma GCC unroll 8
                for (int k = 0; k < even; k++) {
                    vec weight = splat(w[k]);
#pragma GCC unroll 4
                    for (int p = 0; p < vectors; p++) acc[k][p] += weight * image[p];
                }
            }
    }
#pragma GCC unroll 8
    for (int k = 0; k < even; k++)
#pragma GCC unroll 4
        for (int p = 0; p < vectors; p++)
            store(out + k * g->ld + to[p], g->activation == RELU ? vmax((vec){0}, acc[k][p]) : acc[k][p]);
}

// What the last vector of a row writes too much, the next row overwrites.
INLINE void few_tiles(const int even, const few_job *g, long y0, long rows, const REAL *planes, REAL *results) {
    const int most = tile_vectors(even);
    const conv_shape *s = g->s;
    for (long left = rows * g->vectors, row = 0, column = 0, count; left > 0; left -= count) {
        const REAL *x[4] = {planes};
        long to[4], first = y0 + row - s->top, last = first; // rows of tap 0
        count = left < most ? 1 : most;
        for (long p = 0; p < count; p++) {
            last = y0 + row - s->top;
            x[p] = planes + row * g->wide + column;
            to[p] = row * s->ow + column;
            if ((column += LANES) >= s->ow) column = 0, row++;
        }
        long u0 = last < 0 ? min_l(s->kh, div_up(-last, s->dh)) : 0, u1 = s->kh;
        if (first + (s->kh - 1) * s->dh >= s->h) u1 = first < s->h ? max_l(u0, div_up(s->h - first, s->dh)) : u0;
        if (count == most) few_tile(even, most, g, x, to, u0, u1, results);
        else few_tile(even, 1, g, x, to, u0, u1, results);
    }
}

// Means of windows of 2x2 of `rows` rows of `width`.
static void pool_plane(long rows, long width, const REAL *plane, REAL *out) {
    const ivec left = lane_numbers() * 2, right = left + isplat(1);
    for (long r = 0; r < rows; r += 2, plane += 2 * width, out += width / 2)
        for (long q = 0; q < width; q += 2 * LANES) {
            const REAL *above = plane + q, *below = above + width;
            const long next = q + LANES < width ? LANES : 0;
            vec a = load(above), a2 = load(above + next), b = load(below), b2 = load(below + next);
            vec sum = __builtin_shuffle(a, a2, left) + __builtin_shuffle(a, a2, right) + __builtin_shuffle(b, b2, left) +
                      __builtin_shuffle(b, b2, right);
            store(out + q / 2, sum * splat((REAL)0.25));
        }
}

static void few_item(void *job, long item, int worker) {
    const few_job *g = job;
    const conv_shape *s = g->s;
    long image = item / g->bands, y0 = item % g->bands * g->band, rows = min_l(g->band, s->oh - y0);
    REAL *planes = (REAL *)g->room + worker * g->room_size, *results = planes + g->planes, *pooled = results + g->results;
    rows_to_planes(g->in + image * s->h * s->w * s->c, y0 - s->top, g->tall, s->h, s->w, s->c, planes, g->wide, s->left);
    switch (g->even) {
        case 2: few_tiles(2, g, y0, rows, planes, results); break;
        case 4: few_tiles(4, g, y0, rows, planes, results); break;
        case 6: few_tiles(6, g, y0, rows, planes, results); break;
        case 8: few_tiles(8, g, y0, rows, planes, results); break;
    }
    long places = rows * s->ow, at = (image * s->oh + y0) * s->ow;
    if (!s->pooled) {
        REAL *out = g->out + at * s->k;
        join_planes(places, s->k, results, g->ld, out);
        if (g->activation > RELU) apply_activation(1, places * s->k, out, 0, g->activation);
        return;
    }
    for (long k = 0; k < s->k; k++) { // activated as planes, of which a quarter is left
        if (g->activation > RELU) apply_activation(1, places, results + k * g->ld, 0, g->activation);
        pool_plane(rows, s->ow, results + k * g->ld, pooled + k * g->pooled_ld);
    }
    join_planes(places / 4, s->k, pooled, g->pooled_ld, g->out + at / 4 * s->k);
}

// Filters and bias as few_job has them.
static void pack_few(const conv_shape *s, const REAL *w, int turned, const REAL *bias, REAL *filters) {
    const long taps = s->kh * s->kw, even = round_up(s->k, 2);
    for (long c = 0; c < s->c; c++)
        for (long t = 0; t < taps; t++)
            for (long k = 0; k < even; k++)
                *filters++ = filter_at(s, w, turned, t, c, k);
    for (long k = 0; k < even; k++) filters[k] = bias && k < s->k ? bias[k] : 0;
}

size_t few_channels_packed(const conv_shape *s) {
    return (size_t)round_up((s->c * s->kh * s->kw + 1) * round_up(s->k, 2), LANES);
}
void few_channels_pack(const conv_shape *s, const REAL *w, const REAL *bias, REAL *packed) { pack_few(s, w, 0, bias, packed); }

int few_channels_prepared(const conv_shape *s, const REAL *in, const REAL *packed, int activation, REAL *out) {
    few_job g = {.s = s, .in = in, .out = out, .filters = packed, .activation = activation};
    g.even = round_up(s->k, 2);
    g.bias = packed + s->c * s->kh * s->kw * g.even;
    g.vectors = div_up(s->ow, LANES);
    const long work = s->oh * g.vectors * s->c * s->kh * s->kw * g.even; // of an image
    const long reach = s->ow + (s->kw - 1) * s->dw, in_place = s->c == 1 && !s->left && reach <= s->w;
    g.wide = in_place ? s->w : max_l(g.vectors * LANES - s->ow + reach, s->left + s->w);
    g.bands = s->n >= 2 * pool_size() ? 1 : max_l(div_up(work, ITEM_WORK), min_l(pool_size(), work / LEAST_WORK));
    g.bands = max_l(g.bands, div_up(s->oh, max_l(1, PLANES / (s->c * g.wide))));
    g.band = round_up(div_up(s->oh, g.bands), s->pooled ? 2 : 1);
    g.bands = div_up(s->oh, g.band);
    g.tall = g.band + (s->kh - 1) * s->dh;
    g.ld = round_up(g.band * s->ow, LANES) + LANES;
    g.pooled_ld = round_up(g.band / 2 * (s->ow / 2), LANES) + LANES;
    g.planes = (size_t)round_up(s->c * g.tall * g.wide + LANES, LANES);
    g.results = (size_t)(g.even * g.ld);
    g.room_size = g.planes + g.results + (size_t)(s->pooled ? g.even * g.pooled_ld : 0);
    g.room = scratch(SCRATCH_INPUT, (size_t)pool_size() * g.room_size * sizeof(REAL));
    if (!g.room) return -1;
    pool_for(s->n * g.bands, few_item, &g);
    return 0;
}

int few_channels_product(const conv_shape *s, const REAL *in, const REAL *w, int turned, const REAL *bias, int activation,
                         REAL *out) {
    REAL *packed = scratch(SCRATCH_WEIGHTS, few_channels_packed(s) * sizeof(REAL));
    if (!packed) return -1;
    pack_few(s, w, turned, bias, packed);
    return few_channels_prepared(s, in, packed, activation, out);
}

// ---- the gradient of the filters ----------------------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    const REAL *x, *dz;
    REAL *partial, *room;
    long even, vectors, wide, tall, images, set; // images of an item; set: sums of an item, [c][kh][kw][even] and [even] of the bias
    size_t image_size, room_size;        // of the planes of x and dz of one image
} few_filter_job;

INLINE void few_sums(const int taps, const int even, const few_filter_job *g, long images, const REAL *x, const REAL *dz,
                     REAL *sums) {
    const conv_shape *s = g->s;
    vec acc[TAPS][FEW_CHANNELS];
#pragma GCC unroll 4
    for (int t = 0; t < taps; t++)
#pragma GCC unroll 8
        for (int k = 0; k < even; k++) acc[t][k] = (vec){0};
    long plane = s->oh * g->vectors * LANES;
    for (long i = 0; i < images; i++, x += g->image_size, dz += g->image_size)
        for (long y = 0; y < s->oh; y++)
            for (long q = 0; q < g->vectors; q++) {
                const REAL *from = x + y * g->wide + q * LANES, *grad = dz + (y * g->vectors + q) * LANES;
                vec d[FEW_CHANNELS];
#pragma GCC unroll 8
                for (int k = 0; k < even; k++) d[k] = load(grad + k * plane);
#pragma GCC unroll 4
                for (int t = 0; t < taps; t++) {
                    vec image = load(from + t * s->dw);
#pragma GCC unroll 8
                    for (int k = 0; k < even; k++) acc[t][k] += image * d[k];
                }
            }
    for (int t = 0; t < taps; t++)
        for (int k = 0; k < even; k++) sums[t * even + k] = sum_lanes(acc[t][k]);
}

static void few_taps(long taps, const few_filter_job *g, long images, const REAL *x, const REAL *dz, REAL *sums) {
#define CHANNELS(t, even)                                                                                              \
    case even: few_sums(t, even, g, images, x, dz, sums); break
#define TAP(t)                                                                                                         \
    case t:                                                                                                            \
        switch (g->even) {                                                                                             \
            CHANNELS(t, 2);                                                                                            \
            CHANNELS(t, 4);                                                                                            \
            CHANNELS(t, 6);                                                                                            \
            CHANNELS(t, 8);                                                                                            \
        }                                                                                                              \
        break
    switch (taps) {
        TAP(1);
        TAP(2);
#if VBYTES == 64
        TAP(3);
        TAP(4);
#endif
    }
#undef TAP
#undef CHANNELS
}

static void few_filter_item(void *job, long item, int worker) {
    const few_filter_job *g = job;
    const conv_shape *s = g->s;
    REAL *room = g->room + worker * g->room_size, *sums = g->partial + item * g->set;
    long first = item * g->images, images = min_l(g->images, s->n - first), pixels = g->vectors * LANES;
    REAL *dz = room + s->c * g->tall * g->wide;
    for (long i = 0; i < images; i++) {
        rows_to_planes(g->x + (first + i) * s->h * s->w * s->c, -s->top, g->tall, s->h, s->w, s->c, room + i * g->image_size,
                       g->wide, s->left);
        REAL *planes = dz + i * g->image_size;
        rows_to_planes(g->dz + (first + i) * s->oh * s->ow * s->k, 0, s->oh, s->oh, s->ow, s->k, planes, pixels, 0);
        memset(planes + s->k * s->oh * pixels, 0, (size_t)((g->even - s->k) * s->oh * pixels) * sizeof(REAL));
    }
    for (long c = 0; c < s->c; c++)
        for (long u = 0; u < s->kh; u++)
            for (long v = 0, groups = div_up(s->kw, TAPS), taps; v < s->kw; v += taps, groups--) {
                taps = div_up(s->kw - v, groups);
                const REAL *x = room + (c * g->tall + u * s->dh) * g->wide + v * s->dw;
                few_taps(taps, g, images, x, dz, sums + ((c * s->kh + u) * s->kw + v) * g->even);
            }
    for (long k = 0; k < s->k; k++) {
        vec sum = {0};
        for (long i = 0; i < images; i++)
            for (long p = 0; p < s->oh * pixels; p += LANES)
                sum += load(dz + i * g->image_size + k * s->oh * pixels + p);
        sums[g->set - g->even + k] = sum_lanes(sum);
    }
}

int few_channels_filters(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, REAL *db, int accumulate) {
    few_filter_job g = {.s = s, .x = x, .dz = dz};
    long taps = s->kh * s->kw;
    g.even = round_up(s->k, 2);
    g.vectors = div_up(s->ow, LANES);
    g.tall = s->oh + (s->kh - 1) * s->dh;
    g.wide = max_l(g.vectors * LANES + (s->kw - 1) * s->dw, s->left + s->w);
    g.set = (s->c * taps + 1) * g.even;
    g.image_size = (size_t)round_up(s->c * g.tall * g.wide + g.even * s->oh * g.vectors * LANES + LANES, LANES);
    g.images = max_l(1, min_l(IMAGES, PLANES / (long)g.image_size));
    g.room_size = g.images * g.image_size;
    long items = div_up(s->n, g.images);
    g.partial = scratch(SCRATCH_PARTIAL, (size_t)(items * g.set) * sizeof(REAL));
    g.room = scratch(SCRATCH_INPUT, (size_t)pool_size() * g.room_size * sizeof(REAL));
    if (!g.partial || !g.room) return -1;
    pool_for(items, few_filter_item, &g);
    for (long c = 0; c < s->c; c++)
        for (long t = 0; t < taps; t++)
            for (long k = 0; k < s->k; k++) {
                REAL *to = dw + (t * s->c + c) * s->k + k, sum = accumulate ? *to : 0;
                for (long i = 0; i < items; i++) sum += g.partial[i * g.set + (c * taps + t) * g.even + k];
                *to = sum;
            }
    for (long k = 0; db && k < s->k; k++) {
        REAL sum = accumulate ? db[k] : 0;
        for (long i = 0; i < items; i++) sum += g.partial[i * g.set + s->c * taps * g.even + k];
        db[k] = sum;
    }
    return 0;
}
