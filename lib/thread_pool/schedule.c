/* SPDX-License-Identifier: MIT */
/*
 * How tasks and threads find each other.
 *
 *     from outside ----------> queue (one, under the lock, by priority)
 *                                |  a share of the NORMAL ones at a time
 *     from a worker's tasks --> the worker's deque --> the worker, oldest first
 *                                |
 *                                +--> other workers, oldest first (stealing)
 *
 * Order. HIGH and LOW tasks only go through the queue. A worker looks there
 * first while a HIGH is in it, and now and then in any case, so that its own
 * tasks' children starve nobody. Some of what is in deques is older than all
 * that is in the queue: shares of it, and tasks whose younger siblings went to
 * the queue because the deque was full. Everybody takes those first, whosever
 * they are, so that one submitter's tasks start in order though a worker is
 * held up. A worker whose deque was full keeps to the queue until the deque is
 * empty, for the same reason.
 *
 * No task is left lying while a worker sleeps.
 *
 *   Through the queue: push and park are under the lock. The pusher takes idle
 *   workers off their stack and wakes them; the parker has seen the queue
 *   empty under the same lock.
 *
 *   Through a deque: the pusher stores bottom, then loads helpers; the parker,
 *   under the lock, stores helpers (it is idle now), then loads the bottom of
 *   every deque. All are seq_cst, so one of them sees the other: the pusher
 *   takes the lock and wakes somebody, or the parker goes on looking.
 *
 * Idle workers are a stack, so that the one with the warmest caches is woken
 * first and the coldest times out. The one on top spins a little before it
 * sleeps: waking it is then a store.
 */
#include "thread_pool/pool.h"

#include <errno.h>

enum {
    SHARE_MAX = 32,  /* tasks taken from the queue at a time */
    LOOK_EVERY = 61, /* turns from the deque between looks at the queue */
    AGE = 64,        /* HIGHs in a row that go before a deque */
};

_Thread_local struct worker *soon__this_worker;

/* ---- bookkeeping, under the lock ---- */

void soon__count_queue(struct pool *pool)
{
    /* relaxed, both: hints to workers that are awake; who parks looks under
     * the lock. */
    atomic_store_explicit(&pool->n_queued, pool->queue.count, memory_order_relaxed);
    atomic_store_explicit(&pool->urgent, pool->queue.lane[0].head != NULL, memory_order_relaxed);
}

void soon__count_helpers(struct pool *pool)
{
    bool helpers = pool->n_idle || soon__awake(pool) < pool->max_workers;

    /* seq_cst: see the head of the file. */
    if (atomic_load(&pool->helpers) != helpers)
        atomic_store(&pool->helpers, helpers);
}

bool soon__has_work(struct pool *pool)
{
    if (pool->queue.count)
        return true;
    for (struct worker *w = pool->workers; w; w = w->next)
        if (!soon__deque_empty(&w->deque))
            return true;
    return false;
}

/* ---- waking ---- */

/* Takes up to n idle workers off the stack, under the lock, to be woken
 * without it. */
static struct worker *take_idle(struct pool *pool, size_t n)
{
    struct worker *taken = NULL;

    for (; n && pool->idle; n--) {
        struct worker *worker = pool->idle;
        pool->idle = worker->below;
        pool->n_idle--;
        worker->idle = false;
        worker->to_wake = taken;
        taken = worker;
    }
    soon__count_helpers(pool);
    return taken;
}

static void wake(struct worker *taken)
{
    while (taken) {
        struct worker *next = taken->to_wake;
        /* release: pairs with the acquire in park(). From here on the worker
         * may be gone: the wake itself only uses its address. */
        uint32_t was = atomic_exchange_explicit(&taken->awake, WORKER_AWAKE, memory_order_release);
        if (was == WORKER_ASLEEP)
            soon__futex_wake(&taken->awake, 1);
        taken = next;
    }
}

void soon__wake_all(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    struct worker *taken = take_idle(pool, pool->n_idle);
    soon__lock_release(&pool->lock);
    wake(taken);
}

/* Idle workers for n tasks, then new ones, under the lock. One that has been
 * woken and has not looked yet will find one of the tasks, and then see to the
 * rest itself, as one that has just started does: that spares most wake-ups, each a system call, of
 * a submitter that is about as fast as the workers. The tasks are safe as long as one worker is
 * awake; more than that is speed, and may fail. */
static int find_workers(struct pool *pool, size_t n, struct worker **taken)
{
    if (pool->n_searching)
        n--;
    size_t idle = pool->n_idle < n ? pool->n_idle : n;
    int error = 0;

    for (n -= idle; n && soon__awake(pool) < pool->max_workers && !error; n--)
        error = soon__worker_start(pool);
    if (soon__awake(pool) == 0)
        return error;
    *taken = take_idle(pool, idle);
    for (struct worker *w = *taken; w; w = w->to_wake) {
        w->searching = w->relays = true;
        pool->n_searching++;
    }
    return 0;
}

