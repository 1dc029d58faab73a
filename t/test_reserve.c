/* SPDX-License-Identifier: MIT */
/*
 * Workers of a thread pool that come and go, lib/thread_pool/idle.c: those that were
 * started because others slept in waits, and are not needed any more, or not yet again;
 * and those that leave for want of work.
 */
#include "support.h"

#include <sched.h>

enum { MANY = 8 };

#define RESERVED SOON_MS(50) /* as long as one stays in the reserve */

static soon_executor *pool_of(unsigned workers)
{
    soon_executor *ex;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex));
    return ex;
}

static soon_stats stats_of(soon_executor *ex)
{
    soon_stats stats;

    assert_ok(soon_executor_stats(ex, &stats));
    return stats;
}

static void pool_end(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

static int task_nap(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    sleep_ns(SOON_MS(2));
    return 0;
}

/* Its argument is a promise. */
static int task_wait(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    return soon_future_wait(*(soon_future *const *)arg, SOON_FOREVER);
}

static int task_keep(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg_len;
    return soon_future_set_result(*(soon_future *const *)arg, NULL, 0);
}

static void end(soon_future *f)
{
    assert_ok(soon_future_result(f, SOON_FOREVER, NULL, 0));
    soon_future_unref(f);
}

/* One worker sleeps until another has run a task. */
static void need_spare(soon_executor *ex)
{
    soon_future *kept = promise();
    soon_future *waiter = submit(ex, task_wait, &kept, sizeof kept);
    soon_future *keeper = submit(ex, task_keep, &kept, sizeof kept);

    end(keeper);
    end(waiter);
    soon_future_unref(kept);
}

START_TEST(a_spare_is_there_for_the_next_wait)
{
    soon_executor *ex = pool_of(1);
    uint64_t started;

    need_spare(ex);
    do { /* it may have left, or not be one too many yet */
        started = stats_of(ex).workers_started;
        ck_assert_uint_ge(started, 2);
        need_spare(ex);
    } while (stats_of(ex).workers_started != started);
    pool_end(ex);
}
END_TEST

START_TEST(a_spare_that_is_not_needed_leaves)
{
    soon_executor *ex = pool_of(1);

    for (int i = 0; i < 2; i++) {
        need_spare(ex);
        while (stats_of(ex).workers != 1)
            sleep_ns(SOON_MS(1));
    }
    pool_end(ex);
}
END_TEST

/* How long the end took, or -1 if there was nobody in the reserve. */
static soon_ns end_with_reserve(void)
{
    soon_executor *ex = pool_of(1);
    soon_stats stats;
    soon_ns begin;

    need_spare(ex);
    do
        stats = stats_of(ex);
    while (stats.workers == 2 && stats.idle != 2 && sched_yield() == 0);
    begin = now_ns();
    pool_end(ex);
    return stats.workers == 2 ? now_ns() - begin : -1;
}

START_TEST(an_end_does_not_wait_for_the_reserve)
{
    soon_ns took;

    do /* on a busy machine anything may take long */
        took = end_with_reserve();
    while (took < 0 || took > RESERVED / 2);
}
END_TEST

/* All workers sleep until the promise is kept. */
static void all_wait(soon_executor *ex, soon_future **waiters, soon_future *kept)
{
    for (int i = 0; i < MANY; i++)
        waiters[i] = submit(ex, task_wait, &kept, sizeof kept);
    for (int i = 0; i < MANY; i++)
        while (soon_future_state(waiters[i]) != SOON_RUNNING)
            sched_yield();
}

static void end_all(soon_future **futures)
{
    for (int i = 0; i < MANY; i++)
        end(futures[i]);
}

/* The same, whatever their results. */
static void wait_all(soon_future **futures)
{
    for (int i = 0; i < MANY; i++) {
        assert_ok(soon_future_wait(futures[i], SOON_FOREVER));
        soon_future_unref(futures[i]);
    }
}

/* Many tasks that need a worker each, while all those that there were sleep. */
static void need_many_spares(soon_executor *ex)
{
    soon_future *kept = promise(), *waiters[MANY], *more[MANY];
    struct hold hold = hold_make();

    all_wait(ex, waiters, kept);
    for (int i = 0; i < MANY; i++)
        more[i] = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, MANY);
    gate_open(hold.release);
    assert_ok(soon_future_set_result(kept, NULL, 0));
    end_all(waiters);
    wait_all(more);
    soon_future_unref(kept);
    hold_free(&hold);
}

