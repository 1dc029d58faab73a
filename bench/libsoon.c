/* SPDX-License-Identifier: MIT */
/*
 * libsoon: a thread pool. What is measured of its process pool is in
 * libsoon_process.c.
 */
#include "libsoon.h"
#include "machine.h"

#include <soon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* It is linked with libsoon.so, or with libsoon.a and says so. */
#ifndef BENCH_NAME
#define BENCH_NAME "libsoon"
#endif

enum { MANY = 1000 }; /* tasks in one soon_submit_many() */

static void *open_pool(unsigned workers)
{
    soon_executor *ex;

    bench_check(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex),
                "soon_thread_pool_new");
    return ex;
}

static void close_pool(void *pool)
{
    bench_check(soon_shutdown(pool, SOON_FOREVER, 0), "soon_shutdown");
    soon_executor_unref(pool);
}

/* ---- tasks ---- */

static int increment(soon_call *call, const void *arg, size_t arg_len)
{
    int n = *(const int *)arg + 1;

    (void)arg_len;
    return soon_return(call, &n, sizeof n);
}

static int tick(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    bench_tick();
    return 0;
}

static int pass_gate(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    bench_gate_pass();
    return 0;
}

static int work(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    bench_work(*(const uint64_t *)arg);
    return 0;
}

/* The argument is where to write the time, or NULL. */
static int say_when(soon_call *call, const void *arg, size_t arg_len)
{
    uint64_t *started = *(uint64_t *const *)arg;

    (void)call, (void)arg_len;
    if (started)
        *started = bench_ns();
    return 0;
}

/* ---- floods ---- */

static void submit_increments(soon_executor *ex, soon_future **f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int k = (int)i;
        bench_check(soon_submit(ex, increment, &k, sizeof k, &f[i]), "soon_submit");
    }
}

static void collect(soon_future **f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int k = 0;
        bench_check(soon_future_result(f[i], SOON_FOREVER, &k, sizeof k), "soon_future_result");
        bench_check(k != (int)i + 1, "a result");
        soon_future_unref(f[i]);
    }
}

static void flood(void *pool, size_t n)
{
    soon_future **f = bench_room(n * sizeof(soon_future *));

    submit_increments(pool, f, n);
    collect(f, n);
}

static void detached(void *pool, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bench_check(soon_submit(pool, tick, NULL, 0, NULL), "soon_submit");
}

static void many(void *pool, size_t n)
{
    static soon_task tasks[MANY];

    for (size_t i = 0; i < MANY; i++)
        tasks[i] = (soon_task){.fn = tick};
    for (size_t i = 0; i < n; i += MANY)
        bench_check(soon_submit_many(pool, tasks, n - i < MANY ? n - i : MANY, NULL),
                    "soon_submit_many");
}

static void many_results(void *pool, size_t n)
{
    static soon_task tasks[MANY];
    static int k[MANY];
    soon_future **f = bench_room(n * sizeof(soon_future *));

    for (size_t i = 0; i < n; i += MANY) {
        size_t some = n - i < MANY ? n - i : MANY;
        for (size_t j = 0; j < some; j++) {
            k[j] = (int)(i + j);
            tasks[j] = (soon_task){.fn = increment, .arg = &k[j], .arg_len = sizeof k[j]};
        }
        bench_check(soon_submit_many(pool, tasks, some, &f[i]), "soon_submit_many");
    }
    collect(f, n);
}

/* ---- fork and join ---- */

/* Two whole words: an argument is copied as such, and to read what was written in
 * pieces a moment before makes the CPU wait. */
struct fib {
    soon_executor *ex;
    long n;
};

static soon_future *fork_fib(soon_executor *ex, soon_fn *fn, long n)
{
    soon_future *f;

    bench_check(soon_submit(ex, fn, &(struct fib){ex, n}, sizeof(struct fib), &f), "soon_submit");
    return f;
}

/* A pending future is run in place by the task that waits for it. */
static long join_fib(soon_future *f)
{
    long value;

    bench_check(soon_future_result(f, SOON_FOREVER, &value, sizeof value), "soon_future_result");
    soon_future_unref(f);
    return value;
}

static int fib_task(soon_call *call, const void *arg, size_t arg_len);

static long fib(soon_executor *ex, long n)
{
    if (n < 2)
        return n;
    soon_future *other = fork_fib(ex, fib_task, n - 1);
    long own = fib(ex, n - 2);
    return own + join_fib(other);
}

static int fib_task(soon_call *call, const void *arg, size_t arg_len)
{
    const struct fib *job = arg;
    long value = fib(job->ex, job->n);

    (void)arg_len;
    return soon_return(call, &value, sizeof value);
}

