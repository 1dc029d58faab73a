/* SPDX-License-Identifier: MIT */
/*
 * Hooks: what happens when a future is done, besides waking its futex.
 *
 * A future's hooks form a circular doubly linked list in the order added, so
 * that any of them unlinks in constant time. The list is guarded by one of a
 * few locks, chosen by the future's address (its stripe).
 *
 * There are two kinds. A waiter's hook (soon_wait(), as_completed) fires
 * under the stripe's lock, must not block, and may only touch what a thread
 * that takes the lock to unlink it still keeps alive. A callback is unlinked under the lock and
 * called without it, from the completing thread's queue of due callbacks.
 */
#ifndef SOON_CORE_CALLBACK_H
#define SOON_CORE_CALLBACK_H

#include <soon/future.h>

struct soon__hook {
    struct soon__hook *next, *prev; /* Sync: the stripe; next NULL: not linked */
    void (*fire)(struct soon__hook *hook, soon_future *f); /* NULL: a callback. Sync: const */
};

/* Links a hook; false, and not linked, if f is done. */
bool soon__hook_add(soon_future *f, struct soon__hook *hook);

/* After this the hook is not linked and will not fire. */
void soon__hook_remove(soon_future *f, struct soon__hook *hook);

/* f is done and had hooks: fires them and makes its callbacks due. */
void soon__hooks_fire(soon_future *f);

/* The task of an `_on` callback is done and has not run. */
void soon__callback_left(soon_future *task);

/* f is freed and was never done: its callbacks are dropped uncalled. */
void soon__callbacks_abandon(soon_future *f);

/* Runs the callbacks that are due in this thread, unless it is doing so. */
void soon__run_callbacks(void);

/* Around a fork. */
void soon__stripes_fork_prepare(void);
void soon__stripes_fork_release(void);

#endif
