/* SPDX-License-Identifier: MIT */
/*
 * fork() in the host. In the child what it has inherited answers at once that
 * it is not recoverable, and new executors work; the parent does not notice.
 *
 * A child leaves through _exit(): its status is the verdict, and a watchdog of
 * its own ends it if it hangs. It uses REQUIRE(), never Check's assertions.
 */
#include "support.h"

#include <sched.h>
#include <soon/backend.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* What threads of the parent held on their stacks is lost in a child, and no
 * leak of the child's own making. Its other errors still count. */
static void forgive_lost_threads(void)
{
#ifdef VALGRIND_CLO_CHANGE
    VALGRIND_CLO_CHANGE("--leak-check=no");
#endif
}

/* ---- what is inherited ---- */

static struct {
    soon_executor *pool, *loop, *inline_one;
    struct hold hold;      /* keeps the pool's only worker, if it is busy */
    soon_future *pending;  /* of the pool, or of the loop if the pool is idle */
    soon_future *finished; /* of the pool */
    soon_future *outside;  /* a promise, pending */
    soon_as_completed *it; /* over pending */
    shared_count *called;  /* by callbacks */
    bool busy;
} host;

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    atomic_fetch_add((shared_count *)data, 1);
}

static void host_up(bool busy)
{
    host.busy = busy;
    host.hold = hold_make();
    host.called = shared_new(sizeof *host.called);
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &host.pool));
    assert_ok(soon_loop_new(&host.loop));
    assert_ok(soon_inline_new(&host.inline_one));
    host.finished = submit_int(host.pool, task_square, 7);
    assert_result_int(host.finished, 49);
    if (busy) {
        assert_ok(soon_submit(host.pool, task_hold, &host.hold, sizeof host.hold, NULL));
        bell_await(host.hold.started, 1);
    }
    host.pending = submit_int(busy ? host.pool : host.loop, task_square, 8);
    host.outside = promise();
    assert_ok(soon_future_add_done_callback(host.pending, count_call, host.called));
    assert_ok(soon_as_completed_new(&host.pending, 1, &host.it));
}

/* All that was there before is there still, and nothing else. */
static void host_down(void)
{
    soon_future *out = NULL;

    ck_assert(!soon_executor_inherited(host.pool));
    ck_assert_int_eq(soon_future_state(host.pending), SOON_PENDING);
    ck_assert_uint_eq(atomic_load(host.called), 0);
    gate_open(host.hold.release);
    if (!host.busy)
        ck_assert_int_eq(soon_loop_run(host.loop, 0, 0), 1);
    assert_result_int(host.pending, 64);
    ck_assert_int_eq(soon_as_completed_next(host.it, SOON_FOREVER, &out), 1);
    ck_assert_ptr_eq(out, host.pending);
    soon_future_unref(out);
    soon_as_completed_free(host.it);
    assert_ok(soon_shutdown(host.pool, SOON_FOREVER, 0));
    assert_stats_add_up(host.pool, host.busy ? 3 : 1);
    assert_ok(soon_shutdown(host.loop, SOON_FOREVER, 0));
    while (atomic_load(host.called) == 0)
        sched_yield();
    ck_assert_uint_eq(atomic_load(host.called), 1);
    soon_executor_unref(host.pool);
    soon_executor_unref(host.loop);
    soon_executor_unref(host.inline_one);
    soon_future_unref(host.pending);
    soon_future_unref(host.finished);
    soon_future_unref(host.outside);
    hold_free(&host.hold);
    shared_free(host.called, sizeof *host.called);
}

/* Waits for a child; it must have left with 0. */
static void reap(pid_t child)
{
    int status = -1;

    REQUIRE(child > 0);
    while (waitpid(child, &status, 0) != child)
        REQUIRE(errno == EINTR);
    if (status != 0)
        fprintf(stderr, "a child ended with wait status %#x\n", (unsigned)status);
    REQUIRE(status == 0);
}

/* A child's watchdog barks before its parent's. */
static unsigned child_seconds(void)
{
    const char *multiplier = getenv("CK_TIMEOUT_MULTIPLIER");

    return 50 * (multiplier ? (unsigned)atoi(multiplier) : 1);
}

