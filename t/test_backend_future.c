/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a future that a backend from outside has taken: withdrawn,
 * run in one step or in two, completed from elsewhere, killed; and what the
 * backend's threads may do meanwhile.
 */
#include "desk.h"

#include <sched.h>
#include <signal.h>

/* ---- withdrawn ---- */

START_TEST(a_cancelled_future_is_withdrawn_once)
{
    soon_future *f;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    for (int i = 0; i < 3; i++)
        ck_assert(soon_future_cancel(f));
    ck_assert_uint_eq(atomic_load(&desk.withdrawn), 1);
    ck_assert_ptr_eq(atomic_load(&desk.last_withdrawn), f);
    ck_assert_uint_eq(run_desk(), 0);
    ck_assert_uint_eq(atomic_load(&desk.withdrawn), 1);
    soon_future_unref(f);
    close_desk();
}
END_TEST

START_TEST(a_future_that_runs_in_its_turn_is_not_withdrawn)
{
    soon_future *f;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    ck_assert_uint_eq(run_desk(), 1);
    ck_assert(!soon_future_cancel(f));
    ck_assert_uint_eq(atomic_load(&desk.withdrawn), 0);
    soon_future_unref(f);
    close_desk();
}
END_TEST

/* Waits for the future in its argument, from inside a task. */
static int wait_for(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    (void)call;
    return soon_future_wait(f, SOON_FOREVER);
}

START_TEST(one_run_in_place_is_withdrawn_once)
{
    soon_future *waiter, *inner;
    soon_stats stats;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    inner = submit_int(ex, task_square, 9);
    /* HIGH: before the one it waits for. */
    assert_ok(soon_submit_task(
        ex,
        &(soon_task){
            .fn = wait_for, .arg = &inner, .arg_len = sizeof inner, .priority = SOON_PRIORITY_HIGH},
        &waiter));
    ck_assert_uint_eq(run_desk(), 1); /* the other one ran inside of it */
    ck_assert_uint_eq(atomic_load(&desk.withdrawn), 1);
    ck_assert_ptr_eq(atomic_load(&desk.last_withdrawn), inner);
    assert_ok(soon_future_wait(waiter, 0));
    assert_result_int(inner, 81);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.helped, 1);
    ck_assert_uint_eq(atomic_load(&desk.blocked), 0);
    soon_future_unref(waiter);
    soon_future_unref(inner);
    close_desk();
}
END_TEST

/* ---- what workers do ---- */

static void run_desk_elsewhere(void *data)
{
    (void)data;
    REQUIRE(run_desk() == 1);
}

START_TEST(a_worker_that_sleeps_in_a_wait_says_so)
{
    soon_future *p, *waiter;
    struct thread worker;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    p = promise();
    waiter = submit(ex, wait_for, &p, sizeof p);
    thread_start(&worker, run_desk_elsewhere, NULL);
    while (atomic_load(&desk.blocked) == 0)
        sched_yield();
    ck_assert_uint_eq(atomic_load(&desk.awake), 0);
    assert_ok(soon_future_set_result(p, NULL, 0));
    thread_join(&worker);
    ck_assert_uint_eq(atomic_load(&desk.blocked), 1);
    ck_assert_uint_eq(atomic_load(&desk.awake), 1);
    assert_ok(soon_future_wait(waiter, SOON_FOREVER));
    soon_future_unref(waiter);
    soon_future_unref(p);
    close_desk();
}
END_TEST

START_TEST(a_thread_is_a_worker_of_one_executor)
{
    soon_executor *loop;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    assert_ok(soon_loop_new(&loop));
    assert_ok(soon_worker_enter(ex));
    ck_assert_int_eq(soon_worker_enter(ex), -EBUSY);
    ck_assert_int_eq(soon_worker_enter(loop), -EBUSY);
    ck_assert_int_eq(soon_shutdown(ex, SOON_FOREVER, 0), -EDEADLK);
    ck_assert_uint_eq(atomic_load(&desk.closes), 0);
    soon_worker_leave(ex);
    assert_ok(soon_worker_enter(ex));
    soon_worker_leave(ex);
    assert_ok(soon_shutdown(loop, SOON_FOREVER, 0));
    soon_executor_unref(loop);
    close_desk();
}
END_TEST

