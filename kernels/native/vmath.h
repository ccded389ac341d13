// Elementary functions on vectors.
//
// float: range reduction and minimax polynomials as in Cephes (S. L. Moshier: expf.c, logf.c, tanhf.c, sinf.c), each
// within the ulp stated at it, over all of float32 and in every build (tests/test_ulp.py holds them to it; results below
// the smallest normal number in units of the smallest one). NaN and infinities as in libm. double serves for checking
// only: libm, lane by lane.
#pragma once
#include "simd.h"
#include <math.h>
#include <string.h>

#define EACH_LANE(expression)                                                                                          \
    vec y = v;                                                                                                         \
    for (int i = 0; i < LANES; i++) {                                                                                  \
        REAL x = v[i];                                                                                                 \
        y[i] = (expression);                                                                                           \
    }                                                                                                                  \
    return y

INLINE vec vsqrt(vec v) {
#if defined(__AVX512F__) && VBYTES == 64
    return REAL_BITS == 32 ? (vec)_mm512_sqrt_ps((__m512)v) : (vec)_mm512_sqrt_pd((__m512d)v);
#elif defined(__AVX__) && VBYTES == 32
    return REAL_BITS == 32 ? (vec)_mm256_sqrt_ps((__m256)v) : (vec)_mm256_sqrt_pd((__m256d)v);
#elif defined(__SSE2__) && VBYTES == 16
    return REAL_BITS == 32 ? (vec)_mm_sqrt_ps((__m128)v) : (vec)_mm_sqrt_pd((__m128d)v);
#else
    EACH_LANE(sqrt(x));
#endif
}

INLINE vec vabs(vec x) {
    const INT magnitude = REAL_BITS == 32 ? 0x7fffffff : (INT)(~0ull >> 1);
    return (vec)((ivec)x & isplat(magnitude));
}

// The magnitude of x with the sign of s.
INLINE vec vcopysign(vec x, vec s) { return blend((ivec)splat((REAL)-0.0), s, x); }

// Unlike vmax and vmin: NaN where either is.
INLINE vec max_or_nan(vec a, vec b) { return blend((ivec)(a != a), a, vmax(a, b)); }
INLINE vec min_or_nan(vec a, vec b) { return blend((ivec)(a != a), a, vmin(a, b)); }

// ---- across the lanes ----

INLINE ivec lane_numbers(void) {
    ivec v;
    for (int i = 0; i < LANES; i++) v[i] = i;
    return v;
}

// Lane i of the result is lane i ^ step of v.
INLINE vec swap_lanes(vec v, int step) { return __builtin_shuffle(v, lane_numbers() ^ isplat(step)); }

// Whether any lane of a mask (all ones or zero) is set.
INLINE int any_lane(ivec mask) {
#if defined(__AVX512F__) && VBYTES == 64
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX__) && VBYTES == 32
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#elif defined(__SSE2__) && VBYTES == 16
    return _mm_movemask_epi8((__m128i)mask) != 0;
#else
    INT any = 0;
    for (int i = 0; i < LANES; i++) any |= mask[i];
    return any != 0;
#endif
}

// The first lane of a mask that is set; one is.
INLINE int first_lane(ivec mask) {
#if defined(__AVX512F__) && VBYTES == 64
    return __builtin_ctz(_mm512_test_epi32_mask((__m512i)mask, (__m512i)mask));
#elif defined(__AVX2__) && VBYTES == 32
    return __builtin_ctz((unsigned)_mm256_movemask_epi8((__m256i)mask)) / (int)sizeof(REAL);
#elif defined(__SSE2__) && VBYTES == 16
    return __builtin_ctz((unsigned)_mm_movemask_epi8((__m128i)mask)) / (int)sizeof(REAL);
#else
    int lane = 0;
    while (!mask[lane]) lane++;
    return lane;
#endif
}

INLINE REAL add_lanes(vec v) { // as a tree: quicker than sum_lanes, and more exact
#pragma GCC unroll 4
    for (int step = LANES / 2; step; step /= 2) v += swap_lanes(v, step);
    return v[0];
}

