// CUDA C++ on a CPU: included in front of a .cu file, this makes g++ compile its kernels into functions that run here.
//
// One thread of the operating system does everything. Blocks run one after another; a CUDA thread is a fiber, a stack of
// its own that is left where the thread has to wait (a barrier, an exchange within a warp) and resumed later. Threads are
// started and resumed forward, in reverse, or at random from a seed, so that a result which depends on their order shows.
// A fiber takes thread after thread until one waits: kernels without barriers cost no switch at all.
//
// What is an error, with block and thread: a deadlock, a warp operation by a lane outside its mask, a fault (arrays end at
// guard pages), an index outside a shared array (-fsanitize=bounds, trapping), a write behind one, and, with CS_STRICT,
// a barrier that some threads returned without reaching. Shared memory holds 0xFF bytes, so NaN, when a block starts.
//
// With -DCS_RACE -fsanitize=thread (compiled with it, linked without) g++ calls the functions named __tsan_* below at
// every load and store, and two accesses to one place, a write among them, with no barrier between are an error too.
//
// What it cannot show: rounding of a GPU (fused multiply-add, approximate functions), the order of its atomics, speed,
// and errors that need two blocks to run at the same time.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#define __CUDA_ARCH__ 800
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // shim.py has replaced those of our kernels by cs::shared
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
#define CS_VECTOR(T)                                                                      \
    struct alignas(2 * sizeof(T)) T##2 { T x, y; };                                       \
    struct T##3 { T x, y, z; };                                                           \
    struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) T##4 { T x, y, z, w; };            \
    static inline T##2 make_##T##2(T a, T b) { return {a, b}; }                           \
    static inline T##4 make_##T##4(T a, T b, T c, T d) { return {a, b, c, d}; }
CS_VECTOR(float)
CS_VECTOR(double)
CS_VECTOR(int)

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// ---- the scheduler --------------------------------------------------------------------------------------------------

