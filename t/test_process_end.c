/* SPDX-License-Identifier: MIT */
/*
 * The end of a process pool: shutdowns in every order, and futures and
 * executors that outlive each other.
 */
#include "process_pool.h"

#include <sched.h>
#include <unistd.h>

/* ---- shutdown ---- */

START_TEST(when_a_shutdown_that_waits_returns_the_workers_are_gone)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 3});
    struct process workers[3];

    for (int i = 0; i < 3; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 3);
    ck_assert_uint_eq(workers_of("soon", workers, 3), 3);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    for (int i = 0; i < 3; i++)
        ck_assert_msg(kill(workers[i].pid, 0) == -1 && errno == ESRCH, "%d lives",
                      (int)workers[i].pid);
    pool_down(ex, 3);
    hold_free(&hold);
}
END_TEST

START_TEST(cancelling_takes_back_what_was_handed_ahead)
{
    enum { N = 100 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *pending[N];

    perch(ex, &hold, &running);
    for (int i = 0; i < N; i++)
        pending[i] = submit_int(ex, task_tick, 0);
    assert_ok(soon_shutdown(ex, 0, SOON_CANCEL_FUTURES));
    for (int i = 0; i < N; i++)
        ck_assert(soon_future_cancelled(pending[i]));
    ck_assert(soon_future_running(running));
    gate_open(hold.release);
    assert_result_int(running, 0);
    soon_future_unref(running);
    unref_all(pending, N);
    pool_down(ex, N + 1);
    ck_assert_uint_eq(board()->count[0], 0);
    hold_free(&hold);
}
END_TEST

START_TEST(a_bounded_wait_leaves_a_stuck_task_alone)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f;

    hold.value = 6;
    perch(ex, &hold, &f);
    ck_assert_int_eq(soon_shutdown(ex, SOON_MS(20), 0), -ETIMEDOUT);
    ck_assert_int_eq(soon_shutdown(ex, SOON_MS(1), SOON_CANCEL_FUTURES), -ETIMEDOUT);
    gate_open(hold.release);
    assert_result_int(f, 6);
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

START_TEST(a_worker_dies_while_the_pool_shuts_down)
{
    enum { N = 30 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *behind[N];
    pid_t pid = perch(ex, &hold, &running);

    for (int i = 0; i < N; i++)
        behind[i] = submit_int(ex, task_square, i);
    assert_ok(soon_shutdown(ex, 0, 0));
    REQUIRE(kill(pid, SIGKILL) == 0);
    assert_owner_dead(running, SIGKILL, 0, NULL);
    for (int i = 0; i < N; i++)
        assert_result_int(behind[i], i * i);
    soon_future_unref(running);
    unref_all(behind, N);
    pool_down(ex, N + 1);
    hold_free(&hold);
}
END_TEST

static void shut_down(void *data)
{
    REQUIRE(soon_shutdown(data, SOON_FOREVER, 0) == 0);
}

static void shut_down_and_cancel(void *data)
{
    REQUIRE(soon_shutdown(data, SOON_FOREVER, SOON_CANCEL_FUTURES) == 0);
}

START_TEST(two_threads_shut_down_at_once)
{
    for (size_t round = scaled(20); round > 0; round--) {
        soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
        soon_future *futures[20];

        for (int i = 0; i < 20; i++)
            futures[i] = submit_int(ex, task_square, i);
        race(shut_down, shut_down_and_cancel, ex);
        for (int i = 0; i < 20; i++)
            ck_assert(soon_future_done(futures[i]));
        unref_all(futures, 20);
        pool_down(ex, 20);
    }
}
END_TEST

/* ---- references ---- */

START_TEST(the_last_reference_gone_the_queue_still_runs)
{
    enum { N = 50 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *queued[N];

    perch(ex, &hold, &running);
    for (int i = 0; i < N; i++)
        queued[i] = submit_int(ex, task_tick, 0);
    soon_executor_unref(ex);
    gate_open(hold.release);
    for (int i = 0; i < N; i++)
        assert_result_bytes(queued[i], "", 0);
    ck_assert_uint_eq(board()->count[0], N);
    soon_future_unref(running);
    unref_all(queued, N);
    hold_free(&hold);
}
END_TEST

START_TEST(the_last_reference_gone_detached_tasks_still_run)
{
    enum { N = 50 };
    soon_executor *ex = one_worker(_i);
    const int index = 0;

    for (int i = 0; i < N; i++)
        assert_ok(soon_submit(ex, task_tick, &index, sizeof index, NULL));
    soon_executor_unref(ex);
    while (board()->count[0] < N)
        sched_yield();
}
END_TEST

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    atomic_fetch_add((shared_count *)data, 1);
}

START_TEST(futures_outlive_their_executor_by_far)
{
    static const size_t sizes[] = {0, 10, 100, 5000, 70000, 1 << 20, 3 << 20};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    unsigned char *bytes = malloc(3 << 20);
    soon_future *f[SIZES + 1];
    shared_count called = 0;

    REQUIRE(bytes);
    memset(bytes, 'b', 3 << 20);
    for (int i = 0; i < SIZES; i++)
        f[i] = submit(ex, task_echo, bytes, sizes[i]);
    f[SIZES] = submit_death(ex, DIE_ABORT);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    while (processes_of_test("", NULL, 0) > 0)
        sleep_ns(SOON_MS(1));
    for (int i = 0; i < SIZES; i++)
        assert_result_bytes(f[i], bytes, sizes[i]);
    assert_owner_dead(f[SIZES], SIGABRT, 0, (const char *const[]){"decode", "SIGABRT", NULL});
    for (int i = 0; i <= SIZES; i++) {
        assert_ok(soon_future_add_done_callback(f[i], count_call, &called));
        ck_assert(!soon_future_cancel(f[i]));
        ck_assert_int_eq(soon_future_kill(f[i]), -EALREADY);
        assert_ok(soon_future_progress(f[i], NULL, NULL));
    }
    ck_assert_uint_eq(called, SIZES + 1);
    unref_all(f, SIZES + 1);
    free(bytes);
}
END_TEST

START_TEST(futures_pending_or_running_hold_what_they_need)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *ahead[30];

    hold.value = 4;
    perch(ex, &hold, &running);
    for (int i = 0; i < 30; i++)
        ahead[i] = submit_int(ex, task_square, i);
    soon_executor_unref(ex);
    ck_assert_int_eq(soon_future_state(running), SOON_RUNNING);
    ck_assert_int_eq(soon_future_state(ahead[0]), SOON_PENDING);
    ck_assert(!soon_future_cancel(running));
    for (int i = 0; i < 10; i++)
        ck_assert(soon_future_cancel(ahead[i]));
    assert_ok(soon_future_kill(ahead[10]));
    gate_open(hold.release);
    assert_result_int(running, 4);
    for (int i = 11; i < 30; i++)
        assert_result_int(ahead[i], i * i);
    soon_future_unref(running);
    unref_all(ahead, 30);
    hold_free(&hold);
}
END_TEST

/* ---- many pools ---- */

START_TEST(pools_come_and_go)
{
    const size_t rounds = scaled(100);
    unsigned threads = 0, descriptors = 0, mappings = 0;

    for (size_t round = 0; round < rounds; round++) {
        soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});

        if (round % 3) {
            soon_future *f = submit_int(ex, task_square, (int)round);

            assert_result_int(f, (int)(round * round));
            soon_future_unref(f);
        }
        pool_down(ex, round % 3 ? 1 : 0);
        if (round == 0) {
            threads = thread_count();
            descriptors = descriptor_count();
            mappings = mapping_count();
        }
    }
    /* The kernel forgets a thread a moment after it can be joined. */
    while (thread_count() > threads)
        sched_yield();
    ck_assert_uint_eq(descriptor_count(), descriptors);
    ck_assert_uint_eq(mapping_count(), mappings);
}
END_TEST

