/* SPDX-License-Identifier: MIT */
/*
 * A task closes every descriptor there is, those that its worker needs among
 * them, and opens files of its own, under the same numbers perhaps. Nothing of
 * the library's gets into those files, and no other task suffers.
 */
#include "process_pool.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 64, LONG = 3 << 20 };

enum closing {
    CLOSE,   /* and opens some files */
    REPLACE, /* by one file, under every number */
    CLOSINGS
};

struct order {
    enum closing closing;
    bool rests;   /* until the program sleeps */
    size_t value; /* bytes of the result */
    char directory[32];
};

static void open_files(const struct order *order)
{
    char path[64];
    int fd = -1;

    for (int i = 0; i < (order->closing == CLOSE ? FILES : 1); i++) {
        snprintf(path, sizeof path, "%s/%d", order->directory, i);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        REQUIRE(fd >= 0);
    }
    for (int i = 3; order->closing == REPLACE && i < 1024; i++)
        if (i != fd)
            REQUIRE(dup2(fd, i) == i);
}

static int task_close(soon_call *call, const void *arg, size_t arg_len)
{
    struct order order;
    void *value;

    REQUIRE(arg_len == sizeof order);
    memcpy(&order, arg, sizeof order);
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    open_files(&order);
    if (order.rests)
        sleep_ns(SOON_MS(50));
    value = soon_return_buffer(call, order.value);
    REQUIRE(value);
    memset(value, 'x', order.value);
    return 0;
}

/* The files are there, and empty. */
static void assert_untouched(const char *directory, int n)
{
    char path[64];
    struct stat about;

    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%d", directory, i);
        REQUIRE(stat(path, &about) == 0);
        ck_assert_msg(about.st_size == 0, "%lld bytes in file %d", (long long)about.st_size, i);
        REQUIRE(unlink(path) == 0);
    }
    REQUIRE(rmdir(directory) == 0);
}

static struct order order_to(enum closing closing, bool rests, size_t value)
{
    struct order order = {closing, rests, value, "/tmp/soon-test-XXXXXX"};

    REQUIRE(mkdtemp(order.directory));
    return order;
}

static void await_crash(soon_executor *ex)
{
    while (pool_figures(ex).workers_crashed == 0)
        sched_yield();
}

static void assert_files_stay_clean(int method, enum closing closing, bool rests)
{
    const struct order order = order_to(closing, rests, 1);
    soon_executor *ex = one_worker(method);
    soon_future *f = submit(ex, task_close, &order, sizeof order);

    assert_result_bytes(f, "x", 1);
    soon_future_unref(f);
    await_crash(ex); /* it is of no more use, and knows it */
    assert_works(ex);
    ck_assert_uint_eq(pool_figures(ex).workers_crashed, 1);
    ck_assert_uint_eq(pool_figures(ex).failed, 0);
    pool_down(ex, 2);
    assert_untouched(order.directory, closing == CLOSE ? FILES : 1);
}

START_TEST(files_of_a_task_that_closes_all_stay_its_own)
{
    for (int closing = 0; closing < CLOSINGS; closing++)
        for (int rests = 0; rests < 2; rests++)
            assert_files_stay_clean(_i, (enum closing)closing, rests);
}
END_TEST

/* What needs a descriptor: a long argument, and a timeout. */
START_TEST(a_task_that_closes_all_hurts_no_later_one)
{
    char *bytes = malloc(LONG);

    REQUIRE(bytes);
    memset(bytes, 'y', LONG);
    for (int closing = 0; closing < CLOSINGS; closing++) {
        const struct order order = order_to((enum closing)closing, false, 1);
        soon_executor *ex = one_worker(_i);
        soon_future *f[3];

        f[0] = submit(ex, task_close, &order, sizeof order);
        f[1] = submit(ex, task_echo, bytes, LONG);
        f[2] = submit_named(ex, task_echo, bytes, LONG, NULL, SOON_SECONDS(60));
        assert_result_bytes(f[0], "x", 1);
        for (int i = 1; i < 3; i++)
            assert_result_bytes(f[i], bytes, LONG);
        unref_all(f, 3);
        await_crash(ex);
        pool_down(ex, 3);
        assert_untouched(order.directory, closing == CLOSE ? FILES : 1);
    }
    free(bytes);
}
END_TEST

/* It fails itself if it needs one. */
START_TEST(a_long_result_without_descriptors_is_an_error)
{
    for (int closing = 0; closing < CLOSINGS; closing++) {
        const struct order order = order_to((enum closing)closing, false, LONG);
        soon_executor *ex = one_worker(_i);
        soon_future *f = submit(ex, task_close, &order, sizeof order);
        soon_error error;

        assert_library_error(f, -EBADF);
        assert_ok(soon_future_error(f, 0, &error));
        ck_assert_ptr_nonnull(strstr(error.message, "descriptors"));
        soon_future_unref(f);
        assert_works(ex);
        pool_down(ex, 2);
        assert_untouched(order.directory, closing == CLOSE ? FILES : 1);
    }
}
END_TEST

START_TEST(a_pool_that_breaks_of_it_says_why)
{
    const struct order order = order_to(CLOSE, true, 1);
    soon_executor *ex = pool_up(
        _i, &(soon_process_pool_options){.max_workers = 1, .restart_window = SOON_SECONDS(3600)});
    soon_future *f = submit(ex, task_close, &order, sizeof order);

    assert_result_bytes(f, "x", 1);
    soon_future_unref(f);
    while (pool_figures(ex).workers)
        sched_yield();
    assert_broken(ex, "descriptors a task has closed");
    pool_down(ex, 1);
    assert_untouched(order.directory, FILES);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_descriptors");
    TCase *tc = test_case(suite, "closed");

    add_over_methods(tc, files_of_a_task_that_closes_all_stay_its_own);
    add_over_methods(tc, a_task_that_closes_all_hurts_no_later_one);
    add_over_methods(tc, a_long_result_without_descriptors_is_an_error);
    add_over_methods(tc, a_pool_that_breaks_of_it_says_why);
    return suite;
}
