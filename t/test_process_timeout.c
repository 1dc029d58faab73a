/* SPDX-License-Identifier: MIT */
/*
 * A task's timeout where it runs in a process: its worker is ended, and the
 * future is done when that is gone, or has finished too late. Only this task:
 * the next one is untouched.
 */
#include "process_pool.h"

#include <sched.h>
#include <unistd.h>

/* One worker, with so long from SIGTERM to SIGKILL. */
static soon_executor *patient(int method, soon_ns grace)
{
    return pool_up(method, &(soon_process_pool_options){.max_workers = 1, .kill_grace = grace});
}

/* Ended past its timeout, by that signal. */
static void assert_timed_out(soon_future *f, int signal)
{
    soon_error error;

    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    ck_assert_msg(error.code == -ETIME, "%d: %s", error.code, error.message);
    ck_assert_int_eq(error.origin, SOON_FROM_LIBRARY);
    ck_assert_int_eq(error.signal, signal);
    ck_assert_int_eq(error.exit_code, 0);
    ck_assert_str_ne(error.message, "");
    ck_assert_int_eq(soon_future_value(f, 0, NULL, NULL), -ETIME);
}

START_TEST(past_its_timeout_a_worker_gets_sigterm)
{
    soon_executor *ex = patient(_i, 0);
    soon_future *f, *next;
    soon_ns start = now_ns();

    f = submit_named(ex, task_for_ever, NULL, 0, "slow", SOON_MS(20));
    next = submit_int(ex, task_square, 3);
    assert_timed_out(f, SIGTERM);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    assert_result_int(next, 9);
    soon_future_unref(f);
    soon_future_unref(next);
    ck_assert_uint_eq(pool_figures(ex).timed_out, 1);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    ck_assert_uint_eq(pool_figures(ex).workers_started, 2);
    pool_down(ex, 2);
}
END_TEST

/* SIGTERM is ignored, or caught and survived. */
static void survive(int signal_number)
{
    (void)signal_number;
}

/* An initializer: before the time of any task. */
static int be_stubborn(soon_call *call, const void *arg, size_t arg_len)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    bool catches;

    (void)call;
    REQUIRE(arg_len == sizeof catches);
    memcpy(&catches, arg, sizeof catches);
    if (catches)
        action.sa_handler = survive;
    REQUIRE(sigaction(SIGTERM, &action, NULL) == 0);
    return 0;
}

START_TEST(who_survives_sigterm_is_killed_after_the_grace)
{
    const soon_ns timeout = SOON_MS(150), grace = SOON_MS(30);

    for (int i = 0; i < 2; i++) {
        const bool catches = i;
        soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1,
                                                                     .kill_grace = grace,
                                                                     .initializer = be_stubborn,
                                                                     .init_arg = &catches,
                                                                     .init_arg_len = 1});
        soon_ns start = now_ns();
        soon_future *f = submit_named(ex, task_for_ever, NULL, 0, "deaf", timeout);

        assert_timed_out(f, SIGKILL);
        ck_assert_int_ge(now_ns() - start, timeout + grace);
        soon_future_unref(f);
        assert_works(ex);
        pool_down(ex, 2);
    }
}
END_TEST

static int task_stop(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(raise(SIGSTOP) == 0);
    return task_for_ever(call, arg, arg_len);
}

static bool is_worker_stopped(void)
{
    struct process worker;

    return workers_of("soon", &worker, 1) == 1 && worker.state == 'T';
}

/* False if it had not stopped by then, and so may have been ended by SIGTERM. */
static bool is_killed_though_stopped(soon_executor *ex, soon_ns timeout)
{
    const soon_ns start = now_ns();
    soon_future *f = submit_named(ex, task_stop, NULL, 0, "stopped", timeout);

    while (!is_worker_stopped() && !soon_future_done(f))
        sched_yield();
    bool in_time = now_ns() - start < timeout;
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    if (in_time)
        assert_timed_out(f, SIGKILL);
    soon_future_unref(f);
    return in_time;
}

START_TEST(a_stopped_worker_is_killed_too)
{
    soon_executor *ex = patient(_i, SOON_MS(10));
    uint64_t submitted = 1;

    for (soon_ns timeout = SOON_MS(300); !is_killed_though_stopped(ex, timeout); timeout *= 2)
        submitted++;
    assert_works(ex);
    pool_down(ex, submitted + 1);
}
END_TEST

static int task_spin(soon_call *call, const void *arg, size_t arg_len)
{
    volatile bool over = false;

    (void)call;
    (void)arg;
    (void)arg_len;
    while (!over)
        ;
    return 0;
}

START_TEST(an_endless_loop_ends_at_its_timeout)
{
    soon_executor *ex = patient(_i, 0);
    soon_future *f = submit_named(ex, task_spin, NULL, 0, NULL, SOON_MS(20));

    assert_timed_out(f, SIGTERM);
    soon_future_unref(f);
    assert_works(ex);
    pool_down(ex, 2);
}
END_TEST