/* Runs body in a child. */
static void in_child(void (*body)(void))
{
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        alarm(child_seconds());
        forgive_lost_threads();
        body();
        _exit(0);
    }
    reap(child);
}

/* ---- what children do ---- */

static void inherited_executors_refuse(void)
{
    soon_executor *const all[] = {host.pool, host.loop, host.inline_one};
    const soon_task task = {.fn = task_nothing}, timed = {.fn = task_nothing, .timeout = 1000};
    int items[2] = {1, 2}, results[2];

    for (int i = 0; i < 3; i++) {
        soon_executor *ex = all[i];
        soon_future *f = NULL;
        soon_stats stats;

        REQUIRE(soon_submit(ex, task_nothing, NULL, 0, &f) == -ENOTRECOVERABLE);
        REQUIRE(soon_submit_task(ex, &task, &f) == -ENOTRECOVERABLE);
        REQUIRE(soon_submit_task(ex, &timed, &f) == -ENOTRECOVERABLE);
        REQUIRE(soon_submit_many(ex, &task, 1, &f) == -ENOTRECOVERABLE);
        REQUIRE(soon_executor_stats(ex, &stats) == -ENOTRECOVERABLE);
        REQUIRE(soon_map(ex, task_square, items, sizeof(int), 2, results, sizeof(int), NULL) ==
                -ENOTRECOVERABLE);
        REQUIRE(soon_future_add_done_callback_on(host.outside, ex, count_call, host.called) ==
                -ENOTRECOVERABLE);
        REQUIRE(f == NULL);
        REQUIRE(soon_executor_backend(ex) != NULL);
        REQUIRE(soon_executor_inherited(ex));
    }
    REQUIRE(soon_loop_fd(host.loop) == -ENOTRECOVERABLE);
    REQUIRE(soon_loop_run(host.loop, 0, SOON_FOREVER) == -ENOTRECOVERABLE);
}

static void inherited_futures_answer(void)
{
    soon_as_completed *it;
    soon_future *out;
    soon_error error;
    int value;

    REQUIRE(soon_future_wait(host.pending, SOON_FOREVER) == -ENOTRECOVERABLE);
    REQUIRE(soon_future_result(host.pending, SOON_FOREVER, &value, sizeof value) ==
            -ENOTRECOVERABLE);
    REQUIRE(soon_future_error(host.pending, SOON_FOREVER, &error) == -ENOTRECOVERABLE);
    REQUIRE(soon_wait(&host.pending, 1, SOON_ALL_COMPLETED, SOON_FOREVER) == -ENOTRECOVERABLE);
    REQUIRE(soon_as_completed_next(host.it, SOON_FOREVER, &out) == -ENOTRECOVERABLE);
    REQUIRE(soon_as_completed_new(&host.pending, 1, &it) == -ENOTRECOVERABLE);
    REQUIRE(soon_as_completed_new(&host.finished, 1, &it) == 0);
    REQUIRE(soon_as_completed_add(it, host.pending) == -ENOTRECOVERABLE);
    REQUIRE(soon_as_completed_next(it, SOON_FOREVER, &out) == 1 && out == host.finished);
    soon_future_unref(out);
    soon_as_completed_free(it);
    REQUIRE(!soon_future_done(host.pending));
    /* One that was done is as good here as there. */
    REQUIRE(soon_future_result(host.finished, SOON_FOREVER, &value, sizeof value) == 0);
    REQUIRE(value == 49);
    /* A promise is nobody's but ours, each its own. */
    REQUIRE(soon_future_wait(host.outside, SOON_MS(1)) == -ETIMEDOUT);
    REQUIRE(soon_future_set_result(host.outside, "ab", 2) == 0);
    REQUIRE(soon_future_wait(host.outside, SOON_FOREVER) == 0);
}

