// Pooling, a vector of channels at a time.
//
// The plain version visits each window and compares element by element, channel by channel. In NHWC the channels of a
// pixel lie side by side, so that a vector of them walks the window in registers, with the places of the largest in a
// second register; padding is never touched, since only the part of the window inside the image is walked. Four vectors
// of a pixel go together: what a window costs besides is shared, and memory is read in the order in which it lies
// (maxima 2x2 of 64 channels took 0.087 ns an element in cache, so 0.066). All of it is bound by memory: the forward
// reads x once and writes y and the index (a byte), the backward the reverse.
//
// A large result goes past the caches: else each of its lines would be read before it is written (maxima of 2x2 in
// 32 x 56 x 56 x 64 took 590 us, so 470 us), and the pixels of a later window are asked for (Granite Rapids, from memory:
// 1.05 to 1.25 times).
//
// Rows of few channels are stored as whole vectors all the same: what is too much is overwritten by the next pixel.
//
// The mean's backward goes on through a ReLU, sigmoid or tanh before it in the same pass where a recorded step has both: its
// result and the output of the activation are read and written once, where two passes moved five such arrays (LeNet-5's
// first layer on Zen 4: 1.9 times faster).
//
// The backward gathers: a thread adds up what the windows over a pixel give it. So overlapping windows need no atomics,
// and sums come in the same order whatever the number of threads. A pixel's vectors again go together, and columns are
// stepped through without divisions (means 3x3 took 0.44 ns an element in cache, so 0.15; maxima 0.32, so 0.18).
#include "pool.h"
#include "derivative.h"
#include "simd.h"
#include "threads.h"
#include <string.h>

enum {
    ITEM_BYTES = 256 << 10,     // of a thread's item, about: long runs, which the memory likes
    LEAST_BYTES = 16 << 10,     // of an item of a small array, of which every thread gets some
    CHANNELS = 16 * LANES,      // of an item in global pooling
    SIDE = 4,                   // vectors of a window side by side: lines are read in the order in which they lie
    STRIP = 8,                  // vectors of them that are summed side by side: long runs of memory
    PLACES = 64,                // summed before they join the total
};

typedef INT unaligned_ivec __attribute__((vector_size(VBYTES), aligned(4), may_alias));

// Lanes to be used for n channels where `room` elements, not yet final, follow: all if they fit.
INLINE long lanes_for(long n, long room) { return n >= LANES || room >= LANES ? 0 : n; }

INLINE ivec load_index(const void *index, long at, const int bytes, long part) {
    if (bytes == 1 && !part) return load_bytes((const uint8_t *)index + at);
    if (bytes == 4 && !part && sizeof(INT) == 4) return *(const unaligned_ivec *)((const int32_t *)index + at);
    ivec v = {0};
    for (long i = 0; i < (part ? part : LANES); i++)
        v[i] = bytes == 1 ? ((const uint8_t *)index)[at + i] : ((const int32_t *)index)[at + i];
    return v;
}

INLINE void store_index(void *index, long at, const int bytes, ivec places, long part) {
    if (bytes == 1 && !part) store_bytes((uint8_t *)index + at, places);
    else if (bytes == 4 && !part && sizeof(INT) == 4) *(unaligned_ivec *)((int32_t *)index + at) = places;
    else
        for (long i = 0; i < (part ? part : LANES); i++)
            if (bytes == 1) ((uint8_t *)index)[at + i] = (uint8_t)places[i];
            else ((int32_t *)index)[at + i] = (int32_t)places[i];
}

// Where `new` beats `best`: larger, or the first NaN.
INLINE ivec beats(vec new, vec best) { return ~(ivec)(new <= best) & (ivec)(best == best); }

typedef struct {
    const pool_shape *s;
    const REAL *in;
    REAL *out;
    void *index;
    int bytes, apart, complete, past; // apart: no two windows overlap; complete: all are; past: the result goes past the caches
    long all, items;                  // rows of the output, and among how many items they are shared out
    long windows;                     // elements of the index
    const REAL *y;                    // the output of an activation, and which
    int kind;
} pool_job;

