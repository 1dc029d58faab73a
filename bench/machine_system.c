/* SPDX-License-Identifier: MIT */
/*
 * What it costs to wake a thread that sleeps, and to copy what is too big for
 * a cache: the price of a task that comes when nothing runs, and of one that
 * goes to another process.
 */
#include "machine.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

/* Whether somebody was asleep. */
static bool wake(_Atomic uint32_t *word)
{
    return syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) == 1;
}

static void report_quantile(const char *name, const char *which, double *us, size_t n, double q)
{
    char row[100];

    snprintf(row, sizeof row, "%s %s", name, which);
    bench_row(row, bench_quantile(us, n, q), "us", "times=%zu", n);
}

void machine_report_trips(const char *name, double *us, size_t n)
{
    report_quantile(name, "p50", us, n, 0.5);
    report_quantile(name, "p99", us, n, 0.99);
}

/* ---- back and forth ---- */

enum { OURS, THEIRS, OVER };

struct court {
    _Atomic uint32_t ball; /* whose turn it is. Sync: atomic */
    bool spin;             /* Sync: const after init */
};

/* False once it is over. */
static bool await_ball(struct court *court, uint32_t mine)
{
    uint32_t ball;

    while ((ball = atomic_load(&court->ball)) != mine && ball != OVER)
        if (!court->spin)
            sleep_while(&court->ball, ball);
    return ball != OVER;
}

static void play(struct court *court, uint32_t next)
{
    atomic_store(&court->ball, next);
    if (!court->spin)
        wake(&court->ball);
}

static void *play_along(void *data)
{
    struct court *court = data;

    while (await_ball(court, THEIRS))
        play(court, OURS);
    return NULL;
}

/* The number of times in us, at most most. */
static size_t play_round_trips(struct court *court, double *us, size_t most)
{
    double end = bench_now() + bench_seconds();
    size_t n = 0;

    for (; n < most && (n == 0 || bench_now() < end); n++) {
        uint64_t begin = bench_ns();
        play(court, THEIRS);
        await_ball(court, OURS);
        us[n] = (double)(bench_ns() - begin) / 1e3;
    }
    play(court, OVER);
    return n;
}

static size_t play_with_process(struct court *court, double *us, size_t most)
{
    pid_t child = fork();

    bench_check(child < 0 ? errno : 0, "fork");
    if (child == 0) {
        play_along(court);
        _exit(0);
    }
    size_t n = play_round_trips(court, us, most);
    waitpid(child, NULL, 0);
    return n;
}

static size_t play_with_thread(struct court *court, double *us, size_t most)
{
    pthread_t thread;

    bench_check(pthread_create(&thread, NULL, play_along, court), "pthread_create");
    size_t n = play_round_trips(court, us, most);
    pthread_join(thread, NULL);
    return n;
}

void machine_run_court(const char *name, bool processes, bool spin)
{
    size_t most = bench_size(5000);
    double *us = bench_room(most * sizeof *us);
    struct court *court =
        mmap(NULL, sizeof *court, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    bench_check(court == MAP_FAILED ? errno : 0, "mmap");
    court->spin = spin;
    size_t n = (processes ? play_with_process : play_with_thread)(court, us, most);
    munmap(court, sizeof *court);
    machine_report_trips(name, us, n);
}

/* ---- waking ---- */

struct bed {
    _Atomic uint32_t word;     /* what its sleeper has not seen. Sync: atomic */
    _Atomic uint32_t seen;     /* the last one that it has seen. Sync: atomic */
    _Atomic uint64_t woken_at; /* Sync: atomic */
    double doze;               /* seconds between two wake-ups. Sync: const after init */
    double *us;                /* Sync: first thread only, as are the next two */
    size_t n, most;
};

static void sleep_in(void *data)
{
    struct bed *bed = data;
    uint32_t seen = 0, word;

    do {
        while ((word = atomic_load(&bed->word)) == seen)
            sleep_while(&bed->word, seen);
        atomic_store(&bed->woken_at, bench_ns());
        atomic_store(&bed->seen, seen = word);
    } while (word != UINT32_MAX);
}

/* A doze of less than a millisecond is spent awake: it is the other CPU that
 * is to be idle. */
static void doze(double seconds)
{
    double end = bench_now() + seconds;

    if (seconds >= 1e-3)
        nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
    while (bench_now() < end)
        machine_pause();
}

/* Only what the kernel says was a wake-up is counted: at times the other thread
 * has not gone to sleep yet. */
static void wake_from(void *data)
{
    struct bed *bed = data;

    for (uint32_t i = 1; bed->n < bed->most; i++) {
        bench_check(i > 10 * bed->most + 100 ? ETIMEDOUT : 0, "nobody goes to sleep");
        doze(bed->doze);
        uint64_t begin = bench_ns();
        atomic_store(&bed->word, i);
        bool asleep = wake(&bed->word);
        while (atomic_load(&bed->seen) != i)
            machine_pause();
        if (asleep)
            bed->us[bed->n++] = (double)(atomic_load(&bed->woken_at) - begin) / 1e3;
    }
    atomic_store(&bed->word, UINT32_MAX);
    wake(&bed->word);
}

static void measure_wake_up(const char *name, double doze, size_t most)
{
    struct bed bed = {.doze = doze, .most = most, .us = bench_room(most * sizeof(double))};

    machine_on_two_cpus(wake_from, sleep_in, &bed);
    report_quantile(name, "p50", bed.us, bed.n, 0.5);
    report_quantile(name, "p90", bed.us, bed.n, 0.9);
}

static void run_sleep(const struct bench_peer *peer)
{
    (void)peer;
    machine_run_court("limit: futex round trip of threads", false, false);
    bench_hogs_start(2);
    machine_run_court("limit: futex round trip of threads, busy CPUs,", false, false);
    bench_hogs_stop();
    if (!machine_two_cpus("waking a thread on another CPU"))
        return;
    measure_wake_up("limit: wake-up of a thread", 50e-6, bench_size(2000));
    measure_wake_up("limit: wake-up of a thread after 10 ms idle", 10e-3, bench_size(100));
}

/* ---- memory that processes share ---- */

enum { PIECE = 1 << 20, PIECES = 4, FRESH = 16 << 20, FRESH_OWN = 256 << 20 };

static char *share(size_t bytes)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);

    bench_check(fd < 0 || ftruncate(fd, (off_t)bytes) ? errno : 0, "memfd_create");
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    bench_check(memory == MAP_FAILED ? errno : 0, "mmap");
    close(fd);
    return memory;
}

