/* SPDX-License-Identifier: MIT */
/*
 * Threads.
 */
#ifndef SOON_OS_THREAD_H
#define SOON_OS_THREAD_H

#include <pthread.h>
#include <soon/base.h>

/* Starts a joinable thread with every signal blocked: signals are the host's.
 * stack_size 0: the system's default. 0, or a negative errno. */
int soon__thread_start(pthread_t *thread, size_t stack_size, void *(*run)(void *), void *arg);

/* Whether soon__thread_start() would accept the size; rounds it up. */
int soon__thread_stack_size(size_t *stack_size);

/* Names the calling thread BASE-NUMBER, cut in BASE to the 15 bytes the
 * kernel keeps. */
void soon__thread_name(const char *base, unsigned number);

/* The lowest address of the calling thread's stack, 0 if unknown. */
uintptr_t soon__thread_stack_low(void);

#endif
