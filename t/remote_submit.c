/* SPDX-License-Identifier: MIT */
/*
 * How a task gets to a remote backend: max_pending where begins are not seen,
 * functions that no worker has, and why a submit failed.
 */
#include "remote_cases.h"

#include "os/inject.h"

#include <sys/wait.h>
#include <unistd.h>

static soon_executor *ex;

static int try_int(int value, soon_future **out)
{
    return soon_submit(ex, task_square, &value, sizeof value, out);
}

/* ---- max_pending ---- */

START_TEST(a_begin_makes_room_under_reject)
{
    soon_future *f[3];

    ex = far_open(1, SOON_REJECT);
    assert_ok(try_int(1, &f[0]));
    ck_assert_int_eq(try_int(2, &f[1]), -EAGAIN);
    struct far_slot *slot = begin(); /* the library has not been told */
    assert_ok(try_int(2, &f[1]));
    ck_assert_int_eq(try_int(3, &f[2]), -EAGAIN);
    far_end(slot);
    ck_assert_int_eq(try_int(3, &f[2]), -EAGAIN); /* it had made room once */
    ck_assert(soon_future_cancel(f[1]));
    assert_ok(try_int(3, &f[2]));
    ck_assert_uint_eq(far_run(), 1);
    assert_result_int(f[2], 9);
    unref_all(f, 3);
    far_close();
}
END_TEST

/* A canceller that is told that it has begun makes the same room. */
START_TEST(a_cancel_that_fails_makes_room)
{
    soon_future *f[2];

    ex = far_open(1, SOON_REJECT);
    assert_ok(try_int(1, &f[0]));
    struct far_slot *slot = begin();
    ck_assert(!soon_future_cancel(f[0]));
    unsigned looks = atomic_load(&far.looks);
    assert_ok(try_int(2, &f[1]));
    ck_assert_uint_eq(atomic_load(&far.looks), looks);
    far_end(slot);
    ck_assert_uint_eq(far_run(), 1);
    unref_all(f, 2);
    far_close();
}
END_TEST

/* One that comes to its end unseen has begun, too. */
START_TEST(an_end_makes_room)
{
    soon_future *f[2];

    ex = far_open(1, SOON_REJECT);
    assert_ok(try_int(1, &f[0]));
    ck_assert_uint_eq(far_run(), 1);
    unsigned looks = atomic_load(&far.looks);
    assert_ok(try_int(2, &f[1]));
    ck_assert_uint_eq(atomic_load(&far.looks), looks);
    ck_assert_uint_eq(far_run(), 1);
    unref_all(f, 2);
    far_close();
}
END_TEST

static void submit_blocked(void *data)
{
    *(int *)data = try_int(3, NULL);
}

START_TEST(a_begin_wakes_who_waits_for_room)
{
    struct thread thread;
    int error = 1;

    ex = far_open(1, SOON_BLOCK);
    assert_ok(try_int(1, NULL));
    thread_start(&thread, submit_blocked, &error);
    thread_await_sleep(&thread);
    struct far_slot *slot = begin();
    thread_join(&thread); /* told unasked: nobody looks any more */
    assert_ok(error);
    far_end(slot);
    ck_assert_uint_eq(far_run(), 1);
    far_close();
}
END_TEST

START_TEST(who_waits_for_room_looks_first)
{
    ex = far_open(1, SOON_BLOCK);
    assert_ok(try_int(1, NULL));
    struct far_slot *slot = begin();
    assert_ok(try_int(2, NULL)); /* would sleep for ever: nothing else begins */
    far_end(slot);
    ck_assert_uint_eq(far_run(), 1);
    far_close();
}
END_TEST

/* Begins race with submitters that are about to sleep. */
START_TEST(no_begin_is_missed)
{
    size_t n = scaled(5000);

    ex = far_open(1, SOON_BLOCK);
    far_start(2);
    for (size_t i = 0; i < n; i++)
        EXPECT(try_int(1, NULL) == 0);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, n);
    far_close();
}
END_TEST

