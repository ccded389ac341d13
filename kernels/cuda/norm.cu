// Batch and layer normalisation.
//
// Plain version of batchnorm: a launch for the mean, one for the variance of what is left, one that normalises; three
// readings of x. Here mean and variance come from one: each thread adds up its rows' distances from the first of them,
// and their squares (no cancellation, however far from zero the data lie), turns both into count, mean and sum of
// squared deviations, and these are joined by Chan, Golub & LeVeque's formula (1979), through shared memory within a
// block and by a second, small launch across the slabs of rows. The same launch updates the running statistics. The
// last one normalises, scales and activates in one pass. The backward reads dz and x once for both its sums and once
// more for dx. Stripes, slabs and lanes are those of column_sums in linear.cu: neighbouring threads read neighbouring
// numbers, no atomics.
//
// Layer normalisation gives a row to a block, which adds up by warp shuffles: the row is read from memory once and
// again, for variance and output, from the nearest cache. The sums for gamma and beta are batchnorm's, with a mean per
// row.
//
// All are bound by memory: batchnorm moves 3 numbers per element forward and 5 backward, layernorm 2 and 5.

struct Moments { REAL count, mean, square; };  // square: sum of squared deviations from the mean

__device__ __forceinline__ Moments merge(Moments a, Moments b) {
    if (b.count == 0) return a;
    REAL count = a.count + b.count, far = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + far * share, a.square + b.square + far * far * a.count * share};
}

// Blocks (stripes, slabs); parts [slabs, 2, columns]: mean and sum of squared deviations of each slab. Means are counted
// from the first row, so that their differences, which the variance rests on, keep their digits.
extern "C" __global__ void moments(
    const REAL* x, REAL* parts, long long rows, int columns, int width, long long slab) {
    __shared__ Moments all[THREADS];
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    int c = blockIdx.x * width + threadIdx.x % width;
    long long first = blockIdx.y * slab + lane, last = min(blockIdx.y * slab + slab, rows);
    Moments own = {0, 0, 0};
    if (lane < lanes && c < columns && first < last) {
        REAL origin = x[first * columns + c], sum = 0, square = 0;
        for (long long r = first; r < last; r += lanes) {
            REAL d = x[r * columns + c] - origin;
            sum += d;
            square += d * d;
        }
        own.count = REAL((last - first + lanes - 1) / lanes);
        own.mean = (origin - x[c]) + sum / own.count;
        own.square = square - sum * (sum / own.count);
        if (own.square < 0) own.square = 0;  // by rounding
    }
    all[threadIdx.x] = own;
    join_lanes(width, lanes, [](int a, int b) { all[a] = merge(all[a], all[b]); });
    if (lane == 0 && c < columns) {
        REAL* out = parts + blockIdx.y * 2LL * columns + c;
        out[0] = all[threadIdx.x].mean;
        out[columns] = all[threadIdx.x].square;
    }
}

// Blocks of `width` columns each: joins the slabs.
extern "C" __global__ void batchnorm_statistics(
    const REAL* x, const REAL* parts, REAL* running_mean, REAL* running_var, REAL* mean, REAL* inv_std, long long rows,
    int columns, int width, int slabs, long long slab, REAL momentum, REAL eps) {
    __shared__ Moments all[THREADS];
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    int c = blockIdx.x * width + threadIdx.x % width;
    Moments own = {0, 0, 0};
    if (lane < lanes && c < columns)
        for (int s = lane; s < slabs; s += lanes) {
            const REAL* part = parts + s * 2LL * columns + c;
            own = merge(own, {REAL(min(slab, rows - s * slab)), part[0], part[columns]});
        }
    all[threadIdx.x] = own;
    join_lanes(width, lanes, [](int a, int b) { all[a] = merge(all[a], all[b]); });
    if (lane == 0 && c < columns) {
        REAL average = x[c] + all[threadIdx.x].mean, variance = all[threadIdx.x].square / rows;
        mean[c] = average;
        inv_std[c] = 1 / sqrt(variance + eps);
        running_mean[c] = momentum * running_mean[c] + (1 - momentum) * average;
        running_var[c] = momentum * running_var[c] + (1 - momentum) * variance;
    }
}

extern "C" __global__ void batchnorm_apply(
    const REAL* x, const REAL* gamma, const REAL* beta, const REAL* mean, const REAL* inv_std, REAL* y, long long n,
    int columns, int activation) {
    long long i = thread();
    if (i >= n) return;
    int c = int(i % columns);
    REAL z = (x[i] - mean[c]) * inv_std[c];
    if (gamma) z *= gamma[c];
    if (beta) z += beta[c];
    y[i] = fused(z, activation);
}

extern "C" __global__ void batchnorm_infer(
    const REAL* x, const REAL* gamma, const REAL* beta, const REAL* mean, const REAL* var, REAL* y, long long n,
    int columns, REAL eps, int activation) {
    long long i = thread();
    if (i >= n) return;
    int c = int(i % columns);
    REAL z = (x[i] - mean[c]) / sqrt(var[c] + eps);
    if (gamma) z *= gamma[c];
    if (beta) z += beta[c];
    y[i] = fused(z, activation);
}