namespace cs {

enum Schedule { FORWARD, REVERSED, RANDOM };

struct Fiber {
    static constexpr size_t SIZE = 128 << 10;
    ucontext_t context;
    jmp_buf resume;
    std::unique_ptr<char[]> stack{new char[SIZE]};
};

struct Thread {
    Fiber* fiber = nullptr;  // where it waits
    bool returned = false;
    unsigned barriers = 0, meetings = 0;  // passed so far: what orders its accesses
};

// Of the lanes of one warp that a mask names: each leaves a value, and goes on when all have.
struct Meeting {
    unsigned mask, arrived = 0, round = 0;
    uint64_t values[2][32];  // of this round and of the last, which slower lanes may still be reading
    std::vector<int> waiting;
    explicit Meeting(unsigned mask) : mask(mask) { memset(values, 0xFF, sizeof values); }
};

static Schedule schedule;
static std::mt19937 random;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Fiber*> idle;
static Fiber* running;
static jmp_buf scheduler;
static ucontext_t start;
static std::vector<Thread> threads;  // of this block
static std::vector<int> order;       // in which they are started
static size_t started, returned;
static int current;
static std::vector<int> ready, at_barrier;
static std::vector<std::vector<std::unique_ptr<Meeting>>> warps;
static void (*body)(void*);
static void* body_arguments;
static bool failed;
static char message[512];
static bool tracking;  // accesses are the kernel's, not ours: what the race detector listens to

static void become(int thread) {
    current = thread;
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
}

static void note_failure(const char* what) {
    if (failed) return;
    failed = true;
    snprintf(message, sizeof message, "%s (block %u,%u,%u thread %u,%u,%u)", what, blockIdx.x, blockIdx.y, blockIdx.z,
             threadIdx.x, threadIdx.y, threadIdx.z);
}

// From within a thread, which does not go on.
[[noreturn]] static void fail(const char* what) {
    tracking = false;
    note_failure(what);
    _longjmp(scheduler, 1);
}

static void fault(int number, siginfo_t* info, void*) {
    char text[100];
    if (number == SIGSEGV) snprintf(text, sizeof text, "access outside the arrays, at %p", info->si_addr);
    fail(number == SIGSEGV ? text : number == SIGILL ? "index outside an array" : "arithmetic error or misaligned access");
}

static void take_threads() {
    for (;;) {
        while (started < order.size() && !failed) {
            become(order[started++]);
            tracking = true;
            body(body_arguments);
            tracking = false;
            threads[current].returned = true;
            returned++;
        }
        idle.push_back(running);
        if (!_setjmp(running->resume)) _longjmp(scheduler, 1);
    }
}

static void start_fiber() {
    fibers.emplace_back(new Fiber);
    running = fibers.back().get();
    getcontext(&running->context);
    running->context.uc_stack.ss_sp = running->stack.get();
    running->context.uc_stack.ss_size = Fiber::SIZE;
    running->context.uc_link = nullptr;
    makecontext(&running->context, take_threads, 0);
    if (!_setjmp(scheduler)) swapcontext(&start, &running->context);
}

static void resume(Fiber* fiber) {
    running = fiber;
    if (!_setjmp(scheduler)) _longjmp(fiber->resume, 1);
}

static void __attribute__((noinline)) wait() {
    tracking = false;
    int self = current;
    threads[self].fiber = running;
    if (!_setjmp(running->resume)) _longjmp(scheduler, 1);
    become(self);
    tracking = true;
}

static void wake(std::vector<int>& waiting) {
    if (schedule == FORWARD) std::sort(waiting.rbegin(), waiting.rend());  // the last is resumed first
    if (schedule == REVERSED) std::sort(waiting.begin(), waiting.end());
    ready.insert(ready.end(), waiting.begin(), waiting.end());
    waiting.clear();
}

// ---- shared memory --------------------------------------------------------------------------------------------------

static constexpr size_t SHARED_LIMIT = 227 << 10, PAD = 64;
alignas(128) static unsigned char shared_memory[SHARED_LIMIT + (64 << 10)];
static std::vector<std::pair<size_t, size_t>> shared_arrays;  // first byte and number of bytes
static size_t shared_bytes;  // all of them

static size_t place_shared(size_t size) {
    size_t first = shared_arrays.empty() ? 0 : (shared_arrays.back().first + shared_arrays.back().second + PAD + 127) / 128 * 128;
    if (first + size + PAD > sizeof shared_memory) fail("more shared memory than a block can have");
    shared_arrays.push_back({first, size});
    shared_bytes = first + size + PAD;
    return first;
}

// The place of a __shared__ variable, given out when a thread first meets it; the bytes behind it must stay.
static size_t declare_shared(size_t size) {
    bool tracked = tracking;
    tracking = false;
    size_t first = place_shared(size);
    memset(shared_memory + first, 0xFF, size + PAD);
    tracking = tracked;
    return first;
}

template <class T> T& shared(size_t first) { return *reinterpret_cast<T*>(shared_memory + first); }

static size_t dynamic_first, dynamic_size;
static void* dynsmem() { return shared_memory + dynamic_first; }

static void place_dynamic(size_t size) {
    if (size == dynamic_size) return;
    auto old = [](auto& array) { return array.first == dynamic_first; };
    if (dynamic_size) shared_arrays.erase(std::find_if(shared_arrays.begin(), shared_arrays.end(), old));
    if (size) dynamic_first = place_shared(size);
    dynamic_size = size;
}

static bool shared_is_intact() {
    for (auto& array : shared_arrays)
        for (size_t i = 0; i < PAD; i++)
            if (shared_memory[array.first + array.second + i] != 0xFF) return false;
    return true;
}

// ---- a block and a launch -------------------------------------------------------------------------------------------

static void barrier_opens() {
#ifdef CS_STRICT
    if (returned) {
        become(at_barrier[0]);
        return note_failure("__syncthreads() reached by some threads after others have returned");
    }
#endif
    for (int thread : at_barrier) threads[thread].barriers++;
    wake(at_barrier);
}

static void run_block() {
    size_t count = (size_t)blockDim.x * blockDim.y * blockDim.z;
    order.resize(count);
    for (size_t i = 0; i < count; i++) order[i] = schedule == REVERSED ? count - 1 - i : i;
    if (schedule == RANDOM) std::shuffle(order.begin(), order.end(), random);
    threads.assign(count, {});
    started = returned = 0;
    ready.clear();
    at_barrier.clear();
    warps.clear();
    warps.resize((count + 31) / 32);
    memset(shared_memory, 0xFF, shared_bytes);
    while (returned < count && !failed) {
        bool more = started < count;
        if (!ready.empty() && !(more && schedule == RANDOM && random() % 2)) {
            if (schedule == RANDOM) std::swap(ready[random() % ready.size()], ready.back());
            int thread = ready.back();
            ready.pop_back();
            resume(threads[thread].fiber);
        } else if (more && idle.empty()) {
            start_fiber();
        } else if (more) {
            Fiber* fiber = idle.back();
            idle.pop_back();
            resume(fiber);
        } else if (!at_barrier.empty() && at_barrier.size() == count - returned) {
            barrier_opens();
        } else {
            for (size_t t = 0; t < count; t++)
                if (!threads[t].returned) become(t);
            note_failure("deadlock: threads wait at different barriers, or a mask names lanes that never arrive");
        }
    }
    if (!failed && !shared_is_intact()) note_failure("write behind a shared array");
}

static void forget_accesses();

template <class... A, size_t... I>
void apply(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)arguments[I]...);
}

