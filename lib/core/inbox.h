/* SPDX-License-Identifier: MIT */
/*
 * The way into a queue for threads that don't have its lock: a stack of futures
 * that anybody pushes onto, and that who has the lock empties as a whole
 * (Treiber, "Systems Programming: Coping with Parallelism", 1986). As nothing
 * is ever popped alone, a head that comes back means what it meant before.
 *
 * This header is the one part of the core, beside its memory, that a backend
 * in a hurry may include: a future's link and priority, without a call.
 */
#ifndef SOON_CORE_INBOX_H
#define SOON_CORE_INBOX_H

#include <soon/backend.h>

#include "core/future.h"

struct soon__inbox {
    soon_future *_Atomic newest; /* the others follow by next, to the oldest. Sync: atomic */
};

static inline int soon__future_priority(const soon_future *f)
{
    return f->priority;
}

/* Anybody, with a future that is nowhere else. */
static inline void soon__inbox_push(struct soon__inbox *inbox, soon_future *f)
{
    /* relaxed: it is not looked into, and the swap below fails if it is old. */
    soon_future *newest = atomic_load_explicit(&inbox->newest, memory_order_relaxed);

    do
        f->next = newest;
    /* seq_cst: publishes f to who empties the inbox; and who pushes then looks
     * whether anybody is left to do so, see the user's argument. */
    while (!atomic_compare_exchange_weak_explicit(&inbox->newest, &newest, f, memory_order_seq_cst,
                                                  memory_order_relaxed));
}

/* Anybody. A snapshot. */
static inline bool soon__inbox_empty(const struct soon__inbox *inbox)
{
    /* seq_cst: see soon__inbox_push(). */
    return !atomic_load_explicit(&inbox->newest, memory_order_seq_cst);
}

/* Moves everything into a queue, in the order in which it came. Under the
 * queue's lock. */
static inline void soon__inbox_empty_into(struct soon__inbox *inbox, struct soon_task_queue *queue)
{
    soon_future *f = NULL, *oldest = NULL;

    if (!soon__inbox_empty(inbox))
        /* acquire: pairs with the release in every push. */
        f = atomic_exchange_explicit(&inbox->newest, NULL, memory_order_acquire);
    while (f) {
        soon_future *next = f->next;
        f->next = oldest;
        oldest = f;
        f = next;
    }
    soon_task_queue_push(queue, oldest);
}

#endif
