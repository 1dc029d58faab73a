/* SPDX-License-Identifier: MIT */
/* What every executor promises of submitting: values, errors, order. */
#include "backends.h"

#include <limits.h>

/* ---- arguments, results, errors ---- */

START_TEST(a_task_gets_its_argument_and_gives_its_result)
{
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    f = submit_int(rig.ex, task_square, 12);
    assert_result_int(f, 144);
    ck_assert_int_eq(soon_future_state(f), SOON_FINISHED);
    soon_future_unref(f);
    rig_down(&rig);
}

START_TEST(an_argument_is_copied_before_submit_returns)
{
    static const size_t sizes[] = {1, 16, 32, 48, 49, 64, 4096, 1 << 20};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    soon_future *futures[SIZES];
    unsigned char *arg = malloc(1 << 20), *expected = malloc(1 << 20);
    struct rig rig;

    REQUIRE(arg && expected);
    rig_up(&rig, _i);
    for (int i = 0; i < SIZES; i++) {
        memset(arg, i + 1, sizes[i]);
        futures[i] = submit(rig.ex, task_echo, arg, sizes[i]);
        memset(arg, 0xff, sizes[i]);
    }
    for (int i = 0; i < SIZES; i++) {
        memset(expected, i + 1, sizes[i]);
        assert_result_bytes(futures[i], expected, sizes[i]);
    }
    unref_all(futures, SIZES);
    rig_down(&rig);
    free(arg);
    free(expected);
}

static int task_check_empty(soon_call *call, const void *arg, size_t arg_len)
{
    if (arg || arg_len != 0)
        return soon_fail(call, -EINVAL, "got %zu bytes at %p", arg_len, arg);
    return 0;
}

START_TEST(an_empty_argument_is_null_and_an_empty_result_has_no_bytes)
{
    struct rig rig;
    soon_future *f[2];

    rig_up(&rig, _i);
    f[0] = submit(rig.ex, task_check_empty, NULL, 0);
    f[1] = submit(rig.ex, task_check_empty, "not looked at", 0);
    for (int i = 0; i < 2; i++) {
        assert_result_bytes(f[i], "", 0);
        assert_ok(soon_future_result(f[i], SOON_FOREVER, NULL, 0));
    }
    unref_all(f, 2);
    rig_down(&rig);
}

static int task_check_alignment(soon_call *call, const void *arg, size_t arg_len)
{
    if ((uintptr_t)arg % 16 != 0)
        return soon_fail(call, -EFAULT, "%zu bytes at %p", arg_len, arg);
    return 0;
}

START_TEST(an_argument_is_aligned_to_16)
{
    static const unsigned char bytes[200];
    struct rig rig;
    soon_future *f;

    rig_up(&rig, _i);
    for (size_t len = 1; len <= sizeof bytes; len++) {
        f = submit(rig.ex, task_check_alignment, bytes, len);
        assert_result_bytes(f, "", 0);
        soon_future_unref(f);
    }
    rig_down(&rig);
}

START_TEST(a_task_fails_with_its_own_code_and_message)
{
    static const struct failure failures[] = {
        {1, "positive"},      {-EIO, "negative"},  {INT_MAX, "large"},           {INT_MIN, "small"},
        {-ETIMEDOUT, "mine"}, {-ECANCELED, "too"}, {-EOWNERDEAD, "\xe2\x82\xac"}};
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        soon_future *f = submit(rig.ex, task_fail, &failures[i], sizeof failures[i]);

        assert_error(f, failures[i].code, SOON_FROM_TASK, failures[i].message);
        ck_assert_int_eq(soon_future_state(f), SOON_FINISHED);
        soon_future_unref(f);
    }
    rig_down(&rig);
}

START_TEST(a_future_outlives_its_executor)
{
    struct rig rig;
    soon_future *f[2];

    rig_up(&rig, _i);
    f[0] = submit_int(rig.ex, task_square, -3);
    f[1] = submit(rig.ex, task_fail, &(struct failure){7, "seven"}, sizeof(struct failure));
    rig_down(&rig);
    assert_result_int(f[0], 9);
    assert_error(f[1], 7, SOON_FROM_TASK, "seven");
    unref_all(f, 2);
}

