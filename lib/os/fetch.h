/* SPDX-License-Identifier: MIT */
/*
 * Fetching memory ahead that another CPU has written, to write to it.
 */
#ifndef SOON_OS_FETCH_H
#define SOON_OS_FETCH_H

/* The cache line at an address, which may be any. In assembly, because without a flag
 * for newer CPUs the compiler fetches for reading, and writing then takes as long as if
 * nothing had been fetched. Where the CPU does not know the instruction it does nothing. */
static inline void soon__fetch(const void *at)
{
#if defined __x86_64__
    __asm__ volatile("prefetchw %0" ::"m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1);
#endif
}

#endif
