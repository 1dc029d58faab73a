/* SPDX-License-Identifier: MIT */
#include "thread_pool_cases.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* ---- shared ---- */

soon_executor *pool_new(const soon_thread_pool_options *options)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(options, &ex));
    ck_assert_ptr_nonnull(ex);
    return ex;
}

void pool_end(soon_executor *ex)
{
    soon_stats stats;

    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    stats = pool_stats(ex);
    ck_assert_uint_eq(stats.workers, 0);
    ck_assert_uint_eq(stats.pending + stats.running, 0);
    soon_executor_unref(ex);
}

soon_stats pool_stats(soon_executor *ex)
{
    soon_stats stats;

    assert_ok(soon_executor_stats(ex, &stats));
    return stats;
}

static bool tid_exists(pid_t tid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%d", (int)tid);
    return access(path, F_OK) == 0;
}

static void do_nothing(void *data)
{
    (void)data;
}

unsigned idle_thread_count(void)
{
    struct thread thread;

    /* A sanitizer's own thread starts with the first one of ours. */
    thread_start(&thread, do_nothing, NULL);
    thread_join(&thread);
    /* The kernel forgets a thread a moment after it can be joined. */
    while (tid_exists(thread.tid))
        sched_yield();
    return thread_count();
}

/* The watchdog ends these two if it never comes true. */
void await_workers(soon_executor *ex, unsigned workers)
{
    soon_stats stats;

    while (soon_executor_stats(ex, &stats) == 0 && stats.workers != workers)
        sched_yield();
}

void await_idle(soon_executor *ex, unsigned idle)
{
    soon_stats stats;

    while (soon_executor_stats(ex, &stats) == 0 && stats.idle != idle)
        sched_yield();
}

void hold_workers(soon_executor *ex, struct hold *hold, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_ok(soon_submit(ex, task_hold, hold, sizeof *hold, NULL));
    bell_await(hold->started, n);
}

/* ---- options ---- */

START_TEST(bad_options_are_refused)
{
    static const int dummy;
    const soon_thread_pool_options bad[] = {
        {.max_workers = UINT_MAX},
        {.max_workers = 65537},
        {.max_workers = 2, .min_workers = 3},
        {.max_workers = 1, .overflow = -1},
        {.max_workers = 1, .overflow = SOON_CALLER_RUNS + 1},
        {.max_workers = 1, .stack_size = 1},
        {.max_workers = 1, .stack_size = 1000},
        {.max_workers = 1, .stack_size = SIZE_MAX},
        {.max_workers = 1, .init_arg_len = 1, .initializer = task_nothing},
        {.max_workers = 1, .reserved = {[7] = 1}},
    };
    soon_executor *const untouched = (soon_executor *)&dummy, *ex = untouched;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int error = soon_thread_pool_new(&bad[i], &ex);

        ck_assert_msg(error == -EINVAL, "options %zu: %d", i, error);
        ck_assert_ptr_eq(ex, untouched);
    }
    ck_assert_int_eq(soon_thread_pool_new(NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(the_largest_pool_costs_nothing_until_used)
{
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 65536});
    soon_future *f = submit_int(ex, task_square, 5);

    assert_result_int(f, 25);
    ck_assert_uint_eq(pool_stats(ex).workers_started, 1);
    soon_future_unref(f);
    pool_end(ex);
}
END_TEST

/* ---- when workers start ---- */

START_TEST(no_worker_before_the_first_task)
{
    unsigned before = idle_thread_count();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 4});

    ck_assert_uint_eq(thread_count(), before);
    ck_assert_uint_eq(pool_stats(ex).workers, 0);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    await_idle(ex, 1);
    ck_assert_uint_eq(pool_stats(ex).workers, 1);
    ck_assert_uint_eq(thread_count(), before + 1);
    pool_end(ex);
}
END_TEST

START_TEST(an_idle_worker_is_used_before_a_new_one_starts)
{
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 4});

    for (size_t i = 0; i < scaled(500); i++) {
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
        await_idle(ex, 1);
    }
    ck_assert_uint_eq(pool_stats(ex).workers_started, 1);
    pool_end(ex);
}
END_TEST

