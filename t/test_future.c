/* SPDX-License-Identifier: MIT */
/* Futures: the state machine, the promise side, cancel, waiting, references. */
#include "support.h"

#include <soon/backend.h>

/* ---- the state machine ---- */

START_TEST(a_new_future_is_pending)
{
    soon_future *f = promise();

    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    ck_assert(!soon_future_done(f));
    ck_assert(!soon_future_running(f));
    ck_assert(!soon_future_cancelled(f));
    soon_future_unref(f);
}

static const struct {
    enum soon_state state;
    bool done, running, cancelled;
    bool cancel;           /* what cancel answers */
    enum soon_state after; /* and leaves behind */
    int kill;              /* what kill answers */
    int set;               /* what set_result and set_error answer */
    bool starts;           /* what set_running_or_notify_cancel answers */
    int wait;              /* what a poll answers */
    int result;            /* what asking for the result answers */
} truth[SAMPLE_COUNT] = {
    [SAMPLE_PENDING] = {SOON_PENDING, false, false, false, true, SOON_CANCELLED, 0, 0, true,
                        -ETIMEDOUT, -ETIMEDOUT},
    [SAMPLE_RUNNING] = {SOON_RUNNING, false, true, false, false, SOON_RUNNING, -ENOTSUP, 0, false,
                        -ETIMEDOUT, -ETIMEDOUT},
    [SAMPLE_CANCELLED] = {SOON_CANCELLED, true, false, true, true, SOON_CANCELLED, -EALREADY,
                          -EALREADY, false, 0, -ECANCELED},
    [SAMPLE_RESULT] = {SOON_FINISHED, true, false, false, false, SOON_FINISHED, -EALREADY,
                       -EALREADY, false, 0, 0},
    [SAMPLE_FAILED] = {SOON_FINISHED, true, false, false, false, SOON_FINISHED, -EALREADY,
                       -EALREADY, false, 0, -EIO},
};

START_TEST(predicates_agree_with_the_state)
{
    soon_future *f = sample_future((enum sample)_i);

    ck_assert_int_eq(soon_future_state(f), truth[_i].state);
    ck_assert_int_eq(soon_future_done(f), truth[_i].done);
    ck_assert_int_eq(soon_future_running(f), truth[_i].running);
    ck_assert_int_eq(soon_future_cancelled(f), truth[_i].cancelled);
    soon_future_unref(f);
}

START_TEST(cancel_is_for_pending_futures_only)
{
    soon_future *f = sample_future((enum sample)_i);

    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(soon_future_cancel(f), truth[_i].cancel);
        ck_assert_int_eq(soon_future_state(f), truth[_i].after);
    }
    soon_future_unref(f);
}

START_TEST(kill_of_a_future_without_a_process)
{
    soon_future *f = sample_future((enum sample)_i);

    ck_assert_int_eq(soon_future_kill(f), truth[_i].kill);
    ck_assert_int_eq(soon_future_state(f), truth[_i].after);
    soon_future_unref(f);
}

START_TEST(running_is_entered_once_and_from_pending_only)
{
    soon_future *f = sample_future((enum sample)_i);

    ck_assert_int_eq(soon_future_set_running_or_notify_cancel(f), truth[_i].starts);
    ck_assert(!soon_future_set_running_or_notify_cancel(f));
    ck_assert_int_eq(soon_future_state(f), truth[_i].starts ? SOON_RUNNING : truth[_i].state);
    soon_future_unref(f);
}

START_TEST(a_result_is_set_once)
{
    soon_future *f = sample_future((enum sample)_i);
    int value = 7;

    ck_assert_int_eq(soon_future_set_result(f, &value, sizeof value), truth[_i].set);
    value = 8;
    ck_assert_int_eq(soon_future_set_result(f, &value, sizeof value), -EALREADY);
    ck_assert_int_eq(soon_future_set_error(f, -EPERM, "too late"), -EALREADY);
    ck_assert(!soon_future_set_running_or_notify_cancel(f));
    if (truth[_i].set == 0)
        assert_result_int(f, 7);
    else
        ck_assert_int_eq(soon_future_value(f, 0, NULL, NULL), truth[_i].result);
    soon_future_unref(f);
}