/* ---- work comes in ---- */

/* What a worker has in its deque now goes before what it puts into the queue.
 * Under the lock. */
static void put_deque_first(struct worker *self)
{
    self->share_end = soon__deque_end(&self->deque);
    self->pool->older_elsewhere = true;
}

static int schedule_queue(struct pool *pool, soon_future *chain, size_t n)
{
    struct worker *self = soon__this_worker, *taken = NULL;
    int error;

    soon__lock_acquire(&pool->lock);
    if (self && self->pool == pool && self->overflowed)
        put_deque_first(self);
    switch (atomic_load(&pool->ending)) {
    case POOL_OPEN:
        error = find_workers(pool, n, &taken);
        break;
    case POOL_BROKEN:
        error = -ENOTRECOVERABLE;
        break;
    default:
        error = -ESHUTDOWN;
    }
    if (!error) {
        soon_task_queue_push(&pool->queue, chain);
        soon__count_queue(pool);
    }
    soon__lock_release(&pool->lock);
    wake(taken);
    return error;
}

/* After something went into a deque. */
static void look_for_helpers(struct pool *pool)
{
    struct worker *taken = NULL;

    /* seq_cst, both: see the head of the file; and against an end that begins
     * now: soon__flush() empties every deque after it has set ending. */
    if (atomic_load(&pool->ending) >= POOL_CANCELLING)
        soon__flush(pool);
    if (!atomic_load(&pool->helpers))
        return;
    soon__lock_acquire(&pool->lock);
    find_workers(pool, 1, &taken);
    soon__lock_release(&pool->lock);
    wake(taken);
}

/* A worker's task submits to its own pool: into the deque, while that keeps
 * its tasks in order. */
static bool schedule_own(struct worker *self, soon_future *f)
{
    soon_task task;

    soon_future_task(f, &task);
    if (task.priority != SOON_PRIORITY_NORMAL || self->overflowed)
        return false;
    self->overflowed = !soon__deque_push(&self->deque, f);
    if (!self->overflowed)
        look_for_helpers(self->pool);
    return !self->overflowed;
}

int soon__schedule(struct pool *pool, soon_future *chain, size_t n)
{
    struct worker *self = soon__this_worker;

    if (self && self->pool == pool && !self->leaving && atomic_load(&pool->ending) == POOL_OPEN) {
        if (n == 1 && schedule_own(self, chain))
            return 0;
        self->overflowed = self->overflowed || n > 1;
    }
    return schedule_queue(pool, chain, n);
}

/* ---- a worker looks for work ---- */

static void set_taking(struct worker *self, bool taking)
{
    /* relaxed: what takes a task off a deque or a queue publishes it to
     * whoever finds the task gone; see await_claims() in flush.c. */
    atomic_store_explicit(&self->taking, taking, memory_order_relaxed);
}

/* The oldest task of the worker's own deque. */
static soon_future *take_own(struct worker *self)
{
    soon_future *f;
    bool again;

    set_taking(self, true);
    do
        f = soon__deque_steal(&self->deque, &again);
    while (again);
    if (!f) {
        set_taking(self, false);
        self->overflowed = false;
        return NULL;
    }
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
    return self->turns >= LOOK_EVERY && !self->overflowed &&
           soon__deque_past(&self->deque, self->share_end) &&
           atomic_load_explicit(&pool->n_queued, memory_order_relaxed);
}

/* From the queue, under the lock: one task to run, and if the deque is empty
 * a share of what is behind it to go there. */
static soon_future *take_queued(struct worker *self)
{
    struct pool *pool = self->pool;
    size_t share = soon__deque_empty(&self->deque) ? SHARE_MAX : 1;

    soon_future *f = soon_task_queue_pop_chain(&pool->queue, share);
    soon_future *rest = f ? soon_future_next(f) : NULL;
    bool shared = rest;
    for (soon_future *next; rest; rest = next) {
        next = soon_future_next(rest);
        soon__deque_push(&self->deque, rest); /* it is empty and large enough */
    }
    if (shared)
        put_deque_first(self);
    self->turns = 0;
    soon__count_queue(pool);
    return f;
}

/* From a deque, what is older than the queue. Under the lock. */
static soon_future *take_older(struct pool *pool)
{
    for (struct worker *w = pool->older_elsewhere ? pool->workers : NULL; w; w = w->next) {
        bool again = !soon__deque_past(&w->deque, w->share_end);
        while (again) {
            soon_future *f = soon__deque_steal(&w->deque, &again);
            if (f)
                return f;
        }
    }
    pool->older_elsewhere = false;
    return NULL;
}

/* What came from outside, in the order of age except for a HIGH. Under the
 * lock. */
static soon_future *take_outside(struct worker *self)
{
    /* relaxed: written under the lock. */
    bool urgent = atomic_load_explicit(&self->pool->urgent, memory_order_relaxed);
    soon_future *f = urgent ? NULL : take_older(self->pool);

    return f ? f : take_queued(self);
}

