/* SPDX-License-Identifier: MIT */
/*
 * Tasks that are ended by force: by soon_future_kill(), or with all workers of
 * their pool. Only theirs: the next task is untouched.
 */
#include "process_pool.h"

#include <unistd.h>

/* ---- soon_future_kill() ---- */

static void assert_killed(soon_future *f)
{
    assert_owner_dead(f, SIGKILL, 0, NULL);
    ck_assert_int_eq(soon_future_kill(f), -EALREADY);
}

START_TEST(kill_ends_the_worker_of_a_running_task_at_once)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f, *next;
    pid_t pid = perch(ex, &hold, &f);

    next = submit_int(ex, task_square, 4);
    assert_ok(soon_future_kill(f));
    ck_assert(soon_future_done(f));
    assert_killed(f);
    assert_result_int(next, 16);
    await_gone(pid);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    soon_future_unref(f);
    soon_future_unref(next);
    pool_down(ex, 2);
    hold_free(&hold);
}
END_TEST

START_TEST(kill_ends_a_stopped_worker)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f;
    pid_t pid = perch(ex, &hold, &f);

    REQUIRE(kill(pid, SIGSTOP) == 0);
    assert_ok(soon_future_kill(f));
    assert_killed(f);
    await_gone(pid);
    soon_future_unref(f);
    assert_works(ex);
    pool_down(ex, 2);
    hold_free(&hold);
}
END_TEST

START_TEST(kill_cancels_what_is_pending)
{
    enum { N = 20 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *pending[N];
    pid_t pid = perch(ex, &hold, &running);

    for (int i = 0; i < N; i++)
        pending[i] = submit_int(ex, task_tick, 0);
    for (int i = 0; i < N; i++) {
        assert_ok(soon_future_kill(pending[i]));
        ck_assert(soon_future_cancelled(pending[i]));
        assert_error(pending[i], -ECANCELED, SOON_FROM_LIBRARY, NULL);
        ck_assert_int_eq(soon_future_kill(pending[i]), -EALREADY);
    }
    ck_assert(soon_future_running(running));
    gate_open(hold.release);
    assert_result_int(running, 0);
    ck_assert_int_eq(soon_future_kill(running), -EALREADY);
    soon_future_unref(running);
    unref_all(pending, N);
    running = submit(ex, task_pid, NULL, 0);
    assert_pid(running, pid);
    soon_future_unref(running);
    ck_assert_uint_eq(board()->count[0], 0);
    ck_assert_uint_eq(pool_figures(ex).cancelled, N);
    pool_down(ex, N + 2);
    hold_free(&hold);
}
END_TEST

/* The task forks a child, and leaves it running. */
static int task_fork_and_hold(soon_call *call, const void *arg, size_t arg_len)
{
    pid_t child = fork();

    REQUIRE(child >= 0);
    if (child == 0)
        task_for_ever(NULL, NULL, 0);
    atomic_store(&board()->pid[1], child);
    return task_perch(call, arg, arg_len);
}

/* Until it holds, or with a timeout until it has ended. One that had not forked
 * by then gets twice as long; *submitted counts them. */
static soon_future *fork_and_hold(soon_executor *ex, const struct hold *hold, soon_ns timeout,
                                  unsigned *submitted)
{
    atomic_store(&board()->pid[1], 0);
    soon_future *f = submit_named(ex, task_fork_and_hold, hold, sizeof *hold, NULL, timeout);

    ++*submitted;
    if (!timeout) {
        bell_await(hold->started, 1);
        return f;
    }
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    if (atomic_load(&board()->pid[1]))
        return f;
    soon_future_unref(f);
    return fork_and_hold(ex, hold, 2 * timeout, submitted);
}

START_TEST(what_a_task_forked_dies_with_its_worker)
{
    enum { BY_KILL, BY_TIMEOUT, BY_CRASH, WAYS };

    for (int way = 0; way < WAYS; way++) {
        struct hold hold = hold_make();
        soon_executor *ex = one_worker(_i);
        unsigned submitted = 0;
        soon_future *f = fork_and_hold(ex, &hold, way == BY_TIMEOUT ? SOON_MS(300) : 0, &submitted);
        pid_t child = board()->pid[1];

        if (way != BY_TIMEOUT)
            ck_assert(process_lives(child));
        if (way == BY_KILL)
            assert_ok(soon_future_kill(f));
        if (way == BY_CRASH)
            REQUIRE(kill(board()->pid[0], SIGSEGV) == 0);
        assert_ok(soon_future_wait(f, SOON_FOREVER));
        await_gone(child);
        soon_future_unref(f);
        assert_works(ex);
        pool_down(ex, submitted + 1);
        hold_free(&hold);
    }
}
END_TEST

/* Kill, and the task's own end, race. */
struct kill_race {
    soon_future *f;
    struct gate gate;
    int answer;
};

static void race_kill(void *data)
{
    struct kill_race *r = data;

    r->answer = soon_future_kill(r->f);
}

static void race_release(void *data)
{
    gate_open(((struct kill_race *)data)->gate);
}

START_TEST(kill_and_the_end_of_the_task_race)
{
    const size_t rounds = scaled(60);
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);

    /* The gate stays open after the first race; from then on tasks race from
     * their very beginning. */
    for (size_t round = 0; round < rounds; round++) {
        struct kill_race r = {.gate = hold.release};
        int code;

        r.f = submit(ex, task_hold, &hold, sizeof hold);
        if (round % 2)
            bell_await(hold.started, 1);
        race(race_kill, race_release, &r);
        code = soon_future_value(r.f, SOON_FOREVER, NULL, NULL);
        if (r.answer == -EALREADY)
            ck_assert_int_eq(code, 0);
        else if (r.answer == 0)
            ck_assert_msg(code == -EOWNERDEAD || code == -ECANCELED, "killed: %d", code);
        else
            ck_abort_msg("kill said %d", r.answer);
        soon_future_unref(r.f);
    }
    assert_works(ex);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    pool_down(ex, rounds + 1);
    hold_free(&hold);
}
END_TEST

