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

struct entry {
    struct bench_workload workload;
    bool there;
};

static int run_named(const struct bench_peer *peer, const struct entry *entries, const char *name)
{
    for (const struct entry *e = entries; e->workload.name; e++)
        if (e->there && (!name || strcmp(name, e->workload.name) == 0)) {
            e->workload.run(peer);
            if (name)
                return 0;
        }
    for (const struct bench_workload *w = peer->more; w && w->name; w++)
        if (!name || strcmp(name, w->name) == 0) {
            w->run(peer);
            if (name)
                return 0;
        }
    return name ? -1 : 0;
}

static void list(const struct bench_peer *peer, const struct entry *entries)
{
    for (const struct entry *e = entries; e->workload.name; e++)
        if (e->there)
            puts(e->workload.name);
    for (const struct bench_workload *w = peer->more; w && w->name; w++)
        puts(w->name);
}

int bench_main(int argc, char **argv, const struct bench_peer *peer)
{
    const struct entry entries[] = {
        {{"flood", bench_run_flood}, peer->flood},
        {{"detached", bench_run_detached}, peer->detached},
        {{"many", bench_run_many}, peer->many || peer->many_results},
        {{"fib", bench_run_fib}, peer->fib},
        {{"round-trip", bench_run_round_trip}, peer->trip},
        {{"round-trip-busy", bench_run_round_trip_busy}, peer->trip},
        {{"wake-up", bench_run_wake_up}, peer->trip},
        {{"as-completed", bench_run_as_completed}, peer->as_completed},
        {{"callback", bench_run_callback}, peer->callbacks},
        {{"work", bench_run_work}, peer->work},
        {{"memory", bench_run_memory}, peer->hold},
        {{"cancel", bench_run_cancel}, peer->cancel},
        {{"idle", bench_run_idle}, peer->flood},
        {{"growth", bench_run_growth}, peer->hold},
        {{"growth-most", bench_run_growth_most}, peer->hold},
        {{"workers", bench_run_workers}, peer->flood},
        {{NULL, NULL}, false},
    };
    int named = 0, status = EXIT_SUCCESS;

    bench_program = peer->program;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            bench_quick = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            list(peer, entries);
            return EXIT_SUCCESS;
        } else if (run_named(peer, entries, argv[i]) == 0) {
            named++;
        } else {
            fprintf(stderr, "usage: %s [--quick] [WORKLOAD...]\n       %s --list\n", argv[0],
                    argv[0]);
            return 2;
        }
    }
    if (named == 0)
        status = run_named(peer, entries, NULL) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    return status;
}
