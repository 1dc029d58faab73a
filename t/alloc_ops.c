/* SPDX-License-Identifier: MIT */
/*
 * Each gives the error of the call that failed, if one did: what comes out of a
 * call, and what is changed by it, is looked at here.
 */
#include "alloc_ops.h"

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

static int op_add_callback(void)
{
    return count_accepted(soon_future_add_done_callback(scene.pending, count_call, NULL));
}

static int op_add_callback_late(void)
{
    return count_accepted(soon_future_add_done_callback(scene.done[0], count_call, NULL));
}

static int op_add_callback_on(void)
{
    return count_accepted(
        soon_future_add_done_callback_on(scene.pending, scene.pool, count_call, NULL));
}

static int op_add_callback_on_late(void)
{
    return count_accepted(
        soon_future_add_done_callback_on(scene.done[0], scene.pool, count_call, NULL));
}

static int op_add_many_callbacks(void)
{
    /* Enough for whatever index finds them again to grow. */
    for (int i = 0; i < 200; i++) {
        int error = soon_future_add_done_callback(scene.pending, count_call, scene.bytes + i);

        if (count_accepted(error))
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

/* ---- all of them ---- */

#define OP(name, needs)           \
    {                             \
#name, op_##name, (needs) \
    }

const struct op ops[OPS] = {
    OP(thread_pool_new, NEEDS_MEMORY),
    OP(inline_new, NEEDS_MEMORY),
    OP(loop_new, NEEDS_MEMORY | NEEDS_DESCRIPTOR),
    OP(submit_small, NEEDS_MEMORY | NEEDS_THREAD),
    OP(submit_large, NEEDS_MEMORY),
    OP(submit_to_loop, NEEDS_MEMORY),
    OP(submit_to_inline, NEEDS_MEMORY),
    OP(submit_task, NEEDS_MEMORY | NEEDS_THREAD),
    OP(submit_many, NEEDS_MEMORY),
    OP(return_in_a_task, NEEDS_MEMORY),
    OP(return_twice, NEEDS_MEMORY),
    OP(fail_in_a_task, NEEDS_MEMORY),
    OP(set_result, NEEDS_MEMORY),
    OP(set_error, NEEDS_MEMORY),
    OP(add_callback, NEEDS_MEMORY),
    OP(add_callback_late, NEEDS_MEMORY),
    OP(add_callback_on, NEEDS_MEMORY),
    OP(add_callback_on_late, NEEDS_MEMORY),
    OP(add_many_callbacks, NEEDS_MEMORY),
    OP(wait, NEEDS_MEMORY),
    OP(as_completed, NEEDS_MEMORY),
    OP(as_completed_grow, NEEDS_MEMORY),
    OP(as_completed_fd, NEEDS_DESCRIPTOR),
    OP(map, NEEDS_MEMORY),
    OP(map_inline, NEEDS_MEMORY),
    OP(imap, NEEDS_MEMORY),
    OP(imap_unordered, NEEDS_MEMORY),
    OP(imap_inline, NEEDS_MEMORY),
};
