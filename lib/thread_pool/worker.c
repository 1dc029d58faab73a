/* SPDX-License-Identifier: MIT */
/*
 * A worker's life:
 *
 *     start -> initializer -> +-> take a task, run it -+-> finalizer -> leave
 *                  |          |                        |
 *                  |          +-> idle (asleep) <------+
 *                  +-> breaks the pool, leaves
 *
 * It leaves when it was idle for too long, when it is one too many (a spare
 * whose reason has woken up), and when the pool is closed and drained.
 *
 * Falling asleep against being given work: both under the pool's lock. A
 * submitter finds a worker on the idle stack and takes it off, which makes
 * the worker its own to wake; or the worker, before it goes on the stack,
 * finds the task in the queue.
 *
 * Threads are joined in a chain: each that leaves joins the one that left
 * before it, and the last is joined by who waits for the shutdown.
 */
#include "thread_pool/pool.h"

#include "core/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- idle workers ---- */

static void push_idle(struct worker *self)
{
    struct pool *pool = self->pool;

    /* relaxed: whoever wakes it takes it off the stack first, under the lock. */
    atomic_store_explicit(&self->awake, 0, memory_order_relaxed);
    self->idle = true;
    self->below = pool->idle;
    pool->idle = self;
    pool->n_idle++;
}

static void remove_idle(struct worker *self)
{
    struct worker **link = &self->pool->idle;

    while (*link != self)
        link = &(*link)->below;
    *link = self->below;
    self->idle = false;
    self->pool->n_idle--;
}

struct worker *soon__worker_take_idle(struct pool *pool, size_t n)
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
    return taken;
}

void soon__worker_wake(struct worker *taken)
{
    while (taken) {
        struct worker *next = taken->to_wake;
        /* release: pairs with the acquire in sleep_idle(). From here on the
         * worker may be gone: the wake itself only uses its address. */
        atomic_store_explicit(&taken->awake, 1, memory_order_release);
        soon__futex_wake(&taken->awake, 1);
        taken = next;
    }
}

/* Sleeps until woken. False if it was idle for too long and is off the stack. */
static bool sleep_idle(struct worker *self)
{
    struct pool *pool = self->pool;
    soon_ns deadline = soon__deadline(pool->idle_timeout);

    for (;;) {
        /* acquire: pairs with the release in soon__worker_wake(). */
        if (atomic_load_explicit(&self->awake, memory_order_acquire))
            return true;
        if (soon__futex_wait(&self->awake, 0, deadline) == 0)
            continue;
        soon__lock_acquire(&pool->lock);
        bool spare = self->idle && pool->n_workers > pool->min_workers;
        if (spare)
            remove_idle(self);
        soon__lock_release(&pool->lock);
        if (spare)
            return false;
        deadline = SOON__NEVER; /* woken just now, or one that stays */
    }
}

/* ---- working ---- */

void soon__pool_drop(soon_future *chain)
{
    while (chain) {
        soon_future *next = soon_future_next(chain);
        soon_future_unref(chain);
        chain = next;
    }
}

static void run(soon_future *f)
{
    soon_future_run(f); /* false: cancelled, or run elsewhere; its entry was stale */
    soon_future_unref(f);
}

/* One turn: true if there may be more to do. */
static bool work(struct worker *self)
{
    struct pool *pool = self->pool;

    soon__lock_acquire(&pool->lock);
    bool surplus = pool->n_workers - pool->n_blocked > pool->max_workers;
    soon_future *f = surplus ? NULL : soon_task_queue_pop(&pool->queue);
    bool closing = pool->closed || pool->broken;
    if (!f && !surplus && !closing)
        push_idle(self);
    /* It may have been woken for a task that it leaves to another. */
    struct worker *taken = surplus && pool->queue.count ? soon__worker_take_idle(pool, 1) : NULL;
    soon__lock_release(&pool->lock);
    soon__worker_wake(taken);
    if (f) {
        run(f);
        /* In the child of a fork that the task made, this thread is all
         * there is of the pool. */
        if (soon_executor_inherited(&pool->ex))
            exit(EXIT_SUCCESS);
        return true;
    }
    if (surplus)
        return false;
    if (!closing)
        return sleep_idle(self);
    soon_executor_drain(&pool->ex, SOON_FOREVER);
    return false;
}

/* ---- starting ---- */

/* The pool can't be relied on: what is pending ends with the reason. */
static void break_pool(struct pool *pool, int code, const char *message)
{
    char text[512];

    snprintf(text, sizeof text, "the pool is broken: its initializer failed with %d%s%s", code,
             *message ? ": " : "", message);
    soon_error error = {.code = -ENOTRECOVERABLE, .origin = SOON_FROM_LIBRARY, .message = text};
    soon_executor_break(&pool->ex);
    soon__lock_acquire(&pool->lock);
    pool->broken = true;
    soon_future *f;
    struct soon_task_queue queue = pool->queue;
    pool->queue = (struct soon_task_queue){.count = 0};
    struct worker *taken = soon__worker_take_idle(pool, pool->n_idle);
    soon__lock_release(&pool->lock);
    soon__worker_wake(taken);
    while ((f = soon_task_queue_pop(&queue))) {
        soon_future_set_failure(f, &error);
        soon_future_unref(f);
    }
}

static bool initialize(struct pool *pool)
{
    char message[256];

    if (!pool->initializer)
        return true;
    int code = soon_worker_call(pool->initializer, pool->init_arg, pool->init_arg_len, message,
                                sizeof message);
    if (code)
        break_pool(pool, code, message);
    return code == 0;
}

static void finalize(struct pool *pool)
{
    if (pool->finalizer)
        soon_worker_call(pool->finalizer, pool->init_arg, pool->init_arg_len, NULL, 0);
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

    soon__lock_acquire(&pool->lock);
    while (pool->has_last) /* another may leave while this one joins */
        soon__worker_join_last(pool);
    struct worker **link = &pool->workers;
    while (*link != self)
        link = &(*link)->next;
    *link = self->next;
    pool->n_workers--;
    pool->last = pthread_self();
    pool->has_last = true;
    atomic_fetch_add(&pool->gone, 1);
    soon__lock_release(&pool->lock);
    soon__futex_wake(&pool->gone, INT32_MAX);
    soon__free(self, sizeof *self);
    soon_executor_release(&pool->ex);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct pool *pool = self->pool;

    soon__thread_name(pool->name, self->number);
    soon_worker_enter(&pool->ex);
    if (initialize(pool)) {
        while (work(self))
            ;
        finalize(pool);
    }
    soon_worker_leave(&pool->ex);
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
    struct worker *self = soon__zalloc(sizeof *self);

    if (!self)
        return -ENOMEM;
    struct worker **link = place(pool, &self->number);
    self->pool = pool;
    soon_executor_hold(&pool->ex);
    int error = soon__thread_start(&thread, pool->stack_size, worker_main, self);
    if (error) {
        soon_executor_release(&pool->ex); /* never the last: the caller is a user */
        soon__free(self, sizeof *self);
        return error == -ENOMEM ? error : -EAGAIN;
    }
    self->next = *link;
    *link = self;
    pool->n_workers++;
    pool->n_started++;
    return 0;
}
