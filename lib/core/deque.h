/* SPDX-License-Identifier: MIT */
/*
 * A bounded work-stealing deque, spmc (Chase and Lev, "Dynamic Circular
 * Work-Stealing Deque", 2005; orderings after Le, Pop, Cohen and Zappa
 * Nardelli, "Correct and Efficient Work-Stealing for Weak Memory Models",
 * 2013, with their fences folded into seq_cst accesses, since thread
 * sanitizer does not see fences).
 *
 *     owner     push at the bottom, take from the bottom
 *     anybody   steal from the top (the owner too: that makes it a FIFO)
 *
 * Indices only grow, and slot i lives at i mod SIZE. The entries are those
 * in [top, bottom).
 *
 * Why an entry goes to exactly one thread. Every steal, and the take of a last
 * entry, wins it by moving top from t to t + 1, so two of these can't both
 * win. Against a take of an entry that is not the last: the owner first lowers
 * bottom to b, then reads top; a thief first reads top = t, then bottom. All
 * four are seq_cst. If the owner reads top < b, then a thief that goes for
 * t = b has read top after the owner did, so it reads bottom after it was
 * lowered to b, finds t >= bottom, and turns away.
 *
 * A wait takes the task in two steps, with its claim between them, which is a
 * read-modify-write and so may stand for the order between the owner's two
 * accesses (os/barrier.h). In the language's terms: a seq_cst fence is between
 * them. The thief's read of top comes after the owner's in the order of all that
 * is seq_cst, as above, and the owner's after the fence; so the thief's read of
 * bottom comes after the fence, and finds what was stored before it.
 *
 * From the first step on the task is in no deque, and not claimed yet: taking
 * says so to who empties the deques because the pool ends. Who finds the deque
 * without it has seen bottom, and with that taking, which was set before.
 *
 * An entry whose task the owner has claimed although it is not the youngest, since
 * a task waits for its children in the order in which it has submitted them, stays
 * where it is, and would be in the way of every later take of what is below. So the
 * owner notes that it is dead, and takes it when it is the youngest. Nobody but the
 * owner reads or writes these notes, and a thief may well get there first. A note is
 * for an index, which no other entry gets before the owner has taken this one.
 *
 * Why a thief does not return a slot that was reused. push overwrites slot t
 * only after it has read top > t, perhaps long before (limit), and then the thief's
 * compare-and-swap from t fails.
 *
 * Who pushes then looks for sleepers, and who goes to sleep then looks for tasks: see
 * schedule.c. For that the push's store to bottom has to be seq_cst, and not only a
 * release, which is the most expensive thing about it. An owner that pushes a lot is
 * swift, and leaves it to those who go to sleep (Dice, Huang and Yang, "Asymmetric
 * Dekker Synchronization", 2001): they first put a barrier into every thread of the
 * process, which is expensive, and not needed often.
 *
 * n_swift says how many owners are. Who goes to sleep makes it known, wanted, and then
 * reads n_swift, both seq_cst.
 *
 *   It reads that there are some: after the barrier it sees what they pushed before it,
 *   and they read wanted after it, and see that.
 *   It reads none, before the owner says, seq_cst, that it is one: wanted comes before
 *   that in the order of all that is seq_cst, and so the owner's reads of wanted after
 *   it, which those of a swift owner are, see it.
 *   It reads none, after the owner has said that it is one no more: that has published
 *   what it had pushed.
 *
 * So it is whoever looks for tasks that has to see to it, whatever it has made known
 * before: an end of the pool, too, which the owner may not read until it is too late.
 * An owner that sees that it is wanted is swift no more, nor is one that sleeps in a wait
 * or has nothing to do. So if it goes on pushing there are SWIFT_AFTER pushes between the
 * barriers for two who fall asleep; only if it does something else for long they cost
 * others a barrier each.
 */
#ifndef SOON_CORE_DEQUE_H
#define SOON_CORE_DEQUE_H

#include <soon/backend.h>
#include <stdatomic.h>

#include "os/barrier.h"
#include "os/hint.h"

#ifndef SOON__DEQUE_SIZE
#define SOON__DEQUE_SIZE 512 /* the model checker makes do with 2 */
#endif

_Static_assert((SOON__DEQUE_SIZE & (SOON__DEQUE_SIZE - 1)) == 0, "not a power of two");
enum { SOON__DEQUE_MASK = SOON__DEQUE_SIZE - 1 };

#ifndef SOON__SWIFT_AFTER
#define SOON__SWIFT_AFTER 512 /* pushes, which take as long as some barriers */
#endif

