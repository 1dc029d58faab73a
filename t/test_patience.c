/* SPDX-License-Identifier: MIT */
/*
 * Wake-ups that are left out for a moment, and whose CPU a spinner would take.
 */
#include "support.h"

#include "core/future.h"
#include "os/patience.h"
#include "os/spin.h"
#include "thread_pool/pool.h"

#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUEUED = 8 };

static soon_executor *pool_of_one(void)
{
    soon_executor *ex = NULL;

    assert_ok(soon_thread_pool_new(&(soon_thread_pool_options){.max_workers = 1}, &ex));
    return ex;
}

static void end(soon_executor *ex)
{
    assert_ok(soon_shutdown(ex, SOON_FOREVER, 0));
    soon_executor_unref(ex);
}

/* ---- sleepers ---- */

/* The worker ends the task that is waited for and goes on to one that lasts
 * until the wait is over. True if the sleeper was a patient one. */
static bool wait_for_one_of_a_busy_worker(void)
{
    soon_executor *ex = pool_of_one();
    struct hold first = hold_make(), last = hold_make();
    soon_future *f = submit(ex, task_hold, &first, sizeof first);
    soon_future *held, *behind[QUEUED];
    struct watch watch = {.f = f, .release = first.release};
    struct thread thread;

    bell_await(first.started, 1);
    held = submit(ex, task_hold, &last, sizeof last);
    for (int i = 0; i < QUEUED; i++)
        behind[i] = submit(ex, task_nothing, NULL, 0);
    thread_start(&thread, release_under_sleeper, &watch);
    soon__was_asleep(soon__now());
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    gate_open(last.release);
    thread_join(&thread);
    unref_all(&f, 1);
    unref_all(&held, 1);
    unref_all(behind, QUEUED);
    end(ex);
    hold_free(&first);
    hold_free(&last);
    return watch.patient;
}

/* The watchdog ends it if such a sleeper is forgotten. */
START_TEST(a_patient_sleeper_wakes_though_the_worker_stays_busy)
{
    while (!wait_for_one_of_a_busy_worker())
        ;
}
END_TEST

static soon__futex word;

static void sleep_on_word(void *data)
{
    (void)data;
    for (;;) {
        uint32_t ticket = soon__nap_ticket(&word);
        if (atomic_load(&word))
            return;
        soon__nap(&word, ticket, INT64_MAX);
    }
}

static void wake_sleeper(bool busy)
{
    struct thread thread;

    atomic_store(&word, 0);
    thread_start(&thread, sleep_on_word, NULL);
    thread_await_sleep(&thread);
    atomic_store(&word, 1);
    soon__set_busy(busy);
    soon__wake_patient(&word);
    soon__set_busy(false);
    if (busy)
        soon__wake_owed();
    thread_join(&thread);
}

START_TEST(who_is_not_busy_wakes_at_once)
{
    wake_sleeper(false);
}
END_TEST

START_TEST(who_was_busy_pays_what_it_owes)
{
    wake_sleeper(true);
}
END_TEST

START_TEST(patience_ends)
{
    ck_assert(!soon__is_patient()); /* a thread that has never slept */
    soon__was_asleep(soon__now());
    while (soon__is_patient())
        ;
}
END_TEST

/* Naps for as long as it may, again and again, awake in between for that part of
 * the nap (0: not at all); the length of the last nap. */
static soon_ns nap_for(soon_ns *now, soon_ns spent, int part)
{
    const soon_ns end = *now + spent;
    soon_ns nap = 0;

    while (*now < end) {
        nap = soon__nap_length(*now);
        *now += nap;
        soon__was_asleep(*now);
        *now += part ? nap / part : 0;
    }
    return nap;
}

