/* SPDX-License-Identifier: MIT */
/*
 * How tasks and threads find each other.
 *
 *     from outside --> inbox --> queue (one, under the lock, by priority)
 *                                |  a share of the NORMAL ones at a time
 *     from a worker's tasks --> the worker's deque --> the worker, oldest first
 *                                |
 *                                +--> other workers, oldest first (stealing)
 *
 * The inbox takes one NORMAL task at a time, without the lock, while nobody has
 * to be woken for it. What is in it is newer than the queue, and joins it when
 * the inbox is full and before something else is queued.
 *
 * Order. HIGH and LOW tasks only go through the queue. A worker looks there
 * first while a HIGH is in it, and now and then in any case, so that its own
 * tasks' children starve nobody. Some of what is in deques is older than all
 * that is in the queue, and goes first, whosever it is: see share.c. A worker
 * whose deque was full keeps to the queue until the deque is empty, so that its
 * tasks' children start in order, too.
 *
 * No task is left lying while a worker sleeps.
 *
 *   Through the queue: push and park are under the lock. The pusher takes idle
 *   workers off their stack and wakes them; the parker has seen the queue
 *   empty under the same lock.
 *
 *   Through a deque or the inbox: the pusher stores bottom, or a slot of
 *   the inbox, then loads helpers; the parker, under the lock, stores helpers
 *   (it is idle now), then loads the slot that the inbox is filled at next and
 *   the bottom of every deque. All
 *   are seq_cst, so one of them sees the other: the pusher takes the lock and
 *   wakes somebody, or the parker goes on looking. The same goes for a worker
 *   that stops searching, that leaves, or that sleeps in a wait: after each of
 *   these helpers is stored, then somebody looks. And for an end that cancels:
 *   helpers is stored, then soon__flush() empties inbox and deques. A worker that
 *   pushes a lot stores bottom without waiting for it; for that one, between its
 *   store and its look, the other side catches up (deque.h).
 *
 *   A worker that searches is as good as one that finds: it looks before it sleeps.
 *   So others may sleep though there is work while one searches, see runner.c.
 *
 *   A pusher that can't start a worker though none is awake, which the inbox
 *   did not let it know before, runs the task itself.
 */
#include "thread_pool/pool.h"

#include "os/patience.h"

#include <errno.h>

enum {
    LOOK_EVERY = 61, /* turns from the deque between looks at the queue */
    AGE = 64,        /* HIGHs in a row that go before a deque */
    FETCH = 4,       /* tasks between the one that is run and the one that is fetched */
    SPIN_SLICE_NS = 1000,
    PARCEL = 256, /* tasks at once that are put in order before the lock is taken */
};

#ifndef SPIN_SLICES
enum { SPIN_SLICES = 5 }; /* the model checker makes do with 1 */
#endif

_Thread_local struct worker *soon__this_worker;

/* ---- bookkeeping, under the lock ---- */

/* To workers that are awake; who parks looks under the lock. Its line stays
 * where it is read while nothing changes. */
static void set_hint(atomic_bool *hint, bool value)
{
    /* relaxed, both: a hint. */
    if (atomic_load_explicit(hint, memory_order_relaxed) != value)
        atomic_store_explicit(hint, value, memory_order_relaxed);
}

void soon__count_queue(struct pool *pool)
{
    set_hint(&pool->queued, soon__backlog_count(&pool->queue));
    set_hint(&pool->urgent, pool->queue.high.count);
}

bool soon__has_work(struct pool *pool)
{
    if (soon__backlog_count(&pool->queue) || !soon__inbox_empty(&pool->inbox))
        return true;
    for (struct worker *w = pool->workers; w; w = w->next)
        if (!soon__deque_empty(&w->deque))
            return true;
    return false;
}

/* ---- work comes in ---- */

