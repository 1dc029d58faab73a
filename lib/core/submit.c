/* SPDX-License-Identifier: MIT */
/*
 * Where a task becomes a future and goes to its backend:
 *
 *     check -> prepare (copy into a future) -> admit (max_pending)
 *           -> enter (not closed) -> ops->submit -> surplus, in the caller
 *
 * Up to ops->submit everything can be undone, after it nothing fails.
 */
#include "core/submit.h"

#include "core/block.h"
#include "core/call.h"
#include "core/callback.h"
#include "core/chain.h"
#include "core/error.h"
#include "core/executor.h"
#include "core/fork.h"
#include "core/last_error.h"
#include "core/mem.h"
#include "core/timer.h"

#include <errno.h>
#include <string.h>

/* ---- a task becomes a future ---- */

bool soon__task_valid(const soon_task *task)
{
    return task && task->fn && (task->arg || !task->arg_len) &&
           task->priority >= SOON_PRIORITY_LOW && task->priority <= SOON_PRIORITY_HIGH &&
           task->timeout >= 0 && !task->flags && soon__reserved_unused(task->reserved, 4);
}

/* The first task with a timeout makes ex a user of the timer. A remote backend
 * sees to timeouts itself; of the surplus that a submitter runs nobody else
 * knows before it is over, so that to be too late at its end is enough. */
static int need_timer(soon_executor *ex)
{
    struct soon_executor_core *core = ex->core;

    if ((ex->ops->flags & SOON_BACKEND_REMOTE) || atomic_load(&core->uses_timer))
        return 0;
    int error = soon__timer_acquire();
    if (!error && atomic_exchange(&core->uses_timer, true))
        soon__timer_release(); /* another submitter was first */
    return error;
}

static int add_extra(soon_future *f, const soon_task *task)
{
    struct soon__extra *extra = soon__future_extra(f);

    if (!extra)
        return -ENOMEM;
    extra->timeout = task->timeout;
    if (task->name && !(extra->name = soon__copy_string(task->name)))
        return -ENOMEM;
    return 0;
}

int soon__find_function(soon_executor *ex, soon_fn *fn)
{
    char message[SOON__MESSAGE_MAX];

    if (!ex->ops->find)
        return 0;
    message[0] = '\0';
    int error = ex->ops->find(ex, fn, message, sizeof message);
    if (error)
        soon_set_last_error(message);
    return error;
}

static uint8_t flags_of(const soon_executor *ex, const soon_task *task, unsigned flags)
{
    return (uint8_t)(ex->core->future_flags | (task->timeout ? SOON__TIMED : 0) |
                     (flags & SOON__IS_BATCH ? SOON__BATCH : 0) |
                     (flags & SOON__IS_CALLBACK ? SOON__CALLBACK : 0));
}

/* May its argument lie with its backend, until it is done? That of a map's chunk
 * is read again after that. */
static bool may_place(const soon_future *f)
{
    return (f->flags & (SOON__REMOTE | SOON__BATCH)) == SOON__REMOTE;
}

int soon__prepare(soon_executor *ex, const soon_task *task, unsigned flags, soon_future **out)
{
    int error = task->timeout ? need_timer(ex) : 0;
    if (error)
        return error;
    soon_future *f = soon__future_new();
    if (!f)
        return -ENOMEM;
    f->executor = ex;
    f->fn = task->fn;
    f->priority = (int8_t)task->priority;
    f->flags = flags_of(ex, task, flags);
    if (f->flags & SOON__REMOTE)
        soon_executor_hold(ex); /* until it is freed, which may be below */
    atomic_init(&f->state, SOON_PENDING | ex->core->birthplace << SOON__BIRTHPLACE_SHIFT);
    if (!may_place(f) || !soon__future_place_arg(f, task->arg, task->arg_len))
        error = soon__future_set_arg(f, task->arg, task->arg_len);
    if (!error && (task->name || task->timeout))
        error = add_extra(f, task);
    if (error) {
        soon_future_unref(f);
        return error;
    }
    *out = f;
    return 0;
}

