// Whole sequences of simple RNN, LSTM and GRU; shapes as in backends/interface.py (n sequences, t steps, i inputs, h units).
// Functions return 0, or -1 when memory is out.
#pragma once

typedef struct {
    long n, t, i, h;
} sequence_shape;

typedef struct {
    int (*simple_rnn)(sequence_shape s, const void *x, const void *h0, const void *w, const void *u, const void *b,
                      const unsigned char *mask, void *h, int activation);
    int (*simple_rnn_backward)(sequence_shape s, const void *dh, const void *x, const void *h0, const void *w,
                               const void *u, const unsigned char *mask, const void *h, void *dx, void *dh0, void *dw,
                               void *du, void *db, int activation, int accumulate);
    int (*lstm)(sequence_shape s, const void *x, const void *h0, const void *c0, const void *w, const void *u,
                const void *b, const unsigned char *mask, void *h, void *c, void *gates);
    int (*lstm_backward)(sequence_shape s, const void *dh, const void *dc_last, const void *x, const void *h0,
                         const void *c0, const void *w, const void *u, const unsigned char *mask, const void *h,
                         const void *c, const void *gates, void *dx, void *dh0, void *dc0, void *dw, void *du, void *db,
                         int accumulate);
    int (*gru)(sequence_shape s, const void *x, const void *h0, const void *w, const void *u, const void *b,
               const unsigned char *mask, void *h, void *gates, int reset_after);
    int (*gru_backward)(sequence_shape s, const void *dh, const void *x, const void *h0, const void *w, const void *u,
                        const unsigned char *mask, const void *h, const void *gates, void *dx, void *dh0, void *dw,
                        void *du, void *db, int reset_after, int accumulate);
} recurrent_kernels;
