/* SPDX-License-Identifier: MIT */
/* soon_imap: order, its bound, its source, errors, early ends. */
#include "backends.h"

#include <stdio.h>

/* A source of 0, 1, 2 ... that checks how it is called. */
struct numbers {
    int next, end;      /* negative end: never */
    int error;          /* instead of the end */
    _Atomic int inside; /* calls that are in here now */
    _Atomic int pulled; /* items given */
    int buffer;         /* every item is lent from here */
    bool over;          /* it said so */
};

static int numbers_next(void *source, const void **item, size_t *len)
{
    struct numbers *s = source;

    REQUIRE(atomic_fetch_add(&s->inside, 1) == 0);
    REQUIRE(!s->over);
    if (s->next == s->end) {
        s->over = true;
        atomic_fetch_sub(&s->inside, 1);
        return s->error;
    }
    s->buffer = s->next++;
    *item = &s->buffer;
    *len = sizeof s->buffer;
    atomic_fetch_add(&s->pulled, 1);
    atomic_fetch_sub(&s->inside, 1);
    return 1;
}

static soon_imap *imap_over(soon_executor *ex, soon_fn *fn, struct numbers *source,
                            const soon_map_options *options)
{
    soon_imap *it = NULL;

    assert_ok(soon_imap_new(ex, fn, numbers_next, source, options, &it));
    ck_assert_ptr_nonnull(it);
    return it;
}

static void assert_next_int(soon_imap *it, int expected)
{
    const void *value = NULL;
    size_t len = 0;
    soon_error error;
    int got;

    ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
    ck_assert_uint_eq(len, sizeof got);
    ck_assert_uint_eq((uintptr_t)value % 16, 0);
    memcpy(&got, value, sizeof got);
    ck_assert_int_eq(got, expected);
    assert_ok(soon_imap_error(it, &error));
    ck_assert_int_eq(error.code, 0);
}

static void assert_error_next(soon_imap *it, int expected)
{
    const void *untouched = it, *value = untouched;
    size_t len = 77;

    ck_assert_int_eq(soon_imap_next(it, &value, &len), expected);
    ck_assert_ptr_eq(value, untouched);
    ck_assert_uint_eq(len, 77);
}

static void assert_end(soon_imap *it)
{
    for (int again = 0; again < 2; again++)
        assert_error_next(it, 0);
}

/* ---- order and bound ---- */

START_TEST(results_come_in_the_order_of_the_items_whatever_the_chunks)
{
    static const soon_map_options options[] = {
        {0},
        {.chunk_size = 1, .buffer_size = 1},
        {.chunk_size = 3, .buffer_size = 10},
        {.chunk_size = 100, .buffer_size = 4}, /* capped at the buffer */
        {.chunk_size = 8},
        {.buffer_size = 1000},
        {.chunk_size = SIZE_MAX, .buffer_size = 50},
    };
    static const int counts[] = {0, 1, 5, 100};
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t o = 0; o < sizeof options / sizeof options[0]; o++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            struct numbers source = {.end = counts[c]};
            soon_imap *it = imap_over(rig.ex, task_square, &source, &options[o]);

            for (int i = 0; i < counts[c]; i++)
                assert_next_int(it, i * i);
            assert_end(it);
            soon_imap_free(it);
        }
    rig_down(&rig);
}

START_TEST(no_options_are_the_defaults)
{
    struct numbers source = {.end = 50};
    struct rig rig;
    soon_imap *it;

    rig_up(&rig, _i);
    it = imap_over(rig.ex, task_square, &source, NULL);
    for (int i = 0; i < 50; i++)
        assert_next_int(it, i * i);
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
}

START_TEST(unordered_gives_each_result_once)
{
    enum { N = 200 };
    const soon_map_options options = {.unordered = true, .chunk_size = 3, .buffer_size = 20};
    struct numbers source = {.end = N};
    bool seen[N] = {false};
    struct rig rig;
    soon_imap *it;

    rig_up(&rig, _i);
    it = imap_over(rig.ex, task_echo, &source, &options);
    for (int i = 0; i < N; i++) {
        const void *value;
        size_t len;
        int got;

        ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
        memcpy(&got, value, sizeof got);
        EXPECT(got >= 0 && got < N && !seen[got]);
        seen[got] = true;
    }
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
}

