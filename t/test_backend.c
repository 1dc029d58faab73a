/* SPDX-License-Identifier: MIT */
/*
 * What the library does for a backend from outside, and what it asks of it:
 * from its making to its end, and as tasks are submitted to it. What becomes of
 * them is in test_backend_future.
 */
#include "desk.h"

/* ---- making one ---- */

START_TEST(a_vtable_that_lacks_what_is_needed_is_refused)
{
    struct soon_executor_limits limits = {.workers = 1};
    struct soon_executor_ops ops = desk_ops;
    soon_executor other;

    ck_assert_int_eq(soon_executor_init(NULL, &desk_ops, &limits), -EINVAL);
    ck_assert_int_eq(soon_executor_init(&other, NULL, &limits), -EINVAL);
    switch (_i) {
    case 0:
        ops.submit = NULL;
        break;
    case 1:
        ops.close = NULL;
        break;
    case 2:
        ops.join = NULL;
        break;
    case 3:
        ops.destroy = NULL;
        break;
    case 4:
        limits.overflow = 77;
        break;
    case 5:
        limits.workers = 0;
        break;
    }
    ck_assert_int_eq(soon_executor_init(&other, &ops, &limits), -EINVAL);
}
END_TEST

START_TEST(its_name_is_the_backend)
{
    open_desk(&desk_ops, 0, SOON_BLOCK);
    ck_assert_str_eq(soon_executor_backend(ex), "desk");
    ck_assert(!soon_executor_inherited(ex));
    close_desk();
}
END_TEST

START_TEST(destroy_waits_for_the_last_hold)
{
    open_desk(&desk_ops, 0, SOON_BLOCK);
    soon_executor_hold(ex);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    ck_assert_uint_eq(atomic_load(&desk.destroyed), 0);
    soon_executor_release(ex);
    ck_assert_uint_eq(atomic_load(&desk.destroyed), 1);
}
END_TEST

START_TEST(the_last_unref_closes_once)
{
    open_desk(&desk_ops, 0, SOON_BLOCK);
    soon_executor_hold(ex);
    soon_executor_ref(ex);
    soon_executor_unref(ex);
    ck_assert_uint_eq(atomic_load(&desk.closes), 0);
    soon_executor_unref(ex);
    ck_assert_uint_eq(atomic_load(&desk.closes), 1);
    ck_assert_uint_eq(atomic_load(&desk.joins), 0);
    ck_assert(desk.closed);
    soon_executor_release(ex);
    ck_assert_uint_eq(atomic_load(&desk.destroyed), 1);
}
END_TEST

/* ---- submitting ---- */

START_TEST(submit_hands_over_what_was_submitted)
{
    char name[] = "label";
    char arg[] = "sixteen or more bytes, which the library has copied";
    soon_task task = {.fn = task_echo,
                      .arg = arg,
                      .arg_len = sizeof arg,
                      .name = name,
                      .priority = SOON_PRIORITY_LOW,
                      .timeout = SOON_SECONDS(1000)};
    soon_task seen;
    soon_future *f, *taken;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    assert_ok(soon_submit_task(ex, &task, &f));
    memset(name, 'x', sizeof name - 1);
    memset(arg, 'x', sizeof arg - 1);
    taken = desk_take();
    ck_assert_ptr_eq(taken, f);
    soon_future_task(taken, &seen);
    ck_assert(seen.fn == task_echo);
    ck_assert_uint_eq(seen.arg_len, sizeof arg);
    ck_assert_str_eq(seen.arg, "sixteen or more bytes, which the library has copied");
    ck_assert_str_eq(seen.name, "label");
    ck_assert_int_eq(seen.priority, SOON_PRIORITY_LOW);
    ck_assert_int_eq(seen.timeout, SOON_SECONDS(1000));
    ck_assert(soon_future_run(taken));
    soon_future_unref(taken);
    assert_result_bytes(f, "sixteen or more bytes, which the library has copied", sizeof arg);
    soon_future_unref(f);
    close_desk();
}
END_TEST

START_TEST(submit_many_is_one_chain_in_order)
{
    soon_task tasks[5];
    int numbers[5];
    soon_future *futures[5];

    open_desk(&desk_ops, 0, SOON_BLOCK);
    for (int i = 0; i < 5; i++) {
        numbers[i] = i;
        tasks[i] = (soon_task){.fn = task_square, .arg = &numbers[i], .arg_len = sizeof(int)};
    }
    assert_ok(soon_submit_many(ex, tasks, 5, futures));
    ck_assert_uint_eq(atomic_load(&desk.submits), 1);
    ck_assert_uint_eq(desk.queue.count, 5);
    ck_assert_uint_eq(run_desk(), 5);
    for (int i = 0; i < 5; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, 5);
    close_desk();
}
END_TEST

