/* SPDX-License-Identifier: MIT */
/*
 * What a running task may say: its result, its error, its progress.
 *
 * A result goes straight to where it will be read: small ones into the
 * future's payload behind the argument, large ones into a blob. Nobody looks
 * there before the call is delivered, and if it never is (a deadline came
 * first) nobody ever does.
 */
#include "core/call.h"

#include "core/error.h"
#include "core/mem.h"
#include "core/thread.h"

#include <errno.h>
#include <string.h>

void soon__call_init(soon_call *call, soon_future *f)
{
    call->future = f;
    call->outer = soon__self.call;
    call->room = f->payload + soon__arg_room(f);
    call->room_size = SOON__PAYLOAD - soon__arg_room(f);
    call->value = NULL;
    call->message = NULL;
    call->value_len = 0;
    call->counted = f->executor != NULL;
    call->timer = (struct soon__timer){.future = f, .deadline = SOON__NEVER};
    if (f->flags & SOON__TIMED)
        call->timer.deadline =
            soon__deadline(atomic_load_explicit(&f->extra, memory_order_acquire)->timeout);
}

void soon__call_discard(soon_call *call)
{
    soon__blob_free(call->value);
    soon__free_string(call->message);
}

void soon__call_deliver(soon_call *call, int code)
{
    soon_future *f = call->future;

    f->code = code;
    if (code == 0) {
        f->value = call->value;
        f->value_len = call->value ? SOON__OUTSIDE : (uint8_t)call->value_len;
        soon__free_string(call->message);
        return;
    }
    soon__blob_free(call->value);
    if (call->message) /* soon_fail() has made sure of extra */
        soon__future_extra(f)->message = call->message;
}

/* ---- the result ---- */

void *soon_return_buffer(soon_call *call, size_t len)
{
    struct soon__blob *blob = NULL;

    if (!call)
        return NULL;
    if (len > call->room_size && !(blob = soon__blob_new(len)))
        return NULL;
    soon__blob_free(call->value);
    call->value = blob;
    call->value_len = blob ? 0 : len;
    return blob ? blob->bytes : call->room;
}

int soon_return(soon_call *call, const void *value, size_t len)
{
    if (!call || (!value && len))
        return -EINVAL;
    /* value may lie in the buffer that is about to be replaced. */
    struct soon__blob *before = call->value;
    size_t before_len = call->value_len;
    call->value = NULL;
    void *to = soon_return_buffer(call, len);
    if (!to) {
        call->value = before;
        call->value_len = before_len;
        return -ENOMEM;
    }
    if (len)
        memmove(to, value, len);
    soon__blob_free(before);
    return 0;
}

/* ---- the error ---- */

int soon_fail(soon_call *call, int code, const char *format, ...)
{
    va_list args;

    if (!call || code == 0)
        return code ? code : -EINVAL;
    char *message = NULL;
    if (format && soon__future_extra(call->future)) {
        va_start(args, format);
        message = soon__message(format, args);
        va_end(args);
    }
    /* Without memory: the standard text, and not that of an earlier error. */
    soon__free_string(call->message);
    call->message = message;
    return code;
}

/* ---- stop and progress ---- */

bool soon_call_cancelled(const soon_call *call)
{
    uint32_t state = soon__state(call->future);

    if ((state & SOON__ASKED) || (state & SOON__PHASE) != SOON_RUNNING)
        return true;
    return call->timer.deadline != SOON__NEVER && soon__now() >= call->timer.deadline;
}

/* A sequence lock (Lameter 2005), its fields atomic: a reader that overlaps a
 * report sees an odd or a changed version and looks again. */
int soon_call_progress(soon_call *call, uint64_t done, uint64_t total)
{
    if (!call || (total && done > total))
        return -EINVAL;
    struct soon__extra *extra = soon__future_extra(call->future);
    if (!extra)
        return -ENOMEM;
    uint32_t version = atomic_load(&extra->progress_version);
    do /* odd: another of the task's threads is writing */
        version &= ~1u;
    while (!atomic_compare_exchange_weak(&extra->progress_version, &version, version + 1));
    /* release, both: who reads the new figure sees the odd version before it;
     * pairs with the acquires in soon_future_progress(). */
    atomic_store_explicit(&extra->progress_done, done, memory_order_release);
    atomic_store_explicit(&extra->progress_total, total, memory_order_release);
    atomic_store(&extra->progress_version, version + 2);
    return 0;
}

int soon_future_progress(const soon_future *f, uint64_t *done, uint64_t *total)
{
    uint64_t d = 0, t = 0;
    uint32_t before, after;

    if (!f)
        return -EINVAL;
    /* acquire: pairs with the release in soon__future_extra(). */
    struct soon__extra *extra = atomic_load_explicit(&f->extra, memory_order_acquire);
    if (extra)
        do {
            before = atomic_load(&extra->progress_version);
            d = atomic_load_explicit(&extra->progress_done, memory_order_acquire);
            t = atomic_load_explicit(&extra->progress_total, memory_order_acquire);
            after = atomic_load(&extra->progress_version);
            /* In a forked child nobody finishes a report that was half written. */
        } while ((before != after || (before & 1)) && !soon__inherited(soon__state(f)));
    if (done)
        *done = d;
    if (total)
        *total = t;
    return 0;
}
