/* SPDX-License-Identifier: MIT */
/*
 * Workers that have nothing to do: the idle stack, and who is woken from it.
 *
 * It is a stack so that one with warm caches is woken first and the coldest times out.
 * A worker that searches, because it was woken, has just started, spins before it
 * sleeps, or watches the runner, is as good as one that has found the work: it looks
 * again before it sleeps, and sees to what it leaves.
 *
 * The reserve: who is one too many, since another has woken up for which it had been
 * started, has left as far as anybody is concerned, but the thread sleeps for a while,
 * to be there when the next one is needed. Tasks that wait for others often do so one
 * after the other, and a thread takes longer to start than to wake. It is a number: so
 * many of those on the stack do not count. Which ones is decided when they leave, once
 * nobody has become one too many for RESERVE_NS. For that as many as are too many sleep
 * briefly, and look: who falls asleep until then does, and nobody is woken who would be
 * missing then.
 *
 * Which CPU. The kernel starts a woken thread where it last ran, or behind the one that
 * wakes it; where all CPUs were busy a moment ago it does not look for one that is idle
 * (Linux: SIS_UTIL), and leaves the two to take turns on one CPU for milliseconds. So
 * who goes on running wakes one that last ran elsewhere, and who is about to sleep wakes
 * one that last ran where it does.
 */
#include "thread_pool/pool.h"

#include "os/clock.h"
#include "os/patience.h"

#include <errno.h>

enum { RESERVE_NS = 50000000 };

void soon__count_helpers(struct pool *pool)
{
    bool ends = atomic_load(&pool->ending) >= POOL_CANCELLING;
    bool helpers = ends || (!pool->n_searching && (pool->n_idle || pool->watcher ||
                                                   soon__awake(pool) < pool->max_workers));
    /* seq_cst: see the head of schedule.c. */
    bool before = atomic_load(&pool->helpers);

    if (before != helpers)
        atomic_store(&pool->helpers, helpers);
    if (ends || (helpers && !before))
        soon__deque_catch_up(&pool->n_swift);
}

void soon__stop_searching(struct worker *self)
{
    struct pool *pool = self->pool;

    if (self->searching)
        pool->n_searching--;
    self->searching = self->relays = false;
    soon__count_helpers(pool);
}

void soon__start_searching(struct worker *self)
{
    self->searching = true;
    self->pool->n_searching++;
    soon__count_helpers(self->pool);
}

/* ---- waking ---- */

enum { LOOK_AT = 8 }; /* of the workers on the stack, at most, for one of the right CPU */

/* Where the one to be woken is in the stack, of which some count. */
static struct worker **choose(struct pool *pool, bool stays)
{
    bool any = pool->n_briefly > pool->n_reserve;
    int cpu = soon__thread_cpu(), looked_at = 0;
    struct worker **first = NULL;

    for (struct worker **link = &pool->idle; looked_at < LOOK_AT && *link; link = &(*link)->below) {
        if (!any && (*link)->briefly)
            continue;
        if (((*link)->cpu != cpu) == stays)
            return link;
        first = first ? first : link;
        looked_at++;
    }
    return first;
}

static void take_off(struct worker **link)
{
    struct worker *w = *link;

    *link = w->below;
    w->idle = false;
    w->pool->n_briefly -= w->briefly;
}

/* One of those that are too many is so no more. */
static bool recall(struct pool *pool)
{
    if (!pool->n_reserve)
        return false;
    pool->n_reserve--;
    pool->n_idle++;
    pool->n_staying++;
    soon__count_helpers(pool);
    return true;
}

/* Takes up to n idle workers off the stack, under the lock, to be woken
 * without it. */
static struct worker *take_idle(struct pool *pool, size_t n, bool stays)
{
    struct worker *taken = NULL;

    for (; n && pool->n_idle; n--) {
        struct worker **link = choose(pool, stays);
        struct worker *worker = *link;
        take_off(link);
        pool->n_idle--;
        worker->to_wake = taken;
        taken = worker;
    }
    soon__count_helpers(pool);
    return taken;
}

void soon__wake(struct worker *taken)
{
    while (taken) {
        struct worker *next = taken->to_wake;
        /* release: pairs with the acquire in soon__park(). From here on the
         * worker may be gone: the wake itself only uses its address. */
        uint32_t was = atomic_exchange_explicit(&taken->awake, WORKER_AWAKE, memory_order_release);
        if (was == WORKER_ASLEEP)
            soon__futex_wake(&taken->awake, 1);
        taken = next;
    }
}

void soon__wake_all(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    while (recall(pool))
        ;
    struct worker *taken = take_idle(pool, pool->n_idle, true);
    soon__rouse_watcher(pool);
    soon__lock_release(&pool->lock);
    soon__wake(taken);
}

/* Idle workers first, then who naps, then the reserve, then new ones. One that searches
 * will find one of the tasks, and then see to the rest itself, as one that has just
 * started does: that spares most wake-ups, each a system call, of a submitter that is
 * about as fast as the workers. For the same reason no more are woken at once than can
 * run at once, and none beside a runner but one to watch it. The tasks are safe as long
 * as one worker is awake; more than that is speed, and may fail. */
