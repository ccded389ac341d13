// What every module begins with: launch.py puts this text, after the #define of its types, in front of each .cu file.
// REAL is float or double. Nothing is included: NVRTC brings the mathematical functions, overloaded for both.

enum Fused { LINEAR, RELU, SIGMOID, TANH };  // interface.FUSED_ACTIVATIONS, in its order; launch.FUSED maps names to it

// The index of this thread in the grid, and how many there are: for (long long i = thread(); i < n; i += threads()).
__device__ __forceinline__ long long thread() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long long threads() { return (long long)gridDim.x * blockDim.x; }

__device__ __forceinline__ REAL sigmoid(REAL z) { return REAL(1) / (REAL(1) + exp(-z)); }

__device__ __forceinline__ REAL fused(REAL z, int activation) {
    switch (activation) {
        case RELU: return z > 0 || z != z ? z : REAL(0);
        case SIGMOID: return sigmoid(z);
        case TANH: return tanh(z);
        default: return z;
    }
}

// Four neighbouring numbers, moved at once: their address is a multiple of their size.
struct alignas(4 * sizeof(REAL)) Four { REAL of[4]; };

__device__ __forceinline__ Four operator+(const Four& a, const Four& b) {
    return {a.of[0] + b.of[0], a.of[1] + b.of[1], a.of[2] + b.of[2], a.of[3] + b.of[3]};
}

struct Sum { static __device__ __forceinline__ REAL of(REAL a, REAL b) { return a + b; } };
struct Largest { static __device__ __forceinline__ REAL of(REAL a, REAL b) { return a > b || a != a ? a : b; } };

// Every lane receives the reduction over its warp, all of whose 32 lanes must take part.
template <class Op>
__device__ __forceinline__ REAL warp_reduce(REAL value) {
    for (int offset = 16; offset > 0; offset >>= 1) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, offset));
    return value;
}

// Every thread receives the reduction over its block: a whole number of warps, all of whose threads must take part.
template <class Op>
__device__ __forceinline__ REAL block_reduce(REAL value) {
    __shared__ REAL parts[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    value = warp_reduce<Op>(value);
    if (lane == 0) parts[warp] = value;
    __syncthreads();
    value = parts[0];
    for (int w = 1; w < warps; w++) value = Op::of(value, parts[w]);
    __syncthreads();  // parts may be written again by the next call
    return value;
}

// The largest of a row that the block works on. A thread without an element starts from the first, which changes nothing.
__device__ __forceinline__ REAL row_maximum(const REAL* row, int columns) {
    REAL largest = row[0];
    for (int c = threadIdx.x; c < columns; c += blockDim.x) largest = Largest::of(largest, row[c]);
    return block_reduce<Largest>(largest);
}

// A block whose threads stand for `lanes` rows of `width` columns (thread t for row t / width, column t % width; threads
// left over idle) joins its rows: join(a, b) puts what thread b holds in shared memory into what thread a holds there.
// Afterwards threads 0 … width − 1 hold the result. All threads of the block must take part.
const int THREADS = 256;  // of such a block

template <class Join>
__device__ __forceinline__ void join_lanes(int width, int lanes, Join join) {
    __syncthreads();
    while (lanes > 1) {
        int half = (lanes + 1) / 2;
        int me = threadIdx.x;
        if (me < (lanes - half) * width) join(me, me + half * width);
        lanes = half;
        __syncthreads();
    }
}

// Where element i of an array stands in another view of the same shape: i counted over axes 0 … 3, of which the last three
// have lengths n1, n2, n3, and the view's strides along them. Of fewer axes the last ones are used.
struct Place {
    long long i0 = 0, i1 = 0, i2 = 0, i3;
    __device__ __forceinline__ Place(long long i, long long n1, long long n2, long long n3, int axes) : i3(i) {
        if (axes > 1) i2 = i3 / n3, i3 -= i2 * n3;
        if (axes > 2) i1 = i2 / n2, i2 -= i1 * n2;
        if (axes > 3) i0 = i1 / n1, i1 -= i0 * n1;
    }
    __device__ __forceinline__ long long in(long long s0, long long s1, long long s2, long long s3) const {
        return i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3;
    }
};
