/* SPDX-License-Identifier: MIT */
/* What every executor promises of its end. */
#include "backends.h"

static void assert_refuses_work(soon_executor *ex)
{
    soon_future *untouched = (soon_future *)ex, *f = untouched;
    const soon_task task = {.fn = task_nothing};

    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, &f), -ESHUTDOWN);
    ck_assert_int_eq(soon_submit_task(ex, &task, &f), -ESHUTDOWN);
    ck_assert_int_eq(soon_submit_many(ex, &task, 1, &f), -ESHUTDOWN);
    ck_assert_ptr_eq(f, untouched);
}

/* ---- after it ---- */

START_TEST(an_unused_executor_shuts_down)
{
    struct rig rig;

    rig_up(&rig, _i);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    assert_refuses_work(rig.ex);
    rig_down(&rig);
}

START_TEST(submits_are_refused_and_queued_work_still_runs)
{
    shared_count *count = shared_new(sizeof *count);
    struct hold hold = hold_make();
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 20; i++)
        assert_ok(soon_submit(rig.ex, task_count, &count, sizeof count, NULL));
    assert_ok(soon_shutdown(rig.ex, 0, 0));
    assert_refuses_work(rig.ex);
    gate_open(hold.release);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*count, 20);
    rig_adds_up(&rig, 20 + rig.backend->workers);
    rig_down(&rig);
    hold_free(&hold);
    shared_free(count, sizeof *count);
}

START_TEST(shutdown_again_and_again_is_fine)
{
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    f = submit_int(rig.ex, task_square, 2);
    assert_ok(soon_shutdown(rig.ex, 0, 0));
    for (int i = 0; i < 3; i++) {
        assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, i % 2 ? SOON_CANCEL_FUTURES : 0));
        assert_ok(soon_shutdown(rig.ex, SOON_MS(1), 0));
        assert_ok(soon_shutdown(rig.ex, 0, SOON_CANCEL_FUTURES));
    }
    assert_result_int(f, 4);
    soon_future_unref(f);
    rig_down(&rig);
}

START_TEST(bad_input_is_refused)
{
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    ck_assert_int_eq(soon_shutdown(NULL, 0, 0), -EINVAL);
    ck_assert_int_eq(soon_shutdown(rig.ex, 0, 2), -EINVAL);
    ck_assert_int_eq(soon_shutdown(rig.ex, SOON_FOREVER, ~0u), -EINVAL);
    f = submit_int(rig.ex, task_square, 3);
    assert_result_int(f, 9);
    soon_future_unref(f);
    rig_down(&rig);
}

/* ---- waiting for it ---- */

START_TEST(a_bounded_wait_lasts_as_long_as_asked_and_can_be_repeated)
{
    struct hold hold = hold_make();
    struct rig rig;
    soon_ns start;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 2; i++) {
        start = now_ns();
        ck_assert_int_eq(soon_shutdown(rig.ex, SOON_MS(20), 0), -ETIMEDOUT);
        ck_assert_int_ge(now_ns() - start, SOON_MS(20));
        assert_refuses_work(rig.ex);
    }
    gate_open(hold.release);
    assert_ok(soon_shutdown(rig.ex, INT64_MAX, 0));
    rig_down(&rig);
    hold_free(&hold);
}

START_TEST(a_shutdown_that_does_not_wait_returns_while_tasks_run)
{
    struct hold hold = hold_make();
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    f = submit_int(rig.ex, task_square, 5);
    assert_ok(soon_shutdown(rig.ex, 0, 0));
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    gate_open(hold.release);
    assert_result_int(f, 25);
    soon_future_unref(f);
    rig_down(&rig);
    hold_free(&hold);
}

static void shut_down_for_ever(void *data)
{
    REQUIRE(soon_shutdown(data, SOON_FOREVER, 0) == 0);
}

