/* SPDX-License-Identifier: MIT */
/*
 * A call in the process where its worker is, and how its result comes back:
 * soon_port_call(), soon_future_lend(), and the places of futures.
 */
#include "remote_cases.h"

#include "os/inject.h"

#include <stdio.h>

static soon_executor *ex;

/* ---- results ---- */

/* What a task does with its result, one step after the other. */
enum step_kind {
    STEP_END,
    STEP_RETURN,        /* len bytes, each of value */
    STEP_BUFFER,        /* the same, in place */
    STEP_RETURN_TAIL,   /* the last len bytes of what was returned before */
    STEP_RETURN_NOTHING /* an empty one */
};

struct step {
    enum step_kind kind;
    size_t len;
    int value;
    int error; /* what it gives; for BUFFER: -ENOMEM */
};

struct plan {
    struct step step[6];
    int code;
};

static unsigned char scratch[1 << 20];

static void take_step(soon_call *call, const struct step *step, unsigned char **last, size_t *len)
{
    if (step->kind == STEP_RETURN_TAIL) {
        REQUIRE(soon_return(call, *last + *len - step->len, step->len) == step->error);
        return;
    }
    memset(scratch, step->value, step->len);
    if (step->kind != STEP_BUFFER) {
        REQUIRE(soon_return(call, step->kind == STEP_RETURN ? scratch : NULL, step->len) ==
                step->error);
        return;
    }
    unsigned char *buffer = soon_return_buffer(call, step->len);
    REQUIRE(!buffer == !!step->error);
    if (!buffer)
        return;
    REQUIRE((uintptr_t)buffer % 16 == 0);
    memcpy(buffer, scratch, step->len);
    *last = buffer;
    *len = step->len;
}

static int follow_plan(soon_call *call, const void *arg, size_t arg_len)
{
    const struct plan *plan = arg;
    unsigned char *last = NULL;
    size_t len = 0;

    REQUIRE(arg_len == sizeof *plan);
    for (const struct step *step = plan->step; step->kind != STEP_END; step++)
        take_step(call, step, &last, &len);
    return plan->code ? soon_fail(call, plan->code, "planned: %d", plan->code) : 0;
}

/* Runs plan far away; the result must be len bytes of value. */
static void expect_bytes(const struct plan *plan, size_t len, int value, unsigned buffers)
{
    const unsigned char *bytes;
    size_t got;

    ex = far_open(0, SOON_BLOCK);
    soon_future *f = submit(ex, follow_plan, plan, sizeof *plan);
    far_end(begin());
    assert_ok(soon_future_value(f, 0, (const void **)&bytes, &got));
    ck_assert_uint_eq(got, len);
    ck_assert_uint_eq((uintptr_t)bytes % 16, 0);
    for (size_t i = 0; i < len; i++)
        EXPECT(bytes[i] == value);
    ck_assert_uint_eq(atomic_load(&far.buffers), buffers);
    /* All but the one that is lent have been given back. */
    ck_assert_int_eq(atomic_load(&far.live), len > FAR_ROOM);
    soon_future_unref(f);
    far_close();
}

START_TEST(a_small_result_lies_in_the_room)
{
    expect_bytes(&(struct plan){{{STEP_RETURN, 1, 'a', 0}}, 0}, 1, 'a', 0);
    expect_bytes(&(struct plan){{{STEP_RETURN, FAR_ROOM, 'b', 0}}, 0}, FAR_ROOM, 'b', 0);
    expect_bytes(&(struct plan){{{STEP_BUFFER, FAR_ROOM, 'c', 0}}, 0}, FAR_ROOM, 'c', 0);
    expect_bytes(&(struct plan){{{STEP_RETURN_NOTHING, 0, 0, 0}}, 0}, 0, 0, 0);
    expect_bytes(&(struct plan){.code = 0}, 0, 0, 0);
}
END_TEST

