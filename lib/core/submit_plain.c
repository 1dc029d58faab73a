/* SPDX-License-Identifier: MIT */
/*
 * soon_submit(), by the shortest way that the task and the thread allow:
 *
 *     a task of the executor forks --> the worker's own deque    fork_off()
 *     anybody brings a plain task  --> the backend               submit_plain(), _anyhow()
 *     everything else              --> soon_submit_task()        submit.c
 *
 * Plain is what has nothing but a small argument, for an executor without a bound that can
 * run any function. These are the steps of submit.c, in its order; most have nothing to do.
 */
#include "core/call.h"
#include "core/deque.h"
#include "core/last_error.h"
#include "core/submit.h"
#include "os/inject.h"

#include <errno.h>

/* As count_submitted(), and counts its argument in the same step. */
static inline void count_plain(const soon_executor *ex, struct soon_executor_core *core,
                               size_t arg_len)
{
    if (soon__unlikely(soon__in_task_of(ex)))
        soon__bump_plain(soon__self.tally, arg_len);
    else
        atomic_fetch_add(&core->tallies.base.plain[arg_len], 1);
}

/* f does not come in. refs: those that were for the backend and for the user; the backend
 * may have taken more for itself. */
static __attribute__((noinline, cold)) int refuse_plain(soon_executor *ex, soon_future *f,
                                                        uint32_t refs, int error)
{
    soon__count_bytes(ex, 0 - (uint64_t)f->arg_len, 0); /* as count_plain() has counted them */
    soon__future_drop(f, refs);
    return soon__explain(ex, error);
}

/* drains: it does. Then soon__enter() has nothing to do while it is open. */
static inline __attribute__((always_inline)) int
send_plain(soon_executor *ex, soon_future *f, size_t arg_len, soon_future **out, bool drains)
{
    struct soon_executor_core *core = ex->core;

    count_plain(ex, core, arg_len);
    int error = drains && soon__likely(!atomic_load(&core->closed)) ? 0 : soon__enter(ex, 1);
    if (soon__unlikely(error))
        return refuse_plain(ex, f, out ? 2 : 1, error);
    error = ex->ops->submit(ex, f, 1);
    if (soon__unlikely(error)) {
        soon__leave(ex, 1);
        return refuse_plain(ex, f, out ? 2 : 1, error);
    }
    if (out)
        *out = f;
    return 0;
}

/* Apart, so that what comes before needs no room for a task. */
static __attribute__((noinline)) int submit_as_task(soon_executor *ex, soon_fn *fn, const void *arg,
                                                    size_t arg_len, soon_future **out)
{
    return soon_submit_task(ex, &(soon_task){.fn = fn, .arg = arg, .arg_len = arg_len}, out);
}

/* To any executor, in any memory. */
static __attribute__((noinline)) int submit_anyhow(soon_executor *ex, soon_fn *fn, const void *arg,
                                                   size_t arg_len, soon_future **out)
{
    bool plain = ex && ex->core->plain && !soon_executor_inherited(ex) && fn &&
                 arg_len <= SOON__PAYLOAD && (arg || !arg_len);

    if (!plain)
        return submit_as_task(ex, fn, arg, arg_len, out); /* which says what is wrong, if so */
    soon_future *f = soon__make_plain(ex, fn, arg, arg_len, out ? 2 : 1);
    return f ? send_plain(ex, f, arg_len, out, false) : -ENOMEM;
}

/* To one like most: it drains, and its futures have no flags; in memory that is at hand. */
static __attribute__((noinline)) int submit_plain(soon_executor *ex, soon_fn *fn, const void *arg,
                                                  size_t arg_len, soon_future **out)
{
    if (soon__unlikely(!ex) || soon__unlikely(!ex->core->forks) || soon__unlikely(!fn) ||
        soon__unlikely(arg_len > SOON__PAYLOAD) || soon__unlikely(!arg && arg_len) ||
        soon__unlikely(!soon__future_is_at_hand()))
        return submit_anyhow(ex, fn, arg, arg_len, out);
    uint32_t birthplace = ex->core->birthplace;
    if (soon__unlikely(birthplace != soon__generation()))
        return submit_anyhow(ex, fn, arg, arg_len, out);
    if (soon__inject(SOON__INJECT_ALLOC))
        return -ENOMEM;
    const soon_future *ahead = soon__future_ahead();
    soon_future *f = soon__future_at_hand();
    soon__fill_plain(f, ex, fn, arg, arg_len);
    soon__future_start(f, soon__fresh(birthplace, out ? 2 : 1));
    f->ahead = ahead;
    return send_plain(ex, f, arg_len, out, true);
}

/* The deque does not take it. */
static __attribute__((noinline, cold)) int fork_elsewhere(soon_executor *ex, soon_future *f,
                                                          soon_future **out)
{
    int error = ex->ops->submit(ex, f, 1);

    if (error) {
        soon__leave(ex, 1);
        return refuse_plain(ex, f, 2, error);
    }
    *out = f;
    return 0;
}

static __attribute__((noinline)) int attend(struct soon__deque *own)
{
    soon__deque_attend(own);
    return 0;
}

/* Of a thread that is not swift, or has not got room. */
static __attribute__((noinline)) int fork_slowly(struct soon__deque *own, soon_executor *ex,
                                                 soon_future *f, soon_future **out)
{
    if (!soon__deque_offer(own, f))
        return fork_elsewhere(ex, f, out);
    *out = f;
    return soon__deque_is_wanted(own) ? attend(own) : 0;
}

/* The shortest: in a task of the same executor, which drains, and into the deque of
 * the thread, own. It counts in its own shard, see count_submitted(), and nothing is
 * held. */
static inline int fork_off(struct soon__deque *own, soon_executor *ex, soon_fn *fn, const void *arg,
                           size_t arg_len, soon_future **out)
{
    soon_future *f = soon__future_at_hand();

    soon__fill_plain(f, ex, fn, arg, arg_len);
    soon__future_start(f, own->fresh);
    soon__bump_plain(soon__self.tally, arg_len);
    if (soon__unlikely(!soon__deque_push_swiftly(own, f)))
        return fork_slowly(own, ex, f, out);
    *out = f;
    return soon__unlikely(soon__deque_is_wanted(own)) ? attend(own) : 0;
}

SOON__HOT int soon_submit(soon_executor *ex, soon_fn *fn, const void *arg, size_t arg_len,
                          soon_future **out)
{
    struct soon__deque *own = soon__self.forks;

    if (!own || own->executor != ex || soon__unlikely(atomic_load(&ex->core->closed)))
        return submit_plain(ex, fn, arg, arg_len, out);
    if (soon__unlikely(arg_len > SOON__PAYLOAD))
        return submit_as_task(ex, fn, arg, arg_len, out);
    if (soon__unlikely(!out) || soon__unlikely(!soon__future_is_at_hand()))
        return submit_plain(ex, fn, arg, arg_len, out);
    if (soon__unlikely(!fn) || (soon__unlikely(!arg) && arg_len))
        return submit_as_task(ex, fn, arg, arg_len, out);
    if (soon__inject(SOON__INJECT_ALLOC))
        return -ENOMEM;
    return fork_off(own, ex, fn, arg, arg_len, out);
}