START_TEST(naps_get_longer_as_they_follow_one_another)
{
    soon_ns now = SOON_SECONDS(1);

    soon__was_asleep(now);
    ck_assert_int_eq(soon__nap_length(now), SOON__NAP_NS);
    ck_assert_int_eq(nap_for(&now, SOON_MS(3), 20), SOON__NAP_NS);
    soon_ns nap = nap_for(&now, SOON_MS(5), 20);
    ck_assert_int_gt(nap, 8 * SOON__NAP_NS / 5);
    ck_assert_int_le(nap, SOON_MS(8) / 16);
    ck_assert_int_eq(nap_for(&now, SOON_MS(30), 20), SOON__NAP_MAX_NS);
}
END_TEST

START_TEST(after_a_pause_they_are_short_again)
{
    soon_ns now = SOON_SECONDS(1);

    soon__was_asleep(now);
    ck_assert_int_eq(nap_for(&now, SOON_MS(30), 0), SOON__NAP_MAX_NS);
    now += SOON_MS(3);
    soon__was_asleep(now);
    ck_assert_int_eq(soon__nap_length(now), SOON__NAP_NS);
}
END_TEST

START_TEST(who_has_much_to_do_in_between_takes_short_ones)
{
    soon_ns now = SOON_SECONDS(1);

    soon__was_asleep(now);
    ck_assert_int_eq(nap_for(&now, SOON_MS(30), 8), SOON__NAP_NS);
    ck_assert_int_eq(nap_for(&now, SOON_MS(30), 0), SOON__NAP_MAX_NS);
    ck_assert_int_eq(nap_for(&now, SOON_MS(30), 8), SOON__NAP_NS);
}
END_TEST

START_TEST(being_held_up_once_costs_half)
{
    soon_ns now = SOON_SECONDS(1);

    soon__was_asleep(now);
    nap_for(&now, SOON_MS(12), 0);
    soon_ns before = soon__nap_length(now);
    now += before / 8;
    soon_ns after = soon__nap_length(now);
    ck_assert_int_ge(before, SOON__NAP_NS * 3);
    ck_assert_int_ge(after, before / 2);
    ck_assert_int_le(after, before / 2 + 1);
}
END_TEST

/* ---- who is at work ---- */

static void await_at_work(unsigned n)
{
    while (soon__at_work() != n)
        sched_yield();
}

START_TEST(workers_are_at_work_while_they_are_awake)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_of_one();
    soon_future *f;

    await_at_work(0);
    f = submit(ex, task_hold, &hold, sizeof hold);
    bell_await(hold.started, 1);
    ck_assert_uint_eq(soon__at_work(), 1);
    gate_open(hold.release);
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    await_at_work(0); /* it is idle */
    unref_all(&f, 1);
    end(ex);
    ck_assert_uint_eq(soon__at_work(), 0);
    hold_free(&hold);
}
END_TEST

static int wait_for(soon_call *call, const void *arg, size_t arg_len)
{
    soon_future *f = *(soon_future *const *)arg;

    (void)call, (void)arg_len;
    return soon_future_wait(f, SOON_FOREVER);
}

START_TEST(a_worker_that_sleeps_in_a_wait_is_not_at_work)
{
    soon_executor *ex = pool_of_one();
    soon_future *awaited = promise(), *f = submit(ex, wait_for, &awaited, sizeof awaited);

    while (!soon_future_running(f))
        sched_yield();
    await_at_work(0);
    assert_ok(soon_future_set_result(awaited, NULL, 0));
    assert_ok(soon_future_wait(f, SOON_FOREVER));
    unref_all(&awaited, 1);
    unref_all(&f, 1);
    end(ex);
    ck_assert_uint_eq(soon__at_work(), 0);
}
END_TEST

START_TEST(in_a_forked_child_nobody_is)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_of_one();
    soon_future *f = submit(ex, task_hold, &hold, sizeof hold);
    int status;

    bell_await(hold.started, 1);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(soon__at_work() == 0 ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    gate_open(hold.release);
    unref_all(&f, 1);
    end(ex);
    hold_free(&hold);
}
END_TEST

