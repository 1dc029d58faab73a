/* SPDX-License-Identifier: MIT */
/*
 * libsoon's process pool. Beside its round trip stands what two processes
 * reach with nothing but a futex between them: the machine's own limit.
 */
#include "libsoon.h"
#include "machine.h"
#include "workloads.h"

#include <errno.h>
#include <soon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static soon_executor *open_processes(unsigned workers)
{
    soon_executor *ex;

    bench_check(soon_process_pool_new(&(soon_process_pool_options){.max_workers = workers}, &ex),
                "soon_process_pool_new");
    return ex;
}

static void close_processes(soon_executor *ex)
{
    bench_check(soon_shutdown(ex, SOON_FOREVER, 0), "soon_shutdown");
    soon_executor_unref(ex);
}

/* ---- tasks ---- */

static int nothing(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    return 0;
}

static int increment(soon_call *call, const void *arg, size_t arg_len)
{
    int n = *(const int *)arg + 1;

    (void)arg_len;
    return soon_return(call, &n, sizeof n);
}

static int echo(soon_call *call, const void *arg, size_t arg_len)
{
    return soon_return(call, arg, arg_len);
}

/* Long enough that as many as there are workers need a worker each. */
static int meet(soon_call *call, const void *arg, size_t arg_len)
{
    pid_t pid = getpid();

    (void)arg, (void)arg_len;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    return soon_return(call, &pid, sizeof pid);
}

/* ---- round trips ---- */

static void trip(void *pool, uint64_t *started)
{
    soon_future *f;

    (void)started;
    bench_check(soon_submit(pool, nothing, NULL, 0, &f), "soon_submit");
    bench_check(soon_future_wait(f, SOON_FOREVER), "soon_future_wait");
    soon_future_unref(f);
}

static void run_round_trip(const struct bench_peer *peer)
{
    size_t n;

    (void)peer;
    machine_run_court("limit of processes: futex, asleep,", true, false);
    machine_run_court("limit of processes: spinning,", true, true);
    soon_executor *ex = open_processes(BENCH_WORKERS);
    double *us = bench_trips(trip, ex, bench_size(5000), false, &n);
    machine_report_trips("process pool: round trip", us, n);
    free(us);
    close_processes(ex);
}

/* ---- many tasks ---- */

static void flood(void *pool, size_t n)
{
    soon_executor *ex = pool;
    soon_future **f = bench_room(n * sizeof(soon_future *));

    for (size_t i = 0; i < n; i++) {
        int k = (int)i;
        bench_check(soon_submit(ex, increment, &k, sizeof k, &f[i]), "soon_submit");
    }
    for (size_t i = 0; i < n; i++) {
        int k = 0;
        bench_check(soon_future_result(f[i], SOON_FOREVER, &k, sizeof k), "soon_future_result");
        bench_check(k != (int)i + 1, "a result");
        soon_future_unref(f[i]);
    }
}

static void run_flood(const struct bench_peer *peer)
{
    size_t batch = bench_size(50000);
    soon_executor *ex = open_processes(BENCH_WORKERS);

    (void)peer;
    bench_row("process pool: flood", bench_rate(flood, ex, batch) / 1e6, "M tasks/s",
              "workers=%d producers=1 batch=%zu", BENCH_WORKERS, batch);
    close_processes(ex);
}

static void run_map(const struct bench_peer *peer)
{
    size_t n = bench_size(4000000);
    soon_executor *ex = open_processes(BENCH_WORKERS);
    int *in = bench_room(2 * n * sizeof *in), *out = in + n;
    double took = 0;

    (void)peer;
    for (size_t i = 0; i < n; i++)
        in[i] = (int)i;
    for (int round = 0; round < 2; round++) { /* the first one is not counted */
        double begin = bench_now();
        bench_check(soon_map(ex, increment, in, sizeof *in, n, out, sizeof *out, NULL), "soon_map");
        took = bench_now() - begin;
    }
    for (size_t i = 0; i < n; i++)
        bench_check(out[i] != (int)i + 1, "a result of soon_map");
    bench_row("process pool: map", (double)n / took / 1e6, "M items/s", "workers=%d items=%zu",
              BENCH_WORKERS, n);
    close_processes(ex);
}

/* Seconds that n echoes of size bytes take, of which four are under way. */
static double echoes(soon_executor *ex, const void *bytes, size_t size, size_t n)
{
    enum { AHEAD = 4 };
    soon_future *f[AHEAD] = {NULL};
    const void *value;
    size_t len;
    double begin = bench_now();

    for (size_t i = 0; i < n + AHEAD; i++) {
        soon_future **at = &f[i % AHEAD];
        if (i >= AHEAD) {
            bench_check(soon_future_value(*at, SOON_FOREVER, &value, &len), "soon_future_value");
            bench_check(len != size || memcmp(value, bytes, 8) != 0, "an echo");
            soon_future_unref(*at);
        }
        if (i < n)
            bench_check(soon_submit(ex, echo, bytes, size, at), "soon_submit");
    }
    return bench_now() - begin;
}