static const int refusals[] = {-EAGAIN, -ENOMEM, -ESHUTDOWN, -ENOTRECOVERABLE};

START_TEST(a_refused_submit_changes_nothing)
{
    soon_task tasks[3] = {{.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}};
    soon_future *futures[3] = {NULL, NULL, NULL};
    soon_stats stats;

    open_desk(&desk_ops, 2, SOON_REJECT);
    atomic_store(&desk.refusal, refusals[_i]);
    for (int round = 0; round < 10; round++) {
        ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, &futures[0]), refusals[_i]);
        ck_assert_int_eq(soon_submit_many(ex, tasks, 2, futures), refusals[_i]);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_null(futures[i]);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.pending + stats.finished + stats.failed + stats.cancelled, 0);
    ck_assert_uint_eq(stats.bytes_in, 0);
    atomic_store(&desk.refusal, 0);
    /* The room for two is still there. */
    assert_ok(soon_submit_many(ex, tasks, 2, NULL));
    ck_assert_uint_eq(run_desk(), 2);
    close_desk();
}
END_TEST

START_TEST(the_library_keeps_the_bound)
{
    soon_future *f;

    open_desk(&desk_ops, 2, SOON_REJECT);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, &f));
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
    ck_assert_uint_eq(atomic_load(&desk.submits), 2);
    /* A cancelled one makes room though the backend still holds it. */
    ck_assert(soon_future_cancel(f));
    ck_assert_uint_eq(desk.queue.count, 2);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
    soon_future_unref(f);
    ck_assert_uint_eq(run_desk(), 2);
    close_desk();
}
END_TEST

START_TEST(callers_run_what_finds_no_room)
{
    shared_count *count = shared_new(sizeof *count);

    open_desk(&desk_ops, 1, SOON_CALLER_RUNS);
    for (int i = 0; i < 3; i++)
        assert_ok(soon_submit(ex, task_count, &count, sizeof count, NULL));
    ck_assert_uint_eq(atomic_load(count), 2);
    ck_assert_uint_eq(desk.queue.count, 1);
    ck_assert_uint_eq(run_desk(), 1);
    ck_assert_uint_eq(atomic_load(count), 3);
    assert_stats_add_up(ex, 3);
    close_desk();
    shared_free(count, sizeof *count);
}
END_TEST

static void submit_until_shut(void *data)
{
    int *error = data;

    *error = soon_submit(ex, task_nothing, NULL, 0, NULL);
}

START_TEST(a_broken_executor_lets_a_blocked_submit_go)
{
    struct thread blocked;
    int error = 0;

    open_desk(&desk_ops, 1, SOON_BLOCK);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    thread_start(&blocked, submit_until_shut, &error);
    thread_await_sleep(&blocked);
    soon_executor_break(ex);
    thread_join(&blocked);
    ck_assert_int_eq(error, -ENOTRECOVERABLE);
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -ENOTRECOVERABLE);
    ck_assert_uint_eq(atomic_load(&desk.submits), 1);
    close_desk();
}
END_TEST

/* ---- the end ---- */

START_TEST(drain_waits_for_what_is_in_flight)
{
    soon_future *taken;
    soon_ns deadline;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    assert_ok(soon_executor_drain(ex, 0));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    ck_assert_int_eq(soon_executor_drain(ex, 0), -ETIMEDOUT);
    taken = desk_take();
    ck_assert(soon_future_set_running_or_notify_cancel(taken));
    assert_ok(soon_shutdown(ex, 0, 0));
    deadline = now_ns() + SOON_MS(5);
    ck_assert_int_eq(soon_executor_drain(ex, deadline), -ETIMEDOUT);
    ck_assert_int_ge(now_ns(), deadline);
    assert_ok(soon_future_set_result(taken, NULL, 0));
    soon_future_unref(taken);
    assert_ok(soon_executor_drain(ex, 0));
    assert_ok(soon_executor_drain(ex, -1));
    close_desk();
}
END_TEST

static void finish_it(void *data)
{
    soon_future *taken = data;

    REQUIRE(soon_future_set_result(taken, NULL, 0) == 0);
    soon_future_unref(taken);
}

