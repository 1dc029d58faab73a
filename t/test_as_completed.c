/* SPDX-License-Identifier: MIT */
/* soon_as_completed: order, growth, its descriptor, many threads. */
#include "backends.h"

#include <fcntl.h>
#include <poll.h>

static soon_as_completed *over(soon_future *const *futures, size_t n)
{
    soon_as_completed *it = NULL;

    assert_ok(soon_as_completed_new(futures, n, &it));
    ck_assert_ptr_nonnull(it);
    return it;
}

static void finish(soon_future *f)
{
    assert_ok(soon_future_set_result(f, NULL, 0));
}

static void promises(soon_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        futures[i] = promise();
}

/* The next one, which has to be there now. */
static void assert_next(soon_as_completed *it, const soon_future *expected)
{
    soon_future *out = NULL;

    ck_assert_int_eq(soon_as_completed_next(it, 0, &out), 1);
    ck_assert_ptr_eq(out, expected);
    soon_future_unref(out);
}

static void assert_none_now(soon_as_completed *it)
{
    soon_future *untouched = (soon_future *)it, *out = untouched;

    ck_assert_int_eq(soon_as_completed_next(it, 0, &out), -ETIMEDOUT);
    ck_assert_ptr_eq(out, untouched);
}

static void assert_end(soon_as_completed *it)
{
    soon_future *out = NULL;

    for (int again = 0; again < 2; again++)
        ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 0);
    ck_assert_ptr_null(out);
}

/* ---- order ---- */

START_TEST(none_at_all_is_the_end)
{
    soon_as_completed *it = over(NULL, 0);

    assert_end(it);
    soon_as_completed_free(it);
}

START_TEST(done_ones_come_first_in_the_order_given)
{
    soon_future *futures[5] = {sample_future(SAMPLE_FAILED), promise(),
                               sample_future(SAMPLE_CANCELLED), promise(),
                               sample_future(SAMPLE_RESULT)};
    soon_as_completed *it = over(futures, 5);

    finish(futures[3]);
    assert_next(it, futures[0]);
    assert_next(it, futures[2]);
    assert_next(it, futures[4]);
    assert_next(it, futures[3]);
    assert_none_now(it);
    finish(futures[1]);
    assert_next(it, futures[1]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, 5);
}

START_TEST(the_rest_comes_in_the_order_of_completion)
{
    static const int order[] = {3, 0, 4, 2, 1};
    soon_future *futures[5];
    soon_as_completed *it;

    promises(futures, 5);
    it = over(futures, 5);
    for (int i = 0; i < 5; i++) {
        soon_future *f = futures[order[i]];

        if (i % 3 == 0)
            finish(f);
        else if (i % 3 == 1)
            ck_assert(soon_future_cancel(f));
        else
            assert_ok(soon_future_set_error(f, -EIO, NULL));
    }
    for (int i = 0; i < 5; i++)
        assert_next(it, futures[order[i]]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, 5);
}

START_TEST(duplicates_come_out_once)
{
    soon_future *done = sample_future(SAMPLE_RESULT), *pending = promise();
    soon_future *futures[] = {pending, done, pending, done, done};
    soon_as_completed *it = over(futures, 5);

    assert_next(it, done);
    assert_none_now(it);
    finish(pending);
    assert_next(it, pending);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(done);
    soon_future_unref(pending);
}

