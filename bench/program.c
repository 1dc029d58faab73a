/* SPDX-License-Identifier: MIT */
/*
 * The program: which workloads there are, and which to run.
 */
#include "workloads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *bench_open(const struct bench_peer *peer, unsigned workers)
{
    void *pool = peer->open(workers);

    bench_check(!pool, "no pool");
    return pool;
}

void bench_close(const struct bench_peer *peer, void *pool)
{
    if (peer->close)
        peer->close(pool);
}

void bench_doze(double seconds)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
}

/* ---- the program ---- */

struct choice {
    bool there;
    struct bench_workload workload;
};

/* The workloads that the peer has, into list; their number. */
static size_t find_workloads(const struct bench_peer *peer, struct bench_workload *list)
{
    const struct choice choices[] = {
        {peer->flood, {"flood", bench_run_flood}},
        {peer->detached, {"detached", bench_run_detached}},
        {peer->many || peer->many_results, {"many", bench_run_many}},
        {peer->fib, {"fib", bench_run_fib}},
        {peer->trip, {"round-trip", bench_run_round_trip}},
        {peer->trip, {"round-trip-busy", bench_run_round_trip_busy}},
        {peer->trip, {"wake-up", bench_run_wake_up}},
        {peer->as_completed, {"as-completed", bench_run_as_completed}},
        {peer->callbacks, {"callback", bench_run_callback}},
        {peer->work, {"work", bench_run_work}},
        {peer->hold, {"memory", bench_run_memory}},
        {peer->cancel, {"cancel", bench_run_cancel}},
        {true, {"idle", bench_run_idle}},
        {peer->hold, {"growth", bench_run_growth}},
        {peer->hold && !peer->most, {"growth-most", bench_run_growth_most}},
        {peer->flood && !peer->fixed_size, {"workers", bench_run_workers}},
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (choices[i].there)
            list[n++] = choices[i].workload;
    for (size_t i = 0; i < sizeof peer->more / sizeof *peer->more; i++)
        for (const struct bench_workload *w = peer->more[i]; w && w->name; w++)
            list[n++] = *w;
    return n;
}

static const struct bench_workload *find(const struct bench_workload *list, size_t n,
                                         const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    fprintf(stderr, "bench: %s: no workload '%s'; --list lists them\n", bench_program, name);
    exit(2);
}

int bench_main(int argc, char **argv, const struct bench_peer *peer)
{
    struct bench_workload list[40];
    size_t n = find_workloads(peer, list);
    bool named = false;

    bench_program = peer->program;
    bench_most = peer->most;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            bench_quick = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            for (size_t j = 0; j < n; j++)
                puts(list[j].name);
            return EXIT_SUCCESS;
        } else {
            find(list, n, argv[i])->run(peer);
            named = true;
        }
    }
    for (size_t i = 0; i < n && !named; i++)
        list[i].run(peer);
    bench_rounds_report();
    return EXIT_SUCCESS;
}
