/* SPDX-License-Identifier: MIT */
/*
 * The two steps of the state word that each call takes, inline, and the end of
 * a call by its shortest way. transition.c argues the races.
 */
#ifndef SOON_CORE_TRANSITION_H
#define SOON_CORE_TRANSITION_H

#include <limits.h>

#include "core/call.h"
#include "core/callback.h"
#include "core/deque.h"
#include "core/executor.h"
#include "os/patience.h"

/* figure: STARTED or HELPED. */
static inline void soon__count_begun(soon_executor *ex, const soon_future *f,
                                     enum soon__figure figure)
{
    if (f->flags & SOON__SLOT)
        soon__room_made(ex->core);
    soon__count(ex, &ex->core->tallies, figure, 1);
}

/* PENDING -> RUNNING|CALL, for who runs the function itself, and so is the one
 * who will complete f. True if this call made it. Never waits, nor counts. */
static inline bool soon__begin_call(soon_future *f)
{
    /* relaxed: the swap below decides, and acquires. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);

    do {
        if (soon__unlikely(!soon__pending(state)))
            return false;
        /* acquire: pairs with the release by which the future was handed
         * over, when the claimer found it by another way than the queue. */
    } while (soon__unlikely(
        !atomic_compare_exchange_weak_explicit(&f->state, &state, state | SOON_RUNNING | SOON__CALL,
                                               memory_order_acq_rel, memory_order_relaxed)));
    return true;
}

/* The same, and counts it. */
static inline bool soon__claim_call(soon_future *f)
{
    if (!soon__begin_call(f))
        return false;
    /* relaxed: for the birthplace only. */
    if (f->executor && !soon__inherited(atomic_load_explicit(&f->state, memory_order_relaxed)))
        soon__count_begun(f->executor, f, SOON__N_STARTED);
    return true;
}

/* For who took f out of a queue, and so has the reference that came with it: has
 * everybody else let go of f? Then nobody touches its word any more, and a step is
 * a plain store. Not for a waiter that runs f in place: the last reference may be
 * one that several threads rely on. */
static inline bool soon__is_alone(const soon_future *f)
{
    /* acquire: what the others did to the word comes before; pairs with the
     * release in soon__future_drop(). */
    return atomic_load_explicit(&f->refs, memory_order_acquire) == 1;
}

/* soon__begin_call() for who took f out of a queue. */
static inline bool soon__begin_queued(soon_future *f)
{
    if (!soon__is_alone(f))
        return soon__begin_call(f);
    /* relaxed, both: see soon__is_alone(). */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);
    if (soon__unlikely(!soon__pending(state)))
        return false;
    atomic_store_explicit(&f->state, state | SOON_RUNNING | SOON__CALL, memory_order_relaxed);
    return true;
}

/* soon__claim_call() for such a one. */
static inline bool soon__claim_queued(soon_future *f)
{
    soon_executor *ex = f->executor;

    if (!ex || !ex->core->drains || (f->flags & ~SOON__LARGE) ||
        /* relaxed: for the birthplace only. */
        soon__inherited(atomic_load_explicit(&f->state, memory_order_relaxed)))
        return soon__claim_call(f);
    if (!soon__begin_queued(f))
        return false;
    soon__count(ex, &ex->core->tallies, SOON__N_STARTED, 1);
    return true;
}

/* Is it like most, with a small argument, without a timeout, and is the calling thread a
 * worker of its executor that has a deque, and a shard to count in? Of such tasks and such
 * threads much is known: the executor lives in this process, drains, and has no bound. */
static inline bool soon__is_plain_here(const soon_future *f)
{
    const struct soon__deque *own = soon__self.fork_deque;

    return soon__likely(own) && soon__likely(f->executor == own->executor) &&
           soon__likely(!f->flags);
}

/* soon__claim_queued() for such a one. */
static inline bool soon__claim_plain(soon_future *f)
{
    if (soon__unlikely(!soon__begin_queued(f)))
        return false;
    soon__bump(soon__self.tally, SOON__N_STARTED, 1);
    return true;
}

/* Takes dead entries, which have come to the bottom, out of the thread's deque. */
void soon__clear_deque(void);

/* f, which somebody else than its queue has claimed or is about to end, is in the
 * queue no more. Often it is the youngest of what the calling thread's tasks have
 * submitted: then its entry's reference goes, which is not f's last. */
void soon__withdraw(soon_executor *ex, soon_future *f);

enum { SOON__HEEDED = SOON__PATIENT | SOON__WAITERS | SOON__HOOKS };

/* The step to done has been made from that state. */
void soon__heed(soon_future *f, uint32_t before);

/* The step to done; what the word was before. */
static inline uint32_t soon__swap_to_done(soon_future *f, enum soon_state phase)
{
    /* relaxed: birthplace never changes. */
    uint32_t keep = atomic_load_explicit(&f->state, memory_order_relaxed) >>
                    SOON__BIRTHPLACE_SHIFT << SOON__BIRTHPLACE_SHIFT;
    /* release: publishes the result, pairs with the acquire in soon__state();
     * acquire: pairs with the swap that set HOOKS. */
    return atomic_exchange_explicit(&f->state, keep | phase, memory_order_acq_rel);
}

static inline void soon__publish(soon_future *f, enum soon_state phase)
{
    uint32_t before = soon__swap_to_done(f, phase);

    if (before & SOON__HEEDED)
        soon__heed(f, before);
}

