/* SPDX-License-Identifier: MIT */
/* Done callbacks that run as tasks of an executor. */
#include "backends.h"

/* What a callback reports back; the test reads it after the bell. */
struct report {
    struct bell bell;
    pthread_t thread;
    _Atomic unsigned calls;
    struct order_log *log;
    int tag;
};

static struct report report_make(void)
{
    return (struct report){.bell = bell_make()};
}

static void tell(soon_future *f, void *data)
{
    struct report *report = data;

    REQUIRE(soon_future_done(f));
    report->thread = pthread_self();
    atomic_fetch_add(&report->calls, 1);
    if (report->log)
        order_log_add(report->log, report->tag);
    bell_ring(report->bell);
}

static int task_say_thread(soon_call *call, const void *arg, size_t arg_len)
{
    pthread_t me = pthread_self();

    (void)arg;
    (void)arg_len;
    return soon_return(call, &me, sizeof me);
}

static pthread_t worker_of(soon_executor *ex)
{
    soon_future *f = submit(ex, task_say_thread, NULL, 0);
    pthread_t thread;

    assert_ok(soon_future_result(f, SOON_FOREVER, &thread, sizeof thread));
    soon_future_unref(f);
    return thread;
}

START_TEST(it_runs_once_when_the_future_is_done)
{
    struct report report = report_make();
    soon_future *f = promise();
    struct rig rig;

    rig_up(&rig, _i);
    assert_ok(soon_future_add_done_callback_on(f, rig.ex, tell, &report));
    ck_assert(!bell_rings_within(report.bell, 0));
    assert_ok(soon_future_set_result(f, NULL, 0));
    bell_await(report.bell, 1);
    rig_down(&rig);
    ck_assert_uint_eq(report.calls, 1);
    soon_future_unref(f);
    bell_free(report.bell);
}

START_TEST(it_runs_in_the_executor_though_the_future_is_done)
{
    struct report report = report_make();
    soon_future *f = sample_future(SAMPLE_CANCELLED);
    struct rig rig;

    rig_up(&rig, _i);
    assert_ok(soon_future_add_done_callback_on(f, rig.ex, tell, &report));
    bell_await(report.bell, 1);
    if (rig.backend->traits & TRAIT_DEFERS)
        ck_assert(!pthread_equal(report.thread, pthread_self()));
    if (rig.backend->traits & TRAIT_DEFERS && rig.backend->workers == 1)
        ck_assert(pthread_equal(report.thread, worker_of(rig.ex)));
    rig_down(&rig);
    ck_assert_uint_eq(report.calls, 1);
    soon_future_unref(f);
    bell_free(report.bell);
}

START_TEST(they_keep_their_order_where_tasks_do)
{
    struct order_log *log = shared_new(sizeof *log);
    struct report reports[20];
    soon_future *f = promise();
    struct rig rig;

    rig_up(&rig, _i);
    for (int i = 0; i < 20; i++) {
        reports[i] = report_make();
        reports[i].log = log;
        reports[i].tag = i;
        assert_ok(soon_future_add_done_callback_on(f, rig.ex, tell, &reports[i]));
    }
    assert_ok(soon_future_set_error(f, -EIO, NULL));
    for (int i = 0; i < 20; i++) {
        bell_await(reports[i].bell, 1);
        bell_free(reports[i].bell);
    }
    rig_down(&rig);
    ck_assert_uint_eq(log->used, 20);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(log->entry[i], i);
    soon_future_unref(f);
    shared_free(log, sizeof *log);
}

START_TEST(it_keeps_the_executor_until_it_has_run)
{
    struct report report = report_make();
    soon_executor *ex = NULL;
    soon_future *f = promise();

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    assert_ok(soon_future_add_done_callback_on(f, ex, tell, &report));
    soon_executor_unref(ex);
    assert_ok(soon_future_set_result(f, NULL, 0));
    bell_await(report.bell, 1);
    soon_future_unref(f);
    bell_free(report.bell);
}