// The sums of the lanes of four vectors; they go the first steps of the way together.
INLINE void add_lanes_of_four(const vec v[4], REAL sums[4]) {
#if VBYTES * 8 / REAL_BITS >= 4
    const ivec lane = lane_numbers(), odd = lane + isplat(LANES) * (lane & isplat(1));
    const ivec upper = lane + isplat(LANES / 2) * (lane & isplat(2));
    vec ab = __builtin_shuffle(v[0], v[1], odd) + __builtin_shuffle(v[0], v[1], odd ^ isplat(1));
    vec cd = __builtin_shuffle(v[2], v[3], odd) + __builtin_shuffle(v[2], v[3], odd ^ isplat(1));
    vec all = __builtin_shuffle(ab, cd, upper) + __builtin_shuffle(ab, cd, upper ^ isplat(2));
#pragma GCC unroll 4
    for (int step = LANES / 2; step > 2; step /= 2) all += swap_lanes(all, step);
    memcpy(sums, &all, 4 * sizeof(REAL));
#else
    for (int i = 0; i < 4; i++) sums[i] = add_lanes(v[i]);
#endif
}

INLINE REAL max_lanes(vec v) {
#pragma GCC unroll 4
    for (int step = LANES / 2; step; step /= 2) v = vmax(v, swap_lanes(v, step));
    return v[0];
}

// The first n < LANES elements at p, the other lanes filled up.
INLINE vec load_filled(const REAL *p, long n, REAL fill) {
    return blend((ivec)(lane_numbers() < isplat((INT)n)), load_part(p, n), splat(fill));
}

#if REAL_BITS == 32

// ---- exponentials ----

// x 2^n for a whole n in -150 ... 150, in two factors so that overflow and underflow come out as they should.
INLINE vec scale_by_power(vec x, vec n) {
#if defined(__AVX512F__) && VBYTES == 64
    return (vec)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    ivec power = __builtin_convertvector(n, ivec), half = power >> 1;
    return x * (vec)((half + 127) << 23) * (vec)((power - half + 127) << 23);
#endif
}

// x as n ln 2 + r, n a whole number and |r| <= ln 2 / 2.
INLINE vec split_by_ln2(vec x, vec *n) {
    const vec magic = splat(12582912.f); // 1.5 * 2^23: adding it rounds to an integer
    *n = (x * splat(1.44269504f) + magic) - magic;
    vec r = x - *n * splat(0.693359375f);
    return r + *n * splat(2.12194440e-4f);
}

// (e^r - 1 - r) / r^2 for |r| < 0.35, fitted here to 3e-9 of e^r.
INLINE vec exp_tail(vec r) {
    vec p = splat(1.3820944587e-3f);
    p = p * r + splat(8.3686839789e-3f);
    p = p * r + splat(4.1668266058e-2f);
    p = p * r + splat(1.6666521132e-1f);
    return p * r + splat(4.9999994040e-1f);
}

INLINE vec vexp(vec x) { // 2 ulp
    vec n;
    vec r = split_by_ln2(vmin(splat(104.f), vmax(splat(-104.f), x)), &n);
    return scale_by_power((exp_tail(r) * r + splat(1.f)) * r + splat(1.f), n);
}

// e^x for x <= 0, as a softmax needs it. 3 ulp; what would be less than the smallest normal number may be 0.
#if defined(__AVX512F__) && VBYTES == 64
static const REAL THIRTY_SECONDTHS[32] __attribute__((aligned(64))) = { // 2^(i/32)
    1.f, 1.0218972f, 1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f, 1.13878858f, 1.1637249f, 1.18920708f,
    1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f, 1.35425556f, 1.38390994f, 1.41421354f,
    1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.5759809f, 1.61049032f, 1.64575553f, 1.68179286f,
    1.71861935f, 1.75625217f, 1.79470909f, 1.8340081f, 1.87416768f, 1.91520655f, 1.95714414f,
};

