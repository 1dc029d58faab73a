/* SPDX-License-Identifier: MIT */
/*
 * lib/core/transition.c and callback.c, the state word of a future: it is
 * completed exactly once, nobody who waits sleeps through that, no hook is
 * lost, and whoever learns of it sees the result.
 *
 * With a remote backend also: a task that has begun is never cancelled, and
 * its end is not lost to a canceller.
 *
 * The result is a cell that is written between winning the right to complete
 * and completing; two winners, or a reader who comes too early, are a race.
 */
#include "model.h"

#include "core/transition.h"

#include <errno.h>
#include <soon/future.h>
#include <string.h>

enum { RESULT = 0 };

static soon_future f;
static unsigned completed;
static bool cancelled;

static void before(void)
{
    soon__future_init(&f);
    atomic_init(&f.state, SOON_PENDING);
    MODEL_BIND(f.state, "state");
    completed = 0;
    cancelled = false;
}

static unsigned phase(void)
{
    /* relaxed: to see the result is the matter of the call before. */
    return atomic_load_explicit(&f.state, memory_order_relaxed) & SOON__PHASE;
}

/* By who has won the right to. */
static void complete(enum soon__outcome outcome, bool started)
{
    model_write(RESULT);
    model_expect(++completed == 1, "completed twice");
    soon__settle(&f, outcome, started);
}

static void complete_from(uint32_t allowed, enum soon__outcome outcome)
{
    uint32_t from;

    if (soon__close(&f, allowed, &from) == 0)
        complete(outcome, (from & SOON__PHASE) == SOON_RUNNING);
}

static void cancel(void)
{
    cancelled = soon_future_cancel(&f);
    if (cancelled)
        model_expect(phase() == SOON_CANCELLED, "cancel() said so, but it is not cancelled");
}

static void wait(soon_ns deadline)
{
    if (soon__sleep(&f, deadline) != 0)
        model_expect(deadline != SOON__NEVER, "the wait came to a deadline it did not have");
    else if (phase() != SOON_CANCELLED)
        model_read(RESULT);
}

static void after(void)
{
    unsigned end = atomic_load(&f.state);

    model_expect(end == SOON_FINISHED || end == SOON_CANCELLED, "not done, or bits were left");
    model_expect((end == SOON_CANCELLED) == cancelled, "cancelled, and nobody was told");
    model_expect(completed + cancelled == 1, "not completed exactly once");
}

/* ---- a call without a timeout, a canceller and a waiter ---- */

static void thread_call(unsigned self)
{
    switch (self) {
    case 0:
        if (soon__claim_call(&f))
            complete(SOON__FINISHED, true);
        break;
    case 1:
        cancel();
        break;
    default:
        wait(SOON__NEVER);
    }
}

/* ---- a call's end, its deadline, and a waiter with a deadline of its own ---- */

static void before_deadline(void)
{
    before();
    f.flags = SOON__TIMED;
    model_expect(soon__claim_call(&f), "a new future can't be claimed");
}

static void thread_deadline(unsigned self)
{
    switch (self) {
    case 0:
        complete_from(SOON__CALL, SOON__FINISHED);
        break;
    case 1:
        complete_from(SOON__CALL, SOON__TIMED_OUT);
        break;
    default:
        wait(1);
    }
}

/* ---- a promise: kept, cancelled, and announced as running ---- */

static void thread_promise(unsigned self)
{
    switch (self) {
    case 0:
        complete_from(0, SOON__FINISHED);
        break;
    case 1:
        cancel();
        break;
    default:
        if (soon__claim(&f))
            complete_from(0, SOON__FAILED);
    }
}

/* ---- hooks: one that stays, one that is removed ---- */

enum { STAYS, REMOVED, HOOKS };

static struct soon__hook hooks[HOOKS];
static bool added[HOOKS], removed[HOOKS];
static unsigned fired[HOOKS];

static void fire(struct soon__hook *hook, soon_future *of)
{
    size_t i = (size_t)(hook - hooks);

    model_expect(of == &f, "a hook of another future");
    model_expect(!removed[i], "a hook fired after it was removed");
    fired[i]++;
    if (phase() != SOON_CANCELLED)
        model_read(RESULT);
}

static void before_hooks(void)
{
    before();
    for (unsigned i = 0; i < HOOKS; i++) {
        hooks[i] = (struct soon__hook){.fire = fire};
        added[i] = removed[i] = false;
        fired[i] = 0;
    }
}

static void add(unsigned i)
{
    added[i] = soon__hook_add(&f, &hooks[i]);
    if (!added[i] && phase() != SOON_CANCELLED)
        model_read(RESULT);
}