INLINE long first_row(const pool_job *g, long item) { return g->all * item / g->items; }

// As many items for each thread: it gets the images that a convolution gave it.
static void run_rows(pool_job *g, pool_function function, long all, long row_bytes) {
    row_bytes = max_l(row_bytes, 1);
    const long rows = max_l(LEAST_BYTES / row_bytes, min_l(ITEM_BYTES / row_bytes, div_up(all, 4 * pool_size())));
    g->all = all;
    g->items = div_up(all, max_l(rows, 1));
    if (g->items > 1) g->items = round_up(g->items, pool_size());
    pool_for(g->items, function, g);
}

// The part low ... high of the window of output o that lies inside 0 ... length.
INLINE void inside(long o, long stride, long pad, long size, long length, long *low, long *high) {
    long at = o * stride - pad;
    *low = at < 0 ? -at : 0;
    *high = min_l(size, length - at);
}

// ---- windows: forward ---------------------------------------------------------------------------------------------------

typedef struct {
    const REAL *x; // first element inside the image
    long rows, columns, row_step, column_step, first, window_row; // first: its place in the window
} window;

// The windows of a row of the output have the same rows; `of_row` is the part of a window that they share.
INLINE window of_row(const pool_job *g, long row) {
    const pool_shape *s = g->s;
    long u0, u1, image = row / s->oh, oy = row % s->oh;
    inside(oy, s->sh, s->top, s->ph, s->h, &u0, &u1);
    const REAL *x = g->in + (image * s->h + oy * s->sh - s->top + u0) * s->w * s->c;
    return (window){x, u1 - u0, 0, s->w * s->c, s->c, u0 * s->pw, s->pw};
}

INLINE window window_of(const pool_job *g, const window *row, long ox) {
    const pool_shape *s = g->s;
    long v0, v1;
    inside(ox, s->sw, s->left, s->pw, s->w, &v0, &v1);
    window w = *row;
    w.x += (ox * s->sw - s->left + v0) * s->c;
    w.columns = v1 - v0;
    w.first += v0;
    return w;
}

// The window's last pixel.
INLINE const REAL *end_of(const window *w) { return w->x + (w->rows - 1) * w->row_step + (w->columns - 1) * w->column_step; }

// Asks for the pixels of a later window that none before it has, some windows on.
INLINE void ask_for_window(const int nv, const pool_shape *s, const window *w, long c) {
    for (long u = max_l(0, w->rows - s->sh); u < w->rows; u++)
        for (long v = 0; v < min_l(s->sw, w->columns); v++)
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) ask_near(w->x + u * w->row_step + v * w->column_step + c + j * LANES, 1);
}

// bytes: of an index element; 0: no index. past: store y past the caches. loaded, part: lanes of x, of y and the index.
INLINE void max_of_window(const int nv, const int bytes, const int past, const window *w, long c, long loaded, long part,
                          REAL *y, void *index, long at) {
    vec best[SIDE];
    ivec place[SIDE];
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) {
        best[j] = load_some(w->x + c + j * LANES, loaded);
        place[j] = isplat((INT)w->first);
    }
    for (long u = 0; u < w->rows; u++)
        for (long v = u == 0; v < w->columns; v++) { // the first place is in `best` already
            const REAL *x = w->x + u * w->row_step + v * w->column_step + c;
            ivec here = isplat((INT)(w->first + u * w->window_row + v));
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) {
                vec new = load_some(x + j * LANES, loaded);
                ivec wins = beats(new, best[j]);
                best[j] = blend(wins, new, best[j]);
                if (bytes) place[j] = (wins & here) | (~wins & place[j]);
            }
        }
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) {
        if (past) store_past(y + c + j * LANES, best[j]);
        else store_some(y + c + j * LANES, best[j], part);
        if (bytes) store_index(index, at + c + j * LANES, bytes, place[j], part);
    }
}

