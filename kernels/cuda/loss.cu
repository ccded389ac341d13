// Cross-entropies on logits: losses and gradient from one launch.
//
// Plain version: log_softmax, a gather, a sum, then exp again for the gradient, each a launch and a pass over memory.
// Here a block takes a row through all of it: the maximum and the sum of exponentials by shuffles, then loss and gradient
// from a row that is still in the cache. A loss starts from logits, so that the logarithm meets the exponential on paper
// and nothing overflows, however large they are.
//
// Where the label is the likeliest class by far, 1 − p and −log p are small and would be lost in rounding: both are taken
// from the sum over the other classes alone, log1p(others) and −others / sum.
//
// Bound by memory: logits (and targets) are read once from it, dlogits written once. With a few dozen classes a launch is
// shorter than its start, and half-empty warps do not matter.
//
// losses [R] and weight [R], which may be null, as may dlogits; block r stands for row r of [R, columns].

extern "C" __global__ void softmax_cross_entropy(
    const REAL* logits, const int* labels, const REAL* weight, REAL* losses, REAL* dlogits, REAL scale, int columns) {
    logits += (long long)blockIdx.x * columns;
    int label = labels[blockIdx.x];
    REAL importance = weight ? weight[blockIdx.x] : REAL(1);
    REAL largest = row_maximum(logits, columns), others = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x)
        if (c != label) others += exp(logits[c] - largest);
    others = block_reduce<Sum>(others);
    REAL distance = logits[label] - largest, own = exp(distance), sum = others + own;
    if (threadIdx.x == 0) losses[blockIdx.x] = importance * (distance == 0 ? log1p(others) : log(sum) - distance);
    if (!dlogits) return;
    dlogits += (long long)blockIdx.x * columns;
    REAL factor = scale * importance;
    for (int c = threadIdx.x; c < columns; c += blockDim.x)
        dlogits[c] = factor * (c == label ? -others / sum : exp(logits[c] - largest) / sum);
}

extern "C" __global__ void softmax_cross_entropy_dense(
    const REAL* logits, const REAL* targets, const REAL* weight, REAL* losses, REAL* dlogits, REAL scale, int columns) {
    logits += (long long)blockIdx.x * columns;
    targets += (long long)blockIdx.x * columns;
    REAL importance = weight ? weight[blockIdx.x] : REAL(1);
    REAL largest = row_maximum(logits, columns), sum = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += exp(logits[c] - largest);
    sum = block_reduce<Sum>(sum);
    REAL log_sum = log(sum), loss = 0, mass = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        loss += targets[c] * (log_sum - (logits[c] - largest));
        mass += targets[c];
    }
    loss = block_reduce<Sum>(loss);
    mass = block_reduce<Sum>(mass);
    if (threadIdx.x == 0) losses[blockIdx.x] = importance * loss;
    if (!dlogits) return;
    dlogits += (long long)blockIdx.x * columns;
    REAL factor = scale * importance;
    for (int c = threadIdx.x; c < columns; c += blockDim.x)
        dlogits[c] = factor * (exp(logits[c] - largest) / sum * mass - targets[c]);
}

// The sigmoid is computed from exp(−|z|) both ways, so that neither side overflows or cancels.
extern "C" __global__ void sigmoid_cross_entropy(
    const REAL* logits, const REAL* targets, const REAL* weight, REAL* losses, REAL* dlogits, REAL scale, int columns) {
    long long first = (long long)blockIdx.x * columns;
    REAL importance = weight ? weight[blockIdx.x] : REAL(1), factor = scale * importance / columns, loss = 0;
    for (int c = threadIdx.x; c < columns; c += blockDim.x) {
        REAL z = logits[first + c], t = targets[first + c], e = exp(-fabs(z));
        loss += (z > 0 ? z : REAL(0)) - z * t + log1p(e);
        if (dlogits) dlogits[first + c] = factor * ((z >= 0 ? REAL(1) : e) / (1 + e) - t);
    }
    loss = block_reduce<Sum>(loss);
    if (threadIdx.x == 0) losses[blockIdx.x] = importance * loss / columns;
}
