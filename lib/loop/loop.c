/* SPDX-License-Identifier: MIT */
/*
 * The loop executor: tasks run in the thread that calls soon_loop_run().
 *
 * The descriptor is readable exactly while the queue holds something (which
 * may turn out to be stale), so both change together under the lock, and an
 * event loop that polls it level-triggered misses nothing. Until somebody has
 * asked for it nobody can poll it, and it is left alone.
 *
 * Who brings work changes the word that runners sleep on, then looks for one
 * that sleeps; who goes to sleep counts itself, then has the kernel compare the
 * word. Both are seq_cst, so a runner that is not seen, and not woken, finds the
 * word changed and does not sleep.
 */
#include <soon/backend.h>

#include "core/chain.h"
#include "core/mem.h"
#include "os/event.h"
#include "os/lock.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

struct loop {
    soon_executor ex; /* first: a loop is an executor */
    int fd;           /* Sync: const after new */
    soon__lock lock;
    struct soon_task_queue queue; /* Sync: lock */
    size_t stale;                 /* about how many in queue are done. Sync: lock */
    bool closed;                  /* Sync: lock */
    bool abandoned;               /* no user has a reference. Sync: lock */
    unsigned runners;             /* threads in soon_loop_run(). Sync: lock */
    bool polled;                  /* somebody has asked for fd. Sync: lock */
    bool has_home;                /* some thread has run the loop. Sync: lock */
    pthread_t home;               /* the last one. Sync: lock */
    soon__futex changed;          /* Sync: atomic: work came in, or closed */
    _Atomic unsigned sleepers;    /* threads that wait for that. Sync: atomic */
};

enum { SWEEP_MIN = 1024 };

static struct loop *loop_of(soon_executor *ex)
{
    return (struct loop *)ex;
}

/* ---- work comes in ---- */

static void wake(struct loop *loop)
{
    /* seq_cst, both: see the head of the file. */
    atomic_fetch_add(&loop->changed, 1);
    if (atomic_load(&loop->sleepers))
        soon__futex_wake(&loop->changed, INT_MAX);
}

/* 0, or -ETIMEDOUT. */
static int sleep_until_changed(struct loop *loop, uint32_t seen, soon_ns deadline)
{
    /* seq_cst: see the head of the file. */
    atomic_fetch_add(&loop->sleepers, 1);
    int error = soon__futex_wait(&loop->changed, seen, deadline);
    atomic_fetch_sub(&loop->sleepers, 1);
    return error;
}

/* The queue is empty no more, or again. Under the lock. */
static void show(const struct loop *loop)
{
    if (!loop->polled)
        return;
    if (loop->queue.count)
        soon__event_set(loop->fd);
    else
        soon__event_clear(loop->fd);
}

static int submit(soon_executor *ex, soon_future *chain, size_t n)
{
    struct loop *loop = loop_of(ex);

    (void)n;
    soon__lock_acquire(&loop->lock);
    bool closed = loop->closed;
    if (!closed) {
        bool first = !loop->queue.count;
        soon_task_queue_push(&loop->queue, chain);
        if (first)
            show(loop);
    }
    soon__lock_release(&loop->lock);
    if (closed)
        return -ESHUTDOWN;
    wake(loop);
    return 0;
}

static void withdrawn(soon_executor *ex, soon_future *f)
{
    struct loop *loop = loop_of(ex);
    soon_future *swept = NULL;

    (void)f;
    soon__lock_acquire(&loop->lock);
    if (++loop->stale >= SWEEP_MIN && loop->stale > loop->queue.count / 2) {
        swept = soon_task_queue_sweep(&loop->queue);
        loop->stale = 0;
        if (swept && !loop->queue.count)
            show(loop);
    }
    soon__lock_release(&loop->lock);
    soon__chain_drop(swept);
}

/* ---- running ---- */

static soon_future *pop(struct loop *loop)
{
    soon_future *f = soon_task_queue_pop(&loop->queue);

    if (f && !loop->queue.count)
        show(loop);
    return f;
}

/* Claimed under the lock, so that a close finds every pending task queued. */
static soon_future *take(struct loop *loop, bool *claimed)
{
    soon__lock_acquire(&loop->lock);
    soon_future *f = pop(loop);
    *claimed = f && soon_future_claim(f);
    soon__lock_release(&loop->lock);
    return f;
}

/* Runs what is queued, up to budget of them. */
static int run_queued(struct loop *loop, size_t budget)
{
    soon_future *f;
    size_t ran = 0;
    bool claimed;

    while (ran < budget && (f = take(loop, &claimed))) {
        if (claimed)
            soon_future_run_claimed(f);
        ran += claimed;
        soon_future_unref(f);
        if (soon_executor_inherited(&loop->ex))
            break; /* the task forked, and this is the child */
    }
    return ran < INT_MAX ? (int)ran : INT_MAX;
}

static void enter(struct loop *loop)
{
    soon__lock_acquire(&loop->lock);
    loop->runners++;
    loop->has_home = true;
    loop->home = pthread_self();
    soon__lock_release(&loop->lock);
}

