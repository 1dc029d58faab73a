/* SPDX-License-Identifier: MIT */
/*
 * A backend that knows only <soon/backend.h>: one thread takes futures from
 * one queue. Its thread starts with it and leaves once it is closed, its
 * queue is empty and nothing of it is in flight.
 */
#include "backends.h"

#include <soon/backend.h>
#include <time.h>

struct custom {
    soon_executor base; /* first: an executor is one of these */
    pthread_mutex_t lock;
    pthread_cond_t changed;       /* on CLOCK_MONOTONIC */
    struct soon_task_queue queue; /* Sync: lock */
    bool closed;                  /* Sync: lock */
    bool gone;                    /* Sync: lock; the thread has left */
};

static int custom_submit(soon_executor *ex, soon_future *chain, size_t n)
{
    struct custom *c = (struct custom *)ex;
    int error = 0;

    (void)n;
    pthread_mutex_lock(&c->lock);
    if (c->closed)
        error = -ESHUTDOWN;
    else
        soon_task_queue_push(&c->queue, chain);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return error;
}

static void custom_close(soon_executor *ex, unsigned flags)
{
    struct custom *c = (struct custom *)ex;
    struct soon_task_queue doomed = {0};
    soon_future *f;

    pthread_mutex_lock(&c->lock);
    c->closed = true;
    if (flags & SOON_CANCEL_FUTURES) {
        doomed = c->queue;
        c->queue = (struct soon_task_queue){0};
    }
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);

    /* Callbacks run in here, so not under the lock. */
    while ((f = soon_task_queue_pop(&doomed)) != NULL) {
        soon_future_cancel(f);
        soon_future_unref(f);
    }
}

static int custom_join(soon_executor *ex, soon_ns deadline)
{
    struct custom *c = (struct custom *)ex;
    struct timespec until = {.tv_sec = deadline / SOON_SECONDS(1),
                             .tv_nsec = deadline % SOON_SECONDS(1)};
    bool gone;

    pthread_mutex_lock(&c->lock);
    while (!c->gone) {
        if (deadline < 0)
            pthread_cond_wait(&c->changed, &c->lock);
        else if (pthread_cond_timedwait(&c->changed, &c->lock, &until) == ETIMEDOUT)
            break;
    }
    gone = c->gone;
    pthread_mutex_unlock(&c->lock);
    return gone ? 0 : -ETIMEDOUT;
}

static void custom_destroy(soon_executor *ex)
{
    struct custom *c = (struct custom *)ex;

    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    soon_executor_fini(ex);
    free(c);
}

static void custom_stats(soon_executor *ex, soon_stats *out)
{
    struct custom *c = (struct custom *)ex;

    pthread_mutex_lock(&c->lock);
    out->workers += c->gone ? 0 : 1;
    pthread_mutex_unlock(&c->lock);
    out->workers_started += 1;
    out->memory += sizeof *c;
}

#define CUSTOM_OPS(what)                                                                      \
    {                                                                                         \
        .backend = "custom", .flags = (what), .submit = custom_submit, .close = custom_close, \
        .join = custom_join, .destroy = custom_destroy, .stats = custom_stats,                \
    }

static const struct soon_executor_ops local_ops = CUSTOM_OPS(SOON_BACKEND_LOCAL);
static const struct soon_executor_ops elsewhere_ops = CUSTOM_OPS(0);

/* The next future, or NULL when there will be none. */
static soon_future *custom_next(struct custom *c)
{
    soon_future *f;

    pthread_mutex_lock(&c->lock);
    while ((f = soon_task_queue_pop(&c->queue)) == NULL && !c->closed)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    return f;
}

static void *custom_worker(void *data)
{
    struct custom *c = data;
    soon_future *f;

    REQUIRE(soon_worker_enter(&c->base) == 0);
    while ((f = custom_next(c)) != NULL) {
        soon_future_run(f);
        soon_future_unref(f);
    }
    REQUIRE(soon_executor_drain(&c->base, SOON_FOREVER) == 0);
    soon_worker_leave(&c->base);

    pthread_mutex_lock(&c->lock);
    c->gone = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    soon_executor_release(&c->base);
    return NULL;
}

int custom_backend_new(unsigned flags, soon_executor **out)
{
    const struct soon_executor_limits limits = {.workers = 1};
    struct custom *c = calloc(1, sizeof *c);
    pthread_condattr_t monotonic;
    pthread_t thread;

    REQUIRE(c);
    REQUIRE(pthread_mutex_init(&c->lock, NULL) == 0);
    REQUIRE(pthread_condattr_init(&monotonic) == 0);
    REQUIRE(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    REQUIRE(pthread_cond_init(&c->changed, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    REQUIRE(soon_executor_init(&c->base, flags ? &local_ops : &elsewhere_ops, &limits) == 0);

    soon_executor_hold(&c->base);
    REQUIRE(pthread_create(&thread, NULL, custom_worker, c) == 0);
    pthread_detach(thread);
    *out = &c->base;
    return 0;
}
