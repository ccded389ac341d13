// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011).
//
// The plain version computes one block of four words at a time: ten rounds of two 32 x 32 bit products. A block is a
// function of its number alone, so here a vector holds one word of as many blocks as it has 64-bit lanes (where the
// products are single instructions), threads take chunks of blocks, and all get the bits the plain version gets.
// About 3 integer operations per word and round; uniforms and masks are made from a slab of words in L1.
//
// The values are to be the same on every engine, so a * b + c must round twice, as written:
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#include "random.h"
#include "flat.h"
#include "vmath.h"

enum { SLAB = 512 }; // words at a time

typedef uint64_t wide __attribute__((vector_size(VBYTES)));
typedef uint64_t unaligned_wide __attribute__((vector_size(VBYTES), aligned(4), may_alias));
enum { WIDE = VBYTES / 8 };

// The products of the lanes' low halves.
INLINE wide multiply(wide a, wide b) {
#if defined(__AVX512F__) && VBYTES == 64
    return (wide)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && VBYTES == 32
    return (wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && VBYTES == 16
    return (wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

INLINE wide wide_splat(uint64_t x) { return x + (wide){0}; }

// The words of `blocks` blocks, rounded up to whole vectors, from `block` on.
static void philox(uint32_t words[SLAB], long blocks, uint64_t seed, uint64_t block) {
    wide lanes, first, second; // `first` and `second` interleave two vectors
    for (int i = 0; i < WIDE; i++) {
        lanes[i] = i;
        first[i] = i / 2 + i % 2 * WIDE;
        second[i] = i / 2 + i % 2 * WIDE + WIDE / 2;
    }
    for (int b = 0; b < blocks; b += WIDE) {
        // Of each lane the low half counts: the high half may hold anything.
        wide c0 = wide_splat(block + b) + lanes, c1 = c0 >> 32, c2 = {0}, c3 = {0};
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
            wide p0 = multiply(wide_splat(0xD2511F53), c0), p1 = multiply(wide_splat(0xCD9E8D57), c2);
            c0 = (p1 >> 32) ^ c1 ^ wide_splat(k0);
            c1 = p1;
            c2 = (p0 >> 32) ^ c3 ^ wide_splat(k1);
            c3 = p0;
        }
        wide low = (c0 & 0xffffffff) | c1 << 32, high = (c2 & 0xffffffff) | c3 << 32;
        *(unaligned_wide *)(words + 4 * b) = __builtin_shuffle(low, high, first);
        *(unaligned_wide *)(words + 4 * b + 2 * WIDE) = __builtin_shuffle(low, high, second);
    }
}

INLINE REAL unit(uint32_t word) { return (REAL)(int32_t)(word >> 8) * (REAL)0x1p-24; }

typedef struct {
    const REAL *x;
    REAL *y;
    REAL a, b; // low and span, mean and deviation, or what survivors are divided by
    uint64_t seed, offset;
    int32_t threshold;
    int past;
} random_job;

// Runs over n elements from `first`, a multiple of 4, in slabs: `words` for the `count` elements from i on.
#define EACH_SLAB                                                                                                      \
    uint32_t words[SLAB];                                                                                              \
    for (long i = first, count; i < first + n; i += count)                                                             \
        if (count = min_l(SLAB, first + n - i), philox(words, div_up(count, 4), g->seed, g->offset + (uint64_t)(i / 4)), 1)

INLINE void put_slab(REAL *y, const REAL *slab, long count, int past) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) store_to(y + i, load(slab + i), past);
    if (i < count) store_part(y + i, load_part(slab + i, count - i), count - i);
}

static void uniform_chunk(void *job, long first, long n) {
    const random_job *g = job;
    EACH_SLAB {
        REAL uniform[SLAB];
        for (long j = 0; j < count; j++) uniform[j] = g->a + g->b * unit(words[j]);
        put_slab(g->y + i, uniform, count, g->past);
    }
}

static void dropout_chunk(void *job, long first, long n) {
    const random_job *g = job;
    EACH_SLAB {
        const REAL *x = g->x + i;
        REAL *y = g->y + i;
        REAL kept[SLAB]; // x / a or 0: apart from y, which may be x
        for (long j = 0; j < count; j++) {
            REAL survivor = x[j] / g->a;
            kept[j] = (int32_t)(words[j] >> 8) >= g->threshold ? survivor : 0;
        }
        put_slab(y, kept, count, g->past);
    }
}

static void normal_chunk(void *job, long first, long n) {
    const random_job *g = job;
    const vec mean = splat(g->a), deviation = splat(g->b);
    EACH_SLAB {
        REAL u0[SLAB / 2] = {0}, u1[SLAB / 2] = {0}, normal[SLAB];
        for (int j = 0; 2 * j < count; j++) {
            u0[j] = unit(words[2 * j]);
            u1[j] = unit(words[2 * j + 1]);
        }
        for (int j = 0; 2 * j < count; j += LANES) {
            vec sine, cosine;
            vec radius = vsqrt(splat(-2) * vlog(load(u0 + j) + splat((REAL)0x1p-24)));
            vsincos_turns(load(u1 + j), &sine, &cosine);
            store(u0 + j, mean + deviation * (radius * cosine));
            store(u1 + j, mean + deviation * (radius * sine));
        }
        for (int j = 0; 2 * j < count; j++) {
            normal[2 * j] = u0[j];
            normal[2 * j + 1] = u1[j];
        }
        put_slab(g->y + i, normal, count, g->past);
    }
}

static void random_uniform(long n, void *y, double low, double high, uint64_t seed, uint64_t offset) {
    random_job g = {.y = y, .a = (REAL)low, .b = (REAL)(high - low), .seed = seed, .offset = offset,
                    .past = goes_past(n, y)};
    flat_for(n, 2, uniform_chunk, &g);
}

static void random_normal(long n, void *y, double mean, double stddev, uint64_t seed, uint64_t offset) {
    random_job g = {.y = y, .a = (REAL)mean, .b = (REAL)stddev, .seed = seed, .offset = offset,
                    .past = goes_past(n, y)};
    flat_for(n, 4, normal_chunk, &g);
}

static void dropout(long n, const void *x, void *y, double rate, uint64_t seed, uint64_t offset) {
    random_job g = {.x = x, .y = y, .a = (REAL)(1 - rate), .seed = seed, .offset = offset,
                    .threshold = (int32_t)ceil(rate * 0x1p24), .past = x != y && goes_past(2 * n, y)};
    flat_for(n, 2, dropout_chunk, &g);
}

const random_kernels NAME(random_kernels) = {random_uniform, random_normal, dropout};