static soon_executor *pool_of_many(void)
{
    soon_executor *ex;

    assert_ok(soon_thread_pool_new(
        &(soon_thread_pool_options){.max_workers = MANY, .idle_timeout = SOON_FOREVER}, &ex));
    return ex;
}

/* Whoever was too many may have been woken since, and be one of those that stay. */
START_TEST(as_many_leave_as_are_too_many)
{
    soon_executor *ex = pool_of_many();

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            need_many_spares(ex);
        for (int i = 0; i < 20; i++)
            need_spare(ex);
        while (stats_of(ex).workers > MANY)
            sleep_ns(SOON_MS(1));
        ck_assert_uint_eq(stats_of(ex).workers, MANY);
    }
    pool_end(ex);
}
END_TEST

START_TEST(as_many_leave_though_all_others_work)
{
    soon_executor *ex = pool_of_many();
    struct hold hold = hold_make();
    soon_future *held[MANY];

    do /* on a busy machine they may have left already */
        need_many_spares(ex);
    while (stats_of(ex).workers <= MANY);
    for (int i = 0; i < MANY; i++)
        held[i] = submit(ex, task_hold, &hold, sizeof hold);
    while (stats_of(ex).workers > MANY)
        sleep_ns(SOON_MS(1));
    gate_open(hold.release);
    wait_all(held);
    pool_end(ex);
    hold_free(&hold);
}
END_TEST

/* Though each is woken again and again. */
START_TEST(as_many_leave_though_there_is_always_some_work)
{
    soon_executor *ex = pool_of_many();
    soon_future *f[MANY];

    need_many_spares(ex);
    while (stats_of(ex).workers > MANY) {
        for (int i = 0; i < MANY; i++)
            f[i] = submit(ex, task_nap, NULL, 0);
        end_all(f);
        sleep_ns(RESERVED / 5);
    }
    pool_end(ex);
}
END_TEST

/* Recalled for many tasks at once, of which few are woken: the others are idle then, as
 * if they had never been too many, though their time in the reserve ends. */
START_TEST(who_is_recalled_stays)
{
    soon_future *kept = promise(), *waiters[MANY], *more[MANY];
    soon_task tasks[MANY];
    soon_executor *ex = pool_of(MANY);
    unsigned workers;

    for (int i = 0; i < MANY; i++)
        tasks[i] = (soon_task){.fn = task_nothing};
    need_many_spares(ex);
    all_wait(ex, waiters, kept);
    assert_ok(soon_submit_many(ex, tasks, MANY, more));
    end_all(more);
    workers = stats_of(ex).workers;
    ck_assert_uint_ge(workers, MANY + 1);
    sleep_ns(3 * RESERVED);
    /* One may not have been recalled, as another was searching. */
    ck_assert_uint_ge(stats_of(ex).workers + 1, workers);
    assert_ok(soon_future_set_result(kept, NULL, 0));
    end_all(waiters);
    /* Half of them are too many again. */
    while (stats_of(ex).workers > MANY)
        sleep_ns(SOON_MS(1));
    soon_future_unref(kept);
    pool_end(ex);
}
END_TEST

/* An idle_timeout below that is heeded in the reserve, too. */
START_TEST(a_spare_stays_no_longer_than_an_idle_worker)
{
    soon_executor *ex;
    soon_ns begin;

    do { /* on a busy machine anything may take long */
        assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1,
                                                                   .min_workers = 1,
                                                                   .idle_timeout = SOON_MS(1)},
                                       &ex));
        need_spare(ex);
        begin = now_ns();
        while (stats_of(ex).workers != 1)
            sched_yield();
        begin = now_ns() - begin;
        pool_end(ex);
    } while (begin > RESERVED / 2);
}
END_TEST

