/* SPDX-License-Identifier: MIT */
/*
 * Errors: messages made, kept and told.
 */
#include "core/error.h"

#include "core/future.h"
#include "core/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Where to cut s, which is longer than max bytes, without splitting a UTF-8
 * sequence: in front of the last character that began in time but does not
 * end in time. What isn't UTF-8 is cut at max. */
static size_t utf8_cut(const char *s, size_t max)
{
    size_t start = max;

    while (start > 0 && max - start < 4 && ((unsigned char)s[start] & 0xC0) == 0x80)
        start--;
    return ((unsigned char)s[start] & 0xC0) == 0xC0 ? start : max;
}

char *soon__message(const char *format, va_list args)
{
    char text[SOON__MESSAGE_MAX + 4]; /* room to see how the last character ends */

    int len = vsnprintf(text, sizeof text, format, args);
    if (len < 0)
        text[0] = '\0';
    if (len >= SOON__MESSAGE_MAX)
        text[utf8_cut(text, SOON__MESSAGE_MAX - 1)] = '\0';
    return soon__copy_string(text);
}

const char *soon__text(int code)
{
    static const char other[] = "the task failed with a code of its own";
    const char *text = code < 0 && code != INT32_MIN ? strerrordesc_np(-code) : NULL;

    switch (code) {
    case 0:
        return "";
    case -ECANCELED:
        return "cancelled";
    case -ETIME:
        return "ran past its timeout";
    case -EOWNERDEAD:
        return "its worker died";
    case -ENOTRECOVERABLE:
        return "the pool is broken";
    default:
        return text ? text : other;
    }
}

void soon__error_of(const soon_future *f, soon_error *error)
{
    /* acquire: pairs with the release in soon__future_extra(). */
    const struct soon__extra *extra = atomic_load_explicit(&f->extra, memory_order_acquire);

    *error = (soon_error){.code = soon__code_of(f), .origin = SOON_FROM_TASK};
    error->message = soon__text(error->code);
    if (soon_future_cancelled(f)) {
        error->origin = SOON_FROM_LIBRARY;
        return;
    }
    if (error->code == 0 || !extra)
        return;
    error->origin = extra->origin;
    error->signal = extra->signal;
    error->exit_code = extra->exit_code;
    if (extra->message)
        error->message = extra->message;
}