static void thread_hooks(unsigned self)
{
    switch (self) {
    case 0:
        complete_from(0, SOON__FINISHED);
        break;
    case 1:
        add(STAYS);
        break;
    default:
        add(REMOVED);
        soon__hook_remove(&f, &hooks[REMOVED]);
        removed[REMOVED] = true;
    }
}

static void after_hooks(void)
{
    after();
    model_expect(fired[STAYS] == added[STAYS], "a hook was lost, or fired twice");
    model_expect(fired[REMOVED] <= added[REMOVED], "a hook fired that was not added");
    model_expect(!f.hooks, "a hook was left in the list");
}

/* ---- a call of a pool, and two that wait for it, perhaps patiently ---- */

static const struct soon_executor_ops pool_ops = {.flags = SOON_BACKEND_DRAINS};
static struct soon_executor_core core;
static soon_executor executor;

static void set_executor(const struct soon_executor_ops *ops)
{
    memset(&core, 0, sizeof core);
    atomic_init(&core.holds, 2);
    executor = (soon_executor){.ops = ops, .core = &core};
    f.executor = &executor;
    for (int i = 0; i <= SOON__N_BYTES_OUT; i++)
        MODEL_BIND(core.tallies.base.figure[i], "figure");
}

static void before_patience(void)
{
    before();
    set_executor(&pool_ops);
}

static void thread_patience(unsigned self)
{
    if (self)
        wait(SOON__NEVER);
    else if (soon__claim_call(&f))
        complete(SOON__FINISHED, true);
}

/* ---- a task that others let go of before it begins, or while it runs ---- */

static void before_queued(void)
{
    before();
    set_executor(&pool_ops);
    core.drains = true;
    atomic_init(&f.refs, MODEL_THREADS);
    MODEL_BIND(f.refs, "refs");
    hooks[STAYS] = (struct soon__hook){.fire = fire};
    added[STAYS] = removed[STAYS] = false;
    fired[STAYS] = 0;
}

/* As run_claimed() and soon__settle_plain(), of which the model has no call. */
static void run_queued(void)
{
    if (!soon__claim_queued(&f))
        return;
    model_write(RESULT);
    model_expect(++completed == 1, "completed twice");
    soon__publish_queued(&f, SOON_FINISHED);
}

static void thread_queued(unsigned self)
{
    if (self == 0) {
        run_queued();
        return;
    }
    if (self == 1 && model_choose(2))
        add(STAYS);
    else if (self == 2 && model_choose(2))
        cancel();
    soon__future_drop(&f, 1);
}

static void after_queued(void)
{
    after();
    model_expect(fired[STAYS] == added[STAYS], "a hook was lost, or fired twice");
}

/* ---- with a remote backend: begun or taken back, and who must know ---- */

enum slot { QUEUED, TAKEN, REVOKED };

static soon__futex slot;  /* the backend's: two swaps from QUEUED race */
static bool taken, told;  /* by the worker; its end was accepted */
static bool killed, kept; /* completed by a kill; by who is not the backend */