START_TEST(shutdown_joins_when_it_waits)
{
    struct thread other;
    soon_future *taken;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    taken = desk_take();
    ck_assert(soon_future_set_running_or_notify_cancel(taken));
    ck_assert_int_eq(soon_shutdown(ex, SOON_MS(1), 0), -ETIMEDOUT);
    ck_assert_uint_eq(atomic_load(&desk.closes), 1);
    ck_assert_uint_eq(atomic_load(&desk.joins), 1);
    thread_start(&other, finish_it, taken);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    thread_join(&other);
    close_desk();
}
END_TEST

START_TEST(figures_are_the_librarys_and_the_backends)
{
    soon_stats stats;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    assert_ok(soon_submit(ex, task_echo, "12345", 5, NULL));
    ck_assert_uint_eq(run_desk(), 1);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.workers, 5);
    ck_assert_uint_eq(stats.idle, 2);
    ck_assert_uint_eq(stats.workers_started, 7);
    ck_assert_uint_eq(stats.workers_crashed, 1);
    ck_assert_uint_eq(stats.stolen, 11);
    ck_assert_uint_ge(stats.memory, sizeof(struct desk));
    ck_assert_uint_eq(stats.bytes_in, 5);
    ck_assert_uint_eq(stats.bytes_out, 5);
    ck_assert_uint_eq(stats.finished, 1);
    ck_assert_uint_eq(stats.pending, 1);
    ck_assert_uint_eq(run_desk(), 1);
    close_desk();
}
END_TEST

/* What it has taken for itself is its own to drop. */
START_TEST(a_backend_may_keep_what_it_refuses)
{
    soon_task task = {.fn = task_echo, .arg = "12345", .arg_len = 5};
    soon_future *f = NULL;
    int error;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    atomic_store(&desk.refusal, -EAGAIN);
    atomic_store(&desk.keeps, true);
    if (_i == 2)
        error = soon_submit_task(ex, &task, &f);
    else
        error = soon_submit(ex, task.fn, task.arg, task.arg_len, _i ? &f : NULL);
    ck_assert_int_eq(error, -EAGAIN);
    ck_assert_ptr_null(f);
    ck_assert_int_eq(soon_future_state(desk.kept), SOON_PENDING);
    soon_future_unref(desk.kept);
    atomic_store(&desk.refusal, 0);
    close_desk();
}
END_TEST

/* Counted as it comes in, number and bytes in one step, it is taken back in two. */
START_TEST(a_refused_plain_task_is_not_counted)
{
    soon_future *f = NULL;
    soon_stats stats;

    open_desk(&desk_ops, 0, SOON_BLOCK);
    atomic_store(&desk.refusal, -EAGAIN);
    ck_assert_int_eq(soon_submit(ex, task_echo, "12345", 5, &f), -EAGAIN);
    atomic_store(&desk.refusal, 0);
    assert_ok(soon_shutdown(ex, 0, 0));
    ck_assert_int_eq(soon_submit(ex, task_echo, "12345", 5, &f), -ESHUTDOWN);
    ck_assert_ptr_null(f);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_uint_eq(stats.bytes_in, 0);
    close_desk();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("backend");
    TCase *life = test_case(suite, "life");
    TCase *submitting = test_case(suite, "submitting");

    tcase_add_loop_test(life, a_vtable_that_lacks_what_is_needed_is_refused, 0, 6);
    tcase_add_test(life, its_name_is_the_backend);
    tcase_add_test(life, destroy_waits_for_the_last_hold);
    tcase_add_test(life, the_last_unref_closes_once);
    tcase_add_test(life, drain_waits_for_what_is_in_flight);
    tcase_add_test(life, shutdown_joins_when_it_waits);
    tcase_add_test(life, figures_are_the_librarys_and_the_backends);

    tcase_add_test(submitting, submit_hands_over_what_was_submitted);
    tcase_add_test(submitting, submit_many_is_one_chain_in_order);
    tcase_add_loop_test(submitting, a_refused_submit_changes_nothing, 0, 4);
    tcase_add_test(submitting, a_refused_plain_task_is_not_counted);
    tcase_add_loop_test(submitting, a_backend_may_keep_what_it_refuses, 0, 3);
    tcase_add_test(submitting, the_library_keeps_the_bound);
    tcase_add_test(submitting, callers_run_what_finds_no_room);
    tcase_add_test(submitting, a_broken_executor_lets_a_blocked_submit_go);
    return suite;
}