START_TEST(a_timeout_lasts_as_long_as_asked_and_loses_nothing)
{
    soon_future *f = promise(), *out = NULL;
    soon_as_completed *it = over(&f, 1);
    soon_ns start = now_ns();

    ck_assert_int_eq(soon_as_completed_next(it, SOON_MS(20), &out), -ETIMEDOUT);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    ck_assert_ptr_null(out);
    finish(f);
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

START_TEST(bad_input_is_refused)
{
    soon_future *futures[2] = {promise(), NULL}, *out;
    soon_as_completed *it = NULL;

    ck_assert_int_eq(soon_as_completed_new(NULL, 1, &it), -EINVAL);
    ck_assert_int_eq(soon_as_completed_new(futures, 2, &it), -EINVAL);
    ck_assert_int_eq(soon_as_completed_new(futures, 1, NULL), -EINVAL);
    ck_assert_ptr_null(it);
    ck_assert_int_eq(soon_as_completed_add(NULL, futures[0]), -EINVAL);
    ck_assert_int_eq(soon_as_completed_next(NULL, 0, &out), -EINVAL);
    ck_assert_int_eq(soon_as_completed_fd(NULL), -EINVAL);
    soon_as_completed_free(NULL);
    it = over(futures, 1);
    ck_assert_int_eq(soon_as_completed_add(it, NULL), -EINVAL);
    ck_assert_int_eq(soon_as_completed_next(it, 0, NULL), -EINVAL);
    finish(futures[0]);
    ck_assert_int_eq(soon_as_completed_next(it, 0, NULL), -EINVAL);
    assert_next(it, futures[0]);
    soon_as_completed_free(it);
    soon_future_unref(futures[0]);
}

/* ---- growth ---- */

START_TEST(it_grows_while_it_is_read_and_after_its_end)
{
    soon_future *futures[4];
    soon_as_completed *it;

    promises(futures, 4);
    it = over(futures, 1);
    assert_ok(soon_as_completed_add(it, futures[1]));
    finish(futures[1]);
    assert_next(it, futures[1]);
    assert_ok(soon_as_completed_add(it, futures[2]));
    finish(futures[0]);
    finish(futures[2]);
    assert_next(it, futures[0]);
    assert_next(it, futures[2]);
    assert_end(it);
    finish(futures[3]);
    assert_ok(soon_as_completed_add(it, futures[3]));
    assert_next(it, futures[3]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, 4);
}

START_TEST(adding_one_that_has_not_come_out_does_nothing)
{
    soon_future *f = promise();
    soon_as_completed *it = over(&f, 1);

    assert_ok(soon_as_completed_add(it, f));
    finish(f);
    assert_ok(soon_as_completed_add(it, f));
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

START_TEST(one_that_came_out_can_be_added_again)
{
    soon_future *f = promise();
    soon_as_completed *it = over(&f, 1);

    finish(f);
    for (int i = 0; i < 100; i++) {
        assert_next(it, f);
        assert_end(it);
        assert_ok(soon_as_completed_add(it, f));
    }
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

/* The table becomes a larger one while it has some that are out, and some that
 * came back. */
START_TEST(it_grows_past_those_that_came_out)
{
    enum { FIRST = 20, ALL = 200 };
    soon_future *futures[ALL];

    promises(futures, ALL);
    for (size_t i = 0; i < ALL; i++)
        finish(futures[i]);
    soon_as_completed *it = over(futures, FIRST);
    for (size_t i = 0; i < FIRST; i++)
        assert_next(it, futures[i]);
    for (int twice = 0; twice < 2; twice++)
        for (size_t i = 0; i < ALL; i++)
            assert_ok(soon_as_completed_add(it, futures[i]));
    for (size_t i = 0; i < ALL; i++)
        assert_next(it, futures[i]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, ALL);
}

START_TEST(a_stream_through_it_needs_no_more_memory_as_it_grows)
{
    const size_t rounds = scaled(200000);
    soon_future *f = promise(), *window[16];
    soon_as_completed *it = over(&f, 1);
    size_t before = 0, after;

    promises(window, 16);
    for (size_t i = 0; i < rounds; i++) {
        soon_future *next = promise();

        if (i == rounds / 4)
            before = resident_bytes();
        EXPECT(soon_as_completed_add(it, next) == 0);
        soon_future_unref(window[i % 16]);
        window[i % 16] = next;
        EXPECT(soon_future_cancel(next));
        EXPECT(soon_as_completed_next(it, SOON_FOREVER, &next) == 1);
        EXPECT(next == window[i % 16]);
        soon_future_unref(next);
    }
    after = resident_bytes();
    if (!memory_is_watched())
        ck_assert_msg(after < before + (2 << 20), "grew by %zu bytes", after - before);
    soon_as_completed_free(it);
    unref_all(window, 16);
    soon_future_unref(f);
}

/* ---- references ---- */

START_TEST(it_holds_references_of_its_own)
{
    const int answer = 42;
    soon_future *futures[2] = {sample_future(SAMPLE_RESULT), promise()}, *out = NULL;
    soon_as_completed *it = over(futures, 2);

    soon_future_unref(futures[0]);
    assert_ok(soon_future_set_result(futures[1], &answer, sizeof answer));
    soon_future_unref(futures[1]);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
        ck_assert_ptr_eq(out, futures[i]);
        assert_result_int(out, 42);
        soon_future_unref(out);
    }
    soon_as_completed_free(it);
}

START_TEST(one_that_came_out_outlives_it)
{
    soon_future *f = sample_future(SAMPLE_RESULT), *out = NULL;
    soon_as_completed *it = over(&f, 1);

    soon_future_unref(f);
    ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
    soon_as_completed_free(it);
    assert_result_int(out, 42);
    soon_future_unref(out);
}

START_TEST(futures_go_on_when_it_is_freed)
{
    soon_future *futures[3];
    soon_as_completed *it;

    promises(futures, 3);
    it = over(futures, 3);
    finish(futures[0]);
    soon_as_completed_free(it);
    ck_assert_int_eq(soon_future_state(futures[1]), SOON_PENDING);
    finish(futures[1]);
    ck_assert(soon_future_cancel(futures[2]));
    unref_all(futures, 3);
}

START_TEST(many_over_one_long_future_leave_nothing_behind)
{
    const size_t rounds = scaled(1000000);
    soon_future *f = promise();
    size_t before = 0, after;

    for (size_t i = 0; i < rounds; i++) {
        soon_as_completed *it = NULL;

        if (i == rounds / 10)
            before = resident_bytes();
        EXPECT(soon_as_completed_new(&f, 1, &it) == 0);
        soon_as_completed_free(it);
    }
    after = resident_bytes();
    if (!memory_is_watched())
        ck_assert_msg(after < before + (1 << 20), "grew by %zu bytes", after - before);
    finish(f);
    soon_future_unref(f);
}

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

Suite *test_suite(void)
{
    Suite *suite = suite_create("as_completed");
    TCase *order = test_case(suite, "order");
    TCase *growth = test_case(suite, "growth");
    TCase *references = test_case(suite, "references");
    TCase *descriptor = test_case(suite, "descriptor");
    TCase *threads = test_case(suite, "threads");
    TCase *every = test_case(suite, "every backend");

    tcase_add_test(order, none_at_all_is_the_end);
    tcase_add_test(order, done_ones_come_first_in_the_order_given);
    tcase_add_test(order, the_rest_comes_in_the_order_of_completion);
    tcase_add_test(order, duplicates_come_out_once);
    tcase_add_test(order, a_timeout_lasts_as_long_as_asked_and_loses_nothing);
    tcase_add_test(order, bad_input_is_refused);

    tcase_add_test(growth, it_grows_while_it_is_read_and_after_its_end);
    tcase_add_test(growth, adding_one_that_has_not_come_out_does_nothing);
    tcase_add_test(growth, one_that_came_out_can_be_added_again);
    tcase_add_test(growth, it_grows_past_those_that_came_out);
    tcase_add_test(growth, a_stream_through_it_needs_no_more_memory_as_it_grows);

    tcase_add_test(references, it_holds_references_of_its_own);
    tcase_add_test(references, one_that_came_out_outlives_it);
    tcase_add_test(references, futures_go_on_when_it_is_freed);
    tcase_add_test(references, many_over_one_long_future_leave_nothing_behind);

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
    return suite;
}
