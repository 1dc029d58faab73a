/* SPDX-License-Identifier: MIT */
/*
 * An executor of one thread and a stack. See backend.h.
 *
 * The thread is a hold on the executor. It ends once the executor is closed,
 * the stack is empty, and soon_executor_drain() says that nobody who cancels
 * a future is still in withdrawn().
 */
#include "backend.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <soon/backend.h>

struct lifo {
    soon_executor executor; /* first, as in every backend */
    struct stack stack;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    enum { STARTING, WORKING, FAILED, GONE, REAPED } state; /* of the thread */
};

static void set_state(struct lifo *lifo, int state)
{
    pthread_mutex_lock(&lifo->lock);
    lifo->state = state;
    pthread_cond_broadcast(&lifo->changed);
    pthread_mutex_unlock(&lifo->lock);
}

/* What runs stays on the stack meanwhile: close() must see everything that may be pending. */
static void *work(void *arg)
{
    struct lifo *lifo = arg;
    soon_executor *ex = &lifo->executor;
    bool entered = soon_worker_enter(ex) == 0;
    set_state(lifo, entered ? WORKING : FAILED);
    if (!entered)
        return NULL;
    for (soon_future *f; (f = stack_top(&lifo->stack)) != NULL; soon_future_unref(f)) {
        soon_future_run(f);
        stack_remove(&lifo->stack, f);
    }
    soon_executor_drain(ex, SOON_FOREVER);
    soon_worker_leave(ex);
    set_state(lifo, GONE);
    soon_executor_release(ex);
    return NULL;
}

static int lifo_submit(soon_executor *ex, soon_future *chain, size_t n)
{
    return stack_push(&((struct lifo *)ex)->stack, chain, n);
}

static void lifo_withdrawn(soon_executor *ex, soon_future *f)
{
    stack_remove(&((struct lifo *)ex)->stack, f);
}

static void lifo_close(soon_executor *ex, unsigned flags)
{
    stack_close(&((struct lifo *)ex)->stack, flags & SOON_CANCEL_FUTURES);
}

static int lifo_join(soon_executor *ex, soon_ns deadline)
{
    struct lifo *lifo = (struct lifo *)ex;
    struct timespec until = {deadline / SOON_SECONDS(1), deadline % SOON_SECONDS(1)};
    int err = 0;
    pthread_mutex_lock(&lifo->lock);
    while (lifo->state == WORKING && err == 0) {
        if (deadline < 0)
            pthread_cond_wait(&lifo->changed, &lifo->lock);
        else
            err = pthread_cond_clockwait(&lifo->changed, &lifo->lock, CLOCK_MONOTONIC, &until);
    }
    /* The thread is past its last use of the lock. */
    if (lifo->state == GONE) {
        pthread_join(lifo->thread, NULL);
        lifo->state = REAPED;
    }
    err = lifo->state == REAPED ? 0 : -ETIMEDOUT;
    pthread_mutex_unlock(&lifo->lock);
    return err;
}

static int discard(struct lifo *lifo, int err)
{
    stack_destroy(&lifo->stack);
    pthread_mutex_destroy(&lifo->lock);
    pthread_cond_destroy(&lifo->changed);
    free(lifo);
    return err;
}

/* Without a join the last hold can be the thread's own, and this runs in it. */
static void lifo_destroy(soon_executor *ex)
{
    struct lifo *lifo = (struct lifo *)ex;
    if (lifo->state != REAPED && pthread_equal(lifo->thread, pthread_self()))
        pthread_detach(lifo->thread);
    else if (lifo->state != REAPED)
        pthread_join(lifo->thread, NULL);
    soon_executor_fini(ex);
    discard(lifo, 0);
}

static const struct soon_executor_ops ops = {
    .backend = "lifo",
    .flags = SOON_BACKEND_LOCAL,
    .submit = lifo_submit,
    .close = lifo_close,
    .join = lifo_join,
    .destroy = lifo_destroy,
    .withdrawn = lifo_withdrawn,
};

int lifo_new(soon_executor **out)
{
    struct lifo *lifo = calloc(1, sizeof *lifo);
    if (lifo == NULL)
        return -ENOMEM;
    stack_init(&lifo->stack);
    pthread_mutex_init(&lifo->lock, NULL);
    pthread_cond_init(&lifo->changed, NULL);
    soon_executor *ex = &lifo->executor;
    int err = soon_executor_init(ex, &ops, &(struct soon_executor_limits){.workers = 1});
    if (err != 0)
        return discard(lifo, err);
    soon_executor_hold(ex); /* the thread's */
    err = -pthread_create(&lifo->thread, NULL, work, lifo);
    pthread_mutex_lock(&lifo->lock);
    while (err == 0 && lifo->state == STARTING)
        pthread_cond_wait(&lifo->changed, &lifo->lock);
    bool failed = lifo->state == FAILED;
    pthread_mutex_unlock(&lifo->lock);
    if (failed)
        pthread_join(lifo->thread, NULL);
    if (err != 0 || failed) {
        soon_executor_fini(ex);
        return discard(lifo, failed ? -ENOMEM : err);
    }
    *out = ex;
    return 0;
}
