// Table look-up and its gradient, a sum of rows by identifier.
//
// Plain version: a thread per identifier, copying its row; neighbours then read memory a row apart. Here a thread takes one
// number of one row, so that a warp moves whole lines. The gradient adds with atomics, which the second-level cache
// carries out where the number lies: no sorting and no locks, but repeated identifiers are added in no fixed order, so the
// last bits of a sum may differ from run to run.
//
// Both are bound by memory; the gradient also by how often one row is hit: atomics on one address queue.

extern "C" __global__ void embedding(const int* ids, const REAL* table, REAL* y, long long n, int columns) {
    long long i = thread();
    if (i >= n) return;
    y[i] = table[(long long)ids[i / columns] * columns + i % columns];
}

extern "C" __global__ void embedding_backward(const REAL* dy, const int* ids, REAL* dtable, long long n, int columns) {
    long long i = thread();
    if (i >= n) return;
    atomicAdd(&dtable[(long long)ids[i / columns] * columns + i % columns], dy[i]);
}
