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

/* The worker that f is with has ended its tasks in so many ns each, as far as its
 * pool knows. */
static void pass_for_quick(struct pool *pool, const soon_future *f, uint64_t pace)
{
    soon__lock_acquire(&pool->lock);
    struct entry *entry = soon__entry_of(f);
    REQUIRE(entry);
    entry->seat->pace = pace;
    entry->seat->proven = pool->trust;
    soon__seat_moved(entry->seat);
    soon__seat_sort(entry->seat);
    pool->quick = true;
    soon__lock_release(&pool->lock);
}

/* A pool whose workers are all held but the first, which sleeps; the second is
 * one that passes for quick. */
enum { MOST = 3 };

struct scene {
    int workers;
    soon_executor *ex;
    struct pool *pool;
    struct hold hold[MOST];
    soon_future *held[MOST];
    unsigned others; /* tasks besides f */
};

/* The monitor does nothing until pool->collecting is released. */
static void scene_up(struct scene *s, int method, int workers)
{
    *s = (struct scene){.workers = workers};
    for (int i = 0; i < workers; i++) /* workers are born with them */
        s->hold[i] = hold_make();
    s->ex = pool_up(method, &(soon_process_pool_options){.max_workers = (unsigned)workers});
    s->pool = (struct pool *)s->ex;
    s->pool->cpus = 1;
    for (int i = 0; i < workers; i++)
        hold_one(s->ex, &s->hold[i], &s->held[i]);
    gate_open(s->hold[0].release);
    assert_result_int(s->held[0], 0);
    stop_monitor(s->pool);
    pass_for_quick(s->pool, s->held[1], 1000);
}

/* The others are still held. */
static void scene_down(struct scene *s, soon_future *f)
{
    for (int i = 1; i < s->workers; i++) {
        ck_assert(!soon_future_done(s->held[i]));
        gate_open(s->hold[i].release);
        assert_result_int(s->held[i], 0);
    }
    soon_future_unref(f);
    unref_all(s->held, (size_t)s->workers);
    pool_down(s->ex, (uint64_t)s->workers + 1 + s->others);
    for (int i = 0; i < s->workers; i++)
        hold_free(&s->hold[i]);
}

/* Where a task has just gone, while the monitor does nothing. */
struct whereabouts {
    size_t queued;
    unsigned idle, ahead;
};

static struct whereabouts look(struct pool *pool)
{
    soon__lock_acquire(&pool->lock);
    struct whereabouts w = {pool->queue.count, pool->n_idle, pool->n_ahead};
    soon__lock_release(&pool->lock);
    return w;
}

START_TEST(a_task_that_waits_for_a_quick_worker_does_not_wait_for_long)
{
    struct scene s;

    scene_up(&s, _i, 3);
    soon_future *f = submit_int(s.ex, task_square, 3);
    struct whereabouts w = look(s.pool);
    soon__lock_release(&s.pool->collecting);
    ck_assert_uint_eq(w.idle, 1);
    ck_assert_uint_eq(w.ahead, 1);
    assert_result_int(f, 9); /* while two are held */
    scene_down(&s, f);
}
END_TEST

/* The same where the task is not even with a worker: the one that is quick has
 * not ended any of late, and no task is handed ahead to it. */
START_TEST(nor_does_one_that_waits_in_the_queue)
{
    struct scene s;

    scene_up(&s, _i, 2);
    s.pool->trust++;
    soon_future *f = submit_int(s.ex, task_square, 4);
    struct whereabouts w = look(s.pool);
    soon__lock_release(&s.pool->collecting);
    ck_assert_uint_eq(w.queued, 1);
    assert_result_int(f, 16); /* while one is held */
    scene_down(&s, f);
}
END_TEST

/* One that ended its tasks in pace ns each, and an idle one: is the idle one left
 * asleep, on so many CPUs? */
