/* SPDX-License-Identifier: MIT */
#include "thread_pool_cases.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* A pool of one worker that is held, so that nothing leaves the queue. */
static soon_executor *held_pool(struct hold *hold, size_t max_pending, int overflow)
{
    soon_executor *ex = pool_new(&(soon_thread_pool_options){
        .max_workers = 1, .max_pending = max_pending, .overflow = overflow});

    *hold = hold_make();
    hold_workers(ex, hold, 1);
    return ex;
}

static void release_pool(soon_executor *ex, struct hold *hold)
{
    gate_open(hold->release);
    pool_end(ex);
    hold_free(hold);
}

/* ---- max_pending ---- */

START_TEST(reject_refuses_the_one_too_many)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 3, SOON_REJECT);
    soon_future *futures[3], *refused = NULL;

    /* The one that runs does not count. */
    for (int i = 0; i < 3; i++)
        futures[i] = submit_int(ex, task_square, i);
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, &refused), -EAGAIN);
    ck_assert_int_eq(soon_submit_task(ex, &(soon_task){.fn = task_nothing}, &refused), -EAGAIN);
    ck_assert_ptr_null(refused);
    ck_assert_uint_eq(pool_stats(ex).pending, 3);
    /* A cancelled one does not either. */
    ck_assert(soon_future_cancel(futures[1]));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
    gate_open(hold.release);
    assert_result_int(futures[0], 0);
    assert_result_int(futures[2], 4);
    await_idle(ex, 1);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 6); /* refused ones were never submitted */
    unref_all(futures, 3);
    release_pool(ex, &hold);
}
END_TEST

START_TEST(submit_many_finds_room_for_all_or_takes_none)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 3, SOON_REJECT);
    const soon_task tasks[4] = {
        {.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}};
    soon_future *futures[4] = {NULL, NULL, NULL, NULL};

    ck_assert_int_eq(soon_submit_many(ex, tasks, 4, futures), -EAGAIN);
    assert_ok(soon_submit_many(ex, tasks, 2, NULL));
    ck_assert_int_eq(soon_submit_many(ex, tasks, 2, futures), -EAGAIN);
    ck_assert_uint_eq(pool_stats(ex).pending, 2);
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_null(futures[i]);
    assert_ok(soon_submit_many(ex, tasks, 1, futures));
    ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
    soon_future_unref(futures[0]);
    release_pool(ex, &hold);
}
END_TEST

START_TEST(more_than_ever_fits_is_an_error_when_blocking)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 3, SOON_BLOCK);
    const soon_task tasks[4] = {
        {.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}};
    soon_future *futures[4] = {NULL, NULL, NULL, NULL};

    ck_assert_int_eq(soon_submit_many(ex, tasks, 4, futures), -EINVAL);
    ck_assert_ptr_null(futures[0]);
    ck_assert_uint_eq(pool_stats(ex).pending, 0);
    assert_ok(soon_submit_many(ex, tasks, 3, NULL));
    release_pool(ex, &hold);
}
END_TEST

/* A thread that submits n tasks at once, which may block. */
struct submitter {
    soon_executor *ex;
    size_t n;
    int error;
    struct thread thread;
};

static void submit_them(void *data)
{
    const soon_task tasks[3] = {{.fn = task_nothing}, {.fn = task_nothing}, {.fn = task_nothing}};
    struct submitter *s = data;

    REQUIRE(s->n <= 3);
    s->error = s->n == 1 ? soon_submit(s->ex, task_nothing, NULL, 0, NULL)
                         : soon_submit_many(s->ex, tasks, s->n, NULL);
}

static void start_blocked(struct submitter *s, soon_executor *ex, size_t n)
{
    *s = (struct submitter){.ex = ex, .n = n, .error = 1};
    thread_start(&s->thread, submit_them, s);
    thread_await_sleep(&s->thread);
}

