/* SPDX-License-Identifier: MIT */
/* Tasks that wait for each other by number: in a chain, and in cycles. */
#include "deadlock_cases.h"

struct wish {
    int first, last; /* the futures it waits for, in this order */
    bool meets;      /* it begins to wait only when all of them run */
    bool together;   /* it waits for all of them at once */
};

/* Gives what its wait gave: 0 or the first error. */
static int task_wish(soon_call *call, const void *arg, size_t arg_len)
{
    struct wish wish;
    int error = 0;

    REQUIRE(arg_len == sizeof wish);
    memcpy(&wish, arg, sizeof wish);
    gate_pass(table.ready);
    if (wish.meets) {
        bell_ring(table.joined);
        gate_pass(table.met);
    }
    if (wish.together) {
        error = soon_wait(&table.futures[wish.first], (size_t)(wish.last - wish.first + 1),
                          SOON_ALL_COMPLETED, SOON_FOREVER);
        error = error > 0 ? 0 : error;
    }
    for (int i = wish.first; i <= wish.last && !wish.together && !error; i++)
        error = soon_future_wait(table.futures[i], SOON_FOREVER);
    return soon_return(call, &error, sizeof error);
}

/* How many of the first n gave -EDEADLK; the others gave 0. */
static int count_deadlocks(int n)
{
    int deadlocks = 0;

    for (int i = 0; i < n; i++) {
        int error = 1;

        EXPECT(soon_future_result(table.futures[i], SOON_FOREVER, &error, sizeof error) == 0);
        EXPECT(error == 0 || error == -EDEADLK);
        deadlocks += error != 0;
    }
    unref_all(table.futures, (size_t)n);
    return deadlocks;
}

START_TEST(a_chain_in_the_worst_order_is_run_in_place)
{
    soon_executor *ex = pool_of(1);
    const int n = (int)scaled(TABLE);

    /* Each waits for the one that was submitted after it. */
    for (int i = 0; i < n; i++) {
        struct wish wish = {.first = i + 1, .last = i + 1 < n ? i + 1 : i}; /* the last: nobody */

        table.futures[i] = submit(ex, task_wish, &wish, sizeof wish);
    }
    gate_open(table.ready);
    ck_assert_int_eq(count_deadlocks(n), 0);
    assert_goes_on(ex);
}
END_TEST

/* ---- waits that could never end ---- */

/* Waits for itself in every way there is. */
static int task_wait_for_itself(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *self, *both[2];
    soon_as_completed *it;
    soon_error error;
    int value;

    (void)call, (void)arg, (void)arg_len;
    gate_pass(table.ready);
    self = table.futures[0];
    both[0] = table.futures[1];
    both[1] = self;
    REQUIRE(soon_future_wait(self, SOON_FOREVER) == -EDEADLK);
    REQUIRE(soon_future_wait(self, SOON_SECONDS(1000)) == -EDEADLK);
    REQUIRE(soon_future_wait(self, 0) == -ETIMEDOUT);
    REQUIRE(soon_future_result(self, SOON_FOREVER, &value, sizeof value) == -EDEADLK);
    REQUIRE(soon_future_value(self, SOON_FOREVER, NULL, NULL) == -EDEADLK);
    REQUIRE(soon_future_error(self, SOON_FOREVER, &error) == -EDEADLK);
    REQUIRE(soon_wait(&self, 1, SOON_FIRST_COMPLETED, SOON_FOREVER) == -EDEADLK);
    REQUIRE(soon_wait(both, 2, SOON_ALL_COMPLETED, SOON_FOREVER) == -EDEADLK);
    REQUIRE(soon_as_completed_new(&self, 1, &it) == 0);
    REQUIRE(soon_as_completed_next(it, SOON_FOREVER, &self) == -EDEADLK);
    soon_as_completed_free(it);
    return 0;
}

START_TEST(waiting_for_oneself_is_a_deadlock)
{
    soon_executor *ex = pool_of((unsigned)_i);

    table.futures[0] = submit(ex, task_wait_for_itself, NULL, 0);
    table.futures[1] = promise();
    gate_open(table.ready);
    assert_ok(soon_future_value(table.futures[0], SOON_FOREVER, NULL, NULL));
    unref_all(table.futures, 2);
    assert_goes_on(ex);
}
END_TEST

/* A cycle of n tasks on this many workers. They all run before one of them
 * waits, if there are enough workers for that. */
