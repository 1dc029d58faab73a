/* SPDX-License-Identifier: MIT */
/*
 * The thread pool as an executor: its operations and its options.
 *
 * Threads are started by whoever brings work, when no worker is idle and there
 * may be more of them (schedule.c); and by a worker that goes to sleep in a
 * wait while tasks are queued (a spare, below).
 */
#include "thread_pool/pool.h"

#include "core/mem.h"
#include "os/cpus.h"
#include "os/patience.h"

#include <errno.h>
#include <string.h>

static struct pool *pool_of(soon_executor *ex)
{
    return (struct pool *)ex;
}

/* ---- operations ---- */

static int submit(soon_executor *ex, soon_future *chain, size_t n)
{
    return soon__schedule(pool_of(ex), chain, n);
}

static void withdrawn(soon_executor *ex, soon_future *f)
{
    (void)f;
    soon__count_stale(pool_of(ex));
}

static void blocking(soon_executor *ex, bool begin)
{
    struct pool *pool = pool_of(ex);
    struct worker *self = soon__this_worker, *taken = NULL;

    /* In its finalizer a worker counts no more. */
    if (!self || self->leaving)
        return;
    if (begin)
        soon__deque_slow_down(&self->deque);
    soon__lock_acquire(&pool->lock);
    if (begin) {
        soon__end_runner(pool, self);
        soon__work_ends();
    } else {
        soon__work_begins();
    }
    pool->n_blocked += begin ? 1u : -1u;
    /* First this, then the look: see the head of schedule.c. */
    soon__count_helpers(pool);
    /* Without memory or threads for a spare the next submit or wait tries
     * again. */
    if (begin && soon__awake(pool) < pool->max_workers && !pool->n_searching &&
        soon__has_work(pool))
        (void)soon__find_workers(pool, 1, false, &taken);
    soon__lock_release(&pool->lock);
    soon__wake(taken);
}

static void stats(soon_executor *ex, soon_stats *out)
{
    struct pool *pool = pool_of(ex);

    soon__lock_acquire(&pool->lock);
    out->workers = pool->n_workers;
    out->idle = pool->n_idle + pool->n_reserve;
    out->workers_started = pool->n_started;
    out->stolen = pool->n_stolen;
    out->idle += pool->watcher != NULL;
    for (struct worker *w = pool->workers; w; w = w->next)
        out->stolen += atomic_load(&w->stolen);
    out->memory += soon__backlog_memory(&pool->queue) + sizeof *pool +
                   pool->n_workers * sizeof(struct worker) + pool->init_arg_len;
    soon__lock_release(&pool->lock);
}

/* ---- the end ---- */

static void pool_close(soon_executor *ex, unsigned flags)
{
    struct pool *pool = pool_of(ex);
    int end = flags & SOON_CANCEL_FUTURES ? POOL_CANCELLING : POOL_CLOSED;

    soon__lock_acquire(&pool->lock);
    if (atomic_load(&pool->ending) < end)
        atomic_store(&pool->ending, end);
    soon__count_helpers(pool);
    soon__lock_release(&pool->lock);
    if (flags & SOON_CANCEL_FUTURES)
        soon__flush(pool);
    soon__wake_all(pool);
}

static int pool_join(soon_executor *ex, soon_ns deadline)
{
    struct pool *pool = pool_of(ex);
    int error = soon_executor_drain(ex, deadline);

    soon__lock_acquire(&pool->lock);
    while (!error && (pool->n_workers || pool->has_last || pool->joining)) {
        /* relaxed: it changes under the lock. */
        uint32_t seen = atomic_load_explicit(&pool->gone, memory_order_relaxed);
        if (pool->n_workers == 0 && pool->has_last) {
            soon__worker_join_last(pool);
            continue;
        }
        soon__lock_release(&pool->lock);
        error = soon__futex_wait(&pool->gone, seen, deadline < 0 ? SOON__NEVER : deadline);
        soon__lock_acquire(&pool->lock);
    }
    soon__lock_release(&pool->lock);
    return error;
}

static void free_pool(struct pool *pool)
{
    soon__free_string(pool->name);
    soon__free_string(pool->why_broken);
    soon__free(pool->init_arg, pool->init_arg_len);
    soon__backlog_free(&pool->queue);
    soon__free_line(pool, sizeof *pool);
}

/* The last worker has left, and may be the thread that this runs in. */
static void destroy(soon_executor *ex)
{
    struct pool *pool = pool_of(ex);

    if (pool->has_last)
        pthread_detach(pool->last);
    soon_executor_fini(ex);
    free_pool(pool);
}

/* ---- the beginning ---- */

static const struct soon_executor_ops ops = {
    .backend = "thread_pool",
    .flags = SOON_BACKEND_LOCAL | SOON_BACKEND_DRAINS,
    .submit = submit,
    .close = pool_close,
    .join = pool_join,
    .destroy = destroy,
    .withdrawn = withdrawn,
    .blocking = blocking,
    .stats = stats,
};

static int configure(struct pool *pool, const soon_thread_pool_options *o)
{
    pool->max_workers = o->max_workers ? o->max_workers : soon__workers_default();
    pool->min_workers = o->min_workers;
    pool->cpus = soon__cpus();
    pool->idle_timeout = o->idle_timeout ? o->idle_timeout : SOON_SECONDS(60);
    pool->stack_size = o->stack_size;
    pool->initializer = o->initializer;
    pool->finalizer = o->finalizer;
    if (pool->max_workers < 1 || pool->max_workers > SOON__WORKERS_MAX ||
        pool->min_workers > pool->max_workers || soon__thread_stack_size(&pool->stack_size) != 0 ||
        (!o->init_arg && o->init_arg_len))
        return -EINVAL;
    pool->name = soon__copy_string(o->name ? o->name : "soon");
    if (o->init_arg_len) {
        pool->init_arg = soon__alloc(o->init_arg_len);
        if (pool->init_arg) {
            memcpy(pool->init_arg, o->init_arg, o->init_arg_len);
            pool->init_arg_len = o->init_arg_len;
        }
    }
    return pool->name && (pool->init_arg || !o->init_arg_len) ? 0 : -ENOMEM;
}

int soon_thread_pool_new(const soon_thread_pool_options *options, soon_executor **out)
{
    static const soon_thread_pool_options defaults;

    if (!options)
        options = &defaults;
    if (!out || memcmp(options->reserved, defaults.reserved, sizeof defaults.reserved) != 0)
        return -EINVAL;
    struct pool *pool = soon__alloc_line(sizeof *pool);
    if (!pool)
        return -ENOMEM;
    memset(pool, 0, sizeof *pool);
    atomic_init(&pool->helpers, true);
    soon__inbox_init(&pool->inbox);
    int error = configure(pool, options);
    if (!error)
        error = soon_executor_init(&pool->ex, &ops,
                                   &(struct soon_executor_limits){
                                       .workers = pool->max_workers,
                                       .max_pending = options->max_pending,
                                       .overflow = options->overflow,
                                   });
    if (error) {
        free_pool(pool);
        return error;
    }
    *out = &pool->ex;
    return 0;
}