/* Where the tasks find it. */
static struct gate *first_item_may_go(void)
{
    return shared_page();
}

static int task_hold_the_first(soon_call *call, const void *arg, size_t arg_len)
{
    int n;

    memcpy(&n, arg, sizeof n);
    if (n == 0)
        gate_pass(*first_item_may_go());
    return soon_return(call, arg, arg_len);
}

START_TEST(unordered_does_not_wait_for_the_slowest)
{
    const soon_map_options options = {.unordered = true, .chunk_size = 1, .buffer_size = 4};
    struct numbers source = {.end = 10};
    unsigned seen = 0;
    struct rig rig;
    soon_imap *it;

    *first_item_may_go() = gate_make();
    rig_up(&rig, _i);
    it = imap_over(rig.ex, task_hold_the_first, &source, &options);
    for (int i = 0; i < 9; i++) {
        const void *value;
        size_t len;
        int got;

        ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
        memcpy(&got, value, sizeof got);
        seen |= 1u << got;
    }
    ck_assert_uint_eq(seen, 0x3fe);
    gate_open(*first_item_may_go());
    assert_next_int(it, 0);
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
    gate_free(*first_item_may_go());
}

START_TEST(an_endless_source_is_pulled_only_as_far_as_the_buffer)
{
    static const int buffers[] = {1, 2, 7, 64};
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t b = 0; b < sizeof buffers / sizeof buffers[0]; b++)
        for (size_t chunk = 1; chunk <= 4; chunk *= 2) {
            const soon_map_options options = {.chunk_size = chunk,
                                              .buffer_size = (size_t)buffers[b]};
            struct numbers source = {.end = -1};
            soon_imap *it = imap_over(rig.ex, task_square, &source, &options);

            ck_assert_int_ge(source.pulled, 1);
            ck_assert_int_le(source.pulled, buffers[b]);
            for (int i = 0; i < 100; i++) {
                assert_next_int(it, i * i);
                EXPECT(source.pulled <= i + 1 + buffers[b]);
            }
            soon_imap_free(it);
        }
    rig_down(&rig);
}

START_TEST(a_stream_of_any_length_needs_no_more_memory)
{
    const int n = (int)scaled(200000);
    const soon_map_options options = {.chunk_size = 4, .buffer_size = 64};
    struct numbers source = {.end = n};
    const size_t allowed = (size_t)(4 << 20) * resident_factor();
    size_t before = 0, after;
    struct rig rig;
    soon_imap *it;

    rig_up(&rig, _i);
    it = imap_over(rig.ex, task_echo, &source, &options);
    for (int i = 0; i < n; i++) {
        const void *value;
        size_t len;

        if (i == n / 4)
            before = resident_bytes();
        EXPECT(soon_imap_next(it, &value, &len) == 1 && memcmp(value, &i, sizeof i) == 0);
    }
    after = resident_bytes();
    if (!memory_is_watched())
        ck_assert_msg(after < before + allowed, "grew by %zu bytes", after - before);
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
}

/* ---- items ---- */

/* Items of growing length, lent from one buffer that is overwritten. */
struct growing {
    unsigned char buffer[300];
    size_t len;
};

static int growing_next(void *source, const void **item, size_t *len)
{
    struct growing *s = source;

    memset(s->buffer, (int)s->len, sizeof s->buffer);
    *item = s->buffer;
    *len = s->len;
    return s->len++ < sizeof s->buffer;
}

static int task_check_and_echo(soon_call *call, const void *arg, size_t arg_len)
{
    if ((uintptr_t)arg % 16 != 0 || (arg_len == 0 && arg))
        return soon_fail(call, -EFAULT, "%zu bytes at %p", arg_len, arg);
    return soon_return(call, arg, arg_len);
}

