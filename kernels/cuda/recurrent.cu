// Recurrent layers: what a step does between its matrix products.
//
// Plain version: per step and gate one product, and one launch for each addition, activation and product of states:
// some twenty launches for a step of an LSTM, most of which take longer to start than to run. Here the input projection
// of all steps is one product before the first; each step adds h[t−1] u to its rows of it in place (cuBLAS takes rows
// that lie a whole sequence apart), and one kernel does all the rest of the cell: bias, activations, the new states,
// the mask, what the backward will need. Two launches per step, four for a GRU that resets before its product.
// Backwards the same: one kernel for all gradients before the activations, one product that hands on dh; the gradients
// of the weights are one product each at the end.
//
// One thread per sequence and unit: neighbouring threads are neighbouring units, so every access is a whole line of
// memory. What bounds a step is not the GPU's arithmetic but the time from one launch to the next, and the reading of u
// by every step; long sequences of small layers are slow on any GPU that runs them step by step.
//
// In all kernels: n = N · size threads, arrays [N, steps, gates · size], step t; where mask [N, steps] is 0 the
// previous state is carried over.

struct Cell { long long sequence, step; int unit; };  // step: sequence · steps + t

__device__ __forceinline__ Cell cell_of(long long i, int t, int steps, int size) {
    long long sequence = i / size;
    return {sequence, sequence * steps + t, int(i % size)};
}

__device__ __forceinline__ bool runs(const unsigned char* mask, Cell at) { return !mask || mask[at.step]; }

// The state before step t.
__device__ __forceinline__ REAL before(const REAL* first, const REAL* states, Cell at, int t, int size) {
    return t == 0 ? first[at.sequence * size + at.unit] : states[(at.step - 1) * size + at.unit];
}

// The derivative of an activation, from its output.
__device__ __forceinline__ REAL slope(REAL y, int activation) {
    switch (activation) {
        case RELU: return y > 0 ? REAL(1) : REAL(0);
        case SIGMOID: return y * (1 - y);
        case TANH: return 1 - y * y;
        default: return 1;
    }
}

// The states before every step, side by side; n = elements of `previous`.
extern "C" __global__ void previous_states(
    const REAL* first, const REAL* states, REAL* previous, long long n, int steps, int size) {
    long long i = thread();
    if (i >= n) return;
    long long step = i / size;
    int t = int(step % steps);
    previous[i] = before(first, states, {step / steps, step, int(i % size)}, t, size);
}

// h[t] holds x w + h[t−1] u.
extern "C" __global__ void simple_rnn_step(
    const REAL* b, const REAL* h0, const unsigned char* mask, REAL* h, long long n, int t, int steps, int size,
    int activation) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    REAL* out = h + at.step * size + at.unit;
    REAL z = b ? *out + b[at.unit] : *out;
    *out = runs(mask, at) ? fused(z, activation) : before(h0, h, at, t, size);
}

// carry [N, H]: in, the gradient that step t + 1 hands to h[t]; out, what passes step t by (only where there is a
// mask).
extern "C" __global__ void simple_rnn_backward_step(
    const REAL* dh, const REAL* h, const unsigned char* mask, REAL* carry, REAL* dz, long long n, int t, int steps,
    int size, int activation) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    long long o = at.step * size + at.unit;
    REAL d = dh[o] + carry[i];
    bool active = runs(mask, at);
    dz[o] = active ? d * slope(h[o], activation) : REAL(0);
    if (mask) carry[i] = active ? REAL(0) : d;
}

// z holds x w + h[t−1] u, and the gates afterwards if `keep`.
extern "C" __global__ void lstm_step(
    REAL* z, const REAL* b, const REAL* h0, const REAL* c0, const unsigned char* mask, REAL* h, REAL* c, long long n,
    int t, int steps, int size, bool keep) {
    long long k = thread();
    if (k >= n) return;
    Cell at = cell_of(k, t, steps, size);
    long long o = at.step * size + at.unit;
    z += at.step * 4 * size + at.unit;
    REAL gates[4];
    for (int gate = 0; gate < 4; gate++) gates[gate] = b ? z[gate * size] + b[gate * size + at.unit] : z[gate * size];
    REAL i = sigmoid(gates[0]), f = sigmoid(gates[1]), g = tanh(gates[2]), p = sigmoid(gates[3]);
    if (keep) z[0] = i, z[size] = f, z[2 * size] = g, z[3 * size] = p;
    REAL old = before(c0, c, at, t, size), cell = f * old + i * g;
    bool active = runs(mask, at);
    c[o] = active ? cell : old;
    h[o] = active ? p * tanh(cell) : before(h0, h, at, t, size);
}

// carry_h as carry in simple_rnn_backward_step; carry_c [N, H]: the gradient of c[t], then that of c[t−1].
extern "C" __global__ void lstm_backward_step(
    const REAL* dh, const REAL* c0, const REAL* c, const REAL* gates, const unsigned char* mask, REAL* carry_h,
    REAL* carry_c, REAL* dz, long long n, int t, int steps, int size) {
    long long k = thread();
    if (k >= n) return;
    Cell at = cell_of(k, t, steps, size);
    long long o = at.step * size + at.unit;
    gates += at.step * 4 * size + at.unit;
    dz += at.step * 4 * size + at.unit;
    REAL d = dh[o] + carry_h[k];
    if (!runs(mask, at)) {
        dz[0] = dz[size] = dz[2 * size] = dz[3 * size] = 0;
        carry_h[k] = d;
        return;
    }
    REAL i = gates[0], f = gates[size], g = gates[2 * size], p = gates[3 * size], tanh_c = tanh(c[o]);
    REAL dc = carry_c[k] + d * p * (1 - tanh_c * tanh_c);
    dz[0] = dc * g * i * (1 - i);
    dz[size] = dc * before(c0, c, at, t, size) * f * (1 - f);
    dz[2 * size] = dc * i * (1 - g * g);
    dz[3 * size] = d * tanh_c * p * (1 - p);
    carry_c[k] = dc * f;
    if (mask) carry_h[k] = 0;
}

