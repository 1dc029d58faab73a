/* SPDX-License-Identifier: MIT */
#include "os/patience.h"

#include "os/clock.h"

#include <limits.h>

static _Thread_local struct {
    const soon__futex *owed; /* whose sleepers were left asleep, or NULL. Sync: thread-local */
    soon_ns woke;            /* when it last slept, or 0. Sync: thread-local */
    bool busy;               /* Sync: thread-local */
} self;

void soon__set_busy(bool busy)
{
    self.busy = busy;
}

void soon__wake_patient(const soon__futex *word)
{
    if (self.busy)
        self.owed = word;
    else
        soon__futex_wake(word, INT_MAX);
}

/* Only the last of several: to wake a thread that collects in order before that
 * would be too early. Others wake by themselves. */
void soon__wake_owed(void)
{
    if (!self.owed)
        return;
    soon__futex_wake(self.owed, INT_MAX);
    self.owed = NULL;
}

void soon__was_asleep(void)
{
    self.woke = soon__now();
}

bool soon__is_patient(void)
{
    return self.woke && soon__now() - self.woke < SOON__NAP_NS;
}

/* ---- who is at work ---- */

static _Atomic unsigned at_work; /* Sync: atomic */

void soon__work_begins(void)
{
    /* relaxed, here and below: it decides nothing but who uses the CPUs. */
    atomic_fetch_add_explicit(&at_work, 1, memory_order_relaxed);
}

void soon__work_ends(void)
{
    atomic_fetch_sub_explicit(&at_work, 1, memory_order_relaxed);
}

unsigned soon__at_work(void)
{
    return atomic_load_explicit(&at_work, memory_order_relaxed);
}

void soon__work_fork_child(void)
{
    atomic_store_explicit(&at_work, 0, memory_order_relaxed);
}
