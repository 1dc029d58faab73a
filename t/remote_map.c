/* SPDX-License-Identifier: MIT */
/*
 * Maps over a remote backend: chunks that are run elsewhere, and results that
 * come from a worker which writes nonsense.
 */
#include "remote_cases.h"

#include "core/batch.h"
#include "os/inject.h"

#include <limits.h>
#include <soon/map.h>
#include <stdio.h>

static soon_executor *ex;

/* ---- honest chunks ---- */

/* A result for each size: as many bytes of it as the argument says. */
static int repeat(soon_call *call, const void *arg, size_t arg_len)
{
    size_t len;

    REQUIRE(arg_len == sizeof len);
    memcpy(&len, arg, sizeof len);
    if (len == SIZE_MAX)
        return soon_fail(call, -ERANGE, "too many");
    char *bytes = soon_return_buffer(call, len);
    if (!bytes)
        return -ENOMEM;
    memset(bytes, (int)len, len);
    return 0;
}

struct sizes {
    const size_t *size;
    size_t n, at;
};

static int next_size(void *source, const void **item, size_t *len)
{
    struct sizes *sizes = source;

    if (sizes->at == sizes->n)
        return 0;
    *item = &sizes->size[sizes->at++];
    *len = sizeof *sizes->size;
    return 1;
}

START_TEST(a_chunk_brings_results_of_any_size)
{
    const size_t size[] = {0, 1, 15, 16, 17, 64, 65, 1000, 70000, SIZE_MAX, 3, 0, 200000, 16};
    const size_t n = sizeof size / sizeof *size;
    const soon_map_options options = {.chunk_size = (size_t)_i, .keep_going = true};
    struct sizes source = {size, n, 0};
    soon_imap *it;
    const unsigned char *bytes;
    size_t len;
    soon_error error;

    ex = far_open(0, SOON_BLOCK);
    far_start(2);
    assert_ok(soon_imap_new(ex, repeat, next_size, &source, &options, &it));
    for (size_t i = 0; i < n; i++) {
        int got = soon_imap_next(it, (const void **)&bytes, &len);
        if (size[i] == SIZE_MAX) {
            ck_assert_int_eq(got, -ERANGE);
            assert_ok(soon_imap_error(it, &error));
            ck_assert_str_eq(error.message, "too many");
            continue;
        }
        ck_assert_int_eq(got, 1);
        ck_assert_uint_eq(len, size[i]);
        ck_assert_uint_eq((uintptr_t)bytes % 16, 0);
        for (size_t k = 0; k < len; k++)
            EXPECT(bytes[k] == (unsigned char)len);
    }
    ck_assert_int_eq(soon_imap_next(it, (const void **)&bytes, &len), 0);
    soon_imap_free(it);
    far_close();
}
END_TEST

START_TEST(a_map_runs_elsewhere)
{
    enum { N = 5000 };
    static int in[N], out[N];

    ex = far_open(4, SOON_BLOCK);
    far_start(2);
    for (int i = 0; i < N; i++)
        in[i] = i;
    assert_ok(soon_map(ex, task_square, in, sizeof *in, N, out, sizeof *out, NULL));
    for (int i = 0; i < N; i++)
        EXPECT(out[i] == i * i);
    ck_assert_uint_eq(atomic_load(&far.chunks), 8); /* 4 for each of 2 workers */
    assert_stats_add_up(ex, 8);
    far_close();
}
END_TEST

/* The chunk's results take a buffer in the end, which may not be there. */
START_TEST(a_chunk_whose_results_find_no_buffer_fails)
{
    int in[20] = {0}, out[20];

    ex = far_open(0, SOON_BLOCK);
    far_start(1);
    atomic_store(&far.fail_buffer, 1);
    const soon_map_options options = {.chunk_size = 20};
    ck_assert_int_eq(soon_map(ex, task_square, in, sizeof *in, 20, out, sizeof *out, &options),
                     -ENOMEM);
    assert_ok(soon_map(ex, task_square, in, sizeof *in, 20, out, sizeof *out, &options));
    far_close();
}
END_TEST