INLINE void max_rows(const pool_job *g, long item, const int bytes, const int past) {
    const pool_shape *s = g->s;
    const REAL *last = g->in + s->n * s->h * s->w * s->c;
    for (long row = first_row(g, item), end = first_row(g, item + 1); row < end; row++) {
        window shared = of_row(g, row);
        for (long ox = 0; ox < s->ow; ox++) {
            window w = window_of(g, &shared, ox);
            long at = (row * s->ow + ox) * s->c, c = 0;
            REAL *y = g->out + at;
            for (; c + SIDE * LANES <= s->c; c += SIDE * LANES) {
                if (past) ask_for_window(SIDE, s, &w, c);
                max_of_window(SIDE, bytes, past, &w, c, 0, 0, y, g->index, at);
            }
            for (; c + 2 * LANES <= s->c; c += 2 * LANES) max_of_window(2, bytes, past, &w, c, 0, 0, y, g->index, at);
            for (; c + LANES <= s->c; c += LANES) max_of_window(1, bytes, past, &w, c, 0, 0, y, g->index, at);
            if (c == s->c) continue;
            long loaded = lanes_for(s->c - c, last - end_of(&w) - c), part = lanes_for(s->c - c, end * s->ow * s->c - at - c);
            max_of_window(1, bytes, 0, &w, c, loaded, part, y, g->index, at);
        }
    }
}

static void max_item(void *job, long item, int worker) {
    const pool_job *g = job;
    (void)worker;
    if (g->bytes == 0 && g->past) max_rows(g, item, 0, 1);
    else if (g->bytes == 0) max_rows(g, item, 0, 0);
    else if (g->bytes == 1 && g->past) max_rows(g, item, 1, 1);
    else if (g->bytes == 1) max_rows(g, item, 1, 0);
    else max_rows(g, item, 4, 0);
    if (g->past) finish_stores();
}

INLINE void mean_of_window(const int nv, const int past, const window *w, vec share, long c, long loaded, long part, REAL *y) {
    vec sum[SIDE] = {{0}};
    for (long u = 0; u < w->rows; u++)
        for (long v = 0; v < w->columns; v++) {
            const REAL *x = w->x + u * w->row_step + v * w->column_step + c;
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) sum[j] += load_some(x + j * LANES, loaded);
        }
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++)
        if (past) store_past(y + c + j * LANES, sum[j] * share);
        else store_some(y + c + j * LANES, sum[j] * share, part);
}

INLINE void mean_rows(const pool_job *g, long item, const int past) {
    const pool_shape *s = g->s;
    long places = 0;
    vec share = {0};
    const REAL *last = g->in + s->n * s->h * s->w * s->c;
    for (long row = first_row(g, item), end = first_row(g, item + 1); row < end; row++) {
        window shared = of_row(g, row);
        for (long ox = 0; ox < s->ow; ox++) {
            window w = window_of(g, &shared, ox);
            if (w.rows * w.columns != places) {
                places = w.rows * w.columns;
                share = splat((REAL)1 / (REAL)places);
            }
            long at = (row * s->ow + ox) * s->c, c = 0;
            REAL *y = g->out + at;
            for (; c + SIDE * LANES <= s->c; c += SIDE * LANES) {
                if (past) ask_for_window(SIDE, s, &w, c);
                mean_of_window(SIDE, past, &w, share, c, 0, 0, y);
            }
            for (; c + 2 * LANES <= s->c; c += 2 * LANES) mean_of_window(2, past, &w, share, c, 0, 0, y);
            for (; c + LANES <= s->c; c += LANES) mean_of_window(1, past, &w, share, c, 0, 0, y);
            if (c == s->c) continue;
            long loaded = lanes_for(s->c - c, last - end_of(&w) - c), part = lanes_for(s->c - c, end * s->ow * s->c - at - c);
            mean_of_window(1, 0, &w, share, c, loaded, part, y);
        }
    }
}

static void mean_item(void *job, long item, int worker) {
    const pool_job *g = job;
    (void)worker;
    if (g->past) mean_rows(g, item, 1);
    else mean_rows(g, item, 0);
    if (g->past) finish_stores();
}

// ---- windows: backward --------------------------------------------------------------------------------------------------

