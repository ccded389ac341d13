// Winograd convolution F(4×4, 3×3) (Lavin & Gray 2016), around batched matrix products by cuBLAS.
//
//     outputs                  Y  = Aᵀ [ sum over c of (G g Gᵀ) · (Bᵀ d B) ] A
//     gradient of the input    the same, with filters turned by 180 degrees and transposed
//     gradient of the filters  dW = Gᵀ [ sum over tiles of (Bᵀ d B) · (A dY Aᵀ) ] G
//
// Plain version: conv.cu's im2col, which writes nine numbers for one of the image, and a product with nine multiplications
// per output, channel and filter. Here a tile of 4 × 4 outputs is a polynomial, known by its values at 6 × 6 points: 36
// products for 16 outputs instead of 144, and 36 / 16 = 2.25 numbers to move for one of the image and of the output each.
// The products at the 36 points are 36 products of matrices, one call of cuBLAS.
//
// A thread transforms one tile of one channel in registers; its neighbours stand for neighbouring channels, so that all
// accesses are whole lines of memory. The transforms are bound by memory.
//
// The points are 0, ±5/8, ±3/2 and infinity, as in the CPU's engine: its error is a third of that of ±1, ±2, and below 1e-5
// of the largest output from 16 channels up. They lie in pairs ±x, so each transform is an even and an odd half.
//
// Planes [point, tile, channel], 6 × 6 points in the order of a tile, `room` tiles; tiles are counted along rows, then
// images, and a launch begins at tile `first` of all.

constexpr REAL P = REAL(0.625), Q = REAL(1.5), PP = P * P, QQ = Q * Q;
// The rows of G are (1, x, x²) divided by the product of the distances of x from the other finite points.
constexpr REAL AT_0 = 1 / (PP * QQ), AT_P = 1 / (2 * PP * (PP - QQ)), AT_Q = 1 / (2 * QQ * (QQ - PP));
constexpr int SIDE = 6, POINTS = SIDE * SIDE, OUTPUTS = 4, TAPS = 3;

// One-dimensional transforms, in place, of elements STEP apart in a tile of 6 × 6.

// Bᵀ: 6 numbers of an image.
template <int STEP> __device__ __forceinline__ void transform_input(REAL* t) {
    REAL d0 = t[0], d1 = t[STEP], d2 = t[2 * STEP], d3 = t[3 * STEP], d4 = t[4 * STEP], d5 = t[5 * STEP];
    REAL even_p = d4 - QQ * d2, odd_p = P * (d3 - QQ * d1), even_q = d4 - PP * d2, odd_q = Q * (d3 - PP * d1);
    t[0] = d4 + PP * QQ * d0 - (PP + QQ) * d2;
    t[STEP] = even_p + odd_p;
    t[2 * STEP] = even_p - odd_p;
    t[3 * STEP] = even_q + odd_q;
    t[4 * STEP] = even_q - odd_q;
    t[5 * STEP] = d5 + PP * QQ * d1 - (PP + QQ) * d3;
}

// Aᵀ: 6 values to 4 outputs.
template <int STEP> __device__ __forceinline__ void transform_output(REAL* t) {
    REAL even_p = t[STEP] + t[2 * STEP], odd_p = t[STEP] - t[2 * STEP];
    REAL even_q = t[3 * STEP] + t[4 * STEP], odd_q = t[3 * STEP] - t[4 * STEP];
    t[0] += even_p + even_q;
    t[STEP] = P * odd_p + Q * odd_q;
    t[2 * STEP] = PP * even_p + QQ * even_q;
    t[3 * STEP] = t[5 * STEP] + PP * P * odd_p + QQ * Q * odd_q;
}

