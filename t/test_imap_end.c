/* SPDX-License-Identifier: MIT */
/* soon_imap: timeouts, early ends, many threads, odd places. */
#include "backends.h"

#include <sched.h>

/* An endless source of the numbers from 0, or of as many as it has. */
struct numbers {
    int next, end;
    int buffer;
    _Atomic int inside;
};

static int numbers_next(void *source, const void **item, size_t *len)
{
    struct numbers *s = source;

    REQUIRE(atomic_fetch_add(&s->inside, 1) == 0);
    if (s->next % 50 == 0)
        sched_yield(); /* a wider door for a second caller */
    s->buffer = s->next;
    *item = &s->buffer;
    *len = sizeof s->buffer;
    atomic_fetch_sub(&s->inside, 1);
    return s->end < 0 || s->next < s->end ? (s->next++, 1) : 0;
}

/* What the tasks of a test share, made before the executor. */
struct shared {
    struct hold hold;
    shared_count ran;
};

static struct shared *shared(void)
{
    return shared_page();
}

static void shared_up(void)
{
    shared()->hold = hold_make();
    atomic_store(&shared()->ran, 0);
}

static void shared_down(void)
{
    hold_free(&shared()->hold);
}

static int task_held(soon_call *call, const void *arg, size_t arg_len)
{
    bell_ring(shared()->hold.started);
    gate_pass(shared()->hold.release);
    atomic_fetch_add(&shared()->ran, 1);
    return soon_return(call, arg, arg_len);
}

static int task_stop_when_asked(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    bell_ring(shared()->hold.started);
    while (!soon_call_cancelled(call))
        sched_yield();
    return 0;
}

/* ---- timeouts ---- */

START_TEST(past_its_timeout_next_says_so_and_then_it_is_over)
{
    struct rig rig;

    for (int keep_going = 0; keep_going < 2; keep_going++) {
        const soon_map_options options = {
            .timeout = SOON_MS(20), .keep_going = keep_going, .unordered = keep_going};
        struct numbers source = {.end = -1};
        const soon_ns start = now_ns();
        soon_imap *it = NULL;
        const void *value;
        size_t len;

        shared_up();
        rig_up(&rig, _i);
        assert_ok(soon_imap_new(rig.ex, task_held, numbers_next, &source, &options, &it));
        ck_assert_int_eq(soon_imap_next(it, &value, &len), -ETIMEDOUT);
        ck_assert_int_ge(now_ns() - start, SOON_MS(20));
        ck_assert_int_eq(soon_imap_next(it, &value, &len), 0);
        gate_open(shared()->hold.release);
        soon_imap_free(it);
        assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
        ck_assert_uint_le(shared()->ran, rig.backend->workers);
        rig_down(&rig);
        shared_down();
    }
}

START_TEST(a_timeout_counts_from_new_on)
{
    const soon_map_options options = {.timeout = SOON_MS(20)};
    struct numbers source = {.end = -1};
    struct rig rig;
    soon_imap *it = NULL;
    const void *value;
    int answer = 1;
    size_t len;

    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_echo, numbers_next, &source, &options, &it));
    while (answer == 1)
        answer = soon_imap_next(it, &value, &len);
    ck_assert_int_eq(answer, -ETIMEDOUT);
    ck_assert_int_eq(soon_imap_next(it, &value, &len), 0);
    soon_imap_free(it);
    rig_down(&rig);
}

START_TEST(past_its_timeout_what_runs_is_asked_to_stop)
{
    const soon_map_options options = {.timeout = SOON_MS(5), .buffer_size = 10};
    struct numbers source = {.end = -1};
    struct rig rig;
    soon_imap *it = NULL;
    const void *value;
    size_t len;

    shared_up();
    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_stop_when_asked, numbers_next, &source, &options, &it));
    ck_assert_int_eq(soon_imap_next(it, &value, &len), -ETIMEDOUT);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    soon_imap_free(it);
    rig_down(&rig);
    shared_down();
}

/* ---- early ends ---- */

START_TEST(free_cancels_what_has_not_run_and_waits_for_nothing)
{
    const soon_map_options options = {.chunk_size = 1, .buffer_size = 20};
    struct numbers source = {.end = -1};
    struct rig rig;
    soon_imap *it = NULL;

    shared_up();
    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_held, numbers_next, &source, &options, &it));
    bell_await(shared()->hold.started, rig.backend->workers);
    soon_imap_free(it);
    gate_open(shared()->hold.release);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_eq(shared()->ran, rig.backend->workers);
    rig_down(&rig);
    shared_down();
}

START_TEST(free_asks_what_runs_to_stop)
{
    const soon_map_options options = {.chunk_size = 1, .buffer_size = 20};
    struct numbers source = {.end = -1};
    struct rig rig;
    soon_imap *it = NULL;

    shared_up();
    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_stop_when_asked, numbers_next, &source, &options, &it));
    bell_await(shared()->hold.started, 1);
    soon_imap_free(it);
    rig_down(&rig);
    shared_down();
}

static void await_next(void *data)
{
    const void *value;
    size_t len;

    soon_imap_next(data, &value, &len);
}

/* In a child process: its executor has to be made there as well. */
static void free_while_in_use(void *data)
{
    struct numbers source = {.end = -1};
    struct thread reader;
    soon_executor *ex = NULL;
    soon_imap *it = NULL;

    (void)data;
    REQUIRE(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex) == 0);
    REQUIRE(soon_imap_new(ex, task_held, numbers_next, &source, NULL, &it) == 0);
    thread_start(&reader, await_next, it);
    thread_await_sleep(&reader);
    soon_imap_free(it);
}

START_TEST(freeing_one_that_another_thread_is_in_aborts)
{
    shared_up();
    assert_aborts(free_while_in_use, NULL);
    shared_down();
}

