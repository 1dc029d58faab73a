/* SPDX-License-Identifier: MIT */
/*
 * The channel of a process pool (lib/process_pool/channel.h), and all that
 * works on it: every task is begun once or taken back, whoever is killed when;
 * what one side wrote the other reads whole; no place is used again too early;
 * and nobody sleeps while there is something for him to do.
 *
 * The ring has two slots, so that a third task comes to the first one's.
 */
#include "world.h"

_Static_assert(SOON__RING == 2, "the model wants a ring that wraps around soon");

/* What users do: the first one of a scenario, and the second. */
static void (*first)(void), (*second)(void);

static void begin(unsigned lives, void (*one)(void), void (*two)(void))
{
    first = one;
    second = two;
    world_begin(two ? 2 : 1, lives);
}

static void thread(unsigned self)
{
    void (*user)(void) = self == WORLD_USER ? first : second;

    if (self == WORLD_WORKER)
        world_worker();
    else if (self == WORLD_MONITOR)
        world_monitor();
    else if (user)
        user();
}

/* ---- handing out: each way that an argument goes ---- */

static void hand_two(void)
{
    world_submit(0, model_choose(2) ? ARG_SLOT : ARG_AREA);
    if (model_choose(2))
        world_wait(0);
    world_submit(1, ARG_AREA);
    world_wait(0);
    world_wait(1);
    world_leave();
}

static void hand_one(void)
{
    world_submit(2, ARG_FILE);
    world_wait(2);
    world_leave();
}

static void before_handing(void)
{
    begin(1, hand_two, hand_one);
}

/* ---- taking back: by a canceller, and all of them ---- */

static void hand_three(void)
{
    world_submit(0, ARG_SLOT);
    world_submit(1, model_choose(2) ? ARG_SLOT : ARG_FILE);
    world_submit(2, ARG_AREA);
    for (unsigned i = 0; i < 3; i++)
        world_wait(i);
    world_leave();
}

static void take_back(void)
{
    for (int i = 0; i < 2; i++)
        switch (model_choose(6)) {
        case 0:
            world_take_back();
            break;
        case 1:
            world_look(model_choose(3));
            break;
        default:
            world_cancel(model_choose(3));
        }
    world_leave();
}

static void before_taking(void)
{
    begin(1, hand_three, take_back);
}

/* ---- the same, of tasks that are there from the beginning ---- */

static void hand_third(void)
{
    world_submit(2, ARG_SLOT);
    world_wait(2);
    world_leave();
}

static void cancel_two(void)
{
    world_cancel(0);
    world_cancel(1);
    world_wait(0);
    world_wait(1);
    world_leave();
}

static void before_cancelling(void)
{
    begin(1, hand_third, cancel_two);
    world_submit(0, ARG_SLOT);
    world_submit(1, ARG_SLOT);
}

/* ---- a user who looks for the result himself ---- */

static void assist(void)
{
    world_submit(0, ARG_SLOT);
    world_assist(0);
    world_wait(0);
    world_submit(1, ARG_SLOT);
    world_wait(1);
    world_leave();
}

static void assist_too(void)
{
    world_submit(2, ARG_SLOT);
    if (model_choose(2))
        world_assist(2);
    if (model_choose(2))
        world_cancel(2);
    world_wait(2);
    world_leave();
}

static void before_assisting(void)
{
    begin(1, assist, model_choose(2) ? assist_too : NULL);
}

/* ---- a user who wants to be told that a task has begun ---- */

/* As if it took for ever: it ends when it is told of. */
static void until_told(soon_future *f, struct soon_port *port)
{
    (void)port;
    while (atomic_load_explicit(&f->phase, memory_order_relaxed) == TASK_PENDING)
        model_sleep(&f->phase, TASK_PENDING, false);
}

static void look(void)
{
    soon__op_look(&world_pool.ex, NULL);
    world_wait(0);
    world_leave();
}

static void submit_and_look(void)
{
    bool early = model_choose(2);

    if (early)
        soon__op_look(&world_pool.ex, NULL);
    world_submit(0, ARG_SLOT);
    if (!early)
        soon__op_look(&world_pool.ex, NULL);
    world_wait(0);
    world_leave();
}

static void only_assist(void)
{
    world_assist(0);
    world_leave();
}

static void before_beginning(void)
{
    begin(1, submit_and_look, NULL);
    world_function = until_told;
}

/* ---- the same, while somebody else looks for the result ---- */

static void before_overlooking(void)
{
    begin(1, look, only_assist);
    world_function = until_told;
    world_submit(0, ARG_SLOT);
}

