/* SPDX-License-Identifier: MIT */
/*
 * Tasks that are with a worker already but have not begun: they are pending
 * for everybody, can be cancelled, count for max_pending, and are overtaken by
 * more urgent ones. And what crosses the boundary while a task runs.
 */
#include "process_pool.h"

#include "process_pool/pool.h"

#include <sched.h>
#include <unistd.h>

/* Tasks so short that many of them are handed ahead from here on. */
static void warm_up(soon_executor *ex, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    while (pool_figures(ex).finished < n)
        sched_yield();
}

/* ---- cancel ---- */

START_TEST(tasks_handed_ahead_can_be_cancelled)
{
    enum { N = 60 };
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *running, *ahead[N];

    warm_up(ex, 100);
    perch(ex, &hold, &running);
    for (int i = 0; i < N; i++)
        ahead[i] = submit_int(ex, task_tick, i % 2);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(soon_future_state(ahead[i]), SOON_PENDING);
    for (int i = 0; i < N; i += 2) {
        ck_assert(soon_future_cancel(ahead[i]));
        ck_assert(soon_future_cancelled(ahead[i]));
        assert_error(ahead[i], -ECANCELED, SOON_FROM_LIBRARY, NULL);
    }
    ck_assert_int_eq(soon_wait(ahead, N, SOON_ALL_COMPLETED, 0), N / 2);
    ck_assert(!soon_future_cancel(running));
    gate_open(hold.release);
    ck_assert_int_eq(soon_wait(ahead, N, SOON_ALL_COMPLETED, SOON_FOREVER), N);
    ck_assert_uint_eq(board()->count[0], 0);
    ck_assert_uint_eq(board()->count[1], N / 2);
    assert_result_int(running, 0);
    soon_future_unref(running);
    unref_all(ahead, N);
    pool_down(ex, 101 + N);
    hold_free(&hold);
}
END_TEST

START_TEST(a_promise_made_good_before_its_turn_is_not_run)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f[20];
    int answer = 42;

    warm_up(ex, 50);
    perch(ex, &hold, NULL);
    for (int i = 0; i < 20; i++)
        f[i] = submit_int(ex, task_tick, 0);
    for (int i = 0; i < 20; i++)
        assert_ok(soon_future_set_result(f[i], &answer, sizeof answer));
    gate_open(hold.release);
    for (int i = 0; i < 20; i++)
        assert_result_int(f[i], 42);
    unref_all(f, 20);
    pool_down(ex, 71);
    ck_assert_uint_eq(board()->count[0], 0);
    hold_free(&hold);
}
END_TEST

/* Everybody cancels everything while it runs: each task either ran, once, or
 * was cancelled. */
struct storm {
    soon_future **futures;
    unsigned n;
};

static void cancel_forwards(void *data)
{
    const struct storm *storm = data;

    for (unsigned i = 0; i < storm->n; i++)
        soon_future_cancel(storm->futures[i]);
}

static void cancel_backwards(void *data)
{
    const struct storm *storm = data;

    for (unsigned i = storm->n; i > 0; i--)
        soon_future_cancel(storm->futures[i - 1]);
}

static int task_mark(soon_call *call, const void *arg, size_t arg_len)
{
    shared_count *ran;

    (void)call;
    REQUIRE(arg_len == sizeof ran);
    memcpy(&ran, arg, sizeof ran);
    atomic_fetch_add(ran, 1);
    return 0;
}

START_TEST(a_task_is_cancelled_or_runs_never_both_and_never_neither)
{
    enum { N = 300 };
    shared_count *ran = shared_new(N * sizeof *ran);
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = 2});
    const size_t rounds = scaled(20);

    for (size_t round = 0; round < rounds; round++) {
        soon_future *futures[N];
        struct storm storm = {futures, N};

        for (int i = 0; i < N; i++) {
            shared_count *mine = &ran[i];

            *mine = 0;
            futures[i] = submit(ex, task_mark, &mine, sizeof mine);
        }
        race(cancel_forwards, cancel_backwards, &storm);
        ck_assert_int_eq(soon_wait(futures, N, SOON_ALL_COMPLETED, SOON_FOREVER), N);
        for (int i = 0; i < N; i++)
            EXPECT(ran[i] == !soon_future_cancelled(futures[i]));
        unref_all(futures, N);
    }
    pool_down(ex, rounds * N);
    shared_free(ran, N * sizeof *ran);
}
END_TEST

