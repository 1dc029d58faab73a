/* SPDX-License-Identifier: MIT */
/*
 * Running a task's function in this process, from claim to completion.
 */
#include "core/batch.h"
#include "core/call.h"
#include "core/callback.h"
#include "core/executor.h"

#include <errno.h>
#include <stdio.h>

static int call_function(soon_call *call, soon_future *f)
{
    size_t len;
    const void *arg = soon__future_arg(f, &len);

    return f->flags & SOON__BATCH ? soon__batch_run(call, f->fn, arg, len) : f->fn(call, arg, len);
}

/* A call without a deadline is the only one that may complete f. One with a
 * deadline must win against the timer, which may be late: what comes after
 * the deadline is dropped all the same. */
static void finish(soon_call *call, soon_future *f, int code)
{
    uint32_t from;

    if (f->flags & SOON__TIMED) {
        bool late = soon__now() >= call->timer.deadline;
        bool won = soon__close(f, SOON__CALL, &from) == 0;
        if (late || !won)
            soon__call_discard(call);
        if (late && won)
            soon__settle_late(f);
        if (late || !won)
            return;
    }
    soon__call_deliver(call, code);
    soon__settle(f, code ? SOON__FAILED : SOON__FINISHED, true);
}

void soon_future_run_claimed(soon_future *f)
{
    soon_call call;

    soon__call_init(&call, f);
    soon__self.call = &call;
    if (f->flags & SOON__TIMED)
        soon__timer_arm(&call.timer);
    int code = call_function(&call, f);
    if (f->flags & SOON__TIMED)
        soon__timer_disarm(&call.timer);
    /* Callbacks run in finish(): they are no part of the task. */
    soon__self.call = call.outer;
    finish(&call, f, code);
}

bool soon_future_claim(soon_future *f)
{
    return soon__claim(f, SOON__CALL);
}

bool soon_future_run(soon_future *f)
{
    if (!soon_future_claim(f))
        return false;
    soon_future_run_claimed(f);
    return true;
}

bool soon__run_in_place(soon_future *f)
{
    soon_executor *ex = f->executor;

    if (!soon_future_claim(f))
        return false;
    /* In flight: ex is alive until the task is settled. */
    soon__count(ex, &ex->core->tallies, SOON__N_HELPED, 1);
    if (ex->ops->withdrawn)
        ex->ops->withdrawn(ex, f);
    soon_future_run_claimed(f);
    return true;
}

int soon_worker_call(soon_fn *fn, const void *arg, size_t arg_len, char *message, size_t size)
{
    soon_future f; /* never seen by anybody else */
    soon_call call;

    soon__future_init(&f);
    atomic_init(&f.state, SOON_RUNNING | SOON__CALL);
    soon__call_init(&call, &f);
    soon__self.call = &call;
    int code = fn(&call, arg_len ? arg : NULL, arg_len);
    soon__self.call = call.outer;
    if (size)
        snprintf(message, size, "%s", call.message ? call.message : "");
    soon__call_discard(&call);
    soon__extra_free(atomic_load(&f.extra)); /* of soon_call_progress() */
    return code;
}
