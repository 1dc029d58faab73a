/* SPDX-License-Identifier: MIT */
/*
 * countdown: pure computing, in this thread and in pools of 1, 2 and 4.
 *
 *     countdown [--processes] [MILLIONS]
 *
 * The counting is cut into PARTS tasks for soon_map. In C threads compute at
 * the same time, as processes do, so the speed-up goes as far as there are
 * CPUs, and no further; the last line says how many this process may use.
 */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <soon.h>

#include "pool.h"

enum { PARTS = 32 };

/* Volatile, or the compiler would see through it and count nothing. */
static uint64_t count_down(uint64_t from)
{
    uint64_t steps = 0;
    for (volatile uint64_t n = from; n > 0; n--)
        steps++;
    return steps;
}

/* The task: arg is where to count from, the result the steps that it took. */
static int count_task(soon_call *call, const void *arg, size_t arg_len)
{
    uint64_t from;
    if (arg_len != sizeof from)
        return soon_fail(call, -EINVAL, "want a uint64_t, got %zu bytes", arg_len);
    memcpy(&from, arg, sizeof from);
    uint64_t steps = count_down(from);
    return soon_return(call, &steps, sizeof steps);
}

static int serial(const uint64_t *parts, uint64_t *steps)
{
    for (int i = 0; i < PARTS; i++)
        steps[i] = count_down(parts[i]);
    return 0;
}

static int pooled(const struct pool_choice *choice, const uint64_t *parts, uint64_t *steps)
{
    soon_executor *pool;
    int err = pool_open(choice, "countdown", &pool);
    if (err != 0)
        return err;
    soon_map_options options = {.chunk_size = 1};
    err =
        soon_map(pool, count_task, parts, sizeof parts[0], PARTS, steps, sizeof steps[0], &options);
    soon_shutdown(pool, SOON_FOREVER, 0);
    soon_executor_unref(pool);
    return err;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A line of the table, workers 0 being none. Compares with the serial time. False on an error. */
static bool run(const struct pool_choice *choice, const uint64_t *parts, double *serial_time)
{
    unsigned workers = choice->workers;
    uint64_t steps[PARTS] = {0}, total = 0;
    double begin = now();
    int err = workers == 0 ? serial(parts, steps) : pooled(choice, parts, steps);
    double time = now() - begin;
    if (err != 0) {
        fprintf(stderr, "countdown: %u workers: %s\n", workers, strerror(-err));
        return false;
    }
    for (int i = 0; i < PARTS; i++)
        total += steps[i];
    if (workers == 0)
        *serial_time = time;
    char name[32] = "serial";
    const char *kind = choice->processes ? "process" : "thread";
    const char *kinds = choice->processes ? "processes" : "threads";
    if (workers > 0)
        snprintf(name, sizeof name, "%u %s", workers, workers == 1 ? kind : kinds);
    printf("%-11s %12llu %9.3f %9.2f\n", name, (unsigned long long)total, time,
           *serial_time / time);
    return true;
}

int main(int argc, char **argv)
{
    static const unsigned workers[] = {0, 1, 2, 4};
    soon_init(argc, argv); /* a spawned worker does not come back from here */
    struct pool_choice choice = {0};
    bool good = pool_options(&choice, argc, argv, "p");
    unsigned long millions = optind < argc ? strtoul(argv[optind], NULL, 10) : 200;
    if (!good || millions == 0 || millions > 1000000) {
        fputs("usage: countdown [-p|--processes] [--start=forkserver|fork|spawn] [MILLIONS]\n",
              stderr);
        return 2;
    }
    uint64_t parts[PARTS];
    for (int i = 0; i < PARTS; i++)
        parts[i] = (uint64_t)millions * 1000000 / PARTS;
    double serial_time = 0;
    printf("%-11s %12s %9s %9s\n", "", "steps", "seconds", "speed-up");
    for (size_t i = 0; i < sizeof workers / sizeof workers[0] && good; i++) {
        choice.workers = workers[i];
        good = run(&choice, parts, &serial_time);
    }
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        printf("CPUs for this process: %d\n", CPU_COUNT(&cpus));
    return good ? 0 : 1;
}
