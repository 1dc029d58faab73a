/* SPDX-License-Identifier: MIT */
/*
 * While a canceller waits for the backend to say whether a task has begun,
 * others come to the same future: they wait for the answer, and act upon it.
 */
#include "remote_cases.h"

static soon_executor *ex;

/* A thread that cancels f, stopped inside recall. */
static struct {
    soon_future *f;
    struct thread first, second;
    bool said, said_second;
    int error;
} scene;

static void cancel_first(void *data)
{
    (void)data;
    scene.said = soon_future_cancel(scene.f);
}

static void cancel_second(void *data)
{
    (void)data;
    scene.said_second = soon_future_cancel(scene.f);
}

static void kill_second(void *data)
{
    (void)data;
    scene.error = soon_future_kill(scene.f);
}

static void deliver_second(void *data)
{
    (void)data;
    scene.error = soon_future_deliver(scene.f, "late", 5);
}

static void set_second(void *data)
{
    (void)data;
    scene.error = soon_future_set_result(scene.f, "not the backend's", 18);
}

static void state_second(void *data)
{
    (void)data;
    scene.error = (int)soon_future_state(scene.f);
}

static void wait_second(void *data)
{
    (void)data;
    scene.error = soon_future_wait(scene.f, SOON_FOREVER);
}

/* begun: the answer will be that it has. */
static struct far_slot *stop_in_recall(bool begun)
{
    ex = far_open(0, SOON_BLOCK);
    scene.f = submit_int(ex, task_square, 6);
    struct far_slot *slot = begun ? begin() : NULL;
    atomic_store(&far.gated, true);
    thread_start(&scene.first, cancel_first, NULL);
    bell_await(far.recalling, 1);
    return slot;
}

/* Another thread's call meanwhile has to wait for the answer, and sees it. */
static void meet(void (*call)(void *data))
{
    thread_start(&scene.second, call, NULL);
    thread_await_sleep(&scene.second);
    gate_open(far.answer);
    thread_join(&scene.first);
    thread_join(&scene.second);
}

static void leave_scene(struct far_slot *slot, unsigned submitted)
{
    if (slot)
        far_end(slot);
    assert_stats_add_up(ex, submitted);
    soon_future_unref(scene.f);
    far_close();
}

START_TEST(two_cancellers_and_one_answer)
{
    struct far_slot *slot = stop_in_recall(_i);

    meet(cancel_second);
    ck_assert(scene.said == !_i && scene.said_second == !_i);
    expect_asked(1, !_i, _i ? 2 : 0);
    ck_assert_int_eq(soon_future_state(scene.f), _i ? SOON_RUNNING : SOON_CANCELLED);
    leave_scene(slot, 1);
}
END_TEST

START_TEST(a_kill_waits_for_the_answer)
{
    struct far_slot *slot = stop_in_recall(_i);

    meet(kill_second);
    assert_ok(scene.error);
    ck_assert(scene.said == !_i);
    ck_assert_uint_eq(atomic_load(&far.kills), _i);
    if (_i)
        expect_killed(scene.f, "its worker was killed");
    else
        ck_assert(soon_future_cancelled(scene.f));
    leave_scene(slot, 1);
}
END_TEST

START_TEST(a_completion_waits_and_is_not_lost)
{
    struct far_slot *slot = stop_in_recall(_i);

    meet(deliver_second);
    ck_assert(scene.said == !_i);
    ck_assert_int_eq(scene.error, _i ? 0 : -EALREADY);
    if (_i)
        assert_result_bytes(scene.f, "late", 5);
    leave_scene(slot, 1);
}
END_TEST

START_TEST(somebody_elses_result_waits_for_the_answer)
{
    struct far_slot *slot = stop_in_recall(_i);

    meet(set_second);
    ck_assert(scene.said == !_i);
    ck_assert_int_eq(scene.error, _i ? -EBUSY : -EALREADY);
    leave_scene(slot, 1);
}
END_TEST

START_TEST(who_asks_for_the_state_waits_for_the_answer)
{
    struct far_slot *slot = stop_in_recall(_i);

    meet(state_second);
    ck_assert_int_eq(scene.error, _i ? SOON_RUNNING : SOON_CANCELLED);
    leave_scene(slot, 1);
}
END_TEST

START_TEST(a_claim_never_waits)
{
    struct far_slot *slot = stop_in_recall(_i);

    ck_assert(!soon_future_set_running_or_notify_cancel(scene.f));
    ck_assert(!soon_future_run(scene.f));
    gate_open(far.answer);
    thread_join(&scene.first);
    ck_assert(scene.said == !_i);
    leave_scene(slot, 1);
}
END_TEST

static void count_call(soon_future *f, void *data)
{
    (void)f;
    ++*(unsigned *)data;
}

/* A canceller that fails has woken sleepers and rewritten the word. */
START_TEST(who_waits_sleeps_on_through_a_cancel_that_fails)
{
    unsigned called = 0;

    ex = far_open(0, SOON_BLOCK);
    scene.f = submit_int(ex, task_square, 6);
    struct far_slot *slot = begin();
    assert_ok(soon_future_add_done_callback(scene.f, count_call, &called));
    thread_start(&scene.second, wait_second, NULL);
    thread_await_sleep(&scene.second);
    ck_assert(!soon_future_cancel(scene.f));
    thread_await_sleep(&scene.second);
    ck_assert_uint_eq(called, 0);
    far_end(slot);
    thread_join(&scene.second);
    assert_ok(scene.error);
    ck_assert_uint_eq(called, 1);
    leave_scene(NULL, 1);
}
END_TEST

void add_answer_cases(Suite *suite)
{
    TCase *answer = test_case(suite, "answer");

    tcase_add_loop_test(answer, two_cancellers_and_one_answer, 0, 2);
    tcase_add_loop_test(answer, a_kill_waits_for_the_answer, 0, 2);
    tcase_add_loop_test(answer, a_completion_waits_and_is_not_lost, 0, 2);
    tcase_add_loop_test(answer, somebody_elses_result_waits_for_the_answer, 0, 2);
    tcase_add_loop_test(answer, who_asks_for_the_state_waits_for_the_answer, 0, 2);
    tcase_add_loop_test(answer, a_claim_never_waits, 0, 2);
    tcase_add_test(answer, who_waits_sleeps_on_through_a_cancel_that_fails);
}
