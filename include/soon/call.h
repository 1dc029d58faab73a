/* SPDX-License-Identifier: MIT */
/*
 * The function a task runs, and what it may say while it runs.
 *
 * The same function runs unchanged on every backend: it sees its argument as
 * bytes of its own and hands its result back as bytes.
 *
 *     static int square(soon_call *call, const void *arg, size_t arg_len)
 *     {
 *         int n;
 *         if (arg_len != sizeof n)
 *             return soon_fail(call, -EINVAL, "want an int, got %zu bytes", arg_len);
 *         memcpy(&n, arg, sizeof n);
 *         n *= n;
 *         return soon_return(call, &n, sizeof n);
 *     }
 */
#ifndef SOON_CALL_H
#define SOON_CALL_H

#include <soon/base.h>

SOON_BEGIN_DECLS

/* One run of one task. Valid until the function returns, and only in the
 * thread that runs it, except for soon_call_cancelled() and
 * soon_call_progress(), which the function's own helper threads may call. */
typedef struct soon_call soon_call;

/* A task's function.
 *
 *   arg      the submitted bytes, by value, aligned to 16. They are the
 *            task's to read until it returns. NULL when arg_len is 0.
 *   returns  0: the future finishes with the result that soon_return() set,
 *            or with an empty one. Anything else is the task's error code,
 *            any non-zero int, with the message of soon_fail() if it was
 *            called. */
typedef int soon_fn(soon_call *call, const void *arg, size_t arg_len);

/* Sets the task's result to a copy of value[0..len). The last one wins.
 * value may be NULL when len is 0. Small results need no allocation.
 * 0; -ENOMEM, -EINVAL: the result set before, if any, still stands. */
SOON_API int soon_return(soon_call *call, const void *value, size_t len);

/* Room for a result of len bytes to be written in place, aligned to 16 and
 * not initialised; it is the result unless a later soon_return() or
 * soon_return_buffer() replaces it, which also ends the pointer's life.
 * NULL when there is no memory: the result set before, if any, still stands.
 * Never NULL because len is 0. */
SOON_API SOON_NODISCARD void *soon_return_buffer(soon_call *call, size_t len);

/* Says why the task fails, and returns code, so that a task ends with
 * `return soon_fail(call, code, "...")`. The message is kept up to 4096 bytes
 * with its NUL, cut at a UTF-8 boundary; without memory for it a standard text
 * for code stands in. With code 0: -EINVAL. The last one wins. The task
 * fails only by returning non-zero, and with what it returns. */
SOON_API int soon_fail(soon_call *call, int code, const char *format, ...) SOON_PRINTF(3, 4);

/* True once somebody asked this task to stop (soon_future_cancel() on its
 * future, a map that gave up) or its deadline has passed. Costs an atomic
 * load; with a timeout also a clock read. */
SOON_API bool soon_call_cancelled(const soon_call *call);

/* Publishes how far the task has come, for soon_future_progress(). Units are
 * the task's own; a reader never sees done of one report with total of
 * another. The first report may allocate. 0; -ENOMEM; -EINVAL if done >
 * total and total is not 0. */
SOON_API int soon_call_progress(soon_call *call, uint64_t done, uint64_t total);

SOON_END_DECLS

#endif /* SOON_CALL_H */
