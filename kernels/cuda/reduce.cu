// Reductions over the middle axis of [A, R, B], and arg-max of rows.
//
// Plain version: a thread per result, walking along the axis. Where B is small neighbours then read memory far apart, and
// where A·B is small most of the machine idles. Here a block takes a stripe of columns, all of them where they are few, and
// a piece of the axis: its threads read side by side, take turns along the axis and join in shared memory. A long axis is
// cut into pieces whose results a second launch reduces, and so on: no atomics, the same bits every time, and a float32 sum
// that adds no more than 32 numbers in a row, so that its error grows with the logarithm of the length.
//
// Bound by memory: each element is read once. Short rows (B = 1) leave lanes idle; few elements are bound by the start of
// the launch.

struct Smallest { static __device__ __forceinline__ REAL of(REAL a, REAL b) { return a < b || a != a ? a : b; } };

// What a thread starts from: 0 for a sum; for the others an element of the piece, which counts twice without harm.
template <class Op> __device__ __forceinline__ REAL start(const REAL* any) { return *any; }
template <> __device__ __forceinline__ REAL start<Sum>(const REAL*) { return 0; }

// Blocks (A · stripes, pieces), whose threads are lanes of `width` columns each. y[a, piece, column] is the reduction of
// elements piece · step … along the axis, divided by `count`.
template <class Op>
__device__ __forceinline__ void reduce(
    const REAL* x, REAL* y, long long length, long long columns, int width, long long step, REAL count) {
    __shared__ REAL values[THREADS];
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    long long stripes = (columns + width - 1) / width, a = blockIdx.x / stripes;
    long long column = blockIdx.x % stripes * width + threadIdx.x % width;
    long long first = blockIdx.y * step, last = min(first + step, length);
    if (lane < lanes && column < columns) {
        x += a * length * columns + column;
        REAL value = start<Op>(x + first * columns);
        for (long long i = first + lane; i < last; i += lanes) value = Op::of(value, x[i * columns]);
        values[threadIdx.x] = value;
    }
    join_lanes(width, lanes, [](int p, int q) { values[p] = Op::of(values[p], values[q]); });
    if (lane == 0 && column < columns)
        y[(a * gridDim.y + blockIdx.y) * columns + column] = values[threadIdx.x] / count;
}

#define REDUCTION(NAME, OP)                                                                                   \
    extern "C" __global__ void reduce_##NAME(                                                                 \
        const REAL* x, REAL* y, long long length, long long columns, int width, long long step, REAL count) { \
        reduce<OP>(x, y, length, columns, width, step, count);                                                \
    }
REDUCTION(sum, Sum)
REDUCTION(max, Largest)
REDUCTION(min, Smallest)

// Whether element i, of value a, comes before element j, of value b: NaN is the largest, the first of equals wins.
__device__ __forceinline__ bool wins(REAL a, int i, REAL b, int j) {
    if (a != a || b != b) return a != a && (b == b || i < j);
    return a > b || (a == b && i < j);
}

// Block r, of 32 … 256 threads, finds the place of the first largest element of row r.
extern "C" __global__ void argmax(const REAL* x, int* y, int columns) {
    __shared__ REAL values[8];
    __shared__ int places[8];
    x += (long long)blockIdx.x * columns;
    REAL value = x[0];
    int place = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        REAL other = x[c];
        if (wins(other, c, value, place)) value = other, place = c;
    }
    for (int offset = 16; offset > 0; offset >>= 1) {
        REAL other = __shfl_xor_sync(0xffffffffu, value, offset);
        int elsewhere = __shfl_xor_sync(0xffffffffu, place, offset);
        if (wins(other, elsewhere, value, place)) value = other, place = elsewhere;
    }
    if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = value, places[threadIdx.x / 32] = place;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < blockDim.x / 32; w++)
        if (wins(values[w], places[w], value, place)) value = values[w], place = places[w];
    y[blockIdx.x] = place;
}
