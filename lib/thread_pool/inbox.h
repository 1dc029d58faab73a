/* SPDX-License-Identifier: MIT */
/*
 * The way into a pool without its lock: a bounded queue, mpsc. Anybody pushes;
 * who has the pool's lock takes.
 *
 * It is an array of addresses, so that who takes a share of it touches no
 * future: each was written by another CPU, and following links from one to the
 * next is one cache miss after the other, under the lock.
 *
 * Indices only grow, and slot i lives at i mod SIZE. An empty slot holds an odd
 * number that says for which index it is empty. So one compare-and-swap puts an
 * address where no other push can have put one, and a push that comes by an old
 * index, even one of a lap ago, fails.
 *
 * The slots that are filled are those in [head, tail), without a gap. A push
 * begins at hint, before which everything has been filled: hint is one more
 * than an index that some push has filled, and that push had found everything
 * before it filled. From there it goes on to the next index only if the swap
 * fails, which says that this one is filled, too, or was filled and taken.
 *
 * That a failed swap says so needs that the slot has been emptied for that
 * index: the taker does so before it moves head, and a push goes for an index
 * only after it has seen (acquire) that head is less than SIZE behind.
 *
 * Therefore the slot at head alone tells whether it is empty, and no push that
 * is held up half way keeps others from being seen.
 */
#ifndef SOON_THREAD_POOL_INBOX_H
#define SOON_THREAD_POOL_INBOX_H

#include <soon/backend.h>
#include <stdatomic.h>

#ifndef SOON__INBOX_SIZE
#define SOON__INBOX_SIZE 512 /* the model checker makes do with 2 */
#endif

struct soon__inbox {
    _Alignas(64) _Atomic int64_t hint; /* Sync: atomic: where to push, or before */
    _Atomic int64_t seen;              /* Sync: atomic: head as a push has seen it */
    _Alignas(64) _Atomic int64_t head; /* Sync: atomic; who has the lock writes */
    _Alignas(64) _Atomic uintptr_t slot[SOON__INBOX_SIZE]; /* Sync: atomic */
};

/* i mod SIZE. No index is negative: unsigned it is a mask. */
static inline size_t soon__inbox_slot(int64_t i)
{
    return (uint64_t)i % SOON__INBOX_SIZE;
}

/* What that slot holds while it is empty for i. */
static inline uintptr_t soon__inbox_vacancy(int64_t i)
{
    return (uintptr_t)i << 1 | 1;
}

static inline void soon__inbox_init(struct soon__inbox *inbox)
{
    atomic_init(&inbox->hint, 0);
    atomic_init(&inbox->seen, 0);
    atomic_init(&inbox->head, 0);
    for (int64_t i = 0; i < SOON__INBOX_SIZE; i++)
        atomic_init(&inbox->slot[i], soon__inbox_vacancy(i));
}

/* Has index i a slot? */
static inline bool soon__inbox_has_room(struct soon__inbox *inbox, int64_t i)
{
    /* acquire: whoever stored it had acquired head, see below. */
    if (i - atomic_load_explicit(&inbox->seen, memory_order_acquire) < SOON__INBOX_SIZE)
        return true;
    /* acquire: pairs with the release in soon__inbox_take(). */
    int64_t head = atomic_load_explicit(&inbox->head, memory_order_acquire);
    /* release: passes it on. One who stores an older head makes others look. */
    atomic_store_explicit(&inbox->seen, head, memory_order_release);
    return i - head < SOON__INBOX_SIZE;
}

/* Anybody. False if it is full. */
static inline bool soon__inbox_push(struct soon__inbox *inbox, soon_future *f)
{
    /* relaxed, all of hint: an old one only takes longer. */
    int64_t i = atomic_load_explicit(&inbox->hint, memory_order_relaxed);

    while (soon__inbox_has_room(inbox, i)) {
        uintptr_t vacancy = soon__inbox_vacancy(i);
        /* seq_cst: publishes f to who takes it; and who pushes then looks
         * whether anybody is left to do so, see schedule.c. */
        if (atomic_compare_exchange_strong_explicit(&inbox->slot[soon__inbox_slot(i)], &vacancy,
                                                    (uintptr_t)f, memory_order_seq_cst,
                                                    memory_order_relaxed)) {
            atomic_store_explicit(&inbox->hint, i + 1, memory_order_relaxed);
            return true;
        }
        int64_t hint = atomic_load_explicit(&inbox->hint, memory_order_relaxed);
        i = hint > i ? hint : i + 1;
    }
    return false;
}

/* Anybody. A snapshot. */
static inline bool soon__inbox_empty(const struct soon__inbox *inbox)
{
    /* seq_cst, both: see soon__inbox_push(). */
    int64_t head = atomic_load_explicit(&inbox->head, memory_order_seq_cst);
    return atomic_load_explicit(&inbox->slot[soon__inbox_slot(head)], memory_order_seq_cst) & 1;
}

/* Under the lock. The oldest, up to max of them. How many. */
static inline size_t soon__inbox_take(struct soon__inbox *inbox, soon_future **out, size_t max)
{
    /* relaxed: it is written under the lock. */
    int64_t head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    size_t n = 0;

    for (; n < max; n++, head++) {
        _Atomic uintptr_t *slot = &inbox->slot[soon__inbox_slot(head)];
        /* acquire: pairs with the swap in soon__inbox_push(). */
        uintptr_t at = atomic_load_explicit(slot, memory_order_acquire);
        if (at & 1)
            break;
        /* relaxed: head publishes it. */
        atomic_store_explicit(slot, soon__inbox_vacancy(head + SOON__INBOX_SIZE),
                              memory_order_relaxed);
        out[n] = (soon_future *)at;
    }
    if (n)
        /* release: pairs with the acquire in soon__inbox_has_room(). */
        atomic_store_explicit(&inbox->head, head, memory_order_release);
    return n;
}

#endif
