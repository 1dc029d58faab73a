/* SPDX-License-Identifier: MIT */
/*
 * lib/thread_pool/schedule.c, idle.c and runner.c: no task is left lying while a
 * worker sleeps, and a shutdown that cancels overlooks none.
 *
 * Here a worker that submits never takes a task of its own, as if each of its
 * tasks took for ever: what it submits has to be found by a worker that was
 * asleep or about to be. If nobody finds it, some worker sleeps until relacy
 * says that all threads do.
 */
#include "model.h"

#include "core/future.h"
#include "thread_pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, TASKS = 3, NONE = WORKERS };
enum { PENDING, CLAIMED, CANCELLED };

static struct pool pool;
static struct worker workers[WORKERS];
static soon_future tasks[TASKS];
static _Atomic int state[TASKS];
static _Atomic int left;             /* tasks to be run before the pool closes */
static bool workers_leave;           /* when they have been idle for a while */
static atomic_bool started;          /* one that makes up for it */
static unsigned role[MODEL_THREADS]; /* which worker a thread is, or NONE */

_Static_assert(SOON__DEQUE_SIZE < TASKS, "the model wants a deque that overflows");

/* ---- the rest of the library ---- */

bool soon__spin_pays(void)
{
    return true;
}

void soon__spin_for(soon_ns ns, bool (*ready)(const void *data), const void *data)
{
    (void)ns;
    ready(data);
}

static unsigned number_of(const soon_future *f)
{
    return (unsigned)(f - tasks);
}

/* True if this call moved it on from PENDING. */
static bool end(const soon_future *f, int as)
{
    int seen = PENDING;

    return atomic_compare_exchange_strong_explicit(&state[number_of(f)], &seen, as,
                                                   memory_order_acq_rel, memory_order_acquire);
}

bool soon_future_cancel(soon_future *f)
{
    return end(f, CANCELLED);
}

int soon_future_set_failure(soon_future *f, const soon_error *error)
{
    (void)f, (void)error;
    model_expect(false, "no pool breaks here");
    return 0;
}

void soon_future_unref(soon_future *f)
{
    (void)f;
}

soon_future *soon_future_next(const soon_future *f)
{
    return f->next;
}

/* Of a sweep, which takes more tasks than there are here. */
bool soon_future_unclaimed(const soon_future *f)
{
    return atomic_load(&state[number_of(f)]) == PENDING;
}

/* By a submitter that finds no worker awake, as none can be started. */
bool soon_future_run(soon_future *f)
{
    model_expect(atomic_load(&pool.ending) != POOL_OPEN, "some worker is awake all the time");
    return end(f, CLAIMED);
}

bool soon_executor_inherited(const soon_executor *ex)
{
    (void)ex;
    return false;
}

void soon__tell_released(soon_executor *ex)
{
    (void)ex;
}

int soon_executor_drain(soon_executor *ex, soon_ns timeout)
{
    (void)ex, (void)timeout;
    return 0;
}

bool soon_callbacks_defer(void)
{
    return false;
}

void soon_callbacks_resume(bool before)
{
    (void)before;
}

int soon__worker_start(struct pool *of)
{
    if (workers_leave) { /* a new one would find what there is */
        atomic_store(&started, true);
        of->n_staying++;
        return 0;
    }
    /* Those that leave an ending pool may be missed by who has just submitted. */
    model_expect(atomic_load(&pool.ending) != POOL_OPEN, "all workers have been started");
    return -EAGAIN;
}

/* ---- a pool with its workers ---- */

static void bind_worker(struct worker *w)
{
    MODEL_BIND(w->deque.top, "top");
    MODEL_BIND(w->deque.bottom, "bottom");
    for (int i = 0; i < SOON__DEQUE_SIZE; i++)
        MODEL_BIND(w->deque.slot[i], "slot");
    MODEL_BIND(w->awake, "awake");
    MODEL_BIND(w->deque.taking, "taking");
    MODEL_BIND(w->stolen, "stolen");
    MODEL_BIND(w->begun, "begun");
}

