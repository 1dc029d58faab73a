/* SPDX-License-Identifier: MIT */
/*
 * What the machine allows, measured without libsoon: rows that stand beside
 * libsoon's and say what no pool can be faster than. machine.c has what CPUs do
 * to cache lines, machine_fork.c what a fork takes, machine_system.c what needs the
 * kernel, or much memory.
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include "harness.h"

enum { MACHINE_APART = 128 }; /* processors fetch cache lines in pairs */

extern const struct bench_workload machine_workloads[];
extern const struct bench_workload machine_fork_workloads[];
extern const struct bench_workload machine_system_workloads[];

/* once(data), which gives a figure, again and again for a while: the q-quantile
 * of what it gave, 0 for the least. */
double machine_repeat(double (*once)(void *data), void *data, double q);

/* Whether this process may use two CPUs. If not it says that this is not
 * measured: between threads that share a CPU there is nothing to measure. */
bool machine_two_cpus(const char *what);

/* Both at once, each in a thread on a CPU of its own, until both have returned.
 * machine_two_cpus() must be true. */
void machine_on_two_cpus(void (*first)(void *data), void (*second)(void *data), void *data);

/* How long a cache line takes from one CPU to another just now, in ns; takes about a
 * millisecond. machine_two_cpus() must be true. */
double machine_distance(void);

/* For bench/run, until stdin ends: to each '?' there it answers 'n' if the CPUs are near each
 * other now, else 'a'; to each 'l' the least distance that it has seen, in a line. */
void machine_meter(void);

/* Rows "NAME p50" and "NAME p99" of n times in us. */
void machine_report_trips(const char *name, double *us, size_t n);

/* Passes a word of memory back and forth between two threads or processes, which
 * sleep on a futex or spin until it is their turn: rows "NAME p50" and "p99". */
void machine_run_court(const char *name, bool processes, bool spin);

/* A moment that takes no memory bandwidth, in a loop that waits for another CPU. */
static inline void machine_pause(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

#endif /* BENCH_MACHINE_H */