START_TEST(items_of_any_length_are_copied_aligned_and_come_back)
{
    const soon_map_options options = {.chunk_size = 5, .buffer_size = 50};
    struct growing source = {.len = 0};
    unsigned char expected[300];
    struct rig rig;
    soon_imap *it = NULL;

    rig_up(&rig, _i);
    assert_ok(soon_imap_new(rig.ex, task_check_and_echo, growing_next, &source, &options, &it));
    for (size_t i = 0; i < sizeof expected; i++) {
        const void *value = NULL;
        size_t len = ~i;

        memset(expected, (int)i, sizeof expected);
        ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
        ck_assert_uint_eq(len, i);
        ck_assert_ptr_nonnull(value);
        ck_assert_msg(memcmp(value, expected, len) == 0, "item %zu differs", i);
    }
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
}

/* ---- errors ---- */

static int task_fail_on_some(soon_call *call, const void *arg, size_t arg_len)
{
    int n;

    memcpy(&n, arg, sizeof n);
    if (n % 10 == 3)
        return soon_fail(call, -(1000 + n), "item %d", n);
    if (n % 10 == 7)
        return soon_fail(call, 1000 + n, "item %d", n);
    return soon_return(call, arg, arg_len);
}

static void assert_item_failed(soon_imap *it, int n, int code)
{
    char message[32];
    soon_error error;

    assert_error_next(it, code < 0 ? code : -code);
    assert_ok(soon_imap_error(it, &error));
    ck_assert_int_eq(error.origin, SOON_FROM_TASK);
    snprintf(message, sizeof message, "item %d", n);
    ck_assert_str_eq(error.message, message);
}

START_TEST(with_keep_going_an_error_takes_its_items_place)
{
    static const size_t chunks[] = {1, 4, 100};
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t c = 0; c < 3; c++) {
        const soon_map_options options = {
            .keep_going = true, .chunk_size = chunks[c], .buffer_size = 30};
        struct numbers source = {.end = 50};
        soon_imap *it = imap_over(rig.ex, task_fail_on_some, &source, &options);

        for (int i = 0; i < 50; i++) {
            if (i % 10 == 3)
                assert_item_failed(it, i, -(1000 + i));
            else if (i % 10 == 7)
                assert_item_failed(it, i, 1000 + i);
            else
                assert_next_int(it, i);
        }
        assert_end(it);
        soon_imap_free(it);
    }
    rig_down(&rig);
}

START_TEST(without_keep_going_an_error_is_the_last_thing_but_the_end)
{
    static const size_t chunks[] = {1, 4, 100};
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t c = 0; c < 3; c++) {
        const soon_map_options options = {.chunk_size = chunks[c], .buffer_size = 30};
        struct numbers source = {.end = -1};
        soon_imap *it = imap_over(rig.ex, task_fail_on_some, &source, &options);

        for (int i = 0; i < 3; i++)
            assert_next_int(it, i);
        assert_item_failed(it, 3, -1003);
        assert_end(it);
        soon_imap_free(it);
    }
    rig_down(&rig);
}

START_TEST(a_sources_error_comes_after_the_items_before_it)
{
    struct rig rig;

    rig_up(&rig, _i);
    for (int keep_going = 0; keep_going < 2; keep_going++) {
        const soon_map_options options = {.keep_going = keep_going, .chunk_size = 4};
        struct numbers source = {.end = 10, .error = -EBADF};
        soon_imap *it = imap_over(rig.ex, task_square, &source, &options);

        for (int i = 0; i < 10; i++)
            assert_next_int(it, i * i);
        assert_error_next(it, -EBADF);
        assert_end(it);
        soon_imap_free(it);
    }
    rig_down(&rig);
}

START_TEST(a_source_that_fails_at_once_says_so)
{
    struct numbers source = {.end = 0, .error = -ENOENT};
    struct rig rig;
    soon_imap *it;

    rig_up(&rig, _i);
    it = imap_over(rig.ex, task_square, &source, NULL);
    assert_error_next(it, -ENOENT);
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
}

