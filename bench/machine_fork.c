/* SPDX-License-Identifier: MIT */
/*
 * The least that a fork and a join can be done with if other workers may steal
 * what was forked: memory from a list of the thread's own, a deque, a claim, a
 * call through a pointer, a result that is published, and two references that are
 * dropped at once. Nobody steals here and nobody waits, nothing is checked, counted or
 * cancelled, and no error can be told; a library does all that besides.
 */
#include "machine.h"

#include <stdalign.h>
#include <stdatomic.h>

enum { PENDING, RUNNING, FINISHED };

struct forker;

struct fork {
    alignas(MACHINE_APART) _Atomic uint32_t state; /* Sync: atomic */
    _Atomic uint32_t references;                   /* Sync: atomic */
    long (*fn)(struct forker *forker, int n);      /* Sync: const once it is pushed */
    int n;                                         /* Sync: const once it is pushed */
    long result;                                   /* Sync: written before FINISHED */
    struct fork *next;                             /* the next free one. Sync: one thread */
};

enum { DEEPEST = 64 }; /* forks of one thread at once; a power of two */

/* One for each thread. */
struct forker {
    struct fork *free; /* Sync: its thread only */
    size_t forks;      /* all that there were. Sync: its thread only */
    alignas(MACHINE_APART) struct fork *_Atomic slot[DEEPEST]; /* Sync: atomic */
    alignas(MACHINE_APART) atomic_size_t bottom;               /* Sync: atomic */
    struct fork forked[DEEPEST];
};

static struct fork *fork_off(struct forker *forker, long (*fn)(struct forker *forker, int n), int n)
{
    struct fork *f = forker->free;
    /* relaxed, all four: a thief sees them by its load of bottom. */
    size_t bottom = atomic_load_explicit(&forker->bottom, memory_order_relaxed);

    forker->free = f->next;
    forker->forks++;
    f->fn = fn;
    f->n = n;
    atomic_store_explicit(&f->state, PENDING, memory_order_relaxed);
    atomic_store_explicit(&f->references, 2, memory_order_relaxed);
    atomic_store_explicit(&forker->slot[bottom % DEEPEST], f, memory_order_relaxed);
    /* release: publishes the slot. Who sleeps puts the barrier that is missing here. */
    atomic_store_explicit(&forker->bottom, bottom + 1, memory_order_release);
    return f;
}

/* The youngest of this thread. */
static long join(struct forker *forker, struct fork *f)
{
    uint32_t pending = PENDING;

    /* relaxed: nobody else writes it. release: on x86 the swap that follows orders it
     * before what a real deque reads then. */
    atomic_store_explicit(&forker->bottom,
                          atomic_load_explicit(&forker->bottom, memory_order_relaxed) - 1,
                          memory_order_release);
    bench_check(!atomic_compare_exchange_strong(&f->state, &pending, RUNNING), "a claim");
    f->result = f->fn(forker, f->n);
    bench_check(atomic_exchange(&f->state, FINISHED) != RUNNING, "an end");
    /* acquire: who holds all there are need not count them down. */
    bench_check(atomic_load_explicit(&f->references, memory_order_acquire) != 2, "references");
    f->next = forker->free;
    forker->free = f;
    return f->result;
}

static long fib(struct forker *forker, int n)
{
    if (n < 2)
        return n;
    struct fork *one = fork_off(forker, fib, n - 1);
    long own = join(forker, fork_off(forker, fib, n - 2));
    return own + join(forker, one);
}

/* ns a fork. */
static double run_fib(void *data)
{
    struct forker *forker = data;
    uint64_t begin = bench_ns();

    forker->forks = 0;
    bench_check(fib(forker, 20) != 6765, "fib");
    return (double)(bench_ns() - begin) / (double)forker->forks;
}

static double measure(void)
{
    struct forker forker = {.free = NULL};

    for (int i = 0; i < DEEPEST; i++) {
        forker.forked[i].next = forker.free;
        forker.free = &forker.forked[i];
    }
    return machine_repeat(run_fib, &forker, 0);
}

static void measure_first(void *data)
{
    ((double *)data)[0] = measure();
}

static void measure_second(void *data)
{
    ((double *)data)[1] = measure();
}

static void run(const struct bench_peer *peer)
{
    double ns[2];

    (void)peer;
    if (!machine_two_cpus("forks on two CPUs"))
        return;
    machine_on_two_cpus(measure_first, measure_second, ns);
    bench_row("limit: fork and join", (ns[0] + ns[1]) / 2, "ns", "n=%d", 20);
}

const struct bench_workload machine_fork_workloads[] = {
    {"limit-fork", run},
    {NULL, NULL},
};