START_TEST(block_waits_for_a_worker_to_make_room)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 2, SOON_BLOCK);
    struct submitter one, three;

    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    start_blocked(&one, ex, 1);
    start_blocked(&three, ex, 2);
    ck_assert_uint_eq(pool_stats(ex).pending, 2);
    gate_open(hold.release);
    thread_join(&one.thread);
    thread_join(&three.thread);
    assert_ok(one.error);
    assert_ok(three.error);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 6);
    release_pool(ex, &hold);
}
END_TEST

START_TEST(block_sees_the_room_that_a_cancel_makes)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 1, SOON_BLOCK);
    struct submitter s;
    soon_future *f = submit(ex, task_nothing, NULL, 0);

    start_blocked(&s, ex, 1);
    ck_assert(soon_future_cancel(f));
    thread_join(&s.thread);
    assert_ok(s.error);
    ck_assert_uint_eq(pool_stats(ex).pending, 1);
    soon_future_unref(f);
    release_pool(ex, &hold);
}
END_TEST

START_TEST(shutdown_ends_a_blocked_submit)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 1, SOON_BLOCK);
    struct submitter s[3];

    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    for (int i = 0; i < 3; i++)
        start_blocked(&s[i], ex, 1);
    assert_ok(soon_shutdown(ex, 0, 0));
    for (int i = 0; i < 3; i++) {
        thread_join(&s[i].thread);
        ck_assert_int_eq(s[i].error, -ESHUTDOWN);
    }
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 2);
    release_pool(ex, &hold);
}
END_TEST

/* Submits n more of the pool that runs it, one after the other. */
struct spawn {
    soon_executor *ex;
    shared_count *count;
    unsigned n;
};

static int task_spawn(soon_call *call, const void *arg, size_t arg_len)
{
    struct spawn spawn;

    (void)call;
    REQUIRE(arg_len == sizeof spawn);
    memcpy(&spawn, arg, sizeof spawn);
    for (unsigned i = 0; i < spawn.n; i++)
        REQUIRE(soon_submit(spawn.ex, task_count, &spawn.count, sizeof spawn.count, NULL) == 0);
    return 0;
}

START_TEST(a_task_that_blocks_on_its_own_full_queue_does_not_stall)
{
    struct spawn spawn = {.count = shared_new(sizeof *spawn.count), .n = 50};
    soon_executor *ex = pool_new(
        &(soon_thread_pool_options){.max_workers = 1, .max_pending = 2, .overflow = SOON_BLOCK});
    soon_future *f;

    spawn.ex = ex;
    f = submit(ex, task_spawn, &spawn, sizeof spawn);
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    soon_future_unref(f);
    pool_end(ex);
    ck_assert_uint_eq(atomic_load(spawn.count), 50);
    shared_free(spawn.count, sizeof *spawn.count);
}
END_TEST

static int task_thread(soon_call *call, const void *arg, size_t arg_len)
{
    pthread_t self = pthread_self();

    (void)arg, (void)arg_len;
    return soon_return(call, &self, sizeof self);
}

START_TEST(the_caller_runs_what_finds_no_room)
{
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 1, SOON_CALLER_RUNS);
    soon_future *queued = submit(ex, task_thread, NULL, 0);
    soon_future *mine = submit(ex, task_thread, NULL, 0);
    pthread_t thread;

    ck_assert(soon_future_done(mine));
    ck_assert(!soon_future_done(queued));
    assert_ok(soon_future_result(mine, 0, &thread, sizeof thread));
    ck_assert(pthread_equal(thread, pthread_self()));
    gate_open(hold.release);
    assert_ok(soon_future_result(queued, SOON_FOREVER, &thread, sizeof thread));
    ck_assert(!pthread_equal(thread, pthread_self()));
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    assert_stats_add_up(ex, 3);
    soon_future_unref(queued);
    soon_future_unref(mine);
    release_pool(ex, &hold);
}
END_TEST