START_TEST(there_are_as_many_workers_as_busy_tasks)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 5});

    for (unsigned n = 1; n <= 5; n++) {
        hold_workers(ex, &hold, 1);
        ck_assert_uint_eq(pool_stats(ex).workers, n);
        ck_assert_uint_eq(pool_stats(ex).running, n);
        ck_assert_uint_eq(pool_stats(ex).idle, 0);
    }
    gate_open(hold.release);
    await_idle(ex, 5);
    pool_end(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(a_saturated_pool_has_max_workers)
{
    enum { WORKERS = 3, TASKS = 15 * WORKERS };
    struct hold hold = hold_make();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = WORKERS});

    hold_workers(ex, &hold, WORKERS);
    for (unsigned i = WORKERS; i < TASKS; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    ck_assert_uint_eq(pool_stats(ex).workers, WORKERS);
    ck_assert_uint_eq(pool_stats(ex).pending, TASKS - WORKERS);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(pool_stats(ex).workers_started, WORKERS);
    assert_stats_add_up(ex, TASKS);
    soon_executor_unref(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(submit_many_wakes_enough_workers)
{
    struct hold hold = hold_make();
    soon_task tasks[4];
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 4});

    for (size_t i = 0; i < 4; i++)
        tasks[i] = (soon_task){.fn = task_hold, .arg = &hold, .arg_len = sizeof hold};
    /* None of them ends before all of them run. */
    assert_ok(soon_submit_many(ex, tasks, 4, NULL));
    bell_await(hold.started, 4);
    gate_open(hold.release);
    await_idle(ex, 4);
    pool_end(ex);
    hold_free(&hold);
}
END_TEST

/* ---- when workers leave ---- */

START_TEST(idle_workers_above_the_minimum_leave)
{
    const unsigned min = (unsigned)_i;
    struct hold hold = hold_make();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){
        .max_workers = 3, .min_workers = min, .idle_timeout = SOON_MS(20)});
    soon_ns released;

    hold_workers(ex, &hold, 3);
    released = now_ns();
    gate_open(hold.release);
    while (pool_stats(ex).workers == 3)
        sched_yield();
    ck_assert_int_ge(now_ns() - released, SOON_MS(20));
    await_workers(ex, min);
    /* Those that may stay do. */
    sleep_ns(SOON_MS(60));
    ck_assert_uint_eq(pool_stats(ex).workers, min);
    ck_assert_uint_eq(pool_stats(ex).idle, min);
    /* And the others come back when they are needed. */
    hold_workers(ex, &hold, 3);
    await_idle(ex, min);
    pool_end(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(no_thread_is_left_after_shutdown)
{
    struct hold hold = hold_make();
    unsigned before = idle_thread_count();

    for (size_t round = 0; round < scaled(20); round++) {
        soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 4});

        hold_workers(ex, &hold, 4);
        ck_assert_uint_ge(thread_count(), before + 4);
        gate_open(hold.release);
        pool_end(ex);
        hold_free(&hold);
        hold = hold_make();
        /* The kernel forgets a thread a moment after it can be joined. */
        while (thread_count() > before)
            sched_yield();
    }
    hold_free(&hold);
}
END_TEST

START_TEST(an_abandoned_pool_empties_by_itself)
{
    unsigned before = idle_thread_count();
    shared_count *count = shared_new(sizeof *count);
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 2});

    for (int i = 0; i < 100; i++)
        assert_ok(soon_submit(ex, task_count, &count, sizeof count, NULL));
    soon_executor_unref(ex);
    while (thread_count() > before)
        sched_yield();
    ck_assert_uint_eq(atomic_load(count), 100);
    shared_free(count, sizeof *count);
}
END_TEST

/* ---- an idle pool ---- */

/* How often the pool's threads have gone to sleep, in all. A thread that
 * polls cannot keep this number still. */
static unsigned long sleeps_of(const char *pool)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned long sum = 0;

    EXPECT(tasks);
    while ((entry = readdir(tasks)) != NULL) {
        char path[300], line[128], name[32] = "";
        FILE *status;
        unsigned long n;

        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        status = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        while (status && fgets(line, sizeof line, status)) {
            sscanf(line, "Name: %31s", name);
            if (strncmp(name, pool, strlen(pool)) == 0 &&
                sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
                sum += n;
        }
        if (status)
            fclose(status);
    }
    closedir(tasks);
    return sum;
}

START_TEST(an_idle_pool_uses_no_cpu)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 4, .name = "quiet"});
    bool quiet = false;

    hold_workers(ex, &hold, 4);
    gate_open(hold.release);
    await_idle(ex, 4);
    /* On a busy machine a worker may take a while to get to sleep at all. */
    for (int window = 0; window < 20 && !quiet; window++) {
        struct timespec cpu_before, cpu_after;
        unsigned long before = sleeps_of("quiet-");

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_before);
        sleep_ns(SOON_MS(300));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu_after);
        ck_assert_uint_gt(before, 0);
        quiet =
            sleeps_of("quiet-") == before && SOON_SECONDS(cpu_after.tv_sec - cpu_before.tv_sec) +
                                                     cpu_after.tv_nsec - cpu_before.tv_nsec <
                                                 SOON_MS(20);
    }
    ck_assert(quiet);
    pool_end(ex);
    hold_free(&hold);
}
END_TEST

/* ---- what a worker is ---- */

static int task_own_name(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;
    char name[16] = "";

    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    REQUIRE(pthread_getname_np(pthread_self(), name, sizeof name) == 0);
    bell_ring(hold.started);
    gate_pass(hold.release);
    return soon_return(call, name, sizeof name);
}

