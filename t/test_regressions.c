/* SPDX-License-Identifier: MIT */
/* The thread pool: its workers' comings and goings, and the order of starts. */
#include "regressions.h"

#include <limits.h>
#include <sched.h>

soon_executor *regress_pool(unsigned workers)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = workers}, &ex));
    return ex;
}

void regress_end(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

static void run_nothing(soon_executor *ex)
{
    soon_future *f = submit(ex, task_nothing, NULL, 0);

    assert_ok(soon_future_wait(f, ENOUGH));
    soon_future_unref(f);
}

/* ---- workers that leave ---- */

/* A finalizer that rings started and stays until release is open. */
static int linger(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    (void)call;
    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    bell_ring(hold.started);
    gate_pass(hold.release);
    return 0;
}

static soon_executor *lingering_pool(unsigned max, unsigned min, soon_ns idle, struct hold *hold)
{
    soon_executor *ex = NULL;

    *hold = hold_make();
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = max,
                                                               .min_workers = min,
                                                               .idle_timeout = idle,
                                                               .finalizer = linger,
                                                               .init_arg = hold,
                                                               .init_arg_len = sizeof *hold},
                                   &ex));
    return ex;
}

/* A worker that has been woken and has not looked yet spares other wake-ups,
 * but not for good: it sees to what it leaves. */
START_TEST(each_of_several_submits_gets_a_worker_though_one_is_on_its_way)
{
    struct hold hold = hold_make();
    soon_executor *ex;
    soon_stats stats;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 4}, &ex));
    assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    do
        assert_ok(soon_executor_stats(ex, &stats));
    while (stats.idle != 1);
    for (int i = 0; i < 4; i++)
        assert_ok(soon_submit(ex, task_hold, &hold, sizeof hold, NULL));
    bell_await(hold.started, 4);
    gate_open(hold.release);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    hold_free(&hold);
}

START_TEST(a_submit_while_the_last_worker_leaves_gets_another)
{
    struct hold hold;
    soon_executor *ex = lingering_pool(1, 0, SOON_MS(1), &hold);

    run_nothing(ex);
    bell_await(hold.started, 1);
    run_nothing(ex);
    gate_open(hold.release);
    regress_end(ex);
    hold_free(&hold);
}
END_TEST

START_TEST(min_workers_stay_however_long_another_takes_to_leave)
{
    struct hold leave, work = hold_make();
    soon_executor *ex = lingering_pool(4, 3, SOON_MS(5), &leave);
    soon_stats stats;

    for (int i = 0; i < 4; i++)
        assert_ok(soon_submit(ex, task_hold, &work, sizeof work, NULL));
    bell_await(work.started, 4);
    gate_open(work.release);
    bell_await(leave.started, 1);
    ck_assert(!bell_rings_within(leave.started, SOON_MS(60)));
    gate_open(leave.release);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_ge(stats.workers, 3);
    regress_end(ex);
    hold_free(&leave);
    hold_free(&work);
}
END_TEST

static int task_await(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call;
    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    return soon_future_wait(f, SOON_FOREVER);
}

static int task_keep(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;

    (void)call;
    REQUIRE(arg_len == sizeof f);
    memcpy(&f, arg, sizeof f);
    return soon_future_set_result(f, NULL, 0);
}

/* The spare that ran the keeper and the worker that it woke look at the same
 * time whether one of them is too many. */
START_TEST(a_spare_that_leaves_takes_nobody_with_it)
{
    for (size_t i = 0; i < scaled(30); i++) {
        struct hold hold;
        soon_executor *ex = lingering_pool(1, 0, 0, &hold);
        soon_future *p = promise();
        soon_future *f[] = {submit(ex, task_await, &p, sizeof p),
                            submit(ex, task_keep, &p, sizeof p)};

        EXPECT(soon_wait(f, 2, SOON_ALL_COMPLETED, ENOUGH) == 2);
        run_nothing(ex);
        gate_open(hold.release);
        regress_end(ex);
        unref_all(f, 2);
        soon_future_unref(p);
        hold_free(&hold);
    }
}
END_TEST

static struct {
    soon_executor *ex;
    struct bell bell;
    atomic_uint finalizers;
} last_wish;

static int task_ring(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    bell_ring(last_wish.bell);
    return 0;
}

static int finalizer_submits(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    if (atomic_fetch_add(&last_wish.finalizers, 1) == 0)
        REQUIRE(soon_submit(last_wish.ex, task_ring, NULL, 0, NULL) == 0);
    return 0;
}

START_TEST(what_a_finalizer_submits_is_run)
{
    last_wish.bell = bell_make();
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1,
                                                               .idle_timeout = SOON_MS(1),
                                                               .finalizer = finalizer_submits},
                                   &last_wish.ex));
    run_nothing(last_wish.ex);
    ck_assert(bell_rings_within(last_wish.bell, ENOUGH));
    regress_end(last_wish.ex);
    bell_free(last_wish.bell);
}
END_TEST

