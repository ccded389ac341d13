// A parallel-for in which every thread has a run of items of its own, and helps with the others' once that is done.
//
// A network's primitives cut the same batch into the same runs, so that a thread finds in its cache what it wrote there
// before; items are claimed one by one from the run's atomic counter, so that of a slowed core's run others take more.
//
// The caller is worker 0. It closes the round when no item is left and waits only for the workers that entered it: one
// that the system woke too late is not missed. Idle workers spin for a short while, since a network calls one primitive right after the
// other, and then sleep on a condition variable: an idle process uses no CPU time. After fork the child starts anew
// with no workers and makes its own at its first parallel-for.
//
// A line takes its time from core to core, so a round costs as few of these, one after the other, as can be: what to do
// lies in the line that says that there is something, a worker asks for all others at once, and the caller begins with its
// first item without waiting for any (two items on cores that lie far apart: 0.8 us above their own time, so 0.6).
//
// Now and then the caller plays ping-pong with each worker: a line goes from core to core in 20 to 60 ns where they share
// a small L3 (Zen 4), in 100 across the mesh of a large one (Granite Rapids), in 150 and more where they share none. Kernels
// ask for that, for it decides how to store what others will read; on the mesh the ways of cores that share are the better
// ones (a training step of LeNet-5 1.14 times, of an MLP on 32 rows 1.26).
//
// Linux leaves a woken worker on the caller's core for whole milliseconds, which would halve the throughput: workers
// are bound to the other cores of the process's set, and anew when the caller turns up on another core.
#define _GNU_SOURCE
#include "threads.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { MAX_THREADS = 64, SPIN_NANOSECONDS = 200000, POLLS_PER_CLOCK = 64, JOB_LINES = 3 };
enum { PROBE_EVERY = 1024, PROBE_AGAIN = 64, BATCHES = 4, PASSES = 16, PATIENCE = 4096, APART_NANOSECONDS = 130 };
enum { ENTERED = 1, LEFT = 1 << 12, CLOSED = 1 << 30 }; // state: workers that take part, those that are done; no more may

static struct {
    int started, home, until_probe;
    atomic_int threads;
    atomic_int apart, assumed; // kernels of other Python threads ask, too
    pthread_mutex_t busy, sleep;
    pthread_cond_t wake;
    pthread_t thread[MAX_THREADS];
    struct {
        _Alignas(64) atomic_long next;
        long end;
    } run[MAX_THREADS];             // each thread's items
    _Alignas(64) atomic_uint round; // one step per parallel-for; in the same line, what that is
    pool_function function;
    void *_Atomic job;
    int taking_part; // threads of this round
    _Alignas(64) atomic_int state;  // of this round
    _Alignas(64) atomic_int asleep;
    atomic_int generation; // workers of an older one leave
} pool = {.threads = 1, .started = 1, .home = -1, .assumed = -1, .state = CLOSED, .busy = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static _Thread_local int inside;      // this thread is running an item
static _Thread_local int most, under; // threads that it may use at all, and in the call under way; 0: all

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long div_up(long a, long b) { return (a + b - 1) / b; }

static long nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void work(int worker) {
    void *job = atomic_load_explicit(&pool.job, memory_order_relaxed);
    const int runs = worker < pool.taking_part ? pool.taking_part : 0;
    for (int k = 0, r = worker; k < runs; k++, r = r + 1 < runs ? r + 1 : 0)
        for (long i; (i = atomic_fetch_add_explicit(&pool.run[r].next, 1, memory_order_relaxed)) < pool.run[r].end;)
            pool.function(job, i, worker);
}

// The caller may have looked at `asleep` just before it changed, with the new round still in its store buffer. After a
// millisecond it no longer is; from then on the caller knows of this sleeper.
static void doze(unsigned seen) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += 1000000;
    if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
    if (atomic_load(&pool.round) == seen) pthread_cond_timedwait(&pool.wake, &pool.sleep, &end);
}

// Returns when the round is no longer `seen`. Yields now and then: should two of our threads share a core, the one
// that has work gets it at once instead of after a whole time slice.
static void await_round(unsigned seen) {
    long start = nanoseconds();
    for (int polls = 1; atomic_load_explicit(&pool.round, memory_order_acquire) == seen; polls++) {
        pause_briefly();
        if (polls % POLLS_PER_CLOCK) continue;
        sched_yield();
        if (nanoseconds() - start < SPIN_NANOSECONDS) continue;
        pthread_mutex_lock(&pool.sleep);
        atomic_fetch_add(&pool.asleep, 1);
        doze(seen);
        while (atomic_load(&pool.round) == seen) pthread_cond_wait(&pool.wake, &pool.sleep);
        atomic_fetch_sub(&pool.asleep, 1);
        pthread_mutex_unlock(&pool.sleep);
    }
}

