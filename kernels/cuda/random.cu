// Random fills and dropout: Philox 4x32-10 (Salmon et al. 2011), the same bits as every other engine.
//
// Plain version: a stateful generator per thread, whose numbers depend on how many threads there are. Here a block of four
// words is a function of seed and block number alone, so a thread makes one in registers, ten rounds of two 32-bit
// products, and turns it into four neighbouring elements, written at once where the array's address allows. Dropout stores
// no mask: the backward draws the same bits again.
//
// A fill is bound by memory, one number written per element, with about 40 integer operations each beside it.

__device__ __forceinline__ void philox(unsigned long long block, unsigned long long seed, unsigned* words) {
    unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32), c2 = 0, c3 = 0;
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

__device__ __forceinline__ REAL unit(unsigned word) { return REAL(word >> 8) * REAL(1.0 / 16777216); }

// a + b c rounded twice, as the CPU engines do: a fused multiply-add would differ in the last bit.
__device__ __forceinline__ float scaled(float a, float b, float c) { return __fadd_rn(a, __fmul_rn(b, c)); }
__device__ __forceinline__ double scaled(double a, double b, double c) { return __dadd_rn(a, __dmul_rn(b, c)); }

__device__ __forceinline__ bool whole(const REAL* p, long long i, long long n) {
    return i + 4 <= n && (unsigned long long)(p + i) % sizeof(Four) == 0;
}

// y[i …] from the four values, as far as the array goes.
__device__ __forceinline__ void store(REAL* y, long long i, long long n, const Four& four) {
    if (whole(y, i, n)) {
        *(Four*)(y + i) = four;
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (i + j < n) y[i + j] = four.of[j];
}

extern "C" __global__ void random_uniform(
    REAL* y, long long n, REAL low, REAL span, unsigned long long seed, unsigned long long offset) {
    long long block = thread();
    if (4 * block >= n) return;
    unsigned words[4];
    philox(offset + block, seed, words);
    Four four;
#pragma unroll
    for (int j = 0; j < 4; j++) four.of[j] = scaled(low, span, unit(words[j]));
    store(y, 4 * block, n, four);
}

// Box-Muller. The angle stays a fraction of a turn until sine and cosine take it, which loses nothing to π.
extern "C" __global__ void random_normal(
    REAL* y, long long n, REAL mean, REAL stddev, unsigned long long seed, unsigned long long offset) {
    long long block = thread();
    if (4 * block >= n) return;
    unsigned words[4];
    philox(offset + block, seed, words);
    Four four;
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        REAL radius = sqrt(REAL(-2) * log(unit(words[j]) + REAL(1.0 / 16777216))), sine, cosine;
        sincospi(2 * unit(words[j + 1]), &sine, &cosine);
        four.of[j] = mean + stddev * (radius * cosine);
        four.of[j + 1] = mean + stddev * (radius * sine);
    }
    store(y, 4 * block, n, four);
}

// threshold is ⌈rate · 2²⁴⌉, kept is 1 − rate.
extern "C" __global__ void dropout(
    const REAL* x, REAL* y, long long n, unsigned int threshold, REAL kept, unsigned long long seed,
    unsigned long long offset) {
    long long block = thread(), i = 4 * block;
    if (i >= n) return;
    unsigned words[4];
    philox(offset + block, seed, words);
    Four four;
    if (whole(x, i, n)) {
        four = *(const Four*)(x + i);
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) four.of[j] = i + j < n ? x[i + j] : REAL(0);
    }
#pragma unroll
    for (int j = 0; j < 4; j++) four.of[j] = words[j] >> 8 >= threshold ? four.of[j] / kept : REAL(0);
    store(y, i, n, four);
}
