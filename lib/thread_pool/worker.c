/* SPDX-License-Identifier: MIT */
/*
 * A worker's life:
 *
 *     start -> initializer -> +-> take a task, run it -+-> finalizer -> leave
 *                  |          |                        |
 *                  |          +-> idle (asleep) <------+
 *                  |          +-> in the reserve <-----+
 *                  +-> breaks the pool, leaves
 *
 * It leaves when it was idle for too long, when one is too many (as the reason for a
 * spare has woken up) and was not needed again soon, and when the pool is closed and
 * drained.
 *
 * Threads are joined in a chain: each that leaves joins the one that left
 * before it, and the last is joined by who waits for the shutdown.
 */
#include "thread_pool/pool.h"

#include "core/mem.h"
#include "os/patience.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 4 }; /* tasks in its deque that make a worker busy */

/* ---- working ---- */

/* In the child of a fork that a task or an initializer made, this thread is
 * all there is of the pool. */
static void end_if_forked(struct pool *pool)
{
    if (soon_executor_inherited(&pool->ex))
        exit(EXIT_SUCCESS);
}

/* More to do than the task it is about to run? Then who waits for that can wait
 * for a moment more: see os/patience.h. */
static bool has_more(struct worker *self)
{
    /* relaxed: a hint. */
    return soon__deque_size(&self->deque) >= BACKLOG ||
           atomic_load_explicit(&self->pool->queued, memory_order_relaxed) ||
           !soon__inbox_empty(&self->pool->inbox);
}

/* One turn: false if it is to leave. */
static bool work(struct worker *self)
{
    bool leave;
    soon_future *f = soon__next_task(self, &leave);

    if (!f)
        return !leave;
    bool plain;
    bool claimed = soon__claim_next(f, &plain); /* else done, or run elsewhere: a stale entry */
    /* release: pairs with the acquire in await_claims(). */
    atomic_store_explicit(&self->deque.taking, false, memory_order_release);
    soon__set_busy(has_more(self));
    if (soon__likely(plain && claimed)) {
        soon__run_plain(f);
    } else {
        if (claimed)
            soon_future_run_claimed(f);
        soon_future_unref(f);
    }
    soon__set_busy(false);
    end_if_forked(self->pool);
    return true;
}

/* ---- starting ---- */

/* The pool can't be relied on: what is pending ends with the reason. */
static void break_pool(struct pool *pool, int code, const char *message)
{
    char text[512];

    snprintf(text, sizeof text, "the pool is broken: its initializer failed with %d%s%s", code,
             *message ? ": " : "", message);
    soon_executor_break_because(&pool->ex, text);
    soon__lock_acquire(&pool->lock);
    if (atomic_load(&pool->ending) < POOL_BROKEN) {
        pool->why_broken = soon__copy_string(text); /* NULL: a standard text stands in */
        atomic_store(&pool->ending, POOL_BROKEN);
        soon__count_helpers(pool);
    }
    soon__lock_release(&pool->lock);
    soon__flush(pool);
    soon__wake_all(pool);
}

static bool initialize(struct worker *self)
{
    struct pool *pool = self->pool;
    char message[256];

    if (!pool->initializer)
        return true;
    int code = soon_worker_call(pool->initializer, pool->init_arg, pool->init_arg_len, message,
                                sizeof message);
    end_if_forked(pool);
    if (code == 0)
        return true;
    break_pool(pool, code, message);
    soon__lock_acquire(&pool->lock);
    soon__decide_to_leave(self);
    soon__lock_release(&pool->lock);
    soon_executor_drain(&pool->ex, SOON_FOREVER);
    return false;
}

/* ---- leaving ---- */

void soon__worker_join_last(struct pool *pool)
{
    if (!pool->has_last)
        return;
    pthread_t last = pool->last;
    pool->has_last = false;
    pool->joining = true;
    soon__lock_release(&pool->lock);
    pthread_join(last, NULL);
    soon__lock_acquire(&pool->lock);
    pool->joining = false;
    atomic_fetch_add(&pool->gone, 1);
    soon__futex_wake(&pool->gone, INT32_MAX);
}

static void leave(struct worker *self)
{
    struct pool *pool = self->pool;

    soon__deque_slow_down(&self->deque);
    soon__lock_acquire(&pool->lock);
    while (pool->has_last) /* another may leave while this one joins */
        soon__worker_join_last(pool);
    struct worker **link = &pool->workers;
    while (*link != self)
        link = &(*link)->next;
    *link = self->next;
    soon__forget_deque(self);
    pool->n_workers--;
    pool->n_stolen += atomic_load(&self->stolen);
    soon__count_helpers(pool);
    pool->last = pthread_self();
    pool->has_last = true;
    atomic_fetch_add(&pool->gone, 1);
    soon__lock_release(&pool->lock);
    soon__futex_wake(&pool->gone, INT32_MAX);
    soon__free_line(self, sizeof *self);
    soon_executor_release(&pool->ex);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct pool *pool = self->pool;

    soon__this_worker = self;
    soon__thread_name(pool->name, self->number);
    soon_worker_enter(&pool->ex);
    self->deque.wanted = &pool->helpers;
    self->deque.attend = soon__attend;
    self->deque.n_swift = &pool->n_swift;
    soon__deque_adopt(&self->deque);
    soon__work_begins();
    if (initialize(self)) {
        while (work(self))
            ;
        soon__deque_retire();
        if (atomic_load(&pool->ending) != POOL_OPEN)
            soon_executor_drain(&pool->ex, SOON_FOREVER);
        if (pool->finalizer)
            soon_worker_call(pool->finalizer, pool->init_arg, pool->init_arg_len, NULL, 0);
        end_if_forked(pool);
    }
    soon__work_ends();
    soon_worker_leave(&pool->ex);
    soon__this_worker = NULL; /* destructors of the host's may still submit */
    leave(self);
    return NULL;
}

/* The list is sorted by number: the first gap is the lowest free one. */
static struct worker **place(struct pool *pool, unsigned *number)
{
    struct worker **link = &pool->workers;

    *number = 0;
    while (*link && (*link)->number == *number) {
        link = &(*link)->next;
        ++*number;
    }
    return link;
}

int soon__worker_start(struct pool *pool)
{
    pthread_t thread;
    struct worker *self = soon__alloc_line(sizeof *self);

    if (!self)
        return -ENOMEM;
    memset(self, 0, sizeof *self);
    struct worker **link = place(pool, &self->number);
    self->pool = pool;
    self->relays = true;
    soon_executor_hold(&pool->ex);
    int error = soon__thread_start(&thread, pool->stack_size, worker_main, self);
    if (error) {
        soon_executor_release(&pool->ex); /* never the last: the caller is a user */
        soon__free_line(self, sizeof *self);
        return error == -ENOMEM ? error : -EAGAIN;
    }
    self->next = *link;
    *link = self;
    pool->n_workers++;
    pool->n_staying++;
    pool->n_started++;
    soon__count_helpers(pool);
    return 0;
}