typedef struct {
    int worker, generation;
    unsigned round;
} worker_start;
static worker_start starts[MAX_THREADS];

// What follows needs lines that other cores have: they are asked for together.
static void fetch_early(int worker) {
    void *job = atomic_load_explicit(&pool.job, memory_order_relaxed);
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(pool.state));
    __asm__ volatile("prefetchw %0" : : "m"(pool.run[worker].next));
#endif
    for (int line = 0; line < JOB_LINES; line++) __builtin_prefetch((const char *)job + 64 * line);
}

static int enter(void) {
    int now = atomic_load_explicit(&pool.state, memory_order_relaxed);
    while (!(now & CLOSED))
        if (atomic_compare_exchange_weak(&pool.state, &now, now + ENTERED)) return 1;
    return 0;
}

static void *worker_main(void *argument) {
    worker_start me = *(worker_start *)argument;
    for (unsigned seen = me.round;; seen++) {
        await_round(seen);
        if (atomic_load(&pool.generation) != me.generation) return 0;
        fetch_early(me.worker);
        if (!enter()) continue;
        inside = 1;
        work(me.worker);
        inside = 0;
        atomic_fetch_add_explicit(&pool.state, LEFT, memory_order_release);
    }
}

static void wake_sleepers(void) {
    if (!atomic_load(&pool.asleep)) return;
    pthread_mutex_lock(&pool.sleep);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleep);
}

// Workers are bound to the cores after the caller's, going round.
static void bind_workers(void) {
#ifdef __linux__
    int home = sched_getcpu();
    if (home < 0 || home == pool.home) return;
    pool.home = home;
    cpu_set_t all, one;
    if (pthread_getaffinity_np(pthread_self(), sizeof all, &all) || CPU_COUNT(&all) < pool.started) return;
    for (int w = 1, cpu = home; w < pool.started; w++) {
        do cpu = (cpu + 1) % CPU_SETSIZE;
        while (!CPU_ISSET(cpu, &all));
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(pool.thread[w], sizeof one, &one);
    }
#endif
}

static void start_workers(void) {
    int generation = atomic_load(&pool.generation);
    for (; pool.started < pool.threads; pool.started++) {
        starts[pool.started] = (worker_start){pool.started, generation, atomic_load(&pool.round)};
        if (pthread_create(&pool.thread[pool.started], 0, worker_main, &starts[pool.started])) break;
    }
    pool.threads = pool.started; // fewer, should the system refuse more
    pool.home = -1;
}

static void stop_workers(void) {
    atomic_fetch_add(&pool.generation, 1);
    atomic_fetch_add(&pool.round, 1);
    wake_sleepers();
    for (int w = 1; w < pool.started; w++) pthread_join(pool.thread[w], 0);
    pool.started = 1;
}

static void after_fork_in_child(void) {
    pool.started = 1;
    pthread_mutex_init(&pool.busy, 0);
    pthread_mutex_init(&pool.sleep, 0);
    pthread_cond_init(&pool.wake, 0);
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.state, CLOSED);
}

void pool_limit(int threads) { most = threads; }

void pool_begin(void) {
    const int threads = atomic_load_explicit(&pool.threads, memory_order_relaxed);
    under = most && most < threads ? most : threads;
}

int pool_size(void) { return under ? under : atomic_load_explicit(&pool.threads, memory_order_relaxed); }

int pool_threads(void) { return pool.threads; }

void pool_resize(int threads) {
    static int registered;
    pthread_mutex_lock(&pool.busy);
    if (!registered) registered = !pthread_atfork(0, 0, after_fork_in_child);
    if (pool.started > 1) stop_workers();
    pool.until_probe = 0;
    pool.apart = 0;
    pool.threads = threads < 1 ? 1 : threads < MAX_THREADS ? threads : MAX_THREADS;
    pthread_mutex_unlock(&pool.busy);
}