START_TEST(it_has_a_name_and_references)
{
    struct rig rig;

    rig_up(&rig, _i);
    ck_assert_str_eq(soon_executor_backend(rig.ex), rig.backend->name);
    ck_assert_ptr_null(soon_executor_backend(NULL));
    ck_assert_ptr_eq(soon_executor_ref(rig.ex), rig.ex);
    soon_executor_unref(rig.ex);
    soon_executor_unref(NULL);
    rig_down(&rig);
}

/* ---- detached tasks, many tasks ---- */

START_TEST(detached_tasks_run_once_each)
{
    const size_t n = scaled(1000);
    shared_count *count = shared_new(sizeof *count);
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t i = 0; i < n; i++)
        assert_ok(soon_submit(rig.ex, task_count, &count, sizeof count, NULL));
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*count, n);
    rig_adds_up(&rig, n);
    rig_down(&rig);
    shared_free(count, sizeof *count);
}

START_TEST(submit_task_takes_every_option)
{
    char name[] = "a name of some length, which is copied";
    int n = 11;
    soon_task task = {.fn = task_square,
                      .arg = &n,
                      .arg_len = sizeof n,
                      .name = name,
                      .priority = SOON_PRIORITY_HIGH,
                      .timeout = SOON_SECONDS(3600)};
    struct rig rig;
    soon_future *f = NULL;

    rig_up(&rig, _i);
    assert_ok(soon_submit_task(rig.ex, &task, &f));
    memset(name, 'x', sizeof name - 1);
    assert_result_int(f, 121);
    assert_ok(soon_submit_task(rig.ex, &(soon_task){.fn = task_nothing}, NULL));
    soon_future_unref(f);
    rig_down(&rig);
}

START_TEST(submit_many_gives_a_future_for_each_in_order)
{
    enum { N = 100 };
    soon_task tasks[N];
    soon_future *futures[N];
    int args[N];
    struct rig rig;

    rig_up(&rig, _i);
    for (int i = 0; i < N; i++) {
        args[i] = i;
        tasks[i] = (soon_task){
            .fn = task_square, .arg = &args[i], .arg_len = sizeof(int), .priority = i % 3 - 1};
    }
    assert_ok(soon_submit_many(rig.ex, tasks, N, futures));
    memset(args, 0xff, sizeof args);
    memset(tasks, 0xff, sizeof tasks);
    for (int i = 0; i < N; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, N);
    rig_down(&rig);
}

START_TEST(submit_many_is_all_or_nothing)
{
    shared_count *count = shared_new(sizeof *count);
    soon_task tasks[5];
    soon_future *untouched = (soon_future *)tasks, *futures[5];
    struct rig rig;

    for (int i = 0; i < 5; i++) {
        tasks[i] = (soon_task){.fn = task_count, .arg = &count, .arg_len = sizeof count};
        futures[i] = untouched;
    }
    rig_up(&rig, _i);
    for (int bad = 0; bad < 5; bad++) {
        tasks[bad].fn = NULL;
        ck_assert_int_eq(soon_submit_many(rig.ex, tasks, 5, futures), -EINVAL);
        ck_assert_int_eq(soon_submit_many(rig.ex, tasks, 5, NULL), -EINVAL);
        tasks[bad].fn = task_count;
    }
    for (int i = 0; i < 5; i++)
        ck_assert_ptr_eq(futures[i], untouched);
    assert_ok(soon_submit_many(rig.ex, NULL, 0, NULL));
    assert_ok(soon_submit_many(rig.ex, tasks, 5, NULL));
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(*count, 5);
    rig_adds_up(&rig, 5);
    rig_down(&rig);
    shared_free(count, sizeof *count);
}

