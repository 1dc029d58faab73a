/* SPDX-License-Identifier: MIT */
/*
 * Whatever else waits in a worker: for a promise that needs a spare one to be
 * kept, for many at once, in a callback, for the end of a pool.
 */
#include "deadlock_cases.h"

#include "os/inject.h"

#include <sched.h>

/* ---- spare workers ---- */

static _Thread_local bool in_a_wait;

/* Waits for the promise in table.futures[0]. */
static int task_wait_for_promise(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(!in_a_wait);
    in_a_wait = true;
    bell_ring(table.joined);
    REQUIRE(soon_future_wait(table.futures[0], SOON_FOREVER) == 0);
    in_a_wait = false;
    return 0;
}

/* Keeps it, on a stack that no waiting task is on. */
static int task_keep_promise(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(!in_a_wait);
    return soon_future_set_result(table.futures[0], NULL, 0);
}

static const struct {
    unsigned workers;
    bool queued_first; /* the promise's keeper is queued before the waiters sleep */
} spares[] = {{1, true}, {1, false}, {3, true}, {3, false}};

START_TEST(a_promise_that_a_queued_task_keeps_is_kept)
{
    const unsigned workers = spares[_i].workers;
    struct hold hold = hold_make();
    soon_executor *ex = pool_of(workers);
    soon_future *waiters[3], *keeper;
    soon_stats stats;

    table.futures[0] = promise();
    for (unsigned i = 0; i < workers && spares[_i].queued_first; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    for (unsigned i = 0; i < workers; i++)
        waiters[i] = submit(ex, task_wait_for_promise, NULL, 0);
    if (!spares[_i].queued_first)
        bell_await(table.joined, workers);
    keeper = submit(ex, task_keep_promise, NULL, 0);
    gate_open(hold.release);
    assert_ok(soon_future_value(keeper, SOON_FOREVER, NULL, NULL));
    for (unsigned i = 0; i < workers; i++)
        assert_ok(soon_future_value(waiters[i], SOON_FOREVER, NULL, NULL));
    /* A spare stays only as long as it is needed. */
    do
        assert_ok(soon_executor_stats(ex, &stats));
    while (stats.workers > workers && sched_yield() == 0);
    unref_all(waiters, workers);
    soon_future_unref(keeper);
    soon_future_unref(table.futures[0]);
    assert_goes_on(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(a_spare_that_cannot_start_is_made_up_for_later)
{
    soon_executor *ex = pool_of(1);
    soon_future *waiter, *keeper;
    int error;

    table.futures[0] = promise();
    waiter = submit(ex, task_wait_for_promise, NULL, 0);
    bell_await(table.joined, 1);
    /* From when the worker sleeps, each submit needs a spare. */
    do {
        soon__inject_after(SOON__INJECT_THREAD, 1);
        error = soon_submit(ex, task_nothing, NULL, 0, NULL);
        EXPECT(error == 0 || error == -EAGAIN);
    } while (!soon__inject_fired(SOON__INJECT_THREAD));
    soon__inject_after(SOON__INJECT_THREAD, 0);
    keeper = submit(ex, task_keep_promise, NULL, 0);
    assert_ok(soon_future_value(keeper, SOON_FOREVER, NULL, NULL));
    assert_ok(soon_future_value(waiter, SOON_FOREVER, NULL, NULL));
    soon_future_unref(waiter);
    soon_future_unref(keeper);
    soon_future_unref(table.futures[0]);
    assert_goes_on(ex);
}
END_TEST

/* ---- everything else that waits ---- */

/* Runs children of its own pool through an iterator, a map and an imap. */
static int count_to_ten(void *source, const void **item, size_t *len)
{
    int *n = source;

    if (*n == 10)
        return 0;
    ++*n;
    *item = n;
    *len = sizeof *n;
    return 1;
}

static int sum_as_completed(soon_executor *ex)
{
    soon_as_completed *it;
    soon_future *f;
    int sum = 0, square, got;

    REQUIRE(soon_as_completed_new(NULL, 0, &it) == 0);
    for (int i = 1; i <= 10; i++) {
        REQUIRE(soon_submit(ex, task_square, &i, sizeof i, &f) == 0);
        REQUIRE(soon_as_completed_add(it, f) == 0);
        soon_future_unref(f);
    }
    while ((got = soon_as_completed_next(it, SOON_FOREVER, &f)) == 1) {
        REQUIRE(soon_future_result(f, 0, &square, sizeof square) == 0);
        sum += square;
        soon_future_unref(f);
    }
    REQUIRE(got == 0);
    soon_as_completed_free(it);
    return sum;
}

static int sum_map(soon_executor *ex)
{
    int items[10], squares[10], sum = 0;

    for (int i = 0; i < 10; i++)
        items[i] = i + 1;
    REQUIRE(soon_map(ex, task_square, items, sizeof(int), 10, squares, sizeof(int), NULL) == 0);
    for (int i = 0; i < 10; i++)
        sum += squares[i];
    return sum;
}

static int sum_imap(soon_executor *ex)
{
    const soon_map_options options = {.buffer_size = 3};
    soon_imap *it;
    const void *value;
    size_t len;
    int n = 0, sum = 0, got;

    REQUIRE(soon_imap_new(ex, task_square, count_to_ten, &n, &options, &it) == 0);
    while ((got = soon_imap_next(it, &value, &len)) == 1)
        sum += *(const int *)value;
    REQUIRE(got == 0 && len == sizeof(int));
    soon_imap_free(it);
    return sum;
}

static int task_sums(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;
    int sums[3];

    REQUIRE(arg_len == sizeof ex);
    memcpy(&ex, arg, sizeof ex);
    sums[0] = sum_as_completed(ex);
    sums[1] = sum_map(ex);
    sums[2] = sum_imap(ex);
    return soon_return(call, sums, sizeof sums);
}

START_TEST(a_task_can_do_on_its_own_pool_what_others_do)
{
    static const int expected[] = {385, 385, 385};
    soon_executor *ex = pool_of((unsigned)_i);
    soon_future *futures[4];

    for (int i = 0; i < 4; i++)
        futures[i] = submit(ex, task_sums, &ex, sizeof ex);
    for (int i = 0; i < 4; i++)
        assert_result_bytes(futures[i], expected, sizeof expected);
    unref_all(futures, 4);
    assert_goes_on(ex);
}
END_TEST

static void square_in_callback(soon_future *f, void *data)
{
    soon_executor *ex = data;
    soon_future *g;
    int n = 0;

    REQUIRE(soon_future_done(f));
    REQUIRE(soon_submit(ex, task_square, &(int){11}, sizeof n, &g) == 0);
    REQUIRE(soon_future_result(g, SOON_FOREVER, &n, sizeof n) == 0);
    REQUIRE(n == 121);
    REQUIRE(soon_shutdown(ex, SOON_FOREVER, 0) == -EDEADLK);
    soon_future_unref(g);
    bell_ring(table.joined);
}

START_TEST(a_callback_in_a_worker_waits_like_a_task)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_of(1);
    soon_future *f = submit(ex, task_hold, &hold, sizeof hold);

    assert_ok(soon_future_add_done_callback(f, square_in_callback, ex));
    gate_open(hold.release);
    bell_await(table.joined, 1);
    soon_future_unref(f);
    assert_goes_on(ex);
    hold_free(&hold);
}
END_TEST

/* ---- shutdown ---- */

static int task_shut_down(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;
    soon_stats before, after;

    (void)call;
    REQUIRE(arg_len == sizeof ex);
    memcpy(&ex, arg, sizeof ex);
    gate_pass(table.ready);
    REQUIRE(soon_executor_stats(ex, &before) == 0);
    REQUIRE(soon_shutdown(ex, SOON_FOREVER, 0) == -EDEADLK);
    REQUIRE(soon_shutdown(ex, SOON_FOREVER, SOON_CANCEL_FUTURES) == -EDEADLK);
    REQUIRE(soon_shutdown(ex, SOON_MS(1), 0) == -EDEADLK);
    /* Nothing has changed. */
    REQUIRE(soon_executor_stats(ex, &after) == 0);
    REQUIRE(after.cancelled == before.cancelled);
    REQUIRE(soon_submit(ex, task_nothing, NULL, 0, NULL) == 0);
    REQUIRE(soon_shutdown(ex, 0, 0) == 0);
    REQUIRE(soon_submit(ex, task_nothing, NULL, 0, NULL) == -ESHUTDOWN);
    return 0;
}

START_TEST(a_task_can_begin_its_pools_end_but_not_wait_for_it)
{
    soon_executor *ex = pool_of(1);
    soon_future *f = submit(ex, task_shut_down, &ex, sizeof ex);
    soon_future *queued = submit_int(ex, task_square, 6);

    gate_open(table.ready);
    assert_ok(soon_future_value(f, SOON_FOREVER, NULL, NULL));
    assert_result_int(queued, 36);
    soon_future_unref(f);
    soon_future_unref(queued);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 3);
    soon_executor_unref(ex);
}
END_TEST

static int task_shut_other_down(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;

    (void)call;
    REQUIRE(arg_len == sizeof ex);
    memcpy(&ex, arg, sizeof ex);
    return soon_shutdown(ex, SOON_FOREVER, 0);
}

START_TEST(a_task_can_wait_for_the_end_of_another_pool)
{
    soon_executor *ex = pool_of(1), *other = pool_of(1);
    soon_future *queued = submit_int(other, task_square, 6);
    soon_future *f = submit(ex, task_shut_other_down, &other, sizeof other);

    assert_ok(soon_future_value(f, SOON_FOREVER, NULL, NULL));
    ck_assert(soon_future_done(queued));
    soon_future_unref(queued);
    soon_future_unref(f);
    soon_executor_unref(other);
    assert_goes_on(ex);
}
END_TEST

void add_wait_cases(Suite *suite)
{
    TCase *tc = table_case(suite, "waits");

    tcase_add_loop_test(tc, a_promise_that_a_queued_task_keeps_is_kept, 0, 4);
    tcase_add_test(tc, a_spare_that_cannot_start_is_made_up_for_later);
    tcase_add_loop_test(tc, a_task_can_do_on_its_own_pool_what_others_do, 1, 4);
    tcase_add_test(tc, a_callback_in_a_worker_waits_like_a_task);
    tcase_add_test(tc, a_task_can_begin_its_pools_end_but_not_wait_for_it);
    tcase_add_test(tc, a_task_can_wait_for_the_end_of_another_pool);
}