static void run_echo(const struct bench_peer *peer)
{
    static const struct {
        const char *name;
        size_t size;
    } sizes[] = {{"64 B", 64},       {"4 KiB", 4 << 10}, {"64 KiB", 64 << 10},
                 {"1 MiB", 1 << 20}, {"8 MiB", 8 << 20}, {"64 MiB", 64 << 20}};
    soon_executor *ex = open_processes(BENCH_WORKERS);
    char row[100];

    (void)peer;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i].size, n = bench_size(128u << 20) / size;
        void *bytes = bench_room(size);
        memset(bytes, 'x', size);
        n = n < 2 ? 2 : n > 30000 ? 30000 : n;
        echoes(ex, bytes, size, n / 4 + 2);
        double took = echoes(ex, bytes, size, n);
        snprintf(row, sizeof row, "process pool: echo of %s", sizes[i].name);
        bench_row(row, (double)n * (double)size / took / 1e9, "GB/s",
                  "workers=%d bytes=%zu tasks=%zu", BENCH_WORKERS, size, n);
    }
    close_processes(ex);
}

/* ---- many workers ---- */

/* Bytes of a process, and its share of what it shares with others. */
static double proportional_size(pid_t pid)
{
    char path[100], line[200];
    unsigned long kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", (long)pid);
    f = fopen(path, "r");
    bench_check(!f ? errno : 0, path);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Pss: %lu kB", &kib) == 1)
            break;
    fclose(f);
    bench_check(kib == 0, path);
    return (double)kib * 1024;
}

/* Has every worker of a pool started; their process ids into pid. */
static void meet_workers(soon_executor *ex, unsigned workers, pid_t *pid)
{
    soon_future *f[64];
    soon_stats stats;

    for (unsigned i = 0; i < workers; i++)
        bench_check(soon_submit(ex, meet, NULL, 0, &f[i]), "soon_submit");
    for (unsigned i = 0; i < workers; i++) {
        bench_check(soon_future_result(f[i], SOON_FOREVER, &pid[i], sizeof *pid),
                    "soon_future_result");
        soon_future_unref(f[i]);
    }
    bench_check(soon_executor_stats(ex, &stats), "soon_executor_stats");
    bench_check(stats.workers != workers, "not all workers have started");
}

static void run_start(const struct bench_peer *peer)
{
    enum { WORKERS = 64 };
    soon_executor *ex = open_processes(WORKERS);
    pid_t pid[WORKERS];
    double begin = bench_now(), bytes = 0;

    (void)peer;
    meet_workers(ex, WORKERS, pid);
    double took = bench_now() - begin - 0.1;
    for (int i = 0; i < WORKERS; i++)
        bytes += proportional_size(pid[i]);
    bench_row("process pool: start of 64 workers", took / WORKERS * 1e6, "us each", "workers=%d",
              WORKERS);
    bench_row("process pool: memory of 64 workers", bytes / WORKERS / 1024, "KiB each",
              "workers=%d", WORKERS);
    close_processes(ex);
}

static void run_workers(const struct bench_peer *peer)
{
    char row[100];
    pid_t pid[64];

    (void)peer;
    for (unsigned workers = 1; workers <= 64; workers *= 2) {
        soon_executor *ex = open_processes(workers);
        meet_workers(ex, workers, pid);
        snprintf(row, sizeof row, "process workers: flood, %u", workers);
        bench_row(row, bench_rate(flood, ex, bench_size(50000)) / 1e6, "M tasks/s", "workers=%u",
                  workers);
        close_processes(ex);
    }
}

static void run_growth(const struct bench_peer *peer)
{
    soon_executor *ex = open_processes(BENCH_WORKERS);
    size_t most = bench_quick ? 10000 : 1000000;
    char row[100];
    int digits = 3;

    (void)peer;
    for (size_t n = 1000; n <= most; n *= 10, digits++) {
        snprintf(row, sizeof row, "process growth: pending, 10^%d", digits);
        bench_row(row, 1e9 / bench_rate(flood, ex, n), "ns", "workers=%d tasks=%zu", BENCH_WORKERS,
                  n);
    }
    close_processes(ex);
}

const struct bench_workload libsoon_process_workloads[] = {
    {"process-round-trip", run_round_trip},
    {"process-flood", run_flood},
    {"process-map", run_map},
    {"process-echo", run_echo},
    {"process-start", run_start},
    {"process-workers", run_workers},
    {"process-growth", run_growth},
    {NULL, NULL},
};
