/* SPDX-License-Identifier: MIT */
/*
 * The life of worker processes: what runs first in each of them and what last,
 * and how many tasks they are good for.
 */
#include "process_pool.h"

#include <unistd.h>

/* ---- first and last ---- */

enum { INITIALIZED, FINALIZED, RAN, ALLOWED };

/* What the initializer has done in this process. */
static int initialized;

static int initialize(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(arg_len == 5 && memcmp(arg, "bytes", 5) == 0);
    REQUIRE(!soon_call_cancelled(call));
    initialized++;
    atomic_fetch_add(&board()->count[INITIALIZED], 1);
    return 0;
}

static int finalize(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(arg_len == 5 && memcmp(arg, "bytes", 5) == 0);
    (void)call;
    atomic_fetch_add(&board()->count[FINALIZED], 1);
    return 0;
}

static int task_initialized(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    return soon_return(call, &initialized, sizeof initialized);
}

static soon_process_pool_options with_both(void)
{
    return (soon_process_pool_options){.max_workers = 1,
                                       .initializer = initialize,
                                       .finalizer = finalize,
                                       .init_arg = "bytes",
                                       .init_arg_len = 5};
}

static unsigned count_of(int index)
{
    return atomic_load(&board()->count[index]);
}

START_TEST(both_run_once_in_each_worker)
{
    enum { N = 3 };
    soon_process_pool_options options = with_both();
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_future *f;

    options.max_workers = N;
    ex = pool_up(_i, &options);
    ck_assert_uint_eq(count_of(INITIALIZED), 0);
    for (int i = 0; i < N; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, N);
    ck_assert_uint_eq(count_of(INITIALIZED), N);
    gate_open(hold.release);
    for (int i = 0; i < 20; i++) {
        f = submit(ex, task_initialized, NULL, 0);
        assert_result_int(f, 1);
        soon_future_unref(f);
    }
    ck_assert_uint_eq(count_of(FINALIZED), 0);
    pool_down(ex, N + 20);
    ck_assert_uint_eq(count_of(INITIALIZED), N);
    ck_assert_uint_eq(count_of(FINALIZED), N);
    hold_free(&hold);
}
END_TEST

START_TEST(their_argument_is_copied)
{
    soon_process_pool_options options = with_both();
    char *arg = strdup("bytes");
    soon_executor *ex;

    REQUIRE(arg);
    options.init_arg = arg;
    ex = pool_up(_i, &options);
    memset(arg, 'x', 5);
    free(arg);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    pool_down(ex, 1);
    ck_assert_uint_eq(count_of(INITIALIZED), 1);
    ck_assert_uint_eq(count_of(FINALIZED), 1);
}
END_TEST

static int check_large(soon_call *call, const void *arg, size_t arg_len)
{
    const unsigned char *bytes = arg;

    (void)call;
    REQUIRE(arg_len == 3 << 20 && (uintptr_t)arg % 16 == 0);
    for (size_t i = 0; i < arg_len; i++)
        REQUIRE(bytes[i] == (unsigned char)(i * 7));
    atomic_fetch_add(&board()->count[INITIALIZED], 1);
    return 0;
}

START_TEST(their_argument_may_be_large)
{
    soon_process_pool_options options = {
        .max_workers = 1, .initializer = check_large, .init_arg_len = 3 << 20};
    unsigned char *arg = malloc(3 << 20);
    soon_executor *ex;

    REQUIRE(arg);
    for (size_t i = 0; i < 3 << 20; i++)
        arg[i] = (unsigned char)(i * 7);
    options.init_arg = arg;
    ex = pool_up(_i, &options);
    free(arg);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    pool_down(ex, 1);
    ck_assert_uint_eq(count_of(INITIALIZED), 1);
}
END_TEST

START_TEST(a_pool_that_was_not_used_runs_neither)
{
    const soon_process_pool_options options = with_both();

    pool_down(pool_up(_i, &options), 0);
    ck_assert_uint_eq(count_of(INITIALIZED) + count_of(FINALIZED), 0);
}
END_TEST

/* ---- initializers that fail ---- */

static int fail_to_initialize(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    return soon_fail(call, -ENODEV, "no such codec: theora");
}

START_TEST(a_failing_initializer_breaks_the_pool_with_its_message)
{
    soon_process_pool_options options = with_both();
    soon_executor *ex;

    options.initializer = fail_to_initialize;
    options.max_workers = 2;
    ex = pool_up(_i, &options);
    /* They are accepted and fail until the first worker has broken the pool;
     * from then on they are refused. */
    for (int i = 0; i < 10; i++) {
        soon_future *f = NULL;
        soon_error error;

        if (soon_submit(ex, task_nothing, NULL, 0, &f) != 0)
            continue;
        assert_library_error(f, -ENOTRECOVERABLE);
        assert_ok(soon_future_error(f, 0, &error));
        ck_assert_msg(strstr(error.message, "no such codec: theora"), "%s", error.message);
        soon_future_unref(f);
    }
    assert_broken(ex, "no such codec: theora");
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(count_of(FINALIZED), 0);
    soon_executor_unref(ex);
}
END_TEST