static bool revoke(void)
{
    uint32_t queued = QUEUED;

    return atomic_compare_exchange_strong_explicit(&slot, &queued, REVOKED, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

static bool op_recall(soon_executor *ex, soon_future *of)
{
    (void)ex, (void)of;
    return revoke();
}

static void op_look(soon_executor *ex, soon_future *of)
{
    (void)ex;
    if (atomic_load(&slot) == TAKEN)
        (void)soon_future_set_running_or_notify_cancel(of);
}

static void op_ask(soon_executor *ex, soon_future *of)
{
    (void)ex, (void)of;
    model_expect(taken, "asked to stop, and it has not begun");
}

static void op_kill(soon_executor *ex, soon_future *of)
{
    (void)ex, (void)of;
    model_write(RESULT);
    model_expect(++completed == 1 && taken, "killed, and it was not running");
    killed = true;
}

/* Who has a backend with this one may nap. */
static void op_assist(soon_executor *ex, soon_future *of, soon_ns deadline)
{
    (void)ex, (void)of, (void)deadline;
}

static const struct soon_executor_ops remote_ops = {
    .flags = SOON_BACKEND_REMOTE,
    .assist = op_assist,
    .look = op_look,
    .recall = op_recall,
    .ask = op_ask,
    .kill = op_kill,
};

static void before_remote(void)
{
    before();
    set_executor(&remote_ops);
    f.flags = SOON__REMOTE | SOON__KILLABLE;
    atomic_init(&slot, QUEUED);
    taken = told = killed = kept = false;
    MODEL_BIND(slot, "slot");
}

static unsigned figure(enum soon__figure i)
{
    /* relaxed: who has seen f done finds it counted. */
    return (unsigned)atomic_load_explicit(&core.tallies.base.figure[i], memory_order_relaxed);
}

/* The worker, and the thread that collects what it did. */
static void take_and_complete(void)
{
    uint32_t queued = QUEUED;
    uint32_t from;

    if (!atomic_compare_exchange_strong_explicit(&slot, &queued, TAKEN, memory_order_seq_cst,
                                                 memory_order_seq_cst))
        return;
    taken = true;
    int error = soon__close(&f, 0, &from);
    if (!error)
        complete(SOON__FINISHED, (from & SOON__PHASE) == SOON_RUNNING);
    told = !error;
}

static void cancel_or_kill(bool kill)
{
    int error = kill ? soon_future_kill(&f) : 0;

    if (!kill)
        cancel();
    else if (error == 0 && !killed)
        cancelled = true;
    else
        model_expect(error == 0 || error == -EALREADY, "an error that says nothing");
}

/* Somebody with a result of their own. */
static void keep(void)
{
    uint32_t from;
    int error = soon__close_foreign(&f, &from);

    if (error == 0) {
        kept = true;
        complete(SOON__FINISHED, (from & SOON__PHASE) == SOON_RUNNING);
    }
    model_expect(error != -EBUSY || taken, "busy, and it has not begun");
}

static void look(void)
{
    bool begun = taken;
    enum soon_state state = soon_future_state(&f);

    if (begun)
        model_expect(state == SOON_RUNNING || state == SOON_FINISHED, "begun, and not told so");
    wait(SOON__NEVER);
    model_expect(figure(SOON__N_STARTED) + figure(SOON__N_CANCELLED) == 1, "done, and not counted");
}

static void thread_remote(unsigned self)
{
    unsigned as = self ? model_choose(4) : 0;

    if (self == 0)
        take_and_complete();
    else if (as < 2)
        cancel_or_kill(as == 1);
    else if (as == 2)
        keep();
    else
        look();
}

static void after_remote(void)
{
    unsigned end = atomic_load(&f.state);

    model_expect(end == SOON_FINISHED || end == SOON_CANCELLED, "not done, or bits were left");
    model_expect((end == SOON_CANCELLED) == cancelled, "cancelled, and nobody was told");
    model_expect(taken + kept == (end == SOON_FINISHED), "begun and taken back");
    model_expect(told + killed == taken, "a completion was lost");
    model_expect(figure(SOON__N_STARTED) == (unsigned)taken + kept,
                 "not begun once, or counted wrongly");
    model_expect(figure(SOON__N_CANCELLED) == cancelled, "cancelled, and counted wrongly");
    soon__extra_free(f.extra);
}

/* ---- mutants ---- */

static const struct model_mutant call_mutants[] = {
    {"soon__begin_call", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"cancel_pending", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__swap_to_done", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__swap_to_done", "state", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__state", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
    {"sleep_once", "state", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"sleep_once", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant deadline_mutants[] = {
    {"soon__close", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__close", "state", MODEL_UPDATE, MODEL_LOST, 0},
    {"soon__swap_to_done", "state", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQUIRE},
};

static const struct model_mutant promise_mutants[] = {
    {"soon__close", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__claim", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"cancel_pending", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant hooks_mutants[] = {
    {"announce", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"announce", "state", MODEL_UPDATE, MODEL_LOST, 0},
    {"announce", "state", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__state", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__swap_to_done", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant patience_mutants[] = {
    {"nap", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"sleep_once", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__swap_to_done", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant queued_mutants[] = {
    {"soon__is_alone", "refs", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__future_drop", "refs", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__publish_queued", "state", MODEL_STORE, MODEL_LOST, 0},
};

#define MUTANTS(of) of, sizeof of / sizeof *of

static const struct model_mutant remote_mutants[] = {
    {"soon__close", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__claim", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__close_foreign", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"cancel_pending", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"decide_begun", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"decide_begun", "state", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"decide_begun", "state", MODEL_UPDATE, MODEL_LOST, 0},
    {"sleep_once", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
};

int main(void)
{
    static const struct model models[] = {
        {"state: call", 100000, before, thread_call, after, NULL, MUTANTS(call_mutants)},
        {"state: deadline", 100000, before_deadline, thread_deadline, after, NULL,
         MUTANTS(deadline_mutants)},
        {"state: promise", 100000, before, thread_promise, after, NULL, MUTANTS(promise_mutants)},
        {"state: hooks", 100000, before_hooks, thread_hooks, after_hooks, NULL,
         MUTANTS(hooks_mutants)},
        {"state: patience", 100000, before_patience, thread_patience, after, NULL,
         MUTANTS(patience_mutants)},
        {"state: queued", 100000, before_queued, thread_queued, after_queued, NULL,
         MUTANTS(queued_mutants)},
        {"state: remote", 100000, before_remote, thread_remote, after_remote, NULL,
         MUTANTS(remote_mutants)},
    };

    return model_check(models, sizeof models / sizeof *models);
}
