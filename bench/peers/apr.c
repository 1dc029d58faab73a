/* SPDX-License-Identifier: MIT */
/*
 * APR's apr_thread_pool. It gives no results; a task that has one pushes itself
 * to an apr_queue, from which the submitter takes it: so they come in the
 * order in which tasks end, and a flood is an as_completed. A push takes time
 * that grows with the number of tasks pending, so that there are never more
 * than a thousand; tasks are cancelled by owner, not one by one.
 */
#include "harness.h"

#include <apr_general.h>
#include <apr_queue.h>
#include <apr_thread_pool.h>
#include <stdlib.h>

struct job {
    int k;
    apr_queue_t *done;
};

struct timed {
    uint64_t iterations;
    uint64_t *started;
    apr_queue_t *done;
};

static apr_pool_t *memory;
static apr_queue_t *queue; /* of the first thread */

static void *open_pool(unsigned workers)
{
    apr_thread_pool_t *pool;

    bench_check(apr_initialize(), "apr_initialize");
    bench_check(apr_pool_create(&memory, NULL), "apr_pool_create");
    bench_check(apr_thread_pool_create(&pool, workers, workers, memory), "apr_thread_pool_create");
    bench_check(apr_queue_create(&queue, 1u << 24, memory), "apr_queue_create");
    return pool;
}

static void close_pool(void *pool)
{
    bench_check(apr_thread_pool_destroy(pool), "apr_thread_pool_destroy");
    apr_pool_destroy(memory);
}

static void push(void *pool, apr_thread_start_t fn, void *param)
{
    bench_check(apr_thread_pool_push(pool, fn, param, APR_THREAD_TASK_PRIORITY_NORMAL, NULL),
                "apr_thread_pool_push");
}

static void *APR_THREAD_FUNC increment(apr_thread_t *thread, void *data)
{
    struct job *job = data;

    (void)thread;
    job->k++;
    bench_check(apr_queue_push(job->done, job), "apr_queue_push");
    return NULL;
}

static void submit_all(void *pool, apr_queue_t *done, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct job *job = malloc(sizeof *job);
        bench_check(!job, "no memory");
        *job = (struct job){(int)i, done};
        push(pool, increment, job);
    }
}

static void collect(apr_queue_t *done, size_t n)
{
    long sum = 0;
    void *job;

    for (size_t i = 0; i < n; i++) {
        bench_check(apr_queue_pop(done, &job), "apr_queue_pop");
        sum += ((struct job *)job)->k;
        free(job);
    }
    bench_check(sum != (long)n * ((long)n + 1) / 2, "results");
}

static void take_all(void *pool, size_t n, void (*submitted)(void))
{
    apr_pool_t *own;
    apr_queue_t *done;

    bench_check(apr_pool_create(&own, NULL), "apr_pool_create");
    bench_check(apr_queue_create(&done, (unsigned)n, own), "apr_queue_create");
    submit_all(pool, done, n);
    if (submitted)
        submitted();
    collect(done, n);
    apr_pool_destroy(own);
}

static void flood(void *pool, size_t n)
{
    take_all(pool, n, NULL);
}

static void as_completed(void *pool, size_t n)
{
    take_all(pool, n, bench_submitted);
}

static void *APR_THREAD_FUNC tick(apr_thread_t *thread, void *data)
{
    (void)thread, (void)data;
    bench_tick();
    return NULL;
}

static void detached(void *pool, size_t n)
{
    for (size_t i = 0; i < n; i++)
        push(pool, tick, NULL);
}

static void *APR_THREAD_FUNC run_timed(apr_thread_t *thread, void *data)
{
    struct timed *job = data;

    (void)thread;
    if (job->started)
        *job->started = bench_ns();
    bench_work(job->iterations);
    bench_check(apr_queue_push(job->done, job), "apr_queue_push");
    return NULL;
}

static void submit_timed(void *pool, uint64_t iterations, uint64_t *started)
{
    struct timed *job = malloc(sizeof *job);

    bench_check(!job, "no memory");
    *job = (struct timed){iterations, started, queue};
    push(pool, run_timed, job);
}

static void take_timed(void)
{
    void *job;

    bench_check(apr_queue_pop(queue, &job), "apr_queue_pop");
    free(job);
}

static void trip(void *pool, uint64_t *started)
{
    submit_timed(pool, 0, started);
    take_timed();
}

static void work(void *pool, size_t n, uint64_t iterations)
{
    for (size_t i = 0; i < n; i++)
        submit_timed(pool, iterations, NULL);
    for (size_t i = 0; i < n; i++)
        take_timed();
}

static void *APR_THREAD_FUNC pass_gate(apr_thread_t *thread, void *data)
{
    (void)thread, (void)data;
    bench_gate_pass();
    return NULL;
}

static void hold(void *pool, size_t n)
{
    for (int i = 0; i < BENCH_WORKERS; i++)
        push(pool, pass_gate, NULL);
    bench_gate_await(BENCH_WORKERS);
    submit_all(pool, queue, n);
}

static void drop(void *pool, size_t n, bool cancelled)
{
    (void)pool, (void)cancelled;
    collect(queue, n);
}

int main(int argc, char **argv)
{
    static const struct bench_peer peer = {
        .program = "APR",
        .most = 1000,
        .open = open_pool,
        .close = close_pool,
        .flood = flood,
        .detached = detached,
        .trip = trip,
        .as_completed = as_completed,
        .work = work,
        .hold = hold,
        .drop = drop,
    };

    return bench_main(argc, argv, &peer);
}