START_TEST(it_keeps_its_executor)
{
    struct numbers source = {.end = 100};
    struct rig rig;
    soon_imap *it = NULL;
    const void *value;
    size_t len;

    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_echo, numbers_next, &source, NULL, &it));
    soon_executor_unref(rig.ex);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
        ck_assert_msg(memcmp(value, &i, sizeof i) == 0, "item %d differs", i);
    }
    ck_assert_int_eq(soon_imap_next(it, &value, &len), 0);
    soon_executor_ref(rig.ex); /* alive as long as the iterator is */
    soon_imap_free(it);
    rig_down(&rig);
}

/* ---- many threads ---- */

enum { STREAM = 400, READERS = 4 };

struct readers {
    soon_imap *it;
    _Atomic unsigned came_out[STREAM];
    _Atomic unsigned ends;
};

/* A value is valid until the next call of any thread, so what came out is
 * only counted, and an item of the source is what says which it was. */
static void read_to_the_end(void *data)
{
    struct readers *r = data;
    const void *value;
    size_t len;
    int more;

    while ((more = soon_imap_next(r->it, &value, &len)) == 1)
        REQUIRE(len == sizeof(int));
    REQUIRE(more == 0);
    atomic_fetch_add(&r->ends, 1);
}

/* Where the tasks find it. */
static struct readers **readers_of_tasks(void)
{
    return shared_page();
}

static int task_mark(soon_call *call, const void *arg, size_t arg_len)
{
    int n;

    memcpy(&n, arg, sizeof n);
    atomic_fetch_add(&(*readers_of_tasks())->came_out[n], 1);
    return soon_return(call, arg, arg_len);
}

START_TEST(threads_take_turns_and_all_see_the_end)
{
    const soon_map_options options = {.unordered = _i % 2, .buffer_size = 10};
    struct numbers source = {.end = STREAM};
    struct thread threads[READERS];
    struct readers *r = shared_new(sizeof *r);
    struct rig rig;

    *readers_of_tasks() = r;
    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_mark, numbers_next, &source, &options, &r->it));
    for (int i = 0; i < READERS; i++)
        thread_start(&threads[i], read_to_the_end, r);
    for (int i = 0; i < READERS; i++)
        thread_join(&threads[i]);
    ck_assert_uint_eq(r->ends, READERS);
    for (int i = 0; i < STREAM; i++)
        EXPECT(r->came_out[i] == 1);
    soon_imap_free(r->it);
    rig_down(&rig);
    shared_free(r, sizeof *r);
}

/* ---- in odd places ---- */

static int task_imap_in_task(soon_call *call, const void *arg, size_t arg_len)
{
    struct numbers source = {.end = 60};
    soon_executor *ex;
    soon_imap *it = NULL;
    const void *value;
    int sum = 0, n, more;
    size_t len;

    (void)arg_len;
    memcpy(&ex, arg, sizeof ex);
    REQUIRE(soon_imap_new(ex, task_square, numbers_next, &source, NULL, &it) == 0);
    while ((more = soon_imap_next(it, &value, &len)) == 1) {
        memcpy(&n, value, sizeof n);
        sum += n;
    }
    soon_imap_free(it);
    return more ? more : soon_return(call, &sum, sizeof sum);
}

START_TEST(a_task_may_stream_over_its_own_executor)
{
    struct rig rig;
    soon_future *futures[4];

    rig_up(&rig, _i);
    for (int i = 0; i < 4; i++)
        futures[i] = submit(rig.ex, task_imap_in_task, &rig.ex, sizeof rig.ex);
    for (int i = 0; i < 4; i++)
        assert_result_int(futures[i], 70210);
    unref_all(futures, 4);
    rig_down(&rig);
}

START_TEST(a_bounded_queue_takes_a_stream)
{
    const soon_thread_pool_options pool = {
        .max_workers = 2, .max_pending = 1, .overflow = _i ? SOON_CALLER_RUNS : SOON_BLOCK};
    const soon_map_options options = {.buffer_size = 50};
    struct numbers source = {.end = 500};
    soon_executor *ex = NULL;
    soon_imap *it = NULL;
    const void *value;
    size_t len;

    assert_ok(soon_thread_pool_new(&pool, &ex));
    assert_ok(soon_imap_new(ex, task_echo, numbers_next, &source, &options, &it));
    for (int i = 0; i < 500; i++) {
        ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
        ck_assert_msg(memcmp(value, &i, sizeof i) == 0, "item %d differs", i);
    }
    ck_assert_int_eq(soon_imap_next(it, &value, &len), 0);
    soon_imap_free(it);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("imap_end");
    TCase *time = test_case(suite, "time");
    TCase *early = test_case(suite, "early ends");
    TCase *odd = test_case(suite, "odd places");

    add_over_backends(time, past_its_timeout_next_says_so_and_then_it_is_over, TRAIT_DEFERS);
    add_over_backends(time, a_timeout_counts_from_new_on, 0);
    add_over_backends(time, past_its_timeout_what_runs_is_asked_to_stop, TRAIT_DEFERS);

    add_over_backends(early, free_cancels_what_has_not_run_and_waits_for_nothing, TRAIT_DEFERS);
    add_over_backends(early, free_asks_what_runs_to_stop, TRAIT_DEFERS);
    tcase_add_test(early, freeing_one_that_another_thread_is_in_aborts);
    add_over_backends(early, it_keeps_its_executor, 0);

    add_over_backends(odd, threads_take_turns_and_all_see_the_end, 0);
    add_over_backends(odd, a_task_may_stream_over_its_own_executor, TRAIT_LOCAL);
    tcase_add_loop_test(odd, a_bounded_queue_takes_a_stream, 0, 2);
    return suite;
}
