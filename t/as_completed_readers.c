/* SPDX-License-Identifier: MIT */
/*
 * How soon_as_completed is read: through its descriptor, by many threads, and
 * by tasks of the executor that it collects from.
 */
#include "as_completed_cases.h"

#include <fcntl.h>
#include <poll.h>

/* ---- the descriptor ---- */

static bool readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    int ready = poll(&poll_fd, 1, timeout_ms);

    ck_assert_int_ge(ready, 0);
    return ready == 1 && poll_fd.revents & POLLIN;
}

START_TEST(its_descriptor_is_made_once_and_closes_on_exec)
{
    soon_future *f = promise();
    soon_as_completed *it = over(&f, 1);
    int fd = soon_as_completed_fd(it);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(soon_as_completed_fd(it), fd);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    soon_as_completed_free(it);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    soon_future_unref(f);
}

/* It may be readable for nothing; once next() has said so it is quiet. */
START_TEST(its_descriptor_is_readable_when_next_would_not_block)
{
    soon_future *futures[3], *added = promise();
    soon_as_completed *it;
    int fd;

    promises(futures, 3);
    it = over(futures, 3);
    fd = soon_as_completed_fd(it);
    assert_none_now(it);
    ck_assert(!readable(fd, 0));
    finish(futures[1]);
    ck_assert(readable(fd, -1));
    ck_assert(soon_future_cancel(futures[2]));
    assert_next(it, futures[1]);
    ck_assert(readable(fd, -1));
    assert_next(it, futures[2]);
    assert_none_now(it);
    ck_assert(!readable(fd, 0));
    assert_ok(soon_future_set_error(futures[0], 1, NULL));
    assert_next(it, futures[0]);
    ck_assert(readable(fd, -1)); /* the end */
    assert_end(it);
    ck_assert(readable(fd, -1));
    assert_ok(soon_as_completed_add(it, added));
    assert_none_now(it);
    ck_assert(!readable(fd, 0));
    finish(added);
    ck_assert(readable(fd, -1));
    soon_as_completed_free(it);
    unref_all(futures, 3);
    soon_future_unref(added);
}

START_TEST(a_descriptor_that_is_asked_for_late_is_readable_at_once)
{
    soon_future *f = sample_future(SAMPLE_RESULT);
    soon_as_completed *ready = over(&f, 1), *empty = over(NULL, 0);

    ck_assert(readable(soon_as_completed_fd(ready), -1));
    ck_assert(readable(soon_as_completed_fd(empty), -1));
    soon_as_completed_free(ready);
    soon_as_completed_free(empty);
    soon_future_unref(f);
}

/* ---- many threads ---- */

enum { SHARED_COUNT = 300, READERS = 4 };

struct readers {
    soon_as_completed *it;
    soon_future *futures[SHARED_COUNT];
    _Atomic unsigned came_out[SHARED_COUNT];
};

static void read_to_the_end(void *data)
{
    struct readers *r = data;
    soon_future *f = NULL;
    int more;

    while ((more = soon_as_completed_next(r->it, SOON_FOREVER, &f)) == 1) {
        int i = -1;

        REQUIRE(soon_future_result(f, 0, &i, sizeof i) == 0);
        REQUIRE(i >= 0 && i < SHARED_COUNT && r->futures[i] == f);
        atomic_fetch_add(&r->came_out[i], 1);
        soon_future_unref(f);
    }
    REQUIRE(more == 0);
}

START_TEST(many_threads_share_one_and_all_see_the_end)
{
    struct readers r = {0};
    struct thread threads[READERS];

    promises(r.futures, SHARED_COUNT);
    r.it = over(r.futures, SHARED_COUNT);
    for (int i = 0; i < READERS; i++)
        thread_start(&threads[i], read_to_the_end, &r);
    for (int i = 0; i < READERS; i++)
        thread_await_sleep(&threads[i]);
    for (int i = 0; i < SHARED_COUNT; i++)
        EXPECT(soon_future_set_result(r.futures[i], &i, sizeof i) == 0);
    for (int i = 0; i < READERS; i++)
        thread_join(&threads[i]);
    for (int i = 0; i < SHARED_COUNT; i++)
        EXPECT(r.came_out[i] == 1);
    soon_as_completed_free(r.it);
    unref_all(r.futures, SHARED_COUNT);
}

static void await_one(void *data)
{
    soon_future *f = NULL;

    REQUIRE(soon_as_completed_next(data, SOON_FOREVER, &f) == 1);
    soon_future_unref(f);
}

START_TEST(a_blocked_reader_gets_one_that_is_added_done)
{
    soon_future *f = promise(), *done = sample_future(SAMPLE_RESULT);
    soon_as_completed *it = over(&f, 1);
    struct thread reader;

    thread_start(&reader, await_one, it);
    thread_await_sleep(&reader);
    assert_ok(soon_as_completed_add(it, done));
    thread_join(&reader);
    finish(f);
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
    soon_future_unref(done);
}

static void free_while_in_use(void *data)
{
    struct thread reader;

    thread_start(&reader, await_one, data);
    thread_await_sleep(&reader);
    soon_as_completed_free(data);
}