START_TEST(a_large_result_lies_in_a_buffer)
{
    expect_bytes(&(struct plan){{{STEP_RETURN, FAR_ROOM + 1, 'a', 0}}, 0}, FAR_ROOM + 1, 'a', 1);
    expect_bytes(&(struct plan){{{STEP_BUFFER, sizeof scratch, 'b', 0}}, 0}, sizeof scratch, 'b',
                 1);
}
END_TEST

START_TEST(the_last_result_wins)
{
    expect_bytes(&(struct plan){{{STEP_RETURN, 500, 'a', 0}, {STEP_RETURN, 10, 'b', 0}}, 0}, 10,
                 'b', 1);
    expect_bytes(&(struct plan){{{STEP_RETURN, 10, 'a', 0}, {STEP_RETURN, 500, 'b', 0}}, 0}, 500,
                 'b', 1);
    expect_bytes(&(struct plan){{{STEP_BUFFER, 500, 'a', 0}, {STEP_BUFFER, 900, 'b', 0}}, 0}, 900,
                 'b', 2);
    expect_bytes(&(struct plan){{{STEP_BUFFER, 500, 'a', 0}, {STEP_RETURN_NOTHING, 0, 0, 0}}, 0}, 0,
                 0, 1);
}
END_TEST

/* soon_return() of what lies in the buffer that it replaces: read before it
 * is given back. */
START_TEST(a_result_may_come_from_the_one_before)
{
    expect_bytes(&(struct plan){{{STEP_BUFFER, 900, 'a', 0}, {STEP_RETURN_TAIL, 500, 0, 0}}, 0},
                 500, 'a', 2);
    expect_bytes(&(struct plan){{{STEP_BUFFER, 900, 'a', 0}, {STEP_RETURN_TAIL, 20, 0, 0}}, 0}, 20,
                 'a', 1);
    expect_bytes(&(struct plan){{{STEP_BUFFER, 60, 'a', 0}, {STEP_RETURN_TAIL, 50, 0, 0}}, 0}, 50,
                 'a', 0);
}
END_TEST

/* Where a buffer can't be had the result before it still stands. */
START_TEST(a_buffer_that_cannot_be_had_changes_nothing)
{
    const struct plan plans[] = {
        {{{STEP_RETURN, 500, 'a', 0}, {STEP_RETURN, 900, 'b', -ENOMEM}}, 0},
        {{{STEP_BUFFER, 500, 'a', 0}, {STEP_BUFFER, 900, 'b', -ENOMEM}}, 0},
        {{{STEP_BUFFER, 500, 'a', 0}, {STEP_RETURN_TAIL, 400, 'b', -ENOMEM}}, 0},
        {{{STEP_RETURN, 5, 'a', 0}, {STEP_RETURN, 900, 'b', -ENOMEM}}, 0},
    };
    const struct plan *plan = &plans[_i];
    size_t len = plan->step[0].len;
    const unsigned char *bytes;
    size_t got;

    ex = far_open(0, SOON_BLOCK);
    atomic_store(&far.fail_buffer, len > FAR_ROOM ? 2 : 1);
    soon_future *f = submit(ex, follow_plan, plan, sizeof *plan);
    far_end(begin());
    assert_ok(soon_future_value(f, 0, (const void **)&bytes, &got));
    ck_assert_uint_eq(got, len);
    for (size_t i = 0; i < len; i++)
        EXPECT(bytes[i] == 'a');
    soon_future_unref(f);
    far_close();
}
END_TEST

START_TEST(a_failed_call_gives_its_buffer_back)
{
    const struct plan plan = {{{STEP_BUFFER, 500, 'a', 0}, {STEP_RETURN, 900, 'b', 0}}, -EIO};

    ex = far_open(0, SOON_BLOCK);
    soon_future *f = submit(ex, follow_plan, &plan, sizeof plan);
    far_end(begin());
    assert_error(f, -EIO, SOON_FROM_TASK, "planned: -5");
    ck_assert_uint_eq(atomic_load(&far.buffers), 2);
    ck_assert_uint_eq(atomic_load(&far.unbuffers), 2);
    soon_future_unref(f);
    far_close();
}
END_TEST

