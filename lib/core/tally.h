/* SPDX-License-Identifier: MIT */
/*
 * An executor's figures, counted without contention.
 *
 * Each worker counts in a shard of its own, everybody else in the base. A
 * figure is the sum over all of them. Counters only grow.
 */
#ifndef SOON_CORE_TALLY_H
#define SOON_CORE_TALLY_H

#include <soon/backend.h>

#include "core/thread.h"
#include "os/lock.h"

enum soon__figure {
    SOON__N_FINISHED, /* these four in the order of enum soon__outcome */
    SOON__N_FAILED,
    SOON__N_CANCELLED,
    SOON__N_TIMED_OUT,
    SOON__N_STARTED, /* in their turn */
    SOON__N_HELPED,  /* started in place, by who waited */
    SOON__N_BYTES_IN,
    SOON__N_BYTES_OUT,
    SOON__N_HELD,     /* bytes outside the futures of tasks accepted */
    SOON__N_LET_GO,   /* the same of tasks released */
    SOON__N_RELEASED, /* done for everybody to see */
    SOON__N_SUBMITTED,
    SOON__FIGURES
};

enum { SOON__LENGTHS = 49 }; /* 0 to SOON__PAYLOAD */

/* Tasks with nothing but a small argument are counted in one step as they come in: the
 * number of those with an argument of a length is as many SUBMITTED, and BYTES_IN. The
 * same goes for what a task forks, and joins without anything else happening, and the
 * length of its result: FINISHED, RELEASED and BYTES_OUT.
 *
 * So RELEASED comes before a task that is joined like that is done. That order matters
 * only to a drain, which waits for the outer task, too; when that is released this one is
 * done. */
struct soon__tally {
    /* Sync: atomic, all three; a shard is written by its thread only. */
    _Alignas(64) _Atomic uint64_t figure[SOON__FIGURES];
    _Atomic uint64_t plain[SOON__LENGTHS];  /* by the length of the argument */
    _Atomic uint64_t joined[SOON__LENGTHS]; /* by that of the result; none in the base */
    struct soon__tally *next;               /* Sync: the tallies' lock */
};

struct soon__tallies {
    struct soon__tally base;    /* Sync: atomic */
    struct soon__tally *shards; /* Sync: lock */
    soon__lock lock;
};

/* A shard for the calling thread, or NULL without memory: base serves too. */
struct soon__tally *soon__tally_join(struct soon__tallies *tallies);

/* Adds the shard to the base and frees it. */
void soon__tally_leave(struct soon__tallies *tallies, struct soon__tally *shard);

void soon__tally_sum(struct soon__tallies *tallies, uint64_t sum[SOON__FIGURES]);

/* The shard where the calling thread counts for ex, or NULL. */
static inline struct soon__tally *soon__own_tally(const soon_executor *ex)
{
    return soon__self.worker_of == ex ? soon__self.tally : NULL;
}

/* Adds n in the calling thread's own shard. */
static inline void soon__add(_Atomic uint64_t *figure, uint64_t n)
{
    /* relaxed: this thread alone writes it; who needs an order gets it from what
     * is published after (the future's state, or RELEASED). */
    uint64_t sum = atomic_load_explicit(figure, memory_order_relaxed) + n;

    atomic_store_explicit(figure, sum, memory_order_relaxed);
}

static inline void soon__bump(struct soon__tally *mine, enum soon__figure figure, uint64_t n)
{
    soon__add(&mine->figure[figure], n);
}

static inline void soon__bump_plain(struct soon__tally *mine, size_t arg_len)
{
    soon__add(&mine->plain[arg_len], 1);
}

static inline void soon__bump_joined(struct soon__tally *mine, size_t value_len)
{
    _Atomic uint64_t *joined = &mine->joined[value_len];

    /* relaxed: as above; release: who sums it finds what came before, that the task
     * came in too; pairs with soon__tally_sum(). */
    atomic_store_explicit(joined, atomic_load_explicit(joined, memory_order_relaxed) + 1,
                          memory_order_release);
}

/* Counts n where the calling thread counts for ex. */
static inline void soon__count(const soon_executor *ex, struct soon__tallies *tallies,
                               enum soon__figure figure, uint64_t n)
{
    struct soon__tally *mine = soon__own_tally(ex);

    if (mine)
        soon__bump(mine, figure, n);
    else
        /* relaxed: as above. */
        atomic_fetch_add_explicit(&tallies->base.figure[figure], n, memory_order_relaxed);
}

#endif
