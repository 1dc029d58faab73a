/* SPDX-License-Identifier: MIT */
/*
 * Every call, with each of its allocations failing in turn: it gives -ENOMEM
 * or copes, changes nothing when it fails, leaks nothing (the sanitizer and
 * valgrind look), and works the next time. The same for threads and eventfds.
 */
#include "support.h"

#include "os/inject.h"

#include <sched.h>
#include <stdio.h>

enum { MANY = 40, LARGE = 5000 };

/* What the operations work on, new for each injected failure. */
static struct {
    soon_executor *pool, *loop, *inline_one;
    soon_future *done[MANY]; /* promises that are kept, all different */
    soon_future *pending;    /* a promise that is not */
    soon_as_completed *it;   /* empty */
    shared_count called;     /* by callbacks */
    unsigned accepted;       /* callbacks that were */
    unsigned char bytes[LARGE];
} scene;

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    (void)data;
    atomic_fetch_add(&scene.called, 1);
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

/* Nothing has come out of a call that failed. */
static int refused(int error, const void *out)
{
    EXPECT(error == 0 || out == NULL);
    return error;
}

/* ---- executors ---- */

static int op_thread_pool_new(void)
{
    const soon_thread_pool_options options = {.max_workers = 2,
                                              .name = "a name of some length",
                                              .init_arg = scene.bytes,
                                              .init_arg_len = LARGE};
    soon_executor *ex = NULL;
    int error = soon_thread_pool_new(&options, &ex);

    soon_executor_unref(ex);
    return refused(error, ex);
}

static int op_inline_new(void)
{
    soon_executor *ex = NULL;
    int error = soon_inline_new(&ex);

    soon_executor_unref(ex);
    return refused(error, ex);
}

static int op_loop_new(void)
{
    soon_executor *ex = NULL;
    int error = soon_loop_new(&ex);

    soon_executor_unref(ex);
    return refused(error, ex);
}

/* ---- submitting ---- */

/* The future of a submit that worked ends with the bytes submitted. */
static int ended(soon_executor *ex, int error, soon_future *f, size_t len)
{
    if (error)
        return refused(error, f);
    if (ex == scene.loop)
        EXPECT(soon_loop_run(ex, 0, 0) == 1);
    error = soon_future_wait(f, SOON_FOREVER);
    EXPECT(error == 0);
    error = soon_future_value(f, 0, NULL, NULL);
    if (error == 0)
        assert_result_bytes(f, scene.bytes, len);
    soon_future_unref(f);
    return error;
}

static int submit_to(soon_executor *ex, size_t len)
{
    soon_future *f = NULL;
    soon_stats before, after;
    int error;

    EXPECT(soon_executor_stats(ex, &before) == 0);
    error = soon_submit(ex, task_echo, scene.bytes, len, &f);
    EXPECT(soon_executor_stats(ex, &after) == 0);
    EXPECT(error == 0 || (after.pending == before.pending && after.bytes_in == before.bytes_in));
    return ended(ex, error, f, len);
}

static int op_submit_small(void)
{
    return submit_to(scene.pool, 8);
}

static int op_submit_large(void)
{
    return submit_to(scene.pool, LARGE);
}

static int op_submit_to_loop(void)
{
    return submit_to(scene.loop, LARGE);
}

static int op_submit_to_inline(void)
{
    return submit_to(scene.inline_one, LARGE);
}

static int op_submit_task(void)
{
    const soon_task task = {.fn = task_echo,
                            .arg = scene.bytes,
                            .arg_len = LARGE,
                            .name = "labelled",
                            .priority = SOON_PRIORITY_LOW,
                            .timeout = SOON_SECONDS(3600)};
    soon_future *f = NULL;
    int error = soon_submit_task(scene.pool, &task, &f);

    return ended(scene.pool, error, f, LARGE);
}

static int op_submit_many(void)
{
    soon_task tasks[MANY];
    soon_future *futures[MANY] = {NULL};
    soon_stats before, after;
    int error;

    for (int i = 0; i < MANY; i++)
        tasks[i] = (soon_task){.fn = task_nothing, .arg = scene.bytes, .arg_len = LARGE / 2};
    EXPECT(soon_executor_stats(scene.pool, &before) == 0);
    error = soon_submit_many(scene.pool, tasks, MANY, futures);
    EXPECT(soon_executor_stats(scene.pool, &after) == 0);
    if (error) {
        for (int i = 0; i < MANY; i++)
            EXPECT(futures[i] == NULL);
        EXPECT(after.pending + after.running + after.finished ==
               before.pending + before.running + before.finished);
        return error;
    }
    EXPECT(soon_wait(futures, 16, SOON_ALL_COMPLETED, SOON_FOREVER) == 16);
    unref_all(futures, MANY);
    return 0;
}

/* ---- inside a task: what fails there is the task's to report ---- */

