/* SPDX-License-Identifier: MIT */
/*
 * Which worker of a thread pool is woken, lib/thread_pool/idle.c: one that last ran on
 * another CPU than who wakes it, or on the same one if that is about to sleep. Workers are
 * kept to CPUs here, so that it can be told.
 */
#include "support.h"

#include <sched.h>
#include <stdio.h>

static cpu_set_t all_cpus;
static int cpus[2];
static _Atomic unsigned n_pinned;

/* Two CPUs that the test may use. False if there is only one. */
static bool find_cpus(void)
{
    int n = 0;

    ck_assert_int_eq(sched_getaffinity(0, sizeof all_cpus, &all_cpus), 0);
    for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
        if (CPU_ISSET(i, &all_cpus))
            cpus[n++] = i;
    if (n < 2)
        fprintf(stderr, "woken: skipped: it needs two CPUs\n");
    return n == 2;
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    REQUIRE(sched_setaffinity(0, sizeof set, &set) == 0);
}

static void unpin(void)
{
    REQUIRE(sched_setaffinity(0, sizeof all_cpus, &all_cpus) == 0);
}

/* The initializer: workers are kept to the two CPUs in turns. */
static int task_pin(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    pin(cpus[atomic_fetch_add(&n_pinned, 1) % 2]);
    return 0;
}

static soon_executor *pinned_pool(unsigned workers)
{
    soon_executor *ex;

    atomic_store(&n_pinned, 0);
    assert_ok(soon_thread_pool_new(
        &(soon_thread_pool_options){.max_workers = workers, .initializer = task_pin}, &ex));
    return ex;
}

static void await_idle(soon_executor *ex, unsigned idle)
{
    soon_stats stats;

    do
        assert_ok(soon_executor_stats(ex, &stats));
    while (stats.idle != idle && sched_yield() == 0);
}

static int task_cpu(soon_call *call, const void *arg, size_t arg_len)
{
    int cpu = sched_getcpu();

    (void)arg, (void)arg_len;
    return soon_return(call, &cpu, sizeof cpu);
}

static int cpu_of(soon_future *f)
{
    int cpu;

    assert_ok(soon_future_result(f, SOON_FOREVER, &cpu, sizeof cpu));
    soon_future_unref(f);
    return cpu;
}

static void pool_end(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

/* Has every worker started. */
static void fill(soon_executor *ex, unsigned workers)
{
    struct hold hold = hold_make();
    soon_future *f[2];

    for (unsigned i = 0; i < workers; i++)
        f[i] = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, workers);
    gate_open(hold.release);
    for (unsigned i = 0; i < workers; i++) {
        assert_ok(soon_future_wait(f[i], SOON_FOREVER));
        soon_future_unref(f[i]);
    }
    hold_free(&hold);
}

START_TEST(who_goes_on_wakes_one_that_ran_elsewhere)
{
    if (!find_cpus())
        return;
    soon_executor *ex = pinned_pool(2);

    fill(ex, 2);
    for (int i = 0; i < 100; i++) {
        pin(cpus[i / 3 % 2]);
        await_idle(ex, 2);
        ck_assert_int_eq(cpu_of(submit(ex, task_cpu, NULL, 0)), cpus[1 - i / 3 % 2]);
    }
    pool_end(ex);
    unpin();
}
END_TEST

/* ---- who falls asleep ---- */

static struct {
    soon_executor *ex;
    soon_future *kept, *keeper;
} scene;

static int task_keep(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(soon_future_set_result(scene.kept, NULL, 0) == 0);
    return task_cpu(call, arg, arg_len);
}

/* Has another worker run a task while it sleeps. */
static int task_sleep(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(soon_submit(scene.ex, task_keep, NULL, 0, &scene.keeper) == 0);
    REQUIRE(soon_future_wait(scene.kept, SOON_FOREVER) == 0);
    return task_cpu(call, arg, arg_len);
}

/* The same, but the other one does so, too. */
static int task_sleep_twice(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    REQUIRE(soon_submit(scene.ex, task_sleep, NULL, 0, &f) == 0);
    REQUIRE(soon_future_wait(scene.kept, SOON_FOREVER) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    soon_future_unref(f);
    return task_cpu(call, arg, arg_len);
}

/* The CPUs of who slept and of who was woken for it. */
static void sleep_once(soon_fn *fn, int cpu[2])
{
    scene.kept = promise();
    cpu[0] = cpu_of(submit(scene.ex, fn, NULL, 0));
    cpu[1] = cpu_of(scene.keeper);
    soon_future_unref(scene.kept);
}

/* Two of three workers are kept to the first CPU, and the one that is woken from the
 * second CPU, by the test, is one of these. The others are in the reserve then, unless
 * one has left it meanwhile, or does so just now, which is why not all rounds are as they
 * should be. */
START_TEST(who_falls_asleep_wakes_one_that_ran_here)
{
    int cpu[2], rounds = 0, here = 0;

    if (!find_cpus())
        return;
    pin(cpus[1]);
    while (rounds < 50) {
        soon_stats before, after;
        scene.ex = pinned_pool(1);
        sleep_once(task_sleep_twice, cpu);
        await_idle(scene.ex, 3);
        assert_ok(soon_executor_stats(scene.ex, &before));
        sleep_once(task_sleep, cpu);
        assert_ok(soon_executor_stats(scene.ex, &after));
        if (before.workers == 3 && after.workers == 3) {
            ck_assert_int_eq(cpu[0], cpus[0]);
            rounds++;
            here += cpu[1] == cpus[0];
        }
        pool_end(scene.ex);
    }
    unpin();
    ck_assert_int_ge(here, rounds * 9 / 10);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("woken");
    TCase *tc = test_case(suite, "CPUs");

    tcase_add_test(tc, who_goes_on_wakes_one_that_ran_elsewhere);
    tcase_add_test(tc, who_falls_asleep_wakes_one_that_ran_here);
    return suite;
}
