/* SPDX-License-Identifier: MIT */
/*
 * OpenMP tasks of the compiler's own runtime: a team of two, of which one
 * thread submits and takes part. There are no results but variables that can be
 * read after a taskwait for all, so that it has no flood of futures; and nothing
 * waits for a task from outside of the team, so that it has no round trip. With
 * 128 tasks pending, libgomp runs a new one at once, inside the submit. Many
 * tasks at once are a taskloop with a task for each iteration.
 */
#include "harness.h"

#include <omp.h>

static int place; /* something to be a pool */

static void *open_pool(unsigned workers)
{
    omp_set_dynamic(0);
    omp_set_num_threads((int)workers);
    return &place;
}

static void detached(void *pool, size_t n)
{
    (void)pool;
#pragma omp parallel
#pragma omp single
    for (size_t i = 0; i < n; i++)
#pragma omp task
        bench_tick();
}

static void many(void *pool, size_t n)
{
    (void)pool;
#pragma omp parallel
#pragma omp single
#pragma omp taskloop grainsize(1)
    for (size_t i = 0; i < n; i++)
        bench_tick();
}

static long fib(int n, bool both)
{
    long own, other;

    if (n < 2)
        return n;
#pragma omp task shared(other) firstprivate(n, both)
    other = fib(n - 1, both);
    if (both) {
#pragma omp task shared(own) firstprivate(n, both)
        own = fib(n - 2, both);
    } else {
        own = fib(n - 2, both);
    }
#pragma omp taskwait
    return own + other;
}

static long run_fib(void *pool, int n, bool both)
{
    long value = 0;

    (void)pool;
#pragma omp parallel
#pragma omp single
    value = fib(n, both);
    return value;
}

static void work(void *pool, size_t n, uint64_t iterations)
{
    (void)pool;
#pragma omp parallel
#pragma omp single
    for (size_t i = 0; i < n; i++)
#pragma omp task firstprivate(iterations)
        bench_work(iterations);
}

int main(int argc, char **argv)
{
    static const struct bench_peer peer = {
        .program = "libgomp",
        .open = open_pool,
        .detached = detached,
        .many = many,
        .fib = run_fib,
        .work = work,
    };

    return bench_main(argc, argv, &peer);
}