START_TEST(it_runs_where_the_future_is_completed_once_the_executor_is_shut_down)
{
    struct report report = report_make();
    soon_future *f = promise();
    struct rig rig;

    rig_up(&rig, _i);
    assert_ok(soon_future_add_done_callback_on(f, rig.ex, tell, &report));
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, SOON_CANCEL_FUTURES));
    ck_assert_uint_eq(report.calls, 0);
    assert_ok(soon_future_set_result(f, NULL, 0));
    ck_assert_uint_eq(report.calls, 1);
    ck_assert(pthread_equal(report.thread, pthread_self()));
    rig_down(&rig);
    soon_future_unref(f);
    bell_free(report.bell);
}

/* Accepted as a task, then the queue it is in is cancelled. */
START_TEST(it_is_called_though_the_queue_is_cancelled)
{
    struct report report = report_make();
    struct hold hold = hold_make();
    soon_future *f = sample_future(SAMPLE_RESULT), *held;
    struct rig rig;

    rig_up(&rig, _i);
    held = submit(rig.ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    assert_ok(soon_future_add_done_callback_on(f, rig.ex, tell, &report));
    assert_ok(soon_shutdown(rig.ex, 0, SOON_CANCEL_FUTURES));
    gate_open(hold.release);
    bell_await(report.bell, 1);
    rig_down(&rig);
    ck_assert_uint_eq(report.calls, 1);
    soon_future_unref(held);
    soon_future_unref(f);
    hold_free(&hold);
    bell_free(report.bell);
}

START_TEST(a_shut_down_executor_is_refused)
{
    struct report report = report_make();
    soon_future *f = promise();
    struct rig rig;

    rig_up(&rig, _i);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_int_eq(soon_future_add_done_callback_on(f, rig.ex, tell, &report), -ESHUTDOWN);
    assert_ok(soon_future_set_result(f, NULL, 0));
    ck_assert_uint_eq(report.calls, 0);
    rig_down(&rig);
    soon_future_unref(f);
    bell_free(report.bell);
}

START_TEST(it_can_be_removed)
{
    struct report on = report_make(), plain = report_make();
    soon_future *f = promise();
    struct rig rig;

    rig_up(&rig, _i);
    assert_ok(soon_future_add_done_callback_on(f, rig.ex, tell, &on));
    assert_ok(soon_future_add_done_callback(f, tell, &plain));
    ck_assert(soon_future_remove_done_callback(f, tell, &on));
    ck_assert(!soon_future_remove_done_callback(f, tell, &on));
    assert_ok(soon_future_set_result(f, NULL, 0));
    rig_down(&rig);
    ck_assert_uint_eq(on.calls, 0);
    ck_assert_uint_eq(plain.calls, 1);
    soon_future_unref(f);
    bell_free(on.bell);
    bell_free(plain.bell);
}

START_TEST(max_pending_does_not_bound_it)
{
    const soon_thread_pool_options options = {
        .max_workers = 1, .max_pending = 1, .overflow = SOON_REJECT};
    struct report reports[5];
    struct hold hold = hold_make();
    soon_executor *ex = NULL;
    soon_future *held, *queued, *f = promise();

    assert_ok(soon_thread_pool_new(&options, &ex));
    held = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    queued = submit(ex, task_nothing, NULL, 0);
    for (int i = 0; i < 5; i++) {
        reports[i] = report_make();
        if (i == 3)
            assert_ok(soon_future_set_result(f, NULL, 0));
        assert_ok(soon_future_add_done_callback_on(f, ex, tell, &reports[i]));
    }
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
    gate_open(hold.release);
    for (int i = 0; i < 5; i++) {
        bell_await(reports[i].bell, 1);
        ck_assert_uint_eq(reports[i].calls, 1);
        bell_free(reports[i].bell);
    }
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    soon_future_unref(held);
    soon_future_unref(queued);
    soon_future_unref(f);
    hold_free(&hold);
}

START_TEST(an_executor_that_runs_elsewhere_is_refused)
{
    struct report report = report_make();
    soon_executor *ex = NULL;
    soon_future *f = promise();

    assert_ok(custom_backend_new(0, &ex));
    ck_assert_int_eq(soon_future_add_done_callback_on(f, ex, tell, &report), -ENOTSUP);
    assert_ok(soon_future_set_result(f, NULL, 0));
    ck_assert_int_eq(soon_future_add_done_callback_on(f, ex, tell, &report), -ENOTSUP);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    ck_assert_uint_eq(report.calls, 0);
    soon_future_unref(f);
    bell_free(report.bell);
}

START_TEST(bad_input_is_refused)
{
    struct report report = report_make();
    soon_executor *ex = NULL;
    soon_future *f = promise();

    assert_ok(soon_inline_new(&ex));
    ck_assert_int_eq(soon_future_add_done_callback_on(NULL, ex, tell, &report), -EINVAL);
    ck_assert_int_eq(soon_future_add_done_callback_on(f, NULL, tell, &report), -EINVAL);
    ck_assert_int_eq(soon_future_add_done_callback_on(f, ex, NULL, &report), -EINVAL);
    soon_executor_unref(ex);
    soon_future_unref(f);
    bell_free(report.bell);
}

/* A loop is how results reach a program's own thread. */
START_TEST(on_a_loop_it_runs_in_the_thread_that_runs_the_loop)
{
    struct report report = report_make();
    soon_executor *pool = NULL, *loop = NULL;
    soon_future *f;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &pool));
    assert_ok(soon_loop_new(&loop));
    f = submit_int(pool, task_square, 5);
    assert_ok(soon_future_add_done_callback_on(f, loop, tell, &report));
    while (report.calls == 0)
        ck_assert_int_ge(soon_loop_run(loop, 0, SOON_FOREVER), 0);
    ck_assert(pthread_equal(report.thread, pthread_self()));
    assert_result_int(f, 25);
    soon_future_unref(f);
    assert_ok(soon_shutdown(pool, SOON_FOREVER, 0));
    assert_ok(soon_shutdown(loop, SOON_FOREVER, 0));
    soon_executor_unref(pool);
    soon_executor_unref(loop);
    bell_free(report.bell);
}