static void bind_pool(void)
{
    MODEL_BIND(pool.inbox.hint, "hint");
    MODEL_BIND(pool.inbox.seen, "seen");
    MODEL_BIND(pool.inbox.head, "head");
    for (int i = 0; i < SOON__INBOX_SIZE; i++)
        MODEL_BIND(pool.inbox.slot[i], "inbox");
    MODEL_BIND(pool.queued, "queued");
    MODEL_BIND(pool.urgent, "urgent");
    MODEL_BIND(pool.stale, "stale");
    MODEL_BIND(pool.helpers, "helpers");
    MODEL_BIND(pool.rouse, "rouse");
    MODEL_BIND(pool.n_swift, "n_swift");
    MODEL_BIND(pool.flushers.members, "flushers");
    MODEL_BIND(pool.ending, "ending");
    for (unsigned i = 0; i < TASKS; i++)
        MODEL_BIND(state[i], "state");
    MODEL_BIND(left, "left");
    MODEL_BIND(started, "started");
}

static void start(unsigned n_workers, unsigned n_tasks)
{
    model_swift_after = 0;
    workers_leave = false;
    atomic_init(&started, false);
    soon__backlog_free(&pool.queue); /* of the run before */
    memset(&pool, 0, sizeof pool);
    soon__inbox_init(&pool.inbox);
    memset(workers, 0, sizeof workers);
    memset(tasks, 0, sizeof tasks);
    pool.max_workers = pool.min_workers = pool.n_workers = n_workers;
    pool.n_staying = pool.cpus = n_workers;
    pool.idle_timeout = SOON_FOREVER;
    for (unsigned i = n_workers; i--;) {
        workers[i].pool = &pool;
        workers[i].deque.wanted = &pool.helpers;
        workers[i].deque.attend = soon__attend;
        workers[i].deque.executor = &pool.ex;
        workers[i].deque.n_swift = &pool.n_swift;
        workers[i].next = pool.workers;
        pool.workers = &workers[i];
        bind_worker(&workers[i]);
    }
    for (unsigned i = 0; i < TASKS; i++)
        atomic_init(&state[i], PENDING);
    atomic_init(&left, (int)n_tasks);
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        role[i] = i < n_workers ? i : NONE;
    bind_pool();
}

static void resumed(unsigned self)
{
    soon__this_worker = role[self] == NONE ? NULL : &workers[role[self]];
}

static bool submit(unsigned i)
{
    model_write(i);
    return soon__schedule(&pool, &tasks[i], 1) == 0;
}

/* As the close op of pool.c. */
static void close_pool(enum pool_end how)
{
    soon__lock_acquire(&pool.lock);
    atomic_store(&pool.ending, (int)how);
    soon__count_helpers(&pool);
    soon__lock_release(&pool.lock);
    if (how == POOL_CANCELLING)
        soon__flush(&pool);
    soon__wake_all(&pool);
}

/* As work() in worker.c. */
static bool turn(struct worker *self)
{
    bool leave;
    soon_future *f = soon__next_task(self, &leave);

    if (!f)
        return !leave;
    bool claimed = end(f, CLAIMED);
    atomic_store_explicit(&self->deque.taking, false, memory_order_release);
    if (claimed) {
        model_read(number_of(f));
        if (atomic_fetch_sub(&left, 1) == 1)
            close_pool(POOL_CLOSED);
    }
    return true;
}

static void work(struct worker *self)
{
    while (turn(self))
        ;
}

static void expect_all(int as)
{
    for (unsigned i = 0; i < TASKS; i++)
        model_expect(atomic_load(&state[i]) == as, "a task was not run");
}

/* ---- one sleeper, while a worker and somebody outside submit ---- */

static void before_one(void)
{
    start(2, TASKS);
}

static void thread_one(unsigned self)
{
    switch (self) {
    case 0:
        model_expect(submit(0) && submit(1), "a task was refused");
        break;
    case 1:
        work(&workers[1]);
        break;
    default:
        model_expect(submit(2), "a task was refused");
    }
}

static void after_all_run(void)
{
    expect_all(CLAIMED);
}

/* ---- the same, and the worker pushes swiftly ---- */

static void before_one_swift(void)
{
    start(2, TASKS);
    model_swift_after = 1;
}

/* ---- two sleepers, and a worker whose deque overflows ---- */

static void before_two(void)
{
    start(3, TASKS);
}

static void thread_two(unsigned self)
{
    if (self)
        work(&workers[self]);
    else
        model_expect(submit(0) && submit(1) && submit(2), "a task was refused");
}

/* ---- two outside, by way of the inbox, and a worker that empties it ---- */

static void before_outside(void)
{
    start(1, TASKS);
}

static void thread_outside(unsigned self)
{
    switch (self) {
    case 0:
        work(&workers[0]);
        break;
    case 1:
        model_expect(submit(0) && submit(1), "a task was refused");
        break;
    default:
        model_expect(submit(2), "a task was refused");
    }
}

/* ---- a runner that is stuck, and who was to leave all to it ---- */