struct soon__deque {
    _Alignas(64) soon_future *_Atomic slot[SOON__DEQUE_SIZE]; /* Sync: atomic; the owner writes */
    _Alignas(64) _Atomic int64_t top;                         /* Sync: atomic */
    _Alignas(64) _Atomic int64_t bottom;                      /* Sync: atomic; the owner writes */
    int64_t room;                      /* before it there is some. Sync: owner-only */
    int64_t limit;                     /* the same of an owner that is swift; of others before
                                          all. Sync: owner-only */
    atomic_bool taking;                /* the owner may hold a task that is neither queued nor
                                          claimed. Sync: atomic; it writes */
    bool swift;                        /* see above. Sync: owner-only */
    bool overflowed;                   /* it was full: until it is empty it takes nothing. Sync:
                                          owner-only */
    unsigned n_dead;                   /* noted below, but perhaps stolen since. Sync: owner-only */
    soon_executor *executor;           /* whose tasks these are, once it is adopted. Sync: const
                                          then */
    uintptr_t stack_low;               /* above it the owner may run one task more on top of its
                                          stack. Sync: const then */
    uint64_t fresh;                    /* see soon__fresh(): of what is forked, with a reference
                                          of the user's. Sync: const once it is adopted */
    const atomic_bool *wanted;         /* somebody has to see to what is pushed. Sync: const;
                                          what it points at: atomic */
    unsigned n_pushed;                 /* since it was swift, or could not be. Sync: owner-only */
    void (*attend)(soon_executor *ex); /* sees to what is wanted. Sync: const */
    _Atomic unsigned *n_swift;         /* owners of the pool that are. Sync: const; what it
                                          points at: atomic */
    int64_t dead[SOON__DEQUE_SIZE];    /* index + 1 of a dead entry in that slot; of another
                                          lap's, or 0: it is not. Sync: owner-only */
};

/* Owner. From here on its pushes are swift, if that can be had. */
static inline void soon__deque_quicken(struct soon__deque *d)
{
    d->n_pushed = 0;
    if (!soon__has_barrier_everywhere())
        return;
    d->swift = true;
    d->limit = d->room;
    /* seq_cst: see above. */
    atomic_fetch_add_explicit(d->n_swift, 1, memory_order_seq_cst);
}

/* Owner. They are no more, and those that were can be seen. */
static inline void soon__deque_slow_down(struct soon__deque *d)
{
    if (!d->swift)
        return;
    d->swift = false;
    d->limit = 0;
    /* release: pairs with the load in soon__deque_catch_up(). */
    atomic_fetch_sub_explicit(d->n_swift, 1, memory_order_release);
}

/* Whoever has made known that owners are wanted, and looks for what they have pushed:
 * it will see that, or they see that they are wanted. */
static inline void soon__deque_catch_up(const _Atomic unsigned *n_swift)
{
    /* seq_cst: see above. */
    if (atomic_load_explicit(n_swift, memory_order_seq_cst))
        soon__barrier_everywhere();
}

/* Owner. After the slots before it have been filled. */
static inline void soon__deque_publish(struct soon__deque *d, int64_t bottom)
{
    /* seq_cst: publishes the slots to the load of bottom in steal, and see above. */
    atomic_store_explicit(&d->bottom, bottom, memory_order_seq_cst);
    if (++d->n_pushed == SOON__SWIFT_AFTER)
        soon__deque_quicken(d);
}

static inline void soon__deque_publish_swiftly(struct soon__deque *d, int64_t bottom)
{
    /* release: publishes the slots to the load of bottom in steal. */
    atomic_store_explicit(&d->bottom, bottom, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* as soon__barrier_everywhere() wants it */
}

/* Owner. Has index b a slot? Top never goes back, so what has one once keeps it. */
static inline bool soon__deque_has_room(struct soon__deque *d, int64_t b)
{
    if (soon__likely(b < d->room))
        return true;
    if (d->overflowed)
        return false;
    /* acquire: a thief is done with the slot it moved top past. */
    d->room = atomic_load_explicit(&d->top, memory_order_acquire) + SOON__DEQUE_SIZE;
    return b < d->room;
}

/* Owner. False at the limit: it takes soon__deque_push(). */
static inline bool soon__deque_push_swiftly(struct soon__deque *d, soon_future *f)
{
    /* relaxed: the owner's own. */
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);

    if (soon__unlikely(b >= d->limit))
        return false;
    /* relaxed: published by bottom. */
    atomic_store_explicit(&d->slot[b & SOON__DEQUE_MASK], f, memory_order_relaxed);
    soon__deque_publish_swiftly(d, b + 1);
    return true;
}

/* Owner. The same at any pace. False when full. */
static inline bool soon__deque_push(struct soon__deque *d, soon_future *f)
{
    /* relaxed: the owner's own. */
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);

    if (soon__unlikely(!soon__deque_has_room(d, b)))
        return false;
    /* relaxed: published by bottom. */
    atomic_store_explicit(&d->slot[b & SOON__DEQUE_MASK], f, memory_order_relaxed);
    if (soon__likely(d->swift)) {
        d->limit = d->room;
        soon__deque_publish_swiftly(d, b + 1);
    } else {
        soon__deque_publish(d, b + 1);
    }
    return true;
}

