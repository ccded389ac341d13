// Elementwise arithmetic with broadcasting, comparison and selection.
//
// Plain version: one kernel that is told the operation by a number, and an index for each operand worked out by a division
// per axis. Here each operation is a kernel of its own, made by a macro, and the caller has merged the axes that are
// walked as one: operands of one shape, and a scalar beside an array, are a single axis and need no division at all, a
// bias or a mask along one axis needs one.
//
// All are bound by memory, 2 or 3 numbers per element, except pow and what takes long (sin, cos of large numbers) in
// float64. On more than 4 merged axes the caller lets CuPy walk them.

#define UNARY(NAME, VALUE)                                                                   \
    extern "C" __global__ void unary_##NAME(const REAL* x, REAL* y, long long n) {           \
        long long i = thread();                                                              \
        if (i >= n) return;                                                                  \
        REAL z = x[i];                                                                       \
        y[i] = VALUE;                                                                        \
    }
#define UNARY_BACKWARD(NAME, VALUE)                                                          \
    extern "C" __global__ void unary_backward_##NAME(                                        \
        const REAL* dy, const REAL* x, const REAL* y, REAL* dx, long long n) {               \
        long long i = thread();                                                              \
        if (i >= n) return;                                                                  \
        dx[i] = VALUE;                                                                       \
    }

__device__ __forceinline__ REAL sign(REAL z) { return z > 0 ? REAL(1) : z < 0 ? REAL(-1) : z; }

UNARY(neg, -z)
UNARY(exp, exp(z))
UNARY(log, log(z))
UNARY(sqrt, sqrt(z))
UNARY(square, z * z)
UNARY(abs, fabs(z))
UNARY(sign, sign(z))
UNARY(reciprocal, 1 / z)
UNARY(sin, sin(z))
UNARY(cos, cos(z))

UNARY_BACKWARD(neg, -dy[i])
UNARY_BACKWARD(exp, dy[i] * y[i])
UNARY_BACKWARD(log, dy[i] / x[i])
UNARY_BACKWARD(sqrt, dy[i] * REAL(0.5) / y[i])
UNARY_BACKWARD(square, 2 * dy[i] * x[i])
UNARY_BACKWARD(abs, dy[i] * sign(x[i]))
UNARY_BACKWARD(sign, 0)
UNARY_BACKWARD(reciprocal, -dy[i] * y[i] * y[i])
UNARY_BACKWARD(sin, dy[i] * cos(x[i]))
UNARY_BACKWARD(cos, -dy[i] * sin(x[i]))

#define BROADCAST(NAME, OUT, VALUE)                                                                               \
    extern "C" __global__ void NAME(                                                                              \
        const REAL* a, const REAL* b, OUT* y, long long n, int axes, long long n1, long long n2, long long n3,    \
        long long a0, long long a1, long long a2, long long a3, long long b0, long long b1, long long b2,         \
        long long b3) {                                                                                           \
        long long i = thread();                                                                                   \
        if (i >= n) return;                                                                                       \
        Place at(i, n1, n2, n3, axes);                                                                            \
        REAL u = a[at.in(a0, a1, a2, a3)], v = b[at.in(b0, b1, b2, b3)];                                          \
        y[i] = VALUE;                                                                                             \
    }

BROADCAST(binary_add, REAL, u + v)
BROADCAST(binary_sub, REAL, u - v)
BROADCAST(binary_mul, REAL, u * v)
BROADCAST(binary_div, REAL, u / v)
BROADCAST(binary_pow, REAL, pow(u, v))
BROADCAST(binary_maximum, REAL, u > v || u != u ? u : v)
BROADCAST(binary_minimum, REAL, u < v || u != u ? u : v)

BROADCAST(compare_equal, bool, u == v)
BROADCAST(compare_not_equal, bool, u != v)
BROADCAST(compare_less, bool, u < v)
BROADCAST(compare_less_equal, bool, u <= v)
BROADCAST(compare_greater, bool, u > v)
BROADCAST(compare_greater_equal, bool, u >= v)

extern "C" __global__ void select_where(
    const bool* condition, const REAL* a, const REAL* b, REAL* y, long long n, int axes, long long n1, long long n2,
    long long n3, long long c0, long long c1, long long c2, long long c3, long long a0, long long a1, long long a2,
    long long a3, long long b0, long long b1, long long b2, long long b3) {
    long long i = thread();
    if (i >= n) return;
    Place at(i, n1, n2, n3, axes);
    y[i] = condition[at.in(c0, c1, c2, c3)] ? a[at.in(a0, a1, a2, a3)] : b[at.in(b0, b1, b2, b3)];
}
