/* SPDX-License-Identifier: MIT */
/*
 * What waits for a worker of a pool: order, ageing, memory.
 */
#include "support.h"

#include "core/chain.h"
#include "core/future.h"
#include "core/future_cache.h"
#include "os/inject.h"
#include "thread_pool/backlog.h"
#include "thread_pool/pool.h"

#include <errno.h>
#include <malloc.h>

enum { MANY = 5000, SHARE = 128, AGE = 64 };

static struct soon__backlog backlog;
static struct soon__inbox inbox;
static soon_future *made[MANY];
static size_t n_made;

static void begin(void)
{
    backlog = (struct soon__backlog){.first = NULL};
    soon__inbox_init(&inbox);
    n_made = 0;
}

static void end(void)
{
    soon__backlog_free(&backlog);
    while (n_made)
        soon_future_unref(made[--n_made]);
}

static soon_future *make(int priority)
{
    soon_future *f = promise();

    f->priority = (int8_t)priority;
    return made[n_made++] = f;
}

static soon_future *push(int priority)
{
    soon_future *f = make(priority);

    EXPECT(soon__backlog_reserve(&backlog, 1) == 0);
    soon__backlog_push(&backlog, f);
    return f;
}

static soon_future *take(void)
{
    soon_future *f = NULL;

    EXPECT(soon__backlog_take(&backlog, &inbox, &f, 1) == (f != NULL));
    return f;
}

START_TEST(nothing_comes_out_of_nothing)
{
    begin();
    ck_assert_ptr_null(take());
    ck_assert_uint_eq(soon__backlog_count(&backlog), 0);
    end();
}
END_TEST

/* Over many blocks, in shares of every size, while more comes in. */
START_TEST(the_order_is_kept)
{
    soon_future *share[SHARE];
    size_t out = 0;

    begin();
    for (size_t size = 1; out < MANY; size = size % SHARE + 1) {
        for (size_t i = 0; i < 2 * size && n_made < MANY; i++)
            push(SOON_PRIORITY_NORMAL);
        size_t n = soon__backlog_take(&backlog, &inbox, share, size);
        EXPECT(n == size || n == MANY - out);
        for (size_t i = 0; i < n; i++)
            EXPECT(share[i] == made[out++]);
        EXPECT(soon__backlog_count(&backlog) == n_made - out);
    }
    ck_assert_ptr_null(take());
    end();
}
END_TEST

START_TEST(what_is_in_the_inbox_is_newer)
{
    soon_future *share[SHARE];

    begin();
    push(SOON_PRIORITY_NORMAL);
    ck_assert(soon__inbox_push(&inbox, make(SOON_PRIORITY_NORMAL)));
    ck_assert_uint_eq(soon__backlog_take(&backlog, &inbox, share, SHARE), 2);
    ck_assert(share[0] == made[0] && share[1] == made[1]);
    ck_assert(soon__inbox_push(&inbox, make(SOON_PRIORITY_NORMAL)));
    assert_ok(soon__backlog_reserve(&backlog, SOON__INBOX_SIZE));
    soon__backlog_fetch(&backlog, &inbox);
    push(SOON_PRIORITY_NORMAL);
    ck_assert_uint_eq(soon__backlog_take(&backlog, &inbox, share, SHARE), 2);
    ck_assert(share[0] == made[2] && share[1] == made[3]);
    end();
}
END_TEST

/* Those from first on, linked. */
static soon_future *chain_from(size_t first)
{
    for (size_t i = first; i + 1 < n_made; i++)
        soon__link(made[i], made[i + 1]);
    return made[first];
}

static void append(size_t first)
{
    struct soon__parcel parcel;

    EXPECT(soon__parcel_pack(&parcel, chain_from(first)));
    soon__backlog_append(&backlog, &parcel);
}

