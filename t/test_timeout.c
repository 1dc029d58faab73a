/* SPDX-License-Identifier: MIT */
/*
 * A task's timeout where tasks run in threads: the future fails at its
 * deadline whatever the function does, and the function is only told.
 */
#include "support.h"

#include "os/inject.h"

#include <sched.h>

/* The backends whose tasks run in threads of this process. */
static int make_pool(soon_executor **out)
{
    return soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 2}, out);
}

static int (*const makers[])(soon_executor **) = {make_pool, soon_loop_new, soon_inline_new};
enum { POOL, LOOP, INLINE, MAKERS };

static soon_executor *ex;
static struct thread driver; /* runs the loop */

static void drive(void *data)
{
    (void)data;
    while (soon_loop_run(ex, 0, SOON_FOREVER) > 0)
        ;
}

static void begin(int maker)
{
    assert_ok(makers[maker](&ex));
    if (maker == LOOP)
        thread_start(&driver, drive, NULL);
}

static void end(int maker)
{
    assert_ok(soon_shutdown(ex, 0, 0));
    if (maker == LOOP)
        thread_join(&driver);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

static soon_future *submit_timed(soon_fn *fn, const void *arg, size_t arg_len, soon_ns timeout)
{
    soon_task task = {.fn = fn, .arg = arg, .arg_len = arg_len, .timeout = timeout};
    soon_future *f = NULL;

    assert_ok(soon_submit_task(ex, &task, &f));
    return f;
}

/* ---- the deadline ---- */

START_TEST(a_future_fails_at_its_deadline_though_the_function_goes_on)
{
    struct hold hold = hold_make();
    soon_ns before = now_ns();
    soon_future *f;

    begin(_i);
    f = submit_timed(task_hold, &hold, sizeof hold, SOON_MS(10));
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    ck_assert_int_ge(now_ns() - before, SOON_MS(10));
    ck_assert(soon_future_done(f));
    ck_assert(!soon_future_running(f));
    ck_assert(!soon_future_cancelled(f));
    ck_assert(!soon_future_cancel(f));
    ck_assert_int_eq(soon_future_kill(f), -EALREADY);
    /* The function is in there still; what it returns is dropped. */
    gate_open(hold.release);
    end(_i);
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    soon_future_unref(f);
    hold_free(&hold);
}
END_TEST

START_TEST(a_task_in_time_is_not_touched)
{
    soon_future *f;

    begin(_i);
    f = submit_timed(task_square, &(int){9}, sizeof(int), SOON_SECONDS(3600));
    assert_result_int(f, 81);
    soon_future_unref(f);
    f = submit_timed(task_square, &(int){9}, sizeof(int), INT64_MAX);
    assert_result_int(f, 81);
    soon_future_unref(f);
    end(_i);
}
END_TEST

START_TEST(the_function_is_told)
{
    struct bell started = bell_make();
    soon_future *f;

    begin(_i);
    /* Ends only if soon_call_cancelled() turns true; its code is dropped. */
    f = submit_timed(task_until_cancelled, &started, sizeof started, SOON_MS(5));
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    soon_future_unref(f);
    end(_i);
    bell_free(started);
}
END_TEST

/* Runs until it is told, which must not be before its time, by now_ns(). */
static int task_until_told(soon_call *call, const void *arg, size_t arg_len)
{
    soon_ns earliest;

    REQUIRE(arg_len == sizeof earliest);
    memcpy(&earliest, arg, sizeof earliest);
    while (!soon_call_cancelled(call))
        sched_yield();
    REQUIRE(now_ns() >= earliest);
    return 0;
}

START_TEST(the_function_is_not_told_too_early)
{
    const soon_ns allowed = SOON_MS(30);
    soon_ns earliest;
    soon_future *f;

    begin(_i);
    earliest = now_ns() + allowed;
    f = submit_timed(task_until_told, &earliest, sizeof earliest, allowed);
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    soon_future_unref(f);
    end(_i);
}
END_TEST

START_TEST(the_error_says_which_task)
{
    struct bell started = bell_make();
    soon_task task = {.fn = task_until_cancelled,
                      .arg = &started,
                      .arg_len = sizeof started,
                      .name = "slowpoke",
                      .timeout = SOON_MS(1)};
    soon_future *f;
    soon_error error;

    begin(POOL);
    assert_ok(soon_submit_task(ex, &task, &f));
    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_msg(*error.message != '\0', "the message is empty");
    ck_assert_int_eq(error.signal, 0);
    ck_assert_int_eq(error.exit_code, 0);
    soon_future_unref(f);
    end(POOL);
    bell_free(started);
}
END_TEST

/* ---- what is dropped ---- */

static int task_late_and_large(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned char *room;
    int code;

    REQUIRE(arg_len == sizeof code);
    memcpy(&code, arg, sizeof code);
    while (!soon_call_cancelled(call))
        sched_yield();
    REQUIRE(soon_return(call, "small", 5) == 0);
    room = soon_return_buffer(call, 1 << 20);
    REQUIRE(room);
    memset(room, 'x', 1 << 20);
    return code ? soon_fail(call, code, "too late for %d words", 3) : 0;
}

START_TEST(a_late_end_is_dropped_with_all_it_holds)
{
    static const int codes[] = {0, -EIO};

    begin(POOL);
    for (int i = 0; i < 2; i++) {
        soon_future *f = submit_timed(task_late_and_large, &codes[i], sizeof codes[i], SOON_MS(1));
        const void *value = &codes;
        size_t len = 77;

        ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, &value, &len), -ETIME);
        ck_assert_ptr_eq(value, &codes);
        ck_assert_uint_eq(len, 77);
        soon_future_unref(f); /* maybe before the function returns */
    }
    end(POOL);
}
END_TEST

