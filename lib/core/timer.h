/* SPDX-License-Identifier: MIT */
/*
 * Deadlines of running tasks: one thread for the process, while an executor
 * needs it.
 */
#ifndef SOON_CORE_TIMER_H
#define SOON_CORE_TIMER_H

#include <soon/future.h>

/* A running task with a deadline; lives on the stack of who runs it. */
struct soon__timer {
    struct soon__timer *next, **link; /* Sync: the timer lock; link NULL: not armed */
    soon_ns deadline;                 /* Sync: const while armed */
    soon_future *future;              /* Sync: const while armed */
};

/* Starts the thread for the first user: 0, -EAGAIN, -ENOMEM. */
int soon__timer_acquire(void);

/* The last user: the thread is gone when this returns. */
void soon__timer_release(void);

/* From now until disarm the future fails with -ETIME at timer->deadline. */
void soon__timer_arm(struct soon__timer *timer);
void soon__timer_disarm(struct soon__timer *timer);

/* Around a fork. */
void soon__timer_fork_prepare(void);
void soon__timer_fork_parent(void);
void soon__timer_fork_child(void);

#endif
