/* SPDX-License-Identifier: MIT */
/*
 * The inline executor: a task runs inside the submit that brings it.
 *
 * There is no queue, so nothing is ever pending when somebody looks; a
 * shutdown only has to wait for submits of other threads.
 */
#include <soon/backend.h>

#include "core/mem.h"

#include <errno.h>
#include <stdatomic.h>

struct inline_executor {
    soon_executor ex;       /* first: it is an executor */
    atomic_bool cancelling; /* what has not begun of a chain is cancelled. Sync: atomic */
};

static int submit(soon_executor *ex, soon_future *chain, size_t n)
{
    struct inline_executor *self = (struct inline_executor *)ex;

    (void)n;
    while (chain && !soon_executor_inherited(ex)) { /* a task may fork */
        soon_future *f = chain;
        chain = soon_future_next(f);
        if (atomic_load(&self->cancelling))
            soon_future_cancel(f);
        else
            soon_future_run(f);
        soon_future_unref(f);
    }
    return 0;
}

/* Submits are refused by the library from now on. */
static void inline_close(soon_executor *ex, unsigned flags)
{
    if (flags & SOON_CANCEL_FUTURES)
        atomic_store(&((struct inline_executor *)ex)->cancelling, true);
}

static int join(soon_executor *ex, soon_ns deadline)
{
    return soon_executor_drain(ex, deadline);
}

static void destroy(soon_executor *ex)
{
    soon_executor_fini(ex);
    soon__free(ex, sizeof(struct inline_executor));
}

int soon_inline_new(soon_executor **out)
{
    static const struct soon_executor_ops ops = {
        .backend = "inline",
        .flags = SOON_BACKEND_LOCAL,
        .submit = submit,
        .close = inline_close,
        .join = join,
        .destroy = destroy,
    };

    if (!out)
        return -EINVAL;
    struct inline_executor *self = soon__zalloc(sizeof *self);
    if (!self)
        return -ENOMEM;
    int error = soon_executor_init(&self->ex, &ops, &(struct soon_executor_limits){.workers = 1});
    if (error) {
        soon__free(self, sizeof *self);
        return error;
    }
    *out = &self->ex;
    return 0;
}