static void ring(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    bell_ring(*(struct bell *)data);
}

START_TEST(callbacks_and_waits_see_it_at_the_deadline)
{
    struct hold hold = hold_make();
    struct bell called = bell_make();
    soon_as_completed *it;
    soon_future *f, *out;

    begin(POOL);
    f = submit_timed(task_hold, &hold, sizeof hold, SOON_MS(5));
    assert_ok(soon_future_add_done_callback(f, ring, &called));
    assert_ok(soon_as_completed_new(&f, 1, &it));
    ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
    ck_assert_ptr_eq(out, f);
    ck_assert_int_eq(soon_wait(&f, 1, SOON_FIRST_EXCEPTION, SOON_FOREVER), 1);
    bell_await(called, 1);
    gate_open(hold.release);
    end(POOL);
    ck_assert(!bell_rings_within(called, 0));
    soon_as_completed_free(it);
    soon_future_unref(out);
    soon_future_unref(f);
    hold_free(&hold);
    bell_free(called);
}
END_TEST

/* ---- whose time counts ---- */

START_TEST(waiting_in_the_queue_does_not_count)
{
    struct hold hold = hold_make();
    soon_future *f;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 1);
    f = submit_timed(task_square, &(int){5}, sizeof(int), SOON_SECONDS(10));
    /* Longer than the one below is allowed to run. */
    soon_future *brief =
        submit_timed(task_until_cancelled, &hold.started, sizeof hold.started, SOON_MS(2));
    sleep_ns(SOON_MS(20));
    ck_assert_int_eq(soon_future_state(brief), SOON_PENDING);
    gate_open(hold.release);
    assert_result_int(f, 25);
    bell_await(hold.started, 1); /* it has begun, though its time would have been over */
    assert_error(brief, -ETIME, SOON_FROM_LIBRARY, NULL);
    soon_future_unref(f);
    soon_future_unref(brief);
    end(POOL);
    hold_free(&hold);
}
END_TEST

START_TEST(a_cancelled_one_has_no_deadline)
{
    struct hold hold = hold_make();
    soon_future *f;
    soon_stats stats;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 1);
    f = submit_timed(task_nothing, NULL, 0, SOON_MS(1));
    ck_assert(soon_future_cancel(f));
    sleep_ns(SOON_MS(5));
    assert_error(f, -ECANCELED, SOON_FROM_LIBRARY, NULL);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.timed_out, 0);
    ck_assert_uint_eq(stats.cancelled, 1);
    ck_assert_uint_eq(stats.finished, 1);
    soon_future_unref(f);
    soon_executor_unref(ex);
    hold_free(&hold);
}
END_TEST

/* ---- many ---- */

START_TEST(many_deadlines_in_any_order)
{
    enum { N = 64 };
    struct hold hold = hold_make();
    soon_future *futures[N];
    soon_stats stats;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = N}, &ex));
    for (int i = 0; i < N; i++)
        futures[i] = submit_timed(task_hold, &hold, sizeof hold, SOON_MS(5) + i * 37 % N * 500000);
    for (int i = 0; i < N; i++)
        assert_error(futures[i], -ETIME, SOON_FROM_LIBRARY, NULL);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.timed_out, N);
    ck_assert_uint_eq(stats.running, 0); /* futures, not functions */
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, N);
    soon_executor_unref(ex);
    unref_all(futures, N);
    hold_free(&hold);
}
END_TEST