/* Owner. It takes nothing any more, until overflowed is cleared. */
static inline void soon__deque_overflow(struct soon__deque *d)
{
    d->overflowed = true;
    d->limit = d->room = 0;
}

/* Owner. A task that its task has submitted. False when full, or until what was in it
 * then has gone, which keeps such tasks in order. After it: if soon__deque_is_wanted(),
 * soon__deque_attend(). */
static inline bool soon__deque_offer(struct soon__deque *d, soon_future *f)
{
    if (soon__likely(soon__deque_push_swiftly(d, f)) || soon__deque_push(d, f))
        return true;
    soon__deque_overflow(d);
    return false;
}

/* Has somebody to see to what has been pushed? */
static inline bool soon__deque_is_wanted(const struct soon__deque *d)
{
    /* seq_cst: see above. */
    return atomic_load_explicit(d->wanted, memory_order_seq_cst);
}

static inline void soon__deque_attend(struct soon__deque *d)
{
    soon__deque_slow_down(d);
    d->attend(d->executor);
}

/* Owner of an empty deque: n at once, at most SIZE, with one store. */
static inline void soon__deque_push_many(struct soon__deque *d, soon_future *const *f, size_t n)
{
    /* relaxed: the owner's own. */
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_relaxed);

    for (size_t i = 0; i < n; i++, b++)
        /* relaxed: published by bottom. That it is empty was seen by a load of
         * top, so that no thief will take what was in the slot. */
        atomic_store_explicit(&d->slot[b & SOON__DEQUE_MASK], f[i], memory_order_relaxed);
    /* seq_cst: as in soon__deque_publish(). */
    atomic_store_explicit(&d->bottom, b, memory_order_seq_cst);
}

/* Anybody. The oldest entry, or NULL if there is none or another thread won
 * it; *again then tells the two apart. */
static inline soon_future *soon__deque_steal(struct soon__deque *d, bool *again)
{
    /* seq_cst, all: see above. */
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst);
    int64_t b = atomic_load_explicit(&d->bottom, memory_order_seq_cst);

    *again = false;
    if (t >= b)
        return NULL;
    /* relaxed: the load of bottom has acquired it. */
    soon_future *f = atomic_load_explicit(&d->slot[t & SOON__DEQUE_MASK], memory_order_relaxed);
    if (atomic_compare_exchange_strong_explicit(&d->top, &t, t + 1, memory_order_seq_cst,
                                                memory_order_relaxed))
        return f;
    *again = true;
    return NULL;
}

/* Anybody. The oldest entry, or NULL if there is none. */
static inline soon_future *soon__deque_take_oldest(struct soon__deque *d)
{
    soon_future *f;
    bool again;

    do
        f = soon__deque_steal(d, &again);
    while (again);
    return f;
}

/* Owner. Is the youngest entry, *b, or the one that was there before, f? */
static inline bool soon__deque_youngest(const struct soon__deque *d, const soon_future *f,
                                        int64_t *b)
{
    /* relaxed, both: the owner's own, and a slot it wrote itself. */
    *b = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;
    return atomic_load_explicit(&d->slot[*b & SOON__DEQUE_MASK], memory_order_relaxed) == f;
}

/* The last entry, or none: whoever moves top has it. Apart, since it is rare. */
static __attribute__((noinline, unused)) bool soon__deque_win_last(struct soon__deque *d, int64_t t,
                                                                   int64_t b)
{
    bool won = t == b && atomic_compare_exchange_strong_explicit(
                             &d->top, &t, b + 1, memory_order_seq_cst, memory_order_relaxed);
    /* relaxed: the deque is empty now, there is nothing to publish. */
    atomic_store_explicit(&d->bottom, b + 1, memory_order_relaxed);
    return won;
}

/* Owner, which has lowered bottom to b. Is entry b its own now? */
static inline bool soon__deque_win(struct soon__deque *d, int64_t b)
{
    /* seq_cst: see above. */
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst);

    return soon__likely(t < b) || soon__deque_win_last(d, t, b);
}

/* Owner. Removes the youngest entry if it is f. */
static inline bool soon__deque_take(struct soon__deque *d, const soon_future *f)
{
    int64_t b;

    if (!soon__deque_youngest(d, f, &b))
        return false;
    /* seq_cst: see above. */
    atomic_store_explicit(&d->bottom, b, memory_order_seq_cst);
    return soon__deque_win(d, b);
}

/* The same in two steps, between which the owner claims the task, by a
 * read-modify-write. b: what soon__deque_youngest() says. */