START_TEST(bad_input_is_refused)
{
    struct numbers source = {.end = 3};
    struct rig rig;
    soon_imap *it = NULL;
    soon_error error;
    const void *value;
    size_t len;

    rig_up(&rig, _i);
    ck_assert_int_eq(soon_imap_new(NULL, task_echo, numbers_next, &source, NULL, &it), -EINVAL);
    ck_assert_int_eq(soon_imap_new(rig.ex, NULL, numbers_next, &source, NULL, &it), -EINVAL);
    ck_assert_int_eq(soon_imap_new(rig.ex, task_echo, NULL, &source, NULL, &it), -EINVAL);
    ck_assert_int_eq(soon_imap_new(rig.ex, task_echo, numbers_next, &source, NULL, NULL), -EINVAL);
    ck_assert_ptr_null(it);
    ck_assert_int_eq(soon_imap_next(NULL, &value, &len), -EINVAL);
    ck_assert_int_eq(soon_imap_error(NULL, &error), -EINVAL);
    soon_imap_free(NULL);
    ck_assert_int_eq(source.pulled, 0);
    it = imap_over(rig.ex, task_echo, &source, NULL);
    ck_assert_int_eq(soon_imap_error(it, NULL), -EINVAL);
    assert_next_int(it, 0);
    soon_imap_free(it);
    rig_down(&rig);
}

START_TEST(a_shut_down_executor_is_refused)
{
    struct numbers source = {.end = 3};
    struct rig rig;
    soon_imap *it = NULL;

    rig_up(&rig, _i);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_int_eq(soon_imap_new(rig.ex, task_echo, numbers_next, &source, NULL, &it),
                     -ESHUTDOWN);
    ck_assert_ptr_null(it);
    rig_down(&rig);
}

START_TEST(a_shutdown_on_the_way_is_reported_and_ends_it)
{
    const soon_map_options options = {.chunk_size = 1, .buffer_size = 4, .keep_going = true};
    struct numbers source = {.end = 100};
    int answer = 1, got = 0;
    struct rig rig;
    soon_imap *it;

    rig_up(&rig, _i);
    it = imap_over(rig.ex, task_echo, &source, &options);
    assert_next_int(it, got++);
    assert_ok(soon_shutdown(rig.ex, 0, 0));
    while (answer == 1) {
        const void *value;
        size_t len;

        answer = soon_imap_next(it, &value, &len);
        if (answer == 1)
            ck_assert_msg(memcmp(value, &got, sizeof got) == 0, "not item %d", got);
        got += answer == 1;
    }
    ck_assert_int_eq(answer, -ESHUTDOWN);
    ck_assert_int_lt(got, 10);
    assert_end(it);
    soon_imap_free(it);
    rig_down(&rig);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("imap");
    TCase *order = test_case(suite, "order");
    TCase *errors = test_case(suite, "errors");

    add_over_backends(order, results_come_in_the_order_of_the_items_whatever_the_chunks, 0);
    add_over_backends(order, no_options_are_the_defaults, 0);
    add_over_backends(order, unordered_gives_each_result_once, 0);
    add_over_backends(order, unordered_does_not_wait_for_the_slowest, TRAIT_PAIR);
    add_over_backends(order, an_endless_source_is_pulled_only_as_far_as_the_buffer, 0);
    add_over_backends(order, a_stream_of_any_length_needs_no_more_memory, 0);
    add_over_backends(order, items_of_any_length_are_copied_aligned_and_come_back, 0);

    add_over_backends(errors, with_keep_going_an_error_takes_its_items_place, 0);
    add_over_backends(errors, without_keep_going_an_error_is_the_last_thing_but_the_end, 0);
    add_over_backends(errors, a_sources_error_comes_after_the_items_before_it, 0);
    add_over_backends(errors, a_source_that_fails_at_once_says_so, 0);
    add_over_backends(errors, bad_input_is_refused, 0);
    add_over_backends(errors, a_shut_down_executor_is_refused, 0);
    add_over_backends(errors, a_shutdown_on_the_way_is_reported_and_ends_it, 0);
    return suite;
}
