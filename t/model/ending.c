/* SPDX-License-Identifier: MIT */
/*
 * lib/thread_pool/schedule.c and flush.c: a shutdown overlooks no task. See stage.h.
 */
#include "stage.h"

#include <string.h>

/* ---- a shutdown that cancels, against workers that take ---- */

static void before_taking(void)
{
    stage_pool(2, TASKS + 1); /* nobody closes it by running the last */
    soon__this_worker = &workers[0];
    for (unsigned i = 0; i < SOON__DEQUE_SIZE; i++) {
        model_write(i);
        soon__deque_push(&workers[0].deque, &tasks[i]);
    }
}

static void cancel_all(void)
{
    stage_close(POOL_CANCELLING);
    /* relaxed: that it sees them is the shutdown's doing. */
    for (unsigned i = 0; i < SOON__DEQUE_SIZE; i++)
        model_expect(atomic_load_explicit(&state[i], memory_order_relaxed) != PENDING,
                     "a task outlived the shutdown that cancels it");
}

static void thread_taking(unsigned self)
{
    if (role[self] == NONE) {
        cancel_all();
        return;
    }
    stage_turn(&workers[self]);
    if (self == 0)
        stage_submit(2);
}

/* ---- the same, against a worker whose task joins what it has forked ---- */

/* As soon__take_child(). */
static void join(struct worker *self, unsigned i)
{
    int64_t at;

    model_expect(soon__deque_youngest(&self->deque, &tasks[i], &at), "it is not there");
    soon__deque_begin_take(&self->deque, at);
    bool claimed = stage_end(&tasks[i], CLAIMED);
    if (claimed) /* by what is a full barrier: as in deque.c */
        atomic_store(&self->deque.bottom, at);
    soon__deque_end_take(&self->deque, at, claimed);
}

static void thread_joining(unsigned self)
{
    switch (self) {
    case 0:
        join(&workers[0], 1);
        break;
    case 1:
        stage_turn(&workers[1]);
        break;
    default:
        cancel_all();
    }
}

/* ---- the same, against a worker that submits ---- */

static bool accepted[TASKS];

static void before_submitting(void)
{
    stage_pool(2, TASKS + 1);
    memset(accepted, 0, sizeof accepted);
}

static void before_submitting_swiftly(void)
{
    before_submitting();
    model_swift_after = 1;
}

static void thread_submitting(unsigned self)
{
    switch (self) {
    case 0:
        accepted[0] = stage_submit(0);
        accepted[1] = stage_submit(1);
        break;
    case 1:
        stage_turn(&workers[1]);
        break;
    default:
        stage_close(POOL_CANCELLING);
    }
}

static void after_submitting(void)
{
    for (unsigned i = 0; i < TASKS; i++)
        model_expect((atomic_load(&state[i]) != PENDING) == accepted[i],
                     "a task was left in the pool, or refused and not left alone");
}

/* ---- the same, against a worker that was swift, and sees nothing of it ---- */

static void before_slowing_down(void)
{
    before_submitting_swiftly();
    pool.max_workers = pool.n_staying = 1; /* the second one is of no use */
}

static void thread_slowing_down(unsigned self)
{
    if (self == 0) {
        accepted[0] = stage_submit(0);
        accepted[1] = stage_submit(1);
        soon__deque_slow_down(&workers[0].deque);
    } else if (role[self] == NONE) {
        stage_close(POOL_CANCELLING);
    }
}

/* ---- a shutdown that lets everything end, against somebody outside ---- */

static void before_leaving(void)
{
    stage_pool(1, TASKS + 1);
    memset(accepted, 0, sizeof accepted);
}

static void thread_leaving(unsigned self)
{
    switch (self) {
    case 0:
        stage_work(&workers[0]);
        break;
    case 1:
        accepted[0] = stage_submit(0);
        accepted[1] = stage_submit(1);
        break;
    default:
        stage_close(POOL_CLOSED);
    }
}

/* ---- mutants ---- */

static const struct model_mutant taking_mutants[] = {
    {"set_taking", "taking", MODEL_STORE, MODEL_LOST, 0},
    {"await_claims", "taking", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
};

static const struct model_mutant joining_mutants[] = {
    {"soon__deque_begin_take", "taking", MODEL_STORE, MODEL_LOST, 0},
    {"soon__deque_begin_take", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__deque_end_take", "taking", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"await_claims", "taking", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
};

static const struct model_mutant submitting_mutants[] = {
    /* Who pushes then looks for the end, who ends it then empties the deques. */
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_is_wanted", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
    {"soon__deque_steal", "bottom", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
};

static const struct model_mutant submitting_swiftly_mutants[] = {
    {"soon__deque_publish_swiftly", "bottom", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_catch_up", "n_swift", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__barrier_everywhere", "the barrier", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant slowing_down_mutants[] = {
    {"soon__deque_slow_down", "n_swift", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__barrier_everywhere", "the barrier", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant leaving_mutants[] = {
    /* Who pushes then looks for helpers, who leaves counts as one and then
     * looks. */
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    {"look_for_helpers", "helpers", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__count_helpers", "helpers", MODEL_STORE, MODEL_LOST, 0},
};

int main(void)
{
    static const struct model models[] = {
        {"ending: cancelling what is joined", 60000, before_taking, thread_joining, NULL,
         stage_resumed, MUTANTS(joining_mutants)},
        {"ending: cancelling what is taken", 60000, before_taking, thread_taking, NULL,
         stage_resumed, MUTANTS(taking_mutants)},
        {"ending: cancelling what is submitted", 60000, before_submitting, thread_submitting,
         after_submitting, stage_resumed, MUTANTS(submitting_mutants)},
        {"ending: cancelling what is submitted swiftly", 60000, before_submitting_swiftly,
         thread_submitting, after_submitting, stage_resumed, MUTANTS(submitting_swiftly_mutants)},
        {"ending: cancelling what was submitted swiftly", 60000, before_slowing_down,
         thread_slowing_down, after_submitting, stage_resumed, MUTANTS(slowing_down_mutants)},
        {"ending: leaving while one is submitted", 60000, before_leaving, thread_leaving,
         after_submitting, stage_resumed, MUTANTS(leaving_mutants)},
    };

    return model_check(models, sizeof models / sizeof *models);
}
