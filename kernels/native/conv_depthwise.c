// Depthwise convolution: output channel k reads channel k / multiplier. conv.c tells the story.
#include "arena.h"
#include "conv_parts.h"
#include "gemm.h"
#include "threads.h"
#include <string.h>

enum { EXPANDED = 64, ROW_BYTES = 32 << 10 }; // channels at a time where the multiplier is above 1; work of an item

// x[pixel][c] written `multiplier` times side by side.
static void expand(long pixels, long channels, long multiplier, const REAL *x, long ld, REAL *out) {
    for (long p = 0; p < pixels; p++, x += ld)
        for (long c = 0; c < channels; c++)
            for (long j = 0; j < multiplier; j++) *out++ = x[c];
}

typedef struct {
    const REAL *const *rows; // per row of taps; NULL outside the image
    long step, spacing;      // floats between the inputs of two outputs, of two taps
    const REAL *w, *bias, *residual;
    REAL *out;
    long w_row, w_tap, out_step;
    int relu;
} strip_job;

INLINE void begin_strip(const int px, const int nv, const strip_job *s, long c, long part, long to, vec acc[4][2]) {
#pragma GCC unroll 4
    for (int i = 0; i < px; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            acc[i][j] = s->bias ? load_some(s->bias + c + j * LANES, part) : (vec){0};
            if (s->residual) acc[i][j] += load_some(s->residual + to + i * s->out_step + j * LANES, part);
        }
}

INLINE void end_strip(const int px, const int nv, const strip_job *s, long part, long to, const vec acc[4][2]) {
#pragma GCC unroll 4
    for (int i = 0; i < px; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            store_some(s->out + to + i * s->out_step + j * LANES, s->relu ? vmax((vec){0}, acc[i][j]) : acc[i][j], part);
}

// px outputs by nv vectors (or the first `part` lanes of one) at channel c; v0 ... v1: taps inside the image.
INLINE void strip(const int px, const int nv, const strip_job *s, long taps_y, long v0, long v1, long at, long c, long part,
                  long to) {
    vec acc[4][2];
    begin_strip(px, nv, s, c, part, to, acc);
    for (long u = 0; u < taps_y; u++) {
        if (!s->rows[u]) continue;
        for (long v = v0; v < v1; v++) {
            const REAL *x = s->rows[u] + at + v * s->spacing + c, *w = s->w + u * s->w_row + v * s->w_tap + c;
            vec w0 = load_some(w, part), w1 = nv > 1 ? load(w + LANES) : w0;
#pragma GCC unroll 4
            for (int i = 0; i < px; i++) {
                acc[i][0] += load_some(x + i * s->step, part) * w0;
                if (nv > 1) acc[i][1] += load(x + i * s->step + LANES) * w1;
            }
        }
    }
    end_strip(px, nv, s, part, to, acc);
}

// Four outputs of three neighbouring taps: an input is loaded once for all that it meets.
INLINE void sliding_strip(const int nv, const strip_job *s, long taps_y, long at, long c, long part, long to) {
    vec acc[4][2], w[3][2];
    begin_strip(4, nv, s, c, part, to, acc);
    for (long u = 0; u < taps_y; u++) {
        if (!s->rows[u]) continue;
        const REAL *x = s->rows[u] + at + c, *taps = s->w + u * s->w_row + c;
#pragma GCC unroll 3
        for (int v = 0; v < 3; v++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) w[v][j] = load_some(taps + v * s->w_tap + j * LANES, part);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) {
                const vec input = load_some(x + i * s->step + j * LANES, part);
#pragma GCC unroll 3
                for (int v = 0; v < 3; v++)
                    if (i >= v && i - v < 4) acc[i - v][j] += input * w[v][j];
            }
    }
    end_strip(4, nv, s, part, to, acc);
}

INLINE void four_outputs(const int nv, const product *g, const strip_job *s, long at, long c, long part, long to) {
    if (g->x.taps == 3 && s->spacing == s->step) sliding_strip(nv, s, g->y.taps, at, c, part, to);
    else strip(4, nv, s, g->y.taps, 0, g->x.taps, at, c, part, to);
}

