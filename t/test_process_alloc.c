/* SPDX-License-Identifier: MIT */
/*
 * A process pool when the system refuses: memory, descriptors, mappings,
 * threads, processes, each at every point in turn. Every call answers with an
 * error that it documents or works, every future ends, nothing is left behind,
 * and when the system gives again the pool works, unless it says that it is
 * broken.
 */
#include "process_pool.h"

#include "os/inject.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

static const size_t sizes[] = {0, 100, 100000, 1 << 20, 3 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static char *bytes; /* of the largest size */

static bool is_one_of(int code, const int *codes)
{
    for (; *codes; codes++)
        if (code == *codes)
            return true;
    return false;
}

static void assert_documented_for_new(int code)
{
    ck_assert_msg(is_one_of(code, (const int[]){-ENOMEM, -EAGAIN, -EMFILE, -ENFILE, 0}),
                  "soon_process_pool_new said %d", code);
}

static void assert_documented_for_submit(int code)
{
    ck_assert_msg(is_one_of(code, (const int[]){-ENOMEM, -EAGAIN, -ENOTRECOVERABLE, 0}),
                  "soon_submit said %d", code);
}

/* The right result, or an error that says that something was refused. */
static void assert_ended(soon_future *f, size_t len)
{
    static const int codes[] = {-ENOMEM,          -EAGAIN,     -EMFILE, -ENFILE,
                                -ENOTRECOVERABLE, -EOWNERDEAD, 0};
    soon_error error;

    assert_ok(soon_future_error(f, SOON_FOREVER, &error));
    if (error.code == 0)
        assert_result_bytes(f, bytes, len);
    else
        ck_assert_msg(is_one_of(error.code, codes), "a future ended with %d: %s", error.code,
                      error.message);
}

/* A whole life of a pool while something is refused in the middle of it, until
 * relent() is called; if that does not last the pool may still say -EAGAIN.
 * False: there was no pool. */
static bool try_a_life(int method, void (*relent)(void), bool lasting)
{
    const soon_process_pool_options options = {.max_workers = 2,
                                               .start_method = method,
                                               .max_tasks_per_child = 4,
                                               .init_arg = bytes,
                                               .init_arg_len = 1000,
                                               .initializer = task_nothing};
    soon_future *f[SIZES] = {NULL}, *doomed = NULL;
    const enum death how = DIE__EXIT;
    soon_executor *ex = NULL;
    int error = soon_process_pool_new(&options, &ex);

    if (error) {
        assert_documented_for_new(error);
        ck_assert_ptr_null(ex);
        relent();
        return false;
    }
    for (int i = 0; i < SIZES; i++) {
        error = soon_submit(ex, task_echo, bytes, sizes[i], &f[i]);
        if (error)
            assert_documented_for_submit(error);
    }
    error = soon_submit(ex, task_die, &how, sizeof how, &doomed);
    if (error)
        assert_documented_for_submit(error);
    for (int i = 0; i < SIZES; i++)
        if (f[i])
            assert_ended(f[i], sizes[i]);
    if (doomed)
        ck_assert_int_ne(soon_future_value(doomed, SOON_FOREVER, NULL, NULL), 0);
    unref_all(f, SIZES);
    soon_future_unref(doomed);
    relent();
    error = soon_submit(ex, task_echo, bytes, 10, &f[0]);
    if (error == 0) {
        error = soon_future_value(f[0], SOON_FOREVER, NULL, NULL);
        soon_future_unref(f[0]);
    }
    ck_assert_msg(error == 0 || error == -ENOTRECOVERABLE || (error == -EAGAIN && !lasting),
                  "afterwards: %d", error);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    return true;
}

static void bytes_up(void)
{
    bytes = malloc(3 << 20);
    REQUIRE(bytes);
    memset(bytes, 'r', 3 << 20);
}

static void inject_no_more(void)
{
    for (int point = 0; point < SOON__INJECT_POINTS; point++)
        soon__inject_after((enum soon__inject_point)point, 0);
}

/* What a pool that ended in any way has to have given back: waits for what
 * goes by itself. */
static void assert_nothing_left(unsigned descriptors, unsigned mappings)
{
    while (descriptor_count() > descriptors || mapping_count() > mappings)
        sched_yield();
    ck_assert_uint_eq(descriptor_count(), descriptors);
    ck_assert_uint_eq(mapping_count(), mappings);
}

/* In the fork server runs a copy of what was armed when it was made, so its own
 * failures are met there too. */
static void refuse_each(enum soon__inject_point point, int method)
{
    const unsigned descriptors = descriptor_count(), mappings = mapping_count();
    const long step = point == SOON__INJECT_ALLOC && scaled(100) < 100 ? 3 : 1;
    bool fired = true;

    bytes_up();
    for (long n = 1; fired; n += step) {
        ck_assert_int_lt(n, 2000);
        soon__inject_after(point, n);
        try_a_life(method, inject_no_more, true);
        fired = soon__inject_fired(point);
        assert_nothing_left(descriptors, mappings);
    }
    free(bytes);
}

START_TEST(whatever_is_refused_forkserver)
{
    refuse_each((enum soon__inject_point)_i, SOON_START_FORKSERVER);
}
END_TEST

START_TEST(whatever_is_refused_fork)
{
    refuse_each((enum soon__inject_point)_i, SOON_START_FORK);
}
END_TEST

START_TEST(whatever_is_refused_spawn)
{
    refuse_each((enum soon__inject_point)_i, SOON_START_SPAWN);
}
END_TEST

/* ---- no descriptors left ---- */

static struct rlimit usual;

static void allow_as_usual(void)
{
    REQUIRE(setrlimit(RLIMIT_NOFILE, &usual) == 0);
}

/* The program may open n more. */
static void allow_descriptors(unsigned n)
{
    struct rlimit limit = usual;
    int highest = dup(0);

    REQUIRE(highest >= 0);
    close(highest);
    limit.rlim_cur = (rlim_t)highest + n;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* The processes between the pool and its workers keep the limit that they were
 * born with. */
START_TEST(with_any_number_of_descriptors_left)
{
    const unsigned descriptors = descriptor_count(), mappings = mapping_count();
    unsigned lives = 0;

    bytes_up();
    REQUIRE(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    for (unsigned n = 0; n < 40; n++) {
        allow_descriptors(n);
        lives += try_a_life(_i, allow_as_usual, false);
        assert_nothing_left(descriptors, mappings);
    }
    ck_assert_uint_ge(lives, 15);
    ck_assert_uint_lt(lives, 40);
    free(bytes);
}
END_TEST

/* They run out while it works, and come back. */
START_TEST(descriptors_run_out_for_a_while)
{
    soon_executor *ex =
        pool_up(_i, &(soon_process_pool_options){.max_workers = 2, .max_tasks_per_child = 3});

    bytes_up();
    REQUIRE(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    for (int round = 0; round < 10; round++) {
        soon_future *f[SIZES] = {NULL};
        int error;

        allow_descriptors((unsigned)round % 4);
        for (int i = 0; i < SIZES; i++) {
            error = soon_submit(ex, task_echo, bytes, sizes[i], &f[i]);
            if (error)
                assert_documented_for_submit(error);
        }
        sleep_ns(SOON_MS(5));
        allow_as_usual();
        for (int i = 0; i < SIZES; i++)
            if (f[i])
                assert_ended(f[i], sizes[i]);
        unref_all(f, SIZES);
    }
    soon_future *f = NULL;
    int error = soon_submit(ex, task_echo, bytes, 10, &f);

    if (error == 0)
        assert_result_bytes(f, bytes, 10);
    else
        ck_assert_int_eq(error, -ENOTRECOVERABLE);
    soon_future_unref(f);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    free(bytes);
}
END_TEST

/* Not even under the numbers of some that are closed. */
static void allow_none(void)
{
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    limit = (struct rlimit){3, usual.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* A task runs, others wait for the worker that will replace its own, and no
 * descriptor is left for that. */
static soon_executor *wait_for_a_worker(int method, soon_future **running, soon_future **waiting)
{
    struct hold hold = hold_make();
    soon_executor *ex =
        pool_up(method, &(soon_process_pool_options){.max_workers = 1, .max_tasks_per_child = 1});

    *running = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    *waiting = submit_int(ex, task_square, 7);
    allow_none();
    gate_open(hold.release);
    assert_ok(soon_future_wait(*running, SOON_FOREVER));
    while (pool_figures(ex).workers)
        sched_yield();
    hold_free(&hold);
    return ex;
}

/* Whoever has taken them may give them back soon. */
START_TEST(who_waits_for_a_worker_does_so_for_a_while)
{
    soon_future *running, *waiting;
    soon_executor *ex = wait_for_a_worker(_i, &running, &waiting);

    sleep_ns(SOON_MS(300));
    ck_assert(!soon_future_done(waiting));
    allow_as_usual();
    assert_result_int(waiting, 49);
    soon_future_unref(running);
    soon_future_unref(waiting);
    assert_works(ex);
    pool_down(ex, 3);
}
END_TEST

START_TEST(who_waits_for_a_worker_in_vain_is_told_why)
{
    soon_future *running, *waiting;
    soon_executor *ex = wait_for_a_worker(_i, &running, &waiting);
    soon_error error;

    assert_library_error(waiting, -ENOTRECOVERABLE);
    assert_ok(soon_future_error(waiting, 0, &error));
    ck_assert_msg(strstr(error.message, strerror(EMFILE)), "%s", error.message);
    assert_broken(ex, strerror(EMFILE));
    allow_as_usual();
    soon_future_unref(running);
    soon_future_unref(waiting);
    pool_down(ex, 2);
}
END_TEST

/* ---- who cannot be told ---- */

/* Without any worker, and with nobody who could start one, a submit says so. */
START_TEST(a_submit_without_a_worker_is_told_why)
{
    static const enum soon__inject_point points[] = {SOON__INJECT_MEMFD, SOON__INJECT_EVENTFD,
                                                     SOON__INJECT_SOCKET, SOON__INJECT_MMAP};

    for (int i = 0; i < 4; i++) {
        soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 1});
        soon_future *f = NULL;
        int error;

        soon__inject_after(points[i], 1);
        error = soon_submit(ex, task_nothing, NULL, 0, &f);
        ck_assert(soon__inject_fired(points[i]));
        ck_assert_msg(error == -EAGAIN || error == -ENOMEM, "%d", error);
        ck_assert_ptr_null(f);
        ck_assert_str_ne(soon_last_error(), "");
        f = submit_int(ex, task_square, 5);
        assert_result_int(f, 25);
        soon_future_unref(f);
        pool_down(ex, 1);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_alloc");
    TCase *each = test_case(suite, "each");
    TCase *descriptors = test_case(suite, "descriptors");
    TCase *told = test_case(suite, "told");

    tcase_add_loop_test(each, whatever_is_refused_forkserver, 0, SOON__INJECT_POINTS);
    tcase_add_loop_test(each, whatever_is_refused_fork, 0, SOON__INJECT_POINTS);
    tcase_add_loop_test(each, whatever_is_refused_spawn, 0, SOON__INJECT_POINTS);

    add_over_methods(descriptors, with_any_number_of_descriptors_left);
    add_over_methods(descriptors, descriptors_run_out_for_a_while);
    add_over_methods(descriptors, who_waits_for_a_worker_does_so_for_a_while);
    add_over_methods(descriptors, who_waits_for_a_worker_in_vain_is_told_why);

    add_over_methods(told, a_submit_without_a_worker_is_told_why);
    return suite;
}
