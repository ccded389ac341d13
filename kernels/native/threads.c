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
// Now and then the caller plays ping-pong with each worker: a line goes from core to core in 20 to 60 ns where they share
// a cache, in 100 and more where they do not. Kernels ask for that, for it decides how to store what others will read.
//
// Linux leaves a woken worker on the caller's core for whole milliseconds, which would halve the throughput: workers
// are bound to the other cores of the process's set, and anew when the caller turns up on another core.
#define _GNU_SOURCE
#include "threads.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

enum { MAX_THREADS = 64, SPIN_MICROSECONDS = 200, POLLS_PER_CLOCK = 64, CLOSED = 1 << 30,
       PROBE_EVERY = 1024, PROBE_AGAIN = 64, BATCHES = 4, PASSES = 16, PATIENCE = 4096, APART_NANOSECONDS = 80 };

static struct {
    int threads, started, home, apart, until_probe;
    pool_function function;
    void *job;
    pthread_mutex_t busy, sleep;
    pthread_cond_t wake;
    pthread_t thread[MAX_THREADS];
    struct {
        _Alignas(64) atomic_long next;
        long end;
    } run[MAX_THREADS];              // each thread's items
    _Alignas(64) atomic_uint round;  // one step per parallel-for
    _Alignas(64) atomic_int entered; // workers that take part in this round, and whether it is closed to others
    _Alignas(64) atomic_long finished;
    _Alignas(64) atomic_int asleep;
    atomic_int generation; // workers of an older one leave
} pool = {.threads = 1, .started = 1, .home = -1, .entered = CLOSED, .busy = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static _Thread_local int inside; // this thread is running an item

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long microseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void work(int worker) {
    inside = 1;
    for (int k = 0, r = worker; k < pool.threads; k++, r = r + 1 < pool.threads ? r + 1 : 0)
        for (long i; (i = atomic_fetch_add_explicit(&pool.run[r].next, 1, memory_order_relaxed)) < pool.run[r].end;)
            pool.function(pool.job, i, worker);
    inside = 0;
}

// Returns when the round is no longer `seen`. Yields now and then: should two of our threads share a core, the one
// that has work gets it at once instead of after a whole time slice.
static void await_round(unsigned seen) {
    long start = microseconds();
    for (int polls = 1; atomic_load_explicit(&pool.round, memory_order_acquire) == seen; polls++) {
        pause_briefly();
        if (polls % POLLS_PER_CLOCK) continue;
        sched_yield();
        if (microseconds() - start < SPIN_MICROSECONDS) continue;
        pthread_mutex_lock(&pool.sleep);
        atomic_fetch_add(&pool.asleep, 1);
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

static int enter(void) {
    int now = atomic_load(&pool.entered);
    while (!(now & CLOSED))
        if (atomic_compare_exchange_weak(&pool.entered, &now, now + 1)) return 1;
    return 0;
}

static void *worker_main(void *argument) {
    worker_start me = *(worker_start *)argument;
    for (unsigned seen = me.round;; seen++) {
        await_round(seen);
        if (atomic_load(&pool.generation) != me.generation) return 0;
        if (!enter()) continue;
        work(me.worker);
        atomic_fetch_add_explicit(&pool.finished, 1, memory_order_release);
    }
}

static void next_round(void) {
    atomic_fetch_add(&pool.round, 1);
    if (atomic_load(&pool.asleep)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
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
    next_round();
    for (int w = 1; w < pool.started; w++) pthread_join(pool.thread[w], 0);
    pool.started = 1;
}

static void after_fork_in_child(void) {
    pool.started = 1;
    pthread_mutex_init(&pool.busy, 0);
    pthread_mutex_init(&pool.sleep, 0);
    pthread_cond_init(&pool.wake, 0);
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.entered, CLOSED);
}

int pool_size(void) { return pool.threads; }

void pool_resize(int threads) {
    static int registered;
    pthread_mutex_lock(&pool.busy);
    if (!registered) registered = !pthread_atfork(0, 0, after_fork_in_child);
    if (pool.started > 1) stop_workers();
    pool.until_probe = pool.apart = 0;
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

static long nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

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
    pool.apart = farthest > APART_NANOSECONDS;
    pool.until_probe = PROBE_EVERY;
}

int pool_is_apart(void) { return pool.apart && pool.threads > 1; }

// ---- the parallel-for ----

static void run_round(long items, pool_function function, void *job) {
    pool.function = function;
    pool.job = job;
    for (int r = 0; r < pool.threads; r++) {
        atomic_store_explicit(&pool.run[r].next, items * r / pool.threads, memory_order_relaxed);
        pool.run[r].end = items * (r + 1) / pool.threads;
    }
    atomic_store(&pool.finished, 0);
    atomic_store(&pool.entered, 0);
    next_round();
    work(0);
    int taking_part = atomic_fetch_or(&pool.entered, CLOSED);
    pool_await(&pool.finished, taking_part);
}

void pool_for(long items, pool_function function, void *job) {
    if (items <= 1 || pool.threads == 1 || inside || pthread_mutex_trylock(&pool.busy)) {
        for (long i = 0; i < items; i++) function(job, i, 0);
        return;
    }
    if (pool.started < pool.threads) start_workers();
    if (pool.started > 1) bind_workers();
    run_round(items, function, job);
    if (!pool.until_probe--) {
        table tables[MAX_THREADS];
        for (int w = 0; w < pool.threads; w++) atomic_init(&tables[w].ball, -1);
        pool.until_probe = PROBE_AGAIN;
        run_round(pool.threads, probe_item, tables);
    }
    pthread_mutex_unlock(&pool.busy);
}