void soon__chain_add(struct soon__chain *chain, soon_future *f)
{
    size_t len;

    soon__future_arg(f, &len);
    chain->bytes_in += len;
    chain->held += soon__future_outside(f);
    soon__chain_link(chain, f);
}

/* ---- admission ---- */

/* Takes n of the slots that max_pending allows, or up to n if partly. */
static size_t take_slots(struct soon_executor_core *core, size_t n, bool partly)
{
    size_t used = atomic_load(&core->pending), take;

    do {
        size_t free = used < core->max_pending ? core->max_pending - used : 0;
        take = n <= free ? n : partly ? free : 0;
        if (!take)
            return 0;
    } while (!atomic_compare_exchange_weak(&core->pending, &used, used + take));
    return take;
}

int soon__closed_error(struct soon_executor_core *core)
{
    switch (atomic_load(&core->closed)) {
    case SOON__OPEN:
        return 0;
    case SOON__SHUT:
        return -ESHUTDOWN;
    default:
        return -ENOTRECOVERABLE;
    }
}

/* What has begun without the library having been told takes no slot. */
static bool look_for_room(soon_executor *ex)
{
    bool remote = ex->ops->flags & SOON_BACKEND_REMOTE;

    if (remote)
        ex->ops->look(ex, NULL);
    return remote;
}

/* Sleeps until n slots are taken. A task that submits to its own pool sleeps
 * as in any wait: the pool makes up for it.
 *
 * No begin of a remote task is missed. One before the look is told in it, so
 * its slot is there to be taken. One after it is told unasked, and finds
 * want_room set: it changes room, which is no longer what was seen. */
static int wait_for_slots(soon_executor *ex, size_t n, soon_ns deadline)
{
    struct soon_executor_core *core = ex->core;
    int error = 0;

    soon_flush_callbacks();
    atomic_fetch_add(&core->want_room, 1);
    soon__blocking(true);
    for (;;) {
        uint32_t seen = atomic_load(&core->room);
        look_for_room(ex);
        if (error || (error = soon__closed_error(core)) || take_slots(core, n, false))
            break;
        error = soon__futex_wait(&core->room, seen, deadline);
    }
    soon__blocking(false);
    atomic_fetch_sub(&core->want_room, 1);
    return error;
}

/* How many of n go into the queue; the rest the caller runs. */
static int admit(soon_executor *ex, size_t n, soon_ns deadline, size_t *queued)
{
    struct soon_executor_core *core = ex->core;

    *queued = n;
    if (!core->max_pending)
        return 0;
    if (core->overflow == SOON_CALLER_RUNS) {
        *queued = take_slots(core, n, true);
        if (*queued < n && look_for_room(ex))
            *queued += take_slots(core, n - *queued, true);
        return 0;
    }
    if (n > core->max_pending)
        return core->overflow == SOON_BLOCK ? -EINVAL : -EAGAIN;
    if (take_slots(core, n, false))
        return 0;
    if (core->overflow == SOON_BLOCK)
        return wait_for_slots(ex, n, deadline);
    return look_for_room(ex) && take_slots(core, n, false) ? 0 : -EAGAIN;
}

static void give_slots_back(struct soon_executor_core *core, size_t n)
{
    if (core->max_pending)
        while (n--)
            soon__room_made(core);
}

/* ---- going in ---- */

/* In a worker's task it counts where only this thread does, and in no hurry.
 * Whoever sees the new task, or its own one, RELEASED sees this count too, since
 * that came after; and those are summed first. */
static inline void count_submitted(soon_executor *ex, size_t n)
{
    if (soon__in_task_of(ex))
        soon__bump(soon__self.tally, SOON__N_SUBMITTED, n);
    else
        atomic_fetch_add(&ex->core->tallies.base.figure[SOON__N_SUBMITTED], n);
}

