// Convolution around a matrix product, and depthwise convolution, which has none in it.
//
// Plain version: one thread per output sums kh·kw·C products, reading every input kh·kw·K times. Here im2col writes the
// windows of a slab of outputs as the rows of a matrix, so that cuBLAS does the sums at its own speed; its backward,
// col2im, lets each pixel of dx gather what the windows that cover it hold, where a scatter would need atomics and a
// different sum every time. Neighbouring threads stand for neighbouring channels, in the image and in the columns, so
// both sides move whole lines of memory. Taking an index apart costs more than moving the number: im2col does it once
// for WINDOWS windows, which differ by a step to the right only, and where a group's channels are a multiple of four, four of
// them are one element (im2col_fours, col2im_fours).
//
// A depthwise convolution has kh·kw products per number moved, too few for a product of matrices: its kernels read the
// image directly, the windows' overlap coming from the caches, and finish with bias and activation in registers. Its
// weight gradient is a sum over all output places for every tap, in slabs as in linear.cu.
//
// All are bound by memory: im2col writes kh·kw numbers (times (stride)⁻²) per number read, which is what an implicit
// product would save; the bound on the matrix's size keeps much of it in a large GPU's second-level cache.

const int WINDOWS = 8;  // conv.WINDOWS

// columns [rows, C / channels, kh, kw, channels], `channels` those of a group; rows are images · lines · out_width, the
// lines beginning with number `line` of the output.
template <class T>
__device__ __forceinline__ void fill_columns(
    const T* x, T* columns, int rows, int line, int lines, int out_width, int height, int width, int all_channels,
    int channels, int kh, int kw, int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w) {
    int size = kh * kw * all_channels;
    long long i = thread();
    int first = int(i / size) * WINDOWS, e = int(i % size);
    if (first >= rows) return;
    int tap = e / channels % (kh * kw);
    int channel = e / (channels * kh * kw) * channels + e % channels;
    int ow = first % out_width, oh = first / out_width % lines;
    long long n = first / out_width / lines;
    int dh = tap / kw * dilation_h - top, dw = tap % kw * dilation_w - left;
    int last = min(first + WINDOWS, rows);
    for (int r = first; r < last; r++) {
        int h = (line + oh) * stride_h + dh, w = ow * stride_w + dw;
        bool inside = h >= 0 && h < height && w >= 0 && w < width;
        T value = {};
        if (inside) value = x[((n * height + h) * width + w) * all_channels + channel];
        columns[(long long)r * size + e] = value;
        if (++ow == out_width) {
            ow = 0;
            if (++oh == lines) oh = 0, n++;
        }
    }
}

extern "C" __global__ void im2col(
    const REAL* x, REAL* columns, int rows, int line, int lines, int out_width, int height, int width, int all_channels,
    int channels, int kh, int kw, int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w) {
    fill_columns(x, columns, rows, line, lines, out_width, height, width, all_channels, channels, kh, kw, stride_h,
        stride_w, top, left, dilation_h, dilation_w);
}

// all_channels and channels count fours.
extern "C" __global__ void im2col_fours(
    const REAL* x, REAL* columns, int rows, int line, int lines, int out_width, int height, int width, int all_channels,
    int channels, int kh, int kw, int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w) {
    fill_columns((const Four*)x, (Four*)columns, rows, line, lines, out_width, height, width, all_channels, channels,
        kh, kw, stride_h, stride_w, top, left, dilation_h, dilation_w);
}

// The lines first … last − 1 of the images dx, from the columns of `lines` lines of outputs; n = elements to fill.
template <class T>
__device__ __forceinline__ void gather_columns(
    const T* columns, T* dx, long long n, int first, int last, int line, int lines, int out_width, int height,
    int width, int all_channels, int channels, int kh, int kw, int stride_h, int stride_w, int top, int left,
    int dilation_h, int dilation_w, bool add) {
    long long i = thread();
    if (i >= n) return;
    int channel = int(i % all_channels);
    i /= all_channels;
    int w = int(i % width);
    i /= width;
    int h = first + int(i % (last - first));
    long long image = i / (last - first);
    int size = kh * kw * all_channels;
    columns += channel / channels * (kh * kw * channels) + channel % channels;
    T* out = dx + ((image * height + h) * width + w) * all_channels + channel;
    T sum = {};
    if (add) sum = *out;
    for (int a = 0; a < kh; a++) {
        int down = h + top - a * dilation_h, oh = down / stride_h - line;
        if (down < 0 || down % stride_h || oh < 0 || oh >= lines) continue;
        for (int b = 0; b < kw; b++) {
            int right = w + left - b * dilation_w, ow = right / stride_w;
            if (right < 0 || right % stride_w || ow >= out_width) continue;
            sum = sum + columns[((image * lines + oh) * out_width + ow) * size + (a * kw + b) * channels];
        }
    }
    *out = sum;
}

