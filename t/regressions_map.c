/* SPDX-License-Identifier: MIT */
/* Tasks that are killed or cut off, and maps. */
#include "regressions.h"

/* ---- tasks ---- */

static int task_asked(soon_call *call, const void *arg, size_t arg_len)
{
    struct hold hold;

    REQUIRE(arg_len == sizeof hold);
    memcpy(&hold, arg, sizeof hold);
    bell_ring(hold.started);
    gate_pass(hold.release);
    hold.value = soon_call_cancelled(call);
    return soon_return(call, &hold.value, sizeof hold.value);
}

START_TEST(a_kill_that_cannot_be_leaves_the_task_unasked)
{
    struct hold hold = hold_make();
    soon_executor *ex = regress_pool(1);
    soon_future *f = submit(ex, task_asked, &hold, sizeof hold);

    bell_await(hold.started, 1);
    ck_assert_int_eq(soon_future_kill(f), -ENOTSUP);
    gate_open(hold.release);
    assert_result_int(f, 0);
    regress_end(ex);
    soon_future_unref(f);
    hold_free(&hold);
}
END_TEST

static soon_executor *in_place;

static int task_ends_and_counts(soon_call *call, const void *arg, size_t arg_len)
{
    (void)call;
    REQUIRE(soon_shutdown(in_place, 0, SOON_CANCEL_FUTURES) == 0);
    return task_count(call, arg, arg_len);
}

START_TEST(an_inline_chain_ends_with_a_shutdown_inside_it)
{
    shared_count *count = shared_new(sizeof *count);
    soon_task tasks[3];
    soon_future *f[3];

    for (int i = 0; i < 3; i++)
        tasks[i] = (soon_task){.fn = task_ends_and_counts, .arg = &count, .arg_len = sizeof count};
    assert_ok(soon_inline_new(&in_place));
    assert_ok(soon_submit_many(in_place, tasks, 3, f));
    ck_assert_uint_eq(atomic_load(count), 1);
    ck_assert_int_eq(soon_future_state(f[0]), SOON_FINISHED);
    ck_assert(soon_future_cancelled(f[1]) && soon_future_cancelled(f[2]));
    regress_end(in_place);
    unref_all(f, 3);
    shared_free(count, sizeof *count);
}
END_TEST

/* ---- maps ---- */

static int runs;

static int item_fails_at_once(soon_call *call, const void *arg, size_t arg_len)
{
    int i;

    REQUIRE(arg_len == sizeof i);
    memcpy(&i, arg, sizeof i);
    runs++;
    return i == 0 ? soon_fail(call, 7, "the first") : 0;
}

START_TEST(an_inline_map_stops_at_the_first_error)
{
    soon_executor *ex;
    int items[100];

    for (int i = 0; i < 100; i++)
        items[i] = i;
    assert_ok(soon_inline_new(&ex));
    ck_assert_int_eq(soon_map(ex, item_fails_at_once, items, sizeof *items, 100, NULL, 0, NULL), 7);
    ck_assert_int_eq(runs, 1);
    regress_end(ex);
}
END_TEST

static int one_item(void *source, const void **item, size_t *len)
{
    int *left = source;

    if (*left == 0)
        return 0;
    --*left;
    *item = "x";
    *len = 1;
    return 1;
}

static struct {
    soon_executor *ex;
    soon_imap *it;
    struct gate go;
    atomic_int sum;
    int status;
} stream;

static int task_makes_imap(soon_call *call, const void *arg, size_t arg_len)
{
    int left = 1;

    (void)call, (void)arg, (void)arg_len;
    gate_pass(stream.go);
    stream.status = soon_imap_new(stream.ex, task_nothing, one_item, &left, NULL, &stream.it);
    return 0;
}

START_TEST(an_imap_after_the_last_unref_is_refused)
{
    soon_future *f;

    stream.ex = regress_pool(1);
    stream.go = gate_make();
    f = submit(stream.ex, task_makes_imap, NULL, 0);
    soon_executor_unref(stream.ex);
    gate_open(stream.go);
    assert_result_bytes(f, NULL, 0);
    ck_assert_int_eq(stream.status, -ESHUTDOWN);
    soon_future_unref(f);
    gate_free(stream.go);
}
END_TEST

/* An item that needs the pool whose tasks read the imap. */
static int item_asks_the_readers(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f;
    int status;

    (void)call, (void)arg, (void)arg_len;
    gate_pass(stream.go);
    REQUIRE(soon_submit(stream.ex, task_nothing, NULL, 0, &f) == 0);
    status = soon_future_wait(f, ENOUGH);
    soon_future_unref(f);
    return status;
}

static int task_reads(soon_call *call, const void *arg, size_t arg_len)
{
    const void *value;
    size_t len;
    int status;

    (void)call, (void)arg, (void)arg_len;
    status = soon_imap_next(stream.it, &value, &len);
    REQUIRE(status >= 0);
    atomic_fetch_add(&stream.sum, status);
    return 0;
}

START_TEST(readers_that_take_turns_do_not_stall_their_pool)
{
    soon_executor *items = regress_pool(1);
    soon_future *f[2];
    int left = 1;

    stream.ex = regress_pool(1);
    stream.go = gate_make();
    assert_ok(soon_imap_new(items, item_asks_the_readers, one_item, &left, NULL, &stream.it));
    for (int i = 0; i < 2; i++)
        f[i] = submit(stream.ex, task_reads, NULL, 0);
    /* Both are in there once a spare has been started for the first. */
    for (soon_stats stats = {0}; stats.running < 2;)
        assert_ok(soon_executor_stats(stream.ex, &stats));
    gate_open(stream.go);
    ck_assert_int_eq(soon_wait(f, 2, SOON_ALL_COMPLETED, ENOUGH), 2);
    ck_assert_int_eq(atomic_load(&stream.sum), 1);
    soon_imap_free(stream.it);
    regress_end(stream.ex);
    regress_end(items);
    unref_all(f, 2);
    gate_free(stream.go);
}
END_TEST

void add_map_regressions(Suite *suite)
{
    TCase *tc = test_case(suite, "tasks");

    tcase_add_test(tc, a_kill_that_cannot_be_leaves_the_task_unasked);
    tcase_add_test(tc, an_inline_chain_ends_with_a_shutdown_inside_it);
    tc = test_case(suite, "maps");
    tcase_add_test(tc, an_inline_map_stops_at_the_first_error);
    tcase_add_test(tc, an_imap_after_the_last_unref_is_refused);
    tcase_add_test(tc, readers_that_take_turns_do_not_stall_their_pool);
}
