/* SPDX-License-Identifier: MIT */
/* What the world looks like from inside of a worker process. */
#include "process_pool.h"

#include <stdio.h>
#include <unistd.h>

/* ---- memory ---- */

static _Atomic int moment; /* 0 in a fresh run of the program */

static int task_moment(soon_call *call, const void *arg, size_t arg_len)
{
    const int now = atomic_load(&moment);

    (void)arg;
    (void)arg_len;
    atomic_store(&moment, 77);
    return soon_return(call, &now, sizeof now);
}

START_TEST(a_worker_begins_with_the_memory_of_its_moment)
{
    static const int seen[] = {
        [SOON_START_FORKSERVER] = 1, [SOON_START_FORK] = 2, [SOON_START_SPAWN] = 0};
    soon_executor *ex;
    soon_future *f;

    atomic_store(&moment, 1);
    ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    atomic_store(&moment, 2);
    f = submit(ex, task_moment, NULL, 0);
    assert_result_int(f, seen[_i]);
    soon_future_unref(f);
    /* What a task writes stays in its worker. */
    f = submit(ex, task_moment, NULL, 0);
    assert_result_int(f, 77);
    ck_assert_int_eq(atomic_load(&moment), 2);
    soon_future_unref(f);
    pool_down(ex, 2);
    atomic_store(&moment, 0);
}
END_TEST

static const char *const buffered_text = "once\n";

/* Says how often the text went out: the program has it in a buffer of stdio
 * while workers come and go. */
START_TEST(what_stdio_has_buffered_is_written_once)
{
    soon_executor *ex;
    char path[] = "/tmp/soon-test-XXXXXX", line[64];
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w+");

    REQUIRE(fd >= 0 && file);
    REQUIRE(unlink(path) == 0);
    REQUIRE(fputs(buffered_text, file) >= 0);
    ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2, .max_tasks_per_child = 1});
    for (int i = 0; i < 4; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    pool_down(ex, 4);
    REQUIRE(fflush(file) == 0);
    rewind(file);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
    ck_assert_str_eq(line, buffered_text);
    ck_assert_ptr_null(fgets(line, sizeof line, file));
    fclose(file);
}
END_TEST

static void tell_of_exit(void)
{
    atomic_fetch_add(&board()->count[0], 1);
}

/* They are the program's: it ends once. */
START_TEST(a_worker_runs_no_exit_handlers_of_the_program)
{
    soon_executor *ex;

    REQUIRE(atexit(tell_of_exit) == 0);
    ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1, .max_tasks_per_child = 1});
    for (int i = 0; i < 3; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    pool_down(ex, 3);
    ck_assert_uint_eq(board()->count[0], 0);
}
END_TEST

static int task_environment(soon_call *call, const void *arg, size_t arg_len)
{
    const char found = getenv("SOON_SPAWNED") != NULL;

    (void)arg;
    (void)arg_len;
    return soon_return(call, &found, 1);
}

START_TEST(nothing_of_the_library_is_in_the_environment)
{
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    soon_future *f = submit(ex, task_environment, NULL, 0);

    assert_result_bytes(f, "\0", 1);
    ck_assert_ptr_null(getenv("SOON_SPAWNED"));
    soon_future_unref(f);
    pool_down(ex, 1);
}
END_TEST

/* ---- signals ---- */

static void on_signal(int signal_number)
{
    (void)signal_number;
}

struct signals {
    bool usr1_default, term_default, int_ignored, nothing_blocked, own_group;
};

