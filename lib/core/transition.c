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
 *   complete against two who wait, of whom one is patient: that bit is set
 *   together with WAITERS, and cleared by whoever comes to sleep without
 *   patience. So it is in the word only while all sleepers have a clock set.
 *
 *   complete against free: a waiter may drop the last user reference as soon
 *   as the word says done. The completer holds one of its own (the queue's, a
 *   canceller's caller's) until after its last touch.
 *
 * With a remote backend a task begins without the word being told, so PENDING
 * means only that nobody has asked. Who wants to make it CANCELLED, or RUNNING
 * because the backend says so, or complete it without being the backend, first
 * swaps CLOSING and CANCELLING into the word, and so alone decides what it
 * becomes; it is never PENDING again.
 *
 *   canceller against begin: the backend's, whose recall takes the task back
 *   or finds it begun. As CLOSING is set, nobody completes f meanwhile.
 *
 *   canceller against completion: the backend's thread that has a result comes
 *   to soon__close() before the canceller's swap, and then the canceller finds
 *   f closed; or after it, and then it waits for the decision. That is RUNNING,
 *   since a task with a result had begun, and the completion goes on; nothing
 *   is lost. Recall needs nothing from who completes, which holds no lock that
 *   recall takes, so the wait is short.
 *
 *   canceller against canceller, or kill: the second waits for the decision,
 *   then acts upon it: cancelled by another, or running and to be asked.
 *
 *   canceller against look: a claim that comes second says false at once, since
 *   whatever is decided, it was not that claim which made f RUNNING. It may
 *   come under the lock that recall takes. soon_future_state() then waits for
 *   the decision, without a lock.
 *
 *   begin against completion: who decides that f has begun counts it as begun
 *   first, so that who sees it done finds all of its figures. That is why a
 *   claim takes two steps here.
 */
#include "core/transition.h"

#include "core/mem.h"
#include "os/patience.h"
#include "os/spin.h"

#include <errno.h>
#include <signal.h>

/* Nobody may count a future that stayed in the parent: its executor is a
 * copy that nothing works for. */
static soon_executor *executor_of(const soon_future *f, uint32_t state)
{
    return soon__inherited(state) ? NULL : f->executor;
}

/* Does the backend of f, which runs it elsewhere, know more than the word? */
static bool is_remote(const soon_future *f, uint32_t state)
{
    return soon__is_remote(f) && !soon__inherited(state);
}

/* CLOSING+CANCELLING -> RUNNING, by who has set them. Sleepers wake: those
 * that wait for the decision have it, the others announce themselves anew. But where
 * they are patient none waits for the decision, and they sleep on. */
static void decide_begun(soon_future *f)
{
    const uint32_t undecided = SOON__CLOSING | SOON__CANCELLING;
    /* relaxed: the swap below decides. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed), woken;

    soon__count_begun(f->executor, f, SOON__N_STARTED);
    /* release: who completes f from here on comes after the count; pairs with
     * the acquire in soon__close(). */
    do
        woken = state & SOON__PATIENT ? 0 : state & SOON__WAITERS;
    while (!atomic_compare_exchange_weak_explicit(&f->state, &state,
                                                  (state & ~(undecided | woken)) | SOON_RUNNING,
                                                  memory_order_release, memory_order_relaxed));
    if (woken)
        soon__futex_wake(&f->state, INT_MAX);
}

void soon__clear_deque(void)
{
    soon_future *dead;

    while ((dead = soon__deque_unearth(soon__self.deque)))
        soon__future_drop(dead, 1);
}

void soon__withdraw(soon_executor *ex, soon_future *f)
{
    struct soon__deque *own = soon__self.deque;

    if (own && own->n_dead)
        soon__clear_deque();
    if (own && soon__deque_take(own, f)) {
        soon__future_drop(f, 1);
        soon__clear_deque();
        return;
    }
    bool buried = own && soon__deque_bury(own, f);
    if (!buried && ex->ops->withdrawn)
        ex->ops->withdrawn(ex, f);
}

void soon__heed(soon_future *f, uint32_t before)
{
    if (before & SOON__PATIENT)
        soon__wake_patient(f);
    else if (before & SOON__WAITERS)
        soon__futex_wake(&f->state, INT_MAX);
    if (before & SOON__HOOKS)
        soon__hooks_fire(f);
}

__attribute__((noinline)) bool soon__finish_heeded(soon_future *f)
{
    uint32_t before = soon__swap_to_done(f, SOON_FINISHED);

    if (before & SOON__HEEDED)
        soon__heed(f, before);
    soon__future_drop(f, 1);
    return before & SOON__HEEDED;
}

