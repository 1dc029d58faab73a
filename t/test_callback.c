/* SPDX-License-Identifier: MIT */
/* Done callbacks: which thread, what order, how often; removal; races. */
#include "trace.h"

static void count(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    atomic_fetch_add((_Atomic unsigned *)data, 1);
}

static void finish(soon_future *f)
{
    REQUIRE(soon_future_set_result(f, NULL, 0) == 0);
}

/* ---- which thread, what order, how often ---- */

START_TEST(callbacks_run_in_the_order_added_before_completion_returns)
{
    static const int in_order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct trace trace = {0};
    struct entry entries[10];
    soon_future *f = promise();

    for (int i = 0; i < 10; i++) {
        entries[i] = (struct entry){&trace, i};
        trace_add(f, &entries[i]);
    }
    ck_assert_uint_eq(trace.used, 0);
    ends[_i](f);
    assert_trace(&trace, in_order, 10);
    ck_assert_int_eq(trace.state, soon_future_state(f));
    soon_future_unref(f);
}

struct completion {
    soon_future *f;
    void (*end)(void *);
    pthread_t thread;
    unsigned seen; /* callbacks that had run when the completing call was back */
    const struct trace *trace;
};

static void complete_and_look(void *data)
{
    struct completion *c = data;

    c->thread = pthread_self();
    c->end(c->f);
    c->seen = c->trace->used;
}

START_TEST(callbacks_run_in_the_thread_that_completes_or_cancels)
{
    struct trace trace = {0};
    struct entry entry = {&trace, 1};
    struct completion c = {.f = promise(), .end = ends[_i], .trace = &trace};
    struct thread completer;

    trace_add(c.f, &entry);
    thread_start(&completer, complete_and_look, &c);
    thread_join(&completer);
    ck_assert_uint_eq(c.seen, 1);
    ck_assert(pthread_equal(trace.thread, c.thread));
    soon_future_unref(c.f);
}

START_TEST(a_late_callback_runs_at_once_in_the_caller)
{
    struct trace trace = {0};
    struct entry first = {&trace, 1}, second = {&trace, 2};
    soon_future *f = promise();

    ends[_i](f);
    trace_add(f, &first);
    assert_trace(&trace, (const int[]){1}, 1);
    trace_add(f, &second);
    assert_trace(&trace, (const int[]){1, 2}, 2);
    ck_assert(pthread_equal(trace.thread, pthread_self()));
    soon_future_unref(f);
}

START_TEST(a_callback_sees_how_it_ended_and_may_call_anything)
{
    soon_future *f = promise();
    struct trace trace = {0};
    struct entry entry = {&trace, 1};

    trace_add(f, &entry);
    ck_assert(soon_future_set_running_or_notify_cancel(f));
    ck_assert(!soon_future_cancel(f));
    ck_assert_uint_eq(trace.used, 0);
    assert_ok(soon_future_set_result(f, NULL, 0));
    ck_assert_uint_eq(trace.used, 1);
    /* Refused transitions call nobody again. */
    ck_assert_int_eq(soon_future_set_error(f, -EIO, NULL), -EALREADY);
    ck_assert(!soon_future_cancel(f));
    ck_assert_uint_eq(trace.used, 1);
    soon_future_unref(f);
}

/* No lock is held: every call on the future itself goes through. */
static void call_everything(soon_future *f, void *data)
{
    unsigned *called = data;
    soon_error error;
    int value = 0;

    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    REQUIRE(soon_future_result(f, SOON_FOREVER, &value, sizeof value) == 0 && value == 42);
    REQUIRE(soon_future_error(f, 0, &error) == 0 && error.code == 0);
    REQUIRE(soon_future_set_result(f, NULL, 0) == -EALREADY);
    REQUIRE(!soon_future_cancel(f));
    REQUIRE(!soon_future_remove_done_callback(f, call_everything, data));
    REQUIRE(soon_wait(&f, 1, SOON_ALL_COMPLETED, SOON_FOREVER) == 1);
    soon_future_unref(soon_future_ref(f));
    ++*called;
}

START_TEST(no_lock_is_held_while_a_callback_runs)
{
    const int answer = 42;
    soon_future *f = promise();
    unsigned called = 0;

    assert_ok(soon_future_add_done_callback(f, call_everything, &called));
    assert_ok(soon_future_set_result(f, &answer, sizeof answer));
    ck_assert_uint_eq(called, 1);
    soon_future_unref(f);
}