START_TEST(bad_input_is_refused)
{
    const soon_task bad[] = {
        {.fn = NULL},
        {.fn = task_nothing, .arg = NULL, .arg_len = 1},
        {.fn = task_nothing, .priority = 2},
        {.fn = task_nothing, .priority = -2},
        {.fn = task_nothing, .timeout = -1},
        {.fn = task_nothing, .flags = 1},
        {.fn = task_nothing, .flags = 1u << 31},
        {.fn = task_nothing, .reserved = {0, 0, 0, 1}},
    };
    soon_future *untouched = (soon_future *)bad, *f = untouched;
    const char byte = 0;
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(soon_submit_task(rig.ex, &bad[i], &f), -EINVAL);
        ck_assert_int_eq(soon_submit_many(rig.ex, &bad[i], 1, &f), -EINVAL);
    }
    ck_assert_int_eq(soon_submit(rig.ex, NULL, NULL, 0, &f), -EINVAL);
    ck_assert_int_eq(soon_submit(rig.ex, task_nothing, NULL, 1, &f), -EINVAL);
    ck_assert_int_eq(soon_submit(NULL, task_nothing, NULL, 0, &f), -EINVAL);
    ck_assert_int_eq(soon_submit_task(NULL, &(soon_task){.fn = task_nothing}, &f), -EINVAL);
    ck_assert_int_eq(soon_submit_task(rig.ex, NULL, &f), -EINVAL);
    ck_assert_int_eq(soon_submit_many(NULL, &(soon_task){.fn = task_nothing}, 1, &f), -EINVAL);
    ck_assert_int_eq(soon_submit_many(rig.ex, NULL, 1, &f), -EINVAL);
    ck_assert_int_eq(soon_executor_stats(rig.ex, NULL), -EINVAL);
    ck_assert_int_eq(soon_executor_stats(NULL, &(soon_stats){0}), -EINVAL);
    ck_assert_int_lt(soon_submit(rig.ex, task_nothing, &byte, SIZE_MAX - 8, &f), 0);
    ck_assert_ptr_eq(f, untouched);
    rig_adds_up(&rig, 0);
    rig_down(&rig);
}

/* ---- order ---- */

START_TEST(tasks_of_one_submitter_start_in_order)
{
    enum { N = 500 };
    struct order_log *log = shared_new(sizeof *log);
    struct rig rig;

    rig_up(&rig, _i);
    for (int i = 0; i < N; i++)
        assert_ok(soon_submit(rig.ex, task_note, &(struct order_note){log, i},
                              sizeof(struct order_note), NULL));
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(log->used, N);
    for (int i = 0; i < N; i++)
        EXPECT(log->entry[i] == i);
    rig_down(&rig);
    shared_free(log, sizeof *log);
}

START_TEST(higher_priority_goes_first)
{
    static const int in_order[] = {1, 4, 7, 0, 3, 6, -1, 2, 5};
    struct order_log *log = shared_new(sizeof *log);
    struct hold hold = hold_make();
    soon_future *held;
    struct rig rig;

    rig_up(&rig, _i);
    held = submit(rig.ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    for (int i = -1; i < 8; i++) {
        const struct order_note note = {log, i};
        const int priority = (i + 1) % 3 - 1; /* LOW, NORMAL, HIGH, LOW ... */
        const soon_task task = {
            .fn = task_note, .arg = &note, .arg_len = sizeof note, .priority = priority};

        assert_ok(soon_submit_task(rig.ex, &task, NULL));
    }
    gate_open(hold.release);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(log->used, 9);
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(log->entry[i], in_order[i]);
    soon_future_unref(held);
    rig_down(&rig);
    hold_free(&hold);
    shared_free(log, sizeof *log);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("executor");
    TCase *values = test_case(suite, "values");
    TCase *many = test_case(suite, "many");
    TCase *order = test_case(suite, "order");

    add_over_backends(values, a_task_gets_its_argument_and_gives_its_result, 0);
    add_over_backends(values, an_argument_is_copied_before_submit_returns, 0);
    add_over_backends(values, an_empty_argument_is_null_and_an_empty_result_has_no_bytes, 0);
    add_over_backends(values, an_argument_is_aligned_to_16, 0);
    add_over_backends(values, a_task_fails_with_its_own_code_and_message, 0);
    add_over_backends(values, a_future_outlives_its_executor, 0);
    add_over_backends(values, it_has_a_name_and_references, 0);

    add_over_backends(many, detached_tasks_run_once_each, 0);
    add_over_backends(many, submit_task_takes_every_option, 0);
    add_over_backends(many, submit_many_gives_a_future_for_each_in_order, 0);
    add_over_backends(many, submit_many_is_all_or_nothing, 0);
    add_over_backends(many, bad_input_is_refused, 0);

    add_over_backends(order, tasks_of_one_submitter_start_in_order, TRAIT_SINGLE);
    add_over_backends(order, higher_priority_goes_first, TRAIT_SINGLE | TRAIT_DEFERS);
    return suite;
}
