// Optimizers: one update of the flat buffer that holds all parameters of a model.
//
// Plain version: an array operation per term of a formula, up to fifteen launches per layer, each a pass over memory. Here
// an update is one launch for the whole model, a thread per parameter: it reads each buffer once, works in registers and
// writes each once. Factors such as Adam's bias correction are worked out on the host, in double.
//
// Bound by memory: SGD moves 3 numbers per parameter, Adam 7, AMSGrad 9; their arithmetic hides behind that.

extern "C" __global__ void sgd(REAL* p, const REAL* g, long long n, REAL lr) {
    long long i = thread();
    if (i < n) p[i] -= lr * g[i];
}

extern "C" __global__ void momentum_classical(REAL* p, const REAL* g, REAL* m, long long n, REAL lr, REAL momentum) {
    long long i = thread();
    if (i >= n) return;
    REAL v = momentum * m[i] - lr * g[i];
    m[i] = v;
    p[i] += v;
}

extern "C" __global__ void momentum_nesterov(REAL* p, const REAL* g, REAL* m, long long n, REAL lr, REAL momentum) {
    long long i = thread();
    if (i >= n) return;
    REAL d = lr * g[i], v = momentum * m[i] - d;
    m[i] = v;
    p[i] += momentum * v - d;
}

extern "C" __global__ void momentum_averaged(REAL* p, const REAL* g, REAL* m, long long n, REAL lr, REAL momentum) {
    long long i = thread();
    if (i >= n) return;
    REAL v = momentum * m[i] + (1 - momentum) * g[i];
    m[i] = v;
    p[i] -= lr * v;
}

extern "C" __global__ void adagrad(REAL* p, const REAL* g, REAL* s, long long n, REAL lr, REAL eps) {
    long long i = thread();
    if (i >= n) return;
    REAL d = g[i], v = s[i] + d * d;
    s[i] = v;
    p[i] -= lr * d / sqrt(v + eps);
}

// m is null without momentum, gbar where the squares are not centred. rest is 1 − rho.
extern "C" __global__ void rmsprop(
    REAL* p, const REAL* g, REAL* s, REAL* m, REAL* gbar, long long n, REAL lr, REAL rho, REAL rest, REAL momentum, REAL eps) {
    long long i = thread();
    if (i >= n) return;
    REAL d = g[i], v = rho * s[i] + rest * (d * d);
    s[i] = v;
    if (gbar) {
        REAL h = rho * gbar[i] + rest * d;
        gbar[i] = h;
        v -= h * h;
    }
    REAL step = lr * d / sqrt(v + eps);
    if (m) {
        step += momentum * m[i];
        m[i] = step;
    }
    p[i] -= step;
}

// vhat is null without AMSGrad. rest1 = 1 − beta1, rest2 = 1 − beta2, keep = 1 − lr · weight_decay; rate has both bias
// corrections in it.
extern "C" __global__ void adam(
    REAL* p, const REAL* g, REAL* m, REAL* v, REAL* vhat, long long n, REAL beta1, REAL rest1, REAL beta2, REAL rest2,
    REAL eps, REAL keep, REAL rate) {
    long long i = thread();
    if (i >= n) return;
    REAL d = g[i], first = beta1 * m[i] + rest1 * d, second = beta2 * v[i] + rest2 * (d * d);
    m[i] = first;
    v[i] = second;
    if (vhat) {
        second = Largest::of(second, vhat[i]);
        vhat[i] = second;
    }
    p[i] = p[i] * keep - rate * first / (sqrt(second) + eps);
}