// A: 4 numbers of a gradient of the outputs to 6 values.
template <int STEP> __device__ __forceinline__ void transform_gradient(REAL* t) {
    REAL y0 = t[0], y1 = t[STEP], y2 = t[2 * STEP], y3 = t[3 * STEP];
    REAL even_p = y0 + PP * y2, odd_p = P * y1 + PP * P * y3, even_q = y0 + QQ * y2, odd_q = Q * y1 + QQ * Q * y3;
    t[STEP] = even_p + odd_p;
    t[2 * STEP] = even_p - odd_p;
    t[3 * STEP] = even_q + odd_q;
    t[4 * STEP] = even_q - odd_q;
    t[5 * STEP] = y3;
}

// G: 3 taps to 6 values.
template <int STEP> __device__ __forceinline__ void transform_filter(REAL* t) {
    REAL g0 = t[0], g1 = t[STEP], g2 = t[2 * STEP];
    REAL even_p = AT_P * (g0 + PP * g2), odd_p = AT_P * P * g1, even_q = AT_Q * (g0 + QQ * g2), odd_q = AT_Q * Q * g1;
    t[0] = AT_0 * g0;
    t[STEP] = even_p + odd_p;
    t[2 * STEP] = even_p - odd_p;
    t[3 * STEP] = even_q + odd_q;
    t[4 * STEP] = even_q - odd_q;
    t[5 * STEP] = g2;
}

// Gᵀ: 6 sums to the gradient of 3 taps.
template <int STEP> __device__ __forceinline__ void transform_filter_gradient(REAL* t) {
    REAL even_p = t[STEP] + t[2 * STEP], odd_p = t[STEP] - t[2 * STEP];
    REAL even_q = t[3 * STEP] + t[4 * STEP], odd_q = t[3 * STEP] - t[4 * STEP];
    t[0] = AT_0 * t[0] + AT_P * even_p + AT_Q * even_q;
    t[STEP] = AT_P * P * odd_p + AT_Q * Q * odd_q;
    t[2 * STEP] = AT_P * PP * even_p + AT_Q * QQ * even_q + t[5 * STEP];
}

// Reads SIZE × SIZE pixels of one channel from (row, column) on, zeros outside the image, to the corner of a tile.
template <int SIZE>
__device__ __forceinline__ void load_pixels(
    const REAL* x, REAL* tile, long long image, int row, int column, int height, int width, int channels, int c) {
#pragma unroll
    for (int a = 0; a < SIZE; a++) {
        int h = row + a;
#pragma unroll
        for (int b = 0; b < SIZE; b++) {
            int w = column + b;
            bool inside = h >= 0 && h < height && w >= 0 && w < width;
            tile[a * SIDE + b] = inside ? x[((image * height + h) * width + w) * channels + c] : REAL(0);
        }
    }
}

// n = room · channels; tiles that the images do not have hold zeros.
extern "C" __global__ void winograd_inputs(
    const REAL* x, REAL* planes, long long n, long long first, long long tiles, int down, int across, int height,
    int width, int channels, int top, int left) {
    long long i = thread();
    if (i >= n) return;
    REAL tile[POINTS] = {};
    long long number = first + i / channels;
    if (number < tiles) {
        int column = int(number % across) * OUTPUTS - left, row = int(number / across % down) * OUTPUTS - top;
        load_pixels<SIDE>(x, tile, number / across / down, row, column, height, width, channels, int(i % channels));
#pragma unroll
        for (int b = 0; b < SIDE; b++) transform_input<SIDE>(tile + b);
#pragma unroll
        for (int a = 0; a < SIDE; a++) transform_input<1>(tile + a * SIDE);
    }
#pragma unroll
    for (int point = 0; point < POINTS; point++) planes[point * n + i] = tile[point];
}