/* Blocks that are not full are in the middle then; and first, and last. */
START_TEST(parcels_keep_the_order)
{
    static const size_t parcels[] = {1, 700, 3, 1021, 510, 2};
    soon_future *share[SHARE];
    size_t out = 0, size = 1, n;

    begin();
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof parcels / sizeof *parcels; i++) {
            size_t first = n_made;
            while (n_made < first + parcels[(i + round) % 6])
                make(SOON_PRIORITY_NORMAL);
            append(first);
            if (i % 2)
                push(SOON_PRIORITY_NORMAL);
            ck_assert(soon__inbox_push(&inbox, make(SOON_PRIORITY_NORMAL)));
            assert_ok(soon__backlog_reserve(&backlog, SOON__INBOX_SIZE));
            soon__backlog_fetch(&backlog, &inbox);
        }
        ck_assert_uint_eq(soon__backlog_count(&backlog), n_made - out);
        for (; (n = soon__backlog_take(&backlog, &inbox, share, size)); size = size % SHARE + 1)
            for (size_t i = 0; i < n; i++)
                EXPECT(share[i] == made[out++]);
        ck_assert_uint_eq(out, n_made);
    }
    ck_assert_uint_le(soon__backlog_memory(&backlog), 4 * 4096);
    end();
}
END_TEST

static size_t sweep_all(void)
{
    size_t swept = 0;

    do
        for (soon_future *f = soon__backlog_sweep(&backlog); f; f = soon_future_next(f), swept++)
            EXPECT(soon_future_cancelled(f));
    while (backlog.to_sweep);
    return swept;
}

/* What is left of them after a sweep is in order, too. */
START_TEST(parcels_are_swept)
{
    size_t left = 0;

    begin();
    for (size_t n = 10; n < 1500; n += 99) {
        size_t first = n_made;
        while (n_made < first + n && n_made < MANY)
            make(SOON_PRIORITY_NORMAL);
        if (n_made > first)
            append(first);
    }
    for (size_t i = 0; i < 5; i++)
        EXPECT(take() == made[i]);
    for (size_t i = 0; i < n_made; i++)
        if (i % 3)
            soon_future_cancel(made[i]);
    sweep_all();
    for (size_t i = 6; i < n_made; i += 3, left++) /* the first five are out */
        EXPECT(take() == made[i]);
    ck_assert_uint_gt(left, MANY / 4);
    ck_assert_ptr_null(take());
    end();
}
END_TEST

/* Neither one with another priority, nor without memory; then the chain is as before. */
START_TEST(what_can_not_be_packed_is_left_alone)
{
    struct soon__parcel parcel;

    begin();
    while (n_made < 600)
        make(SOON_PRIORITY_NORMAL);
    soon_future *chain = chain_from(0);
    soon__inject_after(SOON__INJECT_ALLOC, 2);
    ck_assert(!soon__parcel_pack(&parcel, chain));
    soon__inject_after(SOON__INJECT_ALLOC, 0);
    ck_assert(parcel.n == 0 && !parcel.first);
    made[599]->priority = SOON_PRIORITY_HIGH;
    ck_assert(!soon__parcel_pack(&parcel, chain));
    ck_assert(parcel.n == 0 && !parcel.first);
    for (size_t i = 0; i < n_made; i++, chain = soon_future_next(chain))
        EXPECT(chain == made[i]);
    ck_assert_ptr_null(chain);
    end();
}
END_TEST

START_TEST(an_inbox_is_full_and_then_has_room_again)
{
    static soon_future *taken[SOON__INBOX_SIZE];

    begin();
    for (size_t round = 0; round < 3; round++) {
        size_t first = n_made;
        for (int i = 0; i < SOON__INBOX_SIZE; i++)
            EXPECT(soon__inbox_push(&inbox, make(SOON_PRIORITY_NORMAL)));
        EXPECT(!soon__inbox_push(&inbox, made[0]));
        for (size_t some = 1, n; first < n_made; first += n, some = 2 * some + round) {
            n = soon__inbox_take(&inbox, taken, some);
            EXPECT(n == some || n == n_made - first);
            EXPECT(memcmp(taken, made + first, n * sizeof *taken) == 0);
        }
        EXPECT(soon__inbox_empty(&inbox) && !soon__inbox_take(&inbox, taken, 1));
    }
    end();
}
END_TEST

