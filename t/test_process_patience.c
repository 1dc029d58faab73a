/* SPDX-License-Identifier: MIT */
/*
 * Patient sleepers (os/patience.h) who wait for tasks of a process pool: the thread that
 * collects may leave them asleep, but not for ever.
 */
#include "process_pool.h"

#include "core/future.h"
#include "os/patience.h"
#include "process_pool/pool.h"

#include <sched.h>

enum { MANY = SOON__RING + 8 }; /* more than can be handed ahead */

/* ---- a sleeper that relies on nothing but being woken ---- */

struct sleeper {
    soon_future *f;
    struct thread thread;
    uint32_t ticket; /* of the bed, when it lay down */
};

/* As a patient one, but its nap has no end of its own. */
static void nap_until_done(void *data)
{
    soon_future *f = data;
    uint32_t ticket = soon__nap_ticket(f);
    uint32_t state = soon__state(f);

    while (!(state & SOON__DONE) && !atomic_compare_exchange_strong(
                                        &f->state, &state, state | SOON__WAITERS | SOON__PATIENT))
        ;
    if (!(state & SOON__DONE))
        soon__nap(f, ticket, INT64_MAX);
    EXPECT(soon_future_wait(f, SOON_FOREVER) == 0);
}

static void nap_on(struct sleeper *sleeper, soon_future *f)
{
    sleeper->f = f;
    thread_start(&sleeper->thread, nap_until_done, f);
    while (!(soon__state(f) & SOON__PATIENT))
        sched_yield();
    thread_await_sleep(&sleeper->thread);
    sleeper->ticket = soon__nap_ticket(f);
}

static bool was_roused(const struct sleeper *sleeper)
{
    return soon__nap_ticket(sleeper->f) != sleeper->ticket;
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

/* ---- with the monitor stopped ---- */

static struct seat *seat_of(struct pool *pool, const soon_future *f)
{
    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    REQUIRE(entry);
    soon__lock_release(&pool->lock);
    return entry->seat;
}

/* From here on tasks are handed ahead to the worker. */
static void pass_for_quick(struct seat *seat)
{
    soon__lock_acquire(&seat->pool->lock);
    seat->pace = 0;
    soon__seat_sort(seat);
    soon__lock_release(&seat->pool->lock);
}

/* Returns when the worker has done f, which took it no time as far as it says. */
static void await_quick_end(struct pool *pool, const soon_future *f)
{
    for (bool done = false; !done; sched_yield()) {
        soon__lock_acquire(&pool->lock);
        struct entry *entry = soon__entry_of(f);
        REQUIRE(entry);
        struct soon__slot *slot = soon__slot_at(entry);
        done = atomic_load(&slot->state) == soon__slot_state(entry->position, SOON__SLOT_DONE);
        if (done)
            atomic_store(&slot->spent, 0);
        soon__lock_release(&pool->lock);
    }
}

/* The monitor goes on, and has looked and fallen asleep again when this returns. */
static void let_monitor_look(struct pool *pool, const soon_future *f)
{
    soon__monitor_poke(pool);
    soon__lock_release(&pool->collecting);
    while (!soon_future_done(f))
        sched_yield();
    stop_monitor(pool);
    soon__lock_release(&pool->collecting);
}

START_TEST(who_waits_for_a_quick_task_is_left_asleep_until_nothing_is_queued_any_more)
{
    struct hold first = hold_make(), last = hold_make();
    soon_executor *ex = one_worker(_i);
    struct pool *pool = (struct pool *)ex;
    struct sleeper sleeper;
    soon_future *f, *held;

    perch(ex, &first, &f);
    held = submit(ex, task_hold, &last, sizeof last);
    for (int i = 0; i < MANY; i++)
        assert_ok(soon_submit(ex, task_nothing, NULL, 0, NULL));
    stop_monitor(pool);
    nap_on(&sleeper, f);
    gate_open(first.release);
    await_quick_end(pool, f);
    pass_for_quick(seat_of(pool, f));
    let_monitor_look(pool, f);
    bell_await(last.started, 1);
    ck_assert(!was_roused(&sleeper));
    gate_open(last.release);
    await_sleeper(&sleeper);
    soon_future_unref(f);
    soon_future_unref(held);
    pool_down(ex, 2 + MANY);
    hold_free(&first);
    hold_free(&last);
}
END_TEST

START_TEST(all_whose_tasks_are_collected_at_once_are_woken)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    struct pool *pool = (struct pool *)ex;
    struct sleeper sleeper[2];
    soon_future *f[2];

    perch(ex, &hold, &f[0]);
    stop_monitor(pool);
    pass_for_quick(seat_of(pool, f[0]));
    f[1] = submit(ex, task_nothing, NULL, 0);
    for (int i = 0; i < 2; i++)
        nap_on(&sleeper[i], f[i]);
    gate_open(hold.release);
    for (int i = 0; i < 2; i++)
        await_quick_end(pool, f[i]);
    let_monitor_look(pool, f[1]);
    for (int i = 0; i < 2; i++)
        await_sleeper(&sleeper[i]);
    unref_all(f, 2);
    pool_down(ex, 2);
    hold_free(&hold);
}
END_TEST

/* ---- two who wait, or ask ---- */

static void wait_without_patience(void *data)
{
    EXPECT(soon_future_wait(data, SOON_FOREVER) == 0);
}

START_TEST(who_comes_without_patience_does_not_hide_the_patient)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(_i);
    struct sleeper sleeper;
    struct thread other;
    soon_future *f;

    perch(ex, &hold, &f);
    nap_on(&sleeper, f);
    thread_start(&other, wait_without_patience, f);
    thread_await_sleep(&other);
    gate_open(hold.release);
    await_sleeper(&sleeper);
    thread_join(&other);
    soon_future_unref(f);
    pool_down(ex, 1);
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

static bool is_patient_with_a_process(int method)
{
    struct hold hold = hold_make();
    soon_executor *ex = one_worker(method);
    struct watch watch = {.release = hold.release};
    struct thread thread;

    perch(ex, &hold, &watch.f);
    thread_start(&thread, release_under_sleeper, &watch);
    soon__was_asleep(soon__now());
    assert_ok(soon_future_wait(watch.f, SOON_FOREVER));
    thread_join(&thread);
    soon_future_unref(watch.f);
    pool_down(ex, 1);
    hold_free(&hold);
    return watch.patient;
}

/* Unless it takes so long to fall asleep that it is so no more. The watchdog ends it if it
 * never is. */
START_TEST(who_has_slept_a_moment_ago_is_patient_with_a_process_too)
{
    while (!is_patient_with_a_process(_i))
        ;
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_patience");
    TCase *patience = test_case(suite, "patience");

    add_over_methods(patience, who_waits_for_the_last_task_is_woken);
    add_over_methods(patience,
                     who_waits_for_a_quick_task_is_left_asleep_until_nothing_is_queued_any_more);
    add_over_methods(patience, all_whose_tasks_are_collected_at_once_are_woken);
    add_over_methods(patience, who_comes_without_patience_does_not_hide_the_patient);
    add_over_methods(patience, whether_it_has_begun_does_not_matter_to_a_patient_sleeper);
    add_over_methods(patience, who_has_slept_a_moment_ago_is_patient_with_a_process_too);
    return suite;
}