START_TEST(an_error_is_set_once)
{
    soon_future *f = sample_future((enum sample)_i);
    const int value = 9;

    ck_assert_int_eq(soon_future_set_error(f, -EPERM, "no %s", "entry"), truth[_i].set);
    ck_assert_int_eq(soon_future_set_error(f, -EDOM, "too late"), -EALREADY);
    ck_assert_int_eq(soon_future_set_result(f, &value, sizeof value), -EALREADY);
    if (truth[_i].set == 0)
        assert_error(f, -EPERM, SOON_FROM_TASK, "no entry");
    else
        ck_assert_int_eq(soon_future_value(f, 0, NULL, NULL), truth[_i].result);
    soon_future_unref(f);
}

START_TEST(polls_answer_at_once_in_every_state)
{
    soon_future *f = sample_future((enum sample)_i);
    soon_error error;
    const void *value = &error;
    size_t len = 99;
    int result = -1;

    ck_assert_int_eq(soon_future_wait(f, 0), truth[_i].wait);
    ck_assert_int_eq(soon_future_result(f, 0, &result, sizeof result), truth[_i].result);
    ck_assert_int_eq(result, truth[_i].result == 0 ? 42 : -1);
    ck_assert_int_eq(soon_future_value(f, 0, &value, &len), truth[_i].result);
    if (truth[_i].result != 0) {
        ck_assert_ptr_eq(value, &error);
        ck_assert_uint_eq(len, 99);
    }
    ck_assert_int_eq(soon_future_error(f, 0, &error), truth[_i].wait);
    soon_future_unref(f);
}

START_TEST(a_future_says_how_it_ended)
{
    static const struct {
        int code;
        enum soon_origin origin;
    } expected[SAMPLE_COUNT] = {
        [SAMPLE_CANCELLED] = {-ECANCELED, SOON_FROM_LIBRARY},
        [SAMPLE_FAILED] = {-EIO, SOON_FROM_TASK},
    };
    soon_future *f = sample_future((enum sample)_i);
    soon_error error;

    if (_i == SAMPLE_RESULT) {
        assert_ok(soon_future_error(f, 0, &error));
        ck_assert_int_eq(error.code, 0);
        ck_assert_ptr_nonnull(error.message);
    } else {
        assert_error(f, expected[_i].code, expected[_i].origin, NULL);
    }
    soon_future_unref(f);
}

/* ---- bad input ---- */

