/* SPDX-License-Identifier: MIT */
/* What every executor promises of tasks that are pending or run, and its
 * figures. */
#include "backends.h"

/* ---- running side by side, cancelling ---- */

START_TEST(as_many_tasks_as_workers_run_at_once)
{
    struct hold hold = hold_make();
    soon_future *futures[16];
    struct rig rig;
    unsigned n;

    rig_up(&rig, _i);
    n = rig.backend->workers;
    ck_assert_uint_le(n, 16);
    for (unsigned i = 0; i < n; i++)
        futures[i] = submit(rig.ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, n);
    for (unsigned i = 0; i < n; i++)
        ck_assert(soon_future_running(futures[i]));
    gate_open(hold.release);
    for (unsigned i = 0; i < n; i++)
        assert_result_int(futures[i], 0);
    unref_all(futures, n);
    rig_down(&rig);
    hold_free(&hold);
}

START_TEST(a_cancelled_task_never_runs_and_its_waiters_know_at_once)
{
    shared_count *count = shared_new(sizeof *count);
    struct hold hold = hold_make();
    soon_future *futures[10];
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 10; i++)
        futures[i] = submit(rig.ex, task_count, &count, sizeof count);
    for (int i = 0; i < 10; i += 2) {
        ck_assert(soon_future_cancel(futures[i]));
        ck_assert_int_eq(soon_future_wait(futures[i], SOON_FOREVER), 0);
        assert_error(futures[i], -ECANCELED, SOON_FROM_LIBRARY, NULL);
    }
    ck_assert_int_eq(soon_wait(futures, 10, SOON_ALL_COMPLETED, 0), 5);
    gate_open(hold.release);
    ck_assert_int_eq(soon_wait(futures, 10, SOON_ALL_COMPLETED, SOON_FOREVER), 10);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*count, 5);
    unref_all(futures, 10);
    rig_down(&rig);
    hold_free(&hold);
    shared_free(count, sizeof *count);
}

START_TEST(a_running_task_learns_that_it_should_stop)
{
    struct bell started = bell_make();
    soon_future *f;
    struct rig rig;

    rig_up(&rig, _i);
    f = submit(rig.ex, task_until_cancelled, &started, sizeof started);
    bell_await(started, 1);
    ck_assert_int_eq(soon_future_state(f), SOON_RUNNING);
    ck_assert(!soon_future_cancel(f));
    assert_error(f, -ECANCELED, SOON_FROM_TASK, NULL);
    ck_assert(!soon_future_cancelled(f));
    ck_assert(!soon_future_cancel(f));
    soon_future_unref(f);
    rig_down(&rig);
    bell_free(started);
}

START_TEST(kill_cancels_a_pending_task_and_does_not_reach_into_a_thread)
{
    struct hold hold = hold_make();
    soon_future *running, *pending;
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    running = rig.held[0];
    pending = submit(rig.ex, task_nothing, NULL, 0);
    ck_assert_int_eq(soon_future_kill(running), -ENOTSUP);
    ck_assert_int_eq(soon_future_kill(pending), 0);
    ck_assert(soon_future_cancelled(pending));
    ck_assert_int_eq(soon_future_kill(pending), -EALREADY);
    gate_open(hold.release);
    assert_result_int(running, 0);
    ck_assert_int_eq(soon_future_kill(running), -EALREADY);
    soon_future_unref(pending);
    rig_down(&rig);
    hold_free(&hold);
}

START_TEST(the_promise_side_is_shut_while_a_task_runs_and_open_before)
{
    shared_count *count = shared_new(sizeof *count);
    const int answer = 42;
    struct hold hold = hold_make();
    soon_future *running, *pending;
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    running = rig.held[0];
    pending = submit(rig.ex, task_count, &count, sizeof count);
    ck_assert_int_eq(soon_future_set_result(running, &answer, sizeof answer), -EBUSY);
    ck_assert_int_eq(soon_future_set_error(running, -EIO, NULL), -EBUSY);
    assert_ok(soon_future_set_result(pending, &answer, sizeof answer));
    assert_result_int(pending, 42);
    gate_open(hold.release);
    assert_result_int(running, 0);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*count, 0);
    soon_future_unref(pending);
    rig_down(&rig);
    hold_free(&hold);
    shared_free(count, sizeof *count);
}

/* ---- tasks that use their own executor ---- */

struct family {
    soon_executor *ex;
    int depth;
};

/* Submits one child a level down and waits for it: sum of the levels. */
static int task_nested(soon_call *call, const void *arg, size_t arg_len)
{
    struct family me, child;
    soon_future *f = NULL;
    int below = 0, error;

    (void)arg_len;
    memcpy(&me, arg, sizeof me);
    if (me.depth > 0) {
        child = (struct family){me.ex, me.depth - 1};
        error = soon_submit(me.ex, task_nested, &child, sizeof child, &f);
        if (error)
            return soon_fail(call, error, "submit at %d", me.depth);
        error = soon_future_result(f, SOON_FOREVER, &below, sizeof below);
        soon_future_unref(f);
        if (error)
            return soon_fail(call, error, "result at %d", me.depth);
    }
    below += me.depth;
    return soon_return(call, &below, sizeof below);
}

