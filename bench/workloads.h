/* SPDX-License-Identifier: MIT */
/*
 * What is measured, the same for every program. Each workload is run in a
 * process of its own by bench/run, and begins with a round that is not
 * counted, in which threads start and caches fill.
 */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include "harness.h"

/* Of the peer; set first thing. */
extern const char *bench_program;
extern size_t bench_most;

void *bench_open(const struct bench_peer *peer, unsigned workers);
void bench_close(const struct bench_peer *peer, void *pool);
void bench_doze(double seconds);

/* ---- rounds.c ---- */

/* What is done again and again, and how much of it counts:
 *
 *     struct bench_rounds rounds = {.seconds = bench_seconds()};
 *     while (bench_rounds_go_on(&rounds)) {
 *         ... a bit that is not counted ...
 *         double took = ...;
 *         bench_rounds_add(&rounds, (struct bench_round){.n = 1000, .took = took});
 *     }
 *     rate = rounds.sum.n / rounds.sum.took;
 */
struct bench_round {
    double n, took, rest; /* how often, and seconds; rest: seconds of another kind */
};

struct bench_rounds {
    double seconds;         /* of rounds that are to count */
    bool anyhow;            /* they count however far the CPUs are apart */
    struct bench_round sum; /* of those that count */
    bool mixed;             /* after the last one: too few did, so now all do */

    /* its own */
    struct bench_round apart; /* the sum of the others */
    bool near;                /* the CPUs are, as far as is known */
    double give_up;           /* when */
};

/* Is there to be another round? It may begin late: when the CPUs are near. */
bool bench_rounds_go_on(struct bench_rounds *rounds);

/* It has ended. Does it count? */
bool bench_rounds_add(struct bench_rounds *rounds, struct bench_round round);

/* How long a round of short operations is: the host moves CPUs some times a second. */
double bench_round_seconds(void);

/* How often a second op(pool, n) does its n. */
double bench_rate(void (*op)(void *pool, size_t n), void *pool, size_t n);

/* A line for bench/run: how many rounds counted until now. */
void bench_rounds_report(void);

/* ---- throughput.c, latency.c, growth.c ---- */

/* Seconds that submitting n tasks with op takes, and their running. */
double bench_post(void (*op)(void *pool, size_t n), void *pool, size_t n);
/* Tasks a second of that, n at a time. */
double bench_post_rate(void (*op)(void *pool, size_t n), void *pool, size_t n);

/* Futures a second, of tasks submitted and collected batch by batch. */
double bench_flood(const struct bench_peer *peer, void *pool, unsigned producers, size_t batch);

/* Forks a second in fib(n), of one child in each call or of both. */
double bench_fib_rate(const struct bench_peer *peer, void *pool, int n, bool both);

/* Seconds of an as_completed, from the first submit on and from the last. */
void bench_complete(const struct bench_peer *peer, void *pool, size_t n, double *all, double *rest);

/* Round trips in us, most at most; *n says how many. The caller frees them. anyhow: as in
 * struct bench_rounds. */
double *bench_trips(void (*trip)(void *pool, uint64_t *started), void *pool, size_t most,
                    bool anyhow, size_t *n);

void bench_run_flood(const struct bench_peer *peer);
void bench_run_detached(const struct bench_peer *peer);
void bench_run_many(const struct bench_peer *peer);
void bench_run_fib(const struct bench_peer *peer);
void bench_run_round_trip(const struct bench_peer *peer);
void bench_run_round_trip_busy(const struct bench_peer *peer);
void bench_run_wake_up(const struct bench_peer *peer);
void bench_run_idle(const struct bench_peer *peer);
void bench_run_as_completed(const struct bench_peer *peer);
void bench_run_callback(const struct bench_peer *peer);
void bench_run_work(const struct bench_peer *peer);
void bench_run_memory(const struct bench_peer *peer);
void bench_run_cancel(const struct bench_peer *peer);
void bench_run_growth(const struct bench_peer *peer);
void bench_run_growth_most(const struct bench_peer *peer);
void bench_run_workers(const struct bench_peer *peer);

#endif /* BENCH_WORKLOADS_H */
