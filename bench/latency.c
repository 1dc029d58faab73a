/* SPDX-License-Identifier: MIT */
/*
 * How long one task takes, and what a pool does that has none.
 */
#include "workloads.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- latency ---- */

/* So many trips at most, into us. */
static struct bench_round round_of_trips(void (*trip)(void *pool, uint64_t *started), void *pool,
                                         double *us, size_t most)
{
    double begin = bench_now(), took;
    size_t n = 0;

    do {
        uint64_t submitted = bench_ns();
        trip(pool, NULL);
        us[n++] = (double)(bench_ns() - submitted) / 1e3;
        took = bench_now() - begin;
    } while (n < most && took < bench_round_seconds());
    return (struct bench_round){.n = (double)n, .took = took};
}

/* Puts the n values that begin at later, and are the last, before those at first. */
static void move_ahead(double *first, double *later, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double value = first[i];
        first[i] = later[i];
        later[i] = value;
    }
}

double *bench_trips(void (*trip)(void *pool, uint64_t *started), void *pool, size_t most,
                    bool anyhow, size_t *n)
{
    struct bench_rounds rounds = {.seconds = bench_seconds() * 2, .anyhow = anyhow};
    size_t least = most / 20 + 1, apart = 0;
    /* First those of rounds that count, then some of the others. */
    double *us = malloc(4 * most * sizeof *us);

    bench_check(!us, "no memory");
    for (*n = 0; *n < most && (bench_rounds_go_on(&rounds) || *n + apart < least);) {
        double *first = &us[*n], *now = &us[*n + apart];
        round_of_trips(trip, pool, now, least); /* not counted */
        struct bench_round round = round_of_trips(trip, pool, now, most);
        if (bench_rounds_add(&rounds, round)) {
            move_ahead(first, now, (size_t)round.n);
            *n += (size_t)round.n;
        } else {
            apart = apart < most ? apart + (size_t)round.n : 0;
        }
    }
    *n += rounds.mixed ? apart : 0;
    return us;
}

static void report_trips(const char *name, double *us, size_t n)
{
    static const struct {
        const char *name;
        double q;
    } quantile[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}};
    char row[100];

    for (size_t i = 0; i < sizeof quantile / sizeof *quantile; i++) {
        snprintf(row, sizeof row, "%s %s", name, quantile[i].name);
        bench_row(row, bench_quantile(us, n, quantile[i].q), "us", "workers=%d tasks=%zu",
                  BENCH_WORKERS, n);
    }
    free(us);
}

void bench_run_round_trip(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    size_t n;
    double *us = bench_trips(peer->trip, pool, bench_size(20000), false, &n);

    report_trips("round trip", us, n);
    bench_close(peer, pool);
}

void bench_run_round_trip_busy(const struct bench_peer *peer)
{
    size_t n;

    bench_hogs_start(2);
    void *pool = bench_open(peer, BENCH_WORKERS);
    double *us = bench_trips(peer->trip, pool, bench_size(20000), true, &n);
    bench_hogs_stop();
    report_trips("round trip, busy CPUs,", us, n);
    bench_close(peer, pool);
}

void bench_run_wake_up(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    size_t n = bench_size(100);
    double us[100];

    peer->trip(pool, NULL);
    for (size_t i = 0; i < n; i++) {
        uint64_t started;
        bench_doze(0.01);
        uint64_t begin = bench_ns();
        peer->trip(pool, &started);
        us[i] = (double)(started - begin) / 1e3;
    }
    bench_row("wake-up after 10 ms idle p50", bench_quantile(us, n, 0.5), "us",
              "workers=%d tasks=%zu", BENCH_WORKERS, n);
    bench_row("wake-up after 10 ms idle p90", bench_quantile(us, n, 0.9), "us",
              "workers=%d tasks=%zu", BENCH_WORKERS, n);
    bench_close(peer, pool);
}

void bench_run_idle(const struct bench_peer *peer)
{
    void *pool = bench_open(peer, BENCH_WORKERS);
    double seconds = bench_quick ? 0.1 : 1, cpu_us, switches;

    if (peer->flood)
        peer->flood(pool, 1000);
    else
        peer->detached(pool, 1000);
    bench_doze(0.2);
    bench_idle(seconds, &cpu_us, &switches);
    bench_row("idle pool: CPU time", cpu_us / seconds, "us/s", "workers=%d", BENCH_WORKERS);
    bench_row("idle pool: wake-ups", switches / seconds, "1/s", "workers=%d", BENCH_WORKERS);
    bench_close(peer, pool);
}
