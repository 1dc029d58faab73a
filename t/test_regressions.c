/* SPDX-License-Identifier: MIT */
/* The thread pool: its workers' comings and goings. */
#include "regressions.h"

#include <limits.h>
#include <sched.h>

soon_executor *regress_pool(unsigned workers)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex));
    return ex;
}

void regress_end(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

static void run_nothing(soon_executor *ex)
{
    soon_future *f = submit(ex, task_nothing, NULL, 0);

    assert_ok(soon_future_wait(f, ENOUGH));
    soon_future_unref(f);
}

/* ---- workers that leave ---- */

/* A finalizer that rings started and stays until release is open. */
static int linger(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    (void)call;
    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    bell_ring(hold.started);
    gate_pass(hold.release);
    return 0;
}

static soon_executor *lingering_pool(unsigned max, unsigned min, soon_ns idle, struct hold *hold)
{
    soon_executor *ex = NULL;

    *hold = hold_make();
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = max,
                                                               .min_workers = min,
                                                               .idle_timeout = idle,
                                                               .finalizer = linger,
                                                               .init_arg = hold,
                                                               .init_arg_len = sizeof *hold},
                                   &ex));
    return ex;
}

/* A worker that has been woken and has not looked yet spares other wake-ups,
 * but not for good: it sees to what it leaves. */
START_TEST(each_of_several_submits_gets_a_worker_though_one_is_on_its_way)
{
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_stats stats;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 4}, &ex));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    do
        assert_ok(soon_executor_stats(ex, &stats));
    while (stats.idle != 1);
    for (int i = 0; i < 4; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 4);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    hold_free(&hold);
}

START_TEST(a_submit_while_the_last_worker_leaves_gets_another)
{
    struct hold hold;
    soon_executor *ex = lingering_pool(1, 0, SOON_MS(1), &hold);

    run_nothing(ex);
    bell_await(hold.started, 1);
    run_nothing(ex);
    gate_open(hold.release);
    regress_end(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(min_workers_stay_however_long_another_takes_to_leave)
{
    struct hold leave, work = hold_make();
    soon_executor *ex = lingering_pool(4, 3, SOON_MS(5), &leave);
    soon_stats stats;

    for (int i = 0; i < 4; i++)
        assert_ok(soon_submit(ex, task_hold, &work, sizeof work, NULL));
    bell_await(work.started, 4);
    gate_open(work.release);
    bell_await(leave.started, 1);
    ck_assert(!bell_rings_within(leave.started, SOON_MS(60)));
    gate_open(leave.release);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_ge(stats.workers, 3);
    regress_end(ex);
    hold_free(&leave);
    hold_free(&work);
}
END_TEST

static int task_await(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call;
    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    return soon_future_wait(f, SOON_FOREVER);
}

static int task_keep(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call;
    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    return soon_future_set_result(f, NULL, 0);
}

/* The spare that ran the keeper and the worker that it woke look at the same
 * time whether one of them is too many. */
START_TEST(a_spare_that_leaves_takes_nobody_with_it)
{
    for (size_t i = 0; i < scaled(30); i++) {
        struct hold hold;
        soon_executor *ex = lingering_pool(1, 0, 0, &hold);
        soon_future *p = promise();
        soon_future *f[] = {submit(ex, task_await, &p, sizeof p),
                            submit(ex, task_keep, &p, sizeof p)};

        EXPECT(soon_wait(f, 2, SOON_ALL_COMPLETED, ENOUGH) == 2);
        run_nothing(ex);
        gate_open(hold.release);
        regress_end(ex);
        unref_all(f, 2);
        soon_future_unref(p);
        hold_free(&hold);
    }
}
END_TEST

static struct {
    soon_executor *ex;
    struct bell bell;
    atomic_uint finalizers;
} last_wish;

static int task_ring(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    bell_ring(last_wish.bell);
    return 0;
}

static int finalizer_submits(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    if (atomic_fetch_add(&last_wish.finalizers, 1) == 0)
        REQUIRE(soon_submit(last_wish.ex, task_ring, NULL, 0, NULL) == 0);
    return 0;
}

static int task_forks_and_forgets(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit(last_wish.ex, task_ring, NULL, 0, &f) == 0);
    soon_future_unref(f);
    return 0;
}

static void wait_for(soon_fn *fn)
{
    soon_future *f;

    REQUIRE(soon_submit(last_wish.ex, fn, NULL, 0, &f) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    soon_future_unref(f);
}

enum { WISHES = 20 };

/* Most likely it runs both itself, and has memory for a future when the second forks. */
static int finalizer_waits(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    if (atomic_fetch_add(&last_wish.finalizers, 1) < WISHES) {
        wait_for(task_nothing);
        wait_for(task_forks_and_forgets);
    }
    return 0;
}

START_TEST(what_a_finalizer_has_forked_is_run)
{
    last_wish.bell = bell_make();
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1,
                                                               .idle_timeout = SOON_MS(1),
                                                               .finalizer = finalizer_waits},
                                   &last_wish.ex));
    run_nothing(last_wish.ex);
    for (int i = 0; i < WISHES; i++)
        ck_assert(bell_rings_within(last_wish.bell, ENOUGH));
    regress_end(last_wish.ex);
    bell_free(last_wish.bell);
}
END_TEST

