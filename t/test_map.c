/* SPDX-License-Identifier: MIT */
/* soon_map(): order, chunks, errors, timeouts, what it leaves alone. */
#include "backends.h"

#include <sched.h>

/* The fixture of most tests: items 0, 1, 2 ... and room for their results. */
enum { MAX_ITEMS = 3000, UNTOUCHED = 0x5a5a5a5a };

struct board {
    struct rig rig;
    int items[MAX_ITEMS];
    int results[MAX_ITEMS];
};

static struct board *board_up(int i)
{
    struct board *board = malloc(sizeof *board);

    REQUIRE(board);
    for (int k = 0; k < MAX_ITEMS; k++) {
        board->items[k] = k;
        board->results[k] = UNTOUCHED;
    }
    rig_up(&board->rig, i);
    return board;
}

static void board_down(struct board *board)
{
    rig_down(&board->rig);
    free(board);
}

static int map_ints(struct board *board, soon_fn *fn, size_t count, const soon_map_options *options)
{
    return soon_map(board->rig.ex, fn, board->items, sizeof(int), count, board->results,
                    sizeof(int), options);
}

static int int_of(const void *arg, size_t arg_len)
{
    int n;

    REQUIRE(arg_len == sizeof n);
    memcpy(&n, arg, sizeof n);
    return n;
}

/* ---- order and chunks ---- */

START_TEST(results_come_in_the_order_of_the_items_whatever_the_chunks)
{
    static const size_t counts[] = {1, 2, 7, 100, MAX_ITEMS};
    static const size_t chunks[] = {0, 1, 2, 3, 64, MAX_ITEMS, SIZE_MAX};
    struct board *board = board_up(_i);

    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (size_t k = 0; k < sizeof chunks / sizeof chunks[0]; k++) {
            const soon_map_options options = {.chunk_size = chunks[k]};

            memset(board->results, 0x5a, sizeof board->results);
            assert_ok(map_ints(board, task_square, counts[c], &options));
            for (int i = 0; i < MAX_ITEMS; i++)
                EXPECT(board->results[i] == (i < (int)counts[c] ? i * i : UNTOUCHED));
        }
    board_down(board);
}

START_TEST(no_options_are_the_defaults)
{
    struct board *board = board_up(_i);

    assert_ok(map_ints(board, task_square, 100, NULL));
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(board->results[i], i * i);
    board_down(board);
}

START_TEST(no_items_are_no_work)
{
    struct board *board = board_up(_i);

    assert_ok(map_ints(board, task_square, 0, NULL));
    assert_ok(soon_map(board->rig.ex, task_square, NULL, sizeof(int), 0, NULL, sizeof(int), NULL));
    ck_assert_int_eq(board->results[0], UNTOUCHED);
    rig_adds_up(&board->rig, 0);
    board_down(board);
}

START_TEST(each_item_runs_once_and_results_are_optional)
{
    const size_t n = scaled(MAX_ITEMS);
    shared_count *counts = shared_new(n * sizeof *counts), **items = malloc(n * sizeof *items);
    struct rig rig;

    REQUIRE(items);
    for (size_t i = 0; i < n; i++)
        items[i] = &counts[i];
    rig_up(&rig, _i);
    assert_ok(soon_map(rig.ex, task_count, items, sizeof *items, n, NULL, 0, NULL));
    for (size_t i = 0; i < n; i++)
        EXPECT(counts[i] == 1);
    rig_down(&rig);
    free(items);
    shared_free(counts, n * sizeof *counts);
}

/* Result: whether the argument is where it should be. */
static int task_aligned(soon_call *call, const void *arg, size_t arg_len)
{
    const char *bytes = arg;
    char good = (uintptr_t)arg % 16 == 0;

    for (size_t i = 1; i < arg_len; i++)
        good &= bytes[i] == bytes[0];
    return soon_return(call, &good, sizeof good);
}

