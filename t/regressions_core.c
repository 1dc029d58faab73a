/* SPDX-License-Identifier: MIT */
/* Callbacks, and waits that end or could not. */
#include "regressions.h"

#include <sys/syscall.h>
#include <unistd.h>

/* ---- callbacks ---- */

/* A callback that lets the held task go and waits for the executor's end. */
static struct ending {
    soon_executor *ex;
    struct hold hold;
    struct bell rang;
    int status;
} ending;

static void end_it(soon_future *f, void *data)
{
    struct ending *e = data;

    REQUIRE(soon_future_done(f));
    gate_open(e->hold.release);
    e->status = soon_shutdown(e->ex, ENOUGH, 0);
    bell_ring(e->rang);
}

static void ending_up(soon_executor *ex)
{
    ending = (struct ending){.ex = ex, .hold = hold_make(), .rang = bell_make(), .status = 1};
}

static void ending_down(void)
{
    regress_end(ending.ex);
    hold_free(&ending.hold);
    bell_free(ending.rang);
}

START_TEST(a_cancels_callback_may_await_the_end)
{
    soon_future *f;

    ending_up(regress_pool(1));
    assert_ok(soon_submit(ending.ex, task_hold, &ending.hold, sizeof ending.hold, NULL));
    bell_await(ending.hold.started, 1);
    f = submit(ending.ex, task_nothing, NULL, 0);
    assert_ok(soon_future_add_done_callback(f, end_it, &ending));
    ck_assert(soon_future_cancel(f));
    assert_ok(ending.status);
    soon_future_unref(f);
    ending_down();
}
END_TEST

/* The future is done by then: the loop's thread has nothing to wait for. */
START_TEST(a_callback_in_a_loop_may_await_the_loops_end)
{
    soon_executor *loop;
    soon_future *f;

    assert_ok(soon_loop_new(&loop));
    ending_up(loop);
    f = submit(loop, task_nothing, NULL, 0);
    assert_ok(soon_future_add_done_callback(f, end_it, &ending));
    ck_assert_int_eq(soon_loop_run(loop, 0, 0), 1);
    ck_assert_int_le(ending.status, 0);
    ck_assert_int_ne(ending.status, -ETIMEDOUT);
    soon_future_unref(f);
    ending_down();
}
END_TEST

START_TEST(a_timeouts_callback_may_await_the_end)
{
    soon_future *f;

    ending_up(regress_pool(1));
    assert_ok(soon_submit_task(ending.ex,
                               &(soon_task){.fn = task_hold,
                                            .arg = &ending.hold,
                                            .arg_len = sizeof ending.hold,
                                            .timeout = SOON_MS(5)},
                               &f));
    assert_ok(soon_future_add_done_callback(f, end_it, &ending));
    ck_assert(bell_rings_within(ending.rang, 2 * ENOUGH));
    assert_ok(ending.status);
    soon_future_unref(f);
    ending_down();
}
END_TEST

static struct {
    soon_executor *ex;
    soon_future *promise;
    struct bell rang;
    int status;
} waiting;

static void keep_promise(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    REQUIRE(soon_future_set_result(data, NULL, 0) == 0);
}

/* What completes the promise is due in this very thread if it runs the task. */
static void wait_for_both(soon_future *f, void *data)
{
    soon_future *v[2] = {NULL, waiting.promise};

    (void)data;
    REQUIRE(soon_future_done(f));
    REQUIRE(soon_submit(waiting.ex, task_nothing, NULL, 0, &v[0]) == 0);
    REQUIRE(soon_future_add_done_callback(v[0], keep_promise, waiting.promise) == 0);
    waiting.status = soon_wait(v, 2, SOON_ALL_COMPLETED, ENOUGH);
    soon_future_unref(v[0]);
    bell_ring(waiting.rang);
}

START_TEST(a_wait_in_a_callback_runs_what_comes_due_meanwhile)
{
    struct hold hold = hold_make();
    soon_future *f;

    waiting.ex = regress_pool(1);
    waiting.promise = promise();
    waiting.rang = bell_make();
    f = submit(waiting.ex, task_hold, &hold, sizeof hold);
    assert_ok(soon_future_add_done_callback(f, wait_for_both, NULL));
    gate_open(hold.release);
    ck_assert(bell_rings_within(waiting.rang, 2 * ENOUGH));
    ck_assert_int_eq(waiting.status, 2);
    regress_end(waiting.ex);
    unref_all((soon_future *[]){f, waiting.promise}, 2);
    bell_free(waiting.rang);
    hold_free(&hold);
}
END_TEST

static void count_call(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    ++*(int *)data;
}

