/* SPDX-License-Identifier: MIT */
/*
 * References, shutdown and figures of every executor. See executor.h for the
 * lifetimes and for the argument why a drain misses nothing.
 */
#include "core/executor.h"

#include "core/block.h"
#include "core/callback.h"
#include "core/deque.h"
#include "core/fork.h"
#include "core/mem.h"
#include "core/misuse.h"
#include "core/timer.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* ---- life ---- */

static bool complete(const struct soon_executor_ops *ops)
{
    if (!ops->backend || !ops->submit || !ops->close || !ops->join || !ops->destroy)
        return false;
    if (!(ops->flags & SOON_BACKEND_REMOTE))
        return true;
    return !(ops->flags & SOON_BACKEND_LOCAL) && ops->look && ops->recall && ops->ask &&
           ops->progress && ops->give_back;
}

static bool valid(const struct soon_executor_ops *ops, const struct soon_executor_limits *limits)
{
    return ops && complete(ops) && limits && limits->workers && limits->overflow >= SOON_BLOCK &&
           limits->overflow <= SOON_CALLER_RUNS && soon__reserved_unused(limits->reserved, 4);
}

int soon_executor_init(soon_executor *ex, const struct soon_executor_ops *ops,
                       const struct soon_executor_limits *limits)
{
    if (!ex || !valid(ops, limits))
        return -EINVAL;
    int error = soon__fork_guard();
    if (error)
        return error;
    soon__spin_prepare();
    struct soon_executor_core *core = soon__alloc_line(sizeof *core);
    if (!core)
        return -ENOMEM;
    memset(core, 0, sizeof *core);
    core->workers = limits->workers;
    core->max_pending = limits->max_pending;
    core->overflow = limits->overflow;
    core->birthplace = soon__generation();
    core->future_flags = (uint8_t)((ops->kill ? SOON__KILLABLE : 0) |
                                   (ops->flags & SOON_BACKEND_REMOTE ? SOON__REMOTE : 0));
    core->plain = !limits->max_pending && !(ops->flags & SOON_BACKEND_REMOTE) && !ops->find;
    core->drains = ops->flags & SOON_BACKEND_DRAINS;
    core->forks = core->plain && core->drains && !core->future_flags;
    atomic_init(&core->refs, 1);
    atomic_init(&core->holds, 1);
    memset(ex, 0, sizeof *ex);
    ex->ops = ops;
    ex->core = core;
    return 0;
}

void soon_executor_fini(soon_executor *ex)
{
    if (atomic_load(&ex->core->uses_timer))
        soon__timer_release();
    soon__free_string(atomic_load(&ex->core->why));
    soon__free_line(ex->core, sizeof *ex->core);
    ex->core = NULL;
}

void soon__executor_hold_many(soon_executor *ex, size_t n)
{
    /* relaxed: something else keeps ex alive right now. */
    atomic_fetch_add_explicit(&ex->core->holds, n, memory_order_relaxed);
}

void soon_executor_hold(soon_executor *ex)
{
    soon__executor_hold_many(ex, 1);
}

void soon_executor_release(soon_executor *ex)
{
    /* acq_rel: everybody's use of ex comes before its end; pairs with itself. */
    if (atomic_fetch_sub_explicit(&ex->core->holds, 1, memory_order_acq_rel) == 1)
        ex->ops->destroy(ex);
}

soon_executor *soon_executor_ref(soon_executor *ex)
{
    /* relaxed: the caller's own reference keeps ex. */
    if (atomic_fetch_add_explicit(&ex->core->refs, 1, memory_order_relaxed) == 0)
        soon__misuse("soon_executor_ref: the executor has no reference left");
    return ex;
}