static void inherited_executors_end_at_once(void)
{
    soon_executor *const all[] = {host.pool, host.loop, host.inline_one};

    for (int i = 0; i < 3; i++) {
        REQUIRE(soon_shutdown(all[i], SOON_FOREVER, SOON_CANCEL_FUTURES) == 0);
        REQUIRE(soon_shutdown(all[i], SOON_MS(1), 0) == 0);
        soon_executor_unref(all[i]);
    }
    soon_future_unref(host.pending);
    soon_future_unref(host.finished);
}

/* Fifty squares, in a thread of ex or in this one. */
static void square_on(soon_executor *ex, bool is_loop)
{
    soon_future *futures[50];
    int value;

    for (int i = 0; i < 50; i++)
        REQUIRE(soon_submit(ex, task_square, &i, sizeof i, &futures[i]) == 0);
    if (is_loop)
        REQUIRE(soon_loop_run(ex, 0, 0) == 50);
    REQUIRE(soon_wait(futures, 50, SOON_ALL_COMPLETED, SOON_FOREVER) == 50);
    for (int i = 0; i < 50; i++) {
        REQUIRE(soon_future_result(futures[i], 0, &value, sizeof value) == 0 && value == i * i);
        soon_future_unref(futures[i]);
    }
}

static void end_fresh(soon_executor *ex)
{
    REQUIRE(soon_shutdown(ex, SOON_FOREVER, 0) == 0);
    soon_executor_unref(ex);
}

static void a_fresh_pool_works(void)
{
    struct bell started = bell_make();
    const soon_task timed = {.fn = task_until_cancelled,
                             .arg = &started,
                             .arg_len = sizeof started,
                             .timeout = SOON_MS(1)};
    soon_executor *ex;
    soon_future *late;

    if (!forked_may_start_threads("a thread pool in a forked child"))
        return;
    REQUIRE(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 2}, &ex) == 0);
    square_on(ex, false);
    REQUIRE(soon_submit_task(ex, &timed, &late) == 0);
    REQUIRE(soon_future_wait(late, SOON_FOREVER) == 0);
    soon_future_unref(late);
    end_fresh(ex);
}

static void fresh_executors_work(void)
{
    soon_executor *ex;

    REQUIRE(soon_loop_new(&ex) == 0);
    square_on(ex, true);
    end_fresh(ex);
    REQUIRE(soon_inline_new(&ex) == 0);
    square_on(ex, false);
    end_fresh(ex);
    a_fresh_pool_works();
}

static void everything(void)
{
    fresh_executors_work();
    inherited_executors_refuse();
    inherited_futures_answer();
    inherited_executors_end_at_once();
    fresh_executors_work();
}

static void (*const bodies[])(void) = {
    inherited_executors_refuse,
    inherited_futures_answer,
    inherited_executors_end_at_once,
    fresh_executors_work,
    everything,
};

enum { BODIES = sizeof bodies / sizeof bodies[0] };

START_TEST(a_child_of_an_idle_host)
{
    host_up(false);
    in_child(bodies[_i]);
    host_down();
}
END_TEST

START_TEST(a_child_of_a_busy_host)
{
    host_up(true);
    in_child(bodies[_i]);
    host_down();
}
END_TEST

static void a_grandchild(void)
{
    fresh_executors_work();
    in_child(everything);
    inherited_executors_refuse();
    fresh_executors_work();
}

START_TEST(a_grandchild_is_a_child_as_well)
{
    host_up(true);
    in_child(a_grandchild);
    host_down();
}
END_TEST

START_TEST(many_forks_later_it_is_the_same)
{
    host_up(true);
    for (size_t i = 0; i < scaled(30); i++)
        in_child(everything);
    host_down();
}
END_TEST

/* ---- forks in odd places ---- */

/* A fork inside a task: the child continues in the task's function. */
static int task_fork(soon_call *call, const void *arg, size_t arg_len)
{
    int body;

    (void)call;
    REQUIRE(arg_len == sizeof body);
    memcpy(&body, arg, sizeof body);
    in_child(bodies[body]);
    return 0;
}