/* It sees its deadline before SIGTERM comes, or survives that, and has a
 * result then: too late. */
static int task_late(soon_call *call, const void *arg, size_t arg_len)
{
    struct sigaction action = {.sa_handler = SIG_IGN};

    (void)arg_len;
    REQUIRE(sigaction(SIGTERM, &action, NULL) == 0);
    while (!soon_call_cancelled(call))
        sched_yield();
    return soon_return(call, arg, arg_len);
}

START_TEST(a_late_result_is_dropped)
{
    static const size_t sizes[] = {4, 100, 100000, 3 << 20};
    soon_executor *ex = patient(_i, SOON_SECONDS(20));
    char *bytes = calloc(1, 3 << 20);

    REQUIRE(bytes);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        soon_future *f = submit_named(ex, task_late, bytes, sizes[i], "late", SOON_MS(100));
        soon_error error;

        assert_ok(soon_future_error(f, SOON_FOREVER, &error));
        ck_assert_int_eq(error.code, -ETIME);
        ck_assert_int_eq(error.origin, SOON_FROM_LIBRARY);
        soon_future_unref(f);
        assert_works(ex);
    }
    ck_assert_uint_eq(pool_figures(ex).timed_out, 4);
    free(bytes);
    pool_down(ex, 8);
}
END_TEST

/* False if it may have run for longer than its timeout, once it was its turn. */
static bool is_time_in_the_queue_free(int method, soon_ns timeout)
{
    struct hold hold = hold_make();
    soon_executor *ex = patient(method, 0);
    soon_future *f;

    perch(ex, &hold, NULL);
    f = submit_named(ex, task_square, &(int){5}, sizeof(int), NULL, timeout);
    sleep_ns(timeout + SOON_MS(100));
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    soon_ns start = now_ns();
    gate_open(hold.release);
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    bool in_time = now_ns() - start < timeout;
    if (in_time)
        assert_result_int(f, 25);
    soon_future_unref(f);
    pool_down(ex, 2);
    hold_free(&hold);
    return in_time;
}

START_TEST(time_in_the_queue_does_not_count)
{
    for (soon_ns timeout = SOON_MS(500); !is_time_in_the_queue_free(_i, timeout);)
        timeout *= 2;
}
END_TEST

START_TEST(a_task_in_time_is_not_touched)
{
    enum { N = 50 };
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    soon_future *futures[N];

    for (int i = 0; i < N; i++)
        futures[i] = submit_named(ex, task_square, &i, sizeof i, NULL,
                                  i % 2 ? SOON_SECONDS(3600) : INT64_MAX);
    for (int i = 0; i < N; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, N);
    ck_assert_uint_eq(pool_figures(ex).timed_out, 0);
    pool_down(ex, N);
}
END_TEST

/* What was handed ahead behind a task that times out is taken elsewhere, with
 * its whole time. */
START_TEST(those_behind_it_run_once_and_in_full)
{
    enum { N = 30 };
    soon_executor *ex = patient(_i, 0);
    soon_future *late = submit_named(ex, task_for_ever, NULL, 0, NULL, SOON_MS(50)), *behind[N];

    for (int i = 0; i < N; i++)
        behind[i] = submit_named(ex, task_tick, &(int){i % 16}, sizeof(int), NULL,
                                 i % 2 ? SOON_SECONDS(3600) : 0);
    assert_timed_out(late, SIGTERM);
    for (int i = 0; i < N; i++)
        assert_result_bytes(behind[i], "", 0);
    for (int i = 0; i < 16; i++)
        ck_assert_uint_eq(board()->count[i], N / 16 + (i < N % 16));
    soon_future_unref(late);
    unref_all(behind, N);
    pool_down(ex, N + 1);
}
END_TEST

START_TEST(many_time_out_side_by_side)
{
    enum { N = 12 };
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 4});
    soon_future *futures[N];

    for (int i = 0; i < N; i++)
        futures[i] = submit_named(ex, task_for_ever, NULL, 0, NULL, SOON_MS(5 + i % 3 * 10));
    for (int i = 0; i < N; i++)
        assert_timed_out(futures[i], SIGTERM);
    unref_all(futures, N);
    ck_assert_uint_eq(pool_figures(ex).timed_out, N);
    pool_down(ex, N);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_timeout");
    TCase *timeouts = test_case(suite, "timeouts");

    add_over_methods(timeouts, past_its_timeout_a_worker_gets_sigterm);
    add_over_methods(timeouts, who_survives_sigterm_is_killed_after_the_grace);
    add_over_methods(timeouts, a_stopped_worker_is_killed_too);
    add_over_methods(timeouts, an_endless_loop_ends_at_its_timeout);
    add_over_methods(timeouts, a_late_result_is_dropped);
    add_over_methods(timeouts, time_in_the_queue_does_not_count);
    add_over_methods(timeouts, a_task_in_time_is_not_touched);
    add_over_methods(timeouts, those_behind_it_run_once_and_in_full);
    add_over_methods(timeouts, many_time_out_side_by_side);
    return suite;
}