/* The same for who has the queue's reference. */
static inline void soon__publish_queued(soon_future *f, enum soon_state phase)
{
    /* relaxed, all: see soon__is_alone(). */
    uint32_t state =
        soon__is_alone(f) ? atomic_load_explicit(&f->state, memory_order_relaxed) : SOON__HEEDED;
    if (state & SOON__HEEDED)
        soon__publish(f, phase);
    else
        atomic_store_explicit(&f->state,
                              state >> SOON__BIRTHPLACE_SHIFT << SOON__BIRTHPLACE_SHIFT | phase,
                              memory_order_relaxed);
}

/* The same in two steps. */
bool soon__finish_heeded(soon_future *f);

/* From RUNNING|CALL to FINISHED, and one reference less. */
#define SOON__FINISH_STEP (((uint64_t)1 << 32) + (SOON_RUNNING | SOON__CALL) - SOON_FINISHED)

/* State and references at once. False if they are something else, or it can't be done here.
 * Who waits or has a callback has set a bit, and so has who wants it to stop: if anybody
 * does now, or takes or drops a reference, it fails. */
static inline bool soon__swap_both(soon_future *f, uint64_t from, uint64_t to)
{
#if SOON__PAIRED
    /* acq_rel: as in soon__begin_call(), soon__swap_to_done() and soon__future_drop(). */
    return atomic_compare_exchange_strong_explicit(&f->state_and_refs, &from, to,
                                                   memory_order_acq_rel, memory_order_relaxed);
#else
    (void)f, (void)from, (void)to;
    return false;
#endif
}

/* The step to FINISHED by who runs the call, which has no timeout, and has the queue's
 * reference, which is dropped: at once, unless it is the last. True if somebody had to be
 * told; then callbacks may be due. */
static inline bool soon__finish_queued(soon_future *f)
{
#if SOON__PAIRED
    /* relaxed: the swap decides. */
    uint64_t both = atomic_load_explicit(&f->state_and_refs, memory_order_relaxed);

    if (soon__likely((uint16_t)both == (SOON_RUNNING | SOON__CALL) && both >> 32 > 1) &&
        soon__likely(soon__swap_both(f, both, both - SOON__FINISH_STEP)))
        return false;
#endif
    return soon__finish_heeded(f);
}

/* soon__begin_call() of what the thread, whose deque is own, has forked, most likely
 * untouched since: then all that the word and the references are is known. */
static inline bool soon__begin_fork(const struct soon__deque *own, soon_future *f)
{
    uint64_t running = own->fresh + (SOON_RUNNING | SOON__CALL);

    return soon__likely(soon__swap_both(f, own->fresh, running)) || soon__begin_call(f);
}

/* soon__finish_queued() of that, most likely with nobody else's interest in it. */
static inline bool soon__finish_fork(const struct soon__deque *own, soon_future *f)
{
    uint64_t running = own->fresh + (SOON_RUNNING | SOON__CALL);

    return !soon__likely(soon__swap_both(f, running, running - SOON__FINISH_STEP)) &&
           soon__finish_queued(f);
}

/* As soon__release_one(), but nobody is told of it yet: in a task of ex, for which a
 * drain waits, whose own count comes after this one and is seen with it; or in a
 * worker that will call soon__tell_released() before it sleeps. Before that it may
 * run more tasks, for which the drain waits all the same. */
static inline void soon__release_own(struct soon__tally *mine)
{
    _Atomic uint64_t *released = &mine->figure[SOON__N_RELEASED];

    /* relaxed: this thread alone writes it; release: who sums it finds what
     * came before, SUBMITTED too; pairs with soon__tally_sum(). */
    atomic_store_explicit(released, atomic_load_explicit(released, memory_order_relaxed) + 1,
                          memory_order_release);
}

static inline void soon__count_end(struct soon__tally *mine, int code, size_t bytes_out)
{
    if (code) {
        soon__bump(mine, SOON__N_FAILED, 1);
    } else {
        soon__bump(mine, SOON__N_BYTES_OUT, bytes_out);
        soon__bump(mine, SOON__N_FINISHED, 1);
    }
}

/* Nobody has a reference but the caller, nor a callback: nobody will ever see that the
 * call of f is over. */
static inline bool soon__is_unseen(const soon_future *f)
{
    /* relaxed: see soon__is_alone(). */
    return soon__is_alone(f) &&
           !(atomic_load_explicit(&f->state, memory_order_relaxed) & SOON__HEEDED);
}

/* soon__settle() for most calls, which are in a worker of the executor and have
 * nothing but a function and a small argument: the same steps, in its order. The
 * caller has the queue's reference. False: it is to be called. */
static inline bool soon__settle_plain(soon_future *f, int code)
{
    soon_executor *ex = f->executor;
    /* In a child that the task forked there is none. */
    struct soon__tally *mine = ex ? soon__own_tally(ex) : NULL;
    size_t len = 0;

    if (!mine || !ex->core->drains || f->flags)
        return false;
    if (!code)
        soon__future_value(f, &len);
    soon__count_end(mine, code, len);
    soon__publish_queued(f, SOON_FINISHED);
    if (soon__self.deque || soon__in_task_of(ex))
        soon__release_own(mine);
    else
        soon__release_one(ex);
    if (soon__self.due)
        soon__run_callbacks();
    return true;
}

#endif