/* Under the lock. 0, or why not; parcel: the chain, if it is not empty. */
static int enter_queue(struct pool *pool, soon_future *chain, size_t n,
                       const struct soon__parcel *parcel, struct worker **taken)
{
    struct worker *self = soon__this_worker;
    int ending = atomic_load(&pool->ending);

    if (ending != POOL_OPEN)
        return ending == POOL_BROKEN ? -ENOTRECOVERABLE : -ESHUTDOWN;
    int error = soon__backlog_reserve(&pool->queue, SOON__INBOX_SIZE + (parcel->n ? 0 : n));
    if (!error)
        error = soon__find_workers(pool, n, true, taken);
    if (error)
        return error;
    if (self && self->pool == pool && self->deque.overflowed)
        soon__put_deque_first(self);
    soon__backlog_fetch(&pool->queue, &pool->inbox);
    if (parcel->n)
        soon__backlog_append(&pool->queue, parcel);
    else
        soon__backlog_push(&pool->queue, chain);
    return 0;
}

static __attribute__((noinline)) int schedule_queue(struct pool *pool, soon_future *chain, size_t n)
{
    struct worker *taken = NULL;
    struct soon__parcel parcel = {.first = NULL};

    if (n >= PARCEL)
        soon__parcel_pack(&parcel, chain);
    soon__lock_acquire(&pool->lock);
    int error = enter_queue(pool, chain, n, &parcel, &taken);
    soon__count_queue(pool);
    soon__lock_release(&pool->lock);
    if (error)
        soon__parcel_free(&parcel);
    soon__wake(taken);
    return error;
}

static __attribute__((noinline)) void find_helper(struct pool *pool)
{
    struct worker *taken = NULL;

    soon__lock_acquire(&pool->lock);
    bool alone = soon__find_workers(pool, 1, true, &taken) != 0 && soon__awake(pool) == 0;
    soon__lock_release(&pool->lock);
    soon__wake(taken);
    if (alone)
        soon__run_rest(pool);
}

__attribute__((noinline)) void soon__attend(soon_executor *ex)
{
    struct pool *pool = (struct pool *)ex;

    if (atomic_load(&pool->ending) >= POOL_CANCELLING)
        soon__flush(pool);
    if (atomic_load(&pool->helpers))
        find_helper(pool);
}

/* After something went into the inbox. */
static inline void look_for_helpers(struct pool *pool)
{
    /* seq_cst: see the head of the file. */
    if (atomic_load(&pool->helpers))
        soon__attend(&pool->ex);
}

/* From outside: while enough workers are awake without the lock. */
static __attribute__((noinline)) int schedule_outside(struct pool *pool, soon_future *f)
{
    /* relaxed, both: hints; what counts is looked at after the push. */
    if (atomic_load_explicit(&pool->helpers, memory_order_relaxed) ||
        atomic_load_explicit(&pool->ending, memory_order_relaxed) != POOL_OPEN ||
        !soon__inbox_push(&pool->inbox, f))
        return schedule_queue(pool, f, 1);
    look_for_helpers(pool);
    return 0;
}

/* A worker's task submits to its own pool: that goes into the deque. */
static bool is_own(const struct worker *self, const struct pool *pool)
{
    return self && self->pool == pool && !self->leaving && atomic_load(&pool->ending) == POOL_OPEN;
}

/* But into the queue when the deque is full, and then for as long as that keeps the
 * tasks in order; several go there at once. */
static __attribute__((noinline)) int schedule_past(struct worker *self, soon_future *chain,
                                                   size_t n)
{
    soon__deque_overflow(&self->deque);
    return schedule_queue(self->pool, chain, n);
}

static __attribute__((noinline)) int schedule_fork(struct worker *self, soon_future *f)
{
    if (!soon__deque_offer(&self->deque, f))
        return schedule_past(self, f, 1);
    if (soon__deque_is_wanted(&self->deque))
        soon__deque_attend(&self->deque);
    return 0;
}

