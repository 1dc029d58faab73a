/* SPDX-License-Identifier: MIT */
/*
 * lib/thread_pool/schedule.c, idle.c and runner.c: no task is left lying while a
 * worker sleeps. See stage.h.
 */
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>

static void expect_all(int as)
{
    for (unsigned i = 0; i < TASKS; i++)
        model_expect(atomic_load(&state[i]) == as, "a task was not run");
}

/* ---- one sleeper, while a worker and somebody outside submit ---- */

static void before_one(void)
{
    stage_pool(2, TASKS);
}

static void thread_one(unsigned self)
{
    switch (self) {
    case 0:
        model_expect(stage_submit(0) && stage_submit(1), "a task was refused");
        break;
    case 1:
        stage_work(&workers[1]);
        break;
    default:
        model_expect(stage_submit(2), "a task was refused");
    }
}

static void after_all_run(void)
{
    expect_all(CLAIMED);
}

/* ---- the same, and the worker pushes swiftly ---- */

static void before_one_swift(void)
{
    stage_pool(2, TASKS);
    model_swift_after = 1;
}

/* ---- two sleepers, and a worker whose deque overflows ---- */

static void before_two(void)
{
    stage_pool(3, TASKS);
}

static void thread_two(unsigned self)
{
    if (self)
        stage_work(&workers[self]);
    else
        model_expect(stage_submit(0) && stage_submit(1) && stage_submit(2), "a task was refused");
}

/* ---- two outside, by way of the inbox, and a worker that empties it ---- */

static void before_outside(void)
{
    stage_pool(1, TASKS);
}

static void thread_outside(unsigned self)
{
    switch (self) {
    case 0:
        stage_work(&workers[0]);
        break;
    case 1:
        model_expect(stage_submit(0) && stage_submit(1), "a task was refused");
        break;
    default:
        model_expect(stage_submit(2), "a task was refused");
    }
}

/* ---- a runner that is stuck, and who was to leave all to it ---- */

/* No time passes: so all tasks are quick, and who has not begun one since is stuck. */

static bool had_runner, was_watched; /* in any run */

static void thread_runner(unsigned self)
{
    switch (self) {
    case 0:
        while (atomic_load(&workers[0].begun) < 2 && stage_turn(&workers[0]))
            had_runner |= pool.runner == &workers[0];
        break;
    case 1:
        while (stage_turn(&workers[1]))
            was_watched |= workers[1].seen_begun > 0;
        break;
    default:
        model_expect(stage_submit(0) && stage_submit(1) && stage_submit(2), "a task was refused");
    }
}

/* ---- a worker that leaves for want of work, while another one submits ---- */

static void before_idle(void)
{
    stage_pool(2, TASKS + 1);
    pool.min_workers = 0;
    pool.idle_timeout = 1;
    workers_leave = true;
}

static void thread_idle(unsigned self)
{
    if (self == 0)
        model_expect(stage_submit(0), "a task was refused");
    else if (self == 1)
        stage_work(&workers[1]);
}

static void after_idle(void)
{
    model_expect(atomic_load(&state[0]) == CLAIMED || atomic_load(&started),
                 "nobody is left that will find the task");
}

/* ---- mutants ---- */

static const struct model_mutant one_mutants[] = {
    /* Each of the four sides of: who pushes then looks for sleepers, who goes
     * to sleep then looks for tasks. */
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"look_for_helpers", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__deque_is_wanted", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_empty", "bottom", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__inbox_empty", "inbox", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    /* Falling asleep against being woken. */
    {"soon__park", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__wake", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant one_swift_mutants[] = {
    {"soon__deque_quicken", "n_swift", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    {"soon__deque_catch_up", "n_swift", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__barrier_everywhere", "the barrier", MODEL_CALL, MODEL_LOST, 0},
    {"soon__deque_publish_swiftly", "bottom", MODEL_STORE, MODEL_LATER, 0},
};

static const struct model_mutant two_mutants[] = {
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_is_wanted", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__wake", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant outside_mutants[] = {
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__inbox_take", "inbox", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
};

static const struct model_mutant runner_mutants[] = {
    {"look_for_helpers", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
    {"soon__wake", "awake", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant idle_mutants[] = {
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
};

int main(void)
{
    static const struct model models[] = {
        {"parking: one sleeper", 60000, before_one, thread_one, after_all_run, stage_resumed,
         MUTANTS(one_mutants)},
        {"parking: one sleeper, swiftly", 60000, before_one_swift, thread_one, after_all_run,
         stage_resumed, MUTANTS(one_swift_mutants)},
        {"parking: two sleepers", 60000, before_two, thread_two, after_all_run, stage_resumed,
         MUTANTS(two_mutants)},
        {"parking: two outside", 60000, before_outside, thread_outside, after_all_run,
         stage_resumed, MUTANTS(outside_mutants)},
        {"parking: a runner that is stuck", 60000, before_one, thread_runner, after_all_run,
         stage_resumed, MUTANTS(runner_mutants)},
        {"parking: leaving for want of work", 60000, before_idle, thread_idle, after_idle,
         stage_resumed, MUTANTS(idle_mutants)},
    };

    int failed = model_check(models, sizeof models / sizeof *models);
    if (had_runner && was_watched)
        return failed;
    fprintf(stderr, "parking: no run had a runner that was watched\n");
    return EXIT_FAILURE;
}
