/* SPDX-License-Identifier: MIT */
/*
 * Patient sleepers (os/patience.h) who wait for tasks of a process pool: the thread that
 * collects may leave them asleep, but not for ever.
 */
#include "process_pool.h"

#include "core/future.h"
#include "os/patience.h"

#include <sched.h>

enum { QUEUED = 8 };

/* ---- a sleeper that relies on nothing but being woken ---- */

struct sleeper {
    soon_future *f;
    struct thread thread;
};

/* As a patient one, but without a clock. */
static void nap_until_done(void *data)
{
    soon_future *f = data;
    uint32_t ticket, state;

    while (ticket = soon__nap_ticket(f), !((state = soon__state(f)) & SOON__DONE)) {
        uint32_t napping = state | SOON__WAITERS | SOON__PATIENT;
        if (state == napping || atomic_compare_exchange_strong(&f->state, &state, napping))
            soon__nap(f, ticket, INT64_MAX);
    }
}

static void nap_on(struct sleeper *sleeper, soon_future *f)
{
    sleeper->f = f;
    thread_start(&sleeper->thread, nap_until_done, f);
    while (!(soon__state(f) & SOON__PATIENT))
        sched_yield();
    thread_await_sleep(&sleeper->thread);
}

/* The watchdog ends it if it was forgotten. */
static void await_sleeper(struct sleeper *sleeper)
{
    thread_join(&sleeper->thread);
    ck_assert(soon_future_done(sleeper->f));
}

START_TEST(who_waits_for_the_last_task_is_woken)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    struct sleeper sleeper;
    soon_future *f;

    perch(ex, &hold, &f);
    nap_on(&sleeper, f);
    gate_open(hold.release);
    await_sleeper(&sleeper);
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

START_TEST(who_was_left_asleep_is_woken_when_nothing_is_queued_any_more)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    struct sleeper sleeper;
    soon_future *f;

    perch(ex, &hold, &f);
    for (int i = 0; i < QUEUED; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    nap_on(&sleeper, f);
    gate_open(hold.release);
    await_sleeper(&sleeper);
    soon_future_unref(f);
    pool_down(ex, 1 + QUEUED);
    hold_free(&hold);
}
END_TEST

/* The library learns that the task runs while somebody naps until its end. */
START_TEST(whether_it_has_begun_does_not_matter_to_a_patient_sleeper)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    struct sleeper sleeper;
    soon_future *f;

    perch(ex, &hold, &f);
    nap_on(&sleeper, f);
    ck_assert(soon_future_running(f));
    ck_assert_uint_eq(soon__state(f) & (SOON__PATIENT | SOON__WAITERS),
                      SOON__PATIENT | SOON__WAITERS);
    gate_open(hold.release);
    await_sleeper(&sleeper);
    soon_future_unref(f);
    pool_down(ex, 1);
    hold_free(&hold);
}
END_TEST

/* ---- one with a clock ---- */

struct watch {
    soon_future *f;
    struct gate release;
    bool patient;
};

/* Lets the task end once somebody sleeps until then. */
static void release_under_sleeper(void *data)
{
    struct watch *watch = data;
    uint32_t state;

    while (!((state = soon__state(watch->f)) & SOON__WAITERS))
        sched_yield();
    watch->patient = state & SOON__PATIENT;
    gate_open(watch->release);
}

/* The worker ends the task that is waited for, and goes on to one that lasts until the wait
 * is over; others are queued behind that. True if the sleeper was a patient one. */
static bool wait_for_one_of_many(int method)
{
    struct hold first = hold_make(), last = hold_make();
    soon_executor *ex = one_worker(method);
    struct watch watch = {.release = first.release};
    struct thread thread;
    soon_future *held;

    perch(ex, &first, &watch.f);
    held = submit(ex, task_hold, &last, sizeof last);
    for (int i = 0; i < QUEUED; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    thread_start(&thread, release_under_sleeper, &watch);
    soon__was_asleep(soon__now());
    assert_ok(soon_future_wait(watch.f, SOON_FOREVER));
    gate_open(last.release);
    thread_join(&thread);
    soon_future_unref(watch.f);
    soon_future_unref(held);
    pool_down(ex, 2 + QUEUED);
    hold_free(&first);
    hold_free(&last);
    return watch.patient;
}

/* The watchdog ends it if such a sleeper is forgotten. */
START_TEST(a_patient_sleeper_wakes_though_more_is_queued)
{
    while (!wait_for_one_of_many(_i))
        ;
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_patience");
    TCase *patience = test_case(suite, "patience");

    add_over_methods(patience, who_waits_for_the_last_task_is_woken);
    add_over_methods(patience, who_was_left_asleep_is_woken_when_nothing_is_queued_any_more);
    add_over_methods(patience, whether_it_has_begun_does_not_matter_to_a_patient_sleeper);
    add_over_methods(patience, a_patient_sleeper_wakes_though_more_is_queued);
    return suite;
}
