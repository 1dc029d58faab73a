/* SPDX-License-Identifier: MIT */
/*
 * lib/thread_pool/inbox.h: what two push comes out once, in the order in which
 * each of them pushed it, and with what was written before the push. The inbox
 * has two slots, so that five pushes go round it more than twice.
 */
#include "model.h"

#include "thread_pool/inbox.h"

_Static_assert(SOON__INBOX_SIZE == 2, "the model wants an inbox that is soon full");

enum { TAKER = 0, FIRST = 1, EACH = 3, ENTRIES = 2 * EACH };

static struct soon__inbox inbox;
static _Alignas(2) char entries[2 * ENTRIES]; /* every other address is a future to the inbox */
static bool pushed[ENTRIES], out[ENTRIES];
static int last[2];

static soon_future *entry(unsigned i)
{
    return (soon_future *)(void *)&entries[2 * i];
}

static void before(void)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        pushed[i] = out[i] = false;
    last[0] = last[1] = -1;
    soon__inbox_init(&inbox);
    MODEL_BIND(inbox.hint, "hint");
    MODEL_BIND(inbox.seen, "seen");
    MODEL_BIND(inbox.head, "head");
    for (int i = 0; i < SOON__INBOX_SIZE; i++)
        MODEL_BIND(inbox.slot[i], "inbox");
}

static void got(const soon_future *f)
{
    unsigned i = (unsigned)((const char *)(const void *)f - entries) / 2, by = i / EACH;

    model_expect(i < ENTRIES && !out[i], "something came out twice, or was never pushed");
    model_expect(last[by] < (int)i, "one thread's pushes came out in another order");
    out[i] = true;
    last[by] = (int)i;
    model_read(i);
}

/* Up to max at a time. How many. */
static size_t take_some(size_t max)
{
    soon_future *some[SOON__INBOX_SIZE + 1];
    size_t n = soon__inbox_take(&inbox, some, max);

    for (size_t i = 0; i < n; i++)
        got(some[i]);
    return n;
}

/* One, then as many as there are, and so on. */
static void take(unsigned tries)
{
    while (tries--)
        take_some(tries % 2 ? 1 : SOON__INBOX_SIZE + 1);
}

/* One that finds the inbox full goes another way, and comes back later. */
static void push(unsigned from)
{
    for (unsigned i = from; i < from + EACH; i++) {
        model_write(i);
        pushed[i] = soon__inbox_push(&inbox, entry(i));
    }
}

static void thread(unsigned self)
{
    if (self == TAKER)
        take(ENTRIES);
    else
        push((self - FIRST) * EACH);
}

static void after(void)
{
    bool empty = soon__inbox_empty(&inbox);

    model_expect(empty == !take_some(1), "empty, and something comes out");
    while (take_some(SOON__INBOX_SIZE))
        ;
    for (unsigned i = 0; i < ENTRIES; i++)
        model_expect(pushed[i] == out[i], "something was lost");
}

static const struct model_mutant mutants[] = {
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_SPLIT, 0},
    {"soon__inbox_push", "inbox", MODEL_UPDATE, MODEL_WEAKER, MODEL_ACQUIRE},
    {"soon__inbox_take", "inbox", MODEL_LOAD, MODEL_WEAKER, MODEL_RELAXED},
    {"soon__inbox_take", "inbox", MODEL_STORE, MODEL_LATER, 0},
    {"soon__inbox_take", "inbox", MODEL_STORE, MODEL_LOST, 0},
};

int main(void)
{
    static const struct model models[] = {
        {"inbox", 100000, before, thread, after, NULL, mutants, sizeof mutants / sizeof *mutants},
    };

    return model_check(models, sizeof models / sizeof *models);
}