START_TEST(what_a_finalizer_submits_is_run)
{
    last_wish.bell = bell_make();
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1,
                                                               .idle_timeout = SOON_MS(1),
                                                               .finalizer = finalizer_submits},
                                   &last_wish.ex));
    run_nothing(last_wish.ex);
    ck_assert(bell_rings_within(last_wish.bell, ENOUGH));
    regress_end(last_wish.ex);
    bell_free(last_wish.bell);
}
END_TEST

START_TEST(a_worker_with_the_smallest_stack_can_park)
{
    soon_executor *ex = NULL;
    soon_stats stats;

    assert_ok(soon_thread_pool_new(
        &(soon_thread_pool_options){.max_workers = 1, .stack_size = (size_t)PTHREAD_STACK_MIN},
        &ex));
    for (int i = 0; i < 2; i++) {
        run_nothing(ex);
        do {
            sched_yield();
            assert_ok(soon_executor_stats(ex, &stats));
        } while (stats.idle == 0);
    }
    regress_end(ex);
}
END_TEST

static struct {
    soon_executor *outer, *inner;
} nested;

static int task_asks_the_outer(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;
    int status;

    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit(nested.outer, task_nothing, NULL, 0, &f) == 0);
    status = soon_future_wait(f, ENOUGH);
    soon_future_unref(f);
    return status;
}

static int task_ends_the_inner(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit(nested.inner, task_asks_the_outer, NULL, 0, NULL) == 0);
    return soon_shutdown(nested.inner, ENOUGH, 0);
}

START_TEST(a_shutdown_of_another_pool_is_a_wait_like_others)
{
    soon_future *f;

    nested.outer = regress_pool(1);
    nested.inner = regress_pool(1);
    f = submit(nested.outer, task_ends_the_inner, NULL, 0);
    assert_result_bytes(f, NULL, 0);
    soon_future_unref(f);
    soon_executor_unref(nested.inner);
    regress_end(nested.outer);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("regressions");
    TCase *tc = test_case(suite, "workers");

    tcase_add_test(tc, each_of_several_submits_gets_a_worker_though_one_is_on_its_way);
    tcase_add_test(tc, a_submit_while_the_last_worker_leaves_gets_another);
    tcase_add_test(tc, min_workers_stay_however_long_another_takes_to_leave);
    tcase_add_test(tc, a_spare_that_leaves_takes_nobody_with_it);
    tcase_add_test(tc, what_a_finalizer_submits_is_run);
    tcase_add_test(tc, what_a_finalizer_has_forked_is_run);
    tcase_add_test(tc, a_worker_with_the_smallest_stack_can_park);
    tcase_add_test(tc, a_shutdown_of_another_pool_is_a_wait_like_others);
    add_order_regressions(suite);
    add_core_regressions(suite);
    add_map_regressions(suite);
    return suite;
}
