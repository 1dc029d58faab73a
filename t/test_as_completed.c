/* SPDX-License-Identifier: MIT */
/* soon_as_completed: its order, its growth, the references that it holds. */
#include "as_completed_cases.h"

#include "core/future.h"
#include "os/inject.h"

soon_as_completed *over(soon_future *const *futures, size_t n)
{
    soon_as_completed *it = NULL;

    assert_ok(soon_as_completed_new(futures, n, &it));
    ck_assert_ptr_nonnull(it);
    return it;
}

void finish(soon_future *f)
{
    assert_ok(soon_future_set_result(f, NULL, 0));
}

void promises(soon_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        futures[i] = promise();
}

void assert_next(soon_as_completed *it, const soon_future *expected)
{
    soon_future *out = NULL;

    ck_assert_int_eq(soon_as_completed_next(it, 0, &out), 1);
    ck_assert_ptr_eq(out, expected);
    soon_future_unref(out);
}

void assert_none_now(soon_as_completed *it)
{
    soon_future *untouched = (soon_future *)it, *out = untouched;

    ck_assert_int_eq(soon_as_completed_next(it, 0, &out), -ETIMEDOUT);
    ck_assert_ptr_eq(out, untouched);
}

void assert_end(soon_as_completed *it)
{
    soon_future *out = NULL;

    for (int again = 0; again < 2; again++)
        ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 0);
    ck_assert_ptr_null(out);
}

/* ---- order ---- */

START_TEST(none_at_all_is_the_end)
{
    soon_as_completed *it = over(NULL, 0);

    assert_end(it);
    soon_as_completed_free(it);
}

START_TEST(done_ones_come_first_in_the_order_given)
{
    soon_future *futures[5] = {sample_future(SAMPLE_FAILED), promise(),
                               sample_future(SAMPLE_CANCELLED), promise(),
                               sample_future(SAMPLE_RESULT)};
    soon_as_completed *it = over(futures, 5);

    finish(futures[3]);
    assert_next(it, futures[0]);
    assert_next(it, futures[2]);
    assert_next(it, futures[4]);
    assert_next(it, futures[3]);
    assert_none_now(it);
    finish(futures[1]);
    assert_next(it, futures[1]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, 5);
}

START_TEST(the_rest_comes_in_the_order_of_completion)
{
    static const int order[] = {3, 0, 4, 2, 1};
    soon_future *futures[5];
    soon_as_completed *it;

    promises(futures, 5);
    it = over(futures, 5);
    for (int i = 0; i < 5; i++) {
        soon_future *f = futures[order[i]];

        if (i % 3 == 0)
            finish(f);
        else if (i % 3 == 1)
            ck_assert(soon_future_cancel(f));
        else
            assert_ok(soon_future_set_error(f, -EIO, NULL));
    }
    for (int i = 0; i < 5; i++)
        assert_next(it, futures[order[i]]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, 5);
}

START_TEST(duplicates_come_out_once)
{
    soon_future *done = sample_future(SAMPLE_RESULT), *pending = promise();
    soon_future *futures[] = {pending, done, pending, done, done};
    soon_as_completed *it = over(futures, 5);

    assert_next(it, done);
    assert_none_now(it);
    finish(pending);
    assert_next(it, pending);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(done);
    soon_future_unref(pending);
}