START_TEST(an_item_of_any_size_is_aligned_to_16_in_its_chunk)
{
    static const size_t sizes[] = {1, 3, 8, 15, 16, 17, 48, 100, 4097};
    enum { N = 40 };
    char *items = malloc(N * 4097), good[N];
    struct rig rig;

    REQUIRE(items);
    rig_up(&rig, _i);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t i = 0; i < N; i++)
            memset(items + i * sizes[s], (int)i, sizes[s]);
        memset(good, 0, sizeof good);
        assert_ok(soon_map(rig.ex, task_aligned, items, sizes[s], N, good, 1,
                           &(soon_map_options){.chunk_size = 7}));
        for (int i = 0; i < N; i++)
            ck_assert_int_eq(good[i], 1);
    }
    rig_down(&rig);
    free(items);
}

START_TEST(large_items_and_results_pass)
{
    enum { N = 3, LARGE = 1 << 20 };
    char *items = malloc(N * LARGE), *results = calloc(N, LARGE);
    struct rig rig;

    REQUIRE(items && results);
    for (size_t i = 0; i < N * LARGE; i++)
        items[i] = (char)(i * 31 + i / 4096);
    rig_up(&rig, _i);
    assert_ok(soon_map(rig.ex, task_echo, items, LARGE, N, results, LARGE, NULL));
    ck_assert_msg(memcmp(items, results, N * LARGE) == 0, "the bytes differ");
    rig_down(&rig);
    free(items);
    free(results);
}

/* ---- errors ---- */

static int task_fail_on_fives(soon_call *call, const void *arg, size_t arg_len)
{
    int n = int_of(arg, arg_len);

    if (n % 10 == 5)
        return soon_fail(call, n == 25 ? 25 : -(1000 + n), "item %d", n);
    n *= n;
    return soon_return(call, &n, sizeof n);
}

START_TEST(with_keep_going_an_error_costs_only_its_item)
{
    static const size_t chunks[] = {0, 1, 7, 100};
    struct board *board = board_up(_i);

    for (size_t k = 0; k < sizeof chunks / sizeof chunks[0]; k++) {
        const soon_map_options options = {.chunk_size = chunks[k], .keep_going = true};

        memset(board->results, 0x5a, sizeof board->results);
        ck_assert_int_eq(map_ints(board, task_fail_on_fives, 100, &options), -1005);
        for (int i = 0; i < 100; i++)
            ck_assert_int_eq(board->results[i], i % 10 == 5 ? UNTOUCHED : i * i);
    }
    board_down(board);
}

START_TEST(an_error_keeps_its_sign)
{
    struct board *board = board_up(_i);

    ck_assert_int_eq(soon_map(board->rig.ex, task_fail_on_fives, board->items + 20, sizeof(int), 9,
                              board->results, sizeof(int), NULL),
                     25);
    board_down(board);
}

struct counted_item {
    shared_count *ran; /* one for each item */
    int index, fails_from;
};

static int task_counted(soon_call *call, const void *arg, size_t arg_len)
{
    struct counted_item item;

    REQUIRE(arg_len == sizeof item);
    memcpy(&item, arg, sizeof item);
    atomic_fetch_add(&item.ran[item.index], 1);
    if (item.index >= item.fails_from)
        return soon_fail(call, -(100 + item.index), "item %d", item.index);
    return 0;
}

enum { COUNTED = 200, FAILS_FROM = 5 };

/* Maps over items of which all from FAILS_FROM on fail, with ran[] telling
 * which of them ran. */
static int map_counted(soon_executor *ex, shared_count *ran, size_t chunk_size)
{
    const soon_map_options options = {.chunk_size = chunk_size};
    struct counted_item items[COUNTED];

    for (int i = 0; i < COUNTED; i++) {
        items[i] = (struct counted_item){ran, i, FAILS_FROM};
        ran[i] = 0;
    }
    return soon_map(ex, task_counted, items, sizeof items[0], COUNTED, NULL, 0, &options);
}

