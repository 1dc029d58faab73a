/* SPDX-License-Identifier: MIT */
/*
 * The inside of a call: one run of one task, on the stack of who runs it.
 */
#ifndef SOON_CORE_CALL_H
#define SOON_CORE_CALL_H

#include <soon/call.h>

#include "core/future.h"
#include "core/timer.h"

struct soon_call {
    soon_future *future;      /* Sync: const after init */
    soon_call *outer;         /* the task below on this stack. Sync: const after init */
    unsigned char *room;      /* where a small result goes. Sync: const after init */
    size_t room_size;         /* how large that may be. Sync: const after init */
    struct soon__blob *value; /* a large result so far. Sync: the running thread */
    size_t value_len;         /* of a small result. Sync: the running thread */
    char *message;            /* what soon_fail() said. Sync: the running thread */
    bool counted;             /* the future is its executor's. Sync: const after init */
    struct soon__timer timer; /* its deadline, if it has one */

    struct soon__blocked *sleeper; /* see block.c. Sync: the blocked lock */
    soon_call *next_asleep;        /* Sync: the blocked lock */
};

void soon__call_init(soon_call *call, soon_future *f);

/* Hands result and message over to the future, for the winner of the right
 * to complete it. */
void soon__call_deliver(soon_call *call, int code);

/* Drops them: the future was completed without this call. */
void soon__call_discard(soon_call *call);

#endif