START_TEST(bad_input_is_refused)
{
    soon_future *f = promise();
    soon_error error;
    int value = 0;

    ck_assert_int_eq(soon_future_new(NULL), -EINVAL);
    ck_assert_int_eq(soon_future_wait(NULL, 0), -EINVAL);
    ck_assert_int_eq(soon_future_result(NULL, 0, &value, sizeof value), -EINVAL);
    ck_assert_int_eq(soon_future_value(NULL, 0, NULL, NULL), -EINVAL);
    ck_assert_int_eq(soon_future_error(NULL, 0, &error), -EINVAL);
    ck_assert_int_eq(soon_future_progress(NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(soon_future_kill(NULL), -EINVAL);
    ck_assert_int_eq(soon_future_set_result(NULL, &value, sizeof value), -EINVAL);
    ck_assert_int_eq(soon_future_set_error(NULL, -EIO, NULL), -EINVAL);
    ck_assert_int_eq(soon_future_set_result(f, NULL, 1), -EINVAL);
    ck_assert_int_eq(soon_future_set_error(f, 0, "no error"), -EINVAL);
    ck_assert_int_eq(soon_future_set_failure(f, NULL), -EINVAL);
    ck_assert_int_eq(soon_future_set_failure(f, &(soon_error){.code = 0, .message = ""}), -EINVAL);
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);

    assert_ok(soon_future_set_result(f, &value, sizeof value));
    ck_assert_int_eq(soon_future_result(f, 0, NULL, sizeof value), -EINVAL);
    soon_future_unref(f);
}

START_TEST(a_result_of_impossible_size_changes_nothing)
{
    soon_future *f = promise();
    const char byte = 'x';
    int error = soon_future_set_result(f, &byte, SIZE_MAX - 8);

    ck_assert_msg(error == -ENOMEM || error == -EINVAL, "%d", error);
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    assert_ok(soon_future_set_result(f, &byte, 1));
    soon_future_unref(f);
}

/* ---- waiting ---- */

static void wait_for_ever(void *data)
{
    REQUIRE(soon_future_wait(data, SOON_FOREVER) == 0);
    REQUIRE(soon_future_done(data));
}

static void wait_nearly_for_ever(void *data)
{
    REQUIRE(soon_future_wait(data, INT64_MAX) == 0);
}

enum { WAITERS = 5 };

/* Several threads asleep in wait() on f when this returns. */
static void start_waiters(struct thread waiters[static WAITERS], soon_future *f)
{
    for (int i = 0; i < WAITERS; i++)
        thread_start(&waiters[i], i % 2 ? wait_for_ever : wait_nearly_for_ever, f);
    for (int i = 0; i < WAITERS; i++)
        thread_await_sleep(&waiters[i]);
}

static void join_waiters(struct thread waiters[static WAITERS])
{
    for (int i = 0; i < WAITERS; i++)
        thread_join(&waiters[i]);
}

START_TEST(cancel_wakes_waiting_threads)
{
    struct thread waiters[WAITERS];
    soon_future *f = promise();

    start_waiters(waiters, f);
    ck_assert(soon_future_cancel(f));
    join_waiters(waiters);
    soon_future_unref(f);
}

START_TEST(a_result_wakes_waiting_threads)
{
    struct thread waiters[WAITERS];
    soon_future *f = promise();

    start_waiters(waiters, f);
    ck_assert(soon_future_set_running_or_notify_cancel(f));
    assert_ok(soon_future_set_result(f, NULL, 0));
    join_waiters(waiters);
    soon_future_unref(f);
}

START_TEST(an_error_wakes_waiting_threads)
{
    struct thread waiters[WAITERS];
    soon_future *f = promise();

    start_waiters(waiters, f);
    assert_ok(soon_future_set_error(f, 1, NULL));
    join_waiters(waiters);
    soon_future_unref(f);
}

START_TEST(starting_to_run_does_not_end_a_wait)
{
    struct thread waiter;
    soon_future *f = promise();

    thread_start(&waiter, wait_for_ever, f);
    thread_await_sleep(&waiter);
    ck_assert(soon_future_set_running_or_notify_cancel(f));
    ck_assert_int_eq(soon_future_wait(f, SOON_MS(5)), -ETIMEDOUT);
    assert_ok(soon_future_set_result(f, NULL, 0));
    thread_join(&waiter);
    soon_future_unref(f);
}

START_TEST(a_timed_wait_lasts_as_long_as_asked)
{
    soon_future *f = promise();
    soon_error error;
    soon_ns start;
    int value;

    start = now_ns();
    ck_assert_int_eq(soon_future_wait(f, SOON_MS(20)), -ETIMEDOUT);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    start = now_ns();
    ck_assert_int_eq(soon_future_result(f, SOON_MS(20), &value, sizeof value), -ETIMEDOUT);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    start = now_ns();
    ck_assert_int_eq(soon_future_error(f, SOON_MS(20), &error), -ETIMEDOUT);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    soon_future_unref(f);
}

static void finish_with_42(void *data)
{
    const int answer = 42;

    REQUIRE(soon_future_set_result(data, &answer, sizeof answer) == 0);
}

static void fail_with_eio(void *data)
{
    REQUIRE(soon_future_set_error(data, -EIO, "broken") == 0);
}

static void cancel(void *data)
{
    REQUIRE(soon_future_cancel(data));
}

START_TEST(a_timed_wait_gets_what_another_thread_sets)
{
    static void (*const end[])(void *) = {finish_with_42, fail_with_eio, cancel};
    static const int expected[] = {0, -EIO, -ECANCELED};
    soon_future *f = promise();
    struct thread completer;
    int value = 0;

    thread_start(&completer, end[_i], f);
    ck_assert_int_eq(soon_future_result(f, SOON_SECONDS(50), &value, sizeof value), expected[_i]);
    ck_assert_int_eq(value, expected[_i] ? 0 : 42);
    thread_join(&completer);
    soon_future_unref(f);
}

/* ---- races for one transition ---- */

struct contest {
    soon_future *f;
    _Atomic int cancelled, started, set, waited;
};

static void try_cancel(void *data)
{
    struct contest *c = data;

    atomic_fetch_add(&c->cancelled, soon_future_cancel(c->f));
}

static void try_start(void *data)
{
    struct contest *c = data;

    atomic_fetch_add(&c->started, soon_future_set_running_or_notify_cancel(c->f));
}

static void try_set(void *data)
{
    struct contest *c = data;
    int me = (int)pthread_self();
    int error = soon_future_set_result(c->f, &me, sizeof me);

    REQUIRE(error == 0 || error == -EALREADY);
    atomic_fetch_add(&c->set, error == 0);
}

static void just_wait(void *data)
{
    struct contest *c = data;

    REQUIRE(soon_future_wait(c->f, SOON_FOREVER) == 0);
    atomic_fetch_add(&c->waited, 1);
}

START_TEST(either_cancel_or_start_wins)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct contest c = {.f = promise()};

        race(try_cancel, try_start, &c);
        EXPECT(c.cancelled + c.started == 1);
        EXPECT(soon_future_state(c.f) == (c.started ? SOON_RUNNING : SOON_CANCELLED));
        soon_future_unref(c.f);
    }
}