static double gb_per_second(uint64_t begin, size_t bytes)
{
    return (double)bytes / (double)(bench_ns() - begin);
}

struct copying {
    char *from, *to; /* PIECES each; the first time warms them */
};

static double copy(void *data)
{
    struct copying *copying = data;
    uint64_t begin = bench_ns();

    for (size_t i = 0; i < PIECES; i++)
        memcpy(copying->to + i * PIECE, copying->from + i * PIECE, PIECE);
    return gb_per_second(begin, (size_t)PIECES * PIECE);
}

static double measure_copy(void)
{
    size_t bytes = (size_t)PIECES * PIECE;
    struct copying copying = {share(bytes), share(bytes)};

    memset(copying.from, 'x', bytes);
    double rate = machine_repeat(copy, &copying, 0.5);
    munmap(copying.from, bytes);
    munmap(copying.to, bytes);
    return rate;
}

static void copy_in_first(void *data)
{
    ((double *)data)[0] = measure_copy();
}

static void copy_in_second(void *data)
{
    ((double *)data)[1] = measure_copy();
}

/* GB/s of filling new memory, which is given back. */
static double fill(char *memory, size_t bytes)
{
    uint64_t begin = bench_ns();

    memset(memory, 'x', bytes);
    double rate = gb_per_second(begin, bytes);
    munmap(memory, bytes);
    return rate;
}

static double touch_shared(void *data)
{
    (void)data;
    return fill(share(FRESH), FRESH);
}

static double touch_own(void *data)
{
    char *memory =
        mmap(NULL, FRESH_OWN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)data;
    bench_check(memory == MAP_FAILED ? errno : 0, "mmap");
    return fill(memory, FRESH_OWN);
}

static void run_memory(const struct bench_peer *peer)
{
    double rate[2];

    (void)peer;
    bench_row("limit: copy of 1 MiB, one CPU", measure_copy(), "GB/s", "bytes=%d", PIECE);
    bench_row("limit: first touch of shared memory", machine_repeat(touch_shared, NULL, 0.5),
              "GB/s", "bytes=%d", FRESH);
    bench_row("limit: first touch of memory", machine_repeat(touch_own, NULL, 0.5), "GB/s",
              "bytes=%d", FRESH_OWN);
    if (!machine_two_cpus("copying on two CPUs"))
        return;
    machine_on_two_cpus(copy_in_first, copy_in_second, rate);
    bench_row("limit: copy of 1 MiB, two CPUs", rate[0] + rate[1], "GB/s", "bytes=%d", PIECE);
    bench_row("limit: echo of 1 MiB in two copies", (rate[0] + rate[1]) / 2, "GB/s", "bytes=%d",
              PIECE);
    bench_row("limit: echo of 1 MiB in three copies", (rate[0] + rate[1]) / 3, "GB/s", "bytes=%d",
              PIECE);
}

const struct bench_workload machine_system_workloads[] = {
    {"limit-sleep", run_sleep},
    {"limit-memory", run_memory},
    {NULL, NULL},
};