// Blocks (stripes, slabs); parts [slabs, 2, columns]: sums of dz · normalised x and of dz. mean and inv_std belong to
// the rows (per_row, layer normalisation) or to the columns.
extern "C" __global__ void gradient_sums(
    const REAL* dz, const REAL* x, const REAL* mean, const REAL* inv_std, REAL* parts, long long rows, int columns,
    int width, long long slab, bool per_row) {
    __shared__ REAL scales[THREADS];
    __shared__ REAL shifts[THREADS];
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    int c = blockIdx.x * width + threadIdx.x % width;
    long long first = blockIdx.y * slab + lane, last = min(blockIdx.y * slab + slab, rows);
    REAL scale = 0, shift = 0;
    if (lane < lanes && c < columns)
        for (long long r = first; r < last; r += lanes) {
            long long i = r * columns + c, s = per_row ? r : c;
            scale += dz[i] * ((x[i] - mean[s]) * inv_std[s]);
            shift += dz[i];
        }
    scales[threadIdx.x] = scale;
    shifts[threadIdx.x] = shift;
    join_lanes(width, lanes, [](int a, int b) { scales[a] += scales[b], shifts[a] += shifts[b]; });
    if (lane == 0 && c < columns) {
        REAL* out = parts + blockIdx.y * 2LL * columns + c;
        out[0] = scales[threadIdx.x];
        out[columns] = shifts[threadIdx.x];
    }
}

// Blocks of `width` columns each: joins the slabs into sums [2, columns] and into those gradients that are not null.
extern "C" __global__ void gradient_totals(
    const REAL* parts, REAL* sums, REAL* dgamma, REAL* dbeta, int columns, int width, int slabs, bool accumulate) {
    __shared__ REAL scales[THREADS];
    __shared__ REAL shifts[THREADS];
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    int c = blockIdx.x * width + threadIdx.x % width;
    REAL scale = 0, shift = 0;
    if (lane < lanes && c < columns)
        for (int s = lane; s < slabs; s += lanes) {
            scale += parts[s * 2LL * columns + c];
            shift += parts[(s * 2LL + 1) * columns + c];
        }
    scales[threadIdx.x] = scale;
    shifts[threadIdx.x] = shift;
    join_lanes(width, lanes, [](int a, int b) { scales[a] += scales[b], shifts[a] += shifts[b]; });
    if (lane == 0 && c < columns) {
        scale = sums[c] = scales[threadIdx.x];
        shift = sums[columns + c] = shifts[threadIdx.x];
        if (dgamma) dgamma[c] = accumulate ? dgamma[c] + scale : scale;
        if (dbeta) dbeta[c] = accumulate ? dbeta[c] + shift : shift;
    }
}

extern "C" __global__ void batchnorm_backward_apply(
    const REAL* dz, const REAL* x, const REAL* gamma, const REAL* mean, const REAL* inv_std, const REAL* sums, REAL* dx,
    long long n, long long rows, int columns) {
    long long i = thread();
    if (i >= n) return;
    int c = int(i % columns);
    REAL normalised = (x[i] - mean[c]) * inv_std[c], scale = gamma ? gamma[c] * inv_std[c] : inv_std[c];
    dx[i] = scale * (dz[i] - sums[columns + c] / rows - normalised * (sums[c] / rows));
}

// One block per row.
extern "C" __global__ void layernorm_row(
    const REAL* x, const REAL* gamma, const REAL* beta, REAL* y, REAL* mean, REAL* inv_std, int columns, REAL eps) {
    long long row = blockIdx.x;
    x += row * columns;
    y += row * columns;
    REAL sum = 0, square = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += x[c];
    REAL average = block_reduce<Sum>(sum) / max(columns, 1);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) square += (x[c] - average) * (x[c] - average);
    REAL inverse = 1 / sqrt(block_reduce<Sum>(square) / max(columns, 1) + eps);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        REAL z = (x[c] - average) * inverse;
        if (gamma) z *= gamma[c];
        if (beta) z += beta[c];
        y[c] = z;
    }
    if (threadIdx.x == 0) {
        mean[row] = average;
        inv_std[row] = inverse;
    }
}

// One block per row.
extern "C" __global__ void layernorm_backward_row(
    const REAL* dy, const REAL* x, const REAL* gamma, const REAL* mean, const REAL* inv_std, REAL* dx, int columns) {
    long long row = blockIdx.x;
    dy += row * columns;
    x += row * columns;
    dx += row * columns;
    REAL average = mean[row], inverse = inv_std[row], sum = 0, sum_x = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        REAL d = gamma ? dy[c] * gamma[c] : dy[c];
        sum += d;
        sum_x += d * ((x[c] - average) * inverse);
    }
    REAL mean_d = block_reduce<Sum>(sum) / columns, mean_d_x = block_reduce<Sum>(sum_x) / columns;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        REAL d = gamma ? dy[c] * gamma[c] : dy[c];
        dx[c] = inverse * (d - mean_d - (x[c] - average) * inverse * mean_d_x);
    }
}
