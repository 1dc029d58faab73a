/* SPDX-License-Identifier: MIT */
/*
 * Tasks that end before their turn: cancelled or run in place while queued,
 * one at a time, or all of them because the pool ends.
 */
#include "thread_pool/pool.h"

#include <errno.h>
#include <sched.h>

enum { SWEEP_MIN = 1024 }; /* stale entries worth a sweep */

/* Under the lock, which is released meanwhile. When it is done another may begin. */
static void sweep(struct pool *pool)
{
    bool more;

    do {
        soon_future *swept = soon__backlog_sweep(&pool->queue);
        more = pool->queue.to_sweep;
        soon__count_queue(pool);
        soon__lock_release(&pool->lock);
        soon__chain_drop(swept);
        soon__lock_acquire(&pool->lock);
    } while (more);
}

/* Entries of the queue that are done would wait for their turn just to be
 * dropped. Sweeping when they are more than half keeps the cost of each
 * constant and the queue in proportion to what is pending. One thread does it at a
 * time. */
void soon__count_stale(struct pool *pool)
{
    /* relaxed, all: it only decides when to sweep. */
    if (atomic_fetch_add_explicit(&pool->stale, 1, memory_order_relaxed) < SWEEP_MIN)
        return;
    soon__lock_acquire(&pool->lock);
    if (!pool->queue.to_sweep && atomic_load_explicit(&pool->stale, memory_order_relaxed) >
                                     soon__backlog_count(&pool->queue) / 2) {
        atomic_store_explicit(&pool->stale, 0, memory_order_relaxed);
        sweep(pool);
    }
    soon__lock_release(&pool->lock);
}

static soon_future *take_any(struct pool *pool)
{
    soon_future *f = NULL;

    soon__lock_acquire(&pool->lock);
    soon__backlog_take(&pool->queue, &pool->inbox, &f, 1);
    soon__count_queue(pool);
    for (struct worker *w = pool->workers; w && !f; w = w->next)
        f = soon__deque_take_oldest(&w->deque);
    soon__lock_release(&pool->lock);
    return f;
}

void soon__run_rest(struct pool *pool)
{
    soon_future *f;

    /* A task may fork, and in the child the lock is as it was in the parent. */
    while (!soon_executor_inherited(&pool->ex) && (f = take_any(pool))) {
        soon_future_run(f);
        soon_future_unref(f);
    }
}

/* A worker may have taken a task just before soon__flush() came by, and not
 * claimed it yet: that task was pending, and will be claimed in a moment.
 * Whoever found it gone from the deque or the queue has synchronised with who
 * took it, and so sees taking. A worker that is taking never waits for the
 * lock. The same goes for another flusher, which runs no foreign code. */
static void await_claims(struct pool *pool)
{
    soon__wait_group_wait(&pool->flushers);
    soon__lock_acquire(&pool->lock);
    for (struct worker *w = pool->workers; w; w = w->next)
        /* acquire: pairs with the release in work(). */
        while (w != soon__this_worker &&
               atomic_load_explicit(&w->deque.taking, memory_order_acquire))
            sched_yield();
    soon__lock_release(&pool->lock);
}

void soon__flush(struct pool *pool)
{
    bool broken = atomic_load(&pool->ending) == POOL_BROKEN;
    soon_error error = {.code = -ENOTRECOVERABLE,
                        .origin = SOON_FROM_LIBRARY,
                        .message = broken ? pool->why_broken : NULL};
    bool deferred = soon_callbacks_defer();
    soon_future *f;

    soon__wait_group_enter(&pool->flushers);
    while ((f = take_any(pool))) {
        /* Either may find it done, or being run in place: then that ends it. */
        if (broken)
            soon_future_set_failure(f, &error);
        else
            soon_future_cancel(f);
        soon_future_unref(f);
    }
    soon__wait_group_leave(&pool->flushers);
    await_claims(pool);
    soon_callbacks_resume(deferred);
}