bool soon__claim(soon_future *f)
{
    /* relaxed: the swap below decides, and acquires. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);
    bool told = is_remote(f, state);
    uint32_t to = told ? SOON__CLOSING | SOON__CANCELLING : SOON_RUNNING;

    do {
        if (!soon__pending(state))
            return false;
        /* acquire: as in soon__claim_call(). */
    } while (!atomic_compare_exchange_weak_explicit(&f->state, &state, state | to,
                                                    memory_order_acq_rel, memory_order_relaxed));
    soon_executor *ex = executor_of(f, state);
    if (told)
        decide_begun(f);
    else if (ex)
        soon__count_begun(ex, f, SOON__N_STARTED);
    return true;
}

/* Sleeps on the word, found in *state, until it may have changed; then *state
 * is what it is. 0 or -ETIMEDOUT. Who naps there is to sleep like that, too, from now on:
 * nobody would know of him. */
static int sleep_once(soon_future *f, uint32_t *state, soon_ns deadline)
{
    uint32_t sleeping = (*state | SOON__WAITERS) & ~(uint32_t)SOON__PATIENT;

    /* acquire, for failure: as soon__state(). The bits carry no data. */
    if (*state != sleeping) {
        if (!atomic_compare_exchange_weak_explicit(&f->state, state, sleeping, memory_order_acquire,
                                                   memory_order_acquire))
            return 0;
        if (*state & SOON__PATIENT)
            soon__rouse(f);
    }
    int error = soon__futex_wait(&f->state, sleeping, deadline);
    *state = soon__state(f);
    return error;
}

/* Only workers of this process ever leave a wake-up out, and who collects for a backend
 * that lets itself be assisted. What is urgent is not waited for with patience. */
static bool may_nap(const soon_future *f, uint32_t state)
{
    return f->executor && f->priority <= SOON_PRIORITY_NORMAL &&
           (!is_remote(f, state) || f->executor->ops->assist) && soon__is_patient();
}

/* Sleeps for a moment at most. Not where somebody sleeps already, who may have to
 * be woken at once. */
static void nap(soon_future *f, uint32_t *state, soon_ns deadline)
{
    uint32_t napping = *state | SOON__WAITERS | SOON__PATIENT;

    if (*state & (SOON__DONE | SOON__WAITERS))
        return;
    soon_ns now = soon__now(), end = now + soon__nap_length(now);
    uint32_t ticket = soon__nap_ticket(f);
    /* acquire, for failure: as in sleep_once(). */
    if (!atomic_compare_exchange_strong_explicit(&f->state, state, napping, memory_order_acquire,
                                                 memory_order_acquire))
        return;
    soon__nap(f, ticket, end < deadline ? end : deadline);
    *state = soon__state(f);
}

/* Waits while another thread is about to make f CANCELLED, or finds out that
 * it is RUNNING; a matter of a few instructions and ops->recall. What it is
 * in then. */
static uint32_t await_decision(soon_future *f, uint32_t state)
{
    while ((state & SOON__CANCELLING) && !soon__inherited(state))
        sleep_once(f, &state, SOON__NEVER);
    return state;
}

int soon__close(soon_future *f, uint32_t allowed, uint32_t *from)
{
    /* acquire: who sees done here may go on to read the result. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_acquire);

    do {
        if (soon__is_remote(f))
            state = await_decision(f, state);
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

int soon__close_foreign(soon_future *f, uint32_t *from)
{
    uint32_t state = soon__state(f);

    if (!is_remote(f, state))
        return soon__close(f, 0, from);
    do {
        state = await_decision(f, state);
        if (state & (SOON__DONE | SOON__CLOSING))
            return -EALREADY;
        if ((state & SOON__PHASE) == SOON_RUNNING)
            return -EBUSY;
        /* acquire, both: as in soon__close(). */
    } while (!atomic_compare_exchange_weak_explicit(&f->state, &state,
                                                    state | SOON__CLOSING | SOON__CANCELLING,
                                                    memory_order_acq_rel, memory_order_acquire));
    *from = state;
    soon_executor *ex = f->executor;
    if (!ex->ops->recall(ex, f)) {
        decide_begun(f);
        return -EBUSY;
    }
    soon__withdraw(ex, f);
    return 0;
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
 * moment, hence the hold: the future's (SOON__REMOTE), the task's own, one for
 * this moment, or the worker's. Callbacks run last: one may wait for the
 * executor's end. */