int soon__executor_try_ref(soon_executor *ex)
{
    /* relaxed, all: a task in flight, or the caller's reference, keeps ex. */
    uint32_t refs = atomic_load_explicit(&ex->core->refs, memory_order_relaxed);

    while (refs)
        if (atomic_compare_exchange_weak_explicit(&ex->core->refs, &refs, refs + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return 0;
    return -ESHUTDOWN;
}

int soon__executor_check(const soon_executor *ex)
{
    if (!ex)
        return -EINVAL;
    return soon_executor_inherited(ex) ? -ENOTRECOVERABLE : 0;
}

bool soon_executor_inherited(const soon_executor *ex)
{
    return ex->core->birthplace != soon__generation();
}

const char *soon_executor_backend(const soon_executor *ex)
{
    return ex ? ex->ops->backend : NULL;
}

/* ---- closing ---- */

static void wake_submitters(struct soon_executor_core *core)
{
    atomic_fetch_add(&core->room, 1);
    soon__futex_wake(&core->room, INT_MAX);
}

void soon__room_made(struct soon_executor_core *core)
{
    /* seq_cst, both: the submitter announces itself in want_room, then looks
     * at pending; this lowers pending, then looks at want_room. */
    atomic_fetch_sub(&core->pending, 1);
    if (atomic_load(&core->want_room))
        wake_submitters(core);
}

static void close_core(struct soon_executor_core *core, int how)
{
    int was = atomic_load(&core->closed);

    while (was < how && !atomic_compare_exchange_weak(&core->closed, &was, how))
        ;
    wake_submitters(core);
}

void soon_executor_unref(soon_executor *ex)
{
    if (!ex || soon__executor_check(ex) != 0)
        return;
    /* acq_rel: as in release. */
    uint32_t before = atomic_fetch_sub_explicit(&ex->core->refs, 1, memory_order_acq_rel);
    if (before == 0)
        soon__misuse("soon_executor_unref: more references dropped than taken");
    if (before > 1)
        return;
    close_core(ex->core, SOON__SHUT);
    ex->ops->close(ex, SOON_BACKEND_LAST_REFERENCE);
    soon_executor_release(ex);
}

void soon_executor_break(soon_executor *ex)
{
    close_core(ex->core, SOON__BROKEN);
}

/* First the reason, so that who finds it broken finds that too. */
void soon_executor_break_because(soon_executor *ex, const char *sentence)
{
    char *none = NULL, *copy = sentence ? soon__copy_string(sentence) : NULL;

    if (copy && !atomic_compare_exchange_strong(&ex->core->why, &none, copy))
        soon__free_string(copy); /* it has been broken before */
    soon_executor_break(ex);
}

/* Backends take what is pending away to end it, and two threads that shut down
 * share it: neither returns before the other has ended what it took. Callbacks
 * come after that, for one may shut down itself. */
static void close_cancelling(soon_executor *ex, unsigned flags)
{
    struct soon__wait_group *cancellers = &ex->core->cancellers;
    bool deferred = soon_callbacks_defer();

    soon__wait_group_enter(cancellers);
    ex->ops->close(ex, flags);
    soon__wait_group_leave(cancellers);
    soon__wait_group_wait(cancellers);
    soon_callbacks_resume(deferred);
}

int soon_shutdown(soon_executor *ex, soon_ns wait, unsigned flags)
{
    int error = soon__executor_check(ex);

    if (error == -ENOTRECOVERABLE)
        return 0;
    if (error || (flags & ~(unsigned)SOON_CANCEL_FUTURES))
        return -EINVAL;
    if (wait != 0 && soon__within(ex))
        return -EDEADLK;
    soon_ns deadline = soon__deadline(wait);
    /* What is due in a callback of this thread may be what a task waits for. */
    if (wait != 0)
        soon_flush_callbacks();
    soon_executor_hold(ex);
    if (flags & SOON_CANCEL_FUTURES)
        atomic_store(&ex->core->cancelling, true);
    close_core(ex->core, SOON__SHUT);
    if (flags & SOON_CANCEL_FUTURES)
        close_cancelling(ex, flags);
    else
        ex->ops->close(ex, flags);
    if (wait != 0) {
        soon__blocking(true);
        error = ex->ops->join(ex, deadline == SOON__NEVER ? SOON_FOREVER : deadline);
        soon__blocking(false);
    }
    if (soon_executor_inherited(ex))
        return 0; /* a task that the wait ran forked, and this is the child */
    soon_executor_release(ex);
    return error;
}

/* ---- draining ---- */

static void drain_poke(struct soon_executor_core *core)
{
    atomic_fetch_add(&core->drained, 1);
    soon__futex_wake(&core->drained, INT_MAX);
}

void soon__release_one(soon_executor *ex)
{
    struct soon_executor_core *core = ex->core;
    struct soon__tally *mine = soon__own_tally(ex);

    /* seq_cst, both: this counts, then looks at closed; a drain runs after
     * closed was set, and then sums. One of them sees the other. */
    atomic_fetch_add(&(mine ? mine : &core->tallies.base)->figure[SOON__N_RELEASED], 1);
    if (atomic_load(&core->closed))
        drain_poke(core);
}

void soon__tell_released(soon_executor *ex)
{
    struct soon__tally *mine = soon__own_tally(ex);

    if (!mine) /* then it has told at once */
        return;
    /* seq_cst, both: as in soon__release_one(), for all that was counted so far. */
    atomic_fetch_add(&mine->figure[SOON__N_RELEASED], 0);
    if (atomic_load(&ex->core->closed))
        drain_poke(ex->core);
}

void soon__unsubmit(soon_executor *ex, size_t n)
{
    atomic_fetch_sub(&ex->core->tallies.base.figure[SOON__N_SUBMITTED], n);
    if (atomic_load(&ex->core->closed))
        drain_poke(ex->core);
}

static bool drained(struct soon_executor_core *core)
{
    uint64_t sum[SOON__FIGURES];

    soon__tally_sum(&core->tallies, sum);
    return sum[SOON__N_RELEASED] == sum[SOON__N_SUBMITTED];
}

int soon_executor_drain(soon_executor *ex, soon_ns deadline)
{
    struct soon_executor_core *core = ex->core;

    for (;;) {
        uint32_t seen = atomic_load(&core->drained);
        if (drained(core))
            return 0;
        if (deadline == 0)
            return -ETIMEDOUT;
        if (soon__futex_wait(&core->drained, seen, deadline < 0 ? SOON__NEVER : deadline) != 0)
            return drained(core) ? 0 : -ETIMEDOUT;
    }
}

/* ---- workers ---- */

int soon_worker_enter(soon_executor *ex)
{
    if (soon__self.worker_of)
        return -EBUSY;
    soon__self.worker_of = ex;
    soon__self.tally = soon__tally_join(&ex->core->tallies);
    return 0;
}

void soon_worker_leave(soon_executor *ex)
{
    if (soon__self.worker_of != ex)
        soon__misuse("soon_worker_leave: the thread is no worker of this executor");
    soon__tell_released(ex);
    if (soon__self.tally)
        soon__tally_leave(&ex->core->tallies, soon__self.tally);
    soon__disown();
    soon__self.worker_of = NULL;
}

/* ---- figures ---- */

/* While work goes on the parts are of slightly different moments. */
static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

int soon_executor_stats(soon_executor *ex, soon_stats *out)
{
    uint64_t sum[SOON__FIGURES];
    int error = soon__executor_check(ex);

    if (error || !out)
        return error ? error : -EINVAL;
    if (ex->ops->flags & SOON_BACKEND_REMOTE)
        ex->ops->look(ex, NULL);
    soon__tally_sum(&ex->core->tallies, sum);
    uint64_t started = sum[SOON__N_STARTED] + sum[SOON__N_HELPED];
    uint64_t ran = sum[SOON__N_FINISHED] + sum[SOON__N_FAILED] + sum[SOON__N_TIMED_OUT];
    *out = (soon_stats){
        .pending = minus(sum[SOON__N_SUBMITTED], started + sum[SOON__N_CANCELLED]),
        .running = minus(started, ran),
        .finished = sum[SOON__N_FINISHED],
        .failed = sum[SOON__N_FAILED],
        .cancelled = sum[SOON__N_CANCELLED],
        .timed_out = sum[SOON__N_TIMED_OUT],
        .helped = sum[SOON__N_HELPED],
        .bytes_in = sum[SOON__N_BYTES_IN],
        .bytes_out = sum[SOON__N_BYTES_OUT],
        .memory = sizeof *ex->core + minus(sum[SOON__N_HELD], sum[SOON__N_LET_GO]) +
                  minus(sum[SOON__N_SUBMITTED], sum[SOON__N_RELEASED]) * sizeof(soon_future),
    };
    if (ex->ops->stats)
        ex->ops->stats(ex, out);
    return 0;
}
