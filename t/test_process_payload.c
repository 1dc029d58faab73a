/* SPDX-License-Identifier: MIT */
/*
 * Payloads go there and come back: in the slot, in shared memory, in a file of
 * their own, and more of them than fit at once.
 */
#include "payload.h"

#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- every size ---- */

/* A child that is there for as long as its worker has what the task had, the
 * memory for its result as well. */
static int task_fork(soon_call *call, const void *arg, size_t arg_len)
{
    char *value = soon_return_buffer(call, arg_len), name[16];

    REQUIRE(value);
    memcpy(value, arg, arg_len);
    prctl(PR_GET_NAME, name);
    prctl(PR_SET_NAME, "forked"); /* from its first moment: it is no worker, and dies later */
    if (fork() == 0)
        task_for_ever(NULL, NULL, 0);
    prctl(PR_SET_NAME, name);
    return 0;
}

START_TEST(the_result_of_a_task_that_forks_comes_back)
{
    enum { LONG = 3 << 20 };
    soon_executor *ex = one_worker(_i);
    char *bytes = malloc(LONG);

    REQUIRE(bytes);
    memset(bytes, 'f', LONG);
    for (int len = 1; len <= LONG; len += LONG / 2 - 1) {
        soon_future *f = submit(ex, task_fork, bytes, (size_t)len);

        assert_result_bytes(f, bytes, (size_t)len);
        soon_future_unref(f);
    }
    free(bytes);
    pool_down(ex, 3);
}
END_TEST

START_TEST(every_size_goes_there_and_comes_back)
{
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    soon_future *f[SIZES];

    for (int i = 0; i < SIZES; i++)
        f[i] = submit_painted(ex, payload_sizes[i]);
    for (int i = SIZES - 1; i >= 0; i--)
        assert_painted(f[i], payload_sizes[i], seed_of(payload_sizes[i]));
    unref_all(f, SIZES);
    pool_down(ex, SIZES);
}
END_TEST

START_TEST(every_size_can_be_written_in_place_or_returned)
{
    soon_executor *ex = one_worker(_i);

    for (int in_place = 0; in_place < 2; in_place++)
        for (int i = 0; i < SIZES; i++) {
            soon_future *f = submit_order(ex, payload_sizes[i], (unsigned)i, in_place);

            assert_painted(f, payload_sizes[i], (unsigned)i);
            soon_future_unref(f);
        }
    ck_assert_uint_eq(pool_figures(ex).workers_started, 1);
    pool_down(ex, 2 * SIZES);
}
END_TEST

START_TEST(a_huge_one_goes_there_and_comes_back)
{
    const size_t len = scaled(64) * MiB + 4097;
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit_painted(ex, len);

    assert_painted(f, len, seed_of(len));
    soon_future_unref(f);
    f = submit_order(ex, len, 5, true);
    assert_painted(f, len, 5);
    soon_future_unref(f);
    pool_down(ex, 2);
}
END_TEST

/* The result is part of the argument, wherever that lies. */
static int task_middle(soon_call *call, const void *arg, size_t arg_len)
{
    const unsigned char *bytes = arg;

    REQUIRE(soon_return(call, bytes, arg_len) == 0);
    return soon_return(call, bytes + arg_len / 4, arg_len / 2);
}

START_TEST(a_result_may_be_part_of_the_argument)
{
    soon_executor *ex = one_worker(_i);

    for (int i = 0; i < SIZES; i++) {
        unsigned char *bytes = painted(payload_sizes[i]);
        soon_future *f = submit(ex, task_middle, bytes, payload_sizes[i]);

        assert_result_bytes(f, bytes + payload_sizes[i] / 4, payload_sizes[i] / 2);
        soon_future_unref(f);
        free(bytes);
    }
    pool_down(ex, SIZES);
}
END_TEST

/* Results of all sizes one after the other; the last one wins. */
static int task_change_its_mind(soon_call *call, const void *arg, size_t arg_len)
{
    int last, pass;

    REQUIRE(arg_len == sizeof last);
    memcpy(&last, arg, sizeof last);
    for (pass = 0; pass < 2; pass++)
        for (int i = pass; i < SIZES; i += 2) {
            unsigned char *room = soon_return_buffer(call, payload_sizes[i]);

            REQUIRE(room && (uintptr_t)room % 16 == 0);
            memset(room, 0xdd, payload_sizes[i]);
        }
    for (int i = 0; i <= last; i++) {
        unsigned char *room = soon_return_buffer(call, payload_sizes[i]);

        REQUIRE(room);
        paint(room, payload_sizes[i], (unsigned)i);
    }
    return 0;
}

START_TEST(the_last_of_many_results_wins)
{
    soon_executor *ex = one_worker(_i);

    for (int last = 0; last < SIZES; last += 3) {
        soon_future *f = submit_int(ex, task_change_its_mind, last);

        assert_painted(f, payload_sizes[last], (unsigned)last);
        soon_future_unref(f);
    }
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 0);
    pool_down(ex, (SIZES + 2) / 3);
}
END_TEST

