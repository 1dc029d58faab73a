/* SPDX-License-Identifier: MIT */
/*
 * The state word of a future. future.h draws its states and says who makes
 * which transition; here they are made.
 *
 * The races, from each side:
 *
 *   claim, cancel, set_result on a pending future: compare-and-swap from
 *   PENDING without CLOSING; one wins, the others see why not.
 *
 *   a deadline against the end of the call: both go through soon__close()
 *   (SOON__TIMED makes the worker do so), one wins, and the other's result is
 *   dropped. What soon_return() wrote lies where only a winner makes it
 *   visible.
 *
 *   complete against wait: the waiter sets WAITERS and sleeps only while the
 *   word still says so; the completer exchanges the word and wakes if WAITERS
 *   was in it. Whichever comes second in the word's order sees the first.
 *
 *   complete against free: a waiter may drop the last user reference as soon
 *   as the word says done. The completer holds one of its own (the queue's, a
 *   canceller's caller's) until after its last touch.
 */
#include "core/callback.h"
#include "core/executor.h"
#include "core/fork.h"
#include "os/spin.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>

bool soon__inherited(uint32_t state)
{
    uint32_t birthplace = state >> SOON__BIRTHPLACE_SHIFT;

    return birthplace && birthplace != soon__generation();
}

/* Nobody may count a future that stayed in the parent: its executor is a
 * copy that nothing works for. */
static soon_executor *executor_of(const soon_future *f, uint32_t state)
{
    return soon__inherited(state) ? NULL : f->executor;
}

bool soon__claim(soon_future *f, uint32_t bits)
{
    /* relaxed: the swap below decides, and acquires. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);

    do {
        if (!soon__pending(state))
            return false;
        /* acquire: pairs with the release by which the future was handed
         * over, when the claimer found it by another way than the queue. */
    } while (!atomic_compare_exchange_weak_explicit(&f->state, &state, state | SOON_RUNNING | bits,
                                                    memory_order_acq_rel, memory_order_relaxed));
    soon_executor *ex = executor_of(f, state);
    if (ex) {
        if (f->flags & SOON__SLOT)
            soon__room_made(ex->core);
        soon__count(ex, &ex->core->tallies, SOON__N_STARTED, 1);
    }
    return true;
}

int soon__close(soon_future *f, uint32_t allowed, uint32_t *from)
{
    /* acquire: who sees done here may go on to read the result. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_acquire);

    do {
        if (state & (SOON__DONE | SOON__CLOSING))
            return -EALREADY;
        if ((state & SOON__CALL) && !(allowed & SOON__CALL))
            return -EBUSY;
        /* acq_rel: orders this completer after a claim it takes over. */
    } while (!atomic_compare_exchange_weak_explicit(&f->state, &state, state | SOON__CLOSING,
                                                    memory_order_acq_rel, memory_order_acquire));
    *from = state;
    return 0;
}

/* The step to done. */
static void publish(soon_future *f, enum soon_state phase)
{
    /* relaxed: birthplace never changes. */
    uint32_t keep = atomic_load_explicit(&f->state, memory_order_relaxed) >>
                    SOON__BIRTHPLACE_SHIFT << SOON__BIRTHPLACE_SHIFT;
    /* release: publishes the result, pairs with the acquire in soon__state();
     * acquire: pairs with the swap that set HOOKS. */
    uint32_t before = atomic_exchange_explicit(&f->state, keep | phase, memory_order_acq_rel);

    if (before & SOON__WAITERS)
        soon__futex_wake(&f->state, INT_MAX);
    if (before & SOON__HOOKS)
        soon__hooks_fire(f);
}

static void count_outcome(soon_executor *ex, const soon_future *f, enum soon__outcome outcome)
{
    struct soon__tallies *tallies = &ex->core->tallies;
    size_t len;

    if (outcome == SOON__FINISHED) {
        soon__future_value(f, &len);
        if (len)
            soon__count(ex, tallies, SOON__N_BYTES_OUT, len);
    }
    soon__count(ex, tallies, (enum soon__figure)outcome, 1);
}

/* Figures come before the state is published, so that who has seen a future
 * done finds it counted; RELEASED after, so that who has seen the executor
 * drained finds every future done. After RELEASED the executor may end at any
 * moment, hence the hold: the task's own, or one for this moment, or the
 * worker's. Callbacks run last: one may wait for the executor's end. */
void soon__settle(soon_future *f, enum soon__outcome outcome, bool started)
{
    enum soon_state phase = outcome == SOON__CANCELLED ? SOON_CANCELLED : SOON_FINISHED;
    /* relaxed: for the birthplace only. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);
    soon_executor *ex = executor_of(f, state);

    if (!ex) {
        publish(f, phase);
        soon__run_callbacks();
        return;
    }
    struct soon_executor_core *core = ex->core;
    bool drains = ex->ops->flags & SOON_BACKEND_DRAINS;
    bool hold = !drains || soon__self.worker_of != ex; /* or the task's own */
    if (drains && hold)
        soon_executor_hold(ex);
    if (!started) {
        if (f->flags & SOON__SLOT)
            soon__room_made(core);
        if (outcome != SOON__CANCELLED) /* a promise kept without having run */
            soon__count(ex, &core->tallies, SOON__N_STARTED, 1);
    }
    count_outcome(ex, f, outcome);
    size_t outside = soon__future_outside(f);
    publish(f, phase);
    if (outside)
        soon__count(ex, &core->tallies, SOON__N_LET_GO, outside);
    soon__release_one(ex);
    if ((f->flags & SOON__CALLBACK) && !(state & SOON__CALL))
        soon__callback_left(f);
    if (hold)
        soon_executor_release(ex);
    soon__run_callbacks();
}

