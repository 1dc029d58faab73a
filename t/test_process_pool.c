/* SPDX-License-Identifier: MIT */
/* The process pool: its options, and when its workers start. */
#include "process_pool.h"

#include <limits.h>

/* ---- options ---- */

START_TEST(bad_options_are_refused)
{
    static const int dummy;
    const soon_process_pool_options bad[] = {
        {.max_workers = UINT_MAX},
        {.max_workers = 65537},
        {.max_workers = 1, .start_method = -1},
        {.max_workers = 1, .start_method = SOON_START_SPAWN + 1},
        {.max_workers = 1, .overflow = -1},
        {.max_workers = 1, .overflow = SOON_CALLER_RUNS + 1},
        {.max_workers = 1, .init_arg_len = 1, .initializer = task_nothing},
        {.max_workers = 1, .flags = 2},
        {.max_workers = 1, .flags = ~0u},
        {.max_workers = 1, .reserved = {[7] = 1}},
    };
    soon_executor *const untouched = (soon_executor *)&dummy, *ex = untouched;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int error = soon_process_pool_new(&bad[i], &ex);

        ck_assert_msg(error == -EINVAL, "options %zu: %d", i, error);
        ck_assert_ptr_eq(ex, untouched);
    }
    ck_assert_int_eq(soon_process_pool_new(NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(no_options_are_the_defaults)
{
    soon_executor *ex = NULL;
    soon_future *f;

    assert_ok(soon_process_pool_new(NULL, &ex));
    ck_assert_str_eq(soon_executor_backend(ex), "process_pool");
    f = submit_int(ex, task_square, 7);
    assert_result_int(f, 49);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

START_TEST(the_environment_may_say_how_many_workers)
{
    struct hold hold = hold_make();
    soon_executor *ex;

    REQUIRE(setenv("SOON_MAX_WORKERS", "3", 1) == 0);
    ex = pool_up(_i, NULL);
    for (int i = 0; i < 5; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 3);
    ck_assert(!bell_rings_within(hold.started, SOON_MS(20)));
    gate_open(hold.release);
    pool_down(ex, 5);
    REQUIRE(setenv("SOON_MAX_WORKERS", "many", 1) == 0);
    ck_assert_int_eq(soon_process_pool_new(&(soon_process_pool_options){.start_method = _i}, &ex),
                     -EINVAL);
    REQUIRE(unsetenv("SOON_MAX_WORKERS") == 0);
    hold_free(&hold);
}
END_TEST

START_TEST(the_largest_pool_costs_nothing_until_used)
{
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 65536});
    soon_future *f = submit_int(ex, task_square, 5);

    assert_result_int(f, 25);
    ck_assert_uint_eq(pool_figures(ex).workers_started, 1);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* ---- when workers start ---- */

START_TEST(no_worker_before_the_first_task)
{
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 4});
    soon_future *f;

    ck_assert_uint_eq(pool_figures(ex).workers_started, 0);
    ck_assert_uint_eq(workers_of("soon", NULL, 0), 0);
    f = submit_int(ex, task_square, 3);
    assert_result_int(f, 9);
    ck_assert_uint_eq(pool_figures(ex).workers, 1);
    ck_assert_uint_eq(workers_of("soon", NULL, 0), 1);
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* A worker that does not begin for longer is taken for one that is held up, and
 * another is started: which is right, but says nothing of what is asked here.
 * Less than what the pool waits for. */
static const soon_ns a_moment = SOON_MS(20);

/* Has the pool of this one worker run a task within a moment of begin? Only then
 * it has to have been there. */
static bool ran_at_once(soon_executor *ex, soon_ns begin, soon_future *f, pid_t pid)
{
    const pid_t by = pid_of(f);
    const bool at_once = now_ns() - begin < a_moment;

    if (at_once) {
        ck_assert_int_eq(by, pid);
        ck_assert_uint_eq(pool_figures(ex).workers_started, 1);
    }
    soon_future_unref(f);
    return at_once;
}

/* A pool whose one worker has nothing to do. */
static soon_executor *with_one_idle(int method, pid_t *pid)
{
    soon_executor *ex = pool_up(method, &(soon_process_pool_options){.max_workers = 4});
    soon_future *f = submit(ex, task_pid, NULL, 0);

    *pid = pid_of(f);
    soon_future_unref(f);
    return ex;
}

START_TEST(an_idle_worker_is_used_before_a_new_one_starts)
{
    bool told = false;

    while (!told) {
        uint64_t submitted = 1;
        pid_t pid;
        soon_executor *ex = with_one_idle(_i, &pid);

        told = true;
        for (int i = 0; i < 19 && told; i++, submitted++) {
            const soon_ns begin = now_ns();

            told = ran_at_once(ex, begin, submit(ex, task_pid, NULL, 0), pid);
        }
        pool_down(ex, submitted);
    }
}
END_TEST

/* A system with much to do looks like this to the pool. */
START_TEST(a_worker_that_is_held_up_for_a_moment_is_waited_for)
{
    bool told = false;

    while (!told) {
        pid_t pid;
        soon_executor *ex = with_one_idle(_i, &pid);

        sleep_ns(SOON_MS(250)); /* until the pool does not look by itself, but is woken by a task */
        REQUIRE(kill(pid, SIGSTOP) == 0);
        const soon_ns begin = now_ns();
        soon_future *f = submit(ex, task_pid, NULL, 0);
        sleep_ns(SOON_MS(5));
        REQUIRE(kill(pid, SIGCONT) == 0);
        told = ran_at_once(ex, begin, f, pid);
        pool_down(ex, 2);
    }
}
END_TEST

START_TEST(work_for_all_brings_up_all)
{
    enum { N = 5 };
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = N});
    struct process workers[N + 1];
    soon_stats stats;

    for (int i = 0; i < 2 * N; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, N);
    ck_assert_uint_eq(workers_of("soon", workers, N + 1), N);
    stats = pool_figures(ex);
    ck_assert_uint_eq(stats.workers, N);
    ck_assert_uint_eq(stats.workers_started, N);
    ck_assert_uint_eq(stats.running, N);
    ck_assert_uint_eq(stats.pending, N);
    ck_assert_uint_eq(stats.idle, 0);
    ck_assert_uint_gt(stats.memory, 0);
    gate_open(hold.release);
    pool_down(ex, 2 * N);
    hold_free(&hold);
}
END_TEST

