/* SPDX-License-Identifier: MIT */
/*
 * Tasks that wait for tasks: a pool never stalls on it, at any depth and with
 * any number of workers, and a wait that could never end says -EDEADLK.
 */
#include "support.h"

#include "os/inject.h"

#include <sched.h>

static soon_executor *pool_of(unsigned workers)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex));
    return ex;
}

/* The pool still works, and then ends. */
static void assert_goes_on(soon_executor *ex)
{
    soon_future *f = submit_int(ex, task_square, 12);

    assert_result_int(f, 144);
    soon_future_unref(f);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

/* ---- no stall at any depth ---- */

struct nest {
    soon_executor *ex[2]; /* each level goes to the other one */
    int depth;
};

/* Gives the number of levels below it, itself included. */
static int task_nest(soon_call *call, const void *arg, size_t arg_len)
{
    struct nest nest;
    soon_future *f;
    int below = 0;

    REQUIRE(arg_len == sizeof nest);
    memcpy(&nest, arg, sizeof nest);
    if (nest.depth-- > 0) {
        soon_executor *next = nest.ex[1];

        nest.ex[1] = nest.ex[0];
        nest.ex[0] = next;
        REQUIRE(soon_submit(next, task_nest, &nest, sizeof nest, &f) == 0);
        REQUIRE(soon_future_result(f, SOON_FOREVER, &below, sizeof below) == 0);
        soon_future_unref(f);
    }
    below++;
    return soon_return(call, &below, sizeof below);
}

START_TEST(one_worker_nests_to_any_depth)
{
    static const int depths[] = {10, 1000, 20000};
    const int depth = _i == 2 ? (int)scaled(20000) : depths[_i];
    soon_executor *ex = pool_of(1);
    struct nest nest = {{ex, ex}, depth};
    soon_future *f = submit(ex, task_nest, &nest, sizeof nest);
    soon_stats stats;

    assert_result_int(f, depth + 1);
    soon_future_unref(f);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_gt(stats.helped, 0);
    assert_goes_on(ex);
}
END_TEST

START_TEST(a_small_stack_nests_as_deep)
{
    const int depth = (int)scaled(5000);
    soon_executor *ex;
    struct nest nest = {.depth = depth};
    soon_future *f;

    assert_ok(soon_thread_pool_new(
        &(soon_thread_pool_options){.max_workers = 1, .stack_size = 256 << 10}, &ex));
    nest.ex[0] = nest.ex[1] = ex;
    f = submit(ex, task_nest, &nest, sizeof nest);
    assert_result_int(f, depth + 1);
    soon_future_unref(f);
    assert_goes_on(ex);
}
END_TEST

START_TEST(two_pools_wait_for_each_other_in_turn)
{
    soon_executor *a = pool_of(1), *b = pool_of(1);
    struct nest nest = {{a, b}, 40};
    soon_future *f = submit(a, task_nest, &nest, sizeof nest);

    assert_result_int(f, 41);
    soon_future_unref(f);
    assert_goes_on(a);
    assert_goes_on(b);
}
END_TEST

struct fib {
    soon_executor *ex;
    int n;
};

static int task_fib(soon_call *call, const void *arg, size_t arg_len)
{
    struct fib fib;
    soon_future *f[2];
    int value, part;

    REQUIRE(arg_len == sizeof fib);
    memcpy(&fib, arg, sizeof fib);
    value = fib.n;
    if (fib.n >= 2) {
        value = 0;
        for (int i = 0; i < 2; i++) {
            fib.n--;
            REQUIRE(soon_submit(fib.ex, task_fib, &fib, sizeof fib, &f[i]) == 0);
        }
        if (fib.n % 2)
            REQUIRE(soon_wait(f, 2, SOON_ALL_COMPLETED, SOON_FOREVER) == 2);
        for (int i = 0; i < 2; i++) {
            REQUIRE(soon_future_result(f[i], SOON_FOREVER, &part, sizeof part) == 0);
            value += part;
            soon_future_unref(f[i]);
        }
    }
    return soon_return(call, &value, sizeof value);
}

START_TEST(fork_and_join_to_the_end)
{
    soon_executor *ex = pool_of((unsigned)_i);
    struct fib fib = {ex, scaled(10) == 10 ? 18 : 12};
    soon_future *f = submit(ex, task_fib, &fib, sizeof fib);

    assert_result_int(f, fib.n == 18 ? 2584 : 144);
    soon_future_unref(f);
    assert_goes_on(ex);
}
END_TEST

/* ---- futures in a table that tasks wait for by number ---- */

enum { TABLE = 1000 };

static struct {
    soon_executor *ex;
    soon_future *futures[TABLE];
    struct gate ready;  /* opened when the table is full */
    struct bell joined; /* rings once for each task that runs, if they meet */
    struct gate met;
} table;

static void table_up(void)
{
    memset(&table, 0, sizeof table);
    table.ready = gate_make();
    table.joined = bell_make();
    table.met = gate_make();
}

static void table_down(void)
{
    gate_free(table.ready);
    bell_free(table.joined);
    gate_free(table.met);
}

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

static void add_cycles(Suite *suite)
{
    TCase *tc = test_case(suite, "cycles");
    const int n = (int)(sizeof cycles / sizeof cycles[0]);

    tcase_add_checked_fixture(tc, table_up, table_down);
    tcase_add_loop_test(tc, waiting_for_oneself_is_a_deadlock, 1, 3);
    tcase_add_loop_test(tc, one_of_a_cycle_is_told, 0, n);
    tcase_add_loop_test(tc, one_of_a_cycle_of_many_waits_is_told, 0, n);
    tcase_add_test(tc, a_cycle_through_one_of_all_is_a_deadlock);
    tcase_add_test(tc, two_pools_can_make_a_cycle_too);
    tcase_add_test(tc, a_wait_that_something_else_can_end_is_no_deadlock);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("deadlock");
    TCase *tc = test_case(suite, "depth");

    tcase_add_checked_fixture(tc, table_up, table_down);
    tcase_add_loop_test(tc, one_worker_nests_to_any_depth, 0, 3);
    tcase_add_test(tc, a_small_stack_nests_as_deep);
    tcase_add_test(tc, two_pools_wait_for_each_other_in_turn);
    tcase_add_loop_test(tc, fork_and_join_to_the_end, 1, 5);
    tcase_add_test(tc, a_chain_in_the_worst_order_is_run_in_place);
    add_cycles(suite);
    tc = test_case(suite, "waits");
    tcase_add_checked_fixture(tc, table_up, table_down);
    tcase_add_loop_test(tc, a_promise_that_a_queued_task_keeps_is_kept, 0, 4);
    tcase_add_test(tc, a_spare_that_cannot_start_is_made_up_for_later);
    tcase_add_loop_test(tc, a_task_can_do_on_its_own_pool_what_others_do, 1, 4);
    tcase_add_test(tc, a_callback_in_a_worker_waits_like_a_task);
    tcase_add_test(tc, a_task_can_begin_its_pools_end_but_not_wait_for_it);
    tcase_add_test(tc, a_task_can_wait_for_the_end_of_another_pool);
    return suite;
}
