/* SPDX-License-Identifier: MIT */
/*
 * The restart intensity: how many deaths a pool puts up with, which ends of
 * workers count as deaths, and what becomes of a pool beyond that.
 */
#include "process_pool.h"

#include <stdio.h>
#include <unistd.h>

static soon_executor *pool_that_allows(int method, unsigned restarts, soon_ns window)
{
    const soon_process_pool_options options = {
        .max_workers = 1, .max_restarts = restarts, .restart_window = window};

    return pool_up(method, &options);
}

/* A task of the pool dies. */
static void lose_one(soon_executor *ex)
{
    soon_future *f = submit_death(ex, DIE__EXIT);

    assert_owner_dead(f, 0, 4, NULL);
    soon_future_unref(f);
}

/* ---- how many ---- */

START_TEST(one_more_than_allowed_breaks_the_pool)
{
    for (unsigned allowed = 0; allowed < 4; allowed++) {
        soon_executor *ex = pool_that_allows(_i, allowed, SOON_SECONDS(3600));

        for (unsigned i = 0; i < allowed; i++) {
            lose_one(ex);
            assert_works(ex);
        }
        lose_one(ex);
        assert_broken(ex, "");
        ck_assert_str_ne(soon_last_error(), "");
        ck_assert_uint_eq(pool_figures(ex).workers_crashed, allowed + 1);
        pool_down(ex, 2 * allowed + 1);
    }
}
END_TEST

START_TEST(the_default_is_sixty_in_a_minute)
{
    const soon_ns begin = now_ns();
    soon_executor *ex = pool_that_allows(_i, 0, 0);

    for (int i = 0; i < 60; i++)
        lose_one(ex);
    assert_works(ex);
    lose_one(ex);
    if (now_ns() - begin < SOON_SECONDS(60))
        assert_broken(ex, "");
    else
        fprintf(stderr, "SKIP: here 61 deaths take more than a minute, and may\n");
    pool_down(ex, 62);
}
END_TEST

/* Two deaths, with a birth between them, come within that also on a machine that
 * is busy with other things. */
static soon_ns window_of_two_deaths(int method)
{
    soon_executor *ex = pool_that_allows(method, 2, SOON_SECONDS(3600));
    soon_ns begin, taken;

    lose_one(ex);
    begin = now_ns();
    lose_one(ex);
    taken = now_ns() - begin;
    pool_down(ex, 2);
    return SOON_MS(100) + 5 * taken;
}

START_TEST(deaths_are_forgotten_after_the_window)
{
    const soon_ns window = window_of_two_deaths(_i);
    soon_executor *ex = pool_that_allows(_i, 1, window);
    soon_ns begin, before;
    uint64_t submitted = 7;
    bool within;

    for (int i = 0; i < 5; i++) {
        lose_one(ex);
        sleep_ns(window + SOON_MS(20));
    }
    assert_works(ex);
    begin = now_ns();
    lose_one(ex);
    /* The next one breaks it if it comes within the window. */
    do {
        before = begin;
        begin = now_ns();
        lose_one(ex);
        submitted++;
        within = now_ns() - before <= window;
    } while (!within && soon_submit(ex, task_nothing, NULL, 0, NULL) == 0 && ++submitted);
    assert_broken(ex, "");
    pool_down(ex, submitted);
}
END_TEST

/* ---- what does not count ---- */

START_TEST(what_ends_a_worker_on_purpose_is_no_death)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .max_restarts = 0,
                                               .restart_window = SOON_SECONDS(3600),
                                               .kill_grace = SOON_MS(1),
                                               .flags = SOON_BREAK_ON_DEATH};
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &options);
    soon_future *f;

    for (int i = 0; i < 3; i++) {
        f = submit_named(ex, task_for_ever, NULL, 0, "slow", SOON_MS(5));
        ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), -ETIME);
        soon_future_unref(f);
        perch(ex, &hold, &f);
        assert_ok(soon_future_kill(f));
        soon_future_unref(f);
        assert_works(ex);
    }
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    ck_assert_uint_eq(pool_figures(ex).timed_out, 3);
    pool_down(ex, 9);
    hold_free(&hold);
}
END_TEST

START_TEST(a_worker_that_is_used_up_is_no_death)
{
    const soon_process_pool_options options = {.max_workers = 1,
                                               .max_tasks_per_child = 1,
                                               .max_restarts = 0,
                                               .restart_window = SOON_SECONDS(3600)};
    soon_executor *ex = pool_up(_i, &options);

    for (int i = 0; i < 10; i++)
        assert_works(ex);
    pool_down(ex, 10);
}
END_TEST

/* ---- broken ---- */

/* Holds, then dies. */
static int task_hold_and_die(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_SEGV;

    task_hold(call, arg, arg_len);
    return task_die(call, &how, sizeof how);
}

static soon_executor *pool_that_breaks(int method, unsigned workers, bool at_once)
{
    soon_process_pool_options options = {.max_workers = workers};

    if (at_once)
        options.flags = SOON_BREAK_ON_DEATH;
    else
        options.restart_window = SOON_SECONDS(3600);
    return pool_up(method, &options);
}

