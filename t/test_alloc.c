/* SPDX-License-Identifier: MIT */
/*
 * Every call, with each of its allocations failing in turn: it gives -ENOMEM
 * or copes, changes nothing when it fails, leaks nothing (the sanitizer and
 * valgrind look), and works the next time. The same for threads and eventfds.
 */
#include "alloc_ops.h"

#include "os/inject.h"

#include <sched.h>

struct scene scene;

void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    (void)data;
    atomic_fetch_add(&scene.called, 1);
}

int count_accepted(int error)
{
    scene.accepted += error == 0;
    return error;
}

static void scene_up(unsigned workers)
{
    const soon_thread_pool_options options = {.max_workers = workers};

    memset(&scene, 0, sizeof scene);
    assert_ok(soon_thread_pool_new(&options, &scene.pool));
    assert_ok(soon_loop_new(&scene.loop));
    assert_ok(soon_inline_new(&scene.inline_one));
    for (int i = 0; i < MANY; i++) {
        scene.done[i] = promise();
        assert_ok(soon_future_set_result(scene.done[i], &i, sizeof i));
    }
    scene.pending = promise();
    assert_ok(soon_as_completed_new(NULL, 0, &scene.it));
}

static void end_executor(soon_executor *ex)
{
    soon_stats stats;

    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.pending + stats.running, 0);
    soon_executor_unref(ex);
}

static void scene_down(void)
{
    soon_future_cancel(scene.pending);
    end_executor(scene.pool);
    end_executor(scene.loop);
    end_executor(scene.inline_one);
    /* An accepted callback is called, a refused one is not. */
    ck_assert_uint_eq(atomic_load(&scene.called), scene.accepted);
    unref_all(scene.done, MANY);
    soon_future_unref(scene.pending);
    soon_as_completed_free(scene.it);
}

/* ---- each of them with each failure ---- */

/* The errors that a failure at each point may give. */
static bool expected_error(enum soon__inject_point point, int error)
{
    switch (point) {
    case SOON__INJECT_ALLOC:
        return error == -ENOMEM;
    case SOON__INJECT_THREAD:
        return error == -EAGAIN;
    default:
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
    }
}

/* Lets the first, second, ... call at point fail until there is none left
 * that could; gives how many there were. */
static int fail_each(const struct op *op, enum soon__inject_point point)
{
    for (int n = 1;; n++) {
        bool fired;
        int error;

        scene_up(2);
        soon__inject_after(point, n);
        error = op->run();
        fired = soon__inject_fired(point);
        soon__inject_after(point, 0);
        if (!fired)
            ck_assert_msg(error == 0, "%s without a failure: %d", op->name, error);
        else
            ck_assert_msg(error == 0 || expected_error(point, error), "%s, failure %d: %d",
                          op->name, n, error);
        error = op->run();
        ck_assert_msg(error == 0, "%s after failure %d: %d", op->name, n, error);
        scene_down();
        if (!fired)
            return n - 1;
    }
}

START_TEST(no_memory)
{
    int failures = fail_each(&ops[_i], SOON__INJECT_ALLOC);

    /* One that never fails tests nothing. */
    ck_assert_msg(failures > 0 || !(ops[_i].needs & NEEDS_MEMORY), "%s allocates nothing",
                  ops[_i].name);
}
END_TEST

START_TEST(no_thread)
{
    int failures = fail_each(&ops[_i], SOON__INJECT_THREAD);

    if (ops[_i].needs & NEEDS_THREAD)
        ck_assert_int_ge(failures, 1);
}
END_TEST

START_TEST(no_descriptor)
{
    int failures = fail_each(&ops[_i], SOON__INJECT_EVENTFD);

    if (ops[_i].needs & NEEDS_DESCRIPTOR)
        ck_assert_int_eq(failures, 1);
}
END_TEST

/* ---- what must not need memory ----
 *
 * On a pool of one worker: with more, a task also tries to start another one,
 * and may do without. */

static void add_everything(soon_future *f)
{
    EXPECT(count_accepted(soon_future_add_done_callback(f, count_call, NULL)) == 0);
    EXPECT(count_accepted(soon_future_add_done_callback_on(f, scene.pool, count_call, NULL)) == 0);
    EXPECT(count_accepted(soon_future_add_done_callback_on(f, scene.loop, count_call, NULL)) == 0);
    EXPECT(soon_as_completed_add(scene.it, f) == 0);
}

static void assert_needs_none(void)
{
    ck_assert(!soon__inject_fired(SOON__INJECT_ALLOC));
    soon__inject_after(SOON__INJECT_ALLOC, 0);
    scene_down();
}

START_TEST(completing_needs_no_memory)
{
    soon_future *f = NULL;

    scene_up(1);
    /* The pool has its worker, so that the callback's task starts none. */
    f = submit_int(scene.pool, task_square, 2);
    assert_result_int(f, 4);
    soon_future_unref(f);
    add_everything(scene.pending);
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    switch (_i) {
    case 0:
        assert_ok(soon_future_set_result(scene.pending, "16 bytes or less", 16));
        break;
    case 1:
        ck_assert(soon_future_cancel(scene.pending));
        break;
    case 2:
        ck_assert(soon_future_set_running_or_notify_cancel(scene.pending));
        assert_ok(soon_future_set_result(scene.pending, NULL, 0));
        break;
    }
    while (atomic_load(&scene.called) < 2)
        sched_yield();
    assert_needs_none();
}
END_TEST

START_TEST(a_worker_completes_without_memory)
{
    struct hold hold = hold_make();
    soon_future *f;

    scene_up(1);
    f = submit(scene.pool, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    add_everything(f);
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    gate_open(hold.release);
    while (atomic_load(&scene.called) < 2)
        sched_yield();
    soon_future_unref(f);
    assert_needs_none();
    hold_free(&hold);
}
END_TEST

START_TEST(shutdown_needs_no_memory)
{
    struct hold hold = hold_make();

    scene_up(1);
    assert_ok(soon_submit(scene.pool, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 1);
    for (int i = 0; i < 100; i++) {
        assert_ok(soon_submit(scene.pool, task_nothing, NULL, 0, NULL));
        assert_ok(soon_submit(scene.loop, task_nothing, NULL, 0, NULL));
    }
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    assert_ok(soon_shutdown(scene.loop, 0, SOON_CANCEL_FUTURES));
    assert_ok(soon_shutdown(scene.pool, 0, _i ? SOON_CANCEL_FUTURES : 0));
    gate_open(hold.release);
    assert_ok(soon_shutdown(scene.pool, SOON_FOREVER, 0));
    assert_needs_none();
    hold_free(&hold);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("alloc");
    TCase *tc = test_case(suite, "failures");

    tcase_add_loop_test(tc, no_memory, 0, OPS);
    tcase_add_loop_test(tc, no_thread, 0, OPS);
    tcase_add_loop_test(tc, no_descriptor, 0, OPS);
    tc = test_case(suite, "none_needed");
    tcase_add_loop_test(tc, completing_needs_no_memory, 0, 3);
    tcase_add_test(tc, a_worker_completes_without_memory);
    tcase_add_loop_test(tc, shutdown_needs_no_memory, 0, 2);
    return suite;
}
