// Cross-entropies with their gradients; shapes as in backends/interface.py.
#pragma once
#include <stdint.h>

typedef struct {
    void (*softmax_cross_entropy)(long rows, long n, const void *logits, const int32_t *labels, const void *weight,
                                  void *losses, void *dlogits, double scale);
    void (*softmax_cross_entropy_dense)(long rows, long n, const void *logits, const void *targets, const void *weight,
                                        void *losses, void *dlogits, double scale);
    void (*sigmoid_cross_entropy)(long rows, long n, const void *logits, const void *targets, const void *weight,
                                  void *losses, void *dlogits, double scale);
} loss_kernels;