/* In one chunk the order is certain: nothing runs after the failing item. */
START_TEST(without_keep_going_the_rest_of_the_chunk_does_not_run)
{
    shared_count *ran = shared_new(COUNTED * sizeof *ran);
    struct rig rig;

    rig_up(&rig, _i);
    ck_assert_int_eq(map_counted(rig.ex, ran, COUNTED), -(100 + FAILS_FROM));
    for (int i = 0; i < COUNTED; i++)
        ck_assert_uint_eq(ran[i], i <= FAILS_FROM ? 1 : 0);
    rig_down(&rig);
    shared_free(ran, COUNTED * sizeof *ran);
}

/* Which of them run is a matter of speed. */
START_TEST(the_error_is_that_of_the_lowest_index_that_ran)
{
    shared_count *ran = shared_new(COUNTED * sizeof *ran);
    struct rig rig;

    rig_up(&rig, _i);
    for (size_t round = scaled(50); round > 0; round--) {
        int error = map_counted(rig.ex, ran, 1 + round % 4), lowest = FAILS_FROM;

        while (lowest < COUNTED && ran[lowest] == 0)
            lowest++;
        ck_assert_int_eq(error, -(100 + lowest));
    }
    rig_down(&rig);
    shared_free(ran, COUNTED * sizeof *ran);
}

struct pair_item {
    struct bell started;
    shared_count *stopped;
    bool fails;
};

/* One fails once the other runs; the other runs until it is asked to stop,
 * then takes its time. */
static int task_pair(soon_call *call, const void *arg, size_t arg_len)
{
    struct pair_item item;

    (void)arg_len;
    memcpy(&item, arg, sizeof item);
    if (item.fails) {
        bell_await(item.started, 1);
        return -EIO;
    }
    bell_ring(item.started);
    while (!soon_call_cancelled(call))
        sched_yield();
    sleep_ns(SOON_MS(5));
    atomic_fetch_add(item.stopped, 1);
    return 0;
}

START_TEST(what_runs_when_an_item_fails_is_asked_to_stop_and_waited_for)
{
    shared_count *stopped = shared_new(sizeof *stopped);
    const struct bell started = bell_make();
    const struct pair_item items[2] = {{started, stopped, false}, {started, stopped, true}};
    struct rig rig;

    rig_up(&rig, _i);
    ck_assert_int_eq(soon_map(rig.ex, task_pair, items, sizeof items[0], 2, NULL, 0,
                              &(soon_map_options){.chunk_size = 1}),
                     -EIO);
    ck_assert_uint_eq(*stopped, 1);
    rig_down(&rig);
    bell_free(started);
    shared_free(stopped, sizeof *stopped);
}

static int task_result_of_length(soon_call *call, const void *arg, size_t arg_len)
{
    static const char bytes[8] = "1234567";

    return soon_return(call, bytes, (size_t)int_of(arg, arg_len));
}

START_TEST(a_result_of_another_length_is_that_items_error)
{
    const int items[] = {4, 4, 5, 4, 0, 3, 8};
    struct rig rig;
    char results[7][4];

    rig_up(&rig, _i);
    memset(results, 'x', sizeof results);
    ck_assert_int_eq(soon_map(rig.ex, task_result_of_length, items, sizeof(int), 7, results, 4,
                              &(soon_map_options){.keep_going = true}),
                     -EMSGSIZE);
    for (int i = 0; i < 7; i++)
        ck_assert_msg(memcmp(results[i], items[i] == 4 ? "1234" : "xxxx", 4) == 0, "item %d", i);
    ck_assert_int_eq(soon_map(rig.ex, task_result_of_length, items, sizeof(int), 1, NULL, 0, NULL),
                     -EMSGSIZE);
    rig_down(&rig);
}

