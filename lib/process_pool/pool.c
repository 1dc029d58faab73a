/* SPDX-License-Identifier: MIT */
/*
 * The process pool as an executor: its operations, its options, its end.
 */
#include "process_pool/pool.h"

#include "core/mem.h"
#include "os/cpus.h"
#include "os/event.h"
#include "os/own_fd.h"
#include "os/poll.h"
#include "process_pool/worker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct pool *pool_of(soon_executor *ex)
{
    return (struct pool *)ex;
}

/* ---- submit ---- */

static int state_error(const struct pool *pool)
{
    return pool->broken ? -ENOTRECOVERABLE : pool->closing || pool->stopped ? -ESHUTDOWN : 0;
}

static int start_error(struct pool *pool)
{
    char text[128];

    snprintf(text, sizeof text, "no worker can be started: %s",
             strerrordesc_np(-pool->start_error));
    soon_set_last_error(text);
    return pool->start_error == -ENOMEM ? -ENOMEM : -EAGAIN;
}

/* A pool runs with at least one worker: who brings work to one without sees to
 * it that there is one, and learns if there can't be. Under the lock. */
static int need_worker(struct pool *pool)
{
    uint64_t started = pool->n_started;
    unsigned failed = pool->failed_starts;
    struct seat *seat;
    int error = 0;

    while (!error && pool->n_alive == 0 && pool->n_started == started) {
        uint32_t seen = atomic_load(&pool->births);
        int opened = pool->n_workers == 0 && pool->nursery_up ? soon__seat_open(pool, &seat) : 0;
        if (opened == -EPIPE)
            soon__monitor_poke(pool); /* the nursery is gone: there will be another */
        else if ((pool->start_error = opened))
            return start_error(pool);
        soon__lock_release(&pool->lock);
        soon__futex_wait(&pool->births, seen, SOON__NEVER);
        soon__lock_acquire(&pool->lock);
        error = state_error(pool);
        if (!error && pool->failed_starts != failed)
            return start_error(pool);
    }
    return error;
}

static bool is_urgent(const soon_future *chain)
{
    soon_task task;

    for (; chain; chain = soon_future_next(chain)) {
        soon_future_task(chain, &task);
        if (task.priority == SOON_PRIORITY_HIGH)
            return true;
    }
    return false;
}

static int submit(soon_executor *ex, soon_future *chain, size_t n)
{
    struct pool *pool = pool_of(ex);

    (void)n;
    soon__lock_acquire(&pool->lock);
    int error = state_error(pool);
    if (!error)
        error = need_worker(pool);
    if (!error) {
        if (pool->n_ahead && is_urgent(chain))
            soon__take_back_below(pool, SOON_PRIORITY_HIGH);
        soon__bring(pool, chain);
        if (pool->queue.count && pool->start_after)
            soon__monitor_by(pool, pool->start_after);
    }
    soon__lock_release(&pool->lock);
    return error;
}

static int find(soon_executor *ex, soon_fn *fn, char *message, size_t size)
{
    struct pool *pool = pool_of(ex);
    struct soon__function function;

    return soon__function_describe(pool->found, pool->start_method != SOON_START_SPAWN, fn,
                                   &function, message, size);
}

static void stats(soon_executor *ex, soon_stats *out)
{
    struct pool *pool = pool_of(ex);

    soon__lock_acquire(&pool->lock);
    out->workers = pool->n_workers;
    out->idle = pool->n_idle;
    out->workers_started = pool->n_started;
    out->workers_crashed = pool->n_crashed;
    out->workers_replaced = pool->n_replaced;
    out->memory += sizeof *pool + pool->n_seats * sizeof(struct seat) + pool->init_arg_len +
                   pool->max_workers * sizeof *pool->seats + pool->mapped +
                   soon__store_memory(&pool->store);
    soon__lock_release(&pool->lock);
}

/* ---- ending what is pending ---- */

