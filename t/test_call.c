/* SPDX-License-Identifier: MIT */
/* What a task may say while it runs: results, errors, progress. */
#include "backends.h"

#include <sched.h>
#include <stdio.h>

/* Each step is a task of its own; the test looks at what became of it. */
static soon_future *run(soon_executor *ex, soon_fn *fn)
{
    soon_future *f = submit(ex, fn, NULL, 0);

    assert_ok(soon_future_wait(f, SOON_FOREVER));
    return f;
}

/* Runs fn, which has to finish with this text. */
static void assert_returns(soon_executor *ex, soon_fn *fn, const char *text)
{
    soon_future *f = run(ex, fn);

    assert_result_bytes(f, text, strlen(text));
    soon_future_unref(f);
}

static void assert_fails(soon_executor *ex, soon_fn *fn, int code, const char *message)
{
    soon_future *f = run(ex, fn);

    assert_error(f, code, SOON_FROM_TASK, message);
    soon_future_unref(f);
}

#define TASK(name) static int name(soon_call *call, const void *arg, size_t arg_len)
#define UNUSED_ARGUMENT() ((void)arg, (void)arg_len)

/* ---- results ---- */

TASK(returns_twice)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_return(call, "first", 5) == 0);
    return soon_return(call, "second", 6);
}

TASK(returns_shorter_and_shorter)
{
    char bytes[5000];

    UNUSED_ARGUMENT();
    memset(bytes, 'x', sizeof bytes);
    for (size_t len = sizeof bytes; len > 0; len -= 100)
        REQUIRE(soon_return(call, bytes, len) == 0);
    return soon_return(call, "short", 5);
}

TASK(returns_nothing_after_something)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_return(call, "something", 9) == 0);
    return soon_return(call, NULL, 0);
}

TASK(writes_in_place)
{
    char *room = soon_return_buffer(call, 8);

    UNUSED_ARGUMENT();
    REQUIRE(room && (uintptr_t)room % 16 == 0);
    memcpy(room, "in place", 8);
    return 0;
}

TASK(writes_in_place_twice)
{
    char *first = soon_return_buffer(call, 4000), *second;

    UNUSED_ARGUMENT();
    REQUIRE(first);
    memset(first, 'x', 4000);
    second = soon_return_buffer(call, 3);
    REQUIRE(second);
    memcpy(second, "two", 3);
    return 0;
}

TASK(returns_after_writing_in_place)
{
    char *room = soon_return_buffer(call, 100);

    UNUSED_ARGUMENT();
    REQUIRE(room);
    memset(room, 'x', 100);
    return soon_return(call, "returned", 8);
}

TASK(writes_in_place_after_returning)
{
    char *room;

    UNUSED_ARGUMENT();
    REQUIRE(soon_return(call, "returned", 8) == 0);
    room = soon_return_buffer(call, 5);
    REQUIRE(room);
    memcpy(room, "later", 5);
    return 0;
}

TASK(writes_nothing_in_place)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_return(call, "something", 9) == 0);
    REQUIRE(soon_return_buffer(call, 0));
    return 0;
}

TASK(asks_for_the_impossible)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_return(call, "still stands", 12) == 0);
    REQUIRE(soon_return_buffer(call, SIZE_MAX - 8) == NULL);
    REQUIRE(soon_return(call, "x", SIZE_MAX - 8) < 0);
    REQUIRE(soon_return(call, NULL, 1) == -EINVAL);
    return 0;
}

START_TEST(the_last_result_wins)
{
    struct rig rig;

    rig_up(&rig, _i);
    assert_returns(rig.ex, returns_twice, "second");
    assert_returns(rig.ex, returns_shorter_and_shorter, "short");
    assert_returns(rig.ex, returns_nothing_after_something, "");
    assert_returns(rig.ex, writes_in_place, "in place");
    assert_returns(rig.ex, writes_in_place_twice, "two");
    assert_returns(rig.ex, returns_after_writing_in_place, "returned");
    assert_returns(rig.ex, writes_in_place_after_returning, "later");
    assert_returns(rig.ex, writes_nothing_in_place, "");
    assert_returns(rig.ex, task_nothing, "");
    rig_down(&rig);
}

START_TEST(a_result_that_cannot_be_had_leaves_the_one_before)
{
    struct rig rig;

    rig_up(&rig, _i);
    assert_returns(rig.ex, asks_for_the_impossible, "still stands");
    rig_down(&rig);
}

