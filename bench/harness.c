/* SPDX-License-Identifier: MIT */
/*
 * What programs of the benchmark share: time, memory, threads, the gate, and
 * the lines they print.
 */
#include "workloads.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

bool bench_quick;
const char *bench_program;
size_t bench_most;

void bench_check(long error, const char *what)
{
    if (error == 0)
        return;
    fprintf(stderr, "bench: %s: %s: %s (%ld)\n", bench_program, what,
            strerror((int)(error < 0 ? -error : error)), error);
    exit(EXIT_FAILURE);
}

/* ---- time and sizes ---- */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double bench_now(void)
{
    return (double)bench_ns() / 1e9;
}

double bench_seconds(void)
{
    return bench_quick ? 0.01 : 0.25;
}

size_t bench_size(size_t full)
{
    size_t size = !bench_quick ? full : full < 100 ? 1 : full / 100;

    return bench_most && size > bench_most ? bench_most : size;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof *values, compare);
    return values[(size_t)(q * (double)(n - 1) + 0.5)];
}

void bench_work(uint64_t iterations)
{
    uint64_t x = 88172645463325252u;

    /* Each step needs the one before, and the compiler must not see through it. */
    for (uint64_t i = 0; i < iterations; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        __asm__ volatile("" : "+r"(x));
    }
}

/* ---- memory ---- */

double bench_resident(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    bench_check(!f || fscanf(f, "%lu %lu", &size, &resident) != 2, "/proc/self/statm");
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static __thread struct {
    void *bytes;
    size_t size;
} room;

void *bench_room(size_t bytes)
{
    if (room.size < bytes) {
        free(room.bytes);
        room.bytes = malloc(bytes);
        bench_check(!room.bytes, "no memory");
        /* Resident from here on, so that it is in no measurement. */
        memset(room.bytes, 1, bytes);
        room.size = bytes;
    }
    return room.bytes;
}

/* ---- ticks ---- */

__thread struct bench_ticker *bench_ticker;

static struct bench_ticker *tickers; /* Sync: tickers_lock */
static pthread_mutex_t tickers_lock = PTHREAD_MUTEX_INITIALIZER;

void bench_ticker_new(void)
{
    enum { APART = 128 }; /* processors fetch cache lines in pairs */
    struct bench_ticker *ticker = aligned_alloc(APART, APART);

    bench_check(!ticker, "no memory");
    pthread_mutex_lock(&tickers_lock);
    *ticker = (struct bench_ticker){.next = tickers};
    tickers = ticker;
    pthread_mutex_unlock(&tickers_lock);
    bench_ticker = ticker;
}

uint64_t bench_ticks(void)
{
    uint64_t n = 0;

    pthread_mutex_lock(&tickers_lock);
    for (struct bench_ticker *ticker = tickers; ticker; ticker = ticker->next)
        n += __atomic_load_n(&ticker->n, __ATOMIC_RELAXED); /* relaxed: see bench_tick() */
    pthread_mutex_unlock(&tickers_lock);
    return n;
}

/* ---- the gate ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;       /* Sync: lock */
    unsigned inside; /* Sync: lock */
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

void bench_gate_pass(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.inside++;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.inside--;
    pthread_mutex_unlock(&gate.lock);
}

void bench_gate_await(unsigned n)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.inside < n)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&gate.lock);
    gate.open = open;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

void bench_gate_open(void)
{
    set_gate(true);
}

void bench_gate_close(void)
{
    set_gate(false);
}

/* ---- threads and processes ---- */

struct starter {
    pthread_barrier_t start;
    void (*fn)(void *data);
    void *data;
};

struct runner {
    struct starter *starter;
    pthread_t thread;
    double begin, end;
};

static void *start_thread(void *data)
{
    struct runner *runner = data;

    pthread_barrier_wait(&runner->starter->start);
    runner->begin = bench_now();
    runner->starter->fn(runner->starter->data);
    runner->end = bench_now();
    free(room.bytes);
    return NULL;
}

