/* SPDX-License-Identifier: MIT */
/*
 * The harness of the benchmark: what is measured and how is written here once,
 * and every program in C or C++ only says how its library does each thing.
 *
 *     static const struct bench_peer peer = {.program = "oneTBB", .open = ..., .flood = ...};
 *     int main(int argc, char **argv) { return bench_main(argc, argv, &peer); }
 *
 *     PROGRAM [--quick] [WORKLOAD...]    the workloads named, or all it has
 *     PROGRAM --list                     their names, one a line
 *
 * Each measurement is one line of JSON on stdout: program, workload (a row of
 * the table; one workload may print several), parameters, value, unit. A
 * figure that can't be had is no figure: on any error the program ends.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BENCH_WORKERS = 2 };

/* How a library does it. What it cannot do is NULL, and its row is left out.
 * pool is what open() made. A task with a result takes an int and gives back
 * the next one, and whoever collects the results checks them. */
struct bench_peer {
    const char *program;
    bool fixed_size; /* one size of pool in a process */
    size_t most;     /* tasks that it can bear to have pending at once; 0: any number */

    void *(*open)(unsigned workers);
    void (*close)(void *pool);

    /* Submits n tasks with results, then collects each. From several threads at once. */
    void (*flood)(void *pool, size_t n);

    /* Submits n tasks that call bench_tick() and that nobody waits for; with
     * the call for many tasks at once, if there is one. */
    void (*detached)(void *pool, size_t n);
    void (*many)(void *pool, size_t n);
    void (*many_results)(void *pool, size_t n);

    /* fib(n) by naive recursion, in the pool: each call for n >= 2 submits
     * fib(n - 1), computes fib(n - 2) itself, or with both submits that too,
     * and waits for what it has submitted. */
    long (*fib)(void *pool, int n, bool both);

    /* Submits one task and waits for it. It stores bench_ns() in *started if
     * that is not NULL. */
    void (*trip)(void *pool, uint64_t *started);

    /* Submits n tasks with results, calls bench_submitted(), and collects the
     * results in the order in which the tasks end. */
    void (*as_completed)(void *pool, size_t n);

    /* n tasks of bench_work(iterations) each, all waited for. */
    void (*work)(void *pool, size_t n, uint64_t iterations);

    /* Submits n tasks whose completion calls something in this thread's event
     * loop; runs the loop until all n were called. */
    void (*callbacks)(void *pool, size_t n);

    /* BENCH_WORKERS tasks that call bench_gate_pass(), and once they are in
     * there n with results that stay pending. cancel() cancels these; drop()
     * collects them, or after cancel() puts them away. */
    void (*hold)(void *pool, size_t n);
    void (*cancel)(void *pool, size_t n);
    void (*drop)(void *pool, size_t n, bool cancelled);

    /* Lists of further ones, in each the last one's name NULL. */
    const struct bench_workload *more[4];
};

struct bench_workload {
    const char *name;
    void (*run)(const struct bench_peer *peer);
};

int bench_main(int argc, char **argv, const struct bench_peer *peer);

/* ---- for what a peer does ---- */

/* Something failed: says what and ends the program, unless it is 0. */
void bench_check(long error, const char *what);

/* Room of this thread's own, kept from call to call, not initialised. */
void *bench_room(size_t bytes);

/* Counts a task that has run. Each thread counts in a place of its own, so
 * that the counting costs next to nothing. */
static inline void bench_tick(void);

/* Lets the caller wait until the gate is open. */
void bench_gate_pass(void);
/* Waits until n tasks are in bench_gate_pass(). */
void bench_gate_await(unsigned n);

/* All tasks of an as_completed are on their way. */
void bench_submitted(void);

/* Keeps a CPU busy for that many iterations. */
void bench_work(uint64_t iterations);

uint64_t bench_ns(void);

/* ---- for workloads ---- */

extern bool bench_quick;

/* full, or in a quick run a hundredth of it, which is at least 1; and no more
 * tasks than the peer can bear. */
size_t bench_size(size_t full);
/* How long to go on with a measurement that can be repeated at will. */
double bench_seconds(void);
double bench_now(void);

/* The q-quantile of values[0..n), which it sorts. */
double bench_quantile(double *values, size_t n, double q);

/* Bytes of memory that this process has resident. */
double bench_resident(void);

void bench_gate_close(void);
void bench_gate_open(void);

/* Runs fn(data) in n threads from one moment on: seconds from the first of
 * them to begin to the last to end. */
double bench_in_threads(unsigned n, void (*fn)(void *data), void *data);

/* Processes that do nothing but use a CPU each, as long as this one lives. */
void bench_hogs_start(unsigned n);
void bench_hogs_stop(void);

/* CPU time in us of all threads but this one, and the times that one of them
 * went to sleep or was put aside, while this one sleeps. */
void bench_idle(double seconds, double *cpu_us, double *switches);

/* Prints a measurement. parameters: "name=number name=number ..." */
void bench_row(const char *workload, double value, const char *unit, const char *parameters, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- ticks ---- */

struct bench_ticker {
    uint64_t n;                /* Sync: atomic; written by its thread only */
    struct bench_ticker *next; /* Sync: const after init */
};

extern __thread struct bench_ticker *bench_ticker;
void bench_ticker_new(void);
/* How many ticks there were. */
uint64_t bench_ticks(void);

static inline void bench_tick(void)
{
    if (!bench_ticker)
        bench_ticker_new();
    /* relaxed: nothing else is published by it. */
    __atomic_store_n(&bench_ticker->n, bench_ticker->n + 1, __ATOMIC_RELAXED);
}

#ifdef __cplusplus
}
#endif

#endif /* BENCH_HARNESS_H */