START_TEST(submit_many_waits_for_all_its_room)
{
    const soon_task tasks[3] = {{.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}};

    ex = far_open(3, SOON_BLOCK);
    far_start(2);
    for (size_t i = 0; i < scaled(3000); i++)
        EXPECT(soon_submit_many(ex, tasks, 3, NULL) == 0);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    far_close();
}
END_TEST

/* ---- the surplus that a submitter runs ---- */

static int where_am_i(soon_call *call, const void *arg, size_t arg_len)
{
    pthread_t self = pthread_self();

    (void)arg, (void)arg_len;
    return soon_return(call, &self, sizeof self);
}

static bool ran_here(soon_future *f)
{
    pthread_t where;

    assert_ok(soon_future_result(f, 0, &where, sizeof where));
    return pthread_equal(where, pthread_self());
}

START_TEST(the_surplus_is_no_business_of_the_backend)
{
    const soon_task tasks[3] = {{.fn = where_am_i}, {.fn = where_am_i}, {.fn = where_am_i}};
    soon_future *f[3];

    ex = far_open(2, SOON_CALLER_RUNS);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    struct far_slot *slot = begin(); /* so there is room for two */
    assert_ok(soon_submit_many(ex, tasks, 3, f));
    ck_assert(!soon_future_done(f[0]) && !soon_future_done(f[1]));
    ck_assert(ran_here(f[2]));
    ck_assert(!soon_future_cancel(f[2]));
    ck_assert_int_eq(soon_future_kill(f[2]), -EALREADY);
    ck_assert_uint_eq(atomic_load(&far.recalls) + atomic_load(&far.asks), 0);
    far_end(slot);
    ck_assert_uint_eq(far_run(), 2);
    assert_stats_add_up(ex, 4);
    unref_all(f, 3);
    far_close();
}
END_TEST

/* Asks about itself, as far as it can, and sleeps past its deadline. */
static int run_late(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg, (void)arg_len;
    while (!soon_call_cancelled(call))
        sleep_ns(SOON_MS(1));
    return 0;
}

START_TEST(the_surplus_has_its_timeout)
{
    const soon_task task = {.fn = run_late, .timeout = SOON_MS(5)};
    soon_future *f;

    ex = far_open(1, SOON_CALLER_RUNS);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_submit_task(ex, &task, &f));
    assert_error(f, -ETIME, SOON_FROM_LIBRARY, NULL);
    ck_assert_uint_eq(far_run(), 1);
    soon_future_unref(f);
    far_close();
}
END_TEST

static soon_future *awaited;

/* Runs in the submitter as a task of ex, but what it waits for is elsewhere. */
static int wait_for_it(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg, (void)arg_len;
    int error = soon_future_wait(awaited, SOON_FOREVER);
    return error ? error : soon_return(call, &error, sizeof error);
}

START_TEST(nothing_elsewhere_is_run_in_place)
{
    soon_future *f;

    ex = far_open(1, SOON_CALLER_RUNS);
    assert_ok(soon_submit(ex, where_am_i, NULL, 0, &awaited));
    far_start(1);
    assert_ok(soon_submit(ex, wait_for_it, NULL, 0, &f));
    assert_result_int(f, 0);
    ck_assert(!ran_here(awaited));
    soon_future_unref(awaited);
    soon_future_unref(f);
    far_close();
}
END_TEST

/* A shutdown that cancels, from within the surplus, reaches its rest. */
static int shut_down(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    return soon_shutdown(ex, 0, SOON_CANCEL_FUTURES);
}

START_TEST(the_surplus_is_cancelled_without_a_recall)
{
    const soon_task tasks[3] = {{.fn = task_nothing}, {.fn = shut_down}, {.fn = task_nothing}};
    soon_future *f[3];

    ex = far_open(1, SOON_CALLER_RUNS);
    assert_ok(soon_submit_many(ex, tasks, 3, f));
    ck_assert(soon_future_cancelled(f[0]) && soon_future_cancelled(f[2]));
    ck_assert_int_eq(soon_future_state(f[1]), SOON_FINISHED);
    ck_assert_uint_eq(atomic_load(&far.recalls), 1);   /* of the first */
    ck_assert_uint_eq(atomic_load(&far.withdrawn), 1); /* also */
    assert_stats_add_up(ex, 3);
    unref_all(f, 3);
    far_close();
}
END_TEST

