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

struct soon__tally {
    _Alignas(64) _Atomic uint64_t figure[SOON__FIGURES]; /* Sync: atomic; a shard is written by
                                                            its thread only */
    struct soon__tally *next;                            /* Sync: the tallies' lock */
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

/* Counts n in the calling thread's own shard. */
static inline void soon__bump(struct soon__tally *mine, enum soon__figure figure, uint64_t n)
{
    /* relaxed: this thread alone writes it; who needs an order gets it from what
     * is published after (the future's state, or RELEASED). */
    uint64_t sum = atomic_load_explicit(&mine->figure[figure], memory_order_relaxed) + n;

    atomic_store_explicit(&mine->figure[figure], sum, memory_order_relaxed);
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