START_TEST(many_threads_may_wait_for_one_shutdown)
{
    struct hold hold = hold_make();
    struct thread threads[4];
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 4; i++)
        thread_start(&threads[i], shut_down_for_ever, rig.ex);
    for (int i = 0; i < 4; i++)
        thread_await_sleep(&threads[i]);
    gate_open(hold.release);
    for (int i = 0; i < 4; i++)
        thread_join(&threads[i]);
    rig_down(&rig);
    hold_free(&hold);
}

/* ---- cancelling with it ---- */

static void count_cancelled(soon_future *f, void *data)
{
    unsigned *count = data;

    REQUIRE(soon_future_cancelled(f));
    ++*count;
}

START_TEST(pending_futures_are_cancelled_before_it_returns)
{
    shared_count *count = shared_new(sizeof *count);
    struct hold hold = hold_make();
    soon_future *running, *pending[20];
    unsigned called = 0;
    struct rig rig;

    rig_up(&rig, _i);
    hold.value = 3;
    running = submit(rig.ex, task_hold, &hold, sizeof hold);
    for (unsigned i = 1; i < rig.backend->workers; i++)
        assert_ok(soon_submit(rig.ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, rig.backend->workers);
    for (int i = 0; i < 20; i++) {
        pending[i] = submit(rig.ex, task_count, &count, sizeof count);
        assert_ok(soon_future_add_done_callback(pending[i], count_cancelled, &called));
    }
    assert_ok(soon_shutdown(rig.ex, 0, SOON_CANCEL_FUTURES));
    ck_assert_uint_eq(called, 20);
    for (int i = 0; i < 20; i++)
        ck_assert(soon_future_cancelled(pending[i]));
    ck_assert_int_eq(soon_future_state(running), SOON_RUNNING);
    gate_open(hold.release);
    assert_result_int(running, 3);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*count, 0);
    rig_adds_up(&rig, 20 + rig.backend->workers);
    soon_future_unref(running);
    unref_all(pending, 20);
    rig_down(&rig);
    hold_free(&hold);
    shared_free(count, sizeof *count);
}

START_TEST(a_later_shutdown_may_add_cancelling)
{
    struct hold hold = hold_make();
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    f = submit(rig.ex, task_nothing, NULL, 0);
    assert_ok(soon_shutdown(rig.ex, 0, 0));
    ck_assert_int_eq(soon_future_state(f), SOON_PENDING);
    ck_assert_int_eq(soon_shutdown(rig.ex, SOON_MS(1), SOON_CANCEL_FUTURES), -ETIMEDOUT);
    ck_assert_int_eq(soon_future_state(f), SOON_CANCELLED);
    gate_open(hold.release);
    soon_future_unref(f);
    rig_down(&rig);
    hold_free(&hold);
}

START_TEST(it_ends_though_everything_queued_was_cancelled_before)
{
    struct hold hold = hold_make();
    soon_future *pending[10];
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 10; i++)
        pending[i] = submit(rig.ex, task_nothing, NULL, 0);
    for (int i = 0; i < 10; i++)
        ck_assert(soon_future_cancel(pending[i]));
    gate_open(hold.release);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, _i % 2 ? SOON_CANCEL_FUTURES : 0));
    unref_all(pending, 10);
    rig_down(&rig);
    hold_free(&hold);
}

/* ---- from inside ---- */

struct from_inside {
    soon_executor *ex;
    soon_ns wait;
    unsigned flags;
};

static int task_shut_down(soon_call *call, const void *arg, size_t arg_len)
{
    struct from_inside me;
    int answer;

    (void)arg_len;
    memcpy(&me, arg, sizeof me);
    answer = soon_shutdown(me.ex, me.wait, me.flags);
    return soon_return(call, &answer, sizeof answer);
}

static int shut_down_from_inside(soon_executor *ex, soon_ns wait, unsigned flags)
{
    const struct from_inside me = {ex, wait, flags};
    soon_future *f = submit(ex, task_shut_down, &me, sizeof me);
    int answer = 1;

    assert_ok(soon_future_result(f, SOON_FOREVER, &answer, sizeof answer));
    soon_future_unref(f);
    return answer;
}