START_TEST(several_pools_work_side_by_side)
{
    enum { POOLS = 4, N = 30 };
    soon_executor *ex[POOLS];
    soon_future *futures[POOLS][N];

    for (int p = 0; p < POOLS; p++)
        ex[p] = pool_up((_i + p) % (SOON_START_SPAWN + 1), NULL);
    for (int i = 0; i < N; i++)
        for (int p = 0; p < POOLS; p++)
            futures[p][i] = submit_int(ex[p], task_square, i + p);
    for (int p = 0; p < POOLS; p++) {
        for (int i = 0; i < N; i++)
            assert_result_int(futures[p][i], (i + p) * (i + p));
        unref_all(futures[p], N);
    }
    /* The end of one leaves the others alone. */
    for (int p = 0; p < POOLS; p++) {
        assert_ok(soon_shutdown(ex[p], SOON_FOREVER, 0));
        soon_executor_unref(ex[p]);
        for (int q = p + 1; q < POOLS; q++) {
            soon_future *f = submit_int(ex[q], task_square, q);

            assert_result_int(f, q * q);
            soon_future_unref(f);
        }
    }
}
END_TEST

static void submit_from_callback(soon_future *f, void *data)
{
    const int index = 1;

    REQUIRE(soon_future_done(f));
    REQUIRE(soon_submit(data, task_tick, &index, sizeof index, NULL) == 0);
}