int soon__schedule(struct pool *pool, soon_future *chain, size_t n)
{
    struct worker *self = soon__this_worker;
    bool plain = n == 1 && soon__future_priority(chain) == SOON_PRIORITY_NORMAL;

    if (!is_own(self, pool))
        return plain ? schedule_outside(pool, chain) : schedule_queue(pool, chain, n);
    if (plain)
        return schedule_fork(self, chain);
    return n == 1 ? schedule_queue(pool, chain, 1) : schedule_past(self, chain, n);
}

/* ---- a worker looks for work ---- */

static void set_taking(struct worker *self, bool taking)
{
    /* relaxed: what takes a task off a deque or a queue publishes it to
     * whoever finds the task gone; see await_claims() in flush.c. */
    atomic_store_explicit(&self->deque.taking, taking, memory_order_relaxed);
}

/* The oldest task of the worker's own deque. */
static soon_future *take_own(struct worker *self)
{
    set_taking(self, true);
    soon_future *f = soon__deque_take_oldest(&self->deque);
    if (!f) {
        set_taking(self, false);
        self->deque.overflowed = false;
        return NULL;
    }
    const soon_future *behind = soon__deque_behind(&self->deque, FETCH);
    if (behind)
        soon__future_fetch(behind);
    self->turns++;
    self->passed_over = 0;
    return f;
}

static bool should_look_at_queue(struct worker *self)
{
    struct pool *pool = self->pool;

    /* relaxed, both: hints, see soon__count_queue(). */
    if (atomic_load_explicit(&pool->urgent, memory_order_relaxed))
        return self->passed_over++ < AGE;
    return self->turns >= LOOK_EVERY && !self->deque.overflowed &&
           soon__deque_past(&self->deque, self->old_end) &&
           (atomic_load_explicit(&pool->queued, memory_order_relaxed) ||
            !soon__inbox_empty(&pool->inbox));
}

/* From another worker, under the lock, which keeps the workers there. The runner
 * has no use for help. */
static soon_future *steal(struct worker *self)
{
    soon_future *f = NULL;

    for (struct worker *w = self->pool->workers; w && !f; w = w->next)
        if (w != self && w != self->pool->runner)
            f = soon__deque_take_oldest(&w->deque);
    if (f)
        /* relaxed: a figure. */
        atomic_fetch_add_explicit(&self->stolen, 1, memory_order_relaxed);
    return f;
}

/* ---- searching ---- */

enum found { FOUND, LOOK_AGAIN, SPIN, WATCH, SLEEP, LEAVE };

/* How long the calling worker searches. While others work it would soon find what
 * they have, and be in their way. */
static unsigned slices_to_spin(const struct pool *pool)
{
    bool alone = soon__awake(pool) - pool->n_idle == 1;

    return pool->lucky && alone ? SOON__SPIN_LONG * SPIN_SLICES : SPIN_SLICES;
}

/* Nothing to do: one worker spins for a moment before it sleeps. */
static enum found go_idle(struct worker *self, unsigned spun)
{
    struct pool *pool = self->pool;

    if (soon__spin_pays() && spun < slices_to_spin(pool) && !pool->spinning) {
        pool->spinning = true;
        soon__start_searching(self);
        return SPIN;
    }
    if (spun)
        pool->lucky = false;
    soon__push_idle(self);
    if (!soon__has_work(pool))
        return SLEEP;
    soon__remove_idle(self);
    self->relays = true; /* who brought it may have relied on the watcher */
    return LOOK_AGAIN;
}

/* A worker leaves, unless what came at the last moment is then left alone. */
static enum found go_away(struct worker *self, struct worker **taken)
{
    soon__decide_to_leave(self);
    if (!soon__has_work(self->pool) || soon__find_workers(self->pool, 1, false, taken) == 0)
        return LEAVE;
    soon__decide_to_stay(self);
    return LOOK_AGAIN;
}

/* It is one too many. */
static enum found go_to_reserve(struct worker *self, struct worker **taken)
{
    enum found found = go_away(self, taken);

    if (found != LEAVE || atomic_load(&self->pool->ending) != POOL_OPEN)
        return found;
    soon__push_reserve(self);
    return SLEEP;
}

