/* SPDX-License-Identifier: MIT */
/*
 * What the stress programs share: a clock that ends them, a watchdog that ends
 * them when they hang, a seeded generator, and a check that stops at once.
 *
 * A program runs rounds while stress_more() says so: about two seconds, times
 * SOON_STRESS from the environment. The seed is printed and can be given back
 * through SOON_STRESS_SEED. Any violation prints where and exits with 1.
 */
#ifndef STRESS_H
#define STRESS_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <soon.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined __SANITIZE_THREAD__ || __has_feature(thread_sanitizer)
#define STRESS_THREAD_SANITIZER 1
#else
#define STRESS_THREAD_SANITIZER 0
#endif
#if STRESS_THREAD_SANITIZER || defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)
#define STRESS_SANITIZED 1
#else
#define STRESS_SANITIZED 0
#endif

/* Ends the program with 1 unless the condition holds. */
#define REQUIRE(condition)                                    \
    do {                                                      \
        if (!(condition))                                     \
            stress_violation(__FILE__, __LINE__, #condition); \
    } while (0)

/* The same for two integers that must be equal; says both. */
#define REQUIRE_EQ(got, want)                                         \
    do {                                                              \
        long long got_ = (long long)(got), want_ = (long long)(want); \
        if (got_ != want_)                                            \
            stress_mismatch(__FILE__, __LINE__, #got, got_, want_);   \
    } while (0)

_Noreturn void stress_violation(const char *file, int line, const char *what);
_Noreturn void stress_mismatch(const char *file, int line, const char *what, long long got,
                               long long want);

/* Starts the clock and the watchdog, and prints the seed. */
void stress_begin(const char *name);

/* True until the time is over; the first call always gives true. */
bool stress_more(void);

/* Prints the closing line, and returns main's exit code. */
int stress_end(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* n, times SOON_STRESS, and divided by 20 where a sanitizer slows everything. */
size_t stress_count(size_t n);

/* The same of processes to use up, divided by 4: their births and deaths are the
 * kernel's work, which a sanitizer does not slow down as much. */
size_t stress_processes(size_t n);

/* A xorshift generator; each thread has one of its own. */
typedef struct stress_rng {
    uint64_t state;
} stress_rng;

/* A generator for stream number n of this run. */
stress_rng stress_rng_new(uint64_t n);

/* A number from 0 to bound - 1. */
uint32_t stress_random(stress_rng *rng, uint32_t bound);

void stress_spawn(pthread_t *thread, void *(*fn)(void *), void *arg);
void stress_join(pthread_t thread);

/* Burns about that much time without giving the CPU away. */
void stress_spin(uint64_t ns);
uint64_t stress_now(void);

/* Makes a pool of the given size, everything else default. */
soon_executor *stress_pool(unsigned workers);

/* Shuts ex down, waits for all of it, and drops the reference. */
void stress_pool_end(soon_executor *ex);

/* With nothing in flight: submitted = finished + failed + cancelled + timed_out. */
void stress_require_balance(soon_executor *ex, uint64_t submitted);

#endif /* STRESS_H */