/* No time passes: so all tasks are quick, and who has not begun one since is stuck. */

static bool had_runner, was_watched; /* in any run */

static void thread_runner(unsigned self)
{
    switch (self) {
    case 0:
        while (atomic_load(&workers[0].begun) < 2 && turn(&workers[0]))
            had_runner |= pool.runner == &workers[0];
        break;
    case 1:
        while (turn(&workers[1]))
            was_watched |= workers[1].seen_begun > 0;
        break;
    default:
        model_expect(submit(0) && submit(1) && submit(2), "a task was refused");
    }
}

/* ---- a shutdown that cancels, against workers that take ---- */

static void before_taking(void)
{
    start(2, TASKS + 1); /* nobody closes it by running the last */
    soon__this_worker = &workers[0];
    for (unsigned i = 0; i < SOON__DEQUE_SIZE; i++) {
        model_write(i);
        soon__deque_push(&workers[0].deque, &tasks[i]);
    }
}

static void cancel_all(void)
{
    close_pool(POOL_CANCELLING);
    /* relaxed: that it sees them is the shutdown's doing. */
    for (unsigned i = 0; i < SOON__DEQUE_SIZE; i++)
        model_expect(atomic_load_explicit(&state[i], memory_order_relaxed) != PENDING,
                     "a task outlived the shutdown that cancels it");
}

static void thread_taking(unsigned self)
{
    if (role[self] == NONE) {
        cancel_all();
        return;
    }
    turn(&workers[self]);
    if (self == 0)
        submit(2);
}

/* ---- the same, against a worker whose task joins what it has forked ---- */

/* As soon__take_child(). */
static void join(struct worker *self, unsigned i)
{
    int64_t at;

    model_expect(soon__deque_youngest(&self->deque, &tasks[i], &at), "it is not there");
    soon__deque_begin_take(&self->deque, at);
    bool claimed = end(&tasks[i], CLAIMED);
    if (claimed) /* by what is a full barrier: as in deque.c */
        atomic_store(&self->deque.bottom, at);
    soon__deque_end_take(&self->deque, at, claimed);
}

static void thread_joining(unsigned self)
{
    switch (self) {
    case 0:
        join(&workers[0], 1);
        break;
    case 1:
        turn(&workers[1]);
        break;
    default:
        cancel_all();
    }
}

/* ---- the same, against a worker that submits ---- */

static bool accepted[TASKS];

static void before_submitting(void)
{
    start(2, TASKS + 1);
    memset(accepted, 0, sizeof accepted);
}

static void before_submitting_swiftly(void)
{
    before_submitting();
    model_swift_after = 1;
}

static void thread_submitting(unsigned self)
{
    switch (self) {
    case 0:
        accepted[0] = submit(0);
        accepted[1] = submit(1);
        break;
    case 1:
        turn(&workers[1]);
        break;
    default:
        close_pool(POOL_CANCELLING);
    }
}

static void after_submitting(void)
{
    for (unsigned i = 0; i < TASKS; i++)
        model_expect((atomic_load(&state[i]) != PENDING) == accepted[i],
                     "a task was left in the pool, or refused and not left alone");
}

/* ---- the same, against a worker that was swift, and sees nothing of it ---- */

static void before_slowing_down(void)
{
    before_submitting_swiftly();
    pool.max_workers = pool.n_staying = 1; /* the second one is of no use */
}

static void thread_slowing_down(unsigned self)
{
    if (self == 0) {
        accepted[0] = submit(0);
        accepted[1] = submit(1);
        soon__deque_slow_down(&workers[0].deque);
    } else if (role[self] == NONE) {
        close_pool(POOL_CANCELLING);
    }
}

/* ---- a shutdown that lets everything end, against somebody outside ---- */

static void before_leaving(void)
{
    start(1, TASKS + 1);
    memset(accepted, 0, sizeof accepted);
}

static void thread_leaving(unsigned self)
{
    switch (self) {
    case 0:
        work(&workers[0]);
        break;
    case 1:
        accepted[0] = submit(0);
        accepted[1] = submit(1);
        break;
    default:
        close_pool(POOL_CLOSED);
    }
}

/* ---- a worker that leaves for want of work, while another one submits ---- */

static void before_idle(void)
{
    start(2, TASKS + 1);
    pool.min_workers = 0;
    pool.idle_timeout = 1;
    workers_leave = true;
}

static void thread_idle(unsigned self)
{
    if (self == 0)
        model_expect(submit(0), "a task was refused");
    else if (self == 1)
        work(&workers[1]);
}