// For n 32nds of ln 2 a table in two registers leaves |r| <= ln 2 / 64, for which a square is enough. No result is less than
// the smallest normal number, for which an Intel core would stop for 150 cycles: it is 0, as of the lanes beyond a row's end.
INLINE vec vexp_below(vec x) {
    const vec magic = splat(393216.f); // 1.5 * 2^18: adding it rounds to 32nds
    const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.3365447f), _CMP_NLT_UQ);
    vec shifted = x * splat(1.44269504f) + magic, n = shifted - magic;
    vec r = x - n * splat(0.693359375f);
    r = r + n * splat(2.12194440e-4f);
    vec power = __builtin_shuffle(load(THIRTY_SECONDTHS), load(THIRTY_SECONDTHS + LANES), (ivec)shifted);
    vec tail = (r * splat(0.49999997f) + splat(1.00001466f)) * r;
    return (vec)_mm512_maskz_scalef_ps(normal, (__m512)(power * tail + power), (__m512)n); // rounds n down
}
#else
INLINE vec vexp_below(vec x) {
    const vec magic = splat(12582912.f);
    x = vmax(splat(-88.f), x); // for which 2^n comes out as 0
    vec shifted = x * splat(1.44269504f) + magic, n = shifted - magic;
    vec r = x - n * splat(0.693359375f);
    r = r + n * splat(2.12194440e-4f);
    vec p = splat(8.2903123e-3f);
    p = p * r + splat(4.1897975e-2f);
    p = p * r + splat(0.16667636f);
    p = p * r + splat(0.49999151f);
    p = p * r + splat(0.9999997f);
    p = p * r + splat(1.f);
    return p * (vec)(((ivec)shifted << 23) + isplat(0x3f800000)); // n stands in the last bits of `shifted`
}
#endif

// e^x - 1 for x <= 0, where e^x itself would cancel. 2 ulp.
INLINE vec vexpm1(vec x) {
    vec n;
    vec r = split_by_ln2(vmax(splat(-30.f), x), &n);
    vec power = scale_by_power(splat(1.f), n);
    vec y = power * (exp_tail(r) * (r * r) + r) + (power - splat(1.f));
    return vcopysign(y, x); // -0 stays
}

// e^x / (1 + e^x), where e^x is kept from overflowing: beyond 18 the quotient is 1. 3 ulp.
INLINE vec vsigmoid(vec x) {
    vec e = vexp(vmin(splat(20.f), x));
    return e / (splat(1.f) + e);
}

// With h = (e^2|x| - 1) / 2 the tangent is h / (h + 1), and h comes without cancelling: 2|x| = n ln 2 + 2r, and for r the
// series of vexpm1, its coefficients times powers of two. 3 ulp.
INLINE vec vtanh(vec x) {
    const vec magic = splat(12582912.f), v = vmin(splat(15.f), vabs(x));
    vec shifted = v * splat(2.88539008f) + magic, n = shifted - magic;
    vec r = v - n * splat(0.346573590f);
    vec p = splat(64 * 1.3820944587e-3f);
    p = p * r + splat(32 * 8.3686839789e-3f);
    p = p * r + splat(16 * 4.1668266058e-2f);
    p = p * r + splat(8 * 1.6666521132e-1f);
    p = p * r + splat(4 * 4.9999994040e-1f);
    vec half = (vec)(((ivec)shifted << 23) + isplat(0x3f000000)); // 2^n / 2: n stands in the last bits of `shifted`
    vec h = half * (p * (r * r) + (r + r)) + (half - splat(0.5f));
    return vcopysign(h / (h + splat(1.f)), x);
}