static void end_one(struct pool *pool, soon_future *f)
{
    soon_error error = {.code = -ENOTRECOVERABLE,
                        .origin = SOON_FROM_LIBRARY,
                        .message = pool->why}; /* const once broken is set */

    if (pool->broken)
        soon_future_set_failure(f, &error);
    else
        soon_future_cancel(f);
    soon_future_unref(f);
}

/* The queue as it is at one moment: what comes after it is the monitor's to
 * hand out. A pop reads a link that look and recall read too. Who comes along
 * and finds the queue empty because another has just taken it waits for that
 * one: "every pending future is cancelled" is said of those, too. So no foreign
 * code runs meanwhile. */
void soon__flush_pool(struct pool *pool)
{
    bool deferred = soon_callbacks_defer();
    soon_future *f;

    soon__wait_group_enter(&pool->enders);
    soon__lock_acquire(&pool->lock);
    for (struct seat *seat = pool->busy; seat; seat = seat->next_busy)
        soon__take_back(seat);
    struct soon_task_queue taken = pool->queue;
    pool->queue = (struct soon_task_queue){0};
    pool->stale = 0;
    while ((f = soon_task_queue_pop(&taken))) {
        soon__lock_release(&pool->lock);
        end_one(pool, f);
        soon__lock_acquire(&pool->lock);
    }
    soon__lock_release(&pool->lock);
    soon__wait_group_leave(&pool->enders);
    soon__wait_group_wait(&pool->enders);
    soon_callbacks_resume(deferred);
}

void soon__break(struct pool *pool, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char *why = soon__copy_string(text);
    soon__lock_acquire(&pool->lock);
    bool first = !pool->broken;
    if (first)
        pool->why = why;
    pool->broken = true;
    soon__lock_release(&pool->lock);
    if (!first) {
        soon__free_string(why);
        return;
    }
    soon_executor_break_because(&pool->ex, text);
    atomic_fetch_add(&pool->births, 1);
    soon__futex_wake(&pool->births, INT32_MAX);
    soon__flush_pool(pool);
}

/* ---- the end ---- */

static void pool_close(soon_executor *ex, unsigned flags)
{
    struct pool *pool = pool_of(ex);

    soon__lock_acquire(&pool->lock);
    pool->closing = true;
    soon__lock_release(&pool->lock);
    atomic_fetch_add(&pool->births, 1);
    soon__futex_wake(&pool->births, INT32_MAX);
    if (flags & SOON_CANCEL_FUTURES)
        soon__flush_pool(pool);
    soon__monitor_poke(pool);
}

static int pool_join(soon_executor *ex, soon_ns deadline)
{
    int error = soon_executor_drain(ex, deadline);

    return error ? error : soon__monitor_join(pool_of(ex), deadline);
}

static size_t deaths_kept(const struct pool *pool)
{
    return pool->max_restarts > RESTARTS_MAX ? 0 : pool->max_restarts;
}

static void free_pool(struct pool *pool)
{
    for (unsigned i = 0; i < pool->n_seats; i++)
        soon__free(pool->seats[i], sizeof *pool->seats[i]);
    soon__free(pool->seats, pool->max_workers * sizeof *pool->seats);
    soon__free(pool->deaths, deaths_kept(pool) * sizeof *pool->deaths);
    soon__free(pool->init_arg, pool->init_arg_len);
    soon__free_string(pool->why);
    soon__store_close(&pool->store);
    if (pool->start_method != SOON_START_SPAWN)
        soon__functions_free(pool->found);
    soon__own_fd_close(pool->poke_fd);
    soon__own_fd_close(pool->poll_fd);
    soon__free_line(pool, sizeof *pool);
}

/* Nobody has a future of it any more, and the monitor has ended; this may be
 * the thread that it was. */
static void destroy(soon_executor *ex)
{
    struct pool *pool = pool_of(ex);

    if (pool->has_last && !pool->joining)
        pthread_detach(pool->last);
    soon_executor_fini(ex);
    free_pool(pool);
}