/* ---- functions ---- */

START_TEST(a_function_no_worker_has_gives_enoent)
{
    const soon_task tasks[4] = {
        {.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_unknown}, {.fn = task_nothing}};
    soon_future *f = NULL;
    soon_stats stats;

    ex = far_open(0, SOON_BLOCK);
    ck_assert_str_eq(soon_last_error(), "");
    ck_assert_int_eq(soon_submit(ex, task_unknown, NULL, 0, &f), -ENOENT);
    ck_assert_str_eq(soon_last_error(), "no worker knows task_unknown");
    soon_set_last_error(NULL);
    ck_assert_int_eq(soon_submit_many(ex, tasks, 4, NULL), -ENOENT);
    ck_assert_str_eq(soon_last_error(), "no worker knows task_unknown");
    ck_assert_uint_eq(atomic_load(&far.finds), 3); /* two alike in a row are one */
    soon_set_last_error(NULL);
    int in = 1, out;
    ck_assert_int_eq(soon_map(ex, task_unknown, &in, sizeof in, 1, &out, sizeof out, NULL),
                     -ENOENT);
    ck_assert_str_eq(soon_last_error(), "no worker knows task_unknown");
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_ptr_null(f);
    ck_assert_int_eq(soon_submit(ex, NULL, NULL, 0, &f), -EINVAL);
    far_close();
}
END_TEST

/* ---- why ---- */

static void expect_broken(const char *sentence)
{
    const soon_task task = {.fn = task_nothing};
    int in = 1, out;

    for (int i = 0; i < 3; i++) {
        soon_set_last_error("something else");
        ck_assert_int_eq(i == 0   ? soon_submit(ex, task_nothing, NULL, 0, NULL)
                         : i == 1 ? soon_submit_many(ex, &task, 1, NULL)
                                  : soon_map(ex, task_nothing, &in, 1, 1, &out, 0, NULL),
                         -ENOTRECOVERABLE);
        ck_assert_str_eq(soon_last_error(), sentence);
    }
}

START_TEST(a_broken_executor_says_why)
{
    ex = far_open(0, SOON_BLOCK);
    char sentence[] = "the moon fell";
    soon_executor_break_because(ex, sentence);
    sentence[0] = 'X';
    expect_broken("the moon fell");
    soon_executor_break_because(ex, "and the sun, too"); /* the first one stays */
    expect_broken("the moon fell");
    far_close();
}
END_TEST

START_TEST(a_broken_executor_without_a_reason_says_so)
{
    ex = far_open(0, SOON_BLOCK);
    soon_executor_break(ex);
    expect_broken("the pool is broken");
    soon_executor_break_because(ex, NULL);
    expect_broken("the pool is broken");
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    soon_executor_break_because(ex, "no memory for this");
    expect_broken("the pool is broken");
    far_close();
}
END_TEST

static void say_blocked(void *data)
{
    *(int *)data = try_int(3, NULL);
    if (strcmp(soon_last_error(), "in between") != 0)
        *(int *)data = 1;
}

START_TEST(a_blocked_submit_is_told_why)
{
    struct thread thread;
    int error = 1;

    ex = far_open(1, SOON_BLOCK);
    assert_ok(try_int(1, NULL));
    thread_start(&thread, say_blocked, &error);
    thread_await_sleep(&thread);
    soon_executor_break_because(ex, "in between");
    thread_join(&thread);
    ck_assert_int_eq(error, -ENOTRECOVERABLE);
    ck_assert_uint_eq(far_run(), 1);
    far_close();
}
END_TEST

/* What the backend said stands if the executor is not broken. */
START_TEST(a_backend_may_say_why_itself)
{
    ex = far_open(0, SOON_BLOCK);
    atomic_store(&far.refusal, -ENOTRECOVERABLE);
    soon_set_last_error("said by the backend");
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -ENOTRECOVERABLE);
    ck_assert_str_eq(soon_last_error(), "said by the backend");
    far_close();
}
END_TEST

static int refuse_to_start(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg, (void)arg_len;
    return soon_fail(call, -ENODEV, "no such device");
}

