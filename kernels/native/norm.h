// Batch and layer normalisation; shapes as in backends/interface.py. Functions return 0, or -1 when memory is out.
#pragma once

typedef struct {
    int (*batchnorm)(long rows, long n, const void *x, const void *gamma, const void *beta, void *running_mean,
                     void *running_var, void *y, void *mean, void *inv_std, double momentum, double eps, int activation,
                     const void *residual); // like x, added before the activation; or NULL
    int (*batchnorm_inference)(long rows, long n, const void *x, const void *gamma, const void *beta,
                               const void *running_mean, const void *running_var, void *y, double eps, int activation);
    int (*batchnorm_backward)(long rows, long n, const void *dz, const void *x, const void *gamma, const void *mean,
                              const void *inv_std, void *dx, void *dgamma, void *dbeta, int accumulate, int relu,
                              const void *beta); // relu: dz comes after a ReLU; then beta is asked for
    int (*layernorm)(long rows, long n, const void *x, const void *gamma, const void *beta, void *y, void *mean,
                     void *inv_std, double eps);
    int (*layernorm_backward)(long rows, long n, const void *dy, const void *x, const void *gamma, const void *mean,
                              const void *inv_std, void *dx, void *dgamma, void *dbeta, int accumulate);
} norm_kernels;