START_TEST(a_timeout_lasts_as_long_as_asked_and_loses_nothing)
{
    soon_future *f = promise(), *out = NULL;
    soon_as_completed *it = over(&f, 1);
    soon_ns start = now_ns();

    ck_assert_int_eq(soon_as_completed_next(it, SOON_MS(20), &out), -ETIMEDOUT);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    ck_assert_ptr_null(out);
    finish(f);
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

START_TEST(bad_input_is_refused)
{
    soon_future *futures[2] = {promise(), NULL}, *out;
    soon_as_completed *it = NULL;

    ck_assert_int_eq(soon_as_completed_new(NULL, 1, &it), -EINVAL);
    ck_assert_int_eq(soon_as_completed_new(futures, 2, &it), -EINVAL);
    ck_assert_int_eq(soon_as_completed_new(futures, 1, NULL), -EINVAL);
    ck_assert_ptr_null(it);
    ck_assert_int_eq(soon_as_completed_add(NULL, futures[0]), -EINVAL);
    ck_assert_int_eq(soon_as_completed_next(NULL, 0, &out), -EINVAL);
    ck_assert_int_eq(soon_as_completed_fd(NULL), -EINVAL);
    soon_as_completed_free(NULL);
    it = over(futures, 1);
    ck_assert_int_eq(soon_as_completed_add(it, NULL), -EINVAL);
    ck_assert_int_eq(soon_as_completed_next(it, 0, NULL), -EINVAL);
    finish(futures[0]);
    ck_assert_int_eq(soon_as_completed_next(it, 0, NULL), -EINVAL);
    assert_next(it, futures[0]);
    soon_as_completed_free(it);
    soon_future_unref(futures[0]);
}

/* ---- growth ---- */

START_TEST(it_grows_while_it_is_read_and_after_its_end)
{
    soon_future *futures[4];
    soon_as_completed *it;

    promises(futures, 4);
    it = over(futures, 1);
    assert_ok(soon_as_completed_add(it, futures[1]));
    finish(futures[1]);
    assert_next(it, futures[1]);
    assert_ok(soon_as_completed_add(it, futures[2]));
    finish(futures[0]);
    finish(futures[2]);
    assert_next(it, futures[0]);
    assert_next(it, futures[2]);
    assert_end(it);
    finish(futures[3]);
    assert_ok(soon_as_completed_add(it, futures[3]));
    assert_next(it, futures[3]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, 4);
}

START_TEST(adding_one_that_has_not_come_out_does_nothing)
{
    soon_future *f = promise();
    soon_as_completed *it = over(&f, 1);

    assert_ok(soon_as_completed_add(it, f));
    finish(f);
    assert_ok(soon_as_completed_add(it, f));
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

START_TEST(one_that_came_out_can_be_added_again)
{
    soon_future *f = promise();
    soon_as_completed *it = over(&f, 1);

    finish(f);
    for (int i = 0; i < 100; i++) {
        assert_next(it, f);
        assert_end(it);
        assert_ok(soon_as_completed_add(it, f));
    }
    assert_next(it, f);
    assert_end(it);
    soon_as_completed_free(it);
    soon_future_unref(f);
}

/* The table becomes a larger one, in the end one of several sections, while it has some
 * that are out, and some that came back. */
START_TEST(it_grows_past_those_that_came_out)
{
    enum { FIRST = 20, ALL = 3000 };
    soon_future *futures[ALL];

    promises(futures, ALL);
    for (size_t i = 0; i < ALL; i++)
        finish(futures[i]);
    soon_as_completed *it = over(futures, FIRST);
    for (size_t i = 0; i < FIRST; i++)
        assert_next(it, futures[i]);
    for (int twice = 0; twice < 2; twice++)
        for (size_t i = 0; i < ALL; i++)
            assert_ok(soon_as_completed_add(it, futures[i]));
    for (size_t i = 0; i < ALL; i++)
        assert_next(it, futures[i]);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(futures, ALL);
}

START_TEST(a_stream_through_it_needs_no_more_memory_as_it_grows)
{
    const size_t rounds = scaled(200000);
    soon_future *f = promise(), *window[16];
    soon_as_completed *it = over(&f, 1);
    size_t before = 0, after;

    promises(window, 16);
    for (size_t i = 0; i < rounds; i++) {
        soon_future *next = promise();

        if (i == rounds / 4)
            before = resident_bytes();
        EXPECT(soon_as_completed_add(it, next) == 0);
        soon_future_unref(window[i % 16]);
        window[i % 16] = next;
        EXPECT(soon_future_cancel(next));
        EXPECT(soon_as_completed_next(it, SOON_FOREVER, &next) == 1);
        EXPECT(next == window[i % 16]);
        soon_future_unref(next);
    }
    after = resident_bytes();
    if (!memory_is_watched())
        ck_assert_msg(after < before + (2 << 20), "grew by %zu bytes", after - before);
    soon_as_completed_free(it);
    unref_all(window, 16);
    soon_future_unref(f);
}

/* ---- references ---- */

START_TEST(it_holds_references_of_its_own)
{
    const int answer = 42;
    soon_future *futures[2] = {sample_future(SAMPLE_RESULT), promise()}, *out = NULL;
    soon_as_completed *it = over(futures, 2);

    soon_future_unref(futures[0]);
    assert_ok(soon_future_set_result(futures[1], &answer, sizeof answer));
    soon_future_unref(futures[1]);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
        ck_assert_ptr_eq(out, futures[i]);
        assert_result_int(out, 42);
        soon_future_unref(out);
    }
    soon_as_completed_free(it);
}

START_TEST(one_that_came_out_outlives_it)
{
    soon_future *f = sample_future(SAMPLE_RESULT), *out = NULL;
    soon_as_completed *it = over(&f, 1);

    soon_future_unref(f);
    ck_assert_int_eq(soon_as_completed_next(it, SOON_FOREVER, &out), 1);
    soon_as_completed_free(it);
    assert_result_int(out, 42);
    soon_future_unref(out);
}

START_TEST(futures_go_on_when_it_is_freed)
{
    soon_future *futures[3];
    soon_as_completed *it;

    promises(futures, 3);
    it = over(futures, 3);
    finish(futures[0]);
    soon_as_completed_free(it);
    ck_assert_int_eq(soon_future_state(futures[1]), SOON_PENDING);
    finish(futures[1]);
    ck_assert(soon_future_cancel(futures[2]));
    unref_all(futures, 3);
}

START_TEST(many_over_one_long_future_leave_nothing_behind)
{
    const size_t rounds = scaled(1000000);
    soon_future *f = promise();
    size_t before = 0, after;

    for (size_t i = 0; i < rounds; i++) {
        soon_as_completed *it = NULL;

        if (i == rounds / 10)
            before = resident_bytes();
        EXPECT(soon_as_completed_new(&f, 1, &it) == 0);
        soon_as_completed_free(it);
    }
    after = resident_bytes();
    if (!memory_is_watched())
        ck_assert_msg(after < before + (1 << 20), "grew by %zu bytes", after - before);
    finish(f);
    soon_future_unref(f);
}

enum { LOTS = 10000 }; /* whose entries need several pieces of memory */

static soon_future *lots[LOTS];

static void make_lots(void)
{
    for (int i = 0; i < LOTS; i++) /* here and there one comes again, from another piece */
        lots[i] = i > 5000 && i % 7 == 0 ? soon_future_ref(lots[i - 5000]) : promise();
}

START_TEST(of_lots_each_comes_out_once)
{
    int done = 0, came = 0;

    make_lots();
    for (int i = 0; i < LOTS; i += 2)
        done += soon_future_set_result(lots[i], NULL, 0) == 0;
    soon_as_completed *it = over(lots, LOTS);
    for (int i = 1; i < LOTS; i += 2)
        done += soon_future_set_result(lots[i], NULL, 0) == 0;
    for (soon_future *out; soon_as_completed_next(it, 0, &out) == 1; came++)
        soon_future_unref(out);
    ck_assert_int_eq(came, done);
    ck_assert_int_lt(done, LOTS);
    assert_end(it);
    soon_as_completed_free(it);
    unref_all(lots, LOTS);
}
END_TEST

/* Nor for a section of its table: there are 16, and then 59 pieces. */
START_TEST(without_memory_for_a_piece_there_is_no_iterator)
{
    soon_as_completed *it = NULL;

    make_lots();
    soon__inject_after(SOON__INJECT_ALLOC, 1 + _i);
    int error = soon_as_completed_new(lots, LOTS, &it);
    soon__inject_after(SOON__INJECT_ALLOC, 0);
    ck_assert_int_eq(error, -ENOMEM);
    ck_assert_ptr_null(it);
    for (int i = 0; i < LOTS; i++) /* nobody else is told of its end, or has it */
        soon_future_set_result(lots[i], NULL, 0);
    for (int i = 0; i < 5000; i++)
        EXPECT(atomic_load(&lots[i]->refs) == (i && (i + 5000) % 7 == 0 ? 2 : 1));
    unref_all(lots, LOTS);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("as_completed");
    TCase *order = test_case(suite, "order");
    TCase *growth = test_case(suite, "growth");
    TCase *references = test_case(suite, "references");

    tcase_add_test(order, none_at_all_is_the_end);
    tcase_add_test(order, done_ones_come_first_in_the_order_given);
    tcase_add_test(order, the_rest_comes_in_the_order_of_completion);
    tcase_add_test(order, duplicates_come_out_once);
    tcase_add_test(order, a_timeout_lasts_as_long_as_asked_and_loses_nothing);
    tcase_add_test(order, bad_input_is_refused);

    tcase_add_test(growth, it_grows_while_it_is_read_and_after_its_end);
    tcase_add_test(growth, adding_one_that_has_not_come_out_does_nothing);
    tcase_add_test(growth, one_that_came_out_can_be_added_again);
    tcase_add_test(growth, it_grows_past_those_that_came_out);
    tcase_add_test(growth, a_stream_through_it_needs_no_more_memory_as_it_grows);

    tcase_add_test(references, it_holds_references_of_its_own);
    tcase_add_test(references, one_that_came_out_outlives_it);
    tcase_add_test(references, futures_go_on_when_it_is_freed);
    tcase_add_test(references, many_over_one_long_future_leave_nothing_behind);

    tcase_add_test(references, of_lots_each_comes_out_once);
    tcase_add_loop_test(references, without_memory_for_a_piece_there_is_no_iterator, 0, 40);

    add_reader_cases(suite);
    return suite;
}
