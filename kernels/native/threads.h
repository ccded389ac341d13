// The one pool of worker threads: a parallel-for at a time.
#pragma once
#include <stdatomic.h>

typedef void (*pool_function)(void *job, long item, int worker);

// Run function(job, item, worker) for every item in 0 ... items - 1, on up to pool_size() threads; worker < pool_size()
// tells the threads of one call apart. Called from inside an item, from a second Python thread while the first is in
// the pool, or with one item, it runs everything in the caller as worker 0.
void pool_for(long items, pool_function function, void *job);
// Returns once *count is at least `least`: for work that is split across the items of one call.
void pool_await(const atomic_long *count, long least);
// A call begins: until the next one on this thread, pool_size() is what it is now, whatever other threads set meanwhile, for
// kernels get scratch for as many.
void pool_begin(void);
int pool_size(void);
int pool_threads(void);        // all that there are
void pool_limit(int threads);  // as many at most for calls from this thread that begin later; 0: all
// Whether some of its threads run on cores without a common cache.
int pool_is_apart(void);
void pool_assume_apart(int apart); // for tests: 1 or 0 instead of what was found, -1 for that again
void pool_resize(int threads);