/* ---- a call by hand ---- */

static char room[FAR_ROOM];
static bool asked;
static uint64_t reported[2];

static bool is_asked(struct soon_port *port)
{
    REQUIRE(port->room == room);
    return asked;
}

static void note_progress(struct soon_port *port, uint64_t done, uint64_t total)
{
    REQUIRE(port->room == room);
    reported[0] = done;
    reported[1] = total;
}

static struct soon_port hand_port = {
    .room = room, .room_size = sizeof room, .cancelled = is_asked, .progress = note_progress};

static int look_around(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(!arg && arg_len == 0);
    REQUIRE(!soon_call_cancelled(call));
    asked = true;
    REQUIRE(soon_call_cancelled(call));
    REQUIRE(soon_call_progress(call, 3, 4) == 0);
    REQUIRE(soon_call_progress(call, 5, 4) == -EINVAL);
    REQUIRE(soon_call_progress(call, 5, 0) == 0);
    return 0;
}

START_TEST(stop_and_progress_go_through_the_port)
{
    struct soon_outcome outcome;

    memset(&outcome, 'x', sizeof outcome);
    soon_port_call(&hand_port, look_around, 0, "not to be shown", 0, &outcome);
    ck_assert_int_eq(outcome.code, 0);
    ck_assert_ptr_eq(outcome.value, room);
    ck_assert_uint_eq(outcome.value_len, 0);
    ck_assert_str_eq(outcome.message, "");
    ck_assert_uint_eq(reported[0], 5);
    ck_assert_uint_eq(reported[1], 0);
}
END_TEST

static int fail_as_told(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    if (*(const int *)arg == 0)
        return -EDOM; /* without a word */
    for (int i = 0; i < 4095; i++)
        scratch[i] = 'm';
    memcpy(scratch + 4094, "\xC3\xA4 and more", 11);
    return soon_fail(call, *(const int *)arg, "%s", (char *)scratch);
}

START_TEST(an_error_comes_with_its_message)
{
    struct soon_outcome outcome;
    int code = 77;

    soon_port_call(&hand_port, fail_as_told, 0, &code, sizeof code, &outcome);
    ck_assert_int_eq(outcome.code, 77);
    ck_assert_ptr_null(outcome.value);
    ck_assert_uint_eq(strlen(outcome.message), 4094); /* cut in front of the character */
    code = 0;
    soon_port_call(&hand_port, fail_as_told, 0, &code, sizeof code, &outcome);
    ck_assert_int_eq(outcome.code, -EDOM);
    ck_assert_str_eq(outcome.message, "");
    code = 77;
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    soon_port_call(&hand_port, fail_as_told, 0, &code, sizeof code, &outcome);
    ck_assert_int_eq(outcome.code, 77);
    ck_assert_str_eq(outcome.message, "");
}
END_TEST

/* A worker's task may use the library, and wait in it. */
static int nest(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *inner;

    REQUIRE(soon_inline_new(&inner) == 0);
    soon_future *f = NULL;
    REQUIRE(soon_submit(inner, task_echo, arg, arg_len, &f) == 0);
    int value;
    REQUIRE(soon_future_result(f, SOON_FOREVER, &value, sizeof value) == 0);
    soon_future_unref(f);
    soon_executor_unref(inner);
    return soon_return(call, &value, sizeof value);
}

START_TEST(a_far_call_may_use_the_library)
{
    struct soon_outcome outcome;
    int value = 4711;

    soon_port_call(&hand_port, nest, 0, &value, sizeof value, &outcome);
    ck_assert_int_eq(outcome.code, 0);
    ck_assert_uint_eq(outcome.value_len, sizeof value);
    ck_assert_int_eq(*(const int *)outcome.value, 4711);
}
END_TEST

/* ---- values that stay where they are ---- */