START_TEST(a_running_task_learns_of_its_cancel)
{
    struct bell started = bell_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit(ex, task_until_cancelled, &started, sizeof started), *next;

    bell_await(started, 1);
    next = submit_int(ex, task_square, 5);
    ck_assert(!soon_future_cancel(f));
    ck_assert(!soon_future_cancel(f));
    assert_error(f, -ECANCELED, SOON_FROM_TASK, NULL);
    assert_result_int(next, 25);
    soon_future_unref(f);
    soon_future_unref(next);
    pool_down(ex, 2);
    bell_free(started);
}
END_TEST

/* ---- order ---- */

START_TEST(urgent_tasks_overtake_those_handed_ahead)
{
    struct order_log *log = shared_new(sizeof *log);
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);

    warm_up(ex, 100);
    perch(ex, &hold, NULL);
    for (int i = 0; i < 20; i++)
        assert_ok(soon_submit(ex, task_note, &(struct order_note){log, 100 + i},
                              sizeof(struct order_note), NULL));
    for (int i = 0; i < 5; i++) {
        const struct order_note note = {log, i};
        const soon_task task = {
            .fn = task_note, .arg = &note, .arg_len = sizeof note, .priority = SOON_PRIORITY_HIGH};

        assert_ok(soon_submit_task(ex, &task, NULL));
    }
    gate_open(hold.release);
    pool_down(ex, 126);
    ck_assert_uint_eq(log->used, 25);
    for (int i = 0; i < 25; i++)
        ck_assert_int_eq(log->entry[i], i < 5 ? i : 95 + i);
    hold_free(&hold);
    shared_free(log, sizeof *log);
}
END_TEST

/* ---- max_pending ---- */

static soon_executor *bounded(int method, size_t max_pending, int overflow)
{
    const soon_process_pool_options options = {
        .max_workers = 1, .max_pending = max_pending, .overflow = overflow};

    return pool_up(method, &options);
}

START_TEST(what_is_handed_ahead_counts_and_what_runs_does_not)
{
    struct hold hold = hold_make();
    soon_executor *ex = bounded(_i, 3, SOON_REJECT);
    soon_future *f[3], *running;

    for (int round = 0; round < 2; round++) {
        perch(ex, &hold, &running);
        for (int i = 0; i < 3; i++)
            f[i] = submit_int(ex, task_square, i);
        ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
        ck_assert_uint_eq(pool_figures(ex).pending, 3);
        ck_assert_uint_eq(pool_figures(ex).running, 1);
        /* A cancelled one counts no more. */
        ck_assert(soon_future_cancel(f[1]));
        soon_future_unref(f[1]);
        f[1] = submit_int(ex, task_square, 1);
        ck_assert_int_eq(soon_submit(ex, task_nothing, NULL, 0, NULL), -EAGAIN);
        gate_open(hold.release);
        for (int i = 0; i < 3; i++)
            assert_result_int(f[i], i * i);
        unref_all(f, 3);
        assert_result_int(running, 0);
        soon_future_unref(running);
        hold_free(&hold);
        if (round == 0) {
            pool_down(ex, 5);
            hold = hold_make();
            ex = bounded(_i, 3, SOON_REJECT);
            warm_up(ex, 3);
        }
    }
    pool_down(ex, 8);
}
END_TEST

/* The one that begins frees a place: a submit that waits for it goes on though
 * nobody asks and nothing ends. */
START_TEST(a_task_that_begins_makes_room)
{
    struct hold first = hold_make(), second = hold_make();
    soon_executor *ex = bounded(_i, 1, SOON_BLOCK);

    perch(ex, &first, NULL);
    assert_ok(soon_submit(ex, task_hold, &second, sizeof second, NULL));
    gate_open(first.release);
    /* second begins and holds; this waits for that alone. */
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    bell_await(second.started, 1);
    gate_open(second.release);
    pool_down(ex, 3);
    hold_free(&first);
    hold_free(&second);
}
END_TEST

