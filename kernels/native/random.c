// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011).
//
// The plain version computes one block of four words at a time: ten rounds of two 32 x 32 bit products. A block is a
// function of its number alone, so here a vector holds one word of as many blocks as it has 64-bit lanes (where the
// products are single instructions), threads take chunks of blocks, and all get the bits the plain version gets.
//
// A round is two products, two shifts and two exclusive ors of three, each waiting for the one before: 60 instructions
// for the words of a vector's lanes and hardly any at once. So GROUPS vectors go through the rounds side by side, and
// what is drawn is made of their words while they are in registers, so that memory works meanwhile. On a Zen 4 core
// AVX-512 brings a word in 0.4 ns, where the instructions themselves would need 0.3 and one vector after the other, with
// the words kept for a second loop, took 0.6: dropout now runs at three quarters of the speed of copying.
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

typedef uint64_t wide __attribute__((vector_size(VBYTES)));
typedef uint32_t word_pairs __attribute__((vector_size(VBYTES)));
typedef uint64_t unaligned_wide __attribute__((vector_size(VBYTES), aligned(4), may_alias));
enum {
    WIDE = VBYTES / 8,
    GROUPS = 4,
    STEP = 4 * WIDE * GROUPS, // words at a time
    ROUNDS = 10,
    BESIDE = VBYTES == 64, // whether there are registers to divide what survives dropout between the rounds
    SHARE = (STEP / LANES + ROUNDS - 2) / (ROUNDS - 1) * LANES, // of it, after each round but the last
};

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

typedef struct {
    const REAL *x;
    REAL *y;
    REAL a, b; // low and span, mean and deviation, or what survivors are divided by
    uint64_t seed, offset;
    int32_t threshold;
    int past;
} random_job;

// The STEP words from `block` on. near: the blocks' numbers have the same high half, so that half of two rounds is the
// same for all. Where there are x, what survives dropout, they are divided meanwhile, some in each round.
INLINE void philox_step(const random_job *job, uint64_t block, const int near, const REAL *x, uint32_t words[STEP],
                        REAL divided[STEP]) {
    const wide low_half = wide_splat(0xffffffff);
    wide lanes, first, second, c0[GROUPS], c1[GROUPS], c2[GROUPS], c3[GROUPS], p0[GROUPS], p1[GROUPS];
    word_pairs swapped; // `first` and `second` interleave two vectors, `swapped` exchanges the halves of lanes
    uint32_t k0 = (uint32_t)job->seed, k1 = (uint32_t)(job->seed >> 32);
    for (int i = 0; i < WIDE; i++) {
        lanes[i] = i;
        first[i] = i / 2 + i % 2 * WIDE;
        second[i] = i / 2 + i % 2 * WIDE + WIDE / 2;
        swapped[2 * i] = 2 * i + 1;
        swapped[2 * i + 1] = 2 * i;
    }
#define EACH_GROUP _Pragma("GCC unroll 4") for (int g = 0; g < GROUPS; g++)
    // Of each lane the low half counts: the high half may hold anything.
    EACH_GROUP {
        c0[g] = wide_splat(block + g * WIDE) + lanes;
        c1[g] = near ? wide_splat(block >> 32) : c0[g] >> 32;
        c2[g] = c3[g] = (wide){0};
    }
#pragma GCC unroll 9
    for (int round = 0; round < ROUNDS - 1; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
        EACH_GROUP p0[g] = multiply(wide_splat(0xD2511F53), c0[g]);
        EACH_GROUP p1[g] = multiply(wide_splat(0xCD9E8D57), c2[g]);
        EACH_GROUP c0[g] = (p1[g] >> 32) ^ c1[g] ^ wide_splat(k0);
        EACH_GROUP c2[g] = (p0[g] >> 32) ^ c3[g] ^ wide_splat(k1);
        EACH_GROUP c1[g] = p1[g];
        EACH_GROUP c3[g] = p0[g];
        for (int j = round * SHARE; BESIDE && x && j < STEP && j < (round + 1) * SHARE; j += LANES)
            store(divided + j, load_from(x + j, job->past) / splat(job->a));
    }
    EACH_GROUP p0[g] = multiply(wide_splat(0xD2511F53), c0[g]);
    EACH_GROUP p1[g] = multiply(wide_splat(0xCD9E8D57), c2[g]);
    EACH_GROUP c0[g] = (wide)__builtin_shuffle((word_pairs)p1[g], swapped) ^ (c1[g] & low_half) ^ wide_splat(k0);
    EACH_GROUP c2[g] = (wide)__builtin_shuffle((word_pairs)p0[g], swapped) ^ (c3[g] & low_half) ^ wide_splat(k1);
    EACH_GROUP {
        *(unaligned_wide *)(words + 4 * WIDE * g) = __builtin_shuffle(c0[g], c2[g], first);
        *(unaligned_wide *)(words + 4 * WIDE * g + 2 * WIDE) = __builtin_shuffle(c0[g], c2[g], second);
    }
#undef EACH_GROUP
}

