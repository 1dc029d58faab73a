/* SPDX-License-Identifier: MIT */
/*
 * Linked into every program of a build with sanitizers.
 *
 * The address sanitizer of gcc 12 and clang 14 does not look after its own
 * locks when a program with threads forks: where another thread was inside
 * malloc() at that moment, the child waits in its first malloc() for ever.
 * (Later versions do what is done here.) Its leak checker has the functions that
 * are needed. They can be reached where the runtime is in the program itself,
 * as clang has it, and gcc with -static-libasan; elsewhere they are NULL.
 */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNTIME(symbol) __asm__(symbol) __attribute__((__weak__))

void threads_lock(void) RUNTIME("_ZN6__lsan18LockThreadRegistryEv");
void threads_unlock(void) RUNTIME("_ZN6__lsan20UnlockThreadRegistryEv");
void allocator_lock(void) RUNTIME("_ZN6__lsan13LockAllocatorEv");
void allocator_unlock(void) RUNTIME("_ZN6__lsan15UnlockAllocatorEv");
void depot_lock(void) RUNTIME("_ZN11__sanitizer17StackDepotLockAllEv");
void depot_unlock(void) RUNTIME("_ZN11__sanitizer19StackDepotUnlockAllEv");

static void before_fork(void)
{
    threads_lock();
    allocator_lock();
    depot_lock();
}

static void after_fork(void)
{
    depot_unlock();
    allocator_unlock();
    threads_unlock();
}

/* What is registered first is called last before a fork: whoever holds a lock
 * that an earlier one waits for may still allocate. */
static void begin(void)
{
    if (!threads_lock || !allocator_lock || !depot_lock)
        return;
    if (pthread_atfork(before_fork, after_fork, after_fork) != 0) {
        fputs("sanitizer: pthread_atfork() fails\n", stderr);
        abort();
    }
}

/* Before the constructors of all libraries, which register their own. */
__attribute__((__section__(".preinit_array"), __used__)) static void (*const entry)(void) = begin;

#else

typedef int there_is_something;

#endif