// dims: grid and block. 0, or 1 with a text in `out`.
template <class... A>
int launch(void (*kernel)(A...), const unsigned* dims, unsigned dynamic, void** arguments, int mode, unsigned seed, char* out) {
    size_t block = (size_t)dims[3] * dims[4] * dims[5], blocks = (size_t)dims[0] * dims[1] * dims[2];
    if (block == 0 || block > 1024 || dims[5] > 64 || blocks == 0 || dims[0] > 0x7fffffff || dims[1] > 65535 ||
        dims[2] > 65535 || dynamic > SHARED_LIMIT) {
        snprintf(out, sizeof message, "invalid launch configuration");
        return 1;
    }
    struct Call { void (*kernel)(A...); void** arguments; } call{kernel, arguments};
    body_arguments = &call;
    body = [](void* c) { apply(((Call*)c)->kernel, ((Call*)c)->arguments, std::index_sequence_for<A...>{}); };
    gridDim = {dims[0], dims[1], dims[2]};
    blockDim = {dims[3], dims[4], dims[5]};
    schedule = (Schedule)mode;
    random.seed(seed);
    failed = false;
    forget_accesses();
    place_dynamic(dynamic);
    std::vector<size_t> sequence(blocks);
    for (size_t i = 0; i < blocks; i++) sequence[i] = mode == REVERSED ? blocks - 1 - i : i;
    if (mode == RANDOM) std::shuffle(sequence.begin(), sequence.end(), random);
    struct sigaction action = {}, before[4];
    const int signals[4] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    action.sa_sigaction = fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &before[i]);
    for (size_t i = 0; i < blocks && !failed; i++) {
        size_t b = sequence[i];
        blockIdx = {(unsigned)(b % dims[0]), (unsigned)(b / dims[0] % dims[1]), (unsigned)(b / ((size_t)dims[0] * dims[1]))};
        run_block();
    }
    for (int i = 0; i < 4; i++) sigaction(signals[i], &before[i], nullptr);
    if (!failed) return 0;
    memcpy(out, message, sizeof message);
    idle.clear();
    fibers.clear();
    return 1;
}

// ---- what a kernel's parameters are, as text: P pointer to, then kind and bytes --------------------------------------