START_TEST(waiting_for_it_in_an_own_task_is_refused_and_changes_nothing)
{
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    ck_assert_int_eq(shut_down_from_inside(rig.ex, SOON_FOREVER, 0), -EDEADLK);
    ck_assert_int_eq(shut_down_from_inside(rig.ex, SOON_MS(1), SOON_CANCEL_FUTURES), -EDEADLK);
    f = submit_int(rig.ex, task_square, 4);
    assert_result_int(f, 16);
    soon_future_unref(f);
    rig_down(&rig);
}

START_TEST(an_own_task_may_begin_it)
{
    struct rig rig;

    rig_up(&rig, _i);
    ck_assert_int_eq(shut_down_from_inside(rig.ex, 0, 0), 0);
    assert_refuses_work(rig.ex);
    rig_down(&rig);
}

/* ---- the last reference ---- */

START_TEST(the_last_unref_still_runs_the_queue)
{
    shared_count *count = shared_new(sizeof *count);
    struct hold hold = hold_make();
    soon_future *futures[10];
    struct rig rig;

    rig_up(&rig, _i);
    rig_hold_all(&rig, &hold);
    for (int i = 0; i < 10; i++)
        futures[i] = submit(rig.ex, task_count, &count, sizeof count);
    rig_let_go(&rig);
    ck_assert_int_eq(soon_future_state(futures[0]), SOON_PENDING);
    gate_open(hold.release);
    for (int i = 0; i < 10; i++)
        assert_result_bytes(futures[i], "", 0);
    ck_assert_uint_eq(*count, 10);
    rig_gone(&rig);
    unref_all(futures, 10);
    hold_free(&hold);
    shared_free(count, sizeof *count);
}

START_TEST(an_unused_executor_can_just_be_dropped)
{
    struct rig rig;

    rig_up(&rig, _i);
    rig_let_go(&rig);
    rig_gone(&rig);
}

struct last_reference {
    soon_executor *ex;
    struct gate release;
};

static int task_unref(soon_call *call, const void *arg, size_t arg_len)
{
    struct last_reference me;

    (void)call;
    (void)arg_len;
    memcpy(&me, arg, sizeof me);
    gate_pass(me.release);
    soon_executor_unref(me.ex);
    return 0;
}

START_TEST(an_own_task_may_drop_the_last_reference)
{
    struct last_reference last = {.release = gate_make()};
    struct rig rig;
    soon_future *f[2];

    rig_up(&rig, _i);
    last.ex = soon_executor_ref(rig.ex);
    f[0] = submit(rig.ex, task_unref, &last, sizeof last);
    f[1] = submit_int(rig.ex, task_square, 6);
    rig_let_go(&rig);
    gate_open(last.release);
    assert_result_bytes(f[0], "", 0);
    assert_result_int(f[1], 36);
    rig_gone(&rig);
    unref_all(f, 2);
    gate_free(last.release);
}

/* ---- races ---- */

struct submit_race {
    soon_executor *ex;
    soon_future *accepted[1000];
    unsigned count;
    unsigned flags;
};

static void race_submit(void *data)
{
    struct submit_race *r = data;

    int error = 0;

    while (r->count < 1000 && error == 0) {
        error = soon_submit(r->ex, task_nothing, NULL, 0, &r->accepted[r->count]);
        REQUIRE(error == 0 || error == -ESHUTDOWN);
        r->count += error == 0;
    }
}

static void race_shutdown(void *data)
{
    struct submit_race *r = data;

    REQUIRE(soon_shutdown(r->ex, SOON_FOREVER, r->flags) == 0);
}