/* Results are collected by whoever has the lock `collecting`, which is here the
 * test: so a task has ended, and its future does not know of it yet. */
START_TEST(a_task_that_has_ended_is_not_pending_though_not_collected)
{
    soon_executor *ex = bounded(_i, 1, SOON_REJECT);
    struct pool *pool = (struct pool *)ex;
    soon_stats stats;

    warm_up(ex, 1);
    soon__lock_acquire(&pool->collecting);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    struct entry *entry = soon__entry_at(pool->seats[0], pool->seats[0]->head);
    while (atomic_load(&soon__slot_at(entry)->state) !=
           soon__slot_state(entry->position, SOON__SLOT_DONE))
        sched_yield();
    stats = pool_figures(ex);
    ck_assert_uint_eq(stats.pending, 0);
    ck_assert_uint_eq(stats.running, 1);
    ck_assert_uint_eq(stats.finished, 1);
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL)); /* there is room */
    soon__lock_release(&pool->collecting);
    pool_down(ex, 3);
}
END_TEST

struct submitter {
    soon_executor *ex;
    unsigned n;
};

static void submit_ticks(void *data)
{
    const struct submitter *s = data;
    const int index = 0;

    for (unsigned i = 0; i < s->n; i++)
        REQUIRE(soon_submit(s->ex, task_tick, &index, sizeof index, NULL) == 0);
}

START_TEST(many_wait_for_room_in_a_small_queue)
{
    enum { THREADS = 4 };
    const unsigned n = (unsigned)scaled(1000);

    for (size_t room = 1; room <= 3; room += 2) {
        soon_executor *ex =
            pool_up(_i, &(soon_process_pool_options){.max_workers = 2, .max_pending = room});
        struct submitter submitter = {ex, n};
        struct thread threads[THREADS];

        board()->count[0] = 0;
        for (int i = 0; i < THREADS; i++)
            thread_start(&threads[i], submit_ticks, &submitter);
        for (int i = 0; i < THREADS; i++)
            thread_join(&threads[i]);
        pool_down(ex, THREADS * n);
        ck_assert_uint_eq(board()->count[0], THREADS * n);
    }
}
END_TEST

START_TEST(under_caller_runs_the_submitter_runs_the_surplus)
{
    struct hold hold = hold_make();
    soon_executor *ex = bounded(_i, 1, SOON_CALLER_RUNS);
    soon_future *running, *pending, *mine;
    pid_t worker = perch(ex, &hold, &running);

    pending = submit(ex, task_pid, NULL, 0);
    mine = submit(ex, task_pid, NULL, 0);
    ck_assert(soon_future_done(mine));
    assert_pid(mine, getpid());
    gate_open(hold.release);
    assert_pid(pending, worker);
    soon_future_unref(running);
    soon_future_unref(pending);
    soon_future_unref(mine);
    pool_down(ex, 3);
    hold_free(&hold);
}
END_TEST

START_TEST(a_map_longer_than_the_queue)
{
    enum { N = 200 };
    static const int policies[] = {SOON_BLOCK, SOON_CALLER_RUNS};
    int items[N], results[N];

    for (int i = 0; i < N; i++)
        items[i] = i;
    for (int k = 0; k < 2; k++) {
        soon_executor *ex = bounded(_i, 2, policies[k]);

        assert_ok(soon_map(ex, task_square, items, sizeof(int), N, results, sizeof(int),
                           &(soon_map_options){.chunk_size = 3}));
        for (int i = 0; i < N; i++)
            ck_assert_int_eq(results[i], i * i);
        assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
        soon_executor_unref(ex);
    }
}
END_TEST

/* ---- progress ---- */

/* Reports n of 3 * n, waiting for a token after each. */
static int task_report(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    for (uint64_t n = 1; n <= 3; n++) {
        REQUIRE(soon_call_progress(call, n, 3 * n) == 0);
        bell_ring(hold.started);
        gate_pass(hold.release);
    }
    return hold.value;
}

static void assert_progress(const soon_future *f, uint64_t done, uint64_t total)
{
    uint64_t got_done = ~done, got_total = ~total;

    assert_ok(soon_future_progress(f, &got_done, &got_total));
    ck_assert_uint_eq(got_done, done);
    ck_assert_uint_eq(got_total, total);
}