START_TEST(a_worker_call_runs_outside_of_any_task)
{
    struct failure failure = {-EDOM, "too far"};
    char message[64] = "?", little[5] = "?";

    ck_assert_int_eq(soon_worker_call(task_fail, &failure, sizeof failure, message, sizeof message),
                     -EDOM);
    ck_assert_str_eq(message, "too far");
    ck_assert_int_eq(soon_worker_call(task_fail, &failure, sizeof failure, little, sizeof little),
                     -EDOM);
    ck_assert_str_eq(little, "too ");
    assert_ok(soon_worker_call(task_nothing, NULL, 0, message, sizeof message));
    ck_assert_str_eq(message, "");
    assert_ok(soon_worker_call(task_echo, "text", 5, NULL, 0));
}
END_TEST

/* ---- results from elsewhere ---- */

START_TEST(a_claimed_future_takes_its_result_from_elsewhere)
{
    const int answer = 12;
    soon_future *f, *taken;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    taken = desk_take();
    ck_assert(soon_future_set_running_or_notify_cancel(taken));
    ck_assert(soon_future_running(f));
    ck_assert(!soon_future_run(taken));
    assert_ok(soon_future_set_result(taken, &answer, sizeof answer));
    ck_assert_int_eq(soon_future_set_result(taken, &answer, sizeof answer), -EALREADY);
    soon_future_unref(taken);
    assert_result_int(f, 12);
    assert_stats_add_up(ex, 1);
    soon_future_unref(f);
    close_desk();
}
END_TEST

START_TEST(a_failure_in_full_arrives_in_full)
{
    char words[] = "gone with the wind";
    soon_error failure = {.code = -EOWNERDEAD,
                          .origin = SOON_FROM_WORKER,
                          .signal = 11,
                          .exit_code = 4,
                          .message = words};
    soon_error got;
    soon_future *f, *taken;
    soon_stats stats;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    taken = desk_take();
    failure.code = 0;
    ck_assert_int_eq(soon_future_set_failure(taken, &failure), -EINVAL);
    ck_assert_int_eq(soon_future_set_failure(taken, NULL), -EINVAL);
    failure.code = -EOWNERDEAD;
    ck_assert(soon_future_set_running_or_notify_cancel(taken));
    assert_ok(soon_future_set_failure(taken, &failure));
    ck_assert_int_eq(soon_future_set_failure(taken, &failure), -EALREADY);
    soon_future_unref(taken);
    memset(words, 'x', sizeof words - 1);
    assert_ok(soon_future_error(f, SOON_FOREVER, &got));
    ck_assert_int_eq(got.code, -EOWNERDEAD);
    ck_assert_int_eq(got.origin, SOON_FROM_WORKER);
    ck_assert_int_eq(got.signal, 11);
    ck_assert_int_eq(got.exit_code, 4);
    ck_assert_str_eq(got.message, "gone with the wind");
    ck_assert_int_eq(soon_future_wait(f, SOON_FOREVER), 0);
    ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), -EOWNERDEAD);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.failed, 1);
    soon_future_unref(f);
    close_desk();
}
END_TEST

/* ---- kill ---- */

