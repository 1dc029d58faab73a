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

static int submit(soon_executor *ex, soon_future *chain, size_t n)
{
    (void)ex, (void)n;
    while (chain) {
        soon_future *f = chain;
        chain = soon_future_next(f);
        soon_future_run(f);
        soon_future_unref(f);
    }
    return 0;
}

/* Submits are refused by the library from now on. */
static void inline_close(soon_executor *ex, unsigned flags)
{
    (void)ex, (void)flags;
}

static int join(soon_executor *ex, soon_ns deadline)
{
    return soon_executor_drain(ex, deadline);
}

static void destroy(soon_executor *ex)
{
    soon_executor_fini(ex);
    soon__free(ex, sizeof *ex);
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
    soon_executor *ex = soon__zalloc(sizeof *ex);
    if (!ex)
        return -ENOMEM;
    int error = soon_executor_init(ex, &ops, &(struct soon_executor_limits){.workers = 1});
    if (error) {
        soon__free(ex, sizeof *ex);
        return error;
    }
    *out = ex;
    return 0;
}
