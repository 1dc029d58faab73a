/* SPDX-License-Identifier: MIT */
/* soon_wait(): what it counts, what ends it, what it leaves behind. */
#include "backends.h"

#include <sys/prctl.h>

static void finish(soon_future *f)
{
    assert_ok(soon_future_set_result(f, NULL, 0));
}

static void promises(soon_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        futures[i] = promise();
}

static int poll_all(soon_future *const *futures, size_t n)
{
    return soon_wait(futures, n, SOON_ALL_COMPLETED, 0);
}

/* ---- what it counts ---- */

START_TEST(nothing_to_wait_for_returns_at_once)
{
    soon_future *none[1] = {NULL};

    ck_assert_int_eq(soon_wait(NULL, 0, SOON_ALL_COMPLETED, SOON_FOREVER), 0);
    ck_assert_int_eq(soon_wait(none, 0, SOON_FIRST_COMPLETED, SOON_FOREVER), 0);
    ck_assert_int_eq(soon_wait(none, 0, SOON_FIRST_EXCEPTION, 0), 0);
}

START_TEST(bad_input_is_refused)
{
    soon_future *futures[2] = {sample_future(SAMPLE_RESULT), NULL};

    ck_assert_int_eq(soon_wait(NULL, 1, SOON_ALL_COMPLETED, 0), -EINVAL);
    ck_assert_int_eq(soon_wait(futures, 2, SOON_ALL_COMPLETED, 0), -EINVAL);
    ck_assert_int_eq(soon_wait(futures, 2, SOON_FIRST_COMPLETED, 0), -EINVAL);
    ck_assert_int_eq(soon_wait(futures, 1, (enum soon_return_when)99, 0), -EINVAL);
    soon_future_unref(futures[0]);
}

START_TEST(it_counts_the_done_ones_however_they_ended)
{
    soon_future *futures[SAMPLE_COUNT];

    for (int i = 0; i < SAMPLE_COUNT; i++)
        futures[i] = sample_future((enum sample)i);
    ck_assert_int_eq(poll_all(futures, SAMPLE_COUNT), 3);
    ck_assert_int_eq(soon_wait(futures, SAMPLE_COUNT, SOON_FIRST_COMPLETED, SOON_FOREVER), 3);
    ck_assert_int_eq(soon_wait(futures, SAMPLE_COUNT, SOON_FIRST_EXCEPTION, SOON_FOREVER), 3);
    unref_all(futures, SAMPLE_COUNT);
}

START_TEST(duplicates_count_once)
{
    soon_future *done = sample_future(SAMPLE_RESULT), *pending = promise();
    soon_future *futures[] = {done, pending, done, done, pending};

    ck_assert_int_eq(soon_wait(futures, 5, SOON_ALL_COMPLETED, 0), 1);
    ck_assert_int_eq(soon_wait(futures, 5, SOON_ALL_COMPLETED, SOON_MS(2)), 1);
    ck_assert_int_eq(soon_wait(futures, 5, SOON_FIRST_COMPLETED, SOON_FOREVER), 1);
    finish(pending);
    ck_assert_int_eq(soon_wait(futures, 5, SOON_ALL_COMPLETED, SOON_FOREVER), 2);
    soon_future_unref(done);
    soon_future_unref(pending);
}

START_TEST(many_duplicates_count_once)
{
    enum { N = 3000 };
    static soon_future *futures[2 * N];

    promises(futures, N);
    for (int i = 0; i < N; i++)
        futures[2 * N - 1 - i] = futures[i];
    for (int i = 0; i < N; i += 2)
        finish(futures[i]);
    ck_assert_int_eq(poll_all(futures, 2 * N), N / 2);
    for (int i = 1; i < N; i += 2)
        finish(futures[i]);
    ck_assert_int_eq(soon_wait(futures, 2 * N, SOON_ALL_COMPLETED, SOON_FOREVER), N);
    unref_all(futures, N);
}

/* ---- what ends it ---- */

struct waiting {
    soon_future **futures;
    size_t n;
    enum soon_return_when when;
    soon_ns timeout;
    _Atomic int answer; /* INT32_MIN until it is there */
    struct thread thread;
};

static void run_wait(void *data)
{
    struct waiting *w = data;

    w->answer = soon_wait(w->futures, w->n, w->when, w->timeout);
}

