/* SPDX-License-Identifier: MIT */
/* Tasks that wait for tasks below them: to any depth, on any stack. */
#include "deadlock_cases.h"

soon_executor *pool_of(unsigned workers)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex));
    return ex;
}

void assert_goes_on(soon_executor *ex)
{
    soon_future *f = submit_int(ex, task_square, 12);

    assert_result_int(f, 144);
    soon_future_unref(f);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

/* ---- the table ---- */

struct table table;

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

TCase *table_case(Suite *suite, const char *name)
{
    TCase *tc = test_case(suite, name);

    tcase_add_checked_fixture(tc, table_up, table_down);
    return tc;
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

Suite *test_suite(void)
{
    Suite *suite = suite_create("deadlock");
    TCase *depth = test_case(suite, "depth");

    tcase_add_loop_test(depth, one_worker_nests_to_any_depth, 0, 3);
    tcase_add_test(depth, a_small_stack_nests_as_deep);
    tcase_add_test(depth, two_pools_wait_for_each_other_in_turn);
    tcase_add_loop_test(depth, fork_and_join_to_the_end, 1, 5);
    add_cycle_cases(suite);
    add_wait_cases(suite);
    return suite;
}
