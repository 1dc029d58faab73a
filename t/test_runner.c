/* SPDX-License-Identifier: MIT */
/*
 * While tasks are quick one worker runs them all: lib/thread_pool/runner.c. What
 * is among them that is not quick must find the others none the less.
 *
 * Each test runs a scene again and again until tasks of it have seen that there
 * was a runner, and then a few times more.
 */
#include "support.h"

#include "os/clock.h"
#include "thread_pool/pool.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

#define ENOUGH SOON_SECONDS(30) /* longer than anything here takes */

enum { QUICK = 5000, SCENES = 10, SCENES_MAX = 1000, WORKERS = 4 };

static struct {
    struct pool *pool;
    struct hold hold;         /* keeps all workers from what is submitted */
    _Atomic unsigned runners; /* tasks that have seen one */
} the;

/* ---- scenes ---- */

static soon_executor *scene_begin(unsigned workers)
{
    soon_thread_pool_options options = {.max_workers = workers};
    soon_executor *ex;

    assert_ok(soon_thread_pool_new(&options, &ex));
    the.pool = (struct pool *)ex;
    the.hold = hold_make();
    for (unsigned i = 0; i < workers; i++)
        assert_ok(soon_submit(ex, task_hold, &the.hold, sizeof the.hold, NULL));
    bell_await(the.hold.started, workers);
    return ex;
}

static void scene_end(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, ENOUGH, 0));
    soon_executor_unref(ex);
    hold_free(&the.hold);
}

static int task_sees_runner(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    soon__lock_acquire(&the.pool->lock);
    bool runner = the.pool->runner;
    soon__lock_release(&the.pool->lock);
    atomic_fetch_add(&the.runners, runner);
    return 0;
}

static void submit_quick(soon_executor *ex)
{
    for (size_t i = 0; i < scaled(QUICK); i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_submit(ex, task_sees_runner, NULL, 0, NULL));
}

/* Under valgrind nothing may be quick, and everything takes long. */
static unsigned scenes_at_most(void)
{
    return running_on_valgrind() ? SCENES / 2 : SCENES_MAX;
}

static void repeat(void (*scene)(unsigned workers), unsigned workers)
{
    const unsigned most = scenes_at_most();
    unsigned scenes = 0;

    atomic_store(&the.runners, 0);
    do
        scene(workers);
    while (++scenes < most && (scenes < SCENES || !atomic_load(&the.runners)));
    if (running_on_valgrind())
        printf("SKIP: what is quick under valgrind is not required: %u runners seen\n",
               atomic_load(&the.runners));
    else
        ck_assert_uint_gt(atomic_load(&the.runners), 0);
}

/* ---- what is not quick ---- */

static int task_gate(soon_call *call, const void *arg, size_t arg_len)
{
    struct gate gate;

    (void)call;
    REQUIRE(arg_len == sizeof gate);
    memcpy(&gate, arg, sizeof gate);
    gate_pass(gate);
    return 0;
}

static int task_bell(soon_call *call, const void *arg, size_t arg_len)
{
    struct bell bell;

    (void)call;
    REQUIRE(arg_len == sizeof bell);
    memcpy(&bell, arg, sizeof bell);
    bell_ring(bell);
    return 0;
}

/* One is stuck: all behind it are run, but for as many as there are workers. */
static void scene_stuck(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);
    struct gate gate = gate_make();
    struct bell bell = bell_make();

    submit_quick(ex);
    for (unsigned i = 1; i < workers; i++) {
        assert_ok(soon_submit(ex, task_gate, &gate, sizeof gate, NULL));
        submit_quick(ex);
    }
    assert_ok(soon_submit(ex, task_bell, &bell, sizeof bell, NULL));
    gate_open(the.hold.release);
    ck_assert(bell_rings_within(bell, ENOUGH));
    gate_open(gate);
    scene_end(ex);
    gate_free(gate);
    bell_free(bell);
}

START_TEST(who_is_stuck_keeps_nobody_from_the_rest)
{
    repeat(scene_stuck, (unsigned)_i);
}
END_TEST

