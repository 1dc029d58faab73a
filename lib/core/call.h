/* SPDX-License-Identifier: MIT */
/*
 * The inside of a call: one run of one task, on the stack of who runs it.
 */
#ifndef SOON_CORE_CALL_H
#define SOON_CORE_CALL_H

#include <soon/backend.h>
#include <soon/call.h>

#include "core/future.h"
#include "core/tally.h"
#include "core/timer.h"

/* A result so far: in a blob, in a buffer of the port's, or, with both NULL, in
 * the call's room. */
struct soon__result {
    struct soon__blob *blob;
    void *buffer;
    size_t len;
};

struct soon_call {
    soon_future *future;        /* Sync: const after init */
    soon_call *outer;           /* the task below on this stack. Sync: const after init */
    struct soon_port *port;     /* to where the task came from; NULL: this process. Sync: const */
    struct soon_port *buffers;  /* large results are the port's; NULL: blobs. Sync: const */
    unsigned char *room;        /* where a small result goes. Sync: const after init */
    size_t room_size;           /* how large that may be. Sync: const after init */
    struct soon__result result; /* Sync: the running thread */
    char *message;              /* what soon_fail() said. Sync: the running thread */
    bool counted;               /* the future is its executor's. Sync: const after init */
    struct soon__timer timer;   /* its deadline; without one only that is set, to NEVER */

    struct soon__blocked *sleeper; /* see block.c. Sync: the blocked lock */
    soon_call *next_asleep;        /* Sync: the blocked lock */
};

static inline void soon__call_init(soon_call *call, soon_future *f)
{
    call->future = f;
    call->outer = soon__self.call;
    call->port = call->buffers = NULL;
    call->room = f->payload + soon__arg_room(f);
    call->room_size = SOON__PAYLOAD - soon__arg_room(f);
    call->result = (struct soon__result){.len = 0};
    call->message = NULL;
    call->counted = f->executor != NULL;
    call->timer.deadline = SOON__NEVER;
}

/* Is the calling thread a worker of ex, in one of its tasks? Then a drain waits
 * for that task, and so for what this thread counts before it ends. Not so if
 * the task has a timeout: it may be done while it still runs. */
static inline bool soon__in_task_of(const soon_executor *ex)
{
    const soon_call *call = soon__self.call;

    return call && soon__own_tally(ex) && call->counted && call->future->executor == ex &&
           !(call->future->flags & SOON__TIMED);
}

/* Hands result and message over to the future, for the winner of the right
 * to complete it. */
void soon__call_deliver_all(soon_call *call, int code);

static inline void soon__call_deliver(soon_call *call, int code)
{
    if (code || call->result.blob || call->message) {
        soon__call_deliver_all(call, code);
        return;
    }
    call->future->code = 0;
    call->future->value_len = (uint8_t)call->result.len;
}

/* Drops them: the future was completed without this call. */
void soon__call_discard(soon_call *call);

/* Where the result is. */
static inline const void *soon__result_bytes(const soon_call *call)
{
    const struct soon__result *result = &call->result;

    return result->blob ? result->blob->bytes : result->buffer ? result->buffer : call->room;
}

/* Fills extra's report, for soon_future_progress(). Any thread. */
void soon__report(struct soon__extra *extra, uint64_t done, uint64_t total);

#endif