static inline void soon__deque_begin_take(struct soon__deque *d, int64_t b)
{
    /* relaxed: published with bottom. */
    atomic_store_explicit(&d->taking, true, memory_order_relaxed);
    /* release, or seq_cst: see above. */
    atomic_store_explicit(&d->bottom, b, SOON__BEFORE_UPDATE);
}

/* claimed: it has. True if it has the entry, too; else another has it or, not
 * claimed, it stays for whom it may concern. */
static inline bool soon__deque_end_take(struct soon__deque *d, int64_t b, bool claimed)
{
    bool won = false;

    if (soon__likely(claimed))
        won = soon__deque_win(d, b);
    else
        /* release: publishes the slot, as push does. */
        atomic_store_explicit(&d->bottom, b + 1, memory_order_release);
    /* release: pairs with the acquire of who waits for it. */
    atomic_store_explicit(&d->taking, false, memory_order_release);
    return won;
}

/* Owner, which has claimed f. If that is in the deque, near the bottom, its
 * entry is dead from now on. False: it is elsewhere. */
static inline bool soon__deque_bury(struct soon__deque *d, const soon_future *f)
{
    enum { NEAR = 64 };
    /* relaxed, all: the owner's own. */
    int64_t at = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;
    int64_t last = at < NEAR ? 0 : at - NEAR;

    for (; at >= last; at--)
        if (atomic_load_explicit(&d->slot[at & SOON__DEQUE_MASK], memory_order_relaxed) == f) {
            d->dead[at & SOON__DEQUE_MASK] = at + 1;
            d->n_dead++;
            return true;
        }
    return false;
}

/* Owner. Removes the youngest entry if it is dead; its task, or NULL. */
static inline soon_future *soon__deque_unearth(struct soon__deque *d)
{
    /* relaxed, all: the owner's own, and a slot it wrote itself; with an old top it
     * only finds later that there are none. */
    int64_t at = atomic_load_explicit(&d->bottom, memory_order_relaxed) - 1;

    if (at < atomic_load_explicit(&d->top, memory_order_relaxed)) {
        d->n_dead = 0;
        return NULL;
    }
    if (at < 0 || d->dead[at & SOON__DEQUE_MASK] != at + 1)
        return NULL;
    d->dead[at & SOON__DEQUE_MASK] = 0;
    d->n_dead--;
    soon_future *f = atomic_load_explicit(&d->slot[at & SOON__DEQUE_MASK], memory_order_relaxed);
    return soon__deque_take(d, f) ? f : NULL;
}

/* What the calling thread's tasks submit to the executor that it is a worker of
 * lies here: a wait for the youngest takes it back. Until soon_worker_leave(). The
 * backend has set wanted, attend and n_swift before, since a fork puts there what it would be
 * given, if it has nothing but a function and a small argument. Who has a deque calls
 * soon__tell_released() before it sleeps for want of work. */
void soon__deque_adopt(struct soon__deque *d);

/* No fork goes there any more: its owner will not look again. */
void soon__deque_retire(void);

/* The tasks that the calling thread has run are done: see soon__release_own(). */
void soon__tell_released(soon_executor *ex);

/* Owner. The index that the next push gets. */
static inline int64_t soon__deque_end(const struct soon__deque *d)
{
    /* relaxed: the owner's own. */
    return atomic_load_explicit(&d->bottom, memory_order_relaxed);
}

/* Owner. A snapshot. */
static inline int64_t soon__deque_size(const struct soon__deque *d)
{
    /* relaxed, both: the owner's own, and a hint. */
    return atomic_load_explicit(&d->bottom, memory_order_relaxed) -
           atomic_load_explicit(&d->top, memory_order_relaxed);
}

/* Owner. What is so many behind the oldest, which may be gone any time, or NULL. */
static inline const soon_future *soon__deque_behind(const struct soon__deque *d, int64_t behind)
{
    /* relaxed, all: the owner wrote the slots itself, and with an old top it is another
     * entry. */
    int64_t at = atomic_load_explicit(&d->top, memory_order_relaxed) + behind;

    if (at >= atomic_load_explicit(&d->bottom, memory_order_relaxed))
        return NULL;
    return atomic_load_explicit(&d->slot[at & SOON__DEQUE_MASK], memory_order_relaxed);
}

/* Anybody. Has everything before an index been taken? A snapshot. */
static inline bool soon__deque_past(const struct soon__deque *d, int64_t end)
{
    /* seq_cst: as in steal. */
    return atomic_load_explicit(&d->top, memory_order_seq_cst) >= end;
}

/* Anybody. A snapshot. */
static inline bool soon__deque_empty(const struct soon__deque *d)
{
    /* seq_cst: as in steal. */
    int64_t t = atomic_load_explicit(&d->top, memory_order_seq_cst);
    return t >= atomic_load_explicit(&d->bottom, memory_order_seq_cst);
}

#endif
