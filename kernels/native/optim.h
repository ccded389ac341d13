// Optimizer updates of flat buffers; formulas in backends/interface.py.
#pragma once

enum momentum_form { CLASSICAL, NESTEROV, AVERAGED };

typedef struct {
    void (*sgd)(long n, void *p, const void *g, double lr);
    void (*momentum)(long n, void *p, const void *g, void *m, double lr, double momentum, int form);
    void (*adagrad)(long n, void *p, const void *g, void *s, double lr, double eps);
    void (*rmsprop)(long n, void *p, const void *g, void *s, void *m, void *gbar, double lr, double rho, double momentum,
                    double eps);
    void (*adam)(long n, void *p, const void *g, void *m, void *v, void *vhat, double lr, double beta1, double beta2,
                 double eps, double weight_decay, long step);
} optim_kernels;