/* ---- what a worker forks while another one leaves, or falls asleep ---- */

static struct {
    soon_executor *ex;
    soon_future *kept;
    _Atomic unsigned runs;
} scene;

static int task_runs(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    atomic_fetch_add(&scene.runs, 1);
    return 0;
}

static void poll_until(unsigned runs)
{
    while (atomic_load(&scene.runs) != runs)
        sched_yield();
}

/* It needs another worker for each, which has been idle for about as long as it may be. */
static int task_leaves_some(soon_call *call, const void *arg, size_t arg_len)
{
    unsigned rounds = *(const unsigned *)arg;

    (void)call, (void)arg_len;
    for (unsigned i = 1; i <= rounds; i++) {
        soon_ns end = now_ns() + 40000 + i * 7919 % 60000;
        while (now_ns() < end)
            ;
        REQUIRE(soon_submit(scene.ex, task_runs, NULL, 0, NULL) == 0);
        poll_until(i);
    }
    return 0;
}

START_TEST(what_is_forked_is_found_though_an_idle_worker_leaves)
{
    soon_thread_pool_options options = {.max_workers = 2, .idle_timeout = 60000};
    unsigned rounds = (unsigned)scaled(3000);

    atomic_store(&scene.runs, 0);
    assert_ok(soon_thread_pool_new(&options, &scene.ex));
    end(submit(scene.ex, task_leaves_some, &rounds, sizeof rounds));
    pool_end(scene.ex);
}
END_TEST

/* Leaves one to whoever may run it, when all workers are busy. */
static int task_leaves_one(soon_call *call, const void *arg, size_t arg_len)
{
    const struct hold *hold = arg;

    (void)call, (void)arg_len;
    bell_await(hold->started, 1);
    REQUIRE(soon_submit(scene.ex, task_runs, NULL, 0, NULL) == 0);
    gate_open(hold->release);
    poll_until(1);
    return soon_future_set_result(scene.kept, NULL, 0);
}

static int task_waits_then(soon_call *call, const void *arg, size_t arg_len)
{
    const struct hold *hold = arg;

    (void)call, (void)arg_len;
    bell_ring(hold->started);
    gate_pass(hold->release);
    return soon_future_wait(scene.kept, SOON_FOREVER);
}

START_TEST(what_was_forked_is_run_when_another_worker_falls_asleep)
{
    struct hold hold = hold_make();
    soon_future *leaves, *waits;

    atomic_store(&scene.runs, 0);
    scene.ex = pool_of(2);
    scene.kept = promise();
    leaves = submit(scene.ex, task_leaves_one, &hold, sizeof hold);
    waits = submit(scene.ex, task_waits_then, &hold, sizeof hold);
    end(leaves);
    end(waits);
    soon_future_unref(scene.kept);
    pool_end(scene.ex);
    hold_free(&hold);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("reserve");
    TCase *tc = test_case(suite, "reserve");

    tcase_add_test(tc, a_spare_is_there_for_the_next_wait);
    tcase_add_test(tc, a_spare_that_is_not_needed_leaves);
    tcase_add_test(tc, as_many_leave_as_are_too_many);
    tcase_add_test(tc, as_many_leave_though_all_others_work);
    tcase_add_test(tc, as_many_leave_though_there_is_always_some_work);
    tcase_add_test(tc, an_end_does_not_wait_for_the_reserve);
    tcase_add_test(tc, who_is_recalled_stays);
    tcase_add_test(tc, a_spare_stays_no_longer_than_an_idle_worker);
    tc = test_case(suite, "forks");
    tcase_add_test(tc, what_is_forked_is_found_though_an_idle_worker_leaves);
    tcase_add_test(tc, what_was_forked_is_run_when_another_worker_falls_asleep);
    return suite;
}