template <class T> std::string code() {
    using U = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<U>) return "P" + code<std::remove_pointer_t<U>>();
    else if constexpr (std::is_same_v<U, bool>) return "b1";
    else if constexpr (std::is_floating_point_v<U>) return "f" + std::to_string(sizeof(U));
    else if constexpr (std::is_integral_v<U>) return (std::is_signed_v<U> ? "i" : "u") + std::to_string(sizeof(U));
    else if constexpr (std::is_void_v<U>) return "v";
    else return "V" + std::to_string(sizeof(U));
}

template <class... A> const char* signature(void (*)(A...)) {
    static std::string text;
    text.clear();
    ((text += (text.empty() ? "" : ",") + code<A>()), ...);
    return text.c_str();
}

// ---- barriers and warps ---------------------------------------------------------------------------------------------

static void barrier() {
    tracking = false;
    at_barrier.push_back(current);
    wait();
}

// Leaves a value, waits for all lanes of the mask, returns the values of the 32 lanes.
static const uint64_t* meet(unsigned mask, uint64_t value) {
    tracking = false;
    unsigned lane = current & 31;
    if (!(mask >> lane & 1)) fail("a warp operation by a lane that is not in its mask");
    auto& meetings = warps[current >> 5];
    auto found = std::find_if(meetings.begin(), meetings.end(), [mask](auto& m) { return m->mask == mask; });
    Meeting* meeting = found == meetings.end() ? meetings.emplace_back(new Meeting(mask)).get() : found->get();
    uint64_t* values = meeting->values[meeting->round & 1];
    values[lane] = value;
    meeting->arrived |= 1u << lane;
    if (meeting->arrived != mask) {
        meeting->waiting.push_back(current);
        wait();
        return values;
    }
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) threads[(current & ~31) + i].meetings++;
    meeting->arrived = 0;
    meeting->round++;
    wake(meeting->waiting);
    tracking = true;
    return values;
}

template <class T> T shuffle(unsigned mask, T value, int source, bool inside) {
    static_assert(sizeof(T) <= 8, "shuffles move up to 8 bytes");
    uint64_t sent = 0;
    memcpy(&sent, &value, sizeof value);
    const uint64_t* values = meet(mask, sent);
    if (!inside) return value;
    uint64_t received = mask >> source & 1 ? values[source] : ~0ull;  // a lane that sends nothing: anything, so NaN
    memcpy(&value, &received, sizeof value);
    return value;
}

}  // namespace cs

static inline void __syncthreads() { cs::barrier(); }
static inline int __syncthreads_or(int predicate) {
    static bool any = false;  // one block runs at a time
    cs::barrier();
    any |= predicate != 0;
    cs::barrier();
    int result = any;
    cs::barrier();
    any = false;
    return result;
}
static inline void __syncwarp(unsigned mask = ~0u) { cs::meet(mask, 0); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    int lane = cs::current & 31;
    return cs::shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), true);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int lane = cs::current & 31;
    return cs::shuffle(mask, value, lane + delta, (int)((lane & (width - 1)) + delta) < width);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int lane = cs::current & 31;
    return cs::shuffle(mask, value, lane - delta, (lane & (width - 1)) >= (int)delta);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    int lane = cs::current & 31, source = lane ^ bits;
    return cs::shuffle(mask, value, source, (source & ~(width - 1)) <= (lane & ~(width - 1)));
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const uint64_t* votes = cs::meet(mask, predicate != 0);
    unsigned result = 0;
    for (int i = 0; i < 32; i++)
        if ((mask >> i & 1) && votes[i]) result |= 1u << i;
    return result;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// ---- atomics --------------------------------------------------------------------------------------------------------

namespace cs {
static volatile bool in_atomic;
struct Atomic {
    Atomic() { in_atomic = true; asm volatile("" ::: "memory"); }
    ~Atomic() { asm volatile("" ::: "memory"); in_atomic = false; }
};
}  // namespace cs
#define CS_ATOMIC(NAME, RESULT)                                       \
    template <class T> T NAME(T* p, std::common_type_t<T> v) {        \
        cs::Atomic scope;                                             \
        T old = *p;                                                   \
        *p = (T)(RESULT);                                             \
        return old;                                                   \
    }