static void after_idle(void)
{
    model_expect(atomic_load(&state[0]) == CLAIMED || atomic_load(&started),
                 "nobody is left that will find the task");
}

/* ---- mutants ---- */

static const struct model_mutant one_mutants[] = {
    /* Each of the four sides of: who pushes then looks for sleepers, who goes
     * to sleep then looks for tasks. */
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"look_for_helpers", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__deque_is_wanted", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_empty", "bottom", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__inbox_empty", "inbox", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    /* Falling asleep against being woken. */
    {"soon__park", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__wake", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant one_swift_mutants[] = {
    {"soon__deque_quicken", "n_swift", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    {"soon__deque_catch_up", "n_swift", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__barrier_everywhere", "the barrier", MODEL_CALL, MODEL_LOST, 0},
    {"soon__deque_publish_swiftly", "bottom", MODEL_STORE, MODEL_LATER, 0},
};

static const struct model_mutant two_mutants[] = {
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_is_wanted", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__wake", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant outside_mutants[] = {
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__inbox_take", "inbox", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
};

static const struct model_mutant runner_mutants[] = {
    {"look_for_helpers", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
    {"soon__wake", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant taking_mutants[] = {
    {"set_taking", "taking", MODEL_STORE, MODEL_LOST, 0},
    {"await_claims", "taking", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
};

static const struct model_mutant joining_mutants[] = {
    {"soon__deque_begin_take", "taking", MODEL_STORE, MODEL_LOST, 0},
    {"soon__deque_begin_take", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__deque_end_take", "taking", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"await_claims", "taking", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
};

static const struct model_mutant submitting_mutants[] = {
    /* Who pushes then looks for the end, who ends it then empties the deques. */
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_is_wanted", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
    {"soon__deque_steal", "bottom", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
};

static const struct model_mutant submitting_swiftly_mutants[] = {
    {"soon__deque_publish_swiftly", "bottom", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_catch_up", "n_swift", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__barrier_everywhere", "the barrier", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant slowing_down_mutants[] = {
    {"soon__deque_slow_down", "n_swift", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__barrier_everywhere", "the barrier", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant leaving_mutants[] = {
    /* Who pushes then looks for helpers, who leaves counts as one and then
     * looks. */
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    {"look_for_helpers", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
};

static const struct model_mutant idle_mutants[] = {
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
};

#define MUTANTS(of) of, sizeof of / sizeof *of

int main(void)
{
    static const struct model models[] = {
        {"parking: one sleeper", 60000, before_one, thread_one, after_all_run, resumed,
         MUTANTS(one_mutants)},
        {"parking: one sleeper, swiftly", 60000, before_one_swift, thread_one, after_all_run,
         resumed, MUTANTS(one_swift_mutants)},
        {"parking: two sleepers", 60000, before_two, thread_two, after_all_run, resumed,
         MUTANTS(two_mutants)},
        {"parking: two outside", 60000, before_outside, thread_outside, after_all_run, resumed,
         MUTANTS(outside_mutants)},
        {"parking: a runner that is stuck", 60000, before_one, thread_runner, after_all_run,
         resumed, MUTANTS(runner_mutants)},
        {"parking: cancelling what is joined", 60000, before_taking, thread_joining, NULL, resumed,
         MUTANTS(joining_mutants)},
        {"parking: cancelling what is taken", 60000, before_taking, thread_taking, NULL, resumed,
         MUTANTS(taking_mutants)},
        {"parking: cancelling what is submitted", 60000, before_submitting, thread_submitting,
         after_submitting, resumed, MUTANTS(submitting_mutants)},
        {"parking: cancelling what is submitted swiftly", 60000, before_submitting_swiftly,
         thread_submitting, after_submitting, resumed, MUTANTS(submitting_swiftly_mutants)},
        {"parking: cancelling what was submitted swiftly", 60000, before_slowing_down,
         thread_slowing_down, after_submitting, resumed, MUTANTS(slowing_down_mutants)},
        {"parking: leaving while one is submitted", 60000, before_leaving, thread_leaving,
         after_submitting, resumed, MUTANTS(leaving_mutants)},
        {"parking: leaving for want of work", 60000, before_idle, thread_idle, after_idle, resumed,
         MUTANTS(idle_mutants)},
    };

    int failed = model_check(models, sizeof models / sizeof *models);
    if (had_runner && was_watched)
        return failed;
    fprintf(stderr, "parking: no run had a runner that was watched\n");
    return EXIT_FAILURE;
}
