/* SPDX-License-Identifier: MIT */
#include "thread_pool/backlog.h"

#include "core/chain.h"
#include "core/mem.h"

#include <errno.h>

enum { AGE = 64, SPARES = 2 };

#ifndef SOON__BLOCK_SIZE
#define SOON__BLOCK_SIZE 511 /* 4 KiB; the model checker makes do with 2 */
#endif

struct soon__block {
    struct soon__block *next;
    soon_future *entry[SOON__BLOCK_SIZE];
};

/* ---- blocks ---- */

static size_t room(const struct soon__backlog *b)
{
    return (b->last ? SOON__BLOCK_SIZE - b->put : 0) + b->n_spare * SOON__BLOCK_SIZE;
}

int soon__backlog_reserve(struct soon__backlog *b, size_t n)
{
    while (room(b) < n) {
        struct soon__block *block = soon__alloc(sizeof *block);
        if (!block)
            return -ENOMEM;
        block->next = b->spare;
        b->spare = block;
        b->n_spare++;
        b->n_blocks++;
    }
    return 0;
}

static void put_away(struct soon__backlog *b, struct soon__block *block)
{
    if (b->n_spare >= SPARES) {
        soon__free(block, sizeof *block);
        b->n_blocks--;
        return;
    }
    block->next = b->spare;
    b->spare = block;
    b->n_spare++;
}

static void append_block(struct soon__backlog *b)
{
    struct soon__block *block = b->spare;

    b->spare = block->next;
    b->n_spare--;
    block->next = NULL;
    if (b->last)
        b->last->next = block;
    else
        b->first = block;
    b->last = block;
    b->put = 0;
}

static void push_normal(struct soon__backlog *b, soon_future *f)
{
    if (!b->last || b->put == SOON__BLOCK_SIZE)
        append_block(b);
    b->last->entry[b->put++] = f;
    b->n_normal++;
}

/* From a backlog that has some. */
static soon_future *pop_normal(struct soon__backlog *b)
{
    struct soon__block *block = b->first;
    soon_future *f = block->entry[b->taken++];

    b->n_normal--;
    if (!b->n_normal) {
        b->taken = b->put = 0; /* it is the last block, too */
    } else if (b->taken == SOON__BLOCK_SIZE) {
        b->first = block->next;
        b->taken = 0;
        put_away(b, block);
    }
    return f;
}

/* ---- in ---- */

void soon__backlog_push(struct soon__backlog *b, soon_future *chain)
{
    while (chain) {
        soon_future *f = chain;
        chain = soon__cut(f);
        switch (soon__future_priority(f)) {
        case SOON_PRIORITY_HIGH:
            soon_task_queue_push(&b->high, f);
            break;
        case SOON_PRIORITY_LOW:
            soon_task_queue_push(&b->low, f);
            break;
        default:
            push_normal(b, f);
        }
    }
}

void soon__backlog_fetch(struct soon__backlog *b, struct soon__inbox *inbox)
{
    soon_future *f;

    /* No more than there is room for: others go on pushing. */
    for (int n = 0; n < SOON__INBOX_SIZE && (f = soon__inbox_take(inbox)); n++)
        push_normal(b, f);
}

/* ---- out ---- */

enum lane { HIGH, NORMAL, LOW, LANES };

static int lane_to_serve(struct soon__backlog *b, const bool has[LANES])
{
    int first = -1, aged = -1;

    for (int i = 0; i < LANES; i++) {
        if (!has[i])
            b->passed_over[i] = 0;
        else if (first < 0)
            first = i;
        else if (++b->passed_over[i] > AGE && aged < 0)
            aged = i;
    }
    return aged < 0 ? first : aged;
}

static size_t take_normal(struct soon__backlog *b, struct soon__inbox *inbox, soon_future **out,
                          size_t max)
{
    size_t n = 0;

    while (n < max && b->n_normal)
        out[n++] = pop_normal(b);
    while (n < max && (out[n] = soon__inbox_take(inbox)))
        n++;
    return n;
}

/* No more than are to go before a LOW that waits. */
static size_t share(const struct soon__backlog *b, bool low_waits, size_t max)
{
    unsigned passed_over = b->passed_over[LOW]; /* this turn is counted already */
    size_t before_low = passed_over <= AGE ? AGE + 1 - passed_over : 1;

    return low_waits && before_low < max ? before_low : max;
}

size_t soon__backlog_take(struct soon__backlog *b, struct soon__inbox *inbox, soon_future **out,
                          size_t max)
{
    bool has[LANES] = {b->high.count, b->n_normal || !soon__inbox_empty(inbox), b->low.count};
    int lane = lane_to_serve(b, has);
    size_t n = 1;

    if (lane < 0)
        return 0;
    if (lane == NORMAL)
        n = take_normal(b, inbox, out, share(b, has[LOW], max));
    else
        out[0] = soon_task_queue_pop(lane == HIGH ? &b->high : &b->low);
    b->passed_over[lane] = 0;
    if (lane == NORMAL && has[LOW])
        b->passed_over[LOW] += (unsigned)(n - 1);
    return n;
}

bool soon__backlog_is_normal_due(const struct soon__backlog *b)
{
    return b->passed_over[NORMAL] >= AGE;
}

void soon__backlog_pass_turn(struct soon__backlog *b)
{
    b->passed_over[NORMAL] = 0;
}

/* ---- the rest ---- */

/* Pushes again what is pending, in place: a block that is being read is the
 * first spare, so that what is written to it has been read. */
static soon_future *sweep_normal(struct soon__backlog *b, soon_future *swept)
{
    struct soon__block *block = b->first, *next;
    size_t left = b->n_normal;
    unsigned from = b->taken;

    b->first = b->last = NULL;
    b->taken = b->put = 0;
    b->n_normal = 0;
    for (; block; block = next, from = 0) {
        next = block->next;
        block->next = b->spare;
        b->spare = block;
        b->n_spare++;
        for (unsigned i = from; i < SOON__BLOCK_SIZE && left; i++, left--) {
            soon_future *f = block->entry[i];
            if (soon_future_unclaimed(f))
                push_normal(b, f);
            else
                swept = soon__link(f, swept);
        }
    }
    return swept;
}

static void free_spares(struct soon__backlog *b, size_t keep)
{
    while (b->n_spare > keep) {
        struct soon__block *block = b->spare;
        b->spare = block->next;
        b->n_spare--;
        b->n_blocks--;
        soon__free(block, sizeof *block);
    }
}

soon_future *soon__backlog_sweep(struct soon__backlog *b)
{
    soon_future *swept = NULL, *next;

    for (int i = 0; i < 2; i++)
        for (soon_future *f = soon_task_queue_sweep(i ? &b->low : &b->high); f; f = next) {
            next = soon__cut(f);
            swept = soon__link(f, swept);
        }
    swept = sweep_normal(b, swept);
    free_spares(b, SPARES);
    return swept;
}

size_t soon__backlog_memory(const struct soon__backlog *b)
{
    return b->n_blocks * sizeof(struct soon__block);
}

void soon__backlog_free(struct soon__backlog *b)
{
    struct soon__block *next;

    for (struct soon__block *block = b->first; block; block = next) {
        next = block->next;
        soon__free(block, sizeof *block);
    }
    free_spares(b, 0);
}