static int task_return_everything(soon_call *call, const void *arg, size_t arg_len)
{
    void *room;
    int error;

    (void)arg, (void)arg_len;
    EXPECT(soon_return(call, "before", 6) == 0);
    error = soon_return(call, scene.bytes, LARGE);
    if (error)
        return error == -ENOMEM ? error : -EPROTO;
    room = soon_return_buffer(call, 2 * LARGE);
    if (!room)
        return -ENOMEM;
    memset(room, 'x', 2 * LARGE);
    error = soon_call_progress(call, 1, 2);
    if (error)
        return error == -ENOMEM ? error : -EPROTO;
    return soon_return(call, "after", 5);
}

static int op_return_in_a_task(void)
{
    soon_future *f = NULL;
    int error = soon_submit(scene.inline_one, task_return_everything, NULL, 0, &f);

    if (error)
        return refused(error, f);
    error = soon_future_value(f, 0, NULL, NULL);
    if (error == 0)
        assert_result_bytes(f, "after", 5);
    soon_future_unref(f);
    return error;
}

/* A result that finds no memory leaves the one before it. */
static int task_return_twice(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg, (void)arg_len;
    EXPECT(soon_return(call, "before", 6) == 0);
    if (soon_return(call, scene.bytes, LARGE) == 0 || !soon_return_buffer(call, LARGE))
        EXPECT(soon_return(call, "before", 6) == 0);
    return 0;
}

static int op_return_twice(void)
{
    soon_future *f = NULL;
    int error = soon_submit(scene.inline_one, task_return_twice, NULL, 0, &f);

    if (error)
        return refused(error, f);
    error = soon_future_value(f, 0, NULL, NULL);
    EXPECT(error == 0);
    soon_future_unref(f);
    return 0;
}

/* A message that finds no memory is replaced by a standard one: no error. */
static int op_fail_in_a_task(void)
{
    struct failure failure = {-EDOM, "a message that takes some memory to be kept"};
    soon_future *f = NULL;
    soon_error error;
    int code = soon_submit(scene.inline_one, task_fail, &failure, sizeof failure, &f);

    if (code)
        return refused(code, f);
    EXPECT(soon_future_error(f, 0, &error) == 0);
    EXPECT(error.code == -EDOM && error.origin == SOON_FROM_TASK);
    EXPECT(error.message != NULL && *error.message != '\0');
    soon_future_unref(f);
    return 0;
}

/* ---- promises and callbacks ---- */

static int op_set_result(void)
{
    soon_future *f = NULL;
    int error = soon_future_new(&f);

    if (error)
        return refused(error, f);
    error = soon_future_set_result(f, scene.bytes, LARGE);
    EXPECT(soon_future_done(f) == (error == 0));
    if (error)
        EXPECT(soon_future_set_result(f, NULL, 0) == 0);
    soon_future_unref(f);
    return error;
}

static int op_set_error(void)
{
    soon_future *f = NULL;
    int error = soon_future_new(&f);

    if (error)
        return refused(error, f);
    error = soon_future_set_error(f, -EIO, "%d reasons for %s", 5, "failing");
    EXPECT(soon_future_done(f) == (error == 0));
    if (error)
        EXPECT(soon_future_cancel(f));
    else
        assert_error(f, -EIO, SOON_FROM_TASK, "5 reasons for failing");
    soon_future_unref(f);
    return error;
}

static int callback(int error)
{
    scene.accepted += error == 0;
    return error;
}

static int op_add_callback(void)
{
    return callback(soon_future_add_done_callback(scene.pending, count_call, NULL));
}

static int op_add_callback_late(void)
{
    return callback(soon_future_add_done_callback(scene.done[0], count_call, NULL));
}

static int op_add_callback_on(void)
{
    return callback(soon_future_add_done_callback_on(scene.pending, scene.pool, count_call, NULL));
}

static int op_add_callback_on_late(void)
{
    return callback(soon_future_add_done_callback_on(scene.done[0], scene.pool, count_call, NULL));
}

static int op_add_many_callbacks(void)
{
    /* Enough for whatever index finds them again to grow. */
    for (int i = 0; i < 200; i++) {
        int error = soon_future_add_done_callback(scene.pending, count_call, scene.bytes + i);

        if (callback(error))
            return error;
    }
    for (int i = 0; i < 200; i++)
        EXPECT(soon_future_remove_done_callback(scene.pending, count_call, scene.bytes + i));
    scene.accepted -= 200;
    return 0;
}

/* ---- many at once ---- */

static int op_wait(void)
{
    soon_future *futures[MANY + 1];
    int got;

    memcpy(futures, scene.done, sizeof scene.done);
    futures[MANY] = scene.pending;
    got = soon_wait(futures, MANY + 1, SOON_ALL_COMPLETED, 1000);
    EXPECT(got < 0 || got == MANY);
    return got < 0 ? got : 0;
}