int soon__find_workers(struct pool *pool, size_t n, bool stays, struct worker **taken)
{
    if (pool->runner)
        n = !pool->n_searching;
    else if (pool->n_searching)
        n--;
    size_t idle = pool->n_idle < n ? pool->n_idle : n;
    int error = 0;

    n -= idle;
    if (n && soon__call_watcher(pool))
        n--;
    for (; n && soon__awake(pool) < pool->max_workers && !error; n--) {
        bool recalled = recall(pool);
        idle += recalled;
        error = recalled ? 0 : soon__worker_start(pool);
    }
    if (soon__awake(pool) == 0)
        return error;
    *taken = take_idle(pool, idle < pool->cpus ? idle : pool->cpus, stays);
    for (struct worker *w = *taken; w; w = w->to_wake) {
        w->searching = w->relays = true;
        pool->n_searching++;
    }
    soon__count_helpers(pool);
    return 0;
}

/* ---- parking ---- */

/* Who is too many then leaves. */
static soon_ns end_of_reserve(const struct pool *pool)
{
    bool longer = pool->idle_timeout < 0 || pool->idle_timeout > RESERVE_NS;

    return pool->surplus_at + (longer ? RESERVE_NS : pool->idle_timeout);
}

static void put_on_stack(struct worker *self)
{
    struct pool *pool = self->pool;

    /* relaxed: whoever wakes it takes it off the stack first, under the lock. */
    atomic_store_explicit(&self->awake, WORKER_PARKING, memory_order_relaxed);
    self->cpu = soon__thread_cpu();
    self->look_at = end_of_reserve(pool);
    self->briefly = pool->n_reserve || (pool->surplus_at && soon__now() < self->look_at);
    pool->n_briefly += self->briefly;
    self->idle = true;
    self->below = pool->idle;
    pool->idle = self;
}

void soon__push_idle(struct worker *self)
{
    soon__rest_runner(self->pool, self);
    put_on_stack(self);
    self->pool->n_idle++;
    soon__count_helpers(self->pool);
}

void soon__push_reserve(struct worker *self)
{
    self->leaving = false;
    self->pool->surplus_at = soon__now();
    self->pool->n_reserve++;
    put_on_stack(self);
}

static void remove_from_stack(struct worker *self)
{
    struct worker **link = &self->pool->idle;

    while (*link != self)
        link = &(*link)->below;
    take_off(link);
}

void soon__remove_idle(struct worker *self)
{
    remove_from_stack(self);
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
    soon__end_runner(self->pool, self);
    self->pool->n_staying--;
    soon__count_helpers(self->pool);
}

void soon__decide_to_stay(struct worker *self)
{
    self->leaving = false;
    self->pool->n_staying++;
    soon__count_helpers(self->pool);
}

static void leave_reserve(struct worker *self)
{
    self->pool->n_reserve--;
    remove_from_stack(self);
    self->leaving = true;
}

/* It looked whether one was too many. True if it leaves; else it sleeps until *deadline. */
static bool leaves_reserve(struct worker *self, soon_ns *deadline)
{
    struct pool *pool = self->pool;

    if (pool->n_reserve) {
        *deadline = end_of_reserve(pool); /* another one may have become one too many */
        if (soon__now() < *deadline)
            return false;
        leave_reserve(self);
        return true;
    }
    /* From now on it is idle like others. */
    self->briefly = false;
    pool->n_briefly--;
    *deadline = soon__deadline(pool->idle_timeout);
    return false;
}

/* Its time is up. True if it leaves; else it sleeps until *deadline. */
static bool leaves_now(struct worker *self, soon_ns *deadline)
{
    struct pool *pool = self->pool;

    *deadline = SOON__NEVER; /* it was woken just now, or is one of those that stay */
    if (!self->idle)
        return false;
    if (self->briefly)
        return leaves_reserve(self, deadline);
    if (pool->n_reserve) {
        leave_reserve(self);
        return true;
    }
    if (pool->n_staying <= pool->min_workers)
        return false;
    *deadline = soon__deadline(SOON_MS(10)); /* it waits for the end of what is in flight */
    if (!may_leave(pool))
        return false;
    /* In this order: helpers stays true. After it was false somebody would have to look. */
    soon__decide_to_leave(self);
    soon__remove_idle(self);
    return true;
}

/* True when woken, false if it has slept for too long. */
static bool sleep_until_woken(struct worker *self)
{
    struct pool *pool = self->pool;
    soon_ns deadline = self->briefly ? self->look_at : soon__deadline(pool->idle_timeout);

    /* acquire: pairs with the release in soon__wake(). */
    while (atomic_load_explicit(&self->awake, memory_order_acquire) != WORKER_AWAKE) {
        if (soon__futex_wait(&self->awake, WORKER_ASLEEP, deadline) == 0)
            continue;
        soon__lock_acquire(&pool->lock);
        bool leaves = leaves_now(self, &deadline);
        soon__lock_release(&pool->lock);
        if (leaves)
            return false;
    }
    return true;
}

bool soon__park(struct worker *self)
{
    uint32_t parking = WORKER_PARKING;

    /* acquire, both: pairs with the release in soon__wake(). */
    if (!atomic_compare_exchange_strong_explicit(&self->awake, &parking, WORKER_ASLEEP,
                                                 memory_order_acquire, memory_order_acquire))
        return true;
    soon__work_ends();
    bool woken = sleep_until_woken(self);
    soon__work_begins();
    return woken;
}