/* A thread asleep in soon_wait() for ever. */
static void start_wait(struct waiting *w, soon_future **futures, size_t n,
                       enum soon_return_when when)
{
    w->futures = futures;
    w->n = n;
    w->when = when;
    w->timeout = SOON_FOREVER;
    w->answer = INT32_MIN;
    thread_start(&w->thread, run_wait, w);
    thread_await_sleep(&w->thread);
}

static void assert_still_waiting(struct waiting *w)
{
    thread_await_sleep(&w->thread);
    ck_assert_int_eq(w->answer, INT32_MIN);
}

static void assert_returned(struct waiting *w, int expected)
{
    thread_join(&w->thread);
    ck_assert_int_eq(w->answer, expected);
}

static void break_it(soon_future *f)
{
    assert_ok(soon_future_set_error(f, -EIO, NULL));
}

static void cancel(soon_future *f)
{
    ck_assert(soon_future_cancel(f));
}

static void (*const ends[])(soon_future *) = {finish, break_it, cancel};

START_TEST(first_completed_ends_with_the_first_however_it_ends)
{
    struct waiting w;
    soon_future *futures[4];

    promises(futures, 4);
    start_wait(&w, futures, 4, SOON_FIRST_COMPLETED);
    ck_assert(soon_future_set_running_or_notify_cancel(futures[2]));
    assert_still_waiting(&w);
    ends[_i](futures[1]);
    assert_returned(&w, 1);
    unref_all(futures, 4);
}

START_TEST(first_completed_ends_at_once_if_some_are_completed)
{
    soon_future *futures[3] = {sample_future(SAMPLE_CANCELLED), promise(),
                               sample_future(SAMPLE_RESULT)};

    ck_assert_int_eq(soon_wait(futures, 3, SOON_FIRST_COMPLETED, SOON_FOREVER), 2);
    unref_all(futures, 3);
}

START_TEST(first_exception_ends_with_the_first_failure)
{
    struct waiting w;
    soon_future *futures[4];

    promises(futures, 4);
    start_wait(&w, futures, 4, SOON_FIRST_EXCEPTION);
    finish(futures[3]);
    assert_still_waiting(&w);
    break_it(futures[0]);
    assert_returned(&w, 2);
    unref_all(futures, 4);
}

START_TEST(first_exception_does_not_count_cancelled_ones_as_failed)
{
    struct waiting w;
    soon_future *futures[4];

    promises(futures, 4);
    cancel(futures[0]);
    start_wait(&w, futures, 4, SOON_FIRST_EXCEPTION);
    cancel(futures[1]);
    assert_still_waiting(&w);
    break_it(futures[2]);
    assert_returned(&w, 3);
    unref_all(futures, 4);
}

START_TEST(first_exception_goes_on_if_some_are_complete)
{
    struct waiting w;
    soon_future *futures[4] = {sample_future(SAMPLE_RESULT), sample_future(SAMPLE_CANCELLED),
                               promise(), promise()};

    start_wait(&w, futures, 4, SOON_FIRST_EXCEPTION);
    assert_still_waiting(&w);
    break_it(futures[2]);
    assert_returned(&w, 3);
    unref_all(futures, 4);
}

START_TEST(first_exception_ends_at_once_if_one_has_failed)
{
    soon_future *futures[2] = {promise(), sample_future(SAMPLE_FAILED)};

    ck_assert_int_eq(soon_wait(futures, 2, SOON_FIRST_EXCEPTION, SOON_FOREVER), 1);
    unref_all(futures, 2);
}

START_TEST(first_exception_ends_when_all_are_done_without_one)
{
    struct waiting w;
    soon_future *futures[3];

    promises(futures, 3);
    start_wait(&w, futures, 3, SOON_FIRST_EXCEPTION);
    finish(futures[2]);
    cancel(futures[0]);
    assert_still_waiting(&w);
    finish(futures[1]);
    assert_returned(&w, 3);
    unref_all(futures, 3);
}

START_TEST(all_completed_ends_with_the_last_however_they_end)
{
    struct waiting w;
    soon_future *futures[3];

    promises(futures, 3);
    start_wait(&w, futures, 3, SOON_ALL_COMPLETED);
    ends[_i](futures[0]);
    assert_still_waiting(&w);
    ends[(_i + 1) % 3](futures[2]);
    assert_still_waiting(&w);
    ends[(_i + 2) % 3](futures[1]);
    assert_returned(&w, 3);
    unref_all(futures, 3);
}

