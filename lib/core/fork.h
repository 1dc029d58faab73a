/* SPDX-License-Identifier: MIT */
/*
 * fork() in the host.
 *
 * Every fork starts a new generation in the child. An executor and the
 * futures it was given remember theirs, so that in a child every call on an
 * inherited one can answer at once instead of waiting for threads that stayed
 * in the parent. The library's process-wide locks are taken around the fork:
 * the child finds them free, and what they guard whole.
 */
#ifndef SOON_CORE_FORK_H
#define SOON_CORE_FORK_H

#include <soon/base.h>
#include <stdatomic.h>

extern _Atomic uint32_t soon__fork_generation; /* Sync: atomic; changes only in a new child */

/* From 1 to 65535; 0 is nobody's. */
static inline uint32_t soon__generation(void)
{
    /* relaxed: fork() itself orders it before all that the child does. */
    return atomic_load_explicit(&soon__fork_generation, memory_order_relaxed);
}

/* Could the handlers be installed? 0 or -ENOMEM. */
int soon__fork_guard(void);

#endif