static int task_signals(soon_call *call, const void *arg, size_t arg_len)
{
    struct signals seen;
    struct sigaction action;
    sigset_t blocked;

    (void)arg;
    (void)arg_len;
    memset(&seen, 0, sizeof seen);
    REQUIRE(sigaction(SIGUSR1, NULL, &action) == 0);
    seen.usr1_default = action.sa_handler == SIG_DFL;
    REQUIRE(sigaction(SIGTERM, NULL, &action) == 0);
    seen.term_default = action.sa_handler == SIG_DFL;
    REQUIRE(sigaction(SIGINT, NULL, &action) == 0);
    seen.int_ignored = action.sa_handler == SIG_IGN;
    REQUIRE(raise(SIGINT) == 0);
    REQUIRE(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0);
    seen.nothing_blocked = true;
    for (int i = 1; i < SIGRTMAX; i++)
        seen.nothing_blocked &= sigismember(&blocked, i) != 1;
    seen.own_group = getpgrp() == getpid();
    return soon_return(call, &seen, sizeof seen);
}

START_TEST(a_worker_has_no_signal_handlers_and_masks_of_the_program)
{
    struct sigaction action = {.sa_handler = on_signal};
    const struct signals *seen;
    const void *value;
    sigset_t some, before;
    soon_executor *ex;
    soon_future *f;
    size_t len;

    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    REQUIRE(sigaction(SIGTERM, &action, NULL) == 0);
    REQUIRE(sigaction(SIGINT, &action, NULL) == 0);
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    sigaddset(&some, SIGTERM);
    REQUIRE(sigprocmask(SIG_BLOCK, &some, &before) == 0);
    ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    f = submit(ex, task_signals, NULL, 0);
    assert_ok(soon_future_value(f, SOON_FOREVER, &value, &len));
    ck_assert_uint_eq(len, sizeof *seen);
    seen = value;
    ck_assert(seen->usr1_default);
    ck_assert(seen->term_default);
    ck_assert(seen->int_ignored);
    ck_assert(seen->nothing_blocked);
    ck_assert(seen->own_group);
    soon_future_unref(f);
    pool_down(ex, 1);
    REQUIRE(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
}
END_TEST

/* Ctrl-C goes to the terminal's foreground group: to the program, not to its
 * workers. */
START_TEST(a_worker_survives_sigint)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    soon_future *f;
    pid_t pid;

    hold.value = 5;
    pid = perch(ex, &hold, &f);
    REQUIRE(kill(pid, SIGINT) == 0);
    gate_open(hold.release);
    assert_result_int(f, 5);
    soon_future_unref(f);
    f = submit(ex, task_pid, NULL, 0);
    assert_pid(f, pid);
    soon_future_unref(f);
    pool_down(ex, 2);
    hold_free(&hold);
}
END_TEST

/* ---- executors ---- */

static soon_executor *made_before;

/* 0 if what the worker has inherited answers as in any forked child. */
static int task_use_inherited(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex = made_before;
    soon_future *f;
    soon_stats stats;

    (void)arg;
    (void)arg_len;
    if (soon_submit(ex, task_nothing, NULL, 0, &f) != -ENOTRECOVERABLE)
        return soon_fail(call, -EPROTO, "submit");
    if (soon_executor_stats(ex, &stats) != -ENOTRECOVERABLE)
        return soon_fail(call, -EPROTO, "stats");
    if (soon_shutdown(ex, SOON_FOREVER, SOON_CANCEL_FUTURES) != 0)
        return soon_fail(call, -EPROTO, "shutdown");
    return 0;
}

START_TEST(an_executor_that_a_worker_has_inherited_is_not_recoverable)
{
    soon_executor *ex;
    soon_future *f;

    for (int process = 0; process < 2; process++) {
        if (process)
            made_before = pool_up(_i, NULL);
        else
            assert_ok(soon_thread_pool_new(NULL, &made_before));
        f = submit_int(made_before, task_square, 4);
        assert_result_int(f, 16);
        soon_future_unref(f);
        ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
        f = submit(ex, task_use_inherited, NULL, 0);
        assert_result_bytes(f, "", 0);
        soon_future_unref(f);
        assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
        soon_executor_unref(ex);
        f = submit_int(made_before, task_square, 5);
        assert_result_int(f, 25);
        soon_future_unref(f);
        assert_ok(soon_shutdown(made_before, SOON_FOREVER, 0));
        soon_executor_unref(made_before);
    }
}
END_TEST