/* ---- all workers ---- */

typedef int stop_fn(soon_executor *ex);

static void assert_stops_all(int method, stop_fn *stop, int signal)
{
    enum { N = 3 };
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(method, &(soon_process_pool_options){.max_workers = N});
    soon_future *running[N], *pending[10];

    for (int i = 0; i < N; i++)
        running[i] = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, N);
    for (int i = 0; i < 10; i++)
        pending[i] = submit_int(ex, task_tick, 0);
    assert_ok(stop(ex));
    for (int i = 0; i < 10; i++)
        ck_assert(soon_future_cancelled(pending[i]));
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -ESHUTDOWN);
    for (int i = 0; i < N; i++)
        assert_owner_dead(running[i], signal, 0, NULL);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(board()->count[0], 0);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    assert_ok(stop(ex));
    unref_all(running, N);
    unref_all(pending, 10);
    pool_down(ex, N + 10);
    hold_free(&hold);
}

START_TEST(terminate_workers_ends_all_with_sigterm)
{
    assert_stops_all(_i, soon_process_pool_terminate_workers, SIGTERM);
}
END_TEST

START_TEST(kill_workers_ends_all_with_sigkill)
{
    assert_stops_all(_i, soon_process_pool_kill_workers, SIGKILL);
}
END_TEST