/* Each item of a chunk asks the port, and so does the loop over them. */
static int stop_the_rest(soon_call *call, const void *arg, size_t arg_len)
{
    REQUIRE(arg_len == sizeof(int));
    int i = *(const int *)arg;
    REQUIRE(soon_call_progress(call, (uint64_t)i + 1, 4) == 0);
    REQUIRE(!soon_call_cancelled(call));
    if (i == 1) {
        soon_future *f = far.slot[0].future; /* the chunk */
        REQUIRE(!soon_future_cancel(f));
        REQUIRE(soon_call_cancelled(call));
        uint64_t done;
        REQUIRE(soon_future_progress(f, &done, NULL) == 0 && done == 2);
    }
    REQUIRE(i < 2);
    return 0;
}

static int next_int(void *source, const void **item, size_t *len)
{
    int *at = source;

    static int value;
    value = (*at)++;
    *item = &value;
    *len = sizeof value;
    return value < 4;
}

START_TEST(a_chunk_that_is_asked_to_stop_stops)
{
    const soon_map_options options = {.chunk_size = 4, .buffer_size = 4};
    int at = 0;
    soon_imap *it;
    const void *value;
    size_t len;

    ex = far_open(0, SOON_BLOCK);
    assert_ok(soon_imap_new(ex, stop_the_rest, next_int, &at, &options, &it));
    ck_assert_uint_eq(far_run(), 1);
    ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
    ck_assert_int_eq(soon_imap_next(it, &value, &len), 1);
    /* The imap has not asked for it, so it can't tell a stop from nonsense. */
    ck_assert_int_eq(soon_imap_next(it, &value, &len), -EBADMSG);
    soon_imap_free(it);
    far_close();
}
END_TEST

/* ---- how large a chunk is ---- */

static void map_large(size_t item_size, size_t count, size_t chunk)
{
    char *items = calloc(count, item_size);

    ck_assert_ptr_nonnull(items);
    const soon_map_options options = {.chunk_size = chunk};
    assert_ok(soon_map(ex, task_nothing, items, item_size, count, NULL, 0, &options));
    free(items);
}

START_TEST(an_automatic_chunk_stays_in_the_caches)
{
    ex = far_open(0, SOON_BLOCK);
    far_start(2);
    map_large(8, 400000, 0); /* 32 bytes each, header included: 12.2 MiB */
    ck_assert_uint_le(atomic_load(&far.largest), 512 << 10);
    ck_assert_uint_ge(atomic_load(&far.largest), (512 << 10) - 64);
    ck_assert_uint_eq(atomic_load(&far.chunks), 25);
    map_large(2 << 20, 3, 0); /* one at a time, however large */
    ck_assert_uint_eq(atomic_load(&far.largest), (2 << 20) + 32);
    ck_assert_uint_eq(atomic_load(&far.chunks), 25 + 3);
    map_large((512 << 10) - 32, 20, 0); /* the largest that fits with its headers */
    ck_assert_uint_eq(atomic_load(&far.chunks), 25 + 3 + 20);
    map_large(8, 100000, 100000); /* as asked for */
    ck_assert_uint_eq(atomic_load(&far.largest), 3200016);
    far_close();
}
END_TEST

START_TEST(items_are_counted_with_their_headers)
{
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, 1), ((512 << 10) - 16) / 32);
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, 16), ((512 << 10) - 16) / 32);
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, 17), ((512 << 10) - 16) / 48);
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, (512 << 10) - 32), 1);
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, (512 << 10) - 33), 1);
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, SIZE_MAX), 1);
    ck_assert_uint_eq(soon__batch_items_within(512 << 10, SIZE_MAX / 2), 1);
}
END_TEST

/* ---- nonsense ---- */

/* A result record, as batch.c writes them. */
struct record {
    uint64_t len;
    int32_t code;
    uint32_t unused;
    char bytes[16];
};

struct forgery {
    const char *what;
    size_t len; /* of all */
    struct record record[6];
    int map;     /* what a map of 4 items in one chunk makes of it */
    unsigned ok; /* results that an imap gives before */
    int imap;    /* what it says then */
};

#define GOOD                               \
    {                                      \
        .len = sizeof(int), .bytes = { 1 } \
    }
#define RECORD sizeof(struct record)

