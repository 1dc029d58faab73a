/* SPDX-License-Identifier: MIT */
/*
 * What the library knows of the calling thread.
 */
#ifndef SOON_CORE_THREAD_H
#define SOON_CORE_THREAD_H

#include <soon/executor.h>
#include <soon/future.h>
#include <stdint.h>

#include "os/thread.h"

struct soon__deque;
struct soon__tally;
struct soon__callback;
struct soon__magazine;

/* Its magazines, see core/future_cache.h. */
struct soon__future_cache {
    struct soon__magazine *loaded; /* the one in use, or NULL. Sync: thread-local */
    soon_future **first, **end;    /* its slots; NULL with it. Sync: thread-local */
    soon_future **next;            /* after the last that has a future. Sync: thread-local */
    bool ready; /* everything will be given back when the thread ends. Sync: thread-local */
    struct soon__magazine *full; /* another one, full, or NULL. Sync: thread-local */
};

struct soon__thread {
    soon_call *call;                /* the innermost task it runs, or NULL */
    soon_executor *worker_of;       /* see soon_worker_enter(), or NULL */
    struct soon__tally *tally;      /* its own shard of worker_of's figures, or NULL */
    struct soon__deque *deque;      /* see soon__deque_adopt(), or NULL; then stack_low is known */
    struct soon__deque *fork_deque; /* the same if the executor forks: see fork_off(). Else NULL */
    struct soon__deque *forks;      /* that, while the innermost task is the executor's: see
                                       soon__in_task_of(). Else NULL */
    uintptr_t stack_low;            /* of its stack; 0: not asked yet; UINTPTR_MAX: unknown */
    struct soon__callback *due;     /* callbacks to run, oldest first */
    struct soon__callback **due_tail; /* where the next one goes; NULL while due is empty */
    bool calling_back;                /* it is in soon__run_callbacks() */
    char *last_error;                 /* what soon_last_error() says, or NULL */
    struct soon__future_cache futures;
};

/* initial-exec (see the build's flags): a few words fit what the loader keeps
 * for libraries that are loaded late. */
extern _Thread_local struct soon__thread soon__self;

/* The calling thread has nothing to itself any more, neither figures nor a deque:
 * it is a worker no longer, or in a forked child. */
void soon__disown(void);

/* Does one of the tasks that the calling thread runs belong to ex? */
bool soon__runs_task_of(const soon_executor *ex);

/* Does the calling thread run a task of ex, or is it a worker of it? */
static inline bool soon__within(const soon_executor *ex)
{
    return soon__self.worker_of == ex || soon__runs_task_of(ex);
}

enum { SOON__STACK_RESERVE = 128 << 10 }; /* for a task: its frames, signal handlers, libc */

/* Fills in soon__self.stack_low, and returns it. */
uintptr_t soon__find_stack(void);

/* Is there stack left to run another task on top of this one? */
static inline bool soon__stack_left(void)
{
    uintptr_t low = soon__self.stack_low ? soon__self.stack_low : soon__find_stack();

    /* A fiber's stack is not the thread's: then nothing is known either. If it
     * lies below, the difference wraps around and is large too. */
    return soon__stack_pointer() - low > SOON__STACK_RESERVE;
}

#endif
