// Two-dimensional convolution and its gradients; contracts in backends/interface.py. Functions return 0, or -1 when
// memory is out.
#pragma once
#include "prepared.h"

typedef struct {
    long n, h, w, c;   // images [n][h][w][c]
    long oh, ow, k;    // outputs [n][oh][ow][k]
    long kh, kw;       // filters [kh][kw][c / groups][k]
    long sh, sw;       // stride
    long top, left;    // padding; bottom and right follow from oh and ow
    long dh, dw;       // dilation
    long groups;
    int pooled;        // of windows of 2x2 outputs only this is written, [n][oh / 2][ow / 2][k]: where `pools` says so
    int x_lanes, y_lanes; // images (outputs) lie as [n / L][h][w][c][L], L = REALs of a vector: only where in_lanes says so
} conv_shape;

enum conv_pooling { NOT_POOLED, MEANS, MAXIMA };
enum conv_way { CONV_AUTO, CONV_DIRECT, CONV_WINOGRAD };

typedef struct {
    int (*conv2d)(const conv_shape *s, const void *x, const void *w, const void *b, void *y, int activation);
    // dx = gradient + residual, and 0 where gate, the output of a ReLU, is not positive; both like dx, or NULL.
    int (*conv2d_backward_input)(const conv_shape *s, const void *dz, const void *w, void *dx, const void *residual, const void *gate);
    int (*conv2d_backward_weight)(const conv_shape *s, const void *x, const void *dz, void *dw, void *db, int accumulate);
    // y = activation(conv(x, w) + b + residual) again and again; NULL when memory is out.
    prepared *(*prepare)(const conv_shape *s, const void *x, const void *w, const void *b, void *y, int activation,
                         const void *residual);
    void (*choose_way)(int way); // for all calls from now on: Winograd where it is faster, nowhere, or wherever it can be
    int (*pools)(const conv_shape *s, int activation); // whether prepare takes this s.pooled
    int (*in_lanes)(const conv_shape *s); // L if all directions of this layer put images in lanes, else 0
} conv_kernels;
