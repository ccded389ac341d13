// Philox 4x32-10 and what is drawn from it; the stream is defined in backends/interface.py.
#pragma once
#include <stdint.h>

typedef struct {
    void (*random_uniform)(long n, void *y, double low, double high, uint64_t seed, uint64_t offset);
    void (*random_normal)(long n, void *y, double mean, double stddev, uint64_t seed, uint64_t offset);
    void (*dropout)(long n, const void *x, void *y, double rate, uint64_t seed, uint64_t offset);
} random_kernels;