// e^(-a^2/2) as bell 2^n for 0 <= a <= 14.5: far out it is no normal number, and what is left to do is done before it is
// scaled. What a^2 rounds off would be multiplied by a^2 in the exponential, hence its two parts.
#if defined(__AVX512F__) && VBYTES == 64
INLINE void bell_curve(vec a, vec *bell, vec *n) { // the table of vexp_below; n is rounded down where it scales
    const vec magic = splat(393216.f);
    vec square = a * a, rest = (vec)_mm512_fmsub_ps((__m512)a, (__m512)a, (__m512)square);
    vec shifted = square * splat(-0.721347520f) + magic;
    *n = shifted - magic;
    vec r = square + *n * splat(1.38671875f); // a^2 = -n ln 4 + r; this is exact
    r = r - *n * splat(4.24388880e-4f);
    r = r + rest;
    vec power = __builtin_shuffle(load(THIRTY_SECONDTHS), load(THIRTY_SECONDTHS + LANES), (ivec)shifted);
    *bell = power * ((r * splat(0.12499999f) - splat(0.50000733f)) * r) + power;
}
#else
INLINE void bell_curve(vec a, vec *bell, vec *n) { // the series of exp_tail, its coefficients times powers of -1/2
    const vec magic = splat(12582912.f);
    vec high = (vec)((ivec)a & isplat(~0xfff)), square = high * high; // exact
    *n = (square * splat(-0.721347520f) + magic) - magic;
    vec r = square + *n * splat(1.38671875f); // a^2 = -n ln 4 + r; this, too, is exact
    r = r - *n * splat(4.24388880e-4f);
    r = r + (a - high) * (a + high);
    vec e = splat(1.3820944587e-3f / 64);
    e = e * r - splat(8.3686839789e-3f / 32);
    e = e * r + splat(4.1668266058e-2f / 16);
    e = e * r - splat(1.6666521132e-1f / 8);
    e = e * r + splat(4.9999994040e-1f / 4);
    e = e * r - splat(0.5f);
    *bell = e * r + splat(1.f);
}
#endif

// The normal distribution's tail at a = |x|, which is 1 - Phi(a): bell 2^n p / q, the quotient fitted here to 2e-8 up to
// 14.5, beyond which neither the tail nor a times it is a number that float32 has.
INLINE void normal_tail(vec x, vec *a, vec *bell, vec *n, vec *p, vec *q) {
    *a = vmin(splat(14.5f), vabs(x));
    bell_curve(*a, bell, n);
    vec up = splat(4.116308410e-3f), down = splat(1.031793561e-2f);
    up = up * *a + splat(4.063321650e-2f);
    down = down * *a + splat(1.018588170e-1f);
    up = up * *a + splat(1.832351089e-1f);
    down = down * *a + splat(4.694705307e-1f);
    up = up * *a + splat(4.382948875e-1f);
    down = down * *a + splat(1.202502966e+0f);
    *p = up * *a + splat(0.5f);
    down = down * *a + splat(1.674474716e+0f);
    *q = down * *a + splat(1.f);
}

// x Phi(x): x or 0, less |x| times the tail. 7 ulp.
INLINE vec vgelu(vec x) {
    vec a, bell, n, p, q;
    normal_tail(x, &a, &bell, &n, &p, &q);
    return (x - vmin((vec){0}, x)) - scale_by_power(a * bell * p / q, n); // of -infinity NaN, as the formula has it
}

// Its derivative, Phi(x) + x e^(-x^2/2) / sqrt(2 pi).
INLINE vec vgelu_slope(vec x) {
    vec a, bell, n, p, q;
    normal_tail(x, &a, &bell, &n, &p, &q);
    vec below = scale_by_power(bell * (p / q - splat(0.398942280f) * a), n);
    return blend((ivec)x >> 31, below, splat(1.f) - below);
}

// ---- logarithms ----

// log(1 + f) - f for 1 + f in sqrt(1/2) ... sqrt(2).
INLINE vec log_tail(vec f) {
    vec z = f * f, p = splat(7.0376836292e-2f);
    p = p * f + splat(-1.1514610310e-1f);
    p = p * f + splat(1.1676998740e-1f);
    p = p * f + splat(-1.2420140846e-1f);
    p = p * f + splat(1.4249322787e-1f);
    p = p * f + splat(-1.6668057665e-1f);
    p = p * f + splat(2.0000714765e-1f);
    p = p * f + splat(-2.4999993993e-1f);
    p = p * f + splat(3.3333331174e-1f);
    return p * f * z - splat(0.5f) * z;
}