static void depthwise_columns(const product *g, const strip_job *s, long ld, long c, long part, int nv) {
    long inner0 = g->x.outputs, inner1 = 0, last; // outputs with all taps inside the image
    if (g->x.taps) {
        outputs_inside(&g->x, g->w, 0, &inner0, &last);
        outputs_inside(&g->x, g->w, g->x.taps - 1, &last, &inner1);
        if (last > inner0) inner0 = last;
    }
    for (long o = 0; o < g->x.outputs;) {
        long at = (o * g->x.stride + g->x.offset) * ld, v0 = 0, v1 = g->x.taps;
        long to = o * s->out_step + c;
        if (o >= inner0 && o + 4 <= inner1) {
            if (nv == 2) four_outputs(2, g, s, at, c, 0, to);
            else if (!part) four_outputs(1, g, s, at, c, 0, to);
            else four_outputs(1, g, s, at, c, part, to);
            o += 4;
            continue;
        }
        taps_inside(&g->x, g->w, o, &v0, &v1);
        if (nv == 2) strip(1, 2, s, g->y.taps, v0, v1, at, c, 0, to);
        else strip(1, 1, s, g->y.taps, v0, v1, at, c, part, to);
        o++;
    }
}

typedef struct {
    product g;
    long multiplier, channels, channel_blocks; // output channels at a time
    int folded;                                // the multiplier's channels of the result are summed: gradient of the input
    long rows, chunks;                         // rows per item, items per image
    REAL *room;                                // per worker: expanded inputs or an unfolded result, and row pointers
    size_t room_size;
} depthwise_job;

static void depthwise_item(void *job, long item, int worker) {
    const depthwise_job *d = job;
    const product *g = &d->g;
    long m = d->multiplier, k = d->channels, total = g->k, c0 = item % d->channel_blocks * k, cn = min_l(k, total - c0);
    long image = item / d->channel_blocks / d->chunks, y0 = item / d->channel_blocks % d->chunks * d->rows;
    const REAL **rows = (const REAL **)(d->room + (size_t)worker * d->room_size);
    REAL *room = (REAL *)(rows + round_up(g->y.taps, 16));
    int expanded = m > 1 && !d->folded, fold = m > 1 && d->folded;
    long in_channels = d->folded ? total : total / m, ld = expanded ? cn : in_channels;
    for (long o = y0, end = min_l(y0 + d->rows, g->y.outputs); o < end; o++) {
        for (long u = 0; u < g->y.taps; u++) {
            long y = o * g->y.stride + g->y.offset + u * g->y.spacing;
            rows[u] = NULL;
            if (y < 0 || y >= g->h) continue;
            const REAL *row = g->in + (image * g->h + y) * g->w * in_channels + c0 / (expanded ? m : 1);
            rows[u] = row;
            if (expanded) {
                REAL *wider = room + u * g->w * k;
                expand(g->w, cn / m, m, row, in_channels, wider);
                rows[u] = wider;
            }
        }
        long out_channels = d->folded ? total / m : total;
        REAL *out = g->out + ((image * g->out_h + g->y.place + o * g->y.pace) * g->out_w + g->x.place) * out_channels +
                    (fold ? c0 / m : c0);
        strip_job s = {
            .rows = rows, .step = g->x.stride * ld, .spacing = g->x.spacing * ld,
            .w = g->filters + g->y.first * g->row + g->x.first * g->tap + c0, .w_row = g->y.step * g->row,
            .w_tap = g->x.step * g->tap, .bias = g->bias ? g->bias + c0 : NULL,
            .residual = g->residual ? g->residual + (out - g->out) : NULL, .out = fold ? room : out,
            .out_step = fold ? cn : g->x.pace * out_channels, .relu = g->activation == RELU,
        };
        long c = 0;
        for (; c + 2 * LANES <= cn; c += 2 * LANES) depthwise_columns(g, &s, ld, c, 0, 2);
        for (; c + LANES <= cn; c += LANES) depthwise_columns(g, &s, ld, c, 0, 1);
        if (c < cn) depthwise_columns(g, &s, ld, c, cn - c, 1);
        if (g->activation > RELU) apply_activation(g->x.outputs, cn, out, out_channels, g->activation);
        if (fold)
            for (long x = 0; x < g->x.outputs; x++)
                for (long j = 0; j < cn / m; j++) {
                    REAL sum = 0;
                    for (long i = 0; i < m; i++) sum += room[x * cn + j * m + i];
                    out[x * g->x.pace * out_channels + j] = sum;
                }
    }
}