START_TEST(a_fork_inside_a_task)
{
    soon_executor *ex;
    soon_future *f;

    assert_ok(soon_thread_pool_new(NULL, &ex));
    host_up(true);
    f = submit_int(ex, task_fork, _i);
    assert_ok(soon_future_value(f, SOON_FOREVER, NULL, NULL));
    soon_future_unref(f);
    host_down();
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

static void fork_in_callback(soon_future *f, void *data)
{
    (void)f, (void)data;
    in_child(everything);
}

START_TEST(a_fork_inside_a_callback)
{
    soon_future *p = promise();

    host_up(true);
    assert_ok(soon_future_add_done_callback(p, fork_in_callback, NULL));
    assert_ok(soon_future_set_result(p, NULL, 0));
    soon_future_unref(p);
    host_down();
}
END_TEST

/* The worker's own future, from the child of its task. */
static int task_fork_and_look_at_itself(soon_call *call, const void *arg, size_t arg_len)
{
    pid_t child;

    (void)arg, (void)arg_len;
    child = fork();
    if (child == 0) {
        alarm(child_seconds());
        forgive_lost_threads();
        REQUIRE(soon_return(call, "x", 1) == 0);
        REQUIRE(!soon_call_cancelled(call));
        REQUIRE(soon_future_wait(host.pending, SOON_FOREVER) == -ENOTRECOVERABLE);
        REQUIRE(soon_submit(host.pool, task_nothing, NULL, 0, NULL) == -ENOTRECOVERABLE);
        fresh_executors_work();
        _exit(0);
    }
    reap(child);
    return soon_return(call, "parent", 6);
}

START_TEST(the_parents_task_ends_as_if_nothing_had_been)
{
    soon_executor *ex;
    soon_future *f;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    host_up(true);
    f = submit(ex, task_fork_and_look_at_itself, NULL, 0);
    assert_result_bytes(f, "parent", 6);
    soon_future_unref(f);
    host_down();
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

/* ---- a fork while other threads are in the middle of things ---- */

static atomic_bool over;

static void be_busy(void *data)
{
    soon_executor *ex = data;

    while (!atomic_load(&over)) {
        soon_future *f[3];
        int n = 3;

        REQUIRE(soon_submit(ex, task_square, &n, sizeof n, &f[0]) == 0);
        REQUIRE(soon_submit(host.loop, task_square, &n, sizeof n, &f[1]) == 0);
        REQUIRE(soon_future_new(&f[2]) == 0);
        REQUIRE(soon_future_add_done_callback(f[1], count_call, host.called) == 0);
        REQUIRE(soon_wait(f, 3, SOON_ALL_COMPLETED, 1000) >= 0);
        REQUIRE(soon_future_remove_done_callback(f[1], count_call, host.called));
        REQUIRE(soon_future_result(f[0], SOON_FOREVER, &n, sizeof n) == 0 && n == 9);
        REQUIRE(soon_future_cancel(f[1]));
        for (int i = 0; i < 3; i++)
            soon_future_unref(f[i]);
    }
}

START_TEST(no_child_hangs_on_a_lock_it_inherited)
{
    struct thread threads[3];
    soon_executor *ex;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 2}, &ex));
    host_up(true);
    atomic_store(&over, false);
    for (int i = 0; i < 3; i++)
        thread_start(&threads[i], be_busy, ex);
    for (size_t i = 0; i < scaled(60); i++)
        in_child(everything);
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++)
        thread_join(&threads[i]);
    host_down();
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fork");
    TCase *tc = test_case(suite, "child");

    tcase_add_loop_test(tc, a_child_of_an_idle_host, 0, BODIES);
    tcase_add_loop_test(tc, a_child_of_a_busy_host, 0, BODIES);
    tcase_add_test(tc, a_grandchild_is_a_child_as_well);
    tcase_add_test(tc, many_forks_later_it_is_the_same);
    tc = test_case(suite, "places");
    tcase_add_loop_test(tc, a_fork_inside_a_task, 0, BODIES);
    tcase_add_test(tc, a_fork_inside_a_callback);
    tcase_add_test(tc, the_parents_task_ends_as_if_nothing_had_been);
    tcase_add_test(tc, no_child_hangs_on_a_lock_it_inherited);
    return suite;
}
