/* SPDX-License-Identifier: MIT */
/*
 * A backend from outside the library, through <soon/backend.h> alone, that is
 * operated by hand: it runs nothing by itself. The test says when each future
 * is claimed, and reads here what the library has asked of it.
 */
#ifndef SOON_T_DESK_H
#define SOON_T_DESK_H

#include "support.h"

#include <soon/backend.h>

struct desk {
    soon_executor base; /* first: an executor is one of these */
    pthread_mutex_t lock;
    struct soon_task_queue queue;        /* Sync: lock */
    bool closed;                         /* Sync: lock */
    atomic_int refusal;                  /* what submit answers; 0: it accepts */
    atomic_bool keeps;                   /* a reference of what it refuses */
    soon_future *_Atomic kept;           /* that one */
    atomic_uint submits, accepted;       /* calls, futures */
    atomic_uint closes, joins;           /* calls */
    atomic_uint withdrawn, killed;       /* calls */
    atomic_uint blocked, awake;          /* calls of blocking: begin, end */
    atomic_uint destroyed;               /* calls */
    soon_future *_Atomic last_withdrawn; /* only compared, may be gone */
};

/* All of the vtable, in this process. */
extern const struct soon_executor_ops desk_ops;

/* Nothing optional, and in another process, as it were. */
extern const struct soon_executor_ops bare_ops;

/* All of it, in another process, as it were. */
extern const struct soon_executor_ops remote_ops;

/* The one desk of a test, and the same as an executor. */
extern struct desk desk;
extern soon_executor *ex;

void open_desk(const struct soon_executor_ops *ops, size_t max_pending, int overflow);

/* The next future, with its reference, or NULL. Any thread. */
soon_future *desk_take(void);

/* Runs what is queued, in this thread, as a worker would; how many it ran.
 * Any thread. */
unsigned run_desk(void);

/* Empties the desk, drops the reference, and checks that it was destroyed once. */
void close_desk(void);

#endif /* SOON_T_DESK_H */