// GRU that resets after its product. projected [N, steps, 3 H] = x w, recurrent [N, 3 H] = h[t−1] u, b [2, 3 H].
extern "C" __global__ void gru_step(
    const REAL* projected, const REAL* recurrent, const REAL* b, const REAL* h0, const unsigned char* mask, REAL* h,
    REAL* gates, long long n, int t, int steps, int size) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    projected += at.step * 3 * size + at.unit;
    recurrent += at.sequence * 3 * size + at.unit;
    REAL in[3], back[3];
    for (int gate = 0; gate < 3; gate++) {
        in[gate] = b ? projected[gate * size] + b[gate * size + at.unit] : projected[gate * size];
        back[gate] = b ? recurrent[gate * size] + b[(3 + gate) * size + at.unit] : recurrent[gate * size];
    }
    REAL z = sigmoid(in[0] + back[0]), r = sigmoid(in[1] + back[1]), g = tanh(in[2] + r * back[2]);
    if (gates) {
        gates += at.step * 4 * size + at.unit;
        gates[0] = z, gates[size] = r, gates[2 * size] = g, gates[3 * size] = back[2];
    }
    REAL old = before(h0, h, at, t, size);
    h[at.step * size + at.unit] = runs(mask, at) ? z * old + (1 - z) * g : old;
}

// GRU that resets before its product, first half: projected holds x w, its z and r parts h[t−1] u too; z is put in its
// place, q [N, H] = r h[t−1]. b [3 H].
extern "C" __global__ void gru_reset_step(
    REAL* projected, const REAL* b, const REAL* h0, const REAL* h, REAL* q, REAL* gates, long long n, int t, int steps,
    int size) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    projected += at.step * 3 * size + at.unit;
    REAL z = sigmoid(b ? projected[0] + b[at.unit] : projected[0]);
    REAL r = sigmoid(b ? projected[size] + b[size + at.unit] : projected[size]);
    projected[0] = z;
    q[i] = r * before(h0, h, at, t, size);
    if (gates) {
        gates += at.step * 4 * size + at.unit;
        gates[0] = z, gates[size] = r, gates[3 * size] = q[i];
    }
}

// Second half: the g part of projected holds x w + q u as well.
extern "C" __global__ void gru_output_step(
    const REAL* projected, const REAL* b, const REAL* h0, const unsigned char* mask, REAL* h, REAL* gates, long long n,
    int t, int steps, int size) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    projected += at.step * 3 * size + at.unit;
    REAL z = projected[0], g = tanh(b ? projected[2 * size] + b[2 * size + at.unit] : projected[2 * size]);
    if (gates) gates[at.step * 4 * size + 2 * size + at.unit] = g;
    REAL old = before(h0, h, at, t, size);
    h[at.step * size + at.unit] = runs(mask, at) ? z * old + (1 - z) * g : old;
}

// Gradients before the activations of z, r, g: dz_input [N, steps, 3 H]; those that meet h[t−1] u: dz_recurrent, alike.
// Without dz_recurrent (reset before the product) r is left to gru_reset_backward_step. carry: in, the gradient of
// h[t]; out, what reaches h[t−1] without a product.
extern "C" __global__ void gru_backward_step(
    const REAL* dh, const REAL* h0, const REAL* h, const REAL* gates, const unsigned char* mask, REAL* carry,
    REAL* dz_input, REAL* dz_recurrent, long long n, int t, int steps, int size) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    long long o = at.step * 3 * size + at.unit;
    gates += at.step * 4 * size + at.unit;
    REAL z = gates[0], r = gates[size], g = gates[2 * size], q = gates[3 * size];
    REAL d = dh[at.step * size + at.unit] + carry[i], active = runs(mask, at) ? d : REAL(0);
    REAL dz = active * (before(h0, h, at, t, size) - g) * z * (1 - z), dg = active * (1 - z) * (1 - g * g);
    carry[i] = runs(mask, at) ? d * z : d;
    dz_input[o] = dz;
    dz_input[o + 2 * size] = dg;
    if (dz_recurrent) {
        dz_input[o + size] = dz_recurrent[o + size] = dg * q * r * (1 - r);
        dz_recurrent[o] = dz;
        dz_recurrent[o + 2 * size] = dg * r;
    }
}

// dq [N, H] = dg uᵀ.
extern "C" __global__ void gru_reset_backward_step(
    const REAL* dq, const REAL* h0, const REAL* h, const REAL* gates, REAL* carry, REAL* dz_input, long long n, int t,
    int steps, int size) {
    long long i = thread();
    if (i >= n) return;
    Cell at = cell_of(i, t, steps, size);
    REAL r = gates[at.step * 4 * size + size + at.unit];
    dz_input[at.step * 3 * size + size + at.unit] = dq[i] * before(h0, h, at, t, size) * r * (1 - r);
    carry[i] += dq[i] * r;
}
