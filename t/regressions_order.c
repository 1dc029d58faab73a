/* SPDX-License-Identifier: MIT */
/*
 * The order in which a thread pool begins tasks: see lib/thread_pool/share.c.
 */
#include "regressions.h"

#include <sched.h>

/* Notes value, takes its time, and waits for stay unless that is -1. */
struct step {
    struct order_log *log;
    struct gate stay;
    soon_ns takes;
    int value;
};

static soon_ns now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return SOON_SECONDS(t.tv_sec) + t.tv_nsec;
}

static int task_step(soon_call *call, const void *arg, size_t arg_len)
{
    struct step step;

    (void)call;
    REQUIRE(arg_len == sizeof step);
    memcpy(&step, arg, sizeof step);
    order_log_add(step.log, step.value);
    for (soon_ns end = now() + step.takes; step.takes && now() < end;)
        ;
    if (step.stay.fd >= 0)
        gate_pass(step.stay);
    return 0;
}

static void await_entries(const struct order_log *log, unsigned n)
{
    while (atomic_load(&log->used) < n)
        sched_yield();
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

enum { STEPS = 1000 };

/* Runs that many with two workers of which one is held up by step held, after some
 * that do nothing. */
static struct order_log *run_steps(soon_ns takes, int held)
{
    struct order_log *log = shared_new(sizeof *log);
    struct hold both = hold_make();
    struct gate stay = gate_make();
    struct step step = {.log = log, .takes = takes};
    soon_executor *ex = regress_pool(2);

    for (int i = 0; i < 2; i++)
        assert_ok(soon_submit(ex, task_hold, &both, sizeof both, NULL));
    bell_await(both.started, 2);
    for (int i = 0; i < 1000; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    for (step.value = 0; step.value < STEPS; step.value++) {
        step.stay.fd = step.value == held ? stay.fd : -1;
        assert_ok(soon_submit(ex, task_step, &step, sizeof step, NULL));
    }
    gate_open(both.release);
    await_entries(log, STEPS);
    gate_open(stay);
    regress_end(ex);
    hold_free(&both);
    gate_free(stay);
    return log;
}

static const int held[] = {0, 1, 5, 40, 200};

/* However quick they are. */
START_TEST(one_held_up_does_not_change_the_order_of_the_rest)
{
    const int which = held[_i / 2];
    struct order_log *log = run_steps(_i % 2 ? 300 : 0, which);

    assert_in_order(log, STEPS, which);
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

struct urge {
    soon_executor *ex;
    struct order_log *log;
    int value;
};

enum { URGENT = 400 }; /* some times as many as go before a NORMAL one */

static int task_urges(soon_call *call, const void *arg, size_t arg_len)
{
    const soon_task urgent = {.fn = task_nothing, .priority = SOON_PRIORITY_HIGH};
    struct urge urge;

    (void)call;
    REQUIRE(arg_len == sizeof urge);
    memcpy(&urge, arg, sizeof urge);
    order_log_add(urge.log, urge.value);
    for (int i = 0; urge.value == 0 && i < URGENT; i++)
        REQUIRE(soon_submit_task(urge.ex, &urgent, NULL) == 0);
    return 0;
}

/* Nor do those of a higher priority, which let one by now and then. */
START_TEST(urgent_ones_do_not_change_the_order_of_the_rest)
{
    struct order_log *log = shared_new(sizeof *log);
    struct hold one = hold_make();
    soon_executor *ex = regress_pool(1);
    struct urge urge = {.ex = ex, .log = log};

    assert_ok(soon_submit(ex, task_hold, &one, sizeof one, NULL));
    bell_await(one.started, 1);
    for (urge.value = 0; urge.value < STEPS; urge.value++)
        assert_ok(soon_submit(ex, task_urges, &urge, sizeof urge, NULL));
    gate_open(one.release);
    await_entries(log, STEPS);
    regress_end(ex);
    assert_in_order(log, STEPS, -1);
    hold_free(&one);
    shared_free(log, sizeof *log);
}
END_TEST

/* Each began once, and none before its turn: where two run them, one at most is still
 * to be noted by the other when a younger one is. */
static void assert_in_order_of_two(const struct order_log *log, int n)
{
    bool began[STEPS] = {false};

    ck_assert_int_eq((int)atomic_load(&log->used), n);
    for (int i = 0; i < n; i++) {
        ck_assert_int_ge(log->entry[i], 0);
        ck_assert_int_le(log->entry[i], i + 1);
        ck_assert_int_lt(log->entry[i], n);
        ck_assert(!began[log->entry[i]]);
        began[log->entry[i]] = true;
    }
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
    await_entries(log, N);
    assert_ok(soon_future_set_result(waits.promise, NULL, 0));
    assert_result_bytes(f, NULL, 0);
    regress_end(ex);
    assert_in_order_of_two(log, N);
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
        struct step step = {.log = family.log, .stay = {-1}, .value = i};

        REQUIRE(soon_submit(family.ex, task_step, &step, sizeof step, NULL) == 0);
    }
    for (int k = 0; k < family.at_once; k++, i++) {
        steps[k] = (struct step){.log = family.log, .stay = {-1}, .value = i};
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
    await_entries(family.log, (unsigned)family.n);
    if (stolen)
        gate_open(family.parent);
    regress_end(family.ex);
    assert_in_order(family.log, family.n, -1);
    hold_free(&other);
    gate_free(family.parent);
    shared_free(family.log, sizeof *family.log);
}
END_TEST

/* Its last children are in the queue, so that those in the deque are older than
 * that; and it runs these in place, the youngest first. */
static int task_parent_in_place(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;
    soon_future *own[3];

    (void)call;
    REQUIRE(arg_len == sizeof ex);
    memcpy(&ex, arg, sizeof ex);
    for (int i = 0; i < 3; i++)
        REQUIRE(soon_submit(ex, task_nothing, NULL, 0, &own[i]) == 0);
    REQUIRE(soon_submit_many(ex, (soon_task[2]){{.fn = task_nothing}, {.fn = task_nothing}}, 2,
                             NULL) == 0);
    for (int i = 3; i--;) {
        REQUIRE(soon_future_wait(own[i], SOON_FOREVER) == 0);
        soon_future_unref(own[i]);
    }
    return 0;
}

START_TEST(old_tasks_that_were_run_in_place_are_not_looked_for)
{
    soon_executor *ex = regress_pool((unsigned)_i);

    for (int i = 0; i < 20; i++) {
        soon_future *f = submit(ex, task_parent_in_place, &ex, sizeof ex);
        assert_ok(soon_future_wait(f, ENOUGH));
        soon_future_unref(f);
    }
    regress_end(ex);
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

void add_order_regressions(Suite *suite)
{
    TCase *tc = test_case(suite, "order");

    tcase_add_loop_test(tc, one_held_up_does_not_change_the_order_of_the_rest, 0, 10);
    tcase_add_test(tc, urgent_ones_do_not_change_the_order_of_the_rest);
    tcase_add_test(tc, what_a_sleeping_worker_took_goes_before_the_queue);
    tcase_add_loop_test(tc, children_begin_in_the_order_their_parent_submitted_them, 0, 4);
    tcase_add_loop_test(tc, old_tasks_that_were_run_in_place_are_not_looked_for, 1, 4);
    tcase_add_test(tc, an_endless_stream_of_high_ones_lets_a_child_run);
}