START_TEST(a_task_may_wait_for_its_own_children)
{
    struct rig rig;
    soon_future *futures[5];

    rig_up(&rig, _i);
    for (int i = 0; i < 5; i++)
        futures[i] =
            submit(rig.ex, task_nested, &(struct family){rig.ex, 20}, sizeof(struct family));
    for (int i = 0; i < 5; i++)
        assert_result_int(futures[i], 210);
    unref_all(futures, 5);
    rig_down(&rig);
}

struct resubmit {
    soon_executor *ex;
    shared_count *count;
    struct bell done;
};

static void resubmit_from_callback(soon_future *f, void *data)
{
    struct resubmit *r = data;

    (void)f;
    REQUIRE(soon_submit(r->ex, task_count, &r->count, sizeof r->count, NULL) == 0);
    bell_ring(r->done);
}

START_TEST(a_callback_may_submit)
{
    struct resubmit r = {.count = shared_new(sizeof *r.count), .done = bell_make()};
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    r.ex = rig.ex;
    f = submit(rig.ex, task_nothing, NULL, 0);
    assert_ok(soon_future_add_done_callback(f, resubmit_from_callback, &r));
    bell_await(r.done, 1);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*r.count, 1);
    soon_future_unref(f);
    rig_down(&rig);
    shared_free(r.count, sizeof *r.count);
    bell_free(r.done);
}

/* ---- figures ---- */

static int task_overrun(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    while (!soon_call_cancelled(call))
        sleep_ns(SOON_MS(1));
    return 0;
}

START_TEST(figures_say_how_tasks_ended)
{
    const soon_task overrun = {.fn = task_overrun, .timeout = SOON_MS(5)};
    struct hold hold = hold_make();
    soon_future *late = NULL, *cancelled[3];
    struct rig rig;
    soon_stats stats;

    rig_up(&rig, _i);
    assert_ok(soon_submit_task(rig.ex, &overrun, &late));
    ck_assert_int_eq(soon_future_value(late, SOON_FOREVER, NULL, NULL), -ETIME);
    for (int i = 0; i < 5; i++)
        assert_ok(soon_submit(rig.ex, task_echo, &i, sizeof i, NULL));
    for (int i = 0; i < 2; i++)
        assert_ok(
            soon_submit(rig.ex, task_fail, &(struct failure){1, ""}, sizeof(struct failure), NULL));
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 3; i++) {
        cancelled[i] = submit(rig.ex, task_nothing, NULL, 0);
        ck_assert(soon_future_cancel(cancelled[i]));
    }
    stats = rig_figures(&rig);
    /* One may be about to be done just now, and not be counted yet. */
    ck_assert_uint_le(stats.pending, 1);
    /* What has ended in another process counts as running until that is known. */
    while (stats.finished + stats.failed < 5 + 2)
        stats = rig_figures(&rig);
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_uint_eq(stats.running, rig.backend->workers);
    gate_open(hold.release);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    stats = rig_figures(&rig);
    ck_assert_uint_eq(stats.finished, 5 + rig.backend->workers);
    ck_assert_uint_eq(stats.failed, 2);
    ck_assert_uint_eq(stats.cancelled, 3);
    ck_assert_uint_eq(stats.timed_out, 1);
    ck_assert_uint_ge(stats.bytes_in, 5 * sizeof(int) + 2 * sizeof(struct failure));
    ck_assert_uint_eq(stats.bytes_out, (5 + rig.backend->workers) * sizeof(int));
    rig_adds_up(&rig, 11 + rig.backend->workers);
    soon_future_unref(late);
    unref_all(cancelled, 3);
    rig_down(&rig);
    hold_free(&hold);
}

START_TEST(figures_count_what_is_pending_now)
{
    struct hold hold = hold_make();
    struct rig rig;
    soon_stats stats;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 7; i++)
        assert_ok(soon_submit(rig.ex, task_nothing, NULL, 0, NULL));
    stats = rig_figures(&rig);
    ck_assert_uint_eq(stats.pending, 7);
    ck_assert_uint_eq(stats.running, rig.backend->workers);
    ck_assert_uint_eq(stats.finished, 0);
    gate_open(hold.release);
    rig_down(&rig);
    hold_free(&hold);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("executor_tasks");
    TCase *running = test_case(suite, "running");
    TCase *inside = test_case(suite, "inside");
    TCase *figures = test_case(suite, "figures");

    add_over_backends(running, as_many_tasks_as_workers_run_at_once, TRAIT_DEFERS);
    add_over_backends(running, a_cancelled_task_never_runs_and_its_waiters_know_at_once,
                      TRAIT_DEFERS);
    add_over_backends(running, a_running_task_learns_that_it_should_stop, TRAIT_DEFERS);
    add_over_backends(running, kill_cancels_a_pending_task_and_does_not_reach_into_a_thread,
                      TRAIT_DEFERS | TRAIT_LOCAL);
    add_over_backends(running, the_promise_side_is_shut_while_a_task_runs_and_open_before,
                      TRAIT_DEFERS);
    add_over_backends(inside, a_task_may_wait_for_its_own_children, TRAIT_LOCAL);
    add_over_backends(inside, a_callback_may_submit, 0);
    add_over_backends(figures, figures_say_how_tasks_ended, TRAIT_DEFERS);
    add_over_backends(figures, figures_count_what_is_pending_now, TRAIT_DEFERS);
    return suite;
}
