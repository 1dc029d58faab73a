/* SPDX-License-Identifier: MIT */
/* Done callbacks that bring about others: order, waiting, depth of the stack. */
#include "trace.h"

static void finish(soon_future *f)
{
    REQUIRE(soon_future_set_result(f, NULL, 0) == 0);
}

struct adder {
    struct trace *trace;
    struct entry before, inner, after;
};

static void add_one_more(soon_future *f, void *data)
{
    struct adder *me = data;

    record(f, &me->before);
    REQUIRE(soon_future_add_done_callback(f, record, &me->inner) == 0);
    record(f, &me->after);
}

START_TEST(one_added_in_a_callback_runs_after_it_before_completion_returns)
{
    struct trace trace = {0};
    struct adder adder = {&trace, {&trace, 1}, {&trace, 3}, {&trace, 2}};
    soon_future *f = promise();

    assert_ok(soon_future_add_done_callback(f, add_one_more, &adder));
    ends[_i](f);
    assert_trace(&trace, (const int[]){1, 2, 3}, 3);

    /* The same where the outer one is late itself. */
    assert_ok(soon_future_add_done_callback(f, add_one_more, &adder));
    assert_trace(&trace, (const int[]){1, 2, 3, 1, 2, 3}, 6);
    soon_future_unref(f);
}

struct finisher {
    soon_future *other;
    struct trace *trace;
    void (*end)(void *);
    unsigned seen; /* of the trace, right after other was done */
};

static void finish_other(soon_future *f, void *data)
{
    struct finisher *me = data;

    (void)f;
    me->end(me->other);
    REQUIRE(soon_future_done(me->other));
    me->seen = me->trace->used;
}

START_TEST(what_comes_due_in_a_callback_runs_after_it)
{
    struct trace trace = {0};
    struct entry entry = {&trace, 1}, last = {&trace, 2};
    struct finisher finisher = {.other = promise(), .trace = &trace, .end = ends[_i]};
    soon_future *f = promise();

    trace_add(finisher.other, &entry);
    assert_ok(soon_future_add_done_callback(f, finish_other, &finisher));
    trace_add(f, &last);
    finish(f);
    ck_assert_uint_eq(finisher.seen, 0);
    ck_assert_uint_eq(trace.used, 2);
    soon_future_unref(f);
    soon_future_unref(finisher.other);
}

/* What a callback has made due and then waits for, in three ways. */
struct waiter {
    soon_future *trigger, *awaited;
    int how;
};

static void set_awaited(soon_future *f, void *data)
{
    struct waiter *me = data;

    (void)f;
    finish(me->awaited);
}

static void trigger_and_wait(soon_future *f, void *data)
{
    struct waiter *me = data;
    soon_as_completed *it = NULL;
    soon_future *out = NULL;

    (void)f;
    finish(me->trigger);
    if (me->how == 0)
        REQUIRE(soon_future_wait(me->awaited, SOON_FOREVER) == 0);
    if (me->how == 1)
        REQUIRE(soon_wait(&me->awaited, 1, SOON_ALL_COMPLETED, SOON_FOREVER) == 1);
    if (me->how == 2) {
        REQUIRE(soon_as_completed_new(&me->awaited, 1, &it) == 0);
        REQUIRE(soon_as_completed_next(it, SOON_FOREVER, &out) == 1);
        REQUIRE(out == me->awaited);
        soon_future_unref(out);
        soon_as_completed_free(it);
    }
    REQUIRE(soon_future_done(me->awaited));
}

START_TEST(a_callback_may_wait_for_what_its_own_deferred_callbacks_do)
{
    struct waiter waiter = {.trigger = promise(), .awaited = promise(), .how = _i};
    soon_future *f = promise();

    assert_ok(soon_future_add_done_callback(waiter.trigger, set_awaited, &waiter));
    assert_ok(soon_future_add_done_callback(f, trigger_and_wait, &waiter));
    finish(f);
    ck_assert(soon_future_done(waiter.awaited));
    soon_future_unref(f);
    soon_future_unref(waiter.trigger);
    soon_future_unref(waiter.awaited);
}

/* ---- chains ---- */

struct chain {
    size_t left;
    uintptr_t lowest, highest; /* of the stack, in callbacks */
    void (*end)(void *);
};

static void note_depth(struct chain *chain)
{
    /* Not a local's address, which a sanitizer may keep on a stack of its own. */
    uintptr_t at = (uintptr_t)__builtin_frame_address(0);

    chain->lowest = at < chain->lowest ? at : chain->lowest;
    chain->highest = at > chain->highest ? at : chain->highest;
}