/* As many as there are workers wait for each other. */
static void scene_meeting(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);
    struct hold meeting = hold_make();

    submit_quick(ex);
    for (unsigned i = 0; i < workers; i++)
        assert_ok(soon_submit(ex, task_hold, &meeting, sizeof meeting, NULL));
    gate_open(the.hold.release);
    for (unsigned i = 0; i < workers; i++)
        ck_assert(bell_rings_within(meeting.started, ENOUGH));
    gate_open(meeting.release);
    scene_end(ex);
    hold_free(&meeting);
}

START_TEST(all_workers_join_in_when_tasks_take_long)
{
    repeat(scene_meeting, WORKERS);
}
END_TEST

static int task_waits(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call;
    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    return soon_future_wait(f, ENOUGH);
}

static int task_sets(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call;
    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    return soon_future_set_result(f, NULL, 0);
}

/* What the runner waits for is behind it. */
static void scene_waiting(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);
    soon_future *f = promise();

    submit_quick(ex);
    soon_future *waits = submit(ex, task_waits, &f, sizeof f);
    submit_quick(ex);
    assert_ok(soon_submit(ex, task_sets, &f, sizeof f, NULL));
    gate_open(the.hold.release);
    assert_result_bytes(waits, NULL, 0);
    scene_end(ex);
    unref_all((soon_future *[]){f, waits}, 2);
}

START_TEST(a_runner_that_waits_is_none)
{
    repeat(scene_waiting, (unsigned)_i);
}
END_TEST

/* ---- who is no runner ---- */

enum { LONG = 32, LONG_NS = 100000 };

/* Submits one that jumps what is behind it. */
static int task_is_jumped(soon_call *call, const void *arg, size_t arg_len)
{
    const soon_task jumps = {.fn = task_nothing, .priority = SOON_PRIORITY_HIGH};

    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit_task(&the.pool->ex, &jumps, NULL) == 0);
    return 0;
}

static int task_long(soon_call *call, const void *arg, size_t arg_len)
{
    for (soon_ns end = soon__now() + LONG_NS; soon__now() < end;)
        ;
    return task_sees_runner(call, arg, arg_len);
}

/* A share that has only begun when a HIGH comes has not been quick. */
START_TEST(what_jumps_a_share_does_not_make_it_quick)
{
    soon_executor *ex = scene_begin(1);

    atomic_store(&the.runners, 0);
    assert_ok(soon_submit(ex, task_is_jumped, NULL, 0, NULL));
    for (int i = 1; i < LONG; i++)
        assert_ok(soon_submit(ex, task_long, NULL, 0, NULL));
    soon_future *last = submit(ex, task_long, NULL, 0);
    gate_open(the.hold.release);
    assert_result_bytes(last, NULL, 0);
    scene_end(ex);
    soon_future_unref(last);
    ck_assert_uint_eq(atomic_load(&the.runners), 0);
}
END_TEST

static unsigned paused, runs_in_pause; /* tasks that have seen that. Sync: pool->lock */

static int task_sees_pause(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    soon__lock_acquire(&the.pool->lock);
    bool pause = soon__now() < the.pool->no_runner_until;
    paused += pause;
    runs_in_pause += pause && the.pool->runner;
    soon__lock_release(&the.pool->lock);
    return 0;
}

static int task_very_long(soon_call *call, const void *arg, size_t arg_len)
{
    sleep_ns(SOON_MS(40)); /* not forgiven; the pause is some times as long */
    return task_sees_runner(call, arg, arg_len);
}

/* A runner has come to a long one. */
static void scene_pause(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);

    submit_quick(ex);
    assert_ok(soon_submit(ex, task_very_long, NULL, 0, NULL));
    for (size_t i = 1; i < scaled(QUICK) / 2; i++)
        assert_ok(soon_submit(ex, task_sees_pause, NULL, 0, NULL));
    gate_open(the.hold.release);
    scene_end(ex);
}

START_TEST(a_runner_that_met_a_long_one_is_not_replaced_at_once)
{
    paused = runs_in_pause = 0;
    repeat(scene_pause, 1);
    if (!running_on_valgrind())
        ck_assert_uint_gt(paused, 0);
    ck_assert_uint_eq(runs_in_pause, 0);
}
END_TEST

enum { FORGIVEN_NS = 10000000 }; /* a share takes too long with that, but not by much */

/* A quick one, and what the pool knew of the past when it had it run. */
struct seen {
    bool runner;
    soon_ns calm_since;
};

