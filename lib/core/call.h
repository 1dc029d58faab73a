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

_Static_assert((int)SOON__LENGTHS == (int)SOON__PAYLOAD + 1, "a length without a figure");

/* Where a result is that is not small: in a blob, or in a buffer of the port's. */
struct soon__large {
    struct soon__blob *blob; /* or NULL */
    void *buffer;            /* or NULL */
};

struct soon_call {
    soon_future *future; /* Sync: const after init */
    soon_call *outer;    /* the task below on this stack. Sync: const after init */
    soon_executor *own;  /* see soon__in_task_of(), or NULL. Sync: the running thread */
    size_t len;          /* of the result so far. Sync: the running thread */
    bool odd;            /* it has some of what follows: see soon__call_more(). Sync: the
                            running thread */

    /* Only if it is odd. */
    struct soon__large large;  /* the result so far, if it is in neither, is in its room. Sync: the
                                  running thread */
    char *message;             /* what soon_fail() said. Sync: the running thread */
    struct soon_port *port;    /* to where the task came from; NULL: this process. Sync: const */
    struct soon_port *buffers; /* large results are the port's; NULL: blobs. Sync: const */
    unsigned char *room;       /* where a small result goes; NULL: into the future. Sync: const */
    size_t room_size;          /* how large that may be. Sync: const */
    struct soon__timer timer;  /* its deadline; without one only that is set, to NEVER */

    struct soon__blocked *sleeper; /* see block.c. Sync: the blocked lock */
    soon_call *next_asleep;        /* Sync: the blocked lock */
};

/* own: whose task it is to soon__in_task_of(), or NULL. */
static inline void soon__call_init(soon_call *call, soon_future *f, soon_executor *own)
{
    call->future = f;
    call->outer = soon__self.call;
    call->own = own;
    call->len = 0;
    call->odd = false;
}

/* It is to have what few calls have, if it has not yet. */
static inline void soon__call_more(soon_call *call)
{
    if (call->odd)
        return;
    memset(&call->large, 0, offsetof(soon_call, timer) - offsetof(soon_call, large));
    call->timer.deadline = SOON__NEVER;
    call->odd = true;
}

/* Is the calling thread a worker of ex, in one of its tasks? Then a drain waits
 * for that task, and so for what this thread counts before it ends; there is a
 * shard to count in; and ex lives in this process. Not so if the task has a timeout:
 * it may be done while it still runs. */
static inline bool soon__in_task_of(const soon_executor *ex)
{
    const soon_call *call = soon__self.call;

    return call && call->own == ex;
}

/* What that goes by, for a call of f that begins. */
static inline soon_executor *soon__own_executor(const soon_future *f)
{
    return f->executor && soon__own_tally(f->executor) && !(f->flags & SOON__TIMED) ? f->executor
                                                                                    : NULL;
}

/* Hands result and message over to the future, for the winner of the right
 * to complete it. */
void soon__call_deliver_all(soon_call *call, int code);

static inline void soon__call_deliver(soon_call *call, int code)
{
    /* The future's code has been 0 all the time. */
    if (code || call->odd)
        soon__call_deliver_all(call, code);
    else
        call->future->value_len = (uint8_t)call->len;
}

/* It is the thread's innermost from here on, or is no longer. */
static inline void soon__call_begin(soon_call *call)
{
    soon__self.call = call;
    soon__self.forks = call->own ? soon__self.fork_deque : NULL;
}

static inline __attribute__((always_inline)) void soon__call_end(const soon_call *call)
{
    const soon_call *outer = call->outer;

    soon__self.call = call->outer;
    soon__self.forks = outer && outer->own ? soon__self.fork_deque : NULL;
}

/* Runs the function of f, which has been claimed; what came of it is in the call. */
static inline int soon__call_function(soon_call *call, soon_future *f, soon_executor *own)
{
    size_t len;
    const void *arg = soon__future_arg(f, &len);

    soon__call_init(call, f, own);
    soon__call_begin(call);
    int code = f->fn(call, arg, len);
    soon__call_end(call);
    return code;
}

/* The same, and leaves it in f, for nobody to see yet. */
static inline int soon__call_run(soon_call *call, soon_future *f, soon_executor *own)
{
    int code = soon__call_function(call, f, own);

    soon__call_deliver(call, code);
    return code;
}

/* Drops them: the future was completed without this call. */
void soon__call_discard(soon_call *call);

/* Where the result is. */
const void *soon__result_bytes(const soon_call *call);

/* Fills extra's report, for soon_future_progress(). Any thread. */
void soon__report(struct soon__extra *extra, uint64_t done, uint64_t total);

#endif