static const struct forgery forgeries[] = {
    {"nothing wrong", 4 * RECORD, {GOOD, GOOD, GOOD, GOOD}, 0, 4, 0},
    {"more than its items", 6 * RECORD, {GOOD, GOOD, GOOD, GOOD, GOOD, GOOD}, -EBADMSG, 4, 0},
    {"fewer than its items", 2 * RECORD, {GOOD, GOOD}, -EBADMSG, 2, -EBADMSG},
    {"nothing at all", 0, {GOOD}, -EBADMSG, 0, -EBADMSG},
    {"half a header", RECORD + 8, {GOOD, GOOD}, -EBADMSG, 1, -EBADMSG},
    {"a header and no bytes", RECORD + 16, {GOOD, GOOD}, -EBADMSG, 1, -EBADMSG},
    {"a length past the end", 4 * RECORD, {GOOD, GOOD, GOOD, {.len = 17}}, -EBADMSG, 3, -EBADMSG},
    {"a length that swallows others", 4 * RECORD, {GOOD, {.len = 80}}, -EMSGSIZE, 2, -EBADMSG},
    {"a length that overflows", 4 * RECORD, {GOOD, {.len = UINT64_MAX}}, -EBADMSG, 1, -EBADMSG},
    {"a length near that", 4 * RECORD, {GOOD, {.len = UINT64_MAX - 15}}, -EBADMSG, 1, -EBADMSG},
    {"a length near that, too", 4 * RECORD, {{.len = UINT64_MAX - 31}}, -EBADMSG, 0, -EBADMSG},
    {"a result of another size", 4 * RECORD, {GOOD, {.len = 5}, GOOD, GOOD}, -EMSGSIZE, 4, 0},
    {"an empty result", 4 * RECORD - 16, {GOOD, GOOD, GOOD, {.len = 0}}, -EMSGSIZE, 4, 0},
    {"a message without an end",
     4 * RECORD,
     {GOOD, GOOD, GOOD, {.len = 16, .code = -EIO, .bytes = "0123456789abcdef"}},
     -EIO,
     3,
     -EIO},
    {"a message of nothing", 4 * RECORD - 16, {GOOD, GOOD, GOOD, {.code = -EIO}}, -EIO, 3, -EIO},
    {"a code that can't be negated",
     4 * RECORD,
     {GOOD, GOOD, GOOD, {.len = 2, .code = INT_MIN, .bytes = "x"}},
     INT_MIN,
     3,
     INT_MIN},
    {"an error, and then more", 4 * RECORD, {GOOD, {.len = 2, .code = 9}, GOOD, GOOD}, 9, 1, -9},
};

/* A worker that answers one chunk with the forgery. */
static void answer(void *data)
{
    const struct forgery *forgery = data;
    struct far_slot *slot;

    while (!(slot = far_begin()))
        bell_await(far.work, 1);
    far_forge(slot, forgery->record, forgery->len);
}

START_TEST(a_map_copes_with_nonsense)
{
    const struct forgery *forgery = &forgeries[_i];
    const soon_map_options options = {.chunk_size = 4};
    struct {
        int before, result[4], after[2];
    } out = {77, {77, 77, 77, 77}, {77, 77}};
    struct thread worker;
    int in[4] = {0};

    ex = far_open(0, SOON_BLOCK);
    thread_start(&worker, answer, (void *)forgery);
    int error = soon_map(ex, task_square, in, sizeof *in, 4, out.result, sizeof(int), &options);
    thread_join(&worker);
    ck_assert_msg(error == forgery->map, "%s: %d", forgery->what, error);
    ck_assert_int_eq(out.before, 77);
    ck_assert_int_eq(out.after[0], 77);
    ck_assert_int_eq(out.after[1], 77);
    for (int i = 0; i < 4; i++)
        ck_assert(out.result[i] == 1 || out.result[i] == 77);
    far_close();
}
END_TEST

/* The same, while another worker is honest about the rest. */
static void answer_first(void *data)
{
    const struct forgery *forgery = data;
    struct far_slot *slot;

    while (!(slot = far_begin()))
        bell_await(far.work, 1);
    far_start(1);
    far_forge(slot, forgery->record, forgery->len);
}

