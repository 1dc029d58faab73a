/* SPDX-License-Identifier: MIT */
/*
 * Waiting for what the calling task has forked: see join.c.
 */
#ifndef SOON_CORE_JOIN_H
#define SOON_CORE_JOIN_H

#include "core/deque.h"
#include "core/transition.h"

enum soon__taken {
    SOON__NOT_TAKEN, /* to be seen to in another way */
    SOON__TAKEN,     /* to be run by soon__run_child() */
    SOON__STOLEN,    /* by soon__run_stolen() */
};

/* Claims f, if it is the youngest that the calling thread's tasks have forked, and
 * takes it out of the deque. Its reference that was the queue's is the caller's then.
 * STOLEN: the entry and its reference went to a thief in this moment, who will find
 * that it was too late.
 *
 * own is soon__self.forks, which says that the thread is a worker of the deque's executor,
 * and in one of its tasks. Callbacks that are due come first. */
static inline __attribute__((always_inline)) enum soon__taken
soon__take_child(struct soon__deque *own, soon_future *f)
{
    int64_t at;

    if (soon__unlikely(!soon__deque_youngest(own, f, &at) || f->executor != own->executor ||
                       f->flags || soon__self.calling_back ||
                       soon__stack_pointer() <= own->stack_low))
        return SOON__NOT_TAKEN;
    soon__deque_begin_take(own, at);
    bool claimed = soon__begin_fork(own, f);
    if (soon__likely(soon__deque_end_take(own, at, claimed)))
        return SOON__TAKEN;
    return claimed ? SOON__STOLEN : SOON__NOT_TAKEN;
}

/* Run it. After that it is done, or this is the child of a fork that the task made. */
void soon__run_child(soon_future *f);
void soon__run_stolen(soon_future *f);

/* soon_future_result() with a timeout that is not 0. */
int soon__join_result(soon_future *f, soon_ns timeout, void *value, size_t len);

#endif
