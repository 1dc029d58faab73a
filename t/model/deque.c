/* SPDX-License-Identifier: MIT */
/*
 * lib/core/deque.h: whatever the owner and two thieves do, every entry
 * goes to exactly one of them, who then sees what was written before the push.
 * The ring has two slots, so that four entries wrap it around.
 */
#include "model.h"

#include "core/deque.h"

#include <string.h>

_Static_assert(SOON__DEQUE_SIZE == 2, "the model wants a ring that wraps around soon");

enum { OWNER = 0, ENTRIES = 4 };

static struct soon__deque deque;
static char entries[ENTRIES]; /* their addresses are futures to the deque */
static unsigned gone[ENTRIES];
static _Atomic unsigned claimed[ENTRIES]; /* by whom, from 1 */
static _Atomic unsigned n_swift;          /* the owner, after its first push */

static soon_future *entry(unsigned i)
{
    return (soon_future *)(void *)&entries[i];
}

static void before(void)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        gone[i] = 0;
        atomic_init(&claimed[i], 0);
        MODEL_BIND(claimed[i], "claimed");
    }
    atomic_init(&deque.top, 0);
    atomic_init(&deque.bottom, 0);
    MODEL_BIND(deque.top, "top");
    MODEL_BIND(deque.bottom, "bottom");
    atomic_init(&deque.taking, false);
    MODEL_BIND(deque.taking, "taking");
    for (unsigned i = 0; i < SOON__DEQUE_SIZE; i++) {
        atomic_init(&deque.slot[i], NULL);
        MODEL_BIND(deque.slot[i], "slot");
    }
    model_swift_after = 1;
    atomic_init(&n_swift, 0);
    MODEL_BIND(n_swift, "n_swift");
    deque.n_swift = &n_swift;
    deque.swift = deque.overflowed = false;
    deque.room = deque.limit = 0;
    deque.n_dead = deque.n_pushed = 0;
    memset(deque.dead, 0, sizeof deque.dead);
}

static unsigned number(const soon_future *f)
{
    return (unsigned)((const char *)(const void *)f - entries);
}

static void got(const soon_future *f)
{
    unsigned i = number(f);

    model_expect(i < ENTRIES, "something that was never pushed came out");
    model_expect(++gone[i] == 1, "an entry came out twice");
    model_read(i);
}

/* As soon__begin_call(). */
static bool claim(unsigned i)
{
    unsigned nobody = 0;

    return atomic_compare_exchange_strong_explicit(&claimed[i], &nobody, 1, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* What a read-modify-write is, besides, where each of them is a full barrier. relacy
 * knows no order between a fence and another thread's seq_cst load; so what was stored
 * before the barrier is stored once more. */
static void barrier(void)
{
    if (model_call("barrier", "bottom"))
        atomic_store(&deque.bottom, soon__deque_end(&deque));
}

/* As soon__take_child(). Not claimed, it is still there for a thief, or in the end. */
static void join(unsigned i)
{
    int64_t at;

    if (!soon__deque_youngest(&deque, entry(i), &at))
        return;
    soon__deque_begin_take(&deque, at);
    bool mine = claim(i);
    if (mine)
        barrier();
    if (soon__deque_end_take(&deque, at, mine))
        got(entry(i));
}

/* At most so many tries: how long a thief goes on is the pool's matter. */
static void steal(int tries)
{
    bool again = true;

    while (again && tries--) {
        soon_future *f = soon__deque_steal(&deque, &again);
        if (f) {
            got(f);
            claim(number(f));
        }
    }
}

/* What is dead and has come to the bottom. */
static void unearth(void)
{
    soon_future *f;

    while ((f = soon__deque_unearth(&deque)))
        got(f);
}

/* As a worker does: once it was full it has to be empty. */
static void make_room(void)
{
    if (soon__deque_empty(&deque))
        deque.overflowed = false;
    else
        steal(1);
}

static void own(void)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        model_write(i);
        while (!soon__deque_offer(&deque, entry(i)))
            make_room();
        switch (model_choose(6)) {
        case 5:
            soon__deque_slow_down(&deque);
            break;
        case 4:
            soon__deque_bury(&deque, entry(i));
            break;
        case 3:
            join(i);
            break;
        case 0:
            if (soon__deque_take(&deque, entry(i)))
                got(entry(i));
            break;
        case 1:
            steal(1);
        }
        if (model_choose(2))
            unearth();
    }
}

static void thread(unsigned self)
{
    if (self == OWNER) {
        own();
        return;
    }
    for (int i = 0; i < 3; i++)
        steal(2);
}

static void after(void)
{
    bool again;
    soon_future *f;

    while ((f = soon__deque_steal(&deque, &again)))
        got(f);
    model_expect(soon__deque_empty(&deque), "nothing comes out, but it is not empty");
    for (unsigned i = 0; i < ENTRIES; i++)
        model_expect(gone[i] == 1, "an entry was lost");
}

/* Not here: steal's load of top, which is the first of two loads that may not
 * change places, and push's, which comes before a store that a thief's load
 * may not see too early. relacy does neither of these. */
static const struct model_mutant mutants[] = {
    {"soon__deque_publish", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__deque_publish_swiftly", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__deque_push", "slot", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_push_swiftly", "slot", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_steal", "bottom", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__deque_steal", "top", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQ_REL},
    {"soon__deque_steal", "top", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__deque_take", "bottom", MODEL_STORE, MODEL_WEAKER, MODEL_RELEASE},
    {"soon__deque_take", "bottom", MODEL_STORE, MODEL_LATER, 0},
    {"soon__deque_take", "bottom", MODEL_STORE, MODEL_LOST, 0},
    {"soon__deque_win", "top", MODEL_LOAD, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__deque_win_last", "top", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__deque_begin_take", "bottom", MODEL_STORE, MODEL_LOST, 0},
    {"barrier", "bottom", MODEL_CALL, MODEL_LOST, 0},
};

int main(void)
{
    static const struct model models[] = {
        {"deque", 100000, before, thread, after, NULL, mutants, sizeof mutants / sizeof *mutants},
    };

    return model_check(models, sizeof models / sizeof *models);
}
