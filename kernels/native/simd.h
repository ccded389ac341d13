// Vectors for whatever this file is compiled for: REAL (float or double) in registers of VBYTES.
//
// Every kernel source is compiled once per instruction set and precision (setup.py: ISA, REAL_BITS); it is written
// with the compiler's vector types, so the same text serves SSE2, AVX2, AVX-512 and NEON.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "threads.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if REAL_BITS == 32
#define REAL float
typedef int32_t INT;
#define PRECISION f32
#else
#define REAL double
typedef int64_t INT;
#define PRECISION f64
#endif

#ifndef VBYTES
#if defined(__AVX512F__)
#define VBYTES 64
#elif defined(__AVX__)
#define VBYTES 32
#else
#define VBYTES 16
#endif
#endif

// name -> name_avx2_f32: what lets all builds live in one library.
#define NAME_(name, isa, precision) name##_##isa##_##precision
#define NAME__(name, isa, precision) NAME_(name, isa, precision)
#define NAME(name) NAME__(name, ISA, PRECISION)

#if defined(__SANITIZE_ADDRESS__) // the checks make every copy of a tile many times larger: minutes of compiling
#define INLINE static inline
#else
#define INLINE static inline __attribute__((always_inline))
#endif
#define NOINLINE __attribute__((noinline))

typedef REAL vec __attribute__((vector_size(VBYTES)));
typedef INT ivec __attribute__((vector_size(VBYTES)));
typedef REAL unaligned_vec __attribute__((vector_size(VBYTES), aligned(sizeof(REAL)), may_alias));

enum { LANES = VBYTES / sizeof(REAL) };

INLINE vec load(const REAL *p) { return *(const unaligned_vec *)p; }
INLINE void store(REAL *p, vec v) { *(unaligned_vec *)p = v; }
INLINE vec splat(REAL x) { return x - (vec){0}; }
INLINE ivec isplat(INT x) { return x + (ivec){0}; }