START_TEST(the_caller_runs_the_surplus_of_many)
{
    enum { N = 7, ROOM = 2 };
    struct hold hold;
    soon_executor *ex = held_pool(&hold, ROOM, SOON_CALLER_RUNS);
    soon_future *futures[N];
    soon_task tasks[N];
    int numbers[N], done = 0;

    for (int i = 0; i < N; i++) {
        numbers[i] = i;
        tasks[i] = (soon_task){.fn = task_square, .arg = &numbers[i], .arg_len = sizeof(int)};
    }
    assert_ok(soon_submit_many(ex, tasks, N, futures));
    for (int i = 0; i < N; i++)
        done += soon_future_done(futures[i]);
    ck_assert_int_eq(done, N - ROOM);
    ck_assert_uint_eq(pool_stats(ex).pending, ROOM);
    gate_open(hold.release);
    for (int i = 0; i < N; i++)
        assert_result_int(futures[i], i * i);
    unref_all(futures, N);
    release_pool(ex, &hold);
}
END_TEST

static unsigned long resident_pages(void)
{
    unsigned long total, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "re");

    EXPECT(statm && fscanf(statm, "%lu %lu", &total, &resident) == 2);
    fclose(statm);
    return resident;
}

START_TEST(submitting_and_cancelling_for_ever_needs_no_memory)
{
    const size_t n = scaled(1000000);
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 1, SOON_REJECT);
    unsigned long pages;

    for (size_t i = 0; i < n + n / 10; i++) {
        soon_future *f;

        /* The first tenth warms up caches of every kind. */
        if (i == n / 10)
            pages = resident_pages();
        EXPECT(soon_submit(ex, task_nothing, NULL, 0, &f) == 0);
        EXPECT(soon_future_cancel(f));
        soon_future_unref(f);
    }
    ck_assert_uint_lt(pool_stats(ex).memory, 256 << 10);
    ck_assert_uint_eq(pool_stats(ex).pending, 0);
    ck_assert_uint_eq(pool_stats(ex).cancelled, n + n / 10);
    /* Sanitizers keep what is freed; they run fewer. */
    if (n == 1000000)
        ck_assert_uint_lt(resident_pages(), pages + 2048);
    release_pool(ex, &hold);
}
END_TEST

/* ---- order ---- */

START_TEST(one_worker_runs_in_the_order_submitted)
{
    enum { N = 1000 };
    struct order_log *log = shared_new(sizeof *log);
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 0, SOON_BLOCK);

    for (int i = 0; i < N; i++) {
        struct order_note note = {log, i};

        assert_ok(soon_submit(ex, task_note, &note, sizeof note, NULL));
    }
    release_pool(ex, &hold);
    ck_assert_uint_eq(log->used, N);
    for (int i = 0; i < N; i++)
        EXPECT(log->entry[i] == i);
    shared_free(log, sizeof *log);
}
END_TEST

/* Two workers, one of them stuck in a long task. What was submitted with that
 * task must not wait behind it while the other worker takes what came later. */
START_TEST(a_long_task_does_not_hold_up_what_was_submitted_with_it)
{
    enum { MARKS = 40, LATER = 400 };
    struct order_log *log = shared_new(sizeof *log);
    struct hold first = hold_make(), second = hold_make(), stuck = hold_make();
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 2});
    struct order_note notes[MARKS];
    soon_task tasks[MARKS + 1];

    hold_workers(ex, &first, 1);
    hold_workers(ex, &second, 1);
    tasks[0] = (soon_task){.fn = task_hold, .arg = &stuck, .arg_len = sizeof stuck};
    for (int i = 0; i < MARKS; i++) {
        notes[i] = (struct order_note){log, i};
        tasks[i + 1] = (soon_task){.fn = task_note, .arg = &notes[i], .arg_len = sizeof notes[i]};
    }
    assert_ok(soon_submit_many(ex, tasks, MARKS + 1, NULL));
    for (int i = 0; i < LATER; i++) {
        struct order_note later = {log, MARKS + i};

        assert_ok(soon_submit(ex, task_note, &later, sizeof later, NULL));
    }
    gate_open(first.release);
    bell_await(stuck.started, 1); /* one worker has taken it, and perhaps more */
    gate_open(second.release);
    while (atomic_load(&log->used) < MARKS + LATER)
        sched_yield();
    gate_open(stuck.release);
    pool_end(ex);
    for (int i = 0; i < MARKS + LATER; i++)
        ck_assert_int_eq(log->entry[i], i);
    hold_free(&first);
    hold_free(&second);
    hold_free(&stuck);
    shared_free(log, sizeof *log);
}
END_TEST