/* ---- spinners ---- */

static soon_ns spin_in_vain(soon__spinner *place)
{
    const soon__futex never = 0;
    soon_ns begin = now_ns();

    ck_assert(!soon__spin(place, &never, 1, SOON__NEVER));
    return now_ns() - begin;
}

static void set_it(void *it)
{
    atomic_store((soon__futex *)it, 1);
}

/* Spins until another thread sets the word, at some moment or other. */
static bool spin_for_another(soon__spinner *place)
{
    soon__futex it = 0;
    struct thread thread;

    thread_start(&thread, set_it, &it);
    for (unsigned n = (unsigned)now_ns() % 20000; n && !atomic_load(&it); n--)
        ;
    bool was_set = atomic_load(&it);
    bool set = soon__spin(place, &it, 1, SOON__NEVER);
    thread_join(&thread);
    return set && !was_set;
}

/* Can what a thread waits for come while it spins? */
static bool may_spin_with_success(void)
{
    soon__spin_prepare();
    if (!soon__spin_pays())
        printf("SKIP: nobody spins on a single CPU\n");
    else if (running_on_valgrind())
        printf("SKIP: under valgrind threads take turns, and none runs while another spins\n");
    else
        return true;
    return false;
}

START_TEST(who_did_not_spin_in_vain_spins_for_longer)
{
    soon__spinner place = {0};

    if (!may_spin_with_success())
        return;
    ck_assert_int_ge(spin_in_vain(&place), SOON__SPIN_NS);
    ck_assert(!atomic_load(&place.lucky));
    while (!spin_for_another(&place) || !atomic_load(&place.lucky))
        ;
    ck_assert_int_ge(spin_in_vain(&place), SOON__SPIN_LONG * SOON__SPIN_NS);
    ck_assert(!atomic_load(&place.lucky));
}
END_TEST

START_TEST(a_worker_that_finds_something_while_it_spins_is_lucky)
{
    if (!may_spin_with_success())
        return;
    soon_executor *ex = pool_of_one();
    struct pool *pool = (struct pool *)ex;
    bool lucky = false;

    while (!lucky) {
        soon_future *f = submit(ex, task_nothing, NULL, 0);
        assert_ok(soon_future_result(f, SOON_FOREVER, NULL, 0));
        soon_future_unref(f);
        soon__lock_acquire(&pool->lock);
        lucky = pool->lucky;
        soon__lock_release(&pool->lock);
    }
    while (lucky) { /* then it finds nothing, and sleeps */
        sleep_ns(SOON_MS(1));
        soon__lock_acquire(&pool->lock);
        lucky = pool->lucky;
        soon__lock_release(&pool->lock);
    }
    end(ex);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("patience");
    TCase *tests = test_case(suite, "sleepers");

    tcase_add_test(tests, a_patient_sleeper_wakes_though_the_worker_stays_busy);
    tcase_add_test(tests, who_is_not_busy_wakes_at_once);
    tcase_add_test(tests, who_was_busy_pays_what_it_owes);
    tcase_add_test(tests, patience_ends);
    tcase_add_test(tests, naps_get_longer_as_they_follow_one_another);
    tcase_add_test(tests, after_a_pause_they_are_short_again);
    tcase_add_test(tests, who_has_much_to_do_in_between_takes_short_ones);
    tcase_add_test(tests, being_held_up_once_costs_half);
    tests = test_case(suite, "at work");
    tcase_add_test(tests, workers_are_at_work_while_they_are_awake);
    tcase_add_test(tests, a_worker_that_sleeps_in_a_wait_is_not_at_work);
    tcase_add_test(tests, in_a_forked_child_nobody_is);
    tests = test_case(suite, "spinners");
    tcase_add_test(tests, who_did_not_spin_in_vain_spins_for_longer);
    tcase_add_test(tests, a_worker_that_finds_something_while_it_spins_is_lucky);
    return suite;
}