static int task_fail_after_result(soon_call *call, const void *arg, size_t arg_len)
{
    char message[6000];

    (void)arg;
    REQUIRE(soon_return_buffer(call, arg_len));
    memset(message, 'm', sizeof message);
    message[arg_len < sizeof message ? arg_len : sizeof message - 1] = '\0';
    return soon_fail(call, 1000, "%s", message);
}

START_TEST(a_message_of_any_length_comes_back)
{
    static const size_t lengths[] = {1, 127, 128, 129, 1000, 4095, 4096, 5999};
    soon_executor *ex = one_worker(_i);
    char zeros[5999] = "", expected[6000];

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        soon_future *f = submit(ex, task_fail_after_result, zeros, lengths[i]);
        const size_t len = lengths[i] < 4095 ? lengths[i] : 4095;
        soon_error error;

        memset(expected, 'm', len);
        expected[len] = '\0';
        assert_ok(soon_future_error(f, SOON_FOREVER, &error));
        ck_assert_int_eq(error.code, 1000);
        ck_assert_int_eq(error.origin, SOON_FROM_TASK);
        ck_assert_msg(strcmp(error.message, expected) == 0, "%zu bytes: \"%s\"", len,
                      error.message);
        soon_future_unref(f);
    }
    pool_down(ex, 8);
}
END_TEST

/* ---- more than fits ---- */

START_TEST(more_arguments_than_fit_at_once)
{
    enum { N = 120 };
    static const size_t lengths[] = {64 * KiB, 300 * KiB, MiB, 3 * MiB, 200};
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f[N];

    for (int i = 0; i < 100; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    perch(ex, &hold, NULL);
    for (int i = 0; i < N; i++)
        f[i] = submit_painted(ex, lengths[i % 5]);
    gate_open(hold.release);
    for (int i = 0; i < N; i++)
        assert_painted(f[i], lengths[i % 5], seed_of(lengths[i % 5]));
    unref_all(f, N);
    pool_down(ex, N + 101);
    hold_free(&hold);
}
END_TEST

/* Nobody takes a result before everything is submitted, and the queue is
 * short: whoever waits for room must not be waited for. */
START_TEST(huge_arguments_and_results_on_a_short_queue)
{
    enum { N = 24 };
    static const size_t lengths[] = {MiB, 3 * MiB, 2 * MiB, 5 * MiB};
    soon_executor *ex =
        pool_up(_i, &(soon_process_pool_options){.max_workers = 2, .max_pending = 2});
    soon_future *f[N];

    for (int i = 0; i < N; i++)
        f[i] = submit_painted(ex, lengths[i % 4]);
    for (int i = 0; i < N; i++)
        assert_painted(f[i], lengths[i % 4], seed_of(lengths[i % 4]));
    unref_all(f, N);
    pool_down(ex, N);
}
END_TEST

struct sender {
    soon_executor *ex;
    unsigned seed;
};

static void send_many(void *data)
{
    const struct sender *sender = data;
    uint32_t x = sender->seed;

    for (size_t n = scaled(100); n > 0; n--) {
        const void *value;
        unsigned char *bytes;
        soon_future *f;
        size_t len, got;

        x = x * 1664525u + 1013904223u;
        len = (x >> 8) % (n % 10 == 0 ? 3 * MiB : n % 3 == 0 ? 100 * KiB : 400);
        bytes = painted(len);
        REQUIRE(soon_submit(sender->ex, task_check_and_echo, bytes, len, &f) == 0);
        REQUIRE(soon_future_value(f, SOON_FOREVER, &value, &got) == 0);
        REQUIRE(got == len && memcmp(value, bytes, len) == 0);
        soon_future_unref(f);
        free(bytes);
    }
}

START_TEST(threads_send_all_sizes_at_once)
{
    enum { THREADS = 4 };
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    struct sender senders[THREADS];
    struct thread threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){ex, i + 1};
        thread_start(&threads[i], send_many, &senders[i]);
    }
    for (int i = 0; i < THREADS; i++)
        thread_join(&threads[i]);
    pool_down(ex, THREADS * scaled(100));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_payload");
    TCase *every = test_case(suite, "every size");
    TCase *more = test_case(suite, "more than fits");

    add_over_methods(every, every_size_goes_there_and_comes_back);
    add_over_methods(every, every_size_can_be_written_in_place_or_returned);
    add_over_methods(every, the_result_of_a_task_that_forks_comes_back);
    add_over_methods(every, a_huge_one_goes_there_and_comes_back);
    add_over_methods(every, a_result_may_be_part_of_the_argument);
    add_over_methods(every, the_last_of_many_results_wins);
    add_over_methods(every, a_message_of_any_length_comes_back);

    add_over_methods(more, more_arguments_than_fit_at_once);
    add_over_methods(more, huge_arguments_and_results_on_a_short_queue);
    add_over_methods(more, threads_send_all_sizes_at_once);
    return suite;
}
