/* SPDX-License-Identifier: MIT */
/*
 * Waiting for what the calling task has forked: see join.c.
 */
#ifndef SOON_CORE_JOIN_H
#define SOON_CORE_JOIN_H

#include "core/deque.h"
#include "core/transition.h"

/* The rest of soon__take_child(), where its entry was stolen in this moment. */
void soon__run_stolen(soon_future *f);

/* Claims f, if it is the youngest that the calling thread's tasks have forked, and
 * takes it out of the deque. Its reference that was the queue's is the caller's then,
 * who runs it. False: see to it in another way; perhaps it has been run meanwhile.
 *
 * soon__self.forks says that the thread is a worker of f's executor, and in one of
 * its tasks. Callbacks that are due come first. */
static inline __attribute__((always_inline)) bool soon__take_child(soon_future *f)
{
    struct soon__deque *own = soon__self.forks;
    int64_t at;

    if (!own || !soon__deque_youngest(own, f, &at) || f->executor != own->executor || f->flags ||
        soon__self.calling_back || soon__stack_pointer() <= own->stack_low)
        return false;
    soon__deque_begin_take(own, at);
    bool claimed = soon__begin_call(f);
    if (!soon__deque_end_take(own, at, claimed)) {
        if (claimed)
            soon__run_stolen(f);
        return false;
    }
    if (own->n_dead)
        soon__clear_deque();
    return true;
}

/* Runs what that has taken. False: it is to be waited for yet, which tells why. */
bool soon__run_child(soon_future *f);

/* The same, and its result, as soon_future_result() gives it. */
int soon__child_result(soon_future *f, void *value, size_t len);

#endif