void soon__settle(soon_future *f, enum soon__outcome outcome, bool started)
{
    enum soon_state phase = outcome == SOON__CANCELLED ? SOON_CANCELLED : SOON_FINISHED;
    /* relaxed: for the birthplace only. */
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);
    soon_executor *ex = executor_of(f, state);

    if (!ex) {
        soon__publish(f, phase);
        soon__run_callbacks();
        return;
    }
    struct soon_executor_core *core = ex->core;
    /* To be released: the task's own, or one for this moment. */
    bool own = soon__tasks_hold(ex);
    bool hold = own || ((ex->ops->flags & SOON_BACKEND_DRAINS) && soon__self.worker_of != ex);
    if (hold && !own)
        soon_executor_hold(ex);
    if (!started) {
        if (f->flags & SOON__SLOT)
            soon__room_made(core);
        if (outcome != SOON__CANCELLED) /* a promise kept without having run */
            soon__count(ex, &core->tallies, SOON__N_STARTED, 1);
    }
    count_outcome(ex, f, outcome);
    size_t outside = soon__future_outside(f);
    soon__publish(f, phase);
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

/* What the word does not say of a task elsewhere: whether it has begun. One
 * that is being completed, from PENDING, has. */
static uint32_t ask_backend(soon_future *f, uint32_t state)
{
    if (soon__pending(state))
        f->executor->ops->look(f->executor, f);
    state = await_decision(f, soon__state(f));
    return !(state & SOON__PHASE) && (state & SOON__CLOSING) ? SOON_RUNNING : state;
}

enum soon_state soon_future_state(const soon_future *f)
{
    uint32_t state = soon__state(f);

    if (!(state & SOON__PHASE) && is_remote(f, state))
        state = ask_backend((soon_future *)(uintptr_t)f, state);
    return (enum soon_state)(state & SOON__PHASE);
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
    return (soon__state(f) & SOON__PHASE) == SOON_CANCELLED;
}

/* Asks the task that runs to stop; returns the state as it was then. One that
 * was asked before is asked again of a remote backend: who asked may not have
 * got there yet. */
static uint32_t ask(soon_future *f, uint32_t state)
{
    while ((state & (SOON__PHASE | SOON__CLOSING)) == SOON_RUNNING && !(state & SOON__ASKED))
        /* acquire, for failure: it may have become done. The bit itself
         * carries no data. */
        if (atomic_compare_exchange_weak_explicit(&f->state, &state, state | SOON__ASKED,
                                                  memory_order_acquire, memory_order_acquire))
            break;
    if ((state & (SOON__PHASE | SOON__CLOSING)) == SOON_RUNNING && is_remote(f, state))
        f->executor->ops->ask(f->executor, f);
    return state;
}

int soon__sleep(soon_future *f, soon_ns deadline)
{
    static soon__spinner spinner;
    uint32_t state = soon__state(f);

    if (is_remote(f, state) && f->executor->ops->assist)
        f->executor->ops->assist(f->executor, f, deadline);
    else if (soon__spin(&spinner, &f->state, SOON__DONE, deadline))
        return 0;
    if ((state = soon__state(f)) & SOON__DONE)
        return 0;
    if (may_nap(f, state))
        nap(f, &state, deadline);
    while (!(state & SOON__DONE)) {
        int error = sleep_once(f, &state, deadline);
        if (error && !(state & SOON__DONE))
            return error;
    }
    soon__was_asleep(soon__now());
    return 0;
}

/* f is CLOSING+CANCELLING by this thread: cancels it, unless its backend says
 * that it has begun; then false. */
static bool cancel_closed(soon_future *f)
{
    uint32_t state = soon__state(f);
    /* In flight until settled: it is alive. */
    soon_executor *ex = executor_of(f, state);

    if (is_remote(f, state) && !ex->ops->recall(ex, f)) {
        decide_begun(f);
        return false;
    }
    /* A callback may drop the caller's reference to f. */
    soon_future_ref(f);
    soon__future_return_arg(f);
    if (ex && !(f->flags & SOON__SURPLUS))
        soon__withdraw(ex, f);
    soon__settle(f, SOON__CANCELLED, false);
    soon_future_unref(f);
    return true;
}

/* True if f was pending, or about to be cancelled, and is cancelled now; else
 * *seen is what it was in. "True if it is cancelled now" needs that to have
 * happened, hence the wait for another canceller. */
static bool cancel_pending(soon_future *f, uint32_t *seen)
{
    uint32_t state = soon__state(f);
    bool waited = false;

    for (;;) {
        if ((state & SOON__CANCELLING) && !soon__inherited(state)) {
            state = await_decision(f, state);
            waited = true;
        }
        if (!soon__pending(state))
            break;
        /* acquire: orders cancellation after submission. */
        if (!atomic_compare_exchange_weak_explicit(&f->state, &state,
                                                   state | SOON__CLOSING | SOON__CANCELLING,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        if (cancel_closed(f))
            return true;
        state = soon__state(f);
    }
    *seen = state;
    return waited && (state & SOON__PHASE) == SOON_CANCELLED;
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
    extra->message = soon__copy_string("its worker was killed"); /* NULL: a standard text */
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