/* A result may be made from the argument, from itself, and in any order. */
TASK(returns_its_own_argument_in_parts)
{
    const char *text = arg;

    REQUIRE(soon_return(call, text, arg_len) == 0);
    REQUIRE(soon_return(call, text + 1, arg_len - 1) == 0);
    REQUIRE(memcmp(text, "xyz", 3) == 0);
    return soon_return(call, text + arg_len - 3, 3);
}

START_TEST(a_result_may_be_part_of_the_argument)
{
    static const size_t sizes[] = {8, 16, 32, 48, 64, 1000};
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char text[1000];
        soon_future *f;

        memset(text, '.', sizeof text);
        memcpy(text, "xyz", 3);
        memcpy(text + sizes[i] - 3, "end", 3);
        f = submit(rig.ex, returns_its_own_argument_in_parts, text, sizes[i]);
        assert_result_bytes(f, "end", 3);
        soon_future_unref(f);
    }
    rig_down(&rig);
}

/* ---- errors ---- */

TASK(fails_with_zero)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_fail(call, 0, "not a code") == -EINVAL);
    return soon_return(call, "unharmed", 8);
}

TASK(fails_and_returns_all_the_same)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_fail(call, -EIO, "changed its mind") == -EIO);
    return soon_return(call, "fine", 4);
}

TASK(fails_twice)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_fail(call, -EIO, "first") == -EIO);
    return soon_fail(call, -ENOSPC, "%s of %d", "second", 2);
}

TASK(returns_another_code_than_it_failed_with)
{
    UNUSED_ARGUMENT();
    soon_fail(call, -EIO, "why");
    return 77;
}

TASK(fails_after_a_result)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_return(call, "result", 6) == 0);
    return soon_fail(call, -EIO, "after all");
}

TASK(fails_without_a_word)
{
    (void)call;
    UNUSED_ARGUMENT();
    return -ENXIO;
}

START_TEST(a_task_fails_by_what_it_returns)
{
    struct rig rig;

    rig_up(&rig, _i);
    assert_returns(rig.ex, fails_with_zero, "unharmed");
    assert_returns(rig.ex, fails_and_returns_all_the_same, "fine");
    assert_fails(rig.ex, fails_twice, -ENOSPC, "second of 2");
    assert_fails(rig.ex, returns_another_code_than_it_failed_with, 77, "why");
    assert_fails(rig.ex, fails_after_a_result, -EIO, "after all");
    assert_fails(rig.ex, fails_without_a_word, -ENXIO, NULL);
    rig_down(&rig);
}

/* ---- being asked to stop ---- */

TASK(says_whether_it_is_cancelled)
{
    char cancelled = soon_call_cancelled(call);

    UNUSED_ARGUMENT();
    return soon_return(call, &cancelled, 1);
}

START_TEST(a_task_nobody_cancelled_is_not_cancelled)
{
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    f = run(rig.ex, says_whether_it_is_cancelled);
    assert_result_bytes(f, "\0", 1);
    soon_future_unref(f);
    rig_down(&rig);
}

START_TEST(it_learns_of_cancel_though_its_future_is_not_held)
{
    struct bell started = bell_make();
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    f = submit(rig.ex, task_until_cancelled, &started, sizeof started);
    bell_await(started, 1);
    ck_assert(!soon_future_cancel(f));
    soon_future_unref(f);
    rig_down(&rig);
    bell_free(started);
}

static void help_to_watch(void *data)
{
    const soon_call *call = data;

    while (!soon_call_cancelled(call))
        sched_yield();
}

TASK(watches_in_a_helper_thread)
{
    struct bell started;
    struct thread helper;

    (void)arg_len;
    memcpy(&started, arg, sizeof started);
    thread_start(&helper, help_to_watch, call);
    bell_ring(started);
    thread_join(&helper);
    return 0;
}

START_TEST(a_helper_thread_of_the_task_may_ask_too)
{
    struct bell started = bell_make();
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    f = submit(rig.ex, watches_in_a_helper_thread, &started, sizeof started);
    bell_await(started, 1);
    ck_assert(!soon_future_cancel(f));
    assert_result_bytes(f, "", 0);
    soon_future_unref(f);
    rig_down(&rig);
    bell_free(started);
}

