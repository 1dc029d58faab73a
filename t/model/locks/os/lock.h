/* SPDX-License-Identifier: MIT */
/*
 * Stands in for lib/os/lock.h: a lock of the checker's, which costs a model
 * fewer steps than one made of atomics, and which knows a deadlock.
 */
#ifndef SOON_OS_LOCK_H
#define SOON_OS_LOCK_H

#include "os/clock.h"
#include "os/spin.h"

#include "t/model/model.h"

typedef struct soon__lock {
    soon__futex word; /* never used: the lock goes by its address */
} soon__lock;

static inline void soon__lock_acquire(soon__lock *lock)
{
    model_lock(lock);
}

static inline bool soon__lock_try(soon__lock *lock)
{
    return model_try_lock(lock);
}

static inline void soon__lock_release(soon__lock *lock)
{
    model_unlock(lock);
}

/* Nothing forks here. */
static inline void soon__lock_reset(soon__lock *lock)
{
    (void)lock;
}

#endif
