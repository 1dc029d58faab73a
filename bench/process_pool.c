/* SPDX-License-Identifier: MIT */
/*
 * The process pool in figures, one a line: NAME VALUE UNIT.
 *
 *     process_pool [REPEATS]      the median of REPEATS (5) of each
 *
 * Beside them stands what two processes reach with nothing but a futex between
 * them, asleep and spinning: the machine's own limit for a round trip.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <soon.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 2, REPEATS_MAX = 99 };

static int repeats = 5;

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A figure that can't be had is no figure. */
static void check(int error, const char *what)
{
    if (error == 0)
        return;
    fprintf(stderr, "process_pool: %s: %s\n", what, strerror(error < 0 ? -error : error));
    exit(EXIT_FAILURE);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return values[n / 2];
}

static void report(const char *name, double (*measure)(void *data), void *data, const char *unit)
{
    double value[REPEATS_MAX];

    for (int i = 0; i < repeats; i++)
        value[i] = measure(data);
    double middle = median(value, (size_t)repeats);
    printf("%-28s %12.4g %s   (%.4g to %.4g)\n", name, middle, unit, value[0], value[repeats - 1]);
    fflush(stdout);
}

static soon_executor *new_pool(unsigned workers)
{
    soon_executor *ex;

    check(soon_process_pool_new(&(soon_process_pool_options){.max_workers = workers}, &ex),
          "soon_process_pool_new");
    return ex;
}

static void end_pool(soon_executor *ex)
{
    check(soon_shutdown(ex, SOON_FOREVER, 0), "soon_shutdown");
    soon_executor_unref(ex);
}

/* ---- tasks ---- */

static int nothing(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    return 0;
}

static int echo(soon_call *call, const void *arg, size_t arg_len)
{
    return soon_return(call, arg, arg_len);
}

static int increment(soon_call *call, const void *arg, size_t arg_len)
{
    int n;

    memcpy(&n, arg, arg_len < sizeof n ? arg_len : sizeof n);
    n++;
    return soon_return(call, &n, sizeof n);
}

/* ---- workloads ---- */

struct trip {
    soon_executor *ex;
    double quantile;
};

static double round_trip(void *data)
{
    enum { N = 5000 };
    static double us[N];
    const struct trip *trip = data;

    for (int i = -100; i < N; i++) {
        soon_future *f;
        double begin = seconds();
        check(soon_submit(trip->ex, nothing, NULL, 0, &f), "soon_submit");
        check(soon_future_wait(f, SOON_FOREVER), "soon_future_wait");
        if (i >= 0)
            us[i] = (seconds() - begin) * 1e6;
        soon_future_unref(f);
    }
    qsort(us, N, sizeof *us, compare);
    return us[(int)(trip->quantile * (N - 1))];
}

static double flood(void *data)
{
    enum { N = 300000, WINDOW = 10000 };
    static soon_future *f[WINDOW];
    double begin = seconds();

    for (int i = 0; i < N + WINDOW; i++) {
        soon_future **at = &f[i % WINDOW];
        if (i >= WINDOW) {
            check(soon_future_result(*at, SOON_FOREVER, NULL, 0), "a task");
            soon_future_unref(*at);
        }
        if (i < N)
            check(soon_submit(data, nothing, NULL, 0, at), "soon_submit");
    }
    return N / (seconds() - begin) / 1e6;
}

static double map(void *data)
{
    enum { N = 4000000 };
    static int in[N], out[N];

    for (int i = 0; i < N; i++)
        in[i] = i;
    double begin = seconds();
    check(soon_map(data, increment, in, sizeof *in, N, out, sizeof *out, NULL), "soon_map");
    double took = seconds() - begin;
    for (int i = 0; i < N; i++)
        check(out[i] != i + 1, "a result of soon_map");
    return N / took / 1e6;
}

struct load {
    soon_executor *ex;
    size_t size;
};

