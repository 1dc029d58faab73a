/* SPDX-License-Identifier: MIT */
/* The inline executor: everything happens inside submit, in the caller. */
#include "support.h"

static soon_executor *inline_up(void)
{
    soon_executor *ex = NULL;

    assert_ok(soon_inline_new(&ex));
    ck_assert_str_eq(soon_executor_backend(ex), "inline");
    return ex;
}

static void inline_down(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

static int task_say_thread(soon_call *call, const void *arg, size_t arg_len)
{
    pthread_t me = pthread_self();

    (void)arg;
    (void)arg_len;
    return soon_return(call, &me, sizeof me);
}

START_TEST(a_task_is_done_when_submit_returns)
{
    soon_executor *ex = inline_up();
    soon_future *f = NULL;
    pthread_t thread;

    assert_ok(soon_submit(ex, task_say_thread, NULL, 0, &f));
    ck_assert_int_eq(soon_future_state(f), SOON_FINISHED);
    assert_ok(soon_future_result(f, 0, &thread, sizeof thread));
    ck_assert(pthread_equal(thread, pthread_self()));
    soon_future_unref(f);
    inline_down(ex);
}

START_TEST(it_starts_no_threads)
{
    const unsigned before = thread_count();
    soon_executor *ex = inline_up();

    for (int i = 0; i < 100; i++)
        assert_ok(soon_submit(ex, task_square, &i, sizeof i, NULL));
    ck_assert_uint_eq(thread_count(), before);
    inline_down(ex);
}

START_TEST(many_run_in_the_order_of_their_array)
{
    enum { N = 10 };
    struct order_log *log = shared_new(sizeof *log);
    soon_executor *ex = inline_up();
    struct order_note notes[N];
    soon_task tasks[N];

    for (int i = 0; i < N; i++) {
        notes[i] = (struct order_note){log, i};
        tasks[i] =
            (soon_task){.fn = task_note, .arg = &notes[i], .arg_len = sizeof(struct order_note)};
    }
    assert_ok(soon_submit_many(ex, tasks, N, NULL));
    ck_assert_uint_eq(log->used, N);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(log->entry[i], i);
    inline_down(ex);
    shared_free(log, sizeof *log);
}

struct level {
    soon_executor *ex;
    struct order_log *log;
    int left;
};

/* Notes itself, runs the next level inside its own submit, notes itself
 * again. */
static int task_nested(soon_call *call, const void *arg, size_t arg_len)
{
    struct level me, next;
    soon_future *f = NULL;

    (void)call;
    REQUIRE(arg_len == sizeof me);
    memcpy(&me, arg, sizeof me);
    order_log_add(me.log, me.left);
    if (me.left > 0) {
        next = me;
        next.left--;
        REQUIRE(soon_submit(me.ex, task_nested, &next, sizeof next, &f) == 0);
        REQUIRE(soon_future_done(f));
        soon_future_unref(f);
    }
    order_log_add(me.log, -me.left);
    return 0;
}

START_TEST(a_task_of_a_task_runs_inside_it)
{
    enum { DEPTH = 50 };
    struct order_log *log = shared_new(sizeof *log);
    soon_executor *ex = inline_up();
    soon_future *f = submit(ex, task_nested, &(struct level){ex, log, DEPTH}, sizeof(struct level));

    assert_result_bytes(f, "", 0);
    ck_assert_uint_eq(log->used, 2 * (DEPTH + 1));
    for (int i = 0; i <= DEPTH; i++) {
        ck_assert_int_eq(log->entry[i], DEPTH - i);
        ck_assert_int_eq(log->entry[2 * DEPTH + 1 - i], i - DEPTH);
    }
    soon_future_unref(f);
    inline_down(ex);
    shared_free(log, sizeof *log);
}

static void add_one(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    ++*(int *)data;
}

START_TEST(callbacks_run_at_once)
{
    soon_executor *ex = inline_up();
    soon_future *f = submit_int(ex, task_square, 2), *promised = promise();
    int calls = 0;

    assert_ok(soon_future_add_done_callback(f, add_one, &calls));
    ck_assert_int_eq(calls, 1);
    assert_ok(soon_future_add_done_callback_on(f, ex, add_one, &calls));
    ck_assert_int_eq(calls, 2);
    assert_ok(soon_future_add_done_callback_on(promised, ex, add_one, &calls));
    ck_assert_int_eq(calls, 2);
    assert_ok(soon_future_set_result(promised, NULL, 0));
    ck_assert_int_eq(calls, 3);
    soon_future_unref(f);
    soon_future_unref(promised);
    inline_down(ex);
}

static int task_overrun(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    while (!soon_call_cancelled(call))
        sleep_ns(SOON_MS(1));
    return soon_return(call, "too late", 8);
}

START_TEST(a_timeout_is_noticed)
{
    const soon_task task = {.fn = task_overrun, .timeout = SOON_MS(10)};
    soon_executor *ex = inline_up();
    soon_future *f = NULL;
    soon_ns start = now_ns();

    assert_ok(soon_submit_task(ex, &task, &f));
    ck_assert_int_ge(now_ns() - start, SOON_MS(10));
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    soon_future_unref(f);
    assert_stats_add_up(ex, 1);
    inline_down(ex);
}

struct submitter {
    soon_executor *ex;
    shared_count *count;
    size_t tasks;
};

static void submit_many_times(void *data)
{
    const struct submitter *s = data;

    for (size_t i = 0; i < s->tasks; i++)
        REQUIRE(soon_submit(s->ex, task_count, &s->count, sizeof s->count, NULL) == 0);
}

START_TEST(many_threads_may_share_one)
{
    const size_t tasks = scaled(20000);
    struct submitter s = {inline_up(), shared_new(sizeof *s.count), tasks};

    race(submit_many_times, submit_many_times, &s);
    ck_assert_uint_eq(*s.count, 2 * tasks);
    assert_stats_add_up(s.ex, 2 * tasks);
    inline_down(s.ex);
    shared_free(s.count, sizeof *s.count);
}

struct holder {
    soon_executor *ex;
    struct hold hold;
};

static void submit_hold(void *data)
{
    const struct holder *h = data;

    REQUIRE(soon_submit(h->ex, task_hold, &h->hold, sizeof h->hold, NULL) == 0);
}

/* Another thread's submit is where the task runs that shutdown waits for. */
START_TEST(shutdown_waits_for_tasks_inside_other_threads)
{
    struct holder h = {inline_up(), hold_make()};
    struct thread submitter;

    thread_start(&submitter, submit_hold, &h);
    bell_await(h.hold.started, 1);
    ck_assert_int_eq(soon_shutdown(h.ex, SOON_MS(5), 0), -ETIMEDOUT);
    ck_assert_int_eq(soon_submit(h.ex, task_nothing, NULL, 0, NULL), -ESHUTDOWN);
    gate_open(h.hold.release);
    inline_down(h.ex);
    thread_join(&submitter);
    hold_free(&h.hold);
}

START_TEST(bad_input_is_refused)
{
    soon_executor *ex = inline_up();

    ck_assert_int_eq(soon_inline_new(NULL), -EINVAL);
    ck_assert_int_eq(soon_loop_fd(ex), -EINVAL);
    ck_assert_int_eq(soon_loop_run(ex, 0, 0), -EINVAL);
    inline_down(ex);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("inline");
    TCase *tc = test_case(suite, "inline");

    tcase_add_test(tc, a_task_is_done_when_submit_returns);
    tcase_add_test(tc, it_starts_no_threads);
    tcase_add_test(tc, many_run_in_the_order_of_their_array);
    tcase_add_test(tc, a_task_of_a_task_runs_inside_it);
    tcase_add_test(tc, callbacks_run_at_once);
    tcase_add_test(tc, a_timeout_is_noticed);
    tcase_add_test(tc, many_threads_may_share_one);
    tcase_add_test(tc, shutdown_waits_for_tasks_inside_other_threads);
    tcase_add_test(tc, bad_input_is_refused);
    return suite;
}