START_TEST(a_callback_may_take_the_last_reference_over)
{
    _Atomic unsigned calls = 0;
    soon_future *f = promise();

    assert_ok(soon_future_add_done_callback(f, count, (void *)&calls));
    finish(f);
    soon_future_unref(f);
    ck_assert_uint_eq(calls, 1);

    /* And one dropped before it is done calls nobody. */
    f = promise();
    assert_ok(soon_future_add_done_callback(f, count, (void *)&calls));
    soon_future_unref(f);
    ck_assert_uint_eq(calls, 1);
}

START_TEST(bad_input_is_refused)
{
    soon_future *f = promise();
    unsigned calls = 0;

    ck_assert_int_eq(soon_future_add_done_callback(NULL, count, &calls), -EINVAL);
    ck_assert_int_eq(soon_future_add_done_callback(f, NULL, &calls), -EINVAL);
    ck_assert(!soon_future_remove_done_callback(f, count, &calls));
    finish(f);
    ck_assert_int_eq(soon_future_add_done_callback(f, NULL, &calls), -EINVAL);
    ck_assert_uint_eq(calls, 0);
    soon_future_unref(f);
}

/* ---- removal ---- */

START_TEST(a_removed_callback_is_not_called)
{
    struct trace trace = {0};
    struct entry entries[4];
    soon_future *f = promise();

    for (int i = 0; i < 4; i++) {
        entries[i] = (struct entry){&trace, i};
        trace_add(f, &entries[i]);
    }
    ck_assert(soon_future_remove_done_callback(f, record, &entries[1]));
    ck_assert(!soon_future_remove_done_callback(f, record, &entries[1]));
    ck_assert(!soon_future_remove_done_callback(f, count, &entries[2]));
    ck_assert(soon_future_remove_done_callback(f, record, &entries[3]));
    finish(f);
    assert_trace(&trace, (const int[]){0, 2}, 2);
    ck_assert(!soon_future_remove_done_callback(f, record, &entries[0]));
    soon_future_unref(f);
}

START_TEST(removal_takes_the_oldest_of_equals)
{
    struct trace trace = {0};
    struct entry twice = {&trace, 1}, once = {&trace, 2};
    soon_future *f = promise();

    trace_add(f, &twice);
    trace_add(f, &once);
    trace_add(f, &twice);
    ck_assert(soon_future_remove_done_callback(f, record, &twice));
    finish(f);
    assert_trace(&trace, (const int[]){2, 1}, 2);
    soon_future_unref(f);
}

START_TEST(equals_can_be_removed_as_often_as_they_were_added)
{
    _Atomic unsigned calls = 0;
    soon_future *f = promise();

    for (int i = 0; i < 1000; i++)
        assert_ok(soon_future_add_done_callback(f, count, (void *)&calls));
    for (int i = 0; i < 999; i++)
        EXPECT(soon_future_remove_done_callback(f, count, (void *)&calls));
    finish(f);
    ck_assert_uint_eq(calls, 1);
    soon_future_unref(f);
}

struct neighbour {
    struct trace *trace;
    struct entry other;
    bool removed;
};

static void remove_neighbour(soon_future *f, void *data)
{
    struct neighbour *me = data;

    me->removed = soon_future_remove_done_callback(f, record, &me->other);
}

START_TEST(removal_in_a_callback_tells_the_truth)
{
    struct trace trace = {0};
    struct neighbour neighbour = {.trace = &trace, .other = {&trace, 1}};
    soon_future *f = promise();

    assert_ok(soon_future_add_done_callback(f, remove_neighbour, &neighbour));
    trace_add(f, &neighbour.other);
    finish(f);
    ck_assert_uint_eq(trace.used, neighbour.removed ? 0 : 1);
    soon_future_unref(f);
}

/* CPU time of adding n callbacks and removing them in one of three orders:
 * newest first, oldest first, strided. */
