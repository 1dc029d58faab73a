/* SPDX-License-Identifier: MIT */
/*
 * Tasks a second.
 */
#include "workloads.h"

#include <stdio.h>

/* Seconds that posting n tasks, and their running, takes. */
double bench_post(void (*op)(void *pool, size_t n), void *pool, size_t n)
{
    uint64_t goal = bench_ticks() + n;
    double begin = bench_now();

    op(pool, n);
    while (bench_ticks() < goal)
        bench_doze(20e-6);
    bench_check(bench_ticks() != goal, "tasks ran more often than they were submitted");
    return bench_now() - begin;
}

/* ---- floods ---- */

struct flood {
    const struct bench_peer *peer;
    void *pool;
    size_t batch;
    double end;  /* go on until then */
    size_t done; /* Sync: atomic */
};

static void produce(void *data)
{
    struct flood *flood = data;

    do {
        flood->peer->flood(flood->pool, flood->batch);
        __atomic_fetch_add(&flood->done, flood->batch, __ATOMIC_SEQ_CST);
    } while (bench_now() < flood->end);
}

/* In futures a second. */
double bench_flood(const struct bench_peer *peer, void *pool, unsigned producers, size_t batch)
{
    struct flood flood = {.peer = peer, .pool = pool, .batch = batch};
    struct bench_rounds rounds = {.seconds = bench_seconds()};

    while (bench_rounds_go_on(&rounds)) {
        flood.end = 0;
        bench_in_threads(producers, produce, &flood);
        flood.done = 0;
        flood.end = bench_now() + bench_round_seconds();
        double took = bench_in_threads(producers, produce, &flood);
        bench_rounds_add(&rounds, (struct bench_round){.n = (double)flood.done, .took = took});
    }
    return rounds.sum.n / rounds.sum.took;
}

void bench_run_flood(const struct bench_peer *peer)
{
    for (unsigned producers = 1; producers <= 4; producers += 3) {
        void *pool = bench_open(peer, BENCH_WORKERS);
        size_t batch = bench_size(100000) / producers;
        double rate = bench_flood(peer, pool, producers, batch);
        bench_row(producers == 1 ? "flood, 1 producer" : "flood, 4 producers", rate / 1e6,
                  "M futures/s", "workers=%d producers=%u batch=%zu", BENCH_WORKERS, producers,
                  batch);
        bench_close(peer, pool);
    }
}

/* Tasks a second that are posted and run, n at a time. */
double bench_post_rate(void (*op)(void *pool, size_t n), void *pool, size_t n)
{
    struct bench_rounds rounds = {.seconds = bench_seconds()};

    bench_post(op, pool, n);
    while (bench_rounds_go_on(&rounds)) {
        bench_post(op, pool, n / 10 + 1);
        double took = bench_post(op, pool, n);
        bench_rounds_add(&rounds, (struct bench_round){.n = (double)n, .took = took});
    }
    return rounds.sum.n / rounds.sum.took;
}

void bench_run_detached(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    size_t batch = bench_size(500000);

    bench_row("detached flood", bench_post_rate(peer->detached, pool, batch) / 1e6, "M tasks/s",
              "workers=%d producers=1 batch=%zu", BENCH_WORKERS, batch);
    bench_close(peer, pool);
}

void bench_run_many(const struct bench_peer *peer)
{
    size_t batch = bench_size(500000);

    if (peer->many) {
        void *pool = bench_open(peer, BENCH_WORKERS);
        bench_row("submit_many", bench_post_rate(peer->many, pool, batch) / 1e6, "M tasks/s",
                  "workers=%d producers=1 batch=%zu", BENCH_WORKERS, batch);
        bench_close(peer, pool);
    }
    if (peer->many_results) {
        void *pool = bench_open(peer, BENCH_WORKERS);
        batch = bench_size(100000);
        bench_row("submit_many with results", bench_rate(peer->many_results, pool, batch) / 1e6,
                  "M futures/s", "workers=%d producers=1 batch=%zu", BENCH_WORKERS, batch);
        bench_close(peer, pool);
    }
}

/* ---- fork and join ---- */

double bench_fib_rate(const struct bench_peer *peer, void *pool, int n, bool both)
{
    struct bench_rounds rounds = {.seconds = bench_seconds()};
    long value = 0, next = 1;

    for (int i = 0; i < n; i++) {
        long sum = value + next;
        value = next;
        next = sum;
    }
    while (bench_rounds_go_on(&rounds)) {
        bench_check(peer->fib(pool, n, both) != value, "fib");
        double begin = bench_now();
        bench_check(peer->fib(pool, n, both) != value, "fib");
        bench_rounds_add(&rounds, (struct bench_round){.n = 1, .took = bench_now() - begin});
    }
    /* There are fib(n + 1) - 1 calls with n >= 2, each of which forks. */
    return rounds.sum.n * (double)(next - 1) * (both ? 2 : 1) / rounds.sum.took;
}