// What window (oy, ox) gives to the pixel at (u, v) of it, a vector of channels; bytes 0: the mean's share, else the
// gradient where the largest was here.
INLINE vec given(const int bytes, const pool_job *g, long at, long part, long place, vec share) {
    vec d = load_some(g->in + at, part);
    if (!bytes) return d * share;
    if (at + LANES <= g->windows) part = 0; // lanes past it hold another window's places, and in d zeros
    return (vec)((ivec)(load_index(g->index, at, bytes, part) == isplat((INT)place)) & (ivec)d);
}

// Windows that lie apart: each pixel belongs to one at most, so that each window's pixels are written in turn.
INLINE void backward_apart(const pool_job *g, long item, const int bytes, const int whole, const int past) {
    const pool_shape *s = g->s;
    const vec share = splat((REAL)1 / (REAL)(s->ph * s->pw));
    for (long row = first_row(g, item), end = first_row(g, item + 1); row < end; row++) {
        long image = row / s->h, iy = row % s->h, oy = iy / s->ph, first = iy % s->ph * s->pw;
        REAL *dx = g->out + row * s->w * s->c, *dx_end = dx + s->w * s->c;
        REAL *covered = oy < s->oh ? dx + s->ow * s->pw * s->c : dx;
        memset(covered, 0, (size_t)(dx_end - covered) * sizeof(REAL));
        for (long ox = 0; ox < s->ow && oy < s->oh; ox++) {
            long window = ((image * s->oh + oy) * s->ow + ox) * s->c;
            REAL *to = dx + ox * s->pw * s->c;
            for (long v = 0; v < s->pw; v++, to += s->c)
                for (long c = 0; c < s->c; c += LANES) {
                    long n = s->c - c, part = whole || n >= LANES ? 0 : n;
                    vec sent = given(bytes, g, window + c, part, first + v, share);
                    if (past) store_past(to + c, sent);
                    else store_some(to + c, sent, whole ? 0 : lanes_for(n, c ? 0 : covered - to));
                }
        }
    }
}

typedef struct {
    long image, iy, ix, oy0, oy1, ox0, ox1; // a pixel and the windows over it
} pixel;

// What a window's pixels get of a mean's gradient: 1 / their number.
INLINE vec share_of(const pool_shape *s, long oy, long ox) {
    long u0, u1, v0, v1;
    inside(oy, s->sh, s->top, s->ph, s->h, &u0, &u1);
    inside(ox, s->sw, s->left, s->pw, s->w, &v0, &v1);
    return splat((REAL)1 / (REAL)((u1 - u0) * (v1 - v0)));
}

INLINE void sum_of_windows(const int nv, const int bytes, const int past, const pool_job *g, const pixel *at, long c, long part,
                           vec share, REAL *dx) {
    const pool_shape *s = g->s;
    vec sum[SIDE] = {{0}};
    for (long oy = at->oy0; oy <= at->oy1; oy++)
        for (long ox = at->ox0; ox <= at->ox1; ox++) {
            if (!bytes && !g->complete) share = share_of(s, oy, ox);
            long place = (at->iy + s->top - oy * s->sh) * s->pw + at->ix + s->left - ox * s->sw;
            long window = ((at->image * s->oh + oy) * s->ow + ox) * s->c + c;
#pragma GCC unroll 4
            for (int j = 0; j < nv; j++) sum[j] += given(bytes, g, window + j * LANES, part, place, share);
        }
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++)
        if (past) store_past(dx + c + j * LANES, sum[j]);
        else store_some(dx + c + j * LANES, sum[j], part);
}