START_TEST(a_callback_may_submit_and_wait)
{
    soon_executor *ex = one_worker(_i);
    soon_future *futures[20];

    for (int i = 0; i < 20; i++) {
        futures[i] = submit_int(ex, task_tick, 0);
        assert_ok(soon_future_add_done_callback(futures[i], submit_from_callback, ex));
    }
    while (board()->count[1] < 20)
        sched_yield();
    unref_all(futures, 20);
    pool_down(ex, 40);
}
END_TEST

struct waiter {
    soon_executor *ex;
    shared_count called;
};

static void wait_in_callback(soon_future *f, void *data)
{
    struct waiter *waiter = data;
    soon_future *other = NULL;
    int n = 6, square = 0;

    (void)f;
    REQUIRE(soon_submit(waiter->ex, task_square, &n, sizeof n, &other) == 0);
    REQUIRE(soon_future_result(other, SOON_FOREVER, &square, sizeof square) == 0);
    REQUIRE(square == 36);
    soon_future_unref(other);
    atomic_fetch_add(&waiter->called, 1);
}

/* The thread that completes futures is the one in which callbacks run: it must
 * not be the only one that completes futures. */
START_TEST(a_callback_may_wait_for_a_task_of_the_same_pool)
{
    struct waiter waiter = {.ex = one_worker(_i)};
    soon_future *futures[10];

    for (int i = 0; i < 10; i++) {
        futures[i] = submit_int(waiter.ex, task_square, i);
        assert_ok(soon_future_add_done_callback(futures[i], wait_in_callback, &waiter));
    }
    while (atomic_load(&waiter.called) < 10)
        sched_yield();
    unref_all(futures, 10);
    pool_down(waiter.ex, 20);
}
END_TEST

static void drop_executor(soon_future *f, void *data)
{
    (void)f;
    soon_executor_unref(data);
}

START_TEST(a_callback_may_drop_the_last_reference)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f;

    perch(ex, &hold, &f);
    assert_ok(soon_future_add_done_callback(f, drop_executor, ex));
    gate_open(hold.release);
    assert_result_int(f, 0);
    soon_future_unref(f);
    hold_free(&hold);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_end");
    TCase *shutdown = test_case(suite, "shutdown");
    TCase *references = test_case(suite, "references");
    TCase *pools = test_case(suite, "pools");
    TCase *callbacks = test_case(suite, "callbacks");

    add_over_methods(shutdown, when_a_shutdown_that_waits_returns_the_workers_are_gone);
    add_over_methods(shutdown, cancelling_takes_back_what_was_handed_ahead);
    add_over_methods(shutdown, a_bounded_wait_leaves_a_stuck_task_alone);
    add_over_methods(shutdown, a_worker_dies_while_the_pool_shuts_down);
    add_over_methods(shutdown, two_threads_shut_down_at_once);

    add_over_methods(references, the_last_reference_gone_the_queue_still_runs);
    add_over_methods(references, the_last_reference_gone_detached_tasks_still_run);
    add_over_methods(references, futures_outlive_their_executor_by_far);
    add_over_methods(references, futures_pending_or_running_hold_what_they_need);

    add_over_methods(pools, pools_come_and_go);
    add_over_methods(pools, several_pools_work_side_by_side);

    add_over_methods(callbacks, a_callback_may_submit_and_wait);
    add_over_methods(callbacks, a_callback_may_wait_for_a_task_of_the_same_pool);
    add_over_methods(callbacks, a_callback_may_drop_the_last_reference);
    return suite;
}