/* The first ALLOWED of them live. */
static int die_initializing(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_SEGV;

    (void)arg;
    (void)arg_len;
    if (atomic_fetch_add(&board()->count[INITIALIZED], 1) < count_of(ALLOWED))
        return task_die(call, &how, sizeof how);
    return 0;
}

START_TEST(a_crash_in_the_initializer_is_a_crash_of_its_worker)
{
    const soon_process_pool_options options = {.max_workers = 1, .initializer = die_initializing};
    soon_executor *ex;
    soon_future *f;

    board()->count[ALLOWED] = 2;
    ex = pool_up(_i, &options);
    f = submit_int(ex, task_square, 6);
    assert_result_int(f, 36);
    soon_future_unref(f);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 2);
    ck_assert_uint_eq(pool_figures(ex).workers_started, 3);
    pool_down(ex, 1);
}
END_TEST

START_TEST(an_initializer_that_always_crashes_breaks_the_pool)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .initializer = die_initializing,
                                               .max_restarts = 3,
                                               .restart_window = SOON_SECONDS(3600)};
    soon_executor *ex;
    soon_future *f;

    board()->count[ALLOWED] = 1000;
    ex = pool_up(_i, &options);
    f = submit(ex, task_nothing, NULL, 0);
    assert_library_error(f, -ENOTRECOVERABLE);
    soon_future_unref(f);
    ck_assert_uint_eq(count_of(INITIALIZED), 4);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 4);
    assert_broken(ex, "SIGSEGV");
    pool_down(ex, 1);
}
END_TEST

static int die_finalizing(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_ABORT;

    (void)arg;
    (void)arg_len;
    atomic_fetch_add(&board()->count[FINALIZED], 1);
    return task_die(call, &how, sizeof how);
}

START_TEST(a_crash_in_the_finalizer_hurts_nobody)
{
    const soon_process_pool_options options = {
        .max_workers = 2, .finalizer = die_finalizing, .max_tasks_per_child = 2};
    soon_executor *ex = pool_up(_i, &options);
    soon_future *futures[6];

    for (int i = 0; i < 6; i++)
        futures[i] = submit_int(ex, task_square, i);
    for (int i = 0; i < 6; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, 6);
    pool_down(ex, 6);
    ck_assert_uint_ge(count_of(FINALIZED), 3);
}
END_TEST

static int fail_to_finalize(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    atomic_fetch_add(&board()->count[FINALIZED], 1);
    return soon_fail(call, -EIO, "nobody listens");
}

START_TEST(what_a_finalizer_returns_does_not_matter)
{
    const soon_process_pool_options options = {
        .max_workers = 1, .finalizer = fail_to_finalize, .max_tasks_per_child = 1};
    soon_executor *ex = pool_up(_i, &options);
    soon_future *futures[4];

    for (int i = 0; i < 4; i++)
        futures[i] = submit_int(ex, task_square, i);
    for (int i = 0; i < 4; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, 4);
    pool_down(ex, 4);
    ck_assert_uint_eq(count_of(FINALIZED), 4);
}
END_TEST

/* ---- max_tasks_per_child ---- */

START_TEST(each_child_runs_exactly_that_many)
{
    static const unsigned limits[] = {1, 3, 10};
    enum { N = 30 };

    for (int k = 0; k < 3; k++) {
        const unsigned limit = limits[k];
        const soon_process_pool_options options = {.max_workers = 1, .max_tasks_per_child = limit};
        soon_executor *ex = pool_up(_i, &options);
        soon_future *futures[N];
        pid_t pids[N];
        soon_stats stats;

        for (int i = 0; i < N; i++)
            futures[i] = submit(ex, task_pid, NULL, 0);
        for (int i = 0; i < N; i++)
            pids[i] = pid_of(futures[i]);
        for (int i = 1; i < N; i++)
            ck_assert_msg((pids[i] == pids[i - 1]) == (i % limit != 0), "task %d", i);
        unref_all(futures, N);
        assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
        stats = pool_figures(ex);
        ck_assert_uint_eq(stats.workers_started, N / limit);
        ck_assert_uint_ge(stats.workers_replaced, N / limit - 1);
        ck_assert_uint_le(stats.workers_replaced, N / limit);
        ck_assert_uint_eq(stats.workers_crashed, 0);
        pool_down(ex, N);
    }
}
END_TEST

/* CPython gh-115634: with tasks pending when a worker is used up, its
 * replacement was never started. */