/* ---- workers that are killed ---- */

static void hand_one_or_none(void)
{
    world_submit(2, ARG_AREA);
    if (model_choose(2))
        world_cancel(2);
    world_wait(2);
    world_leave();
}

static void before_dying(void)
{
    begin(2, hand_two, hand_one_or_none);
    world_deaths = 1;
}

/* ---- a task that is killed: it, and no other ---- */

/* Not in the area, which is the pool's no longer when the worker is given up. */
static void hand_slots(void)
{
    world_submit(0, ARG_SLOT);
    world_submit(1, ARG_SLOT);
    world_wait(0);
    world_wait(1);
    world_leave();
}

static void kill_one(void)
{
    world_submit(2, ARG_SLOT);
    world_kill(model_choose(3));
    world_wait(2);
    world_leave();
}

static void before_killing(void)
{
    begin(2, hand_two, kill_one);
}

static void after_killing(void)
{
    world_end();
    for (unsigned i = 0; i < WORLD_TASKS; i++)
        model_expect(atomic_load(&world_task[i].phase) != TASK_FAILED || world_task[i].killed,
                     "another task was killed");
}

/* ---- the same, of a worker that can't be ended by force ---- */

static void before_leaving(void)
{
    begin(2, hand_slots, kill_one);
    world_untouchable = true;
}

/* ---- results that are lent, also for longer than there is a pool ---- */

static void borrow_twice(void)
{
    world_submit(0, ARG_SLOT);
    world_wait(0);
    world_give_back(0);
    world_submit(1, ARG_SLOT);
    world_wait(1);
    world_give_back(1);
    world_leave();
}

static void borrow_for_long(void)
{
    world_submit(2, ARG_SLOT);
    world_wait(2);
    world_leave();
    world_give_back(2);
}

static void before_lending(void)
{
    begin(1, borrow_twice, borrow_for_long);
    world_task[0].result = model_choose(2) ? RESULT_COPIED : RESULT_LENT;
    world_task[1].result = world_task[2].result = RESULT_LENT;
}

/* ---- progress ---- */

enum { REPORTS = 4 };

static void report_progress(soon_future *f, struct soon_port *port)
{
    (void)f;
    for (unsigned i = 1; i <= REPORTS; i++)
        port->progress(port, i, 10 * i);
}

static void wait_for_one(void)
{
    world_wait(0);
    world_leave();
}

static void ask(void)
{
    uint64_t done, total, before = 0;

    for (int i = 0; i < 3; i++)
        if (soon__op_progress(&world_pool.ex, &world_task[0], &done, &total)) {
            model_expect(total == 10 * done && done > 0, "progress is torn");
            model_expect(done >= before, "progress went back");
            before = done;
        }
    world_leave();
}

static void before_progress(void)
{
    begin(1, wait_for_one, ask);
    world_function = report_progress;
    world_submit(0, ARG_SLOT);
}

static void after_progress(void)
{
    world_end();
    model_expect(world_task[0].progress == REPORTS, "the last report is lost");
}

/* ---- mutants ---- */