static void run_cycle(int n, unsigned workers, bool together)
{
    soon_executor *ex = pool_of(workers);
    bool meets = workers >= (unsigned)n;

    for (int i = 0; i < n; i++) {
        int next = (i + 1) % n;
        struct wish wish = {next, next, meets, together};

        table.futures[i] = submit(ex, task_wish, &wish, sizeof wish);
    }
    gate_open(table.ready);
    if (meets)
        bell_await(table.joined, (unsigned)n);
    gate_open(table.met);
    ck_assert_int_eq(count_deadlocks(n), 1);
    assert_goes_on(ex);
}

static const struct {
    int n;
    unsigned workers;
} cycles[] = {{2, 1}, {2, 2}, {2, 3}, {3, 1}, {3, 2}, {3, 3}, {50, 1}, {50, 2}, {10, 10}};

START_TEST(one_of_a_cycle_is_told)
{
    run_cycle(cycles[_i].n, cycles[_i].workers, false);
}
END_TEST

START_TEST(one_of_a_cycle_of_many_waits_is_told)
{
    run_cycle(cycles[_i].n, cycles[_i].workers, true);
}
END_TEST

START_TEST(a_cycle_through_one_of_all_is_a_deadlock)
{
    soon_executor *ex = pool_of(2);
    struct wish first = {1, 2, true, true}, second = {0, 0, true, false};

    /* 0 needs 1 and 2; 1 needs 0; 2 is there already. */
    table.futures[2] = promise();
    assert_ok(soon_future_set_result(table.futures[2], NULL, 0));
    table.futures[0] = submit(ex, task_wish, &first, sizeof first);
    table.futures[1] = submit(ex, task_wish, &second, sizeof second);
    gate_open(table.ready);
    bell_await(table.joined, 2);
    gate_open(table.met);
    ck_assert_int_eq(count_deadlocks(2), 1);
    soon_future_unref(table.futures[2]);
    assert_goes_on(ex);
}
END_TEST

START_TEST(two_pools_can_make_a_cycle_too)
{
    soon_executor *a = pool_of(1), *b = pool_of(1);
    struct wish first = {1, 1, true, false}, second = {0, 0, true, false};

    table.futures[0] = submit(a, task_wish, &first, sizeof first);
    table.futures[1] = submit(b, task_wish, &second, sizeof second);
    gate_open(table.ready);
    bell_await(table.joined, 2);
    gate_open(table.met);
    ck_assert_int_eq(count_deadlocks(2), 1);
    assert_goes_on(a);
    assert_goes_on(b);
}
END_TEST

static int task_wait_for_any(soon_call *call, const void *arg, size_t arg_len)
{
    int got;

    (void)arg, (void)arg_len;
    gate_pass(table.ready);
    bell_ring(table.joined);
    gate_pass(table.met); /* the other one runs by now, and not on this stack */
    got = soon_wait(&table.futures[1], 2, SOON_FIRST_COMPLETED, SOON_FOREVER);
    got = got > 0 ? 0 : got;
    return soon_return(call, &got, sizeof got);
}

START_TEST(a_wait_that_something_else_can_end_is_no_deadlock)
{
    soon_executor *ex = pool_of(2);
    struct wish second = {0, 0, true, false};

    /* 0 needs 1 or 2; 1 needs 0; 2 comes from outside. */
    table.futures[2] = promise();
    table.futures[0] = submit(ex, task_wait_for_any, NULL, 0);
    table.futures[1] = submit(ex, task_wish, &second, sizeof second);
    gate_open(table.ready);
    bell_await(table.joined, 2);
    gate_open(table.met);
    ck_assert(!bell_rings_within(table.joined, SOON_MS(20)));
    ck_assert(soon_future_running(table.futures[0]));
    assert_ok(soon_future_set_result(table.futures[2], NULL, 0));
    ck_assert_int_eq(count_deadlocks(2), 0);
    soon_future_unref(table.futures[2]);
    assert_goes_on(ex);
}
END_TEST

void add_cycle_cases(Suite *suite)
{
    TCase *tc = table_case(suite, "cycles");
    const int n = (int)(sizeof cycles / sizeof cycles[0]);

    tcase_add_test(tc, a_chain_in_the_worst_order_is_run_in_place);
    tcase_add_loop_test(tc, waiting_for_oneself_is_a_deadlock, 1, 3);
    tcase_add_loop_test(tc, one_of_a_cycle_is_told, 0, n);
    tcase_add_loop_test(tc, one_of_a_cycle_of_many_waits_is_told, 0, n);
    tcase_add_test(tc, a_cycle_through_one_of_all_is_a_deadlock);
    tcase_add_test(tc, two_pools_can_make_a_cycle_too);
    tcase_add_test(tc, a_wait_that_something_else_can_end_is_no_deadlock);
}
