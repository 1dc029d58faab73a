/* SPDX-License-Identifier: MIT */
/*
 * Tasks that sleep in a wait, and the search for cycles among them.
 *
 * A cycle of tasks that wait for each other can close only when one of them
 * goes to sleep (or, waiting for a first exception, looks again after one of
 * its futures ended without). So each one that is about to sleep enters a
 * table, under one lock, and looks from itself along "waits for what a
 * sleeping thread runs". Who closes a cycle sees all of it, and is told
 * -EDEADLK instead. Timeouts don't count: a wait round a cycle is a mistake
 * also when it would end.
 */
#ifndef SOON_CORE_BLOCK_H
#define SOON_CORE_BLOCK_H

#include "core/call.h"

/* Looks at one member of what a thread waits for; false: it has seen enough. */
typedef bool soon__look_fn(const soon_future *f, void *data);

/* A thread about to sleep, on its stack. */
struct soon__blocked {
    soon_call *calls; /* what it runs. Sync: const while asleep */
    bool any;         /* one of what it awaits is enough; else it needs all. Sync: const */
    const void *set;  /* what it waits for. Sync: const */
    /* Shows the members of set to look until it returns false. False if the
     * wait is over. Called by any thread, under the blocked lock. */
    bool (*each)(const void *set, soon__look_fn *look, void *data);

    uint64_t search;               /* the last that reached it. Sync: the blocked lock */
    struct soon__blocked *reached; /* the one reached before it. Sync: the blocked lock */
    bool stuck;                    /* as far as that search knows. Sync: the blocked lock */
};

/* The calling thread is about to sleep: runs what callbacks are due, and
 * tells its pool if it is a worker. 0, or -EDEADLK: it must not. Threads that
 * run no task never deadlock here. */
int soon__block(struct soon__blocked *self);
void soon__unblock(struct soon__blocked *self);

/* Tells the calling worker's pool, if it is one, that it sleeps or woke. */
void soon__blocking(bool begin);

/* Around a fork. */
void soon__blocked_fork_prepare(void);
void soon__blocked_fork_parent(void);
void soon__blocked_fork_child(void);

#endif