START_TEST(kill_of_a_running_future_fails_it_and_nothing_else)
{
    soon_future *f, *other, *taken;
    soon_error error;
    soon_stats stats;

    open_desk(_i ? &remote_ops : &desk_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    other = submit(ex, task_nothing, NULL, 0);
    taken = desk_take();
    ck_assert(soon_future_set_running_or_notify_cancel(taken));
    assert_ok(soon_future_kill(f));
    ck_assert_uint_eq(atomic_load(&desk.killed), 1);
    assert_ok(soon_future_error(f, 0, &error));
    ck_assert_int_eq(error.code, -EOWNERDEAD);
    ck_assert_int_eq(error.origin, SOON_FROM_WORKER);
    ck_assert_int_eq(error.signal, SIGKILL);
    ck_assert_int_eq(soon_future_kill(f), -EALREADY);
    ck_assert_int_eq(soon_future_set_result(taken, NULL, 0), -EALREADY);
    ck_assert_uint_eq(atomic_load(&desk.killed), 1);
    ck_assert(!soon_future_done(other));
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.failed, 1);
    soon_future_unref(taken);
    soon_future_unref(f);
    soon_future_unref(other);
    close_desk();
}
END_TEST

/* Its argument says where its own future will stand. */
static int kill_oneself(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future **self;

    (void)call;
    REQUIRE(arg_len == sizeof self);
    memcpy(&self, arg, sizeof self);
    REQUIRE(soon_future_kill(*self) == -ENOTSUP);
    return 0;
}

START_TEST(what_runs_in_this_process_cannot_be_killed)
{
    static soon_future *f;
    soon_future **where = &f;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit(ex, kill_oneself, &where, sizeof where);
    ck_assert_uint_eq(run_desk(), 1);
    assert_ok(soon_future_value(f, 0, NULL, NULL));
    ck_assert_uint_eq(atomic_load(&desk.killed), 0);
    soon_future_unref(f);
    close_desk();
}
END_TEST

START_TEST(kill_of_a_pending_future_cancels_it)
{
    soon_future *f;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    assert_ok(soon_future_kill(f));
    ck_assert(soon_future_cancelled(f));
    ck_assert_uint_eq(atomic_load(&desk.killed), 0);
    ck_assert_uint_eq(atomic_load(&desk.withdrawn), 1);
    soon_future_unref(f);
    close_desk();
}
END_TEST

START_TEST(without_kill_it_is_not_supported)
{
    soon_future *f, *taken;

    open_desk(&bare_ops, 0, SOON_BLOCK);
    f = submit(ex, task_nothing, NULL, 0);
    taken = desk_take();
    ck_assert(soon_future_set_running_or_notify_cancel(taken));
    ck_assert_int_eq(soon_future_kill(f), -ENOTSUP);
    assert_ok(soon_future_set_result(taken, NULL, 0));
    soon_future_unref(taken);
    soon_future_unref(f);
    close_desk();
}
END_TEST

/* ---- in two steps ---- */

START_TEST(a_claim_and_its_run_are_a_run_in_two_steps)
{
    soon_future *f, *taken;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    f = submit_int(ex, task_square, 6);
    taken = desk_take();
    ck_assert(soon_future_claim(taken));
    ck_assert(soon_future_running(f));
    ck_assert(!soon_future_claim(taken));
    ck_assert(!soon_future_run(taken));
    ck_assert(!soon_future_cancel(f));
    soon_future_run_claimed(taken);
    soon_future_unref(taken);
    assert_result_int(f, 36);
    ck_assert_uint_eq(atomic_load(&desk.withdrawn), 0);
    soon_future_unref(f);
    f = submit_int(ex, task_square, 7);
    taken = desk_take();
    ck_assert(soon_future_cancel(f));
    ck_assert(!soon_future_claim(taken));
    soon_future_unref(taken);
    soon_future_unref(f);
    assert_stats_add_up(ex, 2);
    close_desk();
}
END_TEST

/* ---- callbacks ---- */

static void never_called(soon_future *f, void *data)
{
    (void)f, (void)data;
    REQUIRE(!"this callback was not accepted");
}