static int stop_workers(soon_executor *ex, int signal);

static const struct soon_executor_ops ops = {
    .backend = "process_pool",
    .flags = SOON_BACKEND_REMOTE,
    .submit = submit,
    .close = pool_close,
    .join = pool_join,
    .destroy = destroy,
    .kill = soon__op_kill,
    .stats = stats,
    .look = soon__op_look,
    .recall = soon__op_recall,
    .ask = soon__op_ask,
    .progress = soon__op_progress,
    .give_back = soon__op_give_back,
    .find = find,
    .assist = soon__op_assist,
    .room = soon__op_room,
};

static int stop_workers(soon_executor *ex, int signal)
{
    if (!ex)
        return -EINVAL;
    if (ex->ops != &ops)
        return -ENOTSUP;
    if (soon_executor_inherited(ex))
        return -ENOTRECOVERABLE;
    struct pool *pool = pool_of(ex);
    soon__lock_acquire(&pool->lock);
    pool->stopped = true;
    for (unsigned i = 0; i < pool->n_seats; i++)
        soon__seat_doom(pool->seats[i], REASON_STOPPED, signal);
    soon__lock_release(&pool->lock);
    return soon_shutdown(ex, 0, SOON_CANCEL_FUTURES);
}

int soon_process_pool_terminate_workers(soon_executor *ex)
{
    return stop_workers(ex, SIGTERM);
}

int soon_process_pool_kill_workers(soon_executor *ex)
{
    return stop_workers(ex, SIGKILL);
}

/* ---- the beginning ---- */

/* In a forked worker: the pool is a copy that nobody works for. */
static void live_forked(void *arg, const int fds[SOON__BORN_FDS])
{
    (void)arg;
    soon__own_fds_leave(fds, SOON__BORN_FDS);
    soon__worker_live(fds, true);
}

static void nursery_gone(void *arg)
{
    soon__monitor_poke(arg);
}

static bool is_sound(const soon_process_pool_options *o)
{
    static const uint64_t unused[8];

    return o->start_method >= SOON_START_FORKSERVER && o->start_method <= SOON_START_SPAWN &&
           o->kill_grace >= 0 && o->restart_window >= 0 &&
           !(o->flags & ~(unsigned)SOON_BREAK_ON_DEATH) && (o->init_arg || !o->init_arg_len) &&
           memcmp(o->reserved, unused, sizeof unused) == 0;
}

static void take_limits(struct pool *pool, const soon_process_pool_options *o)
{
    bool plain = !o->max_restarts && !o->restart_window;

    pool->start_method = o->start_method;
    pool->max_tasks = o->max_tasks_per_child;
    pool->kill_grace = o->kill_grace ? o->kill_grace : SOON_SECONDS(3);
    pool->max_restarts = plain ? 60 : o->max_restarts;
    pool->restart_window = o->restart_window ? o->restart_window : SOON_SECONDS(60);
    pool->worker_memory = o->max_worker_memory;
    pool->break_on_death = o->flags & SOON_BREAK_ON_DEATH;
    pool->initializer = o->initializer;
    pool->finalizer = o->finalizer;
    snprintf(pool->name, sizeof pool->name, "%s", o->name ? o->name : "soon");
    pool->nursery = (struct soon__nursery){.fd = -1,
                                           .far_fd = -1,
                                           .method = o->start_method,
                                           .born = live_forked,
                                           .gone = nursery_gone,
                                           .arg = pool};
}