static void assert_left_asleep(int method, unsigned cpus, uint64_t pace, bool asleep)
{
    struct scene s;

    scene_up(&s, method, 3);
    s.pool->cpus = cpus;
    pass_for_quick(s.pool, s.held[1], pace);
    soon_future *f = submit_int(s.ex, task_square, 5);
    struct whereabouts w = look(s.pool);
    soon__lock_release(&s.pool->collecting);
    ck_assert_uint_eq(w.idle, asleep);
    ck_assert_uint_eq(w.ahead, asleep);
    assert_result_int(f, 25);
    scene_down(&s, f);
}

START_TEST(the_quickest_tasks_leave_two_cpus_to_the_program)
{
    assert_left_asleep(_i, 3, 1000, true);
    assert_left_asleep(_i, 4, 1000, false);
}
END_TEST

START_TEST(those_that_take_longer_than_to_bring_them_do_not)
{
    assert_left_asleep(_i, 3, 1500, false);
    assert_left_asleep(_i, 1, 1500, true);
}
END_TEST

/* One without a timeout waits for the worker that is quick; one with a timeout
 * may not, and overtakes it. */
START_TEST(a_task_that_waits_for_a_quick_worker_holds_up_no_other_that_is_more_urgent)
{
    soon_task task = {.fn = task_square,
                      .arg = &(int){8},
                      .arg_len = sizeof(int),
                      .priority = SOON_PRIORITY_HIGH,
                      .timeout = SOON_SECONDS(100)};
    soon_future *behind, *urgent;
    struct scene s;

    scene_up(&s, _i, 2);
    s.pool->trust++;
    soon_future *f = submit_int(s.ex, task_square, 7);
    behind = submit_int(s.ex, task_square, 9);
    struct whereabouts before = look(s.pool);
    ck_assert_int_eq(soon_submit_task(s.ex, &task, &urgent), 0);
    struct whereabouts after = look(s.pool);
    soon__lock_release(&s.pool->collecting);
    ck_assert_uint_eq(before.queued, 2);
    ck_assert_uint_eq(before.idle, 1);
    ck_assert_uint_eq(after.idle, 0);
    assert_result_int(urgent, 64); /* while one is held */
    assert_result_int(f, 49);
    assert_result_int(behind, 81);
    soon_future_unref(urgent);
    soon_future_unref(behind);
    s.others = 2;
    scene_down(&s, f);
}
END_TEST

/* Is a pool, of which one worker has been quick and now has nothing to do, still
 * relying on that when the next task comes? */
static bool relies_after(int method, bool pause)
{
    struct hold hold = hold_make();
    soon_executor *ex = pool_up(method, &(soon_process_pool_options){.max_workers = 1});
    struct pool *pool = (struct pool *)ex;

    soon_future *first = submit_int(ex, task_square, 2), *held;
    assert_result_int(first, 4);
    stop_monitor(pool);
    soon__lock_acquire(&pool->lock);
    pool->quick = true;
    pool->lively = !pause;
    soon__lock_release(&pool->lock);
    hold_one(ex, &hold, &held);
    soon__lock_acquire(&pool->lock);
    bool quick = pool->quick;
    soon__lock_release(&pool->lock);
    soon__lock_release(&pool->collecting);
    gate_open(hold.release);
    assert_result_int(held, 0);
    soon_future_unref(first);
    soon_future_unref(held);
    pool_down(ex, 2);
    hold_free(&hold);
    return quick;
}

START_TEST(workers_have_to_be_quick_again_after_a_pause_but_not_after_a_moment)
{
    ck_assert(!relies_after(_i, true));
    ck_assert(relies_after(_i, false));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("process_asleep");
    TCase *asleep = test_case(suite, "asleep");

    add_over_methods(asleep, a_task_that_waits_for_a_quick_worker_does_not_wait_for_long);
    add_over_methods(asleep, nor_does_one_that_waits_in_the_queue);
    add_over_methods(asleep, the_quickest_tasks_leave_two_cpus_to_the_program);
    add_over_methods(asleep, those_that_take_longer_than_to_bring_them_do_not);
    add_over_methods(asleep,
                     a_task_that_waits_for_a_quick_worker_holds_up_no_other_that_is_more_urgent);
    add_over_methods(asleep, workers_have_to_be_quick_again_after_a_pause_but_not_after_a_moment);
    return suite;
}