/* A parent that submits more children than any worker's own queue holds. */
struct family {
    soon_executor *ex;
    _Atomic int *next; /* the child that has to be the next to run */
    int children;
};

struct child {
    _Atomic int *next;
    int number;
};

static int task_child(soon_call *call, const void *arg, size_t arg_len)
{
    struct child child;

    (void)call;
    REQUIRE(arg_len == sizeof child);
    memcpy(&child, arg, sizeof child);
    REQUIRE(atomic_fetch_add(child.next, 1) == child.number);
    return 0;
}

static int task_parent(soon_call *call, const void *arg, size_t arg_len)
{
    struct family family;

    (void)call;
    REQUIRE(arg_len == sizeof family);
    memcpy(&family, arg, sizeof family);
    for (int i = 0; i < family.children; i++) {
        struct child child = {family.next, i};

        REQUIRE(soon_submit(family.ex, task_child, &child, sizeof child, NULL) == 0);
    }
    return 0;
}

START_TEST(a_tasks_children_run_in_the_order_submitted)
{
    _Atomic int *next = shared_new(sizeof *next);
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 1});
    struct family family = {ex, next, (int)scaled(20000)};
    soon_future *f = submit(ex, task_parent, &family, sizeof family);

    assert_ok(soon_future_wait(f, SOON_FOREVER));
    soon_future_unref(f);
    pool_end(ex);
    ck_assert_int_eq(atomic_load(next), family.children);
    shared_free((void *)next, sizeof *next);
}
END_TEST

START_TEST(higher_priority_goes_first)
{
    static const int priorities[] = {-1, 0, 1, -1, 0, 1};
    static const int expected[] = {2, 5, 1, 4, 0, 3};
    struct order_log *log = shared_new(sizeof *log);
    struct hold hold;
    soon_executor *ex = held_pool(&hold, 0, SOON_BLOCK);

    for (int i = 0; i < 6; i++) {
        struct order_note note = {log, i};
        soon_task task = {
            .fn = task_note, .arg = &note, .arg_len = sizeof note, .priority = priorities[i]};

        assert_ok(soon_submit_task(ex, &task, NULL));
    }
    release_pool(ex, &hold);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(log->entry[i], expected[i]);
    shared_free(log, sizeof *log);
}
END_TEST

/* ---- ageing ---- */

/* A task that is followed by another of the same until the stream is dammed. */
struct stream {
    soon_executor *ex;
    _Atomic bool *dammed;
    int priority;
};

static int task_stream(soon_call *call, const void *arg, size_t arg_len)
{
    struct stream stream;
    soon_task next = {.fn = task_stream, .arg = &stream, .arg_len = sizeof stream};

    (void)call;
    REQUIRE(arg_len == sizeof stream);
    memcpy(&stream, arg, sizeof stream);
    next.priority = stream.priority;
    if (!atomic_load(stream.dammed)) {
        int error = soon_submit_task(stream.ex, &next, NULL);

        REQUIRE(error == 0 || (error == -ESHUTDOWN && atomic_load(stream.dammed)));
    }
    return 0;
}

static int task_dam(soon_call *call, const void *arg, size_t arg_len)
{
    _Atomic bool *dammed;

    (void)call;
    REQUIRE(arg_len == sizeof dammed);
    memcpy(&dammed, arg, sizeof dammed);
    atomic_store(dammed, true);
    return 0;
}

static void submit_dam(soon_executor *ex, _Atomic bool *dammed)
{
    const soon_task task = {
        .fn = task_dam, .arg = &dammed, .arg_len = sizeof dammed, .priority = SOON_PRIORITY_LOW};

    assert_ok(soon_submit_task(ex, &task, NULL));
}