START_TEST(freeing_one_that_another_thread_is_in_aborts)
{
    soon_future *f = promise();
    soon_as_completed *it = over(&f, 1);

    assert_aborts(free_while_in_use, it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

struct free_race {
    soon_future *f;
    soon_as_completed *it;
};

static void race_free(void *data)
{
    soon_as_completed_free(((struct free_race *)data)->it);
}

static void race_finish(void *data)
{
    REQUIRE(soon_future_set_result(((struct free_race *)data)->f, NULL, 0) == 0);
}

START_TEST(freeing_it_while_a_future_completes_is_safe)
{
    for (size_t round = scaled(2000); round > 0; round--) {
        struct free_race r = {.f = promise()};

        r.it = over(&r.f, 1);
        if (round % 2)
            EXPECT(soon_as_completed_fd(r.it) >= 0);
        race(race_free, race_finish, &r);
        EXPECT(soon_future_done(r.f));
        soon_future_unref(r.f);
    }
}

/* ---- over executors ---- */

START_TEST(every_task_comes_out_once)
{
    enum { N = 50 };
    soon_future *futures[N], *out;
    soon_as_completed *it;
    unsigned seen[N] = {0};
    struct rig rig;

    rig_up(&rig, _i);
    for (int i = 0; i < N; i++)
        futures[i] = submit(rig.ex, task_echo, &i, sizeof i);
    it = over(futures, N);
    for (int left = N; left > 0; left--) {
        int i = -1;

        ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
        assert_ok(soon_future_result(out, 0, &i, sizeof i));
        ck_assert_ptr_eq(out, futures[i]);
        ck_assert_uint_eq(seen[i]++, 0);
        soon_future_unref(out);
    }
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, N);
    rig_down(&rig);
}

/* As an event loop would: sleep on the descriptor, take what is there. */
START_TEST(tasks_can_be_collected_through_the_descriptor)
{
    enum { N = 200 };
    soon_future *futures[N], *out;
    soon_as_completed *it;
    unsigned collected = 0;
    struct rig rig;
    int more = -ETIMEDOUT;

    rig_up(&rig, _i);
    for (int i = 0; i < N; i++)
        futures[i] = submit_int(rig.ex, task_square, i);
    it = over(futures, N);
    while (more == -ETIMEDOUT) {
        ck_assert(readable(soon_as_completed_fd(it), -1));
        while ((more = soon_as_completed_next(it, 0, &out)) == 1) {
            collected++;
            soon_future_unref(out);
        }
    }
    ck_assert_int_eq(more, 0);
    ck_assert_uint_eq(collected, N);
    soon_as_completed_free(it);
    unref_all(futures, N);
    rig_down(&rig);
}

static int task_collect_children(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;
    soon_as_completed *it = NULL;
    soon_future *children[10], *out;
    int n = 0;

    (void)arg_len;
    memcpy(&ex, arg, sizeof ex);
    for (int i = 0; i < 10; i++)
        REQUIRE(soon_submit(ex, task_square, &i, sizeof i, &children[i]) == 0);
    REQUIRE(soon_as_completed_new(children, 10, &it) == 0);
    while (soon_as_completed_next(it, SOON_FOREVER, &out) == 1) {
        soon_future_unref(out);
        n++;
    }
    soon_as_completed_free(it);
    for (int i = 0; i < 10; i++)
        soon_future_unref(children[i]);
    return soon_return(call, &n, sizeof n);
}

START_TEST(a_task_collects_tasks_of_its_own_executor)
{
    soon_future *parents[4];
    struct rig rig;

    rig_up(&rig, _i);
    for (int i = 0; i < 4; i++)
        parents[i] = submit(rig.ex, task_collect_children, &rig.ex, sizeof rig.ex);
    for (int i = 0; i < 4; i++)
        assert_result_int(parents[i], 10);
    unref_all(parents, 4);
    rig_down(&rig);
}

void add_reader_cases(Suite *suite)
{
    TCase *descriptor = test_case(suite, "descriptor");
    TCase *threads = test_case(suite, "threads");
    TCase *every = test_case(suite, "every backend");

    tcase_add_test(descriptor, its_descriptor_is_made_once_and_closes_on_exec);
    tcase_add_test(descriptor, its_descriptor_is_readable_when_next_would_not_block);
    tcase_add_test(descriptor, a_descriptor_that_is_asked_for_late_is_readable_at_once);

    tcase_add_test(threads, many_threads_share_one_and_all_see_the_end);
    tcase_add_test(threads, a_blocked_reader_gets_one_that_is_added_done);
    tcase_add_test(threads, freeing_one_that_another_thread_is_in_aborts);
    tcase_add_test(threads, freeing_it_while_a_future_completes_is_safe);

    add_over_backends(every, every_task_comes_out_once, 0);
    add_over_backends(every, tasks_can_be_collected_through_the_descriptor, 0);
    add_over_backends(every, a_task_collects_tasks_of_its_own_executor, TRAIT_LOCAL);
}