static soon_ns time_of_removal(size_t n, int order)
{
    char *data = malloc(n);
    soon_future *f = promise();
    soon_ns start = cpu_ns();

    REQUIRE(data);
    for (size_t i = 0; i < n; i++)
        EXPECT(soon_future_add_done_callback(f, count, data + i) == 0);
    for (size_t i = 0; i < n; i++) {
        size_t which = order == 0 ? n - 1 - i : order == 1 ? i : i * 7919 % n;

        EXPECT(soon_future_remove_done_callback(f, count, data + which));
    }
    start = cpu_ns() - start;
    finish(f); /* would call count() on plain bytes if one were left */
    soon_future_unref(f);
    free(data);
    return start;
}

/* n is no multiple of 7919, so that the stride visits each. 64 times as
 * many take 64 times as long, and up to seven times that where they no longer
 * fit the caches; at the cost of a search each it would be 4096 times. */
START_TEST(removal_of_100_000_takes_linear_time)
{
    const size_t n = scaled(100000);
    soon_ns few = INT64_MAX, many = INT64_MAX;

    for (int attempt = 0; attempt < 3; attempt++) {
        soon_ns t = time_of_removal(n / 64 + 1, _i);

        few = t < few ? t : few;
        t = time_of_removal(n, _i);
        many = t < many ? t : many;
    }
    ck_assert_msg(many < 1200 * (few + 10000), "%lld ns for few, %lld for 64 times as many",
                  (long long)few, (long long)many);
}

/* ---- races ---- */

enum { RACE_CALLBACKS = 8 };

struct callback_race {
    soon_future *f;
    _Atomic unsigned calls[RACE_CALLBACKS];
    unsigned removed[RACE_CALLBACKS];
    void (*end)(void *);
};

static void race_end(void *data)
{
    struct callback_race *r = data;

    r->end(r->f);
}

static void race_add(void *data)
{
    struct callback_race *r = data;

    for (int i = 0; i < RACE_CALLBACKS; i++)
        REQUIRE(soon_future_add_done_callback(r->f, count, (void *)&r->calls[i]) == 0);
}

static void race_remove(void *data)
{
    struct callback_race *r = data;

    for (int i = RACE_CALLBACKS; i-- > 0;)
        r->removed[i] = soon_future_remove_done_callback(r->f, count, (void *)&r->calls[i]);
}

START_TEST(one_added_while_completing_is_called_once)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct callback_race r = {.f = promise(), .end = ends[_i]};

        race(race_add, race_end, &r);
        for (int i = 0; i < RACE_CALLBACKS; i++)
            EXPECT(r.calls[i] == 1);
        soon_future_unref(r.f);
    }
}

START_TEST(one_removed_while_completing_is_called_or_removed)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct callback_race r = {.f = promise(), .end = ends[_i]};

        race_add(&r);
        race(race_remove, race_end, &r);
        for (int i = 0; i < RACE_CALLBACKS; i++)
            EXPECT(r.calls[i] + r.removed[i] == 1);
        soon_future_unref(r.f);
    }
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("callback");
    TCase *calls = test_case(suite, "calls");
    TCase *removal = test_case(suite, "removal");
    TCase *races = test_case(suite, "races");

    tcase_add_loop_test(calls, callbacks_run_in_the_order_added_before_completion_returns, 0, ENDS);
    tcase_add_loop_test(calls, callbacks_run_in_the_thread_that_completes_or_cancels, 0, ENDS);
    tcase_add_loop_test(calls, a_late_callback_runs_at_once_in_the_caller, 0, ENDS);
    tcase_add_test(calls, a_callback_sees_how_it_ended_and_may_call_anything);
    tcase_add_test(calls, no_lock_is_held_while_a_callback_runs);
    tcase_add_test(calls, a_callback_may_take_the_last_reference_over);
    tcase_add_test(calls, bad_input_is_refused);

    tcase_add_test(removal, a_removed_callback_is_not_called);
    tcase_add_test(removal, removal_takes_the_oldest_of_equals);
    tcase_add_test(removal, equals_can_be_removed_as_often_as_they_were_added);
    tcase_add_test(removal, removal_in_a_callback_tells_the_truth);
    tcase_add_loop_test(removal, removal_of_100_000_takes_linear_time, 0, 3);

    tcase_add_loop_test(races, one_added_while_completing_is_called_once, 0, ENDS);
    tcase_add_loop_test(races, one_removed_while_completing_is_called_or_removed, 0, ENDS);
    return suite;
}