/* Nobody will come to run what is queued: it is cancelled. */
static void cancel_queued(struct loop *loop)
{
    soon__lock_acquire(&loop->lock);
    struct soon_task_queue queue = loop->queue;
    loop->queue = (struct soon_task_queue){.count = 0};
    show(loop);
    soon__lock_release(&loop->lock);
    for (soon_future *f; (f = soon_task_queue_pop(&queue)); soon_future_unref(f))
        soon_future_cancel(f);
}

static void leave(struct loop *loop)
{
    soon__lock_acquire(&loop->lock);
    bool abandoned = --loop->runners == 0 && loop->abandoned;
    soon__lock_release(&loop->lock);
    if (abandoned)
        cancel_queued(loop);
}

static bool is_closed(struct loop *loop)
{
    soon__lock_acquire(&loop->lock);
    bool closed = loop->closed;
    soon__lock_release(&loop->lock);
    return closed;
}

static int run_until(struct loop *loop, size_t budget, soon_ns deadline)
{
    for (;;) {
        uint32_t seen = atomic_load(&loop->changed);
        soon_flush_callbacks(); /* one may be a task of this loop */
        if (soon_executor_inherited(&loop->ex))
            return 0; /* one forked, and this is the child */
        int ran = run_queued(loop, budget);
        if (ran || deadline == 0 || is_closed(loop))
            return ran;
        if (sleep_until_changed(loop, seen, deadline) != 0)
            deadline = 0; /* one more look */
    }
}

static const struct soon_executor_ops ops;

static int check(const soon_executor *ex)
{
    if (!ex || ex->ops != &ops)
        return -EINVAL;
    return soon_executor_inherited(ex) ? -ENOTRECOVERABLE : 0;
}

int soon_loop_run(soon_executor *ex, size_t budget, soon_ns timeout)
{
    int error = check(ex);

    if (error)
        return error;
    struct loop *loop = loop_of(ex);
    soon_executor_hold(ex); /* a task may drop the last reference */
    enter(loop);
    int ran = run_until(loop, budget ? budget : SIZE_MAX, timeout ? soon__deadline(timeout) : 0);
    if (!soon_executor_inherited(ex)) {
        leave(loop);
        soon_executor_release(ex);
    }
    return ran;
}

int soon_loop_fd(soon_executor *ex)
{
    int error = check(ex);

    if (error)
        return error;
    struct loop *loop = loop_of(ex);
    soon__lock_acquire(&loop->lock);
    loop->polled = true;
    show(loop);
    soon__lock_release(&loop->lock);
    return loop->fd;
}

/* ---- the end ---- */

/* Tasks keep to the thread that runs the loop. If that is this one, or there
 * has been none, nobody else will run what is queued. */
static bool is_ours(struct loop *loop)
{
    soon__lock_acquire(&loop->lock);
    bool ours = !loop->has_home || pthread_equal(loop->home, pthread_self());
    soon__lock_release(&loop->lock);
    return ours;
}

/* The last reference is gone. A thread that runs the loop now goes on until
 * it leaves; else this is the last chance for what is queued. */
static void abandon(struct loop *loop)
{
    soon__lock_acquire(&loop->lock);
    loop->abandoned = true;
    bool running = loop->runners > 0;
    soon__lock_release(&loop->lock);
    if (running)
        return;
    if (is_ours(loop))
        run_queued(loop, SIZE_MAX);
    else
        cancel_queued(loop);
}

static void loop_close(soon_executor *ex, unsigned flags)
{
    struct loop *loop = loop_of(ex);

    soon__lock_acquire(&loop->lock);
    loop->closed = true;
    soon__lock_release(&loop->lock);
    wake(loop);
    if (flags & SOON_CANCEL_FUTURES)
        cancel_queued(loop);
    if (flags & SOON_BACKEND_LAST_REFERENCE)
        abandon(loop);
}

static int join(soon_executor *ex, soon_ns deadline)
{
    struct loop *loop = loop_of(ex);
    bool ours = is_ours(loop);

    while (ours && (deadline < 0 || soon__now() < deadline) && run_queued(loop, 1))
        if (soon_executor_inherited(ex))
            return 0; /* the task forked, and this is the child */
    return soon_executor_drain(ex, deadline);
}

static void destroy(soon_executor *ex)
{
    struct loop *loop = loop_of(ex);

    soon__chain_drop(soon_task_queue_sweep(&loop->queue));
    soon__event_close(loop->fd);
    soon_executor_fini(ex);
    soon__free(loop, sizeof *loop);
}

static const struct soon_executor_ops ops = {
    .backend = "loop",
    .flags = SOON_BACKEND_LOCAL,
    .submit = submit,
    .close = loop_close,
    .join = join,
    .destroy = destroy,
    .withdrawn = withdrawn,
};

int soon_loop_new(soon_executor **out)
{
    if (!out)
        return -EINVAL;
    struct loop *loop = soon__zalloc(sizeof *loop);
    if (!loop)
        return -ENOMEM;
    loop->fd = soon__event_new();
    int error = loop->fd < 0 ? loop->fd : 0;
    if (!error) {
        error = soon_executor_init(&loop->ex, &ops, &(struct soon_executor_limits){.workers = 1});
        if (error)
            soon__event_close(loop->fd);
    }
    if (error) {
        soon__free(loop, sizeof *loop);
        return error;
    }
    *out = &loop->ex;
    return 0;
}
