/* SPDX-License-Identifier: MIT */
/* What a future holds: results of every size, lent and copied, errors and
 * their messages. */
#include "support.h"

#include <limits.h>
#include <soon/backend.h>

static const size_t sizes[] = {0, 1, 15, 16, 17, 32, 47, 48, 49, 63, 64, 65, 4096, 1 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Bytes that differ between neighbours and between seeds. */
static unsigned char *pattern(size_t len, unsigned seed)
{
    unsigned char *bytes = malloc(len ? len : 1);

    REQUIRE(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251 + seed);
    return bytes;
}

static bool aligned_to_16(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

/* ---- results ---- */

START_TEST(a_result_of_any_size_is_copied_in_and_lent_out)
{
    const size_t len = sizes[_i];
    unsigned char *bytes = pattern(len, 1), *same = pattern(len, 1);
    const void *first = NULL, *second = NULL;
    soon_future *f = promise();
    size_t got = ~len;

    assert_ok(soon_future_set_result(f, bytes, len));
    memset(bytes, 0, len);
    assert_result_bytes(f, same, len);
    assert_ok(soon_future_value(f, 0, &first, &got));
    assert_ok(soon_future_value(f, 0, &second, NULL));
    assert_ok(soon_future_value(f, 0, NULL, &got));
    ck_assert_uint_eq(got, len);
    ck_assert_ptr_eq(first, second);
    ck_assert(aligned_to_16(first));
    soon_future_unref(f);
    free(bytes);
    free(same);
}

START_TEST(a_result_of_any_size_is_copied_out)
{
    const size_t len = sizes[_i];
    unsigned char *bytes = pattern(len, 2), *room = pattern(len + 1, 3);
    const unsigned char beyond = room[len];
    soon_future *f = promise();

    assert_ok(soon_future_set_result(f, bytes, len));
    assert_ok(soon_future_result(f, 0, room, len));
    ck_assert_msg(memcmp(room, bytes, len) == 0, "the %zu bytes differ", len);
    ck_assert_uint_eq(room[len], beyond);
    soon_future_unref(f);
    free(bytes);
    free(room);
}

START_TEST(a_result_of_another_length_is_not_copied)
{
    const size_t len = sizes[_i];
    unsigned char *bytes = pattern(len, 2);
    unsigned char *room = pattern(len + 1, 3), *untouched = pattern(len + 1, 3);
    soon_future *f = promise();

    assert_ok(soon_future_set_result(f, bytes, len));
    ck_assert_int_eq(soon_future_result(f, 0, room, len + 1), -EMSGSIZE);
    if (len > 0)
        ck_assert_int_eq(soon_future_result(f, 0, room, len - 1), -EMSGSIZE);
    ck_assert_msg(memcmp(room, untouched, len + 1) == 0, "something was copied");
    assert_result_bytes(f, bytes, len);
    soon_future_unref(f);
    free(bytes);
    free(room);
    free(untouched);
}

START_TEST(an_empty_result_needs_no_room)
{
    const void *value = NULL;
    soon_future *f = promise();
    size_t len = 1;

    assert_ok(soon_future_set_result(f, NULL, 0));
    assert_ok(soon_future_result(f, 0, NULL, 0));
    assert_ok(soon_future_value(f, 0, &value, &len));
    ck_assert_ptr_nonnull(value);
    ck_assert_uint_eq(len, 0);
    soon_future_unref(f);
}

/* ---- arguments and results of tasks ---- */

static int echo_aligned(soon_call *call, const void *arg, size_t arg_len)
{
    if (!aligned_to_16(arg))
        return soon_fail(call, -EFAULT, "argument at %p", arg);
    if (arg_len == 0 && arg)
        return soon_fail(call, -EINVAL, "an empty argument at %p", arg);
    return soon_return(call, arg, arg_len);
}

static int echo_in_place(soon_call *call, const void *arg, size_t arg_len)
{
    void *room = soon_return_buffer(call, arg_len);

    if (!room || !aligned_to_16(room))
        return soon_fail(call, -EFAULT, "room at %p", room);
    if (arg_len)
        memcpy(room, arg, arg_len);
    return 0;
}

/* Every size of argument with every size of result that it can become. */
START_TEST(an_argument_of_any_size_comes_back)
{
    static soon_fn *const echo[] = {echo_aligned, echo_in_place, task_echo};
    const size_t len = sizes[_i];
    soon_executor *ex = NULL;

    assert_ok(soon_inline_new(&ex));
    for (unsigned i = 0; i < 3; i++) {
        unsigned char *bytes = pattern(len, i);
        soon_future *f = submit(ex, echo[i], bytes, len);

        assert_result_bytes(f, bytes, len);
        soon_future_unref(f);
        free(bytes);
    }
    soon_executor_unref(ex);
}

struct lengths {
    size_t in, out;
};

/* Checks its argument, then returns a pattern of the length it asks for. */
static int resize(soon_call *call, const void *arg, size_t arg_len)
{
    struct lengths lengths;
    unsigned char *expected, *result;

    memcpy(&lengths, arg, sizeof lengths);
    REQUIRE(arg_len == sizeof lengths + lengths.in);
    expected = pattern(lengths.in, 4);
    result = pattern(lengths.out, 5);
    REQUIRE(memcmp((const char *)arg + sizeof lengths, expected, lengths.in) == 0);
    REQUIRE(soon_return(call, result, lengths.out) == 0);
    /* The argument is the task's until it returns, whatever became of the
     * result's storage. */
    REQUIRE(memcmp((const char *)arg + sizeof lengths, expected, lengths.in) == 0);
    free(expected);
    free(result);
    return 0;
}

START_TEST(arguments_and_results_of_any_sizes_go_together)
{
    soon_executor *ex = NULL;

    assert_ok(soon_inline_new(&ex));
    for (int out = 0; out < SIZES; out++) {
        const struct lengths lengths = {sizes[_i], sizes[out]};
        unsigned char *in = pattern(lengths.in, 4), *expected = pattern(lengths.out, 5);
        unsigned char *arg = malloc(sizeof lengths + lengths.in);
        soon_future *f;

        REQUIRE(arg);
        memcpy(arg, &lengths, sizeof lengths);
        memcpy(arg + sizeof lengths, in, lengths.in);
        f = submit(ex, resize, arg, sizeof lengths + lengths.in);
        assert_result_bytes(f, expected, lengths.out);
        soon_future_unref(f);
        free(arg);
        free(in);
        free(expected);
    }
    soon_executor_unref(ex);
}

/* ---- errors ---- */

START_TEST(an_error_keeps_its_code_whatever_it_is)
{
    static const int codes[] = {1,          -1,         255,       INT_MAX, INT_MIN,
                                -ETIMEDOUT, -ECANCELED, -EMSGSIZE, -ETIME};

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        soon_future *f = promise();
        int value = 0;

        assert_ok(soon_future_set_error(f, codes[i], "code %d", codes[i]));
        ck_assert_int_eq(soon_future_result(f, 0, &value, sizeof value), codes[i]);
        assert_error(f, codes[i], SOON_FROM_TASK, NULL);
        ck_assert(!soon_future_cancelled(f));
        soon_future_unref(f);
    }
}

START_TEST(an_error_without_a_message_has_one_all_the_same)
{
    soon_future *f = promise();
    soon_error error;

    assert_ok(soon_future_set_error(f, -EIO, NULL));
    assert_ok(soon_future_error(f, 0, &error));
    ck_assert_int_eq(error.code, -EIO);
    ck_assert_ptr_nonnull(error.message);
    soon_future_unref(f);
}

START_TEST(a_failure_keeps_every_field)
{
    const soon_error set = {.code = -EOWNERDEAD,
                            .origin = SOON_FROM_WORKER,
                            .signal = 9,
                            .exit_code = 3,
                            .message = "worker 17 was killed"};
    soon_future *f = promise();
    soon_error error;

    assert_ok(soon_future_set_failure(f, &set));
    assert_ok(soon_future_error(f, 0, &error));
    ck_assert_int_eq(error.code, -EOWNERDEAD);
    ck_assert_int_eq(error.origin, SOON_FROM_WORKER);
    ck_assert_int_eq(error.signal, 9);
    ck_assert_int_eq(error.exit_code, 3);
    ck_assert_str_eq(error.message, set.message);
    ck_assert_ptr_ne(error.message, set.message);
    ck_assert_int_eq(soon_future_value(f, 0, NULL, NULL), -EOWNERDEAD);
    ck_assert_int_eq(soon_future_set_failure(f, &set), -EALREADY);
    soon_future_unref(f);
}

/* ---- messages ---- */

enum { MESSAGE_MAX = 4095 }; /* 4096 with the NUL */

/* ascii letters, then tail. */
static char *message_of(size_t ascii, const char *tail)
{
    char *text = malloc(ascii + strlen(tail) + 1);

    REQUIRE(text);
    memset(text, 'a', ascii);
    strcpy(text + ascii, tail);
    return text;
}

static int fail_with_text(soon_call *call, const void *arg, size_t arg_len)
{
    return soon_fail(call, -EIO, "%.*s", (int)arg_len, (const char *)arg);
}

/* The same text as a promise's message and as a task's. */
static void assert_message_kept(const char *text, size_t kept)
{
    soon_executor *ex = NULL;
    soon_future *f[2] = {promise(), NULL};
    soon_error error;

    assert_ok(soon_inline_new(&ex));
    assert_ok(soon_future_set_error(f[0], -EIO, "%s", text));
    f[1] = submit(ex, fail_with_text, text, strlen(text));
    for (int i = 0; i < 2; i++) {
        assert_ok(soon_future_error(f[i], 0, &error));
        ck_assert_int_eq(error.code, -EIO);
        ck_assert_uint_eq(strlen(error.message), kept);
        ck_assert_msg(memcmp(error.message, text, kept) == 0, "not the text that was given");
        soon_future_unref(f[i]);
    }
    soon_executor_unref(ex);
}

START_TEST(a_message_is_kept_up_to_4096_bytes)
{
    static const size_t lengths[] = {1, 63, 64, 500, 4094, MESSAGE_MAX, 4096, 4097, 100000};

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *text = message_of(lengths[i], "");

        assert_message_kept(text, lengths[i] < MESSAGE_MAX ? lengths[i] : MESSAGE_MAX);
        free(text);
    }
}

