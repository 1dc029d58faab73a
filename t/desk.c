/* SPDX-License-Identifier: MIT */
#include "desk.h"

struct desk desk;
soon_executor *ex;

static struct desk *desk_of(soon_executor *base)
{
    return (struct desk *)base;
}

static int desk_submit(soon_executor *base, soon_future *chain, size_t n)
{
    struct desk *d = desk_of(base);
    size_t length = 0;
    int error = atomic_load(&d->refusal);

    atomic_fetch_add(&d->submits, 1);
    for (soon_future *f = chain; f; f = soon_future_next(f))
        length++;
    REQUIRE(length == n && n > 0);
    if (error) {
        if (atomic_load(&d->keeps))
            atomic_store(&d->kept, soon_future_ref(chain));
        return error;
    }
    pthread_mutex_lock(&d->lock);
    if (d->closed)
        error = -ESHUTDOWN;
    else
        soon_task_queue_push(&d->queue, chain);
    pthread_mutex_unlock(&d->lock);
    if (!error)
        atomic_fetch_add(&d->accepted, (unsigned)n);
    return error;
}

soon_future *desk_take(void)
{
    soon_future *f;

    pthread_mutex_lock(&desk.lock);
    f = soon_task_queue_pop(&desk.queue);
    pthread_mutex_unlock(&desk.lock);
    return f;
}

static void desk_close(soon_executor *base, unsigned flags)
{
    struct desk *d = desk_of(base);
    soon_future *f;

    atomic_fetch_add(&d->closes, 1);
    pthread_mutex_lock(&d->lock);
    d->closed = true;
    pthread_mutex_unlock(&d->lock);
    while ((flags & SOON_CANCEL_FUTURES) && (f = desk_take()) != NULL) {
        soon_future_cancel(f);
        soon_future_unref(f);
    }
}

static int desk_join(soon_executor *base, soon_ns deadline)
{
    atomic_fetch_add(&desk_of(base)->joins, 1);
    return soon_executor_drain(base, deadline);
}

static void desk_destroy(soon_executor *base)
{
    REQUIRE(desk_of(base)->queue.count == 0);
    atomic_fetch_add(&desk_of(base)->destroyed, 1);
    soon_executor_fini(base);
}

static void desk_withdrawn(soon_executor *base, soon_future *f)
{
    atomic_store(&desk_of(base)->last_withdrawn, f);
    atomic_fetch_add(&desk_of(base)->withdrawn, 1);
}

static void desk_blocking(soon_executor *base, bool begin)
{
    atomic_fetch_add(begin ? &desk_of(base)->blocked : &desk_of(base)->awake, 1);
}

static void desk_kill(soon_executor *base, soon_future *f)
{
    atomic_fetch_add(&desk_of(base)->killed, 1);
    /* The library has won the right to complete it, and does so after this. */
    REQUIRE(soon_future_set_result(f, NULL, 0) == -EALREADY);
}

static void desk_stats(soon_executor *base, soon_stats *out)
{
    (void)base;
    out->workers += 5;
    out->idle += 2;
    out->workers_started += 7;
    out->workers_crashed += 1;
    out->stolen += 11;
    out->memory += sizeof(struct desk);
}

const struct soon_executor_ops desk_ops = {
    .backend = "desk",
    .flags = SOON_BACKEND_LOCAL,
    .submit = desk_submit,
    .close = desk_close,
    .join = desk_join,
    .destroy = desk_destroy,
    .withdrawn = desk_withdrawn,
    .blocking = desk_blocking,
    .kill = desk_kill,
    .stats = desk_stats,
};

const struct soon_executor_ops bare_ops = {
    .backend = "bare",
    .submit = desk_submit,
    .close = desk_close,
    .join = desk_join,
    .destroy = desk_destroy,
};

const struct soon_executor_ops remote_ops = {
    .backend = "remote",
    .submit = desk_submit,
    .close = desk_close,
    .join = desk_join,
    .destroy = desk_destroy,
    .withdrawn = desk_withdrawn,
    .kill = desk_kill,
    .stats = desk_stats,
};

void open_desk(const struct soon_executor_ops *ops, size_t max_pending, int overflow)
{
    struct soon_executor_limits limits = {
        .workers = 1, .max_pending = max_pending, .overflow = overflow};

    memset(&desk, 0, sizeof desk);
    REQUIRE(pthread_mutex_init(&desk.lock, NULL) == 0);
    assert_ok(soon_executor_init(&desk.base, ops, &limits));
    ex = &desk.base;
}

unsigned run_desk(void)
{
    unsigned ran = 0;
    soon_future *f;

    REQUIRE(soon_worker_enter(ex) == 0);
    while ((f = desk_take()) != NULL) {
        ran += soon_future_run(f);
        soon_future_unref(f);
    }
    soon_worker_leave(ex);
    return ran;
}

void close_desk(void)
{
    assert_ok(soon_shutdown(ex, 0, SOON_CANCEL_FUTURES));
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(atomic_load(&desk.destroyed), 0);
    soon_executor_unref(ex);
    ck_assert_uint_eq(atomic_load(&desk.destroyed), 1);
    REQUIRE(pthread_mutex_destroy(&desk.lock) == 0);
}
