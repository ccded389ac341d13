// Activations that stand alone, softmax and log softmax; shapes as in backends/interface.py.
#pragma once

// Numbered as ACTIVATIONS in backends/interface.py; the first four are gemm.h's.
enum activation_kind {
    ACT_LINEAR, ACT_RELU, ACT_SIGMOID, ACT_TANH, ACT_LEAKY_RELU, ACT_ELU, ACT_SELU, ACT_EXPONENTIAL,
    ACT_SOFTPLUS, ACT_SOFTSIGN, ACT_SILU, ACT_GELU, ACT_RELU6, ACT_HARD_SIGMOID, ACT_STEP,
};

typedef struct {
    void (*activation)(long n, const void *x, void *y, int kind, double alpha);
    void (*activation_backward)(long n, const void *dy, const void *x, const void *y, void *dx, int kind, double alpha);
    void (*softmax)(long rows, long n, const void *x, void *y);
    void (*softmax_backward)(long rows, long n, const void *dy, const void *y, void *dx);
    void (*log_softmax)(long rows, long n, const void *x, void *y);
    void (*log_softmax_backward)(long rows, long n, const void *dy, const void *y, void *dx);
} activation_kernels;
