// Which thread works on which sequences, or units, of a recurrent layer.
//
// The plain version shares out each step's product and waits at its end. Here
//   - small kernels fit the L2 of each core: the batch is split for the whole sequence, and no step waits; so it is where the
//     cores share no cache (LSTM 1.1 times: states cross no border);
//   - where they are large, the threads share out the panels of units of one group of sequences, and each keeps its part of
//     the kernels in its own L2: no step begins before all of the step before is done, and a thread that is done early takes
//     panels of one that is late. Backward, the batch is split nevertheless, but for tiles (recurrent.c): sharing would send
//     all gates' gradients from core to core at every step, 5 % slower.
#include "recurrent_parts.h"
#include "arena.h"
#include "threads.h"
#include <stdatomic.h>

// Kernels up to this stay in a core's L2 as a whole: of 1 MB, or 2, which all that have tiles have.
INLINE size_t near_bytes(const sequence_job *g) {
    return on_tiles(g) ? 1600 << 10 : is_intel_server() ? 1280 << 10 : 512 << 10;
}

// Of what is multiplied at every step; on tiles backward does so with the recurrent kernel alone.
INLINE size_t kernel_bytes(const sequence_job *g) {
    const long rows = g->backward && on_tiles(g) ? g->s.h : g->s.i + g->s.h;
    return (size_t)(g->gates * g->s.h * rows) * (on_tiles(g) ? PIECES * sizeof(bf16) : sizeof(REAL));
}

typedef struct {
    const sequence_job *g;
    group_steps steps;
    long groups, room_size;
    REAL *room;
    group together;
    atomic_long done;    // tasks of all its phases
    atomic_int *claimed; // per task, in how many phases
} sequence_run;

static REAL *carve(REAL *room, long *used, long n) {
    REAL *part = room ? room + *used : NULL;
    *used += round_up(n, 16);
    return part;
}

// Lays out a group's buffers in `room`, if that is given; their size.
static long carve_group(group *o, REAL *room) {
    const sequence_job *g = o->g;
    long used = 0;
    const long columns = g->backward ? (on_tiles(g) ? 0 : g->blocks * ld(g->s.h)) : ld(state_at(g) + g->s.h);
    o->operands[0] = carve(room, &used, ROWS * columns);
    o->operands[1] = g->backward ? o->operands[0] : carve(room, &used, ROWS * columns);
    if (on_tiles(g)) {
        const long blocks = g->backward ? g->blocks * split_steps(g->s.h) : split_steps(g->s.i) + split_steps(g->s.h);
        for (int i = 0; i < 2; i++) o->split[i] = (bf16 *)carve(room, &used, blocks * SPLIT_REALS);
        o->split_extra = (bf16 *)carve(room, &used, split_steps(g->s.h) * SPLIT_REALS);
    }
    o->carry_h = carve(room, &used, ROWS * ld(g->s.h));
    o->carry_c = carve(room, &used, ROWS * ld(g->s.h));
    o->extra = carve(room, &used, ROWS * ld(g->s.h));
    return used;
}

// None of one sequence, unless there is but one: two take little longer.
static group group_of(const sequence_run *r, long i) {
    const long n = r->g->s.n, first = div_up(i * n, r->groups);
    return (group){.g = r->g, .first = first, .rows = div_up((i + 1) * n, r->groups) - first};
}

static void run_alone(void *job, long item, int worker) {
    const sequence_run *r = job;
    group o = group_of(r, item);
    carve_group(&o, r->room + worker * r->room_size);
    r->steps.begin(&o);
    if (on_tiles(r->g)) tiles_begin();
    for (long phase = 0; phase < r->steps.phases; phase++)
        for (long task = 0; task < r->steps.tasks; task++) r->steps.task(&o, phase, task, r->steps.tasks);
    if (on_tiles(r->g)) tiles_end();
    if (r->steps.end) r->steps.end(&o);
}

// Whoever comes takes part in the phase that is under way: nobody waits for a thread that has not begun.
static void run_together(void *job, long item, int worker) {
    sequence_run *r = job;
    const group_steps *s = &r->steps;
    const long first = worker * s->tasks / pool_size();
    (void)item;
    if (on_tiles(r->g)) tiles_begin();
    for (long phase; (phase = atomic_load_explicit(&r->done, memory_order_acquire) / s->tasks) < s->phases;) {
        for (long i = 0; i < s->tasks; i++) {
            long task = (first + i) % s->tasks;
            int unclaimed = (int)phase;
            if (atomic_load_explicit(&r->claimed[task], memory_order_relaxed) != unclaimed) continue;
            if (!atomic_compare_exchange_strong(&r->claimed[task], &unclaimed, (int)phase + 1)) continue;
            s->task(&r->together, phase, task, s->tasks);
            atomic_fetch_add_explicit(&r->done, 1, memory_order_release);
        }
        pool_await(&r->done, (phase + 1) * s->tasks);
    }
    if (on_tiles(r->g)) tiles_end();
}

int run_groups(const sequence_job *g, group_steps steps) {
    const sequence_shape s = g->s;
    const int threads = pool_size();
    if (!s.n) return 0;
    const int large = kernel_bytes(g) > near_bytes(g) && (on_tiles(g) || !pool_is_apart());
    const int shared = threads > 1 && steps.tasks > 1 && (s.n < threads || large);
    long groups = div_up(s.n, ROWS);
    if (!shared) groups = round_up(groups, threads);
    group sizes = {.g = g};
    sequence_run r = {.g = g, .steps = steps, .groups = max_l(1, min_l(groups, s.n / 2)), .room_size = carve_group(&sizes, NULL)};
    const size_t rooms = shared ? 1 : threads, bytes = rooms * (size_t)r.room_size * sizeof(REAL);
    r.room = scratch(SCRATCH_STATE, bytes + (size_t)steps.tasks * sizeof(atomic_int));
    if (!r.room) return -1;
    if (!shared) {
        pool_for(r.groups, run_alone, &r);
        return 0;
    }
    r.claimed = (atomic_int *)((char *)r.room + bytes);
    for (long i = 0; i < r.groups; i++) {
        r.together = group_of(&r, i);
        carve_group(&r.together, r.room);
        atomic_store(&r.done, 0);
        for (long task = 0; task < steps.tasks; task++) atomic_store(&r.claimed[task], 0);
        steps.begin(&r.together);
        pool_for(threads, run_together, &r);
        if (steps.end) steps.end(&r.together);
    }
    return 0;
}