START_TEST(what_was_accepted_gets_done_though_a_shutdown_races_with_it)
{
    for (size_t round = scaled(50); round > 0; round--) {
        struct submit_race r = {.flags = round % 2 ? SOON_CANCEL_FUTURES : 0};
        struct rig rig;

        rig_up(&rig, _i);
        r.ex = rig.ex;
        race(race_submit, race_shutdown, &r);
        for (unsigned i = 0; i < r.count; i++)
            EXPECT(soon_future_done(r.accepted[i]));
        if (r.flags == 0)
            for (unsigned i = 0; i < r.count; i++)
                EXPECT(!soon_future_cancelled(r.accepted[i]));
        rig_adds_up(&rig, r.count);
        unref_all(r.accepted, r.count);
        rig_down(&rig);
    }
}

/* Several who cancel share the work, and each may rely on all of it. */
struct cancel_race {
    soon_executor *ex;
    soon_future *pending[1000];
};

static void race_cancel(void *data)
{
    struct cancel_race *r = data;

    REQUIRE(soon_shutdown(r->ex, 0, SOON_CANCEL_FUTURES) == 0);
    for (int i = 0; i < 1000; i++)
        EXPECT(soon_future_cancelled(r->pending[i]));
}

START_TEST(whoever_cancels_finds_everything_pending_cancelled)
{
    for (size_t round = scaled(10); round > 0; round--) {
        struct hold hold = hold_make();
        struct cancel_race r;
        struct rig rig;

        rig_up(&rig, _i);
        r.ex = rig.ex;
        rig_hold_all(&rig, &hold);
        for (int i = 0; i < 1000; i++)
            r.pending[i] = submit(rig.ex, task_nothing, NULL, 0);
        race(race_cancel, race_cancel, &r);
        unref_all(r.pending, 1000);
        gate_open(hold.release);
        rig_down(&rig);
        hold_free(&hold);
    }
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("shutdown");
    TCase *after = test_case(suite, "after");
    TCase *waiting = test_case(suite, "waiting");
    TCase *cancelling = test_case(suite, "cancelling");
    TCase *inside = test_case(suite, "inside");
    TCase *references = test_case(suite, "references");

    add_over_backends(after, an_unused_executor_shuts_down, 0);
    add_over_backends(after, submits_are_refused_and_queued_work_still_runs, TRAIT_DEFERS);
    add_over_backends(after, shutdown_again_and_again_is_fine, 0);
    add_over_backends(after, bad_input_is_refused, 0);
    add_over_backends(after, what_was_accepted_gets_done_though_a_shutdown_races_with_it, 0);

    add_over_backends(waiting, a_bounded_wait_lasts_as_long_as_asked_and_can_be_repeated,
                      TRAIT_DEFERS);
    add_over_backends(waiting, a_shutdown_that_does_not_wait_returns_while_tasks_run, TRAIT_DEFERS);
    add_over_backends(waiting, many_threads_may_wait_for_one_shutdown, TRAIT_DEFERS);

    add_over_backends(cancelling, pending_futures_are_cancelled_before_it_returns, TRAIT_DEFERS);
    add_over_backends(cancelling, whoever_cancels_finds_everything_pending_cancelled, TRAIT_DEFERS);
    add_over_backends(cancelling, a_later_shutdown_may_add_cancelling, TRAIT_DEFERS);
    add_over_backends(cancelling, it_ends_though_everything_queued_was_cancelled_before,
                      TRAIT_DEFERS);

    add_over_backends(inside, waiting_for_it_in_an_own_task_is_refused_and_changes_nothing,
                      TRAIT_LOCAL);
    add_over_backends(inside, an_own_task_may_begin_it, TRAIT_LOCAL);

    add_over_backends(references, the_last_unref_still_runs_the_queue, TRAIT_DEFERS);
    add_over_backends(references, an_unused_executor_can_just_be_dropped, 0);
    add_over_backends(references, an_own_task_may_drop_the_last_reference,
                      TRAIT_LOCAL | TRAIT_DEFERS);
    return suite;
}
