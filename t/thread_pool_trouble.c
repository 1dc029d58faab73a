/* SPDX-License-Identifier: MIT */
#include "thread_pool_cases.h"

#include "os/inject.h"

#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- initializer and finalizer ---- */

/* What both get as their argument, by value. */
struct bracket {
    shared_count *begun, *ended;
    struct gate gate;  /* the initializer waits for it */
    struct bell begin; /* it rings when it begins */
    unsigned fails_at; /* the number of the initializer that fails, from 1; 0: none */
};

static _Thread_local bool initialized;

static int initialize(soon_call *call, const void *arg, size_t arg_len)
{
    struct bracket b;
    unsigned number;

    REQUIRE(arg_len == sizeof b);
    memcpy(&b, arg, sizeof b);
    REQUIRE(!initialized);
    initialized = true;
    number = atomic_fetch_add(b.begun, 1) + 1;
    bell_ring(b.begin);
    gate_pass(b.gate);
    return number == b.fails_at ? soon_fail(call, -EPERM, "no licence") : 0;
}

static int finalize(soon_call *call, const void *arg, size_t arg_len)
{
    struct bracket b;

    (void)call;
    REQUIRE(arg_len == sizeof b);
    memcpy(&b, arg, sizeof b);
    REQUIRE(initialized);
    initialized = false;
    sched_yield(); /* time for a shutdown that doesn't wait for this */
    atomic_fetch_add(b.ended, 1);
    return 0;
}

static int task_wants_initialized(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(initialized);
    return task_hold(call, arg, arg_len);
}

static struct bracket bracket;
static soon_thread_pool_options bracketed;

static void bracket_up(void)
{
    bracket = (struct bracket){.begun = shared_new(sizeof(shared_count)),
                               .ended = shared_new(sizeof(shared_count)),
                               .gate = gate_make(),
                               .begin = bell_make()};
    bracketed = (soon_thread_pool_options){.max_workers = 1,
                                           .initializer = initialize,
                                           .finalizer = finalize,
                                           .init_arg = &bracket,
                                           .init_arg_len = sizeof bracket};
}

static void bracket_down(void)
{
    shared_free(bracket.begun, sizeof(shared_count));
    shared_free(bracket.ended, sizeof(shared_count));
    gate_free(bracket.gate);
    bell_free(bracket.begin);
}

START_TEST(each_worker_begins_and_ends_once)
{
    struct hold hold = hold_make();
    struct bracket changes = bracket;
    soon_executor *ex;

    bracketed.max_workers = 3;
    bracketed.init_arg = &changes;
    ex = pool_new(&bracketed);
    memset(&changes, 0xff, sizeof changes); /* it was copied */
    gate_open(bracket.gate);
    for (int i = 0; i < 3; i++)
        assert_ok(soon_submit(ex, task_wants_initialized, &hold, sizeof hold, NULL));
    bell_await(hold.started, 3);
    ck_assert_uint_eq(atomic_load(bracket.begun), 3);
    ck_assert_uint_eq(atomic_load(bracket.ended), 0);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(atomic_load(bracket.begun), 3);
    ck_assert_uint_eq(atomic_load(bracket.ended), 3);
    soon_executor_unref(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(an_idle_worker_that_leaves_ends_too)
{
    soon_executor *ex;

    gate_open(bracket.gate);
    bracketed.idle_timeout = SOON_MS(1);
    ex = pool_new(&bracketed);
    for (unsigned round = 1; round <= 3; round++) {
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
        while (atomic_load(bracket.ended) < round)
            sched_yield();
        ck_assert_uint_ge(atomic_load(bracket.begun), round);
    }
    pool_end(ex);
    ck_assert_uint_eq(atomic_load(bracket.begun), atomic_load(bracket.ended));
}
END_TEST

START_TEST(finalizers_are_done_when_shutdown_returns)
{
    gate_open(bracket.gate);
    bracketed.max_workers = 2;
    for (unsigned round = 1; round <= scaled(200); round++) {
        soon_executor *ex = pool_new(&bracketed);

        for (int i = 0; i < 4; i++)
            assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
        EXPECT(soon_shutdown(ex, SOON_FOREVER, 0) == 0);
        EXPECT(atomic_load(bracket.begun) == atomic_load(bracket.ended));
        soon_executor_unref(ex);
    }
    ck_assert_uint_ge(atomic_load(bracket.begun), scaled(200));
}
END_TEST

/* ---- a broken pool ---- */

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    atomic_fetch_add((shared_count *)data, 1);
}

static void assert_broken(soon_executor *ex)
{
    soon_future *f = NULL;

    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, &f), -ENOTRECOVERABLE);
    ck_assert_int_eq(soon_submit_many(ex, &(soon_task){.fn = task_nothing}, 1, &f),
                     -ENOTRECOVERABLE);
    ck_assert_ptr_null(f);
}

