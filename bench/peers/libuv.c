/* SPDX-License-Identifier: MIT */
/*
 * libuv's uv_queue_work(). Its result comes in a callback in the loop of the
 * submitting thread, so that flood, as_completed and callback in a loop are one
 * thing here; each producer has a loop of its own. Every request needs the
 * loop's callback, so that there is no detached task; and nothing waits.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct job {
    uv_work_t req;
    int k;
    long *sum;
};

struct timed {
    uv_work_t req;
    uint64_t iterations;
    uint64_t *started;
};

static long held_sum;
static size_t cancelled;

/* There is one pool of threads in a process, and it has its size once. */
static void *open_pool(unsigned workers)
{
    char text[20];

    snprintf(text, sizeof text, "%u", workers);
    setenv("UV_THREADPOOL_SIZE", text, 1);
    return uv_default_loop();
}

static void increment(uv_work_t *req)
{
    ((struct job *)req)->k++;
}

static void add_result(uv_work_t *req, int status)
{
    struct job *job = (struct job *)req;

    if (status == UV_ECANCELED)
        cancelled++;
    else
        *job->sum += job->k;
    free(job);
}

static struct job *submit(uv_loop_t *loop, int k, long *sum)
{
    struct job *job = malloc(sizeof *job);

    bench_check(!job, "no memory");
    job->k = k;
    job->sum = sum;
    bench_check(uv_queue_work(loop, &job->req, increment, add_result), "uv_queue_work");
    return job;
}

static void run(uv_loop_t *loop)
{
    bench_check(uv_run(loop, UV_RUN_DEFAULT), "uv_run");
}

static void take_all(size_t n, void (*submitted)(void))
{
    uv_loop_t loop;
    long sum = 0;

    bench_check(uv_loop_init(&loop), "uv_loop_init");
    for (size_t i = 0; i < n; i++)
        submit(&loop, (int)i, &sum);
    if (submitted)
        submitted();
    run(&loop);
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results");
    bench_check(uv_loop_close(&loop), "uv_loop_close");
}

static void flood(void *pool, size_t n)
{
    (void)pool;
    take_all(n, NULL);
}

static void as_completed(void *pool, size_t n)
{
    (void)pool;
    take_all(n, bench_submitted);
}

static void run_timed(uv_work_t *req)
{
    struct timed *job = (struct timed *)req;

    if (job->started)
        *job->started = bench_ns();
    bench_work(job->iterations);
}

static void forget(uv_work_t *req, int status)
{
    bench_check(status, "a task");
    free(req);
}

static void submit_timed(uv_loop_t *loop, uint64_t iterations, uint64_t *started)
{
    struct timed *job = malloc(sizeof *job);

    bench_check(!job, "no memory");
    job->iterations = iterations;
    job->started = started;
    bench_check(uv_queue_work(loop, &job->req, run_timed, forget), "uv_queue_work");
}

static void trip(void *pool, uint64_t *started)
{
    submit_timed(pool, 0, started);
    run(pool);
}

static void work(void *pool, size_t n, uint64_t iterations)
{
    for (size_t i = 0; i < n; i++)
        submit_timed(pool, iterations, NULL);
    run(pool);
}

static void pass_gate(uv_work_t *req)
{
    (void)req;
    bench_gate_pass();
}

static void hold(void *pool, size_t n)
{
    struct job **jobs = bench_room(n * sizeof *jobs);

    for (int i = 0; i < BENCH_WORKERS; i++) {
        uv_work_t *req = malloc(sizeof *req);
        bench_check(!req, "no memory");
        bench_check(uv_queue_work(pool, req, pass_gate, forget), "uv_queue_work");
    }
    bench_gate_await(BENCH_WORKERS);
    held_sum = 0;
    for (size_t i = 0; i < n; i++)
        jobs[i] = submit(pool, (int)i, &held_sum);
}

static void cancel(void *pool, size_t n)
{
    struct job **jobs = bench_room(n * sizeof *jobs);

    (void)pool;
    for (size_t i = 0; i < n; i++)
        bench_check(uv_cancel((uv_req_t *)&jobs[i]->req), "uv_cancel");
}

static void drop(void *pool, size_t n, bool were_cancelled)
{
    cancelled = 0;
    run(pool);
    bench_check(were_cancelled ? cancelled != n : held_sum != (long)n * ((long)n + 1) / 2,
                "held tasks");
}

int main(int argc, char **argv)
{
    static const struct bench_peer peer = {
        .program = "libuv",
        .fixed_size = true,
        .open = open_pool,
        .flood = flood,
        .trip = trip,
        .as_completed = as_completed,
        .work = work,
        .callbacks = flood,
        .hold = hold,
        .cancel = cancel,
        .drop = drop,
    };

    return bench_main(argc, argv, &peer);
}