/* ---- progress ---- */

TASK(reports_badly)
{
    UNUSED_ARGUMENT();
    REQUIRE(soon_call_progress(call, 5, 4) == -EINVAL);
    REQUIRE(soon_call_progress(call, 3, 4) == 0);
    REQUIRE(soon_call_progress(call, 5, 4) == -EINVAL);
    REQUIRE(soon_call_progress(call, 1000, 0) == 0); /* total not known */
    REQUIRE(soon_call_progress(call, 4, 4) == 0);
    return 0;
}

static void assert_progress(soon_future *f, uint64_t done, uint64_t total)
{
    uint64_t got_done = ~done, got_total = ~total;

    assert_ok(soon_future_progress(f, &got_done, &got_total));
    ck_assert_uint_eq(got_done, done);
    ck_assert_uint_eq(got_total, total);
    got_done = got_total = 99;
    assert_ok(soon_future_progress(f, &got_done, NULL));
    assert_ok(soon_future_progress(f, NULL, &got_total));
    ck_assert_uint_eq(got_done, done);
    ck_assert_uint_eq(got_total, total);
}

START_TEST(progress_is_what_the_task_said_last)
{
    struct rig rig;
    soon_future *f;

    for (int i = 0; i < SAMPLE_COUNT; i++) {
        f = sample_future((enum sample)i);
        assert_progress(f, 0, 0);
        soon_future_unref(f);
    }
    rig_up(&rig, _i);
    f = run(rig.ex, task_nothing);
    assert_progress(f, 0, 0);
    soon_future_unref(f);
    f = run(rig.ex, reports_badly);
    assert_result_bytes(f, "", 0);
    assert_progress(f, 4, 4);
    soon_future_unref(f);
    rig_down(&rig);
}

/* done is always a square root of total here. */
TASK(reports_in_pairs)
{
    struct bell started;

    (void)arg_len;
    memcpy(&started, arg, sizeof started);
    for (uint64_t i = 1; !soon_call_cancelled(call); i = i % 100000 + 1) {
        REQUIRE(soon_call_progress(call, i, i * i) == 0);
        if (i == 1)
            bell_ring(started);
    }
    return 0;
}

START_TEST(a_reader_never_mixes_two_reports)
{
    struct bell started = bell_make();
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    f = submit(rig.ex, reports_in_pairs, &started, sizeof started);
    bell_await(started, 1);
    for (size_t i = scaled(200000); i > 0; i--) {
        uint64_t done = 0, total = 0;

        EXPECT(soon_future_progress(f, &done, &total) == 0);
        EXPECT(done >= 1 && total == done * done);
    }
    ck_assert(!soon_future_cancel(f));
    assert_result_bytes(f, "", 0);
    soon_future_unref(f);
    rig_down(&rig);
    bell_free(started);
}

/* ---- outside of a task ---- */

START_TEST(calls_without_a_task_are_refused)
{
    ck_assert_int_eq(soon_return(NULL, "x", 1), -EINVAL);
    ck_assert_ptr_null(soon_return_buffer(NULL, 1));
    ck_assert_int_eq(soon_call_progress(NULL, 1, 1), -EINVAL);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("call");
    TCase *results = test_case(suite, "results");
    TCase *errors = test_case(suite, "errors");
    TCase *stopping = test_case(suite, "stopping");
    TCase *progress = test_case(suite, "progress");

    add_over_backends(results, the_last_result_wins, 0);
    add_over_backends(results, a_result_that_cannot_be_had_leaves_the_one_before, 0);
    add_over_backends(results, a_result_may_be_part_of_the_argument, 0);

    add_over_backends(errors, a_task_fails_by_what_it_returns, 0);
    tcase_add_test(errors, calls_without_a_task_are_refused);

    add_over_backends(stopping, a_task_nobody_cancelled_is_not_cancelled, 0);
    add_over_backends(stopping, it_learns_of_cancel_though_its_future_is_not_held, TRAIT_DEFERS);
    add_over_backends(stopping, a_helper_thread_of_the_task_may_ask_too,
                      TRAIT_DEFERS | TRAIT_THREADS);

    add_over_backends(progress, progress_is_what_the_task_said_last, 0);
    add_over_backends(progress, a_reader_never_mixes_two_reports, TRAIT_DEFERS);
    return suite;
}