INLINE vec vlog(vec x) { // 1 ulp
    ivec tiny = (ivec)(x < splat(1.17549435e-38f));
    vec m = blend(tiny, x * splat(33554432.f), x); // 2^25
    ivec bits = (ivec)m - isplat(0x3f3504f3), e = bits >> 23; // sqrt(1/2)
    vec n = __builtin_convertvector(e + (tiny & isplat(-25)), vec);
    vec f = (vec)((bits & isplat(0x7fffff)) + isplat(0x3f3504f3)) - splat(1.f);
    vec y = f + (log_tail(f) + n * splat(-2.12194440e-4f)) + n * splat(0.693359375f);
    y = blend((ivec)(x == splat(INFINITY)) | (ivec)(x != x), x, y);
    y = blend((ivec)(x == 0), splat(-INFINITY), y);
    return blend((ivec)(x < 0), splat(NAN), y);
}

// log(1 + x) for 0 <= x <= 1. 2 ulp.
INLINE vec vlog1p(vec x) {
    ivec big = (ivec)(x > splat(0.41421356f)); // then 2 (1 + (x - 1) / 2)
    vec f = blend(big, (x - splat(1.f)) * splat(0.5f), x);
    return f + log_tail(f) + (vec)(big & (ivec)splat(0.693147181f));
}

// ---- sine and cosine ----

// sin and cos of r for |r| <= pi / 4, turned by q quarter circles. 2 ulp.
INLINE vec turned_sine(vec r, ivec q) {
    vec z = r * r;
    vec s = splat(-1.9515295891e-4f);
    s = s * z + splat(8.3321608736e-3f);
    s = s * z + splat(-1.6666654611e-1f);
    s = s * z * r + r;
    vec c = splat(2.443315711809948e-5f);
    c = c * z + splat(-1.388731625493765e-3f);
    c = c * z + splat(4.166664568298827e-2f);
    c = c * (z * z) - splat(0.5f) * z + splat(1.f);
    vec y = blend((ivec)((q & 1) != 0), c, s);
    return (vec)((ivec)y ^ ((q & 2) << 30));
}

// sin(x + quarter pi / 2): by polynomials up to |x| = 8192, beyond that libm with its long reduction. 3 ulp.
INLINE vec sine_from(vec v, int quarter) {
    const vec magic = splat(12582912.f);
    ivec far = ~(ivec)(vabs(v) < splat(8192.f));
    if (__builtin_expect(any_lane(far), 0)) { EACH_LANE(quarter ? cosf(x) : sinf(x)); }
    vec n = (v * splat(0.636619772f) + magic) - magic;
    vec r = v - n * splat(1.5703125f);
    r = r - n * splat(4.837512969970703125e-4f);
    r = r - n * splat(7.549533620476723e-8f);
    r = r - n * splat(2.5633440682570896e-12f);
    return turned_sine(r, __builtin_convertvector(n, ivec) + quarter);
}
INLINE vec vsin(vec x) { return sine_from(x, 0); }
INLINE vec vcos(vec x) { return sine_from(x, 1); }

// sin and cos of 2 pi u for 0 <= u < 1, whose reduction is exact. 2 ulp.
INLINE void vsincos_turns(vec u, vec *sine, vec *cosine) {
    const vec magic = splat(12582912.f);
    vec n = (splat(4.f) * u + magic) - magic;
    ivec q = __builtin_convertvector(n, ivec);
    vec r = (splat(4.f) * u - n) * splat(1.57079633f);
    *sine = turned_sine(r, q);
    *cosine = turned_sine(r, q + 1);
}

// ---- powers ----

// a^b in double: b log2 a needs 24 bits behind its point besides 8 before it. 1 ulp; for a zero, infinite, NaN or not
// normal, or b beyond 2^20, libm.
typedef double dvec __attribute__((vector_size(VBYTES)));
typedef int64_t livec __attribute__((vector_size(VBYTES)));
typedef float halfvec __attribute__((vector_size(VBYTES / 2)));