static void submit_to(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    REQUIRE(soon_submit(data, task_nothing, NULL, 0, NULL) == 0);
}

static struct {
    soon_executor *loop;
    soon_future *other;
    int ran;
} turning;

static void turn_the_loop(soon_future *f, void *data)
{
    (void)data;
    REQUIRE(soon_future_done(f));
    REQUIRE(soon_future_set_result(turning.other, NULL, 0) == 0);
    turning.ran = soon_loop_run(turning.loop, 1, ENOUGH);
}

START_TEST(a_loop_run_in_a_callback_runs_what_is_due)
{
    soon_future *p = promise();

    assert_ok(soon_loop_new(&turning.loop));
    turning.other = promise();
    assert_ok(soon_future_add_done_callback(turning.other, submit_to, turning.loop));
    assert_ok(soon_future_add_done_callback(p, turn_the_loop, NULL));
    assert_ok(soon_future_set_result(p, NULL, 0));
    ck_assert_int_eq(turning.ran, 1);
    regress_end(turning.loop);
    unref_all((soon_future *[]){p, turning.other}, 2);
}
END_TEST

START_TEST(a_callback_on_a_loop_that_ends_is_called_all_the_same)
{
    soon_executor *loop;
    soon_future *p = promise();
    int calls = 0;

    assert_ok(soon_loop_new(&loop));
    assert_ok(soon_future_add_done_callback_on(p, loop, count_call, &calls));
    assert_ok(soon_future_set_result(p, NULL, 0));
    assert_ok(soon_shutdown(loop, 0, SOON_CANCEL_FUTURES));
    ck_assert_int_ge(soon_loop_run(loop, 0, 0), 0);
    ck_assert_int_eq(calls, 1);
    regress_end(loop);
    soon_future_unref(p);
}
END_TEST

/* The timed-out task's callback waits, in whatever thread, for another
 * deadline. */
static void wait_for_data(soon_future *f, void *data)
{
    REQUIRE(soon_future_done(f));
    REQUIRE(soon_future_wait(data, SOON_FOREVER) == 0);
    bell_ring(waiting.rang);
}

START_TEST(a_timeouts_callback_does_not_hold_up_another_deadline)
{
    struct hold hold = hold_make();
    soon_executor *ex = regress_pool(2);
    soon_task task = {
        .fn = task_hold, .arg = &hold, .arg_len = sizeof hold, .timeout = SOON_MS(60)};
    soon_future *later, *sooner;

    waiting.rang = bell_make();
    assert_ok(soon_submit_task(ex, &task, &later));
    task.timeout = SOON_MS(20);
    assert_ok(soon_submit_task(ex, &task, &sooner));
    assert_ok(soon_future_add_done_callback(sooner, wait_for_data, later));
    assert_ok(soon_future_wait(later, ENOUGH));
    assert_error(later, -ETIME, SOON_FROM_LIBRARY, NULL);
    bell_await(waiting.rang, 1);
    gate_open(hold.release);
    regress_end(ex);
    unref_all((soon_future *[]){sooner, later}, 2);
    bell_free(waiting.rang);
    hold_free(&hold);
}
END_TEST

/* ---- waits ---- */

START_TEST(an_iterator_may_hold_the_last_of_an_executor)
{
    soon_executor *loop;
    soon_future *v[2] = {promise(), NULL};
    soon_as_completed *it;
    int calls = 0;

    assert_ok(soon_loop_new(&loop));
    v[1] = submit(loop, task_nothing, NULL, 0);
    assert_ok(soon_future_add_done_callback_on(v[0], loop, count_call, &calls));
    assert_ok(soon_as_completed_new(v, 2, &it));
    soon_future_unref(v[0]); /* nobody can complete it any more */
    soon_executor_unref(loop);
    soon_as_completed_free(it);
    ck_assert_int_eq(calls, 0);
    soon_future_unref(v[1]);
}
END_TEST

/* A task that, once the test has filled in all, waits for futures of which it
 * is one. */
static struct {
    soon_future *all[71];
    size_t n;
    int condition;
    struct gate filled;
    struct bell waits;
    pid_t tid; /* valid once waits has rung */
    int status;
} self;

static int task_waits_for_itself(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call, (void)arg, (void)arg_len;
    gate_pass(self.filled);
    self.tid = (pid_t)syscall(SYS_gettid);
    bell_ring(self.waits);
    self.status = soon_wait(self.all, self.n, self.condition, SOON_FOREVER);
    return 0;
}