START_TEST(progress_is_seen_while_the_task_runs_and_after)
{
    for (int code = 0; code < 2; code++) {
        struct hold hold = hold_make();
        struct bell token = {hold.release.fd}; /* lets it pass once */
        soon_executor *ex = one_worker(_i);
        soon_future *f;

        hold.value = code;
        f = submit(ex, task_report, &hold, sizeof hold);
        for (uint64_t n = 1; n <= 3; n++) {
            bell_await(hold.started, 1);
            assert_progress(f, n, 3 * n);
            bell_ring(token);
        }
        ck_assert_int_eq(soon_future_value(f, SOON_FOREVER, NULL, NULL), code);
        assert_progress(f, 3, 9);
        /* The slot's next task has a progress of its own. */
        for (int i = 0; i < 130; i++) {
            soon_future *next = submit(ex, task_nothing, NULL, 0);

            assert_result_bytes(next, "", 0);
            assert_progress(next, 0, 0);
            soon_future_unref(next);
        }
        assert_progress(f, 3, 9);
        soon_future_unref(f);
        pool_down(ex, 131);
        hold_free(&hold);
    }
}
END_TEST

START_TEST(the_progress_of_a_task_that_died_is_known_or_none)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit(ex, task_report, &hold, sizeof hold);
    uint64_t done = 99, total = 99;

    bell_await(hold.started, 1);
    assert_progress(f, 1, 3);
    assert_ok(soon_future_kill(f));
    assert_ok(soon_future_progress(f, &done, &total));
    ck_assert((done == 1 && total == 3) || (done == 0 && total == 0));
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

/* done rises, and total is always its square. */
static int task_climb(soon_call *call, const void *arg, size_t arg_len)
{
    struct bell started;

    REQUIRE(arg_len == sizeof started);
    memcpy(&started, arg, sizeof started);
    for (uint64_t n = 1; !soon_call_cancelled(call); n++) {
        REQUIRE(soon_call_progress(call, n, n * n) == 0);
        if (n == 1)
            bell_ring(started);
    }
    return 0;
}

START_TEST(progress_is_never_torn_and_never_falls_back)
{
    struct bell started = bell_make();
    soon_executor *ex = one_worker(_i);
    soon_future *f = submit(ex, task_climb, &started, sizeof started);
    uint64_t before = 1;

    bell_await(started, 1);
    for (size_t i = scaled(300000); i > 0; i--) {
        uint64_t done = 0, total = 0;

        EXPECT(soon_future_progress(f, &done, &total) == 0);
        EXPECT(total == done * done);
        EXPECT(done >= before);
        before = done;
    }
    ck_assert(!soon_future_cancel(f));
    assert_result_bytes(f, "", 0);
    soon_future_unref(f);
    pool_down(ex, 1);
    bell_free(started);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_queue");
    TCase *cancel = test_case(suite, "cancel");
    TCase *order = test_case(suite, "order");
    TCase *pending = test_case(suite, "max_pending");
    TCase *progress = test_case(suite, "progress");

    add_over_methods(cancel, tasks_handed_ahead_can_be_cancelled);
    add_over_methods(cancel, a_promise_made_good_before_its_turn_is_not_run);
    add_over_methods(cancel, a_task_is_cancelled_or_runs_never_both_and_never_neither);
    add_over_methods(cancel, a_running_task_learns_of_its_cancel);

    add_over_methods(order, urgent_tasks_overtake_those_handed_ahead);

    add_over_methods(pending, what_is_handed_ahead_counts_and_what_runs_does_not);
    add_over_methods(pending, a_task_that_begins_makes_room);
    add_over_methods(pending, a_task_that_has_ended_is_not_pending_though_not_collected);
    add_over_methods(pending, many_wait_for_room_in_a_small_queue);
    add_over_methods(pending, under_caller_runs_the_submitter_runs_the_surplus);
    add_over_methods(pending, a_map_longer_than_the_queue);

    add_over_methods(progress, progress_is_seen_while_the_task_runs_and_after);
    add_over_methods(progress, the_progress_of_a_task_that_died_is_known_or_none);
    add_over_methods(progress, progress_is_never_torn_and_never_falls_back);
    return suite;
}
