/* SPDX-License-Identifier: MIT */
/*
 * What lies under everything: the clock, futexes, the lock made of one, and
 * the event descriptor.
 */
#include "support.h"

#include "os/clock.h"
#include "os/event.h"
#include "os/futex.h"
#include "os/lock.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

/* ---- the clock ---- */

START_TEST(the_clock_is_monotonic_and_never_zero)
{
    soon_ns before = soon__now();

    EXPECT(before > 0);
    for (size_t i = 0; i < scaled(100000); i++) {
        soon_ns now = soon__now();

        EXPECT(now >= before);
        before = now;
    }
    /* CLOCK_MONOTONIC, as promised to users: the same as ours. */
    ck_assert_int_le(soon__now(), now_ns());
}
END_TEST

START_TEST(a_deadline_never_overflows)
{
    soon_ns before = soon__now(), deadline = soon__deadline(SOON_SECONDS(1));

    ck_assert_int_ge(deadline, before + SOON_SECONDS(1));
    ck_assert_int_le(deadline, soon__now() + SOON_SECONDS(1));
    ck_assert_int_le(soon__deadline(0), soon__now());
    ck_assert_int_eq(soon__deadline(SOON_FOREVER), SOON__NEVER);
    ck_assert_int_eq(soon__deadline(INT64_MIN), SOON__NEVER);
    ck_assert_int_eq(soon__deadline(INT64_MAX), SOON__NEVER);
    ck_assert_int_gt(soon__deadline(INT64_MAX - soon__now() - SOON_SECONDS(3600)), before);
}
END_TEST

/* ---- futexes ---- */

START_TEST(a_wait_for_a_word_that_differs_returns)
{
    soon__futex word = 1;

    assert_ok(soon__futex_wait(&word, 0, SOON__NEVER));
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline_and_not_before)
{
    soon__futex word = 0;
    soon_ns deadline = soon__deadline(SOON_MS(20));
    int error;

    while ((error = soon__futex_wait(&word, 0, deadline)) == 0)
        EXPECT(soon__now() < deadline + SOON_SECONDS(30));
    ck_assert_int_eq(error, -ETIMEDOUT);
    ck_assert_int_ge(soon__now(), deadline);
}
END_TEST

START_TEST(a_deadline_in_the_past_does_not_wait)
{
    soon__futex word = 0;

    ck_assert_int_eq(soon__futex_wait(&word, 0, 1), -ETIMEDOUT);
    ck_assert_int_eq(soon__futex_wait(&word, 0, soon__now() - 1), -ETIMEDOUT);
}
END_TEST

static void sleep_while_zero(void *data)
{
    soon__futex *word = data;

    while (atomic_load(word) == 0)
        REQUIRE(soon__futex_wait(word, 0, SOON__NEVER) == 0);
}

