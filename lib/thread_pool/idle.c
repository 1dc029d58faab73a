/* SPDX-License-Identifier: MIT */
/*
 * Workers that have nothing to do: the idle stack, and who is woken from it.
 *
 * It is a stack so that the one with the warmest caches is woken first and the
 * coldest times out. A worker that searches, because it was woken, has just
 * started, spins before it sleeps, or watches the runner, is as good as one that
 * has found the work: it looks again before it sleeps, and sees to what it leaves.
 *
 * The reserve: who is one too many, since another has woken up for which it had been
 * started, has left as far as anybody is concerned, but the thread sleeps for a while,
 * to be there when the next one is needed. Tasks that wait for others often do so one
 * after the other, and a thread takes longer to start than to wake; besides, the kernel
 * wakes one where a CPU is idle, but often starts one behind the thread that starts it.
 */
#include "thread_pool/pool.h"

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

static void put_on_stack(struct worker *w)
{
    struct pool *pool = w->pool;

    w->idle = true;
    w->below = pool->idle;
    pool->idle = w;
    pool->n_idle++;
    soon__count_helpers(pool);
}

/* A worker that has left as one too many is back, and idle. */
static bool recall(struct pool *pool)
{
    struct worker *w = pool->reserve;

    if (!w)
        return false;
    pool->reserve = w->below;
    pool->n_reserve--;
    w->reserved = false;
    put_on_stack(w);
    soon__decide_to_stay(w);
    return true;
}

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
    struct worker *taken = take_idle(pool, pool->n_idle);
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
int soon__find_workers(struct pool *pool, size_t n, struct worker **taken)
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
    *taken = take_idle(pool, idle < pool->cpus ? idle : pool->cpus);
    for (struct worker *w = *taken; w; w = w->to_wake) {
        w->searching = w->relays = true;
        pool->n_searching++;
    }
    soon__count_helpers(pool);
    return 0;
}

/* ---- parking ---- */

static void may_be_woken(struct worker *self)
{
    /* relaxed: whoever wakes it takes it off its stack first, under the lock. */
    atomic_store_explicit(&self->awake, WORKER_PARKING, memory_order_relaxed);
}

void soon__push_idle(struct worker *self)
{
    soon__rest_runner(self->pool, self);
    may_be_woken(self);
    put_on_stack(self);
}

static void remove_from(struct worker **stack, struct worker *self)
{
    while (*stack != self)
        stack = &(*stack)->below;
    *stack = self->below;
}

void soon__remove_idle(struct worker *self)
{
    remove_from(&self->pool->idle, self);
    self->idle = false;
    self->pool->n_idle--;
    soon__count_helpers(self->pool);
}

void soon__push_reserve(struct worker *self)
{
    struct pool *pool = self->pool;

    may_be_woken(self);
    self->reserved = true;
    self->below = pool->reserve;
    pool->reserve = self;
    pool->n_reserve++;
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

/* Its time is up. True if it leaves; else it stays, or was woken or recalled just now.
 * reserved: until then it was in the reserve; *late: it would have left. */
static bool leaves_now(struct worker *self, bool reserved, bool *late)
{
    struct pool *pool = self->pool;

    if (self->reserved) {
        remove_from(&pool->reserve, self);
        self->reserved = false;
        pool->n_reserve--;
        return true;
    }
    if (reserved)
        return false;
    *late = self->idle && pool->n_staying > pool->min_workers;
    if (!*late || !may_leave(pool))
        return false;
    /* In this order: helpers stays true. After it was false somebody would have to look. */
    soon__decide_to_leave(self);
    soon__remove_idle(self);
    return true;
}

/* True when woken, false if it has slept for too long. */
static bool sleep_until_woken(struct worker *self, bool reserved)
{
    struct pool *pool = self->pool;
    bool longer = pool->idle_timeout < 0 || pool->idle_timeout > RESERVE_NS;
    soon_ns deadline = soon__deadline(reserved && longer ? RESERVE_NS : pool->idle_timeout);

    /* acquire: pairs with the release in soon__wake(). */
    while (atomic_load_explicit(&self->awake, memory_order_acquire) != WORKER_AWAKE) {
        if (soon__futex_wait(&self->awake, WORKER_ASLEEP, deadline) == 0)
            continue;
        bool late = false;
        soon__lock_acquire(&pool->lock);
        bool leave = leaves_now(self, reserved, &late);
        soon__lock_release(&pool->lock);
        if (leave)
            return false;
        /* It waits for the end of what is in flight; or is idle from now on; or it was
         * woken just now, or is one of those that stay. */
        deadline = late       ? soon__deadline(SOON_MS(10))
                   : reserved ? soon__deadline(pool->idle_timeout)
                              : SOON__NEVER;
        reserved = false;
    }
    return true;
}

bool soon__park(struct worker *self, bool reserved)
{
    uint32_t parking = WORKER_PARKING;

    /* acquire, both: pairs with the release in soon__wake(). */
    if (!atomic_compare_exchange_strong_explicit(&self->awake, &parking, WORKER_ASLEEP,
                                                 memory_order_acquire, memory_order_acquire))
        return true;
    soon__work_ends();
    bool woken = sleep_until_woken(self, reserved);
    soon__work_begins();
    return woken;
}
