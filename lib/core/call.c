/* SPDX-License-Identifier: MIT */
/*
 * What a running task may say: its result, its error, its progress.
 *
 * A result goes straight to where it will be read: small ones to the end of the
 * future's payload, large ones into a blob. Nobody looks there before the call is
 * delivered, and if it never is (a deadline came first) nobody ever does. A call
 * that came from another process has the places of its port instead.
 */
#include "core/call.h"

#include "core/error.h"
#include "core/mem.h"
#include "core/thread.h"

#include <errno.h>
#include <string.h>

/* ---- the result ---- */

/* Where a small one goes; NULL: it is not small. */
static unsigned char *small_room(const soon_call *call, size_t len)
{
    if (call->odd && call->room)
        return len <= call->room_size ? call->room : NULL;
    return soon__value_room(call->future, len);
}

/* Gets room for a result of len bytes, beside the one so far; its address, or
 * NULL without memory. */
static void *get_room(soon_call *call, size_t len, struct soon__large *large)
{
    void *room = small_room(call, len);

    *large = (struct soon__large){NULL, NULL};
    if (room)
        return room;
    soon__call_more(call);
    if (call->buffers)
        return large->buffer = call->buffers->buffer(call->buffers, len);
    large->blob = soon__blob_new(len);
    return large->blob ? large->blob->bytes : NULL;
}

static void leave_room(const soon_call *call)
{
    soon__blob_free(call->large.blob);
    if (call->large.buffer)
        call->buffers->unbuffer(call->buffers, call->large.buffer);
}

static void set_result(soon_call *call, const struct soon__large *large, size_t len)
{
    if (call->odd) {
        leave_room(call);
        call->large = *large;
    }
    call->len = len;
}

void *soon_return_buffer(soon_call *call, size_t len)
{
    struct soon__large large;

    void *to = call ? get_room(call, len, &large) : NULL;
    if (to)
        set_result(call, &large, len);
    return to;
}

/* value may lie in the result that is replaced. */
static __attribute__((noinline)) int replace_result(soon_call *call, const void *value, size_t len)
{
    struct soon__large large;

    void *to = get_room(call, len, &large);
    if (!to)
        return -ENOMEM;
    if (len)
        memmove(to, value, len);
    set_result(call, &large, len);
    return 0;
}

/* A word, in a call like most, goes where it belongs at once. */
SOON__HOT int soon_return(soon_call *call, const void *value, size_t len)
{
    if (soon__unlikely(!call || (!value && len)))
        return -EINVAL;
    soon_future *f = call->future;
    if (soon__unlikely(call->odd || f->arg_len > SOON__PAYLOAD - SOON__WORD_ROOM) ||
        !soon__likely(soon__move_word(f->payload + SOON__PAYLOAD - SOON__WORD_ROOM, value, len)))
        return replace_result(call, value, len);
    call->len = len;
    return 0;
}

const void *soon__result_bytes(const soon_call *call)
{
    if (call->odd && call->large.blob)
        return call->large.blob->bytes;
    if (call->odd && call->large.buffer)
        return call->large.buffer;
    return small_room(call, call->len);
}

void soon__call_discard(soon_call *call)
{
    if (!call->odd)
        return;
    leave_room(call);
    soon__free_string(call->message);
}

void soon__call_deliver_all(soon_call *call, int code)
{
    soon_future *f = call->future;

    soon__call_more(call);
    struct soon__blob *blob = call->large.blob;
    f->code = code;
    if (code == 0) {
        if (blob)
            f->value = blob;
        f->value_len = blob ? SOON__OUTSIDE : (uint8_t)call->len;
        soon__free_string(call->message);
        return;
    }
    soon__blob_free(blob);
    if (call->message) /* soon_fail() has made sure of extra */
        soon__future_extra(f)->message = call->message;
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
    soon__call_more(call);
    /* Without memory: the standard text, and not that of an earlier error. */
    soon__free_string(call->message);
    call->message = message;
    return code;
}

/* ---- stop and progress ---- */

bool soon_call_cancelled(const soon_call *call)
{
    uint32_t state = soon__state(call->future);

    if (call->odd && call->port)
        return call->port->cancelled(call->port);
    if ((state & SOON__ASKED) || (state & SOON__PHASE) != SOON_RUNNING)
        return true;
    return call->odd && call->timer.deadline != SOON__NEVER && soon__now() >= call->timer.deadline;
}

/* A sequence lock (Lameter 2005), its fields atomic: a reader that overlaps a
 * report sees an odd or a changed version and looks again. */
void soon__report(struct soon__extra *extra, uint64_t done, uint64_t total)
{
    uint32_t version = atomic_load(&extra->progress_version);

    do /* odd: another of the task's threads is writing */
        version &= ~1u;
    while (!atomic_compare_exchange_weak(&extra->progress_version, &version, version + 1));
    /* release, both: who reads the new figure sees the odd version before it;
     * pairs with the acquires in read_report(). */
    atomic_store_explicit(&extra->progress_done, done, memory_order_release);
    atomic_store_explicit(&extra->progress_total, total, memory_order_release);
    atomic_store(&extra->progress_version, version + 2);
}

int soon_call_progress(soon_call *call, uint64_t done, uint64_t total)
{
    if (!call || (total && done > total))
        return -EINVAL;
    if (call->odd && call->port) {
        call->port->progress(call->port, done, total);
        return 0;
    }
    struct soon__extra *extra = soon__future_extra(call->future);
    if (!extra)
        return -ENOMEM;
    soon__report(extra, done, total);
    return 0;
}

void soon_future_set_progress(soon_future *f, uint64_t done, uint64_t total)
{
    struct soon__extra *extra = soon__future_extra(f);

    if (extra)
        soon__report(extra, done, total);
}

static void read_report(const soon_future *f, uint64_t *done, uint64_t *total)
{
    /* acquire: pairs with the release in soon__future_extra(). */
    struct soon__extra *extra = atomic_load_explicit(&f->extra, memory_order_acquire);
    uint32_t before, after;

    *done = *total = 0;
    if (!extra)
        return;
    do {
        before = atomic_load(&extra->progress_version);
        *done = atomic_load_explicit(&extra->progress_done, memory_order_acquire);
        *total = atomic_load_explicit(&extra->progress_total, memory_order_acquire);
        after = atomic_load(&extra->progress_version);
        /* In a forked child nobody finishes a report that was half written. */
    } while ((before != after || (before & 1)) && !soon__inherited(soon__state(f)));
}

/* While the task runs elsewhere its backend knows; the last report is left
 * here when it ends. */
static bool ask_backend(const soon_future *f, uint64_t *done, uint64_t *total)
{
    uint32_t state = soon__state(f);

    return soon__is_remote(f) && !(state & SOON__DONE) && !soon__inherited(state) &&
           f->executor->ops->progress(f->executor, (soon_future *)(uintptr_t)f, done, total);
}

int soon_future_progress(const soon_future *f, uint64_t *done, uint64_t *total)
{
    uint64_t d, t;

    if (!f)
        return -EINVAL;
    if (!ask_backend(f, &d, &t))
        read_report(f, &d, &t);
    if (done)
        *done = d;
    if (total)
        *total = t;
    return 0;
}