/* Tasks that were handed ahead to a worker go to one that has nothing to do,
 * rather than wait behind a long one. */
START_TEST(nothing_waits_behind_a_long_task_while_a_worker_is_idle)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    soon_future *squares[100];

    perch(ex, &hold, NULL);
    for (int i = 0; i < 100; i++)
        squares[i] = submit_int(ex, task_square, i);
    for (int i = 0; i < 100; i++)
        assert_result_int(squares[i], i * i);
    unref_all(squares, 100);
    gate_open(hold.release);
    pool_down(ex, 101);
    hold_free(&hold);
}
END_TEST

/* Two long ones in a row, submitted while both workers are busy: whoever is
 * free first takes the next. */
START_TEST(a_worker_does_not_keep_what_another_could_begin)
{
    struct hold first = hold_make(), second = hold_make(), third = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});

    assert_ok(soon_submit(ex, task_hold, &first, sizeof first, NULL));
    assert_ok(soon_submit(ex, task_hold, &second, sizeof second, NULL));
    bell_await(first.started, 1);
    bell_await(second.started, 1);
    for (int i = 0; i < 4; i++)
        assert_ok(soon_submit(ex, task_hold, &third, sizeof third, NULL));
    gate_open(second.release);
    bell_await(third.started, 1);
    gate_open(third.release);
    bell_await(third.started, 3); /* all four, by the worker that is free */
    gate_open(first.release);
    pool_down(ex, 6);
    hold_free(&first);
    hold_free(&second);
    hold_free(&third);
}
END_TEST

/* ---- names ---- */

static void assert_worker_called(const char *name, const char *expected)
{
    const soon_process_pool_options options = {.max_workers = 1, .name = name};
    soon_executor *ex = pool_up(SOON_START_FORKSERVER, &options);
    soon_future *f = submit(ex, task_pid, NULL, 0);
    const pid_t pid = pid_of(f);
    struct process all[16];
    size_t n = processes_of_test("", all, 16);
    bool found = false;

    for (size_t i = 0; i < n && i < 16; i++)
        if (all[i].pid == pid) {
            ck_assert_str_eq(all[i].name, expected);
            found = true;
        }
    ck_assert(found);
    soon_future_unref(f);
    pool_down(ex, 1);
}

START_TEST(workers_are_called_after_their_pool)
{
    char name[] = "decoder";
    const soon_process_pool_options options = {.max_workers = 3, .name = name};
    struct hold hold = hold_make();
    struct process workers[4];
    unsigned numbers = 0;
    soon_executor *ex = pool_up(_i, &options);

    memset(name, 'x', sizeof name - 1);
    for (int i = 0; i < 3; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 3);
    ck_assert_uint_eq(workers_of("decoder", workers, 4), 3);
    for (int i = 0; i < 3; i++)
        numbers |= 1u << atoi(workers[i].name + strlen("decoder-"));
    ck_assert_uint_eq(numbers, 7);
    gate_open(hold.release);
    pool_down(ex, 3);
    hold_free(&hold);
}
END_TEST

START_TEST(a_long_name_is_cut_before_the_number)
{
    assert_worker_called(NULL, "soon-0");
    assert_worker_called("thirteenchars", "thirteenchars-0");
    assert_worker_called("much-longer-than-that", "much-longer-t-0");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_pool");
    TCase *options = test_case(suite, "options");
    TCase *start = test_case(suite, "start");

    tcase_add_test(options, bad_options_are_refused);
    tcase_add_test(options, no_options_are_the_defaults);
    add_over_methods(options, the_environment_may_say_how_many_workers);
    add_over_methods(options, the_largest_pool_costs_nothing_until_used);

    add_over_methods(start, no_worker_before_the_first_task);
    add_over_methods(start, an_idle_worker_is_used_before_a_new_one_starts);
    add_over_methods(start, a_worker_that_is_held_up_for_a_moment_is_waited_for);
    add_over_methods(start, work_for_all_brings_up_all);
    add_over_methods(start, nothing_waits_behind_a_long_task_while_a_worker_is_idle);
    add_over_methods(start, a_worker_does_not_keep_what_another_could_begin);
    add_over_methods(start, workers_are_called_after_their_pool);
    tcase_add_test(start, a_long_name_is_cut_before_the_number);
    return suite;
}