static void complete_the_next(soon_future *f, void *data)
{
    struct chain *chain = data;
    soon_future *next = NULL;

    (void)f;
    note_depth(chain);
    if (chain->left == 0)
        return;
    chain->left--;
    REQUIRE(soon_future_new(&next) == 0);
    REQUIRE(soon_future_add_done_callback(next, complete_the_next, chain) == 0);
    chain->end(next);
    soon_future_unref(next);
}

static void add_again(soon_future *f, void *data)
{
    struct chain *chain = data;

    note_depth(chain);
    if (chain->left == 0)
        return;
    chain->left--;
    REQUIRE(soon_future_add_done_callback(f, add_again, chain) == 0);
}

static void assert_flat(const struct chain *chain)
{
    ck_assert_uint_eq(chain->left, 0);
    ck_assert_uint_lt(chain->highest - chain->lowest, 4096);
}

START_TEST(a_chain_of_a_million_does_not_deepen_the_stack)
{
    struct chain chain = {.left = scaled(1000000), .lowest = UINTPTR_MAX, .end = ends[_i]};
    soon_future *f = promise();

    assert_ok(soon_future_add_done_callback(f, complete_the_next, &chain));
    ends[_i](f);
    assert_flat(&chain);
    soon_future_unref(f);
}

START_TEST(a_callback_that_adds_itself_does_not_deepen_the_stack)
{
    struct chain chain = {.left = scaled(1000000), .lowest = UINTPTR_MAX};
    soon_future *f = promise();

    assert_ok(soon_future_add_done_callback(f, add_again, &chain));
    finish(f);
    assert_flat(&chain);
    soon_future_unref(f);
}

/* ---- a callback in a task, which waits for what it has forked ---- */

static struct {
    soon_executor *ex;
    struct trace trace;
} scene;

static int task_notes(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg_len;
    return soon_return(call, arg, sizeof(int));
}

/* Its task runs in place; the callback on it comes due, and has to wait. */
static void fork_and_wait(struct entry *entry)
{
    soon_future *f;

    REQUIRE(soon_submit(scene.ex, task_notes, &entry->tag, sizeof(int), &f) == 0);
    REQUIRE(soon_future_add_done_callback(f, record, entry) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    soon_future_unref(f);
}

static void wait_three_times(soon_future *f, void *data)
{
    struct entry *entry = data;

    (void)f;
    for (unsigned i = 0; i < 3; i++) {
        fork_and_wait(&entry[i]);
        REQUIRE(scene.trace.used == i); /* what was due before, and no more */
    }
}

static int task_with_callback(soon_call *call, const void *arg, size_t arg_len)
{
    struct entry entry[] = {{&scene.trace, 1}, {&scene.trace, 2}, {&scene.trace, 3}};
    soon_future *f;
    int nothing = 0;

    (void)call, (void)arg, (void)arg_len;
    REQUIRE(soon_submit(scene.ex, task_notes, &nothing, sizeof nothing, &f) == 0);
    REQUIRE(soon_future_add_done_callback(f, wait_three_times, entry) == 0);
    REQUIRE(soon_future_wait(f, SOON_FOREVER) == 0);
    soon_future_unref(f);
    return 0;
}

START_TEST(each_wait_in_a_callback_runs_what_is_due_first)
{
    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &scene.ex));
    soon_future *f = submit(scene.ex, task_with_callback, NULL, 0);
    assert_ok(soon_future_result(f, SOON_FOREVER, NULL, 0));
    soon_future_unref(f);
    assert_ok(soon_shutdown(scene.ex, SOON_FOREVER, 0));
    soon_executor_unref(scene.ex);
    assert_trace(&scene.trace, (const int[]){1, 2, 3}, 3);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("callback_nested");
    TCase *nested = test_case(suite, "nested");

    tcase_add_loop_test(nested, one_added_in_a_callback_runs_after_it_before_completion_returns, 0,
                        ENDS);
    tcase_add_loop_test(nested, what_comes_due_in_a_callback_runs_after_it, 0, ENDS);
    tcase_add_loop_test(nested, a_callback_may_wait_for_what_its_own_deferred_callbacks_do, 0, 3);
    tcase_add_test(nested, each_wait_in_a_callback_runs_what_is_due_first);
    tcase_add_loop_test(nested, a_chain_of_a_million_does_not_deepen_the_stack, 0, ENDS);
    tcase_add_test(nested, a_callback_that_adds_itself_does_not_deepen_the_stack);
    return suite;
}