START_TEST(higher_priority_goes_first)
{
    begin();
    soon_future *low = push(SOON_PRIORITY_LOW), *normal = push(SOON_PRIORITY_NORMAL);
    soon_future *high = push(SOON_PRIORITY_HIGH);
    ck_assert_ptr_eq(take(), high);
    ck_assert_ptr_eq(take(), normal);
    ck_assert_ptr_eq(take(), low);
    end();
}
END_TEST

/* A lane that is passed over gets a turn in AGE + 1, also behind shares, and
 * also if what is passed over is in the inbox. */
START_TEST(lower_priority_gets_a_turn)
{
    soon_future *share[SHARE];
    size_t before = 0, n;

    begin();
    for (int i = 0; i < 10 * AGE; i++)
        push(SOON_PRIORITY_HIGH);
    ck_assert(soon__inbox_push(&inbox, make(SOON_PRIORITY_NORMAL)));
    for (; take()->priority == SOON_PRIORITY_HIGH; before++)
        ;
    ck_assert_uint_eq(before, AGE);
    while (take())
        ;
    soon_future *low = push(SOON_PRIORITY_LOW);
    for (int i = 0; i < 10 * AGE; i++)
        push(SOON_PRIORITY_NORMAL);
    before = 0;
    while ((n = soon__backlog_take(&backlog, &inbox, share, SHARE)) && share[0] != low)
        before += n;
    ck_assert_uint_eq(before, AGE);
    end();
}
END_TEST

START_TEST(a_sweep_leaves_what_is_pending)
{
    static const int priorities[] = {SOON_PRIORITY_NORMAL, SOON_PRIORITY_NORMAL, SOON_PRIORITY_HIGH,
                                     SOON_PRIORITY_NORMAL, SOON_PRIORITY_LOW};
    size_t left = 0;

    begin();
    for (size_t i = 0; i < MANY; i++)
        push(priorities[i % 5]);
    for (size_t i = 0; i < 100; i++) /* the first block has been begun */
        EXPECT(take());
    for (size_t i = 0; i < MANY; i++)
        if (i % 7 < 5)
            soon_future_cancel(made[i]);
    size_t count = soon__backlog_count(&backlog), swept = sweep_all();
    ck_assert_uint_gt(swept, MANY / 2);
    ck_assert_uint_eq(soon__backlog_count(&backlog), count - swept);
    ck_assert_uint_le(soon__backlog_memory(&backlog), (3 + 2) * 4096);
    soon_future *last[3] = {NULL};
    for (soon_future *f; (f = take()); left++) {
        EXPECT(!soon_future_cancelled(f));
        soon_future **before = &last[f->priority + 1];
        for (size_t i = 0; *before && made[i] != *before; i++)
            EXPECT(made[i] != f); /* in order */
        *before = f;
    }
    ck_assert_uint_eq(left, count - swept);
    end();
}
END_TEST

static size_t index_of(const soon_future *f)
{
    size_t i = 0;

    while (i < n_made && made[i] != f)
        i++;
    EXPECT(i < n_made);
    return i;
}

/* The first that comes out has index from or a greater one; from which on the rest have. */
static size_t take_some(size_t n, size_t from, unsigned char *out)
{
    for (soon_future *f; n && (f = take()); n--) {
        size_t i = index_of(f);
        EXPECT(i >= from);
        out[i]++;
        from = i + 1;
    }
    return from;
}

/* How many are taken, and pushed, between two steps: so many that it never gets ahead,
 * few, or none. */
static const size_t between[][2] = {{600, 0}, {1500, 300}, {70, 90}, {0, 450}, {0, 0}, {5000, 1}};