START_TEST(wake_wakes_all_that_sleep)
{
    soon__futex word = 0;
    struct thread threads[3];

    for (size_t i = 0; i < 3; i++)
        thread_start(&threads[i], sleep_while_zero, &word);
    for (size_t i = 0; i < 3; i++)
        thread_await_sleep(&threads[i]);
    atomic_store(&word, 1);
    soon__futex_wake(&word, 3);
    for (size_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
}
END_TEST

START_TEST(a_wake_that_nobody_waits_for_does_nothing)
{
    soon__futex word = 7;

    soon__futex_wake(&word, 1);
    soon__futex_wake(&word, INT32_MAX);
    ck_assert_uint_eq(atomic_load(&word), 7);
}
END_TEST

/* Two threads hand a ball back and forth: a wake-up lost once hangs them. */
struct ball {
    soon__futex turn;
    size_t passes;
};

static void play(struct ball *ball, uint32_t me)
{
    for (size_t i = 0; i < ball->passes; i++) {
        uint32_t turn;

        while ((turn = atomic_load(&ball->turn)) != me)
            REQUIRE(soon__futex_wait(&ball->turn, turn, SOON__NEVER) == 0);
        atomic_store(&ball->turn, 1 - me);
        soon__futex_wake(&ball->turn, 1);
    }
}

static void play_second(void *data)
{
    play(data, 1);
}

START_TEST(no_wake_is_lost)
{
    struct ball ball = {.passes = scaled(20000)};
    struct thread other;

    thread_start(&other, play_second, &ball);
    play(&ball, 0);
    thread_join(&other);
}
END_TEST

/* ---- the lock ---- */

struct guarded {
    soon__lock lock;
    unsigned long plain; /* under lock; a race here is also the sanitizer's to see */
    size_t rounds;
};

static void add_under_lock(void *data)
{
    struct guarded *g = data;

    for (size_t i = 0; i < g->rounds; i++) {
        soon__lock_acquire(&g->lock);
        unsigned long seen = g->plain;
        if (i % 64 == 0)
            sched_yield(); /* so that the others find it held, also on one CPU */
        g->plain = seen + 1;
        soon__lock_release(&g->lock);
    }
}

START_TEST(one_thread_at_a_time_holds_the_lock)
{
    struct guarded g = {.rounds = scaled(50000)};
    struct thread threads[4];

    for (size_t i = 0; i < 4; i++)
        thread_start(&threads[i], add_under_lock, &g);
    for (size_t i = 0; i < 4; i++)
        thread_join(&threads[i]);
    ck_assert_uint_eq(g.plain, 4 * g.rounds);
    ck_assert_uint_eq(atomic_load(&g.lock.word), 0);
}
END_TEST

static void take_and_leave(void *data)
{
    struct guarded *g = data;

    soon__lock_acquire(&g->lock);
    g->plain++;
    soon__lock_release(&g->lock);
}

START_TEST(a_release_wakes_who_sleeps_for_the_lock)
{
    struct guarded g = {.plain = 0};
    struct thread threads[3];

    soon__lock_acquire(&g.lock);
    for (size_t i = 0; i < 3; i++)
        thread_start(&threads[i], take_and_leave, &g);
    for (size_t i = 0; i < 3; i++)
        thread_await_sleep(&threads[i]);
    ck_assert_uint_eq(g.plain, 0);
    soon__lock_release(&g.lock);
    for (size_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    ck_assert_uint_eq(g.plain, 3);
}
END_TEST

START_TEST(an_uncontended_lock_takes_no_sleeper_along)
{
    soon__lock lock = {0};

    soon__lock_acquire(&lock);
    ck_assert_uint_eq(atomic_load(&lock.word), 1);
    soon__lock_release(&lock);
    ck_assert_uint_eq(atomic_load(&lock.word), 0);
}
END_TEST

START_TEST(a_reset_lock_is_free)
{
    soon__lock lock = {0};

    soon__lock_acquire(&lock);
    soon__lock_reset(&lock);
    soon__lock_acquire(&lock);
    soon__lock_release(&lock);
    ck_assert_uint_eq(atomic_load(&lock.word), 0);
}
END_TEST

/* ---- the event descriptor ---- */

static bool readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

START_TEST(an_event_is_readable_while_it_is_set)
{
    int fd = soon__event_new();

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert(!readable(fd));
    soon__event_clear(fd); /* does not block though there is nothing to clear */
    for (int i = 0; i < 3; i++)
        soon__event_set(fd);
    ck_assert(readable(fd));
    soon__event_clear(fd);
    ck_assert(!readable(fd));
    soon__event_set(fd);
    ck_assert(readable(fd));
    soon__event_close(fd);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

static void add_lock(Suite *suite)
{
    TCase *tc = test_case(suite, "lock");

    tcase_add_test(tc, one_thread_at_a_time_holds_the_lock);
    tcase_add_test(tc, a_release_wakes_who_sleeps_for_the_lock);
    tcase_add_test(tc, an_uncontended_lock_takes_no_sleeper_along);
    tcase_add_test(tc, a_reset_lock_is_free);
    tc = test_case(suite, "event");
    tcase_add_test(tc, an_event_is_readable_while_it_is_set);
}

Suite *test_suite(void)
{
    Suite *suite = suite_create("lock");
    TCase *tc = test_case(suite, "clock");

    tcase_add_test(tc, the_clock_is_monotonic_and_never_zero);
    tcase_add_test(tc, a_deadline_never_overflows);
    tc = test_case(suite, "futex");
    tcase_add_test(tc, a_wait_for_a_word_that_differs_returns);
    tcase_add_test(tc, a_wait_ends_at_its_deadline_and_not_before);
    tcase_add_test(tc, a_deadline_in_the_past_does_not_wait);
    tcase_add_test(tc, wake_wakes_all_that_sleep);
    tcase_add_test(tc, a_wake_that_nobody_waits_for_does_nothing);
    tcase_add_test(tc, no_wake_is_lost);
    add_lock(suite);
    return suite;
}
