/* SPDX-License-Identifier: MIT */
/*
 * Running a task's function in this process, from claim to completion.
 */
#include "core/batch.h"
#include "core/chain.h"
#include "core/transition.h"

#include <errno.h>
#include <stdio.h>

bool soon_future_claim(soon_future *f)
{
    return soon__claim_queued(f);
}

bool soon__claim_next(soon_future *f, bool *plain)
{
    *plain = soon__is_plain_here(f);
    return *plain ? soon__claim_plain(f) : soon__claim_queued(f);
}

static int call_with(soon_call *call, soon_fn *fn, const void *arg, size_t len)
{
    return call->future->flags & SOON__BATCH ? soon__batch_run(call, fn, arg, len)
                                             : fn(call, arg, len);
}

static void arm(soon_call *call)
{
    /* acquire: pairs with the release in soon__future_extra(). */
    const struct soon__extra *extra =
        atomic_load_explicit(&call->future->extra, memory_order_acquire);

    call->timer =
        (struct soon__timer){.future = call->future, .deadline = soon__deadline(extra->timeout)};
    soon__timer_arm(&call->timer);
}

/* A call without a deadline is the only one that may complete f. One with a
 * deadline must win against the timer, which may be late: what comes after
 * the deadline is dropped all the same. */
static bool meets_deadline(soon_call *call, soon_future *f)
{
    uint32_t from;
    bool late = soon__now() >= call->timer.deadline;
    bool won = soon__close(f, SOON__CALL, &from) == 0;

    if (!late && won)
        return true;
    soon__call_discard(call);
    if (won)
        soon__settle_late(f);
    return false;
}

/* With a timeout, or a chunk of a map; out of the way of all others. */
static __attribute__((noinline)) void run_special(soon_future *f)
{
    soon_call call;
    size_t len;
    const void *arg = soon__future_arg(f, &len);

    soon__call_init(&call, f, soon__own_executor(f));
    soon__call_more(&call);
    soon__call_begin(&call);
    if (f->flags & SOON__TIMED)
        arm(&call);
    int code = call_with(&call, f->fn, arg, len);
    if (f->flags & SOON__TIMED)
        soon__timer_disarm(&call.timer);
    soon__call_end(&call);
    if ((f->flags & SOON__TIMED) && !meets_deadline(&call, f))
        return;
    soon__call_deliver(&call, code);
    soon__settle(f, code ? SOON__FAILED : SOON__FINISHED, true);
}

/* Callbacks run in settle: they are no part of the task. */
static void run_claimed(soon_future *f)
{
    soon_call call;

    if (f->flags & (SOON__TIMED | SOON__BATCH))
        run_special(f);
    else
        soon__settle_call(f, soon__call_run(&call, f, soon__own_executor(f)));
}

void soon_future_run_claimed(soon_future *f)
{
    soon_call call;

    if (f->flags & (SOON__TIMED | SOON__BATCH)) {
        run_special(f);
        return;
    }
    int code = soon__call_run(&call, f, soon__own_executor(f));
    if (!soon__settle_plain(f, code))
        soon__settle_call(f, code);
}

static __attribute__((noinline)) void settle_and_drop(soon_future *f, soon_call *call, int code)
{
    soon__call_deliver(call, code);
    soon__settle_call(f, code);
    soon_future_unref(f);
}

/* soon__call_function() where soon__is_plain_here(). */
static inline __attribute__((always_inline)) int call_plain(soon_call *call, soon_future *f)
{
    size_t len = f->arg_len;

    soon__call_init(call, f, f->executor);
    soon__self.call = call;
    soon__self.forks = soon__self.fork_deque;
    int code = f->fn(call, len ? f->payload : NULL, len);
    soon__call_end(call);
    return code;
}

/* The steps of soon__settle(), in its order; but of a task that nobody else will ever see
 * again none has to be taken. */
SOON__NO_CANARY void soon__run_plain(soon_future *f)
{
    soon_call call;

    int code = call_plain(&call, f);
    struct soon__tally *mine = soon__self.tally; /* none in a child that the task forked */
    if (soon__unlikely((unsigned)code | call.odd || !mine)) {
        settle_and_drop(f, &call, code);
        return;
    }
    f->value_len = (uint8_t)call.len;
    soon__count_end(mine, 0, call.len);
    if (soon__is_unseen(f))
        soon__future_drop(f, 1);
    else
        soon__finish_queued(f);
    soon__release_own(mine);
    if (soon__unlikely(soon__self.due))
        soon__run_callbacks();
}

bool soon_future_run(soon_future *f)
{
    if (!soon__claim_call(f))
        return false;
    run_claimed(f);
    return true;
}

bool soon__run_in_place(soon_future *f)
{
    soon_executor *ex = f->executor;

    if (!soon__begin_call(f))
        return false;
    /* In flight: ex is alive until the task is settled. */
    soon__count_begun(ex, f, SOON__N_HELPED);
    soon__withdraw(ex, f);
    run_claimed(f);
    return true;
}

/* ---- calls without a future ---- */

/* Runs a call whose future is on the stack and never seen by anybody else. */
static void begin_alone(soon_call *call, soon_future *f, unsigned flags)
{
    soon__future_init(f);
    f->flags = (uint8_t)flags;
    atomic_init(&f->state, SOON_RUNNING | SOON__CALL);
    soon__call_init(call, f, NULL);
    soon__call_more(call);
    soon__call_begin(call);
}

static void end_alone(soon_call *call, char *message, size_t size)
{
    soon__call_end(call);
    if (size)
        snprintf(message, size, "%s", call->message ? call->message : "");
    soon__call_discard(call);
    soon__extra_free(atomic_load(&call->future->extra)); /* of soon_fail(), soon_call_progress() */
}

int soon_worker_call(soon_fn *fn, const void *arg, size_t arg_len, char *message, size_t size)
{
    soon_future f;
    soon_call call;

    begin_alone(&call, &f, 0);
    int code = fn(&call, arg_len ? arg : NULL, arg_len);
    end_alone(&call, message, size);
    return code;
}

void soon_port_call(struct soon_port *port, soon_fn *fn, unsigned manner, const void *arg,
                    size_t arg_len, struct soon_outcome *outcome)
{
    soon_future f;
    soon_call call;

    begin_alone(&call, &f, manner & SOON__BATCH);
    call.port = call.buffers = port;
    call.room = port->room;
    call.room_size = port->room_size;
    int code = call_with(&call, fn, arg_len ? arg : NULL, arg_len);
    outcome->code = code;
    outcome->value = code ? NULL : soon__result_bytes(&call);
    outcome->value_len = code ? 0 : call.len;
    outcome->message[0] = '\0';
    if (code == 0)
        call.large.buffer = NULL; /* the caller's from here on */
    end_alone(&call, outcome->message, code ? sizeof outcome->message : 0);
}