START_TEST(others_take_and_push_during_a_sweep)
{
    unsigned char out[MANY] = {0};
    size_t from = 0, steps = 0;

    begin();
    while (n_made < 4000) /* in eight blocks */
        push(SOON_PRIORITY_NORMAL);
    from = take_some(77, from, out);
    for (size_t i = 0; i < n_made; i++)
        if (i % 11 && !(i / 510 % 3 == 1 && i % 11 < 10)) /* some blocks have room for others */
            soon_future_cancel(made[i]);
    do {
        for (soon_future *f = soon__backlog_sweep(&backlog); f; f = soon_future_next(f)) {
            EXPECT(soon_future_cancelled(f));
            out[index_of(f)]++;
        }
        from = take_some(between[_i][0], from, out);
        for (size_t i = 0; i < between[_i][1] && n_made < MANY - 100; i++)
            push(SOON_PRIORITY_NORMAL);
        steps++;
    } while (backlog.to_sweep);
    ck_assert_uint_le(steps, 2); /* and no more, whatever has come in */
    if (!between[_i][0])         /* all that were there when it began have been looked at */
        for (size_t i = 77; i < 4000; i++)
            EXPECT(out[i] == soon_future_cancelled(made[i]));
    for (int i = 0; i < 100; i++) /* behind what the sweep has left */
        push(SOON_PRIORITY_NORMAL);
    take_some(MANY, from, out);
    for (size_t i = 0; i < n_made; i++)
        EXPECT(out[i] == 1);
    ck_assert_uint_eq(soon__backlog_count(&backlog), 0);
    end();
}
END_TEST

START_TEST(an_empty_one_keeps_little_memory)
{
    begin();
    for (size_t i = 0; i < MANY; i++)
        push(SOON_PRIORITY_NORMAL);
    ck_assert_uint_ge(soon__backlog_memory(&backlog), MANY * sizeof(void *));
    while (take())
        ;
    ck_assert_uint_le(soon__backlog_memory(&backlog), 4 * 4096);
    end();
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
    begin();
    soon_future *f = push(SOON_PRIORITY_NORMAL);
    soon__inject_after(SOON__INJECT_ALLOC, 2);
    int error = soon__backlog_reserve(&backlog, MANY);
    soon__inject_after(SOON__INJECT_ALLOC, 0);
    ck_assert_int_eq(error, -ENOMEM);
    ck_assert_ptr_eq(take(), f);
    end();
}
END_TEST

enum { LATE = 600 };

static void submit_too_late(soon_executor *ex)
{
    soon_task tasks[LATE];
    soon_future *futures[LATE] = {NULL};

    for (int i = 0; i < LATE; i++)
        tasks[i] = (soon_task){.fn = task_nothing};
    ck_assert_int_eq(soon_submit_many(ex, tasks, LATE, futures), -ESHUTDOWN);
    for (int i = 0; i < LATE; i++)
        ck_assert_ptr_null(futures[i]);
}

/* As when the pool is closed after the submitter has seen it open, and has packed what it
 * brings. */
START_TEST(a_parcel_that_comes_too_late_leaves_nothing)
{
    soon_executor *ex = NULL;
    soon_stats stats;

    soon__future_cache_off = true;
    assert_ok(soon_thread_pool_new(NULL, &ex));
    struct pool *pool = (struct pool *)ex;
    atomic_store(&pool->ending, POOL_CLOSED);
    submit_too_late(ex);
    size_t before = mallinfo2().uordblks; /* of a memory checker 0 */
    submit_too_late(ex);
    ck_assert_uint_eq(mallinfo2().uordblks, before);
    assert_ok(soon_executor_stats(ex, &stats));
    ck_assert_uint_eq(stats.pending, 0);
    atomic_store(&pool->ending, POOL_OPEN);
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("backlog");
    TCase *tests = test_case(suite, "backlog");

    tcase_add_test(tests, nothing_comes_out_of_nothing);
    tcase_add_test(tests, the_order_is_kept);
    tcase_add_test(tests, what_is_in_the_inbox_is_newer);
    tcase_add_test(tests, an_inbox_is_full_and_then_has_room_again);
    tcase_add_test(tests, parcels_keep_the_order);
    tcase_add_test(tests, parcels_are_swept);
    tcase_add_test(tests, what_can_not_be_packed_is_left_alone);
    tcase_add_test(tests, a_parcel_that_comes_too_late_leaves_nothing);
    tcase_add_test(tests, higher_priority_goes_first);
    tcase_add_test(tests, lower_priority_gets_a_turn);
    tcase_add_test(tests, a_sweep_leaves_what_is_pending);
    tcase_add_loop_test(tests, others_take_and_push_during_a_sweep, 0, 6);
    tcase_add_test(tests, an_empty_one_keeps_little_memory);
    tcase_add_test(tests, without_memory_nothing_changes);
    return suite;
}
