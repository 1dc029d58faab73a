/* SPDX-License-Identifier: MIT */
/*
 * Tasks that sleep in a wait, and the search for cycles among them.
 *
 * A cycle of tasks that wait for each other can close only when the last of
 * them goes to sleep. So each one that is about to sleep enters a list, under
 * one lock, and looks from itself along "waits for what a sleeping thread
 * runs". Who closes a cycle sees all of it, and is told -EDEADLK instead.
 */
#ifndef SOON_CORE_BLOCK_H
#define SOON_CORE_BLOCK_H

#include "core/call.h"

/* What a thread waits for, filled for a look at it: futures that calls run
 * right now. */
enum { SOON__AWAITED_MAX = 64 };
struct soon__awaited {
    soon_future *running[SOON__AWAITED_MAX];
    size_t n;
    bool open; /* it may end without any of them */
};

/* A thread about to sleep, on its stack. */
struct soon__blocked {
    struct soon__blocked *next, *prev; /* Sync: the blocked lock */
    soon_call *calls;                  /* what it runs. Sync: const while linked */
    bool any;                          /* one of what it awaits is enough; else it needs all */
    bool on_path;                      /* of a search. Sync: the blocked lock */
    const void *set;                   /* what it waits for. Sync: as collect() */
    /* Adds every member of set. Called by any thread, under the blocked lock. */
    void (*collect)(const void *set, struct soon__awaited *awaited);
};

/* To be called by collect() for each member. One that is done counts for
 * nothing here: where it is enough, collect() sets open itself. */
void soon__awaited_add(struct soon__awaited *awaited, const soon_future *f);

/* The calling thread is about to sleep; a worker's pool is told. 0, or
 * -EDEADLK: it must not. Threads that run no task never deadlock here. */
int soon__block(struct soon__blocked *self);
void soon__unblock(struct soon__blocked *self);

/* Tells the calling worker's pool, if it is one, that it sleeps or woke. */
void soon__blocking(bool begin);

/* Around a fork. */
void soon__blocked_fork_prepare(void);
void soon__blocked_fork_parent(void);
void soon__blocked_fork_child(void);

#endif