START_TEST(callbacks_do_not_run_in_a_backend_of_another_process)
{
    soon_future *p = promise();

    open_desk(&bare_ops, 0, SOON_BLOCK);
    ck_assert_int_eq(soon_future_add_done_callback_on(p, ex, never_called, NULL), -ENOTSUP);
    assert_ok(soon_future_set_result(p, NULL, 0));
    ck_assert_uint_eq(atomic_load(&desk.submits), 0);
    soon_future_unref(p);
    close_desk();
}
END_TEST

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    ++*(int *)data;
}

START_TEST(deferred_callbacks_wait_for_the_outermost_resume)
{
    soon_future *p[2] = {promise(), promise()};
    int calls = 0;
    bool outer, inner;

    for (int i = 0; i < 2; i++)
        assert_ok(soon_future_add_done_callback(p[i], count_call, &calls));
    outer = soon_callbacks_defer();
    assert_ok(soon_future_set_result(p[0], NULL, 0));
    inner = soon_callbacks_defer();
    assert_ok(soon_future_set_result(p[1], NULL, 0));
    ck_assert_int_eq(calls, 0);
    soon_callbacks_resume(inner);
    ck_assert_int_eq(calls, 0);
    soon_callbacks_resume(outer);
    ck_assert_int_eq(calls, 2);
    unref_all(p, 2);
}
END_TEST

static struct {
    soon_future *other;
    int calls, before, after; /* of the other's callback: all, and around the flush */
} flushing;

static void complete_and_flush(soon_future *f, void *data)
{
    (void)data;
    REQUIRE(soon_future_done(f));
    REQUIRE(soon_future_set_result(flushing.other, NULL, 0) == 0);
    flushing.before = flushing.calls;
    soon_flush_callbacks();
    flushing.after = flushing.calls;
}

START_TEST(a_flush_runs_what_is_due_inside_a_callback)
{
    soon_future *p = promise();

    flushing.other = promise();
    assert_ok(soon_future_add_done_callback(flushing.other, count_call, &flushing.calls));
    assert_ok(soon_future_add_done_callback(p, complete_and_flush, NULL));
    soon_flush_callbacks(); /* nothing, outside of one */
    assert_ok(soon_future_set_result(p, NULL, 0));
    ck_assert_int_eq(flushing.before, 0);
    ck_assert_int_eq(flushing.after, 1);
    ck_assert_int_eq(flushing.calls, 1);
    unref_all((soon_future *[]){p, flushing.other}, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("backend_future");
    TCase *claiming = test_case(suite, "claiming");
    TCase *killing = test_case(suite, "killing");
    TCase *steps = test_case(suite, "steps");

    tcase_add_test(claiming, a_cancelled_future_is_withdrawn_once);
    tcase_add_test(claiming, a_future_that_runs_in_its_turn_is_not_withdrawn);
    tcase_add_test(claiming, one_run_in_place_is_withdrawn_once);
    tcase_add_test(claiming, a_worker_that_sleeps_in_a_wait_says_so);
    tcase_add_test(claiming, a_thread_is_a_worker_of_one_executor);
    tcase_add_test(claiming, a_worker_call_runs_outside_of_any_task);
    tcase_add_test(claiming, a_claimed_future_takes_its_result_from_elsewhere);
    tcase_add_test(claiming, a_failure_in_full_arrives_in_full);

    tcase_add_loop_test(killing, kill_of_a_running_future_fails_it_and_nothing_else, 0, 2);
    tcase_add_test(killing, what_runs_in_this_process_cannot_be_killed);
    tcase_add_test(killing, kill_of_a_pending_future_cancels_it);
    tcase_add_test(killing, without_kill_it_is_not_supported);

    tcase_add_test(steps, a_claim_and_its_run_are_a_run_in_two_steps);
    tcase_add_test(steps, callbacks_do_not_run_in_a_backend_of_another_process);
    tcase_add_test(steps, deferred_callbacks_wait_for_the_outermost_resume);
    tcase_add_test(steps, a_flush_runs_what_is_due_inside_a_callback);
    return suite;
}