int depthwise(const product *g, int folded) {
    if (!g->n || !g->y.outputs || !g->x.outputs || !g->k) return 0;
    depthwise_job d = {.g = *g, .multiplier = g->k / g->groups, .folded = folded};
    d.channels = d.multiplier > 1 ? d.multiplier * max_l(1, EXPANDED / d.multiplier) : g->k;
    d.channel_blocks = div_up(g->k, d.channels);
    d.rows = max_l(1, min_l(ROW_BYTES / (max_l(g->x.outputs * d.channels, 1) * (long)sizeof(REAL)), div_up(g->y.outputs, 4)));
    d.chunks = div_up(g->y.outputs, d.rows);
    long floats = d.multiplier == 1 ? 0 : folded ? g->x.outputs * d.channels : g->y.taps * g->w * d.channels;
    d.room_size = (size_t)round_up(floats, 16) + round_up(g->y.taps, 16) * sizeof(REAL *) / sizeof(REAL);
    if (!(d.room = scratch(SCRATCH_INPUT, pool_size() * d.room_size * sizeof(REAL)))) return -1;
    pool_for(g->n * d.chunks * d.channel_blocks, depthwise_item, &d);
    return 0;
}

// ---- gradient of the filters: up to four taps of a row of the filter share the loads of dz -------------------------------

INLINE void correlate(const int taps, const int nv, const REAL *x, long x_step, long tap_step, const REAL *dz, long dz_step,
                      long pixels, long part, REAL *sums, long ld) {
    vec acc[4][2];
#pragma GCC unroll 4
    for (int v = 0; v < taps; v++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) acc[v][j] = load_some(sums + v * ld + j * LANES, part);
    if (taps == 3 && tap_step == x_step) { // an input is loaded once for all that it meets
        vec before[2][2];
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) before[v][j] = load_some(x + v * x_step + j * LANES, part);
        for (; pixels > 0; pixels--, x += x_step, dz += dz_step)
#pragma GCC unroll 2
            for (int j = 0; j < nv; j++) {
                const vec d = load_some(dz + j * LANES, part), last = load_some(x + 2 * x_step + j * LANES, part);
                acc[0][j] += before[0][j] * d, acc[1][j] += before[1][j] * d, acc[2][j] += last * d;
                before[0][j] = before[1][j], before[1][j] = last;
            }
    }
    for (; pixels > 0; pixels--, x += x_step, dz += dz_step) {
        vec d0 = load_some(dz, part), d1 = nv > 1 ? load(dz + LANES) : d0;
#pragma GCC unroll 4
        for (int v = 0; v < taps; v++) {
            acc[v][0] += load_some(x + v * tap_step, part) * d0;
            if (nv > 1) acc[v][1] += load(x + v * tap_step + LANES) * d1;
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < taps; v++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) store_some(sums + v * ld + j * LANES, acc[v][j], part);
}

static NOINLINE void correlate_taps(long taps, long channels, const REAL *x, long x_step, long tap_step, const REAL *dz,
                                    long dz_step, long pixels, REAL *sums, long ld) {
#define TAPS(n)                                                                                                        \
    case n:                                                                                                            \
        for (; c + 2 * LANES <= channels; c += 2 * LANES)                                                              \
            correlate(n, 2, x + c, x_step, tap_step, dz + c, dz_step, pixels, 0, sums + c, ld);                        \
        for (; c + LANES <= channels; c += LANES)                                                                      \
            correlate(n, 1, x + c, x_step, tap_step, dz + c, dz_step, pixels, 0, sums + c, ld);                        \
        if (c < channels) correlate(n, 1, x + c, x_step, tap_step, dz + c, dz_step, pixels, channels - c, sums + c, ld); \
        break
    long c = 0;
    if (pixels <= 0) return;
    switch (taps) {
        TAPS(1);
        TAPS(2);
        TAPS(3);
        TAPS(4);
    }
#undef TAPS
}