// LANES words' first 24 bits.
typedef uint32_t some_words __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t some_bits __attribute__((vector_size(4 * LANES)));
INLINE some_bits bits_of(const uint32_t *words) { return (some_bits)(*(const some_words *)words >> 8); }

INLINE vec unit(const uint32_t *words) { return __builtin_convertvector(bits_of(words), vec) * splat((REAL)0x1p-24); }

// What survives dropout, divided before the rounds, which keep the multipliers busy and not the divider (8 %; between them
// 10 % more).
INLINE void divide(const random_job *g, long i, long count, REAL divided[STEP]) {
    for (long j = 0; j < count; j += LANES) {
        const REAL *x = g->x + i + j;
        store(divided + j, (count - j >= LANES ? load_from(x, g->past) : load_part(x, count - j)) / splat(g->a));
    }
}

// y[i ...] from STEP words, all of them or `count`; `divided`: dropout's.
typedef void (*drawing)(const random_job *g, const uint32_t words[STEP], const REAL divided[STEP], long i, long count);

// The n elements from `first`, a multiple of 4.
INLINE void draw(const random_job *job, long first, long n, drawing drawn, const int divides) {
    const random_job own = *job, *g = &own; // which no store to y can change
    long i = first, end = first + n;
    uint64_t block = g->offset + (uint64_t)(first / 4);
    for (; i < end; i += STEP, block += STEP / 4) {
        uint32_t words[STEP];
        REAL divided[STEP];
        const REAL *x = BESIDE && divides && i + STEP <= end ? g->x + i : NULL;
        if (divides && !x) divide(g, i, min_l(STEP, end - i), divided);
        if ((uint32_t)block <= UINT32_MAX - STEP / 4) philox_step(g, block, 1, x, words, divided);
        else philox_step(g, block, 0, x, words, divided);
        if (i + STEP <= end) drawn(g, words, divided, i, STEP);
        else drawn(g, words, divided, i, end - i);
    }
}

INLINE void put(REAL *y, vec v, long count, int past) {
    if (count >= LANES) store_to(y, v, past);
    else store_part(y, v, count);
}

INLINE void uniform_of(const random_job *g, const uint32_t words[STEP], const REAL divided[STEP], long i, long count) {
    (void)divided;
    for (long j = 0; j < count; j += LANES)
        put(g->y + i + j, splat(g->a) + splat(g->b) * unit(words + j), count - j, g->past);
}

INLINE void dropout_of(const random_job *g, const uint32_t words[STEP], const REAL divided[STEP], long i, long count) {
    for (long j = 0; j < count; j += LANES) {
        some_bits kept = bits_of(words + j) >= g->threshold;
        put(g->y + i + j, (vec)(__builtin_convertvector(kept, ivec) & (ivec)load(divided + j)), count - j, g->past);
    }
}

INLINE void normal_of(const random_job *g, const uint32_t words[STEP], const REAL divided[STEP], long i, long count) {
    (void)divided;
    const vec mean = splat(g->a), deviation = splat(g->b);
    REAL u0[STEP / 2], u1[STEP / 2], normal[STEP];
    uint32_t of0[STEP / 2], of1[STEP / 2];
    for (int j = 0; j < STEP / 2; j++) {
        of0[j] = words[2 * j];
        of1[j] = words[2 * j + 1];
    }
    for (int j = 0; j < STEP / 2; j += LANES) {
        vec sine, cosine;
        vec radius = vsqrt(splat(-2) * vlog(unit(of0 + j) + splat((REAL)0x1p-24)));
        vsincos_turns(unit(of1 + j), &sine, &cosine);
        store(u0 + j, mean + deviation * (radius * cosine));
        store(u1 + j, mean + deviation * (radius * sine));
    }
    for (int j = 0; j < STEP / 2; j++) {
        normal[2 * j] = u0[j];
        normal[2 * j + 1] = u1[j];
    }
    for (long j = 0; j < count; j += LANES) put(g->y + i + j, load(normal + j), count - j, g->past);
}

static void uniform_chunk(void *job, long first, long n) { draw(job, first, n, uniform_of, 0); }
static void dropout_chunk(void *job, long first, long n) { draw(job, first, n, dropout_of, 1); }
static void normal_chunk(void *job, long first, long n) { draw(job, first, n, normal_of, 0); }

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
