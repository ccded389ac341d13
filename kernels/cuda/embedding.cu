// Table look-up and its gradient, a sum of rows by identifier.
//
// Plain version: a thread per identifier, copying its row; neighbours then read memory a row apart. Here a thread takes one
// number of one row, so that a warp moves whole lines.
//
// The plain gradient adds with atomics: repeated identifiers are added in no fixed order, and the last bits of a sum change
// from run to run, as was seen on an H100. Here a block owns the identifiers that leave its number as remainder. It goes
// through all identifiers, LIST at a time, writes down its own in their order (ranks by ballots), and adds their rows: lanes
// of `width` columns take different identifiers, so one sum has one adder and always the same order. Each block reads all
// identifiers, 4 bytes for each, from the second-level cache; no memory, sorting or atomics.
// The number of blocks is a power of two, and lanes are chosen once: divisions took more than half of the time.
//
// Both are bound by memory; the gradient of one identifier that fills the whole batch by the one block that adds it.

extern "C" __global__ void embedding(const int* ids, const REAL* table, REAL* y, long long n, int columns) {
    long long i = thread();
    if (i >= n) return;
    y[i] = table[(long long)ids[i / columns] * columns + i % columns];
}

const int TURNS = 4, LIST = TURNS * THREADS;  // identifiers of a thread, and of a block, at a time
const int AHEAD = 8;                          // rows that a thread fetches before it adds the first

// 2^bits blocks of THREADS threads, each for the identifiers of one remainder; rows = identifiers. Adds to dtable.
extern "C" __global__ void embedding_backward(
    const REAL* dy, const int* ids, REAL* dtable, int rows, int columns, int width, int bits) {
    __shared__ int own[LIST];  // of LIST identifiers those of this block, in order
    __shared__ int from[LIST];
    __shared__ unsigned char taker[LIST];
    __shared__ int found[TURNS][THREADS / 32];
    int warp = threadIdx.x / 32, below = (1u << threadIdx.x % 32) - 1;
    int lane = threadIdx.x / width, lanes = blockDim.x / width;
    for (int start = 0; start < rows; start += LIST) {
        int id[TURNS];
        bool mine[TURNS], any = false;
        for (int turn = 0; turn < TURNS; turn++) {
            int row = start + turn * THREADS + threadIdx.x;
            id[turn] = row < rows ? ids[row] : -1;
            mine[turn] = id[turn] >= 0 && (id[turn] & (1 << bits) - 1) == blockIdx.x;
            any = any || mine[turn];
        }
        if (!__syncthreads_or(any)) continue;
        unsigned mask[TURNS];
        for (int turn = 0; turn < TURNS; turn++) {
            mask[turn] = __ballot_sync(0xffffffffu, mine[turn]);
            if (threadIdx.x % 32 == 0) found[turn][warp] = __popc(mask[turn]);
        }
        __syncthreads();
        int count = 0;
        for (int turn = 0; turn < TURNS; turn++)
            for (int w = 0; w < THREADS / 32; w++) {
                if (w == warp && mine[turn]) {
                    int place = count + __popc(mask[turn] & below);
                    own[place] = id[turn];
                    taker[place] = (id[turn] >> bits) % lanes;
                    from[place] = start + turn * THREADS + threadIdx.x;
                }
                count += found[turn][w];
            }
        __syncthreads();
        if (lane >= lanes) continue;
        for (int c = threadIdx.x % width; c < columns; c += width) {
            int held = -1;
            REAL sum = 0;
            for (int first = 0; first < count; first += AHEAD) {
                REAL value[AHEAD];
                bool takes[AHEAD];
#pragma unroll
                for (int k = 0; k < AHEAD; k++) {
                    takes[k] = first + k < count && taker[first + k] == lane;
                    value[k] = takes[k] ? dy[(long long)from[first + k] * columns + c] : REAL(0);
                }
#pragma unroll
                for (int k = 0; k < AHEAD; k++) {
                    if (!takes[k]) continue;
                    if (own[first + k] != held) {
                        if (held >= 0) dtable[(long long)held * columns + c] = sum;
                        held = own[first + k];
                        sum = dtable[(long long)held * columns + c];
                    }
                    sum += value[k];
                }
            }
            if (held >= 0) dtable[(long long)held * columns + c] = sum;
        }
    }
}