/* The same with both children forked. */
static int fib_of_both(soon_call *call, const void *arg, size_t arg_len)
{
    const struct fib *job = arg;
    long value = job->n;

    (void)arg_len;
    if (value >= 2) {
        soon_future *other = fork_fib(job->ex, fib_of_both, job->n - 1);
        long own = join_fib(fork_fib(job->ex, fib_of_both, job->n - 2));
        value = own + join_fib(other);
    }
    return soon_return(call, &value, sizeof value);
}

static long run_fib(void *pool, int n, bool both)
{
    return join_fib(fork_fib(pool, both ? fib_of_both : fib_task, n));
}

/* ---- one at a time, and as they come ---- */

static void trip(void *pool, uint64_t *started)
{
    soon_future *f;

    bench_check(soon_submit(pool, say_when, &started, sizeof started, &f), "soon_submit");
    bench_check(soon_future_wait(f, SOON_FOREVER), "soon_future_wait");
    soon_future_unref(f);
}

static void as_completed(void *pool, size_t n)
{
    soon_future **f = bench_room(n * sizeof(soon_future *)), *done;
    soon_as_completed *it;
    long sum = 0;
    int k;

    submit_increments(pool, f, n);
    bench_submitted();
    bench_check(soon_as_completed_new(f, n, &it), "soon_as_completed_new");
    for (size_t i = 0; i < n; i++)
        soon_future_unref(f[i]);
    while (soon_as_completed_next(it, SOON_FOREVER, &done) == 1) {
        bench_check(soon_future_result(done, 0, &k, sizeof k), "soon_future_result");
        sum += k;
        soon_future_unref(done);
    }
    soon_as_completed_free(it);
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results of soon_as_completed_next");
}

static void run_work(void *pool, size_t n, uint64_t iterations)
{
    soon_future **f = bench_room(n * sizeof(soon_future *));

    for (size_t i = 0; i < n; i++)
        bench_check(soon_submit(pool, work, &iterations, sizeof iterations, &f[i]), "soon_submit");
    for (size_t i = 0; i < n; i++) {
        bench_check(soon_future_wait(f[i], SOON_FOREVER), "soon_future_wait");
        soon_future_unref(f[i]);
    }
}

/* ---- callbacks ---- */

static void add_result(soon_future *f, void *data)
{
    int k = 0;

    bench_check(soon_future_result(f, 0, &k, sizeof k), "soon_future_result");
    *(long *)data += k;
}

static void callbacks(void *pool, size_t n)
{
    soon_executor *loop;
    soon_future *f;
    long sum = 0;

    bench_check(soon_loop_new(&loop), "soon_loop_new");
    for (size_t i = 0; i < n; i++) {
        int k = (int)i;
        bench_check(soon_submit(pool, increment, &k, sizeof k, &f), "soon_submit");
        bench_check(soon_future_add_done_callback_on(f, loop, add_result, &sum),
                    "soon_future_add_done_callback_on");
        soon_future_unref(f);
    }
    for (size_t ran = 0; ran < n;) {
        int some = soon_loop_run(loop, 0, SOON_FOREVER);
        bench_check(some < 0 ? some : 0, "soon_loop_run");
        ran += (size_t)some;
    }
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results of callbacks");
    soon_executor_unref(loop);
}

/* ---- tasks that wait their turn ---- */

static void hold(void *pool, size_t n)
{
    soon_future **f = bench_room(n * sizeof(soon_future *));

    for (int i = 0; i < BENCH_WORKERS; i++)
        bench_check(soon_submit(pool, pass_gate, NULL, 0, NULL), "soon_submit");
    bench_gate_await(BENCH_WORKERS);
    submit_increments(pool, f, n);
}

static void cancel(void *pool, size_t n)
{
    soon_future **f = bench_room(n * sizeof(soon_future *));

    (void)pool;
    for (size_t i = 0; i < n; i++)
        bench_check(!soon_future_cancel(f[i]), "soon_future_cancel");
}

static void drop(void *pool, size_t n, bool cancelled)
{
    soon_future **f = bench_room(n * sizeof(soon_future *));

    (void)pool;
    if (!cancelled)
        collect(f, n);
    for (size_t i = 0; cancelled && i < n; i++)
        soon_future_unref(f[i]);
}

int main(int argc, char **argv)
{
    static const struct bench_peer peer = {
        .program = BENCH_NAME,
        .open = open_pool,
        .close = close_pool,
        .flood = flood,
        .detached = detached,
        .many = many,
        .many_results = many_results,
        .fib = run_fib,
        .trip = trip,
        .as_completed = as_completed,
        .work = run_work,
        .callbacks = callbacks,
        .hold = hold,
        .cancel = cancel,
        .drop = drop,
        .more = {machine_workloads, machine_fork_workloads, machine_system_workloads,
                 libsoon_process_workloads},
    };

    bench_check(soon_init(argc, argv), "soon_init");
    if (argc == 2 && strcmp(argv[1], "--meter") == 0) {
        machine_meter();
        return EXIT_SUCCESS;
    }
    return bench_main(argc, argv, &peer);
}
