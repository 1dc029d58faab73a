/* SPDX-License-Identifier: MIT */
/*
 * Waiting for many futures.
 */
#ifndef SOON_WAIT_H
#define SOON_WAIT_H

#include <soon/base.h>
#include <soon/future.h>

SOON_BEGIN_DECLS

enum soon_return_when { SOON_FIRST_COMPLETED, SOON_FIRST_EXCEPTION, SOON_ALL_COMPLETED };

/* Waits until one is done, until one failed (a cancelled one has not failed)
 * or all are done, or until all are done. Duplicates in futures[0..n) count
 * once. In a task, pending futures of the task's own executor are run in
 * place.
 *
 * Returns how many are done: a timeout is no error. n of 0 returns 0 at once.
 * -EINVAL; -ENOMEM; -EDEADLK when it could never return;
 * -ENOTRECOVERABLE in a forked child, when it would wait for an executor that stayed in the parent.
 */
SOON_API int soon_wait(soon_future *const *futures, size_t n, enum soon_return_when when,
                       soon_ns timeout);

/* Futures in the order in which they are done. Any number of threads may use
 * one at once, except for free. */
typedef struct soon_as_completed soon_as_completed;

/* Takes references to futures[0..n); duplicates count once. Those that are
 * done already come first, in the order given. n may be 0. 0; -EINVAL;
 * -ENOMEM. */
SOON_API int soon_as_completed_new(soon_future *const *futures, size_t n, soon_as_completed **out);

/* Adds one more, which does nothing if it is in there and has not come out
 * yet; one that came out comes out again. 0; -EINVAL; -ENOMEM;
 * -ENOTRECOVERABLE in a forked child, if either comes from the parent and f is
 * not done. */
SOON_API int soon_as_completed_add(soon_as_completed *it, soon_future *f);

/* The next one that is done: 1, and *out is a reference the caller owns.
 * 0: none is left. -ETIMEDOUT: none within timeout; -EDEADLK,
 * -ENOTRECOVERABLE as soon_wait(); -EINVAL. */
SOON_API int soon_as_completed_next(soon_as_completed *it, soon_ns timeout, soon_future **out);

/* A descriptor that polls readable when next() would not block, which
 * includes the end; on rare occasions for nothing. Made by the first call,
 * close-on-exec, owned by it: don't read it or close it. -EINVAL; -EMFILE, -ENFILE, -ENOMEM. */
SOON_API int soon_as_completed_fd(soon_as_completed *it);

/* Drops it and its references; the futures go on. Aborts if another thread is
 * inside. NULL is nothing. */
SOON_API void soon_as_completed_free(soon_as_completed *it);

SOON_END_DECLS

#endif /* SOON_WAIT_H */