static int task_sees_calm(soon_call *call, const void *arg, size_t arg_len)
{
    struct seen seen;

    (void)arg, (void)arg_len;
    soon__lock_acquire(&the.pool->lock);
    seen = (struct seen){the.pool->runner, the.pool->calm_since};
    soon__lock_release(&the.pool->lock);
    return soon_return(call, &seen, sizeof seen);
}

static int task_holds_up(soon_call *call, const void *arg, size_t arg_len)
{
    soon_ns end = soon__now() + FORGIVEN_NS;

    while (soon__now() < end)
        ;
    return task_sees_calm(call, arg, arg_len);
}

/* So many in a row are held up, a share each; a runner is there at first, and then? */
static void scene_held_up(unsigned times, struct seen *first, struct seen *last)
{
    enum { SHARE = 128, SHARES = 8 };
    soon_executor *ex = scene_begin(1);
    soon_future *f[2] = {NULL};

    for (unsigned share = 0; share < SHARES; share++)
        for (unsigned i = 0; i < SHARE; i++) {
            bool held_up = share >= 3 && share < 3 + times && i == SHARE / 2;
            soon_fn *fn = held_up ? task_holds_up : task_nothing;
            if (share == 2 && i == SHARE / 2)
                f[0] = submit(ex, task_sees_calm, NULL, 0);
            else
                assert_ok(soon_submit(ex, fn, NULL, 0, NULL));
        }
    f[1] = submit(ex, task_sees_calm, NULL, 0);
    gate_open(the.hold.release);
    assert_ok(soon_future_result(f[0], ENOUGH, first, sizeof *first));
    assert_ok(soon_future_result(f[1], ENOUGH, last, sizeof *last));
    scene_end(ex);
    unref_all(f, 2);
}

/* Now and then the machine holds up more than the scene does: so it is tried again. Who
 * is held up in two shares in a row is never forgiven. */
START_TEST(one_share_that_was_held_up_is_forgiven)
{
    const unsigned most = scenes_at_most();
    unsigned forgiven = 0;

    for (unsigned i = 0; i < most && !forgiven; i++) {
        struct seen first, last;
        scene_held_up(1, &first, &last);
        forgiven += first.runner && last.runner && first.calm_since == last.calm_since;
    }
    for (unsigned i = 0; i < SCENES; i++) {
        struct seen first, last;
        scene_held_up(2, &first, &last);
        ck_assert(!first.runner || !last.runner || first.calm_since != last.calm_since);
    }
    if (!running_on_valgrind())
        ck_assert_uint_gt(forgiven, 0);
}
END_TEST

/* ---- other work ---- */

struct fork {
    soon_executor *ex;
    struct gate begin;
    struct hold child; /* two of them meet */
    struct bell forked;
};

static int task_fork(soon_call *call, const void *arg, size_t arg_len)
{
    struct fork fork;

    (void)call;
    REQUIRE(arg_len == sizeof fork);
    memcpy(&fork, arg, sizeof fork);
    bell_ring(fork.forked);
    gate_pass(fork.begin);
    for (int i = 0; i < 2; i++)
        REQUIRE(soon_submit(fork.ex, task_hold, &fork.child, sizeof fork.child, NULL) == 0);
    bell_await(fork.child.started, 2);
    gate_open(fork.child.release);
    return 0;
}

/* While one runs quick tasks without an end, what a task on another worker has
 * forked finds workers: two of four, beside the runner and the task itself. */
static void scene_forking(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);
    struct fork fork = {ex, gate_make(), hold_make(), bell_make()};

    gate_open(the.hold.release);
    soon_future *f = submit(ex, task_fork, &fork, sizeof fork);
    bell_await(fork.forked, 1);
    submit_quick(ex);
    gate_open(fork.begin);
    while (!soon_future_done(f))
        submit_quick(ex);
    assert_result_bytes(f, NULL, 0);
    scene_end(ex);
    soon_future_unref(f);
    gate_free(fork.begin);
    hold_free(&fork.child);
    bell_free(fork.forked);
}

START_TEST(a_runner_keeps_no_thief_from_others)
{
    repeat(scene_forking, WORKERS);
}
END_TEST

/* ---- the end ---- */

