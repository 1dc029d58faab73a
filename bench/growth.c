/* SPDX-License-Identifier: MIT */
/*
 * Costs of many tasks at once, in memory and in time, and of many workers.
 */
#include "workloads.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- tasks that wait their turn ---- */

static void hold(const struct bench_peer *peer, void *pool, size_t n)
{
    bench_gate_close();
    peer->hold(pool, n);
}

void bench_run_memory(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    size_t n = bench_size(2000000);

    /* What the submitter keeps of each future is its own. */
    bench_room(n * 16);
    hold(peer, pool, 100);
    bench_gate_open();
    peer->drop(pool, 100, false);
    double before = bench_resident();
    hold(peer, pool, n);
    double bytes = (bench_resident() - before) / (double)n;
    bench_row("memory of a pending future", bytes, "bytes", "workers=%d futures=%zu", BENCH_WORKERS,
              n);
    bench_gate_open();
    peer->drop(pool, n, false);
    bench_close(peer, pool);
}

/* Seconds to cancel n pending futures. */
static double cancel(const struct bench_peer *peer, void *pool, size_t n)
{
    hold(peer, pool, n);
    double begin = bench_now();
    peer->cancel(pool, n);
    double took = bench_now() - begin;
    bench_gate_open();
    peer->drop(pool, n, true);
    return took;
}

void bench_run_cancel(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    size_t n = bench_size(100000), rounds = 0;
    double begin = bench_now(), took = 0;

    cancel(peer, pool, n);
    for (; rounds == 0 || bench_now() - begin < bench_seconds(); rounds++)
        took += cancel(peer, pool, n);
    bench_row("cancel", took / (double)(n * rounds) * 1e9, "ns", "workers=%d futures=%zu",
              BENCH_WORKERS, n);
    bench_close(peer, pool);
}

/* ---- growth ---- */

static const size_t sizes[] = {1000, 10000, 100000, 1000000, 10000000};

/* ns a task, of n that were all pending at once. */
static double pending_cost(const struct bench_peer *peer, void *pool, size_t n)
{
    hold(peer, pool, n);
    bench_gate_open();
    peer->drop(pool, n, false);
    size_t done = 0;
    double begin = bench_now(), took = 0;
    for (; took < bench_seconds(); took = bench_now() - begin, done += n) {
        hold(peer, pool, n);
        bench_gate_open();
        peer->drop(pool, n, false);
    }
    return took / (double)done * 1e9;
}

static double cancel_cost(const struct bench_peer *peer, void *pool, size_t n)
{
    double took = 0;
    size_t done = 0;

    for (; took < bench_seconds() / 20; done += n)
        took += cancel(peer, pool, n);
    return took / (double)done * 1e9;
}

static double completed_cost(const struct bench_peer *peer, void *pool, size_t n)
{
    double took = 0, all, rest;
    size_t done = 0;

    bench_complete(peer, pool, n, &all, &rest);
    for (; took < bench_seconds(); done += n, took += all)
        bench_complete(peer, pool, n, &all, &rest);
    return took / (double)done * 1e9;
}

static double post_cost(void (*op)(void *pool, size_t n), void *pool, size_t n)
{
    double took = 0;
    size_t done = 0;

    for (; took < bench_seconds(); done += n)
        took += bench_post(op, pool, n);
    return took / (double)done * 1e9;
}

static void report_size(const char *what, size_t n, double ns)
{
    char row[100];
    int digits = 0;

    for (size_t i = n; i >= 10; i /= 10)
        digits++;
    snprintf(row, sizeof row, "growth: %s, 10^%d", what, digits);
    bench_row(row, ns, "ns", "workers=%d tasks=%zu", BENCH_WORKERS, n);
}

static void grow(const struct bench_peer *peer, size_t n)
{
    void *pool = bench_open(peer, BENCH_WORKERS);

    bench_room(n * 16);
    if (peer->hold)
        report_size("pending", n, pending_cost(peer, pool, n));
    if (peer->cancel)
        report_size("cancel", n, cancel_cost(peer, pool, n));
    if (peer->detached)
        report_size("detached", n, post_cost(peer->detached, pool, n));
    if (peer->many)
        report_size("submit_many", n, post_cost(peer->many, pool, n));
    if (peer->as_completed)
        report_size("as_completed", n, completed_cost(peer, pool, n));
    bench_close(peer, pool);
}

void bench_run_growth(const struct bench_peer *peer)
{
    size_t n = bench_quick ? 2 : sizeof sizes / sizeof *sizes - 1;

    for (size_t i = 0; i < n && (!peer->most || sizes[i] <= peer->most); i++)
        grow(peer, sizes[i]);
}

void bench_run_growth_most(const struct bench_peer *peer)
{
    grow(peer, bench_quick ? 100000 : sizes[sizeof sizes / sizeof *sizes - 1]);
}

static void measure_workers(const struct bench_peer *peer, unsigned workers)
{
    void *pool = bench_open(peer, workers);
    char row[100];
    size_t n;

    snprintf(row, sizeof row, "workers: flood, %u", workers);
    bench_row(row, bench_flood(peer, pool, 1, bench_size(100000)) / 1e6, "M futures/s",
              "workers=%u", workers);
    if (peer->detached) {
        snprintf(row, sizeof row, "workers: detached, %u", workers);
        bench_row(row, bench_post_rate(peer->detached, pool, bench_size(500000)) / 1e6, "M tasks/s",
                  "workers=%u", workers);
    }
    if (peer->fib) {
        snprintf(row, sizeof row, "workers: fib, %u", workers);
        bench_row(row, bench_fib_rate(peer, pool, bench_quick ? 15 : 25, false) / 1e6, "M forks/s",
                  "workers=%u", workers);
    }
    if (peer->trip) {
        double *us = bench_trips(peer->trip, pool, bench_size(5000), false, &n);
        snprintf(row, sizeof row, "workers: round trip p50, %u", workers);
        bench_row(row, bench_quantile(us, n, 0.5), "us", "workers=%u", workers);
        free(us);
    }
    bench_close(peer, pool);
}

/* Each size in a process of its own: what another one has left in the allocator
 * is no matter of its size. */
void bench_run_workers(const struct bench_peer *peer)
{
    for (unsigned workers = 1; workers <= 64; workers *= 2) {
        int status;

        bench_rounds_report();
        pid_t child = fork();
        bench_check(child < 0, "no process");
        if (child == 0) {
            measure_workers(peer, workers);
            fflush(NULL);
            _exit(0);
        }
        bench_check(waitpid(child, &status, 0) != child || status != 0, "a size that failed");
    }
}