void pool_await(const atomic_long *count, long least) {
    for (int polls = 1; atomic_load_explicit(count, memory_order_acquire) < least; polls++)
        if (polls % POLLS_PER_CLOCK) pause_briefly();
        else sched_yield();
}

// ---- how far apart the cores are ----

typedef struct {
    _Alignas(64) atomic_int ball; // odd when it is the worker's turn; below 0 when it has not come yet
} table;

static int await_ball(table *with, int value, int patience) {
    for (int polls = 0; atomic_load_explicit(&with->ball, memory_order_acquire) != value; polls++)
        if (polls == patience) return 0;
    return 1;
}

// The caller's item plays with one worker after the other, a worker's own item with the caller; nobody waits for long.
static void probe_item(void *job, long item, int worker) {
    table *tables = job;
    if (item != worker) return;
    if (worker) {
        atomic_store(&tables[worker].ball, 0);
        for (int i = 0; i < BATCHES * PASSES && await_ball(&tables[worker], 2 * i + 1, pool.threads * PATIENCE); i++)
            atomic_store_explicit(&tables[worker].ball, 2 * i + 2, memory_order_release);
        return;
    }
    long farthest = 0;
    for (int w = 1; w < pool.threads; w++) {
        long least = -1;
        for (int b = 0, i = 0; b < BATCHES; b++) {
            long start = nanoseconds(), end = i + PASSES;
            for (; i < end && await_ball(&tables[w], 2 * i, PATIENCE); i++)
                atomic_store_explicit(&tables[w].ball, 2 * i + 1, memory_order_release);
            if (i < end || !await_ball(&tables[w], 2 * i, PATIENCE)) break;
            long each = (nanoseconds() - start) / (2 * PASSES);
            if (b && (least < 0 || each < least)) least = each;
        }
        if (least < 0) return; // it did not come, or was called away
        farthest = least > farthest ? least : farthest;
    }
    atomic_store_explicit(&pool.apart, farthest > APART_NANOSECONDS, memory_order_relaxed);
    pool.until_probe = PROBE_EVERY;
}

int pool_is_apart(void) {
    int assumed = atomic_load_explicit(&pool.assumed, memory_order_relaxed);
    return (assumed < 0 ? atomic_load_explicit(&pool.apart, memory_order_relaxed) : assumed) && pool.threads > 1;
}

void pool_assume_apart(int apart) { pool.assumed = apart; }

// ---- the parallel-for ----

static void run_round(int threads, long items, pool_function function, void *job) {
    pool.taking_part = threads;
    for (int r = 0; r < threads; r++) {
        atomic_store_explicit(&pool.run[r].next, div_up(items * r, threads), memory_order_relaxed);
        pool.run[r].end = div_up(items * (r + 1), threads);
    }
    atomic_store_explicit(&pool.run[0].next, 1, memory_order_relaxed); // item 0 is the caller's
    pool.function = function;
    atomic_store_explicit(&pool.job, job, memory_order_relaxed);
    atomic_store_explicit(&pool.state, 0, memory_order_release);
    unsigned round = atomic_load_explicit(&pool.round, memory_order_relaxed);
    atomic_store_explicit(&pool.round, round + 1, memory_order_release);
    wake_sleepers();
    inside = 1;
    function(job, 0, 0);
    work(0);
    inside = 0;
    int state = atomic_fetch_or(&pool.state, CLOSED);
    for (int polls = 1; state / LEFT % LEFT != state % LEFT; polls++) {
        if (polls % POLLS_PER_CLOCK) pause_briefly();
        else sched_yield();
        state = atomic_load_explicit(&pool.state, memory_order_acquire);
    }
}

void pool_for(long items, pool_function function, void *job) {
    if (items <= 1 || pool_size() == 1 || inside || pthread_mutex_trylock(&pool.busy)) {
        for (long i = 0; i < items; i++) function(job, i, 0);
        return;
    }
    if (pool.started < pool.threads) start_workers();
    if (pool.started > 1) bind_workers();
    const int threads = pool.threads, wanted = pool_size();
    run_round(wanted < threads ? wanted : threads, items, function, job);
    if (!pool.until_probe--) {
        table tables[MAX_THREADS];
        for (int w = 0; w < threads; w++) atomic_init(&tables[w].ball, -1);
        pool.until_probe = PROBE_AGAIN;
        run_round(threads, threads, probe_item, tables);
    }
    pthread_mutex_unlock(&pool.busy);
}