/* Bytes of arguments a second; as many come back. Four are under way. */
static double echoes(void *data)
{
    enum { AHEAD = 4 };
    const struct load *load = data;
    size_t n = (256u << 20) / load->size;
    soon_future *f[AHEAD] = {NULL};
    char *bytes = malloc(load->size);
    const void *value;
    size_t len;

    check(!bytes, "malloc");
    memset(bytes, 'x', load->size);
    if (n > 100000)
        n = 100000;
    if (n < 8)
        n = 8;
    double begin = seconds();
    for (size_t i = 0; i < n + AHEAD; i++) {
        soon_future **at = &f[i % AHEAD];
        if (i >= AHEAD) {
            check(soon_future_value(*at, SOON_FOREVER, &value, &len), "an echo");
            check(len != load->size, "the length of an echo");
            soon_future_unref(*at);
        }
        if (i < n)
            check(soon_submit(load->ex, echo, bytes, load->size, at), "soon_submit");
    }
    double took = seconds() - begin;
    free(bytes);
    return (double)n * (double)load->size / took / 1e9;
}

/* ---- many workers ---- */

static int meet(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    return 0;
}

static double start_many(void *data)
{
    enum { N = 64 };
    soon_executor *ex = new_pool(N);
    soon_future *f[N];
    soon_stats stats;

    (void)data;
    double begin = seconds();
    for (int i = 0; i < N; i++)
        check(soon_submit(ex, meet, NULL, 0, &f[i]), "soon_submit");
    for (int i = 0; i < N; i++) {
        check(soon_future_wait(f[i], SOON_FOREVER), "soon_future_wait");
        soon_future_unref(f[i]);
    }
    double took = seconds() - begin - 0.1;
    check(soon_executor_stats(ex, &stats), "soon_executor_stats");
    check(stats.workers_started != N, "64 workers");
    end_pool(ex);
    return took / N * 1e6;
}

static double flood_many(void *data)
{
    soon_executor *ex = new_pool(64);

    (void)data;
    start_many(NULL);
    double value = flood(ex);
    end_pool(ex);
    return value;
}

/* ---- the machine's limit ---- */

struct court {
    _Atomic uint32_t ball; /* whose turn it is */
    bool spin;
};

static void await_ball(struct court *court, uint32_t mine)
{
    while (atomic_load(&court->ball) != mine)
        if (!court->spin)
            syscall(SYS_futex, &court->ball, FUTEX_WAIT, 1 - mine, NULL, NULL, 0);
}

static void play(struct court *court, uint32_t next)
{
    atomic_store(&court->ball, next);
    if (!court->spin)
        syscall(SYS_futex, &court->ball, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static double bare_round_trip(void *data)
{
    enum { N = 5000 };
    static double us[N];
    struct court *court =
        mmap(NULL, sizeof *court, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    check(court == MAP_FAILED, "mmap");
    court->spin = *(bool *)data;
    pid_t child = fork();
    check(child < 0, "fork");
    for (int i = 0; i < N && child == 0; i++) {
        await_ball(court, 1);
        play(court, 0);
    }
    if (child == 0)
        _exit(0);
    for (int i = 0; i < N; i++) {
        double begin = seconds();
        play(court, 1);
        await_ball(court, 0);
        us[i] = (seconds() - begin) * 1e6;
    }
    waitpid(child, NULL, 0);
    munmap(court, sizeof *court);
    return median(us, N);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        size_t size;
    } sizes[] = {{"echo 64 B", 64},       {"echo 4 KiB", 4 << 10}, {"echo 64 KiB", 64 << 10},
                 {"echo 1 MiB", 1 << 20}, {"echo 8 MiB", 8 << 20}, {"echo 64 MiB", 64 << 20}};

    check(soon_init(argc, argv), "soon_init");
    if (argc > 1)
        repeats = atoi(argv[1]);
    if (repeats < 1 || repeats > REPEATS_MAX)
        check(EINVAL, argv[1]);
    soon_executor *ex = new_pool(WORKERS);
    report("limit: futex, asleep", bare_round_trip, &(bool){false}, "us p50");
    report("limit: spinning", bare_round_trip, &(bool){true}, "us p50");
    report("round trip", round_trip, &(struct trip){ex, 0.5}, "us p50");
    report("round trip", round_trip, &(struct trip){ex, 0.99}, "us p99");
    report("flood", flood, ex, "M tasks/s");
    report("map", map, ex, "M items/s");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        report(sizes[i].name, echoes, &(struct load){ex, sizes[i].size}, "GB/s each way");
    end_pool(ex);
    report("start of 64 workers", start_many, NULL, "us each");
    report("flood over 64 workers", flood_many, NULL, "M tasks/s");
    return 0;
}
