// Where arrays and scratch lie.
//
// The plain version is malloc and free. It asks the system for every large block and gives it back, so that each array of a
// training step takes a page fault for every 4 KB again, and it lets all large blocks begin at the same place of a page. Here
//     arrays     come from free lists by size class: what is freed waits for the next array of its class
//     scratch    grows to the most that a thread has asked for and stays
// and both are on huge pages where those are offered. Large blocks are set off from each other: adam on 1 Mi parameters, which
// walks four arrays, took 206 us, so 153 us (COLOURS).
#define _GNU_SOURCE
#include "arena.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum { ALIGN = 64, HUGE_PAGE = 2 << 20, SMALLEST_SHIFT = 8, CLASSES = 4 * 48 }; // the largest is of 7/4 2^55 bytes

// Large blocks, which begin at a huge page, are set off from each other by steps of this many bytes, COLOURS of them:
// else element i of all arrays would lie in the same set of every cache and the same bank of memory, and a kernel that
// walks four of them would wait for itself.
enum { COLOUR = 17 * ALIGN, COLOURS = 16 };

// Under AddressSanitizer nothing is kept or rounded up: every request gets a block of its exact size, so that an overrun
// is seen.
#ifdef __SANITIZE_ADDRESS__
enum { EXACT = 1 };
#else
enum { EXACT = 0 };
#endif

static void *huge_aligned(size_t bytes) {
    size_t align = bytes >= HUGE_PAGE && !EXACT ? HUGE_PAGE : ALIGN;
    void *p = NULL;
    if (posix_memalign(&p, align, EXACT ? bytes : (bytes + align - 1) / align * align)) return NULL;
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return p;
}

// ---- scratch ----

static pthread_key_t scratch_key; // frees a thread's buffers when it ends
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

typedef struct {
    void *buffer[SCRATCH_USES];
    size_t size[SCRATCH_USES];
} scratch_buffers;

static void free_buffers(void *argument) {
    scratch_buffers *own = argument;
    for (int use = 0; use < SCRATCH_USES; use++) free(own->buffer[use]);
    free(own);
}
static void make_key(void) { pthread_key_create(&scratch_key, free_buffers); }

void *scratch(enum scratch_use use, size_t bytes) {
    static _Thread_local scratch_buffers *own;
    if (!own) {
        pthread_once(&scratch_once, make_key);
        if (!(own = calloc(1, sizeof *own))) return NULL;
        pthread_setspecific(scratch_key, own);
    }
    if (!bytes) bytes = ALIGN; // NULL means that memory is out
    if (EXACT || own->size[use] < bytes) {
        free(own->buffer[use]);
        own->size[use] = 0;
        if (!(own->buffer[use] = huge_aligned(bytes))) return NULL;
        own->size[use] = bytes;
    }
    return own->buffer[use];
}

// ---- arrays: free lists by size class, four classes per power of two ----

typedef struct header {
    size_t capacity;
    int size_class;
    struct header *next;
    void *start; // what the system gave
    char pad[ALIGN - sizeof(size_t) - 3 * sizeof(void *)];
} header;
_Static_assert(sizeof(header) == ALIGN, "the header must not disturb the alignment");

static struct {
    pthread_mutex_t lock;
    header *free[CLASSES];
    size_t live, peak, kept;
} arena = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void lock_arena(void) { pthread_mutex_lock(&arena.lock); }
static void unlock_arena(void) { pthread_mutex_unlock(&arena.lock); }
void arena_survive_fork(void) { pthread_atfork(lock_arena, unlock_arena, unlock_arena); }

static int class_of(size_t bytes, size_t *capacity) {
    int shift = SMALLEST_SHIFT;
    while (((size_t)2 << shift) < bytes) shift++;
    size_t base = (size_t)1 << shift, step = base / 4;
    int part = bytes <= base ? 0 : (int)((bytes - base + step - 1) / step);
    *capacity = base + part * step;
    return (shift - SMALLEST_SHIFT) * 4 + part;
}

static header *new_block(size_t capacity) {
    static atomic_uint blocks;
    int large = capacity >= HUGE_PAGE && !EXACT;
    size_t offset = large ? atomic_fetch_add(&blocks, 1) % COLOURS * COLOUR : 0;
    char *start = huge_aligned(capacity + offset);
    if (!start) return NULL;
    header *block = (header *)(start + offset);
    block->start = start;
    return block;
}

void *arena_allocate(size_t bytes) {
    size_t capacity;
    if (bytes > PTRDIFF_MAX / 2) return NULL;
    int class = class_of(bytes + ALIGN, &capacity);
    if (class >= CLASSES) return NULL;
    if (EXACT) capacity = bytes + ALIGN;
    lock_arena();
    header *block = arena.free[class];
    if (block) {
        arena.free[class] = block->next;
        arena.kept -= capacity;
    } else {
        unlock_arena();
        if (!(block = new_block(capacity))) return NULL;
        lock_arena();
    }
    arena.live += capacity;
    if (arena.live > arena.peak) arena.peak = arena.live;
    unlock_arena();
    block->capacity = capacity;
    block->size_class = class;
    return block + 1;
}

// A kept block of another class, the next larger one if there is any, taken from its list; NULL if there is none.
static header *take_other(int class) {
    int other = class + 1;
    while (other < CLASSES && !arena.free[other]) other++;
    if (other == CLASSES)
        for (other = class - 1; other >= 0 && !arena.free[other];) other--;
    if (other < 0) return NULL;
    header *block = arena.free[other];
    arena.free[other] = block->next;
    arena.kept -= block->capacity;
    return block;
}

// The last block to be freed is the likeliest to be wanted again: it is kept, and others go, so that no more is kept than
// was ever in use at a time.
void arena_free(void *pointer) {
    if (!pointer) return;
    header *block = (header *)pointer - 1, *gone = NULL, *other;
    lock_arena();
    arena.live -= block->capacity;
    while (arena.kept + block->capacity > arena.peak && (other = take_other(block->size_class))) {
        other->next = gone;
        gone = other;
    }
    if (!EXACT && arena.kept + block->capacity <= arena.peak) {
        block->next = arena.free[block->size_class];
        arena.free[block->size_class] = block;
        arena.kept += block->capacity;
    } else {
        block->next = gone;
        gone = block;
    }
    unlock_arena();
    for (; gone; gone = other) {
        other = gone->next;
        free(gone->start);
    }
}

void arena_release(void) {
    lock_arena();
    for (int class = 0; class < CLASSES; class++)
        for (header *block = arena.free[class], *next; block; block = next) {
            next = block->next;
            free(block->start);
        }
    memset(arena.free, 0, sizeof arena.free);
    arena.kept = 0;
    arena.peak = arena.live;
    unlock_arena();
#ifdef __GLIBC__
    malloc_trim(0); // what lies between blocks in use goes back to the system by this alone
#endif
}

size_t arena_size(const void *pointer) { return ((const header *)pointer - 1)->capacity - ALIGN; }
