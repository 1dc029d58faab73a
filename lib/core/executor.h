/* SPDX-License-Identifier: MIT */
/*
 * The library's part of every executor: references, admission, figures.
 *
 * Lifetimes. The user's references (refs) together are one hold, and each
 * task in flight (accepted and not yet counted as RELEASED) is one. The last
 * hold gone destroys. A backend with SOON_BACKEND_DRAINS spares the tasks'
 * holds: its workers have one each and keep it until soon_executor_drain()
 * says that none is in flight. There whoever completes a task from outside
 * takes a hold for that moment, which the task's being in flight makes safe.
 * With SOON_BACKEND_REMOTE every future is a hold from when it is made until it
 * is freed, so that the backend can be asked about it and given back what it
 * lent; a task in flight, whose future somebody holds, needs none besides.
 *
 * Closing. A submitter adds to tally.submitted, then reads closed; who closes
 * sets closed, then sums the tallies. All four are seq_cst, so at least one
 * sees the other: either the submit is refused, or the drain waits for it.
 */
#ifndef SOON_CORE_EXECUTOR_H
#define SOON_CORE_EXECUTOR_H

#include <soon/backend.h>

#include "core/future.h"
#include "core/tally.h"
#include "os/wait_group.h"

enum soon__closed { SOON__OPEN, SOON__SHUT, SOON__BROKEN };

struct soon_executor_core {
    /* Read at every submit and completion, and seldom written. */
    unsigned workers;           /* Sync: const after init */
    int overflow;               /* Sync: const after init */
    size_t max_pending;         /* Sync: const after init; 0: unbounded */
    uint32_t birthplace;        /* Sync: const after init: the fork generation */
    uint8_t future_flags;       /* of all its futures. Sync: const after init */
    bool plain;                 /* see soon__init_plain(). Sync: const after init */
    bool forks;                 /* see fork_off(). Sync: const after init */
    bool drains;                /* SOON_BACKEND_DRAINS. Sync: const after init */
    atomic_bool cancelling;     /* a shutdown cancels. Sync: atomic, set once */
    atomic_bool uses_timer;     /* Sync: atomic, set once */
    _Atomic int closed;         /* Sync: atomic, enum soon__closed, only goes up */
    char *_Atomic why;          /* it is broken, or NULL. Sync: atomic, set once */
    _Atomic uint32_t want_room; /* Sync: atomic: submitters that sleep on room */

    _Alignas(64) _Atomic uint32_t refs; /* Sync: atomic: the user's */
    _Atomic size_t holds;               /* Sync: atomic */
    _Atomic size_t pending;             /* Sync: atomic; kept only if max_pending is set */
    struct soon__wait_group cancellers; /* in a close that cancels. Sync: its own */
    soon__futex room;                   /* Sync: atomic: changes when there may be room */
    soon__futex drained;                /* Sync: atomic: changes when a drain should look again */
    struct soon__tallies tallies;
};

/* A reference unless the last one is gone: 0 or -ESHUTDOWN. For tasks, which
 * may outlive it. */
int soon__executor_try_ref(soon_executor *ex);

void soon__executor_hold_many(soon_executor *ex, size_t n);

/* Is each task in flight a hold? */
static inline bool soon__tasks_hold(const soon_executor *ex)
{
    return !(ex->ops->flags & (SOON_BACKEND_DRAINS | SOON_BACKEND_REMOTE));
}

/* A future that counted towards max_pending does no longer. */
void soon__room_made(struct soon_executor_core *core);

/* A future of ex is done for everybody to see: the last use of ex by who
 * completed it, unless it has a hold. */
void soon__release_one(soon_executor *ex);

/* Takes back a tally of n submitted; ex as above. */
void soon__unsubmit(soon_executor *ex, size_t n);

/* Is ex one that a call may use? 0, -EINVAL, -ENOTRECOVERABLE (inherited). */
int soon__executor_check(const soon_executor *ex);

/* Options of a later version that this one does not know must not be set. */
static inline bool soon__reserved_unused(const uint64_t *reserved, size_t n)
{
    uint64_t used = 0;

    for (size_t i = 0; i < n; i++)
        used |= reserved[i];
    return used == 0;
}

/* ---- submit.c ---- */

/* What a submit says of ex: 0, -ESHUTDOWN, -ENOTRECOVERABLE (broken). */
int soon__closed_error(struct soon_executor_core *core);

enum {
    SOON__FORCE = 1,    /* past max_pending */
    SOON__IS_BATCH = 2, /* the argument is a chunk of a map */
    SOON__IS_CALLBACK = 4,
};

/* soon_submit_task() with flags; waits for room at most until deadline, then
 * -ETIMEDOUT. */
int soon__submit(soon_executor *ex, const soon_task *task, unsigned flags, soon_ns deadline,
                 soon_future **out);

/* In two steps, for a task that must not fail for want of memory later. */
int soon__prepare(soon_executor *ex, const soon_task *task, unsigned flags, soon_future **out);
int soon__submit_prepared(soon_executor *ex, soon_future *f);

#endif
