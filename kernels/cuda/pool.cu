// Pooling.
//
// Plain version: one thread per window, and a backward that scatters with atomics wherever windows overlap. The forward
// is that, with the window's part inside the image found before the loops; the backward turns it round: each element of
// the image gathers from the few windows that cover it, so that nothing is zeroed first, nothing collides and the sum
// is the same every time. Threads side by side are channels side by side, so all accesses are whole lines of memory;
// what windows share comes from the cache. Finding the windows costs a thread of the backward more than reading them, so it
// takes four channels where they are a multiple of four. A global pool has few outputs and long sums: a block takes a stripe of an
// image's channels, several places at once, and joins them in shared memory.
//
// All are bound by memory: forward max reads x once and writes y and the places; backward reads those and writes dx.

#ifndef INDEX
#define INDEX unsigned char
#endif

struct Window { int first_row, last_row, first_column, last_column; };  // the part inside the image, from … to − 1

__device__ __forceinline__ Window inside(int row, int column, int size_h, int size_w, int height, int width) {
    return {max(row, 0), min(row + size_h, height), max(column, 0), min(column + size_w, width)};
}

// The windows o in a … b − 1 that cover element `place` of one axis, which lies `before` elements into the padded
// image.
__device__ __forceinline__ void covering(int place, int before, int size, int stride, int windows, int& a, int& b) {
    int p = place + before;
    a = p < size ? 0 : (p - size) / stride + 1;
    b = min(p / stride + 1, windows);
}

// The largest element of output i's window and its place there; the first NaN wins over all.
__device__ __forceinline__ REAL largest(
    const REAL* x, long long i, int height, int width, int channels, int out_height, int out_width, int size_h,
    int size_w, int stride_h, int stride_w, int top, int left, int* place) {
    int c = int(i % channels);
    i /= channels;
    int ow = int(i % out_width), oh = int(i / out_width % out_height);
    x += i / out_width / out_height * height * width * channels + c;
    int row = oh * stride_h - top, column = ow * stride_w - left;
    Window at = inside(row, column, size_h, size_w, height, width);
    int best_h = at.first_row, best_w = at.first_column;
    REAL best = x[((long long)best_h * width + best_w) * channels];
    for (int h = at.first_row; h < at.last_row; h++)
        for (int w = at.first_column; w < at.last_column; w++) {
            REAL v = x[((long long)h * width + w) * channels];
            if (v > best || (v != v && best == best)) best = v, best_h = h, best_w = w;
        }
    *place = (best_h - row) * size_w + best_w - column;
    return best;
}

extern "C" __global__ void max_pool(
    const REAL* x, REAL* y, INDEX* index, long long n, int height, int width, int channels, int out_height,
    int out_width, int size_h, int size_w, int stride_h, int stride_w, int top, int left) {
    long long i = thread();
    if (i >= n) return;
    int place;
    y[i] = largest(
        x, i, height, width, channels, out_height, out_width, size_h, size_w, stride_h, stride_w, top, left, &place);
    index[i] = (INDEX)place;
}

extern "C" __global__ void max_pool_without_index(
    const REAL* x, REAL* y, long long n, int height, int width, int channels, int out_height, int out_width, int size_h,
    int size_w, int stride_h, int stride_w, int top, int left) {
    long long i = thread();
    if (i >= n) return;
    int place;
    y[i] = largest(
        x, i, height, width, channels, out_height, out_width, size_h, size_w, stride_h, stride_w, top, left, &place);
}

// LANES neighbouring channels; n and channels count such.
template <int LANES> struct alignas(LANES * sizeof(REAL)) Values { REAL of[LANES]; };
template <int LANES> struct alignas(LANES * sizeof(INDEX)) Places { INDEX of[LANES]; };

template <int LANES>
__device__ __forceinline__ void gather_maxima(
    const Values<LANES>* dy, const Places<LANES>* index, Values<LANES>* dx, long long n, int height, int width,
    int channels, int out_height, int out_width, int size_h, int size_w, int stride_h, int stride_w, int top, int left) {
    long long i = thread();
    if (i >= n) return;
    int c = int(i % channels);
    long long pixel = i / channels;
    int w = int(pixel % width), h = int(pixel / width % height);
    long long image = pixel / width / height * out_height * out_width;
    int oh0, oh1, ow0, ow1;
    covering(h, top, size_h, stride_h, out_height, oh0, oh1);
    covering(w, left, size_w, stride_w, out_width, ow0, ow1);
    Values<LANES> sum = {};
    for (int oh = oh0; oh < oh1; oh++)
        for (int ow = ow0; ow < ow1; ow++) {
            int place = (h + top - oh * stride_h) * size_w + w + left - ow * stride_w;
            long long o = (image + (long long)oh * out_width + ow) * channels + c;
            Places<LANES> largest = index[o];
            Values<LANES> gradient = dy[o];
#pragma unroll
            for (int lane = 0; lane < LANES; lane++)
                if (int(largest.of[lane]) == place) sum.of[lane] += gradient.of[lane];
        }
    dx[i] = sum;
}