START_TEST(a_message_is_cut_between_characters)
{
    static const char *const character[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x92\xa7"};

    for (size_t i = 0; i < 3; i++) {
        const size_t width = strlen(character[i]);

        for (size_t before = MESSAGE_MAX - width - 1; before <= MESSAGE_MAX; before++) {
            char *text = message_of(before, character[i]);

            assert_message_kept(text, before + width <= MESSAGE_MAX ? before + width : before);
            free(text);
        }
    }
}

START_TEST(a_long_message_of_wide_characters_loses_only_its_end)
{
    static const char euro[] = "\xe2\x82\xac";
    char text[6000 + 1] = "";

    for (size_t i = 0; i + 3 < sizeof text; i += 3)
        memcpy(text + i, euro, 3);
    text[sizeof text - 1] = '\0';
    assert_message_kept(text, MESSAGE_MAX - MESSAGE_MAX % 3);
}

START_TEST(a_message_that_is_no_utf8_stays_within_bounds)
{
    char text[6001];
    soon_future *f = promise();
    soon_error error;

    memset(text, 0xbf, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_ok(soon_future_set_error(f, -EIO, "%s", text));
    assert_ok(soon_future_error(f, 0, &error));
    ck_assert_uint_le(strlen(error.message), MESSAGE_MAX);
    ck_assert_msg(memcmp(error.message, text, strlen(error.message)) == 0, "invented bytes");
    soon_future_unref(f);
}

START_TEST(a_message_is_a_copy)
{
    char text[] = "disk on fire";
    soon_future *f = promise();

    assert_ok(soon_future_set_error(f, -EIO, "%s", text));
    memset(text, 'x', sizeof text - 1);
    assert_error(f, -EIO, SOON_FROM_TASK, "disk on fire");
    soon_future_unref(f);
}

/* ---- the life of a result ---- */

START_TEST(a_result_outlives_its_executor)
{
    soon_executor *ex = NULL;
    soon_future *f[2];

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    f[0] = submit_int(ex, task_square, 9);
    f[1] = submit(ex, task_fail, &(struct failure){-EIO, "gone"}, sizeof(struct failure));
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
    assert_result_int(f[0], 81);
    assert_error(f[1], -EIO, SOON_FROM_TASK, "gone");
    unref_all(f, 2);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("result");
    TCase *results = test_case(suite, "results");
    TCase *errors = test_case(suite, "errors");

    tcase_add_loop_test(results, a_result_of_any_size_is_copied_in_and_lent_out, 0, SIZES);
    tcase_add_loop_test(results, a_result_of_any_size_is_copied_out, 0, SIZES);
    tcase_add_loop_test(results, a_result_of_another_length_is_not_copied, 0, SIZES);
    tcase_add_test(results, an_empty_result_needs_no_room);
    tcase_add_loop_test(results, an_argument_of_any_size_comes_back, 0, SIZES);
    tcase_add_loop_test(results, arguments_and_results_of_any_sizes_go_together, 0, SIZES);
    tcase_add_test(results, a_result_outlives_its_executor);

    tcase_add_test(errors, an_error_keeps_its_code_whatever_it_is);
    tcase_add_test(errors, an_error_without_a_message_has_one_all_the_same);
    tcase_add_test(errors, a_failure_keeps_every_field);
    tcase_add_test(errors, a_message_is_kept_up_to_4096_bytes);
    tcase_add_test(errors, a_message_is_cut_between_characters);
    tcase_add_test(errors, a_long_message_of_wide_characters_loses_only_its_end);
    tcase_add_test(errors, a_message_that_is_no_utf8_stays_within_bounds);
    tcase_add_test(errors, a_message_is_a_copy);
    return suite;
}