// Lanes of a where mask is all ones, of b where it is zero.
INLINE vec blend(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

// Both return b where either is NaN, so put the constant first to let a NaN through.
#if VBYTES == 64 && defined(__AVX512F__) && REAL_BITS == 32
INLINE vec vmax(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vec vmin(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
#elif VBYTES == 32 && defined(__AVX__) && REAL_BITS == 32
INLINE vec vmax(vec a, vec b) { return (vec)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vec vmin(vec a, vec b) { return (vec)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INLINE vec vmax(vec a, vec b) { return blend((ivec)(a > b), a, b); }
INLINE vec vmin(vec a, vec b) { return blend((ivec)(a < b), a, b); }
#endif

INLINE REAL sum_lanes(vec v) {
    REAL s = 0;
    for (int i = 0; i < LANES; i++) s += v[i];
    return s;
}

// The first n < LANES lanes, for the ends of rows; the rest of a loaded vector is zero. No byte beyond them is touched.
#if VBYTES == 64 && REAL_BITS == 32 && defined(__AVX512F__)
INLINE vec load_part(const REAL *p, long n) { return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void store_part(REAL *p, vec v, long n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
#elif VBYTES == 32 && defined(__AVX2__)
INLINE ivec first_lanes(long n) {
#if REAL_BITS == 32
    return (ivec){0, 1, 2, 3, 4, 5, 6, 7} < isplat((INT)n);
#else
    return (ivec){0, 1, 2, 3} < isplat((INT)n);
#endif
}
#if REAL_BITS == 32
INLINE vec load_part(const REAL *p, long n) { return (vec)_mm256_maskload_ps(p, (__m256i)first_lanes(n)); }
INLINE void store_part(REAL *p, vec v, long n) { _mm256_maskstore_ps(p, (__m256i)first_lanes(n), (__m256)v); }
#else
INLINE vec load_part(const REAL *p, long n) { return (vec)_mm256_maskload_pd(p, (__m256i)first_lanes(n)); }
INLINE void store_part(REAL *p, vec v, long n) { _mm256_maskstore_pd(p, (__m256i)first_lanes(n), (__m256d)v); }
#endif
#else
INLINE vec load_part(const REAL *p, long n) {
    vec v = {0};
    for (long i = 0; i < n; i++) v[i] = p[i];
    return v;
}
INLINE void store_part(REAL *p, vec v, long n) {
    for (long i = 0; i < n; i++) p[i] = v[i];
}
#endif

// n elements of x added to those of sums.
INLINE void add_row(long n, const REAL *x, REAL *sums) {
    long j = 0;
    for (; j + LANES <= n; j += LANES) store(sums + j, load(sums + j) + load(x + j));
    for (; j < n; j++) sums[j] += x[j];
}

// LANES bytes as whole numbers, and back. GCC takes its own conversions byte by byte.
INLINE ivec load_bytes(const uint8_t *p) {
#if defined(__AVX512F__) && VBYTES == 64 && REAL_BITS == 32
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(__AVX2__) && VBYTES == 32 && REAL_BITS == 32
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#elif defined(__SSE2__) && VBYTES == 16 && REAL_BITS == 32
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const __m128i zero = _mm_setzero_si128();
    return (ivec)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
#else
    ivec v;
    for (int i = 0; i < LANES; i++) v[i] = p[i];
    return v;
#endif
}
INLINE void store_bytes(uint8_t *p, ivec v) {
#if defined(__AVX512F__) && VBYTES == 64 && REAL_BITS == 32
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
#elif defined(__AVX2__) && VBYTES == 32 && REAL_BITS == 32
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
#elif defined(__SSE2__) && VBYTES == 16 && REAL_BITS == 32
    __m128i words = _mm_packs_epi32((__m128i)v, (__m128i)v);
    int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    __builtin_memcpy(p, &four, sizeof four);
#else
    for (int i = 0; i < LANES; i++) p[i] = (uint8_t)v[i];
#endif
}

// The first `part` lanes, or all if that is 0.
INLINE vec load_some(const REAL *p, long part) { return part ? load_part(p, part) : load(p); }
INLINE void store_some(REAL *p, vec v, long part) {
    if (part) store_part(p, v, part);
    else store(p, v);
}

// As many lanes as there are elements left.
INLINE vec load_left(const REAL *p, long left) { return left >= LANES ? load(p) : load_part(p, left); }
INLINE void store_left(REAL *p, vec v, long left) {
    if (left >= LANES) store(p, v);
    else store_part(p, v, left);
}

// Intel's servers multiply twice as fast as a Zen 4, and reach their L3 across a mesh.
INLINE int is_intel_server(void) {
#if defined(__x86_64__) && VBYTES == 64
    return __builtin_cpu_is("intel");
#else
    return 0;
#endif
}

// ---- results that go past the caches ----
// Else each of their lines would be read before it is written: a copy moves three lines for two. Not for what is read
// again soon, and not for what has just been read: so only for large results that are none of the inputs.

// Where the threads' cores share no cache they are the better way for smaller ones, too: to write a line that another core
// has read means to wait until it has given it up, on a Zen 4 at 2.4 GB/s; past the caches it is 25.

enum { STREAM_BYTES = 16 << 20, APART_BYTES = 64 << 10 };

// Bytes from which results go past the caches; `together`: where the cores share one. ALWAYS_PAST is for tests: all that
// may go past the caches does, however small, and its addresses are checked.
INLINE long past_from(long together) {
#ifdef ALWAYS_PAST
    (void)together;
    return 0;
#else
    return pool_is_apart() ? APART_BYTES : together;
#endif
}

// `elements`: of the result and of all inputs.
INLINE int goes_past(long elements, const void *result) {
    return elements * (long)sizeof(REAL) >= past_from(STREAM_BYTES) && (uintptr_t)result % VBYTES == 0;
}

// Whether pixels of so many channels can be stored past the caches vector by vector: a vector must be a whole line.
INLINE int are_whole_lines(long channels, const void *pixels) {
    return VBYTES == 64 && channels % LANES == 0 && (uintptr_t)pixels % VBYTES == 0;
}

// To an address aligned to VBYTES.
INLINE void store_past(REAL *p, vec v) {
#if defined(ALWAYS_PAST)
    if ((uintptr_t)p % VBYTES) __builtin_trap();
    store(p, v);
#elif defined(__AVX512F__) && VBYTES == 64
    _mm512_stream_si512((__m512i *)p, (__m512i)v);
#elif defined(__AVX__) && VBYTES == 32
    _mm256_stream_si256((__m256i *)p, (__m256i)v);
#elif defined(__SSE2__) && VBYTES == 16
    _mm_stream_si128((__m128i *)p, (__m128i)v);
#else
    store(p, v);
#endif
}
INLINE void store_to(REAL *p, vec v, const int past) {
    if (past) store_past(p, v);
    else store(p, v);
}

// A vector of a large input, read in order; what comes READ_AHEAD bytes later is asked for meanwhile. The processor's own
// prefetcher begins anew on every page of 4 KB, and where a loop computes, too few loads are under way to bridge that.
enum { READ_AHEAD = 2048 };
INLINE void ask_ahead(const void *p, const int large) {
    if (large) __builtin_prefetch((const char *)p + READ_AHEAD);
}
INLINE vec load_from(const REAL *p, const int large) {
    ask_ahead(p, large);
    return load(p);
}

// Into the second cache only: for what is read a row later, or from several places at once, which the first does not hold
// until then (two Zen 4 cores from memory: pooling 1.3 times faster, gradients of rows 1.2, sums of two arrays 1.1; a loop
// that computes much from one array takes 1.1 times as long so).
INLINE void ask_near(const void *p, const int large) {
    if (large) __builtin_prefetch((const char *)p + READ_AHEAD, 0, 2);
}

// What was stored past the caches comes before what follows.
INLINE void finish_stores(void) {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

// x, of which the compiler knows nothing before this place: so it computes nothing from it earlier.
INLINE long hidden(long x) {
#if defined(__GNUC__)
    __asm__("" : "+r"(x));
#endif
    return x;
}

INLINE long min_l(long a, long b) { return a < b ? a : b; }
INLINE long max_l(long a, long b) { return a > b ? a : b; }
INLINE long div_up(long a, long b) { return (a + b - 1) / b; }
INLINE long round_up(long a, long b) { return div_up(a, b) * b; }
