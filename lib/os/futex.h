/* SPDX-License-Identifier: MIT */
/*
 * Futexes: sleep until a word changes (futex(2)), within a process or, with
 * the word in memory that processes share, between them.
 *
 * Why not condition variables: glibc 2.36 can still lose a wake-up in them
 * (BZ 25847), and a futex costs its user one word.
 */
#ifndef SOON_OS_FUTEX_H
#define SOON_OS_FUTEX_H

#include <soon/base.h>
#include <stdatomic.h>

typedef _Atomic uint32_t soon__futex;

/* Sleeps while *word == expected, at most until deadline. Returns 0 when
 * woken or when the word differs, and sometimes for nothing; -ETIMEDOUT. */
int soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline);

/* Wakes up to n threads that sleep on word. The word's memory may be gone by
 * now: the kernel then finds no sleeper, or wakes a stranger for nothing,
 * which every waiter here allows for. */
void soon__futex_wake(const soon__futex *word, int n);

/* The same between processes. */
int soon__futex_wait_shared(const soon__futex *word, uint32_t expected, soon_ns deadline);
void soon__futex_wake_shared(const soon__futex *word, int n);

#endif