// Windows that overlap, or reach into the padding: each pixel is summed up in registers.
INLINE void backward_sums(const pool_job *g, long item, const int bytes, const int past) {
    const pool_shape *s = g->s;
    const vec share = splat((REAL)1 / (REAL)(s->ph * s->pw));
    for (long row = first_row(g, item), end = first_row(g, item + 1); row < end; row++) {
        pixel at = {.image = row / s->h, .iy = row % s->h};
        long from = at.iy + s->top - s->ph + 1;
        at.oy0 = from > 0 ? div_up(from, s->sh) : 0;
        at.oy1 = min_l(s->oh - 1, (at.iy + s->top) / s->sh);
        at.ox0 = s->left >= s->pw ? (s->left - s->pw) / s->sw + 1 : 0;
        for (long last = s->left / s->sw; at.ix < s->w; at.ix++) { // columns of windows in steps: divisions are slow
            REAL *dx = g->out + (row * s->w + at.ix) * s->c;
            long right = at.ix + s->left, c = 0;
            last += (last + 1) * s->sw <= right;
            at.ox0 += at.ox0 * s->sw + s->pw <= right;
            at.ox1 = min_l(s->ow - 1, last);
            for (; c + SIDE * LANES <= s->c; c += SIDE * LANES) sum_of_windows(SIDE, bytes, past, g, &at, c, 0, share, dx);
            for (; c + LANES <= s->c; c += LANES) sum_of_windows(1, bytes, past, g, &at, c, 0, share, dx);
            if (c < s->c) sum_of_windows(1, bytes, 0, g, &at, c, s->c - c, share, dx);
        }
    }
}

INLINE void backward_rows(const pool_job *g, long item, const int bytes) {
    const int whole = g->s->c % LANES == 0;
    if (g->apart && g->past) backward_apart(g, item, bytes, 1, 1);
    else if (g->apart && whole) backward_apart(g, item, bytes, 1, 0);
    else if (g->apart) backward_apart(g, item, bytes, 0, 0);
    else if (g->past) backward_sums(g, item, bytes, 1);
    else backward_sums(g, item, bytes, 0);
    if (g->past) finish_stores();
}

static void max_backward_item(void *job, long item, int worker) {
    const pool_job *g = job;
    (void)worker;
    if (g->bytes == 1) backward_rows(g, item, 1);
    else backward_rows(g, item, 4);
}

static void mean_backward_item(void *job, long item, int worker) {
    (void)worker;
    backward_rows(job, item, 0);
}

// ---- the gradient of the mean, and that of the activation whose output it was taken of ------------------------------------

INLINE void activated_rows(const pool_job *g, long item, const int kind) {
    const pool_shape *s = g->s;
    const vec share = splat((REAL)1 / (REAL)(s->ph * s->pw));
    for (long row = first_row(g, item), end = first_row(g, item + 1); row < end; row++) {
        const REAL *dy = g->in + row * s->ow * s->c;
        long at = row * s->ph * s->w * s->c;
        for (long u = 0; u < s->ph; u++)
            for (long window = 0; window < s->ow * s->c; window += s->c)
                for (long v = 0; v < s->pw; v++, at += s->c)
                    for (long c = 0; c < s->c; c += LANES) {
                        const long part = s->c - c < LANES ? s->c - c : 0;
                        vec d = load_some(dy + window + c, part) * share, y = load_some(g->y + at + c, part);
                        vec dz = before_activation(kind, d, y);
                        if (g->past) store_past(g->out + at + c, dz);
                        else store_some(g->out + at + c, dz, part);
                    }
    }
    if (g->past) finish_stores();
}

static void activated_item(void *job, long item, int worker) {
    const pool_job *g = job;
    (void)worker;
    switch (g->kind) {
        case ACT_RELU: activated_rows(g, item, ACT_RELU); break;
        case ACT_SIGMOID: activated_rows(g, item, ACT_SIGMOID); break;
        case ACT_TANH: activated_rows(g, item, ACT_TANH); break;
    }
}

// Whether each window lies inside the image, and whether side by side from its first pixel on.
static int are_complete(const pool_shape *s) {
    return !s->top && !s->left && (s->oh - 1) * s->sh + s->ph <= s->h && (s->ow - 1) * s->sw + s->pw <= s->w;
}
static int lie_apart(const pool_shape *s) { return s->sh == s->ph && s->sw == s->pw && are_complete(s); }

// Whether a result goes past the caches: it and the other array are large, and all of its vectors are whole and aligned.
static int result_goes_past(const pool_shape *s, const void *y) {
    return s->c % LANES == 0 && goes_past(s->n * (s->h * s->w + s->oh * s->ow) * s->c, y);
}

