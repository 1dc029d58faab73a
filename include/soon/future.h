/* SPDX-License-Identifier: MIT */
/*
 * Futures: a result or an error that will be there later.
 *
 *     PENDING --> RUNNING --> FINISHED      with a result or an error
 *        |
 *        +------> CANCELLED
 *
 * FINISHED and CANCELLED are done: nothing changes any more. What the task
 * wrote before it returned happens-before every call that learns here that
 * the future is done.
 */
#ifndef SOON_FUTURE_H
#define SOON_FUTURE_H

#include <soon/base.h>
#include <soon/executor.h>

SOON_BEGIN_DECLS

enum soon_state { SOON_PENDING, SOON_RUNNING, SOON_CANCELLED, SOON_FINISHED };

/* Whose error it is. */
enum soon_origin {
    SOON_FROM_TASK,    /* the function returned it, or a promise was given it */
    SOON_FROM_WORKER,  /* what ran the task died */
    SOON_FROM_LIBRARY, /* cancelled, past its timeout, broken pool */
};

typedef struct soon_error {
    int code;            /* 0 none; the task's own code; or a negative errno */
    int origin;          /* enum soon_origin */
    int signal;          /* that killed the worker, or 0 */
    int exit_code;       /* of the worker, or 0 */
    const char *message; /* never NULL; valid while the future is held */
    uint64_t reserved[4];
} soon_error;

/* Another reference to f, which is returned. */
SOON_API soon_future *soon_future_ref(soon_future *f);

/* Drops a reference; the last one frees. Does not cancel. Dropping more than
 * there are aborts. NULL is nothing. */
SOON_API void soon_future_unref(soon_future *f);

/* What it is in now; another thread may move it on at any time. */
SOON_API enum soon_state soon_future_state(const soon_future *f);
SOON_API bool soon_future_done(const soon_future *f); /* finished or cancelled */
SOON_API bool soon_future_running(const soon_future *f);
SOON_API bool soon_future_cancelled(const soon_future *f);

/* Cancels f if it is pending; waiters, soon_wait(), as_completed and
 * callbacks all see it before this returns (callbacks run in here). A running
 * task only learns that it is asked to stop: soon_call_cancelled() turns true
 * and this returns false. True if it is cancelled now, by whomever. */
SOON_API bool soon_future_cancel(soon_future *f);

/* Ends the task by force where that is possible. Pending: cancels it, 0.
 * Running in a worker process: ends that process, 0, and the future fails
 * with -EOWNERDEAD. -ENOTSUP where it runs in a thread; -EALREADY once done;
 * -EINVAL; -ENOMEM; -ENOTRECOVERABLE in a forked child. */
SOON_API int soon_future_kill(soon_future *f);

/* Waits until f is done. In a task of f's own executor a pending f is run
 * right here, in place; the timeout does not cut that run short.
 *
 * 0; -ETIMEDOUT; -EDEADLK: it is the caller's own future or part of a cycle of tasks
 * that wait for each other (only looked for when this would sleep);
 * -ENOTRECOVERABLE in a forked child, of a future whose executor stayed in the parent; -EINVAL. */
SOON_API int soon_future_wait(soon_future *f, soon_ns timeout);

/* Waits, then copies the result, which must be exactly len bytes. value may
 * be NULL when len is 0.
 *
 * 0; -EMSGSIZE: the result has another length, nothing was copied;
 * -ECANCELED if cancelled; -ETIME if the task ran past its timeout;
 * -EOWNERDEAD if its worker died; -ENOTRECOVERABLE if its pool broke; else
 * the task's own code, of any sign; or an error of soon_future_wait(). */
SOON_API int soon_future_result(soon_future *f, soon_ns timeout, void *value, size_t len);

/* Waits, then lends the result without a copy: *value points at *len bytes,
 * aligned to 16, not NULL, valid and unchanging while the caller holds a reference.
 * Either out-parameter may be NULL. Errors as soon_future_result(), without
 * -EMSGSIZE; then the out-parameters are untouched. */
SOON_API int soon_future_value(soon_future *f, soon_ns timeout, const void **value, size_t *len);

/* Waits, then says how it ended: 0 whenever f is done, with error->code 0 if
 * there is a result. A cancelled future has code -ECANCELED and origin
 * SOON_FROM_LIBRARY. Errors as soon_future_wait(). */
SOON_API int soon_future_error(soon_future *f, soon_ns timeout, soon_error *error);

/* What soon_call_progress() last said of f, 0 and 0 before. Never blocks.
 * Either out-parameter may be NULL. 0; -EINVAL. */
SOON_API int soon_future_progress(const soon_future *f, uint64_t *done, uint64_t *total);

/* A callback: f is done. No lock is held. The callback must not drop the
 * reference it is shown; it may take one of its own. */
typedef void soon_done_fn(soon_future *f, void *data);

/* Calls fn(f, data) exactly once when f is done: in the thread that
 * completes or cancels it, in the order added; on a future already done, at
 * once, in the caller. Callbacks never nest: what comes due inside a callback
 * runs in the same thread after that callback, or earlier if it waits for something, so that a
 * chain of any length uses a constant amount of stack. May allocate. 0; -EINVAL; -ENOMEM. */
SOON_API int soon_future_add_done_callback(soon_future *f, soon_done_fn *fn, void *data);

/* The same, as a task of ex, whose max_pending does not bound it, also when f
 * is done already. ex is kept until then. If ex has shut down (or broken) in the meantime, fn
 * runs in the thread that completes f: an accepted callback is always called.
 * -ENOTSUP if ex does not run tasks in this process; -ESHUTDOWN,
 * -ENOTRECOVERABLE as soon_submit(); -EINVAL; -ENOMEM. */
SOON_API int soon_future_add_done_callback_on(soon_future *f, soon_executor *ex, soon_done_fn *fn,
                                              void *data);

/* Takes back the oldest callback added with this fn and data, in constant
 * time, whichever of the two calls added it. True: it will not be called.
 * False: there is none, or it has been called or is about to be. */
SOON_API bool soon_future_remove_done_callback(soon_future *f, soon_done_fn *fn, void *data);

/* ---- the promise side: for backends, tests, and values from elsewhere ---- */

/* A pending future that belongs to no executor. 0; -EINVAL; -ENOMEM. */
SOON_API int soon_future_new(soon_future **out);

/* Moves f from pending to running: true once. False if it was cancelled, is
 * running or is done. */
SOON_API bool soon_future_set_running_or_notify_cancel(soon_future *f);

/* Finishes f with a copy of value[0..len), from pending or running. 0;
 * -EALREADY once done or while another thread completes it; -EBUSY while an executor runs f's
 * function, whose return finishes it; -EINVAL; -ENOMEM. */
SOON_API int soon_future_set_result(soon_future *f, const void *value, size_t len);

/* Finishes f with an error of origin SOON_FROM_TASK. code 0: -EINVAL. The
 * message as in soon_fail(); format may be NULL. Errors as
 * soon_future_set_result(). */
SOON_API int soon_future_set_error(soon_future *f, int code, const char *format, ...)
    SOON_PRINTF(3, 4);

SOON_END_DECLS

#endif /* SOON_FUTURE_H */