static int op_as_completed(void)
{
    soon_as_completed *it = NULL;
    soon_future *f;
    int error = soon_as_completed_new(scene.done, MANY, &it);

    if (error)
        return refused(error, it);
    for (int i = 0; i < MANY; i++) {
        EXPECT(soon_as_completed_next(it, 0, &f) == 1 && f == scene.done[i]);
        soon_future_unref(f);
    }
    EXPECT(soon_as_completed_next(it, 0, &f) == 0);
    error = soon_as_completed_add(it, scene.pending);
    EXPECT(soon_as_completed_next(it, 0, &f) == (error ? 0 : -ETIMEDOUT));
    soon_as_completed_free(it);
    return error;
}

static int op_as_completed_grow(void)
{
    soon_future *f;
    int error = 0, in = 0;

    for (; in < MANY && !error; in += !error)
        error = soon_as_completed_add(scene.it, scene.done[in]);
    for (int i = 0; i < in; i++) {
        EXPECT(soon_as_completed_next(scene.it, 0, &f) == 1 && f == scene.done[i]);
        soon_future_unref(f);
    }
    EXPECT(soon_as_completed_next(scene.it, 0, &f) == 0);
    return error;
}

static int op_as_completed_fd(void)
{
    int fd = soon_as_completed_fd(scene.it);

    return fd < 0 ? fd : 0;
}

static int map_on(soon_executor *ex)
{
    int items[100], results[100], error;

    for (int i = 0; i < 100; i++) {
        items[i] = i;
        results[i] = -1;
    }
    error = soon_map(ex, task_square, items, sizeof(int), 100, results, sizeof(int),
                     &(soon_map_options){.chunk_size = 30});
    for (int i = 0; i < 100; i++)
        EXPECT(results[i] == i * i || (error && results[i] == -1));
    return error;
}

static int op_map(void)
{
    return map_on(scene.pool);
}

static int op_map_inline(void)
{
    return map_on(scene.inline_one);
}

static int count_up(void *source, const void **item, size_t *len)
{
    int *n = source;

    ++*n;
    *item = n;
    *len = sizeof *n;
    return *n <= 30;
}

static int imap_on(soon_executor *ex, bool unordered)
{
    const soon_map_options options = {.buffer_size = 8, .chunk_size = 3, .unordered = unordered};
    soon_imap *it = NULL;
    const void *value;
    size_t len;
    int n = 0, got, sum = 0;
    int error = soon_imap_new(ex, task_square, count_up, &n, &options, &it);

    if (error)
        return refused(error, it);
    while ((got = soon_imap_next(it, &value, &len)) == 1) {
        EXPECT(len == sizeof(int));
        sum += *(const int *)value;
    }
    EXPECT(got < 0 || sum == 9455);
    if (got < 0)
        EXPECT(soon_imap_next(it, &value, &len) == 0);
    soon_imap_free(it);
    return got;
}

static int op_imap(void)
{
    return imap_on(scene.pool, false);
}

static int op_imap_unordered(void)
{
    return imap_on(scene.pool, true);
}

static int op_imap_inline(void)
{
    return imap_on(scene.inline_one, false);
}

/* ---- each of them with each failure ---- */

#define OP(name)         \
    {                    \
#name, op_##name \
    }

static const struct op {
    const char *name;
    int (*run)(void);
} ops[] = {
    OP(thread_pool_new),    OP(inline_new),
    OP(loop_new),           OP(submit_small),
    OP(submit_large),       OP(submit_to_loop),
    OP(submit_to_inline),   OP(submit_task),
    OP(submit_many),        OP(return_in_a_task),
    OP(return_twice),       OP(fail_in_a_task),
    OP(set_result),         OP(set_error),
    OP(add_callback),       OP(add_callback_late),
    OP(add_callback_on),    OP(add_callback_on_late),
    OP(add_many_callbacks), OP(wait),
    OP(as_completed),       OP(as_completed_grow),
    OP(as_completed_fd),    OP(map),
    OP(map_inline),         OP(imap),
    OP(imap_unordered),     OP(imap_inline),
};

enum { OPS = sizeof ops / sizeof ops[0] };

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
    ck_assert_msg(failures > 0 || ops[_i].run == op_as_completed_fd, "%s allocates nothing",
                  ops[_i].name);
}
END_TEST

START_TEST(no_thread)
{
    int failures = fail_each(&ops[_i], SOON__INJECT_THREAD);

    if (ops[_i].run == op_submit_small || ops[_i].run == op_submit_task)
        ck_assert_int_ge(failures, 1);
}
END_TEST

START_TEST(no_descriptor)
{
    int failures = fail_each(&ops[_i], SOON__INJECT_EVENTFD);

    if (ops[_i].run == op_loop_new || ops[_i].run == op_as_completed_fd)
        ck_assert_int_eq(failures, 1);
}
END_TEST

/* ---- what must not need memory ----
 *
 * On a pool of one worker: with more, a task also tries to start another one,
 * and may do without. */

static void add_everything(soon_future *f)
{
    EXPECT(callback(soon_future_add_done_callback(f, count_call, NULL)) == 0);
    EXPECT(callback(soon_future_add_done_callback_on(f, scene.pool, count_call, NULL)) == 0);
    EXPECT(callback(soon_future_add_done_callback_on(f, scene.loop, count_call, NULL)) == 0);
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