START_TEST(many_threads_may_wait_for_the_same)
{
    struct waiting w[6];
    soon_future *futures[3];

    promises(futures, 3);
    for (int i = 0; i < 6; i++)
        start_wait(&w[i], futures, 3, (enum soon_return_when)(i % 3));
    break_it(futures[1]);
    for (int i = 0; i < 6; i++)
        if (w[i].when != SOON_ALL_COMPLETED)
            assert_returned(&w[i], 1);
    finish(futures[0]);
    cancel(futures[2]);
    for (int i = 0; i < 6; i++)
        if (w[i].when == SOON_ALL_COMPLETED)
            assert_returned(&w[i], 3);
    unref_all(futures, 3);
}

/* ---- time ---- */

START_TEST(a_timeout_is_no_error_and_lasts_as_long_as_asked)
{
    soon_future *futures[3] = {sample_future(SAMPLE_RESULT), promise(), promise()};
    soon_ns start = now_ns();

    ck_assert_int_eq(soon_wait(futures, 3, SOON_ALL_COMPLETED, SOON_MS(20)), 1);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    start = now_ns();
    ck_assert_int_eq(soon_wait(futures + 1, 2, SOON_FIRST_COMPLETED, SOON_MS(20)), 0);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    unref_all(futures, 3);
}

START_TEST(a_huge_timeout_does_not_overflow)
{
    struct waiting w;
    soon_future *futures[2];

    promises(futures, 2);
    w = (struct waiting){.futures = futures,
                         .n = 2,
                         .when = SOON_ALL_COMPLETED,
                         .timeout = INT64_MAX,
                         .answer = INT32_MIN};
    thread_start(&w.thread, run_wait, &w);
    thread_await_sleep(&w.thread);
    assert_still_waiting(&w);
    finish(futures[0]);
    finish(futures[1]);
    assert_returned(&w, 2);
    unref_all(futures, 2);
}

/* ---- what it leaves behind ---- */

/* A wait that registers and times out at once, over and over. What a single
 * forgotten registration costs, a million times, is far beyond the limit. By
 * default the kernel lets a timeout come 50 us late, to save wake-ups. */
START_TEST(a_million_waits_leave_nothing_behind)
{
    const size_t rounds = scaled(1000000);
    soon_future *futures[2];
    size_t before, after;

    assert_ok(prctl(PR_SET_TIMERSLACK, 1));
    promises(futures, 2);
    for (size_t i = 0; i < rounds / 10 + 1; i++)
        EXPECT(soon_wait(futures, 2, SOON_FIRST_COMPLETED, 1) == 0);
    before = resident_bytes();
    for (size_t i = 0; i < rounds; i++)
        EXPECT(soon_wait(futures, 2, (enum soon_return_when)(i % 3), 1) == 0);
    after = resident_bytes();
    if (!memory_is_watched())
        ck_assert_msg(after < before + (1 << 20), "grew by %zu bytes", after - before);
    finish(futures[0]);
    ck_assert_int_eq(soon_wait(futures, 2, SOON_FIRST_COMPLETED, SOON_FOREVER), 1);
    unref_all(futures, 2);
    assert_ok(prctl(PR_SET_TIMERSLACK, 0));
}

START_TEST(a_wait_that_ended_early_is_not_disturbed_by_the_rest)
{
    soon_future *futures[3];

    for (size_t round = scaled(2000); round > 0; round--) {
        struct waiting w;

        promises(futures, 3);
        start_wait(&w, futures, 3, SOON_FIRST_COMPLETED);
        finish(futures[0]);
        finish(futures[1]);
        cancel(futures[2]);
        thread_join(&w.thread);
        EXPECT(w.answer >= 1 && w.answer <= 3);
        unref_all(futures, 3);
    }
}

/* ---- over executors ---- */

static int task_pass(soon_call *call, const void *arg, size_t arg_len)
{
    struct gate gate;

    (void)call;
    REQUIRE(arg_len == sizeof gate);
    memcpy(&gate, arg, sizeof gate);
    gate_pass(gate);
    return 0;
}

/* All finish at about the time when the wait looks at them one by one. */
START_TEST(calls_that_finish_while_it_begins_are_not_lost)
{
    for (size_t round = scaled(100); round > 0; round--) {
        struct gate gate = gate_make();
        soon_future *futures[30];
        struct rig rig;

        rig_up(&rig, _i);
        for (int i = 0; i < 30; i++)
            futures[i] = submit(rig.ex, task_pass, &gate, sizeof gate);
        gate_open(gate);
        ck_assert_int_eq(
            soon_wait(futures, 30, (enum soon_return_when)(1 + round % 2), SOON_FOREVER), 30);
        unref_all(futures, 30);
        rig_down(&rig);
        gate_free(gate);
    }
}