START_TEST(a_failed_initializer_breaks_the_pool)
{
    enum { N = 20 };
    shared_count called = 0;
    soon_future *futures[N];
    soon_executor *ex;

    bracket.fails_at = 1;
    ex = pool_new(&bracketed);
    for (int i = 0; i < N; i++) {
        futures[i] = submit(ex, task_nothing, NULL, 0);
        assert_ok(soon_future_add_done_callback(futures[i], count_call, &called));
    }
    bell_await(bracket.begin, 1);
    gate_open(bracket.gate);
    for (int i = 0; i < N; i++)
        assert_error(futures[i], -ENOTRECOVERABLE, SOON_FROM_LIBRARY, NULL);
    assert_broken(ex);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_ok(soon_shutdown(ex, 0, SOON_CANCEL_FUTURES));
    assert_stats_add_up(ex, N);
    ck_assert_uint_eq(pool_stats(ex).failed, N);
    ck_assert_uint_eq(atomic_load(&called), N);
    ck_assert_uint_eq(atomic_load(bracket.ended), 0); /* what did not begin does not end */
    unref_all(futures, N);
    soon_executor_unref(ex);
}
END_TEST

START_TEST(the_message_says_what_the_initializer_said)
{
    soon_executor *ex;
    soon_error error;
    soon_future *f;

    bracket.fails_at = 1;
    gate_open(bracket.gate);
    ex = pool_new(&bracketed);
    f = submit(ex, task_nothing, NULL, 0);
    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_msg(strstr(error.message, "no licence") != NULL, "it says: %s", error.message);
    soon_future_unref(f);
    pool_end(ex);
}
END_TEST

START_TEST(what_runs_in_a_pool_that_breaks_ends_well)
{
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_future *running, *pending;

    gate_open(bracket.gate);
    bracket.fails_at = 2;
    bracketed.max_workers = 2;
    hold.value = 17;
    ex = pool_new(&bracketed);
    running = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    pending = submit(ex, task_nothing, NULL, 0); /* starts the second worker */
    assert_error(pending, -ENOTRECOVERABLE, SOON_FROM_LIBRARY, NULL);
    assert_broken(ex);
    ck_assert(soon_future_running(running));
    gate_open(hold.release);
    assert_result_int(running, 17);
    pool_end(ex);
    ck_assert_uint_eq(atomic_load(bracket.ended), 1);
    soon_future_unref(running);
    soon_future_unref(pending);
    hold_free(&hold);
}
END_TEST

static void submit_one(void *data)
{
    soon_executor **ex = data;

    REQUIRE(soon_submit(*ex, task_nothing, NULL, 0, NULL) == -ENOTRECOVERABLE);
}

START_TEST(a_pool_that_breaks_lets_blocked_submits_go)
{
    struct thread blocked[2];
    soon_executor *ex;

    bracket.fails_at = 1;
    bracketed.max_pending = 1;
    ex = pool_new(&bracketed);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    bell_await(bracket.begin, 1);
    for (int i = 0; i < 2; i++) {
        thread_start(&blocked[i], submit_one, &ex);
        thread_await_sleep(&blocked[i]);
    }
    gate_open(bracket.gate);
    for (int i = 0; i < 2; i++)
        thread_join(&blocked[i]);
    pool_end(ex);
}
END_TEST

START_TEST(a_future_cancelled_before_the_pool_breaks_stays_cancelled)
{
    soon_executor *ex;
    soon_future *f;

    bracket.fails_at = 1;
    ex = pool_new(&bracketed);
    f = submit(ex, task_nothing, NULL, 0);
    bell_await(bracket.begin, 1);
    ck_assert(soon_future_cancel(f));
    gate_open(bracket.gate);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert(soon_future_cancelled(f));
    ck_assert_uint_eq(pool_stats(ex).cancelled, 1);
    soon_future_unref(f);
    soon_executor_unref(ex);
}
END_TEST

START_TEST(a_callback_on_a_broken_pool_is_called_all_the_same)
{
    shared_count called = 0;
    soon_future *p = promise(), *f;
    soon_executor *ex;

    bracket.fails_at = 1;
    gate_open(bracket.gate);
    ex = pool_new(&bracketed);
    assert_ok(soon_future_add_done_callback_on(p, ex, count_call, &called));
    f = submit(ex, task_nothing, NULL, 0);
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    assert_broken(ex);
    ck_assert_int_eq(soon_future_add_done_callback_on(p, ex, count_call, &called),
                     -ENOTRECOVERABLE);
    assert_ok(soon_future_set_result(p, NULL, 0));
    ck_assert_uint_eq(atomic_load(&called), 1);
    soon_future_unref(p);
    soon_future_unref(f);
    pool_end(ex);
}
END_TEST

