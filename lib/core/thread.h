/* SPDX-License-Identifier: MIT */
/*
 * What the library knows of the calling thread.
 */
#ifndef SOON_CORE_THREAD_H
#define SOON_CORE_THREAD_H

#include "core/future_cache.h"

#include <soon/executor.h>

struct soon__tally;
struct soon__callback;

struct soon__thread {
    soon_call *call;                  /* the innermost task it runs, or NULL */
    soon_executor *worker_of;         /* see soon_worker_enter(), or NULL */
    struct soon__tally *tally;        /* its own shard of worker_of's figures, or NULL */
    uintptr_t stack_low;              /* of its stack; 0: not asked yet; UINTPTR_MAX: unknown */
    struct soon__callback *due;       /* callbacks to run, oldest first */
    struct soon__callback **due_tail; /* where the next one goes; NULL while due is empty */
    bool calling_back;                /* it is in soon__run_callbacks() */
    char *last_error;                 /* what soon_last_error() says, or NULL */
    struct soon__future_cache futures;
};

/* initial-exec (see the build's flags): a few words fit what the loader keeps
 * for libraries that are loaded late. */
extern _Thread_local struct soon__thread soon__self;

/* Does the calling thread run a task of ex, or is it a worker of it? */
bool soon__within(const soon_executor *ex);

/* Is there stack left to run another task on top of this one? */
bool soon__stack_left(void);

#endif