static int take_memory(struct pool *pool, const soon_process_pool_options *o)
{
    pool->seats = soon__alloc_array(pool->max_workers, sizeof *pool->seats);
    pool->deaths = soon__zalloc(deaths_kept(pool) * sizeof *pool->deaths);
    if (!pool->seats || !pool->deaths)
        return -ENOMEM;
    if (o->init_arg_len) {
        pool->init_arg = soon__alloc(o->init_arg_len);
        if (!pool->init_arg)
            return -ENOMEM;
        memcpy(pool->init_arg, o->init_arg, o->init_arg_len);
        pool->init_arg_len = o->init_arg_len;
    }
    pool->poll_fd = soon__poll_new();
    pool->poke_fd = soon__event_new();
    soon__own_fd(pool->poll_fd);
    soon__own_fd(pool->poke_fd);
    return pool->poll_fd < 0 ? pool->poll_fd : pool->poke_fd < 0 ? pool->poke_fd : 0;
}

/* Says why there is no pool. */
static int failed(int error, const char *what)
{
    char text[256];

    snprintf(text, sizeof text, "%s%s%s", what, error == -EINVAL ? "" : ": ",
             error == -EINVAL ? "" : strerrordesc_np(-error));
    soon_set_last_error(text);
    return error;
}

/* How workers find functions: the initializer and the finalizer as well, which
 * they must. */
static int take_functions(struct pool *pool)
{
    char message[256];
    int error = 0;

    if (pool->start_method == SOON_START_SPAWN && soon__process_is_privileged())
        return failed(-EINVAL, "a set-user-ID program can't spawn workers");
    if (pool->start_method == SOON_START_SPAWN) {
        pool->found = soon__functions_spawned();
        if (!pool->found)
            return failed(-EINVAL,
                          "workers can't be spawned: the program has not called soon_init()");
    } else if (!(pool->found = soon__functions_now())) {
        return failed(-ENOMEM, "the program's objects can't be listed");
    }
    if (pool->initializer)
        error = find(&pool->ex, pool->initializer, message, sizeof message);
    if (!error && pool->finalizer)
        error = find(&pool->ex, pool->finalizer, message, sizeof message);
    if (error)
        soon_set_last_error(message);
    return error;
}

/* The executor is there, and from here on it ends by itself or is undone. */
static int start(struct pool *pool)
{
    int error = soon__nursery_open(&pool->nursery);

    if (error)
        return failed(error, "the nursery, from which workers are started, can't be made");
    soon__own_fd(pool->nursery.fd);
    pool->nursery_up = true;
    error = soon__monitor_start(pool);
    if (!error)
        return 0;
    soon__nursery_close(&pool->nursery);
    return failed(error, "the pool's own thread can't be started");
}

int soon_process_pool_new(const soon_process_pool_options *options, soon_executor **out)
{
    static const soon_process_pool_options defaults;
    struct soon_executor_limits limits = {0};

    if (!options)
        options = &defaults;
    if (!out || !is_sound(options))
        return failed(-EINVAL, "an option is out of its range, or unknown");
    limits.workers = options->max_workers ? options->max_workers : soon__workers_default();
    limits.max_pending = options->max_pending;
    limits.overflow = options->overflow;
    if (limits.workers < 1 || limits.workers > SOON__WORKERS_MAX)
        return failed(-EINVAL, "the number of workers is not from 1 to 65536");
    struct pool *pool = soon__alloc_line(sizeof *pool);
    if (!pool)
        return failed(-ENOMEM, "the pool");
    memset(pool, 0, sizeof *pool);
    pool->poll_fd = pool->poke_fd = -1;
    pool->store = (struct store){.kind = LOAN_STORE, .fd = -1};
    pool->max_workers = limits.workers;
    pool->cpus = soon__cpus();
    take_limits(pool, options);
    int error = take_memory(pool, options);
    if (!error)
        error = soon_executor_init(&pool->ex, &ops, &limits);
    if (error)
        failed(error, "the pool");
    else if ((error = take_functions(pool)))
        soon_executor_fini(&pool->ex);
    if (!error && (error = start(pool)))
        soon_executor_fini(&pool->ex);
    if (error) {
        free_pool(pool);
        return error;
    }
    *out = &pool->ex;
    return 0;
}
