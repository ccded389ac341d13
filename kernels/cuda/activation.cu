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

// Gradients that follow from the output y, and those that need the input z. x is null where it is not needed.
#define FROM_OUTPUT(NAME, VALUE)                                                                             \
    extern "C" __global__ void activation_backward_##NAME(                                                   \
        const REAL* dy, const REAL* x, const REAL* y, REAL* dx, long long n, REAL alpha) {                   \
        long long i = thread();                                                                              \
        if (i >= n) return;                                                                                  \
        REAL d = dy[i], v = y[i];                                                                            \
        dx[i] = VALUE;                                                                                       \
    }
#define FROM_INPUT(NAME, VALUE)                                                                              \
    extern "C" __global__ void activation_backward_##NAME(                                                   \
        const REAL* dy, const REAL* x, const REAL* y, REAL* dx, long long n, REAL alpha) {                   \
        long long i = thread();                                                                              \
        if (i >= n) return;                                                                                  \
        REAL d = dy[i], z = x[i];                                                                            \
        dx[i] = VALUE;                                                                                       \
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

FROM_OUTPUT(linear, (void(v), d))
FROM_OUTPUT(relu, v > 0 ? d : REAL(0))
FROM_OUTPUT(sigmoid, d * v * (1 - v))
FROM_OUTPUT(tanh, d * (1 - v * v))
FROM_OUTPUT(leaky_relu, v > 0 ? d : alpha * d)
FROM_OUTPUT(elu, v > 0 ? d : d * (v + alpha))
FROM_OUTPUT(selu, d * (v > 0 ? SELU_SCALE : v + SELU_SCALE * SELU_ALPHA))
FROM_OUTPUT(exponential, d * v)
FROM_OUTPUT(step, (void(v), void(d), REAL(0)))
FROM_INPUT(softplus, d * sigmoid(z))
FROM_INPUT(softsign, d / ((1 + fabs(z)) * (1 + fabs(z))))
FROM_INPUT(silu, d * sigmoid(z) * (1 + z * (1 - sigmoid(z))))
FROM_INPUT(gelu, d * (normal_cdf(z) + z * exp(REAL(-0.5) * z * z) * REAL(0.39894228040143268)))
FROM_INPUT(relu6, z > 0 && z <= 6 ? d : REAL(0))
FROM_INPUT(hard_sigmoid, z > -3 && z <= 3 ? d / 6 : REAL(0))

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