START_TEST(a_worker_with_the_smallest_stack_can_park)
{
    soon_executor *ex = NULL;
    soon_stats stats;

    assert_ok(soon_thread_pool_new(
        &(soon_thread_pool_options){.max_workers = 1, .stack_size = (size_t)PTHREAD_STACK_MIN},
        &ex));
    for (int i = 0; i < 2; i++) {
        run_nothing(ex);
        do {
            sched_yield();
            assert_ok(soon_executor_stats(ex, &stats));
        } while (stats.idle == 0);
    }
    regress_end(ex);
}
END_TEST

static struct {
    soon_executor *outer, *inner;
} nested;

static int task_asks_the_outer(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;
    int status;

    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit(nested.outer, task_nothing, NULL, 0, &f) == 0);
    status = soon_future_wait(f, ENOUGH);
    soon_future_unref(f);
    return status;
}

static int task_ends_the_inner(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit(nested.inner, task_asks_the_outer, NULL, 0, NULL) == 0);
    return soon_shutdown(nested.inner, ENOUGH, 0);
}

START_TEST(a_shutdown_of_another_pool_is_a_wait_like_others)
{
    soon_future *f;

    nested.outer = regress_pool(1);
    nested.inner = regress_pool(1);
    f = submit(nested.outer, task_ends_the_inner, NULL, 0);
    assert_result_bytes(f, NULL, 0);
    soon_future_unref(f);
    soon_executor_unref(nested.inner);
    regress_end(nested.outer);
}
END_TEST

/* ---- order ---- */

/* Notes value, rings done, and waits for stay unless that is -1. */
struct step {
    struct order_log *log;
    struct bell done;
    struct gate stay;
    int value;
};

static int task_step(soon_call *call, const void *arg, size_t arg_len)
{
    struct step step;

    (void)call;
    REQUIRE(arg_len == sizeof step);
    memcpy(&step, arg, sizeof step);
    order_log_add(step.log, step.value);
    bell_ring(step.done);
    if (step.stay.fd >= 0)
        gate_pass(step.stay);
    return 0;
}

/* The one step that was held up aside, they began in order. */
static void assert_in_order(const struct order_log *log, int n, int held)
{
    int previous = held;

    ck_assert_int_eq((int)atomic_load(&log->used), n);
    for (int i = 0; i < n; i++)
        if (log->entry[i] > held) {
            ck_assert_int_gt(log->entry[i], previous);
            previous = log->entry[i];
        }
    ck_assert_int_eq(previous, n - 1);
}

START_TEST(one_held_up_does_not_change_the_order_of_the_rest)
{
    static const int held[] = {0, 1, 5, 40, 200};
    enum { N = 600 };
    struct order_log *log = shared_new(sizeof *log);
    struct hold both = hold_make();
    struct gate stay = gate_make();
    struct step step = {.log = log, .done = bell_make()};
    soon_executor *ex = regress_pool(2);

    for (int i = 0; i < 2; i++)
        assert_ok(soon_submit(ex, task_hold, &both, sizeof both, NULL));
    bell_await(both.started, 2);
    for (step.value = 0; step.value < N; step.value++) {
        step.stay.fd = step.value == held[_i] ? stay.fd : -1;
        assert_ok(soon_submit(ex, task_step, &step, sizeof step, NULL));
    }
    gate_open(both.release);
    bell_await(step.done, N);
    gate_open(stay);
    regress_end(ex);
    assert_in_order(log, N, held[_i]);
    hold_free(&both);
    gate_free(stay);
    bell_free(step.done);
    shared_free(log, sizeof *log);
}
END_TEST

static int task_rings_and_awaits(soon_call *call, const void *arg, size_t arg_len)
{
    struct {
        soon_future *promise;
        struct bell begun;
    } a;

    (void)call;
    REQUIRE(arg_len == sizeof a);
    memcpy(&a, arg, sizeof a);
    bell_ring(a.begun);
    return soon_future_wait(a.promise, SOON_FOREVER);
}

/* A task that sleeps in a wait has taken those behind it along. */
START_TEST(what_a_sleeping_worker_took_goes_before_the_queue)
{
    enum { N = 500 };
    struct order_log *log = shared_new(sizeof *log);
    struct hold first = hold_make(), second = hold_make();
    struct {
        soon_future *promise;
        struct bell begun;
    } waits = {promise(), bell_make()};
    soon_executor *ex = regress_pool(2);
    soon_future *f;

    assert_ok(soon_submit(ex, task_hold, &first, sizeof first, NULL));
    assert_ok(soon_submit(ex, task_hold, &second, sizeof second, NULL));
    bell_await(first.started, 1);
    bell_await(second.started, 1);
    f = submit(ex, task_rings_and_awaits, &waits, sizeof waits);
    for (int i = 0; i < N; i++)
        assert_ok(soon_submit(ex, task_note, &(struct order_note){log, i},
                              sizeof(struct order_note), NULL));
    gate_open(first.release);
    bell_await(waits.begun, 1);
    gate_open(second.release);
    while (atomic_load(&log->used) < N)
        sched_yield();
    assert_ok(soon_future_set_result(waits.promise, NULL, 0));
    assert_result_bytes(f, NULL, 0);
    regress_end(ex);
    assert_in_order(log, N, -1);
    unref_all((soon_future *[]){f, waits.promise}, 2);
    hold_free(&first);
    hold_free(&second);
    bell_free(waits.begun);
    shared_free(log, sizeof *log);
}
END_TEST

