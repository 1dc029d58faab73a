/* SPDX-License-Identifier: MIT */
/*
 * The promise side: futures completed by hand. Whatever needs memory is got
 * before the right to complete is won, since nothing may fail after that.
 */
#include "core/error.h"
#include "core/executor.h"
#include "core/mem.h"

#include <errno.h>
#include <string.h>

int soon_future_new(soon_future **out)
{
    if (!out)
        return -EINVAL;
    soon_future *f = soon__future_new();
    if (!f)
        return -ENOMEM;
    *out = f;
    return 0;
}

bool soon_future_set_running_or_notify_cancel(soon_future *f)
{
    return soon__claim(f);
}

/* A callback may drop the caller's reference, and the last one with it. */
static void settle(soon_future *f, enum soon__outcome outcome, uint32_t from)
{
    soon_future_ref(f);
    soon__settle(f, outcome, (from & SOON__PHASE) == SOON_RUNNING);
    soon_future_unref(f);
}

typedef int close_fn(soon_future *f, uint32_t *from);

/* The backend's right to complete, and that of a promise. */
static int close_own(soon_future *f, uint32_t *from)
{
    return soon__close(f, 0, from);
}

static int set_result(soon_future *f, const void *value, size_t len, close_fn *close)
{
    struct soon__blob *blob = NULL;
    uint32_t from;

    if (!f || (!value && len))
        return -EINVAL;
    unsigned char *room = soon__value_room(f, len);
    if (!room && !(blob = soon__blob_new(len)))
        return -ENOMEM;
    int error = close(f, &from);
    if (error) {
        soon__blob_free(blob);
        return error;
    }
    soon__future_return_arg(f);
    if (len)
        memcpy(blob ? blob->bytes : room, value, len);
    if (blob)
        f->value = blob;
    f->value_len = blob ? SOON__OUTSIDE : (uint8_t)len;
    settle(f, SOON__FINISHED, from);
    return 0;
}

int soon_future_set_result(soon_future *f, const void *value, size_t len)
{
    return set_result(f, value, len, soon__close_foreign);
}

int soon_future_deliver(soon_future *f, const void *value, size_t len)
{
    return set_result(f, value, len, close_own);
}

int soon_future_lend(soon_future *f, const void *value, size_t len, void *token)
{
    uint32_t from;

    if (!f || !soon__is_remote(f) || !value)
        return -EINVAL;
    struct soon__loan *loan = soon__alloc(sizeof *loan);
    if (!loan)
        return -ENOMEM;
    *loan = (struct soon__loan){.value = value, .len = len, .token = token};
    int error = soon__close(f, 0, &from);
    if (error) {
        soon__free(loan, sizeof *loan);
        return error;
    }
    soon__future_return_arg(f);
    f->loan = loan;
    f->value_len = SOON__LENT;
    settle(f, SOON__FINISHED, from);
    return 0;
}

/* Takes message, which may be NULL, also when it fails. extra may be NULL:
 * then only the code is kept. */
static int set_failure(soon_future *f, const soon_error *error, struct soon__extra *extra,
                       char *message, close_fn *close)
{
    uint32_t from;

    int failed = close(f, &from);
    if (failed) {
        soon__free_string(message);
        return failed;
    }
    soon__future_return_arg(f);
    if (extra) {
        extra->origin = error->origin;
        extra->signal = error->signal;
        extra->exit_code = error->exit_code;
        extra->message = message;
    }
    f->code = error->code;
    bool late = error->code == -ETIME && error->origin == SOON_FROM_LIBRARY;
    settle(f, late ? SOON__TIMED_OUT : SOON__FAILED, from);
    return 0;
}

int soon_future_set_error(soon_future *f, int code, const char *format, ...)
{
    soon_error error = {.code = code, .origin = SOON_FROM_TASK};
    char *message = NULL;
    va_list args;

    if (!f || code == 0)
        return -EINVAL;
    if (format) {
        va_start(args, format);
        message = soon__message(format, args);
        va_end(args);
        if (!message)
            return -ENOMEM;
    }
    struct soon__extra *extra = soon__future_extra(f);
    if (!extra) {
        soon__free_string(message);
        return -ENOMEM;
    }
    return set_failure(f, &error, extra, message, soon__close_foreign);
}

int soon_future_set_failure(soon_future *f, const soon_error *error)
{
    if (!f || !error || error->code == 0)
        return -EINVAL;
    struct soon__extra *extra = soon__future_extra(f);
    char *message = extra && error->message ? soon__copy_string(error->message) : NULL;
    return set_failure(f, error, extra, message, close_own);
}