START_TEST(bad_input_is_refused)
{
    struct board *board = board_up(_i);
    soon_executor *ex = board->rig.ex;
    int *items = board->items, *results = board->results;
    const size_t size = sizeof(int);

    ck_assert_int_eq(soon_map(NULL, task_square, items, size, 1, results, size, NULL), -EINVAL);
    ck_assert_int_eq(soon_map(ex, NULL, items, size, 1, results, size, NULL), -EINVAL);
    ck_assert_int_eq(soon_map(ex, task_square, NULL, size, 1, results, size, NULL), -EINVAL);
    ck_assert_int_eq(soon_map(ex, task_square, items, 0, 1, results, size, NULL), -EINVAL);
    ck_assert_int_eq(soon_map(ex, task_square, items, size, 1, NULL, size, NULL), -EINVAL);
    ck_assert_int_eq(soon_map(ex, task_square, items, size, SIZE_MAX / 2, results, size, NULL),
                     -EINVAL);
    ck_assert_int_eq(soon_map(ex, task_square, items, 1, SIZE_MAX / 2, results, size, NULL),
                     -EINVAL);
    ck_assert_int_eq(soon_map(ex, task_square, items, size, 1, results, size,
                              &(soon_map_options){.reserved = {1}}),
                     -EINVAL);
    ck_assert_int_eq(results[0], UNTOUCHED);
    rig_adds_up(&board->rig, 0);
    board_down(board);
}

START_TEST(a_shut_down_executor_is_refused)
{
    struct board *board = board_up(_i);

    assert_ok(soon_shutdown(board->rig.ex, SOON_FOREVER, 0));
    ck_assert_int_eq(map_ints(board, task_square, 10, NULL), -ESHUTDOWN);
    ck_assert_int_eq(board->results[0], UNTOUCHED);
    board_down(board);
}

/* ---- time ---- */

struct held_item {
    struct hold hold;
    shared_count *sum; /* of the values that the tasks found in their items */
    int value;
};

static int task_held(soon_call *call, const void *arg, size_t arg_len)
{
    struct held_item item;

    REQUIRE(arg_len == sizeof item);
    memcpy(&item, arg, sizeof item);
    bell_ring(item.hold.started);
    gate_pass(item.hold.release);
    memcpy(&item, arg, sizeof item);
    atomic_fetch_add(item.sum, (unsigned)item.value);
    return soon_return(call, &item.value, sizeof item.value);
}

/* Times out while every worker is inside a task; afterwards the items are
 * gone and the results are somebody else's memory. */
START_TEST(after_a_timeout_the_callers_memory_is_left_alone)
{
    enum { N = 20 };
    shared_count *sum = shared_new(sizeof *sum);
    struct hold hold = hold_make();
    struct held_item *items = calloc(N, sizeof *items);
    int *results = malloc(N * sizeof *results);
    struct rig rig;
    soon_ns start = now_ns();

    REQUIRE(items && results);
    for (int i = 0; i < N; i++)
        items[i] = (struct held_item){hold, sum, 1000};
    rig_up(&rig, _i);
    ck_assert_int_eq(soon_map(rig.ex, task_held, items, sizeof *items, N, results, sizeof *results,
                              &(soon_map_options){.chunk_size = 1, .timeout = SOON_MS(20)}),
                     -ETIMEDOUT);
    ck_assert_int_ge(now_ns() - start, SOON_MS(20));
    /* Poisoned by valgrind and the address sanitizer from here on. */
    free(items);
    free(results);
    gate_open(hold.release);
    assert_ok(soon_shutdown(rig.ex, SOON_FOREVER, 0));
    ck_assert_uint_le(*sum, 1000 * rig.backend->workers);
    ck_assert_uint_eq(*sum % 1000, 0);
    rig_down(&rig);
    hold_free(&hold);
    shared_free(sum, sizeof *sum);
}

static int task_wait_for_stop(soon_call *call, const void *arg, size_t arg_len)
{
    (void)arg;
    (void)arg_len;
    while (!soon_call_cancelled(call))
        sched_yield();
    return 0;
}

START_TEST(past_its_timeout_what_runs_is_asked_to_stop)
{
    struct board *board = board_up(_i);
    const soon_map_options options = {.timeout = SOON_MS(10)};

    ck_assert_int_eq(map_ints(board, task_wait_for_stop, 100, &options), -ETIMEDOUT);
    board_down(board);
}

