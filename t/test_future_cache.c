/* SPDX-License-Identifier: MIT */
/*
 * Memory of futures: reused by the thread that frees it, passed on to another
 * one by way of the depot, and given back by a thread that ends.
 */
#include "support.h"

#include "core/future.h"
#include "core/future_cache.h"
#include "os/inject.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 1000, FLOOD = 200000 };

static soon_future *held[FLOOD], *again[FLOOD];

/* In threads and forked children, where Check's own lock is in the way. */
static soon_future *quiet_promise(void)
{
    soon_future *f = NULL;

    REQUIRE(soon_future_new(&f) == 0);
    return f;
}

static void make(size_t n)
{
    for (size_t i = 0; i < n; i++)
        held[i] = quiet_promise();
}

static void drop(size_t n)
{
    for (size_t i = 0; i < n; i++)
        soon_future_unref(held[i]);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;

    return x < y ? -1 : x > y;
}

static size_t count_common(size_t n)
{
    size_t common = 0;

    qsort(held, n, sizeof *held, by_address);
    for (size_t i = 0; i < n; i++)
        common += bsearch(&again[i], held, n, sizeof *held, by_address) != NULL;
    return common;
}

static void in_thread(void *(*fn)(void *), size_t n)
{
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, fn, &n) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

static void *drop_there(void *n)
{
    drop(*(size_t *)n);
    return NULL;
}

static void *make_and_drop_there(void *n)
{
    make(*(size_t *)n);
    drop(*(size_t *)n);
    return NULL;
}

START_TEST(each_of_many_is_different_and_pending)
{
    make(MANY);
    drop(MANY);
    make(MANY);
    for (size_t i = 0; i < MANY; i++)
        EXPECT(soon_future_state(held[i]) == SOON_PENDING);
    qsort(held, MANY, sizeof *held, by_address);
    for (size_t i = 1; i < MANY; i++)
        EXPECT(held[i] != held[i - 1]);
    drop(MANY);
}
END_TEST

/* Makes and drops n more: how many of them are where one was before. */
static size_t make_again(size_t n)
{
    for (size_t i = 0; i < n; i++)
        again[i] = quiet_promise();
    size_t common = count_common(n);
    for (size_t i = 0; i < n; i++)
        soon_future_unref(again[i]);
    return common;
}

START_TEST(the_thread_that_freed_them_gets_the_same_again)
{
    make(MANY);
    drop(MANY);
    size_t common = make_again(MANY);
    if (soon__future_cache_keeps())
        ck_assert_uint_eq(common, MANY);
}
END_TEST

/* What the other thread freed it gave to the depot, but for what it had in its
 * hands, two magazines, when it ended. */
START_TEST(what_another_thread_freed_comes_back)
{
    make(MANY);
    in_thread(drop_there, MANY);
    size_t common = make_again(MANY);
    if (soon__future_cache_keeps())
        ck_assert_uint_ge(common, MANY - 2 * 64);
}
END_TEST

/* Threads that come and go, each with magazines of its own, leave no more
 * behind than the depot holds. */
START_TEST(threads_that_end_leave_nothing)
{
    size_t before, after;

    for (int i = 0; i < 10; i++)
        in_thread(make_and_drop_there, MANY);
    before = resident_bytes();
    for (int i = 0; i < 300; i++)
        in_thread(make_and_drop_there, 2 * 64);
    after = resident_bytes();
    /* 300 threads that kept two magazines each would have kept 4.3 MB. */
    if (!memory_is_watched())
        ck_assert_uint_le(after, before + (2u << 20) * resident_factor());
}
END_TEST

START_TEST(a_flood_is_given_back)
{
    make(FLOOD);
    drop(FLOOD);
    for (size_t i = 0; i < FLOOD; i++)
        again[i] = quiet_promise();
    for (size_t i = 0; i < FLOOD; i++) {
        EXPECT(again[i] != NULL);
        soon_future_unref(again[i]);
    }
}
END_TEST

/* ---- what the depot keeps ---- */

enum { KEPT = 2048 * SOON__MAGAZINE, IN_HANDS = 30 * SOON__MAGAZINE };

static void pass(soon_ns time)
{
    struct timespec t = {time / SOON_SECONDS(1), time % SOON_SECONDS(1)};

    nanosleep(&t, NULL);
}

START_TEST(what_a_burst_left_goes_when_a_thread_ends)
{
    if (!soon__future_cache_keeps()) {
        printf("SKIP: what the depot keeps: nothing is kept in this build\n");
        return;
    }
    make(FLOOD);
    drop(FLOOD);
    ck_assert_uint_ge(soon__depot_count(), FLOOD - 2 * SOON__MAGAZINE);
    in_thread(make_and_drop_there, 1);
    ck_assert_uint_gt(soon__depot_count(), KEPT); /* it may be needed again */
    pass(SOON_MS(1100));
    in_thread(make_and_drop_there, 1);
    ck_assert_uint_le(soon__depot_count(), KEPT);
    ck_assert_uint_ge(soon__depot_count(), KEPT - 2 * SOON__MAGAZINE);
}
END_TEST

/* Without a thread's end: each time that a magazine is exchanged. Some of what
 * is left is then in the hands of who exchanges. */