START_TEST(low_runs_under_an_endless_stream)
{
    const unsigned workers = _i % 2 ? 2 : 1;
    const int priority = _i < 2 ? SOON_PRIORITY_HIGH : SOON_PRIORITY_NORMAL;
    _Atomic bool *dammed = shared_new(sizeof *dammed);
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = workers});
    struct stream stream = {ex, dammed, priority};
    soon_task first = {
        .fn = task_stream, .arg = &stream, .arg_len = sizeof stream, .priority = priority};

    /* Two streams a worker: one task is always queued. */
    for (unsigned i = 0; i < 2 * workers; i++)
        assert_ok(soon_submit_task(ex, &first, NULL));
    submit_dam(ex, dammed);
    /* Ends only if the dam is built. */
    while (!atomic_load(dammed))
        sched_yield();
    pool_end(ex);
    shared_free((void *)dammed, sizeof *dammed);
}
END_TEST

/* A stream from outside: this thread keeps two of HIGH queued at all times. */
START_TEST(low_runs_while_others_submit_high)
{
    _Atomic bool *dammed = shared_new(sizeof *dammed);
    soon_executor *ex = pool_new(
        &(soon_thread_pool_options){.max_workers = 1, .max_pending = 100, .overflow = SOON_BLOCK});
    const soon_task high = {.fn = task_nothing, .priority = SOON_PRIORITY_HIGH};

    submit_dam(ex, dammed);
    while (!atomic_load(dammed))
        EXPECT(soon_submit_task(ex, &high, NULL) == 0);
    pool_end(ex);
    shared_free((void *)dammed, sizeof *dammed);
}
END_TEST

/* One submitter's tasks stay in order among those of others. */
struct sequence {
    soon_executor *ex;
    _Atomic int next;
    int length;
    struct thread thread;
};

static void submit_sequence(void *data)
{
    struct sequence *s = data;

    for (int i = 0; i < s->length; i++) {
        struct child child = {&s->next, i};

        REQUIRE(soon_submit(s->ex, task_child, &child, sizeof child, NULL) == 0);
    }
}

START_TEST(each_submitters_tasks_stay_in_order)
{
    static struct sequence sequences[4];
    soon_executor *ex = pool_new(&(soon_thread_pool_options){.max_workers = 1});

    for (int i = 0; i < 4; i++) {
        atomic_store(&sequences[i].next, 0);
        sequences[i].ex = ex;
        sequences[i].length = (int)scaled(10000);
        thread_start(&sequences[i].thread, submit_sequence, &sequences[i]);
    }
    for (int i = 0; i < 4; i++)
        thread_join(&sequences[i].thread);
    pool_end(ex);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(atomic_load(&sequences[i].next), sequences[i].length);
}
END_TEST

void add_queue_cases(Suite *suite)
{
    TCase *tc = test_case(suite, "max_pending");

    tcase_add_test(tc, reject_refuses_the_one_too_many);
    tcase_add_test(tc, submit_many_finds_room_for_all_or_takes_none);
    tcase_add_test(tc, more_than_ever_fits_is_an_error_when_blocking);
    tcase_add_test(tc, block_waits_for_a_worker_to_make_room);
    tcase_add_test(tc, block_sees_the_room_that_a_cancel_makes);
    tcase_add_test(tc, shutdown_ends_a_blocked_submit);
    tcase_add_test(tc, a_task_that_blocks_on_its_own_full_queue_does_not_stall);
    tcase_add_test(tc, the_caller_runs_what_finds_no_room);
    tcase_add_test(tc, the_caller_runs_the_surplus_of_many);
    tcase_add_test(tc, submitting_and_cancelling_for_ever_needs_no_memory);
    tc = test_case(suite, "order");
    tcase_add_test(tc, one_worker_runs_in_the_order_submitted);
    tcase_add_test(tc, a_long_task_does_not_hold_up_what_was_submitted_with_it);
    tcase_add_test(tc, a_tasks_children_run_in_the_order_submitted);
    tcase_add_test(tc, each_submitters_tasks_stay_in_order);
    tcase_add_test(tc, higher_priority_goes_first);
    tcase_add_loop_test(tc, low_runs_under_an_endless_stream, 0, 4);
    tcase_add_test(tc, low_runs_while_others_submit_high);
}