void soon__settle_late(soon_future *f)
{
    /* A task with a timeout has had its extra since it was submitted. */
    soon__future_extra(f)->origin = SOON_FROM_LIBRARY;
    f->code = -ETIME;
    soon__settle(f, SOON__TIMED_OUT, true);
}

/* ---- the public view ---- */

enum soon_state soon_future_state(const soon_future *f)
{
    return (enum soon_state)(soon__state(f) & SOON__PHASE);
}

bool soon_future_done(const soon_future *f)
{
    return soon__state(f) & SOON__DONE;
}

bool soon_future_running(const soon_future *f)
{
    return soon_future_state(f) == SOON_RUNNING;
}

bool soon_future_cancelled(const soon_future *f)
{
    return soon_future_state(f) == SOON_CANCELLED;
}

/* Asks the task that runs to stop; returns the state as it was then. */
static uint32_t ask(soon_future *f, uint32_t state)
{
    while ((state & (SOON__PHASE | SOON__CLOSING)) == SOON_RUNNING && !(state & SOON__ASKED))
        /* acquire, for failure: it may have become done. The bit itself
         * carries no data. */
        if (atomic_compare_exchange_weak_explicit(&f->state, &state, state | SOON__ASKED,
                                                  memory_order_acquire, memory_order_acquire))
            break;
    return state;
}

int soon__sleep(soon_future *f, soon_ns deadline)
{
    static soon__spinner spinner;
    uint32_t state = soon__state(f);

    if (soon__spin(&spinner, &f->state, SOON__DONE, deadline))
        return 0;

    while (!(state & SOON__DONE)) {
        uint32_t sleeping = state | SOON__WAITERS;
        /* acquire, for failure: as soon__state(). The bit carries no data. */
        if (!(state & SOON__WAITERS) &&
            !atomic_compare_exchange_weak_explicit(&f->state, &state, sleeping,
                                                   memory_order_acquire, memory_order_acquire))
            continue;
        int error = soon__futex_wait(&f->state, sleeping, deadline);
        state = soon__state(f);
        if (error && !(state & SOON__DONE))
            return error;
    }
    return 0;
}

static void cancel_closed(soon_future *f)
{
    soon_executor *ex = executor_of(f, soon__state(f));

    /* In flight until settled: ex is alive. */
    if (ex && ex->ops->withdrawn)
        ex->ops->withdrawn(ex, f);
    soon__settle(f, SOON__CANCELLED, false);
}

/* True if f was pending, or about to be cancelled, and is cancelled now; else
 * *seen is what it was in. */
static bool cancel_pending(soon_future *f, uint32_t *seen)
{
    uint32_t state = soon__state(f);

    while (soon__pending(state))
        /* acquire: orders cancellation after submission. */
        if (atomic_compare_exchange_weak_explicit(&f->state, &state,
                                                  state | SOON__CLOSING | SOON__CANCELLING,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            /* A callback may drop the caller's reference to f. */
            soon_future_ref(f);
            cancel_closed(f);
            soon_future_unref(f);
            return true;
        }
    /* Another thread is about to make it CANCELLED: "true if it is cancelled
     * now" needs that to have happened, a matter of a few instructions. */
    if ((state & SOON__CANCELLING) && !soon__inherited(state))
        return soon__sleep(f, SOON__NEVER) == 0;
    *seen = state;
    return false;
}

bool soon_future_cancel(soon_future *f)
{
    uint32_t state;

    if (cancel_pending(f, &state))
        return true;
    state = ask(f, state);
    return (state & SOON__PHASE) == SOON_CANCELLED;
}

/* The right to complete f, once won, keeps the executor alive for its kill
 * op, and makes whatever result is on its way come too late. */
static int kill_running(soon_future *f)
{
    uint32_t from;

    if (!(f->flags & SOON__KILLABLE))
        return -ENOTSUP;
    struct soon__extra *extra = soon__future_extra(f);
    if (!extra)
        return -ENOMEM;
    int error = soon__close(f, 0, &from);
    if (error)
        return error == -EBUSY ? -ENOTSUP : error;
    f->executor->ops->kill(f->executor, f);
    extra->origin = SOON_FROM_WORKER;
    extra->signal = SIGKILL;
    f->code = -EOWNERDEAD;
    soon__settle(f, SOON__FAILED, true);
    return 0;
}

int soon_future_kill(soon_future *f)
{
    if (!f)
        return -EINVAL;
    uint32_t state;
    if (soon_future_done(f))
        return -EALREADY;
    if (cancel_pending(f, &state))
        return 0;
    if (state & SOON__DONE)
        return -EALREADY;
    return soon__inherited(state) ? -ENOTRECOVERABLE : kill_running(f);
}