extern "C" __global__ void winograd_gradients(
    const REAL* dz, REAL* planes, long long n, long long first, long long tiles, int down, int across, int height,
    int width, int channels) {
    long long i = thread();
    if (i >= n) return;
    REAL tile[POINTS] = {};
    long long number = first + i / channels;
    if (number < tiles) {
        int column = int(number % across) * OUTPUTS, row = int(number / across % down) * OUTPUTS;
        load_pixels<OUTPUTS>(dz, tile, number / across / down, row, column, height, width, channels, int(i % channels));
#pragma unroll
        for (int b = 0; b < OUTPUTS; b++) transform_gradient<SIDE>(tile + b);
#pragma unroll
        for (int a = 0; a < SIDE; a++) transform_gradient<1>(tile + a * SIDE);
    }
#pragma unroll
    for (int point = 0; point < POINTS; point++) planes[point * n + i] = tile[point];
}

// n = channels · tiles of this launch; plane = room · channels.
extern "C" __global__ void winograd_outputs(
    const REAL* planes, const REAL* bias, REAL* y, long long n, long long plane, long long first, int down, int across,
    int height, int width, int channels, int activation) {
    long long i = thread();
    if (i >= n) return;
    REAL tile[POINTS];
#pragma unroll
    for (int point = 0; point < POINTS; point++) tile[point] = planes[point * plane + i];
#pragma unroll
    for (int a = 0; a < SIDE; a++) transform_output<1>(tile + a * SIDE);
#pragma unroll
    for (int b = 0; b < OUTPUTS; b++) transform_output<SIDE>(tile + b);
    int c = int(i % channels);
    long long number = first + i / channels;
    int column = int(number % across) * OUTPUTS, row = int(number / across % down) * OUTPUTS;
    long long image = number / across / down;
    REAL shift = bias ? bias[c] : REAL(0);
#pragma unroll
    for (int a = 0; a < OUTPUTS; a++)
#pragma unroll
        for (int b = 0; b < OUTPUTS; b++)
            if (row + a < height && column + b < width)
                y[((image * height + row + a) * width + column + b) * channels + c] =
                    fused(tile[a * SIDE + b] + shift, activation);
}

// n = C · K; u [points, C, K] from w [3, 3, C, K], turned by 180 degrees if `turned`.
extern "C" __global__ void winograd_filters(const REAL* w, REAL* u, long long n, bool turned) {
    long long i = thread();
    if (i >= n) return;
    REAL tile[POINTS];
#pragma unroll
    for (int a = 0; a < TAPS; a++)
#pragma unroll
        for (int b = 0; b < TAPS; b++) {
            int tap = a * TAPS + b;
            tile[a * SIDE + b] = w[(turned ? TAPS * TAPS - 1 - tap : tap) * n + i];
        }
#pragma unroll
    for (int b = 0; b < TAPS; b++) transform_filter<SIDE>(tile + b);
#pragma unroll
    for (int a = 0; a < SIDE; a++) transform_filter<1>(tile + a * SIDE);
#pragma unroll
    for (int point = 0; point < POINTS; point++) u[point * n + i] = tile[point];
}

// n = C · K; sums [points, parts, C, K].
extern "C" __global__ void winograd_filter_gradients(
    const REAL* sums, REAL* dw, long long n, int parts, bool accumulate) {
    long long i = thread();
    if (i >= n) return;
    REAL tile[POINTS];
#pragma unroll
    for (int point = 0; point < POINTS; point++) {
        REAL sum = 0;
        for (int part = 0; part < parts; part++) sum += sums[((long long)point * parts + part) * n + i];
        tile[point] = sum;
    }
#pragma unroll
    for (int a = 0; a < SIDE; a++) transform_filter_gradient<1>(tile + a * SIDE);
#pragma unroll
    for (int b = 0; b < TAPS; b++) transform_filter_gradient<SIDE>(tile + b);
#pragma unroll
    for (int a = 0; a < TAPS; a++)
#pragma unroll
        for (int b = 0; b < TAPS; b++) {
            REAL* out = dw + (a * TAPS + b) * n + i;
            *out = accumulate ? *out + tile[a * SIDE + b] : tile[a * SIDE + b];
        }
}
