// Convolution with images in the lanes: networks like LeNet-5 on batches of at least two vectors of images.
//
// Neither six channels nor the 28 pixels of a row fill vectors of sixteen evenly, and a tap that falls outside the image
// falls outside for some lanes only. Sixteen images do fill them: laid out as [h][w][c][LANES] every load is one aligned
// vector, every tap is inside for all lanes or for none, and the arithmetic is exactly that of the formula. A tile keeps
// K channels of P neighbouring pixels in registers; (v, c) of a row of taps are one contiguous run of vectors.
//
//     item = LANES images x band of output rows
//       row, pixels, output channels in tiles
//         row of taps, (tap, channel)
//
// An array that lies as usual, [n][h][w][c], is turned on the way in or out, block by block in cache; where a step is
// replayed its arrays stay as they are from layer to layer (backends/layout.py), since pooling sees them as images of
// c LANES channels and elementwise work sees no difference.
//
// Where a prediction takes means of 2x2 outputs next, two rows at a time go through the activation to the pooling in L1, and
// only the means to memory.
//
// In the gradient of the filters the tile keeps T of (v, c) times K channels. All tiles pass over a few rows, which stay
// in L1, and their sums wait as vectors; the sums over the lanes come last, once per item.
//
// The sums over taps and channels run in the same order whatever the layout and the number of threads.
//
// A 5x5 layer between some channels and many takes Winograd's transform in the same layout: winograd_lanes.c.
#include "conv_lanes.h"
#include "arena.h"
#include "conv_parts.h"
#include "gemm.h"
#include "threads.h"
#include "vmath.h"
#include "winograd_lanes.h"
#include <string.h>

enum {
    FEW_CHANNELS = 8,         // on one side at least
    GROUP_BYTES = 512 << 10,  // of an array of LANES images at most: they stay in L2
    GROUPS = 2,               // from so many on
    ROWS_BYTES = 40 << 10,    // of the rows that all tiles of the filters' gradient pass over
    ITEMS = 16,               // sets of partial sums at most
    TILE_CHANNELS = 8,        // of the product
    FILTER_CHANNELS = 6,      // of the filters' gradient
#if defined(__AVX512F__)
    TAPS = 4,
#else
    TAPS = 2,
#endif
};

int lanes_win(const conv_shape *s) {
    if (s->groups != 1 || s->sh != 1 || s->sw != 1 || s->dh != 1 || s->dw != 1 || s->kh * s->kw == 1) return 0;
    if (s->top < 0 || s->left < 0 || s->top >= s->kh || s->left >= s->kw || min_l(s->c, s->k) > FEW_CHANNELS) return 0;
    if (s->n < GROUPS * LANES || s->n % LANES || !s->c || !s->k || !s->h || !s->w || !s->oh || !s->ow) return 0;
    const long most = GROUP_BYTES / VBYTES;
    return s->h * s->w * s->c <= most && s->oh * s->ow * s->k <= most;
}

// places x LANES from LANES images `ld` apart, and back.
INLINE void to_lanes(long places, const REAL *in, long ld, REAL *out) { interleave(places, LANES, in, 1, ld, out, LANES); }
INLINE void from_lanes(long places, const REAL *in, REAL *out, long ld) { interleave(LANES, places, in, 1, LANES, out, ld); }

// ---- forward, and the gradient of the input -----------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    const REAL *in, *filters, *bias; // filters [tile][kh][kw][c][channels], bias [tile][channels]
    const REAL *transformed;         // filters for winograd_lanes.c, or NULL
    REAL *out, *room;
    int in_lanes, out_lanes, activation, turned;
    long channels, tiles;            // of output channels: an even number per tile
    long band, bands;                // rows of an item, items per group
    size_t in_size, out_size, room_size; // of a worker: rows of images, rows of outputs, two rows before pooling, Winograd's
} lanes_job;

INLINE int most_pixels(const int channels) {
#if defined(__AVX512F__)
    return channels <= 6 ? 4 : 3;
#else
    return channels <= 6 ? 2 : 1;
#endif
}

