// What surrounds the matrix products: bias and activation after them, sums over the rows of a matrix.
//
// Plain version: one launch adds the bias, one applies the activation, and one thread per column sums it from top to
// bottom. cuBLAS has no sigmoid or tanh to finish a product with, so here one launch after it does both in one pass
// over y: neighbouring threads hold neighbouring elements, so that a warp reads and writes whole lines of memory. The
// sum of columns gives each block a stripe of columns and a slab of rows; threads side by side read side by side,
// however few columns there are, each keeps its own sum, and the block joins them in shared memory. Slabs leave one row
// of partial sums each, which a second launch of the same kernel adds up. No atomics: the same sum every time.
//
// Both are bound by memory: bias_activation moves 2 numbers per element and column_sums 1.

extern "C" __global__ void bias_activation(REAL* y, const REAL* bias, long long n, int columns, int activation) {
    long long i = thread();
    if (i >= n) return;
    REAL z = y[i];
    if (bias) z += bias[i % columns];
    y[i] = fused(z, activation);
}

// Blocks (stripes, slabs) of `width` columns; the rows of a slab begin `slab` rows after those of the one before.
// y [slabs, columns].
extern "C" __global__ void column_sums(
    const REAL* x, REAL* y, long long rows, int columns, int width, long long slab, bool accumulate) {
    __shared__ REAL sums[THREADS];
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    int column = blockIdx.x * width + threadIdx.x % width;
    long long first = blockIdx.y * slab, last = min(first + slab, rows);
    REAL sum = 0;
    if (lane < lanes && column < columns)
        for (long long r = first + lane; r < last; r += lanes) sum += x[r * columns + column];
    sums[threadIdx.x] = sum;
    join_lanes(width, lanes, [](int a, int b) { sums[a] += sums[b]; });
    if (lane == 0 && column < columns) {
        REAL* out = y + (long long)blockIdx.y * columns + column;
        *out = accumulate ? *out + sums[threadIdx.x] : sums[threadIdx.x];
    }
}