START_TEST(lent_values_are_given_back_as_futures_go)
{
    _Alignas(16) static char value[3][16] = {"first", "second", "third"};
    soon_future *f[3];
    soon_stats stats;
    const void *bytes;
    size_t len;

    ex = far_open(0, SOON_BLOCK);
    for (int i = 0; i < 3; i++)
        f[i] = submit_int(ex, task_square, i);
    for (int i = 0; i < 3; i++)
        assert_ok(far_lend(begin(), value[i], strlen(value[i]) + 1, &f[i]));
    for (int i = 0; i < 3; i++) {
        assert_ok(soon_future_value(f[i], 0, &bytes, &len));
        ck_assert_ptr_eq(bytes, value[i]);
        assert_result_bytes(f[i], value[i], len);
    }
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.bytes_out, 6 + 7 + 6);
    assert_stats_add_up(ex, 3);
    soon_future_ref(f[1]);
    soon_future_unref(f[1]);
    ck_assert_uint_eq(atomic_load(&far.given_back), 0);
    for (int i = 1; i < 4; i++) {
        soon_future_unref(f[i % 3]);
        ck_assert_uint_eq(atomic_load(&far.given_back), i);
        ck_assert_ptr_eq(atomic_load(&far.last_given_back), &f[i % 3]);
    }
    far_close();
}
END_TEST

START_TEST(what_is_not_accepted_is_not_lent)
{
    _Alignas(16) static char value[16];

    ex = far_open(0, SOON_BLOCK);
    soon_future *f = submit_int(ex, task_square, 1), *g = promise();
    ck_assert_int_eq(soon_future_lend(g, value, 1, value), -EINVAL);
    ck_assert_int_eq(soon_future_lend(NULL, value, 1, value), -EINVAL);
    ck_assert_int_eq(soon_future_lend(f, NULL, 0, value), -EINVAL);
    ck_assert(!soon_future_done(g));
    soon_future_unref(g);
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    ck_assert_int_eq(soon_future_lend(f, value, 1, value), -ENOMEM);
    ck_assert(!soon_future_done(f));
    struct far_slot *slot = begin();
    assert_ok(soon_future_kill(f));
    ck_assert_int_eq(far_lend(slot, value, 1, value), -EALREADY);
    soon_future_unref(f);
    ck_assert_uint_eq(atomic_load(&far.given_back), 0);
    far_close();
}
END_TEST

START_TEST(an_empty_value_may_be_lent)
{
    _Alignas(16) static char value[16];
    const void *bytes;
    size_t len = 1;

    ex = far_open(0, SOON_BLOCK);
    soon_future *f = submit_int(ex, task_square, 1);
    assert_ok(far_lend(begin(), value, 0, value + 1));
    assert_ok(soon_future_value(f, 0, &bytes, &len));
    ck_assert_ptr_eq(bytes, value);
    ck_assert_uint_eq(len, 0);
    assert_ok(soon_future_result(f, 0, NULL, 0));
    soon_future_unref(f);
    ck_assert_uint_eq(atomic_load(&far.given_back), 1);
    far_close();
}
END_TEST

/* ---- places and queues ---- */

START_TEST(a_place_shares_its_room_with_the_link)
{
    int place[2];
    struct soon_task_queue queue = {0};
    soon_future *f = promise(), *g = promise();

    ck_assert_ptr_null(soon_future_place(f));
    soon_future_set_place(f, &place[1]);
    ck_assert_ptr_eq(soon_future_place(f), &place[1]);
    soon_future_set_place(f, NULL);
    ck_assert_ptr_null(soon_future_place(f));
    soon_task_queue_push(&queue, f);
    soon_task_queue_push(&queue, g);
    ck_assert_ptr_null(soon_future_place(f)); /* a link is no place */
    ck_assert_ptr_eq(soon_task_queue_pop(&queue), f);
    ck_assert_ptr_null(soon_future_place(f));
    soon_future_set_place(f, &place[0]);
    soon_task_queue_return(&queue, f); /* in front of g again */
    ck_assert_ptr_null(soon_future_place(f));
    ck_assert_ptr_eq(soon_future_next(f), g);
    ck_assert_ptr_eq(soon_task_queue_pop(&queue), f);
    ck_assert_ptr_eq(soon_task_queue_pop(&queue), g);
    soon_future_unref(f);
    soon_future_unref(g);
}
END_TEST