/* Cuts the chain after its first n futures; returns the rest, as surplus. */
static soon_future *split(struct soon__chain *chain, size_t n)
{
    soon_future **link = &chain->head;

    while (n--)
        link = &(*link)->next;
    soon_future *rest = *link;
    *link = NULL;
    for (soon_future *f = rest; f; f = f->next)
        f->flags |= SOON__SURPLUS;
    return rest;
}

/* They are pending until their turn, where a shutdown that cancels can't find
 * them. */
static void run_surplus(const struct soon_executor_core *core, soon_future *f)
{
    while (f && core->birthplace == soon__generation()) { /* a task may fork */
        soon_future *next = f->next;
        f->next = NULL;
        if (atomic_load(&core->cancelling))
            soon_future_cancel(f);
        else
            soon_future_run(f);
        soon_future_unref(f);
        f = next;
    }
}

static void mark_slots(soon_future *f, size_t n)
{
    for (; n; n--, f = f->next)
        f->flags |= SOON__SLOT;
}

int soon__send(soon_executor *ex, struct soon__chain *chain, unsigned flags, soon_ns deadline)
{
    struct soon_executor_core *core = ex->core;
    size_t queued = chain->n;
    int error = soon__closed_error(core);

    if (!error && !(flags & SOON__FORCE))
        error = admit(ex, chain->n, deadline, &queued);
    if (error)
        return error;
    bool slots = core->max_pending && !(flags & SOON__FORCE);
    count_submitted(ex, chain->n);
    error = soon__enter(ex, chain->n);
    if (!error) {
        soon_future *surplus = queued < chain->n ? split(chain, queued) : NULL;
        if (slots)
            mark_slots(chain->head, queued);
        /* Before ops->submit, after which the tasks may be done any time. */
        soon__count_bytes(ex, chain->bytes_in, chain->held);
        error = chain->head ? ex->ops->submit(ex, chain->head, queued) : 0;
        if (!error) {
            run_surplus(core, surplus);
            return 0;
        }
        soon__count_bytes(ex, 0 - chain->bytes_in, 0 - chain->held);
        soon__leave(ex, chain->n);
        soon__chain_drop(surplus);
    }
    if (slots)
        give_slots_back(core, queued);
    return error;
}

/* ---- the calls ---- */

/* The user's reference comes first: once handed in, f may be gone. */
static int submit_one(soon_executor *ex, const soon_task *task, unsigned flags, soon_ns deadline,
                      soon_future **out)
{
    struct soon__chain chain = {0};
    soon_future *f;

    int error = soon__prepare(ex, task, flags, &f);
    if (error)
        return error;
    if (out)
        soon__future_ref_first(f);
    soon__chain_add(&chain, f);
    error = soon__send(ex, &chain, flags, deadline);
    if (error)
        soon__future_drop(f, out ? 2 : 1);
    else if (out)
        *out = f;
    return error;
}

int soon__submit(soon_executor *ex, const soon_task *task, unsigned flags, soon_ns deadline,
                 soon_future **out)
{
    int error = soon__executor_check(ex);

    if (!error && !soon__task_valid(task))
        return -EINVAL;
    if (!error)
        error = soon__find_function(ex, task->fn);
    if (!error)
        error = submit_one(ex, task, flags, deadline, out);
    return soon__explain(ex, error);
}

int soon__submit_prepared(soon_executor *ex, soon_future *f)
{
    struct soon__chain chain = {0};

    if (soon_executor_inherited(ex))
        return -ENOTRECOVERABLE;
    soon__chain_add(&chain, f);
    return soon__send(ex, &chain, SOON__FORCE, 0);
}

int soon_submit_task(soon_executor *ex, const soon_task *task, soon_future **out)
{
    return soon__submit(ex, task, 0, SOON__NEVER, out);
}