// x: where tap (u0, v0) lies for the first pixel; f: its filters; rows: of taps, each of `run` vectors.
INLINE void lanes_tile(const int channels, const int pixels, const lanes_job *g, const REAL *x, const REAL *f, long rows,
                       long run, const REAL *bias, long used, REAL *out) {
    const conv_shape *s = g->s;
    const long apart = s->c * LANES, x_row = s->w * apart, f_row = s->kw * s->c * channels;
    vec acc[TILE_CHANNELS][4];
#pragma GCC unroll 8
    for (int k = 0; k < channels; k++)
#pragma GCC unroll 4
        for (int p = 0; p < pixels; p++) acc[k][p] = splat(bias[k]);
    for (long u = 0; u < rows; u++, x += x_row, f += f_row) {
        const REAL *at = x, *weights = f;
#pragma GCC unroll 1
        for (long i = 0; i < run; i++, at += LANES, weights += channels) {
            vec image[4];
#pragma GCC unroll 4
            for (int p = 0; p < pixels; p++) image[p] = load(at + p * apart);
#pragma GCC unroll 8
            for (int k = 0; k < channels; k++) {
                vec weight = splat(weights[k]);
#pragma GCC unroll 4
                for (int p = 0; p < pixels; p++) acc[k][p] += weight * image[p];
            }
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 8
        for (int k = 0; k < channels; k++)
            if (k < used) {
                vec y = g->activation == RELU ? vmax((vec){0}, acc[k][p]) : acc[k][p];
                store(out + (p * s->k + k) * LANES, y);
            }
}

// Output row y; x: the image's first row that lies in `in`, which is row `first`.
INLINE void lanes_row(const int channels, const lanes_job *g, long y, const REAL *in, long first, REAL *out) {
    const conv_shape *s = g->s;
    const int most = most_pixels(channels);
    const long top = y - s->top, u0 = max_l(0, -top), u1 = max_l(u0, min_l(s->kh, s->h - top));
    const long whole = max_l(0, min_l(s->ow, s->w + s->left - s->kw + 1)); // pixels from s->left to there meet all taps
    for (long x = 0, pixels; x < s->ow; x += pixels) {
        const long left = x - s->left, v0 = max_l(0, -left), v1 = max_l(v0, min_l(s->kw, s->w - left));
        pixels = 1;
        if (x >= s->left && x < whole) pixels = div_up(whole - x, div_up(whole - x, most));
        const REAL *from = in + ((top + u0 - first) * s->w + left + v0) * s->c * LANES;
        for (long t = 0; t < g->tiles; t++) {
            const REAL *f = g->filters + (((t * s->kh + u0) * s->kw + v0) * s->c) * channels;
            const REAL *bias = g->bias + t * channels;
            const long used = min_l(channels, s->k - t * channels), run = (v1 - v0) * s->c;
            REAL *to = out + (x * s->k + t * channels) * LANES;
#define PIXELS(n)                                                                                                      \
    case n:                                                                                                            \
        if (n <= most) lanes_tile(channels, n, g, from, f, u1 - u0, run, bias, used, to);                              \
        break
            switch (pixels) {
                PIXELS(1);
                PIXELS(2);
                PIXELS(3);
                PIXELS(4);
            }
#undef PIXELS
        }
    }
}

// Means of windows of 2x2 of two rows of n pixels.
static void mean_of_rows(long n, long k, const REAL *rows, REAL *out) {
    const long pixel = k * LANES, row = n * pixel;
    for (long x = 0; x < n; x += 2, rows += 2 * pixel)
        for (long i = 0; i < pixel; i += LANES, out += LANES)
            store(out, splat((REAL)0.25) * (load(rows + i) + load(rows + pixel + i) + load(rows + row + i) +
                                            load(rows + row + pixel + i)));
}

static void lanes_item(void *job, long item, int worker) {
    const lanes_job *g = job;
    const conv_shape *s = g->s;
    const long group = item / g->bands, y0 = item % g->bands * g->band, y1 = min_l(s->oh, y0 + g->band);
    const long in_image = s->h * s->w * s->c, row = s->ow * s->k, parts = s->pooled ? 4 : 1; // parts: outputs per place of out
    const REAL *in = g->in + group * LANES * in_image;
    REAL *room = g->room + worker * g->room_size, *two_rows = room + g->in_size + g->out_size;
    REAL *result = g->out + (group * LANES * s->oh + y0 * (g->out_lanes ? LANES : 1)) * row / parts;
    REAL *out = g->out_lanes ? result : room + g->in_size;
    long first = 0;
    if (!g->in_lanes) {
        first = max_l(0, y0 - s->top);
        const long last = max_l(first, min_l(s->h, y1 - 1 - s->top + s->kh));
        to_lanes((last - first) * s->w * s->c, in + first * s->w * s->c, in_image, room);
        in = room;
    }
    const int turned = g->transformed && g->turned, step = g->transformed || s->pooled ? 2 : 1;
#if REAL_BITS == 32
    REAL *winograd_room = two_rows + (s->pooled ? 2 * row * LANES : 0);
    if (turned) winograd_lanes_turned(s, in, first, y0, y1, g->transformed, winograd_room, out);
#endif
    for (long y = y0; !turned && y < y1; y += step) {
        REAL *to = s->pooled ? two_rows : out + (y - y0) * row * LANES;
#if REAL_BITS == 32
        if (g->transformed)
            winograd_lanes_rows(s, in + (y - first) * s->w * s->c * LANES, g->transformed, g->bias, g->activation == RELU,
                                winograd_room, to);
#endif
        for (long r = 0; !g->transformed && r < step; r++) switch (g->channels) {
                case 2: lanes_row(2, g, y + r, in, first, to + r * row * LANES); break;
                case 4: lanes_row(4, g, y + r, in, first, to + r * row * LANES); break;
                case 6: lanes_row(6, g, y + r, in, first, to + r * row * LANES); break;
                case 8: lanes_row(8, g, y + r, in, first, to + r * row * LANES); break;
            }
        if (g->activation > RELU) apply_activation(1, step * row * LANES, to, 0, g->activation);
        if (s->pooled) mean_of_rows(s->ow, s->k, to, out + (y - y0) * row / parts * LANES);
    }
    if (!g->out_lanes) from_lanes((y1 - y0) * row / parts, out, result, s->oh * row / parts);
}

// Filters and bias in tiles of channels. -1 if memory is out.
static int pack_tiles(lanes_job *g, const REAL *w, const REAL *bias) {
    const conv_shape *s = g->s;
    const long taps = s->kh * s->kw;
    g->tiles = div_up(s->k, TILE_CHANNELS);
    g->channels = round_up(div_up(s->k, g->tiles), 2);
    g->tiles = div_up(s->k, g->channels);
    const long size = g->tiles * taps * s->c * g->channels;
    REAL *filters = scratch(SCRATCH_WEIGHTS, (size_t)(size + g->tiles * g->channels) * sizeof(REAL)), *biases = filters + size;
    if (!filters) return -1;
    g->filters = filters;
    g->bias = biases;
    for (long t = 0; t < g->tiles; t++)
        for (long tap = 0; tap < taps; tap++)
            for (long c = 0; c < s->c; c++)
                for (long k = t * g->channels; k < (t + 1) * g->channels; k++)
                    *filters++ = filter_at(s, w, g->turned, tap, c, k);
    for (long k = 0; k < g->tiles * g->channels; k++) biases[k] = bias && k < s->k ? bias[k] : 0;
    return 0;
}

#if REAL_BITS == 32
static int pack_transformed(lanes_job *g, const REAL *w, const REAL *bias) {
    REAL *filters = scratch(SCRATCH_WEIGHTS, (size_t)winograd_lanes_filters(g->s) * sizeof(REAL));
    if (!filters) return -1;
    if (g->turned) winograd_lanes_transform(g->s->k, g->s->c, w, filters);
    else winograd_lanes_transform(g->s->c, g->s->k, w, filters);
    g->transformed = filters;
    g->bias = bias;
    return 0;
}
#endif

int lanes_product(const conv_shape *s, int winograd, const REAL *in, int in_lanes, const REAL *w, int turned,
                  const REAL *bias, int activation, REAL *out, int out_lanes) {
    lanes_job g = {.s = s, .in = in, .out = out, .in_lanes = in_lanes, .out_lanes = out_lanes, .activation = activation,
                   .turned = turned};
    const long n_groups = s->n / LANES, step = winograd || s->pooled ? 2 : 1, row = s->ow * s->k * LANES;
    g.bands = min_l(s->oh / step, div_up(pool_size(), n_groups));
    g.band = round_up(div_up(s->oh, g.bands), step);
    g.bands = div_up(s->oh, g.band);
    g.in_size = in_lanes ? 0 : (size_t)(min_l(s->h, g.band + s->kh - 1) * s->w * s->c * LANES);
    g.out_size = out_lanes ? 0 : (size_t)(g.band * row / (s->pooled ? 4 : 1));
    g.room_size = g.in_size + g.out_size + (s->pooled ? 2 * row : 0);
#if REAL_BITS == 32
    if (winograd) g.room_size += (size_t)(turned ? winograd_lanes_turned_room(s) : winograd_lanes_room(s));
    if (winograd ? pack_transformed(&g, w, bias) : pack_tiles(&g, w, bias)) return -1;
#else
    if (pack_tiles(&g, w, bias)) return -1;
#endif
    g.room = scratch(SCRATCH_INPUT, (size_t)pool_size() * g.room_size * sizeof(REAL));
    if (!g.room) return -1;
    pool_for(n_groups * g.bands, lanes_item, &g);
    return 0;
}

// ---- the gradient of the filters ----------------------------------------------------------------------------------------

typedef struct {
    const conv_shape *s;
    const REAL *x, *dz;
    REAL *partial, *room;
    int x_lanes, dz_lanes, copied, winograd; // copied: x is needed with its padding
    long groups, sums, set; // of LANES images per item; of an item, [kh][kw][c][k] and [k] of the bias, in whole vectors
    long rows, tall, wide;          // of a pass of all tiles; of a padded image
    size_t x_size, dz_size, room_size;
} lanes_filter_job;

// Sums over some rows of dz, `from` and `grad` where they begin; x_row, dz_row: elements to the next row.
INLINE void lanes_sums(const int taps, const int channels, const conv_shape *s, long rows, const REAL *from, long x_row,
                       const REAL *grad, long dz_row, REAL *sums, long ld) {
    vec acc[TAPS][FILTER_CHANNELS];
#pragma GCC unroll 4
    for (int t = 0; t < taps; t++)
#pragma GCC unroll 6
        for (int k = 0; k < channels; k++) acc[t][k] = load(sums + (t * ld + k) * LANES);
    for (long y = 0; y < rows; y++, from += x_row, grad += dz_row) {
        const REAL *x = from, *d = grad;
#pragma GCC unroll 1
        for (long i = 0; i < s->ow; i++, x += s->c * LANES, d += s->k * LANES) {
            vec image[TAPS];
#pragma GCC unroll 4
            for (int t = 0; t < taps; t++) image[t] = load(x + t * LANES);
#pragma GCC unroll 6
            for (int k = 0; k < channels; k++) {
                vec z = load(d + k * LANES);
#pragma GCC unroll 4
                for (int t = 0; t < taps; t++) acc[t][k] += image[t] * z;
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < taps; t++)
#pragma GCC unroll 6
        for (int k = 0; k < channels; k++) store(sums + (t * ld + k) * LANES, acc[t][k]);
}

static void sums_of_tile(long taps, long channels, const conv_shape *s, long rows, const REAL *from, long x_row,
                         const REAL *grad, long dz_row, REAL *sums, long ld) {
#define CHANNELS(t, n)                                                                                                 \
    case n: lanes_sums(t, n, s, rows, from, x_row, grad, dz_row, sums, ld); break
#define ROW_OF_TAPS(t)                                                                                                 \
    case t:                                                                                                            \
        switch (channels) {                                                                                            \
            CHANNELS(t, 1);                                                                                            \
            CHANNELS(t, 2);                                                                                            \
            CHANNELS(t, 3);                                                                                            \
            CHANNELS(t, 4);                                                                                            \
            CHANNELS(t, 5);                                                                                            \
            CHANNELS(t, 6);                                                                                            \
        }                                                                                                              \
        break
    switch (taps) {
        ROW_OF_TAPS(1);
        ROW_OF_TAPS(2);
#if defined(__AVX512F__)
        ROW_OF_TAPS(3);
        ROW_OF_TAPS(4);
#endif
    }
#undef ROW_OF_TAPS
#undef CHANNELS
}

// All sums of LANES images: x is padded, `wide` pixels to a row.
static void sums_of_group(const lanes_filter_job *g, const REAL *x, const REAL *dz, REAL *sums) {
    const conv_shape *s = g->s;
    const long run = s->kw * s->c, x_row = g->wide * s->c * LANES, dz_row = s->ow * s->k * LANES;
    for (long y = 0; y < s->oh; y += g->rows) {
        const long rows = min_l(g->rows, s->oh - y);
        const REAL *grad = dz + y * dz_row;
        for (long u = 0; u < s->kh; u++)
            for (long j = 0, parts = div_up(run, TAPS), taps; j < run; j += taps, parts--) {
                taps = div_up(run - j, parts);
                const REAL *from = x + (y + u) * x_row + j * LANES;
                REAL *to = sums + (u * run + j) * s->k * LANES;
                for (long k = 0, tiles = div_up(s->k, FILTER_CHANNELS), channels; k < s->k; k += channels, tiles--) {
                    channels = div_up(s->k - k, tiles);
                    sums_of_tile(taps, channels, s, rows, from, x_row, grad + k * LANES, dz_row, to + k * LANES, s->k);
                }
            }
        REAL *bias = sums + s->kh * run * s->k * LANES;
        for (long k = 0; k < s->k; k++) {
            vec sum = load(bias + k * LANES);
            for (long p = 0; p < rows * s->ow; p++) sum += load(grad + (p * s->k + k) * LANES);
            store(bias + k * LANES, sum);
        }
    }
}

static void copy_padded(const lanes_filter_job *g, const REAL *x, REAL *out) {
    const conv_shape *s = g->s;
    const long row = s->w * s->c * LANES, wide = g->wide * s->c * LANES, left = s->left * s->c * LANES;
    for (long y = 0; y < g->tall; y++, out += wide) {
        const long from = y - s->top;
        if (from < 0 || from >= s->h) {
            memset(out, 0, (size_t)wide * sizeof(REAL));
            continue;
        }
        const long width = min_l(row, wide - left);
        memset(out, 0, (size_t)left * sizeof(REAL));
        memcpy(out + left, x + from * row, (size_t)width * sizeof(REAL));
        memset(out + left + width, 0, (size_t)(wide - left - width) * sizeof(REAL));
    }
}

// out[n] = sums over the lanes of n vectors, n a multiple of LANES: vectors are added in pairs, of each its half.
static void sum_vectors(long n, const REAL *in, REAL *out) {
    const ivec lane = lane_numbers();
    for (long j = 0; j < n; j += LANES, in += LANES * LANES) {
        vec v[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) v[i] = load(in + i * LANES);
#pragma GCC unroll 4
        for (int half = LANES / 2; half; half /= 2) {
            const ivec second = (ivec)((lane & isplat(half)) != 0) & isplat(LANES), here = lane + second;
#pragma GCC unroll 8
            for (int i = 0; i < half; i++)
                v[i] = __builtin_shuffle(v[i], v[i + half], here) +
                       __builtin_shuffle(v[i], v[i + half], here ^ isplat(half));
        }
        store(out + j, v[0]);
    }
}

static void lanes_filter_item(void *job, long item, int worker) {
    const lanes_filter_job *g = job;
    const conv_shape *s = g->s;
    const long x_image = s->h * s->w * s->c, dz_image = s->oh * s->ow * s->k;
    REAL *sums = g->room + worker * g->room_size, *turned_x = sums + g->set * LANES, *turned_dz = turned_x + g->x_size;
    REAL *room = turned_dz + g->dz_size;
    const long zeros = g->winograd ? g->sums : 0; // from there on
    memset(sums + zeros * LANES, 0, (size_t)((g->set - zeros) * LANES) * sizeof(REAL));
    const long begin = item * g->groups;
    for (long i = begin, end = min_l(begin + g->groups, s->n / LANES); i < end; i++) {
        const REAL *x = g->x + i * LANES * x_image, *dz = g->dz + i * LANES * dz_image;
        if (!g->x_lanes) {
            to_lanes(x_image, x, x_image, turned_x);
            x = turned_x;
        }
        if (!g->dz_lanes) {
            to_lanes(dz_image, dz, dz_image, turned_dz);
            dz = turned_dz;
        }
#if REAL_BITS == 32
        if (g->winograd) {
            winograd_lanes_add(s, x, dz, room, i > begin, sums);
            continue;
        }
#endif
        if (g->copied) {
            copy_padded(g, x, room);
            x = room;
        }
        sums_of_group(g, x, dz, sums);
    }
    sum_vectors(g->set, sums, g->partial + item * g->set);
}

int lanes_filters(const conv_shape *s, int winograd, const REAL *x, int x_lanes, const REAL *dz, int dz_lanes, REAL *dw,
                  REAL *db, int accumulate) {
    lanes_filter_job g = {.s = s, .x = x, .dz = dz, .x_lanes = x_lanes, .dz_lanes = dz_lanes, .winograd = winograd};
    const long n_groups = s->n / LANES, filters = s->kh * s->kw * s->c * s->k;
    g.tall = s->oh + s->kh - 1;
    g.wide = s->ow + s->kw - 1;
    g.copied = s->top || s->left || g.tall != s->h || g.wide != s->w;
    g.rows = max_l(1, ROWS_BYTES / VBYTES / (g.wide * s->c + s->ow * s->k));
    g.sums = filters + s->k;
    g.groups = div_up(n_groups, ITEMS);
    const long items = div_up(n_groups, g.groups);
    g.x_size = x_lanes ? 0 : (size_t)(s->h * s->w * s->c * LANES);
    g.dz_size = dz_lanes ? 0 : (size_t)(s->oh * s->ow * s->k * LANES);
    long room = g.copied ? g.tall * g.wide * s->c * LANES : 0;
#if REAL_BITS == 32
    if (winograd) {
        g.sums = winograd_lanes_sums(s);
        room = winograd_lanes_sums_room(s);
    }
#endif
    g.set = round_up(g.sums, LANES);
    g.room_size = g.set * LANES + g.x_size + g.dz_size + room;
    REAL *sums = g.partial = scratch(SCRATCH_PARTIAL, (size_t)(items * g.set + LANES) * sizeof(REAL));
    g.room = scratch(SCRATCH_INPUT, (size_t)pool_size() * g.room_size * sizeof(REAL));
    if (!g.partial || !g.room) return -1;
    pool_for(items, lanes_filter_item, &g);
    for (long j = 0; j < g.set; j += LANES) {
        vec sum = load(sums + j);
        for (long i = 1; i < items; i++) sum += load(sums + i * g.set + j);
        store(sums + j, sum);
    }
#if REAL_BITS == 32
    if (winograd) winograd_lanes_finish(s, sums, dw, accumulate);
#endif
    for (long j = 0; !winograd && j < filters; j++) dw[j] = sums[j] + (accumulate ? dw[j] : 0);
    for (long k = 0; db && k < s->k; k++) db[k] = sums[g.sums - s->k + k] + (accumulate ? db[k] : 0);
    return 0;
}