/* The pool's own thread, which buries a worker, ends what is pending as well. */
START_TEST(all_is_cancelled_though_a_worker_dies_meanwhile)
{
    enum { N = 300 };

    for (size_t round = scaled(20); round > 0; round--) {
        struct hold hold = hold_make();
        soon_executor *ex = one_worker(_i);
        soon_future *running, *pending[N];
        pid_t pid = perch(ex, &hold, &running);

        for (int i = 0; i < N; i++)
            pending[i] = submit_int(ex, task_tick, 0);
        REQUIRE(kill(pid, SIGKILL) == 0);
        sleep_ns((soon_ns)(round % 10) * 50000);
        assert_ok(soon_process_pool_terminate_workers(ex));
        for (int i = 0; i < N; i++)
            /* The next worker may have begun one. */
            ck_assert_int_ne(soon_future_state(pending[i]), SOON_PENDING);
        soon_future_unref(running);
        unref_all(pending, N);
        pool_down(ex, N + 1);
        hold_free(&hold);
    }
}
END_TEST

/* Holds, deaf to SIGTERM. */
static int task_hold_deaf(soon_call *call, const void *arg, size_t arg_len)
{
    signal(SIGTERM, SIG_IGN);
    return task_hold(call, arg, arg_len);
}

START_TEST(who_survives_terminate_goes_on_to_its_end)
{
    struct hold hold = hold_make();
    soon_executor *ex =
        pool_up(_i, &(soon_process_pool_options){.max_workers = 1, .kill_grace = 1});
    soon_future *f;

    hold.value = 9;
    f = submit(ex, task_hold_deaf, &hold, sizeof hold);
    bell_await(hold.started, 1);
    assert_ok(soon_process_pool_terminate_workers(ex));
    ck_assert_int_eq(soon_shutdown(ex, SOON_MS(50), 0), -ETIMEDOUT);
    ck_assert(!soon_future_done(f));
    gate_open(hold.release);
    assert_result_int(f, 9);
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

START_TEST(who_survives_terminate_can_still_be_killed)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit(ex, task_hold_deaf, &hold, sizeof hold);

    bell_await(hold.started, 1);
    assert_ok(soon_process_pool_terminate_workers(ex));
    assert_ok(soon_process_pool_kill_workers(ex));
    assert_owner_dead(f, SIGKILL, 0, NULL);
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

START_TEST(an_idle_or_unused_pool_can_be_stopped)
{
    soon_executor *ex = one_worker(_i);

    assert_ok(soon_process_pool_terminate_workers(ex));
    pool_down(ex, 0);
    ex = one_worker(_i);
    assert_works(ex);
    assert_ok(soon_process_pool_terminate_workers(ex));
    pool_down(ex, 1);
    ex = one_worker(_i);
    assert_works(ex);
    assert_ok(soon_process_pool_kill_workers(ex));
    pool_down(ex, 1);
}
END_TEST

START_TEST(only_a_process_pool_has_workers_to_stop)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(NULL, &ex));
    ck_assert_int_eq(soon_process_pool_terminate_workers(ex), -ENOTSUP);
    ck_assert_int_eq(soon_process_pool_kill_workers(ex), -ENOTSUP);
    ck_assert_int_eq(soon_process_pool_terminate_workers(NULL), -EINVAL);
    ck_assert_int_eq(soon_process_pool_kill_workers(NULL), -EINVAL);
    assert_works(ex);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_kill");
    TCase *kills = test_case(suite, "kill");
    TCase *all = test_case(suite, "all workers");

    add_over_methods(kills, kill_ends_the_worker_of_a_running_task_at_once);
    add_over_methods(kills, kill_ends_a_stopped_worker);
    add_over_methods(kills, kill_cancels_what_is_pending);
    add_over_methods(kills, what_a_task_forked_dies_with_its_worker);
    add_over_methods(kills, kill_and_the_end_of_the_task_race);

    add_over_methods(all, terminate_workers_ends_all_with_sigterm);
    add_over_methods(all, kill_workers_ends_all_with_sigkill);
    add_over_methods(all, all_is_cancelled_though_a_worker_dies_meanwhile);
    add_over_methods(all, who_survives_terminate_goes_on_to_its_end);
    add_over_methods(all, who_survives_terminate_can_still_be_killed);
    add_over_methods(all, an_idle_or_unused_pool_can_be_stopped);
    tcase_add_test(all, only_a_process_pool_has_workers_to_stop);
    return suite;
}