/* A task that submits n children, the last of them by submit_many, and then
 * leaves them to a thief or to its own worker. */
struct family {
    soon_executor *ex;
    struct order_log *log;
    struct bell done;
    struct gate thief, parent;
    int n, at_once;
};

static int task_family(soon_call *call, const void *arg, size_t arg_len)
{
    struct family family;
    struct step steps[16];
    soon_task tasks[16];
    int i;

    (void)call;
    REQUIRE(arg_len == sizeof family);
    memcpy(&family, arg, sizeof family);
    for (i = 0; i < family.n - family.at_once; i++) {
        struct step step = {family.log, family.done, {-1}, i};

        REQUIRE(soon_submit(family.ex, task_step, &step, sizeof step, NULL) == 0);
    }
    for (int k = 0; k < family.at_once; k++, i++) {
        steps[k] = (struct step){family.log, family.done, {-1}, i};
        tasks[k] = (soon_task){.fn = task_step, .arg = &steps[k], .arg_len = sizeof steps[k]};
    }
    REQUIRE(soon_submit_many(family.ex, tasks, (size_t)family.at_once, NULL) == 0);
    gate_open(family.thief);
    gate_pass(family.parent);
    return 0;
}

/* The number of children is within a deque's size, or past it. */
START_TEST(children_begin_in_the_order_their_parent_submitted_them)
{
    const bool stolen = _i % 2;
    struct hold other = hold_make();
    struct family family = {.ex = regress_pool(stolen ? 2 : 1),
                            .log = shared_new(sizeof(struct order_log)),
                            .done = bell_make(),
                            .thief = other.release,
                            .parent = gate_make(),
                            .n = _i / 2 ? 12 : 700,
                            .at_once = _i / 2 ? 4 : 0};

    if (stolen) {
        assert_ok(soon_submit(family.ex, task_hold, &other, sizeof other, NULL));
        bell_await(other.started, 1);
    } else {
        gate_open(family.parent);
    }
    assert_ok(soon_submit(family.ex, task_family, &family, sizeof family, NULL));
    bell_await(family.done, (unsigned)family.n);
    if (stolen)
        gate_open(family.parent);
    regress_end(family.ex);
    assert_in_order(family.log, family.n, -1);
    hold_free(&other);
    gate_free(family.parent);
    bell_free(family.done);
    shared_free(family.log, sizeof *family.log);
}
END_TEST

static struct {
    soon_executor *ex;
    struct bell child_ran;
    atomic_bool stop, submitted;
} stream;

static int task_child(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    atomic_store(&stream.stop, true);
    bell_ring(stream.child_ran);
    return 0;
}

static int task_high(soon_call *call, const void *arg, size_t arg_len)
{
    soon_task again = {.fn = task_high, .priority = SOON_PRIORITY_HIGH};

    (void)call, (void)arg, (void)arg_len;
    if (!atomic_exchange(&stream.submitted, true))
        REQUIRE(soon_submit(stream.ex, task_child, NULL, 0, NULL) == 0);
    if (!atomic_load(&stream.stop))
        REQUIRE(soon_submit_task(stream.ex, &again, NULL) == 0);
    return 0;
}

START_TEST(an_endless_stream_of_high_ones_lets_a_child_run)
{
    soon_task high = {.fn = task_high, .priority = SOON_PRIORITY_HIGH};

    stream.child_ran = bell_make();
    stream.ex = regress_pool(1);
    assert_ok(soon_submit_task(stream.ex, &high, NULL));
    ck_assert(bell_rings_within(stream.child_ran, ENOUGH));
    regress_end(stream.ex);
    bell_free(stream.child_ran);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("regressions");
    TCase *tc = test_case(suite, "workers");

    tcase_add_test(tc, each_of_several_submits_gets_a_worker_though_one_is_on_its_way);
    tcase_add_test(tc, a_submit_while_the_last_worker_leaves_gets_another);
    tcase_add_test(tc, min_workers_stay_however_long_another_takes_to_leave);
    tcase_add_test(tc, a_spare_that_leaves_takes_nobody_with_it);
    tcase_add_test(tc, what_a_finalizer_submits_is_run);
    tcase_add_test(tc, a_worker_with_the_smallest_stack_can_park);
    tcase_add_test(tc, a_shutdown_of_another_pool_is_a_wait_like_others);
    tc = test_case(suite, "order");
    tcase_add_loop_test(tc, one_held_up_does_not_change_the_order_of_the_rest, 0, 5);
    tcase_add_test(tc, what_a_sleeping_worker_took_goes_before_the_queue);
    tcase_add_loop_test(tc, children_begin_in_the_order_their_parent_submitted_them, 0, 4);
    tcase_add_test(tc, an_endless_stream_of_high_ones_lets_a_child_run);
    add_core_regressions(suite);
    add_map_regressions(suite);
    return suite;
}
