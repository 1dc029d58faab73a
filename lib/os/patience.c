/* SPDX-License-Identifier: MIT */
#include "os/patience.h"

#include <limits.h>

static _Thread_local struct {
    unsigned owed; /* a bit for each bed whose sleepers were left asleep. Sync: thread-local */
    soon_ns woke;  /* when it last slept, or 0. Sync: thread-local */
    soon_ns since; /* from then on it has done little but nap. Sync: thread-local */
    soon_ns nap;   /* the length of its last nap. Sync: thread-local */
    bool busy;     /* Sync: thread-local */
} self;

bool soon__set_busy(bool busy)
{
    bool before = self.busy;

    self.busy = busy;
    return before;
}

/* ---- beds ---- */

enum { BEDS = 16 };

static struct {
    _Alignas(64) soon__futex roused; /* Sync: atomic: changes when who sleeps here is to wake */
} beds[BEDS];

static unsigned number_of(const void *there)
{
    uint64_t hash = (uint64_t)(uintptr_t)there * 0x9E3779B97F4A7C15u;

    return hash >> 32 & (BEDS - 1);
}

static soon__futex *bed_of(const void *there)
{
    return &beds[number_of(there)].roused;
}

static void rouse(soon__futex *bed)
{
    atomic_fetch_add(bed, 1);
    soon__futex_wake(bed, INT_MAX);
}

void soon__rouse(const void *there)
{
    rouse(bed_of(there));
}

uint32_t soon__nap_ticket(const void *there)
{
    return atomic_load(bed_of(there));
}

void soon__nap(const void *there, uint32_t ticket, soon_ns deadline)
{
    soon__futex_wait(bed_of(there), ticket, deadline);
}

void soon__wake_patient(const void *there)
{
    if (self.busy)
        self.owed |= 1u << number_of(there);
    else
        rouse(bed_of(there));
}

void soon__wake_owed(void)
{
    for (; self.owed; self.owed &= self.owed - 1)
        rouse(&beds[__builtin_ctz(self.owed)].roused);
}

/* ---- patience ---- */

void soon__was_asleep(soon_ns now)
{
    if (now - self.woke > 2 * SOON__NAP_MAX_NS) /* it has been about something else */
        self.since = now;
    self.woke = now;
}

/* It may have been awake for long just for want of a CPU: so that halves what
 * has been gained, and does not take it all. */
soon_ns soon__nap_length(soon_ns now)
{
    enum { SHARE = 16 };

    if (now - self.woke > self.nap / SHARE)
        self.since += (self.woke - self.since) / 2;
    soon_ns nap = (self.woke - self.since) / SHARE;
    self.nap = nap < SOON__NAP_NS ? SOON__NAP_NS : nap > SOON__NAP_MAX_NS ? SOON__NAP_MAX_NS : nap;
    return self.nap;
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
