// Exponential, tanh and sigmoid on vectors.
//
// float: range reduction and minimax polynomials as in Cephes (S. L. Moshier, expf.c and tanhf.c): exp within 2 ulp,
// sigmoid 3 ulp, tanh 3 ulp, NaN and infinities as in libm. double serves for checking only: libm, lane by lane.
#pragma once
#include "simd.h"
#include <math.h>

#define EACH_LANE(expression)                                                                                          \
    vec y;                                                                                                             \
    for (int i = 0; i < LANES; i++) {                                                                                  \
        REAL x = v[i];                                                                                                 \
        y[i] = (expression);                                                                                           \
    }                                                                                                                  \
    return y

#if REAL_BITS == 32

// 2^n for n in -150 ... 150, in two factors so that overflow and underflow come out as they should.
INLINE vec scale_by_power(vec x, ivec n) {
    ivec half = n >> 1;
    return x * (vec)((half + 127) << 23) * (vec)((n - half + 127) << 23);
}

INLINE vec vexp(vec x) {
    x = vmin(splat(104.f), vmax(splat(-104.f), x));
    const vec magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
    vec n = (x * splat(1.44269504f) + magic) - magic;
    vec r = x - n * splat(0.693359375f);
    r = r + n * splat(2.12194440e-4f);
    vec p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * (r * r) + (r + splat(1.f));
    return scale_by_power(p, __builtin_convertvector(n, ivec));
}

INLINE vec vsigmoid(vec x) { return splat(1.f) / (splat(1.f) + vexp(-x)); }

// Near zero 1 - 2 / (1 + e^2x) would cancel: there an odd polynomial.
INLINE vec vtanh(vec x) {
    vec z = x * x, p = splat(-5.70498872745e-3f);
    p = p * z + splat(2.06390887954e-2f);
    p = p * z + splat(-5.37397155531e-2f);
    p = p * z + splat(1.33314422036e-1f);
    p = p * z + splat(-3.33332819422e-1f);
    vec small = p * z * x + x;
    vec big = splat(1.f) - splat(2.f) / (splat(1.f) + vexp(x + x));
    return blend((ivec)(z < splat(0.625f * 0.625f)), small, big);
}

#else

INLINE vec vexp(vec v) { EACH_LANE(exp(x)); }
INLINE vec vsigmoid(vec v) { EACH_LANE(1 / (1 + exp(-x))); }
INLINE vec vtanh(vec v) { EACH_LANE(tanh(x)); }

#endif
