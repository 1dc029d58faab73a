/* SPDX-License-Identifier: MIT */
/*
 * A future's memory: allocation, references, argument, value, extras. Its
 * state word is transition.c's.
 */
#include "core/future.h"

#include "core/callback_index.h"
#include "core/future_cache.h"
#include "core/mem.h"
#include "core/misuse.h"

#include <errno.h>
#include <soon/backend.h>
#include <string.h>

soon_future *soon__future_new(void)
{
    soon__future_ahead();
    soon_future *f = soon__future_alloc();

    if (f)
        soon__future_init(f);
    return f;
}

/* ---- blobs ---- */

struct soon__blob *soon__blob_new(size_t len)
{
    size_t size;

    if (__builtin_add_overflow(sizeof(struct soon__blob), len, &size))
        return NULL;
    struct soon__blob *blob = soon__alloc(size);
    if (blob)
        blob->len = blob->room = len;
    return blob;
}

void soon__blob_free(struct soon__blob *blob)
{
    if (blob)
        soon__free(blob, sizeof *blob + blob->room);
}

/* ---- argument and value ---- */

static struct soon__blob *arg_blob(const soon_future *f)
{
    struct soon__blob *blob;

    if (f->arg_len != SOON__OUTSIDE)
        return NULL;
    memcpy(&blob, f->payload, sizeof blob);
    return blob;
}

int soon__future_set_arg(soon_future *f, const void *arg, size_t len)
{
    if (len <= SOON__PAYLOAD) {
        soon__move(f->payload, arg, len);
        f->arg_len = (uint8_t)len;
        return 0;
    }
    struct soon__blob *blob = soon__blob_new(len);
    if (!blob)
        return -ENOMEM;
    memcpy(blob->bytes, arg, len);
    memcpy(f->payload, &blob, sizeof blob);
    f->arg_len = SOON__OUTSIDE;
    f->flags |= SOON__LARGE;
    return 0;
}

static struct soon__loan arg_loan(const soon_future *f)
{
    struct soon__loan loan = {.len = 0};

    if (f->arg_len == SOON__LENT)
        memcpy(&loan, f->payload, sizeof loan);
    return loan;
}

bool soon__future_place_arg(soon_future *f, const void *arg, size_t len)
{
    const struct soon_executor_ops *ops = f->executor->ops;
    struct soon__loan loan = {.len = len};

    void *room = ops->room ? ops->room(f->executor, len, &loan.token) : NULL;
    if (!room)
        return false;
    memcpy(room, arg, len);
    loan.value = room;
    memcpy(f->payload, &loan, sizeof loan);
    f->arg_len = SOON__LENT;
    return true;
}

void soon__future_return_arg(soon_future *f)
{
    struct soon__loan loan = arg_loan(f);
    const void *value = loan.value;

    if (!value || soon__inherited(soon__state(f)))
        return;
    loan.value = NULL; /* the length stays, for the figures */
    memcpy(f->payload, &loan, sizeof loan);
    f->executor->ops->give_back(f->executor, value, loan.len, loan.token);
}

const void *soon__future_arg_outside(const soon_future *f, size_t *len)
{
    if (f->arg_len == SOON__LENT) {
        struct soon__loan loan = arg_loan(f);
        *len = loan.len;
        return loan.value;
    }
    struct soon__blob *blob = arg_blob(f);
    *len = blob->len;
    return blob->bytes;
}

const void *soon__future_value_outside(const soon_future *f, size_t *len)
{
    bool lent = f->value_len == SOON__LENT;

    *len = lent ? f->loan->len : f->value->len;
    return lent ? f->loan->value : f->value->bytes;
}

size_t soon__future_outside(const soon_future *f)
{
    size_t bytes = f->flags & SOON__TIMED ? sizeof(struct soon__extra) : 0;
    struct soon__blob *blob = arg_blob(f);

    return bytes + (blob ? sizeof *blob + blob->room : arg_loan(f).len);
}

struct soon__extra *soon__future_extra(soon_future *f)
{
    /* acquire: pairs with the release below, of whoever made it. */
    struct soon__extra *extra = atomic_load_explicit(&f->extra, memory_order_acquire);