INLINE dvec double_pow(dvec m, dvec n, dvec b) { // (m 2^n)^b, m near 1
    dvec s = (m - 1) / (m + 1), z = s * s; // log2 m = 2 / ln 2 (s + s^3 / 3 + s^5 / 5 ...), |s| < 0.172
    dvec p = z * (1 / 13.) + 1 / 11.;
    p = p * z + 1 / 9.;
    p = p * z + 1 / 7.;
    p = p * z + 1 / 5.;
    p = p * z + 1 / 3.;
    p = (p * z * s + s) * 2.8853900817779268;
    dvec t = (n + p) * b;
    const dvec top = (dvec){0} + 200, magic = (dvec){0} + 0x1.8p52;
    t = (dvec)(((livec)(t > top) & (livec)top) | (~(livec)(t > top) & (livec)t));
    t = (dvec)(((livec)(t < -top) & (livec)-top) | (~(livec)(t < -top) & (livec)t));
    dvec shifted = t + magic, f = (t - (shifted - magic)) * 0.69314718055994531; // e^f, |f| < 0.347
    livec power = ((livec)shifted - (livec)magic + 1023) << 52;
    p = f * (1 / 40320.) + 1 / 5040.;
    p = p * f + 1 / 720.;
    p = p * f + 1 / 120.;
    p = p * f + 1 / 24.;
    p = p * f + 1 / 6.;
    p = p * f + 0.5;
    p = p * f + 1;
    p = p * f + 1;
    return p * (dvec)power;
}

static NOINLINE __attribute__((unused)) vec vpow(vec v, vec b) {
    vec size = vabs(v);
    ivec odd_case = ~((ivec)(size >= splat(1.17549435e-38f)) & (ivec)(size < splat(INFINITY)) &
                      (ivec)(vabs(b) < splat(1048576.f)));
    if (__builtin_expect(any_lane(odd_case), 0)) { EACH_LANE(powf(x, b[i])); }

    ivec bits = (ivec)size - isplat(0x3f3504f3);
    union { vec whole; halfvec half[2]; } n, m, exponent = {b}, y;
    n.whole = __builtin_convertvector(bits >> 23, vec);
    m.whole = (vec)((bits & isplat(0x7fffff)) + isplat(0x3f3504f3));
    for (int i = 0; i < 2; i++) {
        dvec power = double_pow(__builtin_convertvector(m.half[i], dvec), __builtin_convertvector(n.half[i], dvec),
                                __builtin_convertvector(exponent.half[i], dvec));
        y.half[i] = __builtin_convertvector(power, halfvec);
    }
    ivec whole = __builtin_convertvector(b, ivec), negative = (ivec)(v < 0);
    y.whole = (vec)((ivec)y.whole ^ (negative & (whole << 31)));
    return blend(negative & (ivec)(__builtin_convertvector(whole, vec) != b), splat(NAN), y.whole);
}

#else

INLINE vec vexp(vec v) { EACH_LANE(exp(x)); }
INLINE vec vexp_below(vec v) { return vexp(v); }
INLINE vec vexpm1(vec v) { EACH_LANE(expm1(x)); }
INLINE vec vsigmoid(vec v) { EACH_LANE(1 / (1 + exp(-x))); }
INLINE vec vtanh(vec v) { EACH_LANE(tanh(x)); }
INLINE vec vlog(vec v) { EACH_LANE(log(x)); }
INLINE vec vlog1p(vec v) { EACH_LANE(log1p(x)); }
INLINE vec vsin(vec v) { EACH_LANE(sin(x)); }
INLINE vec vcos(vec v) { EACH_LANE(cos(x)); }
INLINE vec vpow(vec v, vec b) { EACH_LANE(pow(x, b[i])); }

INLINE vec vgelu(vec v) { EACH_LANE(x * 0.5 * erfc(x * -0.70710678118654752)); }
INLINE vec vgelu_slope(vec v) {
    EACH_LANE(0.5 * erfc(x * -0.70710678118654752) + x * exp(-0.5 * x * x) * 0.3989422804014327);
}

INLINE void vsincos_turns(vec u, vec *sine, vec *cosine) {
    for (int i = 0; i < LANES; i++) {
        (*sine)[i] = sin(6.283185307179586 * u[i]);
        (*cosine)[i] = cos(6.283185307179586 * u[i]);
    }
}

#endif