/* A pool in a pool: the square of the argument, by a worker's worker. */
static int task_use_own_pool(soon_call *call, const void *arg, size_t arg_len)
{
    soon_process_pool_options options = {.max_workers = 2, .name = "inner"};
    int n[2], square = 0, error;
    soon_executor *ex = NULL;
    soon_future *f = NULL;

    REQUIRE(arg_len == sizeof n);
    memcpy(n, arg, sizeof n);
    options.start_method = n[0];
    error = soon_process_pool_new(&options, &ex);
    if (error)
        return soon_fail(call, error, "no pool: %s", soon_last_error());
    REQUIRE(soon_submit(ex, task_square, &n[1], sizeof n[1], &f) == 0);
    error = soon_future_result(f, SOON_FOREVER, &square, sizeof square);
    soon_future_unref(f);
    REQUIRE(soon_shutdown(ex, SOON_FOREVER, 0) == 0);
    soon_executor_unref(ex);
    return error ? error : soon_return(call, &square, sizeof square);
}

START_TEST(a_task_may_make_a_pool_of_its_own)
{
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});

    for (int inner = SOON_START_FORKSERVER; inner <= SOON_START_SPAWN; inner++) {
        soon_future *f = submit(ex, task_use_own_pool, (int[]){inner, 10 + inner}, 2 * sizeof(int));

        assert_result_int(f, (10 + inner) * (10 + inner));
        soon_future_unref(f);
        ck_assert_uint_eq(workers_of("inner", NULL, 0), 0);
    }
    pool_down(ex, 3);
}
END_TEST

/* The task leaves its pool to the end of its process. */
static int task_leave_pool(soon_call *call, const void *arg, size_t arg_len)
{
    const soon_process_pool_options options = {
        .max_workers = 1, .name = "inner", .start_method = SOON_START_FORK};
    struct hold hold;
    soon_executor *ex = NULL;

    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    REQUIRE(soon_process_pool_new(&options, &ex) == 0);
    REQUIRE(soon_submit(ex, task_hold, &hold, sizeof hold, NULL) == 0);
    (void)call;
    return 0;
}

START_TEST(the_pool_of_a_task_ends_with_its_worker)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
    soon_future *f = submit(ex, task_leave_pool, &hold, sizeof hold);

    assert_result_bytes(f, "", 0);
    bell_await(hold.started, 1);
    soon_future_unref(f);
    f = submit_death(ex, DIE_KILL);
    assert_owner_dead(f, SIGKILL, 0, NULL);
    soon_future_unref(f);
    while (workers_of("inner", NULL, 0) > 0)
        sleep_ns(SOON_MS(1));
    pool_down(ex, 2);
    hold_free(&hold);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_inside");
    TCase *memory = test_case(suite, "memory");
    TCase *signals = test_case(suite, "signals");
    TCase *executors = test_case(suite, "executors");

    add_over_methods(memory, a_worker_begins_with_the_memory_of_its_moment);
    add_over_methods(memory, what_stdio_has_buffered_is_written_once);
    add_over_methods(memory, a_worker_runs_no_exit_handlers_of_the_program);
    add_over_methods(memory, nothing_of_the_library_is_in_the_environment);

    add_over_methods(signals, a_worker_has_no_signal_handlers_and_masks_of_the_program);
    add_over_methods(signals, a_worker_survives_sigint);

    tcase_add_loop_test(executors, an_executor_that_a_worker_has_inherited_is_not_recoverable,
                        SOON_START_FORKSERVER, SOON_START_FORK + 1);
    add_over_methods_with_threads(executors, a_task_may_make_a_pool_of_its_own);
    add_over_methods_with_threads(executors, the_pool_of_a_task_ends_with_its_worker);
    return suite;
}