static void max_pool2d(const pool_shape *s, const void *x, void *y, void *index, int index_bytes) {
    pool_job g = {.s = s, .in = x, .out = y, .index = index, .bytes = index_bytes, .past = result_goes_past(s, y)};
    run_rows(&g, max_item, s->n * s->oh, s->sh * s->w * s->c * (long)sizeof(REAL));
}

static void max_pool2d_backward(const pool_shape *s, const void *dy, const void *index, int index_bytes, void *dx) {
    pool_job g = {.s = s, .in = dy, .out = dx, .index = (void *)index, .bytes = index_bytes, .apart = lie_apart(s),
                  .windows = s->n * s->oh * s->ow * s->c, .past = result_goes_past(s, dx)};
    run_rows(&g, max_backward_item, s->n * s->h, s->w * s->c * (long)sizeof(REAL));
}

static void avg_pool2d(const pool_shape *s, const void *x, void *y) {
    pool_job g = {.s = s, .in = x, .out = y, .past = result_goes_past(s, y)};
    run_rows(&g, mean_item, s->n * s->oh, s->sh * s->w * s->c * (long)sizeof(REAL));
}

static void avg_pool2d_backward(const pool_shape *s, const void *dy, void *dx) {
    pool_job g = {.s = s, .in = dy, .out = dx, .apart = lie_apart(s), .complete = are_complete(s),
                  .past = result_goes_past(s, dx)};
    run_rows(&g, mean_backward_item, s->n * s->h, s->w * s->c * (long)sizeof(REAL));
}

static void avg_pool2d_activation_backward(const pool_shape *s, const void *dy, const void *y, int kind, void *dz) {
    pool_job g = {.s = s, .in = dy, .y = y, .out = dz, .kind = kind, .past = result_goes_past(s, dz)};
    run_rows(&g, activated_item, s->n * s->oh, s->ph * s->w * s->c * (long)sizeof(REAL));
}

// ---- the whole image is one window: an item is an image and a strip of channels, or backward some places of an image ----

typedef struct {
    long places, c, strips, rows, items; // rows of dx per item, items per image
    const REAL *in;
    REAL *out;
    int32_t *index;
    int past; // dx goes past the caches
} global_job;

INLINE void mean_of_strip(const int nv, const REAL *x, long places, long c, long part, REAL *y) {
    vec total[STRIP], sum[STRIP];
#pragma GCC unroll 8
    for (int j = 0; j < nv; j++) total[j] = (vec){0};
    for (long p0 = 0; p0 < places; p0 += PLACES) {
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) sum[j] = (vec){0};
        for (long p = p0, end = min_l(p0 + PLACES, places); p < end; p++)
#pragma GCC unroll 8
            for (int j = 0; j < nv; j++) sum[j] += load_some(x + p * c + j * LANES, part);
#pragma GCC unroll 8
        for (int j = 0; j < nv; j++) total[j] += sum[j];
    }
#pragma GCC unroll 8
    for (int j = 0; j < nv; j++) store_some(y + j * LANES, total[j] / splat((REAL)places), part);
}

static void global_mean_item(void *job, long item, int worker) {
    const global_job *g = job;
    (void)worker;
    long image = item / g->strips, c = item % g->strips * CHANNELS, end = min_l(c + CHANNELS, g->c);
    const REAL *x = g->in + image * g->places * g->c;
    REAL *y = g->out + image * g->c;
    for (; c + STRIP * LANES <= end; c += STRIP * LANES) mean_of_strip(STRIP, x + c, g->places, g->c, 0, y + c);
    for (; c + STRIP / 2 * LANES <= end; c += STRIP / 2 * LANES) mean_of_strip(STRIP / 2, x + c, g->places, g->c, 0, y + c);
    for (; c + LANES <= end; c += LANES) mean_of_strip(1, x + c, g->places, g->c, 0, y + c);
    if (c < end) mean_of_strip(1, x + c, g->places, g->c, end - c, y + c);
}