START_TEST(a_worker_is_free_when_the_function_returns)
{
    struct hold hold = hold_make();
    soon_future *f, *next;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    f = submit_timed(task_hold, &hold, sizeof hold, SOON_MS(2));
    next = submit_int(ex, task_square, 4);
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    ck_assert(!soon_future_done(next));
    gate_open(hold.release);
    assert_result_int(next, 16);
    soon_future_unref(f);
    soon_future_unref(next);
    end(POOL);
    hold_free(&hold);
}
END_TEST

START_TEST(shutdown_waits_for_the_function_not_only_for_its_future)
{
    struct hold hold = hold_make();
    soon_future *f;

    begin(POOL);
    f = submit_timed(task_hold, &hold, sizeof hold, SOON_MS(1));
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    ck_assert_int_eq(soon_shutdown(ex, SOON_MS(10), 0), -ETIMEDOUT);
    gate_open(hold.release);
    soon_future_unref(f);
    end(POOL);
    hold_free(&hold);
}
END_TEST

/* ---- the timer's thread ---- */

START_TEST(the_timer_lives_as_long_as_executors_that_use_it)
{
    unsigned before;
    soon_future *f;

    begin(LOOP);
    /* The loop's driver is there, and a sanitizer's own thread if it has one. */
    before = thread_count();
    f = submit_int(ex, task_square, 3);
    assert_result_int(f, 9);
    soon_future_unref(f);
    ck_assert_uint_eq(thread_count(), before);
    f = submit_timed(task_square, &(int){3}, sizeof(int), SOON_SECONDS(3600));
    assert_result_int(f, 9);
    soon_future_unref(f);
    ck_assert_uint_eq(thread_count(), before + 1);
    end(LOOP);
    /* Without the driver and the timer. The kernel forgets a thread a moment
     * after it can be joined. */
    while (thread_count() > before - 1)
        sched_yield();
}
END_TEST

START_TEST(without_a_timer_thread_a_timeout_is_refused)
{
    soon_task task = {.fn = task_nothing, .timeout = SOON_SECONDS(1)};
    soon_future *f = NULL;

    begin(LOOP);
    soon__inject_after(SOON__INJECT_THREAD, 1);
    ck_assert_int_eq(soon_submit_task(ex, &task, &f), -EAGAIN);
    ck_assert(soon__inject_fired(SOON__INJECT_THREAD));
    ck_assert_ptr_null(f);
    assert_ok(soon_submit_task(ex, &task, &f));
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    soon_future_unref(f);
    end(LOOP);
}
END_TEST

START_TEST(a_negative_timeout_is_refused)
{
    soon_task task = {.fn = task_nothing, .timeout = -1};

    begin(_i);
    ck_assert_int_eq(soon_submit_task(ex, &task, NULL), -EINVAL);
    ck_assert_int_eq(soon_submit_many(ex, &task, 1, NULL), -EINVAL);
    end(_i);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("timeout");
    TCase *tc = test_case(suite, "deadline");

    tcase_add_loop_test(tc, a_future_fails_at_its_deadline_though_the_function_goes_on, 0, INLINE);
    tcase_add_loop_test(tc, a_task_in_time_is_not_touched, 0, MAKERS);
    tcase_add_loop_test(tc, the_function_is_told, 0, MAKERS);
    tcase_add_loop_test(tc, the_function_is_not_told_too_early, 0, MAKERS);
    tcase_add_test(tc, the_error_says_which_task);
    tcase_add_test(tc, a_late_end_is_dropped_with_all_it_holds);
    tcase_add_test(tc, callbacks_and_waits_see_it_at_the_deadline);
    tcase_add_test(tc, waiting_in_the_queue_does_not_count);
    tcase_add_test(tc, a_cancelled_one_has_no_deadline);
    tcase_add_test(tc, many_deadlines_in_any_order);
    tcase_add_test(tc, a_worker_is_free_when_the_function_returns);
    tcase_add_test(tc, shutdown_waits_for_the_function_not_only_for_its_future);
    tc = test_case(suite, "timer");
    tcase_add_test(tc, the_timer_lives_as_long_as_executors_that_use_it);
    tcase_add_test(tc, without_a_timer_thread_a_timeout_is_refused);
    tcase_add_loop_test(tc, a_negative_timeout_is_refused, 0, MAKERS);
    return suite;
}
