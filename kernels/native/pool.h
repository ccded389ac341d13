// Pooling and its gradients; contracts in backends/interface.py. An index has elements of `index_bytes` 1 (uint8) or 4
// (int32).
#pragma once

typedef struct {
    long n, h, w, c;  // images [n][h][w][c]
    long oh, ow;      // outputs [n][oh][ow][c]
    long ph, pw;      // window
    long sh, sw;      // stride
    long top, left;   // padding; bottom and right follow from oh and ow
} pool_shape;

typedef struct {
    void (*max_pool2d)(const pool_shape *s, const void *x, void *y, void *index, int index_bytes);
    void (*max_pool2d_backward)(const pool_shape *s, const void *dy, const void *index, int index_bytes, void *dx);
    void (*avg_pool2d)(const pool_shape *s, const void *x, void *y);
    void (*avg_pool2d_backward)(const pool_shape *s, const void *dy, void *dx);
    // The same before an activation, a `kind` of activation.h up to tanh, whose output was y [n][h][w][c]; windows tile the
    // image.
    void (*avg_pool2d_activation_backward)(const pool_shape *s, const void *dy, const void *y, int kind, void *dz);
    // x [n][places][c], y [n][c]
    void (*global_avg_pool)(long n, long places, long c, const void *x, void *y);
    void (*global_avg_pool_backward)(long n, long places, long c, const void *dy, void *dx);
    void (*global_max_pool)(long n, long places, long c, const void *x, void *y, void *index);
    void (*global_max_pool_backward)(long n, long places, long c, const void *dy, const void *index, void *dx);
} pool_kernels;
