/* SPDX-License-Identifier: MIT */
/*
 * The address sanitizer of gcc 12 and clang 14 does not look after its own
 * locks when a program with threads forks: where another thread was inside
 * malloc() at that moment, the child sleeps in its first malloc() for ever.
 * (Later ones do what is done here.) Its leak checker has the functions that
 * are needed; they can be reached where the sanitizer is linked statically, as
 * clang does by itself and gcc with -static-libasan, and are NULL elsewhere.
 */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)

#include <pthread.h>

void allocator_lock(void) __asm__("_ZN6__lsan13LockAllocatorEv") __attribute__((__weak__));
void allocator_unlock(void) __asm__("_ZN6__lsan15UnlockAllocatorEv") __attribute__((__weak__));
void depot_lock(void) __asm__("_ZN11__sanitizer17StackDepotLockAllEv") __attribute__((__weak__));
void depot_unlock(void) __asm__("_ZN11__sanitizer19StackDepotUnlockAllEv")
    __attribute__((__weak__));

static void before_fork(void)
{
    allocator_lock();
    depot_lock();
}

static void after_fork(void)
{
    depot_unlock();
    allocator_unlock();
}

/* The first to be registered is the last to be called before a fork: others may
 * allocate. */
__attribute__((constructor(101))) static void take_care(void)
{
    if (allocator_lock && allocator_unlock && depot_lock && depot_unlock)
        pthread_atfork(before_fork, after_fork, after_fork);
}

#else

typedef int no_address_sanitizer; /* ISO C wants a declaration in every file */

#endif
