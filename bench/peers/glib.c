/* SPDX-License-Identifier: MIT */
/*
 * GLib's GThreadPool. It gives no results; a task that has one pushes itself
 * to a GAsyncQueue, from which the submitter takes it: so they come in the
 * order in which tasks end, and a flood is an as_completed. A callback in a
 * loop is g_main_context_invoke_full(). Nothing waits inside of tasks, and
 * nothing cancels what was pushed.
 */
#include "harness.h"

#include <glib.h>

enum kind { INCREMENT, TICK, WORK, STAMP, GATE, CALL };

struct job {
    enum kind kind;
    int k;
    uint64_t iterations;
    uint64_t *started;
    GAsyncQueue *done;
    struct loop *loop;
};

/* The common case is as small as can be. */
struct small {
    enum kind kind;
    int k;
    GAsyncQueue *done;
};

struct loop {
    GMainContext *context;
    long sum;
    size_t left;
};

static struct job tick = {.kind = TICK}, gate = {.kind = GATE};
static GAsyncQueue *held;

static gboolean add_result(gpointer data)
{
    struct job *job = data;

    job->loop->sum += job->k;
    job->loop->left--;
    g_free(job);
    return G_SOURCE_REMOVE;
}

static void run(gpointer data, gpointer user_data)
{
    struct small *small = data;
    struct job *job = data;

    (void)user_data;
    switch (small->kind) {
    case INCREMENT:
        small->k++;
        g_async_queue_push(small->done, small);
        break;
    case TICK:
        bench_tick();
        break;
    case WORK:
        bench_work(job->iterations);
        g_async_queue_push(job->done, job);
        break;
    case STAMP:
        if (job->started)
            *job->started = bench_ns();
        g_async_queue_push(job->done, job);
        break;
    case GATE:
        bench_gate_pass();
        break;
    case CALL:
        job->k++;
        g_main_context_invoke_full(job->loop->context, G_PRIORITY_DEFAULT, add_result, job, NULL);
        break;
    }
}

static void *open_pool(unsigned workers)
{
    return g_thread_pool_new(run, NULL, (gint)workers, TRUE, NULL);
}

static void close_pool(void *pool)
{
    g_thread_pool_free(pool, FALSE, TRUE);
}

static void submit_all(void *pool, GAsyncQueue *done, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct small *job = g_new(struct small, 1);
        *job = (struct small){INCREMENT, (int)i, done};
        g_thread_pool_push(pool, job, NULL);
    }
}

static void collect(GAsyncQueue *done, size_t n)
{
    long sum = 0;

    for (size_t i = 0; i < n; i++) {
        struct small *job = g_async_queue_pop(done);
        sum += job->k;
        g_free(job);
    }
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results");
    g_async_queue_unref(done);
}

static void flood(void *pool, size_t n)
{
    GAsyncQueue *done = g_async_queue_new();

    submit_all(pool, done, n);
    collect(done, n);
}

static void as_completed(void *pool, size_t n)
{
    GAsyncQueue *done = g_async_queue_new();

    submit_all(pool, done, n);
    bench_submitted();
    collect(done, n);
}

static void detached(void *pool, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g_thread_pool_push(pool, &tick, NULL);
}

static void trip(void *pool, uint64_t *started)
{
    static GAsyncQueue *done;

    if (!done)
        done = g_async_queue_new();
    struct job *job = g_new(struct job, 1);
    *job = (struct job){.kind = STAMP, .started = started, .done = done};
    g_thread_pool_push(pool, job, NULL);
    g_free(g_async_queue_pop(done));
}

static void work(void *pool, size_t n, uint64_t iterations)
{
    GAsyncQueue *done = g_async_queue_new();

    for (size_t i = 0; i < n; i++) {
        struct job *job = g_new(struct job, 1);
        *job = (struct job){.kind = WORK, .iterations = iterations, .done = done};
        g_thread_pool_push(pool, job, NULL);
    }
    for (size_t i = 0; i < n; i++)
        g_free(g_async_queue_pop(done));
    g_async_queue_unref(done);
}

static void callbacks(void *pool, size_t n)
{
    struct loop loop = {.context = g_main_context_new(), .left = n};

    for (size_t i = 0; i < n; i++) {
        struct job *job = g_new(struct job, 1);
        *job = (struct job){.kind = CALL, .k = (int)i, .loop = &loop};
        g_thread_pool_push(pool, job, NULL);
    }
    while (loop.left)
        g_main_context_iteration(loop.context, TRUE);
    bench_check(loop.sum != (long)n * ((long)n + 1) / 2, "results of callbacks");
    g_main_context_unref(loop.context);
}

static void hold(void *pool, size_t n)
{
    for (int i = 0; i < BENCH_WORKERS; i++)
        g_thread_pool_push(pool, &gate, NULL);
    bench_gate_await(BENCH_WORKERS);
    held = g_async_queue_new();
    submit_all(pool, held, n);
}

static void drop(void *pool, size_t n, bool cancelled)
{
    (void)pool, (void)cancelled;
    collect(held, n);
}

int main(int argc, char **argv)
{
    static const struct bench_peer peer = {
        .program = "GLib",
        .open = open_pool,
        .close = close_pool,
        .flood = flood,
        .detached = detached,
        .trip = trip,
        .as_completed = as_completed,
        .work = work,
        .callbacks = callbacks,
        .hold = hold,
        .drop = drop,
    };

    return bench_main(argc, argv, &peer);
}
