/* SPDX-License-Identifier: MIT */
/*
 * Workers that are left asleep while others are quick: no task waits for long
 * because of that.
 */
#include "process_pool.h"

#include "process_pool/pool.h"

#include <sched.h>

/* Holds a worker and waits until it is. */
static void hold_one(soon_executor *ex, const struct hold *hold, soon_future **f)
{
    *f = submit(ex, task_hold, hold, sizeof *hold);
    bell_await(hold->started, 1);
}

/* Takes the lock of who collects while the monitor sleeps: from here on it does
 * nothing. */
static void stop_monitor(struct pool *pool)
{
    for (;;) {
        soon__lock_acquire(&pool->collecting);
        soon__lock_acquire(&pool->lock);
        bool watching = pool->watching;
        soon__lock_release(&pool->lock);
        if (watching)
            return;
        soon__lock_release(&pool->collecting);
        sched_yield();
    }
}

/* The worker that f is with has been quick, as far as its pool knows. */
static void pass_for_quick(struct pool *pool, const soon_future *f)
{
    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    REQUIRE(entry);
    entry->seat->pace = 1000;
    entry->seat->proven = pool->trust;
    soon__seat_moved(entry->seat);
    soon__seat_sort(entry->seat);
    pool->quick = true;
    soon__lock_release(&pool->lock);
}

START_TEST(a_task_that_waits_for_a_quick_worker_does_not_wait_for_long)
{
    enum { WORKERS = 3 };
    struct hold hold[WORKERS];
    soon_future *held[WORKERS], *f;

    for (int i = 0; i < WORKERS; i++) /* workers are born with them */
        hold[i] = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = WORKERS});
    struct pool *pool = (struct pool *)ex;
    pool->cpus = 1;
    for (int i = 0; i < WORKERS; i++)
        hold_one(ex, &hold[i], &held[i]);
    gate_open(hold[0].release);
    assert_result_int(held[0], 0);
    stop_monitor(pool);
    pass_for_quick(pool, held[1]);
    f = submit_int(ex, task_square, 3);
    soon__lock_acquire(&pool->lock);
    unsigned idle = pool->n_idle, ahead = pool->n_ahead;
    soon__lock_release(&pool->lock);
    soon__lock_release(&pool->collecting);
    ck_assert_uint_eq(idle, 1);
    ck_assert_uint_eq(ahead, 1);
    assert_result_int(f, 9); /* while two are held */
    for (int i = 1; i < WORKERS; i++) {
        ck_assert(!soon_future_done(held[i]));
        gate_open(hold[i].release);
        assert_result_int(held[i], 0);
    }
    soon_future_unref(f);
    unref_all(held, WORKERS);
    pool_down(ex, WORKERS + 1);
    for (int i = 0; i < WORKERS; i++)
        hold_free(&hold[i]);
}
END_TEST

/* The same where the task is not even with a worker: the one that is quick has
 * not ended any of late, and no task is handed ahead to it. */
START_TEST(nor_does_one_that_waits_in_the_queue)
{
    enum { WORKERS = 2 };
    struct hold hold[WORKERS];
    soon_future *held[WORKERS], *f;

    for (int i = 0; i < WORKERS; i++)
        hold[i] = hold_make();
    soon_executor *ex = pool_up(_i, &(soon_process_pool_options){.max_workers = WORKERS});
    struct pool *pool = (struct pool *)ex;
    pool->cpus = 1;
    for (int i = 0; i < WORKERS; i++)
        hold_one(ex, &hold[i], &held[i]);
    gate_open(hold[0].release);
    assert_result_int(held[0], 0);
    stop_monitor(pool);
    pass_for_quick(pool, held[1]);
    pool->trust++;
    f = submit_int(ex, task_square, 4);
    soon__lock_acquire(&pool->lock);
    size_t queued = pool->queue.count;
    soon__lock_release(&pool->lock);
    soon__lock_release(&pool->collecting);
    ck_assert_uint_eq(queued, 1);
    assert_result_int(f, 16); /* while one is held */
    ck_assert(!soon_future_done(held[1]));
    gate_open(hold[1].release);
    assert_result_int(held[1], 0);
    soon_future_unref(f);
    unref_all(held, WORKERS);
    pool_down(ex, WORKERS + 1);
    for (int i = 0; i < WORKERS; i++)
        hold_free(&hold[i]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_asleep");
    TCase *asleep = test_case(suite, "asleep");

    add_over_methods(asleep, a_task_that_waits_for_a_quick_worker_does_not_wait_for_long);
    add_over_methods(asleep, nor_does_one_that_waits_in_the_queue);
    return suite;
}