START_TEST(a_broken_pool_fails_what_is_pending_and_says_why)
{
    for (int at_once = 0; at_once < 2; at_once++) {
        struct hold hold = hold_make();
        soon_executor *ex = pool_that_breaks(_i, 1, at_once);
        soon_future *doomed = submit_named(ex, task_hold_and_die, &hold, sizeof hold, "decode", 0);
        soon_future *pending[100];
        soon_error error;

        bell_await(hold.started, 1);
        for (int i = 0; i < 100; i++)
            pending[i] = submit_int(ex, task_tick, 0);
        gate_open(hold.release);
        assert_owner_dead(doomed, SIGSEGV, 0, NULL);
        for (int i = 0; i < 100; i++) {
            assert_library_error(pending[i], -ENOTRECOVERABLE);
            assert_ok(soon_future_error(pending[i], 0, &error));
            ck_assert_msg(strstr(error.message, "SIGSEGV"), "%s", error.message);
            ck_assert_int_eq(soon_future_value(pending[i], 0, NULL, NULL), -ENOTRECOVERABLE);
        }
        assert_broken(ex, "SIGSEGV");
        assert_broken(ex, "decode");
        ck_assert_uint_eq(board()->count[0], 0);
        soon_future_unref(doomed);
        unref_all(pending, 100);
        pool_down(ex, 101);
        hold_free(&hold);
    }
}
END_TEST

struct blocked {
    soon_executor *ex;
    int answer;
    char why[256];
};

static void submit_blocked(void *data)
{
    struct blocked *b = data;

    b->answer = soon_submit(b->ex, task_nothing, NULL, 0, NULL);
    REQUIRE(strlen(soon_last_error()) < sizeof b->why);
    strcpy(b->why, soon_last_error());
}

START_TEST(a_submit_that_waits_for_room_is_told)
{
    const soon_process_pool_options options = {
        .max_workers = 1, .max_pending = 2, .flags = SOON_BREAK_ON_DEATH};
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(_i, &options);
    struct blocked blocked = {.ex = ex};
    struct thread thread;

    assert_ok(soon_submit(ex, task_hold_and_die, &hold, sizeof hold, NULL));
    bell_await(hold.started, 1);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    thread_start(&thread, submit_blocked, &blocked);
    thread_await_sleep(&thread);
    gate_open(hold.release);
    thread_join(&thread);
    ck_assert_int_eq(blocked.answer, -ENOTRECOVERABLE);
    ck_assert_str_ne(blocked.why, "");
    pool_down(ex, 3);
    hold_free(&hold);
}
END_TEST

START_TEST(what_ran_beside_it_ends_too_and_shutdown_is_fine)
{
    struct hold beside = hold_make(), hold = hold_make();
    soon_executor *ex = pool_that_breaks(_i, 2, true);
    soon_future *running = submit(ex, task_hold, &beside, sizeof beside), *doomed;
    int code;

    bell_await(beside.started, 1);
    doomed = submit(ex, task_hold_and_die, &hold, sizeof hold);
    bell_await(hold.started, 1);
    gate_open(hold.release);
    assert_owner_dead(doomed, SIGSEGV, 0, NULL);
    assert_broken(ex, "");
    gate_open(beside.release);
    /* It may have been let run to its end, or ended by force. */
    code = soon_future_value(running, SOON_FOREVER, NULL, NULL);
    ck_assert_msg(code == 0 || code == -EOWNERDEAD || code == -ENOTRECOVERABLE, "%d", code);
    soon_future_unref(running);
    soon_future_unref(doomed);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, SOON_CANCEL_FUTURES));
    assert_ok(soon_shutdown(ex, 0, 0));
    pool_down(ex, 2);
    hold_free(&hold);
    hold_free(&beside);
}
END_TEST

START_TEST(maps_and_streams_over_a_broken_pool_are_refused)
{
    soon_executor *ex = pool_that_breaks(_i, 1, true);
    soon_future *f;
    int items[3] = {1, 2, 3}, results[3];

    lose_one(ex);
    while ((f = NULL, soon_submit(ex, task_nothing, NULL, 0, &f)) == 0)
        soon_future_unref(f);
    ck_assert_int_eq(soon_map(ex, task_square, items, sizeof(int), 3, results, sizeof(int), NULL),
                     -ENOTRECOVERABLE);
    assert_broken(ex, "");
    soon_executor_unref(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_broken");
    TCase *intensity = test_case(suite, "intensity");
    TCase *broken = test_case(suite, "broken");

    add_over_methods(intensity, one_more_than_allowed_breaks_the_pool);
    add_over_methods(intensity, the_default_is_sixty_in_a_minute);
    add_over_methods(intensity, deaths_are_forgotten_after_the_window);
    add_over_methods(intensity, what_ends_a_worker_on_purpose_is_no_death);
    add_over_methods(intensity, a_worker_that_is_used_up_is_no_death);

    add_over_methods(broken, a_broken_pool_fails_what_is_pending_and_says_why);
    add_over_methods(broken, a_submit_that_waits_for_room_is_told);
    add_over_methods(broken, what_ran_beside_it_ends_too_and_shutdown_is_fine);
    add_over_methods(broken, maps_and_streams_over_a_broken_pool_are_refused);
    return suite;
}
