/* SPDX-License-Identifier: MIT */
/*
 * Threads.
 */
#ifndef SOON_OS_THREAD_H
#define SOON_OS_THREAD_H

#include <pthread.h>
#include <sched.h>
#include <soon/base.h>

/* Starts a joinable thread with every signal blocked: signals are the host's.
 * stack_size 0: the system's default. 0, or a negative errno. */
int soon__thread_start(pthread_t *thread, size_t stack_size, void *(*run)(void *), void *arg);

/* Whether soon__thread_start() would accept the size; rounds it up. */
int soon__thread_stack_size(size_t *stack_size);

/* Names the calling thread BASE-NUMBER, cut in BASE to the 15 bytes the
 * kernel keeps. */
void soon__thread_name(const char *base, unsigned number);

/* The CPU that the calling thread runs on now, or -1. */
static inline int soon__thread_cpu(void)
{
    return sched_getcpu();
}

/* About where the calling function's stack ends. Not a local's address, which a
 * sanitizer may keep on a stack of its own, nor, where it can be helped, that of its
 * frame, which it would need for this alone. */
static inline __attribute__((always_inline)) uintptr_t soon__stack_pointer(void)
{
#if defined __x86_64__
    uintptr_t here;

    __asm__("mov %%rsp, %0" : "=r"(here));
    return here;
#else
    return (uintptr_t)__builtin_frame_address(0);
#endif
}

/* The lowest address of the calling thread's stack, 0 if unknown. */
uintptr_t soon__thread_stack_low(void);

#endif