#define MAX_POOL_BACKWARD(NAME, LANES)                                                                                 \
    extern "C" __global__ void NAME(                                                                                   \
        const REAL* dy, const INDEX* index, REAL* dx, long long n, int height, int width, int channels, int out_height, \
        int out_width, int size_h, int size_w, int stride_h, int stride_w, int top, int left) {                        \
        gather_maxima((const Values<LANES>*)dy, (const Places<LANES>*)index, (Values<LANES>*)dx, n, height, width,     \
            channels, out_height, out_width, size_h, size_w, stride_h, stride_w, top, left);                           \
    }
MAX_POOL_BACKWARD(max_pool_backward, 1)
MAX_POOL_BACKWARD(max_pool_backward_fours, 4)

extern "C" __global__ void avg_pool(
    const REAL* x, REAL* y, long long n, int height, int width, int channels, int out_height, int out_width, int size_h,
    int size_w, int stride_h, int stride_w, int top, int left) {
    long long i = thread();
    if (i >= n) return;
    long long place = i / channels;
    int ow = int(place % out_width), oh = int(place / out_width % out_height);
    x += place / out_width / out_height * height * width * channels + i % channels;
    Window at = inside(oh * stride_h - top, ow * stride_w - left, size_h, size_w, height, width);
    REAL sum = 0;
    for (int h = at.first_row; h < at.last_row; h++)
        for (int w = at.first_column; w < at.last_column; w++) sum += x[((long long)h * width + w) * channels];
    y[i] = sum / ((at.last_row - at.first_row) * (at.last_column - at.first_column));
}

extern "C" __global__ void avg_pool_backward(
    const REAL* dy, REAL* dx, long long n, int height, int width, int channels, int out_height, int out_width,
    int size_h, int size_w, int stride_h, int stride_w, int top, int left) {
    long long i = thread();
    if (i >= n) return;
    long long pixel = i / channels;
    int w = int(pixel % width), h = int(pixel / width % height);
    dy += pixel / width / height * out_height * out_width * channels + i % channels;
    int oh0, oh1, ow0, ow1;
    covering(h, top, size_h, stride_h, out_height, oh0, oh1);
    covering(w, left, size_w, stride_w, out_width, ow0, ow1);
    REAL sum = 0;
    for (int oh = oh0; oh < oh1; oh++)
        for (int ow = ow0; ow < ow1; ow++) {
            Window at = inside(oh * stride_h - top, ow * stride_w - left, size_h, size_w, height, width);
            int count = (at.last_row - at.first_row) * (at.last_column - at.first_column);
            sum += dy[((long long)oh * out_width + ow) * channels] / count;
        }
    dx[i] = sum;
}

// One block per image and stripe of `stripe` channels; x [N, places, channels].
extern "C" __global__ void global_avg(const REAL* x, REAL* y, int places, int channels, int stripe, int stripes) {
    __shared__ REAL sums[THREADS];
    int lane = threadIdx.x / stripe, lanes = blockDim.x / stripe;
    long long n = blockIdx.x / stripes;
    int c = blockIdx.x % stripes * stripe + threadIdx.x % stripe;
    REAL sum = 0;
    if (lane < lanes && c < channels)
        for (int s = lane; s < places; s += lanes) sum += x[(n * places + s) * channels + c];
    sums[threadIdx.x] = sum;
    join_lanes(stripe, lanes, [](int a, int b) { sums[a] += sums[b]; });
    if (lane == 0 && c < channels) y[n * channels + c] = sums[threadIdx.x] / places;
}

extern "C" __global__ void global_avg_backward(const REAL* dy, REAL* dx, long long n, int places, int channels) {
    long long i = thread();
    if (i < n) dx[i] = dy[i / channels / places * channels + i % channels] / places;
}

extern "C" __global__ void global_max(
    const REAL* x, REAL* y, int* index, int places, int channels, int stripe, int stripes) {
    __shared__ REAL values[THREADS];
    __shared__ int at[THREADS];
    int lane = threadIdx.x / stripe, lanes = min(int(blockDim.x) / stripe, places);
    long long n = blockIdx.x / stripes;
    int c = blockIdx.x % stripes * stripe + threadIdx.x % stripe;
    if (lane < lanes && c < channels) {
        REAL best = x[(n * places + lane) * channels + c];
        int place = lane;
        for (int s = lane + lanes; s < places; s += lanes) {
            REAL v = x[(n * places + s) * channels + c];
            if (v > best || (v != v && best == best)) best = v, place = s;
        }
        values[threadIdx.x] = best;
        at[threadIdx.x] = place;
    }
    join_lanes(stripe, lanes, [](int a, int b) {
        bool more = values[b] > values[a] || (values[b] != values[b] && values[a] == values[a]);
        bool same = values[b] == values[a] || (values[b] != values[b] && values[a] != values[a]);
        if (more || (same && at[b] < at[a])) values[a] = values[b], at[a] = at[b];
    });
    if (lane == 0 && c < channels) {
        y[n * channels + c] = values[threadIdx.x];
        if (index) index[n * channels + c] = at[threadIdx.x];
    }
}

extern "C" __global__ void global_max_backward(
    const REAL* dy, const int* index, REAL* dx, long long n, int places, int channels) {
    long long i = thread();
    if (i >= n) return;
    long long o = i / channels / places * channels + i % channels;
    dx[i] = index[o] == int(i / channels % places) ? dy[o] : REAL(0);
}
