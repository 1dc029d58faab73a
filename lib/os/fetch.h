/* SPDX-License-Identifier: MIT */
/*
 * Fetching memory ahead that another CPU has written, to write to it.
 */
#ifndef SOON_OS_FETCH_H
#define SOON_OS_FETCH_H

enum { SOON__FETCHED = 76 }; /* bytes of it that are fetched: two lines wherever it begins */

/* In assembly, because without a flag for newer CPUs the compiler fetches for
 * reading, and writing then takes as long as if nothing had been fetched.
 * Where the CPU does not know the instruction it does nothing. */
static inline void soon__fetch(const void *memory)
{
    const char *first = memory, *last = first + SOON__FETCHED;

#if defined __x86_64__
    __asm__ volatile("prefetchw %0" ::"m"(*first));
    __asm__ volatile("prefetchw %0" ::"m"(*last));
#else
    __builtin_prefetch(first, 1);
    __builtin_prefetch(last, 1);
#endif
}

#endif
