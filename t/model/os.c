/* SPDX-License-Identifier: MIT */
/*
 * What models have in the place of lib/os: no time passes, nobody spins for
 * longer than one look, who is patient, who is busy, and which CPU one runs on, is
 * anybody's guess, and sleeping is the checker's.
 */
#include "model.h"

#include "os/barrier.h"
#include "os/clock.h"
#include "os/patience.h"
#include "os/spin.h"

#include <errno.h>
#include <sched.h>

unsigned model_swift_after;

soon_ns soon__now(void)
{
    return 1;
}

soon_ns soon__deadline(soon_ns timeout)
{
    return timeout < 0 ? SOON__NEVER : soon__now() + timeout;
}

soon_ns soon__remaining(soon_ns deadline)
{
    return deadline == SOON__NEVER ? SOON_FOREVER : deadline - soon__now();
}

void soon__spin_prepare(void)
{
}

bool soon__spin(soon__spinner *place, const soon__futex *word, uint32_t mask, soon_ns deadline)
{
    (void)place, (void)deadline;
    return atomic_load_explicit(word, memory_order_acquire) & mask;
}

/* Instead of sched_getcpu(). */
int model_cpu(void)
{
    return (int)model_choose(2);
}

void soon__work_begins(void)
{
}

void soon__work_ends(void)
{
}

void soon__work_fork_child(void)
{
}

unsigned soon__at_work(void)
{
    return 0;
}

bool soon__set_busy(bool busy)
{
    (void)busy;
    return false;
}

bool soon__is_patient(void)
{
    return model_choose(2);
}

void soon__was_asleep(soon_ns now)
{
    (void)now;
}

soon_ns soon__nap_length(soon_ns now)
{
    (void)now;
    return SOON__NAP_NS;
}

/* A nap is over when its time is up; it may be at once. */
uint32_t soon__nap_ticket(const void *there)
{
    (void)there;
    return 0;
}

void soon__nap(const void *there, uint32_t ticket, soon_ns deadline)
{
    (void)there, (void)ticket, (void)deadline;
}

void soon__rouse(const void *there)
{
    (void)there;
}

void soon__wake_patient(const void *there)
{
    (void)there;
}

void soon__wake_owed(void)
{
}

bool soon__has_barrier_everywhere(void)
{
    return true;
}

void soon__barrier_everywhere(void)
{
    if (model_call("soon__barrier_everywhere", "the barrier"))
        model_barrier_everywhere();
}

int soon__futex_wait(const soon__futex *word, uint32_t expected, soon_ns deadline)
{
    return model_sleep(word, expected, deadline != SOON__NEVER) ? 0 : -ETIMEDOUT;
}

void soon__futex_wake(const soon__futex *word, int n)
{
    model_wake(word, n);
}

int sched_yield(void)
{
    model_yield();
    return 0;
}
