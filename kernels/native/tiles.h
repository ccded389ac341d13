// Registers of 16 rows by 64 bytes and the product of two of them (Intel AMX: "Intel 64 and IA-32 Architectures Software
// Developer's Manual", volume 1, chapter 18), or the same in plain C for tests (EMULATE_TILES).
//
//     tile_multiply(c, a, b): c[i][j] += sum over p < 32 of a[i][p] b[p / 2][2 j + p % 2], c in float, a and b in bfloat16,
//     products and sums in float, denormals taken as zeros
//
// Which register is meant must be known when this is compiled.
#pragma once
#include "simd.h"

#if REAL_BITS == 32 && VBYTES == 64 && (defined(__AMX_BF16__) || defined(EMULATE_TILES))
#define HAS_TILES 1
enum { TILE_ROWS = 16, TILE_STEPS = 32, TILE_BYTES = 64 }; // of a row: 16 floats, or 32 steps in bfloat16
#if !defined(EMULATE_TILES)
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, from, stride) _tile_loadd(t, from, stride)
#define tile_store(t, to, stride) _tile_stored(t, to, stride)
#define tile_multiply(c, a, b) _tile_dpbf16ps(c, a, b)

// All registers are whole. Between them the processor's state is as if there were none, which is the quick one to switch from.
INLINE void tiles_begin(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } whole __attribute__((aligned(64))) = {
        1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&whole);
}
INLINE void tiles_end(void) { _tile_release(); }
#else
extern _Thread_local char NAME(tiles)[8][TILE_ROWS * TILE_BYTES] __attribute__((aligned(64)));

INLINE void tiles_begin(void) {}
INLINE void tiles_end(void) {}
INLINE void tile_zero(int t) { __builtin_memset(NAME(tiles)[t], 0, sizeof NAME(tiles)[t]); }
INLINE void tile_load(int t, const void *from, long stride) {
    for (int i = 0; i < TILE_ROWS; i++) __builtin_memcpy(NAME(tiles)[t] + i * TILE_BYTES, (const char *)from + i * stride, 64);
}
INLINE void tile_store(int t, void *to, long stride) {
    for (int i = 0; i < TILE_ROWS; i++) __builtin_memcpy((char *)to + i * stride, NAME(tiles)[t] + i * TILE_BYTES, 64);
}
INLINE void tile_multiply(int c, int a, int b) {
    for (int i = 0; i < TILE_ROWS; i++) {
        vec even = {0}, odd = {0}, *sum = (vec *)NAME(tiles)[c] + i;
        for (int p = 0; p < TILE_STEPS / 2; p++) {
            const INT x = ((const INT *)NAME(tiles)[a])[i * TILE_STEPS / 2 + p];
            const ivec y = ((const ivec *)NAME(tiles)[b])[p], upper = isplat((INT)0xffff0000);
            even += (vec)isplat((INT)((uint32_t)x << 16)) * (vec)(y << 16);
            odd += (vec)isplat(x & (INT)0xffff0000) * (vec)(y & upper);
        }
        *sum += even + odd;
    }
}
#endif
#else
#define HAS_TILES 0
INLINE void tiles_begin(void) {}
INLINE void tiles_end(void) {}
#endif