struct shutdown_race {
    soon_executor *ex;
    soon_future *f;
};

static void race_shutdown(void *data)
{
    struct shutdown_race *r = data;

    REQUIRE(soon_shutdown(r->ex, 0, SOON_CANCEL_FUTURES) == 0);
}

static void race_complete(void *data)
{
    struct shutdown_race *r = data;

    REQUIRE(soon_future_set_result(r->f, NULL, 0) == 0);
}

START_TEST(it_is_called_once_though_a_shutdown_races_with_it)
{
    for (size_t round = scaled(500); round > 0; round--) {
        struct report report = report_make();
        struct shutdown_race r = {.f = promise()};

        assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &r.ex));
        assert_ok(soon_future_add_done_callback_on(r.f, r.ex, tell, &report));
        race(race_shutdown, race_complete, &r);
        bell_await(report.bell, 1);
        assert_ok(soon_shutdown(r.ex, SOON_FOREVER, 0));
        soon_executor_unref(r.ex);
        ck_assert_uint_eq(report.calls, 1);
        soon_future_unref(r.f);
        bell_free(report.bell);
    }
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("callback_on");
    TCase *every = test_case(suite, "every backend");
    TCase *some = test_case(suite, "some backends");

    add_over_backends(every, it_runs_once_when_the_future_is_done, TRAIT_LOCAL);
    add_over_backends(every, it_runs_in_the_executor_though_the_future_is_done, TRAIT_LOCAL);
    add_over_backends(every, they_keep_their_order_where_tasks_do, TRAIT_LOCAL | TRAIT_SINGLE);
    add_over_backends(every, it_runs_where_the_future_is_completed_once_the_executor_is_shut_down,
                      TRAIT_LOCAL);
    add_over_backends(every, it_is_called_though_the_queue_is_cancelled,
                      TRAIT_LOCAL | TRAIT_DEFERS);
    add_over_backends(every, a_shut_down_executor_is_refused, TRAIT_LOCAL);
    add_over_backends(every, it_can_be_removed, TRAIT_LOCAL);
    tcase_add_test(some, bad_input_is_refused);

    tcase_add_test(some, it_keeps_the_executor_until_it_has_run);
    tcase_add_test(some, max_pending_does_not_bound_it);
    tcase_add_test(some, an_executor_that_runs_elsewhere_is_refused);
    tcase_add_test(some, on_a_loop_it_runs_in_the_thread_that_runs_the_loop);
    tcase_add_test(some, it_is_called_once_though_a_shutdown_races_with_it);
    return suite;
}