static void global_max_item(void *job, long item, int worker) {
    const global_job *g = job;
    (void)worker;
    long image = item / g->strips, c = item % g->strips * CHANNELS, end = min_l(c + CHANNELS, g->c), at = image * g->c;
    window w = {g->in + image * g->places * g->c, 1, g->places, 0, g->c, 0, 0};
    REAL *y = g->out + at;
#define MAXIMA(bytes)                                                                                                  \
    for (; c + SIDE * LANES <= end; c += SIDE * LANES) max_of_window(SIDE, bytes, 0, &w, c, 0, 0, y, g->index, at);         \
    for (; c + 2 * LANES <= end; c += 2 * LANES) max_of_window(2, bytes, 0, &w, c, 0, 0, y, g->index, at);                  \
    for (; c + LANES <= end; c += LANES) max_of_window(1, bytes, 0, &w, c, 0, 0, y, g->index, at);                          \
    if (c < end) max_of_window(1, bytes, 0, &w, c, end - c, end - c, y, g->index, at)
    if (g->index) {
        MAXIMA(4);
    } else {
        MAXIMA(0);
    }
#undef MAXIMA
}

static void spread_mean_item(void *job, long item, int worker) {
    const global_job *g = job;
    (void)worker;
    long image = item / g->items, p = item % g->items * g->rows, end = min_l(p + g->rows, g->places);
    const REAL *dy = g->in + image * g->c;
    vec share = splat((REAL)1 / (REAL)g->places);
    for (; p < end; p++) {
        REAL *dx = g->out + (image * g->places + p) * g->c;
        for (long c = 0; c < g->c; c += LANES) {
            long part = g->c - c < LANES ? g->c - c : 0;
            if (g->past) store_past(dx + c, load(dy + c) * share);
            else store_some(dx + c, load_some(dy + c, part) * share, part);
        }
    }
    if (g->past) finish_stores();
}

static void spread_largest_item(void *job, long item, int worker) {
    const global_job *g = job;
    (void)worker;
    long image = item / g->items, p = item % g->items * g->rows, end = min_l(p + g->rows, g->places);
    REAL *dx = g->out + image * g->places * g->c;
    memset(dx + p * g->c, 0, (size_t)((end - p) * g->c) * sizeof(REAL));
    for (long c = 0; c < g->c; c++) {
        long place = g->index[image * g->c + c];
        if (place >= p && place < end) dx[place * g->c + c] = g->in[image * g->c + c];
    }
}

static void run_strips(pool_function function, long n, long places, long c, const void *x, void *y, void *index) {
    global_job g = {.places = places, .c = c, .strips = div_up(c, CHANNELS), .in = x, .out = y, .index = index};
    if (places) pool_for(n * g.strips, function, &g);
}

static void run_places(pool_function function, long n, long places, long c, const void *dy, const void *index, void *dx) {
    global_job g = {.places = places, .c = c, .in = dy, .out = dx, .index = (void *)index};
    g.rows = max_l(1, ITEM_BYTES / max_l(c * (long)sizeof(REAL), 1));
    g.items = div_up(places, g.rows);
    g.past = !index && c % LANES == 0 && goes_past(n * places * c, dx);
    pool_for(n * g.items, function, &g);
}

static void global_avg_pool(long n, long places, long c, const void *x, void *y) {
    run_strips(global_mean_item, n, places, c, x, y, NULL);
}

static void global_avg_pool_backward(long n, long places, long c, const void *dy, void *dx) {
    run_places(spread_mean_item, n, places, c, dy, NULL, dx);
}

static void global_max_pool(long n, long places, long c, const void *x, void *y, void *index) {
    run_strips(global_max_item, n, places, c, x, y, index);
}

static void global_max_pool_backward(long n, long places, long c, const void *dy, const void *index, void *dx) {
    run_places(spread_largest_item, n, places, c, dy, index, dx);
}

const pool_kernels NAME(pool_kernels) = {
    max_pool2d, max_pool2d_backward, avg_pool2d, avg_pool2d_backward, avg_pool2d_activation_backward,
    global_avg_pool, global_avg_pool_backward, global_max_pool, global_max_pool_backward,
};