static const struct {
    const char *given;
    const char *expected[2];
} names[] = {
    {NULL, {"soon-0", "soon-1"}},
    {"hash", {"hash-0", "hash-1"}},
    {"", {"-0", "-1"}},
    {"a name of 13 b", {"a name of 13 -0", "a name of 13 -1"}},
    {"twenty-two-bytes-long!", {"twenty-two-by-0", "twenty-two-by-1"}},
};

START_TEST(workers_are_named_after_the_pool)
{
    struct hold hold = hold_make();
    char given[32];
    soon_executor *ex;
    soon_future *futures[2];
    char got[2][16];

    if (names[_i].given)
        strcpy(given, names[_i].given);
    ex = pool_new(
        &(soon_thread_pool_options){.max_workers = 2, .name = names[_i].given ? given : NULL});
    memset(given, 'x', sizeof given); /* it was copied */
    for (int i = 0; i < 2; i++)
        futures[i] = submit(ex, task_own_name, &hold, sizeof hold);
    bell_await(hold.started, 2);
    gate_open(hold.release);
    for (int i = 0; i < 2; i++)
        assert_ok(soon_future_result(futures[i], SOON_FOREVER, got[i], sizeof got[i]));
    if (strcmp(got[0], got[1]) > 0) {
        char swap[16];

        memcpy(swap, got[0], 16);
        memcpy(got[0], got[1], 16);
        memcpy(got[1], swap, 16);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_str_eq(got[i], names[_i].expected[i]);
    unref_all(futures, 2);
    pool_end(ex);
    hold_free(&hold);
}
END_TEST

static int task_stack_size(soon_call *call, const void *arg, size_t arg_len)
{
    pthread_attr_t attr;
    void *low;
    size_t size;

    (void)arg, (void)arg_len;
    REQUIRE(pthread_getattr_np(pthread_self(), &attr) == 0);
    REQUIRE(pthread_attr_getstack(&attr, &low, &size) == 0);
    pthread_attr_destroy(&attr);
    return soon_return(call, &size, sizeof size);
}

START_TEST(the_stack_is_as_large_as_asked_for)
{
    static const size_t sizes[] = {256 << 10, (1 << 20) + 1, 64 << 20};
    soon_executor *ex =
        pool_new(&(soon_thread_pool_options){.max_workers = 1, .stack_size = sizes[_i]});
    soon_future *f = submit(ex, task_stack_size, NULL, 0);
    size_t size = 0;

    assert_ok(soon_future_result(f, SOON_FOREVER, &size, sizeof size));
    /* Some of it may be taken by the thread's own data and its guard page. */
    ck_assert_uint_ge(size + (128 << 10), sizes[_i]);
    ck_assert_uint_le(size, sizes[_i] + (1 << 20));
    soon_future_unref(f);
    pool_end(ex);
}
END_TEST

static int task_signal_mask(soon_call *call, const void *arg, size_t arg_len)
{
    sigset_t mask;
    int blocked;

    (void)arg, (void)arg_len;
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    blocked = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) &&
              sigismember(&mask, SIGCHLD) && sigismember(&mask, SIGUSR1);
    return soon_return(call, &blocked, sizeof blocked);
}

START_TEST(signals_are_left_to_the_host)
{
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 1});
    soon_future *f = submit(ex, task_signal_mask, NULL, 0);

    assert_result_int(f, 1);
    soon_future_unref(f);
    pool_end(ex);
}
END_TEST

void add_worker_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "workers");

    tcase_add_test(tc, bad_options_are_refused);
    tcase_add_test(tc, the_largest_pool_costs_nothing_until_used);
    tcase_add_test(tc, no_worker_before_the_first_task);
    tcase_add_test(tc, an_idle_worker_is_used_before_a_new_one_starts);
    tcase_add_test(tc, there_are_as_many_workers_as_busy_tasks);
    tcase_add_test(tc, a_saturated_pool_has_max_workers);
    tcase_add_test(tc, submit_many_wakes_enough_workers);
    tcase_add_loop_test(tc, idle_workers_above_the_minimum_leave, 0, 3);
    tcase_add_test(tc, no_thread_is_left_after_shutdown);
    tcase_add_test(tc, an_abandoned_pool_empties_by_itself);
    tcase_add_test(tc, an_idle_pool_uses_no_cpu);
    tcase_add_loop_test(tc, workers_are_named_after_the_pool, 0,
                        (int)(sizeof names / sizeof names[0]));
    tcase_add_loop_test(tc, the_stack_is_as_large_as_asked_for, 0, 3);
    tcase_add_test(tc, signals_are_left_to_the_host);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("thread_pool");

    add_worker_cases(suite);
    add_queue_cases(suite);
    add_trouble_cases(suite);
    return suite;
}