START_TEST(a_thread_pool_says_why)
{
    const soon_thread_pool_options options = {.max_workers = 1, .initializer = refuse_to_start};
    int error;

    assert_ok(soon_thread_pool_new(&options, &ex));
    soon_future *f = submit(ex, task_nothing, NULL, 0);
    ck_assert_int_eq(soon_future_wait(f, ENOUGH), 0);
    error = soon_submit(ex, task_nothing, NULL, 0, NULL);
    ck_assert_int_eq(error, -ENOTRECOVERABLE);
    ck_assert_ptr_nonnull(strstr(soon_last_error(), "no such device"));
    soon_future_unref(f);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

/* ---- the sentence itself ---- */

static void use_own_sentence(void *data)
{
    char large[10000];

    REQUIRE(strcmp(soon_last_error(), "") == 0); /* another thread's is not ours */
    soon_set_last_error("mine");
    soon_set_last_error(soon_last_error());
    REQUIRE(strcmp(soon_last_error(), "mine") == 0);
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    soon_set_last_error(large);
    REQUIRE(strcmp(soon_last_error(), large) == 0);
    (void)data; /* and it is freed with the thread, which the sanitizer sees */
}

START_TEST(each_thread_has_its_own_last_error)
{
    struct thread thread;

    soon_set_last_error("ours");
    thread_start(&thread, use_own_sentence, NULL);
    thread_join(&thread);
    ck_assert_str_eq(soon_last_error(), "ours");
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    soon_set_last_error("no memory for this");
    ck_assert_str_eq(soon_last_error(), ""); /* and not that of an earlier error */
    soon_set_last_error(NULL);
    ck_assert_str_eq(soon_last_error(), "");
}
END_TEST

/* Another library's destructor may run after ours and fail in a call. */
static void speak_late(void *key)
{
    soon_set_last_error("said while the thread ends");
    if (!pthread_getspecific(*(pthread_key_t *)key))
        REQUIRE(strcmp(soon_last_error(), "said while the thread ends") == 0);
}

static void end_with_destructors(void *data)
{
    soon_set_last_error("first");
    REQUIRE(pthread_setspecific(*(pthread_key_t *)data, data) == 0);
}

START_TEST(a_sentence_of_a_thread_that_ends_is_freed)
{
    pthread_key_t key;
    struct thread thread;

    soon_set_last_error("makes the library's key, which is older");
    ck_assert_int_eq(pthread_key_create(&key, speak_late), 0);
    thread_start(&thread, end_with_destructors, &key);
    thread_join(&thread);
    ck_assert_int_eq(pthread_key_delete(key), 0);
    soon_set_last_error(NULL);
}
END_TEST

void add_submit_cases(Suite *suite)
{
    TCase *room = test_case(suite, "room"), *surplus = test_case(suite, "surplus"),
          *why = test_case(suite, "why");

    tcase_add_test(room, a_begin_makes_room_under_reject);
    tcase_add_test(room, a_cancel_that_fails_makes_room);
    tcase_add_test(room, an_end_makes_room);
    tcase_add_test(room, a_begin_wakes_who_waits_for_room);
    tcase_add_test(room, who_waits_for_room_looks_first);
    tcase_add_test(room, no_begin_is_missed);
    tcase_add_test(room, submit_many_waits_for_all_its_room);
    tcase_add_test(surplus, the_surplus_is_no_business_of_the_backend);
    tcase_add_test(surplus, the_surplus_has_its_timeout);
    tcase_add_test(surplus, nothing_elsewhere_is_run_in_place);
    tcase_add_test(surplus, the_surplus_is_cancelled_without_a_recall);
    tcase_add_test(why, a_function_no_worker_has_gives_enoent);
    tcase_add_test(why, a_broken_executor_says_why);
    tcase_add_test(why, a_broken_executor_without_a_reason_says_so);
    tcase_add_test(why, a_blocked_submit_is_told_why);
    tcase_add_test(why, a_backend_may_say_why_itself);
    tcase_add_test(why, a_thread_pool_says_why);
    tcase_add_test(why, each_thread_has_its_own_last_error);
    tcase_add_test(why, a_sentence_of_a_thread_that_ends_is_freed);
}