double bench_in_threads(unsigned n, void (*fn)(void *data), void *data)
{
    struct starter starter = {.fn = fn, .data = data};
    struct runner runner[64];
    double begin = INFINITY, end = 0;

    bench_check(n > sizeof runner / sizeof *runner ? EINVAL : 0, "too many threads");
    bench_check(pthread_barrier_init(&starter.start, NULL, n), "pthread_barrier_init");
    for (unsigned i = 0; i < n; i++) {
        runner[i].starter = &starter;
        bench_check(pthread_create(&runner[i].thread, NULL, start_thread, &runner[i]),
                    "pthread_create");
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(runner[i].thread, NULL);
        begin = fmin(begin, runner[i].begin);
        end = fmax(end, runner[i].end);
    }
    pthread_barrier_destroy(&starter.start);
    return end - begin;
}

static pid_t hogs[64];
static unsigned n_hogs;

void bench_hogs_start(unsigned n)
{
    pid_t parent = getpid();

    for (; n; n--) {
        pid_t pid = fork();
        bench_check(pid < 0 ? errno : 0, "fork");
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            while (getppid() == parent)
                bench_work(1000000);
            _exit(0);
        }
        hogs[n_hogs++] = pid;
    }
}

void bench_hogs_stop(void)
{
    while (n_hogs) {
        kill(hogs[--n_hogs], SIGKILL);
        waitpid(hogs[n_hogs], NULL, 0);
    }
}

/* ---- idleness ---- */

static double switches_of(const char *task)
{
    char path[300], line[200];
    unsigned long n, sum = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    f = fopen(path, "r");
    if (!f)
        return 0; /* it has just ended */
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %lu", &n) == 1)
            sum += n;
    fclose(f);
    return (double)sum;
}

/* Of all threads but this one, which must be the first. */
static double switches_of_others(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    double sum = 0;

    bench_check(!dir, "/proc/self/task");
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != getpid())
            sum += switches_of(entry->d_name);
    closedir(dir);
    return sum;
}

/* CPU time of the other threads. The two clocks are read one after the other, which now
 * and then takes microseconds: of some readings the one that took least counts. */
static double others_us(void)
{
    double others = 0, least = INFINITY;

    for (int i = 0; i < 10; i++) {
        double before = (double)read_clock(CLOCK_THREAD_CPUTIME_ID);
        double all = (double)read_clock(CLOCK_PROCESS_CPUTIME_ID);
        double after = (double)read_clock(CLOCK_THREAD_CPUTIME_ID);
        if (after - before < least) {
            least = after - before;
            others = all - (before + after) / 2;
        }
    }
    return others / 1e3;
}

void bench_idle(double seconds, double *cpu_us, double *switches)
{
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(fmod(seconds, 1) * 1e9)};
    double cpu = others_us(), before = switches_of_others();

    nanosleep(&t, NULL);
    *switches = switches_of_others() - before;
    /* Less than a microsecond is the time between the readings of two clocks. */
    *cpu_us = fmax(floor(others_us() - cpu), 0);
}

/* ---- a line for each measurement ---- */

/* "a=1 b=2" as "a": 1, "b": 2. */
static void print_parameters(const char *parameters)
{
    for (const char *p = parameters; *p;) {
        size_t name = strcspn(p, "="), end = strcspn(p, " ");
        bench_check(name > end ? EINVAL : 0, parameters);
        printf("%s\"%.*s\": %.*s", p == parameters ? "" : ", ", (int)name, p, (int)(end - name - 1),
               p + name + 1);
        p += end;
        p += strspn(p, " ");
    }
}

void bench_row(const char *workload, double value, const char *unit, const char *parameters, ...)
{
    char text[500];
    va_list ap;

    va_start(ap, parameters);
    int len = vsnprintf(text, sizeof text, parameters, ap);
    va_end(ap);
    bench_check(len < 0 || (size_t)len >= sizeof text || !isfinite(value), workload);
    printf("{\"program\": \"%s\", \"workload\": \"%s\", \"parameters\": {", bench_program,
           workload);
    print_parameters(text);
    printf("}, \"value\": %.6g, \"unit\": \"%s\"}\n", value, unit);
    fflush(stdout);
}