extern "C" __global__ void col2im(
    const REAL* columns, REAL* dx, long long n, int first, int last, int line, int lines, int out_width, int height,
    int width, int all_channels, int channels, int kh, int kw, int stride_h, int stride_w, int top, int left,
    int dilation_h, int dilation_w, bool add) {
    gather_columns(columns, dx, n, first, last, line, lines, out_width, height, width, all_channels, channels, kh, kw,
        stride_h, stride_w, top, left, dilation_h, dilation_w, add);
}

// n, all_channels and channels count fours.
extern "C" __global__ void col2im_fours(
    const REAL* columns, REAL* dx, long long n, int first, int last, int line, int lines, int out_width, int height,
    int width, int all_channels, int channels, int kh, int kw, int stride_h, int stride_w, int top, int left,
    int dilation_h, int dilation_w, bool add) {
    gather_columns((const Four*)columns, (Four*)dx, n, first, last, line, lines, out_width, height, width, all_channels,
        channels, kh, kw, stride_h, stride_w, top, left, dilation_h, dilation_w, add);
}

// `filters` outputs per channel, out_channels = channels · filters; n = elements of y.
extern "C" __global__ void depthwise(
    const REAL* x, const REAL* w, const REAL* bias, REAL* y, long long n, int height, int width, int channels,
    int out_height, int out_width, int filters, int kh, int kw, int stride_h, int stride_w, int top, int left,
    int dilation_h, int dilation_w, int activation) {
    long long i = thread();
    if (i >= n) return;
    int out_channels = channels * filters;
    int k = int(i % out_channels);
    long long place = i / out_channels;
    int ow = int(place % out_width), oh = int(place / out_width % out_height);
    x += place / out_width / out_height * height * width * channels + k / filters;
    REAL sum = bias ? bias[k] : REAL(0);
    for (int a = 0; a < kh; a++) {
        int h = oh * stride_h - top + a * dilation_h;
        if (h < 0 || h >= height) continue;
        for (int b = 0; b < kw; b++) {
            int v = ow * stride_w - left + b * dilation_w;
            if (v < 0 || v >= width) continue;
            sum += x[((long long)h * width + v) * channels] * w[(a * kw + b) * out_channels + k];
        }
    }
    y[i] = fused(sum, activation);
}

// n = elements of dx.
extern "C" __global__ void depthwise_backward_input(
    const REAL* dz, const REAL* w, REAL* dx, long long n, int height, int width, int channels, int out_height,
    int out_width, int filters, int kh, int kw, int stride_h, int stride_w, int top, int left, int dilation_h,
    int dilation_w) {
    long long i = thread();
    if (i >= n) return;
    int out_channels = channels * filters;
    int first = int(i % channels) * filters;
    long long place = i / channels;
    int v = int(place % width), h = int(place / width % height);
    dz += place / width / height * out_height * out_width * out_channels + first;
    w += first;
    REAL sum = 0;
    for (int a = 0; a < kh; a++) {
        int down = h + top - a * dilation_h, oh = down / stride_h;
        if (down < 0 || down % stride_h || oh >= out_height) continue;
        for (int b = 0; b < kw; b++) {
            int right = v + left - b * dilation_w, ow = right / stride_w;
            if (right < 0 || right % stride_w || ow >= out_width) continue;
            const REAL* from = dz + ((long long)oh * out_width + ow) * out_channels;
            for (int f = 0; f < filters; f++) sum += from[f] * w[(a * kw + b) * out_channels + f];
        }
    }
    dx[i] = sum;
}

// Blocks (stripes, slabs, taps) as in column_sums; rows = output places of all images, parts [slabs, taps,
// out_channels].
extern "C" __global__ void depthwise_backward_weight(
    const REAL* x, const REAL* dz, REAL* parts, long long rows, int stripe, long long slab, int height, int width,
    int channels, int out_height, int out_width, int filters, int kw, int stride_h, int stride_w, int top, int left,
    int dilation_h, int dilation_w) {
    __shared__ REAL sums[THREADS];
    int out_channels = channels * filters;
    int lane = threadIdx.x / stripe, lanes = blockDim.x / stripe;
    int k = blockIdx.x * stripe + threadIdx.x % stripe, tap = blockIdx.z;
    int down = tap / kw * dilation_h - top, right = tap % kw * dilation_w - left;
    long long first = blockIdx.y * slab, last = min(first + slab, rows);
    REAL sum = 0;
    if (lane < lanes && k < out_channels)
        for (long long r = first + lane; r < last; r += lanes) {
            int h = int(r / out_width % out_height) * stride_h + down, v = int(r % out_width) * stride_w + right;
            if (h < 0 || h >= height || v < 0 || v >= width) continue;
            long long image = r / out_width / out_height;
            sum += x[((image * height + h) * width + v) * channels + k / filters] * dz[r * out_channels + k];
        }
    sums[threadIdx.x] = sum;
    join_lanes(stripe, lanes, [](int a, int b) { sums[a] += sums[b]; });
    if (lane == 0 && k < out_channels)
        parts[((long long)blockIdx.y * gridDim.z + tap) * out_channels + k] = sums[threadIdx.x];
}