/* From another worker, under the lock, which keeps the workers there. */
static soon_future *steal(struct worker *self)
{
    for (struct worker *w = self->pool->workers; w; w = w->next) {
        bool again = w != self;
        while (again) {
            soon_future *f = soon__deque_steal(&w->deque, &again);
            if (!f)
                continue;
            /* relaxed: a figure. */
            atomic_fetch_add_explicit(&self->stolen, 1, memory_order_relaxed);
            return f;
        }
    }
    return NULL;
}

/* ---- parking ---- */

static void push_idle(struct worker *self)
{
    struct pool *pool = self->pool;

    /* relaxed: whoever wakes it takes it off the stack first, under the lock. */
    atomic_store_explicit(&self->awake, WORKER_PARKING, memory_order_relaxed);
    self->idle = true;
    self->below = pool->idle;
    pool->idle = self;
    pool->n_idle++;
    soon__count_helpers(pool);
}

static void remove_idle(struct worker *self)
{
    struct worker **link = &self->pool->idle;

    while (*link != self)
        link = &(*link)->below;
    *link = self->below;
    self->idle = false;
    self->pool->n_idle--;
    soon__count_helpers(self->pool);
}

/* The last worker's hold is that of all the tasks in flight: somebody may
 * still be completing one, see SOON_BACKEND_DRAINS. */
static bool may_leave(struct pool *pool)
{
    return pool->n_staying > 1 || soon_executor_drain(&pool->ex, 0) == 0;
}

void soon__decide_to_leave(struct worker *self)
{
    self->leaving = true;
    self->pool->n_staying--;
    soon__count_helpers(self->pool);
}

/* Sleeps until taken off the idle stack. False if it was there for too long,
 * and is off it now. */
static bool park(struct worker *self)
{
    struct pool *pool = self->pool;
    uint32_t parking = WORKER_PARKING;
    soon_ns deadline = soon__deadline(pool->idle_timeout);

    /* acquire, everywhere: pairs with the release in wake(). */
    if (soon__spin(&pool->spinner, &self->awake, WORKER_AWAKE, deadline) ||
        !atomic_compare_exchange_strong_explicit(&self->awake, &parking, WORKER_ASLEEP,
                                                 memory_order_acquire, memory_order_acquire))
        return true;
    while (atomic_load_explicit(&self->awake, memory_order_acquire) != WORKER_AWAKE) {
        if (soon__futex_wait(&self->awake, WORKER_ASLEEP, deadline) == 0)
            continue;
        soon__lock_acquire(&pool->lock);
        bool late = self->idle && pool->n_staying > pool->min_workers;
        bool leave = late && may_leave(pool);
        if (leave) {
            remove_idle(self);
            soon__decide_to_leave(self);
        }
        soon__lock_release(&pool->lock);
        if (leave)
            return false;
        /* It waits for the end of what is in flight; or it was woken just
         * now, or is one of those that stay. */
        deadline = late ? soon__deadline(SOON_MS(10)) : SOON__NEVER;
    }
    return true;
}

/* The queue, other workers, and if nothing is there the idle stack. */
static soon_future *find_task(struct worker *self, bool *leave)
{
    struct pool *pool = self->pool;
    struct worker *taken = NULL;
    bool parked = false;

    soon__lock_acquire(&pool->lock);
    bool relays = self->relays;
    pool->n_searching -= self->searching;
    self->searching = self->relays = false;
    /* A spare whose reason has woken up leaves what it was woken for, if
     * anything, to another. */
    bool surplus = soon__awake(pool) > pool->max_workers;
    set_taking(self, true);
    soon_future *f = surplus ? NULL : take_outside(self);
    if (!f && !surplus)
        f = steal(self);
    if (!f)
        set_taking(self, false);
    *leave = surplus || (!f && atomic_load(&pool->ending) != POOL_OPEN);
    if (*leave) {
        soon__decide_to_leave(self);
        if (soon__has_work(pool))
            find_workers(pool, 1, &taken);
    } else if (f && relays && soon__has_work(pool)) {
        find_workers(pool, 1, &taken); /* may fail: this one is awake */
    } else if (!f) {
        push_idle(self);
        parked = !soon__has_work(pool);
        if (!parked)
            remove_idle(self);
    }
    soon__lock_release(&pool->lock);
    wake(taken);
    if (parked)
        *leave = !park(self);
    return f;
}

soon_future *soon__next_task(struct worker *self, bool *leave)
{
    soon_future *f = should_look_at_queue(self) ? NULL : take_own(self);

    *leave = false;
    if (f)
        return f;
    if (soon__deque_empty(&self->deque))
        return find_task(self, leave);
    /* It looks at the queue although it has work of its own. */
    soon__lock_acquire(&self->pool->lock);
    set_taking(self, true);
    f = take_outside(self);
    soon__lock_release(&self->pool->lock);
    return f ? f : take_own(self);
}