START_TEST(what_a_burst_left_goes_little_by_little)
{
    if (!soon__future_cache_keeps()) {
        printf("SKIP: what the depot keeps: nothing is kept in this build\n");
        return;
    }
    make(FLOOD);
    drop(FLOOD);
    pass(SOON_MS(1100));
    for (int i = 0; i < 30; i++) {
        make(IN_HANDS);
        drop(IN_HANDS);
    }
    ck_assert_uint_le(soon__depot_count(), KEPT + IN_HANDS);
    ck_assert_uint_ge(soon__depot_count(), KEPT - IN_HANDS);
}
END_TEST

START_TEST(what_bursts_need_stays)
{
    if (!soon__future_cache_keeps()) {
        printf("SKIP: what the depot keeps: nothing is kept in this build\n");
        return;
    }
    for (int i = 0; i < 5; i++) {
        make(FLOOD);
        drop(FLOOD);
        pass(SOON_MS(300));
    }
    ck_assert_uint_ge(soon__depot_count(), FLOOD - 2 * SOON__MAGAZINE);
}
END_TEST

START_TEST(a_kept_one_counts_as_an_allocation_that_may_fail)
{
    soon_future *f = NULL;

    soon_future_unref(quiet_promise());
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    ck_assert_int_eq(soon_future_new(&f), -ENOMEM);
    EXPECT(!f && soon__inject_fired(SOON__INJECT_ALLOC));
    assert_ok(soon_future_new(&f));
    soon_future_unref(f);
}
END_TEST

/* The depot is as good in the child of a fork that comes at any moment. */
static void *churn(void *data)
{
    atomic_bool *stop = data;
    soon_future *f[4 * 64];

    while (!atomic_load(stop)) {
        for (size_t i = 0; i < 4 * 64; i++)
            f[i] = quiet_promise();
        for (size_t i = 0; i < 4 * 64; i++)
            soon_future_unref(f[i]);
    }
    return NULL;
}

START_TEST(a_fork_leaves_a_depot_that_works)
{
    atomic_bool stop = false;
    pthread_t thread;

    /* Nothing is at stake then; and memcheck takes what the thread has in its hands
     * for lost in the child, and thread sanitizer's allocator may have been in the
     * middle of something there, for which the child waits for ever. */
    if (!soon__future_cache_keeps()) {
        printf("SKIP: a fork beside a thread: nothing is kept in this build\n");
        return;
    }
    REQUIRE(pthread_create(&thread, NULL, churn, &stop) == 0);
    for (size_t i = 0; i < scaled(200); i++) {
        int status;
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            make(MANY);
            drop(MANY);
            _exit(0);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
}
END_TEST

/* Nobody who frees a future depends on memory for a magazine. */
START_TEST(without_memory_for_a_magazine_futures_go_back)
{
    bool fired = false;

    make(MANY);
    for (size_t i = 0; i < MANY; i++) {
        soon__inject_after(SOON__INJECT_SPARE, 1);
        soon_future_unref(held[i]);
        fired = fired || soon__inject_fired(SOON__INJECT_SPARE);
    }
    soon__inject_after(SOON__INJECT_SPARE, 0);
    EXPECT(fired == soon__future_cache_keeps());
    make(MANY);
    drop(MANY);
}
END_TEST

static void submit_to(soon_executor *ex, size_t n, bool at_once)
{
    soon_task tasks[MANY] = {{.fn = task_nothing}};

    for (size_t i = 1; i < n; i++)
        tasks[i] = tasks[0];
    if (at_once)
        assert_ok(soon_submit_many(ex, tasks, n, held));
    for (size_t i = 0; i < n && !at_once; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, &held[i]));
}

/* But not across two magazines. Taking the results goes by what is known, and leaves it. */
START_TEST(each_knows_the_one_that_is_made_a_little_later)
{
    soon_executor *ex = NULL;
    size_t known = 0;

    if (!soon__future_cache_keeps())
        return;
    assert_ok(soon_inline_new(&ex));
    make(MANY);
    drop(MANY);
    submit_to(ex, MANY, _i);
    for (size_t i = 0; i + SOON__AHEAD < MANY; i++) {
        assert_ok(soon_future_result(held[i], SOON_FOREVER, NULL, 0));
        if (!held[i]->ahead)
            continue;
        ck_assert_ptr_eq(held[i]->ahead, held[i + SOON__AHEAD]);
        known++;
    }
    ck_assert_uint_ge(known, MANY - (MANY / SOON__MAGAZINE + 2) * (SOON__AHEAD + 1));
    drop(MANY);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("memory of futures");
    TCase *tests = tcase_create("cache");

    tcase_add_test(tests, each_of_many_is_different_and_pending);
    tcase_add_test(tests, the_thread_that_freed_them_gets_the_same_again);
    tcase_add_test(tests, what_another_thread_freed_comes_back);
    tcase_add_loop_test(tests, each_knows_the_one_that_is_made_a_little_later, 0, 2);
    tcase_add_test(tests, threads_that_end_leave_nothing);
    tcase_add_test(tests, a_flood_is_given_back);
    tcase_add_test(tests, what_a_burst_left_goes_when_a_thread_ends);
    tcase_add_test(tests, what_a_burst_left_goes_little_by_little);
    tcase_add_test(tests, what_bursts_need_stays);
    tcase_add_test(tests, a_kept_one_counts_as_an_allocation_that_may_fail);
    tcase_add_test(tests, without_memory_for_a_magazine_futures_go_back);
    tcase_add_test(tests, a_fork_leaves_a_depot_that_works);
    suite_add_tcase(suite, tests);
    return suite;
}