CS_ATOMIC(atomicAdd, old + v)
CS_ATOMIC(atomicSub, old - v)
CS_ATOMIC(atomicMax, old > v ? old : v)
CS_ATOMIC(atomicMin, old < v ? old : v)
CS_ATOMIC(atomicExch, v)
CS_ATOMIC(atomicAnd, old & v)
CS_ATOMIC(atomicOr, old | v)
template <class T> T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> v) {
    cs::Atomic scope;
    T old = *p;
    if (old == expected) *p = v;
    return old;
}

// ---- the race detector ----------------------------------------------------------------------------------------------

#ifndef CS_RACE
static void cs::forget_accesses() {}
#else
#define CS_UNTRACKED __attribute__((no_sanitize("thread"), noinline))
namespace cs {

struct Access {
    int block = -1, thread = -1;
    unsigned barriers = 0, meetings = 0;
    bool atomic = false, several = false, warps = false;  // several: threads (of several warps) since the last barrier
};
struct Cell { Access write, read; };  // the latest of each

static std::unordered_map<uintptr_t, Cell> cells;
static std::vector<std::pair<uintptr_t, uintptr_t>> arrays;  // addresses that belong to the launch's arguments

static void forget_accesses() { tracking = false; cells.clear(); }

// Whether an earlier access and one made now, at least one of them a write, could have come the other way round.
CS_UNTRACKED static bool unordered(const Access& earlier, int block) {
    if (earlier.block < 0 || (earlier.atomic && in_atomic)) return false;
    if (earlier.block != block) return true;
    if (earlier.thread == current && !earlier.several) return false;
    if (earlier.barriers != threads[current].barriers) return false;
    return earlier.warps || earlier.thread / 32 != current / 32 || earlier.meetings == threads[current].meetings;
}

CS_UNTRACKED static void touch(void* address, int size, bool write) {
    if (!tracking) return;
    tracking = false;
    uintptr_t first = (uintptr_t)address, memory = (uintptr_t)shared_memory;
    bool shared = first >= memory && first < memory + sizeof shared_memory, ours = shared;
    for (auto& array : arrays) ours |= first >= array.first && first < array.second;
    int block = blockIdx.x + (blockIdx.y + blockIdx.z * gridDim.y) * gridDim.x, grain = std::min(size, 4);
    for (uintptr_t place = first; ours && place < first + size; place += grain) {
        Cell& cell = cells[place];
        if (shared && cell.write.block != block) cell.write = {};
        if (shared && cell.read.block != block) cell.read = {};
        bool after_write = unordered(cell.write, block);
        if (after_write || (write && unordered(cell.read, block))) {
            const Access& other = after_write ? cell.write : cell.read;
            snprintf(message, sizeof message, "data race in %s memory: %s by block %d thread %d, unordered with a %s by block %d thread %d",
                     shared ? "shared" : "global", write ? "write" : "read", block, current, after_write ? "write" : "read",
                     other.block, other.thread);
            failed = true;
            _longjmp(scheduler, 1);
        }
        Access& latest = write ? cell.write : cell.read;
        bool same_stretch = latest.block == block && latest.barriers == threads[current].barriers;
        bool several = !write && same_stretch && (latest.several || latest.thread != current);
        bool warps = several && (latest.warps || latest.thread / 32 != current / 32);
        latest = {block, current, threads[current].barriers, threads[current].meetings, (bool)in_atomic, several, warps};
    }
    tracking = true;
}

}  // namespace cs
#define CS_HOOKS(N)                                                                                     \
    extern "C" CS_UNTRACKED void __tsan_read##N(void* a) { cs::touch(a, N, false); }                    \
    extern "C" CS_UNTRACKED void __tsan_write##N(void* a) { cs::touch(a, N, true); }                    \
    extern "C" CS_UNTRACKED void __tsan_unaligned_read##N(void* a) { cs::touch(a, N, false); }          \
    extern "C" CS_UNTRACKED void __tsan_unaligned_write##N(void* a) { cs::touch(a, N, true); }
