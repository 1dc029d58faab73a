/* SPDX-License-Identifier: MIT */
/*
 * A mutex in four bytes (Drepper, "Futexes Are Tricky", 2005, mutex 3).
 *
 *     0 free, 1 held, 2 held and somebody may sleep
 *
 * A sleeper always leaves the word at 2 when it takes the lock, because it
 * can't know whether it was the only one; that costs at most one needless
 * wake. Not recursive. Zero-initialise.
 *
 * Ranks: a thread takes locks only in this order, and at most one of a kind
 * (a fork, around which all the process-wide ones are taken, goes the same way).
 *
 *     imap's turn > a process pool's collecting > pool or loop > a future's hook stripe > blocked
 * threads > as_completed > timer, tallies > depot of futures
 */
#ifndef SOON_OS_LOCK_H
#define SOON_OS_LOCK_H

#include "os/clock.h"
#include "os/spin.h"

typedef struct soon__lock {
    soon__futex word; /* Sync: atomic */
} soon__lock;

static inline bool soon__lock_try(soon__lock *lock)
{
    uint32_t seen = 0;

    /* acquire: pairs with the release in soon__lock_release(). */
    return atomic_compare_exchange_strong_explicit(&lock->word, &seen, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* The slow path: spins for about the length of a critical section, then
 * sleeps. */
void soon__lock_wait(soon__lock *lock);

static inline void soon__lock_acquire(soon__lock *lock)
{
    if (!soon__lock_try(lock))
        soon__lock_wait(lock);
}

static inline void soon__lock_release(soon__lock *lock)
{
    /* release: pairs with the acquires in soon__lock_acquire(). */
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        soon__futex_wake(&lock->word, 1);
}

/* After a fork, in the child, for a lock whose holder stayed in the parent. */
static inline void soon__lock_reset(soon__lock *lock)
{
    /* relaxed: the child has one thread. */
    atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

#endif