void bench_run_fib(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    int n = bench_quick ? 17 : 27;

    bench_row("fork-join, one child forked", bench_fib_rate(peer, pool, n, false) / 1e6,
              "M forks/s", "workers=%d n=%d", BENCH_WORKERS, n);
    bench_row("fork-join, both children forked", bench_fib_rate(peer, pool, n, true) / 1e6,
              "M forks/s", "workers=%d n=%d", BENCH_WORKERS, n);
    bench_close(peer, pool);
}

/* ---- as they complete ---- */

static double submitted;

void bench_submitted(void)
{
    submitted = bench_now();
}

/* Seconds, from the first submit and from the last one on. */
void bench_complete(const struct bench_peer *peer, void *pool, size_t n, double *all, double *rest)
{
    double begin = bench_now();

    submitted = 0;
    peer->as_completed(pool, n);
    double end = bench_now();
    bench_check(submitted < begin, "bench_submitted() was not called");
    *all = end - begin;
    *rest = end - submitted;
}

void bench_run_as_completed(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    struct bench_rounds rounds = {.seconds = bench_seconds()};
    size_t n = bench_size(200000);
    double all, rest;

    bench_complete(peer, pool, n, &all, &rest);
    while (bench_rounds_go_on(&rounds)) {
        bench_complete(peer, pool, n / 10 + 1, &all, &rest);
        bench_complete(peer, pool, n, &all, &rest);
        bench_rounds_add(&rounds, (struct bench_round){.n = (double)n, .took = all, .rest = rest});
    }
    bench_row("as_completed", rounds.sum.n / rounds.sum.took / 1e6, "M futures/s",
              "workers=%d futures=%zu", BENCH_WORKERS, n);
    bench_row("as_completed, from the last submit on", rounds.sum.n / rounds.sum.rest / 1e6,
              "M futures/s", "workers=%d futures=%zu", BENCH_WORKERS, n);
    bench_close(peer, pool);
}

void bench_run_callback(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    size_t n = bench_size(100000);

    bench_row("callback in a loop", bench_rate(peer->callbacks, pool, n) / 1e6, "M callbacks/s",
              "workers=%d batch=%zu", BENCH_WORKERS, n);
    bench_close(peer, pool);
}

/* ---- tasks that take time ---- */

struct plain {
    size_t n;
    uint64_t iterations;
};

static void work_plainly(void *data)
{
    const struct plain *plain = data;

    for (size_t i = 0; i < plain->n; i++)
        bench_work(plain->iterations);
}

/* Iterations of bench_work() a microsecond, with every worker's CPU at it. */
static double calibrate(void)
{
    struct plain plain = {1, bench_quick ? 1000000 : 20000000};

    bench_in_threads(BENCH_WORKERS, work_plainly, &plain);
    return (double)plain.iterations / (bench_in_threads(BENCH_WORKERS, work_plainly, &plain) * 1e6);
}

/* Seconds of n tasks, no more at a time than the peer can bear. */
static double work_in_pool(const struct bench_peer *peer, void *pool, size_t n, uint64_t iterations)
{
    double begin = bench_now();

    while (n) {
        size_t some = peer->most && n > peer->most ? peer->most : n;
        peer->work(pool, some, iterations);
        n -= some;
    }
    return bench_now() - begin;
}

/* Beside what as many threads reach that do the same without any pool, half of
 * it before and half of it after. */
void bench_run_work(const struct bench_peer *peer)
{
    static const double lengths[] = {1, 10, 20, 100};
    void *pool = bench_open(peer, BENCH_WORKERS);
    double rate = calibrate();
    char row[100];

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = (size_t)((bench_quick ? 0.004 : 0.15) * 1e6 / lengths[i]) * BENCH_WORKERS;
        struct plain plain = {n / BENCH_WORKERS, (uint64_t)(rate * lengths[i])};
        work_in_pool(peer, pool, n / 10 + 1, plain.iterations);
        double ideal = bench_in_threads(BENCH_WORKERS, work_plainly, &plain) / 2;
        double took = work_in_pool(peer, pool, n, plain.iterations);
        ideal += bench_in_threads(BENCH_WORKERS, work_plainly, &plain) / 2;
        snprintf(row, sizeof row, "tasks of %g us", lengths[i]);
        bench_row(row, ideal / took * 100, "% of ideal", "workers=%d tasks=%zu", BENCH_WORKERS, n);
    }
    bench_close(peer, pool);
}