static void wait_for_oneself(size_t others, int condition)
{
    struct hold hold = hold_make();
    soon_executor *ex = regress_pool((unsigned)others + 1);

    self.n = others + 1;
    self.condition = condition;
    self.filled = gate_make();
    self.waits = bell_make();
    for (size_t i = 0; i < others; i++)
        self.all[i] = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, (unsigned)others);
    self.all[others] = submit(ex, task_waits_for_itself, NULL, 0);
    gate_open(self.filled);
    bell_await(self.waits, 1);
    if (condition == SOON_FIRST_EXCEPTION) {
        tid_await_sleep(self.tid);
        gate_open(hold.release);
    }
    assert_ok(soon_future_wait(self.all[others], ENOUGH));
    ck_assert_int_eq(self.status, -EDEADLK);
    if (condition != SOON_FIRST_EXCEPTION)
        gate_open(hold.release);
    regress_end(ex);
    unref_all(self.all, self.n);
    gate_free(self.filled);
    bell_free(self.waits);
    hold_free(&hold);
}

/* The other one could have failed; when it hasn't, nobody is left who can. */
START_TEST(first_exception_that_cannot_come_is_a_deadlock)
{
    wait_for_oneself(1, SOON_FIRST_EXCEPTION);
}
END_TEST

START_TEST(oneself_behind_many_running_ones_is_a_deadlock)
{
    wait_for_oneself(70, SOON_ALL_COMPLETED);
}
END_TEST

enum { LAYERS = 26 };

/* Each of the two in a layer waits for both of the next. */
static struct {
    soon_future *pair[LAYERS][2];
    struct gate go[LAYERS];
    struct bell waits;
} layers;

static int task_in_layer(soon_call *call, const void *arg, size_t arg_len)
{
    int layer;

    (void)call;
    REQUIRE(arg_len == sizeof layer);
    memcpy(&layer, arg, sizeof layer);
    bell_ring(layers.waits);
    gate_pass(layers.go[layer]);
    if (layer < LAYERS - 1) {
        bell_ring(layers.waits);
        REQUIRE(soon_wait(layers.pair[layer + 1], 2, SOON_ALL_COMPLETED, SOON_FOREVER) == 2);
    }
    return 0;
}

/* There are 2^25 ways down, and each would be taken once. */
START_TEST(a_search_for_a_deadlock_takes_no_way_twice)
{
    soon_executor *ex = regress_pool(2 * LAYERS);
    soon_ns cpu;

    layers.waits = bell_make();
    for (int i = 0; i < LAYERS; i++)
        layers.go[i] = gate_make();
    for (int i = 0; i < LAYERS; i++)
        for (int k = 0; k < 2; k++)
            layers.pair[i][k] = submit(ex, task_in_layer, &i, sizeof i);
    bell_await(layers.waits, 2 * LAYERS);
    cpu = cpu_ns();
    for (int i = LAYERS - 2; i >= 0; i--) {
        gate_open(layers.go[i]);
        bell_await(layers.waits, 2);
    }
    gate_open(layers.go[LAYERS - 1]);
    for (int i = 0; i < LAYERS; i++)
        for (int k = 0; k < 2; k++)
            assert_ok(soon_future_wait(layers.pair[i][k], ENOUGH));
    ck_assert_int_lt(cpu_ns() - cpu, SOON_SECONDS(2));
    regress_end(ex);
    for (int i = 0; i < LAYERS; i++) {
        unref_all(layers.pair[i], 2);
        gate_free(layers.go[i]);
    }
    bell_free(layers.waits);
}
END_TEST

void add_core_regressions(Suite *suite)
{
    TCase *tc = test_case(suite, "callbacks");

    tcase_add_test(tc, a_cancels_callback_may_await_the_end);
    tcase_add_test(tc, a_callback_in_a_loop_may_await_the_loops_end);
    tcase_add_test(tc, a_timeouts_callback_may_await_the_end);
    tcase_add_test(tc, a_wait_in_a_callback_runs_what_comes_due_meanwhile);
    tcase_add_test(tc, a_loop_run_in_a_callback_runs_what_is_due);
    tcase_add_test(tc, a_callback_on_a_loop_that_ends_is_called_all_the_same);
    tcase_add_test(tc, a_timeouts_callback_does_not_hold_up_another_deadline);
    tc = test_case(suite, "waits");
    tcase_add_test(tc, an_iterator_may_hold_the_last_of_an_executor);
    tcase_add_test(tc, first_exception_that_cannot_come_is_a_deadlock);
    tcase_add_test(tc, oneself_behind_many_running_ones_is_a_deadlock);
    tcase_add_test(tc, a_search_for_a_deadlock_takes_no_way_twice);
}