START_TEST(pending_tasks_are_not_forgotten_when_a_worker_is_used_up)
{
    enum { N = 40 };
    const soon_process_pool_options options = {.max_workers = 2, .max_tasks_per_child = 1};
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &options);
    soon_future *futures[N];
    pid_t pids[N];

    assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 2);
    for (int i = 0; i < N; i++)
        futures[i] = submit(ex, task_pid, NULL, 0);
    gate_open(hold.release);
    for (int i = 0; i < N; i++)
        pids[i] = pid_of(futures[i]);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < i; k++)
            ck_assert_int_ne(pids[i], pids[k]);
    unref_all(futures, N);
    pool_down(ex, N + 2);
    hold_free(&hold);
}
END_TEST

START_TEST(one_at_a_time_they_are_replaced_too)
{
    const soon_process_pool_options options = {.max_workers = 2, .max_tasks_per_child = 2};
    soon_executor *ex = pool_up(_i, &options);

    for (int i = 0; i < 10; i++) {
        soon_future *f = submit_int(ex, task_square, i);

        assert_result_int(f, i * i);
        soon_future_unref(f);
    }
    ck_assert_uint_ge(pool_figures(ex).workers_started, 5);
    pool_down(ex, 10);
}
END_TEST

START_TEST(a_replaced_worker_runs_its_finalizer_and_the_next_its_initializer)
{
    soon_process_pool_options options = with_both();
    soon_executor *ex;
    soon_future *futures[12];

    options.max_tasks_per_child = 3;
    ex = pool_up(_i, &options);
    for (int i = 0; i < 12; i++)
        futures[i] = submit(ex, task_initialized, NULL, 0);
    for (int i = 0; i < 12; i++)
        assert_result_int(futures[i], 1);
    unref_all(futures, 12);
    pool_down(ex, 12);
    ck_assert_uint_eq(count_of(INITIALIZED), 4);
    ck_assert_uint_eq(count_of(FINALIZED), 4);
}
END_TEST

/* Cancelled ones are no tasks of the child's. */
START_TEST(cancelled_tasks_do_not_use_a_child_up)
{
    const soon_process_pool_options options = {.max_workers = 1, .max_tasks_per_child = 3};
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &options);
    soon_future *cancelled[10], *f[2];
    pid_t pid = perch(ex, &hold, NULL);

    for (int i = 0; i < 10; i++)
        cancelled[i] = submit(ex, task_pid, NULL, 0);
    f[0] = submit(ex, task_pid, NULL, 0);
    f[1] = submit(ex, task_pid, NULL, 0);
    for (int i = 0; i < 10; i++)
        ck_assert(soon_future_cancel(cancelled[i]));
    gate_open(hold.release);
    assert_pid(f[0], pid);
    assert_pid(f[1], pid);
    unref_all(cancelled, 10);
    unref_all(f, 2);
    pool_down(ex, 13);
    hold_free(&hold);
}
END_TEST

START_TEST(a_map_over_children_of_one_task_each)
{
    enum { N = 60 };
    const soon_process_pool_options options = {.max_workers = 2, .max_tasks_per_child = 1};
    soon_executor *ex = pool_up(_i, &options);
    int items[N], results[N];

    for (int i = 0; i < N; i++)
        items[i] = i;
    assert_ok(soon_map(ex, task_square, items, sizeof(int), N, results, sizeof(int),
                       &(soon_map_options){.chunk_size = 2}));
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(results[i], i * i);
    ck_assert_uint_ge(pool_figures(ex).workers_started, N / 2);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_workers");
    TCase *both = test_case(suite, "first and last");
    TCase *failing = test_case(suite, "failing");
    TCase *limit = test_case(suite, "max_tasks_per_child");

    add_over_methods(both, both_run_once_in_each_worker);
    add_over_methods(both, their_argument_is_copied);
    add_over_methods(both, their_argument_may_be_large);
    add_over_methods(both, a_pool_that_was_not_used_runs_neither);

    add_over_methods(failing, a_failing_initializer_breaks_the_pool_with_its_message);
    add_over_methods(failing, a_crash_in_the_initializer_is_a_crash_of_its_worker);
    add_over_methods(failing, an_initializer_that_always_crashes_breaks_the_pool);
    add_over_methods(failing, a_crash_in_the_finalizer_hurts_nobody);
    add_over_methods(failing, what_a_finalizer_returns_does_not_matter);

    add_over_methods(limit, each_child_runs_exactly_that_many);
    add_over_methods(limit, pending_tasks_are_not_forgotten_when_a_worker_is_used_up);
    add_over_methods(limit, one_at_a_time_they_are_replaced_too);
    add_over_methods(limit, a_replaced_worker_runs_its_finalizer_and_the_next_its_initializer);
    add_over_methods(limit, cancelled_tasks_do_not_use_a_child_up);
    add_over_methods(limit, a_map_over_children_of_one_task_each);
    return suite;
}