/* ---- threads that cannot be started ---- */

static void inject_off(void)
{
    soon__inject_after(SOON__INJECT_THREAD, 0);
}

START_TEST(without_any_worker_submit_fails_and_keeps_nothing)
{
    soon_executor *ex = pool_new(
        &(soon_thread_pool_options){.max_workers = 2, .max_pending = 1, .overflow = SOON_REJECT});
    soon_future *f = NULL;

    for (int round = 0; round < 5; round++) {
        soon__inject_after(SOON__INJECT_THREAD, 1);
        ck_assert_int_eq(round % 2 ? soon_submit(ex, task_nothing, NULL, 0, &f)
                                   : soon_submit_many(ex, &(soon_task){.fn = task_nothing}, 1, &f),
                         -EAGAIN);
        ck_assert(soon__inject_fired(SOON__INJECT_THREAD));
        ck_assert_ptr_null(f);
        ck_assert_uint_eq(pool_stats(ex).pending, 0);
        ck_assert_uint_eq(pool_stats(ex).workers, 0);
    }
    f = submit_int(ex, task_square, 3); /* the room for one is still there */
    assert_result_int(f, 9);
    soon_future_unref(f);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 1);
    soon_executor_unref(ex);
}
END_TEST

START_TEST(with_one_worker_left_nothing_is_lost)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 2});
    soon_future *f;

    hold_workers(ex, &hold, 1);
    soon__inject_after(SOON__INJECT_THREAD, 1);
    f = submit_int(ex, task_square, 4);
    ck_assert(soon__inject_fired(SOON__INJECT_THREAD));
    ck_assert_uint_eq(pool_stats(ex).workers, 1);
    gate_open(hold.release);
    assert_result_int(f, 16);
    soon_future_unref(f);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 2);
    soon_executor_unref(ex);
    hold_free(&hold);
}
END_TEST

/* ---- the end of the process ---- */

/* Ends like a program that never shuts anything down, with work everywhere. */
static void leave_everything_running(struct bell started)
{
    soon_executor *busy, *idle, *loop;
    soon_future *f;

    alarm(60);
    REQUIRE(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 2}, &busy) == 0);
    REQUIRE(soon_thread_pool_new(NULL, &idle) == 0);
    REQUIRE(soon_loop_new(&loop) == 0);
    REQUIRE(soon_submit(idle, task_nothing, NULL, 0, &f) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    soon_future_unref(f);
    for (int i = 0; i < 1000; i++) {
        soon_task forever = {.fn = task_until_cancelled,
                             .arg = &started,
                             .arg_len = sizeof started,
                             .timeout = SOON_SECONDS(3600)};

        REQUIRE(soon_submit_task(busy, &forever, NULL) == 0);
        REQUIRE(soon_submit(loop, task_nothing, NULL, 0, NULL) == 0);
    }
    bell_await(started, 2);
    exit(42);
}

START_TEST(the_process_ends_at_once_with_pools_running)
{
    struct bell started = bell_make();
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        leave_everything_running(started);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    /* An alarm would have ended it otherwise. */
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 42, "wait status %#x", status);
    bell_free(started);
}
END_TEST

void add_trouble_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "initializer");

    tcase_add_checked_fixture(tc, bracket_up, bracket_down);
    tcase_add_test(tc, each_worker_begins_and_ends_once);
    tcase_add_test(tc, an_idle_worker_that_leaves_ends_too);
    tcase_add_test(tc, finalizers_are_done_when_shutdown_returns);
    tcase_add_test(tc, a_failed_initializer_breaks_the_pool);
    tcase_add_test(tc, the_message_says_what_the_initializer_said);
    tcase_add_test(tc, what_runs_in_a_pool_that_breaks_ends_well);
    tcase_add_test(tc, a_pool_that_breaks_lets_blocked_submits_go);
    tcase_add_test(tc, a_future_cancelled_before_the_pool_breaks_stays_cancelled);
    tcase_add_test(tc, a_callback_on_a_broken_pool_is_called_all_the_same);
    tc = test_case(suite, "trouble");
    tcase_add_checked_fixture(tc, inject_off, inject_off);
    tcase_add_test(tc, without_any_worker_submit_fails_and_keeps_nothing);
    tcase_add_test(tc, with_one_worker_left_nothing_is_lost);
    tcase_add_test(tc, the_process_ends_at_once_with_pools_running);
}
