// Copying between views of any strides.
//
// Plain version: a thread per element works out its place in both views by a division per axis, and of a transpose either
// the reads or the writes of a warp are a row apart, each fetching a line of memory for a few bytes. Here the caller has
// merged the axes that are walked as one and put them in the order of the target's memory, so that a slice or a
// concatenation takes one division and a whole copy none; and a transpose goes by squares of 32 × 32 through shared memory:
// read along the source's rows, written along the target's. The squares are 33 wide there, so that columns too lie in
// 32 different banks.
//
// Bound by memory, one read and one write per element, where rows are as long as a warp.
//
// Views are given by the flat memory that they span and where their first element lies in it.

#ifndef VALUE  // real, integer or bool
#define VALUE float
#endif

extern "C" __global__ void copy_axes(
    const VALUE* x, long long x_first, VALUE* y, long long y_first, long long n, int axes, long long n1, long long n2,
    long long n3, long long x0, long long x1, long long x2, long long x3, long long y0, long long y1, long long y2,
    long long y3) {
    long long i = thread();
    if (i >= n) return;
    Place at(i, n1, n2, n3, axes);
    y[y_first + at.in(y0, y1, y2, y3)] = x[x_first + at.in(x0, x1, x2, x3)];
}

// y[b, r, c] = x[b, r, c], of which x has neighbours along r and y along c. A block of 256 threads per square.
extern "C" __global__ void copy_transposed(
    const VALUE* x, long long x_first, VALUE* y, long long y_first, long long rows, long long columns, long long x_batch,
    long long x_column, long long y_batch, long long y_row) {
    __shared__ VALUE square[32][33];
    long long across = (columns + 31) / 32, down = (rows + 31) / 32;
    long long c0 = blockIdx.x % across * 32, r0 = blockIdx.x / across % down * 32, batch = blockIdx.x / across / down;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    x += x_first + batch * x_batch;
    y += y_first + batch * y_batch;
    for (int k = warp; k < 32; k += 8)
        if (r0 + lane < rows && c0 + k < columns) square[k][lane] = x[r0 + lane + (c0 + k) * x_column];
    __syncthreads();
    for (int k = warp; k < 32; k += 8)
        if (r0 + k < rows && c0 + lane < columns) y[(r0 + k) * y_row + c0 + lane] = square[lane][k];
}
