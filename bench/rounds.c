/* SPDX-License-Identifier: MIT */
/*
 * Rounds of a workload. Those count that began and ended while the CPUs were near
 * each other; README.md says why. bench/run starts somebody who measures that, and
 * passes two pipes to him in BENCH_METER, "FROM,TO": a byte asks, a byte answers,
 * 'n' for near. Without him, as in a quick run, every round counts.
 *
 * After a pause threads are asleep, and caches have been used by others. So whoever
 * measures does a bit of the same at the beginning of each round that is not in it.
 */
#include "workloads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE 2.0     /* seconds: how long to try to get rounds that count */
#define PAUSE 0.005      /* seconds between questions while the CPUs are apart */
#define ENOUGH (1 / 5.0) /* of the seconds wanted; if less counts, all rounds do */

static struct {
    int from, to;
    bool known, there;
} meter;

/* For bench/run: rounds that counted and that did not, and how often too few did. */
static unsigned long n_near, n_apart, n_mixed;

static void find_meter(void)
{
    const char *value = getenv("BENCH_METER");

    meter.known = true;
    meter.there = value && !bench_quick;
    bench_check(meter.there && sscanf(value, "%d,%d", &meter.from, &meter.to) != 2, "BENCH_METER");
}

static bool are_near(const struct bench_rounds *r)
{
    char answer = 'n';

    if (!meter.known)
        find_meter();
    if (meter.there && !r->anyhow)
        bench_check(write(meter.to, "?", 1) != 1 || read(meter.from, &answer, 1) != 1, "the meter");
    return answer == 'n';
}

static void add(struct bench_round *sum, const struct bench_round *round)
{
    sum->n += round->n;
    sum->took += round->took;
    sum->rest += round->rest;
}

/* Waits until the CPUs are near each other, or until it is time to give up. */
static void await_near(struct bench_rounds *r)
{
    if (!r->give_up) {
        r->near = are_near(r);
        r->give_up = r->anyhow ? INFINITY : bench_now() + PATIENCE;
    }
    while (!r->near && bench_now() < r->give_up) {
        bench_doze(PAUSE);
        r->near = are_near(r);
    }
}

bool bench_rounds_go_on(struct bench_rounds *r)
{
    bool begun = r->sum.took > 0 || r->apart.took > 0;

    if (r->sum.took >= r->seconds)
        return false;
    if (!begun || bench_now() < r->give_up) {
        await_near(r);
        return true;
    }
    r->mixed = r->sum.took < ENOUGH * r->seconds;
    n_mixed += r->mixed;
    if (r->mixed)
        add(&r->sum, &r->apart);
    return false;
}

bool bench_rounds_add(struct bench_rounds *r, struct bench_round round)
{
    bool began_near = r->near;

    r->near = are_near(r);
    bool counts = began_near && r->near;
    n_near += counts;
    n_apart += !counts;
    add(counts ? &r->sum : &r->apart, &round);
    return counts;
}

double bench_rate(void (*op)(void *pool, size_t n), void *pool, size_t n)
{
    struct bench_rounds rounds = {.seconds = bench_seconds()};

    while (bench_rounds_go_on(&rounds)) {
        struct bench_round round = {0};
        op(pool, n);
        double begin = bench_now();
        do {
            op(pool, n);
            round.n += (double)n;
            round.took = bench_now() - begin;
        } while (round.took < bench_round_seconds());
        bench_rounds_add(&rounds, round);
    }
    return rounds.sum.n / rounds.sum.took;
}

double bench_round_seconds(void)
{
    return bench_seconds() / 10;
}

void bench_rounds_report(void)
{
    if (n_near + n_apart)
        printf("{\"rounds\": {\"near\": %lu, \"apart\": %lu, \"mixed\": %lu}}\n", n_near, n_apart,
               n_mixed);
    fflush(stdout);
    n_near = n_apart = n_mixed = 0;
}