typedef struct {
    const conv_shape *s;
    axis y, x;
    const REAL *in, *dz;
    REAL *partial; // [split][tap][k]
    long set, splits, split, multiplier, channels, channel_blocks;
    REAL *room;
    long room_size;
} depthwise_filter_job;

static void depthwise_filter_item(void *job, long item, int worker) {
    const depthwise_filter_job *d = job;
    const conv_shape *s = d->s;
    long m = d->multiplier, split = item / d->channel_blocks, c0 = item % d->channel_blocks * d->channels;
    long cn = min_l(d->channels, s->k - c0), end = min_l((split + 1) * d->split, s->n * s->oh), ld = m > 1 ? cn : s->c;
    REAL *sums = d->partial + split * d->set + c0;
    for (long t = 0; t < s->kh * s->kw; t++) memset(sums + t * s->k, 0, (size_t)cn * sizeof(REAL));
    for (long r = split * d->split; r < end; r++) {
        long image = r / s->oh, o = r % s->oh;
        const REAL *dz = d->dz + r * s->ow * s->k + c0;
        for (long u = 0; u < s->kh; u++) {
            long y = o * s->sh + d->y.offset + u * s->dh;
            if (y < 0 || y >= s->h) continue;
            const REAL *x = d->in + (image * s->h + y) * s->w * s->c + c0 / m;
            if (m > 1) {
                REAL *room = d->room + worker * d->room_size;
                expand(s->w, cn / m, m, x, s->c, room);
                x = room;
            }
            for (long v0 = 0, taps; v0 < s->kw; v0 += taps) {
                taps = min_l(4, s->kw - v0);
                long low = 0, high = s->ow, x0[4], x1[4]; // the outputs for which all these taps are inside
                for (long v = 0; v < taps; v++) {
                    outputs_inside(&d->x, s->w, v0 + v, &x0[v], &x1[v]);
                    low = max_l(low, x0[v]);
                    high = min_l(high, x1[v]);
                }
                high = max_l(low, high);
                long at = d->x.offset + v0 * s->dw;
                REAL *to = sums + (u * s->kw + v0) * s->k;
                correlate_taps(taps, cn, x + (low * s->sw + at) * ld, s->sw * ld, s->dw * ld, dz + low * s->k, s->k,
                               high - low, to, s->k);
                for (long v = 0; v < taps; v++) {
                    long before = min_l(low, x1[v]) - x0[v], after = max_l(high, x0[v]);
                    const REAL *tap = x + (at + v * s->dw) * ld;
                    correlate_taps(1, cn, tap + x0[v] * s->sw * ld, s->sw * ld, 0, dz + x0[v] * s->k, s->k, before,
                                   to + v * s->k, s->k);
                    correlate_taps(1, cn, tap + after * s->sw * ld, s->sw * ld, 0, dz + after * s->k, s->k,
                                   x1[v] - after, to + v * s->k, s->k);
                }
            }
        }
    }
}

int depthwise_filter_gradient(const conv_shape *s, const REAL *x, const REAL *dz, REAL *dw, int accumulate) {
    depthwise_filter_job d = {
        .s = s, .in = x, .dz = dz, .multiplier = s->k / s->c, .set = s->kh * s->kw * s->k,
        .y = forward_axis(s->oh, s->kh, s->sh, s->top, s->dh),
        .x = forward_axis(s->ow, s->kw, s->sw, s->left, s->dw),
    };
    d.channels = d.multiplier > 1 ? d.multiplier * max_l(1, EXPANDED / d.multiplier) : s->k;
    d.channel_blocks = div_up(s->k, d.channels);
    plan_splits(s->n * s->oh, d.set, &d.splits, &d.split);
    d.room_size = d.multiplier > 1 ? s->w * d.channels : 0;
    d.partial = scratch(SCRATCH_PARTIAL, (size_t)(d.splits * d.set + pool_size() * d.room_size) * sizeof(REAL));
    if (!d.partial) return -1;
    d.room = d.partial + d.splits * d.set;
    pool_for(d.splits * d.channel_blocks, depthwise_filter_item, &d);
    for (long i = 0; i < d.set; i++) {
        REAL sum = accumulate ? dw[i] : 0;
        for (long p = 0; p < d.splits; p++) sum += d.partial[p * d.set + i];
        dw[i] = sum;
    }
    return 0;
}