CS_HOOKS(1)
CS_HOOKS(2)
CS_HOOKS(4)
CS_HOOKS(8)
CS_HOOKS(16)
extern "C" CS_UNTRACKED void __tsan_read_range(void* a, size_t n) { cs::touch(a, n, false); }
extern "C" CS_UNTRACKED void __tsan_write_range(void* a, size_t n) { cs::touch(a, n, true); }
extern "C" CS_UNTRACKED void __tsan_init() {}
extern "C" CS_UNTRACKED void __tsan_func_entry(void*) {}
extern "C" CS_UNTRACKED void __tsan_func_exit() {}
extern "C" CS_UNTRACKED void __tsan_vptr_update(void*, void*) {}
extern "C" CS_UNTRACKED void __tsan_vptr_read(void*) {}
extern "C" void cs_watch(void* first, size_t size) { cs::arrays.push_back({(uintptr_t)first, (uintptr_t)first + size}); }
extern "C" void cs_watch_nothing() { cs::arrays.clear(); }
#endif

// What a library of kernels exports: a launcher and a signature for each.
#define CS_EXPORT(ID, ...)                                                                                               \
    extern "C" int cs_launch_##ID(const unsigned* dims, unsigned shared, void** arguments, int schedule, unsigned seed, char* out) { \
        return cs::launch(&__VA_ARGS__, dims, shared, arguments, schedule, seed, out);                                   \
    }                                                                                                                    \
    extern "C" const char* cs_sig_##ID() { return cs::signature(&__VA_ARGS__); }

// ---- the built-in functions that C++ does not have -------------------------------------------------------------------

template <class T> T __ldg(const T* p) { return *p; }
template <class A, class B> std::common_type_t<A, B> max(A a, B b) {
    using C = std::common_type_t<A, B>;
    return (C)a > (C)b ? (C)a : (C)b;
}
template <class A, class B> std::common_type_t<A, B> min(A a, B b) {
    using C = std::common_type_t<A, B>;
    return (C)a < (C)b ? (C)a : (C)b;
}
#define __expf expf
#define __logf logf
#define __powf powf
#define __sinf sinf
#define __cosf cosf
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline void sincospi(double x, double* s, double* c) { sincos(M_PI * x, s, c); }
static inline void sincospi(float x, float* s, float* c) {  // in double, as the one of CUDA loses nothing in x·π either
    *s = (float)sin(M_PI * x);
    *c = (float)cos(M_PI * x);
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
template <class T, class S> T cs_bits(S value) {
    static_assert(sizeof(T) == sizeof(S), "");
    T result;
    memcpy(&result, &value, sizeof value);
    return result;
}
static inline int __float_as_int(float x) { return cs_bits<int>(x); }
static inline float __int_as_float(int x) { return cs_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return cs_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return cs_bits<double>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(unsigned long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }

#ifndef CS_NO_HALF  // half: 16 bits in memory, float in arithmetic
struct __half_raw { unsigned short x; };
struct half {
    _Float16 v;
    half() {}
    half(float f) : v((_Float16)f) {}
    explicit half(double f) : v((_Float16)f) {}
    explicit half(int f) : v((_Float16)f) {}
    explicit half(unsigned f) : v((_Float16)f) {}
    explicit half(long long f) : v((_Float16)f) {}
    explicit half(unsigned long long f) : v((_Float16)f) {}
    half(const __half_raw& raw) { memcpy(&v, &raw, 2); }
    operator float() const { return (float)v; }
    operator __half_raw() const { return cs_bits<__half_raw>(v); }
};
typedef half __half;
static inline half __float2half(float f) { return half(f); }
static inline half __float2half_rn(float f) { return half(f); }
static inline float __half2float(half h) { return (float)h; }
static inline half __ushort_as_half(unsigned short u) { return half(__half_raw{u}); }
static inline unsigned short __half_as_ushort(half h) { return ((__half_raw)h).x; }
#endif