    if (extra)
        return extra;
    struct soon__extra *made = soon__zalloc(sizeof *made);
    if (!made)
        return NULL;
    /* release: publishes the zeroes; acquire: sees another's instead. */
    if (atomic_compare_exchange_strong_explicit(&f->extra, &extra, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    soon__free(made, sizeof *made);
    return extra;
}

void soon__extra_free(struct soon__extra *extra)
{
    if (!extra)
        return;
    soon__free_string(extra->name);
    soon__free_string(extra->message);
    soon__free(extra, sizeof *extra);
}

/* ---- references ---- */

static void free_value(soon_future *f, soon_executor *keeper)
{
    struct soon__loan *loan = f->loan;

    if (f->value_len == SOON__OUTSIDE)
        soon__blob_free(f->value);
    if (f->value_len != SOON__LENT)
        return;
    if (keeper)
        keeper->ops->give_back(keeper, loan->value, loan->len, loan->token);
    soon__free(loan, sizeof *loan);
}

/* Has it nothing but itself to be freed? Most have not. */
static bool is_bare(const soon_future *f)
{
    /* relaxed: as in destroy(). */
    uintptr_t extra = (uintptr_t)atomic_load_explicit(&f->extra, memory_order_relaxed);

    return !((uintptr_t)f->hooks | extra) && f->value_len < SOON__LENT &&
           !(f->flags & (SOON__LARGE | SOON__REMOTE));
}

/* Where the future held its executor that goes last, and may end right here. */
static __attribute__((noinline)) void destroy(soon_future *f)
{
    /* relaxed, both: the last reference is gone, and soon__future_drop() acquired. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);
    bool holds = (f->flags & SOON__REMOTE) && !soon__inherited(state);
    soon_executor *keeper = holds ? f->executor : NULL;

    if (f->hooks)
        soon__callbacks_abandon(f);
    soon__blob_free(arg_blob(f));
    soon__future_return_arg(f);
    free_value(f, keeper);
    soon__extra_free(atomic_load_explicit(&f->extra, memory_order_relaxed));
    soon__future_free(f);
    if (keeper)
        soon_executor_release(keeper);
}

soon_future *soon_future_ref(soon_future *f)
{
    /* relaxed: the caller's own reference keeps f; nothing is published. */
    uint32_t before = atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);

    if (before == 0 || before == UINT32_MAX)
        soon__misuse(before ? "soon_future_ref: too many references"
                            : "soon_future_ref: the future has been freed");
    return f;
}

static inline void end(soon_future *f)
{
    if (soon__likely(is_bare(f)))
        soon__future_free(f);
    else
        destroy(f);
}

void soon__future_end(soon_future *f, uint32_t before, uint32_t n)
{
    if (before < n)
        soon__misuse("soon_future_unref: more references dropped than taken");
    end(f);
}

static __attribute__((noinline)) void drop_shared(soon_future *f)
{
    soon__future_drop(f, 1);
}

SOON__HOT void soon_future_unref(soon_future *f)
{
    if (soon__unlikely(!f))
        return;
    /* acquire, and relaxed: as in soon__future_drop(). */
    if (soon__unlikely(atomic_load_explicit(&f->refs, memory_order_acquire) != 1)) {
        drop_shared(f);
        return;
    }
    atomic_store_explicit(&f->refs, 0, memory_order_relaxed);
    end(f);
}

soon_future *soon_future_next(const soon_future *f)
{
    return f->next;
}

/* ---- what a backend may know of it ---- */

/* Bit 0 tells a place from a link: both are at least 4-byte aligned. */
void soon_future_set_place(soon_future *f, void *place)
{
    f->next = place ? (soon_future *)((uintptr_t)place | 1) : NULL;
}

void *soon_future_place(const soon_future *f)
{
    uintptr_t at = (uintptr_t)f->next;

    return at & 1 ? (void *)(at & ~(uintptr_t)1) : NULL;
}

bool soon_future_unclaimed(const soon_future *f)
{
    return soon__pending(soon__state(f));
}

unsigned soon_future_manner(const soon_future *f)
{
    return f->flags & SOON__BATCH;
}

void soon_future_task(const soon_future *f, soon_task *task)
{
    /* acquire: pairs with the release in soon__future_extra(). */
    const struct soon__extra *extra = atomic_load_explicit(&f->extra, memory_order_acquire);

    *task = (soon_task){.fn = f->fn, .priority = f->priority};
    task->arg = soon__future_arg(f, &task->arg_len);
    if (extra) {
        task->name = extra->name;
        task->timeout = extra->timeout;
    }
}