START_TEST(a_timeout_that_is_not_reached_changes_nothing)
{
    struct board *board = board_up(_i);
    const soon_map_options options = {.timeout = SOON_SECONDS(3600)};

    assert_ok(map_ints(board, task_square, 100, &options));
    ck_assert_int_eq(board->results[99], 9801);
    board_down(board);
}

/* ---- in odd places ---- */

static int task_map_in_task(soon_call *call, const void *arg, size_t arg_len)
{
    soon_executor *ex;
    int items[50], results[50], sum = 0, error;

    (void)arg_len;
    memcpy(&ex, arg, sizeof ex);
    for (int i = 0; i < 50; i++)
        items[i] = i;
    error = soon_map(ex, task_square, items, sizeof(int), 50, results, sizeof(int), NULL);
    if (error)
        return error;
    for (int i = 0; i < 50; i++)
        sum += results[i];
    return soon_return(call, &sum, sizeof sum);
}

START_TEST(a_task_may_map_over_its_own_executor)
{
    struct rig rig;
    soon_future *futures[4];

    rig_up(&rig, _i);
    for (int i = 0; i < 4; i++)
        futures[i] = submit(rig.ex, task_map_in_task, &rig.ex, sizeof rig.ex);
    for (int i = 0; i < 4; i++)
        assert_result_int(futures[i], 40425);
    unref_all(futures, 4);
    rig_down(&rig);
}

START_TEST(a_bounded_queue_takes_a_map_of_any_length)
{
    const soon_thread_pool_options options = {
        .max_workers = 2, .max_pending = 1, .overflow = _i ? SOON_CALLER_RUNS : SOON_BLOCK};
    static int items[MAX_ITEMS], results[MAX_ITEMS];
    soon_executor *ex = NULL;

    for (int i = 0; i < MAX_ITEMS; i++)
        items[i] = i;
    assert_ok(soon_thread_pool_new(&options, &ex));
    assert_ok(soon_map(ex, task_square, items, sizeof(int), MAX_ITEMS, results, sizeof(int),
                       &(soon_map_options){.chunk_size = 10}));
    for (int i = 0; i < MAX_ITEMS; i++)
        EXPECT(results[i] == i * i);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("map");
    TCase *order = test_case(suite, "order");
    TCase *errors = test_case(suite, "errors");
    TCase *time = test_case(suite, "time");
    TCase *odd = test_case(suite, "odd places");

    add_over_backends(order, results_come_in_the_order_of_the_items_whatever_the_chunks, 0);
    add_over_backends(order, no_options_are_the_defaults, 0);
    add_over_backends(order, no_items_are_no_work, 0);
    add_over_backends(order, each_item_runs_once_and_results_are_optional, 0);
    add_over_backends(order, an_item_of_any_size_is_aligned_to_16_in_its_chunk, 0);
    add_over_backends(order, large_items_and_results_pass, 0);

    add_over_backends(errors, with_keep_going_an_error_costs_only_its_item, 0);
    add_over_backends(errors, an_error_keeps_its_sign, 0);
    add_over_backends(errors, without_keep_going_the_rest_of_the_chunk_does_not_run, 0);
    add_over_backends(errors, the_error_is_that_of_the_lowest_index_that_ran, 0);
    add_over_backends(errors, what_runs_when_an_item_fails_is_asked_to_stop_and_waited_for,
                      TRAIT_PAIR);
    add_over_backends(errors, a_result_of_another_length_is_that_items_error, 0);
    add_over_backends(errors, bad_input_is_refused, 0);
    add_over_backends(errors, a_shut_down_executor_is_refused, 0);

    add_over_backends(time, after_a_timeout_the_callers_memory_is_left_alone, TRAIT_DEFERS);
    add_over_backends(time, past_its_timeout_what_runs_is_asked_to_stop, TRAIT_DEFERS);
    add_over_backends(time, a_timeout_that_is_not_reached_changes_nothing, 0);

    add_over_backends(odd, a_task_may_map_over_its_own_executor, TRAIT_LOCAL);
    tcase_add_loop_test(odd, a_bounded_queue_takes_a_map_of_any_length, 0, 2);
    return suite;
}
