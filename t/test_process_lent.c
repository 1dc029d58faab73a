/* SPDX-License-Identifier: MIT */
/*
 * Results that are lent stay as they are, whatever becomes of their worker and
 * their executor; and what is given up is gone.
 */
#include "payload.h"

#include <sched.h>
#include <unistd.h>

/* ---- what is lent ---- */

START_TEST(what_is_lent_stays_as_it_is)
{
    static const size_t lent[] = {100, 300, 70 * KiB, 200 * KiB, MiB, 3 * MiB};
    enum { LENT = sizeof lent / sizeof lent[0] };
    soon_executor *ex = one_worker(_i);
    const void *value[LENT];
    soon_future *f[LENT];
    size_t len;

    for (int i = 0; i < LENT; i++) {
        f[i] = submit_order(ex, lent[i], (unsigned)i, i % 2);
        assert_ok(soon_future_value(f[i], SOON_FOREVER, &value[i], &len));
    }
    for (unsigned n = 0; n < 100; n++) {
        soon_future *other = submit_order(ex, lent[n % LENT], 1000 + n, n % 2);

        assert_painted(other, lent[n % LENT], 1000 + n);
        soon_future_unref(other);
    }
    for (int i = 0; i < LENT; i++)
        ck_assert(is_painted(value[i], lent[i], (unsigned)i));
    /* After its worker's death ... */
    soon_future *dead = submit_death(ex, DIE_SEGV);
    assert_owner_dead(dead, SIGSEGV, 0, NULL);
    soon_future_unref(dead);
    for (int i = 0; i < LENT; i++)
        ck_assert(is_painted(value[i], lent[i], (unsigned)i));
    /* ... and after its executor's. */
    pool_down(ex, LENT + 101);
    for (int i = 0; i < LENT; i++) {
        assert_painted(f[i], lent[i], (unsigned)i);
        ck_assert(is_painted(value[i], lent[i], (unsigned)i));
    }
    unref_all(f, LENT);
}
END_TEST

START_TEST(a_hundred_large_results_can_be_held)
{
    enum { N = 100 };
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    soon_future *f[N];

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++)
            f[i] = submit_order(ex, MiB, (unsigned)i, true);
        for (int i = 0; i < N; i++)
            assert_painted(f[i], MiB, (unsigned)i);
        for (int i = 0; i < N; i++)
            assert_painted(f[i], MiB, (unsigned)i);
        unref_all(f, N);
    }
    pool_down(ex, 2 * N);
}
END_TEST

static void check_in_callback(soon_future *f, void *data)
{
    const void *value;
    size_t len;

    REQUIRE(soon_future_value(f, 0, &value, &len) == 0);
    REQUIRE(len == MiB && is_painted(value, len, 3));
    atomic_fetch_add((shared_count *)data, 1);
}

/* The last reference goes with the callback that looked at it. */
START_TEST(a_callback_may_be_the_only_one_to_look)
{
    enum { N = 30 };
    soon_executor *ex = one_worker(_i);
    shared_count looked = 0;

    for (int i = 0; i < N; i++) {
        soon_future *f = submit_order(ex, MiB, 3, true);

        assert_ok(soon_future_add_done_callback(f, check_in_callback, &looked));
        soon_future_unref(f);
    }
    while (atomic_load(&looked) < N)
        sched_yield();
    pool_down(ex, N);
}
END_TEST

/* ---- what is given up ---- */

START_TEST(memory_of_large_payloads_is_given_back)
{
    const size_t len = scaled(64) * MiB;
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit(ex, task_pid, NULL, 0);
    const pid_t worker = pid_of(f);
    size_t here, there;
    unsigned descriptors;

    soon_future_unref(f);
    f = submit_painted(ex, MiB);
    assert_painted(f, MiB, seed_of(MiB));
    soon_future_unref(f);
    here = mapping_bytes(getpid());
    there = mapping_bytes(worker);
    descriptors = descriptor_count();
    for (int round = 0; round < 3; round++) {
        f = submit_painted(ex, len);
        assert_painted(f, len, seed_of(len));
        ck_assert_uint_ge(mapping_bytes(getpid()), here + len);
        soon_future_unref(f);
        /* The worker gives it up a moment after it has told of its end, and the
         * pool a moment after the future is done. */
        while (mapping_bytes(worker) > there || mapping_bytes(getpid()) > here)
            sched_yield();
        ck_assert_uint_eq(descriptor_count(), descriptors);
    }
    pool_down(ex, 5);
}
END_TEST