static const struct model_mutant handing_mutants[] = {
    /* The four sides of: who shows a task then looks whether the worker sleeps,
     * who goes to sleep then looks for a task. */
    {"show", "state", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"show", "state", MODEL_STORE, MODEL_LATER, 0},
    {"rouse", "asleep", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"await", "asleep", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"await", "asleep", MODEL_STORE, MODEL_LAST, 0},
    {"is_ready", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"rouse", "asleep", MODEL_UPDATE, MODEL_LOST, 0},
    /* Of: who has done a task then looks at the bell, who sets the bell then
     * looks for what is done. */
    {"work", "state", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"work", "state", MODEL_STORE, MODEL_LATER, 0},
    {"ring_soon", "bell", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"set_bells", "bell", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"set_bells", "bell", MODEL_STORE, MODEL_LAST, 0},
    {"set_bells", "bell", MODEL_STORE, MODEL_LOST, 0},
    {"judge", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__event_set", "done", MODEL_CALL, MODEL_LOST, 0},
    /* A bell for a worker that was idle when the monitor went to sleep. */
    {"show", "bell", MODEL_STORE, MODEL_LATER, 0},
    {"show", "bell", MODEL_STORE, MODEL_LOST, 0},
    /* The task, and its result. */
    {"show", "state", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"work", "state", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"judge", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
};

static const struct model_mutant taking_mutants[] = {
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_LOST, 0},
    {"pass", "state", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__event_set", "passed", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant cancelling_mutants[] = {
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"pass", "state", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"ring", "bell", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"judge", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__event_set", "passed", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant assisting_mutants[] = {
    {"set_bell", "bell", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"set_bell", "bell", MODEL_STORE, MODEL_LAST, 0},
    {"set_bell", "bell", MODEL_STORE, MODEL_LOST, 0},
    {"ring", "bell", MODEL_UPDATE, MODEL_SPLIT, 0},
};

static const struct model_mutant beginning_mutants[] = {
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    {"ring", "bell", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"look_at_all", "bell", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"look_at_all", "bell", MODEL_STORE, MODEL_LAST, 0},
    {"look_at_all", "bell", MODEL_STORE, MODEL_LOST, 0},
    {"set_bells", "bell", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"set_bells", "bell", MODEL_STORE, MODEL_LAST, 0},
    {"is_in", "state", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__event_set", "taken", MODEL_CALL, MODEL_LOST, 0},
};

static const struct model_mutant overlooking_mutants[] = {
    {"set_bell", "bell", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"set_bell", "bell", MODEL_STORE, MODEL_LAST, 0},
    {"set_bell", "bell", MODEL_STORE, MODEL_LOST, 0},
};

static const struct model_mutant dying_mutants[] = {
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_LOST, 0},
    {"soon__segment_ref", "refs", MODEL_UPDATE, MODEL_LOST, 0},
};

static const struct model_mutant killing_mutants[] = {
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__slot_turn", "state", MODEL_UPDATE, MODEL_LOST, 0},
};

/* Who gives a worker up then looks whether it sleeps, and it the other way round. */
static const struct model_mutant leaving_mutants[] = {
    {"give_up", "given_up", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"give_up", "given_up", MODEL_STORE, MODEL_LAST, 0},
    {"give_up", "given_up", MODEL_STORE, MODEL_LOST, 0},
    {"give_up", "asleep", MODEL_UPDATE, MODEL_LOST, 0},
    {"await", "asleep", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"await", "asleep", MODEL_STORE, MODEL_LATER, 0},
    {"sleep_until", "given_up", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
};

static const struct model_mutant lending_mutants[] = {
    {"take_blocks", "blocks", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"take_blocks", "blocks", MODEL_UPDATE, MODEL_LOST, 0},
    {"give_blocks", "blocks", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"give_blocks", "blocks", MODEL_UPDATE, MODEL_LOST, 0},
    {"give_blocks", "blocks", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__op_give_back", "lent", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__op_give_back", "lent", MODEL_UPDATE, MODEL_LOST, 0},
    {"lend", "lent", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__segment_ref", "refs", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__segment_drop", "refs", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__segment_drop", "refs", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__segment_drop", "refs", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__segment_drop", "refs", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELEASE},
};

/* Not here: the orders of done and total, which forbid what relacy never does:
 * that a store is seen before one that comes before it, or a load comes late. */
static const struct model_mutant progress_mutants[] = {
    {"progress", "progress_count", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"progress", "progress_count", MODEL_STORE, MODEL_LOST, 0},
    {"read_progress", "progress_count", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
};

#define MUTANTS(of) of, sizeof of / sizeof *of

int main(void)
{
    static const struct model models[] = {
        {"channel: handing out", 30000, before_handing, thread, world_end, world_resumed,
         MUTANTS(handing_mutants)},
        {"channel: taking back", 30000, before_taking, thread, world_end, world_resumed,
         MUTANTS(taking_mutants)},
        {"channel: cancelling", 30000, before_cancelling, thread, world_end, world_resumed,
         MUTANTS(cancelling_mutants)},
        {"channel: assisting", 90000, before_assisting, thread, world_end, world_resumed,
         MUTANTS(assisting_mutants)},
        {"channel: beginning", 30000, before_beginning, thread, world_end, world_resumed,
         MUTANTS(beginning_mutants)},
        {"channel: overlooking", 60000, before_overlooking, thread, world_end, world_resumed,
         MUTANTS(overlooking_mutants)},
        {"channel: dying", 30000, before_dying, thread, world_end, world_resumed,
         MUTANTS(dying_mutants)},
        {"channel: killing", 30000, before_killing, thread, after_killing, world_resumed,
         MUTANTS(killing_mutants)},
        {"channel: leaving", 30000, before_leaving, thread, after_killing, world_resumed,
         MUTANTS(leaving_mutants)},
        {"channel: lending", 30000, before_lending, thread, world_end, world_resumed,
         MUTANTS(lending_mutants)},
        {"channel: progress", 30000, before_progress, thread, after_progress, world_resumed,
         MUTANTS(progress_mutants)},
    };

    return model_check(models, sizeof models / sizeof *models);
}
