/* SPDX-License-Identifier: MIT */
/*
 * Two words of 32 bits beside each other, each atomic, that can be changed at once
 * where the CPU has nothing against accesses of two sizes to the same memory: x86.
 * (As Linux does with a lock and the count beside it: lib/lockref.c.)
 *
 * Thread sanitizer takes what lies at another address for another object, and the
 * models have no accesses of two sizes: there the words change one after the other,
 * as everywhere else.
 */
#ifndef SOON_OS_PAIR_H
#define SOON_OS_PAIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#ifndef SOON__PAIRED
#if defined __x86_64__ && !defined __SANITIZE_THREAD__ && !__has_feature(thread_sanitizer)
#define SOON__PAIRED 1
#else
#define SOON__PAIRED 0
#endif
#endif

/* The first word in the lower half. Sync: atomic */
typedef _Atomic uint64_t soon__pair;

#endif
