// Activations, softmax and their gradients.
//
// Plain version: a kernel that is told by a number which activation to apply and chooses at every element. Here each
// activation is a kernel of its own, made by a macro: the cheap ones keep the few registers that let a multiprocessor hold
// all the threads it can, instead of those of the dearest branch. Neighbouring threads take neighbouring elements, so
// each warp reads and writes whole lines of memory.
//
// Softmax in the plain version is a thread per row, whose neighbours read memory a row apart. Here a block takes a row:
// its threads read side by side, meet in shuffles for the maximum and the sum, and find the row in the cache when they
// come back to it. The exponential is taken once and kept in y until the sum is known.
//
// All are bound by memory: an activation reads a number and writes one (its gradient reads two or three), softmax reads
// a row once from memory and writes it once. Rows much shorter than a warp leave lanes idle.

// The exponential is only ever taken of numbers ≤ 0, or its infinity is the right answer.
#define ACTIVATION(NAME, VALUE)                                                                              \
    extern "C" __global__ void activation_##NAME(const REAL* x, REAL* y, long long n, REAL alpha) {          \
        long long i = thread();                                                                              \
        if (i >= n) return;                                                                                  \
        REAL z = x[i];                                                                                       \
        y[i] = VALUE;                                                                                        \
    }

// x is null for those that follow from the output.
#define GRADIENT(NAME, VALUE)                                                                                \
    extern "C" __global__ void activation_backward_##NAME(                                                   \
        const REAL* dy, const REAL* x, const REAL* y, REAL* dx, long long n, REAL alpha) {                   \
        long long i = thread();                                                                              \
        if (i < n) dx[i] = VALUE;                                                                            \
    }

// Klambauer et al. 2017, "Self-Normalizing Neural Networks".
#define SELU_ALPHA REAL(1.6732632423543772)
#define SELU_SCALE REAL(1.0507009873554805)

__device__ __forceinline__ REAL normal_cdf(REAL z) { return REAL(0.5) * erfc(z * REAL(-0.70710678118654752)); }
__device__ __forceinline__ REAL clipped(REAL z, REAL low, REAL high) { return z < low ? low : z > high ? high : z; }

ACTIVATION(linear, z)
ACTIVATION(relu, fused(z, RELU))
ACTIVATION(sigmoid, sigmoid(z))
ACTIVATION(tanh, tanh(z))
ACTIVATION(leaky_relu, z > 0 ? z : alpha * z)
ACTIVATION(elu, z > 0 ? z : alpha * expm1(z))
ACTIVATION(selu, SELU_SCALE * (z > 0 ? z : SELU_ALPHA * expm1(z)))
ACTIVATION(exponential, exp(z))
ACTIVATION(softplus, (z > 0 ? z : REAL(0)) + log1p(exp(-fabs(z))))
ACTIVATION(softsign, z / (1 + fabs(z)))
ACTIVATION(silu, z * sigmoid(z))
ACTIVATION(gelu, z * normal_cdf(z))
ACTIVATION(relu6, clipped(z, 0, 6))
ACTIVATION(hard_sigmoid, clipped(z / 6 + REAL(0.5), 0, 1))
ACTIVATION(step, z > 0 ? REAL(1) : REAL(0))

GRADIENT(linear, dy[i])
GRADIENT(relu, y[i] > 0 ? dy[i] : REAL(0))
GRADIENT(sigmoid, dy[i] * y[i] * (1 - y[i]))
GRADIENT(tanh, dy[i] * (1 - y[i] * y[i]))
GRADIENT(leaky_relu, y[i] > 0 ? dy[i] : alpha * dy[i])
GRADIENT(elu, y[i] > 0 ? dy[i] : dy[i] * (y[i] + alpha))
GRADIENT(selu, dy[i] * (y[i] > 0 ? SELU_SCALE : y[i] + SELU_SCALE * SELU_ALPHA))
GRADIENT(exponential, dy[i] * y[i])
GRADIENT(step, 0)
GRADIENT(softplus, dy[i] * sigmoid(x[i]))
GRADIENT(softsign, dy[i] / ((1 + fabs(x[i])) * (1 + fabs(x[i]))))
GRADIENT(silu, dy[i] * sigmoid(x[i]) * (1 + x[i] * (1 - sigmoid(x[i]))))
GRADIENT(gelu, dy[i] * (normal_cdf(x[i]) + x[i] * exp(REAL(-0.5) * x[i] * x[i]) * REAL(0.39894228040143268)))
GRADIENT(relu6, x[i] > 0 && x[i] <= 6 ? dy[i] : REAL(0))
GRADIENT(hard_sigmoid, x[i] > -3 && x[i] <= 3 ? dy[i] / 6 : REAL(0))

// From here on block r stands for row r of an array [R, columns].

extern "C" __global__ void softmax(const REAL* x, REAL* y, int columns) {
    x += (long long)blockIdx.x * columns;
    y += (long long)blockIdx.x * columns;
    REAL largest = row_maximum(x, columns), sum = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += y[c] = exp(x[c] - largest);
    sum = block_reduce<Sum>(sum);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) y[c] /= sum;
}

extern "C" __global__ void softmax_backward(const REAL* dy, const REAL* y, REAL* dx, int columns) {
    dy += (long long)blockIdx.x * columns;
    y += (long long)blockIdx.x * columns;
    dx += (long long)blockIdx.x * columns;
    REAL sum = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += dy[c] * y[c];
    sum = block_reduce<Sum>(sum);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) dx[c] = y[c] * (dy[c] - sum);
}

extern "C" __global__ void log_softmax(const REAL* x, REAL* y, int columns) {
    x += (long long)blockIdx.x * columns;
    y += (long long)blockIdx.x * columns;
    REAL largest = row_maximum(x, columns), sum = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += exp(x[c] - largest);
    REAL log_sum = log(block_reduce<Sum>(sum));
    for (int c = threadIdx.x; c < columns; c += blockDim.x) y[c] = x[c] - largest - log_sum;
}

extern "C" __global__ void log_softmax_backward(const REAL* dy, const REAL* y, REAL* dx, int columns) {
    dy += (long long)blockIdx.x * columns;
    y += (long long)blockIdx.x * columns;
    dx += (long long)blockIdx.x * columns;
    REAL sum = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += dy[c];
    sum = block_reduce<Sum>(sum);
    for (int c = threadIdx.x; c < columns; c += blockDim.x) dx[c] = dy[c] - exp(y[c]) * sum;
}