START_TEST(one_of_two_starts_wins)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct contest c = {.f = promise()};

        race(try_start, try_start, &c);
        EXPECT(c.started == 1);
        soon_future_unref(c.f);
    }
}

START_TEST(one_of_two_results_wins)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct contest c = {.f = promise()};

        race(try_set, try_set, &c);
        EXPECT(c.set == 1);
        EXPECT(soon_future_state(c.f) == SOON_FINISHED);
        soon_future_unref(c.f);
    }
}

START_TEST(either_cancel_or_a_result_wins)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct contest c = {.f = promise()};

        race(try_cancel, try_set, &c);
        EXPECT(c.cancelled + c.set == 1);
        EXPECT(soon_future_state(c.f) == (c.set ? SOON_FINISHED : SOON_CANCELLED));
        soon_future_unref(c.f);
    }
}

START_TEST(a_wait_that_races_with_the_end_returns)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct contest c = {.f = promise()};

        race(just_wait, round % 2 ? try_set : try_cancel, &c);
        EXPECT(c.waited == 1);
        soon_future_unref(c.f);
    }
}

/* ---- references ---- */

START_TEST(a_reference_keeps_the_result)
{
    soon_future *f = sample_future(SAMPLE_RESULT);

    ck_assert_ptr_eq(soon_future_ref(f), f);
    soon_future_unref(f);
    assert_result_int(f, 42);
    soon_future_unref(f);
    soon_future_unref(NULL);
}

static void ref_and_unref(void *data)
{
    for (size_t i = scaled(100000); i > 0; i--)
        soon_future_unref(soon_future_ref(data));
}

START_TEST(references_count_right_from_many_threads)
{
    soon_future *f = sample_future(SAMPLE_RESULT);

    race(ref_and_unref, ref_and_unref, f);
    assert_result_int(f, 42);
    soon_future_unref(f);
}

static void drop(void *data)
{
    soon_future_unref(data);
}

START_TEST(a_thread_may_drop_the_last_reference_while_another_completes)
{
    for (size_t round = scaled(1000); round > 0; round--) {
        soon_future *f = promise();

        soon_future_ref(f);
        race(finish_with_42, drop, f);
        soon_future_unref(f);
    }
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("future");
    TCase *states = test_case(suite, "states");
    TCase *waits = test_case(suite, "waiting");
    TCase *races = test_case(suite, "races");
    TCase *references = test_case(suite, "references");

    tcase_add_test(states, a_new_future_is_pending);
    tcase_add_loop_test(states, predicates_agree_with_the_state, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, cancel_is_for_pending_futures_only, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, kill_of_a_future_without_a_process, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, running_is_entered_once_and_from_pending_only, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, a_result_is_set_once, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, an_error_is_set_once, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, polls_answer_at_once_in_every_state, 0, SAMPLE_COUNT);
    tcase_add_loop_test(states, a_future_says_how_it_ended, SAMPLE_CANCELLED, SAMPLE_COUNT);
    tcase_add_test(states, bad_input_is_refused);
    tcase_add_test(states, a_result_of_impossible_size_changes_nothing);

    tcase_add_test(waits, cancel_wakes_waiting_threads);
    tcase_add_test(waits, a_result_wakes_waiting_threads);
    tcase_add_test(waits, an_error_wakes_waiting_threads);
    tcase_add_test(waits, starting_to_run_does_not_end_a_wait);
    tcase_add_test(waits, a_timed_wait_lasts_as_long_as_asked);
    tcase_add_loop_test(waits, a_timed_wait_gets_what_another_thread_sets, 0, 3);

    tcase_add_test(races, either_cancel_or_start_wins);
    tcase_add_test(races, one_of_two_starts_wins);
    tcase_add_test(races, one_of_two_results_wins);
    tcase_add_test(races, either_cancel_or_a_result_wins);
    tcase_add_test(races, a_wait_that_races_with_the_end_returns);

    tcase_add_test(references, a_reference_keeps_the_result);
    tcase_add_test(references, references_count_right_from_many_threads);
    tcase_add_test(references, a_thread_may_drop_the_last_reference_while_another_completes);
    return suite;
}