static void scene_end_early(unsigned flags)
{
    soon_executor *ex = scene_begin(WORKERS);

    submit_quick(ex);
    soon_future *f = submit(ex, task_nothing, NULL, 0);
    gate_open(the.hold.release);
    assert_ok(soon_shutdown(ex, ENOUGH, flags));
    ck_assert(soon_future_done(f));
    soon_future_unref(f);
    scene_end(ex);
}

START_TEST(a_shutdown_finds_runner_and_watcher)
{
    repeat(scene_end_early, 0);
    for (int i = 0; i < SCENES; i++)
        scene_end_early(SOON_CANCEL_FUTURES);
}
END_TEST

static long switches(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

enum { NAPS = 10 }; /* in 20 ms; there would be at least twice as many */

static bool is_watched(void)
{
    soon__lock_acquire(&the.pool->lock);
    bool watched = the.pool->watcher;
    soon__lock_release(&the.pool->lock);
    return watched;
}

/* Nobody watches when there is nothing to do. */
static void scene_idle(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);
    soon_stats stats;

    submit_quick(ex);
    gate_open(the.hold.release);
    do {
        sleep_ns(SOON_MS(1));
        soon_executor_stats(ex, &stats);
    } while (stats.pending || stats.idle < stats.workers || is_watched());
    soon__lock_acquire(&the.pool->lock);
    ck_assert_ptr_null(the.pool->runner);
    soon__lock_release(&the.pool->lock);
    long before = switches();
    sleep_ns(SOON_MS(20));
    ck_assert_int_lt(switches() - before, NAPS); /* this sleep is one; a sanitizer may add some */
    soon_executor_stats(ex, &stats);
    ck_assert_uint_eq(stats.idle, stats.workers);
    scene_end(ex);
}

START_TEST(an_idle_pool_does_not_wake_up)
{
    repeat(scene_idle, 2);
}
END_TEST

/* Does the watcher still nap, though there is no runner? Then nobody may rely on it
 * unless it was called. */
static bool naps_in_vain(const struct pool *pool)
{
    const struct worker *watcher = pool->watcher;

    ck_assert(!pool->runner || !pool->runner->idle); /* who sleeps is no runner */
    if (!watcher || pool->runner)
        return false;
    ck_assert(!watcher->searching || atomic_load(&pool->rouse) != watcher->ticket);
    ck_assert(pool->n_searching || atomic_load(&pool->helpers));
    return true;
}

static unsigned vain_naps; /* that were seen */

static void scene_nap(unsigned workers)
{
    soon_executor *ex = scene_begin(workers);

    submit_quick(ex);
    gate_open(the.hold.release);
    for (bool idle = false; !idle; sched_yield()) {
        soon__lock_acquire(&the.pool->lock);
        vain_naps += naps_in_vain(the.pool);
        idle = the.pool->n_idle == workers;
        soon__lock_release(&the.pool->lock);
    }
    scene_end(ex);
}

/* What comes after the quick ones need not wait for the end of a nap. */
START_TEST(nobody_relies_on_a_nap_without_a_runner)
{
    for (unsigned i = 0; i < scenes_at_most() && !vain_naps; i++)
        repeat(scene_nap, 2);
    if (!running_on_valgrind())
        ck_assert_uint_gt(vain_naps, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("runner");
    TCase *tc = test_case(suite, "runner");

    tcase_add_loop_test(tc, who_is_stuck_keeps_nobody_from_the_rest, 2, WORKERS + 1);
    tcase_add_test(tc, all_workers_join_in_when_tasks_take_long);
    tcase_add_loop_test(tc, a_runner_that_waits_is_none, 1, WORKERS + 1);
    tcase_add_test(tc, what_jumps_a_share_does_not_make_it_quick);
    tcase_add_test(tc, a_runner_that_met_a_long_one_is_not_replaced_at_once);
    tcase_add_test(tc, one_share_that_was_held_up_is_forgiven);
    tcase_add_test(tc, a_runner_keeps_no_thief_from_others);
    tcase_add_test(tc, a_shutdown_finds_runner_and_watcher);
    tcase_add_test(tc, nobody_relies_on_a_nap_without_a_runner);
    tcase_add_test(tc, an_idle_pool_does_not_wake_up);
    return suite;
}
