/* SPDX-License-Identifier: MIT */
/*
 * fork() in a program that has a process pool. In the child what it has
 * inherited answers at once, results that were there are there still, and a
 * pool of its own works; the program does not notice.
 */
#include "process_pool.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a child, while the pool is busy ---- */

static struct {
    soon_executor *ex;
    soon_future *finished, *large, *huge, *running, *pending;
} host;

/* Runs body in a child of the program; it must leave with 0. */
static void in_child(void (*body)(void))
{
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(50);
        body();
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    ck_assert_msg(status == 0, "the child ended with wait status %#x", (unsigned)status);
}

static void use_what_was_inherited(void)
{
    soon_future *f = NULL;
    soon_stats stats;
    const void *value;
    size_t len;

    REQUIRE(soon_submit(host.ex, task_nothing, NULL, 0, &f) == -ENOTRECOVERABLE);
    REQUIRE(soon_executor_stats(host.ex, &stats) == -ENOTRECOVERABLE);
    REQUIRE(soon_process_pool_kill_workers(host.ex) == -ENOTRECOVERABLE);
    REQUIRE(soon_process_pool_terminate_workers(host.ex) == -ENOTRECOVERABLE);
    REQUIRE(soon_future_wait(host.running, SOON_FOREVER) == -ENOTRECOVERABLE);
    REQUIRE(soon_future_wait(host.pending, SOON_FOREVER) == -ENOTRECOVERABLE);
    REQUIRE(soon_future_kill(host.running) == -ENOTRECOVERABLE);
    soon_future_cancel(host.pending);
    soon_future_state(host.pending);
    soon_future_state(host.running);
    REQUIRE(soon_future_progress(host.running, NULL, NULL) == 0);
    REQUIRE(soon_future_value(host.finished, SOON_FOREVER, &value, &len) == 0 && len == 4);
    REQUIRE(soon_future_value(host.large, SOON_FOREVER, &value, &len) == 0 && len == 1 << 20);
    REQUIRE(((const char *)value)[len - 1] == 'l');
    REQUIRE(soon_future_value(host.huge, SOON_FOREVER, &value, &len) == 0 && len == 3 << 20);
    REQUIRE(((const char *)value)[len - 1] == 'l');
    REQUIRE(soon_shutdown(host.ex, SOON_FOREVER, SOON_CANCEL_FUTURES) == 0);
}

static void drop_what_was_inherited(void)
{
    soon_executor_unref(host.ex);
    soon_future_unref(host.finished);
    soon_future_unref(host.large);
    soon_future_unref(host.huge);
    soon_future_unref(host.running);
    soon_future_unref(host.pending);
}

static int child_method;

static void make_an_own_pool(void)
{
    const soon_process_pool_options options = {.max_workers = 2, .start_method = child_method};
    soon_executor *ex = NULL;
    soon_future *f = NULL;
    int n = 9;

    if (!forked_may_start_threads("a process pool in a forked child"))
        return;
    REQUIRE(soon_process_pool_new(&options, &ex) == 0);
    for (int i = 0; i < 10; i++) {
        n = 9;
        REQUIRE(soon_submit(ex, task_square, &n, sizeof n, &f) == 0);
        REQUIRE(soon_future_result(f, SOON_FOREVER, &n, sizeof n) == 0 && n == 81);
        soon_future_unref(f);
    }
    REQUIRE(soon_shutdown(ex, SOON_FOREVER, 0) == 0);
    soon_executor_unref(ex);
}

static void be_a_child(void)
{
    use_what_was_inherited();
    make_an_own_pool();
    drop_what_was_inherited();
}

static void leave_by_exit(void)
{
    exit(0);
}

START_TEST(a_child_cannot_use_the_pool_and_does_not_disturb_it)
{
    struct hold hold = hold_make();
    char *bytes = malloc(3 << 20);

    REQUIRE(bytes);
    memset(bytes, 'l', 3 << 20);
    hold.value = 8;
    host.ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    host.finished = submit_int(host.ex, task_square, 5);
    host.large = submit(host.ex, task_echo, bytes, 1 << 20);
    host.huge = submit(host.ex, task_echo, bytes, 3 << 20);
    assert_ok(soon_future_wait(host.huge, SOON_FOREVER));
    perch(host.ex, &hold, &host.running);
    ck_assert(soon_future_running(host.running));
    host.pending = submit_int(host.ex, task_square, 6);
    child_method = _i;
    in_child(use_what_was_inherited);
    in_child(drop_what_was_inherited);
    in_child(be_a_child);
    in_child(leave_by_exit);
    ck_assert_int_eq(soon_future_state(host.pending), SOON_PENDING);
    gate_open(hold.release);
    assert_result_int(host.running, 8);
    assert_result_int(host.pending, 36);
    assert_result_int(host.finished, 25);
    assert_result_bytes(host.large, bytes, 1 << 20);
    assert_result_bytes(host.huge, bytes, 3 << 20);
    soon_executor_ref(host.ex);
    drop_what_was_inherited();
    pool_down(host.ex, 5);
    hold_free(&hold);
    free(bytes);
}
END_TEST

/* ---- children, while everything moves ---- */

struct mover {
    soon_executor *ex;
    _Atomic bool over;
    _Atomic unsigned n;
};

static void keep_moving(void *data)
{
    struct mover *mover = data;
    int n = 3, square = 0;

    while (!atomic_load(&mover->over)) {
        soon_future *f = NULL;

        REQUIRE(soon_submit(mover->ex, task_square, &n, sizeof n, &f) == 0);
        REQUIRE(soon_future_result(f, SOON_FOREVER, &square, sizeof square) == 0 && square == 9);
        soon_future_unref(f);
        atomic_fetch_add(&mover->n, 1);
    }
}

static struct mover mover;

static void child_in_the_middle(void)
{
    soon_future *f = NULL;

    REQUIRE(soon_submit(mover.ex, task_nothing, NULL, 0, &f) == -ENOTRECOVERABLE);
    REQUIRE(soon_shutdown(mover.ex, SOON_FOREVER, 0) == 0);
    soon_executor_unref(mover.ex);
    make_an_own_pool();
}

START_TEST(the_program_may_fork_at_any_moment)
{
    const size_t rounds = scaled(30);
    struct thread threads[2];

    child_method = _i;
    mover.ex =
        pool_up(_i, &(soon_process_pool_options){.max_workers = 2, .max_tasks_per_child = 50});
    atomic_store(&mover.over, false);
    atomic_store(&mover.n, 0);
    for (int i = 0; i < 2; i++)
        thread_start(&threads[i], keep_moving, &mover);
    for (size_t round = 0; round < rounds; round++)
        in_child(child_in_the_middle);
    atomic_store(&mover.over, true);
    for (int i = 0; i < 2; i++)
        thread_join(&threads[i]);
    pool_down(mover.ex, atomic_load(&mover.n));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_fork");
    TCase *forks = test_case(suite, "fork");

    add_over_methods(forks, a_child_cannot_use_the_pool_and_does_not_disturb_it);
    add_over_methods(forks, the_program_may_fork_at_any_moment);
    return suite;
}
