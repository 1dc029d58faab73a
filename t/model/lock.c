/* SPDX-License-Identifier: MIT */
/*
 * lib/os/lock.h and lock.c: one thread at a time, who sees what the one before
 * has done, and nobody sleeps while the lock is free.
 */
#include "model.h"

#include "os/lock.h"

enum { TURNS = 2, GUARDED = 0 };

static soon__lock lock;
static unsigned inside, turns;

static void before(void)
{
    inside = turns = 0;
    model_write(GUARDED);
    atomic_init(&lock.word, 0);
    MODEL_BIND(lock.word, "word");
}

static void thread(unsigned self)
{
    (void)self;
    for (int i = 0; i < TURNS; i++) {
        soon__lock_acquire(&lock);
        model_expect(++inside == 1, "two threads have the lock");
        model_read(GUARDED);
        model_write(GUARDED);
        turns++;
        inside--;
        soon__lock_release(&lock);
    }
}

static void after(void)
{
    model_expect(turns == TURNS * MODEL_THREADS, "somebody was left out");
    model_expect(atomic_load(&lock.word) == 0, "the lock is still held");
}

static const struct model_mutant mutants[] = {
    {"soon__lock_try", "word", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__lock_try", "word", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__lock_wait", "word", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__lock_wait", "word", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__lock_release", "word", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__lock_release", "word", MODEL_UPDATE, MODEL_WEAKER, MODEL_RELAXED},
};

int main(void)
{
    static const struct model models[] = {
        {"lock", 100000, before, thread, after, NULL, mutants, sizeof mutants / sizeof *mutants},
    };

    return model_check(models, sizeof models / sizeof *models);
}
