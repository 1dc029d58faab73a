/* SPDX-License-Identifier: MIT */
#include "thread_pool/backlog.h"

#include "core/chain.h"
#include "core/mem.h"

#include <errno.h>
#include <string.h>

enum {
    AGE = 64,
    SPARES = 2,
    SWEPT_AT_ONCE = 4, /* blocks, of 510 futures, each of which is a cache miss */
};

#ifndef SOON__BLOCK_SIZE
#define SOON__BLOCK_SIZE 510 /* 4 KiB; the model checker makes do with 2 */
#endif

struct soon__block {
    struct soon__block *next;
    size_t n; /* entries, of which the backlog has taken some if it is the first */
    soon_future *entry[SOON__BLOCK_SIZE];
};

/* ---- blocks ---- */

static size_t room(const struct soon__backlog *b)
{
    return (b->last ? SOON__BLOCK_SIZE - b->last->n : 0) + b->n_spare * SOON__BLOCK_SIZE;
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
    block->n = 0;
    if (b->last)
        b->last->next = block;
    else
        b->first = block;
    b->last = block;
}

/* The last block, which has room. */
static struct soon__block *block_with_room(struct soon__backlog *b)
{
    if (!b->last || b->last->n == SOON__BLOCK_SIZE)
        append_block(b);
    return b->last;
}

static void push_normal(struct soon__backlog *b, soon_future *f)
{
    struct soon__block *block = block_with_room(b);

    block->entry[block->n++] = f;
    b->n_normal++;
}

/* All of the first block has been taken. */
static void leave_block(struct soon__backlog *b)
{
    struct soon__block *block = b->first;

    b->taken = 0;
    if (block == b->swept_to)
        b->swept_to = NULL;
    if (block == b->last) {
        block->n = 0;
        return;
    }
    b->first = block->next;
    put_away(b, block);
}

static size_t pop_normal(struct soon__backlog *b, soon_future **out, size_t max)
{
    size_t n = 0;

    if (max > b->n_normal)
        max = b->n_normal;
    while (n < max) {
        struct soon__block *block = b->first;
        size_t some = block->n - b->taken;
        if (some > max - n)
            some = max - n;
        memcpy(out + n, block->entry + b->taken, some * sizeof *out);
        b->taken += some;
        n += some;
        if (b->taken == block->n)
            leave_block(b);
    }
    b->n_normal -= n;
    return n;
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
    size_t left = SOON__INBOX_SIZE, n, room;

    /* No more than there is room for: others go on pushing. */
    do {
        struct soon__block *block = block_with_room(b);
        room = SOON__BLOCK_SIZE - block->n;
        if (room > left)
            room = left;
        n = soon__inbox_take(inbox, block->entry + block->n, room);
        block->n += n;
        b->n_normal += n;
        left -= n;
    } while (left && n == room);
}

/* ---- parcels ---- */

static bool add_block(struct soon__parcel *parcel)
{
    struct soon__block *block = soon__alloc(sizeof *block);

    if (!block)
        return false;
    block->next = NULL;
    block->n = 0;
    *(parcel->last ? &parcel->last->next : &parcel->first) = block;
    parcel->last = block;
    parcel->n_blocks++;
    return true;
}

static bool add(struct soon__parcel *parcel, soon_future *f)
{
    bool full = !parcel->last || parcel->last->n == SOON__BLOCK_SIZE;

    if (soon__future_priority(f) != SOON_PRIORITY_NORMAL || (full && !add_block(parcel)))
        return false;
    parcel->last->entry[parcel->last->n++] = f;
    parcel->n++;
    return true;
}

bool soon__parcel_pack(struct soon__parcel *parcel, soon_future *chain)
{
    *parcel = (struct soon__parcel){.first = NULL};
    for (soon_future *f = chain; f; f = f->next)
        if (!add(parcel, f)) {
            soon__parcel_free(parcel);
            return false;
        }
    return true;
}

void soon__backlog_append(struct soon__backlog *b, const struct soon__parcel *parcel)
{
    *(b->last ? &b->last->next : &b->first) = parcel->first;
    b->last = parcel->last;
    b->n_blocks += parcel->n_blocks;
    b->n_normal += parcel->n;
}

static void free_blocks(struct soon__block *block)
{
    while (block) {
        struct soon__block *next = block->next;
        soon__free(block, sizeof *block);
        block = next;
    }
}

void soon__parcel_free(struct soon__parcel *parcel)
{
    free_blocks(parcel->first);
    *parcel = (struct soon__parcel){.first = NULL};
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
    size_t n = pop_normal(b, out, max);

    return n + soon__inbox_take(inbox, out + n, max - n);
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

/* ---- a sweep ---- */

/* Leaves what is pending of a block, from there on, in its order. */
static soon_future *sweep_block(struct soon__backlog *b, struct soon__block *block, size_t from,
                                soon_future *swept)
{
    size_t kept = from;

    for (size_t i = from; i < block->n; i++) {
        soon_future *f = block->entry[i];
        if (soon_future_unclaimed(f))
            block->entry[kept++] = f;
        else
            swept = soon__link(f, swept);
    }
    b->n_normal -= block->n - kept;
    block->n = kept;
    return swept;
}

/* A block that has been swept: away with it, if what is left of it has room in the one
 * before. */
static void settle_block(struct soon__backlog *b, struct soon__block *block)
{
    struct soon__block *before = b->swept_to;

    if (block == b->first && block->n == b->taken) {
        leave_block(b);
    } else if (before && before->n + block->n <= SOON__BLOCK_SIZE) {
        memcpy(before->entry + before->n, block->entry, block->n * sizeof *block->entry);
        before->n += block->n;
        before->next = block->next;
        if (b->last == block)
            b->last = before;
        put_away(b, block);
    } else {
        b->swept_to = block;
    }
}

/* Of so many blocks behind swept_to. */
static soon_future *sweep_normal(struct soon__backlog *b, size_t blocks, soon_future *swept)
{
    for (; blocks && b->to_sweep; blocks--) {
        struct soon__block *block = b->swept_to ? b->swept_to->next : b->first;
        b->to_sweep = !block || block == b->last ? 0 : b->to_sweep - 1;
        if (!block)
            break;
        swept = sweep_block(b, block, block == b->first ? b->taken : 0, swept);
        settle_block(b, block);
    }
    return swept;
}

static soon_future *sweep_queue(struct soon_task_queue *queue, soon_future *swept)
{
    soon_future *next;

    for (soon_future *f = soon_task_queue_sweep(queue); f; f = next) {
        next = soon__cut(f);
        swept = soon__link(f, swept);
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
    soon_future *swept = NULL;

    if (!b->to_sweep) {
        free_spares(b, SPARES);
        b->to_sweep = b->n_blocks - b->n_spare;
        b->swept_to = NULL;
        swept = sweep_queue(&b->high, sweep_queue(&b->low, NULL));
    }
    return sweep_normal(b, SWEPT_AT_ONCE, swept);
}

/* ---- the rest ---- */

size_t soon__backlog_memory(const struct soon__backlog *b)
{
    return b->n_blocks * sizeof(struct soon__block);
}

void soon__backlog_free(struct soon__backlog *b)
{
    free_blocks(b->first);
    free_spares(b, 0);
}