START_TEST(what_returns_goes_in_front_of_its_priority)
{
    const int priority[] = {SOON_PRIORITY_NORMAL, SOON_PRIORITY_HIGH, SOON_PRIORITY_LOW,
                            SOON_PRIORITY_NORMAL, SOON_PRIORITY_NORMAL};
    struct soon_task_queue queue = {0};
    soon_future *f[5];

    ex = far_open(0, SOON_BLOCK);
    for (int i = 0; i < 5; i++)
        assert_ok(
            soon_submit_task(ex, &(soon_task){.fn = task_nothing, .priority = priority[i]}, &f[i]));
    struct far_slot *slot[5];
    for (int i = 0; i < 5; i++)
        slot[i] = begin();
    /* Into an empty lane, and one more behind; before another; into others. */
    soon_task_queue_return(&queue, soon_future_ref(f[3]));
    soon_future_set_place(f[0], NULL);
    soon_task_queue_push(&queue, soon_future_ref(f[0]));
    soon_task_queue_return(&queue, soon_future_ref(f[4]));
    soon_task_queue_return(&queue, soon_future_ref(f[2]));
    soon_task_queue_return(&queue, soon_future_ref(f[1]));
    ck_assert_uint_eq(queue.count, 5);
    const int order[] = {1, 4, 3, 0, 2};
    for (int i = 0; i < 5; i++) {
        soon_future *next = soon_task_queue_pop(&queue);
        ck_assert_ptr_eq(next, f[order[i]]);
        soon_future_unref(next);
    }
    ck_assert_ptr_null(soon_task_queue_pop(&queue));
    for (int i = 0; i < 5; i++)
        far_end(slot[i]);
    unref_all(f, 5);
    far_close();
}
END_TEST

/* ---- callbacks ---- */

static void count_call(soon_future *f, void *data)
{
    (void)f;
    ++*(unsigned *)data;
}

START_TEST(a_backend_sees_if_callbacks_are_due)
{
    soon_future *f = promise();
    unsigned called = 0;

    assert_ok(soon_future_add_done_callback(f, count_call, &called));
    ck_assert(!soon_callbacks_due());
    bool before = soon_callbacks_defer();
    ck_assert(!soon_callbacks_due());
    assert_ok(soon_future_set_result(f, NULL, 0));
    ck_assert(soon_callbacks_due());
    ck_assert_uint_eq(called, 0);
    soon_callbacks_resume(before);
    ck_assert(!soon_callbacks_due());
    ck_assert_uint_eq(called, 1);
    soon_future_unref(f);
}
END_TEST

void add_call_cases(Suite *suite)
{
    TCase *call = test_case(suite, "call"), *lend = test_case(suite, "lend"),
          *place = test_case(suite, "place");

    tcase_add_test(call, a_small_result_lies_in_the_room);
    tcase_add_test(call, a_large_result_lies_in_a_buffer);
    tcase_add_test(call, the_last_result_wins);
    tcase_add_test(call, a_result_may_come_from_the_one_before);
    tcase_add_loop_test(call, a_buffer_that_cannot_be_had_changes_nothing, 0, 4);
    tcase_add_test(call, a_failed_call_gives_its_buffer_back);
    tcase_add_test(call, stop_and_progress_go_through_the_port);
    tcase_add_test(call, an_error_comes_with_its_message);
    tcase_add_test(call, a_far_call_may_use_the_library);
    tcase_add_test(lend, lent_values_are_given_back_as_futures_go);
    tcase_add_test(lend, what_is_not_accepted_is_not_lent);
    tcase_add_test(lend, an_empty_value_may_be_lent);
    tcase_add_test(place, a_place_shares_its_room_with_the_link);
    tcase_add_test(place, what_returns_goes_in_front_of_its_priority);
    tcase_add_test(place, a_backend_sees_if_callbacks_are_due);
}