START_TEST(large_arguments_of_cancelled_tasks_are_given_back)
{
    enum { N = 40 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f[N], *running;
    unsigned descriptors;
    size_t here;

    for (int i = 0; i < 100; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    running = submit_painted(ex, MiB); /* what is kept for large arguments is there then */
    assert_painted(running, MiB, seed_of(MiB));
    soon_future_unref(running);
    perch(ex, &hold, &running);
    here = mapping_bytes(getpid());
    descriptors = descriptor_count();
    for (int i = 0; i < N; i++)
        f[i] = submit_painted(ex, i % 3 == 0 ? 3 * MiB : i % 3 == 1 ? MiB : 300);
    for (int i = 0; i < N; i++)
        ck_assert(soon_future_cancel(f[i]));
    unref_all(f, N);
    gate_open(hold.release);
    assert_result_int(running, 0);
    soon_future_unref(running);
    running = submit_painted(ex, 2 * MiB);
    assert_painted(running, 2 * MiB, seed_of(2 * MiB));
    soon_future_unref(running);
    while (mapping_bytes(getpid()) > here)
        sched_yield();
    ck_assert_uint_eq(descriptor_count(), descriptors);
    pool_down(ex, 103 + N);
    hold_free(&hold);
}
END_TEST

/* ---- and deaths ---- */

START_TEST(a_death_loses_no_argument_that_waited)
{
    enum { N = 20 };
    static const size_t lengths[] = {MiB, 200, 3 * MiB, 100 * KiB};
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *f[N];
    pid_t pid;

    for (int i = 0; i < 100; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    pid = perch(ex, &hold, &running);
    for (int i = 0; i < N; i++)
        f[i] = submit_painted(ex, lengths[i % 4]);
    REQUIRE(kill(pid, SIGKILL) == 0);
    assert_owner_dead(running, SIGKILL, 0, NULL);
    for (int i = 0; i < N; i++)
        assert_painted(f[i], lengths[i % 4], seed_of(lengths[i % 4]));
    soon_future_unref(running);
    unref_all(f, N);
    pool_down(ex, N + 101);
    hold_free(&hold);
}
END_TEST

/* CPython's test_crash_big_data: the worker dies in the middle of a large
 * result. */
static int task_die_writing(soon_call *call, const void *arg, size_t arg_len)
{
    const enum death how = DIE_KILL;
    unsigned char *room;
    size_t len;

    REQUIRE(arg_len == sizeof len);
    memcpy(&len, arg, sizeof len);
    room = soon_return_buffer(call, len);
    REQUIRE(room);
    memset(room, 'x', len / 2);
    return task_die(call, &how, sizeof how);
}

START_TEST(a_death_in_the_middle_of_a_result)
{
    soon_executor *ex = one_worker(_i);

    for (int i = 0; i < SIZES; i++) {
        soon_future *f = submit(ex, task_die_writing, &payload_sizes[i], sizeof payload_sizes[i]);

        assert_owner_dead(f, SIGKILL, 0, NULL);
        soon_future_unref(f);
    }
    pool_down(ex, SIZES);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_lent");
    TCase *lent = test_case(suite, "lent");
    TCase *given = test_case(suite, "given up");
    TCase *deaths = test_case(suite, "deaths");

    add_over_methods(lent, what_is_lent_stays_as_it_is);
    add_over_methods(lent, a_hundred_large_results_can_be_held);
    add_over_methods(lent, a_callback_may_be_the_only_one_to_look);

    add_over_methods(given, memory_of_large_payloads_is_given_back);
    add_over_methods(given, large_arguments_of_cancelled_tasks_are_given_back);

    add_over_methods(deaths, a_death_loses_no_argument_that_waited);
    add_over_methods(deaths, a_death_in_the_middle_of_a_result);
    return suite;
}