static soon_future *take_any(struct worker *self, bool served)
{
    set_taking(self, true);
    soon_future *f = served ? NULL : soon__take_outside(self);
    if (!f)
        f = steal(self);
    if (!f)
        set_taking(self, false);
    return f;
}

/* It has found none. served: but there may be some that are left to the runner. */
static enum found go_without(struct worker *self, bool served, unsigned spun, struct worker **taken)
{
    struct pool *pool = self->pool;

    if (served && !pool->n_searching) {
        soon__start_watching(self);
        return WATCH;
    }
    if (atomic_load(&pool->ending) != POOL_OPEN)
        return go_away(self, taken);
    if (!served)
        return go_idle(self, spun);
    soon__push_idle(self);
    return SLEEP;
}

/* The queue, other workers, and if nothing is there what to do instead. spun:
 * slices that it has just spun for. */
static enum found look(struct worker *self, unsigned spun, soon_future **out)
{
    struct pool *pool = self->pool;
    struct worker *taken = NULL;
    enum found found = FOUND;

    soon__lock_acquire(&pool->lock);
    bool relays = self->relays || spun;
    if (spun)
        pool->spinning = false;
    bool served = soon__leave_to_runner(self);
    soon__stop_searching(self);
    /* A spare whose reason has woken up leaves what it was woken for, if
     * anything, to another. */
    bool surplus = soon__awake(pool) > pool->max_workers;
    soon_future *f = surplus ? NULL : take_any(self, served);
    if (surplus)
        found = go_to_reserve(self, &taken);
    else if (!f)
        found = go_without(self, served, spun, &taken);
    else if (relays && soon__has_work(pool))
        soon__find_workers(pool, 1, true, &taken); /* may fail: this one is awake */
    pool->lucky |= f && spun;
    soon__lock_release(&pool->lock);
    soon__wake(taken);
    *out = f;
    return found;
}

/* While a worker spins it sees what comes from outside at once, and what comes
 * into a deque when it looks again, after each slice. */
static bool something_came(const void *data)
{
    const struct pool *pool = data;

    /* relaxed, both: hints, what follows is a look under the lock. */
    return !soon__inbox_empty(&pool->inbox) ||
           atomic_load_explicit(&pool->queued, memory_order_relaxed) ||
           atomic_load_explicit(&pool->ending, memory_order_relaxed) != POOL_OPEN;
}

static soon_future *find_task(struct worker *self, bool *leave)
{
    soon_future *f;

    for (unsigned spun = 0;;) {
        enum found found = look(self, spun, &f);
        switch (found) {
        case SPIN:
            soon__spin_for(SPIN_SLICE_NS, something_came, self->pool);
            spun++;
            break;
        case WATCH:
            soon__nap_watching(self);
            spun = 0;
            break;
        case SLEEP:
            *leave = !soon__park(self);
            return NULL;
        case LEAVE:
            *leave = true;
            return NULL;
        case FOUND:
        case LOOK_AGAIN:
            return f;
        }
    }
}

static soon_future *next_task(struct worker *self, bool *leave)
{
    soon_future *f = should_look_at_queue(self) ? NULL : take_own(self);

    *leave = false;
    if (f)
        return f;
    if (soon__deque_empty(&self->deque)) {
        soon__wake_owed();
        soon__deque_slow_down(&self->deque);
        soon__tell_released(&self->pool->ex);
        return find_task(self, leave);
    }
    /* It looks at the queue although it has work of its own. */
    soon__lock_acquire(&self->pool->lock);
    set_taking(self, true);
    f = soon__take_outside(self);
    soon__lock_release(&self->pool->lock);
    return f ? f : take_own(self);
}

soon_future *soon__next_task(struct worker *self, bool *leave)
{
    soon_future *f = next_task(self, leave);
    /* relaxed, both: a figure for who watches. */
    uint64_t begun = atomic_load_explicit(&self->begun, memory_order_relaxed);

    if (f)
        atomic_store_explicit(&self->begun, begun + 1, memory_order_relaxed);
    return f;
}