/* One of two chunks: what it brings goes nowhere else. */
START_TEST(nonsense_stays_in_its_chunk)
{
    const soon_map_options options = {.chunk_size = 2, .keep_going = true};
    const struct forgery more = {.len = 4 * RECORD, .record = {GOOD, GOOD, GOOD, GOOD}};
    int in[4] = {5, 6, 7, 8}, out[4] = {0};
    struct thread worker;

    ex = far_open(0, SOON_BLOCK);
    thread_start(&worker, answer_first, (void *)&more);
    int error = soon_map(ex, task_square, in, sizeof *in, 4, out, sizeof *out, &options);
    thread_join(&worker);
    ck_assert_int_eq(error, -EBADMSG);
    bool first = out[0] == 1; /* which of the two it got */
    ck_assert_int_eq(out[first ? 2 : 0], first ? 49 : 25);
    ck_assert_int_eq(out[first ? 3 : 1], first ? 64 : 36);
    far_close();
}
END_TEST

/* All that an imap of one chunk gives: how many results, and then what. */
static int read_all(soon_imap *it, unsigned *ok)
{
    const void *value;
    size_t len;
    int got;

    *ok = 0;
    while ((got = soon_imap_next(it, &value, &len)) == 1) {
        REQUIRE(value && (uintptr_t)value % 16 == 0);
        for (size_t i = 0; i < len; i++) /* all of it may be read */
            REQUIRE(((const volatile char *)value)[i] >= CHAR_MIN);
        ++*ok;
    }
    return got;
}

START_TEST(an_imap_copes_with_nonsense)
{
    const struct forgery *forgery = &forgeries[_i];
    const soon_map_options options = {.chunk_size = 4, .buffer_size = 4};
    soon_error error;
    soon_imap *it;
    unsigned ok;
    int at = 0;

    ex = far_open(0, SOON_BLOCK);
    assert_ok(soon_imap_new(ex, task_square, next_int, &at, &options, &it));
    far_forge(begin(), forgery->record, forgery->len);
    int got = read_all(it, &ok);
    ck_assert_msg(got == forgery->imap, "%s: %d", forgery->what, got);
    ck_assert_msg(ok == forgery->ok, "%s: %u results", forgery->what, ok);
    assert_ok(soon_imap_error(it, &error));
    ck_assert_uint_le(strlen(error.message), 100);
    if (got == -EBADMSG)
        ck_assert_int_eq(error.origin, SOON_FROM_WORKER);
    if (got == -EIO && forgery->len == 4 * RECORD)
        ck_assert_str_eq(error.message, "0123456789abcdef");
    if (got == -EIO && forgery->len < 4 * RECORD)
        ck_assert_str_eq(error.message, "");
    soon_imap_free(it);
    far_close();
}
END_TEST

START_TEST(an_items_error_needs_no_memory)
{
    const soon_map_options options = {.chunk_size = 1, .buffer_size = 1};
    const size_t size[] = {SIZE_MAX};
    struct sizes source = {size, 1, 0};
    const void *value;
    soon_error error;
    soon_imap *it;
    size_t len;

    ex = far_open(0, SOON_BLOCK);
    assert_ok(soon_imap_new(ex, repeat, next_size, &source, &options, &it));
    ck_assert_uint_eq(far_run(), 1);
    soon__inject_after(SOON__INJECT_ALLOC, 1);
    ck_assert_int_eq(soon_imap_next(it, &value, &len), -ERANGE);
    ck_assert(soon__inject_fired(SOON__INJECT_ALLOC));
    assert_ok(soon_imap_error(it, &error));
    ck_assert_str_eq(error.message, strerror(ERANGE));
    soon_imap_free(it);
    far_close();
}
END_TEST

void add_map_cases(Suite *suite)
{
    enum { FORGERIES = sizeof forgeries / sizeof *forgeries };
    TCase *map = test_case(suite, "map"), *nonsense = test_case(suite, "nonsense");

    tcase_add_loop_test(map, a_chunk_brings_results_of_any_size, 1, 8);
    tcase_add_test(map, a_map_runs_elsewhere);
    tcase_add_test(map, a_chunk_whose_results_find_no_buffer_fails);
    tcase_add_test(map, a_chunk_that_is_asked_to_stop_stops);
    tcase_add_test(map, an_automatic_chunk_stays_in_the_caches);
    tcase_add_test(map, items_are_counted_with_their_headers);
    tcase_add_loop_test(nonsense, a_map_copes_with_nonsense, 0, FORGERIES);
    tcase_add_test(nonsense, nonsense_stays_in_its_chunk);
    tcase_add_loop_test(nonsense, an_imap_copes_with_nonsense, 0, FORGERIES);
    tcase_add_test(nonsense, an_items_error_needs_no_memory);
}