START_TEST(futures_of_several_executors_and_of_none_mix)
{
    struct rig first, second;
    soon_future *futures[3];

    rig_up(&first, _i);
    rig_up(&second, _i);
    futures[0] = submit_int(first.ex, task_square, 3);
    futures[1] = submit_int(second.ex, task_square, 4);
    futures[2] = promise();
    ck_assert_int_eq(soon_wait(futures, 2, SOON_ALL_COMPLETED, SOON_FOREVER), 2);
    ck_assert_int_ge(soon_wait(futures, 3, SOON_FIRST_COMPLETED, SOON_FOREVER), 1);
    ck_assert_int_eq(soon_wait(futures, 3, SOON_ALL_COMPLETED, SOON_MS(2)), 2);
    finish(futures[2]);
    ck_assert_int_eq(soon_wait(futures, 3, SOON_ALL_COMPLETED, SOON_FOREVER), 3);
    unref_all(futures, 3);
    rig_down(&first);
    rig_down(&second);
}

/* Waits for children of its own executor: the number of them, or an error. */
static int task_wait_for_children(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;
    soon_future *children[10];
    int answer, sum = 0;

    (void)arg_len;
    memcpy(&ex, arg, sizeof ex);
    for (int i = 0; i < 10; i++)
        REQUIRE(soon_submit(ex, task_square, &i, sizeof i, &children[i]) == 0);
    answer = soon_wait(children, 10, SOON_ALL_COMPLETED, SOON_FOREVER);
    if (answer != 10)
        return soon_fail(call, -EPROTO, "soon_wait said %d", answer);
    for (int i = 0; i < 10; i++) {
        int square = 0;

        REQUIRE(soon_future_result(children[i], 0, &square, sizeof square) == 0);
        sum += square;
        soon_future_unref(children[i]);
    }
    return soon_return(call, &sum, sizeof sum);
}

START_TEST(a_task_waits_for_tasks_of_its_own_executor)
{
    soon_future *parents[6];
    struct rig rig;

    rig_up(&rig, _i);
    for (int i = 0; i < 6; i++)
        parents[i] = submit(rig.ex, task_wait_for_children, &rig.ex, sizeof rig.ex);
    for (int i = 0; i < 6; i++)
        assert_result_int(parents[i], 285);
    unref_all(parents, 6);
    rig_down(&rig);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("wait");
    TCase *counts = test_case(suite, "counts");
    TCase *ends_it = test_case(suite, "ends");
    TCase *leaves = test_case(suite, "leaves");
    TCase *every = test_case(suite, "every backend");

    tcase_add_test(counts, nothing_to_wait_for_returns_at_once);
    tcase_add_test(counts, bad_input_is_refused);
    tcase_add_test(counts, it_counts_the_done_ones_however_they_ended);
    tcase_add_test(counts, duplicates_count_once);
    tcase_add_test(counts, many_duplicates_count_once);

    tcase_add_loop_test(ends_it, first_completed_ends_with_the_first_however_it_ends, 0, 3);
    tcase_add_test(ends_it, first_completed_ends_at_once_if_some_are_completed);
    tcase_add_test(ends_it, first_exception_ends_with_the_first_failure);
    tcase_add_test(ends_it, first_exception_does_not_count_cancelled_ones_as_failed);
    tcase_add_test(ends_it, first_exception_goes_on_if_some_are_complete);
    tcase_add_test(ends_it, first_exception_ends_at_once_if_one_has_failed);
    tcase_add_test(ends_it, first_exception_ends_when_all_are_done_without_one);
    tcase_add_loop_test(ends_it, all_completed_ends_with_the_last_however_they_end, 0, 3);
    tcase_add_test(ends_it, many_threads_may_wait_for_the_same);
    tcase_add_test(ends_it, a_timeout_is_no_error_and_lasts_as_long_as_asked);
    tcase_add_test(ends_it, a_huge_timeout_does_not_overflow);

    tcase_add_test(leaves, a_million_waits_leave_nothing_behind);
    tcase_add_test(leaves, a_wait_that_ended_early_is_not_disturbed_by_the_rest);

    add_over_backends(every, calls_that_finish_while_it_begins_are_not_lost, TRAIT_DEFERS);
    add_over_backends(every, futures_of_several_executors_and_of_none_mix, 0);
    add_over_backends(every, a_task_waits_for_tasks_of_its_own_executor, TRAIT_LOCAL);
    return suite;
}
